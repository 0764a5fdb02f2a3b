"""The independent symmetric equivariant products of ν copies of a feature, found as homogeneous polynomials.

A symmetric tensor with ν indices of size d has C(d+ν−1, ν) different entries instead of d^ν; as a polynomial it is a
vector of coefficients over the monomials of degree ν. Coupling one more copy is then a multiplication of polynomials,
and symmetrising costs nothing.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator

import numpy as np

from equitools.groups import Irrep, Irreps, clebsch_gordan

__all__ = ["monomial_counts", "monomial_factors", "monomials", "symmetric_basis", "times_variable"]


@functools.lru_cache(maxsize=64)
def monomials(dim: int, degree: int) -> np.ndarray:
    """Return the monomials of a degree: ascending indices of variables ``[count, degree]``, in lexical order."""
    rows = list(itertools.combinations_with_replacement(range(dim), degree))
    return np.array(rows, dtype=np.int64).reshape(len(rows), degree)


@functools.lru_cache(maxsize=64)
def _position(dim: int, degree: int) -> dict[tuple[int, ...], int]:
    return {tuple(row): k for k, row in enumerate(monomials(dim, degree).tolist())}


@functools.lru_cache(maxsize=64)
def monomial_factors(dim: int, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each monomial its first variable, and which monomial of one degree less remains without it."""
    table = monomials(dim, degree)
    position = _position(dim, degree - 1)
    return table[:, 0], np.array([position[tuple(row)] for row in table[:, 1:].tolist()], dtype=np.int64)


@functools.lru_cache(maxsize=64)
def monomial_counts(dim: int, degree: int) -> np.ndarray:
    """Return how many orders of its factors each monomial has: ν! / Π nᵢ!."""
    orders = []
    for row in monomials(dim, degree).tolist():
        repeats = math.prod(math.factorial(row.count(i)) for i in set(row))
        orders.append(math.factorial(degree) // repeats)
    return np.array(orders, dtype=np.float64)


@functools.lru_cache(maxsize=64)
def times_variable(dim: int, degree: int) -> np.ndarray:
    """Return which monomial of ``degree`` a monomial of one degree less becomes when multiplied: ``[count, dim]``."""
    position = _position(dim, degree)
    rows = monomials(dim, degree - 1).tolist()
    return np.array([[position[tuple(sorted((*row, i)))] for i in range(dim)] for row in rows], dtype=np.int64)


def _couple(left: np.ndarray, left_ir: Irrep, irreps: Irreps, block: int, out: Irrep, degree: int) -> np.ndarray:
    """Couple a polynomial ``[monomials, 2l+1]`` of one degree less with one block of the variables."""
    ir, piece = irreps[block].ir, irreps.slices()[block]
    cg = clebsch_gordan(left_ir.l, ir.l, out.l).numpy() * math.sqrt(out.dim)
    target = times_variable(irreps.dim, degree)
    result = np.zeros((len(monomials(irreps.dim, degree)), out.dim))
    for m, variable in enumerate(range(piece.start, piece.stop)):
        result[target[:, variable]] += left @ cg[:, m]  # different monomials stay different: no index occurs twice
    return result


@functools.lru_cache(maxsize=64)
def _trees(irreps_in: str, degree: int) -> dict[Irrep, list[np.ndarray]]:
    """All left-to-right couplings of ``degree`` copies of the input, by what comes out: ``[monomials, 2l+1]`` each."""
    irreps = Irreps(irreps_in)
    grown: dict[Irrep, list[np.ndarray]] = {}
    if degree == 1:
        for (_, ir), piece in zip(irreps, irreps.slices(), strict=True):
            grown.setdefault(ir, []).append(np.eye(irreps.dim)[:, piece])
        return grown
    for left_ir, lefts in _trees(irreps_in, degree - 1).items():
        for block, (_, ir) in enumerate(irreps):
            for out in left_ir * ir:
                found = [_couple(left, left_ir, irreps, block, out, degree) for left in lefts]
                grown.setdefault(out, []).extend(found)
    return grown


def _trees_to(irreps_in: str, degree: int, out: Irrep) -> Iterator[np.ndarray]:
    """The trees that end in ``out``; the last coupling is made only where it leads there."""
    if degree == 1:
        yield from _trees(irreps_in, 1).get(out, [])
        return
    irreps = Irreps(irreps_in)
    for left_ir, lefts in _trees(irreps_in, degree - 1).items():
        for block, (_, ir) in enumerate(irreps):
            if out in set(left_ir * ir):
                for left in lefts:
                    yield _couple(left, left_ir, irreps, block, out, degree)


@functools.lru_cache(maxsize=64)
def symmetric_basis(irreps_in: str, degree: int, out: Irrep) -> np.ndarray:
    """Return orthonormal symmetric equivariant tensors, by their entries at ascending indices.

    The trees are made orthonormal one after the other (Gram–Schmidt, twice, in a fixed order), which keeps the
    independent ones. Unlike a singular value decomposition this has no free signs, so that weights mean the same on
    every machine.

    Args:
        irreps_in: The variables, each irrep once.
        degree: ν, the number of factors.
        out: What comes out.

    Returns:
        ``[paths, monomials, 2l+1]`` float64. The norm of the whole tensor, all d^ν · (2l+1) entries, is 1.
    """
    dim = Irreps(irreps_in).dim
    # An entry at ascending indices stands for `orders` equal entries; coefficient = orders · entry.
    root = np.sqrt(monomial_counts(dim, degree))[:, None]
    kept = np.zeros((0, len(root) * out.dim))
    for tree in _trees_to(irreps_in, degree, out):
        vector = (tree / root).reshape(-1)
        length = np.linalg.norm(vector)
        if length < 1e-8 * math.sqrt(out.dim):  # √(2l+1) is the norm of every tree before it is symmetrised
            continue
        vector = vector / length
        for _ in range(2):
            vector = vector - (kept @ vector) @ kept
        length = np.linalg.norm(vector)
        if length > 1e-6:
            kept = np.concatenate([kept, vector[None] / length])
    return kept.reshape(len(kept), len(root), out.dim) / root

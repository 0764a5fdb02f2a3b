"""The symmetric contraction as a program: one tree of shared products (a Horner scheme) for each output component.

Each output component is a polynomial in the components of x. A node of its tree is the polynomial
``Σ c · x_leaf + Σ x_child · (node of that child)``; a leaf whose variable is number ``dim_in`` is a constant (the kernels
keep a row of ones there). The factors of a monomial may be taken out in any order. The builder takes out first what
divides most of the monomials that remain, so that few nodes are needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equitools.ops.symmetric_basis import monomial_counts, monomials

__all__ = ["ContractionProgram", "build_program", "terms_of_program"]

#: Entries smaller than this, relative to the largest of their basis, are zeros that rounding has left.
_ZERO = 1e-12
_HEADER = 6

_Monomial = tuple[int, ...]
_Polynomial = dict[_Monomial, int]


@dataclass(frozen=True)
class ContractionProgram:
    """The tables that the kernels read.

    Attributes:
        code: int32: ``dim_in, dim_out, paths, terms, depth, 0``; then for each term its first path and its number of
            paths; then the trees, a node as ``leaves, children``, the variables of its leaves, and for each child its
            variable and its node. ``depth`` counts the levels of nodes below a root.
        values: float64: for each term its factor for each of its paths, one after the other.
    """

    code: np.ndarray
    values: np.ndarray


def build_program(dim_in: int, blocks: Sequence[Sequence[np.ndarray]]) -> ContractionProgram:
    """Build the program of a symmetric contraction.

    Args:
        dim_in: Number of variables d.
        blocks: ``blocks[k][ν-1]``: entries of block k at ascending indices, ``[paths, 2l+1, monomials(d, ν)]``.

    Returns:
        The program. The paths are numbered through, blocks outermost.
    """
    outputs: list[_Polynomial] = []
    ranges: list[tuple[int, int]] = []
    factors: list[np.ndarray] = []
    first = 0
    for row in blocks:
        components: list[_Polynomial] = [{} for _ in range(row[0].shape[1])]
        for nu, entries in enumerate(row, 1):
            paths = len(entries)
            if paths:
                weights = entries * monomial_counts(dim_in, nu)
                largest = np.abs(weights).max(0)
                names = [tuple(m) for m in monomials(dim_in, nu).tolist()]
                for z, t in zip(*np.nonzero(largest > _ZERO * largest.max()), strict=True):
                    components[z][names[t]] = len(ranges)
                    ranges.append((first, paths))
                    factors.append(weights[:, z, t])
            first += paths
        outputs += components
    code: list[int] = []
    order: list[int] = []
    depth = max((_emit(polynomial, dim_in, code, order) for polynomial in outputs), default=0)
    header = [dim_in, len(outputs), first, len(order), depth, 0]
    ordered = [number for term in order for number in ranges[term]]
    values = np.concatenate([factors[term] for term in order]) if order else np.zeros(0)
    return ContractionProgram(np.array(header + ordered + code, dtype=np.int32), values)


def _emit(polynomial: _Polynomial, one: int, code: list[int], order: list[int]) -> int:
    """Write the node of a polynomial and what is below it; return the levels below it."""
    leaves = {m: t for m, t in polynomial.items() if len(m) <= 1}
    rest = {m: t for m, t in polynomial.items() if len(m) > 1}
    children: list[tuple[int, _Polynomial]] = []
    while rest:
        divides = Counter(v for m in rest for v in set(m))
        best = max(divides.values())
        variable = min(v for v, count in divides.items() if count == best)
        children.append((variable, {_without(m, variable): t for m, t in rest.items() if variable in m}))
        rest = {m: t for m, t in rest.items() if variable not in m}
    code += [len(leaves), len(children)]
    for monomial, term in sorted(leaves.items()):
        code.append(monomial[0] if monomial else one)
        order.append(term)
    below = 0
    for variable, part in children:
        code.append(variable)
        below = max(below, 1 + _emit(part, one, code, order))
    return below


def _without(monomial: _Monomial, variable: int) -> _Monomial:
    at = monomial.index(variable)
    return monomial[:at] + monomial[at + 1 :]


def terms_of_program(code: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a program back as plain lists of terms.

    Args:
        code: `ContractionProgram.code`.

    Returns:
        For each term its output component ``[terms]``, its variables ``[terms, depth + 1]`` (``dim_in`` where it has
        fewer factors), and its first path and number of paths ``[terms, 2]``.
    """
    one, dim_out, _, terms, depth = code[:5].tolist()
    tree = code[_HEADER + 2 * terms :].tolist()
    components: list[int] = []
    variables: list[list[int]] = []
    at = 0

    def node(z: int, outer: list[int]) -> None:
        nonlocal at
        leaves, children = tree[at], tree[at + 1]
        at += 2
        for variable in tree[at : at + leaves]:
            components.append(z)
            variables.append((outer + [variable] + [one] * depth)[: depth + 1])
        at += leaves
        for _ in range(children):
            at += 1
            node(z, [*outer, tree[at - 1]])

    for z in range(dim_out):
        node(z, [])
    ranges = code[_HEADER : _HEADER + 2 * terms].reshape(terms, 2)
    return np.array(components), np.array(variables).reshape(terms, depth + 1), ranges

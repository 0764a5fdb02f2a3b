"""Tables of sparse products of functions on the sphere: paths, and coefficients in the order of the compiled kernels.

The integrals of three harmonics come from Gauss–Legendre quadrature over θ, which is exact here, times the integral
over φ in closed form; `sphere_tables.dense` has the same numbers from Clebsch–Gordan coefficients.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import numpy as np

from equitools.ops import sphere_tables
from equitools.ops.sphere_tables import grid, legendre

__all__: list[str] = []

Array = np.ndarray
#: Degrees of a product that the kernels do together at most (kSparseBlock of csrc/core/sparse_plan.h).
BLOCK = 5


def _degrees(l1: int, l2: int, lmax3: int, sums: int, least: int = 0) -> range:
    """Return the degrees that a pair couples to: of even (0), odd (1) or any (2) sum."""
    first = max(abs(l1 - l2), least)
    if sums < 2 and (l1 + l2 + first) % 2 != sums:
        first += 1
    return range(first, min(l1 + l2, lmax3) + 1, 1 if sums == 2 else 2)


@functools.cache
def paths(lmax1: int, lmax2: int, lmax3: int, sums: int) -> tuple[tuple[int, int, int], ...]:
    """Return the triples of degrees that couple, in the order of nested loops.

    Args:
        lmax1: Highest degree of the first factor.
        lmax2: Of the second.
        lmax3: Of the product.
        sums: 0: whose sum is even, 1: odd, 2: all.
    """
    return tuple(
        (l1, l2, l3) for l1 in range(lmax1 + 1) for l2 in range(lmax2 + 1) for l3 in _degrees(l1, l2, lmax3, sums)
    )


def _pairs(l1: int, l2: int, m: int) -> Iterator[tuple[int, int]]:
    """Yield the orders ±m1, ±m2 with |m1 + m2| = m in the order of ``sparse_program`` of csrc/core/sparse_program.h.

    A negative order stands for the conjugate.
    """
    if m == 0:
        yield 0, 0
    else:
        if m <= l2:
            yield 0, m
        if m <= l1:
            yield m, 0
    for m1 in range(max(1, m - l2), min(l1, m - 1) + 1):
        yield m1, m - m1
    for m2 in range(1, min(l2, l1 - m) + 1):
        yield m2 + m, -m2
    if m > 0:
        for m1 in range(1, min(l1, l2 - m) + 1):
            yield -m1, m1 + m


@functools.cache
def kernel_table(lmax1: int, lmax2: int, lmax3: int, sums: int) -> Array:
    """Return the coefficients of the product of degrees up to lmax1 and lmax2, in the order of the program.

    For each pair of degrees, order m of the product, and handful of degrees of the product: for each pair of orders
    that gives m, a number for each of these degrees.
    """
    integrals = _Integrals(lmax1, lmax2, lmax3)
    parts: list[Array] = []
    for l1 in range(lmax1 + 1):
        for l2 in range(lmax2 + 1):
            for m in range(min(l1 + l2, lmax3) + 1):
                left = list(_degrees(l1, l2, lmax3, sums, m))
                pairs = list(_pairs(l1, l2, m))
                while left:
                    times = -(-len(left) // BLOCK)
                    take = -(-len(left) // times)
                    now, left = left[:take], left[take:]
                    parts += [integrals.of(l1, m1, l2, m2, now) for m1, m2 in pairs]
    return np.concatenate(parts) if parts else np.zeros(0)


def kernel_tables(lmax1: int, lmax2: int, lmax3: int, sums: int) -> tuple[Array, Array, Array]:
    """Return the tables of a triple of which number 0, 1 or 2 is the product, and the next two, in a ring, the factors.

    Derivatives are such products. Where degrees are equal, tables are the same.
    """
    return (
        kernel_table(lmax2, lmax3, lmax1, sums),
        kernel_table(lmax3, lmax1, lmax2, sums),
        kernel_table(lmax1, lmax2, lmax3, sums),
    )


class _Integrals:
    """Integrals over products of three harmonics, or of a curl and a harmonic, by their complex orders."""

    def __init__(self, lmax1: int, lmax2: int, lmax3: int) -> None:
        points = grid(lmax1 + lmax2 + lmax3)
        self.weight = points.weight * len(points.phi) / (2 * math.pi)  # of the nodes in cos θ alone
        self.functions = legendre(max(lmax1, lmax2, lmax3), points.cosine)
        self.lmax = lmax1, lmax2, lmax3
        self.kept: dict[tuple[int, int], tuple[Array, Array]] = {}

    def of(self, l1: int, m1: int, l2: int, m2: int, degrees: list[int]) -> Array:
        """Return them for some degrees of the product; one of the orders may be negative, a conjugate."""
        if (m1, m2) not in self.kept:
            self.kept[m1, m2] = self._all(m1, m2)
        even, odd = self.kept[m1, m2]
        return np.array([(even, odd)[(l1 + l2 + l) % 2][l1, l2, l] for l in degrees])

    def _all(self, m1: int, m2: int) -> tuple[Array, Array]:
        """Return ``[l1, l2, l3]`` of the product and of the curl."""
        value, slope, turned = self.functions
        m, (a, b) = abs(m1 + m2), (abs(m1), abs(m2))
        (p1, s1, t1), (p2, s2, t2) = (
            [table[order, : lmax + 1] for table in (value, slope, turned)]
            for order, lmax in ((a, self.lmax[0]), (b, self.lmax[1]))
        )
        # ∫ over φ: of Re(e^{imφ}) Re(z e^{imφ}), where a product of two real parts is half a sum of real parts.
        around = (2 * math.pi if m == 0 else math.pi) * (0.5 if a and b else 1.0)
        third = value[m, : self.lmax[2] + 1] * self.weight * around
        # r̂·(∇A × ∇B) is i/2 (S1 T2 − T1 S2) of the product and −i/2 (S1 T2 + T1 S2) of that with the second conjugate.
        sign = -1.0 if m1 >= 0 and m2 >= 0 else 1.0
        turn = -1.0 if m2 < 0 else 1.0
        pairs = s1[:, None] * t2[None] + sign * t1[:, None] * s2[None]
        even = np.einsum("abn,cn->abc", p1[:, None] * p2[None], third, optimize=True)
        odd = turn * np.einsum("abn,cn->abc", pairs, third, optimize=True)
        return even, odd


@functools.cache
def entries(lmax1: int, lmax2: int, lmax3: int, sums: int) -> tuple[Array, Array, Array, Array, Array]:
    """Return components of both factors and the product, value and path of all coefficients that are not zero.

    Returns:
        ``(first, second, third, value, path)``.
    """
    halves = [sphere_tables.entries(lmax1, lmax2, lmax3, odd) for odd in ((False, True) if sums == 2 else (sums == 1,))]
    first, second, third, value = (np.concatenate(parts) for parts in zip(*halves, strict=True))
    numbers = {path: k for k, path in enumerate(paths(lmax1, lmax2, lmax3, sums))}
    degrees = zip(*(np.sqrt(part + 0.5).astype(np.int64).tolist() for part in (first, second, third)), strict=True)
    return first, second, third, value, np.array([numbers[triple] for triple in degrees], dtype=np.int64)

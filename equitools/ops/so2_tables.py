"""Tables of what happens in the frame of an edge: turns about the axes, couplings with a zonal filter, rings.

The polar axis is y, as everywhere; component (l, m) stands at l² + l + m. Everything is float64 and made with numpy.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from equitools.groups.su2 import real_coupling
from equitools.ops.sphere_tables import legendre, reduced

__all__: list[str] = []

Array = np.ndarray


def rows_of(l: int, mmax: int) -> range:
    """Return the components of degree l whose order is at most ``mmax``."""
    reach = min(l, mmax)
    return range(l - reach, l + reach + 1)


@functools.cache
def _turned(l: int, axis: str) -> Array:
    """Return the matrix of the rotation that takes +y to +x (about z) or to +z (about x), by a quarter of a turn."""
    about = {"x": [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], "z": [[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]}
    rotation = np.array(about[axis])
    if l < 2:
        return rotation if l else np.ones((1, 1))
    # The step of groups.wigner_D, without torch: a tracer would hand out tensors that hold no numbers.
    coupling = real_coupling(l - 1, 1, l)
    before = _turned(l - 1, axis)
    return (2 * l + 1) * np.einsum("abm,ac,bd,cdn->mn", coupling, before, rotation, coupling, optimize=True)


@functools.cache
def about_x(lmax: int, mmax: int) -> Array:
    """Return the rotations about x as polynomials of cosine and sine of the angle.

    Returns:
        ``[2·lmax + 1, Σ_l rows · (2l+1)]``: by (cos β, …, cos lβ) after 1 and (sin β, …, sin lβ) after those, to the
        rows of order up to mmax of the matrices of all degrees, one after the other.
    """
    parts = []
    for l in range(lmax + 1):
        turn = _turned(l, "x")  # conjugates a turn about y into one about x
        table = np.zeros((2 * lmax + 1, 2 * l + 1, 2 * l + 1))
        table[0] = np.outer(turn[:, l], turn[:, l])
        for m in range(1, l + 1):
            plus, minus = turn[:, l + m], turn[:, l - m]
            table[m] = np.outer(plus, plus) + np.outer(minus, minus)
            table[lmax + m] = np.outer(minus, plus) - np.outer(plus, minus)
        table[np.abs(table) < 1e-15] = 0.0
        rows = rows_of(l, mmax)
        parts.append(table[:, rows.start : rows.stop].reshape(2 * lmax + 1, -1))
    return np.concatenate(parts, 1)


@functools.cache
def pole_to_z(l: int) -> Array:
    """Return the transposed matrix of the quarter turn about x, which takes +y to +z."""
    return np.ascontiguousarray(_turned(l, "z").T)


@functools.cache
def polar_coupling(l1: int, l3: int) -> tuple[Array, Array]:
    """Return what couples degree l1 to l3 when the filter is the harmonic of an edge at the pole.

    The matrix ``√(2l3+1) Σ_b C[a, b, c] Y_b(pole)`` of each degree of the filter, Y in "component" normalisation, is
    ``r`` on the diagonal m → m, the same for ±m, where l1 + l_f + l3 is even, and ``i`` on m → −m, with both signs,
    where it is odd.

    Returns:
        ``r`` and ``i``, ``[2·min(l1, l3) + 1, min(l1, l3) + 1]``: by the degree of the filter, from abs(l1 − l3) on,
        and by order.

    Properties:
        as_many_weights_as_paths: the numbers r at m ≥ 0 and i at m > 0 of all degrees of the filter form a square
        matrix that can be inverted.
    """
    least = min(l1, l3)
    diagonal, cross = np.zeros((2 * least + 1, least + 1)), np.zeros((2 * least + 1, least + 1))
    for k, degree in enumerate(range(abs(l1 - l3), l1 + l3 + 1)):
        middle = real_coupling(l1, degree, l3)[:, degree, :] * math.sqrt((2 * degree + 1) * (2 * l3 + 1))
        for m in range(least + 1):
            if (l1 + degree + l3) % 2 == 0:
                diagonal[k, m] = middle[l1 + m, l3 + m]
            else:
                cross[k, m] = middle[l1 + m, l3 - m]
    return diagonal, cross


def _at_the_pole(lmax: int) -> Array:
    """Return the orthonormal harmonics (l, 0) of the polar axis."""
    return np.sqrt((2 * np.arange(lmax + 1) + 1) / (4 * math.pi))


@functools.cache
def zonal_matrices(lmax1: int, lmax_filter: int, lmax3: int, curl: bool) -> Array:
    """Return the matrices by which ``Y_l(pole) · Y_l`` acts on functions, order by order.

    Returns:
        ``[lmax_filter+1, Σ_m (lmax3+1−m) (lmax1+1−m)]``: for each order m from 0 to the smaller degree, from degrees
        l ≥ m to degrees l ≥ m. The product takes m to m; the curl takes +m to −m by the matrix and −m to +m by its
        negative.
    """
    scale, orders = _at_the_pole(lmax_filter), np.arange(min(lmax1, lmax3) + 1)
    table = np.zeros((len(orders), lmax_filter + 1, lmax3 + 1, lmax1 + 1))
    for l1 in range(lmax1 + 1):
        for degree in range(lmax_filter + 1):
            for l3 in range(abs(l1 - degree), min(l1 + degree, lmax3) + 1):
                if (l1 + degree + l3) % 2 == int(curl):
                    m = orders[: min(l1, l3) + 1]
                    zonal = real_coupling(l1, degree, l3)[:, degree, :]  # order 0 of the filter is all that is needed
                    block = zonal[l1 + m, l3 + (-m if curl else m)]
                    table[m, degree, l3, l1] = scale[degree] * reduced(l1, degree, l3) * block
    return np.concatenate([table[m, :, m:, m:].reshape(lmax_filter + 1, -1) for m in orders], 1)


@functools.cache
def rings(lmax1: int, lmax_filter: int, lmax3: int, curl: bool) -> tuple[Array, ...]:
    """Return the Legendre transforms by which a zonal function multiplies functions, on the fewest exact rings.

    Returns:
        The values of ``Y_l(pole) · Y_l`` on the rings ``[T, lmax_filter+1]``; then for each order m from 0 to the
        smaller degree the synthesis ``[T, lmax1+1−m]`` and the analysis ``[lmax3+1−m, T]``. With ``curl`` the first is
        its derivative by θ and the synthesis m P/sin θ.
    """
    cosine, weight = np.polynomial.legendre.leggauss((lmax1 + lmax_filter + lmax3) // 2 + 1)
    value, slope, turned = legendre(max(lmax1, lmax_filter, lmax3), cosine)
    found = [(slope if curl else value)[0, : lmax_filter + 1].T * _at_the_pole(lmax_filter)]
    for m in range(min(lmax1, lmax3) + 1):
        found.append((turned if curl else value)[m, m : lmax1 + 1].T)
        found.append(value[m, m : lmax3 + 1] * weight * (2 * math.pi if m == 0 else math.pi))
    return tuple(found)

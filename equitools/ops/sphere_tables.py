"""Tables of products of functions on the sphere: Gaunt and curl coefficients, quadrature grids, Fourier coefficients.

Functions are given by coefficients of the orthonormal real spherical harmonics in e3nn's basis (polar axis y, component
(l, m) at l² + l + m, no Condon–Shortley sign): ``Y_{l,0} = P_{l0}(θ)``, ``Y_{l,±m} = √2 P_{lm}(θ) {cos, sin}(mφ)`` with
``cos θ = y``, ``sin θ cos φ = z``, ``sin θ sin φ = x``. Everything is computed in float64 with numpy.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from equitools.groups.su2 import real_coupling

__all__: list[str] = []

Array = np.ndarray


def legendre(lmax: int, cosine: Array) -> tuple[Array, Array, Array]:
    """Return normalised associated Legendre functions, their derivative by θ, and m times themselves over sin θ.

    Args:
        lmax: Highest degree.
        cosine: ``[n]`` cos θ, −1 < cos θ < 1.

    Returns:
        Three arrays ``[m, l, n]``, zero where l < m. For m > 0 the factor √2 of the real harmonics is in them.

    Source: the recursion of normalised functions, e.g. Holmes and Featherstone, J. Geodesy 76, 279 (2002), eq. 11.
    """
    sine = np.sqrt(1.0 - cosine**2)
    value = np.zeros((lmax + 1, lmax + 1, len(cosine)))
    sectoral = np.full_like(cosine, math.sqrt(1 / (4 * math.pi)))
    for m in range(lmax + 1):
        if m > 0:
            sectoral = sectoral * sine * math.sqrt((2 * m + 1) / (2 * m)) * (math.sqrt(2.0) if m == 1 else 1.0)
        value[m, m] = sectoral
        for degree in range(m + 1, lmax + 1):
            a = math.sqrt((2 * degree + 1) * (2 * degree - 1) / ((degree - m) * (degree + m)))
            value[m, degree] = a * cosine * value[m, degree - 1]
            if degree > m + 1:
                b = math.sqrt((degree - 1 - m) * (degree - 1 + m) / ((2 * degree - 3) * (2 * degree - 1)))
                value[m, degree] -= a * b * value[m, degree - 2]
    slope, turned = np.zeros_like(value), np.zeros_like(value)
    for m in range(lmax + 1):
        for degree in range(m, lmax + 1):
            # sin θ dP_l/dθ = l cos θ P_l − √((2l+1)(l²−m²)/(2l−1)) P_{l−1}
            before = value[m, degree - 1] if degree > m else 0.0
            factor = math.sqrt((2 * degree + 1) * (degree**2 - m**2) / (2 * degree - 1)) if degree > m else 0.0
            slope[m, degree] = (degree * cosine * value[m, degree] - factor * before) / sine
            turned[m, degree] = m * value[m, degree] / sine
    return value, slope, turned


@dataclasses.dataclass(frozen=True)
class Grid:
    """Gauss–Legendre nodes in cos θ times equidistant angles φ: integrates polynomials on the sphere exactly.

    Attributes:
        degree: Of polynomials that are integrated exactly.
        cosine: ``[T]`` nodes in cos θ, descending.
        weight: ``[T]`` weights of a point, the step in φ included.
        phi: ``[F]`` angles.
    """

    degree: int
    cosine: Array
    weight: Array
    phi: Array


@functools.cache
def grid(degree: int) -> Grid:
    """Return the smallest such grid that is exact to a degree."""
    nodes, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    count = degree + 1
    return Grid(
        degree, nodes[::-1].copy(), weights[::-1] * (2 * math.pi / count), 2 * math.pi * np.arange(count) / count
    )


@functools.cache
def synthesis(lmax: int, degree: int) -> tuple[Array, Array, Array]:
    """Return the harmonics, their derivative by θ and their derivative by φ over sin θ on the grid of a degree.

    Returns:
        Three arrays ``[T · F, (lmax+1)²]``.
    """
    points = grid(degree)
    value, slope, turned = legendre(lmax, points.cosine)
    shape = (len(points.cosine), len(points.phi), (lmax + 1) ** 2)
    found = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for l in range(lmax + 1):
        for m in range(-l, l + 1):
            k, order = l * l + l + m, abs(m)
            wave = np.cos(order * points.phi) if m >= 0 else np.sin(order * points.phi)
            rate = -np.sin(order * points.phi) if m >= 0 else np.cos(order * points.phi)
            for target, radial, azimuthal in zip(found, (value, slope, turned), (wave, wave, rate), strict=True):
                target[:, :, k] = radial[order, l][:, None] * azimuthal[None, :]
    first, second, third = (array.reshape(-1, (lmax + 1) ** 2) for array in found)
    return first, second, third


@functools.cache
def analysis(lmax: int, degree: int) -> Array:
    """Return what makes coefficients of values on the grid: ``[(lmax+1)², T · F]``."""
    points = grid(degree)
    weight = np.repeat(points.weight, len(points.phi))
    return np.ascontiguousarray(synthesis(lmax, degree)[0].T * weight)


@functools.cache
def reduced(l1: int, l2: int, l3: int) -> float:
    """Return the number that the unit coupling tensor is multiplied by to give the integral of a triple.

    The integral is ∫ Y₁ Y₂ Y₃ where the sum of the degrees is even, and ∫ Y₃ r̂·(∇Y₁ × ∇Y₂) where it is odd: by Wigner
    and Eckart, each is the coupling tensor times a number that the degrees determine.
    """
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        return 0.0
    coupling = real_coupling(l1, l2, l3)
    a, b, c = np.unravel_index(np.abs(coupling).argmax(), coupling.shape)
    degree = l1 + l2 + l3
    columns = [[table[:, l * l + m] for table in synthesis(l, degree)] for l, m in ((l1, a), (l2, b), (l3, c))]
    weight = np.repeat(grid(degree).weight, len(grid(degree).phi))
    if degree % 2:
        pair = columns[0][1] * columns[1][2] - columns[0][2] * columns[1][1]
    else:
        pair = columns[0][0] * columns[1][0]
    return float((weight * pair * columns[2][0]).sum() / coupling[a, b, c])


@functools.cache
def dense(lmax1: int, lmax2: int, lmax3: int, odd: bool) -> Array:
    """Return the integrals of all triples of even (or odd) sum: ``[(lmax1+1)², (lmax2+1)², (lmax3+1)²]``."""
    table = np.zeros([(l + 1) ** 2 for l in (lmax1, lmax2, lmax3)])
    for l1 in range(lmax1 + 1):
        for l2 in range(lmax2 + 1):
            for l3 in range(abs(l1 - l2), min(l1 + l2, lmax3) + 1):
                if (l1 + l2 + l3) % 2 == int(odd):
                    block = tuple(slice(l * l, (l + 1) ** 2) for l in (l1, l2, l3))
                    table[block] = reduced(l1, l2, l3) * real_coupling(l1, l2, l3)
    return table


def fast_length(least: int) -> int:
    """Return the next number without a prime factor above 5: transforms of that length are fast."""
    length = least
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


@functools.cache
def fourier(lmax: int, count: int) -> tuple[Array, Array]:
    """Return what makes Fourier series in θ, one for each order in φ, of coefficients of a function A.

    The series are of ``A(θ, −π/2 − φ)``, which makes the numbers real and the same for the real and the imaginary part:
    order m is ``Σ_u exp(iuθ) Σ_l c[m, l, u] (a_{l,m} + i a_{l,−m})``, of which the values are the sum of order 0, the
    others, and the conjugates of the others. The torus covers the sphere twice: θ goes from 0 to 2π.

    Args:
        lmax: Highest degree.
        count: Number of frequencies u, at least 2·lmax + 1, in the order of fast transforms.

    Returns:
        ``[2·(lmax+1), lmax+1, count]``: by order, and for each its real and its imaginary part; by degree; by u. And
        the components that are multiplied, in the order of the first two; where there is none (l < m), it is by 0.

    Source: Luo, Chen and Krishnapriyan, ICLR 2024 (arXiv 2401.10216), eq. 5.
    """
    points = 4 * lmax + 4  # more than a trigonometric polynomial of degree lmax needs; none is a pole
    theta = 2 * math.pi * (np.arange(points) + 0.5) / points
    value = _legendre_around(lmax, theta)  # [m, l, n]
    frequencies = np.arange(-lmax, lmax + 1)
    waves = np.exp(-1j * np.outer(theta, frequencies)) / points
    table = np.zeros((lmax + 1, 2, lmax + 1, count))
    places = np.zeros((lmax + 1, 2, lmax + 1), dtype=np.int64)
    for m in range(lmax + 1):
        half = 1.0 if m == 0 else 0.5
        for part in range(2 if m else 1):  # order 0 is real
            table[m, part][:, frequencies] = half * (value[m] @ waves * 1j**m).real
            for l in range(m, lmax + 1):
                places[m, part, l] = l * l + l + (-m if part else m)
    return table.reshape(-1, lmax + 1, count), places.ravel()


def _legendre_around(lmax: int, theta: Array) -> Array:
    """Return the functions on the whole circle of θ, where sin θ may be negative: (−1)^m of those at 2π − θ."""
    value, _, _ = legendre(lmax, np.cos(theta))
    sign = np.where(np.sin(theta) < 0, -1.0, 1.0)
    return value * sign ** np.arange(lmax + 1)[:, None, None]


@functools.cache
def projection(lmax: int, size: int) -> tuple[Array, Array]:
    """Return what makes coefficients of series as `fourier` makes them, of frequencies up to ``size``.

    Order m of a function on the sphere is even in θ for even m, and odd for odd m: the frequencies u ≥ 0 say all, and
    the integral with ``P_lm sin θ`` is that of a polynomial in cos θ.

    Returns:
        ``[2·(lmax+1), lmax+1, size+1]``: by order, and for each its real and its imaginary part; by degree; by u. And
        where among the first two each component of the result stands.

    Source: the same, eq. 7.
    """
    cosine, weight = np.polynomial.legendre.leggauss((lmax + size) // 2 + 1)
    value, _, _ = legendre(lmax, cosine)
    angles = np.outer(np.arccos(cosine), np.arange(size + 1))
    table = np.zeros((lmax + 1, 2, lmax + 1, size + 1))
    for m in range(lmax + 1):
        waves = 2j * np.sin(angles) if m % 2 else 2.0 * np.cos(angles)  # of the frequencies u and −u together
        if m % 2 == 0:
            waves[:, 0] = 1.0
        table[m, : 2 if m else 1] = (2 * math.pi * (value[m] * weight) @ waves * (-1j) ** m).real
    places = [(2 * abs(m) + (m < 0)) * (lmax + 1) + l for l in range(lmax + 1) for m in range(-l, l + 1)]
    return table.reshape(-1, lmax + 1, size + 1), np.array(places)


# ---- for the kernels ------------------------------------------------------------------------------------------------


@functools.cache
def entries(lmax1: int, lmax2: int, lmax3: int, odd: bool) -> tuple[Array, Array, Array, Array]:
    """Return the components and the values of the entries of `dense` that are not zero."""
    table = dense(lmax1, lmax2, lmax3, odd)
    first, second, third = np.nonzero(np.abs(table) > 1e-14)
    return first, second, third, table[first, second, third]


def _padded(table: Array) -> Array:
    """Fill the rows of a table with zeros, as the kernels read them (kSphereBlock of csrc/core/sphere_plan.h)."""
    missing = -table.shape[-1] % 4
    return np.concatenate([table, np.zeros((*table.shape[:-1], missing))], -1).ravel()


@functools.cache
def kernel_table(lmax1: int, lmax2: int, lmax3: int, odd: bool, degree: int | None = None) -> Array:
    """Return the tables of the compiled product in the order of ``SphereTables::set`` of csrc/core/sphere_plan.h.

    They are those of the triple: each of the three degrees may be a factor or the product, so that the derivatives find
    theirs in the same table. The grid is exact to ``degree``; ``None``: the sum of the three.
    """
    degrees = (lmax1, lmax2, lmax3)
    points = grid(sum(degrees) if degree is None else degree)
    half, angles = (len(points.cosine) + 1) // 2, len(points.phi)
    value, slope, turned = (table[:, :, :half] for table in legendre(max(degrees), points.cosine))
    parts: list[Array] = []
    for lmax in degrees:
        for table in (slope, turned) if odd else (value,):
            parts += [_padded(table[m, m : lmax + 1]) for m in range(lmax + 1)]
        weighted = value * points.weight[:half]
        parts += [
            _padded(weighted[m, m + parity : lmax + 1 : 2].T)
            for m in range(lmax + 1)
            for parity in range(2)
            if m + parity <= lmax
        ]
    count, orders = angles // 2 + 1, np.arange(max(degrees) + 1)
    turns = np.outer(orders, np.arange(count)) % angles * (2 * math.pi / angles)
    cosine, sine = np.cos(turns), np.sin(turns)
    sine[:, 0] = 0.0
    if angles % 2 == 0:
        sine[:, -1] = 0.0  # of a half turn, and not the rounding of it
    parts += [_padded(table) for table in (cosine, sine, cosine.T, sine.T)]
    return np.concatenate(parts)

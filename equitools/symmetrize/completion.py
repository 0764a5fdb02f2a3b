"""Completing a frame where the cloud fixes none: averages over O(m) or SO(m) by a few elements.

A cloud on a line (or in a single point) is left as it is by all turns about the line (by all rotations). Every
completion of its frame gives the same canonical pose, so that one would do for invariant outputs. What is equivariant
has to be averaged over that stabiliser, and for outputs of bounded degree a finite set does so exactly.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.symmetrize.quadrature import rotation_quadrature

__all__ = ["complement", "rotation_design", "stabiliser_mean"]

_MOST = 5000  # rows of a table; a limit for memory, not for mathematics


def rotation_design(m: int, degree: int) -> Tensor:
    """Return rotations of ℝᵐ whose mean is the Haar mean on polynomials of a degree.

    Args:
        m: Dimension.
        degree: Highest degree of the representations that are averaged: 0 for invariants, 1 for vectors, k for
            tensors of rank k, l for irreps.

    Returns:
        ``[K, m, m]`` float64: the identity for degree 0, ``degree + 1`` turns of the plane, changes of sign for degree
        1, the 12, 24 or 60 rotations of the tetrahedron (degree 2), the octahedron (3) or the icosahedron (to 5) in
        space, signed permutations in higher dimensions (to degree 3).

    Raises:
        ConfigError: No table is exact to that degree.

    Properties:
        design: the mean of ρ over the table is the projector onto what SO(m) leaves fixed, for ρ up to the degree.

    Source:
        The first degrees with invariants of the polyhedral groups: tetrahedral 3, octahedral 4, icosahedral 6
        (for example F. Klein, Lectures on the Icosahedron, 1884).
    """
    return _design(m, degree)


@lru_cache(maxsize=64)
def _design(m: int, degree: int) -> Tensor:
    if degree == 0 or m == 1:
        return torch.eye(m, dtype=torch.float64)[None]
    if m == 2:
        angles = torch.arange(degree + 1, dtype=torch.float64) * (2 * math.pi / (degree + 1))
        rows = [torch.stack([angles.cos(), -angles.sin()], -1), torch.stack([angles.sin(), angles.cos()], -1)]
        return torch.stack(rows, -2)
    if degree == 1:
        _refuse_if_many(2 ** (m - 1), m)
        flips = torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=torch.float64)] * m)
        return torch.diag_embed(flips[flips.prod(1) > 0])
    if m == 3 and degree > 3:
        if degree > 5:
            raise ConfigError(
                f"Tables of equal weights reach degree 5 in space, not {degree}: rotation_quadrature does."
            )
        return _icosahedral()
    if degree > 3:
        raise ConfigError(f"Means over SO({m}) are tabulated to degree 3, the outputs have degree {degree}.")
    _refuse_if_many(2 ** (m - 1) * math.factorial(m), m)
    found = []
    for order in itertools.permutations(range(m)):
        table = torch.eye(m, dtype=torch.float64)[list(order)]
        if m == 3 and degree < 3 and torch.linalg.det(table) < 0:
            continue  # even permutations: the tetrahedral group, enough to degree 2
        for signs in itertools.product((1.0, -1.0), repeat=m):
            element = table * torch.tensor(signs, dtype=torch.float64)
            if torch.linalg.det(element) > 0:
                found.append(element)
    return torch.stack(found)


def _refuse_if_many(count: int, m: int) -> None:
    if count > _MOST:
        raise ConfigError(
            f"A cloud of this dimension whose rank is {m} too low has no frame of its own, and averaging over SO({m}) "
            f"would take {count} elements. Take it out of the batch, or remove the dimensions that it does not use."
        )


def stabiliser_mean(m: int, degree: int) -> tuple[Tensor, Tensor]:
    """Return rotations ``[K, m, m]`` and weights ``[K]`` that average over SO(m) exactly to a degree.

    `rotation_design` where there is one, else the quadrature of Euler angles.

    Raises:
        ConfigError: There is neither.
    """
    if m == 3 and degree > 5:
        return rotation_quadrature(3, degree)
    table = rotation_design(m, degree)
    return table, table.new_full((len(table),), 1 / len(table))


def _icosahedral() -> Tensor:
    """The 60 rotations, closed from a turn by 120° about (1, 1, 1) and one by 72° about (0, 1, φ)."""
    golden = (1 + math.sqrt(5)) / 2
    start = []
    for axis, angle in (((1.0, 1.0, 1.0), 2 * math.pi / 3), ((0.0, 1.0, golden), 2 * math.pi / 5)):
        x, y, z = (torch.tensor(axis, dtype=torch.float64) / math.hypot(*axis) * angle).tolist()
        start.append(torch.matrix_exp(torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)))
    found = [torch.eye(3, dtype=torch.float64)]
    fresh = list(found)
    while fresh:
        images = [element @ generator for element in fresh for generator in start]
        fresh = []
        for image in images:
            if all(float((image - other).abs().amax()) > 1e-8 for other in found):
                found.append(image)
                fresh.append(image)
    return torch.stack(found)


def complement(axes: Tensor) -> Tensor:
    """Return an orthonormal basis of what is perpendicular to orthonormal rows, right-handed with them.

    Args:
        axes: ``[..., k, d]``, orthonormal rows, k < d.

    Returns:
        ``[..., d − k, d]``: with the rows of ``axes`` before, the determinant is +1. Which basis it is has no meaning;
        its derivative keeps it orthonormal to the axes.

    Properties:
        complement: all rows together are a rotation.
    """
    k, d = axes.shape[-2:]
    if k == 0:
        return torch.eye(d, dtype=axes.dtype, device=axes.device).expand(*axes.shape[:-2], d, d)
    with torch.no_grad():
        full = torch.linalg.qr(axes.transpose(-1, -2), mode="complete")[0].transpose(-1, -2)
    rows: list[Tensor] = []
    for index in range(k, d):
        row = full[..., index, :]
        known = torch.cat([axes, *[r.unsqueeze(-2) for r in rows]], -2)
        row = row - (known @ row.unsqueeze(-1) * known).sum(-2)
        rows.append(row / row.norm(dim=-1, keepdim=True))
    with torch.no_grad():
        sign = torch.sign(torch.linalg.det(torch.cat([axes, torch.stack(rows, -2)], -2)))
    rows[-1] = rows[-1] * sign.unsqueeze(-1)
    return torch.stack(rows, -2)

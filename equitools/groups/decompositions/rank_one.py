"""Decompositions with one stretch or one angle: those of the Lorentz group, and SO(n) by the rotations of one axis.

An element of SO⁺(1,3) is a boost after a rotation; its boost is known from its first column alone. In SO(n) the part of
the rotations of time and space is played by SO(n−1), which leaves the last axis where it is, and that of the boost by
the rotation of one plane: for n = 3 these are Euler's angles. Both are written without any eigenvectors, and are
differentiable any number of times, but where the boost or the angle is zero: there its direction is no function.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.decompositions.checks import count, need_square
from equitools.groups.orthogonal_factor import orthogonal_factor

__all__ = [
    "lorentz_iwasawa",
    "lorentz_iwasawa_log_density",
    "lorentz_kak",
    "lorentz_kak_log_density",
    "lorentz_polar",
    "lorentz_polar_log_density",
    "orthogonal_kak",
    "orthogonal_kak_log_density",
]

_NO_DIRECTION = 1e-14  # a vector shorter than this has the direction of the last axis


def _need_lorentz(g: Tensor, what: str) -> None:
    need_square(g, what, 4)
    eta = torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=g.dtype, device=g.device)
    tolerance, found = 1e-6 if g.dtype == torch.float64 else 1e-4, g.detach()
    scale = found.abs().amax((-1, -2)).square().clamp(min=1.0)
    off = (found.mT @ (eta.unsqueeze(-1) * found) - torch.diag(eta)).abs().amax((-1, -2))
    bad = off > tolerance * scale
    if bool(bad.any()):
        raise ShapeError(f"{what}: {count(bad)} are no Lorentz transformations (gᵀ η g = η, η = diag(1, −1, −1, −1)).")


def _time(g: Tensor) -> Tensor:
    """Sign of the time's direction ``[..., 1]``."""
    return torch.where(g.detach()[..., :1, 0] < 0, -1.0, 1.0).to(g.dtype)


def _with_time(time: Tensor, space: Tensor) -> Tensor:
    """Return the matrices ``[..., 4, 4]`` with a sign ``[..., 1]`` for the time and ``[..., 3, 3]`` for space."""
    return torch.nn.functional.pad(space, (1, 0, 1, 0)) + torch.diag_embed(torch.nn.functional.pad(time, (0, 3)))


def _boost(u: Tensor) -> Tensor:
    """Return the boosts ``[..., 4, 4]`` that take the time axis to (√(1 + u²), u), u ``[..., 3]``."""
    gamma = (1 + u.square().sum(-1, keepdim=True)).sqrt()
    eye = torch.eye(3, dtype=u.dtype, device=u.device)
    space = eye + u.unsqueeze(-1) * u.unsqueeze(-2) / (1 + gamma.unsqueeze(-1))
    top = torch.cat([gamma, u], -1).unsqueeze(-2)
    return torch.cat([top, torch.cat([u.unsqueeze(-1), space], -1)], -2)


def lorentz_polar(g: Tensor) -> tuple[Tensor, Tensor]:
    """Return the polar (Cartan) parts of g = p k, a boost after a rotation.

    Args:
        g: ``[..., 4, 4]`` of O(1,3).

    Returns:
        p ``[..., 4, 4]`` a boost (symmetric and positive definite), k ``[..., 4, 4]`` of O(1) × O(3): a rotation, and
        the reflections of time and space that g has. Differentiable any number of times everywhere.

    Raises:
        ShapeError: No Lorentz transformations.

    Properties:
        lorentz_round_trips: the product of the parts is g.
        lorentz_parts_stay_in_the_group: all parts are Lorentz transformations, and the first is a boost.
    """
    _need_lorentz(g, "The polar decomposition of the Lorentz group")
    time = _time(g)
    u = g[..., 1:, 0] * time
    gamma = (1 + u.square().sum(-1)).sqrt()[..., None, None]
    # k = p⁻¹ g, where the two large terms of its lower right corner are one vector times another
    turn = g[..., 1:, 1:] - u.unsqueeze(-1) * (g[..., :1, 1:] * time.unsqueeze(-1)) / (1 + gamma)
    return _boost(u), _with_time(time, orthogonal_factor(turn))


def lorentz_polar_log_density(p: Tensor) -> Tensor:
    """Return the logarithm of the density of the Haar measure in polar coordinates, (sinh η / η)².

    With the rapidity vector η (a boost's length η and direction) and volumes by ½ tr XᵀY, dg = density d³η dk.

    Args:
        p: ``[..., 4, 4]`` boosts.

    Returns:
        ``[...]``.

    Properties:
        densities_are_numeric_jacobians: it is the logarithm of the determinant of the map's derivative.
    """
    need_square(p, "The density of the polar decomposition of the Lorentz group", 4)
    square = p[..., 1:, 0].square().sum(-1)
    # sinh η is √square; log (sinh η / η) has no root where η is small: asinh(s)/s = 1 − s²/6 + 3 s⁴/40 − 5 s⁶/112 …
    small = square < 1e-3
    s2 = torch.where(small, square, torch.zeros_like(square))
    series = 1 - s2 / 6 + 3 * s2**2 / 40 - 5 * s2**3 / 112 + 35 * s2**4 / 1152
    root = torch.where(small, torch.ones_like(square), square).sqrt()
    return -2 * torch.where(small, series, torch.asinh(root) / root).log()


def lorentz_kak(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parts of g = k1 a k2: a rotation, a boost along z, a rotation.

    k1 is a rotation that takes z to the direction of the boost: the shortest, or, where that direction is more than
    120° from z, the shortest after half a turn about x. Between the two k1 and k2 jump, by a rotation about z that a
    commutes with. A boost that vanishes has the direction z, with a zero derivative.

    Args:
        g: ``[..., 4, 4]`` of O(1,3).

    Returns:
        k1 ``[..., 4, 4]`` a rotation, a ``[..., 4, 4]`` a boost along z with rapidity ≥ 0, k2 ``[..., 4, 4]`` a
        rotation, with the reflections of time and space that g has.

    Raises:
        ShapeError: No Lorentz transformations.

    Properties:
        lorentz_round_trips: the product of the parts is g.
        lorentz_parts_stay_in_the_group: all parts are Lorentz transformations.
    """
    p, k = lorentz_polar(g)
    direction, length = _direction(p[..., 1:, 0])
    one = torch.ones_like(length).unsqueeze(-1)
    k1 = _with_time(one, _rotation_to(direction))
    along = torch.cat([torch.zeros_like(direction[..., :2]), length.unsqueeze(-1)], -1)
    return k1, _boost(along), k1.mT @ k


def lorentz_kak_log_density(a: Tensor) -> Tensor:
    """Return the logarithm of the density of the Haar measure in KAK, sinh² η.

    With the direction of the boost on the unit sphere, its rapidity η, the rotation k = k1 k2 and volumes by ½ tr XᵀY,
    dg = density dΩ dη dk.

    Args:
        a: ``[..., 4, 4]`` boosts along z.

    Returns:
        ``[...]``, −∞ at η = 0.

    Properties:
        densities_are_numeric_jacobians: it is the logarithm of the determinant of the map's derivative.
    """
    need_square(a, "The density of KAK of the Lorentz group", 4)
    return 2 * a[..., 3, 0].abs().log()


def lorentz_iwasawa(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parts of g = k a n: a null rotation n, a boost a along z, a rotation k.

    n keeps the light ray (1, 0, 0, 1); the light ray of g (1, 0, 0, 1) has the energy that a gives it.

    Args:
        g: ``[..., 4, 4]`` of O(1,3).

    Returns:
        k ``[..., 4, 4]`` a rotation, with the reflections of time and space that g has, a ``[..., 4, 4]`` a boost along
        z of any sign, n ``[..., 4, 4]`` with (n − 1)³ = 0. They are unique and smooth everywhere.

    Raises:
        ShapeError: No Lorentz transformations.

    Properties:
        lorentz_round_trips: the product of the parts is g.
        lorentz_parts_stay_in_the_group: all parts are Lorentz transformations.
    """
    _need_lorentz(g, "The Iwasawa decomposition of the Lorentz group")
    time = _time(g)
    onward = torch.cat([g[..., :1, :] * time.unsqueeze(-1), g[..., 1:, :]], -2)
    ray = onward[..., 0] + onward[..., 3]
    energy = ray[..., :1]
    direction = ray[..., 1:] / energy
    across = onward[..., 1:, 1:3] - direction.unsqueeze(-1) * onward[..., :1, 1:3]
    # The third axis from the first two (which have no small denominator): then reflections of space are in its sign.
    normal = torch.linalg.cross(across[..., 0], across[..., 1], dim=-1)
    sign = torch.where((normal * direction).detach().sum(-1, keepdim=True) < 0, -1.0, 1.0).to(g.dtype)
    turn = orthogonal_factor(torch.cat([across, (sign * normal).unsqueeze(-1)], -1))
    alpha = onward[..., 0, 1:3] / energy
    a = _boost(torch.cat([torch.zeros_like(alpha), 0.5 * (energy - 1 / energy)], -1))
    return _with_time(time, turn), a, _null_rotation(alpha)


def _null_rotation(alpha: Tensor) -> Tensor:
    """Return exp(α_x N_x + α_y N_y) ``[..., 4, 4]``, N_x: t → x, z → −x, x → t + z."""
    generator = torch.zeros(2, 4, 4, dtype=alpha.dtype, device=alpha.device)
    for axis in range(2):
        generator[axis, 1 + axis, 0] = generator[axis, 0, 1 + axis] = generator[axis, 3, 1 + axis] = 1.0
        generator[axis, 1 + axis, 3] = -1.0
    n = torch.einsum("...k,kij->...ij", alpha, generator)
    return torch.eye(4, dtype=alpha.dtype, device=alpha.device) + n + n @ n / 2


def lorentz_iwasawa_log_density(a: Tensor) -> Tensor:
    """Return the logarithm of the density of the Haar measure, e^{2t} / 2, t the rapidity of a (along +z).

    With volumes by ½ tr XᵀY, dg = density dk dt dn.

    Args:
        a: ``[..., 4, 4]`` boosts along z.

    Returns:
        ``[...]``.

    Properties:
        densities_are_numeric_jacobians: it is the logarithm of the determinant of the map's derivative.
    """
    need_square(a, "The density of the Iwasawa decomposition of the Lorentz group", 4)
    return 2 * torch.asinh(a[..., 3, 0]) - math.log(2)


def orthogonal_kak(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parts of rotations g = k1 a k2: k1 and k2 keep the last axis, a turns it towards the one before.

    For n = 3 they are the Euler angles z, x, z. For n ≥ 4 k1 is not unique (rotations that keep the last two axes go to
    either side); it takes the last but one axis to a direction, as k1 of `lorentz_kak` does.

    Args:
        g: ``[..., n, n]`` orthogonal, n ≥ 3.

    Returns:
        k1 ``[..., n, n]`` a rotation of the first n − 1 axes; a ``[..., n, n]`` a rotation of the last two by an angle
        in [0, π]; k2 ``[..., n, n]`` a rotation of the first n − 1 axes, with a reflection if g has one. At the angles
        0 and π the direction is that of the last but one axis, with a zero derivative (gimbal lock).

    Raises:
        ShapeError: Not orthogonal, or of less than three rows.

    Properties:
        orthogonal_round_trip: k1 a k2 = g.
        orthogonal_parts_stay_in_their_sets: all are orthogonal, k1 and k2 keep the last axis, a all but the last two.
    """
    what = "KAK of rotations"
    need_square(g, what)
    n = g.shape[-1]
    if n < 3:
        raise ShapeError(f"{what} needs three rows or more, given {n}.")
    eye, found = torch.eye(n, dtype=g.dtype, device=g.device), g.detach()
    bad = (found.mT @ found - eye).abs().amax((-1, -2)) > (1e-6 if g.dtype == torch.float64 else 1e-4)
    if bool(bad.any()):
        raise ShapeError(f"{what}: {count(bad)} are not orthogonal.")
    direction, sine = _direction(g[..., : n - 1, n - 1])
    cosine = g[..., n - 1, n - 1]
    length = (sine.square() + cosine.square()).sqrt()
    sine, cosine = sine / length, cosine / length
    k1 = torch.nn.functional.pad(_rotation_to(direction), (0, 1, 0, 1)) + torch.diag(eye[n - 1])
    plane = torch.stack([torch.stack([cosine, sine], -1), torch.stack([-sine, cosine], -1)], -2)
    a = torch.nn.functional.pad(plane, (n - 2, 0, n - 2, 0)) + torch.diag((eye[: n - 2]).sum(0))
    rest = (a.mT @ (k1.mT @ g))[..., : n - 1, : n - 1]
    return k1, a, torch.nn.functional.pad(orthogonal_factor(rest), (0, 1, 0, 1)) + torch.diag(eye[n - 1])


def orthogonal_kak_log_density(a: Tensor) -> Tensor:
    """Return the logarithm of the density of the Haar measure in these coordinates, sinⁿ⁻² θ.

    With the direction v of the image of the last axis on the unit sphere of the first n − 1, the angle θ, the rotation
    k2 and volumes by ½ tr XᵀY, dg = density dv dθ dk2.

    Args:
        a: ``[..., n, n]`` rotations of the last two axes.

    Returns:
        ``[...]``, −∞ at the angles 0 and π.

    Properties:
        densities_are_numeric_jacobians: it is the logarithm of the determinant of the map's derivative.
    """
    need_square(a, "The density of KAK of rotations")
    return (a.shape[-1] - 2) * a[..., -2, -1].abs().log()


def _direction(u: Tensor) -> tuple[Tensor, Tensor]:
    """Return u / |u| and |u|; where u vanishes, the last axis, with zero derivatives."""
    size = u.detach().square().sum(-1, keepdim=True).sqrt()
    there = size > _NO_DIRECTION
    axis = torch.zeros_like(u)
    axis[..., -1] = 1.0
    safe = torch.where(there, u, axis)
    length = safe.square().sum(-1, keepdim=True).sqrt()
    return safe / length, torch.where(there, length, torch.zeros_like(length)).squeeze(-1)


def _rotation_to(v: Tensor) -> Tensor:
    """Return rotations ``[..., n, n]`` that take the last axis to unit vectors ``[..., n]``."""
    n = v.shape[-1]
    if n == 2:
        return torch.stack([torch.stack([v[..., 1], v[..., 0]], -1), torch.stack([-v[..., 0], v[..., 1]], -1)], -2)
    behind = v.detach()[..., -1:] < -0.5
    eye = torch.eye(n, dtype=v.dtype, device=v.device)
    start = torch.where(behind, -eye[-1], eye[-1])
    # the shortest rotation of the unit vector e to v: 1 − (e + v)(e + v)ᵀ / (1 + e·v) + 2 v eᵀ
    middle = start + v
    shortest = (
        eye
        - middle.unsqueeze(-1) * middle.unsqueeze(-2) / (1 + (start * v).sum(-1))[..., None, None]
        + 2 * v.unsqueeze(-1) * start.unsqueeze(-2)
    )
    half_turn = torch.ones_like(v)
    half_turn[..., -2:] = torch.where(behind, -1.0, 1.0).to(v.dtype)
    return shortest * half_turn.unsqueeze(-2)

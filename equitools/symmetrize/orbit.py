"""Invariants that tell orbits of matrices apart, the distance to a group that they give, and a projection onto it.

A group acts on matrices by multiplication from the left. The orbit of the identity is the group itself: a matrix lies
in the group where its invariants are those of the identity.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, UnknownNameError, nearest
from equitools.groups import SL, SO, Lorentz, MatrixGroup, O, lorentz_metric, parse_group, polar_factor

__all__ = ["orbit_distance", "orbit_invariants", "orbit_project", "orbit_projectable"]


class _Family(NamedTuple):
    """What the functions of this module need to know of a group."""

    kind: str  # "O", "SO", "SL", "O(1,3)" or "SO+(1,3)"
    d: int

    @property
    def lorentz(self) -> bool:
        return "(1,3)" in self.kind


def _family(group: str | MatrixGroup) -> _Family:
    found = parse_group(group)
    if isinstance(found, Lorentz):
        return _Family(found.name, 4)
    if isinstance(found, (O, SO, SL)):
        return _Family(found.letter, found.n)
    known = ["O(2)", "O(3)", "SO(2)", "SO(3)", "SL(2)", "SL(3)", "O(1,3)", "SO+(1,3)"]
    raise UnknownNameError(f"No orbit invariants for the group {found.name!r}. {nearest(found.name, known)}")


def _check(g: Tensor, family: _Family, what: str = "Matrices") -> None:
    d = family.d
    if g.ndim < 2 or g.shape[-2:] != (d, d) or not g.is_floating_point():
        raise ShapeError(f"{what} [..., {d}, {d}] of floating point are needed, given {list(g.shape)} {g.dtype}.")


def orbit_invariants(g: Tensor, group: str | MatrixGroup) -> Tensor:
    """Return invariants of matrices under multiplication with group elements from the left.

    Invertible matrices of different orbits have different invariants, and the matrices of one orbit the same:

    - O(d): gᵀg (all d² entries, so that squared differences add up to a Frobenius norm);
    - SO(d): gᵀg and det g — for d = 2 the column lengths, the inner product of the columns and the determinant;
    - SL(d): det g;
    - O(1,3): gᵀηg;
    - SO⁺(1,3): gᵀηg, det g, and where the first column lies in time: its squared length with the sign of its time, or 0
      where it is space-like. That tells the group from all else and orbits apart whose first column is time-like; no
      continuous function of one column does more.

    Args:
        g: ``[..., d, d]``.
        group: A name or an object: O(d), SO(d), SL(d), O(1,3) or SO+(1,3).

    Returns:
        ``[..., K]``.

    Raises:
        ShapeError: The matrices do not fit the group.
        UnknownNameError: The group has no invariants here.

    Properties:
        invariance: of h g and of g they are the same.
        separation: of g off the group and of the identity they differ.
    """
    family = _family(group)
    _check(g, family)
    if family.kind == "SL":
        return torch.linalg.det(g).unsqueeze(-1)
    turned = g.transpose(-1, -2)
    if not family.lorentz:
        gram = (turned @ g).flatten(-2)
        return gram if family.kind == "O" else torch.cat([gram, torch.linalg.det(g).unsqueeze(-1)], -1)
    gram = turned @ lorentz_metric(g.dtype, g.device) @ g
    if family.kind == "O(1,3)":
        return gram.flatten(-2)
    future = torch.sign(g[..., 0, 0].detach()) * gram[..., 0, 0].clamp(min=0.0)
    return torch.cat([gram.flatten(-2), torch.linalg.det(g).unsqueeze(-1), future.unsqueeze(-1)], -1)


def orbit_distance(g: Tensor, group: str | MatrixGroup, reference: Tensor | None = None, p: float = 2.0) -> Tensor:
    """Return how far matrices are from an orbit: the mean of the p-th power of the difference of invariants.

    Zero in the group and nowhere else (up to rounding), so that it pushes a network's matrices onto the group. p = 2 is
    smooth; p = 1 has the subgradient 0 at 0. No root is taken: the gradient is finite everywhere.

    Args:
        g: ``[..., d, d]``.
        group: As for `orbit_invariants`.
        reference: A matrix ``[d, d]`` or ``[..., d, d]`` of the orbit; by default the identity.
        p: The power, at least 1.

    Returns:
        ``[...]``, not negative.

    Raises:
        ShapeError: The shapes do not fit.
        ConfigError: p is below 1.
        UnknownNameError: The group has no invariants here.

    Properties:
        zero_on_the_orbit: the distance of h · reference is 0 for every element h.
        left_invariance: of h g and of g it is the same.
    """
    if not p >= 1:
        raise ConfigError(f"The power p of the orbit distance must be at least 1, not {p!r}: below, gradients diverge.")
    family = _family(group)
    if reference is None:
        reference = torch.eye(family.d, dtype=g.dtype, device=g.device)
    _check(reference, family, "Reference matrices")
    difference = (orbit_invariants(g, group) - orbit_invariants(reference.to(g), group)).abs()
    return (difference if p == 1 else difference.square() if p == 2 else difference.pow(p)).mean(-1)


def orbit_project(g: Tensor, group: str | MatrixGroup) -> Tensor:
    """Project invertible matrices onto a group such that it goes along with multiplication: P(h g) = h P(g).

    So a matrix-valued function that is equivariant stays so. It is g times a matrix that depends on invariants only:

    - O(d): the orthogonal polar factor; SO(d): the same, after the last column of a g with det g < 0 was reversed
      (then the result is not the nearest one, but smooth wherever det g is not zero);
    - SL(d): g / abs(det g)^(1/d), the last column reversed where det g < 0;
    - O(1,3): gᵀηg has one positive eigenvalue; g maps its eigenvector u, u₀ > 0, to the time axis. The space axes are
      the images of e₁, e₂ and e₃, turned as e₀ is turned into u, and made orthonormal by Gram–Schmidt. Unlike the polar
      factor of `Lorentz.project` it exists for every invertible matrix, and is smooth where u₀ is not 0;
    - SO⁺(1,3): the same with the first and the last column reversed where that is needed.

    Args:
        g: ``[..., d, d]``, invertible.
        group: As for `orbit_invariants`.

    Returns:
        ``[..., d, d]``, differentiable (three times for Lorentz groups, any number of times for others).

    Raises:
        ShapeError: The matrices do not fit the group, are singular or not finite.
        UnknownNameError: The group is not known here.

    Properties:
        membership: the result is an element.
        left_equivariance: P(h g) = h P(g) for every element h.
        projection: P(h) = h for every element h.
    """
    family = _family(group)
    _check(g, family)
    if not bool(torch.isfinite(g.detach()).all()):
        raise ShapeError("Matrices to be projected are not finite.")
    if family.lorentz:
        return _project_lorentz(g, proper=family.kind != "O(1,3)")
    determinant = torch.linalg.det(g)
    if bool((determinant.detach() == 0).any()):
        raise ShapeError(f"A singular matrix has no projection onto {family.kind}({family.d}).")
    if family.kind != "O":
        flip = torch.ones_like(g[..., 0, :])
        flip[..., -1] = torch.sign(determinant.detach())
        g = g * flip.unsqueeze(-2)
    if family.kind == "SL":
        return g / determinant.abs().pow(1 / family.d)[..., None, None]
    return polar_factor(g, (1.0,) * family.d)


def orbit_projectable(g: Tensor, group: str | MatrixGroup) -> Tensor:
    """Return which matrices `orbit_project` can project: those that are finite and not singular to rounding.

    Args:
        g: ``[..., d, d]``.
        group: As for `orbit_invariants`.

    Returns:
        ``[...]`` bool, without a gradient. It depends on invariants, so that what is drawn again where it is false
        stays equivariant in distribution.

    Raises:
        ShapeError: The matrices do not fit the group.
        UnknownNameError: The group is not known here.
    """
    family = _family(group)
    _check(g, family)
    g = g.detach()
    finite = torch.isfinite(g).all(-1).all(-1)
    safe = torch.where(finite[..., None, None], g, torch.eye(family.d, dtype=g.dtype, device=g.device))
    if not family.lorentz:
        return finite & (torch.linalg.det(safe) != 0)
    _, _, value, info, _ = _space_and_time(safe.double())
    return finite & (info == 0) & (value > 0)


def _space_and_time(g: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Space axes of a Gram matrix, its time axis and that axis' square, the state and the factor of Cholesky."""
    gram = g.transpose(-1, -2) @ Lorentz().metric(g) @ g
    u, value = _time_direction(gram)
    # the rotation in the plane of e₀ and u that takes e₀ to u; u₀ ≥ 0, so that the two are never opposite
    e = torch.zeros_like(u)
    e[..., 0] = 1.0
    both = u + e
    eye = torch.eye(4, dtype=g.dtype, device=g.device)
    turn = eye - both.unsqueeze(-1) * both.unsqueeze(-2) / (1 + u[..., :1, None])
    turn = turn + 2 * u.unsqueeze(-1) * e.unsqueeze(-2)
    space = turn[..., 1:]  # orthonormal, and orthogonal to u in the ordinary sense
    inner, info = torch.linalg.cholesky_ex(-(space.transpose(-1, -2) @ gram @ space))
    return space, u, value, info, inner


def _project_lorentz(matrices: Tensor, proper: bool) -> Tensor:
    g = matrices.double()  # the condition of a Gram matrix is that of its factor squared
    space, u, value, info, inner = _space_and_time(g)
    if bool((info != 0).any()) or bool((value.detach() <= 0).any()):
        raise ShapeError("A matrix is singular, or too nearly so, to be projected onto the Lorentz group.")
    axes = torch.linalg.solve_triangular(inner, (g @ space).transpose(-1, -2), upper=False).transpose(-1, -2)
    time = g @ (u / value.sqrt().unsqueeze(-1)).unsqueeze(-1)
    found = torch.cat([time, axes], -1)
    if not proper:
        return found.to(matrices.dtype)
    signs = torch.ones_like(found[..., 0, :])
    signs[..., 0] = torch.sign(found.detach()[..., 0, 0])
    signs[..., 3] = signs[..., 0] * torch.sign(torch.linalg.det(found.detach()))
    return (found * signs.unsqueeze(-2)).to(matrices.dtype)


def _time_direction(gram: Tensor) -> tuple[Tensor, Tensor]:
    """The positive eigenvalue ``[...]`` of matrices of signature (1, 3) and its eigenvector ``[..., 4]``, u₀ ≥ 0.

    The other three eigenvalues may coincide, and do so in the group itself, where the derivative of `eigh` is not
    finite. So the pair is found without derivatives, and two steps of Newton's method, which leave the numbers as they
    are, have them: each step doubles the order to which they are right.
    """
    with torch.no_grad():
        values, vectors = torch.linalg.eigh(gram)
        u, value = vectors[..., -1], values[..., -1]
        u = torch.where(u[..., :1] < 0, -u, u)
    eye = torch.eye(4, dtype=gram.dtype, device=gram.device)
    zero = torch.zeros_like(value)[..., None, None]
    for _ in range(2 if gram.requires_grad else 0):
        border = torch.cat([gram - value[..., None, None] * eye, -u.unsqueeze(-1)], -1)
        matrix = torch.cat([border, torch.cat([2 * u.unsqueeze(-2), zero], -1)], -2)
        off = (gram @ u.unsqueeze(-1)).squeeze(-1) - value.unsqueeze(-1) * u
        error = torch.cat([off, u.square().sum(-1, keepdim=True) - 1], -1)
        step = torch.linalg.solve(matrix, error)
        u, value = u - step[..., :4], value - step[..., 4]
    return u, value

"""Splittings into a normal subgroup and a rest: scale and volume-preserving part, translation and linear part."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.affine import homogeneous_matrices
from equitools.groups.decompositions.checks import count, need_invertible, need_positive_determinant, need_square

__all__ = ["affine_levi", "levi", "semidirect", "semidirect_log_density"]


def levi(g: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Levi parts of GL⁺(n): its radical, the positive scalings, times SL(n).

    Args:
        g: ``[..., n, n]`` with positive determinant.

    Returns:
        The scaling ``[..., n, n]``, (det g)^{1/n} on its diagonal, and an element ``[..., n, n]`` of SL(n). They
        commute. In the coordinate √n · log scale, with volumes by tr XᵀY, the density of the Haar measure is one.

    Raises:
        ShapeError: Not square matrices, or one is singular or has a negative determinant.

    Properties:
        levi_round_trip: their product is g.
        levi_parts_stay_in_their_sets: the second has determinant 1.
    """
    need_square(g, "The Levi decomposition")
    need_positive_determinant(g, "The Levi decomposition")
    need_invertible(torch.linalg.svdvals(g.detach()), "The Levi decomposition")
    n = g.shape[-1]
    scale = (torch.linalg.slogdet(g)[1] / n).exp()[..., None, None]
    return scale * torch.eye(n, dtype=g.dtype, device=g.device), g / scale


def semidirect(g: Tensor) -> tuple[Tensor, Tensor]:
    """Return the parts of an affine map: first the linear part acts, then the translation.

    Args:
        g: Homogeneous matrices ``[..., n+1, n+1]``.

    Returns:
        The translation and the linear part, both ``[..., n+1, n+1]``.

    Raises:
        ShapeError: Not square matrices, or the last row is not (0, …, 0, 1).

    Properties:
        semidirect_round_trip: translation times linear part is g, exactly.
    """
    need_square(g, "The semidirect splitting")
    n = g.shape[-1] - 1
    eye = torch.eye(n + 1, dtype=g.dtype, device=g.device)
    tolerance = 1e-6 if g.dtype == torch.float64 else 1e-4
    bad = (g.detach()[..., n, :] - eye[n]).abs().amax(-1) > tolerance
    if bool(bad.any()):
        raise ShapeError(f"The semidirect splitting: the last row of {count(bad)} is not (0, …, 0, 1).")
    last = eye[n].expand(*g.shape[:-2], 1, n + 1)
    top = eye[:n, :n].expand(*g.shape[:-2], n, n)
    translation = torch.cat([torch.cat([top, g[..., :n, n:]], -1), last], -2)
    linear = torch.cat([torch.cat([g[..., :n, :n], torch.zeros_like(g[..., :n, n:])], -1), last], -2)
    return translation, linear


def affine_levi(g: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Levi parts of ℝⁿ⋊GL⁺(n) or SIM(n): the radical (translations and scalings) times SL(n) or SO(n).

    Args:
        g: Homogeneous matrices ``[..., n+1, n+1]`` with positive determinant.

    Returns:
        Translation and scaling in one matrix, and a linear part of determinant 1, both ``[..., n+1, n+1]``.

    Raises:
        ShapeError: Not homogeneous matrices, or one is singular or has a negative determinant.

    Properties:
        levi_round_trip: their product is g.
    """
    translation, linear = semidirect(g)
    n = g.shape[-1] - 1
    scale, rest = levi(linear[..., :n, :n])
    return translation @ without_translation(scale), without_translation(rest)


def without_translation(linear: Tensor) -> Tensor:
    """Return linear maps ``[..., n, n]`` as homogeneous matrices ``[..., n+1, n+1]``."""
    return homogeneous_matrices(linear, torch.zeros_like(linear[..., 0]))


def semidirect_log_density(linear: Tensor, side: str = "left") -> Tensor:
    """Return the logarithm of the density of a Haar measure in translation and linear part.

    With dh the invariant measure of the linear part, the left Haar measure is dt dh / abs(det h), the right one dt dh:
    they differ where the linear part changes volumes, since such a group is not unimodular.

    Args:
        linear: ``[..., n+1, n+1]``, as of `semidirect`.
        side: ``"left"`` or ``"right"``.

    Returns:
        ``[...]``.

    Raises:
        ShapeError: Not square matrices, or no such side.

    Properties:
        densities_are_numeric_jacobians: it is the logarithm of the determinant of the map's derivative.
    """
    need_square(linear, "The density of the semidirect splitting")
    if side not in {"left", "right"}:
        raise ShapeError(f"A Haar measure is 'left' or 'right', not {side!r}.")
    log_volume = torch.linalg.slogdet(linear)[1]
    return -log_volume if side == "left" else torch.zeros_like(log_volume)

"""Frames of principal axes: all signs ("full"), or the ones that third moments choose ("canonical")."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from equitools.ops import principal_axes
from equitools.symmetrize.frame_set import default_threshold

__all__ = ["PrincipalAxes", "moment_signs", "principal_axes_of", "sign_table"]


class PrincipalAxes(NamedTuple):
    """Centre, second moments and principal axes of clouds.

    Attributes:
        mean: ``[B, d]``; zero where the group has no translations.
        values: Eigenvalues of Σ x xᵀ, ascending, ``[B, d]``.
        vectors: Eigenvectors as columns, a rotation, ``[B, d, d]``.
    """

    mean: Tensor
    values: Tensor
    vectors: Tensor


def principal_axes_of(x: Tensor, mask: Tensor | None, centred: bool) -> PrincipalAxes:
    """Return the principal axes of clouds ``[B, N, d]`` about their centroid or about the origin."""
    if x.shape[-1] == 3:
        return PrincipalAxes(*principal_axes(x, mask, centred))
    weight = None if mask is None else mask.unsqueeze(-1).to(x.dtype)
    if weight is not None:
        x = x.masked_fill(~mask.unsqueeze(-1), 0.0)  # type: ignore[union-attr]
    if centred:
        mean = x.mean(1) if weight is None else x.sum(1) / weight.sum(1)
        x = x - mean.unsqueeze(1) if weight is None else (x - mean.unsqueeze(1)) * weight
    else:
        mean = x.new_zeros(x.shape[0], x.shape[-1])
    covariance = x.transpose(-1, -2) @ x
    finite = torch.isfinite(covariance.detach()).all(-1).all(-1)
    if not bool(finite.all()):  # LAPACK would raise, or not return
        nothing = covariance.new_full((), torch.nan)
        covariance = torch.where(finite[:, None, None], covariance, torch.eye(x.shape[-1]).to(x))
        values, vectors = torch.linalg.eigh(covariance)
        return PrincipalAxes(mean, torch.where(finite[:, None], values, nothing), vectors)
    values, vectors = torch.linalg.eigh(covariance)
    sign = torch.sign(torch.linalg.det(vectors.detach()))
    last = vectors[..., -1:] * sign[..., None, None]
    return PrincipalAxes(mean, values, torch.cat([vectors[..., :-1], last], -1))


@lru_cache(maxsize=32)
def _sign_table(d: int, reflections: bool) -> Tensor:
    rows = list(itertools.product((1.0, -1.0), repeat=d))
    table = torch.tensor(rows, dtype=torch.float64)
    return table if reflections else table[table.prod(1) > 0]


def sign_table(d: int, reflections: bool) -> Tensor:
    """Return the signs ``[F, d]`` of the axes: all 2^d, or the 2^(d−1) of determinant +1."""
    return _sign_table(d, reflections)


def moment_signs(
    x: Tensor, mask: Tensor | None, axes: PrincipalAxes, reflections: bool, threshold: float | None = None
) -> Tensor:
    """Return which signs of the principal axes the third moments Σ (x·v)³ choose.

    An axis points to where its third moment is positive. Without reflections the axis of the smallest spread takes
    the sign that makes the frame right-handed. A moment that vanishes (relative to the sum of the cubes' sizes, or
    because the cloud has no extent along the axis) leaves both signs.

    Args:
        x: Clouds ``[B, N, d]``.
        mask: Real points.
        axes: Their principal axes.
        reflections: All signs, or those of determinant +1.
        threshold: Relative size below which a moment counts as zero.

    Returns:
        Bool ``[B, F]``, F as in `sign_table`; at least one is true in each row.
    """
    threshold = default_threshold(x.dtype) if threshold is None else threshold
    d = x.shape[-1]
    with torch.no_grad():
        along = (x - axes.mean.unsqueeze(1)) @ axes.vectors
        if mask is not None:
            along = along.masked_fill(~mask.unsqueeze(-1), 0.0)
        moment, scale = along.pow(3).sum(1), along.abs().pow(3).sum(1)
        flat = axes.values <= (threshold**2) * axes.values[:, -1:]
        open_ = (moment.abs() <= threshold * scale) | flat
        table = sign_table(d, reflections).to(x)
        agrees = open_.unsqueeze(1) | (moment.unsqueeze(1) * table > 0)
        return (agrees if reflections or d == 1 else agrees[..., 1:]).all(-1)

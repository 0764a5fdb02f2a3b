"""Which clouds have no frame of their own, and how that is found out and said."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import DegenerateFrameError, ShapeError
from equitools.symmetrize.frame_set import check_cloud, default_threshold
from equitools.symmetrize.principal_frames import PrincipalAxes, principal_axes_of

__all__ = ["Degeneracy", "centroid", "check_finite", "degeneracy", "raise_if", "repeated_moments", "unit_cloud"]


class Degeneracy(NamedTuple):
    """In which way clouds are degenerate.

    Attributes:
        rank: How many principal axes have an extent, ``[B]``: 0 a single point, 1 a line, 2 planar, 3 a cloud in space.
        repeated: Whether eigenvalues k and k + 1 of the second moments coincide, ``[B, d−1]``: for d = 3 both for a
            spherical top (and a point), one for a symmetric top (and a line).
    """

    rank: Tensor
    repeated: Tensor


def degeneracy(
    x: Tensor, mask: Tensor | None = None, *, centred: bool = True, threshold: float | None = None
) -> Degeneracy:
    """Say in which way clouds are degenerate.

    Args:
        x: Clouds ``[B, N, d]``.
        mask: Real points ``[B, N]``.
        centred: About the centroid (E, SE) or about the origin (O, SO).
        threshold: Relative gaps of eigenvalues below this count as zero, and relative extents (lengths), which are not
            told from zero below 4√ε of the dtype: they are square roots of eigenvalues.

    Returns:
        `Degeneracy`.

    Raises:
        ShapeError: A wrong shape, a wholly masked cloud, coordinates that are not finite.
    """
    check_cloud(x, mask)
    threshold = default_threshold(x.dtype) if threshold is None else threshold
    axes = principal_axes_of(x.detach(), mask, centred)
    check_finite(axes.values)
    _, floor = centroid(x.detach(), mask, centred)
    floor = x.new_zeros(x.shape[0]) if floor is None else floor
    extent = axes.values.clamp_min(0).sqrt()
    # rounding of the matrix alone gives an extent of √eps, so that a smaller one cannot be told from none
    least = max(threshold, 4 * torch.finfo(x.dtype).eps ** 0.5)
    thin = extent <= torch.maximum(least * extent[:, -1], floor)[:, None]
    return Degeneracy((~thin).sum(-1), repeated_moments(axes, x, mask, threshold))


def check_finite(values: Tensor) -> None:
    """Raise a `ShapeError` that names the clouds whose values ``[B, ...]`` are not finite."""
    bad = ~torch.isfinite(values.detach()).flatten(1).all(1)
    if bool(bad.any()):
        which = bad.nonzero().flatten()[:8].tolist()
        raise ShapeError(f"Coordinates are not finite (NaN or infinite), or overflow, in cloud {which}.")


def centroid(x: Tensor, mask: Tensor | None, euclidean: bool) -> tuple[Tensor, Tensor | None]:
    """Centroids ``[B, d]`` (zero if not Euclidean), and the lengths ``[B]`` that are only their rounding."""
    if not euclidean:
        return x.new_zeros(x.shape[0], x.shape[-1]), None
    if mask is None:
        mean = x.mean(1)
    else:
        mean = x.masked_fill(~mask.unsqueeze(-1), 0.0).sum(1) / mask.sum(1, keepdim=True)
    return mean, 16 * torch.finfo(x.dtype).eps * mean.detach().norm(dim=-1)


def unit_cloud(x: Tensor, mask: Tensor | None, euclidean: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Bring clouds ``[B, N, d]`` to their centroid (if Euclidean) and to the size of 1.

    Frames do not depend on the size, but squares and cubes of coordinates leave the range of a dtype soon. The scale is
    a power of two, and a constant to autograd.

    Returns:
        The clouds (0 where masked, and where there is nothing but the centroid's rounding), the centroids ``[B, d]``,
        and the lengths that are only rounding, in the new unit (None if not Euclidean).
    """
    centre, floor = centroid(x, mask, euclidean)
    y = x - centre[:, None]
    if mask is not None:
        y = y.masked_fill(~mask.unsqueeze(-1), 0.0)
    largest = y.detach().abs().flatten(1).amax(1) if y.shape[1] else y.new_zeros(len(y))
    if floor is not None:
        y = torch.where((largest <= floor)[:, None, None], 0.0, y)
    # half of what would be a scale of 1/largest at the ends of the range, where that overflows
    exponent = torch.frexp(largest).exponent.to(x.dtype).clamp(min=-120 if x.dtype == torch.float32 else -1000)
    scale = torch.exp2(-exponent)
    return y * scale[:, None, None], centre, None if floor is None else floor * scale


def repeated_moments(axes: PrincipalAxes, x: Tensor, mask: Tensor | None, threshold: float | None) -> Tensor:
    """Return which neighbouring second moments of clouds ``[B, N, d]`` coincide, bool ``[B, d−1]``."""
    threshold = default_threshold(x.dtype) if threshold is None else threshold
    values = axes.values.detach()
    count = x.shape[1] if mask is None else mask.sum(1, keepdim=True)
    # the second moments of a single point far from the origin are the rounding of its centroid
    rounding = count * (16 * torch.finfo(x.dtype).eps * axes.mean.detach().norm(dim=-1, keepdim=True)).square()
    return values.diff(dim=-1) <= torch.maximum(threshold * values[:, -1:], rounding)


def raise_if(bad: Tensor, what: str, hence: str) -> None:
    """Raise a `DegenerateFrameError` that names the clouds ``[B]`` that have something, and says what follows."""
    if bool(bad.any()):
        which = bad.nonzero().flatten().tolist()
        raise DegenerateFrameError(
            f"Cloud {which[:8]}{' …' if len(which) > 8 else ''} of {len(bad)} has {what}: {hence}. "
            "degenerate='average' averages over its symmetry, degenerate='weighted' takes weighted frames, "
            "mode='weighted' does so for all clouds and is continuous."
        )

"""Frames of principal axes in three dimensions in two compiled passes, one over the points and one over the elements.

The result is that of the general way, in any dimension, in `equitools.symmetrize.frames`. The pass that finds the axes
also says which clouds are degenerate and what the signs of their third moments are; which signs belong to the latter
stands in a table of 64 rows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from equitools.groups import MatrixGroup
from equitools.ops import examined_axes, signed_axes
from equitools.ops.principal_axes import NOT_FINITE, OPEN, REPEATED
from equitools.symmetrize.frame_set import default_threshold
from equitools.symmetrize.principal_frames import PrincipalAxes, sign_table

__all__ = ["SpatialFrames", "spatial_frames"]


class SpatialFrames(NamedTuple):
    """Frames of all clouds, degenerate ones included, for which other frames have to be found.

    Attributes:
        axes: The principal axes; moments are NaN where coordinates are not finite.
        bad: Clouds with repeated second moments, ``[B]``; None where there is none.
        elements: ``[B, F, 3, 3]``; ``[B, F, 4, 4]`` where the group has translations and no cloud is bad.
        weights: ``[B, F]``.
    """

    axes: PrincipalAxes
    bad: Tensor | None
    elements: Tensor
    weights: Tensor


@lru_cache(maxsize=2)
def _choices(reflections: bool) -> tuple[Tensor, Tensor]:
    """Return which rows of the table of signs third moments choose, those first, and how many they are.

    Rows are numbered by the moments: bits 0 to 2 say that moment k vanishes, bits 3 to 5 that it is positive.
    """
    table = sign_table(3, reflections)
    number = torch.arange(64)
    bits = torch.stack([number >> k & 1 for k in range(6)], 1).bool()
    free = 0 if reflections else 1  # without reflections the first axis takes the sign that is left
    agrees = bits[:, None, free:3] | (bits[:, None, 3 + free :] == (table[:, free:] > 0))
    chosen = agrees.all(-1)
    order = torch.argsort((~chosen).to(torch.int8), dim=1, stable=True)
    return order.to(torch.int32), chosen.sum(1)


def spatial_frames(
    x: Tensor, mask: Tensor | None, group: MatrixGroup, *, canonical: bool = False, threshold: float | None = None
) -> SpatialFrames:
    """Return the frames of modes "full" and "canonical".

    Args:
        x: Clouds ``[B, N, 3]``.
        mask: Real points ``[B, N]``.
        group: O(3), SO(3), E(3) or SE(3).
        canonical: The element that third moments choose, and more than one only where they vanish; else all signs.
        threshold: As for `equitools.symmetrize.frames`.

    Returns:
        `SpatialFrames`.

    Properties:
        equals the general way.
    """
    threshold = default_threshold(x.dtype) if threshold is None else threshold
    *parts, state = examined_axes(x, mask, group.euclidean, threshold, canonical)
    axes = PrincipalAxes(*parts)
    found = state & (NOT_FINITE | sum(REPEATED))
    bad = found > 0 if bool(found.any()) else None
    table = sign_table(3, group.reflections).to(x)
    mean = axes.mean if group.euclidean and bad is None else None
    if not canonical:
        elements = signed_axes(axes.vectors, table, mean)
        return SpatialFrames(axes, bad, elements, x.new_full(elements.shape[:2], 1 / len(table)))
    order, counts = (t.to(x.device) for t in _choices(group.reflections))
    row = torch.div(state, OPEN[0], rounding_mode="floor")  # the bits of third moments are the upper ones
    count = counts[row]
    width = int(count.max()) if len(count) else 1
    elements = signed_axes(axes.vectors, table, mean, order[row, :width])
    used = torch.arange(width, device=x.device) < count[:, None]
    return SpatialFrames(axes, bad, elements, used.to(x.dtype) / count[:, None])

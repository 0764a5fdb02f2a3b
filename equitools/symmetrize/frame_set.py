"""What `equitools.symmetrize.frames` returns, and the checks that all kinds of frames share."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import ShapeError

__all__ = ["Frames", "check_cloud", "default_threshold", "pad_frames"]


class Frames(NamedTuple):
    """Group elements with weights, one set for each cloud.

    An element g maps a canonical pose to the input: the pose is g⁻¹x. Elements of weight 0 fill up sets that are
    smaller than the largest one of the batch.

    Attributes:
        elements: ``[B, F, d, d]``, or ``[B, F, d+1, d+1]`` where the group has translations.
        weights: ``[B, F]``, not negative; each row adds up to 1.
    """

    elements: Tensor
    weights: Tensor


def default_threshold(dtype: torch.dtype) -> float:
    """Return below which relative size something counts as zero: 1e-7 in float64, 1e-4 in smaller dtypes.

    A frame amplifies rounding by the inverse of the gap that fixes it. At these values float64 keeps nine digits and
    float32 three.
    """
    return 1e-7 if dtype == torch.float64 else 1e-4


def check_cloud(x: Tensor, mask: Tensor | None, d: int | None = None) -> None:
    """Check a batch of clouds and its mask.

    Args:
        x: Should be ``[B, N, d]``, floating point.
        mask: Should be ``[B, N]`` bool with at least one real point in each cloud.
        d: The dimension that the group acts on.

    Raises:
        ShapeError: Something has the wrong shape, dtype or device, or a cloud has no real point.
    """
    if x.ndim != 3 or not x.is_floating_point() or (d is not None and x.shape[-1] != d):
        raise ShapeError(
            f"Clouds are needed as a floating-point tensor [B, N, {d or 'd'}], given {list(x.shape)} {x.dtype}. "
            "One cloud is x[None]."
        )
    if mask is not None and (mask.shape != x.shape[:2] or mask.dtype != torch.bool):
        raise ShapeError(
            f"The mask of clouds {list(x.shape)} must be bool {list(x.shape[:2])} (True: a real point), given "
            f"{list(mask.shape)} {mask.dtype}."
        )
    if mask is not None and mask.device != x.device:
        raise ShapeError(f"The mask lies on {mask.device}, the clouds on {x.device}.")
    empty = x.shape[0] > 0 and (x.shape[1] == 0 or (mask is not None and not bool(mask.any(1).all())))
    if empty:
        which = [] if mask is None else (~mask.any(1)).nonzero().flatten().tolist()
        raise ShapeError(
            "A cloud needs at least one point. "
            + (
                f"Wholly masked: cloud {which[:8]}{' …' if len(which) > 8 else ''}."
                if which
                else f"Given {list(x.shape)}."
            )
            + " Take such clouds out of the batch."
        )


def pad_frames(elements: Tensor, weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Fill sets of frames up to ``count`` with copies of the first one, of weight 0."""
    missing = count - weights.shape[1]
    if missing <= 0:
        return elements, weights
    first = elements[:, :1].detach().expand(-1, missing, -1, -1)
    return torch.cat([elements, first], 1), torch.cat([weights, weights.new_zeros(weights.shape[0], missing)], 1)

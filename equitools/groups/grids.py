"""Moving what lives on a regular grid: signals, images and volumes as functions of centred coordinates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from equitools.errors import ConfigError, ShapeError, nearest

__all__ = ["act_on_grid", "grid_points"]

_MODES = ("bilinear", "nearest")
_PADDINGS = ("zeros", "border", "reflection")


def grid_points(
    spatial: tuple[int, ...], dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> Tensor:
    """Return the centres of the pixels of a grid.

    The origin is the middle, pixels are square, and the longest side reaches from −1 to 1, edge to edge.

    Args:
        spatial: Numbers of pixels along the axes of the grid, for example (rows, columns).
        dtype: Of the points.
        device: Of the points.

    Returns:
        ``[*spatial, d]``: the first coordinate runs along the last axis, the last one along the first.

    Properties:
        pixel_centres: the outermost of a row of S pixels are at ±(1 − 1/S).
    """
    longest = max(spatial)
    axes = [(torch.arange(s, dtype=dtype, device=device) - (s - 1) / 2) * (2 / longest) for s in spatial]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1)


def act_on_grid(
    pull_back: Callable[[Tensor], Tensor],
    images: Tensor,
    n: int,
    shape: tuple[int, ...],
    mode: str = "bilinear",
    padding: str = "zeros",
) -> Tensor:
    """Return images of x → f(pull_back(x)); see `MatrixGroup.act_on_grid`.

    Args:
        pull_back: Takes points ``[N, n]`` to ``[N, n]`` or ``[B, N, n]``.
        images: ``[B, C, *spatial]``.
        n: The number of spatial axes.
        shape: Of the batch of elements, ``[d, d]`` or ``[B, d, d]``.
        mode: ``"bilinear"`` or ``"nearest"``.
        padding: ``"zeros"``, ``"border"`` or ``"reflection"``.

    Returns:
        ``[B, C, *spatial]``.

    Raises:
        ShapeError: A shape does not fit.
        ConfigError: The mode or the padding is not known.
    """
    for name, value, known in (("mode", mode, _MODES), ("padding", padding, _PADDINGS)):
        if value not in known:
            raise ConfigError(f"{name}={value!r} is not known. {nearest(str(value), known)}")
    if not 1 <= n <= 3:
        raise ShapeError(f"Grids of 1, 2 or 3 axes can be moved, not of {n}.")
    if images.ndim != n + 2 or not images.is_floating_point() or 0 in images.shape[2:]:
        axes = ", ".join(("D", "H", "W")[3 - n :])
        raise ShapeError(f"Floating-point images [B, C, {axes}] are needed, given {list(images.shape)} {images.dtype}.")
    batch, spatial = len(images), images.shape[2:]
    if len(shape) not in {2, 3} or (len(shape) == 3 and shape[0] != batch):
        raise ShapeError(f"One element, or one for each of the {batch} images, is needed; given {list(shape)}.")
    points = pull_back(grid_points(spatial, images.dtype, images.device).reshape(-1, n)).to(images.dtype)
    points = points.expand(batch, -1, n)
    # grid_sample has each side from −1 to 1, whatever its length
    sides = torch.tensor(spatial[::-1], dtype=images.dtype, device=images.device)
    points = (points * (max(spatial) / sides)).reshape(batch, *spatial, n)
    if n == 1:  # a signal is an image of one row
        points = torch.cat([points, torch.zeros_like(points)], -1).unsqueeze(1)
        return grid_sample(images.unsqueeze(2), points, mode, padding, align_corners=False).squeeze(2)
    return grid_sample(images, points, mode, padding, align_corners=False)

"""Channels that tell a network where a pixel is."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.ops.grid_actions import Centre

__all__ = ["EMBEDDINGS", "grid_embedding"]

#: Number of channels of each embedding.
EMBEDDINGS = {"distance": 1, "cartesian": 2, "none": 0}


def grid_embedding(kind: str, size: int, like: Tensor, centre: Centre = "origin") -> Tensor:
    """Return coordinates of the pixels of a square torus of side 1.

    Args:
        kind: ``"distance"``: the squared distance from the centre, the shortest way around the torus. It is the only
            one that turns about the centre leave as it is. ``"cartesian"``: both coordinates, 0 to 1. ``"none"``.
        size: Pixels along a side.
        like: A tensor with the dtype and the device that are wanted.
        centre: ``"origin"``: pixel (0, 0). ``"grid"``: the middle of the grid.

    Returns:
        ``[channels, size, size]``.

    Raises:
        ConfigError: There is no such embedding or centre.

    Properties:
        invariance: the distance does not change, not in its last bit, under quarter turns and reflections about the
            centre.
    """
    if kind not in EMBEDDINGS:
        raise ConfigError(f"Embeddings are {', '.join(map(repr, EMBEDDINGS))}, not {kind!r}.")
    if centre not in {"grid", "origin"}:
        raise ConfigError(f"A centre is 'grid' or 'origin', not {centre!r}.")
    i = torch.arange(size, dtype=torch.float64)
    if kind == "cartesian":
        found = torch.stack(torch.meshgrid(i / size, i / size, indexing="ij"))
    elif kind == "distance":
        away = torch.minimum(i, size - i) if centre == "origin" else (i - (size - 1) / 2).abs()
        square = (away / size) ** 2
        found = (square[:, None] + square)[None]
    else:
        found = torch.empty(0, size, size)
    return found.to(like)

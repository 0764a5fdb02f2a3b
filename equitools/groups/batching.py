"""What batched matrix functions need to go along with `torch.func.vmap`."""

from __future__ import annotations

from torch import Tensor

__all__ = ["to_front"]


def to_front(x: Tensor, dimension: int | None, size: int) -> Tensor:
    """Return a tensor with the mapped dimension in front, repeated where it has none."""
    return x.expand(size, *x.shape) if dimension is None else x.movedim(dimension, 0)

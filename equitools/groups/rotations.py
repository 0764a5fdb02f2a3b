"""Rotations as matrices and quaternions, and uniform random ones."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError

__all__ = ["quaternion_to_matrix", "random_orthogonal", "random_rotation"]


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Return the rotation matrix of quaternions ``[..., 4]`` in the order (w, x, y, z); they are normalised first."""
    if quaternion.shape[-1] != 4:
        raise ShapeError(f"Quaternions [..., 4] are needed, the tensor given is {list(quaternion.shape)}.")
    w, x, y, z = (quaternion / quaternion.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)


def random_rotation(
    shape: tuple[int, ...] = (), generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Draw rotations ``[*shape, 3, 3]`` from the Haar measure of SO(3) (normalised Gaussian quaternions)."""
    return quaternion_to_matrix(torch.randn(*shape, 4, generator=generator, dtype=dtype))


def random_orthogonal(
    shape: tuple[int, ...] = (), generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Draw orthogonal matrices ``[*shape, 3, 3]`` from the Haar measure of O(3)."""
    sign = torch.randint(0, 2, (*shape, 1, 1), generator=generator).to(dtype) * 2 - 1
    return sign * random_rotation(shape, generator, dtype)

"""Rotations as matrices and quaternions, and uniform random ones."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError

__all__ = [
    "axis_angle_to_matrix",
    "matrix_to_quaternion",
    "quaternion_to_matrix",
    "random_orthogonal",
    "random_rotation",
]


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Return the rotation matrix of quaternions ``[..., 4]`` in the order (w, x, y, z); they are normalised first.

    Args:
        quaternion: ``[..., 4]``, any length but 0.

    Returns:
        ``[..., 3, 3]`` in the same dtype, differentiable.

    Raises:
        ShapeError: The tensor is not ``[..., 4]`` of a floating-point dtype.
    """
    if quaternion.shape[-1:] != (4,) or not quaternion.is_floating_point():
        raise ShapeError(
            f"Floating-point quaternions [..., 4] are needed, given {list(quaternion.shape)} {quaternion.dtype}."
        )
    w, x, y, z = (quaternion / quaternion.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)


def matrix_to_quaternion(rotation: Tensor) -> Tensor:
    """Return unit quaternions ``[..., 4]`` (w, x, y, z), w ≥ 0, of rotation matrices ``[..., 3, 3]``.

    The largest of the four components is found first and divided by, so that nothing is lost at 180°.

    Args:
        rotation: ``[..., 3, 3]``, orthogonal with determinant +1, which is not checked.

    Returns:
        ``[..., 4]`` in the same dtype, differentiable.

    Raises:
        ShapeError: The tensor is not ``[..., 3, 3]``.

    Properties:
        round_trip: quaternion_to_matrix(matrix_to_quaternion(R)) = R.
    """
    if rotation.shape[-2:] != (3, 3):
        raise ShapeError(f"Rotation matrices [..., 3, 3] are needed, the tensor given is {list(rotation.shape)}.")
    r = rotation
    a, b, c = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    x, y, z = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    xy, xz, yz = r[..., 0, 1] + r[..., 1, 0], r[..., 0, 2] + r[..., 2, 0], r[..., 1, 2] + r[..., 2, 1]
    # Row k is the quaternion times 4 times its own component k.
    candidates = torch.stack(
        [
            torch.stack([1 + a + b + c, x, y, z], -1),
            torch.stack([x, 1 + a - b - c, xy, xz], -1),
            torch.stack([y, xy, 1 - a + b - c, yz], -1),
            torch.stack([z, xz, yz, 1 - a - b + c], -1),
        ],
        -2,
    )
    best = torch.diagonal(candidates, dim1=-2, dim2=-1).argmax(-1)
    quaternion = torch.gather(candidates, -2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    quaternion = quaternion / quaternion.norm(dim=-1, keepdim=True)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def axis_angle_to_matrix(axis: Tensor, angle: Tensor) -> Tensor:
    """Return the rotation about ``axis`` ``[..., 3]`` (any length but 0) by ``angle`` ``[...]`` in radians.

    Raises:
        ShapeError: The axis is not ``[..., 3]``.
    """
    if axis.shape[-1:] != (3,):
        raise ShapeError(f"An axis [..., 3] is needed, the tensor given is {list(axis.shape)}.")
    axis, half = torch.broadcast_tensors(axis / axis.norm(dim=-1, keepdim=True), angle.unsqueeze(-1) / 2)
    return quaternion_to_matrix(torch.cat([torch.cos(half[..., :1]), torch.sin(half) * axis], -1))


def random_rotation(
    shape: tuple[int, ...] = (), generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Draw rotations from the Haar measure of SO(3), by normalised Gaussian quaternions.

    Args:
        shape: Of the batch.
        generator: Source of randomness; the rotations are made on its device.
        dtype: Of the rotations.

    Returns:
        ``[*shape, 3, 3]``.

    Properties:
        random_rotations_are_uniform: the distribution is that of the Haar measure.
    """
    device = None if generator is None else generator.device
    return quaternion_to_matrix(torch.randn(*shape, 4, generator=generator, dtype=dtype, device=device))


def random_orthogonal(
    shape: tuple[int, ...] = (), generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Draw orthogonal matrices from the Haar measure of O(3): a rotation, and ±1 with equal chance.

    Args:
        shape: Of the batch.
        generator: Source of randomness; the matrices are made on its device.
        dtype: Of the matrices.

    Returns:
        ``[*shape, 3, 3]``.
    """
    device = None if generator is None else generator.device
    sign = torch.randint(0, 2, (*shape, 1, 1), generator=generator, device=device).to(dtype) * 2 - 1
    return sign * random_rotation(shape, generator, dtype)

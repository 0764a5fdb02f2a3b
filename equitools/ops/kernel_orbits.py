"""The kernels of group convolutions: one kernel, its turned copies, and where each of their numbers comes from."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups.finite import FiniteGroup
from equitools.ops.grid_actions import grid_index

__all__ = ["group_kernel", "group_kernel_index", "lifting_kernel", "lifting_kernel_index"]


def lifting_kernel_index(group: FiniteGroup, size: int) -> Tensor:
    """Return where the numbers of turned kernels come from.

    Args:
        group: Of signed permutation matrices ``[G, d, d]``.
        size: Side of the kernel.

    Returns:
        ``[G, size^d]`` int64, for `lifting_kernel`.

    Raises:
        ConfigError: The elements of the group are no signed permutation matrices: a kernel on a grid cannot be turned
            by them exactly.
    """
    return grid_index(_elements(group), (size,) * _elements(group).shape[-1])


def group_kernel_index(group: FiniteGroup, size: int) -> Tensor:
    """Return where the numbers of turned and shifted kernels on group and grid come from.

    Args:
        group: Of signed permutation matrices, any group where ``size`` is 0.
        size: Side of the kernel; 0 for kernels on the group alone.

    Returns:
        ``[G, G, size^d]`` int64 (``[G, G, 1]`` for size 0): entry (g, h, p) is the place of (g⁻¹h, g⁻¹p) in a kernel
        whose group index and pixels have been flattened into one axis, for `group_kernel`.

    Raises:
        ConfigError: As in `lifting_kernel_index`.
    """
    place = torch.zeros(group.order, 1, dtype=torch.long) if size == 0 else lifting_kernel_index(group, size)
    shift = group.product(group.inverse[:, None], torch.arange(group.order))  # (g, h) -> g⁻¹h
    return shift[:, :, None] * place.shape[1] + place[:, None, :]


def lifting_kernel(kernel: Tensor, index: Tensor) -> Tensor:
    """Return the copies ``(g κ)(p) = κ(g⁻¹p)`` of a kernel on the grid.

    Args:
        kernel: ``[O, I, P]``, pixels flattened.
        index: ``[G, P]`` of `lifting_kernel_index`.

    Returns:
        ``[O, G, I, P]``.
    """
    if kernel.ndim != 3 or kernel.shape[-1] != index.shape[-1]:
        raise ShapeError(f"A kernel [O, I, {index.shape[-1]}] is needed, given {list(kernel.shape)}.")
    return kernel[:, :, index].transpose(1, 2)


def group_kernel(kernel: Tensor, index: Tensor) -> Tensor:
    """Return the copies ``(g κ)(h, p) = κ(g⁻¹h, g⁻¹p)`` of a kernel on group and grid.

    Args:
        kernel: ``[O, I, G, P]``, pixels flattened.
        index: ``[G, G, P]`` of `group_kernel_index`.

    Returns:
        ``[O, G, I, G, P]``.
    """
    if kernel.ndim != 4 or kernel.shape[2:] != index.shape[1:]:
        raise ShapeError(f"A kernel [O, I, {index.shape[1]}, {index.shape[2]}] is needed, given {list(kernel.shape)}.")
    return kernel.flatten(2)[:, :, index].transpose(1, 2)


def _elements(group: FiniteGroup) -> Tensor:
    if not group.is_signed_permutations:
        raise ConfigError(
            f"Kernels on a grid are turned exactly by signed permutation matrices only; {group.name} has other "
            "elements. Exact are p4, p4m, C1, C2, C4, D1, D2, D4, T, O, Th, Oh and their subgroups."
        )
    return group.matrices

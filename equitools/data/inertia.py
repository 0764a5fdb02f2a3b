"""A synthetic task whose symmetry is broken in a known way: the tensor of inertia, plus what distinguishes an axis.

k point masses; the target is I + ε (I a) aᵀ with the tensor of inertia I = Σ m (r² − r rᵀ) and a fixed unit vector a. I
is equivariant to O(3). The second term is to those rotations and reflections only that map a to ±a: to those about a,
and to the reflection along it. The task and its sizes are those of H. Kim et al., Regularizing Towards Soft
Equivariance Under Mixed Symmetries, ICML 2023 (arXiv 2306.00356); the draws are ours.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError

__all__ = ["BrokenInertia", "InertiaPart", "broken_inertia", "inertia_tensor"]


class InertiaPart(NamedTuple):
    """Inputs and targets.

    Attributes:
        inputs: k masses, then k positions ``[N, 4 k]`` float64: the representation k scalars + k vectors.
        target: The nine entries of a matrix ``[N, 9]``: the representation vector ⊗ vector.
    """

    inputs: Tensor
    target: Tensor


class BrokenInertia(NamedTuple):
    """The task: three parts."""

    train: InertiaPart
    valid: InertiaPart
    test: InertiaPart


def inertia_tensor(masses: Tensor, positions: Tensor) -> Tensor:
    """Return the tensor of inertia about the origin, ``[..., d, d]``, of masses ``[..., k]`` at ``[..., k, d]``.

    Raises:
        ShapeError: The shapes do not fit.

    Properties:
        equivariance: of rotated or reflected positions it is g I gᵀ.
    """
    if masses.shape != positions.shape[:-1]:
        raise ShapeError(f"Masses {list(masses.shape)} do not fit positions {list(positions.shape)}.")
    eye = torch.eye(positions.shape[-1], dtype=positions.dtype, device=positions.device)
    square = (masses * positions.square().sum(-1)).sum(-1)[..., None, None] * eye
    return square - torch.einsum("...k,...ki,...kj->...ij", masses, positions, positions)


def broken_inertia(
    train: int = 1000,
    valid: int = 1000,
    test: int = 1000,
    seed: int = 0,
    masses: int = 5,
    breaking: float = 0.3,
    axis: int = 2,
) -> BrokenInertia:
    """Make the task: masses softplus(z) and positions z with normal z.

    Args:
        train: Samples for training.
        valid: Samples for validation.
        test: Samples for testing.
        seed: Of the draws.
        masses: k.
        breaking: ε; 0 for a target that is equivariant to O(3).
        axis: Which coordinate axis a is.

    Returns:
        The three parts.

    Raises:
        ConfigError: A number is negative, k is 0, or there is no such axis.

    Properties:
        symmetry: the target is equivariant to what maps a to ±a, and with ε ≠ 0 to nothing else.
    """
    if min(train, valid, test) < 0 or masses < 1:
        raise ConfigError(f"Sizes must not be negative and k must be positive: {train}, {valid}, {test}, k = {masses}.")
    if axis not in (0, 1, 2):
        raise ConfigError(f"The axis is 0, 1 or 2, not {axis!r}.")
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(train + valid + test, 4 * masses, generator=random, dtype=torch.float64)
    drawn[:, :masses] = torch.nn.functional.softplus(drawn[:, :masses])
    matrix = inertia_tensor(drawn[:, :masses], drawn[:, masses:].unflatten(1, (masses, 3)))
    along = torch.zeros_like(matrix)
    along[:, :, axis] = matrix[:, :, axis]  # (I a) aᵀ: only the column of the axis
    target = (matrix + breaking * along).flatten(1)
    pieces = zip(drawn.split([train, valid, test]), target.split([train, valid, test]), strict=True)
    return BrokenInertia(*(InertiaPart(x, y) for x, y in pieces))

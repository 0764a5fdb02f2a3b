"""Rotation of edges to the polar axis y, and of features with them.

In the frame in which an edge points along the polar axis its harmonics have order 0 only: whatever an edge does to a
feature mixes degrees of one order abs(m), and nothing else (Passaro and Zitnick, ICML 2023, arXiv 2302.03655).

No rotation field takes every direction to the pole continuously, and no Euler angles cover all rotations. Both are
solved alike: there are two formulas, each is regular on more than half of all directions or rotations, and each edge
takes the one that is regular where it is. What a network computes with such a frame does not depend on the turn about
the pole that is left open, so neither value nor derivative notices the change of formula.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.ops.constants import constants
from equitools.ops.precision import full_precision
from equitools.ops.so2_tables import rows_of
from equitools.ops.spherical_harmonics import ZERO_LENGTH, unit_vectors

__all__ = [
    "MAX_FRAME_DEGREE",
    "EdgeFrames",
    "degrees_from_pole",
    "degrees_to_pole",
    "edge_frames",
    "edge_quaternion",
    "rotate_from_pole",
    "rotate_to_pole",
    "wigner_blocks",
]

#: Highest degree of a rotation matrix of `wigner_blocks`.
MAX_FRAME_DEGREE = 32


def edge_quaternion(vectors: Tensor) -> Tensor:
    """Return unit quaternions of rotations that take the direction of each vector to the polar axis +y.

    On the upper half (y ≥ 0) it is the shortest rotation, on the lower half half a turn about x and then the shortest.

    Args:
        vectors: ``[..., 3]``, of any length. A vector shorter than 1e-12 has no direction: its rotation is the
            identity, with derivatives zero.

    Returns:
        ``[..., 4]`` in the order (w, x, y, z).

    Raises:
        ShapeError: The tensor is not ``[..., 3]`` float32 or float64.

    Properties:
        takes_edges_to_the_pole: R(q) r̂ = ŷ, at ±y, too.
        smooth_at_the_poles: first and second derivatives are finite everywhere.
        no_direction: zero vectors give the identity and gradient zero.
    """
    _check("vectors", vectors, 3)
    x, y, z = unit_vectors(vectors).unbind(-1)
    known = vectors.detach().abs().amax(-1) >= ZERO_LENGTH
    upper = y >= 0
    height = 1 + torch.where(upper, y, -y)
    first = torch.stack([height, -z, torch.zeros_like(x), x], -1)
    second = torch.stack([-z, height, x, torch.zeros_like(x)], -1)
    # Of a zero vector the height is 1, not 2, and the quaternion (1, 0, 0, 0) after the division by 1.
    length = torch.where(known, 2 * height, torch.ones_like(height)).rsqrt()
    return torch.where(upper.unsqueeze(-1), first, second) * length.unsqueeze(-1)


@full_precision
def wigner_blocks(quaternion: Tensor, lmax: int, mmax: int | None = None) -> tuple[Tensor, ...]:
    """Return the Wigner D matrices of all degrees up to ``lmax`` of a batch of rotations.

    ``D = Z(α) X(β) Z(γ)`` with turns Z about y and X about x. Cosine and sine of the angles are rational in the
    quaternion and singular where the rotation takes the axis y to itself or its opposite; there the rotation is
    multiplied with a quarter turn about x first, which is taken back afterwards by its constant matrix. X(β) is
    linear in the cosines and sines of multiples of β: one product of matrices for all degrees.

    Args:
        quaternion: ``[E, 4]`` in the order (w, x, y, z), any length but 0.
        lmax: Highest degree.
        mmax: Only the rows of order up to this one are computed; ``None``: all.

    Returns:
        For each degree ``[E, 2·min(l, mmax)+1, 2l+1]``: the rows m = −mmax … mmax of `wigner_D`.

    Raises:
        ShapeError: The tensor is not ``[E, 4]`` float32 or float64, or a degree is out of range.

    Properties:
        equals_wigner_D: the matrices of `equitools.groups.wigner_D`.
        orthogonality: D Dᵀ = 1.
        homomorphism: D(p q) = D(p) D(q).
        single_precision: the error in float32 stays below 5e-6 to degree 10.
    """
    _check("quaternion", quaternion, 4)
    if quaternion.ndim != 2:
        raise ShapeError(f"Quaternions [E, 4] are needed, the tensor given is {list(quaternion.shape)}.")
    mmax = lmax if mmax is None else mmax
    if mmax < 0 or not 0 <= lmax <= MAX_FRAME_DEGREE:
        raise ShapeError(f"Degrees from 0 to {MAX_FRAME_DEGREE} and mmax ≥ 0 are needed, given {lmax} and {mmax}.")
    mmax = min(mmax, lmax)
    w, x, y, z = (quaternion / quaternion.norm(dim=-1, keepdim=True)).unbind(-1)
    # |R_yy| > √½: the axis y comes near to itself. The quaternion is multiplied from the right by (1, 1, 0, 0)/√2.
    with torch.no_grad():
        swap = (w * w + y * y - x * x - z * z).abs() > 0.5**0.5
    half = 0.5**0.5
    w, x = torch.where(swap, half * (w - x), w), torch.where(swap, half * (w + x), x)
    y, z = torch.where(swap, half * (y + z), y), torch.where(swap, half * (z - y), z)
    # w + iy = cos(β/2) exp(i(α+γ)/2), x + iz = sin(β/2) exp(i(γ−α)/2)
    cosine_squared, sine_squared = w * w + y * y, x * x + z * z
    both = (cosine_squared * sine_squared).rsqrt()
    alpha = _multiples((w * x + y * z) * both, (x * y - w * z) * both, mmax)
    gamma = _multiples((w * x - y * z) * both, (x * y + w * z) * both, lmax)
    beta = _multiples(cosine_squared - sine_squared, 2 * cosine_squared * sine_squared * both, lmax)
    (table,) = constants("so2_tables", "about_x", (lmax, mmax), w.dtype, w.device)
    waves = torch.cat([beta[0], beta[1][:, 1:]], 1)
    sizes = [len(rows_of(l, mmax)) * (2 * l + 1) for l in range(lmax + 1)]
    found = []
    for l, flat in enumerate((waves @ table).split(sizes, 1)):
        block = flat.unflatten(1, (-1, 2 * l + 1))
        if l > 0:
            cosines, sines = _orders(alpha, min(l, mmax))
            block = cosines.unsqueeze(2) * block - sines.unsqueeze(2) * block.flip(1)
            cosines, sines = _orders(gamma, l)
            block = block * cosines.unsqueeze(1) + block.flip(2) * sines.unsqueeze(1)
            (back,) = constants("so2_tables", "pole_to_z", (l,), w.dtype, w.device)
            block = torch.where(swap[:, None, None], block @ back, block)
        found.append(block)
    return tuple(found)


class EdgeFrames(NamedTuple):
    """The rotations of edges to the pole, as `edge_frames` makes them.

    Attributes:
        blocks: For each degree ``[E, 2·min(l, mmax)+1, 2l+1]``.
        known: ``[E]``, whether an edge has a direction.
        mmax: Highest order of the rows.
    """

    blocks: tuple[Tensor, ...]
    known: Tensor
    mmax: int


@full_precision
def edge_frames(vectors: Tensor, lmax: int, mmax: int | None = None) -> EdgeFrames:
    """Return the matrices that rotate features of all degrees into the frames of edges.

    Args:
        vectors: ``[E, 3]``; what has no direction (shorter than 1e-12) has the identity.
        lmax: Highest degree.
        mmax: Highest order that is wanted in the frames; ``None``: all.

    Returns:
        The frames; layers of one network may share them.

    Raises:
        ShapeError: As of `wigner_blocks`.

    Properties:
        harmonics_have_order_zero: D Y(r̂) = Y(ŷ).
    """
    _check("vectors", vectors, 3)
    if vectors.ndim != 2:
        raise ShapeError(f"Edge vectors [E, 3] are needed, the tensor given is {list(vectors.shape)}.")
    known = vectors.detach().abs().amax(-1) >= ZERO_LENGTH
    return EdgeFrames(
        wigner_blocks(edge_quaternion(vectors), lmax, mmax), known, lmax if mmax is None else min(mmax, lmax)
    )


@full_precision
def rotate_to_pole(x: Tensor, frames: EdgeFrames) -> Tensor:
    """Rotate features into the frames of their edges.

    Args:
        x: ``[E, (L+1)², C]``.
        frames: Of a degree of at least L.

    Returns:
        ``[E, Σ_l (2·min(l, mmax)+1), C]``: of each degree the orders up to ``frames.mmax``.

    Raises:
        ShapeError: The frames are of a lower degree, or of other edges.

    Properties:
        rotations_are_inverse: rotate_from_pole(rotate_to_pole(x)) = x with all orders.
    """
    return torch.cat(degrees_to_pole(x, frames), 1)


@full_precision
def rotate_from_pole(y: Tensor, frames: EdgeFrames) -> Tensor:
    """Rotate features back out of the frames of their edges: the adjoint of `rotate_to_pole`.

    Args:
        y: ``[E, Σ_l (2·min(l, mmax)+1), C]``.
        frames: Those by which it was rotated, or of a higher degree.

    Returns:
        ``[E, (L+1)², C]``.

    Raises:
        ShapeError: As of `rotate_to_pole`.
    """
    sizes = _sizes(y, frames, lambda l: 2 * min(l, frames.mmax) + 1)
    return degrees_from_pole(y.split(sizes, 1), frames)


def degrees_to_pole(x: Tensor, frames: EdgeFrames) -> list[Tensor]:
    """Return what `rotate_to_pole` does as one tensor ``[E, 2·min(l, mmax)+1, C]`` for each degree."""
    parts = x.split(_sizes(x, frames, lambda l: 2 * l + 1), 1)
    return [torch.bmm(block, part) for block, part in zip(frames.blocks, parts, strict=False)]


def degrees_from_pole(parts: Sequence[Tensor], frames: EdgeFrames) -> Tensor:
    """Do what `rotate_from_pole` does with one tensor for each degree."""
    if len(parts) > len(frames.blocks):
        raise ShapeError(
            f"The frames have degrees up to {len(frames.blocks) - 1}, the features up to {len(parts) - 1}: make the "
            "frames with a higher lmax."
        )
    return torch.cat([torch.bmm(block.mT, part) for block, part in zip(frames.blocks, parts, strict=False)], 1)


def _sizes(x: Tensor, frames: EdgeFrames, size: Callable[[int], int]) -> list[int]:
    """Return the number of components of each degree that a feature has."""
    sizes: list[int] = []
    while x.ndim == 3 and sum(sizes) < x.shape[1] and len(sizes) < len(frames.blocks):
        sizes.append(size(len(sizes)))
    if x.ndim != 3 or sum(sizes) != x.shape[1] or not sizes or x.shape[0] != len(frames.known):
        raise ShapeError(
            f"Features of all degrees up to one, [E, components, C], are needed for the frames of {len(frames.known)} "
            f"edges with degrees up to {len(frames.blocks) - 1} and orders up to {frames.mmax}; the tensor given is "
            f"{list(x.shape)}."
        )
    if x.dtype != frames.blocks[0].dtype or x.device != frames.blocks[0].device:
        raise ShapeError(
            f"The features are {x.dtype} on {x.device}, the frames {frames.blocks[0].dtype} on "
            f"{frames.blocks[0].device}; convert one of them."
        )
    return sizes


def _multiples(cosine: Tensor, sine: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of 0, 1, … ``count`` times an angle, ``[E, count + 1]``."""
    cosines, sines = [torch.ones_like(cosine)], [torch.zeros_like(sine)]
    for k in range(1, count + 1):
        # The angle of half the multiple twice, or of both halves together: errors grow with the logarithm only.
        a, b = k // 2, k - k // 2
        if k == 1:
            cosines.append(cosine)
            sines.append(sine)
        else:
            cosines.append(cosines[a] * cosines[b] - sines[a] * sines[b])
            sines.append(sines[a] * cosines[b] + cosines[a] * sines[b])
    return torch.stack(cosines, 1), torch.stack(sines, 1)


def _orders(waves: tuple[Tensor, Tensor], mmax: int) -> tuple[Tensor, Tensor]:
    """Return cos(mα) and sin(mα) for m = −mmax … mmax."""
    cosines, sines = (wave[:, : mmax + 1] for wave in waves)
    return torch.cat([cosines[:, 1:].flip(1), cosines], 1), torch.cat([-sines[:, 1:].flip(1), sines], 1)


def _check(name: str, tensor: Tensor, width: int) -> None:
    if tensor.shape[-1:] != (width,) or tensor.dtype not in (torch.float32, torch.float64):
        raise ShapeError(
            f"{name} must be [..., {width}] float32 or float64, the tensor given is {list(tensor.shape)} "
            f"{tensor.dtype}."
        )

"""Wigner D matrices in the real basis, from rotation matrices: no Euler angles, nothing special at the poles."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups._e3nn import Irreps
from equitools.groups.coupling import clebsch_gordan
from equitools.groups.rotations import quaternion_to_matrix

__all__ = ["irreps_matrix", "wigner_D", "wigner_D_from_quaternion"]


def _all_degrees(lmax: int, rotation: Tensor) -> list[Tensor]:
    if rotation.shape[-2:] != (3, 3):
        raise ShapeError(f"A rotation matrix [..., 3, 3] is needed, the tensor given is {list(rotation.shape)}.")
    found = [torch.ones((*rotation.shape[:-2], 1, 1), dtype=rotation.dtype, device=rotation.device), rotation]
    for l in range(2, lmax + 1):
        c = clebsch_gordan(l - 1, 1, l).to(rotation)
        half = torch.einsum("abm,...ac->...bcm", c, found[-1])
        half = torch.einsum("...bcm,...bd->...cdm", half, rotation)
        found.append((2 * l + 1) * torch.einsum("...cdm,cdn->...mn", half, c))
    return found[: lmax + 1]


def wigner_D(l: int, rotation: Tensor) -> Tensor:
    """Return the matrix by which real spherical harmonics of degree ``l`` turn: Y(R x) = D(R) Y(x).

    Args:
        l: Degree.
        rotation: Rotation matrices ``[..., 3, 3]``, determinant +1.

    Returns:
        ``[..., 2l+1, 2l+1]`` in the dtype of ``rotation``, differentiable.

    Properties:
        homomorphism: D(R1 R2) = D(R1) D(R2).
        orthogonality: D(R) D(R)ᵀ = 1.
    """
    return _all_degrees(max(l, 1), rotation)[l]


def wigner_D_from_quaternion(l: int, quaternion: Tensor) -> Tensor:
    """`wigner_D` of unit quaternions ``[..., 4]`` in the order (w, x, y, z)."""
    return wigner_D(l, quaternion_to_matrix(quaternion))


def irreps_matrix(irreps: Irreps | str, element: Tensor) -> Tensor:
    """Return the matrix of an element of O(3) on features of the given irreps (``mul_ir`` layout).

    Args:
        irreps: The representation.
        element: Orthogonal matrices ``[..., 3, 3]``, determinant +1 or −1.

    Returns:
        ``[..., dim, dim]``.
    """
    irreps = Irreps(irreps)
    sign = torch.sign(torch.linalg.det(element))
    proper = element * sign[..., None, None]
    degrees = _all_degrees(max(irreps.lmax if len(irreps) else 0, 1), proper)
    out = torch.zeros((*element.shape[:-2], irreps.dim, irreps.dim), dtype=element.dtype, device=element.device)
    start = 0
    for mul, ir in irreps:
        block = degrees[ir.l] if ir.p == 1 else degrees[ir.l] * sign[..., None, None]
        for _ in range(mul):
            out[..., start : start + ir.dim, start : start + ir.dim] = block
            start += ir.dim
    return out

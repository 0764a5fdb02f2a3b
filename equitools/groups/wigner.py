"""Wigner D matrices in the real basis, from rotation matrices: no Euler angles, nothing special at the poles."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from equitools.errors import ShapeError
from equitools.groups._e3nn import Irreps
from equitools.groups.irreps import parse_irreps
from equitools.groups.rotations import quaternion_to_matrix
from equitools.groups.su2 import check_degrees, real_coupling

__all__ = ["irreps_matrix", "wigner_D", "wigner_D_from_quaternion"]


def _check(rotation: Tensor) -> None:
    if rotation.shape[-2:] != (3, 3) or not rotation.is_floating_point():
        raise ShapeError(
            f"Rotation matrices [..., 3, 3] of a floating-point dtype are needed, given {list(rotation.shape)} "
            f"{rotation.dtype}."
        )


def _all_degrees(lmax: int, rotation: Tensor) -> list[Tensor]:
    """Matrices of the degrees 0…lmax: degree l is the top one in the product of degrees l − 1 and 1.

    The recursion is a polynomial in the entries of the rotation, which makes it differentiable everywhere, and it is
    stable, because every step only projects a product of orthogonal matrices.
    """
    found = [torch.ones((*rotation.shape[:-2], 1, 1), dtype=rotation.dtype, device=rotation.device), rotation]
    for l in range(2, lmax + 1):
        c = torch.from_numpy(real_coupling(l - 1, 1, l).copy()).to(rotation)
        half = torch.einsum("abm,...ac->...bcm", c, found[-1])
        half = torch.einsum("...bcm,...bd->...cdm", half, rotation)
        found.append((2 * l + 1) * torch.einsum("...cdm,cdn->...mn", half, c))
    return found[: lmax + 1]


def wigner_D(l: int, rotation: Tensor) -> Tensor:
    """Return the matrix by which real spherical harmonics of degree ``l`` turn: Y(R x) = D(R) Y(x).

    Args:
        l: Degree.
        rotation: Rotation matrices ``[..., 3, 3]``. They are not checked to be orthogonal, which would cost more than
            the rest; with determinant −1 the equation above holds too, D then contains the factor (−1)^l.

    Returns:
        ``[..., 2l+1, 2l+1]`` in the dtype of ``rotation``, differentiable. The basis is that of e3nn's ``o3.wigner_D``.

    Raises:
        IrrepsError: The degree is negative or no integer.
        ShapeError: The tensor is not ``[..., 3, 3]`` of a floating-point dtype.

    Properties:
        homomorphism: D(R1 R2) = D(R1) D(R2).
        orthogonality: D(R) D(R)ᵀ = 1.
        turns_spherical_harmonics: Y(R x) = D(R) Y(x).
    """
    (l,) = check_degrees(l)
    _check(rotation)
    return _all_degrees(l, rotation)[l]


def wigner_D_from_quaternion(l: int, quaternion: Tensor) -> Tensor:
    """Return `wigner_D` of quaternions ``[..., 4]`` in the order (w, x, y, z); they are normalised first.

    Args:
        l: Degree.
        quaternion: ``[..., 4]``, any length but 0.

    Returns:
        ``[..., 2l+1, 2l+1]`` in the dtype of ``quaternion``, differentiable.

    Raises:
        IrrepsError: The degree is negative or no integer.
        ShapeError: The tensor is not ``[..., 4]``.

    Properties:
        double_cover: q and −q have the same matrix.
    """
    return wigner_D(l, quaternion_to_matrix(quaternion))


def irreps_matrix(irreps: Irreps | str, element: Tensor) -> Tensor:
    """Return the matrix of an element of O(3) on features of the given irreps (``mul_ir`` layout).

    Args:
        irreps: The representation.
        element: Orthogonal matrices ``[..., 3, 3]``, determinant +1 or −1.

    Returns:
        ``[..., dim, dim]`` in the dtype of ``element``, differentiable.

    Raises:
        IrrepsError: The irreps are not understood.
        ShapeError: The tensor is not ``[..., 3, 3]`` of a floating-point dtype.

    Properties:
        homomorphism_of_O3: ρ(g h) = ρ(g) ρ(h).
    """
    irreps = parse_irreps(irreps)
    _check(element)
    sign = torch.sign(torch.linalg.det(element))[..., None, None]
    degrees = _all_degrees(max((ir.l for _, ir in irreps), default=0), element * sign)
    rows: list[Tensor] = []
    start = 0
    for mul, ir in irreps:
        block = degrees[ir.l] if ir.p == 1 else degrees[ir.l] * sign
        for _ in range(mul):
            rows.append(pad(block, (start, irreps.dim - start - ir.dim)))
            start += ir.dim
    return torch.cat(rows, -2) if rows else element.new_zeros((*element.shape[:-2], 0, 0))

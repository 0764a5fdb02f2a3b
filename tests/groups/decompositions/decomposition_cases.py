"""Random matrices of a stated condition, and numeric Jacobians, for the tests of decompositions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rotations(batch: int, n: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    q, r = torch.linalg.qr(torch.randn(batch, n, n, generator=generator(seed), dtype=dtype))
    q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign().unsqueeze(-2)
    flip = torch.ones(batch, n, dtype=dtype)
    flip[:, 0] = torch.linalg.det(q).sign()
    return q * flip.unsqueeze(-2)


def of_condition(batch: int, n: int, condition: float, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Matrices of positive determinant with singular values between 1/√condition and √condition, both taken."""
    exponents = torch.rand(batch, n, generator=generator(seed), dtype=torch.float64) - 0.5
    if n > 1:
        exponents[:, 0], exponents[:, -1] = 0.5, -0.5
    s = condition**exponents
    return (rotations(batch, n, seed + 1) @ torch.diag_embed(s) @ rotations(batch, n, seed + 2)).to(dtype)


def relative_error(a: Tensor, b: Tensor) -> float:
    """Largest difference of matrices relative to the second, both by the Frobenius norm."""
    return float(((a - b).norm(dim=(-1, -2)) / b.norm(dim=(-1, -2))).max()) if a.numel() else 0.0


def orthogonality(k: Tensor) -> float:
    eye = torch.eye(k.shape[-1], dtype=k.dtype)
    return float((k.mT @ k - eye).abs().max()) if k.numel() else 0.0


def skew_basis(n: int) -> Tensor:
    """Orthonormal by tr XᵀY."""
    basis = [(_unit(n, i, j) - _unit(n, j, i)) / 2**0.5 for i in range(n) for j in range(i)]
    return torch.stack(basis) if basis else torch.zeros(0, n, n, dtype=torch.float64)


def symmetric_basis(n: int) -> Tensor:
    """Orthonormal by tr XᵀY."""
    off = [(_unit(n, i, j) + _unit(n, j, i)) / 2**0.5 for i in range(n) for j in range(i)]
    return torch.stack([*(_unit(n, i, i) for i in range(n)), *off])


def diagonal_basis(n: int) -> Tensor:
    return torch.stack([_unit(n, i, i) for i in range(n)])


def triangular_basis(n: int, lower: bool = False) -> Tensor:
    basis = [_unit(n, i, j) for i in range(n) for j in range(n) if (i > j if lower else i < j)]
    return torch.stack(basis) if basis else torch.zeros(0, n, n, dtype=torch.float64)


def _unit(n: int, i: int, j: int) -> Tensor:
    e = torch.zeros(n, n, dtype=torch.float64)
    e[i, j] = 1.0
    return e


def log_jacobian(element: Callable[[Tensor], Tensor], size: int, basis: Tensor) -> float:
    """Logarithm of |det| of the derivative at zero of a map of coordinates to elements, seen as g⁻¹ dg in a basis.

    Args:
        element: Of ``size`` coordinates to a matrix.
        size: Number of coordinates; as many as there are elements of the basis.
        basis: Orthonormal by tr XᵀY, of the group's algebra.
    """
    x = torch.zeros(size, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(element, x)
    moved = torch.linalg.solve(element(x), jacobian.movedim(-1, 0))
    # nothing of the derivative may lie outside of the algebra
    inside = torch.einsum("aij,kij->ak", moved, basis)
    back = torch.einsum("ak,kij->aij", inside, basis)
    torch.testing.assert_close(back, moved, atol=1e-9 * float(moved.abs().max()), rtol=0)
    return float(torch.linalg.slogdet(inside)[1])

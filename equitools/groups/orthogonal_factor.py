"""The orthogonal factor of matrices, with derivatives that are right where singular values coincide.

Through the singular value decomposition a = U S Vᵀ the factor k = U Vᵀ is orthogonal to the last digit, whatever the
condition of ``a``. What torch knows of the derivative of U and V divides by differences of singular values; that of k
needs their sums only: with p = a kᵀ it is dk = Z k, p Z + Z p = da kᵀ − k daᵀ.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equitools.groups.batching import to_front
from equitools.groups.precision import full_precision

__all__ = ["orthogonal_factor", "solve_lyapunov"]


@full_precision
def orthogonal_factor(a: Tensor, proper: bool = False) -> Tensor:
    """Return the orthogonal matrix that is nearest to ``a``, or with ``proper`` the nearest rotation.

    Args:
        a: ``[..., n, n]``. Where it is singular, the nearest matrix is not unique, and one is returned.
        proper: Determinant +1, whatever that of ``a``: the axis of its smallest singular value is reversed if need be.

    Returns:
        ``[..., n, n]``, differentiable any number of times where it is unique.
    """
    return _Factor.apply(a, proper)


@full_precision
def solve_lyapunov(p: Tensor, c: Tensor) -> Tensor:
    """Return the z of p z + z p = c for symmetric p.

    Args:
        p: ``[..., n, n]`` symmetric, no two eigenvalues adding up to zero.
        c: ``[..., n, n]``.

    Returns:
        ``[..., n, n]``, differentiable any number of times: eigenvalues of p may coincide.
    """
    return _Lyapunov.apply(p, c)


class _Factor(torch.autograd.Function):
    """The factor of `orthogonal_factor`."""

    @staticmethod
    def forward(a: Tensor, proper: bool) -> Tensor:
        u, _, vh = torch.linalg.svd(a)
        if proper:
            flip = torch.ones_like(u[..., 0, :])
            flip[..., -1:] = torch.sign(torch.linalg.det(u @ vh)).unsqueeze(-1)
            u = u * flip.unsqueeze(-2)
        return u @ vh

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, bool], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)
        ctx.save_for_forward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        a, k = ctx.saved_tensors
        return _turned(a, k, grads[0]), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        a, k = ctx.saved_tensors
        return _turned(a, k, tangents[0])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, None], a: Tensor, proper: bool) -> tuple[Tensor, int]:
        return _Factor.apply(to_front(a, in_dims[0], info.batch_size), proper), 0


@full_precision
def _turned(a: Tensor, k: Tensor, direction: Tensor) -> Tensor:
    """The derivative of the factor in a direction; the map is its own adjoint."""
    p = a @ k.transpose(-1, -2)
    c = direction @ k.transpose(-1, -2)
    return solve_lyapunov((p + p.transpose(-1, -2)) / 2, c - c.transpose(-1, -2)) @ k


class _Lyapunov(torch.autograd.Function):
    """The solution of `solve_lyapunov`; it is its own adjoint, and its derivative in p is another such solution."""

    @staticmethod
    def forward(p: Tensor, c: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(p)
        inside = vectors.transpose(-1, -2) @ c @ vectors
        return vectors @ (inside / (values.unsqueeze(-1) + values.unsqueeze(-2))) @ vectors.transpose(-1, -2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)
        ctx.save_for_forward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        p, z = ctx.saved_tensors
        return _pulled(p, z, grads[0])

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        p, z = ctx.saved_tensors
        return _pushed(p, z, *tangents)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, int | None], p: Tensor, c: Tensor) -> tuple[Tensor, int]:
        p, c = (to_front(x, d, info.batch_size) for x, d in zip((p, c), in_dims, strict=True))
        return _Lyapunov.apply(p, c), 0


@full_precision
def _pulled(p: Tensor, z: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of the solution by p and c."""
    w = solve_lyapunov(p, gradient)
    turned = w @ z.transpose(-1, -2)
    return -(turned + z.transpose(-1, -2) @ w), w


@full_precision
def _pushed(p: Tensor, z: Tensor, along_p: Tensor, along_c: Tensor) -> Tensor:
    """The derivative of the solution along p and c."""
    return solve_lyapunov(p, along_c - along_p @ z - z @ along_p)

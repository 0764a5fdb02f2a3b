"""Polar parts of invertible matrices, by the singular value decomposition, differentiable any number of times."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equitools.groups.decompositions.checks import need_invertible

__all__ = ["polar_of_any"]


def polar_of_any(g: Tensor) -> tuple[Tensor, Tensor]:
    """Return g = p k, p ``[..., n, n]`` symmetric and positive definite and k ``[..., n, n]`` orthogonal."""
    p, k, _, s = _Polar.apply(g)
    need_invertible(s, "The polar decomposition")
    return p, k


class _Polar(torch.autograd.Function):
    """With dk = z k it is p z + z p = dg kᵀ − k dgᵀ: only sums of singular values are divided by."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        u, s, vh = torch.linalg.svd(g)
        p = (u * s.unsqueeze(-2)) @ u.mT
        return 0.5 * (p + p.mT), u @ vh, u, s

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG004
        ctx.mark_non_differentiable(output[2], output[3])
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        p, k, u, s = ctx.saved_tensors
        grad_p = 0.5 * (grads[0] + grads[0].mT)
        turned = grads[1] @ k.mT - p @ grad_p
        return (grad_p + _Lyapunov.apply(p, turned - turned.mT, u, s)) @ k


class _Lyapunov(torch.autograd.Function):
    """The z of p z + z p = c, p = u diag(s) uᵀ; its derivatives are again of this kind."""

    generate_vmap_rule = True

    @staticmethod
    def forward(p: Tensor, c: Tensor, u: Tensor, s: Tensor) -> Tensor:  # noqa: ARG004
        return u @ ((u.mT @ c @ u) / (s.unsqueeze(-1) + s.unsqueeze(-2))) @ u.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[0], output, *inputs[2:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        p, z, u, s = ctx.saved_tensors
        w = _Lyapunov.apply(p, grads[0], u, s)
        return -(w @ z.mT + z.mT @ w), w, None, None

"""Singular values and vectors with derivatives that stay finite where singular values coincide.

With g = U S Vᵀ, dU = U A, dV = V B and W = Uᵀ dg V, the sum A + B is (W + Wᵀ)_ij / (s_j − s_i), and the difference
A − B is (W − Wᵀ)_ij / (s_i + s_j). Only the sum knows of gaps: it turns equal axes within their plane, which has
no limit where they meet. Gaps below rounding count as none, and what would be divided by them as zero: then U Vᵀ and
symmetric functions of S still have their right first derivatives. U f(S) Uᵀ has not (its derivative is a limit of f's
slope, which is lost): `equitools.groups.decompositions.spectral` computes such functions without the axes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["GAP_ROUNDINGS", "singular_value_decomposition", "singular_vjp"]

#: Gaps of singular values below so many roundings (``torch.finfo(dtype).eps``) of the largest one count as none.
GAP_ROUNDINGS = 16


def singular_vjp(
    u: Tensor,
    s: Tensor,
    v: Tensor,
    grad_u: Tensor | None,
    grad_s: Tensor | None,
    grad_v: Tensor | None,
    relative: bool = False,
) -> Tensor:
    """Return the gradient of something with respect to g = u diag(s) vᵀ; differentiable in its arguments.

    Args:
        u: ``[..., n, n]`` orthogonal.
        s: ``[..., n]`` positive, in any order.
        v: ``[..., n, n]`` orthogonal.
        grad_u: The gradient with respect to u, or None for zero.
        grad_s: With respect to s.
        grad_v: With respect to v.
        relative: Each singular value is right to its last digit, so that gaps between small ones count, too.

    Returns:
        ``[..., n, n]``.
    """
    gaps = s.unsqueeze(-2) - s.unsqueeze(-1)  # s_j − s_i
    size = s.detach()
    size = torch.maximum(size.unsqueeze(-1), size.unsqueeze(-2)) if relative else size.amax(-1)[..., None, None]
    open_ = gaps.detach().abs() > GAP_ROUNDINGS * torch.finfo(s.dtype).eps * size
    inverse_gaps = torch.where(open_, 1 / torch.where(open_, gaps, torch.ones_like(gaps)), torch.zeros_like(gaps))
    x = torch.zeros_like(u) if grad_u is None else u.mT @ grad_u
    y = torch.zeros_like(u) if grad_v is None else v.mT @ grad_v
    together, apart = x + y, x - y
    inner = 0.5 * (together - together.mT) * inverse_gaps
    inner = inner + 0.5 * (apart - apart.mT) / (s.unsqueeze(-2) + s.unsqueeze(-1))
    if grad_s is not None:
        inner = inner + torch.diag_embed(grad_s)
    return u @ inner @ v.mT


class _Singular(torch.autograd.Function):
    """The decomposition of `singular_value_decomposition`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u, s, vh = torch.linalg.svd(g)
        flip = torch.ones_like(s)
        flip[..., -1] = torch.where(torch.linalg.det(u) < 0, -1.0, 1.0)
        return u * flip.unsqueeze(-2), s, vh.mT * flip.unsqueeze(-2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG004 - torch names it
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return singular_vjp(*ctx.saved_tensors, *grads)


def singular_value_decomposition(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return g = u diag(s) vᵀ with u a rotation; where det g is positive, v is one, too.

    Args:
        g: ``[..., n, n]``, invertible.

    Returns:
        u ``[..., n, n]``, s ``[..., n]`` descending, v ``[..., n, n]``. Where singular values coincide, the derivatives
        of u and v leave out how vectors with the same value turn into each other.
    """
    return _Singular.apply(g)

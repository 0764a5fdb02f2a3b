"""The largest eigenvalues of symmetric matrices and their vectors, with derivatives that need only their own gaps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.ops.precision import full_precision

__all__ = ["top_eigenpairs"]


@full_precision
def top_eigenpairs(matrix: Tensor, count: int, threshold: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalues, descending, and their eigenvectors.

    The derivative of `torch.linalg.eigh` divides by the gaps of all eigenvalues, also of those that nobody uses: for a
    Gram matrix of many points, whose other eigenvalues are all zero, it is not a number. This one solves for the
    change of the wanted vectors alone. All orders of derivatives are there.

    Args:
        matrix: Symmetric ``[..., n, n]``; derivatives are those with respect to symmetric changes.
        count: How many, 1 to n.
        threshold: Gaps of the wanted eigenvalues at or below this times the largest absolute one are taken for none;
            there the vectors are not unique, and what they would contribute to a derivative is left out.

    Returns:
        ``[..., count]`` and ``[..., n, count]``, vectors as columns, with any sign.

    Raises:
        ShapeError: No square matrices, or a count out of range.

    Properties:
        pairs_are_eigenpairs: A v = λ v, and the same values as numpy's.
        derivatives_need_own_gaps: finite and right where eigenvalues that are not asked for coincide.
    """
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or not 1 <= count <= matrix.shape[-1]:
        raise ShapeError(f"{count} eigenvectors of square matrices [..., n, n] are asked for, of {list(matrix.shape)}.")
    values, vectors = _TopEigenpairs.apply(matrix, count, threshold)
    return values, vectors


class _TopEigenpairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, count: int, threshold: float) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(matrix)
        values, vectors = values.flip(-1), vectors.flip(-1)
        least = threshold * values.abs().amax(-1, keepdim=True)
        top, rest = values[..., :count], values[..., count:]
        ctx.open = (top - rest[..., :1]) <= least if rest.shape[-1] else torch.zeros_like(top, dtype=torch.bool)
        ctx.least = least
        top, vectors = top.contiguous(), vectors[..., :count].contiguous()
        ctx.save_for_backward(matrix, top, vectors)
        return top, vectors

    @staticmethod
    def backward(ctx: Any, grad_values: Tensor, grad_vectors: Tensor) -> tuple[Tensor | None, ...]:
        matrix, values, vectors = ctx.saved_tensors
        n, count = vectors.shape[-2:]
        across = vectors.transpose(-1, -2) @ grad_vectors  # [j, k]: of the gradient of v_k along v_j
        gap = values.unsqueeze(-2) - values.unsqueeze(-1)  # λ_k − λ_j
        none = gap.abs() <= ctx.least.unsqueeze(-1)  # the diagonal, too
        within = torch.where(none, 0.0, across / torch.where(none, 1.0, gap))
        change = vectors @ (within + torch.diag_embed(grad_values))
        if count < n:
            # On the complement of the wanted ones v_k changes by (λ_k − A)⁻¹. What the system is on the wanted ones
            # does not matter, if it is not singular there.
            projector = vectors @ vectors.transpose(-1, -2)
            inner = matrix - vectors @ (values.unsqueeze(-1) * vectors.transpose(-1, -2))
            eye = torch.eye(n, dtype=matrix.dtype, device=matrix.device)
            level, left_out = values[..., None, None], ctx.open[..., None, None]
            system = level * (eye - projector).unsqueeze(-3) - inner.unsqueeze(-3) + projector.unsqueeze(-3)
            outside = (grad_vectors - vectors @ across).transpose(-1, -2).unsqueeze(-1)
            solved = torch.linalg.solve_ex(torch.where(left_out, eye, system), outside.masked_fill(left_out, 0)).result
            change = change + solved.squeeze(-1).transpose(-1, -2)
        grad = change @ vectors.transpose(-1, -2)
        return (grad + grad.transpose(-1, -2)) / 2, None, None

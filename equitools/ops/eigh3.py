"""Eigenvectors of symmetric 3×3 matrices, with derivatives that stay finite where eigenvalues meet.

The compiled kernels rotate (Jacobi) with a matrix in each lane; the reference calls torch.linalg.eigh. Both have the
same derivatives, by formulas in which a gap between eigenvalues that is below rounding counts as none. First
derivatives are compiled as well; those of higher order are those of the formulas in plain torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.ops import backend
from equitools.ops.folded_vmap import register_folded_vmap
from equitools.ops.partial_vjp import partial_vjp
from equitools.ops.precision import full_precision

__all__ = ["GAP_ROUNDINGS", "eigh3", "eigh3_reference", "matrix_vjp"]

#: Gaps of eigenvalues below so many roundings (``torch.finfo(dtype).eps``) of the largest one count as none:
#: derivatives leave out how the vectors on both sides of such a gap turn into each other.
GAP_ROUNDINGS = 16


# ---- plain torch --------------------------------------------------------------------------------------------------


def _solve(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return values and right-handed vectors of symmetric matrices, NaN where an entry is not finite."""
    finite = a.isfinite().all(-1).all(-1)
    wide = a.float() if a.dtype in {torch.float16, torch.bfloat16} else a
    safe = torch.where(finite[..., None, None], wide, torch.zeros_like(wide))
    values, vectors = torch.linalg.eigh(safe)
    determinant = (torch.linalg.cross(vectors[..., 0], vectors[..., 1]) * vectors[..., 2]).sum(-1)
    vectors = (
        vectors * torch.where(determinant < 0, -1.0, 1.0)[..., None, None]
    )  # three columns: an odd number of signs
    nan = torch.full_like(finite, torch.nan, dtype=a.dtype)
    values = torch.where(finite[..., None], values.to(a.dtype), nan[..., None])
    return values, torch.where(finite[..., None, None], vectors.to(a.dtype), nan[..., None, None])


def _inverse_gaps(values: Tensor) -> Tensor:
    """Return 1 / (value j − value i) at [..., i, j], or 0 where there is no gap."""
    info = torch.finfo(values.dtype)
    gaps = values.unsqueeze(-2) - values.unsqueeze(-1)
    limit = (GAP_ROUNDINGS * info.eps * values.abs().amax(-1)).clamp(min=4 * info.tiny)
    open_ = gaps.detach().abs() > limit.detach()[..., None, None]
    return torch.where(open_, 1 / torch.where(open_, gaps, torch.ones_like(gaps)), torch.zeros_like(gaps))


def matrix_vjp(values: Tensor, vectors: Tensor, grad_values: Tensor, grad_vectors: Tensor) -> Tensor:
    """Return the gradient of something with respect to a symmetric matrix; differentiable in its arguments.

    Args:
        values: Of the matrix, ``[..., 3]``.
        vectors: Of the matrix, ``[..., 3, 3]``.
        grad_values: The gradient with respect to the values.
        grad_vectors: The gradient with respect to the vectors.

    Returns:
        ``[..., 3, 3]``, symmetric.
    """
    turned = vectors.mT @ grad_vectors
    turned = 0.5 * (turned - turned.mT) * _inverse_gaps(values)
    return vectors @ (turned + torch.diag_embed(grad_values)) @ vectors.mT


class _Eigh(torch.autograd.Function):
    """torch.linalg.eigh of a symmetric matrix with `matrix_vjp` for its derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor) -> tuple[Tensor, Tensor]:
        return _solve(a)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG004 - torch names it
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx: Any, grad_values: Tensor, grad_vectors: Tensor) -> Tensor:
        values, vectors = ctx.saved_tensors
        return matrix_vjp(values, vectors, grad_values, grad_vectors)


def eigh3_reference(a: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `eigh3` by torch.linalg.eigh; differentiable to any order by autograd.

    Args:
        a: ``[..., 3, 3]``.

    Returns:
        Values ``[..., 3]`` and vectors ``[..., 3, 3]``.
    """
    return _Eigh.apply(0.5 * (a + a.mT))


# ---- compiled -----------------------------------------------------------------------------------------------------


def _register() -> None:
    """Tell torch the shapes and derivatives of the compiled operations."""
    ops, library = torch.ops.equitools, torch.library

    def save_eigen(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
        ctx.save_for_backward(*output)

    def eigen_backward(ctx: Any, grad_values: Tensor, grad_vectors: Tensor) -> Tensor:
        return ops.eigh3_vjp(*ctx.saved_tensors, grad_values, grad_vectors)

    def save_eigen_vjp(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
        ctx.save_for_backward(*inputs)

    def eigen_vjp_backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        return partial_vjp(lambda *t: (matrix_vjp(*t),), ctx.saved_tensors, (cotangent,))

    name = "equitools::eigh3"
    library.register_fake(name, lambda a: (a.new_empty((a.shape[0], 3)), a.new_empty(a.shape)))
    library.register_fake(f"{name}_vjp", lambda *t: t[1].new_empty(t[1].shape))
    library.register_autograd(name, eigen_backward, setup_context=save_eigen)
    library.register_autograd(f"{name}_vjp", eigen_vjp_backward, setup_context=save_eigen_vjp)
    register_folded_vmap(name)
    register_folded_vmap(f"{name}_vjp")


if backend.extension_loaded():
    _register()


@full_precision
def eigh3(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues and eigenvectors of symmetric 3×3 matrices.

    Derivatives by the vectors hold a factor 1 / (λⱼ − λᵢ). Where a gap is below `GAP_ROUNDINGS` roundings of the
    largest eigenvalue, there is no such derivative, and the term counts as zero: gradients are finite, and right for
    whatever does not depend on the choice of vectors among equal eigenvalues.

    Args:
        a: ``[..., 3, 3]``; where a matrix is not symmetric, its symmetric part is what counts.

    Returns:
        Values ``[..., 3]``, ascending, and vectors ``[..., 3, 3]`` as columns, orthonormal and right-handed. Both are
        NaN where an entry of the matrix is not finite.

    Raises:
        ShapeError: ``a`` is not floating point, or no matrices of 3×3.

    Properties:
        solves the eigenvalue problem; right-handed; finite gradients at equal eigenvalues.

    Source: Jacobi, J. reine angew. Math. 30, 51 (1846); derivatives: Magnus, Econometric Theory 1, 179 (1985).
    """
    if not a.is_floating_point() or a.dim() < 2 or a.shape[-2:] != (3, 3):
        raise ShapeError(f"eigh3: needs floating-point matrices [..., 3, 3], but got {a.dtype} {list(a.shape)}.")
    if backend.choose("eigh3", a) == "reference":
        return eigh3_reference(a)
    values, vectors = torch.ops.equitools.eigh3(a.reshape(-1, 3, 3))
    return values.reshape(a.shape[:-1]), vectors.reshape(a.shape)

"""Sums of rows with fixed coefficients: a sparse matrix that is known beforehand, times a dense one."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from equitools.ops.tracing import mode_active, tracing

__all__ = ["recorded", "sparse_rows"]

_noticed: list[bool] = []


def sparse_rows(x: Tensor, table: tuple[Tensor, ...], turned: tuple[Tensor, ...]) -> Tensor:
    """Multiply a sparse matrix with rows: out[i] = Σ_j values[j] x[columns[j]] for starts[i] ≤ j < starts[i + 1].

    Args:
        x: ``[N, M]``, float32 or float64.
        table: Where the entries of each row begin, ``[R + 1]``, their columns and their values, of x's dtype.
        turned: The same of the transposed matrix: N rows. The derivative takes it.

    Returns:
        ``[R, M]``.

    Properties:
        linearity: every derivative is a product with the matrix or its transpose.
    """
    if tracing():  # a compiler takes no operation with forward derivatives of its own
        starts, columns, values = table
        return torch.nn.functional.embedding_bag(
            columns, x, starts, mode="sum", per_sample_weights=values, include_last_offset=True
        )
    if not recorded(x):
        return _SparseRows.forward(x, *table)
    return _SparseRows.apply(x, *table, *turned)


def recorded(*tensors: Tensor) -> bool:
    """Return whether anything looks on that must see operations as they are: derivatives, transforms, tracers.

    Where nothing does, results can be written into memory that is there.

    Args:
        tensors: What is computed with.
    """
    transforms = getattr(torch._C, "_are_functorch_transforms_active", None)  # private: without it, be careful
    if transforms is None or transforms() or mode_active():
        return True
    if getattr(torch.autograd.forward_ad, "_current_level", 0) >= 0:
        return True
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _compressed(starts: Tensor, columns: Tensor, values: Tensor, number: int) -> Tensor:
    """Return a table as torch's sparse matrix, without its notice that this layout is new."""
    size = (len(starts) - 1, number)
    if _noticed:
        return torch.sparse_csr_tensor(starts, columns, values, size=size, check_invariants=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR")
        made = torch.sparse_csr_tensor(starts, columns, values, size=size, check_invariants=False)
    _noticed.append(True)
    return made


class _SparseRows(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, *tables: Tensor) -> Tensor:
        starts, columns, values = tables[:3]
        if not x.numel() or not len(columns):
            return x.new_zeros(len(starts) - 1, x.shape[1])
        # embedding_bag is neither vectorised nor parallel for float64
        if x.dtype == torch.float64 and x.device.type == "cpu" and not mode_active():
            return _compressed(starts, columns, values, len(x)) @ x
        return torch.nn.functional.embedding_bag(
            columns, x.contiguous(), starts, mode="sum", per_sample_weights=values, include_last_offset=True
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tables = ctx.saved_tensors
        return _SparseRows.apply(gradient, *tables[3:], *tables[:3]), *[None] * 6

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return _SparseRows.apply(tangent, *ctx.saved_tensors)

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], x: Tensor, *tables: Tensor) -> tuple[Tensor, int]:  # noqa: ARG004
        moved = x.movedim(dims[0], -1)  # type: ignore[arg-type]
        return _SparseRows.apply(moved.flatten(1), *tables).unflatten(1, moved.shape[1:]), 2

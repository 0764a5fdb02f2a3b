"""Sums of rows with fixed coefficients: a sparse matrix that is known beforehand, times a dense one."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from equitools.ops import backend
from equitools.ops.tracing import mode_active, tracing

__all__ = ["sparse_rows"]

Tables = tuple[Tensor, ...]

_noticed: list[bool] = []


def sparse_rows(x: Tensor, table: Tables, turned: Tables, *, last_in: bool = False, last_out: bool = False) -> Tensor:
    """Multiply a sparse matrix with rows: out[i] = Σ_j values[j] x[columns[j]] for starts[i] ≤ j < starts[i + 1].

    The rows' place is chosen apart for x and for the result: first, or last as in tensors with components. The compiled
    kernel transposes in cache what it works on, so that no pass over memory is made for the order alone.

    Args:
        x: ``[N, C, B]``, or ``[B, C, N]`` with ``last_in``; float32 or float64.
        table: Where the entries of each row begin, ``[R + 1]``, their columns and their values, of x's dtype.
        turned: The same of the transposed matrix: N rows. The derivative takes it.
        last_in: Whether x has the rows of numbers last.
        last_out: Whether the result has.

    Returns:
        ``[R, C, B]``, or ``[B, C, R]`` with ``last_out``.

    Raises:
        RuntimeError: The table does not fit to x.

    Properties:
        linearity: every derivative is a product with the matrix or its transpose.
        place_of_rows: the results are the same numbers.
    """
    if tracing():  # a compiler takes no operation with forward derivatives of its own
        return _in_torch(x, table, last_in, last_out)
    return _SparseRows.apply(x, last_in, last_out, *table, *turned)


def _in_torch(x: Tensor, table: Tables, last_in: bool, last_out: bool) -> Tensor:
    """Do the same in plain torch: rows are brought to the front, and back."""
    starts, columns, values = table
    rows = x.permute(2, 1, 0) if last_in else x
    flat = rows.reshape(len(rows), rows.shape[1] * rows.shape[2]).contiguous()
    if not tracing() and not (len(columns) and flat.numel()):  # embedding_bag fails with nothing and several threads
        summed = flat.new_zeros(len(starts) - 1, flat.shape[1])
    elif x.dtype == torch.float64 and x.device.type == "cpu" and not mode_active():
        # embedding_bag is neither vectorised nor parallel for float64
        summed = _compressed(starts, columns, values, len(flat)) @ flat
    else:
        summed = torch.nn.functional.embedding_bag(
            columns, flat, starts, mode="sum", per_sample_weights=values, include_last_offset=True
        )
    summed = summed.reshape(len(starts) - 1, *rows.shape[1:])
    return summed.permute(2, 1, 0).contiguous() if last_out else summed


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
    def forward(x: Tensor, last_in: bool, last_out: bool, *tables: Tensor) -> Tensor:
        if not mode_active() and backend.choose("diagram_linear", x) == "cpu":
            return torch.ops.equitools.sparse_rows(x, *tables[:3], last_in, last_out)
        return _in_torch(x, tables[:3], last_in, last_out)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.last_in, ctx.last_out = inputs[1:3]
        ctx.save_for_backward(*inputs[3:])
        ctx.save_for_forward(*inputs[3:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tables = ctx.saved_tensors
        return _SparseRows.apply(gradient, ctx.last_out, ctx.last_in, *tables[3:], *tables[:3]), *[None] * 8

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return _SparseRows.apply(tangent, ctx.last_in, ctx.last_out, *ctx.saved_tensors)

    @staticmethod
    def vmap(
        _: Any, dims: tuple[int | None, ...], x: Tensor, last_in: bool, last_out: bool, *tables: Tensor
    ) -> tuple[Tensor, int]:
        # what is mapped over joins the batch
        moved = x.movedim(dims[0], 0 if last_in else 2)  # type: ignore[arg-type]
        sizes = moved.shape[:2] if last_in else moved.shape[2:]
        out = _SparseRows.apply(moved.flatten(0, 1) if last_in else moved.flatten(2), last_in, last_out, *tables)
        return (out.unflatten(0, sizes), 0) if last_out else (out.unflatten(2, sizes), 2)

"""Layers of diagrams, compiled: contraction, mixing and expansion of some items of a batch at a time, in cache.

The result is bilinear in the input and the weights, so two operations have all derivatives of all orders: the layer
(and the layer turned over, from the output to the input), and the gradient of its weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equitools.ops import backend
from equitools.ops.tracing import mode_active, reverse_only, tracing

__all__ = ["fused_diagrams", "takes"]

#: A vector has an item of the batch in each lane, and lanes without one work in vain. That does no harm as long as what
#: is in between stays in cache; where it does not, there must be so many items, about half a vector.
LEAST_ITEMS = 8
SMALL_BYTES = 2**22
VECTOR_BYTES = 64
#: With more weights than these nearly all is matrix products, and those of torch's library are as fast.
MOST_WEIGHTS = 2**19

Tables = tuple[Tensor, ...]


def takes(x: Tensor, weights: Tensor, tables: Tables) -> bool:
    """Return whether the compiled layer is to be taken.

    Args:
        x: Its input, ``[B, …]``.
        weights: As of `fused_diagrams`.
        tables: As of `fused_diagrams`.
    """
    if tracing() or mode_active() or not reverse_only() or weights.numel() > MOST_WEIGHTS:
        return False
    rows = len(tables[0]) * weights.shape[2] + len(tables[9]) * weights.shape[1]
    if len(x) < LEAST_ITEMS and rows * VECTOR_BYTES > SMALL_BYTES:
        return False
    return backend.choose("diagram_linear", x) == "cpu"


def fused_diagrams(
    x: Tensor, weights: Tensor, blocks: Tensor, tables: Tables, last_in: bool = False, last_out: bool = False
) -> Tensor:
    """Contract, multiply each block's components by its matrix, and expand.

    Args:
        x: ``[N, C_in, B]``, or ``[B, C_in, N]`` with ``last_in``; float32 or float64, on the CPU.
        weights: ``[P, C_out, C_in]``, for the pairs of an output and an input of all blocks.
        blocks: ``[K, 6]``, int64: what `equitools.ops.diagram_tables.Block` holds.
        tables: Starts, columns and values of the contraction, of its transpose, of the expansion, and of its transpose.
        last_in: Whether x has its components last.
        last_out: Whether the result has.

    Returns:
        ``[M, C_out, B]``, or ``[B, C_out, M]`` with ``last_out``.

    Raises:
        RuntimeError: Shapes or dtypes are wrong, or the tables or blocks do not fit to them.

    Properties:
        fused_is_step_by_step: the same as three steps in plain torch, with all derivatives.
    """
    return _Diagrams.apply(x, weights, blocks, False, last_in, last_out, *tables)


def _other_way(tables: Tables) -> Tables:
    """Return the tables of the transposed map."""
    return tables[9:] + tables[6:9] + tables[3:6] + tables[:3]


def _one_by_one(function: Any, dims: tuple[int | None, ...], arguments: tuple[Any, ...], number: int) -> Tensor:
    """Map a function over the dimensions that are given, and stack the results."""
    pairs = list(zip(arguments, dims, strict=True))
    if not number:
        one = function(*(a if d is None else a.new_zeros(a.movedim(d, 0).shape[1:]) for a, d in pairs))
        return one.new_zeros(0, *one.shape)
    return torch.stack([function(*(a if d is None else a.select(d, k) for a, d in pairs)) for k in range(number)])


class _Saved(torch.autograd.Function):
    """Two factors and the blocks, three flags, and the tables: all that both operations keep."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.flags = inputs[3:6]
        ctx.save_for_backward(*inputs[:3], *inputs[6:])
        ctx.save_for_forward(*inputs[:3], *inputs[6:])


class _Diagrams(_Saved):
    @staticmethod
    def forward(
        x: Tensor, weights: Tensor, blocks: Tensor, turned: bool, last_in: bool, last_out: bool, *tables: Tensor
    ) -> Tensor:
        between = len(tables[9]) - 1
        return torch.ops.equitools.diagrams(
            x, weights, blocks, *tables[:3], *tables[6:9], between, turned, last_in, last_out
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weights, blocks, *tables = ctx.saved_tensors
        turned, last_in, last_out = ctx.flags
        back, of_x, of_weights = _other_way(tuple(tables)), None, None
        if ctx.needs_input_grad[0]:
            of_x = _Diagrams.apply(gradient, weights, blocks, not turned, last_out, last_in, *back)
        if ctx.needs_input_grad[1] and turned:
            of_weights = _Weights.apply(gradient, x, blocks, len(weights), last_out, last_in, *back)
        elif ctx.needs_input_grad[1]:
            of_weights = _Weights.apply(x, gradient, blocks, len(weights), last_in, last_out, *tables)
        return of_x, of_weights, *[None] * 16

    @staticmethod
    def jvp(ctx: Any, of_x: Tensor | None, of_weights: Tensor | None, *_: Any) -> Tensor:
        x, weights, *rest = ctx.saved_tensors
        rest = [rest[0], *ctx.flags, *rest[1:]]
        found = [_Diagrams.apply(of_x, weights, *rest)] if of_x is not None else []
        found += [_Diagrams.apply(x, of_weights, *rest)] if of_weights is not None else []
        return found[0] if len(found) == 1 else found[0] + found[1]

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], x: Tensor, weights: Tensor, *rest: Any) -> tuple[Tensor, int]:
        if dims[1] is not None:
            both = (x, weights)
            return _one_by_one(lambda a, w: _Diagrams.apply(a, w, *rest), dims[:2], both, info.batch_size), 0
        _, _, last_in, last_out, *_ = rest
        moved = x.movedim(dims[0], 0 if last_in else 2)  # type: ignore[arg-type]  # joins the batch
        sizes = moved.shape[:2] if last_in else moved.shape[2:]
        out = _Diagrams.apply(moved.flatten(0, 1) if last_in else moved.flatten(2), weights, *rest)
        return (out.unflatten(0, sizes), 0) if last_out else (out.unflatten(2, sizes), 2)


class _Weights(_Saved):
    @staticmethod
    def forward(
        x: Tensor, gradient: Tensor, blocks: Tensor, pairs: int, last_in: bool, last_out: bool, *tables: Tensor
    ) -> Tensor:
        return torch.ops.equitools.diagram_weights(
            x, gradient, blocks, *tables[:3], *tables[9:], pairs, last_in, last_out
        )

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        x, gradient, blocks, *tables = ctx.saved_tensors
        _, last_in, last_out = ctx.flags
        back, of_x, of_gradient = _other_way(tuple(tables)), None, None
        if ctx.needs_input_grad[0]:
            of_x = _Diagrams.apply(gradient, cotangent, blocks, True, last_out, last_in, *back)
        if ctx.needs_input_grad[1]:
            of_gradient = _Diagrams.apply(x, cotangent, blocks, False, last_in, last_out, *tables)
        return of_x, of_gradient, *[None] * 16

    @staticmethod
    def jvp(ctx: Any, of_x: Tensor | None, of_gradient: Tensor | None, *_: Any) -> Tensor:
        x, gradient, *rest = ctx.saved_tensors
        rest = [rest[0], *ctx.flags, *rest[1:]]
        found = [_Weights.apply(of_x, gradient, *rest)] if of_x is not None else []
        found += [_Weights.apply(x, of_gradient, *rest)] if of_gradient is not None else []
        return found[0] if len(found) == 1 else found[0] + found[1]

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], x: Tensor, gradient: Tensor, *rest: Any) -> tuple[Tensor, int]:
        both = (x, gradient)
        return _one_by_one(lambda a, g: _Weights.apply(a, g, *rest), dims[:2], both, info.batch_size), 0

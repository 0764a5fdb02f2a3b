"""Reductions over the edges of each receiver: sum, mean, max and softmax.

Edges sorted by receiver are reduced as contiguous ranges, in parallel over receivers and in a fixed order, so that the
result is the same in every run and for any number of threads. Unsorted edges give the same values; they are ordered
first.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from equitools.errors import GraphError, ShapeError
from equitools.ops import backend
from equitools.ops.precision import full_precision

__all__ = [
    "segment_gather",
    "segment_max",
    "segment_mean",
    "segment_softmax",
    "segment_sum",
]


def _check(operation: str, values: Tensor, receiver: Tensor, num_segments: int) -> None:
    if receiver.dtype != torch.int64 or receiver.ndim != 1:
        raise ShapeError(
            f"{operation}: receiver must be int64 of shape [E], but it is {receiver.dtype} {list(receiver.shape)}."
        )
    if values.ndim < 1 or values.shape[0] != receiver.shape[0]:
        raise ShapeError(
            f"{operation}: values must have shape [E, ...] with E = {receiver.shape[0]} as receiver, but the shape is "
            f"{list(values.shape)}."
        )
    if values.device != receiver.device:
        raise ShapeError(f"{operation}: values are on {values.device} but receiver is on {receiver.device}.")
    if num_segments < 0:
        raise ShapeError(f"{operation}: num_segments must not be negative, but it is {num_segments}.")


def _check_range(operation: str, receiver: Tensor, num_segments: int) -> None:
    if receiver.numel() == 0:
        return
    low, high = (int(v) for v in torch.aminmax(receiver))
    if low < 0 or high >= num_segments:
        raise GraphError(
            f"{operation}: receiver holds indices from {low} to {high}, but there are {num_segments} segments; they "
            f"must lie in 0 to {num_segments - 1}."
        )


def _guarded(operation: str, run: Callable[..., Tensor], values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    """Call ``run``; if it refuses because of an index, say so in terms of the graph.

    Every implementation checks the indices in the pass that it makes over them anyway. So a good call pays nothing for
    the check here, and nothing reads values when a compiler traces the call.
    """
    if torch.compiler.is_compiling():
        return run(values, receiver, num_segments)
    try:
        return run(values, receiver, num_segments)
    except (IndexError, RuntimeError):
        _check_range(operation, receiver, num_segments)
        raise


def _flat(values: Tensor) -> Tensor:
    return values.reshape(values.shape[0], math.prod(values.shape[1:]))


def _sum_compiled(values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    out = torch.ops.equitools.segment_sum(_flat(values), receiver, num_segments)
    return out.reshape(num_segments, *values.shape[1:])


def _max_compiled(values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    out, _ = torch.ops.equitools.segment_max(_flat(values), receiver, num_segments)
    return out.reshape(num_segments, *values.shape[1:])


def _softmax_compiled(values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    return torch.ops.equitools.segment_softmax(_flat(values), receiver, num_segments).reshape(values.shape)


def _gather_compiled(values: Tensor, receiver: Tensor, _num_segments: int) -> Tensor:
    out = torch.ops.equitools.segment_gather(_flat(values), receiver)
    return out.reshape(receiver.shape[0], *values.shape[1:])


def _scatter_library(operation: str, values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    _check_range(operation, receiver, num_segments)  # torch-scatter itself would write out of bounds
    library = importlib.import_module("torch_scatter")
    if operation == "segment_softmax":
        return library.composite.scatter_softmax(values, receiver, dim=0, dim_size=num_segments)
    out = getattr(library, operation.replace("segment", "scatter"))(values, receiver, dim=0, dim_size=num_segments)
    return out[0] if operation == "segment_max" else out


def _dispatch(operation: str, values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    if backend.requested_backend() == "torch_scatter":
        return _scatter_library(operation, values, receiver, num_segments)
    compiled, reference = _IMPLEMENTATIONS[operation]
    run = reference if backend.choose(operation, values) == "reference" else compiled
    return _guarded(operation, run, values, receiver, num_segments)


def _sum_reference(values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    if values.dtype in (torch.bfloat16, torch.float16):  # stored in half precision, summed in single
        return _sum_reference(values.float(), receiver, num_segments).to(values.dtype)
    return values.new_zeros((num_segments, *values.shape[1:])).index_add(0, receiver, values)


def _max_reference(values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    if values.numel() == 0:
        return _sum_reference(values, receiver, num_segments)  # zeros, in the graph of values
    edges, tail = values.shape[0], values.shape[1:]
    index = receiver.reshape(-1, *[1] * len(tail)).expand_as(values)
    detached = values.detach()
    floor = -torch.inf if values.is_floating_point() else torch.iinfo(values.dtype).min
    largest = detached.new_full((num_segments, *tail), floor).scatter_reduce(0, index, detached, "amax")
    hit = (detached == largest.gather(0, index)) | detached.isnan()
    position = torch.arange(edges, device=values.device).reshape(-1, *[1] * len(tail)).expand_as(values)
    candidates = torch.where(hit, position, edges)
    first = torch.full((num_segments, *tail), edges, device=values.device).scatter_reduce(0, index, candidates, "amin")
    empty = first == edges
    taken = values.gather(0, torch.where(empty, torch.zeros_like(first), first))
    return torch.where(empty, torch.zeros_like(taken), taken)


def _softmax_reference(values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    shift = _max_reference(values.detach(), receiver, num_segments).index_select(0, receiver)
    exponentials = (values - shift).exp()
    return exponentials / _sum_reference(exponentials, receiver, num_segments).index_select(0, receiver)


def _gather_reference(values: Tensor, receiver: Tensor, _num_segments: int) -> Tensor:
    return values.index_select(0, receiver)


_IMPLEMENTATIONS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "segment_sum": (_sum_compiled, _sum_reference),
    "segment_max": (_max_compiled, _max_reference),
    "segment_softmax": (_softmax_compiled, _softmax_reference),
    "segment_gather": (_gather_compiled, _gather_reference),
}


def _register() -> None:
    """Tell torch the shapes and derivatives of the compiled operations."""
    ops = torch.ops.equitools

    def save_receiver(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
        ctx.save_for_backward(inputs[1])
        ctx.rows = inputs[0].shape[0]

    def sum_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ops.segment_gather(grad, *ctx.saved_tensors), None, None

    def gather_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ops.segment_sum(grad, *ctx.saved_tensors, ctx.rows), None

    def save_where(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(output[1])
        ctx.rows = inputs[0].shape[0]

    def max_backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        (where,) = ctx.saved_tensors
        row = torch.where(where < 0, ctx.rows, where)  # empty segments go to a last row, which is cut off
        out = grad.new_zeros((ctx.rows + 1, grad.shape[1])).scatter_add(0, row, grad)
        return out[: ctx.rows], None, None

    def save_softmax(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(output, inputs[1])
        ctx.num_segments = inputs[2]

    def softmax_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ops.segment_softmax_vjp(ctx.saved_tensors[0], grad, ctx.saved_tensors[1], ctx.num_segments), None, None

    def save_softmax_vjp(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - torch names it
        ctx.save_for_backward(*inputs[:3])
        ctx.num_segments = inputs[3]

    def softmax_vjp_backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        out, grad, receiver = ctx.saved_tensors
        width = out.shape[1]
        inner = ops.segment_sum(torch.cat([out * grad, out * cotangent], 1), receiver, ctx.num_segments)
        inner = ops.segment_gather(inner, receiver)
        along = cotangent * (grad - inner[:, :width]) - grad * inner[:, width:]
        # The matrix diag(out) - out out^T is symmetric: the gradient by grad is the same operation.
        return along, ops.segment_softmax_vjp(out, cotangent, receiver, ctx.num_segments), None, None

    library = torch.library
    library.register_fake("equitools::segment_sum", lambda v, _, n: v.new_empty((n, v.shape[1])))
    library.register_fake("equitools::segment_gather", lambda v, r: v.new_empty((r.shape[0], v.shape[1])))
    library.register_fake("equitools::segment_softmax", lambda v, *_: v.new_empty(v.shape))
    library.register_fake("equitools::segment_softmax_vjp", lambda v, *_: v.new_empty(v.shape))
    library.register_fake(
        "equitools::segment_max", lambda v, r, n: (v.new_empty((n, v.shape[1])), r.new_empty((n, v.shape[1])))
    )
    library.register_autograd("equitools::segment_sum", sum_backward, setup_context=save_receiver)
    library.register_autograd("equitools::segment_gather", gather_backward, setup_context=save_receiver)
    library.register_autograd("equitools::segment_max", max_backward, setup_context=save_where)
    library.register_autograd("equitools::segment_softmax", softmax_backward, setup_context=save_softmax)
    library.register_autograd("equitools::segment_softmax_vjp", softmax_vjp_backward, setup_context=save_softmax_vjp)


if backend.extension_loaded():
    _register()


@full_precision
def segment_gather(values: Tensor, receiver: Tensor) -> Tensor:
    """Return the row of its receiver for every edge: the adjoint of `segment_sum`.

    Args:
        values: ``[N, ...]``, one row a segment.
        receiver: ``[E]`` int64, in 0 to N - 1.

    Returns:
        ``[E, ...]``.

    Raises:
        ShapeError: A shape or dtype is wrong.
        GraphError: A receiver is out of range.

    Properties:
        adjoint of segment_sum.
    """
    if receiver.dtype != torch.int64 or receiver.ndim != 1 or values.ndim < 1:
        raise ShapeError(
            f"segment_gather: values must be [N, ...] and receiver int64 [E], but they are {list(values.shape)} and "
            f"{receiver.dtype} {list(receiver.shape)}."
        )
    compiled, reference = _IMPLEMENTATIONS["segment_gather"]
    run = reference if backend.choose("segment_gather", values) == "reference" else compiled
    return _guarded("segment_gather", run, values, receiver, values.shape[0])


@full_precision
def segment_sum(values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    """Sum the rows of each segment.

    Args:
        values: ``[E, ...]``, one row an edge.
        receiver: ``[E]`` int64, the segment of each row; ascending is fastest, any order is correct.
        num_segments: Number of segments N.

    Returns:
        ``[N, ...]``; zero for an empty segment. bfloat16 and float16 are summed in float32 and rounded once.

    Raises:
        ShapeError: A shape or dtype is wrong.
        GraphError: A receiver is out of range.

    Properties:
        linear; order of edges within a segment does not matter (to rounding); empty segments are zero.
    """
    _check("segment_sum", values, receiver, num_segments)
    return _dispatch("segment_sum", values, receiver, num_segments)


@full_precision
def segment_mean(values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    """Average the rows of each segment.

    Args:
        values: ``[E, ...]`` floating point.
        receiver: ``[E]`` int64.
        num_segments: Number of segments N.

    Returns:
        ``[N, ...]``; zero for an empty segment.

    Raises:
        ShapeError: A shape or dtype is wrong.
        GraphError: A receiver is out of range.
    """
    _check("segment_mean", values, receiver, num_segments)
    if backend.requested_backend() == "torch_scatter":
        return _scatter_library("segment_mean", values, receiver, num_segments)
    total = segment_sum(values, receiver, num_segments)
    count = segment_sum(values.new_ones((receiver.shape[0],)), receiver, num_segments).clamp(min=1)
    return total / count.reshape(-1, *[1] * (values.ndim - 1))


@full_precision
def segment_max(values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    """Take the largest entry of each segment, component by component.

    The gradient goes to the entry that was taken. Of equal entries, the one with the lowest edge index is taken. NaN
    counts as larger than any number, so that it is seen.

    Args:
        values: ``[E, ...]``.
        receiver: ``[E]`` int64.
        num_segments: Number of segments N.

    Returns:
        ``[N, ...]``; zero for an empty segment.

    Raises:
        ShapeError: A shape or dtype is wrong.
        GraphError: A receiver is out of range.
    """
    _check("segment_max", values, receiver, num_segments)
    return _dispatch("segment_max", values, receiver, num_segments)


@full_precision
def segment_softmax(values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    """Normalise exponentials within each segment: exp(v) / Σ exp(v), shifted by the largest entry against overflow.

    Args:
        values: ``[E, ...]`` floating point.
        receiver: ``[E]`` int64.
        num_segments: Number of segments N.

    Returns:
        ``[E, ...]``; the entries of each segment that is not empty sum to 1.

    Raises:
        ShapeError: A shape or dtype is wrong.
        GraphError: A receiver is out of range.

    Properties:
        sums to one; adding a constant to a segment changes nothing.
    """
    _check("segment_softmax", values, receiver, num_segments)
    return _dispatch("segment_softmax", values, receiver, num_segments)

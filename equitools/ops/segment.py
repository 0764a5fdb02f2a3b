"""Reductions over the edges of each receiver: sum, mean, max and softmax.

Edges sorted by receiver are reduced as contiguous ranges, in parallel over receivers and in a fixed order, so that the
result is the same in every run and for any number of threads. Unsorted edges give the same values; they are ordered
first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import GraphError, ShapeError

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
    _check_range(operation, receiver, num_segments)


def _check_range(operation: str, receiver: Tensor, num_segments: int) -> None:
    if num_segments < 0:
        raise ShapeError(f"{operation}: num_segments must not be negative, but it is {num_segments}.")
    if torch.compiler.is_compiling() or receiver.device.type != "cpu" or receiver.numel() == 0:
        return  # reading values would break the graph or wait for the device; the kernels there check by themselves
    low, high = (int(v) for v in torch.aminmax(receiver))
    if low < 0 or high >= num_segments:
        raise GraphError(
            f"{operation}: receiver holds indices from {low} to {high}, but there are {num_segments} segments; they "
            f"must lie in 0 to {num_segments - 1}."
        )


def _sum_reference(values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    return values.new_zeros((num_segments, *values.shape[1:])).index_add(0, receiver, values)


def _max_reference(values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    if values.numel() == 0:
        return values.sum() + values.new_zeros((num_segments, *values.shape[1:]))
    edges, tail = values.shape[0], values.shape[1:]
    index = receiver.reshape(-1, *[1] * len(tail)).expand_as(values)
    detached = values.detach()
    largest = detached.new_full((num_segments, *tail), -torch.inf).scatter_reduce(0, index, detached, "amax")
    hit = (detached == largest.gather(0, index)) | detached.isnan()
    position = torch.arange(edges, device=values.device).reshape(-1, *[1] * len(tail)).expand_as(values)
    candidates = torch.where(hit, position, edges)
    first = torch.full((num_segments, *tail), edges, device=values.device).scatter_reduce(0, index, candidates, "amin")
    empty = first == edges
    taken = values.gather(0, torch.where(empty, torch.zeros_like(first), first))
    return torch.where(empty, torch.zeros_like(taken), taken)


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
    _check_range("segment_gather", receiver, values.shape[0])
    return values.index_select(0, receiver)


def segment_sum(values: Tensor, receiver: Tensor, num_segments: int) -> Tensor:
    """Sum the rows of each segment.

    Args:
        values: ``[E, ...]``, one row an edge.
        receiver: ``[E]`` int64, the segment of each row; ascending is fastest, any order is correct.
        num_segments: Number of segments N.

    Returns:
        ``[N, ...]``; zero for an empty segment.

    Raises:
        ShapeError: A shape or dtype is wrong.
        GraphError: A receiver is out of range.

    Properties:
        linear; order of edges within a segment does not matter (to rounding); empty segments are zero.
    """
    _check("segment_sum", values, receiver, num_segments)
    return _sum_reference(values, receiver, num_segments)


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
    total = segment_sum(values, receiver, num_segments)
    count = segment_sum(values.new_ones((receiver.shape[0],)), receiver, num_segments).clamp(min=1)
    return total / count.reshape(-1, *[1] * (values.ndim - 1))


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
    return _max_reference(values, receiver, num_segments)


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
    shift = _max_reference(values.detach(), receiver, num_segments).index_select(0, receiver)
    exponentials = (values - shift).exp()
    return exponentials / _sum_reference(exponentials, receiver, num_segments).index_select(0, receiver)

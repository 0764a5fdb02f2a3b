"""Equivariant linear maps between tensor powers of ℝⁿ by diagrams: contract, mix, expand."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.ops.constants import constants
from equitools.ops.diagram_tables import Block, DiagramSpace, block_sizes
from equitools.ops.fused_diagrams import fused_diagrams, takes
from equitools.ops.precision import full_precision
from equitools.ops.sparse_rows import sparse_rows

__all__ = ["check_tensors", "diagram_linear", "diagram_weight_matrix"]


@full_precision
def diagram_linear(x: Tensor, weight: Tensor, space: DiagramSpace, *, components_first: bool = False) -> Tensor:
    """Map tensors by a sum of diagrams, each with a matrix that mixes channels, without making the diagrams' matrices.

    Each distinct contraction of the input is made once. Where q lines pass, they are sorted by the irreps of S_q, and
    the sum over all diagrams that pass q lines is one small matrix for each irrep; then all is expanded at once.

    Args:
        x: ``[..., C_in, n, …, n]`` with k axes of length n, float32 or float64.
        weight: ``[D, C_out, C_in]``, for the diagrams of the space in their order.
        space: The group, n, k, l, and which diagrams.
        components_first: Whether the result may stay in the order of memory in which it is made: components first and
            the batch last. Another call takes such an input as it is; elsewhere it is a tensor with unusual strides.

    Returns:
        ``[..., C_out, n, …, n]`` with l axes.

    Raises:
        ShapeError: The shapes do not fit to the space or to each other, or the dtype is wrong.

    Properties:
        factored_is_dense: the same as the product with the matrix of `diagram_weight_matrix`.
        order_of_memory: whatever it is, the numbers are the same.
        equivariance: acting on the input's axes with an element of the group acts on the output's axes.

    Source: E. Pearce-Crump, arXiv 2304.14165 and 2412.10837, for the multiplication by factors; the sum over the
        permutations of lines by irreps is Schur–Weyl duality.
    """
    check_tensors(x, weight, space)
    c_out, c_in = weight.shape[1:]
    lead = x.shape[: x.ndim - space.k - 1]
    batch = math.prod(lead)
    found = constants("diagram_tables", "tables", space.key, x.dtype, x.device)
    mixed = sparse_rows(weight, found[6:9], found[9:12])
    rows = x.reshape(batch, c_in, space.n**space.k)
    turned = rows.permute(2, 1, 0)
    last_in = not turned.is_contiguous()  # components last, as usual; not what another layer has left in its own order
    turned = rows if last_in else turned
    tables = (*found[:6], *found[12:18])
    if takes(rows, mixed, tables):
        out = fused_diagrams(turned, mixed, found[18], tables, last_in, not components_first)
    else:
        out = _step_by_step(turned, mixed, space, last_in, not components_first, tables)
    out = out.permute(2, 1, 0) if components_first else out
    return out.reshape(*lead, c_out, *(space.n,) * space.l)


def _step_by_step(
    x: Tensor,
    mixed: Tensor,
    space: DiagramSpace,
    last_in: bool,
    last_out: bool,
    tables: tuple[Tensor, ...],
) -> Tensor:
    """Do the same in torch's operations: all sums of components are sums of long rows."""
    contracted = sparse_rows(x, tables[:3], tables[3:6], last_in=last_in)
    (c_out, c_in), batch, parts = mixed.shape[1:], contracted.shape[2], []
    for block in [Block(*sizes) for sizes in block_sizes(space.key)]:
        matrix = mixed[block.start_weight : block.start_weight + block.inputs * block.outputs]
        matrix = matrix.reshape(block.outputs, block.inputs, c_out, c_in).transpose(1, 2)
        matrix = matrix.reshape(block.outputs * c_out, block.inputs * c_in)
        part = contracted[block.start_in : block.start_in + block.components * block.inputs]
        part = torch.matmul(matrix, part.reshape(block.components, block.inputs * c_in, batch))
        parts.append(part.reshape(block.components * block.outputs, c_out, batch))
    # without any diagram: no rows, but of the input's graph, so that its derivative is zero
    between = torch.cat(parts) if parts else contracted.reshape(0, c_out, batch)
    return sparse_rows(between, tables[6:9], tables[9:], last_out=last_out)


@full_precision
def diagram_weight_matrix(weight: Tensor, space: DiagramSpace) -> Tensor:
    """Return the matrix of a sum of diagrams with weights for channels, ``[C_out · n**l, C_in · n**k]``.

    Args:
        weight: ``[D, C_out, C_in]``.
        space: The group, n, k, l, and which diagrams.
    """
    found = constants("diagram_tables", "dense_tables", space.key, weight.dtype, weight.device)
    c_out, c_in = weight.shape[1:]
    size_in, size_out = space.n**space.k, space.n**space.l
    entries = sparse_rows(weight, found[:3], found[3:])
    matrix = entries.reshape(size_out, size_in, c_out, c_in).permute(2, 0, 3, 1)
    return matrix.reshape(c_out * size_out, c_in * size_in)


def check_tensors(x: Tensor, weight: Tensor, space: DiagramSpace) -> None:
    """Refuse tensors that do not fit to a space or to each other.

    Args:
        x: The input.
        weight: The weights.
        space: Which maps.

    Raises:
        ShapeError: So it is.
    """
    if weight.ndim != 3 or len(weight) != space.size:
        raise ShapeError(
            f"The weights of {space.size} diagrams must be [{space.size}, C_out, C_in], given {list(weight.shape)}."
        )
    axes = (weight.shape[2], *(space.n,) * space.k)
    if x.shape[max(x.ndim - space.k - 1, 0) :] != axes:
        raise ShapeError(
            f"The input must be [..., {', '.join(map(str, axes))}]: channels, then {space.k} axes of length {space.n}; "
            f"given {list(x.shape)}."
        )
    if x.dtype not in (torch.float32, torch.float64) or x.dtype != weight.dtype or x.device != weight.device:
        raise ShapeError(
            f"Input and weights must both be float32 or both float64, on one device; they are {x.dtype} on {x.device} "
            f"and {weight.dtype} on {weight.device}."
        )

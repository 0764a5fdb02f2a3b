"""Equivariant linear maps between tensor powers of ℝⁿ by diagrams: contract, mix, expand."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.ops.constants import constants
from equitools.ops.diagram_tables import Block, DiagramSpace, block_sizes
from equitools.ops.precision import full_precision
from equitools.ops.sparse_rows import recorded, sparse_rows
from equitools.ops.tracing import tracing

__all__ = ["check_tensors", "diagram_linear", "diagram_weight_matrix"]

#: A large batch is done in parts whose input takes so many bytes, for the caches, and has no fewer rows than these.
CACHED_BYTES = 2**20
LEAST_BATCH = 32


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
    size_in, batch = space.n**space.k, math.prod(lead)
    found = constants("diagram_tables", "tables", space.key, x.dtype, x.device)
    mixed = sparse_rows(weight.reshape(len(weight), c_out * c_in), found[6:9], found[9:12])
    matrices, blocks = [], [Block(*sizes) for sizes in block_sizes(space.key)[:-1]]
    for block in blocks:
        matrix = mixed[block.start_weight : block.start_weight + block.inputs * block.outputs]
        matrix = matrix.reshape(block.outputs, block.inputs, c_out, c_in).transpose(1, 2)
        matrices.append(matrix.reshape(block.outputs * c_out, block.inputs * c_in))
    rows = x.reshape(batch, c_in, size_in)
    turned = rows.permute(2, 1, 0)
    if not turned.is_contiguous():
        # Two copies that are fast instead of one that is not: torch transposes matrices by tiles.
        turned = rows.transpose(0, 1).reshape(c_in * batch, size_in).t().contiguous().view(size_in, c_in, batch)
    parts = [turned]
    if x.device.type == "cpu" and not tracing():
        number = max(LEAST_BATCH, CACHED_BYTES // max(1, c_in * size_in * x.element_size()))
        parts = list(turned.split(number, 2)) if batch > number else parts
    made = [_contract_mix_expand(part, matrices, c_out, space, found[:6], found[12:]) for part in parts]
    out = made[0] if len(made) == 1 else torch.cat(made, 2)  # [n^l, C_out, batch]
    out = out.reshape(space.n**space.l, c_out * batch).t()
    out = out if components_first else out.contiguous()
    out = out.reshape(c_out, batch, space.n**space.l).transpose(0, 1)
    out = out if components_first else out.contiguous()
    return out.reshape(*lead, c_out, *(space.n,) * space.l)


def _contract_mix_expand(
    x: Tensor,
    matrices: list[Tensor],
    c_out: int,
    space: DiagramSpace,
    contraction: tuple[Tensor, ...],
    expansion: tuple[Tensor, ...],
) -> Tensor:
    """Map ``[n**k, C_in, B]`` to ``[n**l, C_out, B]``: all sums of components are sums of long rows."""
    size, c_in, batch = x.shape
    contracted = sparse_rows(x.reshape(size, c_in * batch), contraction[:3], contraction[3:])
    *blocks, (rows_out,) = block_sizes(space.key)
    parts, between = [], None
    if not tracing() and not recorded(contracted, *matrices):
        between = contracted.new_empty(rows_out, c_out * batch)
    for block, matrix in zip([Block(*sizes) for sizes in blocks], matrices, strict=True):
        part = contracted[block.start_in : block.start_in + block.components * block.inputs]
        part = part.reshape(block.components, block.inputs * c_in, batch)
        if between is None:
            part = torch.matmul(matrix, part)
            parts.append(part.reshape(block.components * block.outputs, c_out * batch))
        else:
            out = between[block.start_out : block.start_out + block.components * block.outputs]
            torch.matmul(matrix, part, out=out.view(block.components, block.outputs * c_out, batch))
    if between is None:
        # without any diagram: no rows, but of the input's graph, so that its derivative is zero
        between = torch.cat(parts) if parts else contracted.reshape(0, c_out * batch)
    return sparse_rows(between, expansion[:3], expansion[3:]).reshape(space.n**space.l, c_out, batch)


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
    entries = sparse_rows(weight.reshape(len(weight), c_out * c_in), found[:3], found[3:])
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

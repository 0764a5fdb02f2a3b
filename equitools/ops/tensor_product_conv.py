"""The channelwise tensor-product convolution: gather → Clebsch–Gordan product → weight → sum over receivers."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import BackendError, GraphError, ShapeError
from equitools.ops import (
    backend,
    conv_autograd,  # noqa: F401 - registers the derivatives
)
from equitools.ops.conv_tables import MAX_COMPILED_DEGREE, ConvTables, conv_tables
from equitools.ops.plan import TensorProductPlan
from equitools.ops.precision import full_precision
from equitools.ops.segment import segment_sum

__all__ = ["radial_tensor_product_conv", "tensor_product_conv", "tensor_product_conv_reference"]


@full_precision
def tensor_product_conv(
    plan: TensorProductPlan,
    x: Tensor,
    edge_attr: Tensor,
    weight: Tensor,
    edge_index: Tensor,
    num_nodes: int,
    merged: bool = False,
) -> Tensor:
    """Convolve node features with edge attributes, channel by channel ("uvu"), channels innermost (``ir_mul``).

    The Clebsch–Gordan tensors are contracted with the edge attributes first, once for all channels, so that what
    remains for each channel is a small matrix for each edge. The compiled kernels make these matrices for a few edges
    at a time and sum over receivers in registers: neither the matrices of all edges nor the messages exist in memory.
    Forward, backward and double backward are compiled; further derivatives are composed of them. For a given number of
    threads the result is the same in every run.

    Args:
        plan: The plan.
        x: Node features ``[N, irreps_in.dim]`` in the ``ir_mul`` layout; of a uniform plan also ``[N, components, C]``.
        edge_attr: ``[E, irreps_edge.dim]``.
        weight: ``[E, weight_numel]``; for a three-dimensional ``x`` ``[E, P, C]``, one for each path and channel.
        edge_index: int64 ``[2, E]``, sender and receiver, in any order (receivers in ascending order are faster).
        num_nodes: Number of receivers.
        merged: Whether the paths to one irrep share an output block, side by side in its channels
            (``plan.irreps_out.simplify()``): a linear map of the output is then one product of matrices an irrep.

    Returns:
        ``[num_nodes, irreps_out.dim]`` in ``ir_mul``, or for a three-dimensional ``x``
        ``[num_nodes, Σ (2l+1) over paths, C]``; blocks in the order of ``plan.irreps_out``. The dtype is that of ``x``.

    Raises:
        ShapeError: A shape, dtype or device does not fit.
        GraphError: An index is out of range.

    Properties:
        equals_reference: the same numbers as `tensor_product_conv_reference`.
        equivariance: of the irreps of the plan.

    Source: the M = CG · Y form; the product is that of e3nn's ``TensorProduct`` with "uvu" instructions.
    """
    _check(plan, x, edge_attr, edge_index, num_nodes)
    _check_like(x, "weight", weight, (edge_index.shape[-1], *_weight_shape(plan, x)))
    if merged and x.ndim == 3:
        raise ShapeError("A merged output needs x [N, irreps_in.dim], not [N, components, C].")
    rows, weights = x.flatten(1), weight.flatten(1)
    if _compiled(plan, x):
        tables = conv_tables(plan, merged)
        out = _guarded(
            torch.ops.equitools.tensor_product_conv,
            (rows, edge_attr, tables.reorder(weights), edge_index, num_nodes),
            tables,
        )
    else:
        out = _in_torch_guarded(plan, rows, edge_attr, weights, edge_index, num_nodes)
        if merged:
            out = _merge(plan, out)
    return out.unflatten(1, (-1, x.shape[-1])) if x.ndim == 3 else out


@full_precision
def radial_tensor_product_conv(
    plan: TensorProductPlan,
    x: Tensor,
    edge_attr: Tensor,
    hidden: Tensor,
    weight: Tensor,
    edge_index: Tensor,
    num_nodes: int,
    merged: bool = False,
) -> Tensor:
    """Convolve as `tensor_product_conv` does, with the edges' weights ``hidden @ weight``, which are never stored.

    The last layer of a radial network makes ``weight_numel`` numbers for each edge: the largest array of a convolution
    by far. The compiled kernels make them for a few edges at a time and use them while they are in cache, also in the
    backward and the double backward.

    Args:
        plan: The plan.
        x: ``[N, irreps_in.dim]`` in the ``ir_mul`` layout, or of a uniform plan ``[N, components, C]``.
        edge_attr: ``[E, irreps_edge.dim]``.
        hidden: What the radial network has before its last layer, ``[E, K]``.
        weight: The last layer ``[K, weight_numel]``, with whatever factor it has (no bias).
        edge_index: int64 ``[2, E]``.
        num_nodes: Number of receivers.
        merged: As in `tensor_product_conv`.

    Returns:
        As `tensor_product_conv`.

    Raises:
        ShapeError: A shape, dtype or device does not fit.
        GraphError: An index is out of range.

    Properties:
        equals_unfused: ``tensor_product_conv(..., hidden @ weight, ...)`` up to rounding, with its derivatives.
    """
    _check(plan, x, edge_attr, edge_index, num_nodes)
    _check_like(x, "hidden", hidden, (edge_index.shape[-1], hidden.shape[-1] if hidden.ndim else 0))
    _check_like(x, "weight", weight, (hidden.shape[-1], plan.weight_numel))
    if merged and x.ndim == 3:
        raise ShapeError("A merged output needs x [N, irreps_in.dim], not [N, components, C].")
    rows = x.flatten(1)
    if _compiled(plan, x):
        tables = conv_tables(plan, merged)
        out = _guarded(
            torch.ops.equitools.radial_tensor_product_conv,
            (rows, edge_attr, hidden, tables.reorder(weight), edge_index, num_nodes),
            tables,
        )
    else:
        out = _in_torch_guarded(plan, rows, edge_attr, hidden @ weight, edge_index, num_nodes)
        if merged:
            out = _merge(plan, out)
    return out.unflatten(1, (-1, x.shape[-1])) if x.ndim == 3 else out


def _compiled(plan: TensorProductPlan, x: Tensor) -> bool:
    if plan.max_degree <= MAX_COMPILED_DEGREE:
        return backend.choose("tensor_product_conv", x) != "reference"
    requested = backend.requested_backend()
    if requested in {"cpu", "cuda"}:
        raise BackendError(
            f"tensor_product_conv was asked to run on the backend {requested!r}, whose kernels take degrees up to "
            f"{MAX_COMPILED_DEGREE}; the plan has {plan.max_degree}. Choose 'auto' or 'reference'."
        )
    return False


def _guarded(operation: object, arguments: tuple[Tensor | int, ...], tables: ConvTables) -> Tensor:
    """Call a compiled convolution; if it refuses because of an index, say so in terms of the graph."""
    x, *_, edge_index, num_nodes = arguments
    arguments = *arguments, tables.dim_out, *tables.tensors(x.dtype)  # type: ignore[union-attr]
    if torch.compiler.is_compiling():
        return operation(*arguments)  # type: ignore[operator]
    try:
        return operation(*arguments)  # type: ignore[operator]
    except RuntimeError:
        check_edges(edge_index, len(x), num_nodes)  # type: ignore[arg-type]
        raise


def check_edges(edge_index: Tensor, senders: int, receivers: int) -> None:
    """Raise `GraphError` unless the senders and the receivers of ``edge_index`` lie in their ranges."""
    if not edge_index.shape[-1]:
        return
    for row, (what, count) in enumerate((("senders", senders), ("receivers", receivers))):
        low, high = (int(v) for v in torch.aminmax(edge_index[row]))
        if low < 0 or high >= count:
            raise GraphError(f"edge_index[{row}] ({what}) must lie in 0 … {count - 1}; it has {low} … {high}.")


def _merge(plan: TensorProductPlan, out: Tensor) -> Tensor:
    """Bring the blocks of one irrep side by side."""
    pieces = list(zip(plan.irreps_out, out.split([mul * ir.dim for mul, ir in plan.irreps_out], 1), strict=True))
    parts = []
    for _, ir in plan.irreps_out.simplify():
        parts.append(torch.cat([p.unflatten(1, (ir.dim, mul)) for (mul, other), p in pieces if other == ir], 2))
    return torch.cat([p.flatten(1) for p in parts], 1)


def _in_torch_guarded(
    plan: TensorProductPlan, x: Tensor, edge_attr: Tensor, weight: Tensor, edge_index: Tensor, num_nodes: int
) -> Tensor:
    """Convolve in plain torch; a sender out of range is a `GraphError` here, too."""
    if torch.compiler.is_compiling():
        return _in_torch(plan, x, edge_attr, weight, edge_index, num_nodes)
    try:
        return _in_torch(plan, x, edge_attr, weight, edge_index, num_nodes)
    except (IndexError, RuntimeError):
        check_edges(edge_index, len(x), num_nodes)
        raise


def _in_torch(
    plan: TensorProductPlan, x: Tensor, edge_attr: Tensor, weight: Tensor, edge_index: Tensor, num_nodes: int
) -> Tensor:
    if not plan.uniform or backend.requested_backend() == "reference":
        rows = _transpose_blocks(x, [(ir.dim, mul) for mul, ir in plan.irreps_in])
        out = tensor_product_conv_reference(plan, rows, edge_attr, weight, edge_index, num_nodes)
        return _transpose_blocks(out, [(mul, ir.dim) for mul, ir in plan.irreps_out])
    channels = plan.channels
    plan.prepare_fused()
    matrices = edge_attr @ plan.table("edge_to_matrix", x.device, x.dtype)
    gathered = x.index_select(0, edge_index[0]).unflatten(1, (-1, channels))
    messages, column = [], 0
    for i1, paths in plan.blocks:
        dim1 = plan.irreps_in[i1].ir.dim
        rows_out = sum(plan.paths[p].irrep.dim for p in paths)
        block = gathered.narrow(1, _component_start(plan, i1), dim1)
        matrix = matrices.narrow(1, column, rows_out * dim1).unflatten(1, (rows_out, dim1))
        messages.append(matrix * block if dim1 == 1 else torch.bmm(matrix, block))
        column += rows_out * dim1
    # Path by path: a weight multiplies its few rows by broadcasting, and no further array is as large as all messages.
    generated = [p for _, paths in plan.blocks for p in paths]
    pieces = [
        piece
        for message, (_, paths) in zip(messages, plan.blocks, strict=True)
        for piece in message.split([plan.paths[p].irrep.dim for p in paths], 1)
    ]
    factors = weight.unflatten(1, (-1, channels)).split(1, 1)
    summed = {
        p: segment_sum((piece * factors[p]).flatten(1), edge_index[1], num_nodes)
        for p, piece in zip(generated, pieces, strict=True)
    }
    return torch.cat([summed[p] for p in plan.order], 1)


def _transpose_blocks(x: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    """Swap the two axes of each block of columns; ``shapes`` are those before."""
    parts = x.split([a * b for a, b in shapes], 1)
    return torch.cat([p.unflatten(1, s).transpose(1, 2).flatten(1) for p, s in zip(parts, shapes, strict=True)], 1)


def _component_start(plan: TensorProductPlan, block: int) -> int:
    return sum(ir.dim for _, ir in list(plan.irreps_in)[:block])


def _weight_shape(plan: TensorProductPlan, x: Tensor) -> tuple[int, ...]:
    return (len(plan.paths), x.shape[-1]) if x.ndim == 3 else (plan.weight_numel,)


def _check(plan: TensorProductPlan, x: Tensor, edge_attr: Tensor, edge_index: Tensor, num_nodes: int) -> None:
    if x.ndim == 3 and not plan.uniform:
        raise ShapeError(
            f"x [N, components, C] needs one multiplicity in irreps_in and multiplicity 1 in irreps_edge; the plan has "
            f"'{plan.irreps_in}' and '{plan.irreps_edge}'. Give x as [N, irreps_in.dim]."
        )
    nodes = x.shape[0] if x.ndim else 0
    if x.ndim == 3:
        channels = plan.channels
        wanted: tuple[int, ...] = (nodes, plan.dim_in // channels, channels)
    else:
        wanted = (nodes, plan.dim_in)
    if tuple(x.shape) != wanted:
        raise ShapeError(f"x of the convolution must be {list(wanted)}, the tensor given is {list(x.shape)}.")
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.dtype != torch.int64:
        raise ShapeError(
            f"edge_index must be int64 [2, E], the tensor given is {edge_index.dtype} {list(edge_index.shape)}."
        )
    if edge_index.device != x.device:
        raise ShapeError(f"edge_index is on {edge_index.device}, but x is on {x.device}; move one of them.")
    if num_nodes < 0:
        raise ShapeError(f"num_nodes must not be negative, it is {num_nodes}.")
    _check_like(x, "edge_attr", edge_attr, (edge_index.shape[-1], plan.dim_edge))


def _check_like(x: Tensor, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ShapeError(f"{name} of the convolution must be {list(shape)}, the tensor given is {list(tensor.shape)}.")
    if tensor.dtype != x.dtype or tensor.device != x.device:
        raise ShapeError(
            f"{name} is {tensor.dtype} on {tensor.device}, but x is {x.dtype} on {x.device}; convert one of them."
        )


def tensor_product_conv_reference(
    plan: TensorProductPlan, x: Tensor, edge_attr: Tensor, weight: Tensor, edge_index: Tensor, num_nodes: int
) -> Tensor:
    """Convolve path by path, for any multiplicities, in e3nn's ``mul_ir`` layout: the oracle of every fast path.

    Args:
        plan: The plan.
        x: ``[N, irreps_in.dim]``.
        edge_attr: ``[E, irreps_edge.dim]``.
        weight: ``[E, weight_numel]``.
        edge_index: ``[2, E]``.
        num_nodes: Number of receivers.

    Returns:
        ``[num_nodes, irreps_out.dim]``.
    """
    gathered = x.index_select(0, edge_index[0])
    parts = []
    slices1, slices2 = plan.irreps_in.slices(), plan.irreps_edge.slices()
    for p in plan.order:
        path = plan.paths[p]
        left = gathered[:, slices1[path.index1]].unflatten(-1, (path.mul1, -1))
        right = edge_attr[:, slices2[path.index2]].unflatten(-1, (path.mul2, -1))
        size = path.mul1 * path.mul2
        w = weight[:, path.weight_start : path.weight_start + size].unflatten(-1, (path.mul1, path.mul2))
        coupling = plan.coupling(p).to(x)
        mixed = torch.einsum("euv,evj->euj", w, right)
        parts.append(torch.einsum("eui,euj,ijk->euk", left, mixed, coupling).flatten(1))
    return segment_sum(torch.cat(parts, 1), edge_index[1], num_nodes)

"""The channelwise tensor-product convolution: gather → Clebsch–Gordan product → weight → sum over receivers."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.ops.plan import TensorProductPlan
from equitools.ops.segment import segment_sum

__all__ = ["tensor_product_conv", "tensor_product_conv_reference"]


def tensor_product_conv(
    plan: TensorProductPlan, x: Tensor, edge_attr: Tensor, weight: Tensor, edge_index: Tensor, num_nodes: int
) -> Tensor:
    """Convolve node features that have the same number of channels in every irrep.

    The Clebsch–Gordan tensors are contracted with the edge attributes first, once for all channels (one GEMM), so that
    what remains for each channel is a small matrix for each edge.

    Args:
        plan: A uniform plan (`TensorProductPlan.uniform`).
        x: Node features ``[N, components of irreps_in, C]``, channels innermost.
        edge_attr: ``[E, irreps_edge.dim]``.
        weight: ``[E, P, C]``, one for each path and channel.
        edge_index: ``[2, E]``, sender and receiver.
        num_nodes: Number of receivers.

    Returns:
        ``[num_nodes, Σ (2l+1) over paths, C]``, the blocks in the order of ``plan.irreps_out``.

    Raises:
        ShapeError: A shape does not fit the plan.

    Properties:
        equals_reference: the same numbers as `tensor_product_conv_reference`.

    Source: the M = CG · Y form; the product is that of e3nn's ``TensorProduct`` with "uvu" instructions.
    """
    _check(plan, x, edge_attr, weight, edge_index)
    plan.prepare_fused()
    table = plan.table("edge_to_matrix", x.device, x.dtype)
    matrices = edge_attr @ table
    gathered = x.index_select(0, edge_index[0])
    messages, column = [], 0
    channels = x.shape[-1]
    for i1, paths in plan.blocks:
        dim1 = plan.irreps_in[i1].ir.dim
        rows = sum(plan.paths[p].irrep.dim for p in paths)
        block = gathered.narrow(1, _component_start(plan, i1), dim1)
        matrix = matrices.narrow(1, column, rows * dim1).unflatten(1, (rows, dim1))
        messages.append(matrix * block if dim1 == 1 else torch.bmm(matrix, block))
        column += rows * dim1
    # Path by path: a weight multiplies its few rows by broadcasting, and no further array is as large as all messages.
    generated = [p for _, paths in plan.blocks for p in paths]
    pieces = [
        piece
        for message, (_, paths) in zip(messages, plan.blocks, strict=True)
        for piece in message.split([plan.paths[p].irrep.dim for p in paths], 1)
    ]
    factors = weight.split(1, 1)
    summed = {
        p: segment_sum((piece * factors[p]).flatten(1), edge_index[1], num_nodes).unflatten(1, (-1, channels))
        for p, piece in zip(generated, pieces, strict=True)
    }
    return torch.cat([summed[p] for p in plan.order], 1)


def _component_start(plan: TensorProductPlan, block: int) -> int:
    return sum(ir.dim for _, ir in list(plan.irreps_in)[:block])


def _check(plan: TensorProductPlan, x: Tensor, edge_attr: Tensor, weight: Tensor, edge_index: Tensor) -> None:
    if not plan.uniform:
        raise ShapeError(
            f"The fused form needs one multiplicity in irreps_in and multiplicity 1 in irreps_edge; the plan has "
            f"'{plan.irreps_in}' and '{plan.irreps_edge}'. Use tensor_product_conv_reference."
        )
    components = sum(ir.dim for _, ir in plan.irreps_in)
    edges = edge_index.shape[-1]
    wanted = {
        "x": (x, (x.shape[0], components, x.shape[-1])),
        "edge_attr": (edge_attr, (edges, plan.irreps_edge.dim)),
        "weight": (weight, (edges, len(plan.paths), x.shape[-1])),
        "edge_index": (edge_index, (2, edges)),
    }
    for name, (tensor, shape) in wanted.items():
        if tuple(tensor.shape) != shape:
            raise ShapeError(
                f"{name} of the convolution must be {list(shape)}, the tensor given is {list(tensor.shape)}."
            )
    for name, tensor in (("edge_attr", edge_attr), ("weight", weight)):
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

"""The many-body product basis: symmetric products of a node's features, weighted by species and channel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.ops.plan import SymmetricContractionPlan

__all__ = ["symmetric_contraction", "symmetric_contraction_reference"]


def symmetric_contraction(
    plan: SymmetricContractionPlan, x: Tensor, weights: Sequence[Sequence[Tensor]], species: Tensor
) -> Tensor:
    """Contract 1 … ν copies of each node's features with the symmetric basis.

    The weights are folded into the basis once for each species and channel; then the nodes of a species are one batched
    GEMM over channels between their (ν−1)-fold products and the folded table, and one more contraction with x.

    Args:
        plan: The plan.
        x: ``[N, components of irreps_in, C]``, channels innermost.
        weights: ``weights[k][ν-1]`` of shape ``[S, paths, C]`` for block k of ``irreps_out``.
        species: Index of each node's species ``[N]``, 0 … S−1.

    Returns:
        ``[N, components of irreps_out, C]``.

    Properties:
        equals_reference: the same numbers as `symmetric_contraction_reference`.

    Source: Batatia et al., NeurIPS 2022 (arXiv 2206.07697), eqs. 10–11.
    """
    num_species, channels = weights[0][0].shape[0], x.shape[-1]
    _check(plan, x, species, num_species)
    dim_in, dim_out = x.shape[1], sum(ir.dim for _, ir in plan.irreps_out)
    folded = [_fold(plan, weights, nu, x) for nu in range(1, plan.correlation + 1)]  # [S, C, d^(ν-1), dim_out·d]
    order = torch.argsort(species, stable=True)
    counts = torch.bincount(species, minlength=num_species).tolist()
    by_channel = x.index_select(0, order).permute(2, 0, 1)  # [C, N, d]
    results = []
    for s, nodes in enumerate(by_channel.split(counts, dim=1)):
        if not nodes.shape[1]:
            continue
        total = folded[0][s].expand(-1, nodes.shape[1], -1)
        products = nodes
        for nu in range(2, plan.correlation + 1):
            total = torch.baddbmm(total, products, folded[nu - 1][s])
            if nu < plan.correlation:
                products = (products.unsqueeze(-1) * nodes.unsqueeze(-2)).flatten(2)
        blocks = total.unflatten(-1, (dim_out, dim_in))
        results.append(torch.einsum("cnoi,cni->nco", blocks, nodes))
    if not results:
        return x.new_zeros(0, dim_out, channels) + 0 * x.sum()
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return torch.cat(results, 0).index_select(0, back).transpose(1, 2)


def _fold(plan: SymmetricContractionPlan, weights: Sequence[Sequence[Tensor]], nu: int, x: Tensor) -> Tensor:
    """Sum the paths of order ν with their weights: ``[S, C, d^(ν-1), dim_out · d]``."""
    parts = []
    dim = x.shape[1]
    for k, (_, ir) in enumerate(plan.irreps_out):
        w = weights[k][nu - 1]
        if plan.num_paths[k][nu - 1] == 0:
            parts.append(x.new_zeros(w.shape[0], w.shape[2], dim ** (nu - 1), ir.dim, dim))
            continue
        table = plan.table(f"{k}.{nu}", x.device, x.dtype)
        table = table.reshape(len(table), ir.dim, dim ** (nu - 1), dim).transpose(1, 2)  # [K, d^(ν-1), 2l+1, d]
        mixed = w.transpose(1, 2).reshape(-1, len(table)) @ table.reshape(len(table), -1)
        parts.append(mixed.reshape(w.shape[0], w.shape[2], dim ** (nu - 1), ir.dim, dim))
    return torch.cat(parts, 3).flatten(3) if len(parts) > 1 else parts[0].flatten(3)


def _check(plan: SymmetricContractionPlan, x: Tensor, species: Tensor, num_species: int) -> None:
    components = sum(ir.dim for _, ir in plan.irreps_in)
    if x.ndim != 3 or x.shape[1] != components:
        raise ShapeError(
            f"x of the symmetric contraction must be [N, {components}, C] for '{plan.irreps_in}', "
            f"the tensor given is {list(x.shape)}."
        )
    if species.shape != x.shape[:1] or species.dtype != torch.int64:
        raise ShapeError(
            f"species must be int64 of shape [{x.shape[0]}], the tensor given is {species.dtype} {list(species.shape)}."
        )
    if species.numel() and not (int(species.min()) >= 0 and int(species.max()) < num_species):
        raise ShapeError(
            f"species must lie in 0 … {num_species - 1}, the tensor given has {int(species.min())} … "
            f"{int(species.max())}."
        )


def symmetric_contraction_reference(
    plan: SymmetricContractionPlan, x: Tensor, weights: Sequence[Sequence[Tensor]], species: Tensor
) -> Tensor:
    """Compute `symmetric_contraction` with one einsum for each block and order: the oracle."""
    outputs = []
    letters = "abdefghij"
    for k, (_, ir) in enumerate(plan.irreps_out):
        block = x.new_zeros(x.shape[0], ir.dim, x.shape[-1])
        for nu in range(1, plan.correlation + 1):
            if plan.num_paths[k][nu - 1] == 0:
                continue
            table = plan.table(f"{k}.{nu}", x.device, x.dtype)
            index = letters[:nu]
            factors = ",".join(f"n{i}c" for i in index)
            w = weights[k][nu - 1].index_select(0, species)
            block = block + torch.einsum(f"kz{index},nkc,{factors}->nzc", table, w, *[x] * nu)
        outputs.append(block)
    return torch.cat(outputs, 1)

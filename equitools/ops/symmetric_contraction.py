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
    GEMM over channels between the folded table and their monomials of degree ν − 1 (each product once, whatever the
    order of its factors), and one more contraction with x: a Horner scheme.

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
    dim_out = sum(ir.dim for _, ir in plan.irreps_out)
    if not len(x):
        return x.new_zeros(0, dim_out, channels) + 0 * x.sum()
    folded = [_fold(plan, weights, nu, x) for nu in range(1, plan.correlation + 1)]  # [S, C, dim_out · d, monomials]
    order = torch.argsort(species, stable=True)
    counts = torch.bincount(species, minlength=num_species).tolist()
    # Nodes innermost and sorted by species: every product below reads and writes whole rows.
    variables = x.index_select(0, order).permute(1, 2, 0).contiguous()  # [d, C, N]
    powers = [variables]
    for nu in range(2, plan.correlation):
        first = plan.table(f"{nu}.first", x.device, torch.int64)
        rest = plan.table(f"{nu}.rest", x.device, torch.int64)
        powers.append(variables.index_select(0, first) * powers[-1].index_select(0, rest))
    split = [[part.transpose(0, 1) for part in power.split(counts, dim=2)] for power in powers]  # [C, monomials, n]
    results = []
    for s, nodes in enumerate(counts):
        if not nodes:
            continue
        total = folded[0][s].expand(-1, -1, nodes)
        for nu in range(2, plan.correlation + 1):
            total = torch.baddbmm(total, folded[nu - 1][s], split[nu - 2][s])
        results.append((total.unflatten(1, (dim_out, -1)) * split[0][s].unsqueeze(1)).sum(2))  # [C, dim_out, n]
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return torch.cat(results, 2).permute(2, 1, 0).index_select(0, back)


def _fold(plan: SymmetricContractionPlan, weights: Sequence[Sequence[Tensor]], nu: int, x: Tensor) -> Tensor:
    """Sum the paths of order ν with their weights: ``[S, C, dim_out · d, monomials of degree ν − 1]``."""
    parts = []
    for k, (_, ir) in enumerate(plan.irreps_out):
        table = plan.table(f"{k}.{nu}.fold", x.device, x.dtype)
        w = weights[k][nu - 1]
        shape = (w.shape[0], w.shape[2], ir.dim * x.shape[1], table.shape[-1])
        if plan.num_paths[k][nu - 1] == 0:
            parts.append(x.new_zeros(shape))
        else:
            parts.append((w.transpose(1, 2).reshape(-1, len(table)) @ table.flatten(1)).reshape(shape))
    return torch.cat(parts, 2) if len(parts) > 1 else parts[0]


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

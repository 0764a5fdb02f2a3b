"""The many-body product basis: symmetric products of a node's features, weighted by species and channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.ops import backend
from equitools.ops.contraction_program import terms_of_program
from equitools.ops.needed import needed
from equitools.ops.partial_vjp import partial_vjp
from equitools.ops.plan import SymmetricContractionPlan
from equitools.ops.precision import full_precision
from equitools.ops.tracing import mode_active

__all__ = ["symmetric_contraction", "symmetric_contraction_reference"]


@full_precision
def symmetric_contraction(
    plan: SymmetricContractionPlan, x: Tensor, weights: Sequence[Sequence[Tensor]], species: Tensor
) -> Tensor:
    """Contract 1 … ν copies of each node's features with the symmetric basis.

    The compiled kernels fold the weights into the coefficients of one polynomial for each species, channel and output
    component, and evaluate it by a tree of shared products (`plan.program`). Derivatives of first and second order are
    compiled as well; those of third order use plain torch.

    In plain torch, the weights are folded into the basis once for each species and channel; then the nodes of a species
    are one batched GEMM over channels between the folded table and their monomials of degree ν − 1 (each product once,
    whatever the order of its factors), and one more contraction with x: a Horner scheme.

    Args:
        plan: The plan.
        x: ``[N, components of irreps_in, C]``, channels innermost.
        weights: ``weights[k][ν-1]`` of shape ``[S, paths, C]`` for block k of ``irreps_out``.
        species: Index of each node's species ``[N]``, 0 … S−1.

    Returns:
        ``[N, components of irreps_out, C]``.

    Raises:
        ShapeError: x, a weight or species has another shape than the plan asks for, or a species is out of range.

    Properties:
        equals_reference: the same numbers as `symmetric_contraction_reference`.

    Source: Batatia et al., NeurIPS 2022 (arXiv 2206.07697), eqs. 10–11.
    """
    _check(plan, x, weights, species)
    if backend.choose("symmetric_contraction", x) == "reference":
        return _in_plain_torch(plan, x, weights, species)
    flat = [w for row in weights for w in row]
    weight = torch.cat(flat, 1) if len(flat) > 1 else flat[0]
    program, values = plan.program(x.device, x.dtype)
    return torch.ops.equitools.symmetric_contraction(x, weight, species, program, values, plan.dim_out)


def _in_plain_torch(
    plan: SymmetricContractionPlan, x: Tensor, weights: Sequence[Sequence[Tensor]], species: Tensor
) -> Tensor:
    num_species, channels = weights[0][0].shape[0], x.shape[-1]
    dim_out = plan.dim_out
    if not len(x):
        unused = sum((w.sum() for row in weights for w in row), x.sum())  # so that all of them have gradients: zeros
        return x.new_zeros(0, dim_out, channels) + 0 * unused
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


def _check(plan: SymmetricContractionPlan, x: Tensor, weights: Sequence[Sequence[Tensor]], species: Tensor) -> None:
    if x.ndim != 3 or x.shape[1] != plan.dim_in:
        raise ShapeError(
            f"x of the symmetric contraction must be [N, {plan.dim_in}, C] for '{plan.irreps_in}', "
            f"the tensor given is {list(x.shape)}."
        )
    num_species = weights[0][0].shape[0]
    for row, counts in zip(weights, plan.num_paths, strict=True):
        for w, paths in zip(row, counts, strict=True):
            if w.shape != (num_species, paths, x.shape[2]) or w.dtype != x.dtype:
                raise ShapeError(
                    f"A weight of the symmetric contraction must be {x.dtype} [{num_species}, {paths}, {x.shape[2]}], "
                    f"the tensor given is {w.dtype} {list(w.shape)}."
                )
    check_species(species, x.shape[0], num_species)


def check_species(species: Tensor, rows: int, num_species: int) -> None:
    """Look whether every row has a species; where values cannot be seen, its form only.

    Args:
        species: ``[N]`` int64, 0 … S−1.
        rows: N.
        num_species: S.

    Raises:
        ShapeError: The tensor has another shape or dtype, or a species is out of range.
    """
    if species.shape != (rows,) or species.dtype != torch.int64:
        raise ShapeError(
            f"species must be int64 of shape [{rows}], the tensor given is {species.dtype} {list(species.shape)}."
        )
    if mode_active() or not species.numel():
        return  # the compiled kernel looks again; a branch on values would break the graph
    low, high = (int(t) for t in species.aminmax())
    if low < 0 or high >= num_species:
        raise ShapeError(f"species must lie in 0 … {num_species - 1}, the tensor given has {low} … {high}.")


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


def _terms_in_plain_torch(x: Tensor, weight: Tensor, species: Tensor, program: Tensor, values: Tensor) -> Tensor:
    """What the compiled operation computes, term by term."""
    component, variables, ranges = terms_of_program(program.cpu().numpy())
    owner = torch.arange(len(ranges)).repeat_interleave(torch.from_numpy(ranges[:, 1]))
    path = torch.from_numpy(np.concatenate([np.arange(a, a + n) for a, n in ranges.tolist()]))
    fold = x.new_zeros(len(ranges), weight.shape[1]).index_put((owner, path), values, accumulate=True)
    total = (fold @ weight).index_select(0, species)  # [N, terms, C]
    padded = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    for column in torch.from_numpy(variables).T:
        total = total * padded.index_select(1, column)
    dim_out = int(program[1])
    return x.new_zeros(len(x), dim_out, x.shape[2]).index_add(1, torch.from_numpy(component), total)


def _third_order(
    tensors: tuple[Tensor, ...], program: tuple[Tensor, Tensor], cotangents: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """Return the VJP of the compiled second derivative, by differentiating plain torch three times."""
    x, weight, species, grad, u, v = tensors

    def second(x: Tensor, weight: Tensor, grad: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        out = _terms_in_plain_torch(x, weight, species, *program)
        first = torch.autograd.grad(out, (x, weight), grad, create_graph=True, materialize_grads=True)
        return torch.autograd.grad(
            first, (grad, x, weight), (u, v), create_graph=True, allow_unused=True, materialize_grads=True
        )

    return partial_vjp(second, (x, weight, grad, u, v), cotangents)


def _register() -> None:
    """Tell torch the shapes and derivatives of the compiled operations."""
    ops = torch.ops.equitools

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:-1])

    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 6
        x, weight, species, *program = ctx.saved_tensors
        wanted = needed(ctx, 0), needed(ctx, 1)
        found = ops.symmetric_contraction_backward(x, weight, species, grad, *program, *wanted)
        return *(g if want else None for g, want in zip(found, wanted, strict=True)), None, None, None, None

    def save_second(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:6])
        ctx.computed = inputs[6:]

    def double_backward(ctx: Any, u: Tensor | None, v: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, species, grad, *program = ctx.saved_tensors
        u, v = (t if computed else None for t, computed in zip((u, v), ctx.computed, strict=True))
        if u is None and v is None:
            return (None,) * 8
        u = torch.zeros_like(x) if u is None else u
        need_x, need_weight, need_grad = (needed(ctx, k) for k in (0, 1, 3))
        dgrad, dx, dweight = ops.symmetric_contraction_double_backward(
            x, weight, species, grad, u, v, *program, need_weight
        )
        return dx if need_x else None, dweight if need_weight else None, None, dgrad if need_grad else None, *[None] * 4

    def save_third(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
        ctx.set_materialize_grads(False)
        ctx.with_v = inputs[5] is not None
        ctx.save_for_backward(*(t for t in inputs[:8] if t is not None))

    def triple_backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        tensors = list(ctx.saved_tensors)
        if not ctx.with_v:
            tensors.insert(5, torch.zeros_like(tensors[1]))
        *inputs, program, values = tensors
        dx, dweight, dgrad, du, dv = _third_order(tuple(inputs), (program, values), cotangents)
        return dx, dweight, None, dgrad, du, dv if ctx.with_v else None, None, None, None

    def shapes_of_gradients(x: Tensor, weight: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        need_x, need_weight = rest[-2:]
        return (
            x.new_empty((x.shape[0] if need_x else 0, *x.shape[1:])),
            weight.new_empty((weight.shape[0] if need_weight else 0, *weight.shape[1:])),
        )

    def shapes_of_second(x: Tensor, weight: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        grad, need_weight = rest[1], rest[-1]
        size = weight.shape[0] if need_weight else 0
        return grad.new_empty(grad.shape), x.new_empty(x.shape), weight.new_empty((size, *weight.shape[1:]))

    def vmap_of(operation: Any) -> Any:
        def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
            """Once for each entry of the batch: a gradient of the weights cannot be shared."""
            dims = (*in_dims, *(None,) * (len(args) - len(in_dims)))
            entries = [
                operation(*(a if d is None else a.select(d, k) for a, d in zip(args, dims, strict=True)))
                for k in range(info.batch_size)
            ]
            if isinstance(entries[0], Tensor):
                return torch.stack(entries), 0
            return tuple(torch.stack(part) for part in zip(*entries, strict=True)), (0,) * len(entries[0])

        return rule

    library, name = torch.library, "equitools::symmetric_contraction"
    library.register_fake(name, lambda x, *rest: x.new_empty((x.shape[0], rest[-1], x.shape[2])))
    library.register_fake(f"{name}_backward", shapes_of_gradients)
    library.register_fake(f"{name}_double_backward", shapes_of_second)
    library.register_autograd(name, backward, setup_context=save)
    library.register_autograd(f"{name}_backward", double_backward, setup_context=save_second)
    library.register_autograd(f"{name}_double_backward", triple_backward, setup_context=save_third)
    for suffix in ("", "_backward", "_double_backward"):
        library.register_vmap(name + suffix, vmap_of(getattr(ops, f"symmetric_contraction{suffix}")))


if backend.extension_loaded():
    _register()

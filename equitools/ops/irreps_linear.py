"""The equivariant linear map in one operation: for each irrep one matrix product, without copies of the features.

The map is bilinear in features and weights. It, its adjoint in the features and its gradient in the weights are three
operations whose derivatives are again such operations, so that every order of differentiation is compiled.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from equitools.groups import Irreps
from equitools.ops import backend
from equitools.ops.needed import needed
from equitools.ops.precision import full_precision

__all__ = ["IrrepsLinearPlan", "irreps_linear"]


class IrrepsLinearPlan:
    """Which columns are mixed: all input blocks of an irrep reach all output blocks of it.

    Args:
        irreps_in: Irreps of the features.
        irreps_out: Irreps of the result; those that the features lack stay zero.

    Attributes:
        keys: The irreps that both have, in the order of ``irreps_out``: name, components, input and output channels.
            The weights of one element are their matrices [input channels, output channels], one after the other.
        weight_numel: Number of weights of one element.
        table: The same as integers, for the compiled operation.
    """

    def __init__(self, irreps_in: Irreps, irreps_out: Irreps) -> None:
        self.irreps_in, self.irreps_out = irreps_in, irreps_out
        self.table = [irreps_in.dim, irreps_out.dim]
        self.keys: list[tuple[str, int, int, int]] = []
        for ir in dict.fromkeys(ir for _, ir in irreps_out):
            blocks_in, blocks_out = self._blocks(irreps_in, ir), self._blocks(irreps_out, ir)
            total_in, total_out = sum(mul for _, mul in blocks_in), sum(mul for _, mul in blocks_out)
            if total_in:
                self.keys.append((str(ir), ir.dim, total_in, total_out))
                self.table += [ir.dim, len(blocks_in), len(blocks_out)]
                self.table += [number for block in (*blocks_in, *blocks_out) for number in block]
        self.weight_numel = sum(rows * columns for _, _, rows, columns in self.keys)

    @staticmethod
    def _blocks(irreps: Irreps, wanted: Any) -> list[tuple[int, int]]:
        pieces = zip(irreps, irreps.slices(), strict=True)
        return [(piece.start, mul) for (mul, ir), piece in pieces if ir == wanted and mul]


def _columns(x: Tensor, irreps: Irreps, key: str, mul_ir: bool) -> Tensor:
    """Return the channels of one irrep, ``[N, components, channels]``."""
    parts = []
    for (mul, ir), piece in zip(irreps, irreps.slices(), strict=True):
        if str(ir) == key and mul:
            part = x[:, piece]
            parts.append(
                part.unflatten(-1, (mul, ir.dim)).transpose(-1, -2) if mul_ir else part.unflatten(-1, (ir.dim, mul))
            )
    return torch.cat(parts, -1) if len(parts) > 1 else parts[0]


def irreps_linear_reference(
    plan: IrrepsLinearPlan, x: Tensor, weight: Tensor, species: Tensor | None = None, mul_ir: bool = False
) -> Tensor:
    """Compute `irreps_linear` in plain torch.

    Args:
        plan: As in `irreps_linear`.
        x: As in `irreps_linear`.
        weight: As in `irreps_linear`.
        species: As in `irreps_linear`.
        mul_ir: As in `irreps_linear`.

    Returns:
        ``[N, irreps_out.dim]``.
    """
    mixed, start = {}, 0
    for key, _, rows, columns in plan.keys:
        matrix = weight[:, start : start + rows * columns].unflatten(-1, (rows, columns)) / math.sqrt(rows)
        start += rows * columns
        part = _columns(x, plan.irreps_in, key, mul_ir)
        mixed[key] = part @ matrix[0] if species is None else torch.bmm(part, matrix.index_select(0, species))
    taken = dict.fromkeys(mixed, 0)
    parts = []
    for mul, ir in plan.irreps_out:
        key = str(ir)
        if key not in mixed:
            parts.append(x.new_zeros(len(x), mul * ir.dim))
            continue
        part = mixed[key].narrow(-1, taken[key], mul)  # [N, component, channel]
        taken[key] += mul
        parts.append((part.transpose(-1, -2) if mul_ir else part).flatten(-2))
    return torch.cat(parts, -1) if len(parts) > 1 else parts[0]


def _register() -> None:
    """Tell torch the shapes and derivatives of the compiled operations."""
    ops = torch.ops.equitools

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
        ctx.save_for_backward(*inputs[:3])
        ctx.spec = inputs[-2:]

    def forward_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, species = ctx.saved_tensors
        dx = ops.irreps_linear_adjoint(grad, weight, species, *ctx.spec) if needed(ctx, 0) else None
        dw = None
        if needed(ctx, 1):
            dw = ops.irreps_linear_weight_grad(x, grad, species, weight.shape[0], *ctx.spec)
        return dx, dw, None, None, None

    def adjoint_backward(ctx: Any, a: Tensor) -> tuple[Tensor | None, ...]:
        grad, weight, species = ctx.saved_tensors
        dg = ops.irreps_linear(a, weight, species, *ctx.spec) if needed(ctx, 0) else None
        dw = None
        if needed(ctx, 1):
            dw = ops.irreps_linear_weight_grad(a, grad, species, weight.shape[0], *ctx.spec)
        return dg, dw, None, None, None

    def weight_grad_backward(ctx: Any, b: Tensor) -> tuple[Tensor | None, ...]:
        x, grad, species = ctx.saved_tensors
        dx = ops.irreps_linear_adjoint(grad, b, species, *ctx.spec) if needed(ctx, 0) else None
        dg = ops.irreps_linear(x, b, species, *ctx.spec) if needed(ctx, 1) else None
        return dx, dg, None, None, None, None

    library = torch.library
    name = "equitools::irreps_linear"
    library.register_fake(name, lambda x, _w, _s, table, _: x.new_empty((x.shape[0], table[1])))
    library.register_fake(f"{name}_adjoint", lambda g, _w, _s, table, _: g.new_empty((g.shape[0], table[0])))
    library.register_fake(
        f"{name}_weight_grad", lambda x, _g, _s, elements, table, _: x.new_empty((elements, _numel(table)))
    )
    library.register_autograd(name, forward_backward, setup_context=save)
    library.register_autograd(f"{name}_adjoint", adjoint_backward, setup_context=save)
    library.register_autograd(f"{name}_weight_grad", weight_grad_backward, setup_context=save)


def _numel(table: list[int]) -> int:
    """Return the number of weights of one element from a plan's table."""
    at, total = 2, 0
    while at < len(table):
        count_in, count_out = table[at + 1], table[at + 2]
        widths = table[at + 4 : at + 3 + 2 * (count_in + count_out) : 2]
        total += sum(widths[:count_in]) * sum(widths[count_in:])
        at += 3 + 2 * (count_in + count_out)
    return total


if backend.extension_loaded():
    _register()


@full_precision
def irreps_linear(
    plan: IrrepsLinearPlan, x: Tensor, weight: Tensor, species: Tensor | None = None, mul_ir: bool = False
) -> Tensor:
    """Mix the channels of each irrep; the sums are divided by the root of the number of channels that enter.

    Args:
        plan: What is mixed.
        x: ``[N, irreps_in.dim]``.
        weight: ``[S, plan.weight_numel]``; without species S is 1.
        species: ``[N]`` int64, which of the S sets of weights each row takes.
        mul_ir: Whether the columns stand channel by channel; otherwise component by component.

    Returns:
        ``[N, irreps_out.dim]``; zero for irreps that ``x`` lacks.

    Raises:
        RuntimeError: A shape, dtype or species does not fit (modules check before they call).

    Properties:
        equals the reference.
    """
    if backend.choose("irreps_linear", x) == "reference":
        return irreps_linear_reference(plan, x, weight, species, mul_ir)
    return torch.ops.equitools.irreps_linear(x, weight, species, plan.table, mul_ir)

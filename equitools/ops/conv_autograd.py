"""Shapes and derivatives of the compiled convolutions, as torch is told them.

The convolution f(x, y, w) is linear in each of x (node features), y (edge attributes) and w (weights). Its backward and
its double backward are compiled; the double backward is a sum of convolutions and backwards, and so are, by
composition, all further derivatives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equitools.ops import backend
from equitools.ops.needed import needed
from equitools.ops.partial_vjp import partial_vjp

__all__: list[str] = []

_ops = torch.ops.equitools


def _or_zeros(given: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if given is None else given


def _sum(*terms: Tensor) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _of_one_cotangent(
    ctx: Any, conv: Any, conv_backward: Any, saved: tuple[Tensor, ...], cotangents: list[Tensor | None]
) -> list[Tensor | None]:
    """Return the double backward's gradients of (grad, x, y, ...) where no more than one cotangent is there.

    The backward is linear in that factor's gradient: with the cotangent in the factor's place, what remains is one
    convolution and one backward, a third of the work of the sum over all cotangents.

    Args:
        ctx: Of the double backward.
        conv: The convolution.
        conv_backward: Its backward.
        saved: The gradient of the output, the factors, the edges and the tables.
        cotangents: Of the factors' gradients.
    """
    grad, *factors = saved[: 1 + len(cotangents)]
    edge_index, *tables = saved[1 + len(cotangents) :]
    grads: list[Tensor | None] = [None] * (1 + len(factors))
    place = next((k for k, c in enumerate(cotangents) if c is not None), None)
    if place is None:
        return grads
    factors[place] = cotangents[place]  # type: ignore[assignment]
    if needed(ctx, 0):
        grads[0] = conv(*factors, edge_index, grad.shape[0], grad.shape[1], *tables)
    need = [k != place and needed(ctx, 1 + k) for k in range(len(factors))]
    if any(need):
        found = conv_backward(grad, *factors, edge_index, *tables, *need)
        grads[1:] = [g if n else None for g, n in zip(found, need, strict=True)]
    return grads


# ---- weights in memory ----------------------------------------------------------------------------------------------


def _conv_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
    x, y, w, edge_index, _, _, *tables = inputs
    ctx.save_for_backward(x, y, w, edge_index, *tables)


def _conv_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    need = tuple(needed(ctx, i) for i in range(3))
    grads = _ops.tensor_product_conv_backward(grad, *ctx.saved_tensors, *need)
    return *(g if n else None for g, n in zip(grads, need, strict=True)), *(None,) * 7


def _conv_backward_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs[:-3])
    ctx.need = inputs[-3:]
    ctx.set_materialize_grads(False)


def _conv_double_backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors  # once: under activation checkpointing they can be unpacked only once
    grad, x, y, w, *rest = saved
    wanted = [c if n else None for c, n in zip(cotangents, ctx.need, strict=True)]
    if sum(c is not None for c in wanted) < 2:
        grads = _of_one_cotangent(ctx, _ops.tensor_product_conv, _ops.tensor_product_conv_backward, saved, wanted)
        return *grads, *(None,) * 8
    a, b, c = (_or_zeros(c, like) for c, like in zip(wanted, (x, y, w), strict=True))
    grads = _ops.tensor_product_conv_double_backward(a, b, c, grad, x, y, w, *rest)
    return *grads, *(None,) * 8


def _conv_double_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)
    ctx.set_materialize_grads(False)


def _double_by_parts(
    a: Tensor, b: Tensor, c: Tensor, grad: Tensor, x: Tensor, y: Tensor, w: Tensor, *rest: Tensor
) -> tuple[Tensor, ...]:
    """Return what the double backward returns, from convolutions and backwards that can be differentiated."""
    edge_index, *tables = rest
    shape = (grad.shape[0], grad.shape[1])
    dg = _sum(*(_ops.tensor_product_conv(*p, edge_index, *shape, *tables) for p in ((a, y, w), (x, b, w), (x, y, c))))
    _, dy1, dw1 = _ops.tensor_product_conv_backward(grad, a, y, w, *rest, False, True, True)
    dx1, _, dw2 = _ops.tensor_product_conv_backward(grad, x, b, w, *rest, True, False, True)
    dx2, dy2, _ = _ops.tensor_product_conv_backward(grad, x, y, c, *rest, True, True, False)
    return dg, dx1 + dx2, dy1 + dy2, dw1 + dw2


def _conv_third_order(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    return *partial_vjp(lambda *t: _double_by_parts(*t, *saved[7:]), saved[:7], cotangents), *(None,) * 5


# ---- weights made from a hidden layer -------------------------------------------------------------------------------


def _radial_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
    x, y, h, v, edge_index, _, _, *tables = inputs
    ctx.save_for_backward(x, y, h, v, edge_index, *tables)


def _radial_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    need = tuple(needed(ctx, i) for i in range(4))
    grads = _ops.radial_tensor_product_conv_backward(grad, *ctx.saved_tensors, *need)
    return *(g if n else None for g, n in zip(grads, need, strict=True)), *(None,) * 7


def _radial_backward_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs[:-4])
    ctx.need = inputs[-4:]
    ctx.set_materialize_grads(False)


def _radial_double_backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    grad, x, y, h, v, *rest = saved
    wanted = [c if n else None for c, n in zip(cotangents, ctx.need, strict=True)]
    if sum(c is not None for c in wanted) < 2:
        conv, conv_backward = _ops.radial_tensor_product_conv, _ops.radial_tensor_product_conv_backward
        return *_of_one_cotangent(ctx, conv, conv_backward, saved, wanted), *(None,) * 9
    a, b, ch = (_or_zeros(c, like) for c, like in zip(wanted[:3], (x, y, h), strict=True))
    need_v = needed(ctx, 4)
    grads = _ops.radial_tensor_product_conv_double_backward(a, b, ch, wanted[3], grad, x, y, h, v, *rest, need_v)
    return *grads[:4], grads[4] if need_v else None, *(None,) * 9


def _radial_double_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
    ctx.given, ctx.need_v = inputs[3] is not None, inputs[-1]
    ctx.save_for_backward(*(t for t in inputs[:-1] if t is not None))
    ctx.set_materialize_grads(False)


def _radial_double_by_parts(
    a: Tensor,
    b: Tensor,
    ch: Tensor,
    cv: Tensor | None,
    grad: Tensor,
    x: Tensor,
    y: Tensor,
    h: Tensor,
    v: Tensor,
    *rest: Tensor,
) -> tuple[Tensor, ...]:
    w, c = h @ v, ch @ v
    if cv is not None:
        c = c + h @ cv
    dg, dx, dy, dw = _ops.tensor_product_conv_double_backward(a, b, c, grad, x, y, w, *rest)
    _, _, first = _ops.tensor_product_conv_backward(grad, x, y, w, *rest, False, False, True)
    dh, dv = dw @ v.mT, h.mT @ dw + ch.mT @ first
    if cv is not None:
        dh = dh + first @ cv.mT
    return dg, dx, dy, dh, dv


def _radial_third_order(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
    saved = list(ctx.saved_tensors)
    if not ctx.given:
        saved.insert(3, None)
    if not ctx.need_v:  # that output is empty
        cotangents = *cotangents[:4], None
    grads = partial_vjp(lambda *t: _radial_double_by_parts(*t, *saved[9:]), saved[:9], cotangents)
    return *grads, *(None,) * 6


# ---- registration ---------------------------------------------------------------------------------------------------


def _like(wanted: bool, t: Tensor) -> Tensor:
    return t.new_empty(t.shape) if wanted else t.new_empty((0,))


def _fakes(inputs: int) -> tuple[Any, Any, Any]:
    """Return the shape rules of forward, backward and double backward of an operation with so many inputs."""

    def forward(x: Tensor, *rest: Any) -> Tensor:
        return x.new_empty((rest[inputs], rest[inputs + 1]))

    def backward(_grad: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        return tuple(_like(need, t) for need, t in zip(rest[-inputs:], rest[:inputs], strict=True))

    def double_backward(*arguments: Any) -> tuple[Tensor, ...]:
        grads = [t.new_empty(t.shape) for t in arguments[inputs : 2 * inputs + 1]]
        if inputs == 4:
            grads[-1] = _like(arguments[-1], grads[-1])
        return tuple(grads)

    return forward, backward, double_backward


def _register() -> None:
    library = torch.library
    for name, inputs, derivatives in (
        (
            "equitools::tensor_product_conv",
            3,
            (
                (_conv_backward, _conv_setup),
                (_conv_double_backward, _conv_backward_setup),
                (_conv_third_order, _conv_double_setup),
            ),
        ),
        (
            "equitools::radial_tensor_product_conv",
            4,
            (
                (_radial_backward, _radial_setup),
                (_radial_double_backward, _radial_backward_setup),
                (_radial_third_order, _radial_double_setup),
            ),
        ),
    ):
        for stage, fake, (derivative, setup) in zip(
            ("", "_backward", "_double_backward"), _fakes(inputs), derivatives, strict=True
        ):
            library.register_fake(name + stage, fake)
            library.register_autograd(name + stage, derivative, setup_context=setup)  # type: ignore[arg-type]


if backend.extension_loaded():
    _register()

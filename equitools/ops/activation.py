"""SiLU times a constant, with first and second derivatives each in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equitools.ops import backend
from equitools.ops.partial_vjp import partial_vjp
from equitools.ops.precision import full_precision

__all__ = ["scaled_silu"]


def _third_order(
    x: Tensor, grad: Tensor, cotangent: Tensor, scale: float, a: Tensor, b: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the VJP of the compiled second derivative, by differentiating its formula."""

    def second(v: Tensor, g: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        s = torch.sigmoid(v)
        rest = 1 - s
        return scale * c * g * s * rest * (2 + v * (rest - s)), scale * c * s * (1 + v * rest)

    return partial_vjp(second, (x, grad, cotangent), (a, b))


def _register() -> None:
    """Tell torch the shapes, derivatives and vmap rules of the compiled operations."""
    ops = torch.ops.equitools

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
        ctx.save_for_backward(*inputs[:-1])
        ctx.scale = inputs[-1]

    def value_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ops.scaled_silu_vjp(*ctx.saved_tensors, grad, ctx.scale), None

    def vjp_backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        return *ops.scaled_silu_vjp_vjp(*ctx.saved_tensors, cotangent, ctx.scale), None

    def vjp_vjp_backward(ctx: Any, a: Tensor, b: Tensor) -> tuple[Tensor | None, ...]:
        x, grad, cotangent = ctx.saved_tensors
        return *_third_order(x, grad, cotangent, ctx.scale, a, b), None

    def vmap_of(operation: Any) -> Any:
        def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
            moved = [
                t.movedim(d, 0) if d is not None else t.expand(info.batch_size, *t.shape)
                for t, d in zip(args[:-1], in_dims[:-1], strict=True)
            ]
            out = operation(*moved, args[-1])
            return out, 0 if isinstance(out, Tensor) else (0,) * len(out)

        return rule

    library = torch.library
    name = "equitools::scaled_silu"
    library.register_fake(name, lambda x, _: x.new_empty(x.shape))
    library.register_fake(f"{name}_vjp", lambda x, *_: x.new_empty(x.shape))
    library.register_fake(f"{name}_vjp_vjp", lambda x, *_: (x.new_empty(x.shape), x.new_empty(x.shape)))
    library.register_autograd(name, value_backward, setup_context=save)
    library.register_autograd(f"{name}_vjp", vjp_backward, setup_context=save)
    library.register_autograd(f"{name}_vjp_vjp", vjp_vjp_backward, setup_context=save)
    library.register_vmap(name, vmap_of(ops.scaled_silu))
    library.register_vmap(f"{name}_vjp", vmap_of(ops.scaled_silu_vjp))
    library.register_vmap(f"{name}_vjp_vjp", vmap_of(ops.scaled_silu_vjp_vjp))


if backend.extension_loaded():
    _register()


@full_precision
def scaled_silu(x: Tensor, scale: float = 1.0) -> Tensor:
    """Return scale · x / (1 + e^(−x)).

    Derivatives of first and second order are compiled as well; the third differentiates the formula of the second.

    Args:
        x: Any shape, floating point.
        scale: A constant factor.

    Returns:
        The shape of ``x``.

    Properties:
        equals torch.
    """
    if backend.choose("scaled_silu", x) == "reference":
        return torch.nn.functional.silu(x) * scale
    return torch.ops.equitools.scaled_silu(x, float(scale))

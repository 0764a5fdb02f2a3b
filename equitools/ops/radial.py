"""The radial basis: Bessel functions, times the polynomial envelope, with first and second derivatives in one pass."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.ops import backend
from equitools.ops.partial_vjp import partial_vjp
from equitools.ops.precision import full_precision

__all__ = ["bessel_basis", "bessel_basis_reference", "polynomial_envelope"]

#: Most functions, and largest exponent of the envelope, of the compiled operation; others take the reference.
MAX_FUNCTIONS = 64
MAX_EXPONENT = 64


def polynomial_envelope(lengths: Tensor, cutoff: float, p: int) -> Tensor:
    """Return 1 − (p+1)(p+2)/2 xᵖ + p(p+2) xᵖ⁺¹ − p(p+1)/2 xᵖ⁺² with x = r / cutoff, and 0 from the cutoff on.

    Args:
        lengths: r, of any shape, in Å.
        cutoff: In Å.
        p: Exponent, at least 2.

    Returns:
        The shape of ``lengths``.

    Source: Gasteiger, Groß, Günnemann, ICLR 2020 (arXiv 2003.03123), eq. 8.
    """
    x = (lengths / cutoff).clamp(max=1.0)  # the polynomial and its derivatives vanish there
    return 1 - x**p * ((p + 1) * (p + 2) / 2 - x * (p * (p + 2) - x * (p * (p + 1) / 2)))


def _spherical_bessel(t: Tensor) -> Tensor:
    """Return sin(t) / t, with a power series near 0 so that derivatives of every order are right there, too."""
    small = t.abs() < 0.1
    w = torch.where(small, t, torch.zeros_like(t)).square()  # neither branch may overflow where the other is taken
    near = 1 - w / 6 * (1 - w / 20 * (1 - w / 42 * (1 - w / 72 * (1 - w / 110))))
    away = torch.where(small, torch.ones_like(t), t)
    return torch.where(small, near, away.sin() / away)


def bessel_basis_reference(
    lengths: Tensor, num: int, cutoff: float, p: int = 0, scale: float = 1.0, frequencies: Tensor | None = None
) -> Tensor:
    """Compute `bessel_basis` in plain torch; differentiable to any order by autograd.

    Args:
        lengths: ``[...]``.
        num: As in `bessel_basis`.
        cutoff: As in `bessel_basis`.
        p: As in `bessel_basis`.
        scale: As in `bessel_basis`.
        frequencies: ``[num]``, in the place of n = 1 … num; may be learned.

    Returns:
        ``[..., num]``.
    """
    n = torch.arange(1, num + 1).to(lengths) if frequencies is None else frequencies
    rate = n * (math.pi / cutoff)
    values = scale * math.sqrt(2 / cutoff) * rate * _spherical_bessel(lengths.unsqueeze(-1) * rate)
    return values * polynomial_envelope(lengths, cutoff, p).unsqueeze(-1) if p else values


def _third_order(
    lengths: Tensor, grad: Tensor, cotangent: Tensor, spec: tuple[int, float, int, float], a: Tensor, b: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the VJP of the compiled second derivative, by differentiating the reference three times."""

    def second(r: Tensor, g: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        (first,) = torch.autograd.grad(bessel_basis_reference(r, *spec), r, g, create_graph=True)
        return torch.autograd.grad(first, (r, g), c, create_graph=True)

    return partial_vjp(second, (lengths, grad, cotangent), (a, b))


def _fold(batch: int, dims: tuple[int | None, ...], tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Move vmap's batch dimension in front of the edges and merge the two; repeat what is not batched."""
    moved = [
        t.movedim(d, 0) if d is not None else t.expand(batch, *t.shape) for t, d in zip(tensors, dims, strict=True)
    ]
    return [t.flatten(0, 1) for t in moved]


def _register() -> None:
    """Tell torch the shapes, derivatives and vmap rules of the compiled operations."""
    ops = torch.ops.equitools

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
        ctx.save_for_backward(*inputs[:-4])
        ctx.spec = inputs[-4:]

    def value_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ops.bessel_basis_vjp(*ctx.saved_tensors, grad, *ctx.spec), None, None, None, None

    def vjp_backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        return *ops.bessel_basis_vjp_vjp(*ctx.saved_tensors, cotangent, *ctx.spec), None, None, None, None

    def vjp_vjp_backward(ctx: Any, a: Tensor, b: Tensor) -> tuple[Tensor | None, ...]:
        lengths, grad, cotangent = ctx.saved_tensors
        return *_third_order(lengths, grad, cotangent, ctx.spec, a, b), None, None, None, None

    def vmap_of(operation: Any, tensors: int) -> Any:
        def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
            folded = _fold(info.batch_size, in_dims[:tensors], args[:tensors])
            out = operation(*folded, *args[tensors:])
            if isinstance(out, Tensor):
                return out.unflatten(0, (info.batch_size, -1)), 0
            return tuple(o.unflatten(0, (info.batch_size, -1)) for o in out), (0,) * len(out)

        return rule

    library = torch.library
    name = "equitools::bessel_basis"
    library.register_fake(name, lambda r, num, *_: r.new_empty((r.shape[0], num)))
    library.register_fake(f"{name}_vjp", lambda r, *_: r.new_empty(r.shape))
    library.register_fake(f"{name}_vjp_vjp", lambda r, g, *_: (r.new_empty(r.shape), g.new_empty(g.shape)))
    library.register_autograd(name, value_backward, setup_context=save)
    library.register_autograd(f"{name}_vjp", vjp_backward, setup_context=save)
    library.register_autograd(f"{name}_vjp_vjp", vjp_vjp_backward, setup_context=save)
    library.register_vmap(name, vmap_of(ops.bessel_basis, 1))
    library.register_vmap(f"{name}_vjp", vmap_of(ops.bessel_basis_vjp, 2))
    library.register_vmap(f"{name}_vjp_vjp", vmap_of(ops.bessel_basis_vjp_vjp, 3))


if backend.extension_loaded():
    _register()


@full_precision
def bessel_basis(lengths: Tensor, num: int, cutoff: float, p: int = 0, scale: float = 1.0) -> Tensor:
    """Evaluate scale · √(2/c) sin(n π r / c) / r · u(r / c) for n = 1 … num, with the envelope u of exponent p.

    Derivatives of first and second order are compiled as well; derivatives of third order use the reference.

    Args:
        lengths: r ``[...]``, not negative, in Å.
        num: Number of functions, at least 1.
        cutoff: c, in Å.
        p: Exponent of `polynomial_envelope`, at least 2; 0: no envelope.
        scale: A constant factor.

    Returns:
        ``[..., num]``, in Å^(−3/2) times the unit of ``scale``; finite at r = 0, and with an envelope 0 from the cutoff
        on, with two derivatives that are continuous there (p ≥ 2).

    Raises:
        ShapeError: ``lengths`` is not floating point, or a number is out of range.

    Properties:
        equals its formula; vanishes at the cutoff; finite at zero.

    Source: Gasteiger, Groß, Günnemann, ICLR 2020 (arXiv 2003.03123), eqs. 7 and 8.
    """
    if not lengths.is_floating_point():
        raise ShapeError(f"bessel_basis: lengths must be floating point, but the dtype is {lengths.dtype}.")
    if num < 1 or not 0 < cutoff < math.inf or (p != 0 and p < 2):
        raise ShapeError(
            f"bessel_basis: num must be at least 1, cutoff positive and p 0 or at least 2, not {num}, {cutoff}, {p}."
        )
    compiled = num <= MAX_FUNCTIONS and p <= MAX_EXPONENT
    if not compiled or backend.choose("bessel_basis", lengths) == "reference":
        return bessel_basis_reference(lengths, num, cutoff, p, scale)
    values = torch.ops.equitools.bessel_basis(lengths.reshape(-1), num, float(cutoff), p, float(scale))
    return values.reshape(*lengths.shape, num)

"""Real spherical harmonics in e3nn's basis, with first and second derivatives.

The polar axis is y: the components of degree 1 are (x, y, z). Degree l, order m stands at index ``l * l + l + m``.
There is no Condon–Shortley sign. The polynomials come from recursions in Cartesian coordinates (normalised associated
Legendre functions, e.g. Drautz, Phys. Rev. B 102, 024104 (2020)), which have no trouble at the poles.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ShapeError, UnknownNameError, nearest
from equitools.ops import backend
from equitools.ops.partial_vjp import partial_vjp
from equitools.ops.precision import full_precision

__all__ = ["MAX_DEGREE", "NORMALIZATIONS", "spherical_harmonics", "spherical_harmonics_reference"]

#: The name of a normalisation and its code in the compiled operation.
NORMALIZATIONS = {"component": 0, "norm": 1, "integral": 2}
#: A guard against a mistyped degree; float32 recursions are tested to degree 12.
MAX_DEGREE = 32
#: Vectors shorter than this (in their own unit) have no direction: they count as zero.
ZERO_LENGTH = 1e-12


def _degree_scale(degree: int, normalization: str) -> float:
    if normalization == "component":
        return 1.0
    if normalization == "norm":
        return 1.0 / math.sqrt(2 * degree + 1)
    return 1.0 / math.sqrt(4.0 * math.pi)


def _solid_harmonics(lmax: int, vectors: Tensor, normalization: str) -> Tensor:
    """Return the homogeneous harmonic polynomials r^l Y_lm of ``vectors`` [..., 3], shape [..., (lmax + 1)**2]."""
    x, y, z = vectors.unbind(-1)
    squared = x * x + y * y + z * z
    # One, as a function of x with derivative zero: the gradient of degree 0 alone is zeros, not an error.
    one = torch.where(torch.zeros_like(x, dtype=torch.bool), x, torch.ones_like(x))
    cosines, sines = [one], [torch.zeros_like(x)]  # real and imaginary part of (z + i x)^m
    for m in range(lmax):
        cosines.append(z * cosines[m] - x * sines[m])
        sines.append(x * cosines[m] + z * sines[m])
    components: list[Tensor] = [one] * (lmax + 1) ** 2
    sectoral = 1.0
    for m in range(lmax + 1):
        if m > 0:
            sectoral *= math.sqrt(3.0) if m == 1 else math.sqrt((2 * m + 1) / (2 * m))
        before, legendre = torch.zeros_like(x), one * sectoral
        for degree in range(m, lmax + 1):
            if degree > m:
                a = math.sqrt((2 * degree + 1) * (2 * degree - 1) / ((degree - m) * (degree + m)))
                if degree == m + 1:
                    before, legendre = legendre, a * y * legendre
                else:
                    b = a * math.sqrt((degree - 1 - m) * (degree - 1 + m) / ((2 * degree - 3) * (2 * degree - 1)))
                    before, legendre = legendre, a * y * legendre - b * squared * before
            value = legendre * _degree_scale(degree, normalization)
            centre = degree * degree + degree
            components[centre + m] = value * cosines[m]
            if m > 0:
                components[centre - m] = value * sines[m]
    return torch.stack(components, dim=-1)


def unit_vectors(vectors: Tensor) -> Tensor:
    """Return ``vectors`` / length; zero, with zero derivatives, where the length is below `ZERO_LENGTH`."""
    # The scale keeps squares within range in float32. It is a constant to autograd, rightly so: the direction does not
    # depend on it.
    scale = vectors.detach().abs().amax(dim=-1, keepdim=True)
    zero = scale < ZERO_LENGTH
    safe = torch.where(zero, torch.ones_like(vectors), vectors / torch.where(zero, torch.ones_like(scale), scale))
    unit = safe / safe.square().sum(dim=-1, keepdim=True).sqrt()
    return torch.where(zero, torch.zeros_like(unit), unit)


def spherical_harmonics_reference(
    lmax: int, vectors: Tensor, normalize: bool = True, normalization: str = "component"
) -> Tensor:
    """Compute `spherical_harmonics` in plain torch; differentiable to any order by autograd.

    Args:
        lmax: Highest degree.
        vectors: ``[..., 3]``.
        normalize: As in `spherical_harmonics`.
        normalization: As in `spherical_harmonics`.

    Returns:
        ``[..., (lmax + 1)**2]``.
    """
    return _solid_harmonics(lmax, unit_vectors(vectors) if normalize else vectors, normalization)


def _third_order(
    vectors: Tensor, grad: Tensor, cotangent: Tensor, spec: tuple[int, bool, int], a: Tensor, b: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the VJP of the compiled second derivative, by differentiating the reference three times."""
    name = next(key for key, code in NORMALIZATIONS.items() if code == spec[2])

    def second(v: Tensor, g: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        values = spherical_harmonics_reference(spec[0], v, spec[1], name)
        (first,) = torch.autograd.grad(values, v, g, create_graph=True)
        return torch.autograd.grad(first, (v, g), c, create_graph=True, materialize_grads=True)

    return partial_vjp(second, (vectors, grad, cotangent), (a, b))


def _fold(batch: int, dims: tuple[int | None, ...], tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Move vmap's batch dimension in front of the points and merge the two; repeat what is not batched."""
    moved = [
        t.movedim(d, 0) if d is not None else t.expand(batch, *t.shape) for t, d in zip(tensors, dims, strict=True)
    ]
    return [t.reshape(-1, t.shape[-1]) for t in moved]


def _register() -> None:
    """Tell torch the shapes, derivatives and vmap rules of the compiled operations."""
    ops = torch.ops.equitools

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
        ctx.save_for_backward(*inputs[:-3])
        ctx.spec = inputs[-3:]

    def value_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ops.spherical_harmonics_vjp(*ctx.saved_tensors, grad, *ctx.spec), None, None, None

    def vjp_backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        return *ops.spherical_harmonics_vjp_vjp(*ctx.saved_tensors, cotangent, *ctx.spec), None, None, None

    def vjp_vjp_backward(ctx: Any, a: Tensor, b: Tensor) -> tuple[Tensor | None, ...]:
        vectors, grad, cotangent = ctx.saved_tensors
        return *_third_order(vectors, grad, cotangent, ctx.spec, a, b), None, None, None

    def vmap_of(operation: Any, tensors: int) -> Any:
        def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
            folded = _fold(info.batch_size, in_dims[:tensors], args[:tensors])
            out = operation(*folded, *args[tensors:])
            if isinstance(out, Tensor):
                return out.unflatten(0, (info.batch_size, -1)), 0
            return tuple(o.unflatten(0, (info.batch_size, -1)) for o in out), (0,) * len(out)

        return rule

    library = torch.library
    name = "equitools::spherical_harmonics"
    library.register_fake(name, lambda v, lmax, *_: v.new_empty((v.shape[0], (lmax + 1) ** 2)))
    library.register_fake(f"{name}_vjp", lambda v, *_: v.new_empty(v.shape))
    library.register_fake(f"{name}_vjp_vjp", lambda v, g, *_: (v.new_empty(v.shape), g.new_empty(g.shape)))
    library.register_autograd(name, value_backward, setup_context=save)
    library.register_autograd(f"{name}_vjp", vjp_backward, setup_context=save)
    library.register_autograd(f"{name}_vjp_vjp", vjp_vjp_backward, setup_context=save)
    library.register_vmap(name, vmap_of(ops.spherical_harmonics, 1))
    library.register_vmap(f"{name}_vjp", vmap_of(ops.spherical_harmonics_vjp, 2))
    library.register_vmap(f"{name}_vjp_vjp", vmap_of(ops.spherical_harmonics_vjp_vjp, 3))


if backend.extension_loaded():
    _register()


def _check(lmax: int, vectors: Tensor, normalization: str) -> None:
    if not isinstance(lmax, int) or isinstance(lmax, bool) or not 0 <= lmax <= MAX_DEGREE:
        raise ShapeError(f"spherical_harmonics: lmax must be an integer from 0 to {MAX_DEGREE}, but it is {lmax!r}.")
    if vectors.ndim < 1 or vectors.shape[-1] != 3:
        raise ShapeError(f"spherical_harmonics: vectors must have shape [..., 3], but it is {list(vectors.shape)}.")
    if not vectors.is_floating_point():
        raise ShapeError(f"spherical_harmonics: vectors must be floating point, but the dtype is {vectors.dtype}.")
    if normalization not in NORMALIZATIONS:
        raise UnknownNameError(
            f"spherical_harmonics: normalization is {normalization!r}. {nearest(str(normalization), NORMALIZATIONS)}"
        )


@full_precision
def spherical_harmonics(lmax: int, vectors: Tensor, normalize: bool = True, normalization: str = "component") -> Tensor:
    """Evaluate all real spherical harmonics of degree 0 to ``lmax``.

    The values are those of e3nn (``o3.spherical_harmonics(list(range(lmax + 1)), vectors, normalize, normalization)``).
    Derivatives of first and second order are compiled as well; derivatives of third order use the reference.

    Args:
        lmax: Highest degree, 0 to `MAX_DEGREE`.
        vectors: ``[..., 3]``, x, y, z in any unit of length; the components of degree 1 are in the same order.
        normalize: Use the direction of the vectors only. Otherwise degree l is homogeneous of degree l in the length.
            A vector shorter than 1e-12 has no direction: degree 0 keeps its value, the others and all derivatives are
            zero.
        normalization: For unit vectors: ``"component"`` (the squares of degree l sum to 2l + 1), ``"norm"`` (to 1),
            ``"integral"`` (orthonormal on the sphere).

    Returns:
        ``[..., (lmax + 1)**2]``, the dtype and device of ``vectors``.

    Raises:
        ShapeError: ``vectors`` is not floating point ``[..., 3]``, or ``lmax`` is out of range.
        UnknownNameError: The normalisation is unknown.

    Properties:
        equals e3nn; equals scipy; orthonormal; rotation equivariance; parity; finite at zero.
    """
    _check(lmax, vectors, normalization)
    if backend.choose("spherical_harmonics", vectors) == "reference":
        return spherical_harmonics_reference(lmax, vectors, normalize, normalization)
    points = vectors.reshape(-1, 3)
    values = torch.ops.equitools.spherical_harmonics(points, lmax, bool(normalize), NORMALIZATIONS[normalization])
    return values.reshape(*vectors.shape[:-1], (lmax + 1) ** 2)

"""All powers of a function on the sphere at once, through its values on one grid: many-body Gaunt products."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.ops import backend
from equitools.ops.needed import needed
from equitools.ops.precision import full_precision
from equitools.ops.sphere_functions import check_factors, lmax_of, table_of

__all__ = ["MAX_GAUNT_POWER", "gaunt_power_variance", "gaunt_powers"]

#: Highest power that `gaunt_powers` computes.
MAX_GAUNT_POWER = 16


@full_precision
def gaunt_powers(x: Tensor, correlation: int, lmax_out: int | None = None) -> Tensor:
    """Return the coefficients of all powers of functions on the sphere, ``x``, ``x ⊗ x``, … to ``correlation`` factors.

    The values on one grid that integrates the highest power exactly are raised point by point: one transform to the
    grid and one back for each power, where products of pairs need three a product and all degrees in between.

    Args:
        x: ``[..., (L+1)², C]`` coefficients, float32 or float64.
        correlation: ν, the highest power, 1 to 16.
        lmax_out: Highest degree that is wanted; ``None``: L.

    Returns:
        ``[..., ν, (lmax_out+1)², C]``, the first power first. All orders of derivatives are compiled.

    Raises:
        ShapeError: ``x`` holds no coefficients or is in half precision, or a degree or the power is out of range.

    Properties:
        powers_are_repeated_products: each is what `gaunt_power` returns.
        equivariance: rotating the function rotates its powers.

    Source: Luo, Chen and Krishnapriyan, ICLR 2024 (arXiv 2401.10216), section 3.3, with the grid of Xie et al.
        (arXiv 2506.13523) in the place of the torus.
    """
    lmax = lmax_of("x", x)
    wanted = lmax if lmax_out is None else int(lmax_out)
    if not 1 <= correlation <= MAX_GAUNT_POWER:
        raise ShapeError(f"There are Gaunt powers 1 to {MAX_GAUNT_POWER}, {correlation} was asked for.")
    check_factors(x, x, wanted)
    flat = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])  # -1 could not be told where there are no channels
    if backend.choose("sphere_powers", x) == "reference":
        out = _in_plain_torch(flat, correlation, lmax, wanted)
    else:
        degree = correlation * lmax + wanted
        (table,) = table_of("kernel_table", (lmax, wanted, 0, False, degree), x.dtype, x.device)
        nothing = flat.new_empty((0, *flat.shape))
        out = torch.ops.equitools.sphere_powers(flat, nothing, table, [lmax, wanted], correlation)
    return out.reshape(*x.shape[:-2], *out.shape[1:])


def _in_plain_torch(x: Tensor, correlation: int, lmax: int, wanted: int) -> Tensor:
    """Return the same by dense matrix products with the values of all harmonics on the grid."""
    degree = correlation * lmax + wanted
    values = table_of("synthesis", (lmax, degree), x.dtype, x.device)[0] @ x
    (back,) = table_of("analysis", (wanted, degree), x.dtype, x.device)
    powers = [values]
    for _ in range(correlation - 1):
        powers.append(powers[-1] * values)
    return torch.stack([back @ power for power in powers], 1)


def gaunt_power_variance(lmax: int, correlation: int, l: int) -> float:
    """Return the mean square of a component of degree l of the power of a function with Gaussian coefficients.

    The coefficients are independent and of unit variance. By the theorem of Wick, the mean of ``f(r)^ν f(s)^ν`` is a
    polynomial in the covariance ``K = Σ_l (2l+1)/4π P_l(r·s)`` of the values; its projection on ``P_l`` is exact on
    Gauss–Legendre nodes.

    Args:
        lmax: Highest degree of the function, L.
        correlation: The power, ν.
        l: Degree of the component.

    Properties:
        variance_of_random_powers: it is what random coefficients give.
    """
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss((correlation * lmax + l) // 2 + 1)
    of_degree = [np.polynomial.legendre.Legendre.basis(k)(nodes) for k in range(max(l, lmax) + 1)]
    covariance = sum((2 * k + 1) / (4 * math.pi) * of_degree[k] for k in range(lmax + 1))
    variance = (lmax + 1) ** 2 / (4 * math.pi)
    mean = 0.0
    for pairs in range(correlation // 2 + 1):  # contracted at each of the two points; the others between them
        between = correlation - 2 * pairs
        ways = math.factorial(correlation) / (math.factorial(pairs) * 2**pairs)
        mean = mean + ways**2 / math.factorial(between) * variance ** (2 * pairs) * covariance**between
    return float(2 * math.pi * (weights * of_degree[l] * mean).sum())


# ---- the compiled operations ----------------------------------------------------------------------------------------


def _register() -> None:
    """Tell torch the shapes and the derivatives; csrc/core/sphere_power.h says what the two operations are."""
    ops, library = torch.ops.equitools, torch.library

    def shape(x: Tensor, _others: Tensor, _table: Tensor, degrees: list[int], powers: int) -> Tensor:
        return x.new_empty((x.shape[0], powers, (degrees[1] + 1) ** 2, x.shape[2]))

    def pulled_shape(x: Tensor, _others: Tensor, _g: Tensor, _table: Tensor, _degrees: list[int]) -> Tensor:
        return torch.empty_like(x, memory_format=torch.contiguous_format)

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
        ctx.save_for_backward(*inputs[:3])
        ctx.degrees = inputs[3]

    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, others, table = ctx.saved_tensors
        dx = ops.sphere_powers_pull(x, others, g, table, ctx.degrees) if needed(ctx, 0) else None
        dothers = _each(others, lambda rest: ops.sphere_powers_pull(x, rest, g, table, ctx.degrees), needed(ctx, 1))
        return dx, dothers, None, None, None

    def pull_save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
        ctx.save_for_backward(*inputs[:4])
        ctx.degrees = inputs[4]

    def pull_backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        x, others, g, table = ctx.saved_tensors
        with_h = torch.cat([others, h.unsqueeze(0)])
        dx = ops.sphere_powers_pull(x, with_h, g, table, ctx.degrees) if needed(ctx, 0) else None
        dothers = _each(
            others,
            lambda rest: ops.sphere_powers_pull(x, torch.cat([rest, h.unsqueeze(0)]), g, table, ctx.degrees),
            needed(ctx, 1),
        )
        dg = ops.sphere_powers(x, with_h, table, ctx.degrees, g.shape[1]) if needed(ctx, 2) else None
        return dx, dothers, dg, None, None

    def batched(info: Any, in_dims: tuple[int | None, ...], x: Tensor, others: Tensor, *rest: Any) -> Any:
        x, others = _rows(info, in_dims[0], x, 0), _rows(info, in_dims[1], others, 1)
        out = ops.sphere_powers(x, others, *rest)
        return out.unflatten(0, (info.batch_size, -1)), 0

    def pull_batched(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, others: Tensor, g: Tensor, *rest: Any
    ) -> Any:
        x, others, g = (_rows(info, d, t, at) for t, d, at in zip((x, others, g), in_dims, (0, 1, 0), strict=False))
        out = ops.sphere_powers_pull(x, others, g, *rest)
        return out.unflatten(0, (info.batch_size, -1)), 0

    for name, fake, back, setup, vmap in (
        ("equitools::sphere_powers", shape, backward, save, batched),
        ("equitools::sphere_powers_pull", pulled_shape, pull_backward, pull_save, pull_batched),
    ):
        library.register_fake(name, fake)
        library.register_autograd(name, back, setup_context=setup)
        library.register_vmap(name, vmap)


def _each(others: Tensor, pull: Any, wanted: bool) -> Tensor | None:
    """Return the gradients by the other functions: what is pulled back without each of them."""
    if not wanted or not len(others):
        return None
    return torch.stack([pull(torch.cat([others[:k], others[k + 1 :]])) for k in range(len(others))])


def _rows(info: Any, dim: int | None, t: Tensor, at: int) -> Tensor:
    """Fold the mapped dimension of a tensor into its rows, dimension ``at`` of one item."""
    if dim is None:
        t = t.unsqueeze(at).expand(*t.shape[:at], info.batch_size, *t.shape[at:])
    else:
        t = t.movedim(dim, at)
    return t.flatten(at, at + 1)


if backend.extension_loaded():
    _register()

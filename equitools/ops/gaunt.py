"""Products of functions on the sphere: the Gaunt tensor product, and the surface curl that gives its missing half.

A function on the sphere is given by its coefficients in the orthonormal real spherical harmonics,
``[..., (L+1)², C]`` with component (l, m) at l² + l + m and channels innermost. The Gaunt product multiplies two
functions point by point. It couples only degrees with an even sum: no cross product is among its paths. The curl
product ``r̂·(∇A × ∇B)`` couples exactly the others.

Both are contractions with a tensor that is (up to the sign of a permutation) symmetric in all three arguments, so that
every derivative is a product of the same kind, and all orders of derivatives run in the same kernels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equitools.errors import ShapeError, UnknownNameError, nearest
from equitools.ops import backend, sphere_tables
from equitools.ops.needed import needed
from equitools.ops.precision import full_precision
from equitools.ops.tracing import mode_active

__all__ = ["GAUNT_METHODS", "MAX_GAUNT_DEGREE", "gaunt_method", "gaunt_power", "gaunt_tensor_product"]

#: The ways of computing a product.
GAUNT_METHODS = ("auto", "dense", "sparse", "fourier", "grid")
#: Highest degree of a factor or a product.
MAX_GAUNT_DEGREE = 32


@full_precision
def gaunt_tensor_product(
    x: Tensor, y: Tensor, lmax_out: int | None = None, *, curl: bool = False, method: str = "auto"
) -> Tensor:
    """Multiply two functions on the sphere, or take the radial part of the product of their gradients.

    Args:
        x: ``[..., (L1+1)², C]`` coefficients, float32 or float64.
        y: ``[..., (L2+1)², C]``; leading dimensions as of ``x``. Either may have one channel, which then is multiplied
            with all of the other.
        lmax_out: Highest degree of the product that is wanted; ``None``: the larger of L1 and L2.
        curl: ``False``: the coefficients of A·B, ``Σ ∫ Y₁ Y₂ Y x y``, which are zero where l1 + l2 + l is odd.
            ``True``: of ``r̂·(∇A × ∇B)`` on the unit sphere, which are zero where the sum is even; for degree 1 it is
            √(3/4π) times the cross product.
        method: ``"dense"``: one contraction with the whole tensor, O(L⁶), the oracle. ``"sparse"``: its entries that
            are not zero, O(L⁵). ``"fourier"``: the convolution of Fourier series on the torus (not with ``curl``).
            ``"grid"``: values on Gauss–Legendre rings, compiled, O(L³). ``"auto"``: what `gaunt_method` says.

    Returns:
        ``[..., (lmax_out+1)², C]``.

    Raises:
        ShapeError: The tensors are no coefficients, do not fit together, or are in half precision.
        UnknownNameError: There is no such method, or it does not have the curl.

    Properties:
        methods_agree: all methods give the same up to rounding.
        equivariance: rotating both functions rotates the product; an inversion makes the curl change its sign more.
        symmetry: A·B = B·A, and the curl is antisymmetric.
        derivatives_are_products: every derivative is a product of the same kind.

    Source: Luo, Chen and Krishnapriyan, ICLR 2024 (arXiv 2401.10216), eqs. 4–7 for the product and the Fourier method;
        Xie et al., ICML 2025 (arXiv 2506.13523) for the grid.
    """
    lmax1, lmax2 = _degree("x", x), _degree("y", y)
    lmax3 = max(lmax1, lmax2) if lmax_out is None else int(lmax_out)
    _check(x, y, lmax3)
    if method not in GAUNT_METHODS:
        raise UnknownNameError(
            f"There is no method {method!r} of the Gaunt product.{nearest(method, GAUNT_METHODS)} "
            f"Known: {', '.join(GAUNT_METHODS)}."
        )
    if method == "auto":
        method = gaunt_method(lmax1, lmax2, lmax3)
    if method == "fourier" and curl:
        raise UnknownNameError("The Fourier method has no curl product: take method='grid', 'sparse' or 'dense'.")
    if x.ndim != y.ndim or x.shape[:-2] != y.shape[:-2]:
        lead = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        x, y = x.expand(*lead, *x.shape[-2:]), y.expand(*lead, *y.shape[-2:])
    lead = x.shape[:-2]
    flat_x, flat_y = x.reshape(-1, *x.shape[-2:]), y.reshape(-1, *y.shape[-2:])
    out = _METHODS[method](flat_x, flat_y, lmax1, lmax2, lmax3, curl)
    return out.reshape(*lead, *out.shape[1:])


def gaunt_method(lmax1: int, lmax2: int, lmax3: int) -> str:
    """Return the method that ``"auto"`` takes for these degrees."""
    return "dense" if max(lmax1, lmax2, lmax3) == 0 else "grid"


def gaunt_power(x: Tensor, exponent: int, lmax_out: int | None = None, *, method: str = "auto") -> Tensor:
    """Return the coefficients of a power of a function on the sphere, ``x ⊗ … ⊗ x``.

    By divide and conquer: the halves of the factors are multiplied first, with all the degrees that they reach.

    Args:
        x: ``[..., (L+1)², C]``.
        exponent: 1, 2, …
        lmax_out: Highest degree that is wanted; ``None``: L.
        method: As of `gaunt_tensor_product`.

    Returns:
        ``[..., (lmax_out+1)², C]``.

    Raises:
        ShapeError: As `gaunt_tensor_product`, or the exponent is below 1.

    Properties:
        power_is_repeated_product: the same as multiplying one after the other.

    Source: Luo, Chen and Krishnapriyan, ICLR 2024 (arXiv 2401.10216), section 3.3.
    """
    if exponent < 1:
        raise ShapeError(f"The exponent of a power of a function must be 1 or more, it is {exponent}.")
    lmax = _degree("x", x)
    wanted = lmax if lmax_out is None else int(lmax_out)
    if exponent == 1:
        missing = (wanted + 1) ** 2 - x.shape[-2]
        return torch.nn.functional.pad(x, (0, 0, 0, missing)) if missing > 0 else x[..., : (wanted + 1) ** 2, :]
    half = exponent // 2
    # Degrees of one factor beyond what the other reaches and what is wanted do not come out.
    least, rest = half * lmax, (exponent - half) * lmax
    left = gaunt_power(x, half, min(least, rest + wanted), method=method)
    right = left if rest == least else gaunt_power(x, exponent - half, min(rest, least + wanted), method=method)
    return gaunt_tensor_product(left, right, wanted, method=method)


def _degree(name: str, x: Tensor) -> int:
    """Return L of ``[..., (L+1)², C]``."""
    components = x.shape[-2] if x.ndim >= 2 else -1
    lmax = math.isqrt(max(components, 0)) - 1
    if (lmax + 1) ** 2 != components or lmax < 0:
        raise ShapeError(
            f"{name} must hold the coefficients of all degrees up to one, [..., (L+1)², C], the tensor given is "
            f"{list(x.shape)}."
        )
    return lmax


def _check(x: Tensor, y: Tensor, lmax3: int) -> None:
    for lmax in (_degree("x", x), _degree("y", y), lmax3):
        if not 0 <= lmax <= MAX_GAUNT_DEGREE:
            raise ShapeError(f"The Gaunt product has degrees 0 to {MAX_GAUNT_DEGREE}, {lmax} was asked for.")
    if x.dtype not in (torch.float32, torch.float64) or x.dtype != y.dtype or x.device != y.device:
        raise ShapeError(
            "The factors of the Gaunt product must both be float32 or both float64, on one device; they are "
            f"{x.dtype} on {x.device} and {y.dtype} on {y.device}. Its sums cancel: half precision would keep no digit."
        )
    if x.shape[-1] != y.shape[-1] and 1 not in (x.shape[-1], y.shape[-1]):
        raise ShapeError(
            f"The factors must have the same number of channels, or one of them one; they have {x.shape[-1]} and "
            f"{y.shape[-1]}."
        )


# ---- methods: x [N, (L1+1)², C], y [N, (L2+1)², C] or one channel ---------------------------------------------------


_made: dict[tuple[Any, ...], tuple[Tensor, ...]] = {}


def _table(name: str, arguments: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Return tables of `sphere_tables` as tensors; made once for each dtype and device. To torch.compile, constants."""
    key = (name, arguments, dtype, device)
    kept = not mode_active()  # what a tracer or a fake mode hands out means nothing afterwards
    if kept and key in _made:
        return _made[key]
    found = getattr(sphere_tables, name)(*arguments)
    with torch.inference_mode(False):  # a table of an inference could not be used in a training
        tables = tuple(
            torch.from_numpy(np.ascontiguousarray(part)).to(device, None if part.dtype.kind == "i" else dtype)
            for part in (found if isinstance(found, tuple) else (found,))
        )
    if kept:
        _made[key] = tables
    return tables


# What torch.compiler.assume_constant_result does, which would import the compiler, 1.3 s, to do it.
_table._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _dense(x: Tensor, y: Tensor, lmax1: int, lmax2: int, lmax3: int, curl: bool) -> Tensor:
    (table,) = _table("dense", (lmax1, lmax2, lmax3, curl), x.dtype, x.device)
    pairs = x.unsqueeze(2) * y.unsqueeze(1)  # [N, (L1+1)², (L2+1)², C]
    return torch.einsum("abk,nabc->nkc", table, pairs)


def _sparse(x: Tensor, y: Tensor, lmax1: int, lmax2: int, lmax3: int, curl: bool) -> Tensor:
    first, second, third, value = _table("entries", (lmax1, lmax2, lmax3, curl), x.dtype, x.device)
    terms = x.index_select(1, first) * y.index_select(1, second) * value[:, None]
    return terms.new_zeros(len(terms), (lmax3 + 1) ** 2, terms.shape[-1]).index_add(1, third, terms)


def _fourier(x: Tensor, y: Tensor, lmax1: int, lmax2: int, lmax3: int, curl: bool) -> Tensor:  # noqa: ARG001
    dtype = torch.complex64 if x.dtype == torch.float32 else torch.complex128
    size = 2 * (lmax1 + lmax2) + 1
    spectra = []
    for factor, lmax in ((x, lmax1), (y, lmax2)):
        (series,) = _table("fourier", (lmax,), dtype, x.device)
        planes = torch.einsum("uvk,nkc->ncuv", series, factor.to(dtype))
        spectra.append(torch.fft.fft2(planes, s=(size, size)))
    (back,) = _table("projection", (lmax3, lmax1 + lmax2), dtype, x.device)
    return torch.einsum("kuv,ncuv->nkc", back, torch.fft.ifft2(spectra[0] * spectra[1])).real


def _grid(x: Tensor, y: Tensor, lmax1: int, lmax2: int, lmax3: int, curl: bool) -> Tensor:
    if backend.choose("sphere_product", x) == "reference":
        return _grid_in_plain_torch(x, y, lmax1, lmax2, lmax3, curl)
    (table,) = _table("kernel_table", (lmax1, lmax2, lmax3, curl), x.dtype, x.device)
    return torch.ops.equitools.sphere_product(x, y, table, [lmax1, lmax2, lmax3], 0, 1, curl)


def _grid_in_plain_torch(x: Tensor, y: Tensor, lmax1: int, lmax2: int, lmax3: int, curl: bool) -> Tensor:
    """Return the product by dense matrix products with the values of all harmonics on the grid."""
    degree = lmax1 + lmax2 + lmax3
    first = _table("synthesis", (lmax1, degree), x.dtype, x.device)
    second = _table("synthesis", (lmax2, degree), x.dtype, x.device)
    (back,) = _table("analysis", (lmax3, degree), x.dtype, x.device)
    if curl:
        values = (first[1] @ x) * (second[2] @ y) - (first[2] @ x) * (second[1] @ y)
    else:
        values = (first[0] @ x) * (second[0] @ y)
    return back @ values


_METHODS = {"dense": _dense, "sparse": _sparse, "fourier": _fourier, "grid": _grid}


# ---- the compiled operation -----------------------------------------------------------------------------------------


def _summed(grad: Tensor, like: Tensor) -> Tensor:
    """Return the gradient of a factor that has one channel for all."""
    return grad.sum(-1, keepdim=True) if like.shape[-1] == 1 and grad.shape[-1] != 1 else grad


def _register() -> None:
    """Tell torch the shape and the derivative of the compiled operation: two products of the same triple."""
    ops, library, name = torch.ops.equitools, torch.library, "equitools::sphere_product"

    def shape(x: Tensor, y: Tensor, _table: Tensor, degrees: list[int], first: int, second: int, _curl: bool) -> Tensor:
        return x.new_empty((x.shape[0], (degrees[3 - first - second] + 1) ** 2, max(x.shape[2], y.shape[2])))

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
        ctx.save_for_backward(*inputs[:3])
        ctx.triple = inputs[3:]

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, table = ctx.saved_tensors
        degrees, first, second, curl = ctx.triple
        third = 3 - first - second
        # The integral of three functions, and that with the curl, are the same when the three move on in a ring.
        dx = _summed(ops.sphere_product(y, grad, table, degrees, second, third, curl), x) if needed(ctx, 0) else None
        dy = _summed(ops.sphere_product(grad, x, table, degrees, third, first, curl), y) if needed(ctx, 1) else None
        return dx, dy, None, None, None, None, None

    def batched(info: Any, in_dims: tuple[int | None, ...], x: Tensor, y: Tensor, *rest: Any) -> tuple[Tensor, int]:
        x, y = (
            (t.unsqueeze(0) if d is None else t.movedim(d, 0)).expand(info.batch_size, *_without(t, d))
            for t, d in zip((x, y), in_dims[:2], strict=True)
        )
        out = ops.sphere_product(x.flatten(0, 1), y.flatten(0, 1), *rest)
        return out.unflatten(0, (info.batch_size, -1)), 0

    library.register_fake(name, shape)
    library.register_autograd(name, backward, setup_context=save)
    library.register_vmap(name, batched)


def _without(t: Tensor, dim: int | None) -> list[int]:
    """Return the shape of a tensor without a dimension."""
    return [size for k, size in enumerate(t.shape) if k != dim]


if backend.extension_loaded():
    _register()

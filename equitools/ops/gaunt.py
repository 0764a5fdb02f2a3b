"""Products of functions on the sphere: the Gaunt tensor product, and the surface curl that gives its missing half.

A function on the sphere is given by its coefficients in the orthonormal real spherical harmonics,
``[..., (L+1)², C]`` with component (l, m) at l² + l + m and channels innermost. The Gaunt product multiplies two
functions point by point. It couples only degrees with an even sum: no cross product is among its paths. The curl
product ``r̂·(∇A × ∇B)`` couples exactly the others.

Both are contractions with a tensor that is (up to the sign of a permutation) symmetric in all three arguments, so that
every derivative is a product of the same kind, and all orders of derivatives run in the same kernels. With a weight for
each path (l1, l2, l3), and both halves, they are the channelwise Clebsch–Gordan product.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ShapeError, UnknownNameError, nearest
from equitools.ops import backend, gaunt_crossover, sparse_tables
from equitools.ops.gaunt_fourier import fourier_product
from equitools.ops.needed import needed
from equitools.ops.precision import full_precision
from equitools.ops.sphere_functions import MAX_GAUNT_DEGREE, broadcast_channels, check_factors, lmax_of, table_of
from equitools.ops.tracing import constant_when_traced, tracing

__all__ = ["GAUNT_METHODS", "MAX_GAUNT_DEGREE", "gaunt_method", "gaunt_paths", "gaunt_power", "gaunt_tensor_product"]

#: The ways of computing a product.
GAUNT_METHODS = ("auto", "dense", "sparse", "fourier", "grid")
#: The methods that have a weight for each path.
WEIGHTED_METHODS = ("dense", "sparse")


@full_precision
def gaunt_tensor_product(
    x: Tensor,
    y: Tensor,
    lmax_out: int | None = None,
    *,
    curl: bool = False,
    method: str = "auto",
    path_weight: Tensor | None = None,
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
            are not zero, compiled, O(L⁵). ``"fourier"``: Fourier series on the torus, multiplied by fast transforms,
            in plain torch, O(L³) (not with ``curl``). ``"grid"``: values on Gauss–Legendre rings, compiled, O(L³).
            ``"auto"``: what `gaunt_method` says, or ``"grid"`` where that is ``"sparse"`` and it is not compiled.
        path_weight: ``[P]`` or ``[P, C]``, what each path of `gaunt_paths` is multiplied by; only by ``"dense"`` and
            ``"sparse"`` (``"auto"`` takes the latter). ``None``: all are 1.

    Returns:
        ``[..., (lmax_out+1)², C]``.

    Raises:
        ShapeError: The tensors are no coefficients, do not fit together, or are in half precision.
        UnknownNameError: There is no such method, or it does not have the curl or the weights.

    Properties:
        methods_agree: all methods give the same up to rounding.
        weighted_paths_are_clebsch_gordan: with weights, the paths of e3nn's ``uuu`` product.
        equivariance: rotating both functions rotates the product; an inversion makes the curl change its sign more.
        symmetry: A·B = B·A, and the curl is antisymmetric.
        derivatives_are_products: every derivative is a product of the same kind.

    Source: Luo, Chen and Krishnapriyan, ICLR 2024 (arXiv 2401.10216), eqs. 4–7 for the product and the Fourier method;
        Xie et al., ICML 2025 (arXiv 2506.13523) for the grid.
    """
    lmax1, lmax2 = lmax_of("x", x), lmax_of("y", y)
    lmax3 = max(lmax1, lmax2) if lmax_out is None else int(lmax_out)
    check_factors(x, y, lmax3)
    if method not in GAUNT_METHODS:
        raise UnknownNameError(f"There is no method {method!r} of the Gaunt product. {nearest(method, GAUNT_METHODS)}")
    if method == "auto" and path_weight is not None:
        method = "sparse"
    if method == "auto":
        channels = broadcast_channels(x.shape[-1], y.shape[-1])
        # A compiled graph serves any number of rows: then the choice must not depend on it.
        rows = None if tracing() else max(math.prod(x.shape[:-2]), math.prod(y.shape[:-2]))
        method = gaunt_method(lmax1, lmax2, lmax3, channels, rows, x.device, curl)
        if method == "sparse" and not backend.compiled_on(x.device):
            method = "grid"  # in plain torch the sparse product would write down a term for every entry
    if method == "fourier" and curl:
        raise UnknownNameError("The Fourier method has no curl product: take method='grid', 'sparse' or 'dense'.")
    if path_weight is not None:
        path_weight = _check_weight(path_weight, x, y, lmax3, curl, method)
    if x.ndim != y.ndim or x.shape[:-2] != y.shape[:-2]:
        lead = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        x, y = x.expand(*lead, *x.shape[-2:]), y.expand(*lead, *y.shape[-2:])
    lead = x.shape[:-2]
    flat_x, flat_y = (t.reshape(math.prod(lead), *t.shape[-2:]) for t in (x, y))
    reached = min(lmax3, lmax1 + lmax2)  # beyond there is nothing to be computed
    if path_weight is not None:
        weighted = _dense_weighted if method == "dense" else _sparse
        out = weighted(flat_x, flat_y, lmax1, lmax2, reached, curl, path_weight)
    else:
        out = _METHODS[method](flat_x, flat_y, lmax1, lmax2, reached, curl)
    if reached < lmax3:
        out = torch.nn.functional.pad(out, (0, 0, 0, (lmax3 + 1) ** 2 - (reached + 1) ** 2))
    return out.reshape(*lead, *out.shape[1:])


@constant_when_traced
def gaunt_paths(lmax1: int, lmax2: int, lmax3: int, curl: bool = False) -> tuple[tuple[int, int, int], ...]:
    """Return the paths (l1, l2, l3) of a product, in the order of their weights: that of nested loops.

    Args:
        lmax1: Highest degree of the first factor.
        lmax2: Of the second.
        lmax3: Of the product.
        curl: Those whose sum is odd instead of those whose sum is even.
    """
    return sparse_tables.paths(lmax1, lmax2, lmax3, int(curl))


def gaunt_method(
    lmax1: int,
    lmax2: int,
    lmax3: int,
    channels: int = 32,
    rows: int | None = None,
    device: torch.device | str = "cpu",
    curl: bool = False,
) -> str:
    """Return the method that ``"auto"`` takes: the fastest where the nearest case was measured.

    The table is `equitools.ops.gaunt_measured`; benchmarks/gaunt_crossover.py measures and writes it. Cases there have
    three equal degrees; others take the mean of theirs. It is of the compiled kernels; where they are not used
    ``"auto"`` takes ``"grid"`` in the place of ``"sparse"``, which in plain torch needs memory for every term.

    Args:
        lmax1: Highest degree of the first factor.
        lmax2: Of the second.
        lmax3: Of the product; what is beyond lmax1 + lmax2 costs nothing, and does not count.
        channels: Their number.
        rows: Their number; ``None``: not known, as where a graph is compiled for any number; 1 000 are taken.
        device: Its type counts.
        curl: As of `gaunt_tensor_product`.
    """
    kind, degrees = torch.device(device).type, (lmax1, lmax2, min(lmax3, lmax1 + lmax2))
    return gaunt_crossover.fastest(sum(degrees) / 3, channels, 1000 if rows is None else rows, kind, curl)


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
        ShapeError: As `gaunt_tensor_product`, or the exponent is below 1, or so high that a product in between has a
            degree above 32.

    Properties:
        power_is_repeated_product: the same as multiplying one after the other.

    Source: Luo, Chen and Krishnapriyan, ICLR 2024 (arXiv 2401.10216), section 3.3.
    """
    if exponent < 1:
        raise ShapeError(f"The exponent of a power of a function must be 1 or more, it is {exponent}.")
    lmax = lmax_of("x", x)
    wanted = lmax if lmax_out is None else int(lmax_out)
    check_factors(x, x, wanted)
    return _power(x, exponent, lmax, wanted, method)


def _power(x: Tensor, exponent: int, lmax: int, wanted: int, method: str) -> Tensor:
    if exponent == 1:
        missing = (wanted + 1) ** 2 - x.shape[-2]
        return torch.nn.functional.pad(x, (0, 0, 0, missing)) if missing > 0 else x[..., : (wanted + 1) ** 2, :]
    half = exponent // 2
    # Degrees of one factor beyond what the other reaches and what is wanted do not come out.
    least, rest = half * lmax, (exponent - half) * lmax
    between = min(rest, least + wanted)
    if between > MAX_GAUNT_DEGREE:
        raise ShapeError(
            f"The power {exponent} of a function of degree {lmax} needs one in between with degree {between}; "
            f"products have degrees to {MAX_GAUNT_DEGREE}. gaunt_powers, on one grid, has none in between."
        )
    left = _power(x, half, lmax, min(least, rest + wanted), method)
    right = left if rest == least else _power(x, exponent - half, lmax, between, method)
    return gaunt_tensor_product(left, right, wanted, method=method)


def _check_weight(weight: Tensor, x: Tensor, y: Tensor, lmax3: int, curl: bool, method: str) -> Tensor:
    """Return the weights of the paths as ``[P, C or 1]``."""
    if method not in WEIGHTED_METHODS:
        raise UnknownNameError(
            f"The method {method!r} has no weights of paths: it computes all paths at once. Those that have are "
            f"method='sparse' and method='dense' (or 'auto')."
        )
    paths = len(gaunt_paths(lmax_of("x", x), lmax_of("y", y), lmax3, curl))
    channels = broadcast_channels(x.shape[-1], y.shape[-1])
    if weight.ndim not in (1, 2) or weight.shape[0] != paths or (weight.ndim == 2 and weight.shape[1] != channels):
        raise ShapeError(
            f"path_weight must be [{paths}] or [{paths}, {channels}], a weight for each path of gaunt_paths (and "
            f"channel); it is {list(weight.shape)}."
        )
    if weight.dtype != x.dtype or weight.device != x.device:
        raise ShapeError(
            f"path_weight must have the factors' dtype and device, {x.dtype} on {x.device}; it is {weight.dtype} on "
            f"{weight.device}. Convert one of them."
        )
    return weight.unsqueeze(1) if weight.ndim == 1 else weight


# ---- methods: x [N, (L1+1)², C], y [N, (L2+1)², C] or one channel ---------------------------------------------------


def _dense(x: Tensor, y: Tensor, lmax1: int, lmax2: int, lmax3: int, curl: bool) -> Tensor:
    (table,) = table_of("dense", (lmax1, lmax2, lmax3, curl), x.dtype, x.device)
    pairs = x.unsqueeze(2) * y.unsqueeze(1)  # [N, (L1+1)², (L2+1)², C]
    return torch.einsum("abk,nabc->nkc", table, pairs)


def _dense_weighted(x: Tensor, y: Tensor, lmax1: int, lmax2: int, lmax3: int, curl: bool, weight: Tensor) -> Tensor:
    """Return the product path by path."""
    (table,) = table_of("dense", (lmax1, lmax2, lmax3, curl), x.dtype, x.device)
    parts: list[list[Tensor]] = [[] for _ in range(lmax3 + 1)]
    for path, degrees in enumerate(gaunt_paths(lmax1, lmax2, lmax3, curl)):
        a, b, c = (slice(l * l, (l + 1) ** 2) for l in degrees)
        product = torch.einsum("abk,nabc->nkc", table[a, b, c], x[:, a].unsqueeze(2) * y[:, b].unsqueeze(1))
        parts[degrees[2]].append(weight[path] * product)
    shape = x.shape[0], broadcast_channels(x.shape[2], y.shape[2])
    return torch.cat(
        [sum(p[1:], p[0]) if p else x.new_zeros(shape[0], 2 * l + 1, shape[1]) for l, p in enumerate(parts)], 1
    )


def _sparse(
    x: Tensor, y: Tensor, lmax1: int, lmax2: int, lmax3: int, curl: bool, weight: Tensor | None = None
) -> Tensor:
    degrees = [lmax1, lmax2, lmax3]
    if backend.choose("sparse_product", x) == "reference":
        first, second, third, value, path = table_of("sparse_entries", (*degrees, int(curl)), x.dtype, x.device)
        terms = x.index_select(1, first) * y.index_select(1, second) * value[:, None]
        if weight is not None:
            terms = terms * weight.index_select(0, path)
        return terms.new_zeros(len(terms), (lmax3 + 1) ** 2, terms.shape[-1]).index_add(1, third, terms)
    tables = table_of("sparse_kernel_tables", (*degrees, int(curl)), x.dtype, x.device)
    return torch.ops.equitools.sparse_product(x, y, weight, *tables, degrees, 2, int(curl))


def _fourier(x: Tensor, y: Tensor, lmax1: int, lmax2: int, lmax3: int, curl: bool) -> Tensor:
    if not tracing() and 0 in (*x.shape, *y.shape):
        return _dense(x, y, lmax1, lmax2, lmax3, curl)  # libraries of transforms refuse to transform nothing
    return fourier_product(x, y, lmax1, lmax2, lmax3)


def _grid(x: Tensor, y: Tensor, lmax1: int, lmax2: int, lmax3: int, curl: bool) -> Tensor:
    if backend.choose("sphere_product", x) == "reference":
        return _grid_in_plain_torch(x, y, lmax1, lmax2, lmax3, curl)
    (table,) = table_of("kernel_table", (lmax1, lmax2, lmax3, curl), x.dtype, x.device)
    return torch.ops.equitools.sphere_product(x, y, table, [lmax1, lmax2, lmax3], 0, 1, curl)


def _grid_in_plain_torch(x: Tensor, y: Tensor, lmax1: int, lmax2: int, lmax3: int, curl: bool) -> Tensor:
    """Return the product by dense matrix products with the values of all harmonics on the grid."""
    degree = lmax1 + lmax2 + lmax3
    first = table_of("synthesis", (lmax1, degree), x.dtype, x.device)
    second = table_of("synthesis", (lmax2, degree), x.dtype, x.device)
    (back,) = table_of("analysis", (lmax3, degree), x.dtype, x.device)
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
        channels = broadcast_channels(x.shape[2], y.shape[2])
        return x.new_empty((x.shape[0], (degrees[3 - first - second] + 1) ** 2, channels))

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
        x, y = _leading(info, in_dims, x, y)
        out = ops.sphere_product(x.flatten(0, 1), y.flatten(0, 1), *rest)
        return out.unflatten(0, (info.batch_size, x.shape[1])), 0

    library.register_fake(name, shape)
    library.register_autograd(name, backward, setup_context=save)
    library.register_vmap(name, batched)


def _register_sparse() -> None:
    """The same of the sparse product and of the gradient of its weights; each is the derivative of the other."""
    ops, library, name = torch.ops.equitools, torch.library, "equitools::sparse_product"

    def shape(
        x: Tensor, y: Tensor, weight: Tensor | None, _0: Tensor, _1: Tensor, _2: Tensor, degrees: list[int],
        third: int, _sums: int,
    ) -> Tensor:  # fmt: skip
        channels = broadcast_channels(x.shape[2], y.shape[2], 1 if weight is None else weight.shape[1])
        return x.new_empty((x.shape[0], (degrees[third] + 1) ** 2, channels))

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
        ctx.save_for_backward(*inputs[:6])
        ctx.triple = inputs[6:]

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, *tables = ctx.saved_tensors
        degrees, third, sums = ctx.triple
        dx = dy = dw = None
        if needed(ctx, 0):
            dx = _summed(ops.sparse_product(y, grad, weight, *tables, degrees, (third + 1) % 3, sums), x)
        if needed(ctx, 1):
            dy = _summed(ops.sparse_product(grad, x, weight, *tables, degrees, (third + 2) % 3, sums), y)
        if weight is not None and needed(ctx, 2):
            ring = (x, y, grad)  # of numbers third + 1, third + 2, third
            given = [ring[(number - third - 1) % 3] for number in range(3)]
            dw = _summed(ops.sparse_product_weights(*given, *tables, degrees, sums), weight)
        return dx, dy, dw, *[None] * 6

    def batched(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, y: Tensor, weight: Tensor | None, *rest: Any
    ) -> tuple[Tensor, int]:
        if in_dims[2] is not None:
            return _one_by_one(ops.sparse_product, info, in_dims, (x, y, weight), rest)
        x, y = _leading(info, in_dims, x, y)
        out = ops.sparse_product(x.flatten(0, 1), y.flatten(0, 1), weight, *rest)
        return out.unflatten(0, (info.batch_size, x.shape[1])), 0

    library.register_fake(name, shape)
    library.register_autograd(name, backward, setup_context=save)
    library.register_vmap(name, batched)

    name = "equitools::sparse_product_weights"

    def weights_shape(
        x: Tensor, y: Tensor, z: Tensor, _0: Tensor, _1: Tensor, _2: Tensor, degrees: list[int], sums: int
    ) -> Tensor:
        channels = broadcast_channels(x.shape[2], y.shape[2], z.shape[2])
        return x.new_empty((len(sparse_tables.paths(*degrees, sums)), channels))

    def weights_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *given, table0, table1, table2 = ctx.saved_tensors
        degrees, sums = ctx.triple
        found = [
            _summed(
                ops.sparse_product(given[k - 2], given[k - 1], grad, table0, table1, table2, degrees, k, sums),
                given[k],
            )
            if needed(ctx, k)
            else None
            for k in range(3)
        ]
        return *found, *[None] * 5

    def weights_batched(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
        return _one_by_one(ops.sparse_product_weights, info, in_dims, arguments[:3], arguments[3:])

    library.register_fake(name, weights_shape)
    library.register_autograd(name, weights_backward, setup_context=save)
    library.register_vmap(name, weights_batched)


def _without(t: Tensor, dim: int | None) -> list[int]:
    """Return the shape of a tensor without a dimension."""
    return [size for k, size in enumerate(t.shape) if k != dim]


def _leading(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> list[Tensor]:
    """Return the tensors with the dimension that vmap takes away as the first."""
    return [
        (t.unsqueeze(0) if d is None else t.movedim(d, 0)).expand(info.batch_size, *_without(t, d))
        for t, d in zip(tensors, in_dims, strict=False)
    ]


def _one_by_one(
    operation: Any, info: Any, in_dims: tuple[int | None, ...], tensors: tuple[Any, ...], rest: tuple[Any, ...]
) -> tuple[Tensor, int]:
    """Return what vmap asks for by one call after the other: sums over rows have no dimension left for a batch."""
    each = [
        operation(*(t if d is None else t.select(d, k) for t, d in zip(tensors, in_dims, strict=False)), *rest)
        for k in range(info.batch_size)
    ]
    return torch.stack(each), 0


if backend.extension_loaded():
    _register()
    _register_sparse()

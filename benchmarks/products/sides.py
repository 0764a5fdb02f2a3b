"""The products that are compared, each with the same inputs in the order of columns that it works in.

Inputs are features of natural parity, one irrep of each degree 0 … L with C channels. A product gives the even half
(the paths of an even sum of degrees), the odd half, or both; the odd half has no degree 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from e3nn import o3
from torch import Tensor

from benchmarks.side_by_side.planned import ABSENT, NotThere
from equitools import nn
from equitools.groups import clebsch_gordan
from equitools.ops import (
    EdgeFrames,
    edge_frames,
    gaunt_tensor_product,
    matrix_product,
    sphere_tables,
    use_backend,
)
from equitools.ops.gaunt import gaunt_paths

Table = np.ndarray


@dataclass
class Product:
    """A product that is ready to run.

    Attributes:
        run: From the leaves to the output.
        inputs: From ``[N, (L+1)², C]`` of both factors to the leaves (``x`` first), in the product's order of columns.
        canonical: From the output, and from a gradient of an input, to ``[N, components, C]``.
        oracle: ``[(L+1)², (L+1)², components]`` in float64, what the outputs should be; ``None``: as in float64.
        paths: How many there are, where L and the half do not say it.
    """

    run: Callable[..., Tensor]
    oracle: Table | None
    inputs: Callable[[Tensor, Tensor], tuple[Tensor, ...]] = field(default=lambda x, y: (x, y))
    canonical: Callable[[Tensor], Tensor] = field(default=lambda out: out)
    gradient: Callable[[Tensor], Tensor] = field(default=lambda out: out)
    paths: int | None = None


@dataclass(frozen=True)
class Side:
    """One way of multiplying.

    Attributes:
        name: In tables.
        half: ``"even"``, ``"odd"``, ``"both"`` or ``"edge"`` (with the harmonics of a direction).
        build: Makes it from L, C and a dtype.
        one_row_count: Whether it is measured for one number of rows only: it is a remark and no candidate.
    """

    name: str
    half: str
    build: Callable[[int, int, torch.dtype], Product]
    one_row_count: bool = False


def triples(lmax: int, half: str) -> list[tuple[int, int, int]]:
    """Return the degrees of the paths of a half, or of both."""
    wanted = {"even": (0,), "odd": (1,), "both": (0, 1)}[half]
    return [
        (a, b, c)
        for a in range(lmax + 1)
        for b in range(lmax + 1)
        for c in range(abs(a - b), min(a + b, lmax) + 1)
        if (a + b + c) % 2 in wanted
    ]


def gaunt_table(lmax: int, half: str) -> Table:
    """Return the dense tensor of the Gaunt product, of the curl, or of both one behind the other."""
    parts = []
    if half in ("even", "both"):
        parts.append(sphere_tables.dense(lmax, lmax, lmax, False))
    if half in ("odd", "both"):
        parts.append(sphere_tables.dense(lmax, lmax, lmax, True)[:, :, 1:])
    return np.concatenate(parts, 2)


def coupling_table(lmax: int, half: str) -> Table:
    """Return the same with unit coupling tensors."""
    size = (lmax + 1) ** 2
    halves = np.zeros((2, size, size, size))
    for a, b, c in triples(lmax, "both"):
        block = tuple(slice(l * l, (l + 1) ** 2) for l in (a, b, c))
        halves[((a + b + c) % 2, *block)] = clebsch_gordan(a, b, c).numpy()
    return {"even": halves[0], "both": np.concatenate([halves[0], halves[1][:, :, 1:]], 2)}[half]


# ---- Clebsch–Gordan -------------------------------------------------------------------------------------------------


def cg_dense(lmax: int, channels: int, dtype: torch.dtype) -> Product:  # noqa: ARG001
    """All paths in one tensor, contracted with all pairs of components."""
    exact = coupling_table(lmax, "both")
    table = torch.from_numpy(exact).to(dtype)

    def run(x: Tensor, y: Tensor) -> Tensor:
        return torch.einsum("abk,nabc->nkc", table, x.unsqueeze(2) * y.unsqueeze(1))

    return Product(run, exact)


def cg_sparse(lmax: int, channels: int, dtype: torch.dtype, half: str = "both") -> Product:
    """e3nn's TensorProduct with a "uuu" path for each triple, weights of one."""
    blocks = [(l, (-1) ** l) for l in range(lmax + 1)]
    outputs = blocks + ([(l, -((-1) ** l)) for l in range(1, lmax + 1)] if half == "both" else [])
    irreps, irreps_out = (o3.Irreps([(channels, ir) for ir in kind]) for kind in (blocks, outputs))
    where = {(l, p * (-1) ** l): k for k, (l, p) in enumerate(outputs)}
    found = triples(lmax, half)
    paths = [(a, b, where[c, (-1) ** (a + b + c)], "uuu", True) for a, b, c in found]
    module = o3.TensorProduct(
        irreps, irreps, irreps_out, paths, irrep_normalization="none", path_normalization="none",
        shared_weights=True, internal_weights=False,
    ).to(dtype)  # fmt: skip
    weight = torch.ones(module.weight_numel, dtype=dtype)
    from_columns = nn.to_ir_mul

    def there(x: Tensor) -> Tensor:
        return nn.to_mul_ir(x.flatten(1), irreps).contiguous()

    def back(columns: Tensor, order: o3.Irreps) -> Tensor:
        return from_columns(columns, order).unflatten(-1, (-1, channels))

    return Product(
        lambda x, y: module(x, y, weight), coupling_table(lmax, half), lambda x, y: (there(x), there(y)),
        lambda out: back(out, irreps_out), lambda grad: back(grad, irreps),
    )  # fmt: skip


def cg_even_sparse(lmax: int, channels: int, dtype: torch.dtype) -> Product:
    """The same with the paths of an even sum."""
    return cg_sparse(lmax, channels, dtype, "even")


def cg_compiled(lmax: int, channels: int, dtype: torch.dtype, half: str = "both") -> Product:
    """This library's compiled sparse product with a weight for each path and channel: those of unit couplings."""
    halves = (False, True) if half == "both" else (False,)
    weights = []
    for curl in halves:
        factors = [1 / sphere_tables.reduced(*path) for path in gaunt_paths(lmax, lmax, lmax, curl)]
        weights.append(torch.tensor(factors, dtype=torch.float64).to(dtype).unsqueeze(1).repeat(1, channels))

    def run(x: Tensor, y: Tensor) -> Tensor:
        even = gaunt_tensor_product(x, y, method="sparse", path_weight=weights[0])
        if half == "even":
            return even
        odd = gaunt_tensor_product(x, y, curl=True, method="sparse", path_weight=weights[1])
        return torch.cat([even, odd[:, 1:]], 1)

    return Product(run, coupling_table(lmax, half))


def cg_even_compiled(lmax: int, channels: int, dtype: torch.dtype) -> Product:
    """The same with the paths of an even sum."""
    return cg_compiled(lmax, channels, dtype, "even")


# ---- functions on the sphere ----------------------------------------------------------------------------------------


def gaunt(method: str) -> Callable[[int, int, torch.dtype], Product]:
    """Return the builder of the Gaunt product with a method."""

    def build(lmax: int, channels: int, dtype: torch.dtype) -> Product:  # noqa: ARG001
        return Product(lambda x, y: gaunt_tensor_product(x, y, method=method), gaunt_table(lmax, "even"))

    return build


def grid_plain(lmax: int, channels: int, dtype: torch.dtype) -> Product:  # noqa: ARG001
    """The even half on the grid by dense products with the values of all harmonics, in plain torch."""

    def run(x: Tensor, y: Tensor) -> Tensor:
        with use_backend("reference"):
            return gaunt_tensor_product(x, y, method="grid")

    return Product(run, gaunt_table(lmax, "even"))


def _curl(x: Tensor, y: Tensor, method: str = "grid") -> Tensor:
    return gaunt_tensor_product(x, y, curl=True, method=method)[:, 1:]


def curl_grid(lmax: int, channels: int, dtype: torch.dtype) -> Product:  # noqa: ARG001
    """The odd half."""
    return Product(_curl, gaunt_table(lmax, "odd"))


def both(method: str) -> Callable[[int, int, torch.dtype], Product]:
    """Return the builder of both halves, each on its own."""

    def build(lmax: int, channels: int, dtype: torch.dtype) -> Product:  # noqa: ARG001
        def run(x: Tensor, y: Tensor) -> Tensor:
            return torch.cat([gaunt_tensor_product(x, y, method=method), _curl(x, y, method)], 1)

        return Product(run, gaunt_table(lmax, "both"))

    return build


def curl_plain(lmax: int, channels: int, dtype: torch.dtype) -> Product:  # noqa: ARG001
    """The odd half by dense matrix products in plain torch: to compare with `vector_plain`."""

    def run(x: Tensor, y: Tensor) -> Tensor:
        with use_backend("reference"):
            return _curl(x, y)

    return Product(run, gaunt_table(lmax, "odd"))


def vector_plain(lmax: int, channels: int, dtype: torch.dtype) -> Product:  # noqa: ARG001
    """Fields of vectors ``x r̂ + ∇x`` and ``y r̂ + ∇y`` in plain torch: their cross product's radial and tangent parts.

    What comes out are the coefficients of the radial part, which are those of the curl, and of the tangent part in
    ``r̂ × ∇Y`` and ``∇Y``.
    """
    degree = 3 * lmax
    fields = [torch.from_numpy(part).to(dtype) for part in sphere_tables.synthesis(lmax, degree)]
    points = sphere_tables.grid(degree)
    weight = torch.from_numpy(np.repeat(points.weight, len(points.phi))).to(dtype)
    radial, theta, phi = ((part.T * weight).contiguous() for part in fields)
    size = (lmax + 1) ** 2

    def run(x: Tensor, y: Tensor) -> Tensor:
        a, b = ([part @ factor for part in fields] for factor in (x, y))
        along = a[1] * b[2] - a[2] * b[1]
        t, p = a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
        return torch.cat([radial @ along, theta @ p - phi @ t, theta @ t + phi @ p], 1)

    return Product(run, gaunt_table(lmax, "odd"), canonical=lambda out: out[:, 1:size])


# ---- others ---------------------------------------------------------------------------------------------------------


def matrices(lmax: int, channels: int, dtype: torch.dtype) -> Product:  # noqa: ARG001
    """Both halves of the product of matrices."""

    def run(x: Tensor, y: Tensor) -> Tensor:
        even, odd = matrix_product(x, y)
        return torch.cat([even, odd[:, 1:]], 1)

    size = (lmax + 1) ** 2
    unit = torch.eye(size, dtype=torch.float64)
    exact = torch.cat(
        [run(unit[a].expand(size, -1).unsqueeze(-1), unit.unsqueeze(-1)).squeeze(-1) for a in range(size)]
    )
    return Product(run, exact.view(size, size, -1).numpy())


def so2(lmax: int, channels: int, dtype: torch.dtype) -> Product:
    """The SO(2) convolution: features of an edge times the harmonics of its direction, channels mixed.

    The frames are given, as the layers of a network share them; gradients go to the features and to the rotations.

    Raises:
        NotThere: This version does not have it.
    """
    made: Any = getattr(nn, "SO2Convolution", None)
    if made is None:
        raise NotThere(f"equitools.nn.SO2Convolution is {ABSENT}")
    natural = "+".join(f"{channels}x{l}{'eo'[l % 2]}" for l in range(lmax + 1))
    other = "+".join(f"{channels}x{l}{'oe'[l % 2]}" for l in range(1, lmax + 1))
    layer = made(natural, f"{natural}+{other}", layout="ir_mul").to(dtype).requires_grad_(False)

    known = torch.ones(0, dtype=torch.bool)

    def inputs(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        nonlocal known
        frames = edge_frames(y[:, :3, 0], lmax)
        known = max(known, frames.known, key=len)  # every edge has a direction
        return x.flatten(1), *frames.blocks

    def run(x: Tensor, *blocks: Tensor) -> Tensor:
        return layer.message(x, EdgeFrames(blocks, known[: len(x)], lmax))

    return Product(run, None, inputs, paths=len(layer.paths))


#: By name.
SIDES = {
    side.name: side
    for side in (
        Side("CG dense", "both", cg_dense),
        Side("CG sparse (e3nn)", "both", cg_sparse),
        Side("CG sparse even (e3nn)", "even", cg_even_sparse),
        Side("CG sparse (compiled)", "both", cg_compiled),
        Side("CG sparse even (compiled)", "even", cg_even_compiled),
        Side("Gaunt dense", "even", gaunt("dense")),
        Side("Gaunt sparse", "even", gaunt("sparse")),
        Side("Gaunt fourier", "even", gaunt("fourier")),
        Side("Gaunt grid, plain torch", "even", grid_plain),
        Side("Gaunt grid", "even", gaunt("grid")),
        Side("curl grid", "odd", curl_grid),
        Side("Gaunt + curl sparse", "both", both("sparse")),
        Side("Gaunt + curl grid", "both", both("grid")),
        Side("matrices", "both", matrices),
        Side("SO(2) convolution", "edge", so2),
        Side("curl, plain torch", "odd", curl_plain, one_row_count=True),
        Side("vector fields, plain torch", "odd", vector_plain, one_row_count=True),
    )
}

"""Which equivariant bilinear maps a product of features can be: its paths, and what its weights make of them.

An equivariant bilinear map is a sum of Clebsch–Gordan couplings, one for each triple of irreps that couples (a path),
each times a number. So a product of one channel is the list of its paths' coefficients, and all that it can be is the
set of the lists that its weights give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from equitools.errors import IrrepsError
from equitools.groups import Irreps, clebsch_gordan

__all__ = ["Expressivity", "Path", "coupling_paths", "expressivity", "path_coefficients"]

#: Positions of the irreps of both factors and the product.
Path = tuple[int, int, int]


@dataclass(frozen=True)
class Expressivity:
    """What a product can be, for one channel.

    Attributes:
        paths: Couplings that Clebsch–Gordan has between the irreps.
        reached: Those whose coefficient is not zero, for random weights.
        span: Dimension of the linear span of all that the weights give. A linear layer behind many channels of the
            product can make each map of the span, and no other.
        freedom: Dimension of the set itself: the number of coefficients that the weights of one channel can choose
            freely, near random ones.
        weights: Number of weights of one channel.
    """

    paths: int
    reached: int
    span: int
    freedom: int
    weights: int


def coupling_paths(irreps_in1: Irreps, irreps_in2: Irreps, irreps_out: Irreps) -> list[Path]:
    """Return the triples of positions of irreps that couple, parity included."""
    return [
        (i, j, k)
        for i, (_, a) in enumerate(irreps_in1)
        for j, (_, b) in enumerate(irreps_in2)
        for k, (_, c) in enumerate(irreps_out)
        if abs(a.l - b.l) <= c.l <= a.l + b.l and a.p * b.p == c.p
    ]


def path_coefficients(
    product: Callable[[Tensor, Tensor], Tensor], irreps_in1: Irreps, irreps_in2: Irreps, irreps_out: Irreps
) -> Tensor:
    """Return the coefficients of the unit coupling tensors of all `coupling_paths`, ``[paths]`` in float64.

    One row for each path is enough: a single component of each factor, and one component of what comes out. That the
    product is equivariant is taken for granted.

    Args:
        product: Maps ``[rows, irreps_in1.dim]`` and ``[rows, irreps_in2.dim]`` in float64 to
            ``[rows, irreps_out.dim]``, bilinearly.
        irreps_in1: Irreps of multiplicity 1.
        irreps_in2: The same.
        irreps_out: The same.

    Raises:
        IrrepsError: A multiplicity is not 1.

    Properties:
        sum_of_couplings: the product is the sum of the couplings times these.
    """
    for irreps in (irreps_in1, irreps_in2, irreps_out):
        if any(mul != 1 for mul, _ in irreps):
            raise IrrepsError(f"Paths are counted for one channel: '{irreps}' must have multiplicity 1 everywhere.")
    paths = coupling_paths(irreps_in1, irreps_in2, irreps_out)
    starts = [[piece.start for piece in irreps.slices()] for irreps in (irreps_in1, irreps_in2, irreps_out)]
    columns, values = [], []
    for path in paths:
        coupling = clebsch_gordan(*(irreps[k].ir.l for irreps, k in zip((irreps_in1, irreps_in2, irreps_out), path)))
        place = torch.unravel_index(coupling.abs().argmax(), coupling.shape)
        columns.append([start[k] + int(c) for start, k, c in zip(starts, path, place)])
        values.append(float(coupling[place]))
    first, second, third = torch.tensor(columns, dtype=torch.int64).reshape(-1, 3).T
    x, y = (
        torch.eye(irreps.dim, dtype=torch.float64)[column]
        for irreps, column in ((irreps_in1, first), (irreps_in2, second))
    )
    return product(x, y)[torch.arange(len(paths)), third] / torch.tensor(values, dtype=torch.float64)


def expressivity(
    product: torch.nn.Module, irreps_in1: Irreps, irreps_in2: Irreps, irreps_out: Irreps, tolerance: float = 1e-9
) -> Expressivity:
    """Count what a product of one channel can be.

    Args:
        product: As of `path_coefficients`, in float64; its parameters are its weights. They are changed and given back.
        irreps_in1: Irreps of multiplicity 1.
        irreps_in2: The same.
        irreps_out: The same.
        tolerance: What counts as zero, relative to the largest coefficient or singular value.

    Raises:
        IrrepsError: A multiplicity is not 1.

    Properties:
        clebsch_gordan_is_free: a product with a weight for each path has as much freedom as there are paths.
        gaunt_is_rank_one: a Gaunt product spans the paths of one parity, and is as free as it has weights, but for two
            that scale others.
    """
    weights = [weight for weight in product.parameters() if weight.requires_grad]
    kept = [weight.detach().clone() for weight in weights]
    generator = torch.Generator().manual_seed(0)

    def coefficients() -> Tensor:
        with torch.no_grad():
            for weight in weights:
                weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64))
        return path_coefficients(product, irreps_in1, irreps_in2, irreps_out)

    try:
        found = coefficients()
        reached = int((found.detach().abs() > tolerance * float(found.detach().abs().max())).sum())
        freedom = 0
        if weights:
            rows = [torch.autograd.grad(value, weights, retain_graph=True) for value in found]
            freedom = _rank(torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]), tolerance)
        samples = [coefficients().detach() for _ in range(reached + 2)]
    finally:
        with torch.no_grad():
            for weight, value in zip(weights, kept, strict=True):
                weight.copy_(value)
    numbers = sum(weight.numel() for weight in weights)
    return Expressivity(len(found), reached, _rank(torch.stack(samples), tolerance), freedom, numbers)


def _rank(matrix: Tensor, tolerance: float) -> int:
    # The columns' sizes say nothing about independence: a path with a small coefficient is a path. Rounding is none.
    sizes = matrix.norm(dim=0)
    known = sizes > tolerance * float(sizes.max())
    if not known.any():
        return 0
    values = torch.linalg.svdvals(matrix[:, known] / sizes[known])
    return int((values > tolerance * values.max()).sum())

"""The tables that the compiled convolution reads, made from a `TensorProductPlan`."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.ops.plan import TensorProductPlan

__all__ = ["ConvTables", "conv_tables"]

_NEGLIGIBLE = 1e-12  # Clebsch–Gordan coefficients of the degrees in use are above 1e-3, or zero up to rounding


class ConvTables:
    """A plan as integers, for features in the ``ir_mul`` layout.

    A path with several edge channels becomes one path for each of them, which add to one output block; the weights of
    such a path are reordered to [edge channel, channel] (``order``).

    Attributes:
        paths: int64 [P, 11]: l1, l2, l3, channels, offset and stride of the input block, offset and stride of the
            output block, first weight, number of pairs, whether it adds to what is there.
        pairs: int64 [pairs, 3]: m1, m3 and the number of entries, in the order of the paths.
        entries: int64 [n]: the column of the edge attributes of each coefficient.
        coupling: float64 [n]: the coefficients.
        order: int64 [weights], or None where the weights stand as they are.
        dim_out: Columns of the output.
    """

    def __init__(self, plan: TensorProductPlan, merged: bool) -> None:
        starts1 = [piece.start for piece in plan.irreps_in.slices()]
        starts2 = [piece.start for piece in plan.irreps_edge.slices()]
        places = _merged_places(plan) if merged else _separate_places(plan)
        paths, pairs, entries, values = [], [], [], []
        order: list[int] = []
        for number, path in enumerate(plan.paths):
            coupling = plan.coupling(number)
            degree1, degree2 = plan.irreps_in[path.index1].ir.l, plan.irreps_edge[path.index2].ir.l
            nonzero = coupling.abs() > _NEGLIGIBLE
            offset3, stride3 = places[number]
            for v in range(path.mul2):
                count = 0
                for m1, m3 in nonzero.any(1).nonzero().tolist():
                    orders = nonzero[m1, :, m3].nonzero().flatten().tolist()
                    pairs.append((m1, m3, len(orders)))
                    entries += [starts2[path.index2] + v * (2 * degree2 + 1) + m2 for m2 in orders]
                    values += [float(coupling[m1, m2, m3]) for m2 in orders]
                    count += 1
                weight = path.weight_start + v * path.mul1
                order += [path.weight_start + u * path.mul2 + v for u in range(path.mul1)]
                paths.append(
                    (
                        *(degree1, degree2, path.irrep.l, path.mul1, starts1[path.index1], path.mul1),
                        *(offset3, stride3, weight, count, int(v > 0)),
                    )
                )
        self.paths = torch.tensor(paths, dtype=torch.int64)
        self.pairs = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 3)
        self.entries = torch.tensor(entries, dtype=torch.int64)
        self.coupling = torch.tensor(values, dtype=torch.float64)
        self.order = None if order == sorted(order) else torch.tensor(order, dtype=torch.int64)
        self.dim_out = plan.irreps_out.dim
        self._cast = {torch.float64: self.coupling}

    def tensors(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what the compiled operations take, with the coefficients in ``dtype``."""
        if dtype not in self._cast:
            self._cast[dtype] = self.coupling.to(dtype)
        return self.paths, self.pairs, self.entries, self._cast[dtype]

    def reorder(self, weight: Tensor) -> Tensor:
        """Return weights ``[..., weight_numel]`` in the order of the tables."""
        return weight if self.order is None else weight.index_select(-1, self.order)


def _separate_places(plan: TensorProductPlan) -> list[tuple[int, int]]:
    """Return, for each path, where its block begins in a row of the output and the step from one order to the next."""
    starts = [piece.start for piece in plan.irreps_out.slices()]
    places = [(0, 0)] * len(plan.paths)
    for block, path in enumerate(plan.order):
        places[path] = (starts[block], plan.paths[path].mul1)
    return places


def _merged_places(plan: TensorProductPlan) -> list[tuple[int, int]]:
    """Return the same where all paths to one irrep share a block, side by side in its channels."""
    places = [(0, 0)] * len(plan.paths)
    block = 0
    for mul, ir in plan.irreps_out.simplify():
        channel = block
        for path in plan.order:
            if plan.paths[path].irrep == ir:
                places[path] = (channel, mul)
                channel += plan.paths[path].mul1
        block += mul * ir.dim
    return places


def conv_tables(plan: TensorProductPlan, merged: bool = False) -> ConvTables:
    """Return the tables of a plan; they are made once and kept with it.

    Args:
        plan: The plan.
        merged: Whether the paths to one irrep share an output block (``plan.irreps_out.simplify()``).
    """
    kept: dict[bool, ConvTables] = plan.__dict__.setdefault("_conv_tables", {})
    if merged not in kept:
        kept[merged] = ConvTables(plan, merged)
    return kept[merged]

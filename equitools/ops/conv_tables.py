"""The tables that the compiled convolution reads, made from a `TensorProductPlan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from equitools.ops.plan import TensorProductPlan

__all__ = ["MAX_COMPILED_DEGREE", "ConvTables", "conv_tables"]

#: Highest degree that the compiled kernels take; beyond it, plain torch does the work.
MAX_COMPILED_DEGREE = 6

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
            coupling = plan.coupling(number).numpy().transpose(0, 2, 1)  # [m1, m3, m2]
            nonzero = np.abs(coupling) > _NEGLIGIBLE
            coupled = np.argwhere(nonzero.any(2))
            counted = np.column_stack([coupled, nonzero.sum(2)[nonzero.any(2)]])
            degree1, degree2 = plan.irreps_in[path.index1].ir.l, plan.irreps_edge[path.index2].ir.l
            offset3, stride3 = places[number]
            for v in range(path.mul2):
                pairs.append(counted)
                entries.append(np.argwhere(nonzero)[:, 2] + starts2[path.index2] + v * (2 * degree2 + 1))
                values.append(coupling[nonzero])
                weight = path.weight_start + v * path.mul1
                order += [path.weight_start + u * path.mul2 + v for u in range(path.mul1)]
                paths.append(
                    (
                        *(degree1, degree2, path.irrep.l, path.mul1, starts1[path.index1], path.mul1),
                        *(offset3, stride3, weight, len(coupled), int(v > 0)),
                    )
                )
        # From numpy, and not as inference tensors: a plan may be made under torch.device("meta") or in inference mode.
        with torch.inference_mode(False):
            self.paths = torch.from_numpy(np.array(paths, dtype=np.int64))
            self.pairs = torch.from_numpy(np.concatenate(pairs).astype(np.int64))
            self.entries = torch.from_numpy(np.concatenate(entries).astype(np.int64))
            self.coupling = torch.from_numpy(np.concatenate(values))
            self.order = None if order == sorted(order) else torch.from_numpy(np.array(order, dtype=np.int64))
            self._cast = {torch.float64: self.coupling, torch.float32: self.coupling.float()}
        self.dim_out = int(plan.irreps_out.dim)

    def tensors(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what the compiled operations take, with the coefficients in ``dtype``, float32 or float64."""
        return self.paths, self.pairs, self.entries, self._cast[dtype]

    def reorder(self, weight: Tensor) -> Tensor:
        """Return weights ``[..., weight_numel]`` in the order of the tables."""
        return weight if self.order is None else weight.index_select(-1, self.order.to(weight.device))


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
    """Return the tables of a plan of degrees up to `MAX_COMPILED_DEGREE`.

    They are made with the plan: torch.compile, torch.export and the inference mode must find them ready.

    Args:
        plan: The plan.
        merged: Whether the paths to one irrep share an output block (``plan.irreps_out.simplify()``).
    """
    return plan.conv_tables[int(merged)]

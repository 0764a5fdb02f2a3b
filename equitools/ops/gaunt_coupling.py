"""The Gaunt convolution as a Clebsch–Gordan convolution in which the weights of paths are tied.

An integral of three harmonics is a coupling tensor times a number that the degrees determine. So the product of
features with ``Σ_l w_l Y_l`` is the channelwise product in which every path (l1, lf, l3) has that number times w_lf for
a weight: where degrees are low, the compiled convolution, which never writes a message down, is the fastest way.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from equitools.groups import Irreps
from equitools.ops import sphere_tables
from equitools.ops.constants import numbers
from equitools.ops.conv_tables import MAX_COMPILED_DEGREE
from equitools.ops.plan import TensorProductPlan
from equitools.ops.tensor_product_conv import radial_tensor_product_conv, tensor_product_conv

__all__ = ["MAX_COUPLED_DEGREE", "GauntCoupling"]

#: Highest degree with which the coupling is taken: its cost grows with the fifth power, that of a grid with the third.
MAX_COUPLED_DEGREE = min(4, MAX_COMPILED_DEGREE)


class GauntCoupling:
    """What turns weights of degrees into weights of the paths of a `TensorProductPlan`.

    Args:
        lmax_in: Highest degree of the features, all degrees up to which are there.
        lmax_edge: Of the edges' harmonics.
        lmax_out: Of the result.
        channels: Channels of features and result.
        scales: A factor for each degree of the result.

    Attributes:
        plan: The plan of the paths.

    Properties:
        tied_paths_are_the_gaunt_product: with orthonormal harmonics it is the sum over edges of `gaunt_tensor_product`.
    """

    def __init__(self, lmax_in: int, lmax_edge: int, lmax_out: int, channels: int, scales: tuple[float, ...]) -> None:
        self.channels, self.lmax_out = channels, lmax_out
        self.plan = _plan(lmax_in, lmax_edge, lmax_out, channels)
        self.degrees = tuple((int(p.index1), int(p.index2), int(p.irrep.l)) for p in self.plan.paths)
        self.filter_degrees = tuple(float(lf) for _, lf, _ in self.degrees)
        # The plan's paths have the factor √(2 l3 + 1) already.
        self.factors = tuple(
            sphere_tables.reduced(*path) / coefficient * scales[path[2]]
            for path, coefficient in zip(self.degrees, (p.coefficient for p in self.plan.paths), strict=True)
        )
        #: Paths to each degree of the result.
        self.counts = tuple(sum(l3 == l for _, _, l3 in self.degrees) for l in range(lmax_out + 1))

    def tied(self, weight: Tensor) -> Tensor:
        """Return weights of paths ``[..., paths · C]`` of those of degrees ``[..., (lmax_edge + 1) · C]``."""
        rows = weight.unflatten(-1, (-1, self.channels))
        index = numbers(self.filter_degrees, weight).long()
        return (rows.index_select(-2, index) * numbers(self.factors, weight).unsqueeze(-1)).flatten(-2)

    def summed(self, out: Tensor) -> Tensor:
        """Return ``[N, (lmax_out + 1)², C]`` of the blocks of all paths ``[N, ...]``."""
        sizes = [(2 * l + 1) * count * self.channels for l, count in enumerate(self.counts)]
        parts = [
            part.unflatten(-1, (count, 2 * l + 1, self.channels)).sum(1)
            if count
            else out.new_zeros(len(out), 2 * l + 1, self.channels)
            for l, (part, count) in enumerate(zip(out.split(sizes, 1), self.counts, strict=True))
        ]
        return torch.cat(parts, 1)

    def __call__(self, x: Tensor, edge_attr: Tensor, weight: Tensor, edge_index: Tensor, num_nodes: int) -> Tensor:
        """Convolve ``x`` ``[N, dim]`` (``ir_mul``) with weights ``[E, (lmax_edge + 1) · C]`` of every edge."""
        return self.summed(tensor_product_conv(self.plan, x, edge_attr, self.tied(weight), edge_index, num_nodes))

    def from_hidden(
        self, x: Tensor, edge_attr: Tensor, hidden: Tensor, weight: Tensor, edge_index: Tensor, num_nodes: int
    ) -> Tensor:
        """Convolve with the weights ``hidden @ weight``, which are never stored."""
        out = radial_tensor_product_conv(self.plan, x, edge_attr, hidden, self.tied(weight), edge_index, num_nodes)
        return self.summed(out)

    def __deepcopy__(self, memo: object) -> GauntCoupling:
        return self  # immutable


@functools.lru_cache(maxsize=32)
def _plan(lmax_in: int, lmax_edge: int, lmax_out: int, channels: int) -> TensorProductPlan:
    irreps = (
        Irreps([(mul, (l, (-1) ** l)) for l in range(lmax + 1)])
        for lmax, mul in ((lmax_in, channels), (lmax_edge, 1), (lmax_out, channels))
    )
    return TensorProductPlan(*irreps)

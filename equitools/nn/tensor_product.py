"""Products of representations as modules: the channelwise convolution and the many-body contraction."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from equitools.errors import IrrepsError
from equitools.groups import Irreps
from equitools.nn.activation import MLP
from equitools.nn.layout import blocks_of, check_features, check_layout, to_ir_mul, to_mul_ir
from equitools.ops.plan import SymmetricContractionPlan, TensorProductPlan
from equitools.ops.precision import full_precision
from equitools.ops.symmetric_contraction import symmetric_contraction
from equitools.ops.tensor_product_conv import radial_tensor_product_conv, tensor_product_conv

__all__ = ["RadialTensorProductConv", "SymmetricContraction", "TensorProductConv"]


class TensorProductConv(torch.nn.Module):
    """Gather, multiply with edge attributes channel by channel ("uvu"), weight, sum over receivers.

    The paths, their order, their normalisation and the order of the weights are those of an
    ``e3nn.o3.TensorProduct`` with the same instructions: nested loops over (irreps_in, irreps_edge, l ascending), each
    path with an output block of its own, the blocks stably sorted, "component"/"element" normalisation.

    Args:
        irreps_in: Node features.
        irreps_edge: Edge attributes, of any multiplicity.
        irreps_out: Irreps that may come out (multiplicities do not matter); ``None``: all.
        layout: Order of the columns of node features and output. ``"ir_mul"`` is what the kernels work in.
        merged: Whether the output has one block for each irrep instead of one for each path.

    Attributes:
        irreps_out: One block for each path, sorted; ``merged``: one block for each irrep, the paths' channels in the
            same order.
        weight_numel: Number of weights of an edge.

    Raises:
        IrrepsError: Nothing that was asked for can be produced.

    Properties:
        equals_e3nn: e3nn's TensorProduct, then a sum over receivers.
        equivariance: forward(D x, D Y) = D forward(x, Y).
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_edge: Irreps | str,
        irreps_out: Irreps | str | None = None,
        layout: str = "mul_ir",
        merged: bool = False,
    ) -> None:
        super().__init__()
        self.layout = check_layout(layout)
        self.merged = bool(merged)
        self.plan = TensorProductPlan(irreps_in, irreps_edge, irreps_out)
        self.irreps_in, self.irreps_edge = self.plan.irreps_in, self.plan.irreps_edge
        self.irreps_out: Irreps = self.plan.irreps_out.simplify() if merged else self.plan.irreps_out
        self.weight_numel: int = self.plan.weight_numel
        self._blocks_in, self._blocks_out = blocks_of(self.irreps_in), blocks_of(self.irreps_out)

    @full_precision
    def forward(self, x: Tensor, edge_attr: Tensor, weight: Tensor, edge_index: Tensor, num_nodes: int) -> Tensor:
        """Convolve.

        Args:
            x: ``[N, irreps_in.dim]``.
            edge_attr: ``[E, irreps_edge.dim]``.
            weight: ``[E, weight_numel]``.
            edge_index: ``[2, E]``, sender and receiver.
            num_nodes: Number of receivers.

        Returns:
            ``[num_nodes, irreps_out.dim]``.

        Raises:
            ShapeError: A shape, dtype or device does not fit.
            GraphError: An index is out of range.
        """
        check_features("x", x, self.irreps_in, blocks=self._blocks_in)
        columns = x if self.layout == "ir_mul" else to_ir_mul(x, self._blocks_in)
        out = tensor_product_conv(self.plan, columns, edge_attr, weight, edge_index, num_nodes, self.merged)
        return out if self.layout == "ir_mul" else to_mul_ir(out, self._blocks_out)

    @full_precision
    def from_hidden(
        self, x: Tensor, edge_attr: Tensor, hidden: Tensor, weight: Tensor, edge_index: Tensor, num_nodes: int
    ) -> Tensor:
        """Convolve with the weights ``hidden @ weight``, which are made and used a few edges at a time.

        Args:
            x: ``[N, irreps_in.dim]``.
            edge_attr: ``[E, irreps_edge.dim]``.
            hidden: ``[E, K]``, what a radial network has before its last layer (`MLP.hidden`).
            weight: ``[K, weight_numel]``, its last layer (`MLP.last_weight`).
            edge_index: ``[2, E]``, sender and receiver.
            num_nodes: Number of receivers.

        Returns:
            ``[num_nodes, irreps_out.dim]``.

        Raises:
            ShapeError: A shape, dtype or device does not fit.
            GraphError: An index is out of range.
        """
        check_features("x", x, self.irreps_in, blocks=self._blocks_in)
        columns = x if self.layout == "ir_mul" else to_ir_mul(x, self._blocks_in)
        out = radial_tensor_product_conv(
            self.plan, columns, edge_attr, hidden, weight, edge_index, num_nodes, self.merged
        )
        return out if self.layout == "ir_mul" else to_mul_ir(out, self._blocks_out)


class RadialTensorProductConv(torch.nn.Module):
    """A `TensorProductConv` with a radial network of its own, the last layer of which is fused into the kernels.

    Args:
        irreps_in: Node features.
        irreps_edge: Edge attributes, of any multiplicity.
        irreps_out: Irreps that may come out; ``None``: all.
        num_radial: Number of radial functions of an edge.
        hidden: Widths of the radial network's hidden layers.
        layout: Order of the columns.
        merged: As in `TensorProductConv`.

    Attributes:
        irreps_out: As of `TensorProductConv`.

    Raises:
        IrrepsError: Nothing that was asked for can be produced.

    Properties:
        equals_unfused: ``conv(x, edge_attr, radial(edge_radial), …)`` up to rounding.
        equivariance: forward(D x, D Y, r) = D forward(x, Y, r).
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_edge: Irreps | str,
        irreps_out: Irreps | str | None = None,
        num_radial: int = 8,
        hidden: Sequence[int] = (64, 64),
        layout: str = "mul_ir",
        merged: bool = False,
    ) -> None:
        super().__init__()
        self.conv = TensorProductConv(irreps_in, irreps_edge, irreps_out, layout, merged)
        self.irreps_in, self.irreps_edge = self.conv.irreps_in, self.conv.irreps_edge
        self.irreps_out = self.conv.irreps_out
        self.radial = MLP([num_radial, *hidden, self.conv.weight_numel])

    @full_precision
    def forward(self, x: Tensor, edge_attr: Tensor, edge_radial: Tensor, edge_index: Tensor, num_nodes: int) -> Tensor:
        """Map ``[N, irreps_in.dim]`` to ``[num_nodes, irreps_out.dim]``; ``edge_radial`` is ``[E, num_radial]``."""
        return self.conv.from_hidden(
            x, edge_attr, self.radial.hidden(edge_radial), self.radial.last_weight(), edge_index, num_nodes
        )


class SymmetricContraction(torch.nn.Module):
    """Many-body products of a node's features, weighted by species and channel (MACE's product basis).

    Args:
        irreps_in: Node features, all with the same multiplicity (the number of channels).
        irreps_out: What comes out of each channel, with that multiplicity or 1.
        correlation: ν, the largest number of factors.
        num_elements: Number of species.
        layout: Order of the columns.

    Raises:
        IrrepsError: The multiplicities differ, or an output irrep cannot be produced.

    Properties:
        equivariance: forward(D x) = D forward(x).

    Source: Batatia et al., NeurIPS 2022 (arXiv 2206.07697), eqs. 10–11.
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_out: Irreps | str,
        correlation: int,
        num_elements: int,
        layout: str = "mul_ir",
    ) -> None:
        super().__init__()
        self.layout = check_layout(layout)
        self.irreps_in = Irreps(irreps_in)
        channels = {mul for mul, _ in self.irreps_in}
        if len(channels) != 1:
            raise IrrepsError(
                f"A symmetric contraction needs one number of channels, '{self.irreps_in}' has {channels}."
            )
        self.channels = channels.pop()
        wanted = Irreps(irreps_out)
        if any(mul not in (1, self.channels) for mul, _ in wanted):
            raise IrrepsError(f"irreps_out '{wanted}' must have the {self.channels} channels of irreps_in, or 1.")
        self.plan = SymmetricContractionPlan(self.irreps_in, wanted, correlation)
        self.irreps_out = Irreps([(self.channels, ir) for _, ir in self.plan.irreps_out])
        self.num_elements = num_elements
        self._blocks_in, self._blocks_out = blocks_of(self.irreps_in), blocks_of(self.irreps_out)
        self.weights = torch.nn.ParameterList()
        for counts in self.plan.num_paths:
            for paths in counts:
                scale = 1 / math.sqrt(max(paths, 1) * correlation)
                self.weights.append(torch.nn.Parameter(torch.randn(num_elements, paths, self.channels) * scale))

    @full_precision
    def forward(self, x: Tensor, species: Tensor) -> Tensor:
        """Map ``[N, irreps_in.dim]`` and species positions ``[N]`` to ``[N, irreps_out.dim]``."""
        check_features("x", x, self.irreps_in, like=self.weights[0], blocks=self._blocks_in)
        columns = x if self.layout == "ir_mul" else to_ir_mul(x, self._blocks_in)
        nu = self.plan.correlation
        weights = [list(self.weights)[k * nu : (k + 1) * nu] for k in range(len(self._blocks_out))]
        out = symmetric_contraction(
            self.plan, columns.reshape(x.shape[0], self.plan.dim_in, self.channels), weights, species
        ).flatten(1)
        return out if self.layout == "ir_mul" else to_mul_ir(out, self._blocks_out)

"""Products of representations as modules: the channelwise convolution and the many-body contraction."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.errors import IrrepsError, ShapeError
from equitools.groups import Irreps
from equitools.nn.layout import check_features, check_layout, to_ir_mul, to_mul_ir
from equitools.ops.plan import SymmetricContractionPlan, TensorProductPlan
from equitools.ops.symmetric_contraction import symmetric_contraction
from equitools.ops.tensor_product_conv import tensor_product_conv, tensor_product_conv_reference

__all__ = ["SymmetricContraction", "TensorProductConv"]


class TensorProductConv(torch.nn.Module):
    """Gather, multiply with edge attributes channel by channel ("uvu"), weight, sum over receivers.

    The paths, their order, their normalisation and the order of the weights are those of an
    ``e3nn.o3.TensorProduct`` with the same instructions: nested loops over (irreps_in, irreps_edge, l ascending), each
    path with an output block of its own, the blocks stably sorted, "component"/"element" normalisation.

    Args:
        irreps_in: Node features.
        irreps_edge: Edge attributes, of any multiplicity.
        irreps_out: Irreps that may come out (multiplicities do not matter); ``None``: all.
        layout: Order of the columns of node features and output.

    Attributes:
        irreps_out: One block for each path, sorted.
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
    ) -> None:
        super().__init__()
        self.layout = check_layout(layout)
        self.plan = TensorProductPlan(irreps_in, irreps_edge, irreps_out)
        self.irreps_in, self.irreps_edge = self.plan.irreps_in, self.plan.irreps_edge
        self.irreps_out: Irreps = self.plan.irreps_out
        self.weight_numel: int = self.plan.weight_numel

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
            ShapeError: A shape, dtype or device does not fit, or an index is out of range.
        """
        check_features("x", x, self.irreps_in)
        check_features("edge_attr", edge_attr, self.irreps_edge, like=x)
        if edge_index.ndim != 2 or len(edge_index) != 2 or edge_index.dtype != torch.int64:
            raise ShapeError(
                f"edge_index must be int64 [2, E], the tensor given is {edge_index.dtype} {list(edge_index.shape)}."
            )
        edges = edge_index.shape[-1]
        if weight.shape == (edges, self.weight_numel):
            check_features("weight", weight, Irreps([(self.weight_numel, (0, 1))]), like=x)
        if weight.shape != (edges, self.weight_numel) or x.ndim != 2 or edge_attr.shape[:-1] != (edges,):
            raise ShapeError(
                f"{edges} edges need edge_attr [{edges}, {self.irreps_edge.dim}] and weight "
                f"[{edges}, {self.weight_numel}], and x [N, {self.irreps_in.dim}]; the tensors given are "
                f"{list(edge_attr.shape)}, {list(weight.shape)} and {list(x.shape)}."
            )
        if edges and not (int(edge_index[0].min()) >= 0 and int(edge_index[0].max()) < len(x)):
            raise ShapeError(
                f"edge_index[0] (senders) must lie in 0 … {len(x) - 1}; it has {int(edge_index[0].min())} … "
                f"{int(edge_index[0].max())}."
            )
        if not self.plan.uniform:
            rows = x if self.layout == "mul_ir" else to_mul_ir(x, self.irreps_in)
            out = tensor_product_conv_reference(self.plan, rows, edge_attr, weight, edge_index, num_nodes)
            return out if self.layout == "mul_ir" else to_ir_mul(out, self.irreps_out)
        channels = self.irreps_in[0].mul
        columns = x if self.layout == "ir_mul" else to_ir_mul(x, self.irreps_in)
        out = tensor_product_conv(
            self.plan,
            columns.reshape(len(x), self.irreps_in.dim // channels, channels),
            edge_attr,
            weight.reshape(edges, self.weight_numel // channels, channels),
            edge_index,
            num_nodes,
        ).flatten(1)
        return out if self.layout == "ir_mul" else to_mul_ir(out, self.irreps_out)


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
        self.weights = torch.nn.ParameterList()
        for counts in self.plan.num_paths:
            for paths in counts:
                scale = 1 / math.sqrt(max(paths, 1) * correlation)
                self.weights.append(torch.nn.Parameter(torch.randn(num_elements, paths, self.channels) * scale))

    def forward(self, x: Tensor, species: Tensor) -> Tensor:
        """Map ``[N, irreps_in.dim]`` and species positions ``[N]`` to ``[N, irreps_out.dim]``."""
        check_features("x", x, self.irreps_in, like=self.weights[0])
        columns = x if self.layout == "ir_mul" else to_ir_mul(x, self.irreps_in)
        nu = self.plan.correlation
        weights = [list(self.weights)[k * nu : (k + 1) * nu] for k in range(len(self.plan.irreps_out))]
        out = symmetric_contraction(
            self.plan, columns.reshape(len(x), self.irreps_in.dim // self.channels, self.channels), weights, species
        ).flatten(1)
        return out if self.layout == "ir_mul" else to_mul_ir(out, self.irreps_out)

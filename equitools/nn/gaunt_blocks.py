"""Gaunt products in the place of Clebsch–Gordan ones in message passing: a convolution and a many-body product."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.errors import ConfigError, IrrepsError, ShapeError, UnknownNameError, nearest
from equitools.groups import Irreps, parse_irreps
from equitools.nn.gaunt import common_multiplicity, kind_of
from equitools.nn.layout import blocks_of, check_features, check_layout, to_ir_mul, to_mul_ir
from equitools.ops import segment_gather, segment_sum, sphere_tables
from equitools.ops.constants import numbers
from equitools.ops.gaunt import gaunt_tensor_product
from equitools.ops.gaunt_coupling import MAX_COUPLED_DEGREE, GauntCoupling
from equitools.ops.gaunt_powers import MAX_GAUNT_POWER, gaunt_power_variance, gaunt_powers
from equitools.ops.precision import full_precision
from equitools.ops.symmetric_contraction import check_species

__all__ = ["GauntContraction", "GauntTensorProductConv"]

_CONVOLUTIONS = ("auto", "coupling", "product")


def _functions(name: str, irreps: Irreps) -> int:
    """Return the highest degree of irreps that are all degrees up to one of the parity (−1)^l, ascending."""
    common_multiplicity(name, irreps)
    found = [(int(ir.l), kind_of(ir)) for _, ir in irreps]
    if found != [(l, 1) for l in range(len(found))]:
        raise IrrepsError(
            f"{name} must be all degrees from 0 up, of the parity (-1)^l, such as '16x0e + 16x1o + 16x2e'; it is "
            f"'{irreps}'. TensorProductConv and SymmetricContraction (product='clebsch-gordan' of the blocks) take any "
            "irreps."
        )
    return len(found) - 1


class GauntTensorProductConv(torch.nn.Module):
    """Gather, multiply with the function of the edge point by point on the sphere, sum over receivers.

    What `TensorProductConv` does, with Gaunt products: the function of an edge is ``Σ_l w_l Y_l(r̂)``, its weights w_l
    (one for each degree and channel) come from a radial network. There are no weights of paths.

    Args:
        irreps_in: Node features, C × (0e + 1o + 2e + …).
        irreps_edge: The edges' harmonics, 0e + 1o + 2e + ….
        irreps_out: What comes out, C × (0e + 1o + …).
        layout: Order of the columns of node features and output.
        method: ``"product"``: a Gaunt product for each edge, then the sum. ``"coupling"``: as the compiled
            Clebsch–Gordan convolution with tied weights, whose cost grows faster with the degrees, but which writes
            nothing down for an edge. ``"auto"``: ``"coupling"`` up to degree 4.

    Attributes:
        irreps_out: As given.
        weight_numel: Number of weights of an edge, (degrees of irreps_edge) × C.

    Raises:
        IrrepsError: The irreps are no functions, or their channels differ.
        UnknownNameError: There is no such method.

    Properties:
        equals_gaunt_tensor_product: the sum of `gaunt_tensor_product` over the edges of a node, by both methods.
        equivariance: forward(D x, D Y) = D forward(x, Y), inversions included.
        unit_variance: independent inputs and weights of unit variance give, for one edge, outputs of unit variance.

    Source: Luo, Chen and Krishnapriyan, ICLR 2024 (arXiv 2401.10216), section 3.3, equivariant convolution.
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_edge: Irreps | str,
        irreps_out: Irreps | str,
        layout: str = "mul_ir",
        method: str = "auto",
    ) -> None:
        super().__init__()
        if method not in _CONVOLUTIONS:
            raise UnknownNameError(
                f"There is no method {method!r} of this convolution. {nearest(method, _CONVOLUTIONS)}"
            )
        self.layout = check_layout(layout)
        self.irreps_in, self.irreps_edge = parse_irreps(irreps_in), parse_irreps(irreps_edge)
        self.irreps_out: Irreps = parse_irreps(irreps_out)
        self.lmax = (
            _functions("irreps_in", self.irreps_in),
            _functions("irreps_edge", self.irreps_edge),
            _functions("irreps_out", self.irreps_out),
        )
        self.channels = int(self.irreps_in[0].mul)
        if int(self.irreps_edge[0].mul) != 1 or int(self.irreps_out[0].mul) != self.channels:
            raise IrrepsError(
                f"irreps_edge must have multiplicity 1 and irreps_out that of irreps_in, {self.channels}; they are "
                f"'{self.irreps_edge}' and '{self.irreps_out}'."
            )
        if self.lmax[2] > self.lmax[0] + self.lmax[1]:
            raise IrrepsError(
                f"'{self.irreps_in}' ⊗ '{self.irreps_edge}' reaches degree {self.lmax[0] + self.lmax[1]}, irreps_out "
                f"is '{self.irreps_out}'."
            )
        self.weight_numel = (self.lmax[1] + 1) * self.channels
        self._blocks_in, self._blocks_out = blocks_of(self.irreps_in), blocks_of(self.irreps_out)
        self._blocks_edge = blocks_of(self.irreps_edge)
        l1, l2, l3 = self.lmax
        variances = [
            sum(
                sphere_tables.reduced(a, b, c) ** 2
                for a in range(l1 + 1)
                for b in range(l2 + 1)
                if (a + b + c) % 2 == 0
            )
            / (2 * c + 1)
            for c in range(l3 + 1)
        ]
        scales = tuple(1 / math.sqrt(v) for v in variances)
        self.scale = tuple(scale for c, scale in enumerate(scales) for _ in range(2 * c + 1))
        self.method = method
        if method == "auto":
            self.method = "coupling" if max(self.lmax) <= MAX_COUPLED_DEGREE else "product"
        self.coupling = GauntCoupling(*self.lmax, self.channels, scales) if self.method == "coupling" else None
        self.degree: Tensor
        self.register_buffer("degree", _degree_of_components(l2), persistent=False)

    @full_precision
    def forward(self, x: Tensor, edge_attr: Tensor, weight: Tensor, edge_index: Tensor, num_nodes: int) -> Tensor:
        """Convolve.

        Args:
            x: ``[N, irreps_in.dim]``.
            edge_attr: ``[E, irreps_edge.dim]``.
            weight: ``[E, weight_numel]``, degree by degree.
            edge_index: ``[2, E]``, sender and receiver.
            num_nodes: Number of receivers.

        Returns:
            ``[num_nodes, irreps_out.dim]``.

        Raises:
            ShapeError: A shape, dtype or device does not fit.
            GraphError: An index is out of range.
        """
        check_features("x", x, self.irreps_in, blocks=self._blocks_in)
        check_features("edge_attr", edge_attr, self.irreps_edge, blocks=self._blocks_edge)
        edges = edge_attr.shape[0]
        if x.ndim != 2 or edge_attr.ndim != 2 or edge_index.shape != (2, edges) or edge_index.dtype != torch.int64:
            raise ShapeError(
                f"x must be [N, {self.irreps_in.dim}], edge_attr [E, {self.irreps_edge.dim}] and edge_index int64 "
                f"[2, E]; they are {list(x.shape)}, {list(edge_attr.shape)} and {edge_index.dtype} "
                f"{list(edge_index.shape)}."
            )
        if weight.shape != (edges, self.weight_numel):
            raise ShapeError(
                f"weight must be [{edges}, {self.weight_numel}], the tensor given is {list(weight.shape)}."
            )
        for name, tensor in (("edge_attr", edge_attr), ("weight", weight)):
            if tensor.dtype != x.dtype or tensor.device != x.device:
                raise ShapeError(
                    f"{name} is {tensor.dtype} on {tensor.device}, x is {x.dtype} on {x.device}; convert one of them."
                )
        columns = x if self.layout == "ir_mul" else to_ir_mul(x, self._blocks_in)
        if self.coupling is not None:
            return self._columns(self.coupling(columns, edge_attr, weight, edge_index, num_nodes))
        sender, receiver = edge_index
        left = segment_gather(columns, sender).unflatten(-1, (-1, self.channels))
        by_degree = weight.unflatten(-1, (-1, self.channels)).index_select(1, self.degree)
        product = gaunt_tensor_product(left, edge_attr.unsqueeze(-1) * by_degree, self.lmax[2])
        return self._columns(segment_sum(product, receiver, num_nodes) * numbers(self.scale, product).unsqueeze(-1))

    @full_precision
    def from_hidden(
        self, x: Tensor, edge_attr: Tensor, hidden: Tensor, weight: Tensor, edge_index: Tensor, num_nodes: int
    ) -> Tensor:
        """Convolve with the weights ``hidden @ weight``, as `TensorProductConv.from_hidden`."""
        if self.coupling is None:
            return self.forward(x, edge_attr, hidden @ weight, edge_index, num_nodes)
        check_features("x", x, self.irreps_in, blocks=self._blocks_in)
        check_features("edge_attr", edge_attr, self.irreps_edge, blocks=self._blocks_edge)
        if weight.ndim != 2 or weight.shape[-1] != self.weight_numel:
            raise ShapeError(
                f"weight must be [{hidden.shape[-1]}, {self.weight_numel}], the tensor given is {list(weight.shape)}."
            )
        columns = x if self.layout == "ir_mul" else to_ir_mul(x, self._blocks_in)
        return self._columns(self.coupling.from_hidden(columns, edge_attr, hidden, weight, edge_index, num_nodes))

    def _columns(self, out: Tensor) -> Tensor:
        """Return ``[N, components, C]`` as columns of the layout."""
        return out.flatten(1) if self.layout == "ir_mul" else to_mul_ir(out.flatten(1), self._blocks_out)

    def extra_repr(self) -> str:
        """Return what the module's line in a printed model says."""
        return f"'{self.irreps_in}' ⊗ '{self.irreps_edge}' → '{self.irreps_out}', {self.method}"


class GauntContraction(torch.nn.Module):
    """Many-body products of a node's features as powers of functions on the sphere, weighted by species and channel.

    What `SymmetricContraction` does, with Gaunt products: each channel is a function on the sphere; its powers up to
    ν are projected on the degrees of ``irreps_out``, and every (power, degree) has one weight for each species and
    channel, where Clebsch–Gordan has one for each way of coupling. Powers cost a few transforms to a grid instead of
    the sums over all couplings.

    A function's curl with its own powers is zero, so there is no odd half to add: to couple different channels, mix
    them in a `GauntTensorProduct` with ``odd="curl"``.

    Args:
        irreps_in: Node features, C × (0e + 1o + 2e + …).
        irreps_out: What comes out of each channel, multiplicity C or 1, degrees from 0 up, parity (−1)^l.
        correlation: ν, the largest number of factors.
        num_elements: Number of species.
        layout: Order of the columns.

    Attributes:
        weights: ``[num_elements, ν, degrees of irreps_out, C]``.

    Raises:
        IrrepsError: The irreps are no functions, or the multiplicities differ.
        ConfigError: There is no such correlation.

    Properties:
        equals_gaunt_powers: the weighted sum of `gaunt_power`.
        equivariance: forward(D x) = D forward(x), inversions included.
        unit_variance: independent inputs of unit variance give, over random weights, outputs of unit variance.

    Source: Luo, Chen and Krishnapriyan, ICLR 2024 (arXiv 2401.10216), section 3.3, many-body interactions.
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
        if not 1 <= correlation <= MAX_GAUNT_POWER:
            raise ConfigError(f"correlation must be 1 to {MAX_GAUNT_POWER}, it is {correlation}.")
        self.layout = check_layout(layout)
        self.irreps_in = parse_irreps(irreps_in)
        wanted = parse_irreps(irreps_out)
        self.lmax, self.lmax_out = _functions("irreps_in", self.irreps_in), _functions("irreps_out", wanted)
        self.channels = int(self.irreps_in[0].mul)
        if int(wanted[0].mul) not in (1, self.channels):
            raise IrrepsError(f"irreps_out '{wanted}' must have the {self.channels} channels of irreps_in, or 1.")
        if self.lmax_out > correlation * self.lmax:
            raise IrrepsError(
                f"{correlation} factors of '{self.irreps_in}' reach degree {correlation * self.lmax}, irreps_out is "
                f"'{wanted}'."
            )
        self.irreps_out: Irreps = Irreps([(self.channels, ir) for _, ir in wanted])
        self.correlation, self.num_elements = int(correlation), int(num_elements)
        self._blocks_in, self._blocks_out = blocks_of(self.irreps_in), blocks_of(self.irreps_out)
        degrees, powers = range(self.lmax_out + 1), range(1, correlation + 1)
        self.weights = torch.nn.Parameter(torch.randn(num_elements, correlation, len(degrees), self.channels))
        # Each degree is the sum of the powers that reach it; the others have nothing there to be scaled.
        reaching = [sum(l <= power * self.lmax for power in powers) for l in degrees]
        self.scale = tuple(
            1 / math.sqrt(reaching[l] * gaunt_power_variance(self.lmax, power, l)) if l <= power * self.lmax else 1.0
            for power in powers
            for l in degrees
        )
        self.degree: Tensor
        self.register_buffer("degree", _degree_of_components(self.lmax_out), persistent=False)

    @full_precision
    def forward(self, x: Tensor, species: Tensor) -> Tensor:
        """Map ``[N, irreps_in.dim]`` and species positions ``[N]`` to ``[N, irreps_out.dim]``.

        Raises:
            ShapeError: A shape, dtype or device does not fit, or a species is out of range.
        """
        check_features("x", x, self.irreps_in, like=self.weights, blocks=self._blocks_in)
        if x.ndim != 2:
            raise ShapeError(f"x must be [N, {self.irreps_in.dim}], the tensor given is {list(x.shape)}.")
        check_species(species, x.shape[0], self.num_elements)
        columns = x if self.layout == "ir_mul" else to_ir_mul(x, self._blocks_in)
        powers = gaunt_powers(columns.unflatten(-1, (-1, self.channels)), self.correlation, self.lmax_out)
        scale = numbers(self.scale, self.weights).view(self.correlation, -1, 1)
        weight = (self.weights * scale).index_select(2, self.degree).index_select(0, species)
        out = (powers * weight).sum(1).flatten(1)
        return out if self.layout == "ir_mul" else to_mul_ir(out, self._blocks_out)

    def extra_repr(self) -> str:
        """Return what the module's line in a printed model says."""
        return f"'{self.irreps_in}' → '{self.irreps_out}', correlation {self.correlation}, {self.num_elements} species"


def _degree_of_components(lmax: int) -> Tensor:
    """Return the degree of every component."""
    return torch.tensor([l for l in range(lmax + 1) for _ in range(2 * l + 1)])

"""Convolutions whose products are Gaunt products with a function of the edge."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.errors import IrrepsError, ShapeError, UnknownNameError, nearest
from equitools.groups import Irreps, parse_irreps
from equitools.nn.gaunt import Functions, common_multiplicity, kind_of, parity_of
from equitools.nn.layout import blocks_of, check_features, check_layout, to_ir_mul, to_mul_ir
from equitools.ops import sphere_tables
from equitools.ops.constants import numbers
from equitools.ops.gaunt import MAX_GAUNT_DEGREE
from equitools.ops.gaunt_conv import GAUNT_CONVOLUTION_METHODS, gaunt_convolution, gaunt_convolution_method
from equitools.ops.precision import full_precision
from equitools.ops.segment import segment_gather, segment_sum
from equitools.ops.so2 import EdgeFrames, edge_frames

__all__ = ["GauntConvolution"]


class GauntConvolution(torch.nn.Module):
    """Multiply the features of the senders with a function of the edge, sum over the edges of each receiver.

    The function is ``Σ_l w_l Y_l(r̂)``, with a weight for each edge and degree from outside, such as a radial network.
    Further weights belong to degrees and channels of input and output; a path (l1, l_f, l3) has none of its own.

    Args:
        irreps_in: Node features: irreps of one multiplicity C, each at most once.
        lmax_filter: Highest degree of the edges' functions.
        irreps_out: Irreps of multiplicity C; ``None``: all that can come out, of degrees up to the input's largest.
        method: As of `gaunt_convolution`.
        odd: ``"none"``: plain Gaunt; ``"curl"``: with the paths of odd l1 + l_f + l3, as in `GauntTensorProduct`.
        channelwise: Whether each channel has weights of its own along an edge, or all the same.
        layout: Order of the columns, ``"mul_ir"`` or ``"ir_mul"``.

    Attributes:
        weight_in: ``[irreps of irreps_in, C]``, initially 1.
        weight_out: The same of irreps_out.
        weight_numel: Number of weights of an edge: (lmax_filter + 1)·C, degree by degree, or without C.

    Raises:
        IrrepsError: The irreps have several multiplicities, or one of irreps_out cannot be reached.
        UnknownNameError: There is no such method or odd half.

    Properties:
        methods_agree: one state_dict gives the same with every method.
        equivariance: forward(D x, R r) = D forward(x, r), inversions included.
        unit_variance: independent inputs and weights of unit variance, and edges in all directions, give messages of
            unit variance.

    Source: Luo, Chen and Krishnapriyan, ICLR 2024 (arXiv 2401.10216), section 3.3.
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        lmax_filter: int,
        irreps_out: Irreps | str | None = None,
        method: str = "auto",
        odd: str = "none",
        channelwise: bool = True,
        layout: str = "mul_ir",
    ) -> None:
        super().__init__()
        if method not in GAUNT_CONVOLUTION_METHODS:
            raise UnknownNameError(
                f"There is no method {method!r} of the Gaunt convolution. {nearest(method, GAUNT_CONVOLUTION_METHODS)}"
            )
        if odd not in ("none", "curl"):
            raise UnknownNameError(f"odd must be 'none' or 'curl', not {odd!r}.")
        if not 0 <= lmax_filter <= MAX_GAUNT_DEGREE:
            raise IrrepsError(f"Gaunt products have degrees up to {MAX_GAUNT_DEGREE}; lmax_filter is {lmax_filter}.")
        self.method, self.odd, self.layout = method, odd, check_layout(layout)
        self.lmax_filter = int(lmax_filter)
        self.irreps_in = parse_irreps(irreps_in)
        self.channels = common_multiplicity("irreps_in", self.irreps_in)
        if irreps_out is None:
            highest = max(ir.l for _, ir in self.irreps_in)
            kinds = (1, -1)
            found = [(l, kind) for l in range(highest + 1) for kind in kinds if self._variance(l, kind) > 0]
            irreps_out = "+".join(f"{self.channels}x{l}{parity_of(l, kind)}" for l, kind in found)
        self.irreps_out = parse_irreps(irreps_out)
        if common_multiplicity("irreps_out", self.irreps_out) != self.channels:
            raise IrrepsError(f"irreps_out must have the multiplicity {self.channels}, it is '{self.irreps_out}'.")
        scales = []
        for _, ir in self.irreps_out:
            variance = self._variance(int(ir.l), kind_of(ir))
            if variance == 0:
                missing = odd == "none" and self._variance(int(ir.l), kind_of(ir), odd="curl") > 0
                raise IrrepsError(
                    f"Gaunt products of '{self.irreps_in}' with functions of degrees up to {self.lmax_filter} do not "
                    f"reach {ir}.{' The odd half reaches it: odd=' + repr('curl') + '.' if missing else ''}"
                )
            scales.append(math.sqrt(4 * math.pi / variance))
        self._functions = [Functions(irreps) for irreps in (self.irreps_in, self.irreps_out)]
        self._blocks = [blocks_of(irreps) for irreps in (self.irreps_in, self.irreps_out)]
        self.filter_channels = self.channels if channelwise else 1
        self.weight_numel = (self.lmax_filter + 1) * self.filter_channels
        self.weight_in = torch.nn.Parameter(torch.ones(len(self.irreps_in), self.channels))
        self.weight_out = torch.nn.Parameter(torch.ones(len(self.irreps_out), self.channels))
        self.scale = tuple(scales)

    def _variance(self, l: int, kind: int, odd: str | None = None) -> float:
        """Return 4π times the variance of an output component; 0 where it cannot be reached."""
        total = 0.0
        for _, ir in self.irreps_in:
            curl = kind_of(ir) != kind
            if curl and (odd or self.odd) == "none":
                continue
            for degree in range(abs(ir.l - l), min(ir.l + l, self.lmax_filter) + 1):
                if (ir.l + degree + l) % 2 == int(curl):
                    total += sphere_tables.reduced(int(ir.l), degree, l) ** 2 / (2 * l + 1)
        return total

    @full_precision
    def forward(
        self,
        x: Tensor,
        vectors: Tensor,
        weight: Tensor,
        edge_index: Tensor,
        num_nodes: int,
        frames: EdgeFrames | None = None,
    ) -> Tensor:
        """Convolve.

        Args:
            x: ``[N, irreps_in.dim]``.
            vectors: ``[E, 3]``.
            weight: ``[E, weight_numel]``, degree by degree.
            edge_index: ``[2, E]``, sender and receiver.
            num_nodes: Number of receivers.
            frames: As in `gaunt_convolution`.

        Returns:
            ``[num_nodes, irreps_out.dim]``.

        Raises:
            ShapeError: A shape, dtype or device does not fit.
            GraphError: An index is out of range.
        """
        check_features("x", x, self.irreps_in, self.weight_in, self._blocks[0])
        if x.ndim != 2 or edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.dtype != torch.int64:
            raise ShapeError(
                f"x must be [N, {self.irreps_in.dim}] and edge_index int64 [2, E]; they are {list(x.shape)} and "
                f"{edge_index.dtype} {list(edge_index.shape)}."
            )
        edges = edge_index.shape[1]
        if weight.shape != (edges, self.weight_numel):
            raise ShapeError(f"weight must be [{edges}, {self.weight_numel}], it is {list(weight.shape)}.")
        if self.layout == "mul_ir":
            x = to_ir_mul(x, self._blocks[0])
        given = self._functions[0].coefficients(x, self.weight_in)
        highest = self._functions[1].highest
        filters = weight.unflatten(1, (self.lmax_filter + 1, self.filter_channels))
        method = gaunt_convolution_method(x) if self.method == "auto" else self.method
        if method == "pole" and frames is None:
            frames = edge_frames(vectors, max(*self._functions[0].highest.values(), *highest.values()))
        sums: dict[int, Tensor] = {}
        for kind, function in given.items():
            sent = segment_gather(function, edge_index[0])
            for curl in (False, True) if self.odd == "curl" else (False,):
                out = -kind if curl else kind
                if out in highest:
                    message = gaunt_convolution(
                        sent, vectors, filters, highest[out], curl=curl, method=method, frames=frames
                    )
                    term = segment_sum(message, edge_index[1], num_nodes)
                    sums[out] = sums[out] + term if out in sums else term
        columns = self._functions[1].columns(sums, self.weight_out * numbers(self.scale, x).unsqueeze(-1))
        return columns if self.layout == "ir_mul" else to_mul_ir(columns, self._blocks[1])

    def extra_repr(self) -> str:
        """Return what the module's line in a printed model says."""
        where = self.weight_in.device.type
        method = (
            f"auto ({gaunt_convolution_method(self.weight_in)} on {where})" if self.method == "auto" else self.method
        )
        return f"'{self.irreps_in}' ⊗ Y(l ≤ {self.lmax_filter}) → '{self.irreps_out}', {method}, odd={self.odd}"

"""ManyBodyMP: message passing whose messages are many-body products of each atom's neighbourhood, after MACE."""

from __future__ import annotations

from typing import Literal

import pydantic
import torch
from torch import Tensor

from equitools.graph import Graph
from equitools.groups import Irreps
from equitools.models.contract import Backbone, ModelConfig
from equitools.models.registry import register
from equitools.nn import (
    BesselBasis,
    InteractionBlock,
    PolynomialEnvelope,
    ProductBlock,
    SpeciesIndex,
    to_mul_ir,
)
from equitools.nn.layout import blocks_of
from equitools.ops import spherical_harmonics
from equitools.ops.precision import full_precision

__all__ = ["ManyBodyMP", "ManyBodyMPConfig"]


class ManyBodyMPConfig(ModelConfig):
    """Configuration of `ManyBodyMP`.

    Attributes:
        channels: Channels of every irrep.
        l_max: Largest degree of the edges' spherical harmonics and of the features that are multiplied.
        hidden_lmax: Largest degree of the node features between layers.
        num_layers: Layers of message passing.
        correlation: Largest number of factors of a product; the body order is one more.
        num_radial: Bessel functions.
        radial_hidden: Widths of the radial networks' hidden layers.
        envelope_p: Exponent of the cutoff envelope.
        avg_num_neighbors: Average number of neighbours of the training data (the training fills it in).
        residual_first: Whether the first layer has a residual path, too.
        product: How features are multiplied with themselves: ``"clebsch-gordan"``, all couplings with a weight for
            each, or ``"gaunt"``, powers of functions on the sphere with a weight for each degree.
        convolution: How features are multiplied with the harmonics of an edge, in the same two ways.
    """

    channels: int = pydantic.Field(32, ge=1)
    l_max: int = pydantic.Field(3, ge=0, le=8)
    hidden_lmax: int = pydantic.Field(1, ge=0, le=8)
    num_layers: int = pydantic.Field(2, ge=1)
    correlation: int = pydantic.Field(3, ge=1, le=5)
    num_radial: int = pydantic.Field(8, ge=1)
    radial_hidden: tuple[int, ...] = (64, 64)
    envelope_p: int = pydantic.Field(5, ge=2)
    avg_num_neighbors: float = pydantic.Field(12.0, gt=0, allow_inf_nan=False)
    residual_first: bool = False
    product: Literal["clebsch-gordan", "gaunt"] = "clebsch-gordan"
    convolution: Literal["clebsch-gordan", "gaunt"] = "clebsch-gordan"


def _spherical(channels: int, lmax: int) -> Irreps:
    return Irreps([(channels, (l, (-1) ** l)) for l in range(lmax + 1)])


@register("many_body_mp")
class ManyBodyMP(Backbone):
    """Equivariant message passing of high body order.

    Each layer sums channelwise tensor products of the neighbours' features with the spherical harmonics of the edges,
    weighted by a network of the distance; multiplies the sums with themselves up to ``correlation`` times; and adds a
    species-dependent linear map of the features before. The last layer keeps scalars only.

    ``node_features`` are the features of all layers, one after the other, so that a readout sees each layer.

    Properties:
        equivariance: E(3).
        smoothness: the features are twice differentiable as an atom crosses the cutoff.

    Source: Batatia, Kovács, Simm, Ortner, Csányi, NeurIPS 2022 (arXiv 2206.07697); with Gaunt products: Luo, Chen,
        Krishnapriyan, ICLR 2024 (arXiv 2401.10216).
    """

    config_class = ManyBodyMPConfig
    config: ManyBodyMPConfig

    def __init__(self, config: ManyBodyMPConfig) -> None:
        super().__init__(config)
        c = config.channels
        elements = len(config.species)
        self.index = SpeciesIndex(config.species)
        self.embedding = torch.nn.Parameter(torch.randn(elements, c))
        self.basis = BesselBasis(config.num_radial, config.cutoff)
        self.envelope = PolynomialEnvelope(config.cutoff, config.envelope_p)
        irreps_edge = _spherical(1, config.l_max)
        features = Irreps([(c, (0, 1))])
        self.interactions = torch.nn.ModuleList()
        self.products = torch.nn.ModuleList()
        collected = []
        for layer in range(config.num_layers):
            last = layer == config.num_layers - 1
            out = Irreps([(c, (0, 1))]) if last else _spherical(c, config.hidden_lmax)
            self.interactions.append(
                InteractionBlock(
                    features,
                    irreps_edge,
                    _spherical(c, config.l_max),
                    config.num_radial,
                    config.radial_hidden,
                    config.avg_num_neighbors,
                    config.convolution,
                )
            )
            residual = features if layer or config.residual_first else None
            self.products.append(
                ProductBlock(_spherical(c, config.l_max), out, config.correlation, elements, residual, config.product)
            )
            features = out
            collected += list(out)
        self.irreps_out = Irreps(collected)
        self._blocks = tuple(blocks_of(product.irreps_out) for product in self.products)

    @full_precision
    def forward(self, graph: Graph) -> dict[str, Tensor]:
        """Compute ``node_features`` ``[N, irreps_out.dim]``."""
        species = self.index(graph.atomic_numbers)
        vectors = graph.edge_vectors()
        lengths = vectors.norm(dim=-1)
        # times √cutoff: the Bessel functions are normalised on [0, cutoff]; this takes their unit away
        radial = self.basis(lengths, self.envelope, scale=self.config.cutoff**0.5)
        harmonics = spherical_harmonics(self.config.l_max, vectors)
        x = self.embedding.index_select(0, species)
        collected = []
        for interaction, product, blocks in zip(self.interactions, self.products, self._blocks, strict=True):
            message = interaction(x, harmonics, radial, graph.edge_index)
            x = product(message, species, x)
            collected.append(to_mul_ir(x, blocks))
        return {"node_features": torch.cat(collected, -1)}

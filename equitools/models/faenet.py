"""FAENet, the frame-averaging network of Duval et al. (ICML 2023, arXiv:2305.05577), made deterministic and smooth."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal, cast

import pydantic
import torch
from torch.utils.checkpoint import checkpoint

from equitools.groups import Irreps
from equitools.models.contract import Backbone, ModelConfig
from equitools.models.faenet_blocks import EdgeEmbedding, Interaction, NodeEmbedding, Output, VectorDecoder
from equitools.models.frame_copies import copies_of, frames_of_graphs
from equitools.models.registry import register
from equitools.nn import PolynomialEnvelope
from equitools.ops import segment_sum
from equitools.ops.precision import full_precision
from equitools.symmetrize.gram_schmidt_frames import SPARSITY
from equitools.symmetrize.weighted_frames import GAPS

if TYPE_CHECKING:
    from equitools.graph import Graph
    from equitools.models.frame_copies import Copies

__all__ = ["FAENet", "FAENetConfig"]

FrameMode = Literal["full", "sample", "canonical", "weighted", "sample_weighted"]


class FAENetConfig(ModelConfig):
    """Configuration of `FAENet`; names in brackets are those of the published code.

    Attributes:
        hidden: Width of the atoms' features.
        filters: Width of the edges' features; with ``message_passing="simple"`` equal to ``hidden``.
        layers: Number of interactions.
        gaussians: Number of Gaussian functions of the distance.
        message_passing: ``updownscale_base``, ``updownscale``, ``base`` or ``simple`` (``mp_type``).
        second_layer: A second linear map in the embeddings (``second_layer_MLP``).
        complex_mp: A second linear map after each interaction.
        graph_norm: `GraphNorm` over the atoms of a graph, as published. The energy of two far molecules is then not
            the sum of theirs.
        skip: How the features of all layers reach the output: ``none``, ``add``, ``concat`` or ``concat_atom``.
        energy_head: ``none``, ``weighted-av-initial-embeds`` or ``weighted-av-final-embeds``.
        tags: Width of the embedding of tags, 0 for none; the graph then needs ``extras["tags"]``, each 0 (bulk),
            1 (surface) or 2 (adsorbate); others are refused, since ASE's builders number layers instead.
        period_group: Width of the embeddings of period and group, 0 for none.
        physical: Give each atom the physical properties of its element.
        physical_hidden: Width of a learned map of those; 0 takes them as they are.
        vectors: One vector of each atom among the features, for direct forces.
        envelope: Let every message go smoothly to zero at the cutoff; without it, as published, energies jump there.
        symmetry: ``E(3)``, or ``SE(3)`` for half as many frames and no promise about mirror images.
        dimensions: 3, or 2 for slabs: rotations about z (and mirrors through it) only.
        frames_in_training: ``sample_weighted`` draws one of the weighted frames for each graph and step, ``sample`` one
            of the frames of principal axes, as published; ``full``, ``canonical``, ``weighted``: see
            `equitools.symmetrize.frames`.
        frames_in_eval: The same in evaluation mode. With ``sample`` the network is no function of its input. Take
            frames of the same kind as in training (``weighted`` after ``sample_weighted``, ``full`` after ``sample``):
            the network has never seen the poses of the other kind.
        gaps: Of weighted frames: relative gaps between the principal moments of the structure, between which its
            principal axes take over; null for Gram–Schmidt frames alone.
        sparsity: Of weighted frames near coinciding moments: larger means fewer frames and steeper weights.
        max_frames: Most frames of a structure in evaluation (and of the modes that draw none): an error beyond.
            Crystals and others with many equivalent edges or atoms may have thousands, and take as many passes.
        copied_edges: Frames are evaluated so many at once that about this many edges are in memory; there is one frame
            at once at least. Further ones are computed again in the backward pass.
        avg_num_neighbors: Sums over neighbours are divided by its square root (1: the published sum).
    """

    hidden: int = pydantic.Field(default=128, ge=2)
    filters: int = pydantic.Field(default=128, ge=2)
    layers: int = pydantic.Field(default=4, ge=1)
    gaussians: int = pydantic.Field(default=50, ge=1)
    message_passing: Literal["updownscale_base", "updownscale", "base", "simple"] = "updownscale_base"
    second_layer: bool = True
    complex_mp: bool = False
    graph_norm: bool = False
    skip: Literal["none", "add", "concat", "concat_atom"] = "concat"
    energy_head: Literal["none", "weighted-av-initial-embeds", "weighted-av-final-embeds"] = "none"
    tags: int = pydantic.Field(default=0, ge=0)
    period_group: int = pydantic.Field(default=16, ge=0)
    physical: bool = True
    physical_hidden: int = pydantic.Field(default=0, ge=0)
    vectors: bool = False
    envelope: bool = True
    symmetry: Literal["E(3)", "SE(3)"] = "E(3)"
    dimensions: Literal[2, 3] = 3
    frames_in_training: FrameMode = "sample_weighted"
    frames_in_eval: FrameMode = "weighted"
    gaps: tuple[float, float] | None = GAPS
    sparsity: float = pydantic.Field(default=SPARSITY, ge=0, lt=0.8)
    max_frames: int = pydantic.Field(default=512, ge=1)
    copied_edges: int = pydantic.Field(default=200_000, ge=1)
    avg_num_neighbors: float = pydantic.Field(default=1.0, gt=0)

    @pydantic.model_validator(mode="after")
    def _widths(self) -> FAENetConfig:
        if self.message_passing == "simple" and self.filters != self.hidden:
            raise ValueError(
                f"message_passing='simple' multiplies features with filters, so filters = {self.filters} must equal "
                f"hidden = {self.hidden}"
            )
        return self


@register("faenet")
class FAENet(Backbone):
    """A network without any symmetry of its own, averaged over frames of the structure.

    Every graph is seen from each of its frames (`equitools.symmetrize.frames`), where its edge vectors are plain
    triples of numbers; the features of the atoms are averaged with the weights of the frames. Frames and weights are
    functions of the positions and are differentiated with everything else, so that ``Potential(FAENet(...))`` has
    forces that are exactly minus the gradient of its energy.

    Frames belong to a whole graph. So two molecules in one graph, however far apart, do not have the sum of their
    energies exactly: a frame of one is seen by the other. A network trained well makes little of it.

    Args:
        config: A `FAENetConfig`.

    Attributes:
        node_inputs: Names of what the graph must have among its extras: ``("tags",)``, or nothing.
        irreps_out: ``"{hidden // 2}x0e"``, and ``1x1o`` with ``vectors``.
        symmetry: ``config.symmetry``; with two dimensions the translations, the part of it that `equitools.testing` has
            a name for.

    Raises:
        ConfigError: The parts of the atoms' embedding do not fit into ``hidden``.

    Properties:
        equivariance: in evaluation mode rotations, reflections and translations move the vectors and leave the scalars.
        permutation: relabelling the atoms relabels the outputs.
        smooth_at_cutoff: with ``envelope``, outputs are smooth as an atom crosses the cutoff.
        linear_molecules: the scalars are exact where the structure has no unique frame, too.

    References:
        A. Duval et al., FAENet: Frame Averaging Equivariant GNN for Materials Modeling, ICML 2023.
        N. Dym, H. Lawrence, J. Siegel, Equivariant Frames and the Impossibility of Continuous Canonicalization,
        ICML 2024 (weighted frames).
    """

    config_class = FAENetConfig
    config: FAENetConfig

    def __init__(self, config: FAENetConfig) -> None:
        super().__init__(config)
        half = config.hidden // 2
        self.node_inputs = ("tags",) if config.tags else ()
        if config.frames_in_training == "sample" and config.frames_in_eval == "weighted":
            warnings.warn(
                'frames_in_training="sample" shows the network poses of principal axes, but frames_in_eval="weighted" '
                'others, too: take "sample_weighted" and "weighted", or "sample" and "full".',
                UserWarning,
                stacklevel=2,
            )
        # rotations about one axis alone have no name there
        self.symmetry = config.symmetry if config.dimensions == 3 else "T(3)"  # type: ignore[misc]
        self.irreps_out = Irreps(f"{half}x0e+1x1o" if config.vectors else f"{half}x0e")
        self.nodes = NodeEmbedding(config)
        self.edges = EdgeEmbedding(config)
        self.envelope = PolynomialEnvelope(config.cutoff)
        self.interactions = torch.nn.ModuleList(Interaction(config) for _ in range(config.layers))
        self.output = Output(config)
        levels = config.layers + 1
        self.mix: torch.nn.Linear | None = None
        if config.skip == "concat":
            self.mix = torch.nn.Linear(levels * half, half)
        elif config.skip == "concat_atom":
            self.mix = torch.nn.Linear(levels * config.hidden, config.hidden)
        self.vectors = VectorDecoder(config) if config.vectors else None

    @full_precision
    def forward(self, graph: Graph) -> dict[str, torch.Tensor]:
        """Compute node features.

        Args:
            graph: A graph; with ``config.tags``, ``graph.extras["tags"]`` of shape ``[N]``.

        Returns:
            ``node_features`` ``[N, irreps_out.dim]``.

        Raises:
            ConfigError: A structure has more than ``config.max_frames`` frames.
            GraphError: Tags are missing.
            UnknownSpeciesError: An element that is not in ``config.species``.
        """
        config = self.config
        start = graph.edge_vectors()
        lengths = torch.linalg.vector_norm(start, dim=-1)
        fade = self.envelope(lengths)
        mode = config.frames_in_training if self.training else config.frames_in_eval
        elements, weights = frames_of_graphs(
            graph, start, fade / lengths.clamp_min(1e-6), config.symmetry, mode, planar=config.dimensions == 2,
            degree=2 if config.vectors else 1, sparsity=config.sparsity, gaps=config.gaps,
            max_frames=config.max_frames,
        )  # fmt: skip
        copies = copies_of(graph, elements, weights)
        nodes, parts = self.nodes(graph), list(copies.parts(config.copied_edges))
        if len(parts) == 1:
            features = self._averaged(copies, nodes, start, lengths, fade)
        else:
            features = start.new_zeros(graph.num_nodes, self.irreps_out.dim)
            for part in parts:
                found = checkpoint(self._averaged, part, nodes, start, lengths, fade, use_reentrant=False)
                features = features + cast("torch.Tensor", found)
        if self.vectors is not None:
            scalars, vectors = features.split([features.shape[1] - 3, 3], dim=1)
            features = torch.cat([scalars, vectors * self._coordination(graph, fade)], dim=1)
        return {"node_features": features}

    @full_precision  # the backward pass calls it, too
    def _averaged(
        self, copies: Copies, nodes: torch.Tensor, start: torch.Tensor, lengths: torch.Tensor, fade: torch.Tensor
    ) -> torch.Tensor:
        """Return what copies of the graphs contribute to the features of the atoms."""
        e = self.edges(copies.seen(start), lengths, copies.edge)
        weight = (fade if self.config.envelope else torch.ones_like(fade)).index_select(0, copies.edge).unsqueeze(1)
        levels = self._levels(nodes.index_select(0, copies.node), e, weight, copies)
        features = copies.average(self._scalars(levels), len(nodes))
        if self.vectors is None:
            return features
        return torch.cat([features, copies.average_vectors(self.vectors(levels[-1]), len(nodes))], dim=1)

    def _levels(self, h: torch.Tensor, e: torch.Tensor, weight: torch.Tensor, copies: Copies) -> list[torch.Tensor]:
        levels = [h]
        for module in self.interactions:
            interaction = cast("Interaction", module)
            h = h + interaction(h, e, weight, copies.edge_index, copies.node_copy, len(copies.weight))
            levels.append(h)
        return levels

    def _scalars(self, levels: list[torch.Tensor]) -> torch.Tensor:
        """Lead the features of the layers to the output as ``config.skip`` says."""
        skip, first, last = self.config.skip, levels[0], levels[-1]
        if skip == "none":
            return self.output(last, first)
        if skip == "concat_atom" and self.mix is not None:
            last = torch.nn.functional.silu(self.mix(torch.cat(levels, dim=1)))
            return self.output(last, first)
        outputs = [self.output(level, first) for level in levels]
        if skip == "concat" and self.mix is not None:
            return self.mix(torch.cat(outputs, dim=1))
        return torch.stack(outputs).sum(dim=0)

    @staticmethod
    def _coordination(graph: Graph, fade: torch.Tensor) -> torch.Tensor:
        """A factor ``[N, 1]`` that is 0 for an atom without neighbours, which can have no vector."""
        total = segment_sum(fade.unsqueeze(1), graph.edge_index[1], graph.num_nodes)
        return total / (1.0 + total)

"""The blocks of FAENet: embeddings of atoms and edges, interactions, and what is read out in a frame.

None of them respects a symmetry, which is the point of the network: they see vectors in the axes of a frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from equitools.errors import ConfigError, GraphError
from equitools.models.element_properties import GROUPS, PERIODS, standardised_properties
from equitools.nn import GaussianBasis, SpeciesEmbedding
from equitools.ops import segment_mean, segment_sum

if TYPE_CHECKING:
    from equitools.graph import Graph
    from equitools.models.faenet import FAENetConfig

__all__ = ["EdgeEmbedding", "GraphNorm", "Interaction", "NodeEmbedding", "Output", "VectorDecoder"]


def _linear(width_in: int, width_out: int, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(width_in, width_out, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class NodeEmbedding(nn.Module):
    """Atoms as vectors: element ‖ tag ‖ physical properties ‖ period ‖ group, then a perceptron.

    Args:
        config: The network's configuration.
    """

    properties: Tensor
    periods: Tensor
    groups: Tensor

    def __init__(self, config: FAENetConfig) -> None:
        super().__init__()
        self.config = config
        properties = standardised_properties()
        width = config.hidden - config.tags - 2 * config.period_group
        if config.physical:
            width -= config.physical_hidden or properties.shape[1]
        if width < 1:
            raise ConfigError(
                f"hidden = {config.hidden} leaves no room for the embedding of the element beside tags, period_group "
                f"and physical properties, which take {config.hidden - width}. Raise hidden or lower those."
            )
        self.element = SpeciesEmbedding(config.species, width)
        self.register_buffer("properties", properties, persistent=False)
        self.register_buffer("periods", torch.tensor((0, *PERIODS)), persistent=False)
        self.register_buffer("groups", torch.tensor((0, *GROUPS)), persistent=False)
        hidden = config.physical_hidden if config.physical else 0
        self.physical = _linear(properties.shape[1], hidden) if hidden else None
        self.tag = nn.Embedding(3, config.tags) if config.tags else None
        self.period = nn.Embedding(8, config.period_group) if config.period_group else None
        self.group = nn.Embedding(20, config.period_group) if config.period_group else None
        self.first = _linear(config.hidden, config.hidden)
        self.second = _linear(config.hidden, config.hidden) if config.second_layer else None

    def forward(self, graph: Graph) -> Tensor:
        """Return ``[N, hidden]``.

        Raises:
            GraphError: The network was built with tags and the graph has none, or others than 0, 1 and 2.
        """
        z = graph.atomic_numbers
        parts = [self.element(z)]
        if self.tag is not None:
            parts.append(self.tag(_tags(graph)))
        if self.config.physical:
            properties = self.properties[z].to(parts[0].dtype)
            parts.append(properties if self.physical is None else self.physical(properties))
        if self.period is not None and self.group is not None:
            parts += [self.period(self.periods[z]), self.group(self.groups[z])]
        h = silu(self.first(torch.cat(parts, dim=1)))
        return h if self.second is None else silu(self.second(h))


def _tags(graph: Graph) -> Tensor:
    tags = graph.extras.get("tags")
    if tags is None or tags.shape != graph.atomic_numbers.shape:
        raise GraphError(
            "this FAENet was built with tags, but the graph has none. Put a tensor [N] with 0 (bulk), 1 (surface) or "
            '2 (adsorbate) into graph.extras["tags"], or build the model with tags=0.'
        )
    tags = tags.long()
    if tags.numel() and (int(tags.min()) < 0 or int(tags.max()) > 2):
        raise GraphError(f"tags must be 0, 1 or 2, but they go from {int(tags.min())} to {int(tags.max())}.")
    return tags


class EdgeEmbedding(nn.Module):
    """Edges as vectors: ``σ(Lin(g⁻¹r) ‖ Lin(RBF(d)))``, then a second layer.

    Args:
        config: The network's configuration.
    """

    def __init__(self, config: FAENetConfig) -> None:
        super().__init__()
        half = config.filters // 2
        self.basis = GaussianBasis(config.gaussians, config.cutoff)
        self.direction = _linear(3, half)
        self.distance = _linear(config.gaussians, config.filters - half)
        self.second = _linear(config.filters, config.filters) if config.second_layer else None

    def forward(self, seen: Tensor, lengths: Tensor, edge: Tensor) -> Tensor:
        """Return ``[E', filters]``.

        Args:
            seen: Edge vectors in the axes of their frames, ``[E', 3]``.
            lengths: Å, ``[E]``, the same for all frames.
            edge: ``[E']``, which edge each row of ``seen`` is.
        """
        distance = self.distance(self.basis(lengths)).index_select(0, edge)
        e = silu(torch.cat([self.direction(seen), distance], dim=1))
        return e if self.second is None else silu(self.second(e))


class GraphNorm(nn.Module):
    """Centre and scale each channel over the atoms of each graph, with a learned share of the mean.

    Args:
        width: Number of channels.

    Source: Cai et al., GraphNorm, ICML 2021 (arXiv 2009.03294).
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.share = nn.Parameter(torch.ones(width))

    def forward(self, h: Tensor, batch: Tensor, num: int) -> Tensor:
        """Map ``[N, width]`` to ``[N, width]``; ``batch`` says to which of ``num`` graphs an atom belongs."""
        centred = h - self.share * segment_mean(h, batch, num)[batch]
        variance = segment_mean(centred.square(), batch, num)[batch]
        return self.weight * centred * torch.rsqrt(variance + self.eps) + self.bias


class Interaction(nn.Module):
    """One message-passing block, in the four variants of the published code that have no local environment.

    Args:
        config: The network's configuration.
    """

    def __init__(self, config: FAENetConfig) -> None:
        super().__init__()
        self.kind, self.scale = config.message_passing, config.avg_num_neighbors**-0.5
        scaled = self.kind.startswith("updownscale")
        hidden, filters = config.hidden, config.filters
        width = filters if scaled else hidden  # of a message
        self.down = _linear(hidden, filters) if scaled else None
        self.edge = _linear(filters, width) if self.kind != "simple" else None
        # [e ‖ h_j ‖ h_i] is not put together: what is linear in an atom is done once for the atom
        pairs = self.kind.endswith("base")
        self.sender = _linear(hidden, width, bias=False) if pairs else None
        self.receiver = _linear(hidden, width, bias=False) if pairs else None
        self.norm = GraphNorm(width) if config.graph_norm else None
        self.up = _linear(width, hidden)
        self.last = _linear(hidden, hidden) if config.complex_mp else None

    def forward(self, h: Tensor, e: Tensor, weight: Tensor, edge_index: Tensor, copy: Tensor, num: int) -> Tensor:
        """Return what is added to the features ``[N', hidden]``.

        Args:
            h: Features ``[N', hidden]``.
            e: Embedded edges ``[E', filters]``.
            weight: Envelope ``[E', 1]``.
            edge_index: ``[2, E']``.
            copy: ``[N']``, to which copy of a graph an atom belongs.
            num: How many copies there are.
        """
        sender, receiver = edge_index[0], edge_index[1]
        if self.edge is not None:
            e = self.edge(e)
            if self.sender is not None and self.receiver is not None:
                e = e + self.sender(h).index_select(0, sender) + self.receiver(h).index_select(0, receiver)
            e = silu(e)
        values = h if self.down is None else silu(self.down(h))
        message = values.index_select(0, sender) * (e * weight)
        total = segment_sum(message, receiver, h.shape[0]) * self.scale
        if self.norm is not None:
            total = silu(self.norm(total, copy, num))
        update = silu(self.up(total))
        return update if self.last is None else silu(self.last(update))


class Output(nn.Module):
    """Half as many features of an atom, times a learned weight where the energy head says so.

    Args:
        config: The network's configuration.
    """

    def __init__(self, config: FAENetConfig) -> None:
        super().__init__()
        self.dense = _linear(config.hidden, config.hidden // 2)
        self.weight = None if config.energy_head == "none" else _linear(config.hidden, 1)
        self.initial = config.energy_head == "weighted-av-initial-embeds"

    def forward(self, h: Tensor, first: Tensor) -> Tensor:
        """Map features ``[N', hidden]`` (and those of the start) to ``[N', hidden // 2]``."""
        out = silu(self.dense(h))
        return out if self.weight is None else out * self.weight(first if self.initial else h)


class VectorDecoder(nn.Module):
    """A vector of each atom in the axes of its frame: a perceptron with three outputs.

    Args:
        config: The network's configuration.
    """

    def __init__(self, config: FAENetConfig) -> None:
        super().__init__()
        self.first = _linear(config.hidden, config.hidden)
        self.second = _linear(config.hidden, 3)

    def forward(self, h: Tensor) -> Tensor:
        """Map features ``[N', hidden]`` to ``[N', 3]``."""
        return self.second(silu(self.first(h)))

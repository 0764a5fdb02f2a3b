"""EGNN, the E(n)-equivariant graph network of Satorras, Hoogeboom and Welling (ICML 2021, arXiv:2102.09844)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pydantic
import torch

from equitools.errors import GraphError, ShapeError
from equitools.groups import Irreps
from equitools.models.contract import Backbone, ModelConfig
from equitools.models.registry import register
from equitools.nn import BesselBasis, PolynomialEnvelope, SpeciesEmbedding
from equitools.ops import segment_sum
from equitools.ops.precision import full_precision

if TYPE_CHECKING:
    from equitools.graph import Graph

__all__ = ["EGNN", "EGNNConfig", "EGNNLayer"]

_TINY = 1e-8  # keeps the square root differentiable at zero


class EGNNConfig(ModelConfig):
    """Configuration of `EGNN`.

    Attributes:
        hidden: Width of the node features and of all hidden layers.
        layers: Number of message-passing layers.
        radial: Number of Bessel functions of the initial distance that enter the messages as edge attributes
            ``a_ij``; 0 leaves the squared distance alone, as in the paper's N-body task.
        attention: Multiply each message by a gate ``σ(Linear(m_ij))``.
        normalize: Divide the coordinate difference by its length plus one.
        tanh: Bound each layer's coordinate message with a hyperbolic tangent.
        tanh_range: The bound in Å.
        residual: Add the old node features to the new ones.
        velocities: The velocity variant; the graph then needs ``extras["velocities"]``.
        envelope: Let every message go smoothly to zero at the cutoff. Without it the paper's fully connected
            N-body networks are reproduced; with it energies are smooth and may be differentiated.
        coordinate_mean: Average the coordinate messages over the neighbours, as the paper's code does, instead of
            adding them.
        avg_num_neighbors: Messages are added and divided by this constant (1 is the paper's sum).
    """

    hidden: int = pydantic.Field(default=64, ge=1)
    layers: int = pydantic.Field(default=4, ge=1)
    radial: int = pydantic.Field(default=8, ge=0)
    attention: bool = False
    normalize: bool = False
    tanh: bool = False
    tanh_range: float = pydantic.Field(default=1.0, gt=0)
    residual: bool = True
    velocities: bool = False
    envelope: bool = True
    coordinate_mean: bool = True
    avg_num_neighbors: float = pydantic.Field(default=1.0, gt=0)


class EGNNLayer(torch.nn.Module):
    """One equivariant graph convolution (equations 3 to 7 of the paper).

    Args:
        config: The network's configuration.
    """

    def __init__(self, config: EGNNConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden
        self.message = torch.nn.Sequential(
            torch.nn.Linear(2 * width + 1 + config.radial, width),
            torch.nn.SiLU(),
            torch.nn.Linear(width, width),
            torch.nn.SiLU(),
        )
        last = torch.nn.Linear(width, 1, bias=False)
        torch.nn.init.xavier_uniform_(last.weight, gain=0.001)  # coordinates start by hardly moving
        self.coordinate = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.SiLU(), last)
        self.node = torch.nn.Sequential(
            torch.nn.Linear(2 * width, width), torch.nn.SiLU(), torch.nn.Linear(width, width)
        )
        self.attention = torch.nn.Linear(width, 1) if config.attention else None
        self.velocity = (
            torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.SiLU(), torch.nn.Linear(width, 1))
            if config.velocities
            else None
        )

    def forward(
        self,
        h: torch.Tensor,
        difference: torch.Tensor,
        attributes: torch.Tensor,
        weight: torch.Tensor,
        edge_index: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pass messages once.

        Args:
            h: Node features ``[N, hidden]``.
            difference: ``x_i − x_j`` of each edge j → i with the present coordinates, ``[E, 3]`` in Å.
            attributes: Invariant edge attributes ``[E, radial]``.
            weight: Envelope of each edge ``[E, 1]``, 1 without an envelope.
            edge_index: ``[2, E]``, sender and receiver.

        Returns:
            The new node features ``[N, hidden]`` and the sum (or average) of the coordinate messages ``[N, 3]`` in Å.
        """
        config, num_nodes = self.config, h.shape[0]
        sender, receiver = edge_index[0], edge_index[1]
        square = (difference * difference).sum(dim=-1, keepdim=True)
        m = self.message(torch.cat([h[receiver], h[sender], square, attributes], dim=-1))
        if self.attention is not None:
            m = m * torch.sigmoid(self.attention(m))
        if config.normalize:
            difference = difference / (torch.sqrt(square + _TINY) + 1.0)
        factor = self.coordinate(m)
        if config.tanh:
            factor = config.tanh_range * torch.tanh(factor)
        shift = segment_sum(difference * factor * weight, receiver, num_nodes)
        if config.coordinate_mean:
            count = segment_sum(weight, receiver, num_nodes)
            # A plain average would jump when the only neighbour leaves, so the smooth count starts from one.
            shift = shift / (1.0 + count if config.envelope else count.clamp(min=1.0))
        total = segment_sum(m * weight, receiver, num_nodes) / config.avg_num_neighbors
        update = self.node(torch.cat([h, total], dim=-1))
        return (h + update if config.residual else update), shift


@register("egnn")
class EGNN(Backbone):
    """E(n)-equivariant graph network on atoms, for molecules and periodic systems alike.

    Coordinates are updated along with the features. The network works with displacements ``u_i = x_i − x_i(start)``
    and edge vectors ``x_j − x_i = d_ij + u_j − u_i`` with ``d_ij = graph.edge_vectors()``, which are the same for all
    periodic images. The final features also see ``|u_i|²``, so that every parameter has a say in an invariant target.

    Args:
        config: An `EGNNConfig`.

    Attributes:
        irreps_out: ``"{hidden}x0e+1x1o"``: invariants, then the displacement ``u_i`` in Å.

    Properties:
        equivariance: rotations, reflections and translations move the vector outputs and leave the scalars.
        permutation: relabelling the atoms relabels the outputs.
        smooth_at_cutoff: with ``envelope``, outputs are smooth as an atom crosses the cutoff.

    References:
        V. G. Satorras, E. Hoogeboom, M. Welling, E(n) equivariant graph neural networks, ICML 2021.
    """

    config_class = EGNNConfig

    def __init__(self, config: EGNNConfig) -> None:
        super().__init__(config)
        self.irreps_out = Irreps(f"{config.hidden}x0e+1x1o")
        self.embedding = SpeciesEmbedding(config.species, config.hidden)
        self.speed = torch.nn.Linear(1, config.hidden) if config.velocities else None
        self.radial = BesselBasis(config.radial, config.cutoff) if config.radial else None
        self.envelope = PolynomialEnvelope(config.cutoff) if config.envelope else None
        self.layers = torch.nn.ModuleList(EGNNLayer(config) for _ in range(config.layers))
        self.output = torch.nn.Linear(config.hidden + 1, config.hidden)

    @full_precision
    def forward(self, graph: Graph) -> dict[str, torch.Tensor]:
        """Compute node features and new coordinates.

        Args:
            graph: A graph; with ``config.velocities``, ``graph.extras["velocities"]`` of shape ``[N, 3]``.

        Returns:
            ``node_features`` ``[N, hidden + 3]``, ``positions`` ``[N, 3]`` in Å (the updated coordinates) and, in the
            velocity variant, ``velocities`` ``[N, 3]`` (the last layer's).

        Raises:
            GraphError: The velocity variant was given a graph without velocities.
            UnknownSpeciesError: An element that is not in ``config.species``.
        """
        start = graph.edge_vectors()
        edge_index = graph.edge_index
        sender, receiver = edge_index[0], edge_index[1]
        attributes, weight = self._edge_terms(start)
        initial_velocity = self._velocities(graph)
        h = self.embedding(graph.atomic_numbers)
        if self.speed is not None and initial_velocity is not None:
            square = (initial_velocity * initial_velocity).sum(dim=-1, keepdim=True)
            h = h + self.speed(torch.sqrt(square + _TINY))
        moved = torch.zeros_like(graph.positions)
        velocity = initial_velocity
        for module in self.layers:
            layer = cast("EGNNLayer", module)
            difference = -(start + moved[sender] - moved[receiver])
            gate = None if layer.velocity is None else layer.velocity(h)
            h, shift = layer(h, difference, attributes, weight, edge_index)
            if gate is not None and initial_velocity is not None:
                velocity = gate * initial_velocity + shift
                moved = moved + velocity
            else:
                moved = moved + shift
        invariant = self.output(torch.cat([h, (moved * moved).sum(dim=-1, keepdim=True)], dim=-1))
        outputs = {"node_features": torch.cat([invariant, moved], dim=-1), "positions": graph.positions + moved}
        if velocity is not None:
            outputs["velocities"] = velocity
        return outputs

    def _edge_terms(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        length = torch.linalg.vector_norm(vectors, dim=-1)
        weight = torch.ones_like(length) if self.envelope is None else self.envelope(length)
        attributes = vectors.new_zeros((len(length), 0)) if self.radial is None else self.radial(length)
        return attributes, weight.reshape(-1, 1)

    def _velocities(self, graph: Graph) -> torch.Tensor | None:
        if self.speed is None:
            return None
        velocities = graph.extras.get("velocities")
        if velocities is None:
            raise GraphError(
                "this EGNN was built with velocities=True, but the graph has none. Put a tensor of shape [N, 3] "
                'into graph.extras["velocities"], or build the model with velocities=False.'
            )
        if velocities.shape != graph.positions.shape:
            raise ShapeError(
                f"velocities must have the shape of the positions, {tuple(graph.positions.shape)}, "
                f"not {tuple(velocities.shape)}."
            )
        return velocities.to(graph.positions.dtype)

"""Graphs seen from their frames: every graph once for each of its frames, side by side in one disjoint batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from equitools.ops import segment_mean
from equitools.symmetrize import Frames, frames
from equitools.symmetrize.gram_schmidt_frames import SPARSITY
from equitools.symmetrize.weighted_frames import GAPS

if TYPE_CHECKING:
    from equitools.graph import Graph

__all__ = ["Copies", "copies_of", "frames_of_graphs"]


class Copies(NamedTuple):
    """M copies of the graphs of a batch, in the order of the graphs.

    Attributes:
        element: ``[M, 3, 3]``, the frame g of each copy; it sees a vector v as g⁻¹v.
        weight: ``[M]``, adding up to 1 over the copies of a graph.
        node: ``[N']``, of which atom each copied atom is a copy.
        edge: ``[E']``, of which edge each copied edge is a copy.
        node_copy: ``[N']``, to which copy an atom belongs.
        edge_copy: ``[E']``, to which copy an edge belongs.
        edge_index: ``[2, E']``, sender and receiver among the copied atoms, sorted by receiver.
    """

    element: Tensor
    weight: Tensor
    node: Tensor
    edge: Tensor
    node_copy: Tensor
    edge_copy: Tensor
    edge_index: Tensor

    def seen(self, vectors: Tensor) -> Tensor:
        """Return vectors ``[E, 3]`` of the edges as the copies see them, ``[E', 3]``."""
        inverse = self.element.index_select(0, self.edge_copy)
        return (vectors.index_select(0, self.edge).unsqueeze(1) @ inverse).squeeze(1)  # rᵀg = (g⁻¹r)ᵀ

    def average(self, scalars: Tensor, num_nodes: int) -> Tensor:
        """Return the weighted means ``[N, C]`` of what the copies of each atom hold, ``[N', C]``."""
        weighted = scalars * self.weight.index_select(0, self.node_copy).unsqueeze(1)
        return scalars.new_zeros((num_nodes, scalars.shape[1])).index_add(0, self.node, weighted)

    def average_vectors(self, vectors: Tensor, num_nodes: int) -> Tensor:
        """Turn vectors ``[N', 3]`` back and return their weighted means ``[N, 3]``."""
        element = self.element.index_select(0, self.node_copy)
        return self.average((element @ vectors.unsqueeze(-1)).squeeze(-1), num_nodes)


def frames_of_graphs(
    graph: Graph, vectors: Tensor, closeness: Tensor, symmetry: str, mode: str, *, planar: bool = False,
    degree: int = 1, sparsity: float = SPARSITY, gaps: tuple[float, float] | None = GAPS,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return frames of every graph of a batch.

    An isolated system is a cloud of its atoms about their mean. The atoms of a periodic one have no positions that all
    periodic images agree on; it is the cloud of its edge vectors, each as long as its closeness says.

    Args:
        graph: The batch.
        vectors: ``graph.edge_vectors()``.
        closeness: ``[E]``, the length that the vector of an edge gets in a periodic system's cloud; 0 at the cutoff.
        symmetry: ``"E(3)"`` or ``"SE(3)"``.
        mode: Of `equitools.symmetrize.frames`, or ``"sample_weighted"``: one of the weighted frames of each graph,
            drawn with its weight as the probability.
        planar: Frames of the plane, that leave z as it is.
        degree: Of what is averaged over the symmetry of linear systems: one more than the degree of the outputs, so
            that their gradients are averaged exactly, too.
        sparsity: Of weighted frames.
        gaps: Of weighted frames.

    Returns:
        Elements ``[B, F, 3, 3]`` and weights ``[B, F]``. Graphs without edges have the identity: nothing of them
        depends on a direction.
    """
    points, owner = _points(graph, vectors, closeness)
    dim = 2 if planar else 3
    group = ("O" if symmetry == "E(3)" else "SO") + f"({dim})"
    edges = torch.bincount(graph.batch[graph.edge_index[1]], minlength=graph.num_graphs)
    directed = edges > 0
    identity = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    if not bool(directed.any()):
        return identity.expand(graph.num_graphs, 1, 3, 3), vectors.new_ones(graph.num_graphs, 1)
    cloud, mask = _padded(points[..., :dim], owner, graph.num_graphs)
    wide = torch.float32 if vectors.device.type == "mps" else torch.float64
    kind = "weighted" if mode == "sample_weighted" else mode
    found = frames(cloud[directed].to(wide), group, mask[directed], kind, degree=degree, sparsity=sparsity, gaps=gaps)
    if mode == "sample_weighted":
        found = _drawn(*found)
    elements, weights = found.elements.to(vectors.dtype), found.weights.to(vectors.dtype)
    if planar:
        lifted = identity.expand(*elements.shape[:2], 3, 3).clone()
        lifted[..., :2, :2] = elements
        elements = lifted
    if bool(directed.all()):
        return elements, weights
    all_elements = identity.expand(graph.num_graphs, elements.shape[1], 3, 3).clone()
    all_weights = torch.zeros_like(weights[:1]).expand(graph.num_graphs, -1).clone()
    all_weights[:, 0] = 1.0
    return all_elements.masked_scatter(directed[:, None, None, None], elements), all_weights.masked_scatter(
        directed[:, None], weights
    )


def _drawn(elements: Tensor, weights: Tensor) -> Frames:
    picked = torch.multinomial(weights.detach(), 1)
    rows = torch.arange(len(weights), device=weights.device)[:, None]
    return Frames(elements[rows, picked], torch.ones_like(weights[:, :1]))


def _points(graph: Graph, vectors: Tensor, closeness: Tensor) -> tuple[Tensor, Tensor]:
    """Return the points of all clouds and the graph that each belongs to, ascending."""
    periodic = graph.pbc.any(dim=1)
    receiver = graph.edge_index[1]
    centred = graph.positions - segment_mean(graph.positions, graph.batch, graph.num_graphs)[graph.batch]
    if not bool(periodic.any()):
        return centred, graph.batch
    length = torch.linalg.vector_norm(vectors, dim=-1).clamp_min(1e-12)
    scaled = vectors * (closeness / length).unsqueeze(1)
    owner = graph.batch[receiver]
    if bool(periodic.all()):
        return scaled, owner
    atoms, edges = ~periodic[graph.batch], periodic[owner]
    points = torch.cat([centred[atoms], scaled[edges]])
    owner, order = torch.sort(torch.cat([graph.batch[atoms], owner[edges]]), stable=True)
    return points[order], owner


def _padded(points: Tensor, owner: Tensor, num: int) -> tuple[Tensor, Tensor]:
    count = torch.bincount(owner, minlength=num)
    slot = torch.arange(len(owner), device=owner.device) - (count.cumsum(0) - count)[owner]
    mask = torch.arange(int(count.max()), device=owner.device) < count.unsqueeze(1)
    cloud = points.new_zeros(*mask.shape, points.shape[1])
    return cloud.index_put((owner, slot), points), mask


def copies_of(graph: Graph, elements: Tensor, weights: Tensor) -> Copies:
    """Copy each graph once for each of its frames that counts.

    Args:
        graph: The batch.
        elements: ``[B, F, 3, 3]``.
        weights: ``[B, F]``; frames of weight 0 are left out.

    Returns:
        The copies.
    """
    which, frame = (weights.detach() != 0).nonzero(as_tuple=True)
    nodes = graph.num_nodes_per_graph
    edges = torch.bincount(graph.batch[graph.edge_index[1]], minlength=graph.num_graphs)
    node, node_copy, shift = _ranges(nodes, which)
    edge, edge_copy, _ = _ranges(edges, which)
    return Copies(
        element=elements[which, frame],
        weight=weights[which, frame],
        node=node,
        edge=edge,
        node_copy=node_copy,
        edge_copy=edge_copy,
        edge_index=graph.edge_index[:, edge] + shift[edge_copy],
    )


def _ranges(count: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For blocks of ``count`` rows: the rows of the blocks ``which``, the place of each in it, and how far it moved."""
    length = count[which]
    start = length.cumsum(0) - length
    shift = start - (count.cumsum(0) - count)[which]
    copy = torch.repeat_interleave(torch.arange(len(which), device=which.device), length)
    return torch.arange(len(copy), device=which.device) - shift[copy], copy, shift

"""Graphs seen from their frames: every graph once for each of its frames, side by side in one disjoint batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.ops import segment_mean, segment_sum
from equitools.symmetrize import Frames, frames
from equitools.symmetrize.gram_schmidt_frames import MAX_FRAMES, SPARSITY
from equitools.symmetrize.weighted_frames import GAPS

if TYPE_CHECKING:
    from equitools.graph import Graph

__all__ = ["Copies", "copies_of", "frames_of_graphs"]

#: By which share the longer of two opposite edges of a periodic system gets longer at most, the other one shorter.
SLOPE = 0.3


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

    def parts(self, edges: int) -> Iterator[Copies]:
        """Split into runs of whole copies with about ``edges`` copied edges each, but never less than one copy."""
        most = max(edges, 1)
        total = torch.bincount(self.edge_copy, minlength=len(self.weight)).cumsum(0)
        if len(total) < 2 or int(total[-1]) <= most:
            yield self
            return
        nodes = torch.bincount(self.node_copy, minlength=len(self.weight)).cumsum(0).tolist()
        run, edges_until = torch.div(total - 1, most, rounding_mode="floor"), total.tolist()
        start, node, edge = 0, 0, 0
        for stop in [*(run.diff().nonzero().flatten() + 1).tolist(), len(run)]:
            node_end, edge_end = nodes[stop - 1], edges_until[stop - 1]
            n, e = slice(node, node_end), slice(edge, edge_end)
            yield Copies(
                element=self.element[start:stop],
                weight=self.weight[start:stop],
                node=self.node[n],
                edge=self.edge[e],
                node_copy=self.node_copy[n] - start,
                edge_copy=self.edge_copy[e] - start,
                edge_index=self.edge_index[:, e] - node,
            )
            start, node, edge = stop, node_end, edge_end

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
    max_frames: int = MAX_FRAMES,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return frames of every graph of a batch.

    An isolated system is a cloud of its atoms about their mean. The atoms of a periodic one have no positions that all
    periodic images agree on; it is the cloud of its edge vectors, each as long as its closeness says, and the longer of
    two that are opposite where it goes from the atom that has less around it to the one that has more. Without that,
    every cloud were its own inversion, and no third moment could tell one sign of an axis from the other.

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
        max_frames: Most frames of one graph.

    Raises:
        ConfigError: A graph has more; the message says what to do.

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
    drawn = mode in ("sample", "sample_weighted")  # one of however many
    most = MAX_FRAMES if drawn else max_frames
    try:
        found = frames(
            cloud[directed].to(wide), group, mask[directed], kind,
            degree=degree, sparsity=sparsity, gaps=gaps, max_frames=most,
        )  # fmt: skip
    except ConfigError as error:
        if "max_frames" not in str(error):
            raise
        raise ConfigError(_too_many(f"more than {most}", most)) from error
    counts = (found.weights.detach() > 0).sum(1)
    if not drawn and len(counts) and int(counts.max()) > most:
        raise ConfigError(_too_many(str(int(counts.max())), most))
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


def _too_many(count: str, most: int) -> str:
    return (
        f"A structure has {count} weighted frames, over the limit max_frames = {most}: many of its atoms (edges, where "
        "it is periodic) are equally far out, as in a crystal. For slabs take dimensions=2; else raise sparsity "
        'towards 0.79, take frames_in_eval="full" (few frames where the principal axes are unique, but energies that '
        "jump where they are not), or raise max_frames: the time grows with it, the memory does not."
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
    # something that tells the two ends of an edge apart: the element, and how much is around
    around = segment_sum(closeness.unsqueeze(1), receiver, graph.num_nodes).squeeze(1)
    around = around + 0.1 * graph.atomic_numbers.to(around)
    slope = torch.tanh(around.index_select(0, receiver) - around.index_select(0, graph.edge_index[0]))
    scaled = vectors * (closeness * (1 + SLOPE * slope) / length).unsqueeze(1)
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

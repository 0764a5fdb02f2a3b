"""Several structures in one graph, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from equitools.errors import GraphError
from equitools.graph.graph import Graph

__all__ = ["batch", "unbatch"]


def batch(graphs: Sequence[Graph]) -> Graph:
    """Put structures side by side in one graph, without edges between them.

    Args:
        graphs: At least one; each may itself be a batch. All must have the same cutoff, dtype, device, labels and
            extras.

    Returns:
        A graph with the sum of all atoms, edges and structures; edges stay sorted by receiver.

    Raises:
        GraphError: for an empty sequence, or graphs that do not match.

    Properties:
        unbatch_inverts_batch: ``unbatch(batch(graphs))`` returns the graphs.
    """
    graphs = list(graphs)
    if not graphs:
        raise GraphError("equitools.graph.batch needs at least one graph, but was given none.")
    first = graphs[0]
    _check_alike(graphs)
    if len(graphs) == 1:
        return first
    indices, edges = [], []
    node_start = graph_start = 0
    for graph in graphs:
        indices.append(graph.batch + graph_start)
        edges.append(graph.edge_index + node_start)
        node_start += graph.num_nodes
        graph_start += graph.num_graphs
    return Graph(
        positions=torch.cat([graph.positions for graph in graphs]),
        atomic_numbers=torch.cat([graph.atomic_numbers for graph in graphs]),
        cell=torch.cat([graph.cell for graph in graphs]),
        pbc=torch.cat([graph.pbc for graph in graphs]),
        batch=torch.cat(indices),
        edge_index=torch.cat(edges, dim=1),
        edge_shift=torch.cat([graph.edge_shift for graph in graphs]),
        cutoff=first.cutoff,
        labels=_joined([graph.labels for graph in graphs]),
        label_levels=dict(first.label_levels),
        extras=_joined([graph.extras for graph in graphs]),
        extra_levels=dict(first.extra_levels),
    )


def unbatch(graph: Graph) -> list[Graph]:
    """Split a graph into its structures, in order; tensors are views where they can be.

    Args:
        graph: Any batch; edges sorted by receiver.

    Returns:
        One graph of one structure each.
    """
    node_counts = graph.num_nodes_per_graph
    edge_counts = torch.bincount(graph.batch[graph.edge_index[1]], minlength=graph.num_graphs)
    node_stops, edge_stops = node_counts.cumsum(0).tolist(), edge_counts.cumsum(0).tolist()
    pieces = []
    node_start = edge_start = 0
    for index, (node_stop, edge_stop) in enumerate(zip(node_stops, edge_stops, strict=True)):
        nodes, edges, one = slice(node_start, node_stop), slice(edge_start, edge_stop), slice(index, index + 1)
        pieces.append(
            Graph(
                positions=graph.positions[nodes],
                atomic_numbers=graph.atomic_numbers[nodes],
                cell=graph.cell[one],
                pbc=graph.pbc[one],
                batch=graph.batch[nodes] - index,
                edge_index=graph.edge_index[:, edges] - node_start,
                edge_shift=graph.edge_shift[edges],
                cutoff=graph.cutoff,
                labels=_part(graph.labels, graph.label_levels, nodes, one),
                label_levels=dict(graph.label_levels),
                extras=_part(graph.extras, graph.extra_levels, nodes, one),
                extra_levels=dict(graph.extra_levels),
            )
        )
        node_start, edge_start = node_stop, edge_stop
    return pieces


def _check_alike(graphs: Sequence[Graph]) -> None:
    first = graphs[0]
    for position, graph in enumerate(graphs[1:], start=1):
        for name in ("cutoff", "dtype", "device"):
            if getattr(graph, name) != getattr(first, name):
                raise GraphError(
                    f"Graphs in a batch must share one {name}, but graph 0 has {getattr(first, name)} and graph "
                    f"{position} has {getattr(graph, name)}."
                )
        for kind, mine, theirs in (
            ("labels", first.label_levels, graph.label_levels),
            ("extras", first.extra_levels, graph.extra_levels),
        ):
            if mine != theirs:
                raise GraphError(
                    f"Graphs in a batch must have the same {kind}, but graph 0 has {_words(mine)} and graph {position} "
                    f"has {_words(theirs)}. Leave out what not all have."
                )
        for name, value in graph.labels.items():
            if value.shape[1:] != first.labels[name].shape[1:]:
                raise GraphError(
                    f"Label {name!r} has the shape {list(first.labels[name].shape)} in graph 0 and "
                    f"{list(value.shape)} in graph {position}; all dimensions after the first must agree."
                )


def _words(levels: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({level})" for name, level in sorted(levels.items())) or "none"


def _joined(values: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([each[name] for each in values]) for name in values[0]}


def _part(values: Mapping[str, Tensor], levels: Mapping[str, str], nodes: slice, one: slice) -> dict[str, Tensor]:
    return {name: value[nodes if levels[name] == "node" else one] for name, value in values.items()}

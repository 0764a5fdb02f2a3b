"""A torch data set of graphs whose neighbour lists are found once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.utils.data

from equitools.data.labels import structure_from_atoms
from equitools.data.structure import Structure
from equitools.errors import DataError
from equitools.graph import Graph, batch

__all__ = ["Dataset", "collate"]


class Dataset(torch.utils.data.Dataset[Graph]):
    """Graphs of structures, in their order; each is built when it is first asked for, and then kept.

    Args:
        structures: From `equitools.data.read`; an ``ase.Atoms`` is turned into a `Structure` first.
        cutoff: Å.
        dtype: Of the geometry; energy labels stay float64.
        labels: Names to take along; None takes those that every structure has, so that any can be batched with any.
        extras: Names of further inputs to take along (``velocities``, ``total_charge``).

    Raises:
        DataError: for an empty sequence.
        LabelError: if a structure lacks a named label (when it is asked for; call `require` first).

    Properties:
        deterministic: the same index gives the same graph.
    """

    def __init__(
        self,
        structures: Sequence[Structure | Any],
        cutoff: float,
        dtype: torch.dtype = torch.float32,
        labels: Iterable[str] | None = None,
        extras: Iterable[str] = (),
    ) -> None:
        self.structures: list[Structure] = [
            item if isinstance(item, Structure) else structure_from_atoms(item, index=index)
            for index, item in enumerate(structures)
        ]
        if not self.structures:
            raise DataError("A Dataset needs at least one structure, but was given none.")
        self.cutoff = float(cutoff)
        self.dtype = dtype
        self.extras = tuple(extras)
        if labels is None:
            common = set.intersection(*(set(structure.labels) for structure in self.structures))
            self.labels = tuple(name for name in self.structures[0].labels if name in common)
        else:
            self.labels = tuple(labels)
        self._graphs: list[Graph | None] = [None] * len(self.structures)

    def __len__(self) -> int:
        return len(self.structures)

    def __getitem__(self, index: int) -> Graph:
        graph = self._graphs[index]
        if graph is None:
            graph = self.structures[index].to_graph(self.cutoff, self.dtype, self.labels, self.extras)
            self._graphs[index] = graph
        return graph

    def prepare(self, progress: Callable[[Iterable[int]], Iterable[int]] | None = None) -> Dataset:
        """Build all graphs now (before worker processes copy the data set), and return the data set itself.

        Args:
            progress: Wraps the iterable of indices, as ``rich.progress.track`` does.
        """
        indices: Iterable[int] = range(len(self))
        for index in indices if progress is None else progress(indices):
            self[index]
        return self

    def subset(self, indices: Iterable[int]) -> Dataset:
        """Return a data set of some structures, sharing the graphs that are already built."""
        chosen = [int(index) for index in indices]
        part = Dataset([self.structures[index] for index in chosen], self.cutoff, self.dtype, self.labels, self.extras)
        part._graphs = [self._graphs[index] for index in chosen]
        return part


def collate(graphs: Sequence[Graph]) -> Graph:
    """Join a mini-batch: the ``collate_fn`` of a ``DataLoader``."""
    return batch(list(graphs))

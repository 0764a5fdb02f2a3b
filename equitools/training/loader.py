"""Batches in an order that depends on seed and epoch alone, so that a resumed run sees what the first would have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from equitools.graph import Graph

__all__ = ["BatchLoader", "FixedBatches"]


class BatchLoader:
    """Shuffled training batches, collated when they are asked for; graphs and their neighbour lists exist already.

    Args:
        graphs: The training set.
        collate: Joins graphs into a batch.
        batch_size: Structures in a batch, of this process.
        seed: Of the order.
        rank: Number of this process.
        world_size: Number of processes. Each epoch's order is dealt out in turn; where it does not come out even, the
            first structures are repeated, so that all processes take the same number of steps.

    Attributes:
        epoch: Set before each pass.

    Properties:
        order_depends_on_seed_and_epoch: not on what was drawn before.
        ranks_share_the_epoch: together, the processes see every structure.
    """

    def __init__(
        self,
        graphs: Sequence[Graph],
        collate: Callable[[list[Graph]], Graph],
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.graphs, self.collate, self.batch_size, self.seed = graphs, collate, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        share = -(-len(graphs) // world_size)
        self._share, self._count = share, -(-share // batch_size)

    def __len__(self) -> int:
        """Number of batches of this process."""
        return self._count

    def order(self) -> list[int]:
        """Return the structures of this process in this epoch."""
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.graphs))
        return np.resize(order, self._share * self.world_size)[self.rank :: self.world_size].tolist()

    def __iter__(self) -> Iterator[Graph]:
        """Yield the epoch's batches; the order is drawn when the first is asked for."""
        order = self.order()
        for start in range(0, len(order), self.batch_size):
            yield self.collate([self.graphs[index] for index in order[start : start + self.batch_size]])


class FixedBatches:
    """Batches made once, in the order of the data; each process has its share, none twice.

    Args:
        graphs: The validation or test set.
        collate: Joins graphs into a batch.
        batch_size: Structures in a batch.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        graphs: Sequence[Graph],
        collate: Callable[[list[Graph]], Graph],
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        mine = list(graphs[rank::world_size])
        self.batches = [collate(mine[start : start + batch_size]) for start in range(0, len(mine), batch_size)]

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.batches)

    def __iter__(self) -> Iterator[Graph]:
        """Yield the batches."""
        return iter(self.batches)

"""Elements as vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equitools.errors import ConfigError, UnknownSpeciesError
from equitools.ops.tracing import tracing

__all__ = ["SpeciesEmbedding", "SpeciesIndex", "species_index"]


def species_index(atomic_numbers: Tensor, table: Tensor, species: Sequence[int]) -> Tensor:
    """Look up the position of each atomic number among the species that a model knows.

    Args:
        atomic_numbers: ``[N]`` int64.
        table: ``[≥ 119]`` int64 with the position at the atomic number and −1 elsewhere.
        species: The known atomic numbers, for the message.

    Returns:
        ``[N]`` int64.

    Raises:
        UnknownSpeciesError: An element that the model has never seen.
    """
    inside = (atomic_numbers >= 0) & (atomic_numbers < len(table))
    index = torch.where(inside, table[atomic_numbers.clamp(0, len(table) - 1)], -1)
    if tracing():
        torch._assert_async((index >= 0).all(), "an element that the model has never seen")
    elif bool((index < 0).any()):
        unknown = sorted({int(z) for z in atomic_numbers[index < 0]})
        raise UnknownSpeciesError(
            f"The structure holds atomic number(s) {unknown}, which the model has never seen. It knows "
            f"{list(species)}. Train a model on data with these elements."
        )
    return index


class SpeciesIndex(torch.nn.Module):
    """Atomic numbers to positions 0 … S−1 among the known species.

    Args:
        species: The known atomic numbers, ascending.
    """

    table: Tensor

    def __init__(self, species: Sequence[int]) -> None:
        super().__init__()
        self.species = tuple(int(z) for z in species)
        if not self.species or len(set(self.species)) != len(self.species) or min(self.species) < 0:
            raise ConfigError(f"The species must be different atomic numbers, not {list(species)}.")
        table = torch.full((max(119, *self.species) + 1,), -1, dtype=torch.int64)
        table[list(self.species)] = torch.arange(len(self.species))
        self.register_buffer("table", table, persistent=False)

    def forward(self, atomic_numbers: Tensor) -> Tensor:
        """Map ``[N]`` atomic numbers to ``[N]`` positions."""
        return species_index(atomic_numbers, self.table, self.species)


class SpeciesEmbedding(torch.nn.Module):
    """One learned vector for each known element.

    Args:
        species: The known atomic numbers, ascending.
        dim: Length of the vectors.

    Raises:
        UnknownSpeciesError: In `forward`, for an element that is not among them.
    """

    def __init__(self, species: Sequence[int], dim: int) -> None:
        super().__init__()
        self.index = SpeciesIndex(species)
        self.weight = torch.nn.Parameter(torch.randn(len(self.index.species), dim))

    @property
    def species(self) -> tuple[int, ...]:
        """The known atomic numbers."""
        return self.index.species

    def forward(self, atomic_numbers: Tensor) -> Tensor:
        """Map ``[N]`` atomic numbers to ``[N, dim]``."""
        return self.weight.index_select(0, self.index(atomic_numbers))

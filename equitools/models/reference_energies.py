"""Energies of the isolated atoms: large numbers that must not pass through float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from equitools.errors import ConfigError, UnknownSpeciesError
from equitools.models.elements import SYMBOLS, atomic_number
from equitools.models.readout import accumulation_dtype, as_plain
from equitools.ops.tracing import tracing

__all__ = ["ReferenceEnergies"]


class ReferenceEnergies(torch.nn.Module):
    """A table of one energy per element, kept and looked up in float64.

    A total energy of −9391 eV has a spacing of 1 meV in float32. The table is therefore no buffer: ``.float()``,
    ``.half()`` and the state_dict do not touch it, and a model file stores its numbers as decimal text, exactly.

    Args:
        species: Atomic numbers that the model knows.
        energies: Energy in eV by atomic number or symbol; ``None`` for zeros. Elements beyond ``species`` are ignored.

    Raises:
        ConfigError: An element of ``species`` has no energy, or one is not a finite number.

    Properties:
        survives_float: ``module.float()`` changes no digit of the table.
    """

    def __init__(self, species: Sequence[int], energies: Mapping[Any, float] | None = None) -> None:
        super().__init__()
        try:
            given = {atomic_number(key): as_plain(value) for key, value in (energies or {}).items()}
        except (TypeError, ValueError) as error:
            raise ConfigError(f"reference energies must be one number in eV for each element: {error}") from error
        missing = [SYMBOLS[z - 1] for z in species if z not in given]
        if energies is not None and missing:
            raise ConfigError(
                f"no reference energy for {', '.join(missing)}; given were "
                f"{', '.join(SYMBOLS[z - 1] for z in sorted(given)) or 'none'}. Give one for each element of the model."
            )
        self.energies: dict[int, float] = {z: given.get(z, 0.0) for z in sorted(species)}
        table = torch.full((len(SYMBOLS) + 1,), torch.nan, dtype=torch.float64)
        for number, value in self.energies.items():
            table[number] = value
        self._tables = {torch.device("cpu"): table}

    def forward(self, atomic_numbers: torch.Tensor) -> torch.Tensor:
        """Look the atoms up.

        Args:
            atomic_numbers: ``[N]`` int64.

        Returns:
            ``[N]`` eV, float64 (float32 on a device without float64).

        Raises:
            UnknownSpeciesError: An element that the table does not have.
        """
        device = atomic_numbers.device
        if device not in self._tables:
            table = self._tables[torch.device("cpu")]
            self._tables[device] = table.to(accumulation_dtype(device)).to(device)
        in_range = (atomic_numbers >= 1) & (atomic_numbers <= len(SYMBOLS))
        values = self._tables[device][torch.where(in_range, atomic_numbers, 0)]
        unknown = torch.isnan(values)
        if tracing():
            torch._assert_async(~unknown.any(), "an element that the model has never seen")
        elif bool(unknown.any()):
            names = [_name(int(z)) for z in torch.unique(atomic_numbers[unknown])]
            known = ", ".join(SYMBOLS[z - 1] for z in self.energies)
            raise UnknownSpeciesError(
                f"the model has never seen {', '.join(names)}; it knows {known}. Train a model with these elements."
            )
        return values

    def extra_repr(self) -> str:
        """Show the table."""
        return ", ".join(f"{SYMBOLS[z - 1]}: {value:.6g} eV" for z, value in self.energies.items())


def _name(number: int) -> str:
    return SYMBOLS[number - 1] if 1 <= number <= len(SYMBOLS) else f"atomic number {number}"

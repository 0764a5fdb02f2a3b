"""`Structure`: one configuration as it stood in a file, with its labels in the library's units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from equitools.errors import LabelError
from equitools.graph import Graph

__all__ = ["Structure"]


@dataclass(eq=False)
class Structure:
    """One configuration with its labels.

    Attributes:
        positions: ``[N, 3]`` Å, float64.
        numbers: ``[N]`` int64 atomic numbers.
        cell: ``[3, 3]`` Å, rows are lattice vectors.
        pbc: ``[3]`` bool.
        labels: By name, in eV, eV/Å, eV/Å³, e·Å, e; stress as ``[3, 3]``.
        label_levels: ``"graph"`` or ``"node"`` for each label.
        label_keys: Where each label was found, such as ``results.energy`` (of the stored calculator) or
            ``info.REF_energy``.
        label_units: Units of labels that `equitools.graph.KEYS` does not know.
        extras: Further inputs: ``velocities [N, 3]`` Å/fs and ``total_charge`` e and ASE's ``tags [N]``, where the file
            has them.
        info: The configuration's plain entries that are no labels (strings, numbers).
        other_keys: Keys of the file that were not read as labels; they help after a misspelt name.
        source: The file.
        index: The configuration's place in the file, from 0.
    """

    positions: np.ndarray
    numbers: np.ndarray
    cell: np.ndarray = field(default_factory=lambda: np.zeros((3, 3)))
    pbc: np.ndarray = field(default_factory=lambda: np.zeros(3, dtype=bool))
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    label_levels: dict[str, str] = field(default_factory=dict)
    label_keys: dict[str, str] = field(default_factory=dict)
    label_units: dict[str, str] = field(default_factory=dict)
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    other_keys: tuple[str, ...] = ()
    source: str = ""
    index: int = 0

    def __len__(self) -> int:
        return int(self.numbers.shape[0])

    @property
    def where(self) -> str:
        """File and configuration, for messages."""
        return f"configuration {self.index}" + (f" of {self.source}" if self.source else "")

    @property
    def atoms(self) -> Any:
        """A new ``ase.Atoms`` with this geometry, without labels or calculator."""
        from ase import Atoms

        return Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc, info=dict(self.info))

    @property
    def formula(self) -> str:
        """Chemical formula in Hill order."""
        from ase.formula import Formula

        return str(Formula.from_list(list(self.atoms.symbols)).format("hill"))

    def to_graph(
        self,
        cutoff: float,
        dtype: torch.dtype = torch.float32,
        labels: Iterable[str] | None = None,
        extras: Iterable[str] = (),
    ) -> Graph:
        """Make the graph of this structure.

        Args:
            cutoff: Å.
            dtype: Of the geometry; energies stay float64.
            labels: Names to take along; None takes all.
            extras: Names of extra inputs to take along.

        Raises:
            LabelError: if a name is not there.
            GraphError: if the geometry is not sound.
        """
        names = list(self.labels) if labels is None else list(labels)
        return Graph.from_arrays(
            self.positions,
            self.numbers,
            self.cell,
            self.pbc,
            cutoff=cutoff,
            dtype=dtype,
            labels={name: self._pick(self.labels, name, "label") for name in names},
            label_levels=self.label_levels,
            extras={name: self._pick(self.extras, name, "extra input") for name in extras},
        )

    def _pick(self, values: Mapping[str, np.ndarray], name: str, kind: str) -> np.ndarray:
        if name not in values:
            raise LabelError(
                f"The {kind} {name!r} is missing in {self.where}; it has {', '.join(sorted(values)) or 'none'}."
            )
        return values[name]

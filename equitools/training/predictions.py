"""A model's predictions beside the structures they are of, as extended XYZ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equitools._atomic import atomic_path
from equitools.errors import DataError
from equitools.training.metrics import Metrics

if TYPE_CHECKING:
    from equitools.data import Structure

__all__ = ["write_predictions"]

_ASE = ("energy", "forces", "stress", "dipole")


def write_predictions(path: str | Path, structures: Sequence[Structure], metrics: Metrics) -> Path:
    """Write the structures with what the model predicts for them, whole or not at all.

    Energy, forces, stress and dipole are written as ASE's own results, so that ``ase.io.read`` gives them back; other
    outputs under their names.

    Args:
        path: Of the extended XYZ file.
        structures: In the order in which they were evaluated.
        metrics: From `equitools.training.evaluate` with ``keep=True``.

    Raises:
        DataError: The metrics are not of these structures.
    """
    from ase import io
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms_of = np.array([len(structure) for structure in structures])
    columns = {name: output for name, (_, output) in metrics.pairs().items()}
    frames = []
    for name, values in columns.items():
        if len(values) % len(structures) and len(values) % max(1, int(atoms_of.sum())):
            raise DataError(f"The predictions of {name!r} are not of these {len(structures)} structures.")
    starts = np.concatenate([[0], np.cumsum(atoms_of)])
    for index, structure in enumerate(structures):
        atoms = structure.atoms
        results: dict[str, Any] = {}
        for name, values in columns.items():
            value = _part(name, values, structure, index, starts, len(structures))
            if name in _ASE:
                results[name] = value
            elif value.ndim and len(value) == len(structure) and structure.label_levels.get(name) == "node":
                atoms.arrays[name] = value
            else:
                atoms.info[name] = value if value.ndim else value.item()
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    with atomic_path(path) as temporary:
        io.write(temporary, frames, format="extxyz")
    return Path(path)


def _part(name: str, values: np.ndarray, structure: Structure, index: int, starts: np.ndarray, count: int) -> Any:
    """Cut one structure's prediction out of the flat array of all."""
    if structure.label_levels.get(name) == "node":
        rows = values.reshape(int(starts[-1]), -1)[starts[index] : starts[index + 1]]
        return rows if rows.shape[1] > 1 else rows[:, 0]
    row = values.reshape(count, -1)[index]
    if name == "stress":
        return row.reshape(3, 3)
    return row if len(row) > 1 else row[0]

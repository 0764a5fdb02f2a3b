"""Numbers that a model is scaled by: reference energies, spread of the labels, mean number of neighbours."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from equitools.data.datasets import Dataset
from equitools.data.read import read
from equitools.data.structure import Structure
from equitools.errors import DataError, LabelError, UnknownSpeciesError, nearest
from equitools.graph import Graph
from equitools.graph.keys import ENERGY, FORCES

__all__ = [
    "ReferenceFit",
    "Statistics",
    "average_energies",
    "fit_reference_energies",
    "isolated_energies",
    "reference_energies",
    "reference_fit",
    "reference_sums",
    "statistics",
]

Item = Structure | Graph
Items = Iterable[Item] | Dataset
NEIGHBOUR_SAMPLE = 1000


@dataclass(frozen=True)
class ReferenceFit:
    """Reference energies from least squares.

    Attributes:
        energies: Atomic number → eV.
        unique: Whether the compositions determine them; if not, the solution of least norm was taken.
        residual_rms: RMS of what is left, eV per structure.
    """

    energies: dict[int, float]
    unique: bool
    residual_rms: float


@dataclass(frozen=True)
class Statistics:
    """Statistics of a data set.

    Attributes:
        num_structures: How many.
        species: Atomic numbers, ascending.
        num_atoms_mean: Mean number of atoms.
        reference_energies: Atomic number → eV; empty without energies.
        energy_per_atom_mean: Mean over structures of (energy − reference energies) / atoms, eV.
        energy_per_atom_std: Its standard deviation, eV.
        forces_rms: Root mean square over all force components, eV/Å; None without forces.
        avg_num_neighbors: Mean number of edges that an atom receives; None without a cutoff.
        spread: Standard deviation of each label over its components about their mean (energy: of what the reference
            energies leave): the yardstick beside an error table.
    """

    num_structures: int
    species: tuple[int, ...]
    num_atoms_mean: float
    reference_energies: dict[int, float]
    energy_per_atom_mean: float | None
    energy_per_atom_std: float | None
    forces_rms: float | None
    avg_num_neighbors: float | None
    spread: dict[str, float]


def statistics(items: Items, cutoff: float | None = None, references: Mapping[int, float] | str = "fit") -> Statistics:
    """Compute the statistics of structures, or of graphs (one structure each).

    Args:
        items: Structures, graphs, or a `Dataset`.
        cutoff: Å, for the mean number of neighbours of structures; graphs bring their edges along. Of more than a
            thousand structures a thousand evenly spaced ones are counted.
        references: ``"fit"``, ``"average"``, or a table atomic number → eV.

    Raises:
        DataError: for an empty data set.
        UnknownSpeciesError: if a given table lacks an element.
    """
    chosen = _listed(items)
    sizes = np.array([_numbers(item).shape[0] for item in chosen], dtype=np.float64)
    labelled = [item for item in chosen if ENERGY in item.labels and _numbers(item).size]
    table: dict[int, float] = {}
    mean = std = None
    spread: dict[str, float] = {}
    if labelled:
        table = reference_energies(references, labelled)
        rest = _energies(labelled) - reference_sums(labelled, table)
        counts = np.array([_numbers(item).shape[0] for item in labelled], dtype=np.float64)
        mean, std = float((rest / counts).mean()), float((rest / counts).std())
        spread[ENERGY] = float(rest.std())
    for name in sorted({name for item in chosen for name in item.labels} - {ENERGY}):
        spread[name] = float(
            np.concatenate([_label(item, name).ravel() for item in chosen if name in item.labels]).std()
        )
    forces = [_label(item, FORCES).ravel() for item in chosen if FORCES in item.labels]
    return Statistics(
        num_structures=len(chosen),
        species=_species(chosen),
        num_atoms_mean=float(sizes.mean()),
        reference_energies=table,
        energy_per_atom_mean=mean,
        energy_per_atom_std=std,
        forces_rms=float(np.sqrt(np.mean(np.concatenate(forces) ** 2))) if forces else None,
        avg_num_neighbors=_neighbours(chosen, cutoff),
        spread=spread,
    )


def fit_reference_energies(items: Items) -> dict[int, float]:
    """Fit one energy an element to total energies by least squares, atomic number → eV.

    Where the compositions do not determine them (all molecules of one formula, say), the solution of least norm is
    taken: the sums over the given compositions are right, the single energies are not those of free atoms.
    `reference_fit` says whether that was so.

    Raises:
        LabelError: if a structure has no energy.

    Properties:
        recovers_exact_sums: energies that are sums over atoms are fitted without residual.
    """
    return reference_fit(items).energies


def reference_fit(items: Items) -> ReferenceFit:
    """Do what `fit_reference_energies` does and tell how well the fit is determined.

    Raises:
        LabelError: if a structure has no energy.
    """
    chosen = _listed(items)
    species = _species(chosen)
    counts = np.array([[np.count_nonzero(_numbers(item) == z) for z in species] for item in chosen], dtype=np.float64)
    energies = _energies(chosen)
    solution, _, rank, _ = np.linalg.lstsq(counts, energies, rcond=1e-10)
    residual = energies - counts @ solution
    return ReferenceFit(
        energies={z: float(value) for z, value in zip(species, solution, strict=True)},
        unique=int(rank) == len(species),
        residual_rms=float(np.sqrt(np.mean(residual**2))),
    )


def average_energies(items: Items) -> dict[int, float]:
    """Return the same energy for every element: all energies by all atoms, eV.

    Raises:
        LabelError: if a structure has no energy.
    """
    chosen = _listed(items)
    atoms = sum(_numbers(item).shape[0] for item in chosen)
    each = float(_energies(chosen).sum() / atoms)
    return dict.fromkeys(_species(chosen), each)


def isolated_energies(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], labels: Mapping[str, str] | None = None
) -> dict[int, float]:
    """Read the energies of isolated atoms, atomic number → eV.

    Args:
        path: A file with one configuration an element, of one atom each.
        labels: See `equitools.data.read`.

    Raises:
        DataError: for a configuration of several atoms, or two different energies of one element.
        LabelError: for a configuration without energy.
    """
    table: dict[int, float] = {}
    for structure in read(path, labels):
        if len(structure) != 1:
            raise DataError(
                f"A file of isolated atoms must hold single atoms, but {structure.where} has {len(structure)}."
            )
        number, energy = int(structure.numbers[0]), float(_energies([structure])[0])
        if abs(table.setdefault(number, energy) - energy) > 1e-6:
            raise DataError(
                f"Element {number} has two isolated-atom energies: {table[number]} and {energy} eV ({structure.where})."
            )
    return table


def reference_energies(choice: str | Mapping[Any, Any] | None, items: Items) -> dict[int, float]:
    """Turn a choice of reference energies into a table for the elements of a data set.

    Args:
        choice: ``"fit"``, ``"average"``, None (zero for every element), ``{"file": path}`` of isolated atoms, or a
            table from symbols or atomic numbers to eV.
        items: The training data.

    Raises:
        DataError: for another choice.
        UnknownSpeciesError: if a table lacks an element of the data.
    """
    chosen = _listed(items)
    if choice is None:
        return dict.fromkeys(_species(chosen), 0.0)
    if isinstance(choice, str):
        if choice == "fit":
            return fit_reference_energies(chosen)
        if choice == "average":
            return average_energies(chosen)
        raise DataError(
            f"The choice {choice!r} of reference energies is unknown. {nearest(choice, ('fit', 'average'))}"
        )
    table = isolated_energies(Path(choice["file"])) if set(choice) == {"file"} else _table(choice)
    _check_table(table, _species(chosen))
    return {z: table[z] for z in sorted(table)}


def reference_sums(items: Items, table: Mapping[int, float]) -> np.ndarray:
    """Return the sum of reference energies of each structure, ``[M]`` eV.

    Raises:
        UnknownSpeciesError: if the table lacks an element.
    """
    chosen = _listed(items)
    _check_table(table, _species(chosen))
    return np.array([sum(table[int(z)] for z in _numbers(item)) for item in chosen], dtype=np.float64)


def _table(choice: Mapping[Any, Any]) -> dict[int, float]:
    from ase.data import atomic_numbers

    table: dict[int, float] = {}
    for key, value in choice.items():
        number = atomic_numbers.get(str(key)) or (int(key) if str(key).isdigit() else None)
        if number is None:
            raise DataError(f"{key!r} in the reference energies is neither a chemical symbol nor an atomic number.")
        try:
            table[number] = float(value)
        except (TypeError, ValueError) as error:
            raise DataError(f"The reference energy of {key} must be a number in eV, but is {value!r}.") from error
    return table


def _check_table(table: Mapping[int, float], species: Iterable[int]) -> None:
    from ase.data import chemical_symbols

    missing = [chemical_symbols[z] for z in species if z not in table]
    if missing:
        known = ", ".join(chemical_symbols[z] for z in sorted(table)) or "none"
        raise UnknownSpeciesError(
            f"Reference energies are needed for {', '.join(missing)}, but were given only for {known}. "
            "Add them, or fit them."
        )


def _neighbours(items: Sequence[Item], cutoff: float | None) -> float | None:
    if cutoff is None and not all(isinstance(item, Graph) for item in items):
        return None
    step = max(1, -(-len(items) // NEIGHBOUR_SAMPLE))
    edges = atoms = 0
    for item in items[::step]:
        if isinstance(item, Graph):
            graph = item if cutoff in (None, item.cutoff) else item.rebuild_edges(cutoff)
        else:
            graph = item.to_graph(float(cutoff or 0.0), labels=())
        edges, atoms = edges + graph.num_edges, atoms + graph.num_nodes
    return edges / atoms if atoms else 0.0


def _listed(items: Items) -> list[Item]:
    if isinstance(items, Dataset):
        found: list[Item] = [items[index] for index in range(len(items))]
    else:
        found = list(items)
    if not found:
        raise DataError("At least one structure is needed, but the data set is empty.")
    return found


def _numbers(item: Item) -> np.ndarray:
    return item.numbers if isinstance(item, Structure) else item.atomic_numbers.cpu().numpy()


def _label(item: Item, name: str) -> np.ndarray:
    value = item.labels[name]
    return np.asarray(value.detach().cpu() if isinstance(item, Graph) else value, dtype=np.float64)  # type: ignore[union-attr]


def _species(items: Sequence[Item]) -> tuple[int, ...]:
    return tuple(int(z) for z in np.unique(np.concatenate([_numbers(item) for item in items])))


def _energies(items: Sequence[Item]) -> np.ndarray:
    lacking = sum(ENERGY not in item.labels for item in items)
    if lacking:
        raise LabelError(
            f"Reference energies need the label 'energy', but {lacking} of {len(items)} structures lack it."
        )
    return np.array([float(_label(item, ENERGY).reshape(-1)[0]) for item in items], dtype=np.float64)

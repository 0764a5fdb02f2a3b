"""What labels a data set has: a table to print before training, and a check that fails when one is missing."""

from __future__ import annotations

import difflib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from equitools.data.structure import Structure
from equitools.errors import DataError, LabelError
from equitools.graph.keys import ENERGY, FORCES, KEYS, STRESS

__all__ = ["Census", "LabelSummary", "census", "require", "suspicions"]

# far beyond what atoms in matter feel: such numbers point at kcal/mol, Hartree/Bohr, meV or GPa, or at damaged data
LARGEST_FORCE_RMS = 100.0
LARGEST_FORCE = 1000.0
LARGEST_STRESS = 10.0
LARGEST_ENERGY_SPREAD = 100.0
SHORTEST_DISTANCE = 0.2
PAIRS_LIMIT = 300


@dataclass(frozen=True)
class LabelSummary:
    """One row of the census.

    Attributes:
        name: The label.
        level: ``"graph"`` or ``"node"``.
        unit: Its unit, ``"?"`` for a custom label.
        keys: Where it was found.
        count: In how many structures.
        total: Of how many.
        mean: Over all components.
        std: Over all components: the label's own spread.
        minimum: Over all components.
        maximum: Over all components.
    """

    name: str
    level: str
    unit: str
    keys: tuple[str, ...]
    count: int
    total: int
    mean: float
    std: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Census:
    """Labels, sizes and warnings of a data set; ``str()`` is the table.

    Attributes:
        labels: One row a label, by name.
        num_structures: How many configurations.
        num_atoms: Smallest and largest number of atoms.
        species: Atomic numbers, ascending.
        warnings: What looks wrong, one sentence each.
    """

    labels: dict[str, LabelSummary]
    num_structures: int
    num_atoms: tuple[int, int]
    species: tuple[int, ...]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        from rich.console import Console

        buffer = io.StringIO()
        Console(file=buffer, width=140, no_color=True).print(self)
        return buffer.getvalue().rstrip()

    def __rich_console__(self, console: object, options: object) -> Iterable[object]:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        low, high = self.num_atoms
        size = f"{low}" if low == high else f"{low} to {high}"
        title = f"Labels of {self.num_structures} structures of {size} atoms"
        table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for header in ("label", "unit", "present"):
            table.add_column(header, no_wrap=True)
        table.add_column("read from", overflow="fold")
        for header in ("mean", "std", "min", "max"):
            table.add_column(header, justify="right", no_wrap=True)
        for row in self.labels.values():
            numbers = (f"{value:.4g}" for value in (row.mean, row.std, row.minimum, row.maximum))
            table.add_row(row.name, row.unit, f"{row.count}/{row.total}", Text("\n".join(row.keys)), *numbers)
        yield table
        for warning in self.warnings:
            yield Text(f"Warning: {warning}", style="yellow")
        if not self.labels:
            yield Text("Warning: no label was found.", style="yellow")


def census(structures: Sequence[Structure]) -> Census:
    """Count and summarise the labels of a data set.

    Args:
        structures: From `equitools.data.read`.

    Returns:
        The census; print it before the first epoch.

    Raises:
        DataError: for an empty sequence.
    """
    structures = _some(structures)
    names = sorted({name for structure in structures for name in structure.labels}, key=_order)
    rows = {name: _summary(name, structures) for name in names}
    sizes = [len(structure) for structure in structures]
    warnings = [
        f"only {row.count} of {row.total} structures have the label {row.name!r}."
        for row in rows.values()
        if row.count < row.total
    ]
    return Census(
        labels=rows,
        num_structures=len(structures),
        num_atoms=(min(sizes), max(sizes)),
        species=tuple(sorted({int(z) for structure in structures for z in structure.numbers})),
        warnings=(*warnings, *suspicions(structures)),
    )


def require(structures: Sequence[Structure], names: Iterable[str], allow_suspicious: bool = False) -> None:
    """Fail unless every structure has every label that is named, with numbers that can be true.

    Args:
        structures: From `equitools.data.read`.
        names: Labels that a loss or an error table needs.
        allow_suspicious: Accept labels of a size that points at wrong or mixed units.

    Raises:
        LabelError: naming the label, how many of how many have it, where it was looked for, and near matches among
            the file's keys.
        DataError: where units look wrong, unless that is allowed.

    Properties:
        missing_label_fails: one structure without the label is enough.
    """
    structures = _some(structures)
    wanted = list(names)
    for name in wanted:
        lacking = [structure for structure in structures if name not in structure.labels]
        if lacking:
            raise LabelError(_missing(name, structures, lacking))
    if allow_suspicious:
        return
    found = suspicions(structures, wanted)
    if found:
        raise DataError(
            " ".join(found) + " If the numbers are right, allow them with allow_suspicious=True; if not, convert the "
            "labels when reading (for example labels={'energy': 'hartree:energy'})."
        )


def suspicions(structures: Sequence[Structure], names: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return one sentence for each thing that points at wrong or mixed units.

    Args:
        structures: From `equitools.data.read`.
        names: Labels to look at; None looks at all and at the distances between atoms too.
    """
    chosen = None if names is None else set(names)
    found: list[str] = []
    if chosen is None or FORCES in chosen:
        found += _suspicious_forces(structures)
    if chosen is None or STRESS in chosen:
        found += _suspicious_stress(structures)
    if chosen is None or ENERGY in chosen:
        found += _suspicious_energies(structures)
    if chosen is None:
        found += _suspicious_distances(structures)
    return tuple(found)


def _suspicious_forces(structures: Sequence[Structure]) -> list[str]:
    forces = [
        (structure, structure.labels[FORCES])
        for structure in structures
        if structure.labels.get(FORCES, np.zeros(0)).size
    ]
    if not forces:
        return []
    rms = float(np.sqrt(np.mean(np.concatenate([values.ravel() for _, values in forces]) ** 2)))
    worst, values = max(forces, key=lambda item: float(np.abs(item[1]).max()))
    largest = float(np.abs(values).max())
    if rms <= LARGEST_FORCE_RMS and largest <= LARGEST_FORCE:
        return []
    return [
        f"Wrong or mixed units are suspected: forces have an RMS of {rms:.4g} eV/Å and a largest component of "
        f"{largest:.4g} eV/Å ({worst.where})."
    ]


def _suspicious_stress(structures: Sequence[Structure]) -> list[str]:
    stresses = [
        (structure, float(np.abs(structure.labels[STRESS]).max()))
        for structure in structures
        if STRESS in structure.labels
    ]
    if not stresses:
        return []
    worst, largest = max(stresses, key=lambda item: item[1])
    if largest <= LARGEST_STRESS:
        return []
    return [
        f"Wrong or mixed units are suspected: the largest stress component is {largest:.4g} eV/Å³, that is "
        f"{largest * 160.21766208:.4g} GPa ({worst.where})."
    ]


def _suspicious_energies(structures: Sequence[Structure]) -> list[str]:
    groups: dict[bytes, list[tuple[float, Structure]]] = {}
    for structure in structures:
        if ENERGY in structure.labels and len(structure):
            each = float(structure.labels[ENERGY]) / len(structure)
            groups.setdefault(np.sort(structure.numbers).tobytes(), []).append((each, structure))
    for items in groups.values():
        low, high = min(items, key=lambda item: item[0]), max(items, key=lambda item: item[0])
        if high[0] - low[0] > LARGEST_ENERGY_SPREAD:
            return [
                f"Wrong or mixed units are suspected: structures of one composition differ by "
                f"{high[0] - low[0]:.4g} eV per atom ({low[1].where}: {low[0]:.6g} eV per atom; "
                f"{high[1].where}: {high[0]:.6g} eV per atom)."
            ]
    return []


def _suspicious_distances(structures: Sequence[Structure]) -> list[str]:
    for structure in structures:
        count = len(structure)
        if not 1 < count <= PAIRS_LIMIT:
            continue
        difference = structure.positions[:, None] - structure.positions[None]
        squared = np.einsum("ijk,ijk->ij", difference, difference)
        squared[np.diag_indices(count)] = np.inf
        shortest = float(np.sqrt(squared.min()))
        if shortest < SHORTEST_DISTANCE:
            return [
                f"Atoms are only {shortest:.3g} Å apart in {structure.where}: positions in nm, fractional coordinates, "
                "or doubled atoms are suspected."
            ]
    return []


def _missing(name: str, structures: Sequence[Structure], lacking: Sequence[Structure]) -> str:
    have = len(structures) - len(lacking)
    keys = Counter(key for structure in lacking for key in (*structure.other_keys, *structure.labels))
    near = [key for key in keys if name.lower() in key.lower() or key.lower() in name.lower()]
    near += [key for key in difflib.get_close_matches(name, list(keys), n=3, cutoff=0.65) if key not in near]
    first = lacking[0]
    hint = (
        f"Near matches among its keys: {', '.join(sorted(near))}; if one is meant, say so, as in "
        f"labels: {{{name}: {sorted(near)[0]}}}. "
        if near
        else ""
    )
    present = ", ".join(sorted(keys)) or "none"
    return (
        f"The label {name!r} is needed, but only {have} of {len(structures)} structures have it; the first without is "
        f"{first.where}. It was looked for in atoms.calc.results, atoms.info and atoms.arrays. {hint}"
        f"Keys present there: {present}."
    )


def _summary(name: str, structures: Sequence[Structure]) -> LabelSummary:
    having = [structure for structure in structures if name in structure.labels]
    values = np.concatenate([np.asarray(structure.labels[name], dtype=np.float64).ravel() for structure in having])
    spec = KEYS.get(name)
    if values.size == 0:
        values = np.zeros(1)
    return LabelSummary(
        name=name,
        level=having[0].label_levels[name],
        unit=spec.unit if spec else having[0].label_units.get(name, "?"),
        keys=tuple(sorted({structure.label_keys.get(name, "memory") for structure in having})),
        count=len(having),
        total=len(structures),
        mean=float(values.mean()),
        std=float(values.std()),
        minimum=float(values.min()),
        maximum=float(values.max()),
    )


def _order(name: str) -> tuple[int, str]:
    known = [ENERGY, FORCES, STRESS]
    return (known.index(name), name) if name in known else (len(known), name)


def _some(structures: Sequence[Structure]) -> list[Structure]:
    found = list(structures)
    if not found:
        raise DataError("At least one structure is needed, but the data set is empty.")
    return found

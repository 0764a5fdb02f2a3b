"""QM9 from the user's own copy of its raw files.

Ramakrishnan, Dral, Rupp and von Lilienfeld, *Quantum chemistry structures and properties of 134 kilo molecules*,
Scientific Data 1, 140022 (2014); files: figshare collection 978904 (``dsgdb9nsd.xyz.tar.bz2``,
``uncharacterized.txt``, ``atomref.txt``).

A molecule is known by its gdb number, which counts from 1 and stands in the file itself. The list of molecules that
failed the consistency check names them by the same number; here nothing is ever excluded by its position in a list,
so that the off-by-one error of some published code cannot happen.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from equitools.data.converters import HARTREE
from equitools.data.labels import check_structure
from equitools.data.structure import Structure
from equitools.errors import DataError, UnknownNameError, UnknownSpeciesError, nearest
from equitools.graph.keys import CHARGES

__all__ = [
    "QM9_TARGETS",
    "QM9Target",
    "parse_qm9",
    "qm9_split",
    "read_atomref",
    "read_exclusions",
    "read_qm9",
    "subtract_atomref",
]

NUM_MOLECULES = 133885
NUM_EXCLUDED = 3054
NUM_KEPT = NUM_MOLECULES - NUM_EXCLUDED
NUM_PROPERTIES = 15

SYMBOLS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
# SMILES of H, C, N, O, F: tells a row of the exclusion list from a line of prose that starts with a number
SMILES = re.compile(r"^[CNOFHcno\[\]()=#+\-@/\\.%0-9]+$")
DECLARED = re.compile(r"(\d+)\s+(?:molecules|compounds|species)", re.IGNORECASE)
FILE_NAME = re.compile(r"dsgdb9nsd_(\d+)\.xyz$")


@dataclass(frozen=True)
class QM9Target:
    """One of the properties in a raw file.

    Attributes:
        name: The label.
        column: Its place among the 15 numbers after ``gdb <number>``, from 0.
        raw_unit: The file's unit.
        unit: The label's unit.
        factor: From the file's unit to the label's.
        extensive: Whether it grows with the molecule, so that a sum over atoms is the natural readout.
        meaning: In words.
    """

    name: str
    column: int
    raw_unit: str
    unit: str
    factor: float
    extensive: bool
    meaning: str


_ROWS = (
    QM9Target("rotational_a", 0, "GHz", "GHz", 1.0, False, "Rotational constant A"),
    QM9Target("rotational_b", 1, "GHz", "GHz", 1.0, False, "Rotational constant B"),
    QM9Target("rotational_c", 2, "GHz", "GHz", 1.0, False, "Rotational constant C"),
    QM9Target("mu", 3, "D", "D", 1.0, False, "Norm of the dipole moment"),
    QM9Target("alpha", 4, "Bohr³", "Bohr³", 1.0, True, "Isotropic polarizability"),
    QM9Target("homo", 5, "Hartree", "eV", HARTREE, False, "Energy of the highest occupied orbital"),
    QM9Target("lumo", 6, "Hartree", "eV", HARTREE, False, "Energy of the lowest unoccupied orbital"),
    QM9Target("gap", 7, "Hartree", "eV", HARTREE, False, "lumo − homo"),
    QM9Target("r2", 8, "Bohr²", "Bohr²", 1.0, True, "Electronic spatial extent"),
    QM9Target("zpve", 9, "Hartree", "eV", HARTREE, True, "Zero-point vibrational energy"),
    QM9Target("u0", 10, "Hartree", "eV", HARTREE, True, "Internal energy at 0 K"),
    QM9Target("u", 11, "Hartree", "eV", HARTREE, True, "Internal energy at 298.15 K"),
    QM9Target("h", 12, "Hartree", "eV", HARTREE, True, "Enthalpy at 298.15 K"),
    QM9Target("g", 13, "Hartree", "eV", HARTREE, True, "Free energy at 298.15 K"),
    QM9Target("cv", 14, "cal/(mol K)", "cal/(mol K)", 1.0, True, "Heat capacity at 298.15 K"),
)

QM9_TARGETS: dict[str, QM9Target] = {row.name: row for row in _ROWS}
"""The 15 properties by name, with units. Energies become eV; the others keep the units of published error tables."""

# columns of atomref.txt after the element's symbol
ATOMREF_COLUMNS = ("zpve", "u0", "u", "h", "g", "cv")


def read_qm9(
    path: str | os.PathLike[str],
    targets: Iterable[str] | None = None,
    exclude: str | os.PathLike[str] | Iterable[int] | None = None,
    progress: Callable[[Iterable[tuple[str, str]]], Iterable[tuple[str, str]]] | None = None,
) -> list[Structure]:
    """Read QM9's raw files, in the order of their gdb numbers.

    Args:
        path: A folder of ``dsgdb9nsd_000001.xyz`` and so on, or the tar archive of them as published.
        targets: Names from `QM9_TARGETS`; None reads all. Mulliken charges are always read as ``charges`` (e).
        exclude: ``uncharacterized.txt``, or gdb numbers to leave out. None looks for ``uncharacterized.txt`` beside
            the molecules and leaves nothing out where there is none; ``()`` leaves nothing out.
        progress: Wraps the iterable of files, as ``rich.progress.track`` does.

    Returns:
        Structures; ``info["gdb"]`` is the number, ``info["smiles"]`` the relaxed geometry's SMILES.

    Raises:
        DataError: for a missing, empty or damaged file, a number that stands there twice, or an excluded number that
            was never a molecule of QM9.
        UnknownNameError: for an unknown target.

    Properties:
        excludes_by_gdb_number: number k in the list removes ``dsgdb9nsd_k`` and nothing else.
    """
    path = Path(path)
    names = list(QM9_TARGETS) if targets is None else list(targets)
    for name in names:
        if name not in QM9_TARGETS:
            raise UnknownNameError(f"QM9 has no target {name!r}. {nearest(name, QM9_TARGETS)}")
    left_out = _exclusions(path, exclude)
    texts: Iterable[tuple[str, str]] = _texts(path)
    found: dict[int, Structure] = {}
    for source, text in texts if progress is None else progress(texts):
        structure = parse_qm9(text, source, names)
        number = int(structure.info["gdb"])
        if number in found:
            raise DataError(
                f"The molecule gdb {number} stands twice in {path}: in {found[number].source} and in {source}."
            )
        found[number] = structure
    if not found:
        raise DataError(f"{path} holds no file dsgdb9nsd_NNNNNN.xyz, as QM9's raw files are called.")
    kept = [found[number] for number in sorted(found) if number not in left_out]
    if not kept:
        raise DataError(f"All {len(found)} molecules of {path} are in the exclusion list.")
    return [replace(structure, index=index) for index, structure in enumerate(kept)]


def parse_qm9(text: str, source: str, targets: Sequence[str] | None = None) -> Structure:
    """Parse one raw file.

    The form: number of atoms; ``gdb``, the number and 15 properties; a line an atom (symbol, x y z in Å, Mulliken
    charge); frequencies; SMILES; InChI. Numbers may be written as ``1.2*^-6``.

    Raises:
        DataError: if the text is damaged or truncated.
    """
    lines = text.splitlines()
    try:
        count = int(lines[0])
        head = lines[1].split()
        tag, number, properties = head[0], int(head[1]), [_number(word) for word in head[2 : 2 + NUM_PROPERTIES]]
        rows = [line.split() for line in lines[2 : 2 + count]]
        numbers = np.array([SYMBOLS[row[0]] for row in rows], dtype=np.int64)
        table = np.array([[_number(word) for word in row[1:5]] for row in rows], dtype=np.float64)
        smiles = lines[3 + count].split()
    except (IndexError, ValueError, KeyError) as error:
        raise DataError(
            f"{source} is no raw QM9 file, or it is truncated ({type(error).__name__}: {error})."
        ) from error
    if tag != "gdb" or len(properties) != NUM_PROPERTIES or table.shape != (count, 4) or count < 1:
        raise DataError(
            f"{source} is no raw QM9 file, or it is truncated: it must hold 'gdb', a number and {NUM_PROPERTIES} "
            f"properties, then {count} atoms with 4 numbers each."
        )
    named = FILE_NAME.search(source)
    if named and int(named.group(1)) != number:
        raise DataError(f"{source} says inside that it is gdb {number}; the file was renamed or mixed up.")
    chosen = [QM9_TARGETS[name] for name in (QM9_TARGETS if targets is None else targets)]
    structure = Structure(
        positions=table[:, :3].copy(),
        numbers=numbers,
        labels={row.name: np.array(properties[row.column] * row.factor) for row in chosen}
        | {CHARGES: table[:, 3].copy()},
        label_levels={row.name: "graph" for row in chosen} | {CHARGES: "node"},
        label_keys={row.name: f"property {row.column + 1} ({row.raw_unit} → {row.unit})" for row in chosen}
        | {CHARGES: "Mulliken charges"},
        label_units={row.name: row.unit for row in chosen},
        info={"gdb": number, "smiles": smiles[-1] if smiles else ""},
        source=source,
    )
    check_structure(structure)
    return structure


def read_exclusions(path: str | os.PathLike[str]) -> frozenset[int]:
    """Read the gdb numbers (from 1) of ``uncharacterized.txt``.

    A row is a number followed by SMILES. Where the file says how many compounds it lists, the rows must be as many.

    Raises:
        DataError: if the file is missing, lists nothing, or is truncated.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"The exclusion list {path} does not exist.")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    numbers = []
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0].isdigit() and SMILES.match(words[1]):
            numbers.append(int(words[0]))
    declared = {int(match.group(1)) for line in lines for match in DECLARED.finditer(line)} - {NUM_MOLECULES}
    if not numbers or len(set(numbers)) != len(numbers) or min(numbers) < 1 or max(numbers) > NUM_MOLECULES:
        raise DataError(
            f"{path} is no QM9 exclusion list: it must hold distinct gdb numbers from 1 to {NUM_MOLECULES}, each "
            f"followed by SMILES; {len(numbers)} such rows were found."
        )
    if len(declared) == 1 and declared != {len(numbers)}:
        raise DataError(
            f"{path} says that it lists {declared.pop()} compounds, but holds {len(numbers)} rows: it is truncated."
        )
    return frozenset(numbers)


def read_atomref(path: str | os.PathLike[str]) -> dict[str, dict[int, float]]:
    """Read ``atomref.txt``: target → atomic number → the free atom's value, in the labels' units (eV; cal/(mol K)).

    Raises:
        DataError: if the file is missing or an element's row is damaged or absent.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"The file of free atoms {path} does not exist.")
    table: dict[str, dict[int, float]] = {name: {} for name in ATOMREF_COLUMNS}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if not words or words[0] not in SYMBOLS or len(words) < 1 + len(ATOMREF_COLUMNS):
            continue
        for name, word in zip(ATOMREF_COLUMNS, words[1:], strict=False):
            try:
                table[name][SYMBOLS[words[0]]] = _number(word) * QM9_TARGETS[name].factor
            except ValueError as error:
                raise DataError(f"{path}: {word!r} in the row of {words[0]} is no number.") from error
    missing = [symbol for symbol, number in SYMBOLS.items() if number not in table["u0"]]
    if missing:
        raise DataError(f"{path} is no atomref.txt of QM9: it has no row for {', '.join(missing)}.")
    return table


def subtract_atomref(structures: Sequence[Structure], atomref: Mapping[str, Mapping[int, float]]) -> list[Structure]:
    """Return structures whose thermochemical labels (u0, u, h, g, zpve, cv) are relative to free atoms.

    That is what published tables are trained on: the sums over free atoms hold no information on the geometry.

    Raises:
        UnknownSpeciesError: if an element is not in the table.
    """
    results = []
    for structure in structures:
        labels = dict(structure.labels)
        for name in set(labels) & set(atomref):
            missing = sorted({int(z) for z in structure.numbers} - set(atomref[name]))
            if missing:
                raise UnknownSpeciesError(f"The table of free atoms has no {name} for the atomic numbers {missing}.")
            labels[name] = labels[name] - sum(atomref[name][int(z)] for z in structure.numbers)
        results.append(replace(structure, labels=labels))
    return results


def qm9_split(count: int, kind: str = "cormorant", seed: int | None = None) -> dict[str, np.ndarray]:
    """Return one of the splits that published tables use, as indices into the kept molecules in gdb order.

    ``cormorant``: 100 000 train, 17 748 valid, 13 083 test, by numpy's legacy generator with seed 0, as Anderson, Hy
    and Kondor's Cormorant (2019) drew it and EGNN, SEGNN and others reuse it; defined only for all 130 831 molecules.
    ``110k``: 110 000 train, 10 000 valid, the rest test, in the manner of SchNet and DimeNet. Those papers use
    different draws, so this is a split of that size, not theirs: legacy generator, seed 42 unless another is given.

    Args:
        count: Number of molecules after exclusion.
        kind: ``"cormorant"`` or ``"110k"``.
        seed: Only for ``110k``.

    Raises:
        DataError: if the molecules are not as many as the split is defined for.
        UnknownNameError: for another kind.

    Properties:
        cormorant_sizes: 100 000, 17 748 and 13 083, disjoint.
    """
    if kind not in ("cormorant", "110k"):
        raise UnknownNameError(f"The QM9 split {kind!r} is unknown. {nearest(kind, ('cormorant', '110k'))}")
    if count != NUM_KEPT:
        raise DataError(
            f"The QM9 split {kind!r} is defined for the {NUM_KEPT} molecules that remain of {NUM_MOLECULES} when those "
            f"of uncharacterized.txt are left out, but there are {count}. Use equitools.data.split for another number."
        )
    if kind == "cormorant" and seed is not None:
        raise DataError("The QM9 split 'cormorant' is one particular draw; a seed cannot be given.")
    # the legacy generator's stream is frozen by numpy, and it is the one that the published splits were drawn with
    order = np.random.RandomState(42 if seed is None else seed).permutation(count)
    stops = (110_000, 120_000)
    if kind == "cormorant":
        order = np.random.RandomState(0).permutation(count)
        stops = (100_000, count - int(0.1 * count))
    train, valid, test = np.split(order, stops)
    return {"train": np.sort(train), "valid": np.sort(valid), "test": np.sort(test)}


def _exclusions(path: Path, exclude: str | os.PathLike[str] | Iterable[int] | None) -> frozenset[int]:
    if exclude is None:
        beside = (path if path.is_dir() else path.parent) / "uncharacterized.txt"
        return read_exclusions(beside) if beside.is_file() else frozenset()
    if isinstance(exclude, str | os.PathLike):
        return read_exclusions(exclude)
    numbers = frozenset(int(number) for number in exclude)
    wrong = sorted(number for number in numbers if not 1 <= number <= NUM_MOLECULES)
    if wrong:
        raise DataError(f"gdb numbers run from 1 to {NUM_MOLECULES}, but {wrong[:5]} are to be excluded.")
    return numbers


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield name and text of every raw file of a folder or an archive."""
    if path.is_dir():
        for file in sorted(path.glob("**/dsgdb9nsd_*.xyz")):
            yield str(file), file.read_text(encoding="utf-8", errors="replace")
        return
    if not path.is_file():
        raise DataError(f"QM9's raw files were looked for in {path}, which does not exist.")
    try:
        with tarfile.open(path, mode="r:*") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() and FILE_NAME.search(member.name) else None
                if stream is not None:
                    yield f"{path}/{member.name}", stream.read().decode("utf-8", errors="replace")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(
            f"{path} cannot be read as a tar archive; it is truncated or of another form ({error})."
        ) from error


def _number(word: str) -> float:
    """Read a number that Mathematica may have written: ``1.2*^-6`` is 1.2e-6."""
    return float(word.replace("*^", "e"))

"""Read configurations with their labels from whatever ASE reads, and from rMD17-style archives."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equitools.data.labels import structure_from_atoms
from equitools.data.rmd17 import read_npz
from equitools.data.structure import Structure
from equitools.data.xyz import check_xyz
from equitools.errors import DataError

__all__ = ["read"]

COMPRESSED = frozenset({".gz", ".bz2", ".xz"})
PathLike = str | os.PathLike[str]


def read(
    path: PathLike | Sequence[PathLike],
    labels: Mapping[str, str] | None = None,
    index: str | int | slice = ":",
    npz_unit: str = "kcal/mol",
) -> list[Structure]:
    """Read one file or several.

    Args:
        path: A file that ASE reads (extended XYZ, ASE database, trajectory, VASP, ...), an rMD17-style ``.npz``, or a
            sequence of such files, which are joined in order.
        labels: Label name → key in the file, for example ``{"energy": "REF_energy", "stress": "virial:REF_virial"}``;
            names that are not mentioned are looked for under their own name. A key is looked for in
            ``atoms.calc.results``, ``atoms.info`` and ``atoms.arrays``, in this order. A custom name is a label of the
            whole structure when it stands in ``info`` and of the atoms when it stands in ``arrays``. For the names
            that may stand before a colon see `equitools.data.converters`.
        index: Which configurations of each file, as ASE writes it: ``":"``, ``"::10"``, ``-1``.
        npz_unit: Energy unit of npz archives.

    Returns:
        The structures. A label that is not found is left out: call `require` before you rely on one.

    Raises:
        DataError: for a file that is missing, empty, truncated or of an unknown form, and for NaN or infinity in
            positions or labels (with the configuration's index).
        LabelError: for a label of the wrong shape.
    """
    if isinstance(path, str | os.PathLike):
        return _read_one(Path(path), labels, index, npz_unit)
    paths = list(path)
    if not paths:
        raise DataError("equitools.data.read needs at least one file, but was given none.")
    return [structure for each in paths for structure in _read_one(Path(each), labels, index, npz_unit)]


def _read_one(path: Path, labels: Mapping[str, str] | None, index: str | int | slice, npz_unit: str) -> list[Structure]:
    if path.is_dir():
        raise DataError(
            f"{path} is a folder, but a data file was asked for. For QM9's raw files use equitools.data.read_qm9."
        )
    if not path.is_file():
        raise DataError(f"The data file {path} does not exist.")
    if path.stat().st_size == 0:
        raise DataError(f"The data file {path} is empty.")
    numbered: list[tuple[int, Any]]
    if path.suffix == ".npz":
        numbered = list(enumerate(read_npz(path, npz_unit)))
    else:
        numbered = list(enumerate(_read_ase(path)))
    if not numbered:
        raise DataError(f"The data file {path} holds no configuration.")
    chosen = numbered[_slice(index, len(numbered), path)]
    if path.suffix == ".npz":
        return [structure for _, structure in chosen]
    return [structure_from_atoms(atoms, labels, source=str(path), index=place) for place, atoms in chosen]


def _read_ase(path: Path) -> list[Any]:
    import ase.io
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        form = filetype(str(path))
        if form in ("extxyz", "xyz") and path.suffix not in COMPRESSED:
            check_xyz(path)
        if form in ("db", "json"):
            return _read_database(path)
        found = ase.io.read(path, index=":")
    except DataError:
        raise
    except UnknownFileTypeError as error:
        raise DataError(
            f"The form of the data file {path} is unknown. Use extended XYZ, an ASE database or trajectory, another "
            "form that ASE reads, or an rMD17-style .npz."
        ) from error
    except Exception as error:  # each of ASE's readers fails in its own way on a damaged file
        raise DataError(
            f"The data file {path} could not be read; it is truncated, damaged, or not of the form that its name "
            f"promises ({type(error).__name__}: {error})."
        ) from error
    return found if isinstance(found, list) else [found]


def _read_database(path: Path) -> list[Any]:
    """Read an ASE database by its rows: ``ase.io.read`` would leave out key-value pairs and data."""
    from ase.db import connect

    with connect(str(path)) as base:
        return [row.toatoms(add_additional_information=True) for row in base.select()]


def _slice(index: str | int | slice, count: int, path: Path) -> slice:
    """Turn ASE's ways to write an index into a slice over ``count`` configurations."""
    if isinstance(index, slice):
        return index
    try:
        if isinstance(index, str) and ":" in index:
            return slice(*(int(part) if part.strip() else None for part in index.split(":")))
        place = int(index)
    except (TypeError, ValueError) as error:
        raise DataError(f"The index {index!r} is not understood; write it as ':', '10:20', '::5' or '-1'.") from error
    if not -count <= place < count:
        raise DataError(f"Configuration {place} of {path} was asked for, but the file holds {count}.")
    place %= count
    return slice(place, place + 1)

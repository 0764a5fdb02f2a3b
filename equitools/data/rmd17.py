"""rMD17 and MD17: trajectories of one molecule as npz archives, and rMD17's official splits.

Sources: Christensen and von Lilienfeld, *On the role of gradients for machine learning of molecular energies and
forces* (2020), data set doi 10.6084/m9.figshare.12672038; Chmiela et al., Science Advances 3, e1603015 (2017). The
archives are read from the user's own copy.
"""

from __future__ import annotations

import csv
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from equitools.data.converters import FACTORS
from equitools.data.labels import check_structure
from equitools.data.structure import Structure
from equitools.errors import DataError

__all__ = ["read_npz", "read_rmd17_split"]

NAMES: dict[str, tuple[str, ...]] = {
    "numbers": ("nuclear_charges", "z"),
    "positions": ("coords", "R"),
    "energy": ("energies", "E"),
    "forces": ("forces", "F"),
}
NUM_SPLITS = 5


def read_npz(path: str | os.PathLike[str], unit: str = "kcal/mol") -> list[Structure]:
    """Read an rMD17- or MD17-style archive of one molecule.

    Keys: ``nuclear_charges`` or ``z`` ``[N]``, ``coords`` or ``R`` ``[M, N, 3]`` Å, ``energies`` or ``E`` ``[M]`` or
    ``[M, 1]``, ``forces`` or ``F`` ``[M, N, 3]``. Others (``old_energies``, ``old_forces``, ``old_indices``) are
    ignored: they are those of the first, noisier MD17.

    Args:
        path: The npz file.
        unit: The energy unit of the file, and with "/Å" of its forces: ``"kcal/mol"`` as published, ``"eV"``,
            or another name of `equitools.data.converters.FACTORS`.

    Returns:
        M structures with energies in eV and, where the file has them, forces in eV/Å.

    Raises:
        DataError: for a missing, truncated or foreign archive, shapes that do not match, NaN or infinity.
    """
    path = Path(path)
    if unit != "eV" and unit not in FACTORS:
        raise DataError(f"The unit {unit!r} is unknown. Known: eV, {', '.join(sorted(FACTORS))}.")
    factor = 1.0 if unit == "eV" else FACTORS[unit]
    arrays, used = _load(path)
    numbers, positions = arrays["numbers"].astype(np.int64), arrays["positions"].astype(np.float64)
    if numbers.ndim != 1 or positions.ndim != 3 or positions.shape[1:] != (numbers.shape[0], 3):
        raise DataError(
            f"{path}: {used['positions']} must have the shape [M, {numbers.shape[0]}, 3] to match {used['numbers']} "
            f"{list(numbers.shape)}, but has {list(positions.shape)}."
        )
    count = positions.shape[0]
    if count == 0:
        raise DataError(f"{path} holds no configuration.")
    labels: dict[str, np.ndarray] = {}
    for name, shape in (("energy", (count,)), ("forces", positions.shape)):
        if name in arrays:
            values = arrays[name].astype(np.float64) * factor
            if values.size != int(np.prod(shape)):
                raise DataError(
                    f"{path}: {used[name]} must have the shape {list(shape)}, but has {list(arrays[name].shape)}."
                )
            labels[name] = values.reshape(shape)
    structures = []
    for index in range(count):
        structure = Structure(
            positions=positions[index],
            numbers=numbers.copy(),
            labels={name: np.array(values[index]) for name, values in labels.items()},
            label_levels={name: "graph" if name == "energy" else "node" for name in labels},
            label_keys={name: f"{used[name]} via {unit}" for name in labels},
            source=str(path),
            index=index,
        )
        check_structure(structure)
        structures.append(structure)
    return structures


def read_rmd17_split(folder: str | os.PathLike[str], number: int) -> dict[str, np.ndarray]:
    """Read one of rMD17's five official splits: ``index_train_0K.csv`` and ``index_test_0K.csv``.

    Args:
        folder: The unpacked ``splits`` folder.
        number: K, from 1 to 5.

    Returns:
        ``{"train": ..., "test": ...}``, indices from 0 into the archive, in the file's order. No validation set: take
        it from the training part.

    Raises:
        DataError: for a missing or broken file, or parts that overlap.
    """
    if not 1 <= number <= NUM_SPLITS:
        raise DataError(f"rMD17 has the splits 1 to {NUM_SPLITS}, but {number} was asked for.")
    parts = {part: _indices(Path(folder) / f"index_{part}_{number:02d}.csv") for part in ("train", "test")}
    common = np.intersect1d(parts["train"], parts["test"])
    if common.size:
        raise DataError(
            f"Split {number} in {folder}: {common.size} indices are in both parts, for example {common[0]}."
        )
    return parts


def _load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    if not path.is_file():
        raise DataError(f"The data file {path} does not exist.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            used = {name: key for name, options in NAMES.items() for key in options if key in archive.files}
            _check_keys(path, used, list(archive.files))
            arrays = {name: np.asarray(archive[key]) for name, key in used.items()}
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, OSError, ValueError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} cannot be read as an npz archive: it is truncated or of another form ({error})."
        ) from error
    for name, array in arrays.items():
        if not np.issubdtype(array.dtype, np.number):
            raise DataError(f"{path}: {used[name]} must hold numbers, but has dtype {array.dtype}.")
    return arrays, used


def _check_keys(path: Path, used: dict[str, Any], present: list[str]) -> None:
    missing = [name for name in ("numbers", "positions") if name not in used]
    if missing:
        wanted = "; ".join(f"{name}: {' or '.join(NAMES[name])}" for name in missing)
        raise DataError(
            f"{path} is no rMD17-style archive: it lacks {wanted}. It has: {', '.join(present) or 'nothing'}."
        )


def _indices(path: Path) -> np.ndarray:
    if not path.is_file():
        raise DataError(f"The split file {path} does not exist.")
    with path.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.reader(lines) if row and row[0].strip()]
    try:
        values = np.array([int(row[0]) for row in rows], dtype=np.int64)
    except ValueError as error:
        raise DataError(f"{path} must hold one whole number a line: {error}.") from error
    if values.size == 0 or values.min() < 0 or np.unique(values).size != values.size:
        raise DataError(f"{path} must hold distinct indices from 0 upwards; it holds {values.size} values.")
    return values

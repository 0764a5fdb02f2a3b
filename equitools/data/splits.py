"""Seeded splits of a data set, kept in a file that knows which data set it belongs to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from equitools._atomic import write_text
from equitools.data.structure import Structure
from equitools.errors import DataError

__all__ = ["fingerprint", "read_split", "split", "write_split"]

FORMAT = 1
ROUND = 5  # decimals of Å: the same data written by another program still has the same fingerprint


def split(n: int, parts: Mapping[str, float | int], seed: int = 0) -> dict[str, np.ndarray]:
    """Divide the indices 0 … n − 1 at random into disjoint parts.

    Args:
        n: Size of the data set.
        parts: Part → a count (int) or a fraction of the whole (float from 0 to 1), for example
            ``{"train": 0.8, "valid": 0.1, "test": 0.1}`` or ``{"train": 450, "valid": 50}``. If the fractions sum to
            one without counts beside them, rounding leaves nothing over; what is not asked for is in no part.
        seed: Of numpy's PCG64; the split file, not the seed, is what should be passed on.

    Returns:
        Part → ascending int64 indices.

    Raises:
        DataError: for a negative or too large request, or a part that would be empty.

    Properties:
        disjoint: no index is in two parts.
        same_seed_same_split: for equal arguments.
    """
    sizes = _sizes(n, parts)
    order = np.random.default_rng(seed).permutation(n)
    stops = np.cumsum(list(sizes.values()))
    return {
        name: np.sort(order[stop - size : stop]).astype(np.int64)
        for (name, size), stop in zip(sizes.items(), stops, strict=True)
    }


def fingerprint(structures: Sequence[Structure]) -> str:
    """Return a hash of all elements, positions, cells and periodic axes, in order."""
    digest = hashlib.sha256()
    for structure in structures:
        digest.update(np.ascontiguousarray(structure.numbers, dtype="<i8").tobytes())
        for array in (structure.positions, structure.cell):
            rounded = np.round(array, ROUND) + 0.0  # + 0.0 turns −0 into 0
            digest.update(np.ascontiguousarray(rounded, dtype="<f8").tobytes())
        digest.update(np.ascontiguousarray(structure.pbc, dtype=np.uint8).tobytes())
    return f"sha256:{digest.hexdigest()}"


def write_split(
    path: str | os.PathLike[str],
    parts: Mapping[str, np.ndarray],
    structures: Sequence[Structure],
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write a split as JSON, whole or not at all.

    Args:
        path: The file.
        parts: Part → indices into ``structures``.
        structures: The data set, for its size and fingerprint.
        details: Further JSON-able entries, such as the seed.

    Raises:
        DataError: for indices out of range or in two parts.
    """
    lists = {name: [int(index) for index in indices] for name, indices in parts.items()}
    _check(lists, len(structures), str(path))
    header = {
        "format": FORMAT,
        "size": len(structures),
        "fingerprint": fingerprint(structures),
        "details": dict(details or {}),
    }
    # one line a part: an indented list of 100 000 numbers helps nobody
    entries = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in header.items()]
    rows = ",\n".join(f"    {json.dumps(name)}: {json.dumps(indices)}" for name, indices in lists.items())
    entries.append('  "parts": {\n' + rows + "\n  }")
    write_text(path, "{\n" + ",\n".join(entries) + "\n}\n")


def read_split(path: str | os.PathLike[str], structures: Sequence[Structure] | None = None) -> dict[str, np.ndarray]:
    """Read a split and check that it belongs to this data set.

    Args:
        path: What `write_split` wrote.
        structures: The data set; without it, only the file itself is checked.

    Raises:
        DataError: for a missing or damaged file, or one that was written for other data.

    Properties:
        write_read_round_trip: what `write_split` wrote comes back.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"The split file {file} does not exist.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        version, size, stamp = content["format"], content["size"], content["fingerprint"]
        lists = {str(name): [int(index) for index in indices] for name, indices in content["parts"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} is no split file: it is damaged or truncated ({error}).") from error
    if version != FORMAT:
        raise DataError(f"{file} has the split format {version}, but this version of equitools reads {FORMAT}.")
    if structures is not None:
        _check_owner(file, size, stamp, structures)
    _check(lists, size, str(file))
    return {name: np.array(indices, dtype=np.int64) for name, indices in lists.items()}


def _check_owner(file: Path, size: int, stamp: str, structures: Sequence[Structure]) -> None:
    actual = fingerprint(structures)
    if size != len(structures) or stamp != actual:
        raise DataError(
            f"The split {file} was made for another data set: {size} structures, {stamp[:19]}…; the data has "
            f"{len(structures)} structures, {actual[:19]}…. Use the data that it was made for, or make a new split."
        )


def _sizes(n: int, parts: Mapping[str, float | int]) -> dict[str, int]:
    if n <= 0 or not parts:
        raise DataError(
            f"A split needs data and at least one part, but was asked to split {n} structures into {len(parts)} parts."
        )
    for name, value in parts.items():
        fraction = isinstance(value, float)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float | np.integer)
            or value < 0
            or (fraction and value > 1)
        ):
            raise DataError(
                f"The part {name!r} must be a count (int) or a fraction from 0 to 1 (float), but is {value!r}."
            )
    sizes = {name: round(value * n) if isinstance(value, float) else int(value) for name, value in parts.items()}
    fractions = [name for name, value in parts.items() if isinstance(value, float)]
    total = sum(parts[name] for name in fractions)
    if len(fractions) == len(parts) and abs(total - 1.0) < 1e-9:
        largest = max(fractions, key=lambda name: parts[name])
        sizes[largest] += n - sum(sizes.values())
    empty = [name for name, size in sizes.items() if size <= 0 and parts[name] != 0]
    if empty or sum(sizes.values()) > n:
        words = ", ".join(f"{name}: {parts[name]} → {size}" for name, size in sizes.items())
        raise DataError(
            f"{n} structures cannot be split into these parts ({words}); they are too few or a part is empty."
        )
    return sizes


def _check(lists: Mapping[str, Sequence[int]], size: int, where: str) -> None:
    every = np.array([index for indices in lists.values() for index in indices], dtype=np.int64)
    if every.size and (every.min() < 0 or every.max() >= size):
        raise DataError(f"The split {where} holds indices outside 0 to {size - 1}.")
    if np.unique(every).size != every.size:
        raise DataError(f"The split {where} holds an index twice; its parts must be disjoint.")

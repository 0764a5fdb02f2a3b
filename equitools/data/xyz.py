"""A check of (extended) XYZ files: where a file is cut off within a header, ASE's reader only sees its end."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from equitools.errors import DataError

__all__ = ["check_xyz"]

PROPERTIES = re.compile(r'Properties="?([^\s"]+)"?', re.IGNORECASE)
PLAIN_COLUMNS = 4


def check_xyz(path: str | os.PathLike[str]) -> None:
    """Raise unless the file is a whole number of configurations.

    Each is a line with the number of atoms, a comment line and a line an atom; nothing but blank lines may follow the
    last. Where the file ends without a line break, its last number must have as many decimals as the one above it.

    Raises:
        DataError: with the line where it goes wrong.

    Properties:
        cut_is_noticed: a file cut anywhere but between two configurations is refused.
    """
    path = Path(path)
    frames, last, above, columns = 0, "", "", PLAIN_COLUMNS
    with path.open(encoding="utf-8", errors="replace") as stream:
        lines = _Counted(stream)
        for line in lines:
            if not line.strip():
                _expect_end(lines, path)
                break
            if line.lstrip().startswith("VEC"):  # an older way to write the cell, after the atoms
                continue
            count = _count(line, lines.number, path)
            comment = next(lines, None)
            if comment is None or (count and not comment.endswith("\n")):
                raise _cut(path, lines.number, f"configuration {frames} has {count} atoms but no comment line")
            columns = _columns(comment)
            for atom in range(count):
                above, last = last if atom else "", next(lines, "")
                if not last.strip():
                    raise _cut(path, lines.number, f"only {atom} of the {count} atoms of configuration {frames} follow")
                if len(last.split()) < columns:
                    raise _cut(path, lines.number, f"atom {atom} of configuration {frames} needs {columns} columns")
            frames += 1
    if frames == 0:
        raise DataError(f"The data file {path} holds no configuration.")
    if not last.endswith("\n") and above and _decimals(last) < _decimals(above):
        raise _cut(path, lines.number, "the last number is shorter than the one above it, and no line break follows")


class _Counted:
    """Lines with the number of the one that was handed out last."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.lines = lines
        self.number = 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.number += 1
        return line


def _count(line: str, number: int, path: Path) -> int:
    try:
        count = int(line)
    except ValueError:
        count = -1
    if count < 0:
        raise DataError(
            f"{path} is no XYZ file, or it is damaged: line {number} must be a number of atoms, but is "
            f"{line.strip()[:60]!r}."
        )
    return count


def _columns(comment: str) -> int:
    found = PROPERTIES.search(comment)
    if not found:
        return PLAIN_COLUMNS
    widths = found.group(1).split(":")[2::3]
    return sum(int(width) for width in widths if width.isdigit())


def _expect_end(lines: _Counted, path: Path) -> None:
    for line in lines:
        if line.strip():
            raise DataError(
                f"{path} has a blank line before line {lines.number}, where ASE would stop reading, but "
                f"{line.strip()[:40]!r} follows. Remove the blank line."
            )


def _decimals(line: str) -> int:
    return len(line.rsplit(maxsplit=1)[-1].partition(".")[2])


def _cut(path: Path, number: int, why: str) -> DataError:
    return DataError(f"The data file {path} is truncated or damaged at line {number}: {why}.")

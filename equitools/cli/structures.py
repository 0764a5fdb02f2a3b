"""Reads the structure that a command is given, and builds the calculator, with errors that help."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from equitools.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["make_calculator", "read_structure"]


def read_structure(path: Path, index: int = -1) -> Atoms:
    """Read one structure from any file that ASE reads.

    Args:
        path: The file.
        index: Which structure of several; -1 is the last.

    Returns:
        The structure, without a calculator.

    Raises:
        DataError: the file is missing, empty, of an unknown form, or has no structure of that index.
    """
    from ase.io import read
    from ase.io.formats import UnknownFileTypeError

    if not path.is_file():
        raise DataError(f"The structure file {str(path)!r} does not exist (or is no file). Check the path.")
    if path.stat().st_size == 0:
        raise DataError(f"The structure file {str(path)!r} is empty.")
    try:
        atoms = cast("Atoms", read(path, index=index))  # an integer index gives one structure
    except UnknownFileTypeError as error:
        raise DataError(
            f"The form of {str(path)!r} was not recognised. Give a file that ASE reads, such as .xyz, .extxyz or .cif."
        ) from error
    except (IndexError, StopIteration) as error:
        raise DataError(f"{str(path)!r} holds no structure with index {index}.") from error
    except Exception as error:  # ASE's parsers raise whatever a truncated or foreign file leads them into
        raise DataError(
            f"{str(path)!r} could not be read: {type(error).__name__}: {error}. It may be truncated."
        ) from error
    if len(atoms) == 0:
        raise DataError(f"{str(path)!r} holds a structure without atoms.")
    atoms.calc = None
    return atoms


def make_calculator(model: Path, device: str, dtype: str | None, radial: str = "exact") -> Any:
    """Return the ASE calculator for a model file."""
    from equitools.integrations.ase import EquitoolsCalculator

    return EquitoolsCalculator(model, device=device, dtype=dtype, radial=radial)  # type: ignore[arg-type]

"""Named conversions of labels into the library's units, applied once, when a file is read.

A label's key may carry one in front: ``"kcal/mol:REF_energy"`` reads the key ``REF_energy`` and turns it into eV;
``"virial:REF_virial"`` reads virials and stores stress. Nothing is ever converted unasked.
"""

from __future__ import annotations

import numpy as np

from equitools.errors import LabelError

__all__ = ["CONVERTERS", "FACTORS", "stress_from_virial", "stress_matrix", "virial_from_stress"]

# CODATA 2014, the values that ASE's units are made of
HARTREE = 27.211386024367243
BOHR = 0.5291772105638411
KCAL_PER_MOL = 0.04336410390059322
DEBYE = 0.20819433442462576

FACTORS: dict[str, float] = {
    "kcal/mol": KCAL_PER_MOL,
    "kcal/mol/Å": KCAL_PER_MOL,
    "kJ/mol": KCAL_PER_MOL / 4.184,
    "hartree": HARTREE,
    "hartree/bohr": HARTREE / BOHR,
    "meV": 1e-3,
    "debye": DEBYE,
    "e·bohr": BOHR,
    "GPa": 1.0 / 160.21766208,
}
"""Factors from the named unit to eV, eV/Å, eV/Å³ or e·Å, whichever belongs to it."""

CONVERTERS: frozenset[str] = frozenset(FACTORS) | {"virial"}
"""Every name that may stand in front of a label's key."""

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
ASYMMETRY = 1e-3


def stress_matrix(stress: np.ndarray, where: str) -> np.ndarray:
    """Return a stress given as Voigt-6 (ASE's order xx yy zz yz xz xy), 9 numbers or 3×3 as a symmetric ``[3, 3]``.

    Args:
        stress: In eV/Å³, ASE's sign.
        where: What to call it in an error.

    Raises:
        LabelError: for another shape, or a matrix that is far from symmetric.

    Properties:
        voigt_round_trip: a symmetric matrix written as Voigt-6 comes back.
    """
    stress = np.asarray(stress, dtype=np.float64)
    if stress.size == 6 and stress.shape in ((6,), (1, 6)):
        matrix = np.zeros((3, 3))
        for value, (row, column) in zip(stress.reshape(6), VOIGT, strict=True):
            matrix[row, column] = matrix[column, row] = value
        return matrix
    if stress.shape not in ((9,), (3, 3), (1, 3, 3), (1, 9)):
        raise LabelError(
            f"{where}: a stress must be 6 numbers (Voigt order xx yy zz yz xz xy), 9 numbers or 3×3, but has the shape "
            f"{list(stress.shape)}."
        )
    matrix = stress.reshape(3, 3)
    if np.abs(matrix - matrix.T).max() > ASYMMETRY * max(np.abs(matrix).max(), 1e-6):
        raise LabelError(f"{where}: a stress must be symmetric, but is {matrix.tolist()}.")
    return 0.5 * (matrix + matrix.T)


def stress_from_virial(virial: np.ndarray, cell: np.ndarray, where: str) -> np.ndarray:
    """Return ``−virial / volume``, ``[3, 3]`` eV/Å³, from a virial in eV (the sign of quippy and most codes).

    Raises:
        LabelError: if the cell has no volume, or the virial another shape than `stress_matrix` takes.

    Properties:
        inverts_virial_from_stress: the two undo each other.
    """
    volume = abs(float(np.linalg.det(cell)))
    if volume == 0.0:
        raise LabelError(f"{where}: a virial can only be turned into stress where the cell has a volume.")
    return -stress_matrix(virial, where) / volume


def virial_from_stress(stress: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return ``−volume · stress``, ``[3, 3]`` eV, from a stress in eV/Å³."""
    return -abs(float(np.linalg.det(cell))) * stress_matrix(stress, "stress")

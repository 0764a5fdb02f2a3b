"""Find a configuration's labels: in the calculator's stored results and under named keys, never through getters.

``atoms.get_forces()`` sets the forces of constrained atoms to zero; what a calculator stored in ``calc.results`` is
what it computed. That, ``atoms.info`` and ``atoms.arrays`` are the only places that are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from equitools.data.converters import CONVERTERS, FACTORS, stress_from_virial, stress_matrix
from equitools.data.structure import Structure
from equitools.errors import DataError, LabelError
from equitools.graph import keys

__all__ = ["STANDARD_KEYS", "check_structure", "structure_from_atoms"]

STANDARD_KEYS: dict[str, tuple[str, ...]] = {
    keys.ENERGY: ("energy",),
    "free_energy": ("free_energy",),
    keys.FORCES: ("forces",),
    keys.STRESS: ("stress",),
    keys.DIPOLE: ("dipole",),
    keys.CHARGES: ("charges",),
    keys.NODE_ENERGY: ("node_energy", "energies"),
    "magmoms": ("magmoms",),
}
"""Labels that are read without being asked for, and the keys that they are looked for under."""

NODE_NAMES = frozenset({"magmoms"})
UNITS = {"free_energy": "eV", "magmoms": "μB"}
CHARGE_KEYS = ("total_charge", "charge")
GEOMETRY_ARRAYS = frozenset({"numbers", "positions", "tags", "masses", "momenta", "initial_magmoms", "initial_charges"})
NESTED_INFO = ("key_value_pairs", "data")


def structure_from_atoms(
    atoms: Any, labels: Mapping[str, str] | None = None, source: str = "", index: int = 0
) -> Structure:
    """Turn an ``ase.Atoms`` into a `Structure`.

    Args:
        atoms: Not changed, and never asked to compute anything.
        labels: Label name → key, with a converter's name and a colon before the key where units or meaning differ
            (``{"stress": "virial:REF_virial"}``). Names that are not mentioned are looked for as `STANDARD_KEYS` says.
        source: The file, for messages.
        index: The configuration's place in the file.

    Raises:
        DataError: for NaN or infinity in positions or labels.
        LabelError: for a label of the wrong shape, or one that is no number.

    Properties:
        ignores_constraints: forces of constrained atoms are read as they were computed.
    """
    structure = Structure(
        positions=np.array(atoms.positions, dtype=np.float64),
        numbers=np.array(atoms.numbers, dtype=np.int64),
        cell=np.array(atoms.cell, dtype=np.float64),
        pbc=np.array(atoms.pbc, dtype=bool),
        source=source,
        index=index,
    )
    places = _places(atoms)
    wanted = {name: (key,) for name, key in (labels or {}).items()}
    used = set()
    for name, candidates in {**STANDARD_KEYS, **wanted}.items():
        for candidate in candidates:
            converter, key = _split_key(candidate)
            found = _find(places, key)
            if found is None:
                continue
            place, value = found
            used.add(key)
            _store(structure, name, place, key, value, converter)
            break
    structure.other_keys = tuple(sorted({key for _, values in places for key in values} - used))
    structure.info = {
        key: value
        for key, value in dict(places)["info"].items()
        if key not in used and isinstance(value, str | int | float | bool | np.number)
    }
    _read_extras(structure, atoms)
    check_structure(structure)
    return structure


def check_structure(structure: Structure) -> None:
    """Raise `DataError` if positions, cell or labels hold NaN or infinity, or a known label has a wrong shape."""
    for name, array in (("positions", structure.positions), ("cell", structure.cell), *structure.labels.items()):
        array = np.asarray(array)
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise DataError(
                f"{name} of {structure.where} must be finite, but {bad} of {array.size} numbers are NaN or infinite. "
                "Repair or remove this configuration."
            )
    for name, value in structure.labels.items():
        spec = keys.KEYS.get(name)
        if spec is None or spec.trailing is None:
            continue
        expected = (len(structure), *spec.trailing) if spec.level == "node" else spec.trailing
        if value.shape != expected:
            raise LabelError(
                f"The label {name!r} of {structure.where} must have the shape {list(expected)}, but has "
                f"{list(value.shape)} (read from {structure.label_keys.get(name, 'memory')})."
            )


def _places(atoms: Any) -> list[tuple[str, dict[str, Any]]]:
    """Where labels may be, in the order in which they are looked for."""
    calculator = getattr(atoms, "calc", None)
    results = {key: value for key, value in dict(getattr(calculator, "results", {})).items() if value is not None}
    info: dict[str, Any] = {}
    for key, value in atoms.info.items():
        if key in NESTED_INFO and isinstance(value, Mapping):  # ASE's database keeps its own keys one floor deeper
            info.update(value)
        else:
            info[key] = value
    arrays = {key: value for key, value in atoms.arrays.items() if key not in GEOMETRY_ARRAYS}
    return [("results", results), ("info", info), ("arrays", arrays)]


def _split_key(text: str) -> tuple[str | None, str]:
    head, colon, tail = text.partition(":")
    return (head, tail) if colon and head in CONVERTERS else (None, text)


def _find(places: list[tuple[str, dict[str, Any]]], key: str) -> tuple[str, Any] | None:
    for place, values in places:
        if key in values:
            return place, values[key]
    return None


def _store(structure: Structure, name: str, place: str, key: str, value: Any, converter: str | None) -> None:
    where = f"The label {name!r} ({place}.{key}) of {structure.where}"
    array = np.array(value)
    if array.dtype == bool:
        array = array.astype(np.int64)
    if not np.issubdtype(array.dtype, np.number) or np.issubdtype(array.dtype, np.complexfloating):
        raise LabelError(f"{where} must be numbers, but is {array.dtype}: {str(value)[:60]!r}.")
    if np.issubdtype(array.dtype, np.floating) or name in keys.KEYS:
        array = array.astype(np.float64)
    if converter is not None and converter in FACTORS:
        array = array * FACTORS[converter]
    if converter == "virial":
        if name != keys.STRESS:
            raise LabelError(f"{where}: the converter 'virial' makes stress, so it can only fill the label 'stress'.")
        if np.isfinite(array).all():
            array = stress_from_virial(array, structure.cell, where)
    elif name == keys.STRESS and np.isfinite(array).all():
        array = stress_matrix(array, where)
    level = _level(name, place, array, len(structure))
    spec = keys.KEYS.get(name)
    if level == "graph" and array.shape == (1,) and (spec is None or spec.trailing == ()):
        array = array.reshape(())
    structure.labels[name] = array
    structure.label_levels[name] = level
    if name in UNITS:
        structure.label_units[name] = UNITS[name]
    structure.label_keys[name] = f"{place}.{key}" + (f" via {converter}" if converter else "")


def _level(name: str, place: str, array: np.ndarray, count: int) -> str:
    if name in keys.KEYS:
        return keys.KEYS[name].level
    if name in NODE_NAMES or place == "arrays":
        return "node"
    if place == "results" and array.ndim and array.shape[0] == count and array.shape not in ((3,), (6,), (3, 3)):
        return "node"
    return "graph"


def _read_extras(structure: Structure, atoms: Any) -> None:
    if "momenta" in atoms.arrays:
        from ase import units

        structure.extras[keys.VELOCITIES] = np.array(atoms.get_velocities(), dtype=np.float64) * units.fs
    if keys.TAGS in atoms.arrays:
        structure.extras[keys.TAGS] = np.array(atoms.arrays[keys.TAGS], dtype=np.int64)
    for key in CHARGE_KEYS:
        if isinstance(atoms.info.get(key), int | float | np.number):
            structure.extras[keys.TOTAL_CHARGE] = np.array(float(atoms.info[key]))
            break

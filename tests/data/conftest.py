from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

ROOT = Path(__file__).resolve().parents[2]


def labelled(atoms: Atoms, rng: np.random.Generator, **more) -> Atoms:
    atoms = atoms.copy()
    atoms.positions += rng.normal(size=atoms.positions.shape) * 0.05
    results = {"energy": -10.0 * len(atoms) + rng.normal(), "forces": rng.normal(size=(len(atoms), 3))}
    atoms.calc = SinglePointCalculator(atoms, **(results | more))
    return atoms


@pytest.fixture
def molecules() -> list[Atoms]:
    rng = np.random.default_rng(1)
    return [labelled(molecule(name), rng) for name in ("H2O", "CH4", "NH3", "H2O", "CH3CH2OH", "CO2")]


@pytest.fixture
def crystals() -> list[Atoms]:
    rng = np.random.default_rng(2)
    cell = bulk("Cu", cubic=True)
    return [labelled(cell, rng, stress=rng.normal(size=6) * 0.01) for _ in range(4)]


@pytest.fixture
def reference_data() -> Path:
    """The folder of real data: EQUITOOLS_TEST_DATA, or ../shared/data beside the repository."""
    folder = Path(os.environ.get("EQUITOOLS_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no reference data: set EQUITOOLS_TEST_DATA, or put them into ../shared/data")
    return folder

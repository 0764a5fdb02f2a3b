from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, molecule

from equitools import data
from equitools.errors import DataError, EquitoolsError, LabelError


@pytest.fixture
def structures(molecules):
    return [data.structure_from_atoms(atoms, source="a.xyz", index=index) for index, atoms in enumerate(molecules)]


def test_census_counts_and_units(structures):
    del structures[2].labels["energy"]
    found = data.census(structures)
    assert (found.labels["energy"].count, found.labels["energy"].total) == (5, 6)
    assert found.labels["forces"].unit == "eV/Å"
    forces = np.concatenate([structure.labels["forces"].ravel() for structure in structures])
    assert found.labels["forces"].std == pytest.approx(forces.std())
    assert found.num_atoms == (3, 9)
    assert found.species == (1, 6, 7, 8)
    text = str(found)
    for words in ("energy", "5/6", "eV/Å", "results.forces", "only 5 of 6", "6 structures of 3 to 9 atoms"):
        assert words in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_census_without_labels():
    assert "no label was found" in str(data.census([data.structure_from_atoms(molecule("H2O"))]))
    with pytest.raises(DataError, match="empty"):
        data.census([])


def test_missing_label_fails(structures):
    data.require(structures, ["energy", "forces"])
    del structures[4].labels["forces"]
    with pytest.raises(
        LabelError, match=r"'forces' is needed, but only 5 of 6 structures have it.*configuration 4 of a.xyz"
    ):
        data.require(structures, ["energy", "forces"])
    data.require(structures, ["energy"])


def test_missing_label_names_near_keys():
    atoms = molecule("H2O")
    atoms.info["REF_energy"] = 1.0
    atoms.arrays["dft_forces"] = np.zeros((3, 3))
    structure = data.structure_from_atoms(atoms)
    with pytest.raises(LabelError, match="only 0 of 1") as caught:
        data.require([structure], ["forces"])
    assert "{forces: dft_forces}" in str(caught.value)
    assert "atoms.calc.results, atoms.info and atoms.arrays" in str(caught.value)
    assert "REF_energy" in str(caught.value)
    assert isinstance(caught.value, EquitoolsError)


def test_wrong_units_of_forces(structures):
    for structure in structures:
        structure.labels["forces"] *= 1000.0
    with pytest.raises(DataError, match=r"units are suspected: forces have an RMS of .*allow_suspicious"):
        data.require(structures, ["forces"])
    data.require(structures, ["energy"])
    data.require(structures, ["forces"], allow_suspicious=True)
    assert "mixed units" in str(data.census(structures))


def test_one_configuration_with_large_forces(structures):
    structures[3].labels["forces"][0, 0] = 5e3
    with pytest.raises(DataError, match=r"configuration 3 of a\.xyz"):
        data.require(structures, ["forces"])


def test_mixed_units_of_energies(structures):
    structures[0].labels["energy"] = np.array(-2078.0)  # water in eV
    structures[3].labels["energy"] = np.array(-76.4)  # water in Hartree
    with pytest.raises(DataError, match="one composition differ by"):
        data.require(structures, ["energy"])


def test_wrong_units_of_stress():
    structure = data.structure_from_atoms(bulk("Cu", cubic=True))
    structure.labels["stress"] = np.eye(3) * 100.0
    with pytest.raises(DataError, match="stress component"):
        data.require([structure], ["stress"])


def test_collapsed_positions_are_reported():
    atoms = molecule("H2O")
    atoms.positions *= 0.1
    assert any("apart" in line for line in data.suspicions([data.structure_from_atoms(atoms)]))

from __future__ import annotations

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from equitools import data
from equitools.errors import DataError, LabelError


def assert_labels(structures, atoms_list) -> None:
    assert len(structures) == len(atoms_list)
    for index, (structure, atoms) in enumerate(zip(structures, atoms_list)):
        np.testing.assert_allclose(structure.positions, atoms.positions, atol=1e-7)
        assert structure.numbers.tolist() == atoms.numbers.tolist()
        assert structure.labels["energy"].shape == ()
        np.testing.assert_allclose(structure.labels["energy"], atoms.calc.results["energy"], atol=1e-7)
        np.testing.assert_allclose(structure.labels["forces"], atoms.calc.results["forces"], atol=1e-7)
        assert structure.index == index


@pytest.mark.parametrize("suffix", ["xyz", "extxyz", "traj", "db", "json"])
def test_reads_what_ase_writes(tmp_path, molecules, suffix):
    path = tmp_path / f"data.{suffix}"
    if suffix == "db":
        with ase.db.connect(path) as base:
            for atoms in molecules:
                base.write(atoms)
    else:
        ase.io.write(path, molecules)
    assert_labels(data.read(path), molecules)


def test_reads_several_files_in_order(tmp_path, molecules):
    ase.io.write(tmp_path / "a.xyz", molecules[:2])
    ase.io.write(tmp_path / "b.traj", molecules[2:])
    structures = data.read([tmp_path / "a.xyz", str(tmp_path / "b.traj")])
    assert [structure.index for structure in structures] == [0, 1, 0, 1, 2, 3]
    assert structures[2].source.endswith("b.traj")
    assert structures[4].formula == "C2H6O"


@pytest.mark.parametrize(
    ("index", "expected"),
    [(":", range(6)), ("1:3", [1, 2]), ("::2", [0, 2, 4]), (-1, [5]), ("3", [3]), (slice(4, None), [4, 5])],
)
def test_index(tmp_path, molecules, index, expected):
    ase.io.write(tmp_path / "a.xyz", molecules)
    assert [structure.index for structure in data.read(tmp_path / "a.xyz", index=index)] == list(expected)


@pytest.mark.parametrize("suffix", ["xyz", "traj", "db"])
def test_ignores_constraints(tmp_path, molecules, suffix):
    atoms = molecules[1]
    true = atoms.calc.results["forces"].copy()
    atoms.set_constraint(FixAtoms([0, 1, 2]))
    assert np.abs(atoms.get_forces()[0]).max() == 0.0
    path = tmp_path / f"data.{suffix}"
    ase.io.write(
        path, [atoms], **({"columns": ["symbols", "positions", "forces", "move_mask"]} if suffix == "xyz" else {})
    )
    if suffix != "db":  # ASE's database itself may store constrained forces
        np.testing.assert_allclose(data.read(path)[0].labels["forces"], true, atol=1e-7)
    np.testing.assert_array_equal(data.structure_from_atoms(atoms).labels["forces"], true)


def test_named_keys_and_levels(tmp_path):
    atoms = molecule("H2O")
    atoms.info.update(
        REF_energy=-14.5, gap=7.0, polar=np.arange(9.0).reshape(3, 3), kind=2, config_type="bulk", charge=1
    )
    atoms.arrays["REF_forces"] = np.ones((3, 3))
    atoms.arrays["shielding"] = np.arange(3.0)
    ase.io.write(tmp_path / "a.xyz", [atoms])
    keys = {
        "energy": "REF_energy",
        "forces": "REF_forces",
        "gap": "gap",
        "polar": "polar",
        "shielding": "shielding",
        "kind": "kind",
    }
    (structure,) = data.read(tmp_path / "a.xyz", keys)
    assert structure.labels["energy"] == -14.5
    assert structure.label_levels == {
        "energy": "graph", "forces": "node", "gap": "graph", "polar": "graph", "shielding": "node", "kind": "graph",
    }  # fmt: skip
    assert structure.label_keys["energy"] == "info.REF_energy"
    assert structure.labels["kind"].dtype.kind == "i"
    assert structure.info["config_type"] == "bulk"
    assert structure.extras["total_charge"] == 1.0
    graph = structure.to_graph(3.0)
    assert graph.labels["polar"].shape == (1, 3, 3)
    assert graph.labels["shielding"].shape == (3,)
    assert graph.labels["gap"].shape == (1,)


def test_database_key_value_pairs(tmp_path):
    with ase.db.connect(tmp_path / "a.db") as base:
        base.write(molecule("H2O"), key_value_pairs={"homo": -6.5}, data={"u0": [-76.4]})
    (structure,) = data.read(tmp_path / "a.db", {"homo": "homo", "u0": "u0"})
    assert structure.labels["homo"] == -6.5
    assert structure.labels["u0"] == -76.4


def test_converters(tmp_path):
    atoms = bulk("Cu", cubic=True)
    stress = np.array([[1.0, 0.2, 0.3], [0.2, 2.0, 0.4], [0.3, 0.4, 3.0]]) * 0.01
    atoms.info["REF_virial"] = -stress * atoms.get_volume()
    atoms.info["REF_energy"] = 2.0
    ase.io.write(tmp_path / "a.xyz", [atoms])
    (structure,) = data.read(tmp_path / "a.xyz", {"stress": "virial:REF_virial", "energy": "hartree:REF_energy"})
    np.testing.assert_allclose(structure.labels["stress"], stress, atol=1e-9)
    assert structure.labels["energy"] == pytest.approx(2 * 27.211386, rel=1e-7)
    assert "via virial" in structure.label_keys["stress"]
    with pytest.raises(LabelError, match="can only fill the label 'stress'"):
        data.read(tmp_path / "a.xyz", {"energy": "virial:REF_virial"})


def test_virial_without_volume_is_an_error(tmp_path):
    atoms = molecule("H2O")
    atoms.info["v"] = np.eye(3)
    ase.io.write(tmp_path / "a.xyz", [atoms])
    with pytest.raises(LabelError, match="volume"):
        data.read(tmp_path / "a.xyz", {"stress": "virial:v"})


@pytest.mark.parametrize("form", ["voigt", "matrix", "nine"])
def test_voigt_round_trip(form):
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(3, 3))
    matrix = matrix + matrix.T
    from ase.stress import full_3x3_to_voigt_6_stress

    given = {"voigt": full_3x3_to_voigt_6_stress(matrix), "matrix": matrix, "nine": matrix.reshape(9)}[form]
    np.testing.assert_allclose(data.stress_matrix(given, "here"), matrix, atol=1e-14)


def test_inverts_virial_from_stress():
    cell = np.array([[3.0, 0, 0], [1, 4.0, 0], [0, 1, -5.0]])
    stress = np.diag([1.0, 2.0, 3.0])
    virial = data.virial_from_stress(stress, cell)
    np.testing.assert_allclose(virial, -60.0 * stress)
    np.testing.assert_allclose(data.stress_from_virial(virial, cell, "here"), stress)


@pytest.mark.parametrize("bad", [np.zeros(5), np.arange(9.0).reshape(3, 3), np.zeros((2, 3))])
def test_bad_stress(bad):
    with pytest.raises(LabelError, match="stress must be"):
        data.stress_matrix(bad, "here")


def test_stress_from_a_calculator(tmp_path, crystals):
    ase.io.write(tmp_path / "a.xyz", crystals)
    for structure, atoms in zip(data.read(tmp_path / "a.xyz"), crystals):
        np.testing.assert_allclose(structure.labels["stress"][1, 2], atoms.calc.results["stress"][3], atol=1e-8)
        assert structure.to_graph(3.0).labels["stress"].shape == (1, 3, 3)


def test_velocities_become_an_extra():
    from ase import units

    atoms = molecule("H2O")
    atoms.set_velocities(np.full((3, 3), 0.01 / units.fs))
    structure = data.structure_from_atoms(atoms)
    np.testing.assert_allclose(structure.extras["velocities"], 0.01)
    assert structure.to_graph(2.0, extras=["velocities"]).velocities.shape == (3, 3)


def npz(path, positions, **more):
    arrays = {"nuclear_charges": np.array([8, 1, 1]), "coords": positions}
    arrays |= {"energies": np.arange(len(positions), dtype=float), "forces": np.ones_like(positions)}
    np.savez(path, **(arrays | {"old_indices": np.arange(len(positions)), "old_energies": np.zeros(1)} | more))
    return path


def test_rmd17_npz(tmp_path):
    positions = np.random.default_rng(0).normal(size=(4, 3, 3))
    structures = data.read(npz(tmp_path / "a.npz", positions), index="1:")
    assert [structure.index for structure in structures] == [1, 2, 3]
    assert structures[0].labels["energy"] == pytest.approx(0.0433641, rel=1e-5)
    np.testing.assert_allclose(structures[0].labels["forces"], 0.0433641, rtol=1e-5)
    np.testing.assert_array_equal(structures[2].positions, positions[3])
    (first, *_) = data.read_npz(tmp_path / "a.npz", unit="eV")
    assert first.labels["forces"][0, 0] == 1.0


def test_md17_npz(tmp_path):
    np.savez(tmp_path / "b.npz", z=np.array([1, 1]), R=np.zeros((3, 2, 3)), E=np.ones((3, 1)), F=np.zeros((3, 2, 3)),
             name=np.array(["x"], dtype=object))  # fmt: skip
    assert len(data.read(tmp_path / "b.npz")) == 3


def test_bad_npz(tmp_path):
    good = npz(tmp_path / "a.npz", np.zeros((2, 3, 3)))
    (tmp_path / "cut.npz").write_bytes(good.read_bytes()[:400])
    with pytest.raises(DataError, match="truncated"):
        data.read(tmp_path / "cut.npz")
    np.savez(tmp_path / "foreign.npz", x=np.zeros(2))
    with pytest.raises(DataError, match="lacks numbers"):
        data.read(tmp_path / "foreign.npz")
    with pytest.raises(DataError, match=r"shape \[M, 3, 3\]"):
        data.read(npz(tmp_path / "shape.npz", np.zeros((2, 4, 3))))
    positions = np.zeros((2, 3, 3))
    positions[1, 0, 0] = np.nan
    with pytest.raises(DataError, match="configuration 1"):
        data.read(npz(tmp_path / "nan.npz", positions))
    with pytest.raises(DataError, match="forces must have the shape"):
        data.read(npz(tmp_path / "f.npz", np.zeros((2, 3, 3)), forces=np.zeros((2, 3))))
    with pytest.raises(DataError, match="unit"):
        data.read(good, npz_unit="furlong")


def test_rmd17_splits(tmp_path):
    (tmp_path / "index_train_01.csv").write_text("3\n1\n")
    (tmp_path / "index_test_01.csv").write_text("0\n2\n")
    parts = data.read_rmd17_split(tmp_path, 1)
    assert parts["train"].tolist() == [3, 1]
    (tmp_path / "index_test_01.csv").write_text("0\n3\n")
    with pytest.raises(DataError, match="both parts"):
        data.read_rmd17_split(tmp_path, 1)
    with pytest.raises(DataError, match="does not exist"):
        data.read_rmd17_split(tmp_path, 2)
    with pytest.raises(DataError, match="splits 1 to 5"):
        data.read_rmd17_split(tmp_path, 6)
    (tmp_path / "index_test_01.csv").write_text("index\n2\n")
    with pytest.raises(DataError, match="whole number"):
        data.read_rmd17_split(tmp_path, 1)


def test_missing_empty_and_unknown_files(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        data.read(tmp_path / "none.xyz")
    (tmp_path / "empty.xyz").touch()
    with pytest.raises(DataError, match="is empty"):
        data.read(tmp_path / "empty.xyz")
    with pytest.raises(DataError, match="is a folder"):
        data.read(tmp_path)
    with pytest.raises(DataError, match="at least one file"):
        data.read([])
    (tmp_path / "what.foo").write_text("nothing that anybody knows\n")
    with pytest.raises(DataError, match="unknown"):
        data.read(tmp_path / "what.foo")
    (tmp_path / "blank.xyz").write_text("\n\n")
    with pytest.raises(DataError):
        data.read(tmp_path / "blank.xyz")
    (tmp_path / "bad.traj").write_bytes(b"\x00\x01garbage" * 10)
    with pytest.raises(DataError):
        data.read(tmp_path / "bad.traj")


@pytest.mark.parametrize("keep", [0.99, 0.7, 0.3, 0.05])
@pytest.mark.parametrize("suffix", ["xyz", "traj"])
def test_truncated_files(tmp_path, molecules, suffix, keep):
    path = tmp_path / f"whole.{suffix}"
    ase.io.write(path, molecules)
    content = path.read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(DataError, match=str(cut)):
        data.read(cut)


def test_cut_is_noticed(tmp_path, molecules):
    """A cut anywhere but between two configurations is noticed, also within the last number."""
    path = tmp_path / "whole.xyz"
    ase.io.write(path, molecules[:2])
    lines = path.read_bytes().splitlines(keepends=True)
    first = 2 + len(molecules[0])
    for count in range(1, len(lines)):
        (tmp_path / "cut.xyz").write_bytes(b"".join(lines[:count]))
        if count == first:
            assert len(data.read(tmp_path / "cut.xyz")) == 1
        else:
            with pytest.raises(DataError):
                data.read(tmp_path / "cut.xyz")
    (tmp_path / "cut.xyz").write_bytes(b"".join(lines)[:-4])
    with pytest.raises(DataError, match="truncated"):
        data.read(tmp_path / "cut.xyz")


def test_truncated_database(tmp_path, molecules):
    with ase.db.connect(tmp_path / "a.db") as base:
        for atoms in molecules:
            base.write(atoms)
    content = (tmp_path / "a.db").read_bytes()
    (tmp_path / "cut.db").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError):
        data.read(tmp_path / "cut.db")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("what", ["positions", "energy", "forces"])
def test_not_finite(tmp_path, molecules, what, value):
    atoms = molecules[3]
    if what == "positions":
        atoms.positions[1, 2] = value
    elif what == "energy":
        atoms.calc.results["energy"] = value
    else:
        atoms.calc.results["forces"][0, 0] = value
    ase.io.write(tmp_path / "a.traj", molecules)
    with pytest.raises(DataError, match=rf"{what} of configuration 3 of .*a\.traj must be finite"):
        data.read(tmp_path / "a.traj")


def test_wrong_label_shapes():
    atoms = molecule("H2O")
    atoms.info["e"] = np.zeros(2)
    with pytest.raises(LabelError, match="shape"):
        data.structure_from_atoms(atoms, {"energy": "e"})
    atoms.info["e"] = "minus ten"
    with pytest.raises(LabelError, match="must be numbers"):
        data.structure_from_atoms(atoms, {"energy": "e"})


def test_bad_index(tmp_path, molecules):
    ase.io.write(tmp_path / "a.xyz", molecules)
    with pytest.raises(DataError, match="holds 6"):
        data.read(tmp_path / "a.xyz", index=6)
    with pytest.raises(DataError, match="not understood"):
        data.read(tmp_path / "a.xyz", index="last")


def test_atoms_are_never_asked_to_compute():
    class Trap(SinglePointCalculator):
        def calculate(self, *_args, **_kwargs):
            raise AssertionError("the calculator was asked")

        def get_property(self, *_args, **_kwargs):
            raise AssertionError("the calculator was asked")

    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]])
    atoms.calc = Trap(atoms, energy=-1.0)
    before = atoms.copy()
    structure = data.structure_from_atoms(atoms)
    structure.positions += 1.0
    assert atoms == before
    assert structure.labels == {"energy": np.array(-1.0)}


def test_reference_data(reference_data):
    structures = data.read(reference_data / "acac" / "train_300K.xyz", index="::50")
    data.require(structures, ["energy", "forces"])
    assert {structure.formula for structure in structures} == {"C5H8O2"}
    table = data.isolated_energies(reference_data / "acac" / "isolated_atoms.xyz")
    assert sorted(table) == [1, 6, 8]
    numbers = data.statistics(structures, 5.0, table)
    assert -6.0 < numbers.energy_per_atom_mean < -4.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2\n\nH 0 0 0\nH 0 0 1\n\n1\n\nH 0 0 0\n", "blank line"),
        ("hello\n", "number of atoms"),
        ("1\nProperties=species:S:1:pos:R:3:forces:R:3\nH 0 0 0 1 1\n", "7 columns"),
    ],
)
def test_damaged_xyz(tmp_path, text, words):
    (tmp_path / "a.xyz").write_text(text)
    with pytest.raises(DataError, match=words):
        data.read(tmp_path / "a.xyz")


def test_xyz_without_a_final_line_break(tmp_path):
    (tmp_path / "a.xyz").write_text("2\n\nH 0.0 0.0 0.00\nH 0.0 0.0 0.74")
    assert len(data.read(tmp_path / "a.xyz")) == 1
    (tmp_path / "b.xyz").write_text("1\n\nH 0.0 0.0 0.00\n\n  \n")
    assert len(data.read(tmp_path / "b.xyz")) == 1

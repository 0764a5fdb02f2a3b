from __future__ import annotations

import json

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from equitools import data
from equitools.errors import DataError, GraphError, LabelError, UnknownSpeciesError
from equitools.graph import unbatch


@pytest.fixture
def structures(molecules):
    return [data.structure_from_atoms(atoms, index=index) for index, atoms in enumerate(molecules)]


def test_dataset_and_loader(structures):
    dataset = data.Dataset(structures, cutoff=4.0, dtype=torch.float32).prepare()
    assert len(dataset) == 6
    assert dataset[1] is dataset[1]
    graphs = list(DataLoader(dataset, batch_size=4, collate_fn=data.collate))
    assert [graph.num_graphs for graph in graphs] == [4, 2]
    assert graphs[0].labels["energy"].dtype == torch.float64
    assert torch.equal(unbatch(graphs[1])[1].positions, dataset[5].positions)
    part = dataset.subset([3, 0])
    assert part[1] is dataset[0]
    with pytest.raises(DataError, match="at least one"):
        data.Dataset([], 4.0)


def test_deterministic(structures):
    first, second = (data.Dataset(structures, 4.0) for _ in range(2))
    for a, b in zip(first, second):
        assert torch.equal(a.edge_index, b.edge_index)
        assert torch.equal(a.positions, b.positions)


def test_loader_workers_share_the_graphs(structures):
    dataset = data.Dataset(structures, 4.0).prepare()
    loader = DataLoader(dataset, batch_size=3, collate_fn=data.collate, num_workers=1)
    assert sum(graph.num_nodes for graph in loader) == sum(len(structure) for structure in structures)


def test_dataset_takes_labels_that_all_have(structures):
    del structures[2].labels["forces"]
    assert data.Dataset(structures, 4.0).labels == ("energy",)
    with pytest.raises(LabelError, match="'forces' is missing in configuration 2"):
        data.Dataset(structures, 4.0, labels=["forces"]).prepare()
    assert data.Dataset(structures, 4.0, labels=())[2].labels == {}


def test_dataset_takes_atoms(molecules):
    assert data.Dataset(molecules, 4.0)[0].labels["energy"].item() == molecules[0].calc.results["energy"]


def test_dataset_refuses_a_periodic_axis_without_vector():
    structure = data.structure_from_atoms(Atoms("H", pbc=True))
    with pytest.raises(GraphError, match="axis 0"):
        data.Dataset([structure], 4.0).prepare()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(3, 300), st.integers(0, 2**31), st.data())
def test_disjoint(n, seed, draw):
    train = draw.draw(st.integers(1, n - 2))
    parts = data.split(n, {"train": train, "valid": 1, "test": n - train - 1}, seed)
    every = np.concatenate(list(parts.values()))
    assert sorted(every.tolist()) == list(range(n))
    assert [len(part) for part in parts.values()] == [train, 1, n - train - 1]


def test_same_seed_same_split():
    first, again, other = (data.split(100, {"train": 0.8, "valid": 0.2}, seed) for seed in (3, 3, 4))
    assert np.array_equal(first["train"], again["train"])
    assert not np.array_equal(first["train"], other["train"])
    # the stream itself: a change of numpy's generator would silently change everybody's splits
    assert data.split(10, {"a": 5}, 0)["a"].tolist() == [2, 3, 4, 6, 7]


def test_fractions_leave_nothing_over():
    assert sum(len(part) for part in data.split(7, {"train": 0.5, "valid": 0.25, "test": 0.25}).values()) == 7
    assert len(data.split(100, {"train": 0.5, "valid": 7})["valid"]) == 7


@pytest.mark.parametrize(
    "parts", [{}, {"a": 11}, {"a": 1.5}, {"a": -1}, {"a": 0.01}, {"a": 8, "b": 0.5}, {"a": True}, {"a": "x"}]
)
def test_bad_splits(parts):
    with pytest.raises(DataError):
        data.split(10, parts)


def test_write_read_round_trip(tmp_path, structures):
    parts = data.split(6, {"train": 4, "valid": 1, "test": 1})
    path = tmp_path / "sub" / "split.json"
    data.write_split(path, parts, structures, {"seed": 0})
    again = data.read_split(path, structures)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)
    assert json.loads(path.read_text())["details"] == {"seed": 0}
    assert [file.name for file in path.parent.iterdir()] == ["split.json"]


def test_fingerprint_survives_another_file_format(tmp_path, molecules):
    ase.io.write(tmp_path / "a.xyz", molecules)
    ase.io.write(tmp_path / "a.traj", molecules)
    assert data.fingerprint(data.read(tmp_path / "a.xyz")) == data.fingerprint(data.read(tmp_path / "a.traj"))


def test_split_of_other_data_is_refused(tmp_path, structures):
    path = tmp_path / "split.json"
    data.write_split(path, data.split(6, {"train": 6}), structures)
    with pytest.raises(DataError, match="another data set"):
        data.read_split(path, structures[:5])
    structures[0].positions += 0.01
    with pytest.raises(DataError, match="another data set"):
        data.read_split(path, structures)
    assert data.read_split(path)["train"].shape == (6,)


def test_damaged_split_files(tmp_path, structures):
    path = tmp_path / "split.json"
    with pytest.raises(DataError, match="does not exist"):
        data.read_split(path, structures)
    data.write_split(path, data.split(6, {"train": 6}), structures)
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match="damaged or truncated"):
        data.read_split(path, structures)
    path.write_text(text.replace('"format": 1', '"format": 9'))
    with pytest.raises(DataError, match="format 9"):
        data.read_split(path, structures)
    with pytest.raises(DataError, match="twice"):
        data.write_split(path, {"a": [0, 1], "b": [1]}, structures)
    with pytest.raises(DataError, match="outside"):
        data.write_split(path, {"a": [6]}, structures)


def with_sums(structures, table):
    for structure in structures:
        structure.labels["energy"] = np.array(sum(table[int(z)] for z in structure.numbers))
    return structures


def test_recovers_exact_sums(structures):
    table = {1: -13.6, 6: -1030.0, 7: -1480.0, 8: -2040.0}
    fit = data.reference_fit(with_sums(structures, table))
    assert fit.unique
    assert fit.residual_rms < 1e-9
    assert fit.energies == pytest.approx(table)
    graphs = data.Dataset(structures, 3.0)
    assert data.fit_reference_energies(graphs) == pytest.approx(table)
    numbers = data.statistics(structures, 3.0)
    assert numbers.energy_per_atom_std < 1e-9
    assert numbers.spread["energy"] < 1e-9


def test_undetermined_fit_has_the_least_norm(structures):
    waters = with_sums([structures[0], structures[3]], {1: -10.0, 8: -2000.0})
    fit = data.reference_fit(waters)
    assert not fit.unique
    assert fit.residual_rms < 1e-9
    assert 2 * fit.energies[1] + fit.energies[8] == pytest.approx(-2020.0)
    assert fit.energies[1] == pytest.approx(2 * fit.energies[8])


def test_statistics_by_hand(structures):
    numbers = data.statistics(structures, cutoff=4.0, references="average")
    energies = np.array([structure.labels["energy"] for structure in structures])
    sizes = np.array([len(structure) for structure in structures])
    each = energies.sum() / sizes.sum()
    assert numbers.reference_energies == pytest.approx(dict.fromkeys((1, 6, 7, 8), each))
    assert numbers.energy_per_atom_mean == pytest.approx((energies / sizes).mean() - each)
    forces = np.concatenate([structure.labels["forces"].ravel() for structure in structures])
    assert numbers.forces_rms == pytest.approx(np.sqrt((forces**2).mean()))
    assert numbers.spread["forces"] == pytest.approx(forces.std())
    graphs = [structure.to_graph(4.0) for structure in structures]
    expected = sum(graph.num_edges for graph in graphs) / sum(graph.num_nodes for graph in graphs)
    assert numbers.avg_num_neighbors == pytest.approx(expected)
    assert data.statistics(graphs).avg_num_neighbors == pytest.approx(expected)
    assert data.statistics(graphs).forces_rms == pytest.approx(numbers.forces_rms)
    assert data.statistics(structures).avg_num_neighbors is None
    with pytest.raises(DataError, match="empty"):
        data.statistics([])


def test_statistics_without_labels():
    numbers = data.statistics([data.structure_from_atoms(Atoms("H"))], 3.0)
    assert numbers.forces_rms is None
    assert numbers.reference_energies == {}
    assert numbers.avg_num_neighbors == 0.0


def isolated(path, energies):
    from ase.calculators.singlepoint import SinglePointCalculator

    frames = []
    for symbol, energy in energies:
        atoms = Atoms(symbol)
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        frames.append(atoms)
    ase.io.write(path, frames)
    return path


def test_isolated_energies(tmp_path, structures):
    path = isolated(tmp_path / "iso.xyz", [("H", -13.5), ("O", -2037.0)])
    assert data.isolated_energies(path) == {1: -13.5, 8: -2037.0}
    waters = [structures[0], structures[3]]
    assert data.reference_energies({"file": str(path)}, waters) == {1: -13.5, 8: -2037.0}
    with pytest.raises(UnknownSpeciesError, match="needed for C, N, but were given only for H, O"):
        data.reference_energies({"file": str(path)}, structures)
    with pytest.raises(DataError, match="two isolated-atom energies"):
        data.isolated_energies(isolated(tmp_path / "two.xyz", [("H", -13.5), ("H", -12.5)]))
    with pytest.raises(DataError, match="single atoms"):
        data.isolated_energies(isolated(tmp_path / "h2.xyz", [("H2", -31.0)]))
    ase.io.write(tmp_path / "bare.xyz", Atoms("H"))
    with pytest.raises(LabelError, match="lack"):
        data.isolated_energies(tmp_path / "bare.xyz")


def test_choices_of_reference_energies(structures):
    waters = [structures[0], structures[3]]
    assert data.reference_energies(None, waters) == {1: 0.0, 8: 0.0}
    assert data.reference_energies({"H": -1, "8": -2.5}, waters) == {1: -1.0, 8: -2.5}
    assert data.reference_energies("fit", waters) == data.fit_reference_energies(waters)
    with pytest.raises(DataError, match="Did you mean 'average'"):
        data.reference_energies("averag", waters)
    with pytest.raises(DataError, match="Xx"):
        data.reference_energies({"Xx": 1.0}, waters)
    with pytest.raises(DataError, match="number in eV"):
        data.reference_energies({"H": "low"}, waters)
    with pytest.raises(UnknownSpeciesError):
        data.reference_sums(structures, {1: 0.0})
    del waters[0].labels["energy"]
    with pytest.raises(LabelError, match="1 of 2"):
        data.fit_reference_energies(waters)

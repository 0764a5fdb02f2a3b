from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equitools.errors import GraphError
from equitools.graph import KEYS, Graph, batch, unbatch


def water(cutoff: float = 3.0, dtype: torch.dtype = torch.float64, **more) -> Graph:
    positions = [[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]]
    return Graph.from_arrays(positions, [8, 1, 1], cutoff=cutoff, dtype=dtype, **more)


def random_graph(seed: int, atoms: int, pbc=(True, False, True), labels: bool = True) -> Graph:
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * 3 + rng.uniform(-0.5, 0.5, size=(3, 3))
    given = (
        {"energy": -1000.0 - seed, "forces": rng.normal(size=(atoms, 3)), "stress": np.eye(3), "kind": 2}
        if labels
        else None
    )
    levels = {"kind": "graph"}
    return Graph.from_arrays(
        rng.uniform(-5, 5, size=(atoms, 3)), rng.integers(1, 9, size=atoms), cell, pbc, cutoff=2.5, dtype=torch.float64,
        labels=given, label_levels=levels, extras={"velocities": rng.normal(size=(atoms, 3)), "total_charge": 1.0},
    )  # fmt: skip


def assert_equal(a: Graph, b: Graph) -> None:
    for name in ("positions", "atomic_numbers", "cell", "pbc", "batch", "edge_index", "edge_shift"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert a.cutoff == b.cutoff
    for mine, theirs in ((a.labels, b.labels), (a.extras, b.extras)):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert value.dtype == theirs[name].dtype
            assert torch.equal(value, theirs[name]), name
    assert a.label_levels == b.label_levels
    assert a.extra_levels == b.extra_levels


def test_keys_are_documented():
    assert set(KEYS) >= {"positions", "edge_index", "energy", "forces", "stress", "virial", "dipole", "node_features"}
    for name, spec in KEYS.items():
        assert spec.name == name
        assert spec.shape
        assert spec.unit
        assert spec.meaning.endswith(".")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_types(dtype):
    graph = water(dtype=dtype)
    assert (graph.num_nodes, graph.num_edges, graph.num_graphs) == (3, 6, 1)
    assert graph.positions.dtype == graph.cell.dtype == graph.edge_shift.dtype == graph.dtype == dtype
    assert graph.edge_index.tolist() == [[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]]
    assert "atoms=3" in repr(graph)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(0, 7), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_edge_vectors_match_positions(seed, atoms, pbc):
    graph = random_graph(seed, atoms, pbc)
    vectors = graph.edge_vectors()
    sender, receiver = graph.edge_index
    expected = graph.positions[sender] - graph.positions[receiver] + graph.edge_shift @ graph.cell[0]
    assert torch.equal(vectors, expected)
    assert bool((vectors.norm(dim=1) < graph.cutoff).all())


def test_edge_vectors_of_a_batch_are_those_of_its_parts():
    parts = [random_graph(seed, 3 + seed) for seed in range(3)]
    torch.testing.assert_close(batch(parts).edge_vectors(), torch.cat([part.edge_vectors() for part in parts]))


@pytest.mark.parametrize("count", [1, 2])
def test_edge_vectors_are_differentiable_in_positions_and_cell(count):
    graph = batch([random_graph(seed, 3, labels=False) for seed in range(count)])
    weight = torch.randn(graph.num_edges, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def energy(positions, cell):
        return (graph.replace(positions=positions, cell=cell).edge_vectors() * weight).sin().sum()

    positions, cell = graph.positions.clone().requires_grad_(), graph.cell.clone().requires_grad_()
    assert torch.autograd.gradcheck(energy, (positions, cell))


def test_positions_keep_their_autograd_graph():
    positions = torch.rand(3, 3, dtype=torch.float64, requires_grad=True)
    graph = Graph.from_arrays(positions, [1, 1, 1], cutoff=3.0, dtype=torch.float64)
    graph.edge_vectors().square().sum().backward()
    assert positions.grad is not None


def test_energy_labels_keep_float64():
    value = -9391.4555442847
    graph = water(
        labels={"energy": value, "gap": 3.0, "forces": np.zeros((3, 3)), "node_energy": np.ones(3)},
        label_levels={"gap": "graph"},
    )
    narrow = graph.to(dtype=torch.float32)
    assert (
        narrow.labels["energy"].dtype
        == narrow.labels["gap"].dtype
        == narrow.labels["node_energy"].dtype
        == torch.float64
    )
    assert narrow.labels["energy"].item() == value
    assert narrow.labels["forces"].dtype == narrow.positions.dtype == narrow.cell.dtype == torch.float32
    again = water(dtype=torch.float32, labels={"energy": np.float32(1.0)})
    assert again.labels["energy"].dtype == torch.float64


def test_to_keeps_integers():
    graph = random_graph(0, 4).to("cpu", torch.float32)
    assert graph.labels["kind"].dtype == torch.int64
    assert graph.extras["velocities"].dtype == torch.float32
    assert graph.edge_index.dtype == torch.int64


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 5)), min_size=1, max_size=5))
def test_unbatch_inverts_batch(parts):
    graphs = [random_graph(seed, atoms) for seed, atoms in parts]
    joined = batch(graphs).validate()
    assert joined.num_graphs == len(graphs)
    pieces = unbatch(joined)
    assert len(pieces) == len(graphs)
    for piece, graph in zip(pieces, graphs):
        assert_equal(piece.validate(), graph)


def test_batches_of_batches():
    graphs = [random_graph(seed, 3) for seed in range(4)]
    assert_equal(batch([batch(graphs[:2]), batch(graphs[2:])]), batch(graphs))


def test_batch_errors():
    with pytest.raises(GraphError, match="at least one"):
        batch([])
    with pytest.raises(GraphError, match="one cutoff"):
        batch([water(), water(cutoff=4.0)])
    with pytest.raises(GraphError, match="one dtype"):
        batch([water(), water(dtype=torch.float32)])
    with pytest.raises(GraphError, match=r"same labels.*energy"):
        batch([water(labels={"energy": 1.0}), water()])
    odd = [water(labels={"x": np.zeros(size)}, label_levels={"x": "graph"}) for size in (2, 4)]
    with pytest.raises(GraphError, match="must agree"):
        batch(odd)


def test_replace():
    graph = random_graph(0, 3)
    moved = graph.replace(positions=graph.positions + 1, energy=torch.zeros(1), velocities=torch.zeros(3, 3))
    assert torch.equal(moved.positions, graph.positions + 1)
    assert moved.labels["energy"].item() == 0.0
    assert graph.labels["energy"].item() == -1000.0
    assert moved.velocities.abs().max() == 0.0
    assert water().replace(total_charge=torch.ones(1)).total_charge.item() == 1.0
    with pytest.raises(GraphError, match="colour"):
        graph.replace(colour=1)


def test_rebuild_edges():
    graphs = [random_graph(seed, 4) for seed in range(3)]
    joined = batch(graphs)
    assert_equal(joined.rebuild_edges(), joined)
    wider = joined.rebuild_edges(3.5)
    assert wider.num_edges > joined.num_edges
    assert wider.validate().cutoff == 3.5


def test_from_ase_is_duck_typed_and_leaves_atoms_alone():
    ase = pytest.importorskip("ase")
    atoms = ase.Atoms("CuO", positions=[[0, 0, 0], [0, 0, 1.8]], cell=[4, 4, 4], pbc=True)
    atoms.info["energy"] = -5.0
    before = atoms.copy()
    graph = Graph.from_ase(atoms, 4.5)
    assert graph.labels == {}
    assert bool(graph.pbc.all())
    assert graph.atomic_numbers.tolist() == [29, 8]
    graph.positions.add_(1.0)
    assert atoms == before
    with pytest.raises(GraphError, match="str has no positions"):
        Graph.from_ase("atoms", 3.0)


def test_single_and_empty():
    assert Graph.from_arrays([[0.0, 0, 0]], [1], cutoff=2.0).num_edges == 0
    empty = Graph.from_arrays(np.zeros((0, 3)), [], cutoff=2.0)
    assert (empty.num_nodes, empty.num_edges, empty.num_graphs) == (0, 0, 1)
    assert batch([empty, Graph.from_arrays([[0.0, 0, 0]], [1], cutoff=2.0)]).num_graphs == 2


def test_known_labels_may_carry_their_leading_dimension():
    graph = water(labels={"energy": [2.0], "stress": np.zeros((1, 3, 3)), "dipole": np.zeros(3)})
    assert {name: tuple(value.shape) for name, value in graph.labels.items()} == {
        "energy": (1,), "stress": (1, 3, 3), "dipole": (1, 3),
    }  # fmt: skip


def test_float32_keeps_the_edges_of_the_given_digits():
    positions = np.array([[0.0, 0, 0], [0.0, 0, 2.9999999999]])
    assert Graph.from_arrays(positions, [1, 1], cutoff=3.0, dtype=torch.float32).num_edges == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"positions": [[np.nan, 0, 0]]}, "NaN"),
        ({"positions": [[np.inf, 0, 0]]}, "infinity"),
        ({"positions": [[0.0, 0.0]]}, "shape"),
        ({"positions": [["a", "b", "c"]]}, "array of numbers"),
        ({"atomic_numbers": [0]}, "between 1 and 118, but atom 0 has 0"),
        ({"atomic_numbers": [-3]}, "-3"),
        ({"atomic_numbers": [119]}, "119"),
        ({"atomic_numbers": [1.5]}, "integers"),
        ({"atomic_numbers": ["H"]}, "integers"),
        ({"atomic_numbers": [1, 2]}, "1 positions but 2"),
        ({"pbc": True}, r"Axis a \(axis 0\)"),
        ({"pbc": [False, True, False], "cell": np.diag([1.0, 0, 1])}, r"Axis b \(axis 1\)"),
        ({"pbc": [True, True], "cell": np.eye(3)}, "pbc must have the shape"),
        ({"cell": np.zeros((2, 3))}, "cell must have the shape"),
        ({"cell": np.full((3, 3), np.nan)}, "cell must be finite"),
        ({"cutoff": -1.0}, "cutoff"),
        ({"cutoff": np.inf}, "cutoff"),
        ({"dtype": torch.float16}, "float16"),
        ({"labels": {"forces": np.zeros((2, 3))}}, r"'forces' must have the shape \[1, 3\]"),
        ({"labels": {"stress": np.zeros(6)}}, "'stress' must have the shape"),
        ({"labels": {"energy": np.nan}}, "'energy' must be finite"),
        ({"labels": {"edge_shift": 1.0}}, "belongs to the edges"),
        ({"labels": {"x": np.zeros((1, 2))}}, "label_levels"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(GraphError, match=words):
        Graph.from_arrays(**({"positions": [[0.0, 0, 0]], "atomic_numbers": [1], "cutoff": 3.0} | arguments))


def edited(**changes) -> Graph:
    return batch([random_graph(0, 3), random_graph(1, 3)]).replace(**changes)


def edges(value: list[list[int]]) -> dict[str, torch.Tensor]:
    index = torch.tensor(value)
    return {"edge_index": index, "edge_shift": torch.zeros(index.shape[1], 3, dtype=torch.float64)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (edges([[0, 9], [0, 1]]), "from 0 to 5, but its values run from 0 to 9"),
        (edges([[-1], [0]]), "from -1"),
        (edges([[0, 0], [1, 0]]), "sorted by receiver"),
        (edges([[0], [4]]), "within one graph"),
        (edges([[1], [0]]) | {"edge_shift": torch.full((1, 3), 0.5, dtype=torch.float64)}, "whole numbers"),
        (edges([[1], [0]]) | {"edge_shift": torch.ones(1, 3, dtype=torch.float64)}, "non-periodic"),
        ({"edge_shift": torch.zeros(1, 3, dtype=torch.float64)}, "edge_shift must have the shape"),
        (edges([[1], [0]]) | {"edge_index": torch.tensor([[1], [0]], dtype=torch.int32)}, "int64"),
        ({"positions": torch.zeros(6, 2, dtype=torch.float64)}, "positions must have the shape"),
        ({"positions": torch.zeros(6, 3, dtype=torch.float32)}, "one floating type"),
        ({"positions": torch.full((6, 3), torch.nan, dtype=torch.float64)}, "6 of 6 rows"),
        ({"atomic_numbers": torch.zeros(6, dtype=torch.int64)}, "between 1 and 118"),
        ({"cell": torch.zeros(2, 3, 3, dtype=torch.float64)}, "of structure 0 is periodic"),
        ({"pbc": torch.ones(2, 3)}, "pbc must be bool"),
        ({"batch": torch.tensor([0, 0, 1, 0, 1, 1])}, "batch must ascend"),
        ({"batch": torch.tensor([0, 0, 0, 1, 1, 2])}, "below the number of structures"),
        ({"energy": torch.zeros(3)}, "'energy' must have the shape"),
        ({"labels": {"energy": torch.zeros(2)}, "label_levels": {}}, "must have the level"),
        ({"labels": {"x": torch.zeros(5)}, "label_levels": {"x": "node"}}, "first dimension must be 6"),
    ],
)
def test_validate(changes, words):
    with pytest.raises(GraphError, match=words):
        edited(**changes).validate()


def test_validate_returns_the_graph():
    graph = edited()
    assert graph.validate() is graph

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equitools.errors import GraphError
from equitools.graph import neighbour_list, neighbour_list_brute_force

PBCS = [(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)]


def rotation(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


def keys(edges: torch.Tensor, shifts: torch.Tensor) -> list[tuple[int, ...]]:
    return [tuple(int(v) for v in row) for row in torch.cat([edges.T.double(), shifts], dim=1).tolist()]


def gap(positions: np.ndarray, cell: np.ndarray, pbc: tuple[bool, ...], cutoff: float) -> bool:
    """No pair within rounding of the cutoff, where two correct searches may differ."""
    near, _ = neighbour_list_brute_force(positions, cell, pbc, cutoff * (1 - 1e-7))
    far, _ = neighbour_list_brute_force(positions, cell, pbc, cutoff * (1 + 1e-7))
    return near.shape == far.shape


def assert_same(positions: np.ndarray, cell: np.ndarray, pbc: tuple[bool, ...], cutoff: float) -> None:
    edges, shifts = neighbour_list(positions, cell, pbc, cutoff)
    oracle_edges, oracle_shifts = neighbour_list_brute_force(positions, cell, pbc, cutoff)
    if gap(positions, cell, pbc, cutoff):
        assert torch.equal(edges, oracle_edges)
        assert torch.equal(shifts, oracle_shifts)
    rows = keys(edges, shifts)
    assert len(set(rows)) == len(rows)
    assert {(i, j, -a, -b, -c) for j, i, a, b, c in rows} == set(rows)
    assert bool((edges[1][1:] >= edges[1][:-1]).all())


@st.composite
def systems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pbc = draw(st.sampled_from(PBCS))
    size = draw(st.sampled_from([1.0, 2.0, 4.0, 9.0]))
    cell = np.diag(rng.uniform(0.6, 1.6, size=3)) * size
    skew = draw(st.sampled_from([0.0, 0.4, 1.5]))
    cell = cell + np.tril(rng.uniform(-1, 1, size=(3, 3)), -1) * size * skew
    if draw(st.booleans()):
        cell = cell @ rotation(rng)
    if draw(st.booleans()):
        cell = cell[[1, 0, 2]]
    for axis in range(3):
        if not pbc[axis]:
            cell[axis] = draw(st.sampled_from([np.zeros(3), cell[axis], np.array([50.0, 0, 0])]))
    count = draw(st.integers(0, 8))
    spread = draw(st.sampled_from([1.0, 3.0, 12.0]))
    offset = draw(st.sampled_from([0.0, -7.3, 40.0]))
    positions = rng.uniform(-1, 1, size=(count, 3)) * spread + offset
    cutoff = draw(st.sampled_from([0.7, 1.5, 3.0]))
    return positions, cell, pbc, cutoff


@settings(max_examples=150, deadline=None, derandomize=True)
@given(systems())
def test_equals_brute_force(system):
    assert_same(*system)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(systems())
def test_symmetric(system):
    edges, shifts = neighbour_list(*system)
    rows = set(keys(edges, shifts))
    assert {(i, j, -a, -b, -c) for j, i, a, b, c in rows} == rows


@settings(max_examples=60, deadline=None, derandomize=True)
@given(systems())
def test_equals_ase(system):
    neighborlist = pytest.importorskip("ase.neighborlist")
    positions, cell, pbc, cutoff = system
    if len(positions) == 0 or not gap(positions, cell, pbc, cutoff):
        return
    # ASE wants a cell vector where there is none: any that completes the basis does
    full = cell.copy()
    for axis in range(3):
        if not pbc[axis]:
            full[axis] = 0.0
    from ase.geometry import complete_cell

    full = complete_cell(full)
    i, j, s = neighborlist.primitive_neighbor_list("ijS", pbc, full, positions, cutoff, self_interaction=False)
    expected = {(int(b), int(a), *map(int, c)) for a, b, c in zip(i, j, s)}
    assert set(keys(*neighbour_list(positions, cell, pbc, cutoff))) == expected


@pytest.mark.parametrize("pbc", PBCS)
def test_two_atoms_across_the_boundary(pbc):
    positions = np.array([[0.1, 0.2, 0.3], [4.9, 4.8, 4.7]])
    assert_same(positions, np.eye(3) * 5.0, pbc, 1.5)
    expected = 2 if all(pbc) else 0
    assert neighbour_list(positions, np.eye(3) * 5.0, pbc, 1.5)[0].shape[1] == expected


def test_simple_cubic_has_6_12_8_neighbours_in_a_cell_smaller_than_the_cutoff():
    edges, shifts = neighbour_list(np.zeros((1, 3)), np.eye(3), (True,) * 3, 1.8)
    assert edges.shape == (2, 26)
    assert sorted(shifts.abs().sum(1).tolist()) == [1.0] * 6 + [2.0] * 12 + [3.0] * 8


def test_empty_and_single_atom():
    for pbc in PBCS:
        edges, shifts = neighbour_list(np.zeros((0, 3)), np.eye(3), pbc, 2.0)
        assert edges.shape == (2, 0)
        assert shifts.shape == (0, 3)
        assert edges.dtype == torch.int64
    edges, _ = neighbour_list(np.array([[1e4, -1e4, 3.0]]), np.zeros((3, 3)), (False,) * 3, 5.0)
    assert edges.shape == (2, 0)


def test_far_apart_molecules_without_a_cell():
    positions = np.array([[0.0, 0, 0], [1.0, 0, 0], [1e4, 0, 0], [1e4, 1.0, 0]])
    edges, _ = neighbour_list(positions, np.zeros((3, 3)), (False,) * 3, 2.0)
    assert edges.T.tolist() == [[1, 0], [0, 1], [3, 2], [2, 3]]


def test_pairs_at_the_cutoff_are_left_out():
    positions = np.array([[0.0, 0, 0], [2.0, 0, 0]])
    assert neighbour_list(positions, np.zeros((3, 3)), (False,) * 3, 2.0)[0].shape[1] == 0
    assert neighbour_list(positions, np.zeros((3, 3)), (False,) * 3, 2.0000001)[0].shape[1] == 2


def test_order_does_not_depend_on_where_atoms_are_wrapped():
    rng = np.random.default_rng(0)
    cell = np.eye(3) * 4 + rng.uniform(-0.5, 0.5, size=(3, 3))
    positions = rng.uniform(size=(6, 3)) @ cell
    images = rng.integers(-3, 4, size=(6, 3))
    edges, shifts = neighbour_list(positions, cell, (True,) * 3, 3.0)
    moved_edges, moved_shifts = neighbour_list(positions + images @ cell, cell, (True,) * 3, 3.0)
    index = torch.from_numpy(images).double()
    back = torch.cat([moved_edges.T.double(), moved_shifts + index[moved_edges[0]] - index[moved_edges[1]]], dim=1)
    straight = torch.cat([edges.T.double(), shifts], dim=1)
    assert sorted(back.tolist()) == sorted(straight.tolist())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"positions": [[0.0, float("nan"), 0.0]]}, "index 0"),
        ({"positions": [[0.0, 0.0]]}, "shape"),
        ({"cell": np.diag([0.0, 1, 1])}, r"a \(axis 0\)"),
        ({"cell": np.diag([1.0, 1, 0])}, r"c \(axis 2\)"),
        ({"cell": np.ones((3, 3))}, "linearly dependent"),
        ({"cell": np.full((3, 3), np.inf)}, "finite"),
        ({"cell": np.ones(3)}, "shape"),
        ({"pbc": [True]}, "shape"),
        ({"cutoff": 0.0}, "positive"),
        ({"cutoff": float("nan")}, "positive"),
        ({"positions": "atoms"}, "numbers"),
    ],
)
@pytest.mark.parametrize("search", [neighbour_list, neighbour_list_brute_force])
def test_bad_input(search, change, words):
    arguments = {"positions": [[0.0, 0.0, 0.0]], "cell": np.eye(3), "pbc": (True,) * 3, "cutoff": 1.5} | change
    with pytest.raises(GraphError, match=words):
        search(**arguments)

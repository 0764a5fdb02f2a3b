"""Strategies draw what they promise; the names of the tests are the properties that docstrings state."""

from __future__ import annotations

import importlib

import broken_models as bm
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equitools.errors import MissingDependencyError, ShapeError
from equitools.groups import Irreps
from equitools.testing import build_graph, equivariance_report, strategies

few = settings(max_examples=25, deadline=None, derandomize=True)
EYE = torch.eye(3, dtype=torch.float64)


@few
@given(strategies.rotations())
def test_orthogonal(rotation):
    assert rotation.dtype == torch.float64
    assert torch.allclose(rotation @ rotation.T, EYE, atol=1e-12)
    assert torch.linalg.det(rotation).item() == pytest.approx(1.0)


@few
@given(strategies.orthogonal_matrices(), strategies.unit_vectors(), strategies.translations(5.0))
def test_orthogonal_matrices_keep_lengths(matrix, direction, shift):
    assert torch.allclose(matrix @ matrix.T, EYE, atol=1e-12)
    assert direction.norm().item() == pytest.approx(1.0)
    assert (matrix @ direction).norm().item() == pytest.approx(1.0)
    assert shift.abs().max() <= 5.0


@few
@given(strategies.irreps(max_l=2, max_mul=3, parity=False))
def test_irreps_stay_within_their_bounds(drawn):
    assert isinstance(drawn, Irreps)
    assert drawn.lmax <= 2
    assert all(1 <= mul <= 3 and ir.p == (-1) ** ir.l for mul, ir in drawn)


@few
@given(strategies.point_clouds(2, 6))
def test_point_clouds_are_finite(points):
    assert points.shape[1] == 3
    assert 2 <= points.shape[0] <= 6
    assert torch.isfinite(points).all()


@few
@given(strategies.molecules((1, 8), 2, 6))
def test_molecules_keep_their_distance(molecule):
    assert set(molecule.atomic_numbers.tolist()) <= {1, 8}
    assert torch.pdist(molecule.positions).min() >= 0.95 - 1e-9


@few
@given(strategies.periodic_structures(), st.floats(1.0, 4.0))
def test_periodic_structures_have_neighbours_within_the_cutoff(structure, cutoff):
    graph = build_graph([structure], cutoff)
    assert bool(structure.pbc.any())
    assert graph.num_edges == 0 or graph.edge_vectors().norm(dim=1).max() <= cutoff + 1e-9


@settings(max_examples=8, deadline=None, derandomize=True)
@given(strategies.periodic_structures((1, 6, 8), max_atoms=3))
def test_equivariance_of_any_periodic_structure(structure):
    report = equivariance_report(bm.PairPotential(3.0), build_graph([structure], 3.0), trials=1)
    assert report.passed, str(report)


def test_bounds_are_checked():
    with pytest.raises(ShapeError, match="max_mul"):
        strategies.irreps(max_mul=0)


def test_without_hypothesis_the_error_names_the_command(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingDependencyError, match="pip install"):
        strategies.rotations()

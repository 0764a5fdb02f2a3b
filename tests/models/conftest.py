"""Small structures and networks for the tests of the models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from equitools.graph import Graph
from equitools.models import EGNN, Potential, build

WATER = [[0.0, 0.0, 0.12], [0.0, 0.76, -0.47], [0.05, -0.76, -0.47]]
E0 = {"H": -13.58, "C": -1029.0, "O": -2043.0}


def make_graph(kind: str = "molecule", dtype: torch.dtype = torch.float64, cutoff: float = 4.0) -> Graph:
    """Return a "molecule", a second molecule "water", a "crystal" smaller than the cutoff, a "slab" or an "atom"."""
    generator = torch.Generator().manual_seed(7)
    cell = torch.eye(3, dtype=torch.float64) * 3.1 + 0.4 * torch.rand(3, 3, generator=generator, dtype=torch.float64)
    grid = torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * 3) * 1.3
    cluster = grid[:7] + 0.2 * torch.randn(7, 3, generator=generator, dtype=torch.float64)
    if kind == "molecule":
        return Graph.from_arrays(cluster, [8, 6, 1, 1, 6, 1, 8], cutoff=cutoff, dtype=dtype)
    if kind == "water":
        return Graph.from_arrays(WATER, [8, 1, 1], cutoff=cutoff, dtype=dtype)
    if kind == "atom":
        return Graph.from_arrays([[0.3, -0.2, 9.0]], [6], cutoff=cutoff, dtype=dtype)
    pbc = [True, True, kind == "crystal"]
    if kind == "slab":
        cell[2] *= 5.0
    return Graph.from_arrays(cluster[:4], [8, 6, 1, 6], cell=cell, pbc=pbc, cutoff=cutoff, dtype=dtype)


def make_egnn(seed: int = 0, dtype: torch.dtype = torch.float64, **config: object) -> EGNN:
    """Return a small EGNN whose coordinates move visibly (the paper's gain of 1e-3 would hide mistakes)."""
    torch.manual_seed(seed)
    model = build("egnn", **{"cutoff": 4.0, "species": [1, 6, 8], "hidden": 12, "layers": 3, **config})
    assert isinstance(model, EGNN)
    with torch.no_grad():
        for layer in model.layers:
            layer.coordinate[-1].weight.mul_(300.0)
    return model.to(dtype)


def make_potential(seed: int = 0, dtype: torch.dtype = torch.float64, zbl: bool = False, **config: object) -> Potential:
    """Return a small potential in evaluation mode."""
    return Potential(make_egnn(seed, dtype, **config), E0, scale=2.0, shift=-0.3, zbl=zbl).to(dtype).eval()


@pytest.fixture(name="make_graph")
def _make_graph() -> Callable[..., Graph]:
    return make_graph


@pytest.fixture(name="make_egnn")
def _make_egnn() -> Callable[..., EGNN]:
    return make_egnn


@pytest.fixture(name="make_potential")
def _make_potential() -> Callable[..., Potential]:
    return make_potential


@pytest.fixture
def rotation() -> torch.Tensor:
    """Return an improper orthogonal matrix: a rotation with a reflection."""
    generator = torch.Generator().manual_seed(3)
    matrix, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    return matrix if torch.linalg.det(matrix) < 0 else -matrix


@pytest.fixture
def moved() -> Callable[[Graph, torch.Tensor], Graph]:
    """Return a function that rotates (and shifts) a graph."""

    def move(graph: Graph, matrix: torch.Tensor, shift: float = 1.7) -> Graph:
        extras = {"velocities": graph.extras["velocities"] @ matrix.T} if "velocities" in graph.extras else {}
        return graph.replace(positions=graph.positions @ matrix.T + shift, cell=graph.cell @ matrix.T, **extras)

    return move

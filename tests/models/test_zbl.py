from __future__ import annotations

import math

import pytest
import torch

from equitools.graph import Graph, batch
from equitools.models import ZBLRepulsion
from equitools.models.zbl import BOHR, COULOMB


def energy(z1: int, z2: int, distance: float, cutoff: float = 5.0) -> float:
    graph = Graph.from_arrays([[0, 0, 0], [0, distance, 0]], [z1, z2], cutoff=cutoff, dtype=torch.float64)
    return float(ZBLRepulsion(cutoff)(graph.edge_vectors(), graph.atomic_numbers, graph.edge_index).sum())


def formula(z1: int, z2: int, r: float, reach: float) -> float:
    a = 0.8854 * 0.529177 / (z1**0.23 + z2**0.23)
    x = r / a
    phi = (
        0.18175 * math.exp(-3.19980 * x)
        + 0.50986 * math.exp(-0.94229 * x)
        + 0.28022 * math.exp(-0.40290 * x)
        + 0.02817 * math.exp(-0.20162 * x)
    )
    t = r / reach
    return 14.3996 * z1 * z2 / r * phi * (1 - 10 * t**3 + 15 * t**4 - 6 * t**5)


def test_constants():
    from ase import units

    assert pytest.approx(units.Bohr, rel=1e-7) == BOHR
    assert pytest.approx(units.Hartree * units.Bohr, rel=1e-7) == COULOMB


@pytest.mark.parametrize(("z1", "z2", "reach"), [(1, 1, 0.62), (6, 8, 1.42), (29, 29, 2.64), (79, 1, 1.67)])
@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.7, 0.95])
def test_universal_screening(z1, z2, reach, fraction):
    r = fraction * reach
    assert energy(z1, z2, r) == pytest.approx(formula(z1, z2, r, reach), rel=1e-4)


def test_short_cutoff_wins():
    assert energy(29, 29, 1.0, cutoff=1.5) == pytest.approx(formula(29, 29, 1.0, 1.5), rel=1e-4)
    assert energy(29, 29, 1.4999999, cutoff=1.5) == pytest.approx(0.0, abs=1e-12)


def test_smooth_at_cutoff():
    reach = 2 * 0.76
    assert energy(6, 6, reach + 1e-6) == 0.0
    assert abs(energy(6, 6, reach - 1e-4)) < 1e-9
    r = torch.tensor([reach - 1e-4], dtype=torch.float64, requires_grad=True)
    z = torch.tensor([6])
    (slope,) = torch.autograd.grad(ZBLRepulsion(5.0).pair_energy(z, z, r).sum(), r)
    assert abs(float(slope)) < 1e-5


def test_gradient():
    r = torch.tensor([0.2, 0.8, 1.2, 2.0], dtype=torch.float64, requires_grad=True)
    z = torch.tensor([6, 6, 8, 100])
    assert torch.autograd.gradcheck(lambda d: ZBLRepulsion(5.0).pair_energy(z, z, d), r)


def test_energies_belong_to_atoms(make_graph):
    graphs = [make_graph("molecule"), make_graph("crystal"), make_graph("atom")]
    zbl = ZBLRepulsion(4.0)
    parts = [zbl(g.edge_vectors(), g.atomic_numbers, g.edge_index) for g in graphs]
    joined = batch(graphs)
    torch.testing.assert_close(zbl(joined.edge_vectors(), joined.atomic_numbers, joined.edge_index), torch.cat(parts))
    assert float(parts[2]) == 0.0
    assert zbl.state_dict() == {}

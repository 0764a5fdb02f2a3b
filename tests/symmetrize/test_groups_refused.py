"""Groups that a function cannot serve are refused by name, and not taken for rotations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equitools.errors import ConfigError, UnknownNameError
from equitools.groups import SL, GLPlus, MatrixGroup, SemidirectProduct, parse_group
from equitools.models.canonicalizers import GramSchmidtCanonicalizer
from equitools.models.energy_canonicalizers import EnergyCanonicalizer
from equitools.models.orbit_generators import InvariantCombination, SetCombination
from equitools.models.vector_neuron_nets import VNPointNet
from equitools.symmetrize import (
    FrameAverage,
    GroupAverage,
    OrbitSymmetrize,
    canonicalize,
    frames,
    gram_schmidt,
    orbit_distance,
    orbit_invariants,
    orbit_project,
    vectors_needed,
)
from equitools.testing import point_report

OTHERS = ["GL+(3)", "SL(3)", "Sp(4)", "SIM(3)", "CSO(3)", "Scaling(3)", "Torus(2)", "R^3:SO(3)", "SO(2)xO(1)"]
NET = nn.Linear(3, 3)


@pytest.mark.parametrize("name", OTHERS)
def test_frames_and_poses_are_those_of_rotations(name: str) -> None:
    n = parse_group(name).n
    x = torch.randn(2, 5, n)
    calls = [
        lambda: frames(x, name),
        lambda: canonicalize(x, name),
        lambda: FrameAverage(NET, name),
        lambda: GroupAverage(NET, name, samples=3),
        lambda: vectors_needed(name),
        lambda: gram_schmidt(x[:, :n], name),
        lambda: GramSchmidtCanonicalizer(NET, name),
        lambda: EnergyCanonicalizer(NET, name),
        lambda: VNPointNet(2, name),
        lambda: InvariantCombination(5, name),
        lambda: SetCombination(name),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match=r"not for|no finite Haar"):
            call()


@pytest.mark.parametrize("name", [name for name in OTHERS if name != "SL(3)"])
def test_orbits_of_few_groups(name: str) -> None:
    n = parse_group(name).n
    for function in (orbit_invariants, orbit_distance, orbit_project):
        with pytest.raises(UnknownNameError, match="orbit invariants"):
            function(torch.eye(n), name)
    with pytest.raises(ConfigError, match="SL"):
        OrbitSymmetrize(NET, NET, name)


def test_orbit_functions_know_the_special_linear_group() -> None:
    g = GLPlus(3).sample((4,), torch.Generator().manual_seed(0))
    torch.testing.assert_close(orbit_project(g, SL(3)), SL(3).project(g))
    assert SL(3).contains(orbit_project(g, SL(3))).all()
    assert torch.equal(orbit_distance(g, SL(3)), orbit_distance(g, "SL(3)"))


class FirstVectors(nn.Module):
    """The first d points as the columns of a matrix, times numbers of the noise: equivariant under all linear maps."""

    noise_dim = 2

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return x[:, None, :2].mT * (2 + torch.sin(noise)).unsqueeze(-2)


@pytest.mark.parametrize("project", [False, True])
def test_orbit_symmetrize_serves_the_special_linear_group(project: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2))
    model = OrbitSymmetrize(net, FirstVectors(), SL(2), "vector", "vector", project=project).double()
    x = torch.randn(3, 4, 2, dtype=torch.float64)
    h = SL(2).sample((3,), torch.Generator().manual_seed(1))
    noise = model.noise(x, random=torch.Generator().manual_seed(2))
    moved = model(SL(2).act(h, x), noise=noise)
    torch.testing.assert_close(moved, torch.einsum("bij,bj->bi", h, model(x, noise=noise)), atol=1e-10, rtol=1e-10)
    with pytest.raises(ConfigError, match="Irreps"):
        OrbitSymmetrize(net, FirstVectors(), "SL(3)", "1x1o", project=True)


class Determinants(nn.Module):
    """Areas that pairs of points span, from the centroid if that is asked for: invariant under SL(2)."""

    def __init__(self, centred: bool) -> None:
        super().__init__()
        self.centred = centred

    def forward(self, x: Tensor) -> Tensor:
        y = x - x.mean(1, keepdim=True) if self.centred else x
        area = y[:, :, None, 0] * y[:, None, :, 1] - y[:, :, None, 1] * y[:, None, :, 0]
        return area.square().sum((1, 2)).unsqueeze(-1)


@pytest.mark.parametrize(
    ("group", "centred", "passes"),
    [
        ("SL(2)", False, True),
        ("R^2:SL(2)", True, True),
        ("R^2:SL(2)", False, False),
        ("GL+(2)", False, False),
        ("SO(2)", False, True),
        ("Torus(1)", False, True),
    ],
)
def test_reports_try_the_elements_of_any_group(group: str, centred: bool, passes: bool) -> None:
    x = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    report = point_report(Determinants(centred), x, group, "points", "scalar")
    assert report.passed is passes
    heading = "rotation" if group == "SO(2)" else "group element"
    assert heading in {row.transformation for row in report.rows}
    if not passes:
        assert report.broken == ("group element",)


def test_reports_refuse_what_cannot_be_moved() -> None:
    x = torch.randn(3, 5, 3, dtype=torch.float64)
    with pytest.raises(ConfigError, match="Irreps"):
        point_report(NET, x, "SL(3)", "points", "1x1o")
    with pytest.raises(ConfigError, match="Mirror"):
        point_report(NET, x, "SL(3)", "points", "vector", chiral=True)
    double: MatrixGroup = SemidirectProduct("SL(3)", lambda h: h, 3, "again")
    with pytest.raises(ConfigError, match="rows"):
        point_report(NET, x, double)

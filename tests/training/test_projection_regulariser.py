"""The pull towards symmetry: what it measures, its gradient, its tuning, and that it finds a symmetry."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups import group_average
from equitools.groups.generators import generators_of
from equitools.groups.representations import scalar, vector
from equitools.nn import EMLP, EquivariantLinear, SoftEquivariantLinear
from equitools.training import ProjectionRegulariser, ProjectionTuning
from equitools.training.projection_regulariser import declared_layers, tuned_weights

PLANE = generators_of("O(2)")
GROUPS = {"O(3)": "O(3)", "xy": PLANE.embedded(3, [0, 1]), "yz": PLANE.embedded(3, [1, 2])}


def layer(noise: float = 0.3, dtype: torch.dtype = torch.float64) -> SoftEquivariantLinear:
    torch.manual_seed(0)
    v = vector("O(3)")
    made = SoftEquivariantLinear(2 * v + scalar("O(3)"), v + v**2 + 2 * scalar("O(3)"), noise=noise).to(dtype)
    with torch.no_grad():
        made.bias.normal_()
    return made


def test_zero_when_equivariant() -> None:
    soft = layer()
    pull = ProjectionRegulariser(soft, GROUPS)
    assert float(pull.residuals().min()) > 1e-2
    pull.project("xy")
    found = dict(zip(pull.names, pull.residuals().tolist(), strict=True))
    assert found["xy"] < 1e-25
    assert min(found["O(3)"], found["yz"]) > 1e-2
    pull.project("O(3)")
    assert float(pull.residuals().max()) < 1e-25


def test_nested() -> None:
    found = ProjectionRegulariser(layer(), GROUPS).residuals()
    assert float(found[0]) >= float(found[1:].max())


def test_against_the_average_over_a_finite_group() -> None:
    soft = layer()
    v = generators_of("Th")
    pull = ProjectionRegulariser(soft, {"Th": v}, weight=2.0)
    a, b = soft.rep_in.restrict(v), soft.rep_out.restrict(v)
    rest = soft.weight - group_average(soft.weight, a, b)
    shift = soft.bias.unsqueeze(1)
    other = shift - group_average(shift, scalar(v), b)
    assert abs(float(pull()) - float(rest.square().sum() + other.square().sum())) < 1e-10


def test_gradient() -> None:
    soft = layer()
    pull = ProjectionRegulariser(soft, GROUPS, weight={"O(3)": 0.5, "xy": 2.0, "yz": 0.0})

    def value(weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(Both(soft, pull), {"soft.weight": weight, "soft.bias": bias}, ())

    inputs = (soft.weight.detach().requires_grad_(), soft.bias.detach().requires_grad_())
    assert torch.autograd.gradcheck(value, inputs)
    assert torch.autograd.gradgradcheck(value, inputs)
    pull.weights.copy_(torch.tensor([0.0, 1.0, 0.0]))
    (grad,) = torch.autograd.grad(pull(), soft.weight)
    before = soft.weight.detach().clone()
    pull.project("xy")
    assert torch.allclose(grad, before - soft.weight, atol=1e-12)


class Both(torch.nn.Module):
    def __init__(self, soft: torch.nn.Module, pull: ProjectionRegulariser) -> None:
        super().__init__()
        self.soft, self.pull = soft, pull

    def forward(self) -> Tensor:
        return self.pull()


def test_any_network() -> None:
    """Layers that know nothing of groups, with representations beside them."""
    torch.manual_seed(0)
    v = vector("SO(3)")
    net = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Identity(), torch.nn.Linear(9, 3, bias=False))
    layers = [(net[0], 2 * v, 3 * v), (net[2], 3 * v, v)]
    pull = ProjectionRegulariser(layers, {"SO(3)": "SO(3)"})
    assert not list(pull.parameters())  # the network's stay the network's
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(30):
        optimizer.zero_grad()
        pull().backward()
        optimizer.step()
    g = v.group.sample(1)[0].float()
    x = torch.randn(4, 2, 3)
    assert torch.allclose(net((x @ g.T).flatten(1)), net(x.flatten(1)) @ g.T, atol=1e-5)
    assert pull.residuals().dtype == torch.float32


def test_declared_layers() -> None:
    v = vector("O(3)")
    soft = EMLP(2 * v, v, hidden=16, layers=2, soft=True)
    assert len(declared_layers(soft)) == 3
    assert not declared_layers(EMLP(2 * v, v, hidden=16, layers=1))
    assert not declared_layers(EquivariantLinear(v, v))


def test_tuned_weights() -> None:
    residuals = torch.tensor([4.0, 1.0, 2.0]).double()
    tuned = tuned_weights(torch.full((3,), 8.0).double(), residuals, 2.0)
    assert torch.allclose(tuned, torch.tensor([0.5, 8.0, 2.0]).double())
    off = tuned_weights(torch.tensor([1.0, 0.0, 1.0]).double(), residuals, 1.0)
    assert off.tolist() == [0.5, 0.0, 1.0]  # the minimum is over groups that are on
    assert tuned_weights(torch.zeros(3), residuals.float(), 1.0).tolist() == [0.0] * 3
    assert tuned_weights(torch.ones(2).double(), torch.tensor([0.0, 1.0]).double(), 2.0).isfinite().all()


def test_tuning_happens_once_and_notes_the_smallest() -> None:
    soft = layer()
    pull = ProjectionRegulariser(soft, GROUPS, weight=10.0)
    tuning = ProjectionTuning(pull, at=6, exponent=1.0, window=4, warm_up=1)
    original, seen = soft.weight.detach().clone(), []
    for epoch in range(1, 9):
        with torch.no_grad():
            soft.weight.copy_(original * (1 + 0.1 * (epoch % 3)))
        seen.append(pull.residuals().detach())
        assert tuning.after_epoch(epoch) == (epoch == 6)
    noted = torch.stack(seen[3:6]).amin(0)  # epochs 4, 5 and 6
    assert torch.equal(tuning.smallest, noted)
    assert torch.allclose(pull.weights, tuned_weights(torch.full((3,), 10.0).double(), noted, 1.0))
    other = ProjectionTuning(pull, at=6)
    other.load_state_dict(tuning.state_dict())
    assert other.done
    assert torch.equal(other.smallest, noted)
    assert "weights" in pull.state_dict()


def test_it_finds_the_symmetry_of_a_linear_map() -> None:
    """y = (x, y, 3 z)·1.5: equivariant to O(2) in the xy plane, and to no other candidate."""
    torch.manual_seed(0)
    v = vector("O(3)")
    soft = SoftEquivariantLinear(v, v).double()
    pull = ProjectionRegulariser(soft, GROUPS, weight=1.0)
    tuning = ProjectionTuning(pull, at=40, window=20, warm_up=10)
    x = torch.randn(200, 3, dtype=torch.float64)
    y = 1.5 * x * torch.tensor([1.0, 1.0, 3.0]) + 0.3 * torch.randn(200, 3, dtype=torch.float64)
    optimizer = torch.optim.Adam(soft.parameters(), lr=0.05)
    for epoch in range(1, 201):
        optimizer.zero_grad()
        ((soft(x) - y).square().mean() + pull()).backward()
        optimizer.step()
        tuning.after_epoch(epoch)
    weights = dict(zip(pull.names, pull.weights.tolist(), strict=True))
    assert weights["xy"] == 1.0
    assert max(weights["O(3)"], weights["yz"]) < 0.05
    assert float((soft.weight - torch.diag(torch.tensor([1.5, 1.5, 4.5]).double())).abs().max()) < 0.2
    assert float(pull.residuals()[1]) < 1e-3 * float(pull.residuals()[0])


def test_bad_input() -> None:
    v = vector("O(3)")
    soft = SoftEquivariantLinear(v, v)
    with pytest.raises(ConfigError, match="at least one layer"):
        ProjectionRegulariser(torch.nn.Linear(3, 3), GROUPS)
    with pytest.raises(ConfigError, match="at least one"):
        ProjectionRegulariser(soft, {})
    with pytest.raises(ConfigError, match="negative"):
        ProjectionRegulariser(soft, GROUPS, weight=-1.0)
    with pytest.raises(ShapeError, match="its representations need"):
        ProjectionRegulariser([(torch.nn.Linear(3, 4), v, v)], GROUPS)
    with pytest.raises(ConfigError, match="none of the groups"):
        ProjectionRegulariser(soft, GROUPS).project("SO(9)")
    with pytest.raises(ConfigError, match="none is left"):
        ProjectionTuning(ProjectionRegulariser(soft, GROUPS), at=10, window=5, warm_up=5)

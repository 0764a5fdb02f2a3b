from __future__ import annotations

import math

import pytest
import torch

from equitools.errors import ConfigError, LabelError, ShapeError
from equitools.graph import batch
from equitools.models import Potential, build
from equitools.training.losses import HeadLoss, PotentialLoss, pointwise, require_labels

from . import toy


def potential(dtype: torch.dtype = torch.float64, name: str = "egnn") -> Potential:
    torch.manual_seed(0)
    backbone = build(name, cutoff=toy.CUTOFF, species=(6, 7), hidden=8, layers=2)
    return Potential(backbone, {6: -25.0, 7: -25.0}, hidden=8).to(dtype)


def periodic_graphs() -> list:
    from equitools.graph import Graph

    generator = torch.Generator().manual_seed(4)
    made = []
    for _ in range(2):
        points = torch.rand(3, 3, generator=generator, dtype=torch.float64) * 4.0
        made.append(
            Graph.from_arrays(
                points, [6, 7, 6], torch.eye(3, dtype=torch.float64) * 4.5, True,
                cutoff=toy.CUTOFF, dtype=torch.float64,
                labels={"energy": -75.0, "forces": torch.rand(3, 3, generator=generator, dtype=torch.float64),
                        "stress": torch.rand(3, 3, generator=generator, dtype=torch.float64) * 0.01},
            )
        )  # fmt: skip
    return made


@pytest.mark.parametrize("kind", ["mse", "mae", "huber"])
@pytest.mark.parametrize("stress", [False, True])
def test_gradient_matches_finite_differences(kind: str, stress: bool) -> None:
    """The double backward of the joint loss, against central differences in float64, along random directions."""
    graph = batch(periodic_graphs() if stress else toy.graphs(2, dtype="float64"))
    model = potential().train()
    weights = {"energy": 1.0, "forces": 10.0} | ({"stress": 100.0} if stress else {})
    loss = PotentialLoss(weights, kind, delta=0.05)

    def value() -> torch.Tensor:
        return loss(loss.outputs(model, graph), graph)["loss"]

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(value(), parameters, allow_unused=True)
    assert sum(gradient is not None for gradient in gradients) > len(parameters) // 2
    generator = torch.Generator().manual_seed(1)
    step = 1e-5
    for _ in range(4):
        directions = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
        exact = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True) if g is not None)
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.add_(direction, alpha=sign * step)
            sides.append(value().item())
            with torch.no_grad():
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.add_(direction, alpha=-sign * step)
        numeric = (sides[0] - sides[1]) / (2 * step)
        assert numeric == pytest.approx(exact, rel=1e-5, abs=1e-7)


def test_forces_reach_the_weights() -> None:
    """With a weight on forces alone the gradient is not zero, and leaves no graph in evaluation mode."""
    graph = batch(toy.graphs(2, dtype="float64"))
    model = potential()
    loss = PotentialLoss({"forces": 1.0})
    loss(loss.outputs(model.train(), graph), graph)["loss"].backward()
    assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())
    assert not loss.outputs(model.eval(), graph)["forces"].requires_grad


def test_energy_error_is_taken_in_float64_and_per_atom() -> None:
    graph = batch(toy.graphs(1))
    graph = graph.replace(energy=torch.tensor([-9391.254], dtype=torch.float64))
    outputs = {"energy": torch.tensor([-9391.250], dtype=torch.float64)}
    terms = PotentialLoss({"energy": 1.0})(outputs, graph)
    assert float(terms["energy"]) == pytest.approx((0.004 / 4) ** 2, rel=1e-4)


def test_weights_of_zero_cost_nothing() -> None:
    loss = PotentialLoss({"energy": 1.0, "forces": 0.0})
    assert loss.names == ["energy"]
    assert "forces" not in loss.outputs(potential(), toy.graphs(1, dtype="float64")[0])


def test_huber_is_continuous() -> None:
    below, above = (pointwise(torch.tensor([0.01 + d], dtype=torch.float64), "huber", 0.01) for d in (-1e-9, 1e-9))
    assert float(above - below) == pytest.approx(2e-9 * 0.01, rel=1e-3)


def test_missing_label_fails() -> None:
    graph = toy.graphs(1)[0]
    bare = graph.replace(labels={"energy": graph.labels["energy"]}, label_levels={"energy": "graph"})
    loss = PotentialLoss({"forces": 1.0})
    outputs = loss.outputs(potential(torch.float32), bare)
    with pytest.raises(LabelError, match=r"'forces'.*energy"):
        loss(outputs, bare)
    with pytest.raises(LabelError, match="1 of the 2 structures"):
        require_labels([graph, bare], ["energy", "forces"], "training")
    poisoned = graph.replace(forces=torch.full_like(graph.labels["forces"], math.nan))
    with pytest.raises(LabelError, match="NaN or infinite"):
        require_labels([poisoned], ["forces"], "training")


def test_unknown_kinds_and_terms() -> None:
    with pytest.raises(ConfigError, match="mse"):
        PotentialLoss({"energy": 1.0}, "msee")
    with pytest.raises(ConfigError, match="forces"):
        PotentialLoss({"force": 1.0})


def test_class_labels_out_of_range() -> None:
    graph = toy.graphs(1, kind=lambda _: 5)[0]
    with pytest.raises(LabelError, match="from 0 to 2"):
        HeadLoss("kind", classes=3)({"kind": torch.zeros(1, 3)}, graph)


def test_shape_of_a_target() -> None:
    graph = toy.graphs(1, gap=lambda _: [1.0, 2.0])[0]
    with pytest.raises(ShapeError, match="gap"):
        HeadLoss("gap")({"gap": torch.zeros(1)}, graph)

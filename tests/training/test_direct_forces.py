"""Training of direct forces: the model that is built, the consistency with the energy's gradient, wrong settings."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import ConfigError, IrrepsError
from equitools.graph import Graph
from equitools.models import DirectPotential, Potential
from equitools.training.build import build_model, make_loss
from equitools.training.config import parse_config
from equitools.training.losses import PotentialLoss

SMALL = {"name": "faenet", "cutoff": 3.0, "hidden": 28, "filters": 8, "layers": 1, "gaussians": 4, "period_group": 2}


def config(potential: dict, loss: dict, **model: object):
    network = {**SMALL, "frames_in_training": "weighted", **model}
    return parse_config({"data": {"train": "a.xyz"}, "model": network, "potential": potential, "loss": loss})


@pytest.fixture
def graphs() -> list[Graph]:
    generator = torch.Generator().manual_seed(0)
    water = torch.tensor([[0.0, 0.0, 0.12], [0.0, 0.76, -0.47], [0.0, -0.76, -0.47]])
    return [
        Graph.from_arrays(
            water + 0.1 * torch.randn(3, 3, generator=generator), [8, 1, 1], cutoff=3.0,
            labels={"energy": -3.0 + k, "forces": torch.randn(3, 3, generator=generator)},
        )
        for k in range(3)
    ]  # fmt: skip


def test_a_direct_potential_is_built(graphs: list[Graph]) -> None:
    assert type(build_model(config({"direct_forces": True}, {}, vectors=True), graphs)) is DirectPotential
    assert type(build_model(config({}, {}, vectors=True), graphs)) is Potential
    with pytest.raises(IrrepsError, match="1o"):
        build_model(config({"direct_forces": True}, {}), graphs)


@pytest.mark.parametrize("consistency", [0.0, 10.0])
def test_consistency(graphs: list[Graph], consistency: float) -> None:
    settings = config({"direct_forces": True}, {"energy": 1.0, "forces": 2.0, "consistency": consistency}, vectors=True)
    model = build_model(settings, graphs).double().train()
    loss = make_loss(settings, model, graphs)
    assert isinstance(loss, PotentialLoss)
    graph = graphs[0].to(dtype=torch.float64)
    terms = loss(loss.outputs(model, graph), graph)
    outputs = model(graph, gradient=True)
    apart = (outputs["forces"] - outputs["energy_gradient_forces"]).square().mean()
    wanted = terms["energy"] + 2.0 * terms["forces"] + consistency * apart
    torch.testing.assert_close(terms["loss"], wanted)
    assert ("consistency" in terms) == bool(consistency)
    terms["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_wrong_settings() -> None:
    with pytest.raises(ConfigError, match="direct_forces"):
        config({}, {"consistency": 1.0})
    with pytest.raises(ConfigError, match="no stress"):
        config({"direct_forces": True}, {"stress": 1.0}, vectors=True)

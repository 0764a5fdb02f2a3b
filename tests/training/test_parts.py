from __future__ import annotations

import math
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from equitools.errors import CheckpointError, ConfigError, LabelError
from equitools.graph import batch
from equitools.models import Potential, build
from equitools.training import evaluate
from equitools.training.checkpoint import load_resume, save_resume
from equitools.training.ema import WeightAverage
from equitools.training.loader import BatchLoader, FixedBatches
from equitools.training.metrics import Metrics
from equitools.training.plots import energy_conservation_plot, learning_curve, parity_plot
from equitools.training.report import error_table, machine, versions
from equitools.training.schedule import Schedule

from . import toy


def test_order_depends_on_seed_and_epoch() -> None:
    graphs = list(range(23))
    loader = BatchLoader(graphs, list, 4, seed=5)
    loader.epoch = 3
    first = list(loader)
    assert len(first) == len(loader) == 6
    assert sorted(chain.from_iterable(first)) == graphs
    assert list(loader) == first
    loader.epoch = 4
    assert list(loader) != first
    other = BatchLoader(graphs, list, 4, seed=6)
    other.epoch = 3
    assert list(other) != first


def test_ranks_share_the_epoch() -> None:
    loaders = [BatchLoader(list(range(11)), list, 2, 0, rank, 3) for rank in range(3)]
    assert len({len(loader) for loader in loaders}) == 1
    assert {item for loader in loaders for part in loader for item in part} == set(range(11))
    parts = [FixedBatches(list(range(11)), list, 2, rank, 3) for rank in range(3)]
    assert sorted(item for part in parts for few in part for item in few) == list(range(11))


def test_schedules() -> None:
    cosine = Schedule("cosine", 100, warmup_steps=10, min_factor=0.1)
    assert cosine.at(0) < cosine.at(5) < cosine.at(10) == pytest.approx(1.0)
    assert cosine.at(100) == pytest.approx(0.1)
    assert cosine.at(10, time_share=1.0) == pytest.approx(0.1)
    assert Schedule("exponential", 100, min_factor=0.01).at(50) == pytest.approx(0.1)
    assert Schedule("constant", 100).at(99) == 1.0
    plateau = Schedule("plateau", 100, factor=0.5, patience=2)
    for score in (1.0, 0.9, 0.95, 0.95, 0.95):
        plateau.validated(score)
    assert plateau.at(50) == 0.5
    with pytest.raises(ConfigError):
        Schedule("cosin", 10)


def test_schedule_resumes_exactly() -> None:
    one, two = (Schedule("plateau", 100, factor=0.5, patience=1) for _ in range(2))
    scores = [1.0, 1.1, 1.2, 0.9, 1.0, 1.1, 1.2]
    for score in scores[:3]:
        one.validated(score)
    two.load_state_dict(one.state_dict())
    for score in scores[3:]:
        one.validated(score)
        two.validated(score)
    assert one.at(7) == two.at(7) == 0.25


def test_swap_restores() -> None:
    layer = torch.nn.Linear(3, 2)
    average = WeightAverage(layer, 0.9)
    with torch.no_grad():
        layer.weight.add_(1.0)
    own = layer.weight.detach().clone()
    average.update()
    seen = []

    def fail() -> None:
        with average.applied():
            seen.append(layer.weight.detach().clone())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not torch.equal(seen[0], own)
    assert torch.equal(layer.weight, own)
    with WeightAverage(layer, None).applied():
        assert torch.equal(layer.weight, own)


def test_metrics_exact_over_batches() -> None:
    graphs = toy.graphs(7, dtype="float64")
    torch.manual_seed(0)
    model = Potential(build("egnn", cutoff=toy.CUTOFF, species=(6, 7), hidden=8, layers=1), {6: -25.0, 7: -25.0})
    model = model.double().train()
    one, two = evaluate(model, graphs, 7, keep=True), evaluate(model, graphs, 3)
    assert model.training
    for left, right in zip(one.rows(), two.rows(), strict=True):
        assert left.mae == pytest.approx(right.mae, rel=1e-12)
        assert left.spread == pytest.approx(right.spread, rel=1e-9)
    label, output = one.pairs()["energy"]
    assert one.row("energy").mae == pytest.approx(1e3 * np.abs(label - output).mean())
    assert one.row("energy").rmse == pytest.approx(1e3 * math.sqrt(np.mean((label - output) ** 2)))
    assert one.row("energy").spread == pytest.approx(1e3 * label.std())
    assert one.row("energy_per_atom").mae == pytest.approx(one.row("energy").mae / 4)
    forces = torch.cat([graph.labels["forces"] for graph in graphs])
    assert one.row("forces").magnitude == pytest.approx(1e3 * float(forces.abs().mean()))
    assert one.row("forces").count == 7
    score = one.score({"energy": 1.0, "forces": 100.0})
    expected = (one.row("energy_per_atom").rmse / 1e3) ** 2 + 100 * (one.row("forces").rmse / 1e3) ** 2
    assert score == pytest.approx(expected)
    with pytest.raises(LabelError, match="stress"):
        one.row("stress")


def test_evaluate_needs_labels() -> None:
    model = Potential(build("egnn", cutoff=toy.CUTOFF, species=(6, 7), hidden=8, layers=1))
    graph = toy.graphs(1)[0].replace(labels={}, label_levels={})
    with pytest.raises(LabelError, match="energy"):
        evaluate(model, [graph])


def test_classification_metrics() -> None:
    graphs = toy.graphs(4, kind=lambda atoms: 1 if atoms.info["reference"] > -100.3 else 0)
    metrics = Metrics(["kind"], {"kind": 2})
    big = batch(graphs)
    labels = big.labels["kind"].long()
    logits = torch.nn.functional.one_hot(labels, 2).float() * 20
    metrics.update({"kind": logits}, big)
    row = metrics.row("kind")
    assert row.accuracy == 1.0
    assert row.cross_entropy is not None
    assert row.cross_entropy < 1e-6
    assert row.majority == pytest.approx(float(torch.bincount(labels).max()) / 4)


def test_resume_file_round_trip_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    with pytest.raises(CheckpointError, match="does not exist"):
        load_resume(path)
    save_resume(path, {"epoch": 3, "tensors": [torch.ones(2)], "best": {"score": math.inf}})
    state = load_resume(path)
    assert state["epoch"] == 3
    assert torch.load(path, weights_only=True)["best"]["score"] == math.inf
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="damaged"):
        load_resume(path)
    torch.save({"something": 1}, path)
    with pytest.raises(CheckpointError, match="not a resume file"):
        load_resume(path)
    torch.save({"kind": "equitools resume file", "version": 99}, path)
    with pytest.raises(CheckpointError, match="Update equitools"):
        load_resume(path)


def test_plots_are_png(tmp_path: Path) -> None:
    time = np.linspace(0, 1, 50)
    rng = np.random.default_rng(0)
    values = rng.normal(size=30)
    history = [
        {
            "epoch": float(i + 1),
            "train_loss": 1 / (i + 1),
            "valid_score": 2 / (i + 1),
            "valid_forces_rmse": 3.0,
            "best": 1.0,
        }
        for i in range(3)
    ]
    paths = [
        parity_plot(tmp_path / "a.png", {"energy": (values, values + 0.1), "forces": (values, values)}, "title"),
        learning_curve(tmp_path / "b.png", history),
        energy_conservation_plot(tmp_path / "c.png", time, -time, time, 9, temperature=300 + time, title="NVE"),
    ]
    for path in paths:
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.png", "b.png", "c.png"]


def test_table_shows_units_and_spread() -> None:
    from rich.console import Console

    graphs = toy.graphs(3)
    model = Potential(build("egnn", cutoff=toy.CUTOFF, species=(6, 7), hidden=8, layers=1))
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(error_table({"test": evaluate(model, graphs)}))
    text = console.export_text()
    for part in ("meV/Å", "MAE", "RMSE", "std", "mean |x|", "meV/atom"):
        assert part in text
    assert machine()["threads"] == torch.get_num_threads()
    assert "torch" in versions()

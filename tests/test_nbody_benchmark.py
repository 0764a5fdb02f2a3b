"""The benchmark of charged particles: its loop, what it leaves and takes up, its page; on a handful of systems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import nbody
from benchmarks.symmetrized import nbody_page
from equitools.data import NBodyData
from equitools.models import CNGNN, FAGNN, ParticleGNN

SMALL = {
    "fa_gnn": lambda: FAGNN(2, 2, detach=True),
    "cn_gnn": lambda: CNGNN(4, 1),
    "gnn": lambda: ParticleGNN(4, 1),
    "egnn": nbody.ChargedEGNN,
}

#: As they are before the tests make them small.
PUBLISHED, PUBLISHED_BATCH = dict(nbody.NETWORKS), nbody.BATCH


@pytest.fixture
def data() -> dict[str, NBodyData]:
    parts = {}
    for name in ("train", "valid", "test"):
        loc, vel = torch.randn(2, 8, 5, 3)
        parts[name] = NBodyData(loc, vel, torch.randn(8, 5, 1).sign(), loc + vel)
    return parts


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nbody, "BATCH", 4)
    short = {
        name: nbody.NETWORKS[name]._replace(make=make, epochs=6, every=2, patience=None) for name, make in SMALL.items()
    }
    monkeypatch.setattr(nbody, "NETWORKS", short)


def test_the_protocols_are_the_papers() -> None:
    fa, cn = PUBLISHED["fa_gnn"], PUBLISHED["cn_gnn"]
    assert (fa.rate, fa.decay, fa.epochs, fa.every, fa.patience) == (1e-3, 1e-12, 10_000, 5, None)
    assert (cn.rate, cn.epochs, cn.patience) == (1e-3, 1_000, 600)
    assert PUBLISHED_BATCH == 100
    network = fa.make()
    assert (network.vectors, len(network.layers), network.detach) == (20, 4, True)
    assert {layer.dropout for layer in cn.make().canonicalizer.layers} == {0.5}
    assert cn.make().posed.net.embedding.out_features == 32
    assert [known.split()[0].rstrip(",") for _, known in nbody.REFERENCES.values()] == ["recalled"] * 2 + [
        "published"
    ] * 2


@pytest.mark.parametrize("name", SMALL)
def test_training_to_the_end(name: str, data: dict[str, NBodyData], tmp_path: Path) -> None:
    training = nbody.Training(name, tmp_path)
    start = nbody.mean_square(training.network, data["valid"])
    training.run(data, minutes=10)
    assert training.ended
    result = json.loads((tmp_path / name / "result.json").read_text())
    assert (result["epochs"], result["epochs_asked"], result["ended"]) == (6, 6, True)
    assert [row[0] for row in result["curve"]] == [1, 2, 4, 6]
    assert result["valid_mse"] == min(row[3] for row in training.curve) < start
    best = nbody.NETWORKS[name].make()
    best.load_state_dict(training.best["weights"])
    assert result["test_mse"] == pytest.approx(nbody.mean_square(best, data["test"]))
    assert (result["equivariance_error"] < 1e-9) is (name != "gnn")


@pytest.mark.parametrize("name", ["gnn", "cn_gnn"])
def test_left_and_taken_up_is_the_same(name: str, data: dict[str, NBodyData], tmp_path: Path) -> None:
    """With dropout, too: the stream of random numbers goes on where it was left."""
    whole = nbody.Training(name, tmp_path / "whole")
    whole.run(data, minutes=10)
    first = nbody.Training(name, tmp_path / "parts")
    for _ in range(3):
        first.one_epoch(data["train"])
        first.epoch += 1
    first.save()
    assert [path.name for path in (tmp_path / "parts" / name).iterdir()] == ["training.pt"]
    second = nbody.Training(name, tmp_path / "parts")
    assert second.epoch == 3
    second.run(data, minutes=10)
    for key, tensor in whole.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[key], tensor, rtol=1e-5, atol=1e-7)
    with pytest.raises(SystemExit, match="of seed 0, not 1"):
        nbody.Training(name, tmp_path / "parts", seed=1)


def test_time_and_patience_end_a_training(
    data: dict[str, NBodyData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = nbody.Training("gnn", tmp_path)
    training.run(data, minutes=0)
    assert (training.epoch, training.ended) == (0, False)
    patient = nbody.NETWORKS["gnn"]._replace(patience=3, epochs=100, rate=0.0, every=1)
    monkeypatch.setitem(nbody.NETWORKS, "gnn", patient)
    training = nbody.Training("gnn", tmp_path / "patient")
    training.run(data, minutes=10)
    assert (training.epoch, training.best["epoch"]) == (4, 1)


def test_convolutions_are_linear_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nbody.Convolutions, "ROWS", 10)
    layer, x = torch.nn.Linear(3, 4).double(), torch.randn(5, 8, 3, dtype=torch.float64, requires_grad=True)
    calls: list[Any] = []
    conv2d = torch.nn.functional.conv2d
    monkeypatch.setattr(nbody.functional, "conv2d", lambda *given: calls.append(given) or conv2d(*given))
    with nbody.Convolutions():
        found = layer(x)
        few = layer(x[:1, :5])
    assert len(calls) == 1
    torch.testing.assert_close(found, layer(x))
    torch.testing.assert_close(few, layer(x[:1, :5]))
    torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), x)[0] for y in (found, layer(x))))


def test_what_there_is_is_gathered(data: dict[str, NBodyData], tmp_path: Path) -> None:
    running = nbody.Training("cn_gnn", tmp_path)
    running.one_epoch(data["train"])
    running.epoch, running.curve = 1, [[1, 0.5, 0.2, 0.1]]
    running.best |= {"epoch": 1, "valid": 0.1}
    running.save()
    nbody.test_all(tmp_path, data["test"])
    output, picture = tmp_path / "nbody.json", tmp_path / "nbody.png"
    nbody.collect(tmp_path, output, picture)
    table = json.loads(output.read_text())
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [row["network"] for row in table["result"]["trainings"]] == ["cn_gnn"]
    assert table["result"]["complete"] is False
    text = nbody_page.page(table)
    assert "| CN-GNN |" in text
    assert "1 of 6" in text
    assert "stopped after 0 minutes" in text
    assert "still falling" in text
    assert "not everything has been run" in text
    assert "| 0.0057 | recalled from Puny et al." in text
    assert "| 0.0071 | published" in text
    assert str(tmp_path) not in output.read_text()


def test_page_says_how_a_training_ended() -> None:
    row = {
        "network": "fa_gnn", "epochs": 700, "epochs_asked": 1000, "ended": True, "patience": 600, "cpu_minutes": 60.0,
        "best_epoch": 100, "parameters": 1234, "valid_mse": 0.00567, "test_mse": 0.0061234, "threads": 1,
        "equivariance_error": 1e-14,
    }  # fmt: skip
    table = {
        "processor": "one", "threads": 2, "versions": {"torch": "2", "equitools": "0"}, "date": "2026-01-01",
        "command": "c", "result": {"trainings": [row], "references": {}},
    }  # fmt: skip
    text = nbody_page.page(table)
    assert "| FA-GNN | 1,234 | 700 of 1,000 | 100 | 0.00567 | 0.00612 | 1.0e-14 |" in text
    assert "the whole protocol (no better for 600 epochs), 60 minutes" in text
    row |= {"ended": False, "best_epoch": 650}
    assert "700 of 1,000 epochs, while the validation error was still falling" in nbody_page.page(table)
    row["best_epoch"] = 400
    assert "falling" not in nbody_page.page(table)
    assert "no results" in nbody_page.page(None)

"""The benchmark of forced flows: its loop, what it leaves and takes up, its page; on a handful of small flows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import gfno
from benchmarks.lie import gfno_page
from equitools.models.images import FNO, GFNO

SMALL = {"fno": lambda: FNO(2, 1, 3, 2, 1), "gfno_p4": lambda: GFNO(2, 1, 2, 2, 1)}
PUBLISHED = dict(gfno.NETWORKS)


@pytest.fixture
def data() -> dict[str, Tensor]:
    return {name: torch.randn(number, 5, 8, 8) for name, number in (("train", 4), ("valid", 2), ("test", 3))}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gfno, "EPOCHS", 3)
    monkeypatch.setattr(gfno, "BATCH", 5)
    monkeypatch.setattr(gfno, "SEEN", 2)
    monkeypatch.setattr(gfno, "ASKED", 3)
    monkeypatch.setattr(gfno, "SEEDS", (0, 1))
    short = {name: gfno.NETWORKS[name]._replace(make=make) for name, make in SMALL.items()}
    monkeypatch.setattr(gfno, "NETWORKS", short)


def test_both_networks_have_as_many_parameters() -> None:
    counts = {name: sum(p.numel() for p in network.make().parameters()) for name, network in PUBLISHED.items()}
    assert abs(counts["gfno_p4"] / counts["fno"] - 1) < 0.02


def test_errors_and_rollouts(data: dict[str, Tensor]) -> None:
    wanted = torch.tensor([[[3.0, 4.0]], [[1.0, 0.0]]])
    torch.testing.assert_close(gfno.relative(torch.zeros(2, 1, 2), wanted), torch.ones(2))
    last = lambda frames: 2 * frames[:, -1:]  # noqa: E731
    net = torch.nn.Module()
    net.forward = last
    start = torch.ones(7, 2, 4, 4)  # more than one batch
    torch.testing.assert_close(gfno.roll_out(net, start, 3)[:, :, 0, 0], torch.tensor([2.0, 4.0, 8.0]).expand(7, 3))


def test_turned_flows_are_those_of_the_torus(data: dict[str, Tensor]) -> None:
    flow = data["test"]
    once = gfno.turned(flow, 1)
    assert torch.equal(once[..., 0, 0], flow[..., 0, 0])  # pixel (0, 0) stays
    assert torch.equal(once, torch.rot90(flow, 1, (-2, -1)).roll(1, -2))
    assert torch.equal(gfno.turned(once, 3), flow)


@pytest.mark.parametrize("name", SMALL)
def test_training_to_the_end(name: str, data: dict[str, Tensor], tmp_path: Path) -> None:
    training = gfno.Training(name, tmp_path)
    training.run(data)
    result = json.loads((tmp_path / f"{name}_0" / "result.json").read_text())
    assert [row[0] for row in result["curve"]] == [1, 2, 3]
    assert result["valid_error"] == min(row[3] for row in training.curve)
    assert result["test_error"] == pytest.approx(float(gfno.judge(training.best_network(), data["test"]).mean()))
    assert len(result["errors_by_step"]) == 3
    same = max(abs(error - result["test_error"]) for error in result["turned_errors"])
    assert (same < 1e-5) is (name == "gfno_p4")
    assert (result["equivariance_error"] < 1e-12) is (name == "gfno_p4")
    assert training.optimizer.param_groups[0]["lr"] < 0.1 * gfno.RATE  # the schedule came to its end


def test_a_step_learns(data: dict[str, Tensor], tmp_path: Path) -> None:
    flow = {name: part[:, :1].expand(-1, 5, -1, -1).contiguous() for name, part in data.items()}  # nothing moves
    training = gfno.Training("fno", tmp_path)
    losses = [training.one_epoch(flow["train"]) for _ in range(20)]
    assert losses[-1] < losses[0]


def test_left_and_taken_up_is_the_same(data: dict[str, Tensor], tmp_path: Path) -> None:
    whole = gfno.Training("gfno_p4", tmp_path / "whole", seed=1)
    whole.run(data)
    first = gfno.Training("gfno_p4", tmp_path / "parts", seed=1)
    first.one_epoch(data["train"])
    first.epoch = 1
    first.save()
    second = gfno.Training("gfno_p4", tmp_path / "parts", seed=1)
    assert second.epoch == 1
    second.run(data)
    for key, tensor in whole.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[key], tensor)


def test_what_there_is_is_gathered_and_drawn(data: dict[str, Tensor], tmp_path: Path) -> None:
    gfno.Training("fno", tmp_path, 0).run(data)
    output, picture = tmp_path / "gfno.json", tmp_path / "gfno.png"
    gfno.collect(tmp_path, data, output, picture)
    table = json.loads(output.read_text())
    assert table["result"]["complete"] is False
    assert not picture.exists()
    assert "not everything has been run" in gfno_page.page(table)
    for seed in (0, 1):
        for name in SMALL:
            gfno.Training(name, tmp_path, seed).run(data)
    gfno.collect(tmp_path, data, output, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    table = json.loads(output.read_text())
    assert table["result"]["complete"] is True
    means = table["result"]["summary"]["means"]
    assert table["result"]["summary"]["reduction"] == pytest.approx(1 - means["gfno_p4"]["mean"] / means["fno"]["mean"])
    assert means["fno"]["seeds"] == 2
    text = gfno_page.page(table)
    assert "| G-FNO, p4 | 2 |" in text
    assert "| FNO | 4.21 | published" in text
    assert "| modes | 8 | 12 |" in text
    assert "| channels of FNO, G-FNO | 15, 8 | 20, 10 |" in text
    assert "below that of the other" in text
    assert "not everything" not in text
    assert str(tmp_path) not in output.read_text()
    assert "no results" in gfno_page.page(None)

"""The LieGAN benchmark at a tiny size: its files, its resuming, its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import lie_gan
from benchmarks.lie import lie_gan_page

TINY = lie_gan.Protocol(trajectories=4, epochs=2, judge_epochs=1, wide_epochs=1)


def test_runs_are_kept_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lie_gan, "SEEDS", (1,))
    tasks = {task: lie_gan.measure(task, TINY, tmp_path) for task in lie_gan.TASKS}
    for found in tasks.values():
        (run,) = found["runs"]
        assert len(run["curve"]) in {1, 2}
        assert run["pairs"] == 4 * 49
        assert 0 <= run["curve"][-1]["cosine"] <= 1
        assert torch.tensor(run["algebra"]).shape == (8, 8)
        assert {"accuracy", "standard_error", "displacement"} == set(run["verdict"]) == set(found["rotation"])
    assert len(list(tmp_path.iterdir())) == 9
    again = lie_gan.measure("two_body", TINY, tmp_path)
    assert again["runs"][0]["cpu_seconds"] == tasks["two_body"]["runs"][0]["cpu_seconds"]  # taken, not run again
    result = {
        "protocol": TINY.__dict__, "published": {"epochs": 100}, "truth": lie_gan.truth().tolist(), "tasks": tasks,
    }  # fmt: skip
    table = {
        "processor": "a", "threads": 1, "versions": {"torch": "2", "equitools": "0"}, "date": "d", "command": "c",
        "result": json.loads(json.dumps(result)),
    }  # fmt: skip
    lines = [line for line in lie_gan_page.lie_gan(table).splitlines() if line.startswith("| ")]
    assert [line.split("|")[2].strip() for line in lines[1:]] == ["found, seed 1", "the rotation itself"] * 3
    assert f"{tasks['two_body']['runs'][0]['curve'][-1]['cosine']:.4f}" in lines[1]
    assert "no results" in lie_gan_page.lie_gan(None)
    lie_gan_page.plot(result, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_the_truth_generates_rotations() -> None:
    g = torch.matrix_exp(0.3 * lie_gan.truth())
    assert torch.allclose(g @ g.mT, torch.eye(8, dtype=torch.float64))
    x, y = lie_gan.pairs("two_body", TINY)
    assert x.shape == y.shape == (196, 1, 8)
    assert x.dtype == torch.float32
    assert not torch.equal(x, lie_gan.pairs("anisotropic", TINY)[0])

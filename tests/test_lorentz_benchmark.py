"""The Lorentz benchmark at a tiny size: its rows, its resuming, its table."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from benchmarks import lorentz
from benchmarks.symmetrized import lorentz_page
from equitools.data.particle_interaction import ParticleInteraction, particle_interaction

TINY = lorentz.Protocol(
    train=60, valid=20, test=30, epochs=2, batch=30, width=16, generator_width=16, eval_samples=(1, 3), validate_every=1
)


@pytest.fixture(scope="module")
def task() -> ParticleInteraction:
    return particle_interaction(TINY.train, TINY.valid, TINY.test, TINY.data_seed)


@pytest.mark.parametrize("row", lorentz.ROWS)
def test_a_row(row: str, task: ParticleInteraction, tmp_path: Path) -> None:
    run = lorentz.measure(row, 42, task, TINY, tmp_path)
    assert [epoch for epoch, *_ in run["curve"]] == [1, 2]
    assert run["validation"] == min(value for *_, value in run["curve"])
    tests = lorentz_page.tests(row, run)
    assert len(tests) == (2 if row in {"orbit", "lps"} else 1)
    for _, found in tests:
        assert (found["invariance_error"] < 1e-8) == (row not in {"mlp", "mlp_aug"})
        assert (abs(found["plain"] - found["transformed"]) < 1e-8) == (row not in {"mlp", "mlp_aug"})
    assert lorentz.measure(row, 42, task, TINY, tmp_path)["cpu_seconds"] == run["cpu_seconds"]  # taken, not run again
    other = dataclasses.replace(TINY, epochs=1)
    assert len(lorentz.measure(row, 42, task, other, tmp_path)["curve"]) == 1


@pytest.mark.parametrize("row", ["canonical", "frame_average", "scalar_mlp"])
def test_what_is_made_once_is_what_the_network_sees(row: str, task: ParticleInteraction) -> None:
    model = lorentz.build(row, TINY).double()
    part = lorentz.what_is_trained_on(row, task.valid.momenta)
    wanted, prediction = lorentz.error(model, task.valid.momenta, task.valid.target)
    assert prediction.shape == (TINY.valid,)
    assert abs(lorentz.validation_error(row, model, part, task.valid.target, None) - wanted) < 1e-10


def test_the_best_weights_are_tested(task: ParticleInteraction) -> None:
    model, cost = lorentz.train("mlp", 1, task, dataclasses.replace(TINY, epochs=4))
    moved = lorentz.GROUP.act(lorentz.transformations(TINY.valid, 1, 1, TINY), task.valid.momenta)
    found, _ = lorentz.error(model, moved, task.valid.target)
    assert abs(found - cost["validation"]) < 1e-4 * (1 + found)


def test_transformations_are_elements() -> None:
    g = lorentz.transformations(30, 4, 0, TINY)
    assert lorentz.GROUP.contains(g).all()
    assert torch.linalg.det(g).sign().unique().numel() == 2
    assert (g[:, 0, 0].abs() > 1.001).any()


def test_the_table_has_what_the_file_has(task: ParticleInteraction, tmp_path: Path) -> None:
    for row, seed in (("mlp", 42), ("mlp", 123), ("orbit", 42)):
        lorentz.measure(row, seed, task, TINY, tmp_path)
    result = lorentz.collect(tmp_path, TINY)
    assert not result["complete"]
    assert {row: len(runs) for row, runs in result["rows"].items()} == {"mlp": 2, "orbit": 1}
    assert not lorentz.collect(tmp_path, lorentz.Protocol())["rows"]  # of another protocol
    longer = lorentz.collect(tmp_path, dataclasses.replace(TINY, epochs=7))  # a shorter training is taken, and shown
    assert not longer["complete"]
    assert [run["curve"][-1][0] for run in longer["rows"]["mlp"]] == [2, 2]
    table = {
        "processor": "a", "threads": 1, "versions": {"torch": "2", "equitools": "0"}, "date": "d", "command": "c",
        "result": json.loads(json.dumps(result)),
    }  # fmt: skip
    page = lorentz_page.lorentz(table)
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    assert lines[1].split("|")[3].strip() == "2"
    assert [line.split("|")[1].strip() for line in lines[1:]] == [
        "perceptron", "orbit distance, 1 sample", "orbit distance, 3 samples",
    ]  # fmt: skip
    assert "±" in lines[1]
    assert "not everything" in page
    assert "no results" in lorentz_page.lorentz(None)
    lorentz_page.plot(result, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000

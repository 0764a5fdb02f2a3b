from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from equitools import models
from equitools.errors import ConfigError, LabelError, MissingDependencyError, UnknownSpeciesError
from equitools.graph import Graph
from equitools.models import HeadModel, Potential
from equitools.training import DivergenceError, Sets, load_config, train
from equitools.training.build import ScaleWarning, build_model

from . import toy

QUIET = Console(quiet=True)
FILES = {
    "config.yaml", "last.ckpt", "learning_curve.png", "metrics.csv", "model.safetensors", "parity.png", "result.json",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _plots_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these trainings; one test looks at the figures."""
    if request.node.name != "test_training_learns_and_writes_its_folder":
        monkeypatch.setattr("equitools.training.run.parity_plot", lambda *_: None)
        monkeypatch.setattr("equitools.training.run.learning_curve", lambda *_: None)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path / "last.ckpt", weights_only=True)


def equal(one: Any, two: Any) -> bool:
    """Bitwise equality of nested containers of tensors and numbers; times are left out."""
    if isinstance(one, dict):
        keys = {key for key in one if "seconds" not in str(key)}
        return keys == {key for key in two if "seconds" not in str(key)} and all(equal(one[k], two[k]) for k in keys)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(equal(a, b) for a, b in zip(one, two, strict=True))
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    return one == two


def test_training_learns_and_writes_its_folder(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    config = toy.config(tmp_path / "run", trainer={"max_epochs": 30}, ema=0.9)
    result = train(config, toy.sets(), console=QUIET)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_default_dtype() == torch.float32
    assert not torch.are_deterministic_algorithms_enabled()
    assert {item.name for item in (tmp_path / "run").iterdir()} == FILES
    first, last = result.history[0], result.history[-1]
    assert last["train_loss"] < 0.1 * first["train_loss"]
    row = result.metrics["test"].row("forces")
    assert row.rmse is not None
    assert row.spread is not None
    assert row.rmse < 0.3 * row.spread
    loaded = models.load(tmp_path / "run" / "model.safetensors")
    assert loaded.training_summary["best_epoch"] == result.best_epoch
    assert loaded.training_summary["errors"]["test"]["forces"]["rmse"] == row.rmse
    facts = json.loads((tmp_path / "run" / "result.json").read_text())
    assert facts["errors"]["test"]["forces"]["unit"] == "meV/Å"
    assert facts["machine"]["threads"] == torch.get_num_threads()
    assert str(tmp_path) not in json.dumps(facts)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(item["epoch"]) for item in rows] == list(range(1, 31))
    assert load_config(tmp_path / "run" / "config.yaml").trainer.max_epochs == 30
    with pytest.raises(ConfigError, match="overwrite=true"):
        train(config, toy.sets(), console=QUIET)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype(tmp_path: Path, dtype: str) -> None:
    config = toy.config(tmp_path, dtype=dtype, trainer={"max_epochs": 1})
    result = train(config, toy.sets(dtype), console=QUIET)
    wanted = getattr(torch, dtype)
    assert all(parameter.dtype == wanted for parameter in result.model.parameters())
    assert all(item.dtype == wanted for item in models.load(tmp_path / "model.safetensors").parameters())


def test_same_seed_same_weights(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        torch.manual_seed(number)
        train(toy.config(tmp_path / name, trainer={"max_epochs": 2}), toy.sets(), console=QUIET)
    assert equal(weights(tmp_path / "a")["model"], weights(tmp_path / "b")["model"])
    train(toy.config(tmp_path / "c", seed=1, trainer={"max_epochs": 2}), toy.sets(), console=QUIET)
    assert not equal(weights(tmp_path / "a")["model"], weights(tmp_path / "c")["model"])


_SCRIPT = """
import sys, time
from rich.console import Console
from training import toy
from equitools.training import train
from equitools.training.module import TrainingModule

if len(sys.argv) > 2:
    plain = TrainingModule.training_step
    def slow(self, batch, batch_idx):
        if self.epoch == 2 and batch_idx == 2:  # the middle of the third epoch
            print("here", flush=True)
            time.sleep(60)
        return plain(self, batch, batch_idx)
    TrainingModule.training_step = slow
train(toy.config(sys.argv[1], trainer={"max_epochs": 4}, schedule="plateau"), toy.sets(), console=Console(quiet=True))
"""


def test_resumes_bitwise(tmp_path: Path) -> None:
    """Four epochs straight, and four with a SIGKILL in the middle of the third: the same bits."""
    straight = toy.config(tmp_path / "straight", trainer={"max_epochs": 4}, schedule="plateau")
    train(straight, toy.sets(), console=QUIET)
    tests = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, str(Path(tests).parent)])}
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(tmp_path / "killed"), "slow"], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"here"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    state = weights(tmp_path / "killed")
    assert state["epoch"] == 2
    assert not [item for item in (tmp_path / "killed").iterdir() if item.name.startswith(".")]
    resumed = toy.config(tmp_path / "killed", trainer={"max_epochs": 4}, schedule="plateau", resume=True)
    result = train(resumed, toy.sets(), console=QUIET)
    assert result.epochs == 4
    one, two = weights(tmp_path / "straight"), weights(tmp_path / "killed")
    assert equal(one, two)
    assert two["seconds"] > state["seconds"]
    left, right = (models.load(tmp_path / name / "model.safetensors") for name in ("straight", "killed"))
    assert equal(dict(left.state_dict()), dict(right.state_dict()))
    with (tmp_path / "killed" / "metrics.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [1, 2, 3, 4]


def test_resume_of_a_finished_run_can_go_on_longer(tmp_path: Path) -> None:
    train(toy.config(tmp_path, trainer={"max_epochs": 1}), toy.sets(), console=QUIET)
    again = train(toy.config(tmp_path, trainer={"max_epochs": 1}, resume=True), toy.sets(), console=QUIET)
    assert again.epochs == 1
    longer = train(toy.config(tmp_path, trainer={"max_epochs": 2}, resume=True), toy.sets(), console=QUIET)
    assert [row["epoch"] for row in longer.history] == [1, 2]
    with pytest.raises(ConfigError, match="batch_size was 6, but is now 5"):
        train(toy.config(tmp_path, data={"batch_size": 5}, resume=True), toy.sets(), console=QUIET)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by half a second each time it is read, however busy the machine is."""
    ticks = count(0, 0.5)
    monkeypatch.setattr("equitools.training.module.time", SimpleNamespace(monotonic=lambda: next(ticks)))


def test_time_counts_over_resumes(tmp_path: Path, clock: None) -> None:
    limit = {"max_epochs": 10_000, "max_time_minutes": 0.5}
    first = train(toy.config(tmp_path, trainer=limit), toy.sets(), console=QUIET)
    assert "time is up" in first.reason
    assert 28 < first.seconds < 40
    saved = weights(tmp_path)
    assert 0 < saved["seconds"] < 40
    done = saved["epoch"]
    assert 1 < done < 30
    more = {"max_epochs": 10_000, "max_time_minutes": 1.0}
    second = train(toy.config(tmp_path, trainer=more, resume=True), toy.sets(), console=QUIET)
    assert done < second.epochs < 60
    assert saved["seconds"] < second.history[done]["seconds"]
    assert 55 < second.history[-1]["seconds"] < 70


def test_schedule_over_time(tmp_path: Path, clock: None) -> None:
    limit = {"max_epochs": 10_000, "max_time_minutes": 1.0}
    schedule = {"kind": "cosine", "over": "time"}
    result = train(toy.config(tmp_path, trainer=limit, schedule=schedule), toy.sets(), console=QUIET)
    assert result.history[-1]["lr"] < 0.1 * result.history[0]["lr"]


def test_early_stop(tmp_path: Path) -> None:
    config = toy.config(
        tmp_path, optimizer={"lr": 1e-12}, schedule="constant", ema=None,
        early_stop={"patience": 2, "min_delta": 0.1}, trainer={"max_epochs": 50},
    )  # fmt: skip
    result = train(config, toy.sets(), console=QUIET)
    assert result.epochs == 3
    assert "no better validation" in result.reason


def test_divergence_keeps_the_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from equitools.training.losses import PotentialLoss

    plain, calls = PotentialLoss.__call__, []

    def poisoned(self: PotentialLoss, outputs: Any, graph: Graph) -> Any:
        terms = plain(self, outputs, graph)
        calls.append(1)
        if len(calls) > 6:  # in the second epoch of four steps
            terms["loss"] = terms["loss"] * math.nan
        return terms

    monkeypatch.setattr(PotentialLoss, "__call__", poisoned)
    with pytest.raises(DivergenceError, match=r"nan.*epoch 2.*lr"):
        train(toy.config(tmp_path), toy.sets(), console=QUIET)
    assert weights(tmp_path)["epoch"] == 1
    assert isinstance(models.load(tmp_path / "model.safetensors"), Potential)


def test_missing_label_fails_before_the_first_epoch(tmp_path: Path) -> None:
    sets = toy.sets()
    bare = sets.train[3]
    del bare.labels["forces"], bare.label_levels["forces"]
    with pytest.raises(LabelError, match="1 of the 24 structures of the training set"):
        train(toy.config(tmp_path / "run"), sets, console=QUIET)
    assert not (tmp_path / "run").exists()


def test_unseen_element_in_the_test_set(tmp_path: Path) -> None:
    sets = toy.sets()
    odd = sets.test[0].replace(atomic_numbers=torch.tensor([6, 7, 6, 8]))
    with pytest.raises(UnknownSpeciesError, match="O"):
        train(toy.config(tmp_path / "run"), Sets(sets.train, sets.valid, [odd]), console=QUIET)


def test_wrong_energy_scale_warns() -> None:
    graphs = toy.graphs(6)
    for index, graph in enumerate(graphs):
        graph.labels["energy"] = graph.labels["energy"] * 27.0 + 40.0 * index
    with pytest.warns(ScaleWarning, match="Are energies in eV"):
        build_model(toy.config("unused"), graphs)


def test_model_is_built_from_the_data() -> None:
    graphs = toy.graphs(6)
    config = toy.config("unused", potential={"reference_energies": "fit"}, model={"avg_num_neighbors": 2.5})
    model = build_model(config, graphs)
    assert isinstance(model, Potential)
    assert model.species == (6, 7)
    rms = float(torch.cat([graph.labels["forces"] for graph in graphs]).double().square().mean().sqrt())
    assert model.scale == pytest.approx(rms)
    assert model.backbone.config.avg_num_neighbors == 2.5
    inferred = build_model(toy.config("unused"), graphs)
    assert inferred.backbone.config.avg_num_neighbors == pytest.approx(3.0)
    mean = float(torch.stack([graph.labels["energy"].sum() for graph in graphs]).mean())
    model.eval()
    sums = sum(model.reference_energies[z] for z in (6, 7, 6, 7)) + 4 * model.shift
    assert sums == pytest.approx(mean)
    assert toy.config("x", potential={"shift": 0.0}).potential.shift == 0.0


def test_tensorboard_and_absent_loggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy.config(tmp_path, trainer={"max_epochs": 1, "loggers": ["tensorboard"]})
    train(config, toy.sets(), console=QUIET)
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert not (tmp_path / "metrics.csv").exists()
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingDependencyError, match="wandb"):
        train(toy.config(tmp_path / "w", trainer={"loggers": ["wandb"]}), toy.sets(), console=QUIET)


def _span(atoms: Any) -> float:
    return float(np.ptp(atoms.positions @ atoms.positions.T)) + 1000.0


@pytest.mark.parametrize(
    ("head", "label"),
    [
        ({"kind": "scalar", "name": "gap", "pool": "mean"}, _span),
        ({"kind": "dipole", "name": "moment"}, lambda atoms: (atoms.numbers - 6.5) @ atoms.positions),
    ],
    ids=["scalar", "dipole"],
)
def test_regression_heads_learn(tmp_path: Path, head: dict[str, Any], label: Any) -> None:
    model = {"name": "egnn", "cutoff": toy.CUTOFF, "hidden": 16, "layers": 2}
    config = toy.config(
        tmp_path, potential=None, head=head, model=model, trainer={"max_epochs": 45}, optimizer={"lr": 0.01}, ema=0.9
    )
    result = train(config, toy.sets(train=36, **{head["name"]: label}), console=QUIET)
    row = result.metrics["test"].row(head["name"])
    assert row.rmse is not None
    assert row.spread is not None
    assert row.rmse < 0.5 * row.spread
    assert isinstance(models.load(tmp_path / "model.safetensors"), HeadModel)
    if head["kind"] == "scalar":
        assert models.load(tmp_path / "model.safetensors").head.config.shift == pytest.approx(1003, abs=15)


def test_classification_head_learns(tmp_path: Path) -> None:
    config = toy.config(
        tmp_path, potential=None, head={"kind": "class", "name": "large", "num_classes": 2},
        trainer={"max_epochs": 40}, ema=0.9,
    )  # fmt: skip
    distances = [atoms.get_distance(0, 2) for atoms in toy.clusters(36, 1)]
    middle = float(np.median(distances))
    sets = toy.sets(train=36, large=lambda atoms: int(atoms.get_distance(0, 2) > middle))
    result = train(config, sets, console=QUIET)
    row = result.metrics["test"].row("large")
    assert row.accuracy is not None
    assert row.accuracy >= 5 / 6
    assert result.history[-1]["train_large"] < 0.5 * result.history[0]["train_large"]


def test_node_vectors_and_missing_head_label(tmp_path: Path) -> None:
    head = {"kind": "node_vector", "name": "forces"}
    model = {"name": "many_body_mp", "cutoff": toy.CUTOFF, "channels": 4, "l_max": 1, "correlation": 2}
    config = toy.config(tmp_path, potential=None, head=head, model=model, trainer={"max_epochs": 2})
    result = train(config, toy.sets(), console=QUIET)
    assert result.metrics["test"].row("forces").unit == "meV/Å"
    absent = toy.config(tmp_path / "b", potential=None, head={"kind": "scalar", "name": "gap"})
    with pytest.raises(LabelError, match="gap"):
        train(absent, toy.sets(), console=QUIET)


def test_stress_is_trained(tmp_path: Path) -> None:
    """Strained copper cells, labels from EMT: energy, forces and stress together."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    rng = np.random.default_rng(0)

    def cell() -> Graph:
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.05, rng=rng)
        atoms.calc = EMT()
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        return Graph.from_ase(atoms, 4.0, labels={**labels, "stress": atoms.get_stress(voigt=False)})

    sets = Sets([cell() for _ in range(16)], [cell() for _ in range(4)], [cell() for _ in range(4)])
    config = toy.config(
        tmp_path, model={"cutoff": 4.0}, loss={"energy": 1.0, "forces": 10.0, "stress": 1000.0}, data={"batch_size": 4},
        trainer={"max_epochs": 30}, ema=0.9,
    )  # fmt: skip
    row = train(config, sets, console=QUIET).metrics["test"].row("stress")
    assert row.unit == "meV/Å³"
    assert row.rmse is not None
    assert row.spread is not None
    assert row.rmse < 0.5 * row.spread


_DDP = """
import sys
from rich.console import Console
from training import toy
from equitools.training import train
train(toy.config(sys.argv[1], trainer={"max_epochs": 2}), toy.sets(train=23), console=Console(quiet=True))
"""


def test_two_processes_under_torchrun(tmp_path: Path) -> None:
    """Gradients and metrics are joined: both processes hold the same weights, and one of them writes."""
    script = tmp_path / "script.py"
    script.write_text(_DDP)
    tests = str(Path(__file__).parents[1])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([tests, str(Path(tests).parent)]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(
        [*command, str(tmp_path / "run")], env=environment, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    facts = json.loads((tmp_path / "run" / "result.json").read_text())
    assert facts["timing"]["epochs"] == 2
    state = weights(tmp_path / "run")
    assert state["step"] == 4  # 12 structures a process, 6 in a batch, 2 epochs
    assert state["history"][0]["valid_forces_rmse"] > 0
    result = models.load(tmp_path / "run" / "model.safetensors")
    from equitools.training import evaluate

    best = state["history"][int(state["best"]["epoch"]) - 1]
    again = evaluate(result, toy.sets(train=23).valid).row("forces").rmse
    assert again == pytest.approx(best["valid_forces_rmse"], rel=1e-5)

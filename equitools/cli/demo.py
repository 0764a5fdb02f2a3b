"""``equitools demo``: the main job from beginning to end, on ethanol."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from equitools._atomic import atomic_path, write_text
from equitools.errors import EquitoolsError, MissingDependencyError

if TYPE_CHECKING:
    from equitools.cli.demo_sampling import Sample, SamplingPlan
    from equitools.testing.report import Report

__all__ = ["DemoPlan", "demo", "run_demo"]

FORCE_TARGET = 8.0  # MAE in % of the mean absolute force component
DRIFT_TARGET = 1.0  # meV/atom/ps


@dataclasses.dataclass(frozen=True)
class DemoPlan:
    """How much the demo does.

    Attributes:
        sampling: Overrides of `SamplingPlan`.
        valid: Of the training frames, how many are for validation.
        channels: Of the network.
        epochs: Passes over the training frames, unless ``minutes`` end first.
        minutes: Most time for training. The learning rate reaches its end either way.
        steps: Of the NVE dynamics.
        equilibration: Langevin steps with the trained potential before it.
    """

    sampling: Mapping[str, int] = dataclasses.field(default_factory=dict)
    valid: int = 80
    channels: int = 16
    epochs: int = 30
    minutes: float = 2.0
    steps: int = 4000
    equilibration: int = 2000


FULL = DemoPlan()
FAST = DemoPlan(
    sampling={"train": 60, "test": 20, "equilibration": 200, "gap": 100, "stride": 5},
    valid=10,
    channels=4,
    epochs=3,
    minutes=0.3,
    steps=200,
    equilibration=20,
)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the report and all files.")] = Path("demo"),
    fast: Annotated[bool, typer.Option("--fast", help="A look at the stages in seconds; learns nothing.")] = False,
    seed: Annotated[int, typer.Option(help="Of sampling, training and dynamics.")] = 0,
) -> None:
    """Sample ethanol, train a potential, check its symmetry, run dynamics with it, and write a report.

    Takes less than 5 minutes on 2 cores and needs no network. Leaves report.html, result.json, the data
    (ethanol.extxyz, ethanol_test.extxyz), model.safetensors, and the plots as PNG in the output folder.
    """
    run_demo(output, FAST if fast else FULL, seed, Console())


def run_demo(output: Path, plan: DemoPlan, seed: int, console: Console) -> dict[str, Any]:
    """Run all stages; returns what is written as ``result.json``.

    Args:
        output: Folder.
        plan: How much.
        seed: Of everything.
        console: Where to print.

    Raises:
        MissingDependencyError: tblite, lightning or matplotlib is not installed.
    """
    _check_dependencies()
    with _one_thread():
        return _stages(output, plan, seed, console)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Tensors of this size gain nothing from a second thread, and waiting for it costs much on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _stages(output: Path, plan: DemoPlan, seed: int, console: Console) -> dict[str, Any]:
    from equitools.cli.demo_report import error_table, label_errors, write_report
    from equitools.cli.demo_sampling import SamplingPlan
    from equitools.cli.md import dynamics_progress, dynamics_table, save_energy_plot
    from equitools.integrations.ase import EquitoolsCalculator
    from equitools.integrations.dynamics import DynamicsSettings, run_dynamics

    seconds: dict[str, float] = {}
    sampling = SamplingPlan(**plan.sampling)
    with _stage(console, seconds, "sampling", "1/5 Sampling ethanol with GFN2-xTB"):
        sample = _sample(output, sampling, seed, console)
    with _stage(console, seconds, "training", "2/5 Training"):
        training = _train(output, plan, seed, console)
    with _stage(console, seconds, "testing", "3/5 Errors on the held-out frames"):
        calculator = EquitoolsCalculator(output / "model.safetensors")
        predictions = calculator.evaluate_many(sample.test, ["energy", "forces"])
        errors = label_errors(sample.test, predictions)
        console.print(error_table(errors, len(sample.test)))
        _plots(output, sample, predictions)
    with _stage(console, seconds, "equivariance", "4/5 Equivariance of the trained network"):
        equivariance = _equivariance(output, sample)
        console.print(str(equivariance), highlight=False, markup=False, soft_wrap=True)
    with _stage(console, seconds, "dynamics", "5/5 NVE dynamics at 300 K with the trained potential"):
        settings = DynamicsSettings(steps=plan.steps, equilibration=plan.equilibration, seed=seed)
        with dynamics_progress(settings, console) as on_record:
            dynamics = run_dynamics(sample.relaxed, calculator, settings, output / "md", on_record)
        if dynamics.stopped is not None:  # a report on half a run would mislead
            raise EquitoolsError(
                f"The demo's dynamics were {dynamics.stopped}. What was recorded is in {output / 'md'}."
            )
        console.print(dynamics_table(dynamics))
        save_energy_plot(dynamics, output / "energy_conservation.png", console)
    result: dict[str, Any] = {
        "seed": seed,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "sampling": {**dataclasses.asdict(sampling), "label": "GFN2-xTB"},
        "training": training,
        "errors": errors,
        "equivariance": {"passed": equivariance.passed, "worst": equivariance.worst},
        "dynamics": dynamics.summary(),
        "targets": _targets(errors, abs(dynamics.drift)),
    }
    write_text(output / "result.json", json.dumps(result, indent=1) + "\n")
    write_report(output / "report.html", result, str(equivariance), _pictures(output))
    _conclude(console, result, output)
    return result


def _check_dependencies() -> None:
    from equitools.cli.demo_sampling import ethanol_calculator

    ethanol_calculator()
    for package in ("lightning", "matplotlib"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingDependencyError(
                f"The demo needs the package {package}, and that could not be imported ({error}). Install it with: "
                "pip install equitools[demo]"
            ) from error


@contextmanager
def _stage(console: Console, seconds: dict[str, float], name: str, title: str) -> Iterator[None]:
    console.rule(f"[bold]{title}")
    begin = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - begin


def _sample(output: Path, plan: SamplingPlan, seed: int, console: Console) -> Sample:
    from ase.io import write

    from equitools.cli.demo_sampling import sample_ethanol

    columns = (
        TextColumn("sampling"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[live]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("sampling", total=plan.steps, live="")
        sample = sample_ethanol(
            plan, seed, on_step=lambda step, kelvin: bar.update(task, completed=step, live=f"T {kelvin:5.0f} K")
        )
        bar.update(task, completed=plan.steps)
    for name, frames in (("ethanol.extxyz", sample.train), ("ethanol_test.extxyz", sample.test)):
        with atomic_path(output / name) as temporary:
            write(temporary, frames, format="extxyz")
        console.print(f"{len(frames)} frames with energy and forces in {output / name}", highlight=False)
    return sample


def _train(output: Path, plan: DemoPlan, seed: int, console: Console) -> dict[str, Any]:
    import shutil

    from equitools.training.config import parse_config
    from equitools.training.plots import learning_curve
    from equitools.training.run import train

    config = parse_config(
        {
            "seed": seed,
            "output": str(output / "training"),
            "overwrite": True,
            "data": {
                "train": str(output / "ethanol.extxyz"),
                "valid": {"count": plan.valid},
                "batch_size": 10,
            },
            "model": {"name": "many_body_mp", "cutoff": 4.5, "channels": plan.channels, "correlation": 2},
            "potential": {"reference_energies": "average", "scale": "forces_rms"},
            "loss": {"energy": 1.0, "forces": 100.0},
            "optimizer": {"lr": 0.01},
            "schedule": {"kind": "cosine", "over": "time", "min_factor": 0.001},
            "trainer": {"max_epochs": plan.epochs, "max_time_minutes": plan.minutes, "accelerator": "cpu"},
        }
    )
    run = train(config, console=console)
    with atomic_path(output / "model.safetensors") as temporary:
        shutil.copyfile(run.model_path, temporary)
    learning_curve(output / "learning_curve.png", run.history, "ethanol, validation frames")
    return {
        "model": config.model["name"],
        "channels": plan.channels,
        "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
        "dtype": config.dtype,
        "epochs": run.epochs,
        "batch_size": config.data.batch_size,
    }


def _plots(output: Path, sample: Sample, predictions: Sequence[Mapping[str, Any]]) -> None:
    import numpy as np

    from equitools.training.plots import parity_plot

    pairs = {
        name: (
            np.concatenate([np.ravel(atoms.calc.results[name]) for atoms in sample.test]),
            np.concatenate([np.ravel(result[name]) for result in predictions]),
        )
        for name in ("energy", "forces")
    }
    parity_plot(output / "parity.png", pairs, "ethanol, held-out frames")


def _equivariance(output: Path, sample: Sample) -> Report:
    import equitools
    from equitools.graph import Graph

    model = equitools.load(output / "model.safetensors")
    graph = Graph.from_ase(sample.relaxed, float(model.cutoff))
    return equitools.testing.equivariance_report(model, graph, group="E(3)")


def _targets(errors: Mapping[str, Mapping[str, float]], drift: float) -> list[dict[str, Any]]:
    forces = errors["forces"]
    share = 100 * forces["mae"] / forces["mean_absolute"]
    rows = (
        ("force MAE / mean |force component|", share, FORCE_TARGET, "%"),
        ("NVE energy drift, 300 K, 0.5 fs", drift, DRIFT_TARGET, "meV/atom/ps"),
    )
    return [
        {"what": what, "value": value, "below": below, "unit": unit, "met": value < below}
        for what, value, below, unit in rows
    ]


def _pictures(output: Path) -> list[tuple[Path, str]]:
    return [
        (output / "parity.png", "Prediction against label on the held-out frames"),
        (output / "learning_curve.png", "Learning curve"),
        (output / "energy_conservation.png", "Energy in NVE dynamics with the trained potential"),
    ]


def _conclude(console: Console, result: Mapping[str, Any], output: Path) -> None:
    console.rule("[bold]Done")
    for target in result["targets"]:
        verdict = "[green]met[/green]" if target["met"] else "[bold red]missed[/bold red]"
        asked = f"asked: < {target['below']:g} {target['unit']}"
        console.print(f"{target['what']}: {target['value']:.3f} {target['unit']} ({asked}) {verdict}", highlight=False)
    total = sum(result["seconds"].values())
    console.print(f"{total:.0f} s in all. Open {output / 'report.html'}", highlight=False)

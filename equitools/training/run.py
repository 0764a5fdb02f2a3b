"""`train`: from a configuration to a trained model, an error table and everything written down."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from rich.console import Console

from equitools import models
from equitools._atomic import write_text
from equitools.errors import ConfigError, DataError, MissingDependencyError
from equitools.graph import batch as collate
from equitools.models import HeadModel, Potential
from equitools.training.build import build_model, check_same_run, make_loss
from equitools.training.callbacks import EpochRecord, ProgressLines
from equitools.training.checkpoint import load_resume
from equitools.training.config import TrainConfig, dump_config
from equitools.training.loader import BatchLoader, FixedBatches
from equitools.training.losses import require_labels
from equitools.training.metrics import Metrics, evaluate
from equitools.training.module import TrainingModule
from equitools.training.plots import learning_curve, parity_plot
from equitools.training.prepare import Sets, prepare_sets, write_split
from equitools.training.report import error_table, machine, versions
from equitools.training.schedule import Schedule

__all__ = ["TrainResult", "train"]


@dataclass
class TrainResult:
    """What a training run gave.

    Attributes:
        output: The run's folder.
        model_path: The best model's file.
        model: The best model, in eval mode.
        metrics: Set (``valid``, ``test``) -> metrics of the best model; empty on all processes but the first.
        history: One row an epoch, as in ``metrics.csv``.
        epochs: Epochs done, over resumes.
        best_epoch: When the best validation was.
        seconds: Wall time of the training, over resumes.
        reason: Why it ended.
    """

    output: Path
    model_path: Path
    model: Potential | HeadModel
    metrics: dict[str, Metrics] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    epochs: int = 0
    best_epoch: int = 0
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class _World:
    """The processes of a run, as torchrun describes them in the environment."""

    rank: int
    size: int
    local_size: int

    @classmethod
    def from_environment(cls) -> _World:
        def number(name: str, default: int) -> int:
            return int(os.environ.get(name, default))

        size = number("WORLD_SIZE", 1) if TorchElasticEnvironment.detect() else 1
        if size == 1:
            return cls(0, 1, 1)
        return cls(number("RANK", 0), size, number("LOCAL_WORLD_SIZE", size))


def train(config: TrainConfig, sets: Sets | None = None, console: Console | None = None) -> TrainResult:
    """Train a model, test it, and write the run's folder.

    The folder holds ``model.safetensors`` (the best averaged weights), ``last.ckpt`` (to resume from),
    ``metrics.csv``, ``config.yaml``, ``split.json``, ``result.json``, ``parity.png`` and ``learning_curve.png``. Under
    torchrun each process calls this; the first one writes. The caller's random state and default dtype are not touched.

    Args:
        config: The run; see `equitools.training.load_config`.
        sets: Graphs that exist already, used instead of the files of ``config.data``.
        console: Where progress and tables go; None for standard output.

    Returns:
        The best model and its errors.

    Raises:
        ConfigError: The configuration contradicts itself or the folder.
        DataError: The data cannot be read or are too few.
        LabelError: A label that the loss weights is missing or not finite.
        CheckpointError: There is nothing (whole) to resume from.
        DivergenceError: The loss became NaN or infinite; the checkpoints of the epochs before stay.
    """
    world = _World.from_environment()
    console = (console or Console()) if world.rank == 0 else Console(quiet=True)
    output = Path(config.output)
    state = load_resume(output / "last.ckpt") if config.resume else None
    if state is None and (output / "last.ckpt").exists() and not config.overwrite:
        raise ConfigError(
            f"The folder {str(output)!r} holds a run already. Continue it with --resume, replace it with "
            "overwrite=true, or choose another folder, output=..."
        )
    _check_loggers(config)
    with _quiet(), _arithmetic(config.trainer.deterministic), torch.random.fork_rng():
        if sets is None:
            known = state["split"] if state else None
            sets = prepare_sets(config, console, known)
        else:
            _check_sets(config, sets)
        joined = _are_joined()
        result = _run(config, sets, state, world, console)
        if _are_joined() and not joined:
            # Left to the end of the process, the threads of the group may outlive what they use and abort it.
            torch.distributed.destroy_process_group()
        return result


def _are_joined() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _run(config: TrainConfig, sets: Sets, state: dict[str, Any] | None, world: _World, console: Console) -> TrainResult:
    output = Path(config.output)
    writes = world.rank == 0
    model = build_model(config, sets.train, [*sets.valid, *sets.test])
    identity = {"run": _identity(config, model, world, sets), "split": sets.split}
    if state is not None:
        check_same_run(state["run"], identity["run"])
    module = _module(config, model, sets, world)
    record = EpochRecord(
        output if writes else None, identity, lambda: _summary(config, sets, record, module),
        config.early_stop, csv_file="csv" in config.trainer.loggers,
    )  # fmt: skip
    if state is not None:
        module.load_resume_state(state)
        record.load(state)
    elif writes:
        _clear(output)
    if writes:
        dump_config(config, output / "config.yaml")
        write_split(output / "split.json", sets, config.seed)
    loader = BatchLoader(sets.train, collate, config.data.batch_size, config.seed, world.rank, world.size)
    valid = FixedBatches(sets.valid, collate, _eval_batch(config), world.rank, world.size)
    done = module.epoch
    _announce(console, config, model, sets, done)
    if done < config.trainer.max_epochs and not module.time_is_up:
        lines = ProgressLines(console, record, config.trainer.max_epochs, config.trainer.progress and writes, done)
        trainer = _trainer(config, world, output, config.trainer.max_epochs - done, [record, lines])
        module.loader = loader
        trainer.fit(module, train_dataloaders=loader, val_dataloaders=valid)
    return _finish(config, sets, record, module, writes, console)


def _module(config: TrainConfig, model: Potential | HeadModel, sets: Sets, world: _World) -> TrainingModule:
    share = -(-len(sets.train) // world.size)
    steps = -(-share // config.data.batch_size) * config.trainer.max_epochs
    part = config.schedule
    minutes = config.trainer.max_time_minutes
    return TrainingModule(
        model,
        make_loss(config, model, sets.train),
        config.optimizer,
        Schedule(part.kind, steps, part.warmup_steps, part.min_factor, part.factor, part.patience),
        ema=config.ema,
        clip=config.clip,
        seed=config.seed,
        score_kind=config.loss.kind,
        max_seconds=None if minutes is None else 60.0 * minutes,
        follow_time=part.over == "time",
    )


def _trainer(config: TrainConfig, world: _World, output: Path, epochs: int, callbacks: list[pl.Callback]) -> pl.Trainer:
    options: dict[str, Any] = {"strategy": "auto", "devices": 1, "plugins": [LightningEnvironment()]}
    if world.size > 1:
        gpu = config.trainer.accelerator == "gpu" or (
            config.trainer.accelerator == "auto" and torch.cuda.is_available()
        )
        strategy = DDPStrategy(
            find_unused_parameters=True, broadcast_buffers=False, process_group_backend="nccl" if gpu else "gloo"
        )
        options = {
            "strategy": strategy,
            "devices": world.local_size,
            "num_nodes": world.size // world.local_size,
            "plugins": [TorchElasticEnvironment()],
        }
    return pl.Trainer(
        accelerator=config.trainer.accelerator,
        max_epochs=epochs,
        check_val_every_n_epoch=config.trainer.valid_every,
        callbacks=callbacks,
        logger=_loggers(config, output) if world.rank == 0 else False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        inference_mode=False,
        use_distributed_sampler=False,
        log_every_n_steps=10**9,
        default_root_dir=str(output),
        **options,
    )


def _check_loggers(config: TrainConfig) -> None:
    for name, module in (("tensorboard", "tensorboard"), ("wandb", "wandb")):
        if name in config.trainer.loggers:
            try:
                __import__(module)
            except ImportError as error:
                raise MissingDependencyError(
                    f"trainer.loggers asks for {name}, which is not installed: pip install {module}."
                ) from error


def _loggers(config: TrainConfig, output: Path) -> Any:
    loggers: list[Any] = []
    if "tensorboard" in config.trainer.loggers:
        from lightning.pytorch.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(str(output), name="tensorboard", version=""))
    if "wandb" in config.trainer.loggers:
        from lightning.pytorch.loggers import WandbLogger

        loggers.append(WandbLogger(name=output.name, save_dir=str(output), config=config.model_dump(mode="json")))
    return loggers or False


def _finish(
    config: TrainConfig, sets: Sets, record: EpochRecord, module: TrainingModule, writes: bool, console: Console
) -> TrainResult:
    output = Path(config.output)
    path = output / "model.safetensors"
    result = TrainResult(
        output, path, module.model.eval(), {}, record.history, module.epoch, int(record.best["epoch"]),  # type: ignore[arg-type]
        module.seconds if record.history else 0.0, record.reason,
    )  # fmt: skip
    if not writes:
        return result
    if not path.exists():
        raise DataError("No epoch was validated, so there is no best model; allow more time or epochs.")
    best: Any = models.load(path)
    names = list(module.loss.names)
    sizes = {"valid": sets.valid, "test": sets.test}
    seconds = record.history[-1]["seconds"] if record.history else 0.0
    metrics = {
        name: evaluate(best, graphs, _eval_batch(config), _with_extra(best, names, graphs), keep=True)
        for name, graphs in sizes.items()
        if len(graphs)
    }
    result.model, result.metrics, result.seconds = best, metrics, seconds
    models.save(best, path, summary={**_summary(config, sets, record, module), "errors": _errors(metrics)})
    _write_json(output / "result.json", _facts(config, sets, result))
    last = list(metrics)[-1]
    parity_plot(output / "parity.png", metrics[last].pairs(), f"{output.name}: {last} set")
    learning_curve(output / "learning_curve.png", record.history, output.name)
    console.print(
        f"{result.epochs} epochs in {_duration(seconds)}: {record.reason}. Best validation in epoch "
        f"{result.best_epoch}; its averaged weights are in [bold]{path}[/bold].",
        highlight=False,
        soft_wrap=True,
    )
    console.print(error_table(metrics, "Errors of the best model"))
    return result


def _with_extra(model: Any, names: list[str], graphs: Any) -> list[str]:
    """Return the trained labels and those others that the model gives and all graphs have, stress for example."""
    if not isinstance(model, Potential):
        return names
    extra = [
        name
        for name in ("energy", "forces", "stress")
        if name not in names and all(name in graph.labels for graph in graphs)
    ]
    return [*names, *extra]


def _identity(config: TrainConfig, model: Potential | HeadModel, world: _World, sets: Sets) -> dict[str, Any]:
    """Return what a resumed run must share with its beginning, as JSON text by name."""
    facts = {
        "the model": model.spec(),
        "dtype": config.dtype,
        "seed": config.seed,
        "the training data": [len(sets.train), sets.fingerprint],
        "data.batch_size": config.data.batch_size,
        "the number of processes": world.size,
        "loss": config.loss.model_dump(),
        "optimizer": config.optimizer.model_dump(),
        "schedule": config.schedule.model_dump(),
        "ema": config.ema,
        "clip": config.clip,
    }
    return {name: json.dumps(value, sort_keys=True) for name, value in facts.items()}


def _summary(config: TrainConfig, sets: Sets, record: EpochRecord, module: TrainingModule) -> dict[str, Any]:
    return {
        "epoch": module.epoch,
        "best_epoch": int(record.best["epoch"]),
        "best_score": record.best["score"] if math.isfinite(record.best["score"]) else None,
        "structures": {"train": len(sets.train), "valid": len(sets.valid), "test": len(sets.test)},
        "files": sets.files,
        "loss": {**config.loss.model_dump(), "weights": config.weights()},
        "seed": config.seed,
        "versions": versions(),
    }


def _errors(metrics: Mapping[str, Metrics]) -> dict[str, Any]:
    return {name: item.to_dict() for name, item in metrics.items()}


def _facts(config: TrainConfig, sets: Sets, result: TrainResult) -> dict[str, Any]:
    """Return ``result.json``: no folder of this machine is named in it."""
    settings = config.model_dump(mode="json", exclude={"output", "resume", "overwrite"})
    settings["data"]["train"] = [Path(name).name for name in settings["data"]["train"]]
    for name in ("valid", "test"):
        part = settings["data"][name]
        if part and part["path"]:
            part["path"] = [Path(item).name for item in part["path"]]
    if settings["data"]["split"]:
        settings["data"]["split"] = Path(settings["data"]["split"]).name
    references = (settings.get("potential") or {}).get("reference_energies")
    if isinstance(references, dict) and "file" in references:
        references["file"] = Path(references["file"]).name
    seconds, epochs = result.seconds, max(1, result.epochs)
    return {
        "errors": _errors(result.metrics),
        "structures": {"train": len(sets.train), "valid": len(sets.valid), "test": len(sets.test)},
        "timing": {"training_seconds": seconds, "seconds_per_epoch": seconds / epochs, "epochs": result.epochs},
        "best_epoch": result.best_epoch,
        "ended_because": result.reason,
        "parameters": sum(parameter.numel() for parameter in result.model.parameters()),
        "model": result.model.spec(),
        "config": settings,
        "files": sets.files,
        "versions": versions(),
        "machine": machine(next(iter(result.model.parameters())).device),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _announce(console: Console, config: TrainConfig, model: Any, sets: Sets, done: int) -> None:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    sizes = f"{len(sets.train)} training, {len(sets.valid)} validation, {len(sets.test)} test structures"
    resumed = f" Resumed after epoch {done}." if done else ""
    console.print(
        f"{config.model['name']}, {parameters:,} parameters, {config.dtype}; {sizes}; "
        f"{torch.get_num_threads()} threads.{resumed}",
        highlight=False,
        soft_wrap=True,
    )


def _check_sets(config: TrainConfig, sets: Sets) -> None:
    names = list(config.weights())
    for name, graphs in (("training", sets.train), ("validation", sets.valid), ("test", sets.test)):
        if not len(graphs) and name != "test":
            raise DataError(f"The {name} set is empty.")
        require_labels(list(graphs), names, name)


def _clear(output: Path) -> None:
    """Remove the files of an earlier run that this one replaces, so that none of them is taken for this run's."""
    for name in ("last.ckpt", "model.safetensors", "metrics.csv", "result.json", "parity.png", "learning_curve.png"):
        (output / name).unlink(missing_ok=True)


def _eval_batch(config: TrainConfig) -> int:
    return config.data.eval_batch_size or 4 * config.data.batch_size


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


@contextlib.contextmanager
def _arithmetic(deterministic: bool) -> Iterator[None]:
    """Ask torch for deterministic kernels for the time of the run.

    Float32 gradients of advanced indexing are else summed by several threads in any order, and a resumed run would
    differ in the last bits.
    """
    if not deterministic:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = fill


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep lightning's remarks on data loaders and devices away from the user; its errors still come."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", category=UserWarning, message=".*find_unused_parameters.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

"""What happens around the epochs: the record on disk, when to stop, and what the user sees."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from equitools._atomic import write_text
from equitools.models import save
from equitools.training.checkpoint import save_resume
from equitools.training.config import EarlyStopConfig
from equitools.training.metrics import Row
from equitools.training.module import TrainingModule

__all__ = ["EpochRecord", "ProgressLines", "epoch_line"]


class EpochRecord(pl.Callback):
    """At the end of each epoch: best model, resume file, metrics.csv, loggers, and whether to stop.

    Args:
        output: The run's folder; None on processes other than the first, which write nothing.
        identity: What a resumed run must agree with (see `equitools.training.run`).
        summary: Called for the training summary that goes into the model's file.
        early_stop: See `EarlyStopConfig`.
        csv_file: Whether to write ``metrics.csv``.

    Attributes:
        history: One row an epoch: plain numbers by column.
        best: ``score`` and ``epoch`` of the best validation.
        reason: Why the training ended.

    Properties:
        files_are_whole: a kill at any moment leaves the files of this epoch or of the one before.
    """

    def __init__(
        self,
        output: Path | None,
        identity: dict[str, Any],
        summary: Callable[[], dict[str, Any]],
        early_stop: EarlyStopConfig | None = None,
        csv_file: bool = True,
    ) -> None:
        self.output, self.identity, self.summary = output, identity, summary
        self.early_stop, self.csv_file = early_stop, csv_file
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] = {"score": math.inf, "epoch": 0}
        self.best_weights: dict[str, Any] = {}
        self.stale = 0
        self.reason = "all epochs done"
        self._columns: list[str] = []
        self._seconds = 0.0

    def load(self, state: dict[str, Any]) -> None:
        """Take over the record of a run that is resumed."""
        self.history = [dict(row) for row in state["history"]]
        self.best, self.stale = dict(state["best"]), int(state["stale"])
        self.best_weights = dict(state["best_weights"])
        self._seconds = float(state["seconds"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put metrics.csv and the best model back to what they were at the end of the last whole epoch."""
        if self.history:
            self._write_csv()
        if self.best_weights and self.output is not None and isinstance(pl_module, TrainingModule):
            own = {name: value.clone() for name, value in pl_module.model.state_dict().items()}
            pl_module.model.load_state_dict(self.best_weights)
            self._save_best(pl_module)
            pl_module.model.load_state_dict(own)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop within an epoch when the time is up (a lone process; several stop together at an epoch's end)."""
        if trainer.world_size == 1 and isinstance(pl_module, TrainingModule) and pl_module.time_is_up:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the epoch."""
        if not isinstance(pl_module, TrainingModule):
            return
        whole = trainer.fit_loop.epoch_loop.batch_progress.current.completed >= trainer.num_training_batches
        module = pl_module
        module.epoch += 1
        improved = self._judge(module)
        self.history.append(self._row(module, improved))
        if improved and self.output is not None:
            with module.average.applied():
                state = module.model.state_dict()
                self.best_weights = {name: value.detach().cpu().clone() for name, value in state.items()}
                self._save_best(module)
        # an epoch cut short is no boundary: a later resume repeats it from its start
        if whole and self.output is not None:
            state = {**module.resume_state(), **self._state(), **self.identity}
            save_resume(self.output / "last.ckpt", state)
        self._write_csv()
        for logger in trainer.loggers:
            logger.log_metrics({k: v for k, v in self.history[-1].items() if k != "epoch"}, step=module.epoch)
        self._stop(trainer, module, whole)

    def _save_best(self, module: TrainingModule) -> None:
        if self.output is not None:
            save(module.model, self.output / "model.safetensors", summary=self._json(self.summary()))

    def _judge(self, module: TrainingModule) -> bool:
        if module.valid is None:
            return False
        margin = self.early_stop.min_delta if self.early_stop else 0.0
        improved = module.score < self.best["score"]
        enough = module.score < self.best["score"] * (1 - margin)
        self.stale = 0 if enough else self.stale + 1
        if improved:
            self.best = {"score": module.score, "epoch": module.epoch}
        return improved

    def _stop(self, trainer: pl.Trainer, module: TrainingModule, whole: bool) -> None:
        if self.early_stop is not None and self.stale >= self.early_stop.patience:
            self.reason = f"no better validation in {self.stale} validations"
            trainer.should_stop = True
        up = trainer.strategy.reduce_boolean_decision(module.time_is_up, all=False)
        if up:
            self.reason = "the time is up" + ("" if whole else " (within an epoch)")
            trainer.should_stop = True

    def _row(self, module: TrainingModule, improved: bool) -> dict[str, float]:
        row: dict[str, float] = {
            "epoch": module.epoch,
            "step": module.step,
            "seconds": module.seconds,
            "epoch_seconds": module.seconds - self._seconds,
            "lr": module.learning_rate,
        }
        self._seconds = module.seconds
        row.update({f"train_{name}": value for name, value in module.train_means().items()})
        if module.valid is not None:
            row["valid_score"] = module.score
            for item in module.valid.rows():
                row.update({f"valid_{item.name}_{key}": value for key, value in _errors(item).items()})
        row["best"] = float(improved)
        return row

    def _state(self) -> dict[str, Any]:
        return {"history": self.history, "best": self.best, "stale": self.stale, "best_weights": self.best_weights}

    @staticmethod
    def _json(values: dict[str, Any]) -> dict[str, Any]:
        return json.loads(json.dumps(values))

    def _write_csv(self) -> None:
        """Add the last row, or write the whole file where the columns grew or a run is resumed."""
        if self.output is None or not self.csv_file:
            return
        path = self.output / "metrics.csv"
        columns = list(dict.fromkeys(key for row in (*self.history[:1], self.history[-1]) for key in row))
        if self._columns and set(columns) <= set(self._columns) and path.exists():
            with path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerow(self.history[-1])
            return
        self._columns = list(dict.fromkeys(key for row in self.history for key in row))
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, self._columns)
        writer.writeheader()
        writer.writerows(self.history)
        write_text(path, buffer.getvalue())


def _errors(row: Row) -> dict[str, float]:
    pairs = {"mae": row.mae, "rmse": row.rmse, "accuracy": row.accuracy, "cross_entropy": row.cross_entropy}
    return {name: value for name, value in pairs.items() if value is not None}


_SHORT = {"energy_per_atom": None, "energy": "E", "forces": "F", "stress": "S"}


def epoch_line(module: TrainingModule, row: dict[str, float], total: int) -> str:
    """Return one line about an epoch: losses, validation errors with units, learning rate, time."""
    width = len(str(total))
    parts = [f"epoch {int(row['epoch']):{width}d}/{total}", f"loss {row.get('train_loss', math.nan):.3g}"]
    if module.valid is not None:
        errors = []
        for item in module.valid.rows():
            short = _SHORT.get(item.name, item.name)
            if short is None:
                continue
            if item.rmse is not None:
                errors.append(f"{short} {item.rmse:.3g} {item.unit}".rstrip())
            elif item.accuracy is not None:
                errors.append(f"{short} {100 * item.accuracy:.1f} % right")
        parts.append("valid RMSE " + ", ".join(errors) if errors else "")
    parts += [f"lr {row['lr']:.2g}", f"{row['epoch_seconds']:.1f} s"]
    return "  ".join(part for part in parts if part) + ("  [green]best[/green]" if row["best"] else "")


class ProgressLines(pl.Callback):
    """A progress bar on a terminal, one line now and then elsewhere.

    Args:
        console: Where to.
        record: Whose history is shown.
        total: Epochs in all.
        show: Whether to show anything (only the first process does).
        done: Epochs done by the run that is resumed.
        lines: Elsewhere than on a terminal, at most this many lines are printed.
    """

    def __init__(
        self, console: Console, record: EpochRecord, total: int, show: bool = True, done: int = 0, lines: int = 100
    ) -> None:
        self.console, self.record, self.total, self.show, self.done = console, record, total, show, done
        self.every = max(1, total // lines)
        self.bar: Progress | None = None
        self._task: TaskID | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        if not self.show or not self.console.is_terminal:
            return
        self.bar = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"), TimeElapsedColumn(),
            console=self.console, refresh_per_second=4, transient=True,
        )  # fmt: skip
        steps = int(trainer.num_training_batches)
        self._task = self.bar.add_task("training", total=self.total * steps, completed=self.done * steps, note="steps")
        self.bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        if self.bar is not None and self._task is not None:
            self.bar.advance(self._task)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the epoch's line."""
        if not self.show or not isinstance(pl_module, TrainingModule) or not self.record.history:
            return
        row = self.record.history[-1]
        due = pl_module.epoch % self.every == 0 or pl_module.epoch in (self.done + 1, self.total)
        if due or trainer.should_stop:
            self.console.print(epoch_line(pl_module, row, self.total), highlight=False, soft_wrap=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar and say how to go on after Ctrl-C."""
        self._close()
        if self.show and isinstance(exception, KeyboardInterrupt):
            self.console.print("Stopped. The same command with --resume goes on from the last whole epoch.")

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

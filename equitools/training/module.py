"""The lightning module: one step of training, validation with averaged weights, the optimiser."""

from __future__ import annotations

import contextlib
import math
import time
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from equitools.errors import EquitoolsError
from equitools.graph import Graph
from equitools.training.config import OptimizerConfig
from equitools.training.ema import WeightAverage
from equitools.training.losses import HeadLoss, PotentialLoss
from equitools.training.metrics import Metrics, class_numbers, predict
from equitools.training.schedule import Schedule

__all__ = ["DivergenceError", "TrainingModule", "make_optimizer"]


class DivergenceError(EquitoolsError, ArithmeticError):
    """The loss or its gradient became NaN or infinite."""


def make_optimizer(model: torch.nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Make Adam or AdamW; weight decay acts on matrices only.

    Args:
        model: Whose parameters are trained.
        config: See `OptimizerConfig`.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if config.kind == "adamw" else torch.optim.Adam
    fused = all(p.device.type in ("cpu", "cuda") and p.dtype in (torch.float32, torch.float64) for p in parameters)
    betas = (config.betas[0], config.betas[1])
    return kind(
        [group for group in groups if group["params"]],
        lr=config.lr, betas=betas, eps=config.eps, amsgrad=config.amsgrad, fused=fused,
    )  # fmt: skip


class TrainingModule(pl.LightningModule):
    """Joint training of energies, forces and stress, or of a head.

    Args:
        model: A `Potential` or `HeadModel` with the dtype that it is trained in.
        loss: What to minimise.
        optimizer: See `OptimizerConfig`.
        schedule: Factor on the learning rate by step.
        ema: Decay of the averaged weights, or None.
        clip: Largest norm of the gradient, or None.
        seed: At the start of each epoch torch's random state is set from seed, epoch and rank; so a resume file
            needs no random state.
        score_kind: See `Metrics.score`.
        max_seconds: Wall time of the whole training, over resumes; None for no limit.
        follow_time: The schedule ends with the wall time where that comes before the last epoch.

    Attributes:
        epoch: Epochs completed, over resumes.
        step: Optimiser steps done, over resumes.
        loader: The `BatchLoader`, told before each epoch which one it is.
        valid: Metrics of the latest validation.

    Properties:
        resumes_bitwise: training on from ``load_resume_state(resume_state())`` gives the weights that training
            without interruption gives.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: PotentialLoss | HeadLoss,
        optimizer: OptimizerConfig,
        schedule: Schedule,
        *,
        ema: float | None = None,
        clip: float | None = None,
        seed: int = 0,
        score_kind: str = "mse",
        max_seconds: float | None = None,
        follow_time: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.loss, self.schedule = model, loss, schedule
        self.optimizer_config, self.clip, self.seed, self.score_kind = optimizer, clip, seed, score_kind
        self.max_seconds, self.follow_time = max_seconds, follow_time
        self.average = WeightAverage(model, ema)
        self.epoch, self.step = 0, 0
        self.seconds_before = 0.0
        self._started: float | None = None  # the clock runs while the trainer does
        self.loader: Any = None
        self.valid: Metrics | None = None
        self.score = math.inf
        self.learning_rate = optimizer.lr
        self._swap = contextlib.ExitStack()
        self._sums: dict[str, Tensor] = {}
        self._structures = 0
        self._resume: dict[str, Any] | None = None

    @property
    def seconds(self) -> float:
        """Wall time of the training so far, over resumes."""
        running = 0.0 if self._started is None else time.monotonic() - self._started
        return self.seconds_before + running

    @property
    def time_is_up(self) -> bool:
        """Whether ``max_seconds`` have passed."""
        return self.max_seconds is not None and self.seconds >= self.max_seconds

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimiser, with its state where a run is resumed."""
        optimizer = make_optimizer(self.model, self.optimizer_config)
        self.average.to(next(iter(self.model.parameters())).device)
        if self._resume is not None:
            optimizer.load_state_dict(self._resume)
        return optimizer

    def transfer_batch_to_device(self, batch: Graph, device: torch.device, dataloader_idx: int) -> Graph:
        """Move a batch; on the CPU it is there already."""
        return batch if batch.positions.device == device else batch.to(device)

    def on_fit_start(self) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_train_epoch_start(self) -> None:
        """Set the random state and forget the last epoch's averages."""
        state = np.random.SeedSequence([self.seed, self.epoch, self.global_rank]).generate_state(1)[0]
        torch.manual_seed(int(state))
        if self.loader is not None:
            self.loader.epoch = self.epoch
        self._sums, self._structures = {}, 0
        self.valid = None

    def on_train_batch_start(self, batch: Graph, batch_idx: int) -> None:
        """Set the learning rate."""
        share = 0.0
        if self.follow_time and self.max_seconds is not None:
            share = self.seconds / self.max_seconds
        self.learning_rate = self.optimizer_config.lr * self.schedule.at(self.step, share)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.learning_rate

    def training_step(self, batch: Graph, batch_idx: int) -> Tensor:
        """Return the loss of a batch.

        Raises:
            DivergenceError: It is not finite.
        """
        terms = self.loss(self.loss.outputs(self.model, batch), batch)
        if not bool(torch.isfinite(terms["loss"])):
            shown = ", ".join(f"{name} {term.item():g}" for name, term in terms.items() if name != "loss")
            raise self._diverged(f"The loss became {terms['loss'].item()} ({shown})")
        self._structures += batch.num_graphs
        for name, term in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + term.detach() * batch.num_graphs
        return terms["loss"]

    def _diverged(self, what: str) -> DivergenceError:
        return DivergenceError(
            f"{what} in epoch {self.epoch + 1}, step {self.step + 1}, at learning rate {self.learning_rate:g}. "
            "The best and last checkpoints of the epochs before are kept. Lower optimizer.lr, add "
            "schedule.warmup_steps, lower clip, or look at the data for wrong units (equitools data info)."
        )

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip the norm of the gradient; a gradient that is not finite stops the training."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        limit = math.inf if self.clip is None else self.clip
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True) if parameters else torch.zeros(())
        if not bool(torch.isfinite(norm)):
            raise self._diverged(f"The norm of the gradient became {float(norm)}")

    def on_train_batch_end(self, outputs: Any, batch: Graph, batch_idx: int) -> None:
        """Follow the new weights with the average."""
        self.average.update()
        self.step += 1

    def train_means(self) -> dict[str, float]:
        """Return the epoch's mean of the loss and of its terms (of this process)."""
        return {name: float(total) / max(1, self._structures) for name, total in self._sums.items()}

    def on_validation_epoch_start(self) -> None:
        """Put the averaged weights in place."""
        self._swap.enter_context(self.average.applied())
        self.valid = Metrics(self.loss.names, class_numbers(self.model))

    def validation_step(self, batch: Graph, batch_idx: int) -> None:
        """Take in a batch."""
        if self.valid is not None:
            self.valid.update(predict(self.model, batch, self.loss.names), batch)

    def on_validation_epoch_end(self) -> None:
        """Put the own weights back and compute the score.

        Raises:
            DivergenceError: The score is not finite.
        """
        self._swap.close()
        if self.valid is None:
            return
        self.valid.reduce()
        self.score = self.valid.score(self.weights(), self.score_kind)
        if not math.isfinite(self.score):
            raise self._diverged(f"The validation score became {self.score}")
        self.schedule.validated(self.score)

    def weights(self) -> dict[str, float]:
        """Return the weight of each label in the loss."""
        return self.loss.weights if isinstance(self.loss, PotentialLoss) else {self.loss.name: self.loss.weight}

    def resume_state(self) -> dict[str, Any]:
        """Return what the next epoch depends on, as plain containers of tensors and numbers."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "model": {name: value.detach().clone() for name, value in self.model.state_dict().items()},
            "average": self.average.state_dict(),
            "optimizer": self.trainer.optimizers[0].state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load_resume_state(self, state: dict[str, Any]) -> None:
        """Take over a state, before the trainer starts."""
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
        self.seconds_before = float(state["seconds"])
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.schedule.load_state_dict(state["schedule"])
        self._resume = state["optimizer"]

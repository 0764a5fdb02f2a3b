"""Looking for a symmetry in data: a GAN whose generator moves pairs (x, y) by elements of a group that it learns.

Where the moved pairs cannot be told from the real ones, the distribution of the pairs has that symmetry; and if y is a
function of x, the function is equivariant. Any network that takes (x, y) can be the discriminator.

Source: J. Yang, R. Walters, N. Dehmamy, R. Yu, Generative Adversarial Symmetry Discovery, ICML 2023, arXiv 2302.00236.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_similarity
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from equitools.errors import ConfigError, ShapeError
from equitools.training.lie_generator import LieGenerator, PairDiscriminator
from equitools.training.module import DivergenceError

__all__ = ["FoundSymmetry", "LieGAN", "Verdict", "find_symmetry", "judge_symmetry", "mean_cosine"]


class FoundSymmetry(NamedTuple):
    """What a search found.

    Attributes:
        algebra: ``[c, d, d]`` float64; scale and sign of each matrix mean nothing.
        discriminator_loss: Mean of the last epoch. ln 2 ≈ 0.69 is that of guessing: the moved pairs cannot be told from
            the real ones. Well below, the data do *not* have the symmetry (or the training is not over).
        displacement: Mean distance from x to g x, relative to the norm of x, in the last epoch. Near 0, the identity
            was found, which is in every group: no symmetry.
        history: For each epoch: ``discriminator_loss``, ``generator_loss``, ``penalty``, ``overlap``, ``displacement``
            and ``algebra``.
    """

    algebra: Tensor
    discriminator_loss: float
    displacement: float
    history: list[dict[str, Any]]


def mean_cosine(moved: Tensor, x: Tensor) -> Tensor:
    """Return the absolute mean cosine between vectors and what they are moved to: 1 if nothing moves.

    It is the published penalty that keeps the generator from the identity. The mean is taken before the absolute value,
    so that a symmetric spread of angles is free.
    """
    return cosine_similarity(moved, x, dim=-1).mean().abs()


class LieGAN(pl.LightningModule):
    """The two-player game, as a lightning module: batches are pairs (x, y).

    Each step first betters the generator, with the discriminator as it is, and then the discriminator, on the same
    moved pairs.

    Args:
        generator: See `LieGenerator`.
        discriminator: A network that takes (x, y) and returns one logit for each pair, ``[B]`` or ``[B, 1]``.
        generator_rate: Learning rate of Adam for L.
        discriminator_rate: That for the discriminator.
        betas: Of the generator's Adam.
        identity_weight: λ: weight of ``penalty``.
        overlap_weight: η: weight of `LieGenerator.overlap`, which keeps channels apart.
        norm_weight: Weight of the ℓp norm of L; 0 for none.
        norm: p.
        penalty: Large where (g x, x) are alike; `mean_cosine` as published.
        progress: Called after each epoch with its entry of the history.

    Attributes:
        history: See `FoundSymmetry`.

    Raises:
        ConfigError: A negative weight, or a rate that is not positive.

    Properties:
        one_player_a_step: the generator's step leaves the discriminator alone, and the other way round.
    """

    def __init__(
        self,
        generator: LieGenerator,
        discriminator: nn.Module,
        *,
        generator_rate: float = 1e-3,
        discriminator_rate: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        identity_weight: float = 1.0,
        overlap_weight: float = 1.0,
        norm_weight: float = 0.0,
        norm: float = 2.0,
        penalty: Callable[[Tensor, Tensor], Tensor] = mean_cosine,
        progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        super().__init__()
        if min(generator_rate, discriminator_rate) <= 0 or min(identity_weight, overlap_weight, norm_weight) < 0:
            raise ConfigError(
                f"Learning rates must be positive, not {generator_rate} and {discriminator_rate}; weights must not be "
                f"negative, given {identity_weight}, {overlap_weight} and {norm_weight}."
            )
        self.automatic_optimization = False
        self.generator, self.discriminator = generator, discriminator
        self.rates, self.betas = (generator_rate, discriminator_rate), betas
        self.identity_weight, self.overlap_weight = identity_weight, overlap_weight
        self.norm_weight, self.norm = norm_weight, norm
        self.penalty, self.progress = penalty, progress
        self.history: list[dict[str, Any]] = []
        self._sums: dict[str, Tensor] = {}
        self._batches = 0

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Make both optimisers."""
        first = torch.optim.Adam(self.generator.parameters(), lr=self.rates[0], betas=self.betas)
        return [first, torch.optim.Adam(self.discriminator.parameters(), lr=self.rates[1])]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Let both players move."""
        x, y = batch
        first, second = self.optimizers()  # type: ignore[attr-defined]
        moved = self.generator(x, y)
        self.discriminator.requires_grad_(False)
        verdict = self._logits(*moved)
        terms = {
            "generator_loss": binary_cross_entropy_with_logits(verdict, torch.ones_like(verdict)),
            "penalty": self.penalty(moved[0], x),
            "overlap": self.generator.overlap(),
        }
        loss = terms["generator_loss"] + self.identity_weight * terms["penalty"]
        loss = loss + self.overlap_weight * terms["overlap"]
        if self.norm_weight:
            loss = loss + self.norm_weight * torch.linalg.vector_norm(self.generator.algebra, self.norm)
        first.zero_grad()
        self.manual_backward(loss)
        first.step()
        self.discriminator.requires_grad_(True)
        both = self._logits(x, y), self._logits(*(part.detach() for part in moved))
        second_loss = (
            binary_cross_entropy_with_logits(both[0], torch.ones_like(both[0]))
            + binary_cross_entropy_with_logits(both[1], torch.zeros_like(both[1]))
        ) / 2
        second.zero_grad()
        self.manual_backward(second_loss)
        second.step()
        way = (moved[0].detach() - x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
        for name, value in {**terms, "discriminator_loss": second_loss, "displacement": way.mean()}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()
        self._batches += 1

    def on_train_epoch_end(self) -> None:
        """Write down the means of the epoch.

        Raises:
            DivergenceError: They, or L, are not finite.
        """
        means = {name: float(total) / self._batches for name, total in self._sums.items()}
        algebra = self.generator.algebra.detach().double().cpu().clone()
        self._sums, self._batches = {}, 0
        if not all(map(math.isfinite, means.values())) or not bool(algebra.isfinite().all()):
            raise DivergenceError(
                f"The search for a symmetry diverged in epoch {len(self.history) + 1}: {means}. Lower generator_rate "
                "or the generator's scale (exp(z L) grows with both), or divide the data by their standard deviation."
            )
        self.history.append({**means, "algebra": algebra})
        if self.progress is not None:
            self.progress(self.history[-1])

    def _logits(self, x: Tensor, y: Tensor) -> Tensor:
        found = self.discriminator(x, y)
        if found.numel() != len(x):
            raise ShapeError(f"A discriminator returns one logit a pair, [{len(x)}], not {list(found.shape)}.")
        return found.reshape(-1)


def find_symmetry(
    x: Tensor,
    y: Tensor,
    generator: LieGenerator,
    discriminator: nn.Module | None = None,
    *,
    epochs: int = 20,
    batch: int = 64,
    seed: int = 0,
    progress: Callable[[dict[str, Any]], None] | None = None,
    trainer: dict[str, Any] | None = None,
    **options: Any,
) -> FoundSymmetry:
    """Look for a linear symmetry of pairs.

    Args:
        x: Inputs ``[N, …]``.
        y: Targets ``[N, …]``.
        generator: What group it may be, and how it acts; it is trained in place.
        discriminator: Any network that takes (x, y) and returns a logit for each pair. ``None``: `PairDiscriminator`.
        epochs: Passes over the pairs.
        batch: Pairs of a step.
        seed: Of z, of the order of the pairs and, where none is given, of the discriminator. Torch's own random state
            is afterwards what it was before.
        progress: Called after each epoch with its entry of the history.
        trainer: More arguments of lightning's ``Trainer``.
        options: Of `LieGAN`.

    Returns:
        `FoundSymmetry`. Something is always found: look at its ``discriminator_loss`` and ``displacement``, and let
        `judge_symmetry` judge.

    Raises:
        ShapeError: x and y have not the same number of pairs, at least two, or are not floating-point.
        ConfigError: No epochs or pairs in a batch.
        DivergenceError: The training diverged.

    Example:
        >>> x = torch.randn(64, 2)
        >>> find_symmetry(x, x.norm(dim=1), LieGenerator(2, y="scalar"), epochs=1).algebra.shape
        torch.Size([1, 2, 2])
    """
    if len(x) != len(y) or len(x) < 2 or not x.is_floating_point():
        raise ShapeError(
            f"At least two pairs of floating-point inputs and as many targets are needed, given {list(x.shape)} "
            f"{x.dtype} and {list(y.shape)}."
        )
    if x.dtype != generator.weight.dtype:
        raise ShapeError(
            f"x is {x.dtype} and the generator {generator.weight.dtype}: convert one of them, x.float() or "
            "generator.double()."
        )
    if min(epochs, batch) < 1:
        raise ConfigError(f"epochs and batch must be at least 1, not {epochs} and {batch}.")
    with torch.random.fork_rng(), _quiet():
        torch.manual_seed(seed)
        if discriminator is None:
            discriminator = PairDiscriminator(x[0].numel() + y[0].numel()).to(generator.weight.dtype)
        game = LieGAN(generator, discriminator, progress=progress, **options)
        pairs = TensorDataset(x, y)
        order = RandomSampler(pairs, generator=torch.Generator().manual_seed(seed))
        loader = DataLoader(pairs, batch_size=None, sampler=BatchSampler(order, batch, drop_last=False))
        settings: dict[str, Any] = {
            "accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False,
            "enable_progress_bar": False, "enable_model_summary": False, **(trainer or {}),
        }  # fmt: skip
        pl.Trainer(max_epochs=epochs, **settings).fit(game, loader)
    last = game.history[-1]
    return FoundSymmetry(last["algebra"], last["discriminator_loss"], last["displacement"], game.history)


class Verdict(NamedTuple):
    """How well a fresh network tells moved pairs from real ones, on pairs that it was not trained on.

    Attributes:
        accuracy: Share of right answers; ½ is guessing.
        standard_error: Of the accuracy.
        displacement: Mean distance from x to g x, relative to the norm of x. Near 0 nothing was tested.
    """

    accuracy: float
    standard_error: float
    displacement: float


def judge_symmetry(
    x: Tensor,
    y: Tensor,
    generator: LieGenerator,
    discriminator: nn.Module | None = None,
    *,
    epochs: int = 10,
    batch: int = 64,
    rate: float = 1e-3,
    seed: int = 0,
) -> Verdict:
    """Judge a symmetry by a two-sample test: train a fresh discriminator on half of the pairs, test it on the others.

    The discriminator of the search is no good judge: it follows a moving target, and has seen all pairs. Each pair is
    moved by an element of its own; real and moved pairs of the test come from different pairs of the data.

    Args:
        x: Inputs ``[N, …]``; whether neighbouring pairs are of one trajectory matters: the first half trains.
        y: Targets ``[N, …]``.
        generator: Draws and applies the elements; it is not changed.
        discriminator: As of `find_symmetry`; it is trained in place.
        epochs: Passes over the first half.
        batch: Pairs of a step.
        rate: Of Adam.
        seed: Of all that is random here; torch's own random state is kept.

    Returns:
        `Verdict`.

    Raises:
        ShapeError: Fewer than four pairs, or targets of another number.

    Properties:
        guesses_at_symmetric_data: the accuracy is ½ within its error where the distribution has the symmetry.

    Source: D. Lopez-Paz, M. Oquab, Revisiting Classifier Two-Sample Tests, ICLR 2017, arXiv 1610.06545.
    """
    if len(x) != len(y) or len(x) < 4:
        raise ShapeError(f"At least four pairs are needed, given {list(x.shape)} and {list(y.shape)}.")
    half = len(x) // 2
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if discriminator is None:
            discriminator = PairDiscriminator(x[0].numel() + y[0].numel()).to(generator.weight.dtype)
        optimizer = torch.optim.Adam(discriminator.parameters(), lr=rate)
        for _ in range(epochs):
            for index in torch.randperm(half).split(batch):
                with torch.no_grad():
                    moved = generator(x[index], y[index])
                real, fake = discriminator(x[index], y[index]), discriminator(*moved)
                loss = binary_cross_entropy_with_logits(real, torch.ones_like(real))
                loss = loss + binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            order = half + torch.randperm(len(x) - half)
            first, second = order.tensor_split(2)
            moved = generator(x[second], y[second])
            right = [discriminator(x[first], y[first]).reshape(-1) > 0, discriminator(*moved).reshape(-1) < 0]
            way = (moved[0] - x[second]).flatten(1).norm(dim=1) / x[second].flatten(1).norm(dim=1)
    rates = [float(part.double().mean()) for part in right]
    variance = sum(rate * (1 - rate) / max(1, len(part)) for rate, part in zip(rates, right, strict=True)) / 4
    return Verdict(sum(rates) / 2, math.sqrt(variance), float(way.mean()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep lightning's remarks on loaders and devices away."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        logger.setLevel(level)

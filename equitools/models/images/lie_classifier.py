"""Classifiers of images: a residual network over ℝⁿ⋊H, and the same network with ordinary convolutions."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, UnknownNameError, nearest
from equitools.groups import MatrixGroup
from equitools.nn import GroupSamples, PolarSampler, group_pool
from equitools.nn.lie_conv import PADDINGS, LieFibreConv, LieGroupConv, LieLiftingConv
from equitools.ops.precision import full_precision

__all__ = ["ConvClassifier", "LieClassifier", "matched_cnn", "num_parameters"]

_POOLS = ("max", "mean")
_ALONG = ("none", "conv")
_EVALUATIONS = ("quadrature", "random")
_REDUCE: dict[tuple[str, int], Callable[..., Tensor]] = {
    ("max", 2): torch.nn.functional.max_pool2d,
    ("max", 3): torch.nn.functional.max_pool3d,
    ("mean", 2): torch.nn.functional.avg_pool2d,
    ("mean", 3): torch.nn.functional.avg_pool3d,
}


def _check(numbers: dict[str, int], dropout: float, pool: str, pooling: str) -> None:
    for name, number in numbers.items():
        least = 0 if name in {"blocks", "pools"} else 1
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise ConfigError(f"{name} must be an integer ≥ {least}, it is {number!r}.")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be in [0, 1), it is {dropout!r}.")
    if pool not in _POOLS:
        raise UnknownNameError(f"There is no pooling {pool!r}. {nearest(pool, _POOLS)}")
    if pooling not in _POOLS:
        raise UnknownNameError(f"There is no pooling {pooling!r}. {nearest(pooling, _POOLS)}")


def _head(width: int, hidden: int, classes: int, dropout: float) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Linear(width, hidden), torch.nn.ReLU(), torch.nn.Dropout(dropout), torch.nn.Linear(hidden, classes)
    )


def _extra(padding: int, eval_padding: int | None) -> int:
    if eval_padding is not None and eval_padding < padding:
        raise ConfigError(f"eval_padding={eval_padding} is less than stem_padding={padding}.")
    return 0 if eval_padding is None else eval_padding - padding


def _on_drawn_lattice(images: Tensor, period: int, axes: int) -> Tensor:
    sides: list[int] = []
    for before in torch.randint(period, (axes,)).tolist():
        sides += [before, period - 1 - before]
    return torch.nn.functional.pad(images, sides)


def _over_lattices(features: Callable[[Tensor], Tensor], images: Tensor, period: int, axes: int, pool: str) -> Tensor:
    """Pool features over the lattices of positions that begin at each of the first pixels."""
    found = []
    for starts in itertools.product(range(period), repeat=axes):
        sides = [side for start in starts for side in (start, period - start)]  # all of one size
        found.append(features(torch.nn.functional.pad(images, sides)))
    return torch.stack(found).amax(0) if pool == "max" else torch.stack(found).mean(0)


class LieClassifier(torch.nn.Module):
    """A residual network over ℝⁿ⋊H: lifting, blocks of group convolutions, pooling over H and positions, a head.

    In training, elements of H are drawn anew at every forward pass. In evaluation they are a fixed quadrature, or drawn
    too. All layers share them.

    Args:
        classes: Number of outputs.
        group: H, as of `equitools.nn.PolarChart`.
        in_channels: Of the images.
        width: Channels of the features.
        blocks: Residual blocks, x + relu(norm(conv(x))).
        pools: How many times positions are pooled by 2: behind the lifting, then behind the first blocks.
        pooling: ``"mean"`` or ``"max"``; a maximum over 2 × 2 pixels is not the same for a digit that is turned.
        stem_kernel: Window of the lifting convolution, in pixels.
        stem_stride: Its stride.
        stem_padding: Empty pixels around the image; with few of them, what is near its border is seen badly.
        eval_padding: As many in evaluation, where digits may lie at the border; by default as in training. Pixels that
            are empty anyway cost time only.
        drawn_lattice: In training, draw where the lattice of positions lies that strides and poolings leave: put 0 to
            period − 1 more empty pixels before the image, and the rest of them behind it. Positions are elements of the
            group too, and without this a network trained on centred images knows one place of the lattice only.
        all_lattices: In evaluation, pool over the features of all places of that lattice, at period^n times the cost.
        stem_radius: Its radius, as of `equitools.nn.LieLiftingConv`.
        kernel: Window of the group convolutions.
        radius: Their radius.
        samples: Elements of H at a forward pass of training.
        eval_samples: And of evaluation.
        spread: Of the sampler, `equitools.nn.PolarSampler`.
        angle: Of the sampler.
        estimator: Of the sampler.
        evaluation: ``"quadrature"``: the same elements each time; ``"random"``: drawn.
        pool: ``"max"`` or ``"mean"``, over positions and samples (with the samples' weights).
        along: ``"none"``: `equitools.nn.LieFibreConv`, elements of H meet in the pooling only; ``"conv"``:
            `equitools.nn.LieGroupConv`, as published, which costs the square of the number of samples.
        kernels: ``"spline"`` or ``"siren"``, of the lifting and of ``along="none"``; the others are of sines.
        mask: Of the kernels.
        slope: Of soft masks.
        hidden: Width of the sine networks.
        omega: Of the sine network of the lifting.
        conv_omega: Of those of the group convolutions.
        group_omega: How fast kernels vary along H.
        head: Width of the hidden layer of the head.
        dropout: In the head.

    Raises:
        ConfigError: A number is out of range.
        UnknownNameError: No such group, pooling, mask, estimator or evaluation.

    Properties:
        turns_of_the_grid_change_nothing: with samples that are closed under them, and images whose size the poolings
            divide, the logits are exactly the same.
        evaluation_is_deterministic: with ``"quadrature"``, the same images have the same logits.
        shifts_change_nothing: with ``all_lattices``, shifting by whole pixels what keeps clear of the border leaves the
            logits as they are.

    Source: M. Mironenco, P. Forré, Lie Group Decompositions for Equivariant Neural Networks (ICLR 2024); smaller, with
        batch normalisation, one set of samples for all layers, and by default without kernels along H.
    """

    def __init__(
        self,
        classes: int = 10,
        group: str | MatrixGroup = "GL+(2)",
        in_channels: int = 1,
        width: int = 16,
        blocks: int = 2,
        pools: int = 1,
        pooling: str = "mean",
        stem_kernel: int = 7,
        stem_stride: int = 1,
        stem_padding: int = 3,
        eval_padding: int | None = None,
        drawn_lattice: bool = False,
        all_lattices: bool = False,
        stem_radius: float | None = 2.8,
        kernel: int = 5,
        radius: float | None = 2.0,
        samples: int = 6,
        eval_samples: int = 24,
        spread: float = 0.15,
        angle: float = math.pi,
        estimator: str = "log_normal",
        evaluation: str = "quadrature",
        pool: str = "max",
        along: str = "none",
        kernels: str = "spline",
        mask: str = "soft",
        slope: float = 8.0,
        hidden: int = 32,
        omega: float = 6.0,
        conv_omega: float = 4.0,
        group_omega: float | None = 1.0,
        head: int = 32,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        numbers = {"classes": classes, "blocks": blocks, "pools": pools, "head": head}
        _check(numbers | {"samples": samples, "eval_samples": eval_samples}, dropout, pool, pooling)
        if evaluation not in _EVALUATIONS:
            raise UnknownNameError(f"There is no evaluation {evaluation!r}. {nearest(evaluation, _EVALUATIONS)}")
        self.sampler = PolarSampler(group, spread, angle, estimator)
        chart = self.sampler.chart
        self.samples, self.eval_samples, self.evaluation = samples, eval_samples, evaluation
        self.pool, self.pools, self.pooling = pool, pools, pooling
        self.extra = _extra(stem_padding, eval_padding)
        self.drawn_lattice, self.all_lattices = drawn_lattice, all_lattices
        self.period = stem_stride * 2 ** min(pools, blocks + 1)
        norm: Callable[[int], torch.nn.Module] = torch.nn.BatchNorm2d  # of channels; all else is made one plane
        shared: dict[str, Any] = {"bias": False, "mask": mask, "slope": slope, "layers": 2}
        self.stem = LieLiftingConv(
            chart, in_channels, width, stem_kernel, stem_radius, stem_padding,
            hidden=hidden, omega=omega, stride=stem_stride, kernel=kernels, **shared,
        )  # fmt: skip
        self.stem_norm = norm(width)
        shared |= {"padding_mode": "replicate", "hidden": hidden, "omega": conv_omega}
        if along == "none":
            shared["kernel"] = kernels
        elif along == "conv":
            shared["group_omega"] = group_omega
        else:
            raise UnknownNameError(f"There is no mixing {along!r} along H. {nearest(along, _ALONG)}")
        layer = LieFibreConv if along == "none" else LieGroupConv
        self.convs = torch.nn.ModuleList(
            layer(chart, width, width, kernel, radius, kernel // 2, **shared) for _ in range(blocks)
        )
        self.norms = torch.nn.ModuleList(norm(width) for _ in range(blocks))
        self.head = _head(width, head, classes, dropout)

    def draw(self, generator: torch.Generator | None = None) -> GroupSamples:
        """Return the elements of H for a forward pass: of training or of evaluation, whatever the mode is."""
        weight = self.stem.kernel.last.weight
        if self.training:
            found = self.sampler.draw(self.samples, generator, weight.dtype)
        elif self.evaluation == "random":
            found = self.sampler.draw(self.eval_samples, generator, weight.dtype)
        else:
            found = self.sampler.quadrature(self.eval_samples, weight.dtype)
        return GroupSamples(*(part.to(weight.device) for part in found))

    @full_precision
    def forward(self, images: Tensor, samples: GroupSamples | None = None) -> Tensor:
        """Return the logits.

        Args:
            images: ``[B, in_channels, *spatial]``.
            samples: Elements of H to use; by default `draw`.

        Returns:
            ``[B, classes]``.

        Raises:
            ShapeError: The input does not fit.
        """
        samples = self.draw() if samples is None else samples
        if self.training and self.drawn_lattice:
            images = _on_drawn_lattice(images, self.period, self.sampler.chart.n)
        elif not self.training and self.extra:
            images = torch.nn.functional.pad(images, (self.extra,) * 2 * self.sampler.chart.n)
        if self.all_lattices and self.period > 1 and not self.training:
            features = functools.partial(self._features, samples=samples)
            return self.head(_over_lattices(features, images, self.period, self.sampler.chart.n, self.pool))
        return self.head(self._features(images, samples))

    def _features(self, images: Tensor, samples: GroupSamples) -> Tensor:
        x = self._plane(self.stem_norm, self.stem(images, samples)).relu()
        x = self._pooled(x, 0)
        for k, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = self._pooled(x + self._plane(norm, conv(x, samples)).relu(), k + 1)
        return group_pool(x, self.pool, samples.weights if self.pool == "mean" else None)

    def _plane(self, norm: torch.nn.Module, x: Tensor) -> Tensor:
        return norm(x.flatten(3)).view_as(x)

    def _pooled(self, x: Tensor, stage: int) -> Tensor:
        if stage >= self.pools:
            return x
        if min(x.shape[3:]) < 2:
            raise ShapeError(f"There is nothing left to pool: features are {list(x.shape[3:])}. Use fewer pools.")
        return _REDUCE[self.pooling, self.sampler.chart.n](x.flatten(1, 2), 2).unflatten(1, x.shape[1:3])


class ConvClassifier(torch.nn.Module):
    """The same network in the plane with ordinary convolutions: what `LieClassifier` is to be compared with.

    Args:
        classes: Number of outputs.
        in_channels: Of the images.
        width: Channels of the features.
        blocks: Residual blocks.
        pools: As of `LieClassifier`.
        pooling: As of `LieClassifier`.
        stem_kernel: Window of the first convolution.
        stem_stride: Its stride.
        stem_padding: Empty pixels around the image; with few of them, what is near its border is seen badly.
        eval_padding: As of `LieClassifier`.
        drawn_lattice: As of `LieClassifier`. There it is a sample of the group; here it is an augmentation.
        all_lattices: As of `LieClassifier`.
        kernel: Window of the others.
        padding_mode: Of the others: ``"replicate"`` as in `LieClassifier`, or ``"zeros"``, which is more usual.
        pool: ``"max"`` or ``"mean"``, over positions.
        head: Width of the hidden layer of the head.
        dropout: In the head.

    Raises:
        ConfigError: A number is out of range.
        UnknownNameError: No such pooling.
    """

    def __init__(
        self,
        classes: int = 10,
        in_channels: int = 1,
        width: int = 16,
        blocks: int = 2,
        pools: int = 1,
        pooling: str = "mean",
        stem_kernel: int = 7,
        stem_stride: int = 1,
        stem_padding: int = 3,
        eval_padding: int | None = None,
        drawn_lattice: bool = False,
        all_lattices: bool = False,
        kernel: int = 5,
        padding_mode: Literal["replicate", "zeros"] = "replicate",
        pool: str = "max",
        head: int = 32,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        numbers = {"classes": classes, "in_channels": in_channels, "width": width, "blocks": blocks, "pools": pools}
        _check(
            numbers | {"stem_kernel": stem_kernel, "stem_stride": stem_stride, "kernel": kernel, "head": head},
            dropout,
            pool,
            pooling,
        )
        if padding_mode not in PADDINGS:
            raise UnknownNameError(f"There is no padding {padding_mode!r}. {nearest(padding_mode, PADDINGS)}")
        self.pool, self.pools, self.pooling = pool, pools, pooling
        self.extra = _extra(stem_padding, eval_padding)
        self.drawn_lattice, self.all_lattices = drawn_lattice, all_lattices
        self.period = stem_stride * 2 ** min(pools, blocks + 1)
        self.stem = torch.nn.Conv2d(in_channels, width, stem_kernel, stem_stride, stem_padding, bias=False)
        self.stem_norm = torch.nn.BatchNorm2d(width)
        around: dict[str, Any] = {"padding": kernel // 2, "padding_mode": padding_mode, "bias": False}
        self.convs = torch.nn.ModuleList(torch.nn.Conv2d(width, width, kernel, **around) for _ in range(blocks))
        self.norms = torch.nn.ModuleList(torch.nn.BatchNorm2d(width) for _ in range(blocks))
        self.head = _head(width, head, classes, dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``[B, classes]`` of images ``[B, in_channels, H, W]``.

        Raises:
            ShapeError: The input does not fit.
        """
        if images.ndim != 4 or images.shape[1] != self.stem.in_channels:
            raise ShapeError(f"Images [B, {self.stem.in_channels}, H, W] are needed, given {list(images.shape)}.")
        if self.training and self.drawn_lattice:
            images = _on_drawn_lattice(images, self.period, 2)
        elif not self.training and self.extra:
            images = torch.nn.functional.pad(images, (self.extra,) * 4)
        if self.all_lattices and self.period > 1 and not self.training:
            return self.head(_over_lattices(self._features, images, self.period, 2, self.pool))
        return self.head(self._features(images))

    def _features(self, images: Tensor) -> Tensor:
        x = self._pooled(self.stem_norm(self.stem(images)).relu(), 0)
        for k, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = self._pooled(x + norm(conv(x)).relu(), k + 1)
        return x.amax((2, 3)) if self.pool == "max" else x.mean((2, 3))

    def _pooled(self, x: Tensor, stage: int) -> Tensor:
        return _REDUCE[self.pooling, 2](x, 2) if stage < self.pools else x


def num_parameters(module: torch.nn.Module) -> int:
    """Return how many numbers are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def matched_cnn(parameters: int, tolerance: float = 0.02, **config: int | float | str) -> ConvClassifier:
    """Return a `ConvClassifier` with a given number of parameters: width and head are chosen.

    Args:
        parameters: The number wanted.
        tolerance: Largest relative difference.
        config: Of `ConvClassifier`, without ``width``; ``head`` is where the search for the hidden width begins.

    Returns:
        The widest network within the tolerance whose head differs least from the one asked for.

    Raises:
        ConfigError: No network is within the tolerance.

    Properties:
        parameters_are_matched: the number is within the tolerance.
    """
    wanted = int(config.pop("head", 32))
    best: tuple[int, int, int] | None = None
    for width in range(1, 257):
        base = num_parameters(ConvClassifier(width=width, head=1, **config))  # type: ignore[arg-type]
        if base > parameters * (1 + tolerance):
            break
        each = num_parameters(ConvClassifier(width=width, head=2, **config)) - base  # type: ignore[arg-type]
        head = max(1, round((parameters - base) / each) + 1)
        if abs(base + (head - 1) * each - parameters) <= tolerance * parameters:
            found = (abs(head - wanted), -width, head)
            best = found if best is None else min(best, found)
    if best is None:
        raise ConfigError(f"No network with {config} has {parameters} parameters within {100 * tolerance:g} %.")
    return ConvClassifier(width=-best[1], head=best[2], **config)  # type: ignore[arg-type]

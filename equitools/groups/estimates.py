"""Monte-Carlo means over groups with their error bars, and tests of invariance that say how sure they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.names import parse_group

__all__ = ["InvarianceEstimate", "WeightedMean", "invariance_estimate", "weighted_mean"]


class WeightedMean(NamedTuple):
    """An estimate and how sure it is.

    Attributes:
        mean: ``[…]``.
        error: Its standard error ``[…]``. It is itself estimated, and too small where few samples carry most weight.
        effective: (Σw)² / Σw²: for a constant f, so many samples of equal weight would do as well. Where f vanishes for
            most samples it says little: look at ``error``.
    """

    mean: Tensor
    error: Tensor
    effective: float


def weighted_mean(values: Tensor, log_weight: Tensor, normalise: bool = True) -> WeightedMean:
    """Return the mean of values at weighted samples.

    Args:
        values: f(g) at independent samples, ``[S, …]``.
        log_weight: Logarithms of their weights ``[S]``, such as `sample_polar` returns.
        normalise: ``True``: Σ w f / Σ w, the mean of f under the weights' measure; it is biased by O(1/S), and of any
            constant it is that constant. ``False``: (1/S) Σ w f, the unbiased estimate of ∫ f dμ.

    Returns:
        `WeightedMean`; the error of the ratio is that of its linearisation.

    Raises:
        ShapeError: There is not one weight a sample, or there are fewer than two samples.
        ConfigError: All weights are zero, or one is not a number.

    Properties:
        error_bars_are_honest: the estimate deviates from the truth by about its standard error.
    """
    if log_weight.ndim != 1 or values.ndim < 1 or len(values) != len(log_weight) or len(values) < 2:
        raise ShapeError(
            f"Values [S, …] at S ≥ 2 samples and logarithms of their weights [S] are needed, given "
            f"{list(values.shape)} and {list(log_weight.shape)}."
        )
    top = log_weight.max()
    if not bool(top.isfinite()):
        raise ConfigError(f"The largest logarithm of a weight is {float(top)}.")
    count = len(values)
    weight = (log_weight - top).exp()
    effective = float(weight.sum().square() / weight.square().sum())
    spread = weight.reshape(-1, *[1] * (values.ndim - 1))
    if normalise:
        mean = (spread * values).sum(0) / weight.sum()
        residual = (spread * (values - mean)).square().sum(0).sqrt() / weight.sum()
        return WeightedMean(mean, residual * math.sqrt(count / (count - 1)), effective)
    terms = spread * values * top.exp()
    return WeightedMean(terms.mean(0), terms.std(0) / math.sqrt(count), effective)


class InvarianceEstimate(NamedTuple):
    """How far a function is from being invariant (or equivariant).

    Attributes:
        error: Root mean square of f(g x) − g f(x) over elements and batch, over that of f(x).
        standard_error: Of ``error``, from the spread between elements.
        worst: The largest value of the same for one element.
        samples: Number of elements.
    """

    error: float
    standard_error: float
    worst: float
    samples: int

    def exceeds(self, tolerance: float, sigmas: float = 3.0) -> bool:
        """Return whether the error is above a tolerance by more than so many standard errors, or is not finite."""
        return not self.error - sigmas * self.standard_error <= tolerance


def invariance_estimate(
    f: Callable[[Tensor], Tensor],
    group: MatrixGroup | str,
    x: Tensor,
    samples: int = 100,
    *,
    act: Callable[[Tensor, Tensor], Tensor] | None = None,
    act_out: Callable[[Tensor, Tensor], Tensor] | None = None,
    sampler: Callable[[tuple[int, ...], torch.Generator | None], Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> InvarianceEstimate:
    """Test by Monte-Carlo whether f(g x) = f(x), or with ``act_out`` whether f(g x) = g f(x).

    Args:
        f: A function of a batch ``[B, …]``.
        group: Whose elements are drawn.
        x: Inputs ``[B, …]``; points ``[B, N, n]`` where ``act`` is not given.
        samples: Elements, at least two, each applied to the whole batch.
        act: ``(g, x) -> g·x`` for one element ``[size, size]``. ``None``: that of the group on points.
        act_out: The same for outputs. ``None``: they are invariant.
        sampler: ``(shape, generator) -> elements``. ``None``: the group's own ``sample``, which is the Haar measure for
            compact groups and a stated distribution for others; the result then is one for that distribution.
        generator: Source of randomness.

    Returns:
        `InvarianceEstimate`.

    Raises:
        ConfigError: Fewer than two samples.
        ShapeError: f changes the shape of its output.

    Properties:
        zero_for_invariants: of an invariant function it is zero up to rounding.
        error_bars_are_honest: estimates of other samples differ by about the standard error.

    Example:
        >>> x = torch.randn(4, 5, 3)
        >>> invariance_estimate(lambda x: x.norm(dim=-1), "O(3)", x).error < 1e-6
        True
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 2:
        raise ConfigError(f"A standard error needs at least 2 samples, not {samples!r}.")
    found = parse_group(group)
    moved, moved_out = act or found.act, act_out
    with torch.no_grad():
        elements = found.sample((samples,), generator) if sampler is None else sampler((samples,), generator)
        elements = elements.to(x)
        wanted = f(x)
        size = float(wanted.double().square().mean())
        squares = []
        for g in elements:
            there = f(moved(g, x))
            target = wanted if moved_out is None else moved_out(g, wanted)
            if there.shape != target.shape:
                raise ShapeError(f"f returned {list(there.shape)} and {list(target.shape)} for inputs of one shape.")
            squares.append(float((there - target).double().square().mean()))
    ratios = torch.tensor(squares, dtype=torch.float64) / (size if size > 0 else 1.0)
    error = float(ratios.mean().sqrt())
    spread = float(ratios.std()) / math.sqrt(samples)
    return InvarianceEstimate(error, spread / (2 * error) if error > 0 else 0.0, float(ratios.max().sqrt()), samples)

"""Kernels of convolutions as sums of B-splines: functions of coordinates that are linear in what is learned."""

from __future__ import annotations

import math
from functools import reduce

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError

__all__ = ["SplineKernel"]


class SplineKernel(torch.nn.Module):
    """A sum of products of quadratic B-splines on a grid of knots in the cube [−1, 1]ⁿ.

    Args:
        in_features: n, coordinates of a point.
        out_features: Values at a point.
        knots: Along each axis, from −1 to 1; 2 or more.
        fan_in: What the values are weights of: coefficients have the variance 2 / ``fan_in`` at the start.

    Raises:
        ConfigError: A number is out of range.

    Properties:
        partition_of_unity: with all coefficients 1 the value is 1 inside of the cube of the inner knots.
        smoothness: values and first derivatives are continuous, and vanish one and a half knots outside of the cube.
    """

    def __init__(self, in_features: int, out_features: int, knots: int = 7, fan_in: float = 1.0) -> None:
        super().__init__()
        for name, number, least in (
            ("in_features", in_features, 1),
            ("out_features", out_features, 1),
            ("knots", knots, 2),
        ):
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise ConfigError(f"{name} must be an integer ≥ {least}, it is {number!r}.")
        if not 0 < fan_in < math.inf:
            raise ConfigError(f"fan_in must be positive and finite, it is {fan_in!r}.")
        self.in_features, self.out_features, self.knots = in_features, out_features, knots
        self.last = torch.nn.Linear(knots**in_features, out_features, bias=False)
        torch.nn.init.normal_(self.last.weight, std=math.sqrt(2 / fan_in))

    def forward(self, x: Tensor) -> Tensor:
        """Return the values ``[..., out_features]`` at points ``[..., in_features]``.

        Raises:
            ShapeError: The last axis has the wrong length.
        """
        if x.ndim < 1 or x.shape[-1] != self.in_features:
            raise ShapeError(f"This kernel is of points [..., {self.in_features}], given {list(x.shape)}.")
        at = torch.linspace(-1, 1, self.knots, dtype=x.dtype, device=x.device)
        away = ((x.unsqueeze(-1) - at) * ((self.knots - 1) / 2)).abs()  # [..., n, knots], in distances of knots
        inner, outer = 0.75 - away.square(), 0.5 * (1.5 - away).square()
        values = torch.where(away < 0.5, inner, torch.where(away < 1.5, outer, torch.zeros_like(away)))
        basis = reduce(lambda a, b: (a.unsqueeze(-1) * b.unsqueeze(-2)).flatten(-2), values.unbind(-2))
        return self.last(basis)

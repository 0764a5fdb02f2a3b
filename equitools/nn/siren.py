"""Sine networks: functions of coordinates that are kernels of convolutions."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError

__all__ = ["Siren"]


class Siren(torch.nn.Module):
    """A perceptron with sines between its layers, x ↦ (W sin(ω (… sin(ω₀ (A x + a)) …)) + b) / √fan_in.

    Args:
        in_features: Coordinates of a point.
        out_features: Values at a point.
        hidden: Width of the hidden layers.
        layers: Sines; the first one is of the coordinates, one linear layer follows the last one.
        omega: ω₀, the scale of the first layer's frequencies, for coordinates in about [−1, 1].
        hidden_omega: ω of the further layers, whose weights are 1 / ω as large at the start: the function is the same,
            and the steps of an optimiser that does not know ω are ω times as large. Published is ω₀.
        fan_in: What the values are weights of: so many products are summed up. The values' variance at the start is
            1 / ``fan_in``; by a factor, not by small weights W, so that one learning rate does for all layers.

    Raises:
        ConfigError: A number is not positive.

    Properties:
        frequencies: at the start no sine of the first layer turns faster along a coordinate than by ω₀ / in_features
            radians, and the arguments of further sines have a standard deviation near 1, whatever the depth.
        variance: at the start the values have a variance near 1 / ``fan_in``.

    Source:
        V. Sitzmann, J. N. P. Martel, A. W. Bergman, D. B. Lindell, G. Wetzstein, Implicit neural representations with
        periodic activation functions (NeurIPS 2020), section 3.2 and supplement 1.5; the last layer as in the published
        code of M. Mironenco and P. Forré (ICLR 2024).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden: int = 32,
        layers: int = 2,
        omega: float = 10.0,
        hidden_omega: float = 1.0,
        fan_in: float = 1.0,
    ) -> None:
        super().__init__()
        numbers = {"in_features": in_features, "out_features": out_features, "hidden": hidden, "layers": layers}
        for name, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ConfigError(f"{name} must be an integer ≥ 1, it is {number!r}.")
        for name, value in {"omega": omega, "hidden_omega": hidden_omega, "fan_in": fan_in}.items():
            if not 0 < value < math.inf:
                raise ConfigError(f"{name} must be positive and finite, it is {value!r}.")
        self.in_features, self.out_features = in_features, out_features
        self.omegas = (omega, *(hidden_omega for _ in range(layers - 1)))
        widths = [in_features, *(hidden for _ in range(layers))]
        sines = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
        self.sines = torch.nn.ModuleList(sines)
        self.last = torch.nn.Linear(hidden, out_features)
        self.scale = fan_in**-0.5
        with torch.no_grad():
            for k, linear in enumerate(sines):
                width = linear.in_features
                bound = 1 / width if k == 0 else math.sqrt(6 / width) / hidden_omega
                linear.weight.uniform_(-bound, bound)
                if k:
                    linear.bias.zero_()  # ω times a random one would be as large as the argument itself
            bound = math.sqrt(6 / hidden)
            self.last.weight.uniform_(-bound, bound)
            self.last.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return the values ``[..., out_features]`` at points ``[..., in_features]``.

        Raises:
            ShapeError: The last axis has the wrong length.
        """
        if x.ndim < 1 or x.shape[-1] != self.in_features:
            raise ShapeError(f"This network is of points [..., {self.in_features}], given {list(x.shape)}.")
        for omega, linear in zip(self.omegas, self.sines, strict=True):
            x = torch.sin(omega * linear(x))
        return self.last(x) * self.scale

"""From the node features of any backbone to numbers and vectors: the parts that potentials and heads share."""

from __future__ import annotations

import math
from typing import Any

import torch

from equitools.errors import IrrepsError
from equitools.groups import Irreps

__all__ = ["ScalarReadout", "VectorReadout", "accumulation_dtype", "as_plain", "count", "select"]


def select(features: torch.Tensor, irreps: Irreps, degree: int, parity: int) -> torch.Tensor:
    """Pick the channels of one irrep out of features in ``mul_ir`` order.

    Args:
        features: ``[N, irreps.dim]``.
        irreps: What the columns are.
        degree: l of the wanted irrep.
        parity: 1 (even) or -1 (odd).

    Returns:
        ``[N, C, 2l + 1]``, with the channels of all matching blocks in their order; C is 0 if there are none.
    """
    dim = 2 * degree + 1
    return _columns(features, _pieces(irreps, degree, parity), dim)


def _pieces(irreps: Irreps, degree: int, parity: int) -> tuple[tuple[int, int], ...]:
    """Return where the blocks of one irrep begin and end."""
    return tuple(
        (piece.start, piece.stop)
        for (mul, ir), piece in zip(irreps, irreps.slices(), strict=True)
        if mul and (ir.l, ir.p) == (degree, parity)
    )


def _columns(features: torch.Tensor, pieces: tuple[tuple[int, int], ...], dim: int) -> torch.Tensor:
    """Return the channels ``[N, C, dim]`` of the given blocks; numbers only, so that torch.compile can follow."""
    parts = [features[:, start:stop].unflatten(-1, (-1, dim)) for start, stop in pieces]
    return torch.cat(parts, dim=1) if parts else features.new_zeros((len(features), 0, dim))


def count(irreps: Irreps, degree: int, parity: int) -> int:
    """Return how many channels of one irrep there are."""
    return sum(mul for mul, ir in irreps if (ir.l, ir.p) == (degree, parity))


def _mlp(width_in: int, hidden: int, width_out: int) -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(width_in, hidden), torch.nn.SiLU(), torch.nn.Linear(hidden, width_out))


class ScalarReadout(torch.nn.Module):
    """Invariant numbers of each node: a linear map plus a two-layer perceptron of the ``0e`` features.

    Args:
        irreps_in: Irreps of the node features; they must contain ``0e``.
        hidden: Width of the perceptron.
        num: How many numbers.

    Raises:
        IrrepsError: There is no ``0e`` in ``irreps_in``.

    Properties:
        invariance: the result does not change when the features are transformed.
    """

    def __init__(self, irreps_in: Irreps, hidden: int = 16, num: int = 1) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps_in)
        width = count(self.irreps_in, 0, 1)
        if width == 0:
            raise IrrepsError(
                f"invariant outputs are read from the 0e part of the node features, but '{irreps_in}' has none. "
                "Give the backbone an irreps_out with scalars, such as '16x0e + ...'."
            )
        self._scalars = _pieces(self.irreps_in, 0, 1)
        self.linear = torch.nn.Linear(width, num, bias=False)
        self.mlp = _mlp(width, hidden, num)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map ``[N, irreps_in.dim]`` to ``[N, num]``."""
        scalars = _columns(features, self._scalars, 1).squeeze(-1)
        return self.linear(scalars) + self.mlp(scalars)


class VectorReadout(torch.nn.Module):
    """A polar vector of each node: a weighted sum of the ``1o`` features, the weights depending on the scalars.

    Args:
        irreps_in: Irreps of the node features; they must contain ``1o``.
        hidden: Width of the perceptron that gives the weights.

    Raises:
        IrrepsError: There is no ``1o`` in ``irreps_in``.

    Properties:
        equivariance: the result rotates and reflects as a polar vector.
    """

    def __init__(self, irreps_in: Irreps, hidden: int = 16) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps_in)
        channels = count(self.irreps_in, 1, -1)
        if channels == 0:
            raise IrrepsError(
                f"vectors are read from the 1o part of the node features, but '{irreps_in}' has none. "
                "Give the backbone an irreps_out with vectors, such as '... + 8x1o'."
            )
        scalars = count(self.irreps_in, 0, 1)
        self.weight = torch.nn.Parameter(torch.randn(channels) / channels**0.5)
        self.mlp = _mlp(scalars, hidden, channels) if scalars else None

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map ``[N, irreps_in.dim]`` to ``[N, 3]``."""
        vectors = select(features, self.irreps_in, 1, -1)
        weight = self.weight.expand(vectors.shape[:2])
        if self.mlp is not None:
            weight = weight + self.mlp(select(features, self.irreps_in, 0, 1).squeeze(-1))
        return torch.einsum("nc,ncx->nx", weight, vectors)


def accumulation_dtype(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on a device that has no float64 (Apple's MPS)."""
    return torch.float32 if device.type == "mps" else torch.float64


def as_plain(value: Any) -> float:
    """Return a finite Python float, for JSON."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number")
    return number

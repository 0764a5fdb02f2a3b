"""What the networks on point clouds share: the check of their input, pooling, and layers applied to each point."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, UnknownNameError, nearest
from equitools.nn import MaskedBatchNorm
from equitools.ops.tracing import tracing

__all__ = [
    "ACTIVATIONS",
    "NORMS",
    "POOLS",
    "NormActivation",
    "PointHead",
    "PointMLP",
    "check_cloud",
    "check_config",
    "joined",
    "make_activation",
    "pool",
]

#: Kinds of normalisation.
NORMS = ("batch", "layer", "none")
#: Ways of making one row of a set of rows.
POOLS = ("max", "mean", "sum")
#: Functions between layers.
ACTIVATIONS: dict[str, Callable[[], torch.nn.Module]] = {
    "relu": torch.nn.ReLU,
    "leaky_relu": lambda: torch.nn.LeakyReLU(0.2),
    "tanh": torch.nn.Tanh,
    "elu": torch.nn.ELU,
    "silu": torch.nn.SiLU,
}


def make_activation(name: str) -> torch.nn.Module:
    """Return the function between layers of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in ACTIVATIONS:
        raise UnknownNameError(f"There is no activation {name!r}. {nearest(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def check_config(**numbers: int | Sequence[int]) -> None:
    """Refuse widths and counts that are no positive integers.

    Args:
        numbers: Name and value of each; that of ``features`` may be 0.

    Raises:
        ConfigError: One is wrong.
    """
    for name, given in numbers.items():
        for value in given if isinstance(given, Sequence) else (given,):
            least = 0 if name == "features" else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name} must be {least} or more, an integer each; it is {given!r}.")


def check_cloud(
    points: Tensor, features: Tensor | None, mask: Tensor | None, dim: int, channels: int, like: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Check a batch of clouds, and clear what padding holds, so that not even a NaN there is seen.

    Args:
        points: ``[B, N, dim]``.
        features: ``[B, N, channels]``, or ``None`` where ``channels`` is 0.
        mask: ``[B, N]`` bool, ``True`` for a real point; ``None``: all are.
        dim: d of the network.
        channels: Features of each point that the network was built for.
        like: A weight of the network; its dtype and device are wanted.

    Returns:
        ``points`` and ``features`` with zeros at padding.

    Raises:
        ShapeError: A shape, dtype or device is wrong, a cloud has no real point, or a number is not finite.
    """
    if points.ndim != 3 or points.shape[-1] != dim:
        raise ShapeError(f"points must be [B, N, {dim}] for this network, they are {list(points.shape)}.")
    if (features is None) != (channels == 0):
        raise ShapeError(
            f"This network was built for {channels} features of each point; "
            f"{'none were' if features is None else f'features {list(features.shape)} were'} given."
        )
    if features is not None and features.shape != (*points.shape[:2], channels):
        raise ShapeError(f"features must be {[*points.shape[:2], channels]}, they are {list(features.shape)}.")
    for name, tensor in (("points", points), ("features", features)):
        if tensor is not None and (tensor.dtype != like.dtype or tensor.device != like.device):
            raise ShapeError(
                f"{name} are {tensor.dtype} on {tensor.device}, the network's weights {like.dtype} on {like.device}. "
                "Convert one of them."
            )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != points.shape[:2]):
        raise ShapeError(f"mask must be bool {list(points.shape[:2])}, it is {mask.dtype} {list(mask.shape)}.")
    if points.shape[0] and not points.shape[1]:
        raise ShapeError(f"The clouds {list(points.shape)} have no points.")
    if mask is not None:
        if not tracing() and not bool(mask.any(1).all()):
            empty = (~mask.any(1)).nonzero().flatten().tolist()
            raise ShapeError(f"The clouds {empty[:5]} have no real point: their mask is all False. Leave them out.")
        points = points.masked_fill(~mask.unsqueeze(-1), 0)
        features = None if features is None else features.masked_fill(~mask.unsqueeze(-1), 0)
    if not tracing():
        for name, tensor in (("points", points), ("features", features)):
            if tensor is not None and not bool(tensor.isfinite().all()):
                bad = (~tensor.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
                raise ShapeError(f"{name} of the clouds {bad[:5]} are not all finite numbers.")
    return points, features


def joined(points: Tensor, features: Tensor | None) -> Tensor:
    """Return ``[B, N, d + C]``: the coordinates, then the features."""
    return points if features is None else torch.cat([points, features], -1)


def pool(values: Tensor, mask: Tensor | None = None, kind: str = "max") -> Tensor:
    """Make one row of each set.

    Args:
        values: ``[..., N, C]``.
        mask: ``[..., N]`` bool, ``True`` for a real row.
        kind: ``"max"``, ``"mean"`` or ``"sum"``.

    Returns:
        ``[..., C]``; zeros for a set with no real row.

    Raises:
        UnknownNameError: No such kind.

    Properties:
        pool_is_of_the_real_rows: the same as without the padded rows.
    """
    if kind not in POOLS:
        raise UnknownNameError(f"There is no pooling {kind!r}. {nearest(kind, POOLS)}")
    if values.shape[-2] == 0:
        return values.sum(-2)
    if kind == "max":
        if mask is None:
            return values.amax(-2)
        best = values.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(-2)
        return best.masked_fill(~mask.any(-1, keepdim=True), 0)
    if mask is None:
        return values.sum(-2) if kind == "sum" else values.mean(-2)
    total = values.masked_fill(~mask.unsqueeze(-1), 0).sum(-2)
    return total if kind == "sum" else total / mask.sum(-1, keepdim=True).clamp(min=1)


class NormActivation(torch.nn.Module):
    """What follows a linear layer: normalisation, activation, dropout.

    Args:
        width: Channels.
        norm: ``"batch"``, ``"layer"`` or ``"none"``.
        activation: A name in `ACTIVATIONS`.
        dropout: Chance of each entry to be dropped in training.

    Raises:
        UnknownNameError: No such norm or activation.
    """

    def __init__(self, width: int, norm: str = "batch", activation: str = "relu", dropout: float = 0.0) -> None:
        super().__init__()
        if norm not in NORMS:
            raise UnknownNameError(f"There is no norm {norm!r}. {nearest(norm, NORMS)}")
        self.batch = MaskedBatchNorm(width) if norm == "batch" else None
        self.layer = torch.nn.LayerNorm(width) if norm == "layer" else None
        self.activation = make_activation(activation)
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``[..., width]`` to the same shape; mask ``[...]`` says what batch statistics are of."""
        if self.batch is not None:
            x = self.batch(x, mask)
        if self.layer is not None:
            x = self.layer(x)
        return self.dropout(self.activation(x))


class PointMLP(torch.nn.Module):
    """Dense layers applied to each row, each with `NormActivation` behind it.

    Args:
        widths: Of the input, then of each layer.
        norm: ``"batch"``, ``"layer"`` or ``"none"``.
        activation: A name in `ACTIVATIONS`.
        dropout: After each layer.

    Raises:
        UnknownNameError: No such norm or activation.
    """

    def __init__(
        self, widths: Sequence[int], norm: str = "batch", activation: str = "relu", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.linears = torch.nn.ModuleList(
            torch.nn.Linear(a, b, bias=norm != "batch") for a, b in itertools.pairwise(widths)
        )
        self.finishes = torch.nn.ModuleList(NormActivation(width, norm, activation, dropout) for width in widths[1:])

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``[..., widths[0]]`` to ``[..., widths[-1]]``; mask ``[...]`` says what batch statistics are of."""
        for linear, finish in zip(self.linears, self.finishes, strict=True):
            x = finish(linear(x), mask)
        return x


class PointHead(torch.nn.Module):
    """Hidden layers, then a linear one without anything after it.

    Args:
        widths: Of the input, of the hidden layers, of the output.
        norm: As of `PointMLP`.
        activation: As of `PointMLP`.
        dropout: After each hidden layer.
    """

    def __init__(
        self, widths: Sequence[int], norm: str = "batch", activation: str = "relu", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.hidden = PointMLP(widths[:-1], norm, activation, dropout)
        self.out = torch.nn.Linear(widths[-2], widths[-1])

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``[..., widths[0]]`` to ``[..., widths[-1]]``."""
        return self.out(self.hidden(x, mask))

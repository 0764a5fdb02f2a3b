"""Deep Sets, of Zaheer, Kottur, Ravanbakhsh, Póczos, Salakhutdinov and Smola (NeurIPS 2017, arXiv 1703.06114)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from equitools.errors import UnknownNameError, nearest
from equitools.models.points.common import (
    POOLS,
    PointHead,
    PointMLP,
    check_cloud,
    check_config,
    joined,
    make_activation,
    pool,
)
from equitools.ops.precision import full_precision

__all__ = ["DeepSets", "DeepSetsSegmentation", "SetLayer"]


class SetLayer(torch.nn.Module):
    """The permutation-equivariant layer: ``σ(x Λ + pool(x) Γ + b)``, the same two matrices for each point.

    With the sum it is the paper's ``σ(λ I x + γ 11ᵀ x)``, with channels; mean and max are its variants.

    Args:
        width_in: Channels of the input.
        width_out: Of the output.
        kind: ``"sum"``, ``"mean"`` or ``"max"``.
        activation: A name in `equitools.models.points.common.ACTIVATIONS`.

    Raises:
        UnknownNameError: No such kind or activation.

    Properties:
        permutation_equivariance: relabelling the points relabels the output.
        padding_is_nothing: the same as without the padded points.
    """

    def __init__(self, width_in: int, width_out: int, kind: str = "max", activation: str = "tanh") -> None:
        super().__init__()
        check_config(width_in=width_in, width_out=width_out)
        if kind not in POOLS:
            raise UnknownNameError(f"There is no pooling {kind!r}. {nearest(kind, POOLS)}")
        self.kind = kind
        self.own = torch.nn.Linear(width_in, width_out)
        self.set = torch.nn.Linear(width_in, width_out, bias=False)
        self.activation = make_activation(activation)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``[B, N, width_in]`` to ``[B, N, width_out]``; mask ``[B, N]``."""
        return self.activation(self.own(x) + self.set(pool(x, mask, self.kind)).unsqueeze(-2))


class _SetStack(torch.nn.Module):
    """The layers before the pooling."""

    def __init__(
        self, dim: int, features: int, widths: Sequence[int], kind: str, equivariant: bool, activation: str
    ) -> None:
        super().__init__()
        self.dim, self.features, self.kind = dim, features, kind
        sizes = (dim + features, *widths)
        self.layers = torch.nn.ModuleList(
            SetLayer(a, b, kind, activation) if equivariant else PointMLP((a, b), "none", activation)
            for a, b in itertools.pairwise(sizes)
        )

    def forward(self, points: Tensor, features: Tensor | None, mask: Tensor | None) -> Tensor:
        like = next(self.parameters())
        x = joined(*check_cloud(points, features, mask, self.dim, self.features, like))
        for layer in self.layers:
            x = layer(x, mask)
        return x


class DeepSets(torch.nn.Module):
    """Classification of sets: ``ρ(pool φ(x))``.

    The defaults are the network of the paper for ModelNet40: three equivariant layers of 256 channels with the max,
    tanh, the max over the set, dropout of one half, one hidden layer of 256 and dropout again.

    Args:
        classes: Number of outputs.
        dim: d of the points.
        features: Further channels of each point.
        widths: Of the layers before the pooling.
        head: Of the hidden layers behind it.
        kind: ``"sum"``, ``"mean"`` or ``"max"``, in the layers and over the set.
        equivariant: ``False``: each point is seen alone, ρ(Σ φ(x)).
        activation: A name in `equitools.models.points.common.ACTIVATIONS`.
        dropout: Before each layer behind the pooling.

    Raises:
        ConfigError: A width is no positive integer.
        UnknownNameError: No such kind or activation.

    Properties:
        permutation_invariance: relabelling the points does not change the output.
        padding_is_nothing: the same as without the padded points.

    Source: arXiv 1703.06114, section 4.1.3 and its appendix; the authors' code, PointClouds/classifier.py.
    """

    def __init__(
        self,
        classes: int,
        dim: int = 3,
        features: int = 0,
        widths: Sequence[int] = (256, 256, 256),
        head: Sequence[int] = (256,),
        kind: str = "max",
        equivariant: bool = True,
        activation: str = "tanh",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_config(classes=classes, dim=dim, features=features, widths=widths, head=head)
        self.stack = _SetStack(dim, features, widths, kind, equivariant, activation)
        self.dropout = torch.nn.Dropout(dropout)
        self.head = PointHead((widths[-1], *head, classes), "none", activation, dropout)

    @full_precision
    def forward(self, points: Tensor, features: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Return the logits.

        Args:
            points: ``[B, N, dim]``.
            features: ``[B, N, features]``.
            mask: ``[B, N]`` bool, ``True`` for a real point.

        Returns:
            ``[B, classes]``.

        Raises:
            ShapeError: The input does not fit, is not finite, or a cloud has no real point.
        """
        pooled = pool(self.stack(points, features, mask), mask, self.stack.kind)
        return self.head(self.dropout(pooled))


class DeepSetsSegmentation(torch.nn.Module):
    """An output for each point: equivariant layers, then a linear one.

    Args:
        classes: Number of outputs of each point.
        dim: d of the points.
        features: Further channels of each point.
        widths: Of the equivariant layers.
        kind: ``"sum"``, ``"mean"`` or ``"max"``.
        activation: A name in `equitools.models.points.common.ACTIVATIONS`.

    Properties:
        permutation_equivariance: relabelling the points relabels the output.
        padding_is_nothing: real points have the same output as without the padded ones.
    """

    def __init__(
        self,
        classes: int,
        dim: int = 3,
        features: int = 0,
        widths: Sequence[int] = (256, 256, 256),
        kind: str = "max",
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        check_config(classes=classes, dim=dim, features=features, widths=widths)
        self.stack = _SetStack(dim, features, widths, kind, True, activation)
        self.out = torch.nn.Linear(widths[-1], classes)

    @full_precision
    def forward(self, points: Tensor, features: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Return the logits ``[B, N, classes]``; arguments and errors as of `DeepSets.forward`."""
        return self.out(self.stack(points, features, mask))

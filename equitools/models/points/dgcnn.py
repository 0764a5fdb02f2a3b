"""DGCNN, of Wang, Sun, Liu, Sarma, Bronstein and Solomon (ACM Transactions on Graphics 2019, arXiv 1801.07829)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.models.points.common import NormActivation, PointHead, PointMLP, check_cloud, check_config, joined, pool
from equitools.ops.point_sets import Selection, gather_points, k_nearest
from equitools.ops.precision import full_precision

__all__ = ["DGCNN", "DGCNNSegmentation", "EdgeConv"]


class EdgeConv(torch.nn.Module):
    """The edge convolution: ``max_j MLP(x_i, x_j − x_i)`` over the neighbours j of each point.

    Args:
        width: Channels of the input.
        widths: Of the layers applied to each edge.
        norm: As of `equitools.models.points.common.PointMLP`.

    Properties:
        edge_convolution_is_the_formula: the same as writing the edges down.
        padding_is_nothing: the same as without the padded points.
    """

    def __init__(self, width: int, widths: Sequence[int], norm: str = "batch") -> None:
        super().__init__()
        # The first layer is linear in x_i and x_j: it is applied to points, of which there are k times fewer.
        self.own = torch.nn.Linear(width, widths[0], bias=norm != "batch")
        self.difference = torch.nn.Linear(width, widths[0], bias=False)
        bound = (2 * width) ** -0.5  # that of one layer with both inputs
        for parameter in self.parameters():
            torch.nn.init.uniform_(parameter, -bound, bound)
        self.first = NormActivation(widths[0], norm, "leaky_relu")
        self.rest = PointMLP(widths, norm, "leaky_relu")

    def forward(self, x: Tensor, edges: Selection, mask: Tensor | None = None) -> Tensor:
        """Map ``[B, N, width]`` to ``[B, N, widths[-1]]``.

        Args:
            x: Features of the points.
            edges: The neighbours of each point, ``[B, N, k]``.
            mask: ``[B, N]`` bool; ``None`` says that all points and neighbours are real.
        """
        valid = None if mask is None else edges.mask & mask.unsqueeze(-1)
        sent = self.difference(x)
        messages = gather_points(sent, edges.indices) + (self.own(x) - sent).unsqueeze(2)
        messages = self.rest(self.first(messages, valid), valid)
        return pool(messages, valid)


class _EdgeStack(torch.nn.Module):
    """Edge convolutions, each on the graph of nearest neighbours of what it is given."""

    def __init__(
        self, dim: int, features: int, k: int, blocks: Sequence[Sequence[int]], dynamic: bool, norm: str
    ) -> None:
        super().__init__()
        self.dim, self.features, self.k, self.dynamic = dim, features, k, dynamic
        width, layers = dim + features, []
        for widths in blocks:
            layers.append(EdgeConv(width, widths, norm))
            width = widths[-1]
        self.layers = torch.nn.ModuleList(layers)
        self.out_width = sum(widths[-1] for widths in blocks)

    def forward(self, points: Tensor, features: Tensor | None, mask: Tensor | None) -> Tensor:
        points, features = check_cloud(points, features, mask, self.dim, self.features, next(self.parameters()))
        edges, x, outputs = k_nearest(points, points, self.k, mask), joined(points, features), []
        for number, layer in enumerate(self.layers):
            if self.dynamic and number:
                edges = k_nearest(x, x, self.k, mask)
            x = layer(x, edges, mask)
            outputs.append(x)
        return torch.cat(outputs, -1)


def _check_blocks(blocks: Sequence[Sequence[int]]) -> None:
    if not blocks or not all(blocks):
        raise ConfigError(f"A DGCNN needs at least one block of at least one width each, not {blocks!r}.")
    for widths in blocks:
        check_config(blocks=widths)


class DGCNN(torch.nn.Module):
    """Classification with edge convolutions on graphs that are made anew from the features of each layer.

    Args:
        classes: Number of outputs.
        dim: d of the points.
        features: Further channels of each point; the first graph is that of the points alone.
        k: Neighbours of each point, itself included; of a cloud with fewer points, all.
        blocks: Widths of the layers of each edge convolution.
        embedding: Width of the layer before max and mean over the points are taken.
        head: Of the hidden layers behind them.
        dropout: After each layer of the head.
        dynamic: ``False``: the first graph is used by all layers.
        norm: ``"batch"``, ``"layer"`` or ``"none"``.

    Raises:
        ConfigError: A width or k is no positive integer.
        UnknownNameError: No such norm.

    Properties:
        permutation_invariance: relabelling the points does not change the output.
        padding_is_nothing: the same as without the padded points, batch statistics in training included.

    Source: arXiv 1801.07829, the network for classification; the authors' code, pytorch/model.py.
    """

    def __init__(
        self,
        classes: int,
        dim: int = 3,
        features: int = 0,
        k: int = 20,
        blocks: Sequence[Sequence[int]] = ((64,), (64,), (128,), (256,)),
        embedding: int = 1024,
        head: Sequence[int] = (512, 256),
        dropout: float = 0.5,
        dynamic: bool = True,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        check_config(classes=classes, dim=dim, features=features, k=k, embedding=embedding, head=head)
        _check_blocks(blocks)
        self.stack = _EdgeStack(dim, features, k, blocks, dynamic, norm)
        self.embedding = PointMLP((self.stack.out_width, embedding), norm, "leaky_relu")
        self.head = PointHead((2 * embedding, *head, classes), norm, "leaky_relu", dropout)

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
        x = self.embedding(self.stack(points, features, mask), mask)
        return self.head(torch.cat([pool(x, mask, "max"), pool(x, mask, "mean")], -1))


class DGCNNSegmentation(torch.nn.Module):
    """An output for each point: the edge convolutions' features, and the max over the cloud.

    Args:
        classes: Number of outputs of each point.
        dim: d of the points.
        features: Further channels of each point; the first graph is that of the points alone.
        k: Neighbours of each point, itself included; of a cloud with fewer points, all.
        blocks: Widths of the layers of each edge convolution.
        embedding: Width of the layer before the max over the points.
        head: Of the hidden layers applied to each point.
        dropout: After each layer of the head.
        dynamic: ``False``: the first graph is used by all layers.
        norm: ``"batch"``, ``"layer"`` or ``"none"``.

    Properties:
        permutation_equivariance: relabelling the points relabels the output.
        padding_is_nothing: real points have the same output as without the padded ones.

    Source: arXiv 1801.07829, the network for parts, without its spatial transformer and the label of the object. The
        authors' code, part_seg/part_seg_model.py, takes k = 20 and drops 0.4 after the first two layers of the head.
    """

    def __init__(
        self,
        classes: int,
        dim: int = 3,
        features: int = 0,
        k: int = 20,
        blocks: Sequence[Sequence[int]] = ((64, 64), (64, 64), (64,)),
        embedding: int = 1024,
        head: Sequence[int] = (256, 256, 128),
        dropout: float = 0.4,
        dynamic: bool = True,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        check_config(classes=classes, dim=dim, features=features, k=k, embedding=embedding, head=head)
        _check_blocks(blocks)
        self.stack = _EdgeStack(dim, features, k, blocks, dynamic, norm)
        self.embedding = PointMLP((self.stack.out_width, embedding), norm, "leaky_relu")
        self.head = PointHead((self.stack.out_width + embedding, *head, classes), norm, "leaky_relu", dropout)

    @full_precision
    def forward(self, points: Tensor, features: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Return the logits ``[B, N, classes]``; arguments and errors as of `DGCNN.forward`."""
        own = self.stack(points, features, mask)
        overall = pool(self.embedding(own, mask), mask).unsqueeze(1).expand(-1, own.shape[1], -1)
        return self.head(torch.cat([own, overall], -1), mask)

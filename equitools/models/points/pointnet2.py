"""PointNet++, of Qi, Yi, Su and Guibas (NeurIPS 2017, arXiv 1706.02413)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.models.points.common import PointHead, PointMLP, check_cloud, check_config, joined, pool
from equitools.ops.point_sets import ball_query, farthest_points, gather_points, interpolate_points
from equitools.ops.precision import full_precision

__all__ = [
    "MULTI_SCALE",
    "PARTS",
    "SINGLE_SCALE",
    "FeaturePropagation",
    "Grouping",
    "PointNet2",
    "PointNet2Segmentation",
    "PointSet",
    "SetAbstraction",
]


class Grouping(NamedTuple):
    """One level of a PointNet++.

    Attributes:
        keep: How many points.
        radii: Of the balls around them: one, or several scales. The published ones are for clouds in the unit ball.
        neighbours: How many points of a ball are taken at most, for each radius.
        widths: Of the layers applied to each of them, for each radius.
    """

    keep: int
    radii: Sequence[float]
    neighbours: Sequence[int]
    widths: Sequence[Sequence[int]]


class PointSet(NamedTuple):
    """Points with features at one level.

    Attributes:
        points: ``[B, N, d]``.
        features: ``[B, N, C]``, or ``None``.
        mask: ``[B, N]`` bool, or ``None`` where all are real.
    """

    points: Tensor
    features: Tensor | None
    mask: Tensor | None


#: The paper's levels for classification with a single scale.
SINGLE_SCALE = (
    Grouping(512, (0.2,), (32,), ((64, 64, 128),)),
    Grouping(128, (0.4,), (64,), ((128, 128, 256),)),
)
#: With several scales.
MULTI_SCALE = (
    Grouping(512, (0.1, 0.2, 0.4), (16, 32, 128), ((32, 32, 64), (64, 64, 128), (64, 96, 128))),
    Grouping(128, (0.2, 0.4, 0.8), (32, 64, 128), ((64, 64, 128), (128, 128, 256), (128, 128, 256))),
)
#: For the segmentation of parts.
PARTS = (
    Grouping(512, (0.2,), (64,), ((64, 64, 128),)),
    Grouping(128, (0.4,), (64,), ((128, 128, 256),)),
)


class SetAbstraction(torch.nn.Module):
    """Keep points that lie far apart; give each the max of ``MLP(x_j − x_i, f_j)`` over the points near it.

    Args:
        dim: d of the points.
        channels: Features of each point, 0 for none.
        grouping: How many points, which radii, which widths.
        norm: As of `equitools.models.points.common.PointMLP`.

    Raises:
        ConfigError: The grouping's sequences differ in length, or a number is out of range.

    Properties:
        translation_invariance: features do not change, positions move along.
        permutation_invariance: the same set for any order of the points.
        padding_is_nothing: the same as without the padded points.
    """

    def __init__(self, dim: int, channels: int, grouping: Grouping, norm: str = "batch") -> None:
        super().__init__()
        grouping = Grouping(*grouping)
        if not len(grouping.radii) == len(grouping.neighbours) == len(grouping.widths) > 0:
            raise ConfigError(f"A grouping needs as many radii as neighbours and widths, at least one: {grouping}.")
        if not all(radius > 0 for radius in grouping.radii):
            raise ConfigError(f"The radii of a grouping must be above 0: {grouping}.")
        check_config(keep=grouping.keep, neighbours=grouping.neighbours)
        for widths in grouping.widths:
            check_config(widths=widths)
        self.grouping = grouping
        self.scales = torch.nn.ModuleList(PointMLP((dim + channels, *widths), norm) for widths in grouping.widths)
        self.out_width = sum(widths[-1] for widths in grouping.widths)

    def forward(self, level: PointSet) -> PointSet:
        """Map a level to the next one, with ``min(keep, N)`` points and ``out_width`` features."""
        points, features, mask = level
        kept = farthest_points(points, self.grouping.keep, mask)
        centres = gather_points(points, kept.indices)
        parts = []
        for radius, k, mlp in zip(self.grouping.radii, self.grouping.neighbours, self.scales, strict=True):
            near = ball_query(centres, points, radius, k, mask)
            valid = near.mask & kept.mask.unsqueeze(-1)
            offsets = gather_points(points, near.indices) - centres.unsqueeze(2)
            inside = joined(offsets, None if features is None else gather_points(features, near.indices))
            parts.append(pool(mlp(inside, valid), valid))
        return PointSet(centres, torch.cat(parts, -1), None if mask is None else kept.mask)


class FeaturePropagation(torch.nn.Module):
    """Bring features from few points to many: interpolation by inverse squared distance, then layers on each point.

    Args:
        width: Features of the few points.
        skip: Features that the many points have from before.
        widths: Of the layers.
        norm: As of `equitools.models.points.common.PointMLP`.

    Properties:
        permutation_equivariance: relabelling the many points relabels the output.
        padding_is_nothing: the same as without the padded points.
    """

    def __init__(self, width: int, skip: int, widths: Sequence[int], norm: str = "batch") -> None:
        super().__init__()
        check_config(width=width, features=skip, widths=widths)
        self.mlp = PointMLP((width + skip, *widths), norm)

    def forward(self, many: PointSet, few: PointSet) -> Tensor:
        """Return features ``[B, N, widths[-1]]`` of the many points.

        Raises:
            ShapeError: The few points have no features.
        """
        if few.features is None:
            raise ShapeError("There are no features to bring from the few points to the many.")
        brought = interpolate_points(many.points, few.points, few.features, few.mask)
        return self.mlp(brought if many.features is None else torch.cat([brought, many.features], -1), many.mask)


class _Levels(torch.nn.Module):
    """The way up: set abstraction, level by level, and one set of features of the whole cloud."""

    def __init__(
        self, dim: int, features: int, groupings: Sequence[Grouping], overall: Sequence[int], norm: str
    ) -> None:
        super().__init__()
        check_config(dim=dim, features=features, overall=overall)
        self.dim, self.features = dim, features
        layers, widths = [], [features]
        for grouping in groupings:
            layers.append(SetAbstraction(dim, widths[-1], grouping, norm))
            widths.append(layers[-1].out_width)
        self.layers = torch.nn.ModuleList(layers)
        self.overall = PointMLP((dim + widths[-1], *overall), norm)
        self.widths = tuple(widths)

    def forward(self, points: Tensor, features: Tensor | None, mask: Tensor | None) -> tuple[list[PointSet], Tensor]:
        points, features = check_cloud(points, features, mask, self.dim, self.features, next(self.parameters()))
        # The published code gives the last level raw coordinates. Taken from the centroid, they are the same for
        # centred clouds, and translations do not matter.
        points = points - pool(points, mask, "mean").unsqueeze(1)
        levels = [PointSet(points, features, mask)]
        for layer in self.layers:
            # A cloud with fewer points than are kept has padding from here on, and a mask if it had one.
            levels.append(layer(levels[-1]))
        last = levels[-1]
        return levels, pool(self.overall(joined(last.points, last.features), last.mask), last.mask)


class PointNet2(torch.nn.Module):
    """Classification: a PointNet on the neighbourhood of chosen points, again on those points, then on what is left.

    Points are chosen and grouped in a way that does not depend on their order (see `equitools.ops.farthest_points` and
    `equitools.ops.ball_query`), unlike in the published code.

    Args:
        classes: Number of outputs.
        dim: d of the points.
        features: Further channels of each point.
        groupings: The levels: `SINGLE_SCALE`, `MULTI_SCALE`, or others. Radii are absolute: scale the clouds to the
            unit ball for the published ones.
        overall: Widths of the layers on the points of the last level, before the max.
        head: Of the hidden layers behind it.
        dropout: After each layer of the head.
        norm: ``"batch"``, ``"layer"`` or ``"none"``.

    Raises:
        ConfigError: A width or count is no positive integer, or a grouping does not fit together.
        UnknownNameError: No such norm.

    Properties:
        permutation_invariance: relabelling the points does not change the output.
        translation_invariance: moving the cloud does not change the output.
        padding_is_nothing: the same as without the padded points, batch statistics in training included.

    Source: arXiv 1706.02413 and its supplement; the authors' code for the numbers of neighbours (pointnet2_cls_ssg.py,
        pointnet2_cls_msg.py; the latter drops 0.6 in its head).
    """

    def __init__(
        self,
        classes: int,
        dim: int = 3,
        features: int = 0,
        groupings: Sequence[Grouping] = SINGLE_SCALE,
        overall: Sequence[int] = (256, 512, 1024),
        head: Sequence[int] = (512, 256),
        dropout: float = 0.5,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        check_config(classes=classes, head=head)
        self.levels = _Levels(dim, features, groupings, overall, norm)
        self.head = PointHead((overall[-1], *head, classes), norm, dropout=dropout)

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
        return self.head(self.levels(points, features, mask)[1])


class PointNet2Segmentation(torch.nn.Module):
    """An output for each point: up through the levels, and back down by interpolation.

    Args:
        classes: Number of outputs of each point.
        dim: d of the points.
        features: Further channels of each point.
        groupings: The levels: `PARTS` or others.
        overall: Widths of the layers on the points of the last level, before the max.
        down: Widths of the layers on the way back, for each level, the last level first.
        head: Of the hidden layers applied to each point.
        dropout: After each layer of the head.
        norm: ``"batch"``, ``"layer"`` or ``"none"``.

    Raises:
        ConfigError: As `PointNet2`, or ``down`` does not have one entry for each grouping and one more.

    Properties:
        permutation_equivariance: relabelling the points relabels the output.
        translation_invariance: moving the cloud does not change the output.
        padding_is_nothing: real points have the same output as without the padded ones.

    Source: arXiv 1706.02413 and its supplement (part segmentation); the authors' code, pointnet2_part_seg.py.
    """

    def __init__(
        self,
        classes: int,
        dim: int = 3,
        features: int = 0,
        groupings: Sequence[Grouping] = PARTS,
        overall: Sequence[int] = (256, 512, 1024),
        down: Sequence[Sequence[int]] = ((256, 256), (256, 128), (128, 128, 128)),
        head: Sequence[int] = (128,),
        dropout: float = 0.5,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        check_config(classes=classes, head=head)
        if len(down) != len(groupings) + 1:
            raise ConfigError(
                f"down needs widths for each of the {len(groupings)} levels and for the cloud as a whole, "
                f"{len(groupings) + 1} in all; there are {len(down)}."
            )
        self.levels = _Levels(dim, features, groupings, overall, norm)
        width, layers = overall[-1], []
        skips = (dim + features, *self.levels.widths[1:])
        for widths, skip in zip(down, skips[::-1], strict=True):
            layers.append(FeaturePropagation(width, skip, widths, norm))
            width = widths[-1]
        self.down = torch.nn.ModuleList(layers)
        self.head = PointHead((width, *head, classes), norm, dropout=dropout)

    @full_precision
    def forward(self, points: Tensor, features: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Return the logits ``[B, N, classes]``; arguments and errors as of `PointNet2.forward`."""
        levels, overall = self.levels(points, features, mask)
        first = levels[0]
        levels[0] = PointSet(first.points, joined(first.points, first.features), first.mask)  # from the centroid
        # The cloud as a whole is a level with one point: everybody's only neighbour.
        few = PointSet(first.points.new_zeros(len(overall), 1, first.points.shape[-1]), overall.unsqueeze(1), None)
        out = overall
        for layer, many in zip(self.down, levels[::-1], strict=True):
            out = layer(many, few)
            few = PointSet(many.points, out, many.mask)
        return self.head(out, first.mask)

"""PointNet, of Qi, Su, Mo and Guibas (CVPR 2017, arXiv 1612.00593)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from equitools.models.points.common import PointHead, PointMLP, check_cloud, check_config, joined, pool
from equitools.ops.precision import full_precision

__all__ = ["PointNet", "PointNetEncoder", "PointNetSegmentation", "PointNetState", "TNet", "orthogonality_penalty"]


class TNet(torch.nn.Module):
    """A small PointNet that answers with a matrix to multiply its input with; at the start, the identity.

    The matrix is any matrix, not a rotation: a T-Net is learned alignment and gives no invariance.

    Args:
        width: Channels of the input.
        size: Rows of the matrix.
        widths: Of the layers before the pooling.
        head: Of the hidden layers behind it.
        norm: As of `equitools.models.points.common.PointMLP`.

    Properties:
        starts_as_identity: before training the matrix is 1 for every cloud.
    """

    def __init__(
        self,
        width: int,
        size: int,
        widths: Sequence[int] = (64, 128, 1024),
        head: Sequence[int] = (512, 256),
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.size = size
        self.points = PointMLP((width, *widths), norm)
        self.head = PointHead((widths[-1], *head, size * size), norm)
        torch.nn.init.zeros_(self.head.out.weight)
        torch.nn.init.zeros_(self.head.out.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``[B, N, width]`` to matrices ``[B, size, size]``."""
        change = self.head(pool(self.points(x, mask), mask)).unflatten(-1, (self.size, self.size))
        return change + torch.eye(self.size, dtype=x.dtype, device=x.device)


def orthogonality_penalty(matrix: Tensor) -> Tensor:
    """Return ``Σ (1 − A Aᵀ)² / 2`` of matrices ``[B, n, n]``, summed over the batch.

    The paper adds 0.001 of it to the loss, of the feature transform.
    """
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return (eye - matrix @ matrix.transpose(-1, -2)).square().sum() / 2


class PointNetState(NamedTuple):
    """What a PointNet knows of clouds before its head.

    Attributes:
        local: Features of each point ``[B, N, C]``.
        overall: Of each cloud ``[B, C']``.
        transforms: Matrices of the T-Nets that are there, ``[B, n, n]``.
    """

    local: Tensor
    overall: Tensor
    transforms: tuple[Tensor, ...]


class PointNetEncoder(torch.nn.Module):
    """The part that classification and segmentation share.

    Args:
        dim: d of the points.
        features: Further channels of each point.
        local: Widths of the first layers, after which segmentation takes the points' own features.
        widths: Of the following ones, before the max over the points.
        input_transform: A T-Net of the coordinates.
        feature_transform: A T-Net of the points' own features.
        norm: As of `equitools.models.points.common.PointMLP`.
        transform_widths: Of the T-Nets, before their pooling.
        transform_head: Of the T-Nets, behind it.

    Raises:
        ConfigError: A width is no positive integer.
        UnknownNameError: No such norm.
    """

    def __init__(
        self,
        dim: int = 3,
        features: int = 0,
        local: Sequence[int] = (64, 64),
        widths: Sequence[int] = (64, 128, 1024),
        input_transform: bool = False,
        feature_transform: bool = False,
        norm: str = "batch",
        transform_widths: Sequence[int] = (64, 128, 1024),
        transform_head: Sequence[int] = (512, 256),
    ) -> None:
        super().__init__()
        check_config(dim=dim, features=features, local=local, widths=widths)
        check_config(transform_widths=transform_widths, transform_head=transform_head)
        self.dim, self.features = dim, features
        sizes = transform_widths, transform_head
        self.input_transform = TNet(dim, dim, *sizes, norm) if input_transform else None
        self.first = PointMLP((dim + features, *local), norm)
        self.feature_transform = TNet(local[-1], local[-1], *sizes, norm) if feature_transform else None
        self.second = PointMLP((local[-1], *widths), norm)

    def forward(self, points: Tensor, features: Tensor | None = None, mask: Tensor | None = None) -> PointNetState:
        """Encode clouds; arguments and errors as of `PointNet.forward`."""
        points, features = check_cloud(points, features, mask, self.dim, self.features, next(self.parameters()))
        transforms = []
        if self.input_transform is not None:
            transforms.append(self.input_transform(points, mask))
            points = points @ transforms[-1]
        local = self.first(joined(points, features), mask)
        if self.feature_transform is not None:
            transforms.append(self.feature_transform(local, mask))
            local = local @ transforms[-1]
        return PointNetState(local, pool(self.second(local, mask), mask), tuple(transforms))


class PointNet(torch.nn.Module):
    """Classification: layers applied to each point, the max over the points, layers applied to the cloud.

    The default widths are the paper's; its T-Nets are off, as a wrapper that makes the network equivariant stands in
    their place.

    Args:
        classes: Number of outputs.
        dim: d of the points.
        features: Further channels of each point.
        local: Widths of the first layers.
        widths: Of the following ones, before the max.
        head: Of the hidden layers behind it.
        dropout: After each layer of the head.
        input_transform: A T-Net of the coordinates.
        feature_transform: A T-Net of the points' own features.
        norm: ``"batch"``, ``"layer"`` or ``"none"``.
        transform_widths: Of the T-Nets, before their pooling.
        transform_head: Of the T-Nets, behind it.

    Raises:
        ConfigError: A width is no positive integer.
        UnknownNameError: No such norm.

    Properties:
        permutation_invariance: relabelling the points does not change the output.
        padding_is_nothing: the same as without the padded points, batch statistics in training included.

    Source: arXiv 1612.00593, section 4.2 and appendix C; the authors' code for the dropout of 0.3.
    """

    def __init__(
        self,
        classes: int,
        dim: int = 3,
        features: int = 0,
        local: Sequence[int] = (64, 64),
        widths: Sequence[int] = (64, 128, 1024),
        head: Sequence[int] = (512, 256),
        dropout: float = 0.3,
        input_transform: bool = False,
        feature_transform: bool = False,
        norm: str = "batch",
        transform_widths: Sequence[int] = (64, 128, 1024),
        transform_head: Sequence[int] = (512, 256),
    ) -> None:
        super().__init__()
        check_config(classes=classes, head=head)
        sizes = transform_widths, transform_head
        self.encoder = PointNetEncoder(dim, features, local, widths, input_transform, feature_transform, norm, *sizes)
        self.head = PointHead((widths[-1], *head, classes), norm, dropout=dropout)

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
        return self.head(self.encoder(points, features, mask).overall)


class PointNetSegmentation(torch.nn.Module):
    """An output for each point, from its own features and those of the whole cloud.

    Args:
        classes: Number of outputs of each point.
        dim: d of the points.
        features: Further channels of each point.
        local: Widths of the first layers.
        widths: Of the following ones, before the max.
        head: Of the hidden layers applied to each point, its own features and the cloud's.
        dropout: After each layer of the head.
        input_transform: A T-Net of the coordinates.
        feature_transform: A T-Net of the points' own features.
        norm: ``"batch"``, ``"layer"`` or ``"none"``.
        transform_widths: Of the T-Nets, before their pooling.
        transform_head: Of the T-Nets, behind it.

    Properties:
        permutation_equivariance: relabelling the points relabels the output.
        padding_is_nothing: real points have the same output as without the padded ones.

    Source: arXiv 1612.00593, figure 2 (the segmentation network).
    """

    def __init__(
        self,
        classes: int,
        dim: int = 3,
        features: int = 0,
        local: Sequence[int] = (64, 64),
        widths: Sequence[int] = (64, 128, 1024),
        head: Sequence[int] = (512, 256, 128, 128),
        dropout: float = 0.0,
        input_transform: bool = False,
        feature_transform: bool = False,
        norm: str = "batch",
        transform_widths: Sequence[int] = (64, 128, 1024),
        transform_head: Sequence[int] = (512, 256),
    ) -> None:
        super().__init__()
        check_config(classes=classes, head=head)
        sizes = transform_widths, transform_head
        self.encoder = PointNetEncoder(dim, features, local, widths, input_transform, feature_transform, norm, *sizes)
        self.head = PointHead((local[-1] + widths[-1], *head, classes), norm, dropout=dropout)

    @full_precision
    def forward(self, points: Tensor, features: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Return the logits ``[B, N, classes]``; arguments and errors as of `PointNet.forward`."""
        state = self.encoder(points, features, mask)
        overall = state.overall.unsqueeze(1).expand(-1, state.local.shape[1], -1)
        return self.head(torch.cat([state.local, overall], -1), mask)

"""Networks on clouds of points: ``net(points [B, N, d], features=None, mask=None)``. No one of them is equivariant.

They are what `equitools.symmetrize` makes equivariant. Relabelling the points is their only symmetry (PointNet++ does
not see translations either).
"""

from __future__ import annotations

from equitools.models.points.deep_sets import DeepSets, DeepSetsSegmentation, SetLayer
from equitools.models.points.dgcnn import DGCNN, DGCNNSegmentation, EdgeConv
from equitools.models.points.pointnet import (
    PointNet,
    PointNetEncoder,
    PointNetSegmentation,
    PointNetState,
    TNet,
    orthogonality_penalty,
)

__all__ = [
    "DGCNN",
    "DGCNNSegmentation",
    "DeepSets",
    "DeepSetsSegmentation",
    "EdgeConv",
    "PointNet",
    "PointNetEncoder",
    "PointNetSegmentation",
    "PointNetState",
    "SetLayer",
    "TNet",
    "orthogonality_penalty",
]

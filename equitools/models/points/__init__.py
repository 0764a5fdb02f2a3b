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
from equitools.models.points.pointnet2 import (
    MULTI_SCALE,
    PARTS,
    SINGLE_SCALE,
    FeaturePropagation,
    Grouping,
    PointNet2,
    PointNet2Segmentation,
    PointSet,
    SetAbstraction,
)

__all__ = [
    "DGCNN",
    "MULTI_SCALE",
    "PARTS",
    "SINGLE_SCALE",
    "DGCNNSegmentation",
    "DeepSets",
    "DeepSetsSegmentation",
    "EdgeConv",
    "FeaturePropagation",
    "Grouping",
    "PointNet",
    "PointNet2",
    "PointNet2Segmentation",
    "PointNetEncoder",
    "PointNetSegmentation",
    "PointNetState",
    "PointSet",
    "SetAbstraction",
    "SetLayer",
    "TNet",
    "orthogonality_penalty",
]

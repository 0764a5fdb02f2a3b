"""Vector-neuron networks on point clouds: from a cloud to a few equivariant vectors, or to invariants.

They are what learned canonicalizers are made of (`equitools.models.canonicalizers`): small, and exactly equivariant
under rotations and reflections about the origin, so that the cloud is centred first. Channels of vectors
``[B, N, C, d]`` start from the points themselves. Invariant features of points enter as factors of vectors.

A vector of the whole cloud that is a polar vector vanishes where the cloud is its own inverse, and more symmetric
clouds have fewer independent ones: no network can change that. A pool by `VNMaxPool` chooses one of several equivalent
points by their noise.

Source:
    C. Deng et al., Vector Neurons, ICCV 2021, arXiv:2104.12229; S.-O. Kaba et al., Equivariance with Learned
    Canonicalization Functions, ICML 2023, arXiv:2211.06489.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups import MatrixGroup, parse_rigid_group
from equitools.models.cloud_input import check_clouds
from equitools.nn import VNBlock, VNCrossProduct, VNDropout, VNLinear, VNMaxPool, VNMeanPool
from equitools.ops.eigh3 import eigh3
from equitools.ops.point_sets import gather_points, k_nearest
from equitools.ops.precision import full_precision
from equitools.symmetrize.frame_set import check_cloud

__all__ = ["VNDeepSets", "VNInvariantHead", "VNPointNet"]

_POOLS = ("mean", "max")


class _VNNetwork(torch.nn.Module):
    """What both networks share: checks, the first vectors of each point, pooling and the last layer."""

    def __init__(
        self,
        outputs: int,
        group: str | MatrixGroup,
        hidden: int,
        features: int,
        vectors: int,
        pool: str,
        dropout: float,
        norm: bool,
        radial: int,
        moments: int,
        principal: bool,
    ) -> None:
        super().__init__()
        self.group = parse_rigid_group(group, "Vector neurons")
        if pool not in _POOLS:
            raise ConfigError(f"Points are pooled by one of {_POOLS}, not {pool!r}.")
        if min(features, vectors, moments) < 0 or radial < 1:
            raise ConfigError("The numbers of features, vectors and moments are at least 0, that of radial factors 1.")
        self.outputs, self.hidden, self.features, self.vectors = outputs, hidden, features, vectors
        self.norm, self.moments, self.principal = norm, moments, principal
        axes = self.group.n if principal else 0
        self.factors = torch.nn.Sequential(
            torch.nn.Linear(1 + 2 * moments + 2 * axes + features, 2 * hidden),
            torch.nn.SiLU(),
            torch.nn.Linear(2 * hidden, radial),
        )
        self.channels = radial * (1 + moments + axes) + vectors
        self.pool: VNMaxPool | VNMeanPool = VNMaxPool(hidden) if pool == "max" else VNMeanPool()
        self.dropout = VNDropout(dropout)
        self.last = VNLinear(hidden, outputs)

    def _checked(self, points: Tensor, features: Tensor | None, vectors: Tensor | None, mask: Tensor | None) -> None:
        d = self.group.n
        check_cloud(points, mask, d)
        lead = list(points.shape[:2])
        for name, value, wanted, present in (
            ("features", features, [*lead, self.features], self.features > 0),
            ("vectors", vectors, [*lead, self.vectors, d], self.vectors > 0),
        ):
            given = None if value is None else list(value.shape)
            if given != (wanted if present else None):
                raise ShapeError(f"This network needs {name} {wanted if present else 'None'}, given {given}.")
        check_clouds(points, d, mask, features, vectors)

    def _first(self, points: Tensor, features: Tensor | None, vectors: Tensor | None, mask: Tensor | None) -> Tensor:
        """Vectors of each point ``[B, N, channels, d]``: it times functions of its invariants, then the others."""
        square = points.square().sum(-1, keepdim=True)
        # lengths relative to the cloud's: without them every channel would be a multiple of the point, and their mean
        # the centroid
        if mask is None:
            scale = square.mean(1, keepdim=True)
        else:
            weight = mask.unsqueeze(-1).to(square.dtype)
            scale = (square * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)
        scale = scale.clamp(min=torch.finfo(square.dtype).tiny)
        # M x, M² x, ... with the second moments M over their trace's share
        images, power, traces = [points], None, []
        moment = points.mT @ points / (scale * self._count(points, mask)) * self.group.n
        for _ in range(self.moments):
            images.append(images[-1] @ moment)
            power = moment if power is None else power @ moment
            traces.append((power @ moment).diagonal(dim1=1, dim2=2).mean(-1).view(-1, 1, 1).expand_as(square))
        if self.principal:
            # the compiled eigenvectors have finite derivatives where two values coincide, too
            values, axes = eigh3(moment) if self.group.n == 3 else torch.linalg.eigh(moment)
            along = points @ axes  # [B, N, d]: components, whose signs are open
            images += list((along.unsqueeze(2) * axes.unsqueeze(1)).unbind(-1))  # each times its axis: not open
            traces += list(values.unsqueeze(1).expand_as(points).split(1, -1))
        invariants = torch.cat([*((points * image).sum(-1, keepdim=True) / scale for image in images), *traces], -1)
        if features is not None:
            invariants = torch.cat([invariants, features], -1)
        factors = self.factors(invariants).unsqueeze(-1)
        first = [factors * image.unsqueeze(-2) for image in images]
        return torch.cat(first if vectors is None else [*first, vectors], -2)

    @staticmethod
    def _count(points: Tensor, mask: Tensor | None) -> Tensor | int:
        return max(1, points.shape[1]) if mask is None else mask.sum(1).clamp(min=1).view(-1, 1, 1)

    def _pooled(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.last(self.dropout(self.pool(x, mask)))


def _clean(points: Tensor, features: Tensor | None, vectors: Tensor | None, mask: Tensor | None) -> list[Tensor | None]:
    """Zero what is not real, so that it can be anything, infinity included."""
    if mask is None:
        return [points, features, vectors]
    values = (points, features, vectors)
    return [
        None if v is None else torch.where(mask.view(*mask.shape, *[1] * (v.ndim - 2)), v, torch.zeros_like(v))
        for v in values
    ]


class VNDeepSets(_VNNetwork):
    """Each point's vectors are mixed with those of the average point, a few times, and pooled.

    A layer is ``x_i ← VNLeakyReLU(VNBatchNorm(A x_i + B mean_j x_j))``.

    Args:
        outputs: How many vectors come out.
        group: O(d) or SO(d) (or E(d), SE(d)), by name or as an object; only its dimension matters here.
        hidden: Channels.
        layers: How many layers.
        features: Invariant features of each point.
        vectors: Further vectors of each point, such as its velocity.
        pool: ``"mean"`` or ``"max"``.
        dropout: Probability with which whole vectors are dropped before the last layer.
        norm: Whether layers have a `VNBatchNorm`. Without it the output is proportional to the input's size.
        radial: Functions of a point's invariants that multiply its vector.
        moments: How often the matrix M of the cloud's second moments is applied: M x, M² x, … are further vectors of a
            point x, and their scalar products with it and the traces of powers of M further invariants. Polynomials in
            M single out principal axes, the long one of a cylinder, say.
        principal: The components of a point along the cloud's principal axes are further vectors, exactly along these
            axes and free of their signs; the moments along them are further invariants. They jump where two moments
            are equal.

    Properties:
        equivariance: forward(x Rᵀ) = forward(x) Rᵀ for rotations and reflections.
        permutation_invariance: the order of the points does not matter.
        masked_points_do_not_count: whatever their values are.
    """

    def __init__(
        self,
        outputs: int,
        group: str | MatrixGroup = "O(3)",
        *,
        hidden: int = 16,
        layers: int = 4,
        features: int = 0,
        vectors: int = 0,
        pool: str = "mean",
        dropout: float = 0.0,
        norm: bool = True,
        radial: int = 8,
        moments: int = 0,
        principal: bool = False,
    ) -> None:
        super().__init__(outputs, group, hidden, features, vectors, pool, dropout, norm, radial, moments, principal)
        sizes = [self.channels] + [hidden] * layers
        if layers < 1:
            raise ConfigError(f"At least one layer is needed, not {layers!r}.")
        # one product for both: the average is put beside each point's own channels
        self.layers = torch.nn.ModuleList(VNBlock(2 * size, hidden, norm) for size in sizes[:-1])
        self.mean = VNMeanPool()

    @full_precision
    def forward(
        self, points: Tensor, features: Tensor | None = None, vectors: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Map clouds ``[B, N, d]`` to vectors ``[B, outputs, d]``.

        Args:
            points: Centred.
            features: ``[B, N, features]``, invariant.
            vectors: ``[B, N, vectors, d]``.
            mask: Real points ``[B, N]``.

        Raises:
            ShapeError: A shape is not the declared one, a cloud has no real point, or a real value is not finite.
        """
        self._checked(points, features, vectors, mask)
        points, features, vectors = cast("list[Tensor]", _clean(points, features, vectors, mask))
        x = self._first(points, features, vectors, mask)
        for layer in self.layers:
            average = self.mean(x, mask).unsqueeze(1).expand_as(x)
            x = layer(torch.cat([x, average], -2), mask)
        return self._pooled(x, mask)


class VNPointNet(_VNNetwork):
    """Vectors of each point from its nearest neighbours, a few layers with a global vector beside them, and a pool.

    The edge from a point i to a neighbour j has the vectors ``x_j − x_i`` and ``x_i`` (and, for SO(3) and SE(3), their
    cross product), which a block mixes and the neighbours average. Then as in `VNDeepSets`.

    Args:
        outputs: How many vectors come out.
        group: O(d) or SO(d) (or E(d), SE(d)), by name or as an object. Only without reflections there are cross
            products: they are pseudovectors.
        hidden: Channels.
        layers: Layers after the neighbourhoods.
        neighbours: How many neighbours, at most; the point itself is not one of them.
        features: Invariant features of each point.
        vectors: Further vectors of each point.
        pool: ``"mean"`` or ``"max"``, over the points.
        dropout: Probability with which whole vectors are dropped before the last layer.
        norm: Whether blocks have a `VNBatchNorm`.
        radial: Functions of a point's invariants that multiply its vector.
        moments: How often the matrix M of the cloud's second moments is applied: M x, M² x, … are further vectors of a
            point x, and their scalar products with it and the traces of powers of M further invariants. Polynomials in
            M single out principal axes, the long one of a cylinder, say.
        principal: The components of a point along the cloud's principal axes are further vectors, exactly along these
            axes and free of their signs; the moments along them are further invariants. They jump where two moments
            are equal.
        cross: Whether there are cross products; ``None``: where the group allows them.

    Raises:
        ConfigError: Cross products are asked for in another dimension than 3, or under reflections.

    Properties:
        equivariance: forward(x Rᵀ) = forward(x) Rᵀ for all R of the group.
        permutation_invariance: the order of the points does not matter, but for neighbours that are equally far.
        masked_points_do_not_count: whatever their values are.
    """

    def __init__(
        self,
        outputs: int,
        group: str | MatrixGroup = "O(3)",
        *,
        hidden: int = 16,
        layers: int = 2,
        neighbours: int = 16,
        features: int = 0,
        vectors: int = 0,
        pool: str = "mean",
        dropout: float = 0.0,
        norm: bool = True,
        radial: int = 8,
        moments: int = 0,
        principal: bool = False,
        cross: bool | None = None,
    ) -> None:
        super().__init__(outputs, group, hidden, features, vectors, pool, dropout, norm, radial, moments, principal)
        rotations = self.group.n == 3 and not self.group.reflections
        if cross and not rotations:
            raise ConfigError(
                f"Cross products are pseudovectors: under {self.group} they cannot be mixed with vectors. Take "
                "group='SO(3)' or 'SE(3)', or cross=False."
            )
        if neighbours < 1 or layers < 1:
            raise ConfigError("At least one neighbour and one layer are needed.")
        self.neighbours = neighbours
        self.cross = VNCrossProduct(2, 2) if cross or (cross is None and rotations) else None
        self.edge = VNBlock(2 if self.cross is None else 4, hidden, norm)
        self.point = VNBlock(self.channels + hidden, hidden, norm)
        self.layers = torch.nn.ModuleList(VNBlock(2 * hidden, hidden, norm) for _ in range(layers))
        self.mean = VNMeanPool()

    @full_precision
    def forward(
        self, points: Tensor, features: Tensor | None = None, vectors: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Map clouds ``[B, N, d]`` to vectors ``[B, outputs, d]``.

        Args:
            points: Centred.
            features: ``[B, N, features]``, invariant.
            vectors: ``[B, N, vectors, d]``.
            mask: Real points ``[B, N]``.

        Raises:
            ShapeError: A shape is not the declared one, a cloud has no real point, or a real value is not finite.
        """
        self._checked(points, features, vectors, mask)
        points, features, vectors = cast("list[Tensor]", _clean(points, features, vectors, mask))
        x = torch.cat([self._neighbourhoods(points, mask), self._first(points, features, vectors, mask)], -2)
        x = self.point(x, mask)
        for layer in self.layers:
            x = layer(torch.cat([x, self.mean(x, mask).unsqueeze(1).expand_as(x)], -2), mask)
        return self._pooled(x, mask)

    def _neighbourhoods(self, points: Tensor, mask: Tensor | None) -> Tensor:
        """Average of the edges' vectors of each point, ``[B, N, hidden, d]``."""
        found = k_nearest(points, points, self.neighbours + 1, mask)
        index = found.indices[..., 1:]  # the first is the point itself
        real = None if mask is None else found.mask[..., 1:] & mask.unsqueeze(-1)
        other, own = gather_points(points, index), points.unsqueeze(2).expand(-1, -1, index.shape[2], -1)
        edges = torch.stack([other - own, own], -2)
        if self.cross is not None:
            edges = torch.cat([edges, self.cross(edges)], -2)
        return self.mean(self.edge(edges, real), real)


class VNInvariantHead(torch.nn.Module):
    """Invariants from a network's vectors: a multilayer perceptron of all their scalar products.

    Args:
        network: Maps a cloud to vectors ``[B, k, d]`` and says so by ``outputs = k``.
        outputs: How many invariants.
        hidden: Width of the perceptron.

    Properties:
        invariance: forward(x Rᵀ) = forward(x).
    """

    def __init__(self, network: VNDeepSets | VNPointNet, outputs: int = 1, hidden: int = 32) -> None:
        super().__init__()
        self.network = network
        count = network.outputs
        self.mlp = torch.nn.Sequential(
            torch.nn.Linear(count * (count + 1) // 2, hidden), torch.nn.SiLU(), torch.nn.Linear(hidden, outputs)
        )

    @full_precision
    def forward(
        self, points: Tensor, features: Tensor | None = None, vectors: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Map clouds ``[B, N, d]`` to invariants ``[B, outputs]``; arguments as of the network."""
        found = self.network(points, features, vectors, mask)
        row, column = torch.triu_indices(found.shape[1], found.shape[1], device=found.device)
        return self.mlp((found @ found.mT)[:, row, column])

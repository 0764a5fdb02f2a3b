"""Neighbours, samples and interpolation in clouds of points, batched, masked, and the same for any order of the points.

Clouds are ``[B, N, d]`` with d of any size; a mask ``[B, N]`` says which points are real, and what padding holds is
never looked at. Choices are made by distance. Where two distances are equal to the last bit, the point comes first
whose coordinates come first in lexicographic order: so relabelling the points relabels what is chosen, on regular grids
too. (Points that coincide are the same point to all of this.) Choices have no derivative and are made without one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import ShapeError, UnknownNameError, nearest
from equitools.ops.precision import full_precision
from equitools.ops.tracing import tracing

__all__ = [
    "Selection",
    "ball_query",
    "farthest_points",
    "gather_points",
    "interpolate_points",
    "k_nearest",
    "lexicographic_order",
    "squared_distances",
]

STARTS = ("farthest", "random")
#: To this many axes distances are sums over axes, the same to the last bit wherever a pair stands; beyond, products of
#: matrices, which are faster.
EXACT_AXES = 4


class Selection(NamedTuple):
    """Points that were chosen.

    Attributes:
        indices: Into the cloud, int64 ``[B, M]`` or ``[B, M, K]``.
        mask: Bool of the same shape: ``False`` where there was no further point to choose; the index there is valid,
            and means nothing.
    """

    indices: Tensor
    mask: Tensor


def _check(name: str, points: Tensor, mask: Tensor | None = None) -> None:
    if points.ndim != 3 or not points.is_floating_point():
        raise ShapeError(f"{name} must be floating [B, N, d], they are {points.dtype} {list(points.shape)}.")
    if mask is not None and (mask.dtype != torch.bool or mask.shape != points.shape[:2]):
        raise ShapeError(
            f"The mask of {name} {list(points.shape)} must be bool {list(points.shape[:2])}, it is {mask.dtype} "
            f"{list(mask.shape)}."
        )


def _check_pair(queries: Tensor, points: Tensor, mask: Tensor | None) -> None:
    _check("queries", queries)
    _check("points", points, mask)
    if queries.shape[0] != points.shape[0] or queries.shape[2] != points.shape[2] or queries.dtype != points.dtype:
        raise ShapeError(
            f"queries [B, M, d] and points [B, N, d] must share B, d and dtype, they are {queries.dtype} "
            f"{list(queries.shape)} and {points.dtype} {list(points.shape)}."
        )


def _check_count(name: str, count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ShapeError(f"{name} must be an integer of 1 or more, it is {count!r}.")


@full_precision
def squared_distances(queries: Tensor, points: Tensor) -> Tensor:
    """Return the squared distances of all pairs.

    Args:
        queries: ``[B, M, d]``.
        points: ``[B, N, d]``.

    Returns:
        ``[B, M, N]``. To d = 4 by differences; beyond by a product of matrices, with its rounding, and not below 0.

    Raises:
        ShapeError: The shapes or dtypes do not fit.
    """
    _check_pair(queries, points, None)
    if queries.shape[2] > EXACT_AXES:
        square = queries.square().sum(-1).unsqueeze(2) + points.square().sum(-1).unsqueeze(1)
        return torch.baddbmm(square, queries, points.transpose(1, 2), alpha=-2).clamp(min=0)
    out = queries.new_zeros(queries.shape[0], queries.shape[1], points.shape[1])
    for a, b in zip(queries.unbind(2), points.unbind(2), strict=True):
        out = out + (a.unsqueeze(2) - b.unsqueeze(1)).square()
    return out


def gather_points(values: Tensor, index: Tensor) -> Tensor:
    """Return the rows of a cloud that an index names.

    Args:
        values: ``[B, N, C]``.
        index: int64 ``[B, ...]`` in 0 to N − 1, as of `Selection`.

    Returns:
        ``[B, ..., C]``.

    Raises:
        ShapeError: The shapes do not fit.
    """
    if values.ndim != 3 or index.ndim < 1 or values.shape[0] != index.shape[0]:
        raise ShapeError(
            f"values must be [B, N, C] and index [B, ...], they are {list(values.shape)} and {list(index.shape)}."
        )
    flat = index.reshape(index.shape[0], index[:1].numel() if index.shape[0] else index.shape[1:].numel(), 1)
    taken = values.gather(1, flat.expand(-1, -1, values.shape[2]))
    return taken.reshape(*index.shape, values.shape[2])


def lexicographic_order(points: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the order of the points by first coordinate, then second, and so on; padding comes last.

    Args:
        points: ``[B, N, d]``.
        mask: ``[B, N]`` bool, ``True`` for a real point.

    Returns:
        int64 ``[B, N]``: points.gather(order) is sorted.

    Raises:
        ShapeError: A shape or dtype is wrong.
    """
    _check("points", points, mask)
    order = torch.arange(points.shape[1], device=points.device).expand(points.shape[:2])
    keys = [*points.detach().unbind(2)][::-1]
    if mask is not None:
        keys = [key.masked_fill(~mask, 0) for key in keys] + [(~mask).to(points.dtype)]
    for key in keys:  # least important first: a stable sort keeps what earlier ones did among equals
        order = order.gather(1, key.gather(1, order).sort(dim=1, stable=True).indices)
    return order


@torch.no_grad()
def farthest_points(
    points: Tensor,
    count: int,
    mask: Tensor | None = None,
    start: str = "farthest",
    generator: torch.Generator | None = None,
) -> Selection:
    """Choose points that lie far from each other: each next one is the farthest from all that are chosen.

    Args:
        points: ``[B, N, d]``.
        count: How many; of a cloud with fewer, all are taken.
        mask: ``[B, N]`` bool, ``True`` for a real point.
        start: ``"farthest"``: the first is the one farthest from the centroid. ``"random"``: it is drawn.
        generator: For a random start, source of randomness on the device of the points.

    Returns:
        `Selection` ``[B, min(count, N)]`` in the order of choice.

    Raises:
        ShapeError: A shape, dtype or count is wrong.
        UnknownNameError: No such start.

    Properties:
        farthest_is_greedy: each choice maximises the smallest distance to the earlier ones.
        order_does_not_matter: relabelling the points relabels the choice, whatever the ties; a random start with the
            same generator does not depend on the labels either.
        padding_is_nothing: the same as without the padded points.

    Source: Qi et al., PointNet++, NeurIPS 2017 (arXiv 1706.02413), section 3.2; there the start is arbitrary.
    """
    _check("points", points, mask)
    _check_count("count", count)
    if start not in STARTS:
        raise UnknownNameError(f"There is no start {start!r} of farthest-point sampling. {nearest(start, STARTS)}")
    count = min(count, points.shape[1])
    if points.shape[0] == 0 or count == 0:
        empty = torch.zeros(points.shape[0], count, dtype=torch.int64, device=points.device)
        return Selection(empty, empty.bool())
    # In sorted order all that follows, ties and the rounding of the centroid included, is the same for any labels.
    order = lexicographic_order(points, mask)
    real = torch.ones_like(order, dtype=torch.bool) if mask is None else mask.gather(1, order)
    cloud = gather_points(points, order).masked_fill(~real.unsqueeze(2), 0)
    number = real.sum(1)
    if start == "random":
        drawn = torch.rand(points.shape[0], generator=generator, device=points.device, dtype=torch.float64)
        current = (drawn * number).long().clamp(max=points.shape[1] - 1).unsqueeze(1)
    else:
        centre = cloud.sum(1, keepdim=True) / number.clamp(min=1)[:, None, None]
        current = squared_distances(centre, cloud).squeeze(1).masked_fill(~real, -1).argmax(1, keepdim=True)
    gap = torch.full_like(cloud[..., 0], torch.inf).masked_fill(~real, -1)
    chosen = []
    for _ in range(count):
        chosen.append(current)
        gap = torch.minimum(gap, squared_distances(gather_points(cloud, current), cloud).squeeze(1))
        gap = gap.scatter(1, current, -1)  # a point is taken once, and its twin only when nothing else is left
        current = gap.argmax(1, keepdim=True)
    valid = torch.arange(count, device=points.device) < number.unsqueeze(1)
    return Selection(order.gather(1, torch.cat(chosen, 1)), valid)


@torch.no_grad()
def k_nearest(queries: Tensor, points: Tensor, k: int, mask: Tensor | None = None) -> Selection:
    """Choose the k points nearest to each query. A query that is one of the points is its own first neighbour.

    Args:
        queries: ``[B, M, d]``.
        points: ``[B, N, d]``.
        k: How many; of a cloud with fewer, all are taken.
        mask: ``[B, N]`` bool, ``True`` for a real point.

    Returns:
        `Selection` ``[B, M, min(k, N)]``, nearest first.

    Raises:
        ShapeError: A shape, dtype or k is wrong.

    Properties:
        nearest_are_brute_force: the same set as sorting all distances.
        order_does_not_matter: relabelling the points relabels the choice.
        padding_is_nothing: the same as without the padded points.
    """
    _check_pair(queries, points, mask)
    _check_count("k", k)
    queries, points = queries.detach(), points.detach()
    if mask is not None:
        points = points.masked_fill(~mask.unsqueeze(2), 0)
    distances = squared_distances(queries, points)
    if mask is not None:
        distances = distances.masked_fill(~mask.unsqueeze(1), torch.inf)
    return _smallest(distances, points, k, mask)


@torch.no_grad()
def ball_query(queries: Tensor, points: Tensor, radius: float, k: int, mask: Tensor | None = None) -> Selection:
    """Choose the points within a radius of each query; if they are more than k, the k nearest of them.

    The published code takes the first k in the order of the list instead, so that its networks depend on that order.

    Args:
        queries: ``[B, M, d]``.
        points: ``[B, N, d]``.
        radius: A point at just this distance is within.
        k: How many at most.
        mask: ``[B, N]`` bool, ``True`` for a real point.

    Returns:
        `Selection` ``[B, M, min(k, N)]``, nearest first; its mask says where there were fewer, or none.

    Raises:
        ShapeError: A shape, dtype, radius or k is wrong.

    Properties:
        ball_is_brute_force: the same set as comparing all distances.
        order_does_not_matter: relabelling the points relabels the choice.
        padding_is_nothing: the same as without the padded points.
    """
    _check_pair(queries, points, mask)
    _check_count("k", k)
    if not radius > 0:
        raise ShapeError(f"The radius of a ball must be above 0, it is {radius!r}.")
    queries, points = queries.detach(), points.detach()
    if mask is not None:
        points = points.masked_fill(~mask.unsqueeze(2), 0)
    distances = squared_distances(queries, points)
    outside = distances > radius * radius
    if mask is not None:
        outside = outside | ~mask.unsqueeze(1)
    return _smallest(distances.masked_fill(outside, torch.inf), points, k, mask)


def _smallest(distances: Tensor, points: Tensor, k: int, mask: Tensor | None) -> Selection:
    """Choose the k smallest finite distances of each row, ties by the lexicographic order of the points."""
    k = min(k, points.shape[1])
    value, index = distances.topk(k, dim=2, largest=False)
    if k == 0 or k == points.shape[1] or tracing():
        return Selection(index, value.isfinite())
    last = value[..., -1:]
    tied = ((distances <= last).sum(2) > k) & last.squeeze(2).isfinite()
    if bool(tied.any()):  # rare: the border of the choice runs between equal distances
        cloud, query = tied.nonzero(as_tuple=True)
        order = lexicographic_order(points, mask)[cloud]
        by_distance = distances[cloud, query].gather(1, order).sort(dim=1, stable=True).indices[:, :k]
        index = index.index_put((cloud, query), order.gather(1, by_distance))
    return Selection(index, value.isfinite())


@full_precision
def interpolate_points(
    targets: Tensor, sources: Tensor, values: Tensor, mask: Tensor | None = None, k: int = 3
) -> Tensor:
    """Interpolate values from few points to many: the mean over the k nearest, weighted by 1/distance².

    Args:
        targets: ``[B, N, d]``, where values are wanted.
        sources: ``[B, M, d]``, where they are known.
        values: ``[B, M, C]``.
        mask: ``[B, M]`` bool, ``True`` for a real source.
        k: How many of the nearest.

    Returns:
        ``[B, N, C]``; differentiable in values and positions. At a source it is that source's value: squared
        distances below 1e-10 count as 1e-10.

    Raises:
        ShapeError: A shape, dtype or k is wrong.

    Properties:
        interpolation_is_brute_force: the same as the formula, point by point.
        constants_stay: equal values give that value.
        padding_is_nothing: the same as without the padded sources.

    Source: Qi et al., PointNet++, NeurIPS 2017 (arXiv 1706.02413), eq. 2 with p = 2 and k = 3; the floor is that of
        the authors' code.
    """
    _check_pair(targets, sources, mask)
    if values.ndim != 3 or values.shape[:2] != sources.shape[:2]:
        raise ShapeError(
            f"values must be [B, M, C] with a row for each source {list(sources.shape)}, they are {list(values.shape)}."
        )
    chosen = k_nearest(targets, sources, k, mask)
    if mask is not None:
        sources = sources.masked_fill(~mask.unsqueeze(2), 0)
        values = values.masked_fill(~mask.unsqueeze(2), 0)
    distances = (targets.unsqueeze(2) - gather_points(sources, chosen.indices)).square().sum(-1)
    weight = distances.clamp(min=1e-10).reciprocal() * chosen.mask
    weight = weight / weight.sum(2, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    return (weight.unsqueeze(-1) * gather_points(values, chosen.indices)).sum(2)

"""Gram–Schmidt frames of tuples of points, with weights that fade before a frame becomes undefined.

No finite set of frames with equal weights depends continuously on the cloud (Dym, Lawrence and Siegel, ICML 2024,
arXiv:2402.16077, for SO(d), d ≥ 2). The frames here are built axis by axis. The first axis points to some point i, with
a weight that grows with ‖x_i‖²; the second one is the direction of what is left of another point j outside the first
axis, with a weight that grows with that rest, normalised *given i*; and so on. The weights are hierarchical, so that a
cloud that becomes linear keeps a definite first axis, while all choices of the second one come to the same pose: what
is invariant stays continuous there.

Of N(N − 1)… tuples most would do almost nothing. Hence the weight of a point is ``max(0, u − s)³`` with
``u = ‖r_i‖² / ‖(‖r_1‖², …, ‖r_N‖²)‖_p``: exactly zero for points that are nearer than the outermost ones, twice
continuously differentiable, and with p growing with N such that the outermost point always counts. ``s = 0`` is the
construction with all tuples.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.symmetrize.completion import complement, stabiliser_mean
from equitools.symmetrize.frame_set import check_cloud, default_threshold

__all__ = ["MAX_FRAMES", "OUTERMOST", "SPARSITY", "gram_schmidt_frames"]

SPARSITY = 0.5  # of the default; the outermost point has u ≥ 0.8
OUTERMOST = 0.8
MAX_FRAMES = 10_000  # of one cloud


class _Partial(NamedTuple):
    """Frames with their first k axes: ``cloud [M]``, ``axes [M, k, d]``, ``weight [M]``, ``rest [M, N, d]``."""

    cloud: Tensor
    axes: Tensor
    weight: Tensor
    rest: Tensor


def gram_schmidt_frames(
    x: Tensor,
    mask: Tensor | None = None,
    *,
    reflections: bool = False,
    degree: int = 2,
    sparsity: float | None = SPARSITY,
    threshold: float | None = None,
    floor: Tensor | None = None,
    max_frames: int = MAX_FRAMES,
) -> tuple[Tensor, Tensor]:
    """Return weighted frames of clouds about the origin.

    Args:
        x: Clouds ``[B, N, d]``.
        mask: Real points ``[B, N]``.
        reflections: Frames of O(d): each one also with its last axis turned round.
        degree: To which degree outputs are averaged over the stabiliser of linear clouds and single points
            (`rotation_design`).
        sparsity: ``s`` above, in [0, 0.8); larger means fewer frames and steeper weights. None takes only the points
            that are exactly outermost (up to a relative 1e-5 of their squared lengths in float64, 1e-4 in smaller
            dtypes, and rounding), with equal weights: the orbit of the cloud's own symmetry, and not
            continuous.
        threshold: Points nearer to the axes found so far than this fraction of the cloud's size do not fix another
            axis; 1e-7 in float64, 1e-4 in smaller dtypes.
        floor: Lengths ``[B]`` below which a cloud counts as a single point, such as the rounding of its centroid.
        max_frames: Of one cloud; a sphere of many points has as many as it has pairs.

    Returns:
        Rotations ``[B, F, d, d]``, the axes as columns, and weights ``[B, F]``.

    Raises:
        ConfigError: The sparsity is out of range, or a table for degenerate clouds does not exist.

    Properties:
        equivariance: the frames of h x are h times those of x, with the same weights.
        continuity: an average of an invariant of the poses is continuous, also where clouds become linear, planar or
            symmetric; its gradient is, too, but at clouds of rank d − 2 or less (linear ones in space).
    """
    if sparsity is not None and not 0 <= sparsity < OUTERMOST:
        raise ConfigError(f"sparsity must lie in [0, {OUTERMOST}), not {sparsity!r}.")
    check_cloud(x, mask)
    batch, n, d = x.shape
    threshold = default_threshold(x.dtype) if threshold is None else threshold
    real = torch.ones(batch, n, dtype=torch.bool, device=x.device) if mask is None else mask
    x = x.masked_fill(~real.unsqueeze(-1), 0.0)
    if batch == 0:
        count = 2 if reflections else 1
        return x.new_zeros(0, count, d, d), x.new_zeros(0, count)
    size = x.detach().square().sum(-1).amax(1).sqrt()
    smallest = threshold * size if floor is None else torch.maximum(threshold * size, floor)
    smallest = smallest.clamp_min(torch.finfo(x.dtype).tiny ** 0.5)
    base = 1e-5 if x.dtype == torch.float64 else 1e-4
    # points that tie differ by the rounding of the centroid in squared lengths
    tie = base + (x.new_zeros(batch) if floor is None else 8 * floor / size.clamp_min(torch.finfo(x.dtype).tiny))
    partial = _Partial(torch.arange(batch, device=x.device), x.new_zeros(batch, 0, d), x.new_ones(batch), x)
    done: list[tuple[Tensor, Tensor, Tensor]] = []  # cloud, rows, weight
    for _ in range(d - 1):
        partial, completed = _next_axis(partial, real, smallest, sparsity, degree, tie, max_frames)
        done.append(completed)
    last = complement(partial.axes) if d > 1 else x.new_ones(batch, 1, 1)
    done.append((partial.cloud, torch.cat([partial.axes, last], 1), partial.weight))
    cloud, rows, weight = (torch.cat(parts) for parts in zip(*done, strict=True))
    if reflections:
        mirrored = torch.cat([rows[:, :-1], -rows[:, -1:]], 1)
        cloud, rows, weight = torch.cat([cloud, cloud]), torch.cat([rows, mirrored]), torch.cat([weight, weight]) / 2
    return _by_cloud(cloud, rows.transpose(-1, -2), weight, batch)


def _next_axis(
    now: _Partial,
    real: Tensor,
    smallest: Tensor,
    sparsity: float | None,
    degree: int,
    tie: Tensor,
    max_frames: int,
) -> tuple[_Partial, tuple[Tensor, Tensor, Tensor]]:
    """Give every partial frame its next axis in all ways that count, and complete those that the cloud leaves open."""
    square = now.rest.square().sum(-1)
    outermost, _ = square.max(1)
    open_ = outermost.detach() <= smallest[now.cloud].square()
    completed = _complete(now, open_, degree)
    now = _Partial(*(part[~open_] for part in now))
    weights = _weights(square[~open_], real[now.cloud], sparsity, tie[now.cloud])
    frame, point = weights.nonzero(as_tuple=True)
    most = int(torch.bincount(now.cloud[frame]).max()) if len(frame) else 0
    if most > max_frames:
        raise ConfigError(
            f"A cloud has {most} frames of its outermost points, more than max_frames={max_frames}: they lie on a "
            "sphere, or nearly. Raise sparsity towards 0.8 or max_frames, or refuse such clouds (mode='full', "
            "degenerate='raise')."
        )
    chosen = now.rest[frame, point]
    axis = chosen / chosen.norm(dim=-1, keepdim=True)
    rest = now.rest[frame]
    rest = rest - (rest @ axis.unsqueeze(-1)) * axis.unsqueeze(1)
    axes = torch.cat([now.axes[frame], axis.unsqueeze(1)], 1)
    return _Partial(now.cloud[frame], axes, now.weight[frame] * weights[frame, point], rest), completed


def _weights(square: Tensor, real: Tensor, sparsity: float | None, tie: Tensor) -> Tensor:
    """Weights ``[M, N]`` of points by their squared lengths; rows add up to 1."""
    largest = square.detach().amax(1, keepdim=True)
    ratio = square / largest
    if sparsity is None:
        weight = (ratio.detach() >= 1 - tie.unsqueeze(1)).to(square.dtype) * real
    else:
        count = real.sum(1, keepdim=True).to(square.dtype)
        power = (count.log() / math.log(1 / OUTERMOST)).clamp_min(2.0)
        logarithm = power * ratio.clamp_min(1e-300 if square.dtype == torch.float64 else 1e-37).log()
        norm = (logarithm.exp() * real).sum(1, keepdim=True) ** (1 / power)
        weight = (ratio / norm - sparsity).clamp_min(0) ** 3 * real
    return weight / weight.sum(1, keepdim=True)


def _complete(now: _Partial, which: Tensor, degree: int) -> tuple[Tensor, Tensor, Tensor]:
    """Complete frames whose clouds have nothing outside their axes: the mean over all completions."""
    cloud, axes, weight = now.cloud[which], now.axes[which], now.weight[which]
    k, d = axes.shape[-2:]
    if len(cloud) == 0:
        return cloud, axes.new_zeros(0, d, d), weight
    table, share = (part.to(axes) for part in stabiliser_mean(d - k, degree))
    rest = torch.einsum("kab,mbd->mkad", table, complement(axes))
    rows = torch.cat([axes.unsqueeze(1).expand(-1, len(table), -1, -1), rest], 2)
    return (
        cloud.repeat_interleave(len(table)),
        rows.reshape(-1, d, d),
        (weight.unsqueeze(1) * share).flatten(),
    )


def _by_cloud(cloud: Tensor, elements: Tensor, weight: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Bring a flat list of frames into rows of equal length; what is missing gets weight 0."""
    order = torch.argsort(cloud, stable=True)
    cloud, elements, weight = cloud[order], elements[order], weight[order]
    counts = torch.bincount(cloud, minlength=batch)
    starts = counts.cumsum(0) - counts
    width = int(counts.max())
    slot = torch.arange(len(cloud), device=cloud.device) - starts[cloud]
    place = torch.full((batch, width), -1, device=cloud.device)
    place[cloud, slot] = torch.arange(len(cloud), device=cloud.device)
    filled = place >= 0
    source = torch.where(filled, place, starts.unsqueeze(1))
    return elements[source], weight[source] * filled

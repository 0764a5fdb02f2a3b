"""Frames of point clouds for O(d), SO(d), E(d) and SE(d): equivariant sets of group elements, with weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ConfigError, nearest
from equitools.groups import SO, Lorentz, MatrixGroup, O, homogeneous_matrices, parse_rigid_group
from equitools.ops import ExaminedAxes
from equitools.ops.precision import full_precision
from equitools.symmetrize.degenerate import centroid, check_finite, raise_if, repeated_moments, unit_cloud
from equitools.symmetrize.frame_set import Frames, check_cloud, pad_frames
from equitools.symmetrize.gram_schmidt_frames import MAX_FRAMES, SPARSITY, gram_schmidt_frames
from equitools.symmetrize.graph_frames import frames_of_graphs
from equitools.symmetrize.lorentz_frames import lorentz_frames
from equitools.symmetrize.principal_frames import PrincipalAxes, moment_signs, principal_axes_of, sign_table
from equitools.symmetrize.spatial_frames import spatial_frames
from equitools.symmetrize.weighted_frames import GAPS, check_weights, weighted_frames

__all__ = ["DEGENERATE", "MODES", "SYMMETRIC", "canonicalize", "check_options", "frames"]

MODES = ("full", "sample", "canonical", "weighted")
SYMMETRIC = "S_n"
DEGENERATE = ("raise", "average", "weighted")


@full_precision
def frames(
    x: Tensor,
    group: str | MatrixGroup,
    mask: Tensor | None = None,
    mode: str = "full",
    *,
    degenerate: str = "weighted",
    threshold: float | None = None,
    samples: int = 1,
    degree: int = 2,
    sparsity: float = SPARSITY,
    gaps: tuple[float, float] | None = GAPS,
    max_frames: int = MAX_FRAMES,
    generator: torch.Generator | None = None,
) -> Frames:
    """Return an equivariant set of group elements for each cloud.

    Averaging ``g · f(g⁻¹ x)`` over the frames g of x makes any f equivariant, and exactly so for every mode but
    "sample", which is right in expectation.

    Args:
        x: Clouds ``[B, N, d]``; 4-vectors ``[B, N, 4]`` for Lorentz groups, symmetric matrices ``[B, n, n]`` for
            ``"S_n"``.
        group: ``"O(d)"``, ``"SO(d)"``, ``"E(d)"``, ``"SE(d)"``, ``"O(1,3)"``, ``"SO+(1,3)"``, a group object, or
            ``"S_n"``. E(d) and SE(d) remove the centroid, O(d) and SO(d) take the origin as it is. Lorentz groups have
            no weighted frames and always raise on degenerate sets (`lorentz_frames`). Frames of S_n are
            `permutation_frames` of the adjacency alone with ``refine=True``: "canonical" then is exact for invariants
            of the adjacency, and for anything else of graphs without automorphisms.
        mask: Real points ``[B, N]``.
        mode: ``"full"``: the principal axes with all signs, 2^d elements, 2^(d−1) without reflections (Puny et al.);
            ``"sample"``: ``samples`` of them at random (Duval et al.); ``"canonical"``: the one that third moments
            choose (more than one only where they vanish); ``"weighted"``: continuous. Principal axes where their
            eigenvalues are well apart, Gram–Schmidt frames of points with weights (after Dym et al.) where they are
            not, blended smoothly.
        degenerate: What the modes of principal axes do with a cloud whose second moments have repeated eigenvalues (or
            whose third moments vanish, in mode "canonical"): ``"raise"``; ``"average"``: the Gram–Schmidt frames of
            the outermost points, equally weighted, hence averaged over the cloud's own symmetry; ``"weighted"``: its
            weighted frames.
        threshold: Relative gap of eigenvalues, relative size of moments and relative extent that count as zero;
            1e-7 in float64, 1e-4 in smaller dtypes.
        samples: How many elements mode "sample" draws for each cloud, with replacement.
        degree: Linear clouds and single points: the degree of the outputs that are averaged exactly over their
            continuous symmetry (0 invariants, 1 vectors, k tensors of rank k, l irreps).
        sparsity: Of Gram–Schmidt frames: 0 takes all tuples of points, up to 0.8 fewer and fewer.
        gaps: Relative gaps of the eigenvalues between which weighted frames change from Gram–Schmidt frames to the
            principal axes; None for Gram–Schmidt frames alone.
        max_frames: Most Gram–Schmidt frames of one cloud; an error says so beyond.
        generator: Source of randomness of mode "sample".

    Returns:
        `Frames`: elements ``[B, F, d, d]`` (``[B, F, d+1, d+1]`` for E and SE) and weights ``[B, F]`` in the dtype of
        ``x`` (half precisions are computed in float32), differentiable in ``x``.

    Raises:
        ShapeError: A wrong shape or dimension, a wholly masked cloud, coordinates that are not finite.
        ConfigError: An unknown mode or policy, or options out of range.
        UnknownNameError: An unknown group.
        DegenerateFrameError: A degenerate cloud under ``degenerate="raise"``.

    Properties:
        equivariance: frames(h x) = h frames(x), up to order.
        membership: every element is one of the group.
        weights_add_up: to 1 for each cloud.
        permutation_invariance: the order of the points does not matter, up to the order of the frames.
        continuity: averages of invariants over weighted frames are continuous, also at symmetric, planar and linear
            clouds; vectors and tensors are, but at linear clouds and single points, where projecting on what their
            rotations keep makes the rest jump.

    Source:
        O. Puny et al., Frame Averaging for Invariant and Equivariant Network Design, ICLR 2022 (section 3, E(d) and
        SE(d)); N. Dym, H. Lawrence, J. Siegel, Equivariant Frames and the Impossibility of Continuous Canonicalization,
        ICML 2024.

    Example:
        >>> elements, weights = frames(torch.randn(2, 5, 3), "SO(3)")
        >>> elements.shape, weights.shape
        (torch.Size([2, 4, 3, 3]), torch.Size([2, 4]))
    """
    check_options(mode, degenerate, threshold, samples, degree, sparsity, gaps)
    if group == SYMMETRIC:
        policy = {"degenerate": degenerate, "samples": samples, "generator": generator}
        return frames_of_graphs(x, mask, mode, policy)
    group = parse_rigid_group(group, "Frames", lorentz=True)
    check_cloud(x, mask, group.n)
    options: dict[str, Any] = {
        "degenerate": degenerate,
        "threshold": threshold,
        "samples": samples,
        "degree": degree,
        "sparsity": sparsity,
        "gaps": gaps,
        "max_frames": max_frames,
        "generator": generator,
    }
    if x.dtype in {torch.float16, torch.bfloat16}:
        found = frames(x.float(), group, mask, mode, **options)
        return Frames(found.elements.to(x.dtype), found.weights.to(x.dtype))
    if isinstance(group, Lorentz):
        return lorentz_frames(
            x, group, mask, mode, degenerate=degenerate, threshold=threshold, samples=samples, generator=generator
        )
    if mode == "weighted":
        return _weighted(x, group, mask, options)
    return _principal(x, group, mask, mode, options)


def canonicalize(
    x: Tensor, group: str | MatrixGroup, mask: Tensor | None = None, *, threshold: float | None = None
) -> Tensor:
    """Return the one element g of each cloud for which g⁻¹x is the canonical pose.

    Args:
        x: Clouds ``[B, N, d]``.
        group: As for `frames`.
        mask: Real points ``[B, N]``.
        threshold: As for `frames`.

    Returns:
        ``[B, d, d]``, or ``[B, d+1, d+1]`` for E and SE.

    Raises:
        DegenerateFrameError: The cloud is too symmetric to have one.

    Properties:
        equivariance: canonicalize(h x) = h canonicalize(x) for every h of the group.
    """
    return frames(x, group, mask, "canonical", degenerate="raise", threshold=threshold).elements[:, 0]


def _weighted(x: Tensor, group: MatrixGroup, mask: Tensor | None, options: Mapping[str, Any]) -> Frames:
    """Weighted frames, at the size of 1."""
    check_finite(x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0))
    y, centre, floor = unit_cloud(x, mask, group.euclidean)
    names = ("threshold", "degree", "sparsity", "gaps", "max_frames")
    found = weighted_frames(
        y, mask, reflections=group.reflections, floor=floor, **{name: options[name] for name in names}
    )
    elements, weights = _only_used(*found)
    return Frames(_affine(elements, centre, group), weights)


def _principal(x: Tensor, group: MatrixGroup, mask: Tensor | None, mode: str, options: Mapping[str, Any]) -> Frames:
    """Frames of principal axes, and what the policy takes in their place for degenerate clouds."""
    canonical, refuse = mode == "canonical", options["degenerate"] == "raise"
    axes: PrincipalAxes | ExaminedAxes
    bad: Tensor | None
    if group.n == 3:
        axes, bad, elements, weights = spatial_frames(
            x, mask, group, canonical=canonical, threshold=options["threshold"]
        )
        complete = bad is None
        extreme = (bad is not None or canonical) and bool((~_in_range(axes.values)).any())
    else:
        axes, bad, elements, weights = _principal_frames(x, mask, group, canonical, options["threshold"])
        complete, extreme = False, bool((~_in_range(axes.values)).any())
    if extreme:
        # squares or cubes leave the range of the dtype: look at the clouds at the size of 1
        check_finite(x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0))
        y, centre, _ = unit_cloud(x, mask, group.euclidean)
        found = frames(y, (O if group.reflections else SO)(group.n), mask, mode, **options)
        return Frames(_affine(found.elements, centre, group), found.weights)
    if bad is not None:
        check_finite(axes.values)
        if refuse:
            raise_if(bad, "repeated eigenvalues of its second moments", "its principal axes are not unique")
    if canonical and refuse and weights.shape[1] > 1:
        raise_if((weights > 0).sum(1) > 1, "third moments that vanish", "the signs of its principal axes are open")
    if not complete:
        if bad is not None and bool(bad.any()):
            elements, weights = _instead(x, group, mask, bad, options, elements, weights)
        if canonical:
            elements, weights = _only_used(elements, weights)
        elements = _affine(elements, axes.mean, group)
    if mode == "sample":
        elements, weights = _draw(elements, weights, options["samples"], options["generator"])
    return Frames(elements, weights)


def _instead(
    x: Tensor,
    group: MatrixGroup,
    mask: Tensor | None,
    bad: Tensor,
    options: Mapping[str, Any],
    elements: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor]:
    """Give degenerate clouds Gram–Schmidt frames of their points in place of principal axes."""
    rows = bad.nonzero().flatten()
    part_mask = None if mask is None else mask[rows]
    part, _, floor = unit_cloud(x[rows], part_mask, group.euclidean)
    found = gram_schmidt_frames(
        part,
        part_mask,
        reflections=group.reflections,
        degree=options["degree"],
        sparsity=options["sparsity"] if options["degenerate"] == "weighted" else None,
        threshold=options["threshold"],
        floor=floor,
        max_frames=options["max_frames"],
    )
    return _replace(elements, weights, rows, *found)


def check_options(
    mode: str,
    degenerate: str,
    threshold: float | None,
    samples: int,
    degree: int,
    sparsity: float,
    gaps: tuple[float, float] | None,
) -> None:
    """Check the options of `frames`.

    Raises:
        ConfigError: One is unknown or out of range.
    """
    if mode not in MODES:
        raise ConfigError(f"mode={mode!r} is not known. {nearest(str(mode), MODES)}")
    if degenerate not in DEGENERATE:
        raise ConfigError(f"degenerate={degenerate!r} is not known. {nearest(str(degenerate), DEGENERATE)}")
    if threshold is not None and not 0 < threshold < 1:
        raise ConfigError(f"threshold is a relative size between 0 and 1, not {threshold!r}.")
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ConfigError(f"samples must be an integer of at least 1, not {samples!r}.")
    if isinstance(degree, bool) or not isinstance(degree, int) or degree < 0:
        raise ConfigError(f"degree must be an integer of at least 0, not {degree!r}.")
    check_weights(sparsity, gaps)


def _in_range(values: Tensor) -> Tensor:
    """Which clouds have second moments ``[B, d]`` whose powers of 3/2 and square roots the dtype can hold."""
    largest = values.detach()[:, -1]
    info = torch.finfo(values.dtype)
    return (largest == 0) | ((largest > info.tiny**0.5) & (largest < info.max**0.5))


def _principal_frames(
    x: Tensor, mask: Tensor | None, group: MatrixGroup, canonical: bool, threshold: float | None
) -> tuple[PrincipalAxes, Tensor, Tensor, Tensor]:
    """Return axes, which clouds are degenerate, elements without translations, and weights, in any dimension."""
    axes = principal_axes_of(x, mask, group.euclidean)
    bad = repeated_moments(axes, x, mask, threshold).any(-1)
    if x.requires_grad and bool(bad.any()):
        axes = _without_gradient(axes, x, mask, bad, group.euclidean)
    table = sign_table(group.n, group.reflections).to(x)
    elements = axes.vectors.unsqueeze(1) * table.unsqueeze(1)
    weights = x.new_full((x.shape[0], len(table)), 1 / len(table))
    if canonical:
        weights = moment_signs(x, mask, axes, group.reflections, threshold).to(x.dtype)
        weights = weights / weights.sum(1, keepdim=True)
    return axes, bad, elements, weights


def _without_gradient(axes: PrincipalAxes, x: Tensor, mask: Tensor | None, bad: Tensor, centred: bool) -> PrincipalAxes:
    """Take the principal axes of some clouds as constants: their derivative is infinite, and nobody needs it."""
    good = (~bad).nonzero().flatten()
    again = principal_axes_of(x[good], None if mask is None else mask[good], centred)
    mean = centroid(x, mask, centred)[0]
    return PrincipalAxes(
        mean,
        axes.values.detach().index_copy(0, good, again.values),
        axes.vectors.detach().index_copy(0, good, again.vectors),
    )


def _affine(elements: Tensor, centre: Tensor, group: MatrixGroup) -> Tensor:
    """Rotations ``[B, F, d, d]`` about centroids ``[B, d]``, if the group has translations."""
    return homogeneous_matrices(elements, centre[:, None]) if group.euclidean else elements


def _replace(
    elements: Tensor, weights: Tensor, rows: Tensor, new: Tensor, new_weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Give some clouds other frames than they had."""
    width = max(weights.shape[1], new_weights.shape[1])
    elements, weights = pad_frames(elements, weights, width)
    new, new_weights = pad_frames(new, new_weights, width)
    return elements.index_copy(0, rows, new), weights.index_copy(0, rows, new_weights)


def _only_used(elements: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Bring the frames with weight to the front and cut the rest off."""
    used = weights > 0
    width = int(used.sum(1).max()) if len(used) else 1
    order = torch.argsort((~used).to(torch.int8), dim=1, stable=True)[:, :width]
    rows = torch.arange(len(weights), device=weights.device)[:, None]
    return elements[rows, order], weights[rows, order]


def _draw(elements: Tensor, weights: Tensor, samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    if len(weights) == 0:
        return elements[:, :1].expand(-1, samples, -1, -1), weights.new_zeros(0, samples)
    picked = torch.multinomial(weights.detach(), samples, replacement=True, generator=generator)
    rows = torch.arange(len(weights), device=weights.device)[:, None]
    return elements[rows, picked], weights.new_full((len(weights), samples), 1 / samples)

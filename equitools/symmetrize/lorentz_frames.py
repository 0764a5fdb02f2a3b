"""Exact frames of sets of four-vectors for the Lorentz groups O(1,3) and SO⁺(1,3).

A transformation h turns the second moments S = Σ_i x_i x_iᵀ into h S hᵀ, hence the eigenvectors v of S η into h v.
Where S has full rank one of them is time-like and three are space-like; scaled to length ±1 in the metric η they are
the columns of an element.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from equitools.errors import ConfigError, DegenerateFrameError, ShapeError, nearest
from equitools.groups import Lorentz
from equitools.symmetrize.frame_set import Frames, check_cloud, default_threshold

__all__ = ["lorentz_frames"]

_MODES = ("full", "sample", "canonical")
_DEGENERATE = ("raise", "average", "weighted")


def lorentz_frames(
    x: Tensor,
    group: Lorentz,
    mask: Tensor | None = None,
    mode: str = "full",
    *,
    degenerate: str = "raise",
    threshold: float | None = None,
    samples: int = 1,
    generator: torch.Generator | None = None,
) -> Frames:
    """Return an equivariant set of Lorentz transformations for each set of four-vectors.

    With X = Q R (rows are vectors, R ``[4, 4]``) the eigenvalues of S η are those of the symmetric R η Rᵀ = U Λ Uᵀ, and
    the axes are Rᵀ U abs(Λ)^(−1/2): never is S inverted or squared up. The time axis comes first, the space axes in the
    order of falling abs(λ).

    A set is degenerate where an eigenvalue vanishes or two of the space axes have the same one: fewer than four
    linearly independent momenta (also: of particles that all move along a line or in a plane), all massless and
    collinear, or symmetric. Eigenvalues do not depend on the frame of reference; so a set is degenerate to every
    observer or to none, apart from rounding, of which boosts make more.

    Degenerate sets are refused under every policy. Most of them are left as they are by a continuous group, which for
    massless particles is not compact: no average over it exists, and no finite set of elements is equivariant. Only
    signs that third moments leave open (mode "canonical") are averaged over unless the policy is "raise".

    Args:
        x: Four-vectors (t, x, y, z) ``[B, N, 4]``.
        group: `Lorentz` object: O(1,3) or SO⁺(1,3).
        mask: Real vectors ``[B, N]``.
        mode: ``"full"``: all signs of the axes, 16 elements; 4 for SO⁺(1,3), whose time axis points to the future;
            ``"sample"``: ``samples`` of them at random; ``"canonical"``: the one that third moments choose.
        degenerate: ``"raise"``, or ``"average"`` or ``"weighted"``, which both mean what is said above.
        threshold: What counts as zero: of the extents √abs(λ) relative to the largest, of the gaps of eigenvalues
            relative to the largest eigenvalue, of third moments relative to the sum of their absolute terms; 1e-7 in
            float64, 1e-4 in smaller dtypes. Eigenvalues and gaps that are no more than the rounding of ‖R‖² count as
            zero in any case; just above that an element has few right digits: it is known to ε ‖R‖² / abs(λ).
        samples: How many elements mode "sample" draws for each set, with replacement.
        generator: Source of randomness of mode "sample".

    Returns:
        `Frames`: elements ``[B, F, 4, 4]`` and weights ``[B, F]``, differentiable in ``x``.

    Raises:
        ShapeError: A wrong shape, a wholly masked set, or numbers that are not finite.
        ConfigError: An unknown mode or policy; "weighted" frames exist for compact groups only.
        DegenerateFrameError: A degenerate set.

    Properties:
        equivariance: lorentz_frames(h x) = h lorentz_frames(x), up to order.
        membership: every element is one of the group.
        permutation_invariance: the order of the vectors does not matter.

    Example:
        >>> elements, weights = lorentz_frames(torch.randn(2, 5, 4), Lorentz(proper=True))
        >>> elements.shape, weights.shape
        (torch.Size([2, 4, 4, 4]), torch.Size([2, 4]))
    """
    _check(x, group, mask, mode, degenerate, samples)
    threshold = default_threshold(x.dtype) if threshold is None else threshold
    if mask is not None:
        x = x.masked_fill(~mask.unsqueeze(-1), 0.0)
    axes = _axes(x, group, threshold)
    table = _signs(group.proper).to(x)
    if group.proper:  # the future is an invariant; the sign of the last space axis makes the element right-handed
        hand = torch.sign(torch.linalg.det(axes.detach())) * torch.sign(axes.detach()[:, 0, 0])
        fix = torch.ones_like(axes[:, 0])
        fix[:, 0], fix[:, 3] = torch.sign(axes.detach()[:, 0, 0]), hand
        axes = axes * fix.unsqueeze(1)
    elements = axes.unsqueeze(1) * table.unsqueeze(1)
    count = x.new_full((x.shape[0], len(table)), 1 / len(table))
    if mode == "full":
        return Frames(elements, count)
    if mode == "sample":
        return _draw(elements, count, samples, generator)
    chosen = _chosen(x.detach(), axes.detach(), table, group, threshold)
    if degenerate == "raise":
        _raise_if(chosen.sum(1) > 1, "third moments that vanish", "the signs of its axes are open")
    return _only_chosen(elements, chosen)


def _check(x: Tensor, group: Lorentz, mask: Tensor | None, mode: str, degenerate: str, samples: int) -> None:
    if not isinstance(group, Lorentz):
        raise ConfigError(f"Lorentz frames are for Lorentz(), 'O(1,3)' or 'SO+(1,3)', not for {group!r}.")
    if mode == "weighted":
        raise ConfigError(
            "mode='weighted' does not exist for Lorentz groups: they are not compact, and weights over their elements "
            f"cannot be made continuous. Modes: {', '.join(_MODES)}."
        )
    if mode not in _MODES:
        raise ConfigError(f"mode={mode!r} is not known. {nearest(str(mode), _MODES)}")
    if degenerate not in _DEGENERATE:
        raise ConfigError(f"degenerate={degenerate!r} is not known. {nearest(str(degenerate), _DEGENERATE)}")
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ConfigError(f"samples must be an integer of at least 1, not {samples!r}.")
    check_cloud(x, mask, 4)
    real = x if mask is None else x[mask]
    if not bool(torch.isfinite(real.detach()).all()):
        raise ShapeError("Four-vectors are not finite (NaN or infinite).")


def _axes(x: Tensor, group: Lorentz, threshold: float) -> Tensor:
    """Axes ``[B, 4, 4]`` as columns, time first, their signs arbitrary."""
    if x.shape[1] < 4:
        x = torch.cat([x, x.new_zeros(x.shape[0], 4 - x.shape[1], 4)], 1)
    _, r = torch.linalg.qr(x)
    values, vectors = torch.linalg.eigh(r @ group.metric(x) @ r.transpose(-1, -2))
    known = values.detach()
    largest = known.abs().amax(-1)
    rounding = 64 * torch.finfo(x.dtype).eps * r.detach().square().sum((-1, -2))
    _raise_if(
        known.abs().amin(-1) <= torch.maximum(threshold**2 * largest, rounding),
        "second moments of rank below four",
        "fewer than four of its momenta are independent, or all are massless and collinear",
    )
    gap = torch.maximum(threshold * largest, rounding)
    _raise_if((known.diff(dim=-1) <= gap[:, None]).any(-1), "repeated eigenvalues", "its space axes are not unique")
    order = [3, 0, 1, 2]  # ascending: the positive one, of the time axis, is the last
    axes = r.transpose(-1, -2) @ (vectors * values.abs().rsqrt().unsqueeze(-2))
    return axes[..., order]


def _signs(proper: bool) -> Tensor:
    """Signs of (t, x, y, z) ``[F, 4]``; proper ones reverse two space axes or none."""
    signs = torch.tensor(list(itertools.product((1.0, -1.0), repeat=4)), dtype=torch.float64)
    return signs[(signs[:, 0] > 0) & (signs.prod(1) > 0)] if proper else signs


def _chosen(x: Tensor, axes: Tensor, table: Tensor, group: Lorentz, threshold: float) -> Tensor:
    """Which signs ``[B, F]`` make the third moments of the components along the axes as positive as they can be."""
    cubes = (x @ group.inverse(axes).transpose(-1, -2)).pow(3)
    total = cubes.abs().sum(1)
    moments = cubes.sum(1) / torch.where(total > 0, total, torch.ones_like(total))
    if group.proper:
        moments[:, 0] = 0.0  # the time axis is not open
    scores = moments @ table.T
    return scores >= scores.amax(-1, keepdim=True) - threshold


def _only_chosen(elements: Tensor, chosen: Tensor) -> Frames:
    width = int(chosen.sum(1).max()) if len(chosen) else 1
    order = torch.argsort((~chosen).to(torch.int8), dim=1, stable=True)[:, :width]
    rows = torch.arange(len(chosen), device=chosen.device)[:, None]
    weights = chosen[rows, order].to(elements.dtype)
    return Frames(elements[rows, order], weights / weights.sum(1, keepdim=True))


def _draw(elements: Tensor, weights: Tensor, samples: int, generator: torch.Generator | None) -> Frames:
    shape = (len(weights), samples)
    picked = torch.randint(weights.shape[1], shape, generator=generator, device=weights.device)
    rows = torch.arange(len(weights), device=weights.device)[:, None]
    return Frames(elements[rows, picked], weights.new_full(shape, 1 / samples))


def _raise_if(bad: Tensor, what: str, hence: str) -> None:
    if bool(bad.any()):
        which = bad.nonzero().flatten().tolist()
        raise DegenerateFrameError(
            f"Set {which[:8]}{' …' if len(which) > 8 else ''} of {len(bad)} has {what}: {hence}. Lorentz frames have "
            "no average over such a set's symmetry; take these sets out, or give the network invariants."
        )

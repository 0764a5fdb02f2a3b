"""Weighted frames: principal axes where they are well defined, Gram–Schmidt frames elsewhere, blended smoothly.

The average over the principal axes with all signs (`sign_table`) is smooth as long as the eigenvalues of the second
moments stay apart, and takes 2^(d−1) or 2^d passes through the network. Gram–Schmidt frames with weights are smooth
also where eigenvalues meet, but there are more of them and they are steeper. The blend takes the cheap ones with weight
α and the robust ones with weight 1 − α. α rises from 0 to 1, twice continuously differentiable, while the relative gaps
of the eigenvalues rise from ``gaps[0]`` to ``gaps[1]``. Both sets are equivariant, hence the blend is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.symmetrize.degenerate import check_finite
from equitools.symmetrize.frame_set import check_cloud
from equitools.symmetrize.gram_schmidt_frames import MAX_FRAMES, OUTERMOST, SPARSITY, gram_schmidt_frames
from equitools.symmetrize.principal_frames import principal_axes_of, sign_table

__all__ = ["GAPS", "check_weights", "weighted_frames"]

GAPS = (0.02, 0.1)


def check_weights(sparsity: float, gaps: tuple[float, float] | None) -> None:
    """Check the options of weighted frames.

    Raises:
        ConfigError: One is out of range.
    """
    if not 0 <= sparsity < OUTERMOST:
        raise ConfigError(f"sparsity must lie in [0, {OUTERMOST}), not {sparsity!r}.")
    if gaps is not None and not 0 < gaps[0] < gaps[1] <= 1:
        raise ConfigError(f"gaps must be two numbers, 0 < first < second ≤ 1, not {gaps!r}.")


def weighted_frames(
    x: Tensor,
    mask: Tensor | None = None,
    *,
    reflections: bool = False,
    degree: int = 2,
    sparsity: float = SPARSITY,
    gaps: tuple[float, float] | None = GAPS,
    threshold: float | None = None,
    floor: Tensor | None = None,
    max_frames: int = MAX_FRAMES,
) -> tuple[Tensor, Tensor]:
    """Return weighted frames of clouds about the origin, cheap in general and continuous everywhere that is possible.

    Args:
        x: Clouds ``[B, N, d]``.
        mask: Real points ``[B, N]``.
        reflections: Frames of O(d) instead of SO(d).
        degree: See `gram_schmidt_frames`.
        sparsity: See `gram_schmidt_frames`.
        gaps: Differences of neighbouring eigenvalues of Σ x xᵀ, relative to the largest one, between which the
            principal axes take over. None: Gram–Schmidt frames alone.
        threshold: See `gram_schmidt_frames`.
        floor: See `gram_schmidt_frames`.
        max_frames: See `gram_schmidt_frames`.

    Returns:
        Orthogonal matrices ``[B, F, d, d]`` and weights ``[B, F]``.

    Raises:
        ConfigError: Options out of range.
        ShapeError: No clouds, or coordinates that are not finite.

    Properties:
        equivariance: the frames of h x are h times those of x, with the same weights.
        continuity: averages of invariants are continuous everywhere, and continuously differentiable away from clouds
            of rank d − 2 or less (linear ones in space).
    """
    options = {"reflections": reflections, "degree": degree, "sparsity": sparsity, "max_frames": max_frames}
    check_weights(sparsity, gaps)
    check_cloud(x, mask)
    check_finite(x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0))
    d, batch = x.shape[-1], x.shape[0]
    if gaps is None or d == 1 or batch == 0:
        return gram_schmidt_frames(x, mask, threshold=threshold, floor=floor, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        values = principal_axes_of(x, mask, centred=False).values
        apart = values.diff(dim=-1) / values[:, -1:].clamp_min(torch.finfo(x.dtype).tiny)
        least = apart.amin(-1)
        large = values[:, -1] > (0 if floor is None else x.shape[1] * floor.square())
        smooth = ((least > gaps[0]) & large).nonzero().flatten()
        rough = (~((least >= gaps[1]) & large)).nonzero().flatten()
    table = sign_table(d, reflections).to(x)
    elements = torch.eye(d, dtype=x.dtype, device=x.device).expand(batch, len(table), d, d)
    weights = x.new_zeros(batch, len(table))
    alpha = x.new_zeros(batch)
    if len(smooth):
        axes = principal_axes_of(x[smooth], None if mask is None else mask[smooth], centred=False)
        share = ((axes.values.diff(dim=-1) / axes.values[:, -1:] - gaps[0]) / (gaps[1] - gaps[0])).clamp(0, 1)
        rise = (share**3 * (10 - 15 * share + 6 * share**2)).prod(-1)
        elements = elements.index_copy(0, smooth, axes.vectors.unsqueeze(1) * table.unsqueeze(1))
        weights = weights.index_copy(0, smooth, (rise / len(table)).unsqueeze(1).expand(-1, len(table)))
        alpha = alpha.index_copy(0, smooth, rise)
    if len(rough) == 0:
        return elements, weights
    other, other_weights = gram_schmidt_frames(
        x[rough],
        None if mask is None else mask[rough],
        threshold=threshold,
        floor=None if floor is None else floor[rough],
        **options,  # type: ignore[arg-type]
    )
    width = other_weights.shape[1]
    filling = torch.eye(d, dtype=x.dtype, device=x.device).expand(batch, width, d, d)
    filling = filling.index_copy(0, rough, other)
    rest = x.new_zeros(batch, width).index_copy(0, rough, other_weights * (1 - alpha[rough]).unsqueeze(1))
    return torch.cat([elements, filling], 1), torch.cat([weights, rest], 1)

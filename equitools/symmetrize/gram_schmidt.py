"""Orthonormal frames from a few vectors, right-handed by construction where the group has no reflections."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ConfigError, DegenerateFrameError, ShapeError
from equitools.groups import SE, SO, E, MatrixGroup, O, parse_group
from equitools.symmetrize.frame_set import default_threshold

__all__ = ["degenerate_vectors", "gram_schmidt", "vectors_needed"]

_DEGENERATE = ("raise", "complete")


def vectors_needed(group: str | MatrixGroup) -> int:
    """Return how many vectors a frame of the group is made of: d − 1 for SO(d) and SE(d), d for O(d) and E(d).

    Raises:
        ConfigError: The group is none of these.
        UnknownNameError: The name of the group is not understood.
    """
    group = parse_group(group)
    if not isinstance(group, (O, SO, E, SE)):
        raise ConfigError(f"Gram–Schmidt frames are made for O(d), SO(d), E(d) and SE(d), not for {group!r}.")
    return group.n if group.reflections else group.n - 1


def gram_schmidt(
    vectors: Tensor,
    group: str | MatrixGroup,
    *,
    degenerate: str = "raise",
    threshold: float | None = None,
    completion: Tensor | None = None,
    floor: float = 0.0,
) -> Tensor:
    """Make vectors orthonormal, one after the other, and return them as the columns of a matrix.

    For SO(d) there are d − 1 vectors; the last column is their generalised cross product, so that the determinant is
    +1 whatever they are. For O(d) there are d vectors, and the determinant has the sign of theirs.

    A vector is *degenerate* where less than ``threshold`` of its length is left once its components along the columns
    before it are taken off, or where it is shorter than ``threshold`` times the longest of all, or than ``floor``: it
    is then (nearly) in their span, or (nearly) zero. With ``degenerate="complete"`` it is replaced: by that vector of
    ``completion`` of which the most is left, and if none of them leaves anything, by an axis of the coordinates. Give
    the points of the centred cloud as completion, and the frame is equivariant wherever one of them is farther out than
    all others. Where several tie, the first in the list is taken: the frame then depends on the order of the points and
    on rounding. That is so of every cloud that is its own inverse, where p and −p tie, and so of many molecules. One
    frame cannot be equivariant there; `equitools.symmetrize.frames` returns several, with weights, which are.

    Args:
        vectors: ``[..., k, d]`` polar vectors, as many as `vectors_needed` says.
        group: Name or object of O(d), SO(d), E(d) or SE(d); of Euclidean groups the orthogonal part is returned.
        degenerate: ``"raise"`` or ``"complete"``.
        threshold: By default 1e-7 in float64 and 1e-4 in smaller dtypes.
        completion: ``[..., m, d]``, with ``degenerate="complete"``; ``None``: axes only.
        floor: Lengths up to this are zero: the rounding error of vectors that vanish by symmetry.

    Returns:
        ``[..., d, d]`` orthogonal matrices R; R⁻¹ maps to the canonical pose. Differentiable, with finite gradients; a
        replaced vector has none.

    Raises:
        DegenerateFrameError: A vector is degenerate or not finite and the policy is ``"raise"``; vectors that are not
            finite are refused by either.
        ShapeError: The vectors are not as many as needed, or have another dimension.
        ConfigError: The policy is not known.

    Properties:
        equivariance: gram_schmidt(v hᵀ) = h gram_schmidt(v) for all h of the group.
        orthogonality: RᵀR = 1, and det R = 1 for SO(d).
        completion_is_equivariant: with the points of a cloud as completion of which none tie.
    """
    group = _checked(vectors, group)
    if degenerate not in _DEGENERATE:
        raise ConfigError(f"The policy for degenerate vectors is one of {_DEGENERATE}, not {degenerate!r}.")
    threshold = default_threshold(vectors.dtype) if threshold is None else threshold
    spare = _spare(vectors, completion if degenerate == "complete" else None)
    columns, bad = _orthonormal(vectors, threshold, floor, spare)
    if degenerate == "raise":
        for k, which in enumerate(bad, 1):
            if bool(which.any()):
                raise DegenerateFrameError(
                    f"Vector {k} of {len(bad)} for a frame of {group} is zero or in the span of those before it in "
                    f"{int(which.sum())} of {which.numel()} cases (less than {threshold:g} of it is left). Symmetric "
                    'or collinear input has no frame of its own; degenerate="complete" chooses one.'
                )
    if not group.reflections:
        columns.append(_last(columns, vectors))
    return torch.stack(columns, -1)


def degenerate_vectors(
    vectors: Tensor, group: str | MatrixGroup, *, threshold: float | None = None, floor: float = 0.0
) -> Tensor:
    """Return which sets of vectors `gram_schmidt` calls degenerate.

    Args:
        vectors: ``[..., k, d]``, as of `gram_schmidt`.
        group: As of `gram_schmidt`.
        threshold: As of `gram_schmidt`.
        floor: As of `gram_schmidt`.

    Returns:
        bool ``[...]``.

    Raises:
        DegenerateFrameError: Vectors are not finite.
        ShapeError: The vectors are not as many as needed, or have another dimension.

    Properties:
        agrees_with_gram_schmidt: which raises on these and on no others.
    """
    _checked(vectors, group)
    threshold = default_threshold(vectors.dtype) if threshold is None else threshold
    with torch.no_grad():
        _, bad = _orthonormal(vectors, threshold, floor, _spare(vectors, None))
    return torch.stack(bad, -1).any(-1) if bad else vectors.new_zeros(vectors.shape[:-2], dtype=torch.bool)


def _checked(vectors: Tensor, group: str | MatrixGroup) -> MatrixGroup:
    """The group as an object, if the vectors can make a frame of it."""
    group = parse_group(group)
    count, d = vectors_needed(group), group.n
    if vectors.ndim < 2 or vectors.shape[-2:] != (count, d) or not vectors.is_floating_point():
        raise ShapeError(
            f"A frame of {group} is made of {count} vectors, a floating-point tensor [..., {count}, {d}], given "
            f"{list(vectors.shape)} {vectors.dtype}."
        )
    if not bool(vectors.isfinite().all()):
        raise DegenerateFrameError(f"The vectors of a frame of {group} are not finite.")
    return group


def _orthonormal(
    vectors: Tensor, threshold: float, floor: float, spare: tuple[Tensor, Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Orthonormal columns ``[..., d]``, one for each vector, and whether that one was degenerate and replaced."""
    count = vectors.shape[-2]
    longest = vectors.detach().norm(dim=-1).amax(-1) if count else vectors.new_zeros(vectors.shape[:-2])
    columns: list[Tensor] = []
    replaced: list[Tensor] = []
    for vector in vectors.unbind(-2):
        rest = _without(vector, columns)
        length = vector.detach().norm(dim=-1)
        left = rest.detach().norm(dim=-1)
        # "not more than" rather than "less than": zero vectors are degenerate with any threshold
        bad = (left <= threshold * length) | (length <= (threshold * longest).clamp(min=floor))
        if bool(bad.any()):
            rest = torch.where(bad.unsqueeze(-1), _longest_rest(spare, columns), rest)
        replaced.append(bad)
        columns.append(rest / rest.norm(dim=-1, keepdim=True))
    return columns, replaced


def _without(vector: Tensor, columns: list[Tensor]) -> Tensor:
    """The vector without its components along orthonormal columns; twice, for the digits of nearly parallel ones."""
    for _ in range(2):
        for column in columns:
            vector = vector - (vector * column).sum(-1, keepdim=True) * column
    return vector


def _spare(vectors: Tensor, completion: Tensor | None) -> tuple[Tensor, Tensor]:
    """What may replace a vector: first those of the caller, then the axes."""
    d = vectors.shape[-1]
    axes = torch.eye(d, dtype=vectors.dtype, device=vectors.device).expand(*vectors.shape[:-2], d, d)
    if completion is None:
        return axes[..., :0, :], axes
    if completion.ndim != vectors.ndim or (*completion.shape[:-2], d) != (*vectors.shape[:-2], completion.shape[-1]):
        raise ShapeError(
            f"The completion of vectors {list(vectors.shape)} is {[*vectors.shape[:-2], 'm', d]}, given "
            f"{list(completion.shape)}."
        )
    return completion.detach().to(vectors.dtype), axes


def _longest_rest(spare: tuple[Tensor, Tensor], columns: list[Tensor]) -> Tensor:
    """Of the spare vectors the one of which the most is left, ``[..., d]``; an axis where nothing is left of any."""
    given, axes = spare
    wide = [column.detach().unsqueeze(-2) for column in columns]
    axis = _pick(_without(axes, wide))
    if given.shape[-2] == 0:
        return axis
    rest = _pick(_without(given, wide))
    size = given.norm(dim=-1).amax(-1, keepdim=True)
    small = 1e-7 if given.dtype == torch.float64 else 1e-4
    return torch.where(rest.norm(dim=-1, keepdim=True) > small * size, rest, axis)


def _pick(vectors: Tensor) -> Tensor:
    index = vectors.norm(dim=-1).argmax(-1)[..., None, None].expand(*vectors.shape[:-2], 1, vectors.shape[-1])
    return vectors.gather(-2, index).squeeze(-2)


def _last(columns: list[Tensor], vectors: Tensor) -> Tensor:
    """The unit vector that completes d − 1 orthonormal columns to determinant +1: their generalised cross product."""
    d = vectors.shape[-1]
    if d == 1:
        return vectors.new_ones((*vectors.shape[:-2], 1))
    if d == 2:
        x, y = columns[0].unbind(-1)
        return torch.stack([-y, x], -1)
    if d == 3:
        return torch.linalg.cross(columns[0], columns[1])
    known = torch.stack(columns, -1)  # [..., d, d − 1]
    rows = [torch.cat([known[..., :i, :], known[..., i + 1 :, :]], -2) for i in range(d)]
    cofactors = [(-1) ** (i + d - 1) * torch.linalg.det(row) for i, row in enumerate(rows)]
    return torch.stack(cofactors, -1)

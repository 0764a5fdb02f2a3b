"""How group elements act on what goes into a network and comes out of it: declared representations."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from equitools.errors import ConfigError, IrrepsError, ShapeError, nearest
from equitools.groups import Irreps, irreps_matrix, parse_irreps
from equitools.ops.precision import full_precision
from equitools.symmetrize.permutation_actions import act_on_edges, act_on_nodes

__all__ = ["Representation", "act", "fold", "inverse", "parse_representation", "unfold"]

_NAMES = (
    "points",
    "vector",
    "pseudovector",
    "scalar",
    "pseudoscalar",
    "tensor2",
    "tensor3",
    "nodes",
    "edges",
    "shared",
)


@dataclass(frozen=True)
class Representation:
    """A declared representation.

    Attributes:
        kind: "points", "tensor", "scalar", "irreps", "nodes", "edges" or "shared".
        rank: Of a tensor: how many of the last axes turn.
        pseudo: Whether the determinant's sign is a factor.
        irreps: Of kind "irreps".
    """

    kind: str
    rank: int = 0
    pseudo: bool = False
    irreps: Irreps | None = None

    @property
    def degree(self) -> int:
        """The highest degree of rotations that occurs in it."""
        if self.irreps is not None:
            return max((ir.l for _, ir in self.irreps), default=0)
        return 1 if self.kind == "points" else self.rank


def parse_representation(name: str | Irreps | Representation) -> Representation:
    """Read a declared representation.

    Args:
        name: ``"points"`` (positions, moved by translations), ``"vector"``, ``"pseudovector"`` (a cross product),
            ``"scalar"``, ``"pseudoscalar"`` (a triple product), ``"tensor2"``, ``"tensor3"``, … (the last k axes),
            irreps such as ``"2x0e+1x1o"``, ``"nodes"`` and ``"edges"`` (permutation matrices act on the first axis,
            or the first two, after the batch), or ``"shared"`` (not batched; handed to the network as it is).

    Returns:
        The representation.

    Raises:
        ConfigError: The name is not known.
    """
    if isinstance(name, Representation):
        return name
    if isinstance(name, str):
        found = re.fullmatch(r"(pseudo)?tensor([1-9])", name)
        if found:
            return Representation("tensor", int(found[2]), bool(found[1]))
        if name in _NAMES:
            plain = name.removeprefix("pseudo")
            kind, rank = {"vector": ("tensor", 1), "scalar": ("scalar", 0)}.get(plain, (plain, 0))
            return Representation(kind, rank, plain != name)
    try:
        return Representation("irreps", irreps=parse_irreps(name))
    except IrrepsError as error:
        raise ConfigError(
            f"The representation {name!r} is not known. {nearest(str(name), _NAMES)} Irreps such as '4x0e+2x1o', too."
        ) from error


def inverse(elements: Tensor, *, rigid: bool = False) -> Tensor:
    """Return the inverses of group elements.

    Args:
        elements: Invertible matrices ``[..., s, s]``.
        rigid: The matrices are orthogonal, or homogeneous matrices of rigid motions, and stay so under every change
            that is differentiated: they are transposed, which is cheaper. Never for matrices with a scale that is
            learned, even where it happens to be 1: the derivative would be that of the transpose.

    Returns:
        ``[..., s, s]``.

    Raises:
        ShapeError: A matrix is singular or not square.

    Properties:
        derivative: first and second derivatives are those of the inverse, also at orthogonal matrices.
    """
    if elements.ndim < 2 or elements.shape[-1] != elements.shape[-2]:
        raise ShapeError(f"Group elements are square matrices, given {list(elements.shape)}.")
    if not rigid:
        found, info = torch.linalg.inv_ex(elements)
        if bool((info != 0).any()):
            raise ShapeError("A matrix among the group elements is singular: it has no inverse.")
        return found
    if elements.shape[-1] == 1 or not _homogeneous(elements):
        return elements.transpose(-1, -2)
    turned = elements[..., :-1, :-1].transpose(-1, -2)
    upper = torch.cat([turned, -turned @ elements[..., :-1, -1:]], -1)
    return torch.cat([upper, elements[..., -1:, :]], -2)


@full_precision
def act(
    elements: Tensor, value: Tensor, representation: str | Irreps | Representation, *, dim: int | None = None
) -> Tensor:
    """Let one group element for each batch entry act on a value.

    Args:
        elements: ``[B, d, d]``, or ``[B, d+1, d+1]`` homogeneous.
        value: ``[B, ...]``; the last axis (the last k of a tensor of rank k) is the one that turns, and between it and
            the batch there may be any axes: ``[B, N, d]``, ``[B, N, C, d]``, ``[B, d]``.
        representation: Of the value.
        dim: The dimension d of vectors, for them to be checked; by default what the elements allow.

    Returns:
        The shape and dtype of ``value``.

    Raises:
        ShapeError: The value does not fit the representation or the elements, or is of integers, which do not turn.

    Properties:
        action: act(g h, v) = act(g, act(h, v)).
    """
    rep = parse_representation(representation)
    if rep.kind in {"scalar", "shared"} and not rep.pseudo:
        return value
    if rep.kind in {"nodes", "edges"}:
        return (act_on_nodes if rep.kind == "nodes" else act_on_edges)(elements, value)
    if not value.is_floating_point():
        raise ShapeError(f"A value of dtype {value.dtype} cannot be turned: hand it over as floating point.")
    linear, shift = _parts(elements, value, rep, dim)
    if rep.irreps is not None:
        return _turn(irreps_matrix(rep.irreps, linear), value, -1)
    for axis in range(-rep.rank, 0) if rep.kind == "tensor" else ((-1,) if rep.kind == "points" else ()):
        value = _turn(linear, value, axis)
    if rep.pseudo:
        sign = torch.sign(torch.linalg.det(linear.detach()))
        value = value * sign.reshape(-1, *[1] * (value.ndim - 1))
    if rep.kind == "points" and shift is not None:
        value = value + shift.reshape(len(shift), *[1] * (value.ndim - 2), shift.shape[-1])
    return value


@full_precision
def fold(
    value: Tensor,
    elements: Tensor,
    representation: str | Irreps | Representation,
    *,
    rigid: bool = False,
    dim: int | None = None,
) -> Tensor:
    """See a value from all frames: g⁻¹ value, with the frames folded into the batch.

    Args:
        value: ``[B, ...]``.
        elements: ``[B, F, d, d]`` or ``[B, F, d+1, d+1]``.
        representation: Of the value; "shared" values are returned as they are.
        rigid: The elements are rigid motions, see `inverse`; frames of O, SO, E, SE are.
        dim: The dimension of vectors, as for `act`.

    Returns:
        ``[B·F, ...]``, the frames of one batch entry side by side.

    Raises:
        ShapeError: The shapes do not fit.
    """
    rep = parse_representation(representation)
    if rep.kind == "shared":
        return value
    batch, count = elements.shape[:2]
    if value.ndim == 0 or value.shape[0] != batch:
        raise ShapeError(f"A value {list(value.shape)} does not have one row for each of {batch} clouds.")
    repeated = value.unsqueeze(1).expand(-1, count, *[-1] * (value.ndim - 1)).flatten(0, 1)
    if rep.kind == "scalar" and not rep.pseudo:
        return repeated
    return act(inverse(elements, rigid=rigid).flatten(0, 1), repeated, rep, dim=dim)


@full_precision
def unfold(
    value: Tensor,
    elements: Tensor,
    weights: Tensor,
    representation: str | Irreps | Representation,
    *,
    dim: int | None = None,
) -> Tensor:
    """Turn a network's values back from all frames and take their weighted mean.

    Args:
        value: ``[B·F, ...]``.
        elements: ``[B, F, d, d]`` or ``[B, F, d+1, d+1]``.
        weights: ``[B, F]``.
        representation: Of the value.
        dim: The dimension of vectors, as for `act`.

    Returns:
        ``[B, ...]``: Σ_f w_f g_f value_f.

    Raises:
        ShapeError: The shapes do not fit.
    """
    batch, count = weights.shape
    if value.ndim == 0 or value.shape[0] != batch * count:
        raise ShapeError(
            f"The network was given {batch}·{count} clouds and returned {list(value.shape)}: its first axis must be "
            f"{batch * count}."
        )
    turned = act(elements.flatten(0, 1), value, representation, dim=dim).unflatten(0, (batch, count))
    return (turned * weights.to(turned.dtype).reshape(batch, count, *[1] * (value.ndim - 1))).sum(1)


def _parts(elements: Tensor, value: Tensor, rep: Representation, dim: int | None) -> tuple[Tensor, Tensor | None]:
    """The linear part ``[B, d, d]`` and the translation ``[B, d]`` of elements, by what the value's axes say."""
    if elements.ndim != 3 or value.ndim == 0 or value.shape[0] != elements.shape[0]:
        raise ShapeError(
            f"Elements [B, s, s] act on a value [B, ...], given {list(elements.shape)} and {list(value.shape)}."
        )
    size = elements.shape[-1]
    if rep.irreps is not None:
        fits = size == 3 or (size == 4 and _homogeneous(elements))
        if not fits or dim not in {None, 3} or value.shape[-1] != rep.irreps.dim:
            raise ShapeError(
                f"Irreps {rep.irreps} are [..., {rep.irreps.dim}] and need elements of O(3) or E(3); given "
                f"{list(value.shape)} and elements {list(elements.shape)}."
            )
        return (elements, None) if size == 3 else (elements[:, :3, :3], elements[:, :3, 3])
    if rep.kind == "scalar":  # a pseudoscalar: the sign of the whole matrix is that of its linear part
        return elements, None
    rank = max(rep.rank, 1)
    lengths = set(value.shape[1:][-rank:]) if value.ndim > rank else set()
    if lengths == {size} and dim in {None, size}:
        return elements, None
    if lengths == {size - 1} and dim in {None, size - 1} and _homogeneous(elements):
        return elements[:, :-1, :-1], elements[:, :-1, -1]
    raise ShapeError(
        f"Elements {list(elements.shape)} act on a {'position' if rep.kind == 'points' else f'tensor of rank {rank}'} "
        f"whose last {'axis has' if rank == 1 else f'{rank} axes have'} length "
        f"{dim or f'{size} (or {size - 1}, if they are homogeneous)'}, given {list(value.shape)}."
    )


def _homogeneous(elements: Tensor) -> bool:
    last = torch.zeros(elements.shape[-1], dtype=elements.dtype, device=elements.device)
    last[-1] = 1.0
    return bool((elements.detach()[..., -1, :] == last).all())


def _turn(matrix: Tensor, value: Tensor, axis: int) -> Tensor:
    """Apply matrices ``[B, d, d]`` along one axis of ``[B, ...]``."""
    moved = value.movedim(axis, -1)
    flat = moved.flatten(1, -2) if moved.ndim > 2 else moved.unsqueeze(1)
    both = torch.promote_types(matrix.dtype, value.dtype)
    turned = (flat.to(both) @ matrix.to(both).transpose(-1, -2)).to(value.dtype)
    return turned.reshape(moved.shape).movedim(-1, axis)

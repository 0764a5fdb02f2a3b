"""Decompositions by name: which a group has, its parts, and the element that parts make."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from equitools.errors import ShapeError, UnknownNameError, nearest
from equitools.groups.decompositions.checks import need_square
from equitools.groups.decompositions.families import Family, family
from equitools.groups.decompositions.iwasawa import iwasawa
from equitools.groups.decompositions.kak import kak
from equitools.groups.decompositions.polar import polar
from equitools.groups.lie import MatrixGroup

__all__ = ["compose", "decompose", "kinds"]

Parts = tuple[Tensor, ...]

_GENERAL: dict[str, tuple[int, Callable[[Tensor], Parts]]] = {
    "polar": (2, polar),
    "kak": (3, kak),
    "iwasawa": (3, iwasawa),
}


def _table(of: Family) -> dict[str, tuple[int, Callable[[Tensor], Parts]]]:
    """Number of parts and function of each kind of a group."""
    if of.letter in {"GL+", "SL"} and not of.affine:
        return dict(_GENERAL)
    return {}


def kinds(group: str | MatrixGroup) -> tuple[str, ...]:
    """Return the names of the decompositions that a group has.

    Args:
        group: A group, or its name.

    Raises:
        UnknownNameError: The group's name is not understood.
    """
    return tuple(_table(family(group)))


def _entry(group: str | MatrixGroup, kind: str) -> tuple[Family, int, Callable[[Tensor], Parts]]:
    of = family(group)
    table = _table(of)
    if kind not in table:
        known = nearest(str(kind), table) if table else "It has none."
        raise UnknownNameError(f"{of.name} has no decomposition {kind!r}. {known}")
    return (of, *table[kind])


def decompose(group: str | MatrixGroup, g: Tensor, kind: str) -> Parts:
    """Return the parts of elements; their product in this order is the element.

    Args:
        group: A group, or its name.
        g: ``[..., size, size]``.
        kind: One of `kinds`.

    Returns:
        Matrices ``[..., size, size]``.

    Raises:
        UnknownNameError: The group has no such decomposition.
        ShapeError: The matrices have a wrong shape or are no elements.

    Properties:
        round_trip: compose(decompose(g)) = g.
    """
    of, _, function = _entry(group, kind)
    need_square(g, f"The decomposition {kind!r} of {of.name}", of.size)
    return function(g)


def compose(group: str | MatrixGroup, parts: Sequence[Tensor], kind: str) -> Tensor:
    """Return the elements that parts make: their product.

    Args:
        group: A group, or its name.
        parts: As `decompose` returns them.
        kind: One of `kinds`.

    Returns:
        ``[..., size, size]``.

    Raises:
        UnknownNameError: The group has no such decomposition.
        ShapeError: A wrong number of parts, or of a wrong shape.
    """
    of, number, _ = _entry(group, kind)
    if len(parts) != number:
        raise ShapeError(f"The decomposition {kind!r} of {of.name} has {number} parts, given {len(parts)}.")
    for part in parts:
        need_square(part, f"The decomposition {kind!r} of {of.name}", of.size)
    g = parts[0]
    for part in parts[1:]:
        g = g @ part
    return g

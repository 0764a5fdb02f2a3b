"""Decompositions by name: which a group has, its parts, the element that parts make, and the density in the parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equitools.errors import ShapeError, UnknownNameError, nearest
from equitools.groups.decompositions.big_cell import bruhat, lu, lu_log_density
from equitools.groups.decompositions.checks import count, need_square
from equitools.groups.decompositions.families import Family, family
from equitools.groups.decompositions.iwasawa import iwasawa, iwasawa_log_density
from equitools.groups.decompositions.jordan_chevalley import multiplicative_jordan_chevalley
from equitools.groups.decompositions.kak import kak, kak_log_density
from equitools.groups.decompositions.levi import affine_levi, levi, semidirect, without_translation
from equitools.groups.decompositions.polar import polar, polar_log_density
from equitools.groups.decompositions.rank_one import (
    lorentz_iwasawa,
    lorentz_iwasawa_log_density,
    lorentz_kak,
    lorentz_kak_log_density,
    lorentz_polar,
    lorentz_polar_log_density,
    orthogonal_kak,
    orthogonal_kak_log_density,
)
from equitools.groups.decompositions.symplectic import (
    symplectic_iwasawa,
    symplectic_iwasawa_log_density,
    symplectic_kak,
    symplectic_kak_log_density,
    symplectic_polar,
    symplectic_polar_log_density,
)
from equitools.groups.decompositions.unimodular import special_iwasawa, special_kak
from equitools.groups.matrix_group import MatrixGroup

__all__ = ["compose", "decompose", "kinds", "log_density", "part_names"]

Parts = tuple[Tensor, ...]


@dataclass(frozen=True)
class _Kind:
    """A decomposition: names of its parts, the function that finds them, and the density, from all parts."""

    parts: tuple[str, ...]
    split: Callable[[Tensor], Parts]
    density: Callable[[Parts], Tensor] | None = None


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.zeros_like(parts[0][..., 0, 0])


_POLAR, _KAK, _KAN, _LDU = ("p", "k"), ("k1", "a", "k2"), ("k", "a", "n"), ("l", "d", "u")
_JORDAN = _Kind(("semisimple", "unipotent"), multiplicative_jordan_chevalley)
_GENERAL = {
    "polar": _Kind(_POLAR, polar, lambda x: polar_log_density(x[0])),
    "kak": _Kind(_KAK, kak, lambda x: kak_log_density(x[1])),
    "iwasawa": _Kind(_KAN, iwasawa, lambda x: iwasawa_log_density(x[1])),
    "lu": _Kind(_LDU, lu, lambda x: lu_log_density(x[1])),
    "bruhat": _Kind(("l", "w", "d", "u"), bruhat),
}
_SPECIAL = _GENERAL | {
    "kak": _Kind(_KAK, special_kak, lambda x: kak_log_density(x[1])),
    "iwasawa": _Kind(_KAN, special_iwasawa, lambda x: iwasawa_log_density(x[1])),
}
_SYMPLECTIC = {
    "polar": _Kind(_POLAR, symplectic_polar, lambda x: symplectic_polar_log_density(x[0])),
    "kak": _Kind(_KAK, symplectic_kak, lambda x: symplectic_kak_log_density(x[1])),
    "iwasawa": _Kind(_KAN, symplectic_iwasawa, lambda x: symplectic_iwasawa_log_density(x[1])),
}
_LORENTZ = {
    "polar": _Kind(_POLAR, lorentz_polar, lambda x: lorentz_polar_log_density(x[0])),
    "kak": _Kind(_KAK, lorentz_kak, lambda x: lorentz_kak_log_density(x[1])),
    "iwasawa": _Kind(_KAN, lorentz_iwasawa, lambda x: lorentz_iwasawa_log_density(x[1])),
}
_ORTHOGONAL = {"kak": _Kind(_KAK, orthogonal_kak, lambda x: orthogonal_kak_log_density(x[1]))}
_LEVI = _Kind(("scale", "rest"), levi, _flat)
#: Of a scaled rotation: the scale, which is a multiple of the identity, and the rotation. Its group is commutative but
#: for the rotations, so that the density is one.
_CONFORMAL = {"polar": _Kind(_POLAR, polar, _flat)}
_LINEAR: dict[str, dict[str, _Kind]] = {
    "GL+": _GENERAL,
    "SL": _SPECIAL,
    "Sp": _SYMPLECTIC,
    "O(1,3)": _LORENTZ,
    "SO+(1,3)": _LORENTZ,
    "CSO": _CONFORMAL,
}


def _lift(kind: _Kind) -> _Kind:
    """The same of the linear part, behind the translation; with respect to the left Haar measure."""

    def split(g: Tensor) -> Parts:
        translation, linear = semidirect(g)
        n = g.shape[-1] - 1
        return (translation, *map(without_translation, kind.split(linear[..., :n, :n])))

    density = kind.density
    if density is None:
        return _Kind(("translation", *kind.parts), split)

    def lifted(parts: Parts) -> Tensor:
        n = parts[0].shape[-1] - 1
        linear = tuple(part[..., :n, :n] for part in parts[1:])
        log_volume = sum((torch.linalg.slogdet(part)[1] for part in linear), _flat(parts))
        return density(linear) - log_volume

    return _Kind(("translation", *kind.parts), split, lifted)


def _semidirect_density(parts: Parts) -> Tensor:
    return -torch.linalg.slogdet(parts[-1])[1]


def _affine_levi_density(parts: Parts) -> Tensor:
    return -torch.linalg.slogdet(parts[0])[1]


def _table(of: Family) -> dict[str, _Kind]:
    """The decompositions of a group."""
    kinds_of_linear = dict(_LINEAR.get(of.letter, {}))
    if of.letter in {"O", "SO"} and of.n >= 3:
        kinds_of_linear = dict(_ORTHOGONAL)
    if not of.affine:
        if of.letter == "GL+":
            kinds_of_linear["levi"] = _LEVI
        return kinds_of_linear | ({"jordan_chevalley": _JORDAN} if kinds_of_linear else {})
    table = {"semidirect": _Kind(("translation", "linear"), semidirect, _semidirect_density)}
    # The rest is semisimple, and the first part the radical, where the rotations or volume-preserving maps are.
    if of.letter in {"GL+", "CSO"} and of.n >= (2 if of.letter == "GL+" else 3):
        table["levi"] = _Kind(("radical", "rest"), affine_levi, _affine_levi_density)
    elif of.letter in {"SL", "Sp", "O(1,3)", "SO+(1,3)"} or (of.letter in {"O", "SO"} and of.n >= 3):
        table["levi"] = _Kind(("radical", "rest"), semidirect, _semidirect_density)
    table |= {name: _lift(kind) for name, kind in kinds_of_linear.items()}
    return table | {"jordan_chevalley": _JORDAN}


def kinds(group: str | MatrixGroup) -> tuple[str, ...]:
    """Return the names of the decompositions that a group has.

    Args:
        group: A group, or its name.

    Raises:
        UnknownNameError: The group's name is not understood.

    Example:
        >>> kinds("SE(2)")
        ('semidirect', 'jordan_chevalley')
    """
    return tuple(_table(family(group)))


def _entry(group: str | MatrixGroup, name: str) -> tuple[Family, _Kind]:
    of = family(group)
    table = _table(of)
    if name not in table:
        known = nearest(str(name), table) if table else "It has none that is known here."
        raise UnknownNameError(f"{of.group.name} has no decomposition {name!r}. {known}")
    return of, table[name]


def part_names(group: str | MatrixGroup, kind: str) -> tuple[str, ...]:
    """Return the names of the parts of a decomposition, in their order.

    Args:
        group: A group, or its name.
        kind: One of `kinds`.

    Raises:
        UnknownNameError: The group has no such decomposition.

    Example:
        >>> part_names("R^2:SL(2)", "polar")
        ('translation', 'p', 'k')
    """
    return _entry(group, kind)[1].parts


def decompose(group: str | MatrixGroup, g: Tensor, kind: str) -> Parts:
    """Return the parts of elements; their product in this order is the element.

    Args:
        group: A group, or its name.
        g: ``[..., size, size]``.
        kind: One of `kinds`: ``"polar"`` → (p, k), ``"kak"`` → (k1, a, k2), ``"iwasawa"`` → (k, a, n), ``"lu"`` →
            (l, d, u), ``"bruhat"`` → (l, w, d, u), ``"levi"`` → (radical, rest), ``"semidirect"`` → (translation,
            linear), ``"jordan_chevalley"`` → (semisimple, unipotent). Of affine groups the first five are those of the
            linear part, behind the translation: (translation, p, k) and so on.

    Returns:
        Matrices ``[..., size, size]``.

    Raises:
        UnknownNameError: The group has no such decomposition.
        ShapeError: The matrices have a wrong shape or are no elements.

    Properties:
        round_trip: compose(decompose(g)) = g.
        parts_are_elements: all parts are in the group (of ``"bruhat"``: up to orientation).
    """
    of, entry = _entry(group, kind)
    what = f"The decomposition {kind!r} of {of.group.name}"
    need_square(g, what, of.group.size)
    if of.letter != "GL+" or of.affine:  # the decompositions of GL⁺ say more precisely what is wrong
        bad = ~of.group.contains(g.detach())
        if bool(bad.any()):
            raise ShapeError(f"{what}: {count(bad)} are no elements of the group. `project` gives near elements.")
    return entry.split(g)


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
    g, *others = _checked(group, parts, kind)[1]
    for part in others:
        g = g @ part
    return g


def log_density(group: str | MatrixGroup, parts: Sequence[Tensor], kind: str) -> Tensor:
    """Return the logarithm of the density of the left Haar measure in the coordinates of a decomposition.

    The functions ``…_log_density`` say what the coordinates are and how their volumes are measured. For affine groups
    it is that of the linear part less log abs(det), with the volume of the translation. (Right Haar: without it.)

    Args:
        group: A group, or its name.
        parts: As `decompose` returns them.
        kind: One of `kinds`, but neither ``"bruhat"`` nor ``"jordan_chevalley"``, which are no coordinates.

    Returns:
        ``[...]``.

    Raises:
        UnknownNameError: The group has no such decomposition, or it has no density.
        ShapeError: A wrong number of parts, or of a wrong shape.

    Properties:
        densities_are_numeric_jacobians: it is the logarithm of the determinant of the map's derivative.
    """
    (of, entry), found = _checked(group, parts, kind)
    if entry.density is None:
        known = [name for name, other in _table(of).items() if other.density is not None]
        raise UnknownNameError(f"The decomposition {kind!r} has no density. Known: {', '.join(known)}.")
    return entry.density(found)


def _checked(group: str | MatrixGroup, parts: Sequence[Tensor], kind: str) -> tuple[tuple[Family, _Kind], Parts]:
    of, entry = _entry(group, kind)
    if len(parts) != len(entry.parts):
        raise ShapeError(
            f"The decomposition {kind!r} of {of.group.name} has {len(entry.parts)} parts ({', '.join(entry.parts)}), "
            f"given {len(parts)}."
        )
    for part in parts:
        need_square(part, f"The decomposition {kind!r} of {of.group.name}", of.group.size)
    return (of, entry), tuple(parts)

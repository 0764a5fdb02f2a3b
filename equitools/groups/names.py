"""Groups by name: ``"SO(3)"`` and the object `SO(3)` mean the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable

from equitools.errors import ConfigError, UnknownNameError, nearest
from equitools.groups.affine import Affine
from equitools.groups.linear_groups import SL, GLPlus
from equitools.groups.lorentz import Lorentz
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.orthogonal import SE, SO, E, O
from equitools.groups.products import ProductGroup
from equitools.groups.scalings import DiagonalScaling, Scaling
from equitools.groups.similarity import SIM, ScaledRotations
from equitools.groups.symplectic import Sp
from equitools.groups.torus import Torus

__all__ = ["parse_group", "parse_rigid_group"]

_FAMILIES: dict[str, Callable[[int], MatrixGroup]] = {
    "O": O,
    "SO": SO,
    "E": E,
    "SE": SE,
    "GL+": GLPlus,
    "GLPlus": GLPlus,
    "SL": SL,
    "Sp": Sp,
    "SIM": SIM,
    "CSO": ScaledRotations,
    "Scaling": Scaling,
    "DiagonalScaling": DiagonalScaling,
    "Torus": Torus,
}
_LORENTZ = {"O(1,3)": Lorentz(), "SO+(1,3)": Lorentz(proper=True), "Lorentz": Lorentz()}


def parse_group(group: str | MatrixGroup) -> MatrixGroup:
    """Return the group object of a name.

    Args:
        group: ``"O(d)"``, ``"SO(d)"``, ``"E(d)"``, ``"SE(d)"``, ``"GL+(d)"``, ``"SL(d)"``, ``"Sp(d)"``, ``"SIM(d)"``,
            ``"CSO(d)"`` (scaled rotations), ``"Scaling(d)"``, ``"DiagonalScaling(d)"`` or ``"Torus(k)"`` with a number
            of 1 or more; the Lorentz groups ``"O(1,3)"`` (or ``"Lorentz"``) and ``"SO+(1,3)"``; affine groups
            ``"R^2:GL+(2)"``; products ``"SO(2)xSL(3)"`` of all these, with parentheses where they are needed; or a
            group object, which is returned as it is.

    Returns:
        The group.

    Raises:
        UnknownNameError: The name is not understood.
        ConfigError: The group does not exist: ``"Sp(3)"``, ``"R^3:SO(2)"``.

    Example:
        >>> parse_group("SE(3)").size
        4
    """
    if isinstance(group, MatrixGroup):
        return group
    if not isinstance(group, str):
        raise _unknown(group)
    name = group.replace(" ", "").replace("×", "x")
    if name in _LORENTZ:
        return _LORENTZ[name]
    parts = _factors(name)
    if len(parts) > 1 and all(parts):
        return ProductGroup(*map(parse_group, parts))
    if name.startswith("(") and name.endswith(")"):
        return parse_group(name[1:-1])
    affine = re.fullmatch(r"R\^(\d+):(.+)", name)
    if affine is not None:
        linear = parse_group(affine[2])
        if linear.n != int(affine[1]):
            raise ConfigError(f"{linear.name} acts on R^{linear.n}, not on R^{affine[1]}: the group {group!r}.")
        return Affine(linear)
    found = re.fullmatch(r"(\w+\+?)\((\d+)\)", name)
    if found is None or found[1] not in _FAMILIES or int(found[2]) < 1:
        raise _unknown(group)
    return _FAMILIES[found[1]](int(found[2]))


def parse_rigid_group(group: str | MatrixGroup, what: str, lorentz: bool = False) -> MatrixGroup:
    """Return the group object of a name, for what works with rotations (and reflections and translations) only.

    Args:
        group: As for `parse_group`.
        what: What asks, for the message: "Frames".
        lorentz: Whether Lorentz groups will do, too.

    Returns:
        O(d), SO(d), E(d) or SE(d).

    Raises:
        UnknownNameError: The name is not understood.
        ConfigError: It is another group.
    """
    found = parse_group(group)
    if isinstance(found, (O, SO, E, SE)) or (lorentz and isinstance(found, Lorentz)):
        return found
    known = "O(d), SO(d), E(d) and SE(d)" + (" and the Lorentz groups" if lorentz else "")
    raise ConfigError(f"{what} can be had for {known}, not for {found.name}.")


def _unknown(group: object) -> UnknownNameError:
    known = [f"{letter}({n})" for letter in _FAMILIES for n in (2, 4) if letter != "GLPlus"] + list(_LORENTZ)
    return UnknownNameError(
        f"The group {group!r} is not known. {nearest(str(group), known)} Other dimensions, affine groups 'R^2:SL(2)' "
        "and products 'SO(2)xSL(3)', too."
    )


def _factors(name: str) -> list[str]:
    """The parts of a name between those x that are not in parentheses."""
    parts, depth = [""], 0
    for letter in name:
        depth += (letter == "(") - (letter == ")")
        if letter == "x" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts

"""Groups by name: ``"SO(3)"`` and the object `SO(3)` mean the same everywhere."""

from __future__ import annotations

import re

from equitools.errors import UnknownNameError, nearest
from equitools.groups.affine import Affine
from equitools.groups.linear_groups import SL, GLPlus
from equitools.groups.lorentz import Lorentz
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.orthogonal import SE, SO, E, O

__all__ = ["parse_group"]

_FAMILIES: dict[str, type[MatrixGroup]] = {
    "O": O,
    "SO": SO,
    "E": E,
    "SE": SE,
    "GL+": GLPlus,
    "GLPlus": GLPlus,
    "SL": SL,
}
_LORENTZ = {"O(1,3)": Lorentz(), "SO+(1,3)": Lorentz(proper=True), "Lorentz": Lorentz()}


def parse_group(group: str | MatrixGroup) -> MatrixGroup:
    """Return the group object of a name.

    Args:
        group: ``"O(d)"``, ``"SO(d)"``, ``"E(d)"`` or ``"SE(d)"`` with a dimension d ≥ 1, the Lorentz groups
            ``"O(1,3)"`` (or ``"Lorentz"``) and ``"SO+(1,3)"``, or a group object, which is returned as it is.

    Returns:
        The group.

    Raises:
        UnknownNameError: The name is not understood.

    Example:
        >>> parse_group("SE(3)").size
        4
    """
    if isinstance(group, MatrixGroup):
        return group
    if isinstance(group, str) and group.replace(" ", "") in _LORENTZ:
        return _LORENTZ[group.replace(" ", "")]
    affine = re.fullmatch(r"R\^(\d+):(.+)", group.replace(" ", "")) if isinstance(group, str) else None
    if affine is not None:
        linear = parse_group(affine[2])
        if linear.n == int(affine[1]):
            return Affine(linear)
    found = re.fullmatch(r"([\w+]+)\((\d+)\)", group.replace(" ", "")) if isinstance(group, str) else None
    if found is None or found[1] not in _FAMILIES or int(found[2]) < 1:
        known = [f"{letter}({n})" for letter in _FAMILIES for n in (2, 3)] + list(_LORENTZ)
        raise UnknownNameError(f"The group {group!r} is not known. {nearest(str(group), known)} Other dimensions, too.")
    return _FAMILIES[found[1]](int(found[2]))

"""What the decompositions ask of a group: its linear part, by name, and whether there are translations, too."""

from __future__ import annotations

from dataclasses import dataclass

from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.names import parse_group

__all__ = ["Family", "family"]


@dataclass(frozen=True)
class Family:
    """The family of a group.

    Attributes:
        group: The group.
        letter: Of its linear part: ``"GL+"``, ``"SL"``, ``"Sp"``, ``"O"``, ``"SO"``, ``"SIM"`` (rotations times
            scalings), ``"O(1,3)"``, ``"SO+(1,3)"``, or something else.
        n: Dimension that the linear part acts on.
        affine: There are translations, too: homogeneous matrices of size n + 1.
    """

    group: MatrixGroup
    letter: str
    n: int
    affine: bool


def family(group: str | MatrixGroup) -> Family:
    """Return the family of a group or of a group's name, for example ``"GL+(3)"`` or ``"R^2:SL(2)"``.

    Raises:
        UnknownNameError: The name is not understood.
    """
    group = parse_group(group)
    name = getattr(group, "linear", group).name
    letter = name if "," in name else name.partition("(")[0]
    return Family(group, letter, group.n, group.size == group.n + 1)

"""What the decompositions ask of a group: its linear part, by name, and whether there are translations, too."""

from __future__ import annotations

from dataclasses import dataclass

from equitools.groups.affine import Affine
from equitools.groups.lorentz import Lorentz
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.names import parse_group
from equitools.groups.products import ProductGroup, SemidirectProduct

__all__ = ["Family", "family"]


@dataclass(frozen=True)
class Family:
    """The family of a group.

    Attributes:
        group: The group.
        letter: Of its linear part: ``"GL+"``, ``"SL"``, ``"Sp"``, ``"O"``, ``"SO"``, ``"CSO"`` (rotations times
            scales), ``"O(1,3)"``, ``"SO+(1,3)"``, or something else.
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
    linear = group.linear if isinstance(group, Affine) else group
    # the name of a product begins with that of its first factor, and is no family
    letter = linear.name if isinstance(linear, (Lorentz, ProductGroup, SemidirectProduct)) else linear.letter
    return Family(group, letter, group.n, isinstance(group, Affine))

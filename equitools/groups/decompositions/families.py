"""Which family a group belongs to, by its name: the decompositions need no more of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from equitools.errors import UnknownNameError
from equitools.groups.lie import MatrixGroup

__all__ = ["Family", "family"]

_LORENTZ = {"O(1,3)": "O(1,3)", "SO+(1,3)": "SO+(1,3)", "Lorentz": "O(1,3)"}
_EUCLIDEAN = {"E": "O", "SE": "SO"}


@dataclass(frozen=True)
class Family:
    """What a decomposition asks of a group.

    Attributes:
        letter: Of the linear part: ``"GL+"``, ``"SL"``, ``"Sp"``, ``"O"``, ``"SO"``, ``"SIM"`` (rotations times
            scalings), ``"O(1,3)"``, ``"SO+(1,3)"``, or something else.
        n: Dimension that the linear part acts on.
        affine: There are translations, too, and the matrices are homogeneous of size n + 1.
        name: Of the group.
    """

    letter: str
    n: int
    affine: bool
    name: str

    @property
    def size(self) -> int:
        """Number of rows of its matrices."""
        return self.n + 1 if self.affine else self.n


def family(group: str | MatrixGroup) -> Family:
    """Return the family of a group or of a group's name, for example ``"GL+(3)"`` or ``"R^2:SL(2)"``.

    Raises:
        UnknownNameError: The name is not understood.
    """
    name = (group if isinstance(group, str) else group.name).replace(" ", "")
    affine = re.fullmatch(r"R\^?(\d+):(.+)", name)
    inner = affine[2] if affine else name
    if inner in _LORENTZ:
        return Family(_LORENTZ[inner], 4, affine is not None, name)
    found = re.fullmatch(r"([A-Za-z]+\+?)\((\d+)\)", inner)
    if found is None or int(found[2]) < 1:
        raise UnknownNameError(
            f"No decompositions are known of a group with the name {name!r}. Those that have some are GL+(n), SL(n), "
            "Sp(n), SO(n), O(n), SE(n), E(n), SIM(n), O(1,3), SO+(1,3) and the affine groups over them."
        )
    letter, n = found[1], int(found[2])
    if letter in _EUCLIDEAN:
        return Family(_EUCLIDEAN[letter], n, True, name)
    return Family(letter, n, affine is not None or letter == "SIM", name)

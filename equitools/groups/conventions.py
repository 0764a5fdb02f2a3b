"""Named conventions of the real basis, and exact conversion between them.

A convention says which axis is polar, in which order the components of a degree come, whether they carry the
Condon–Shortley sign, how spherical harmonics are normalised, and which phases Clebsch–Gordan tensors have. Every model
file records the one that its coefficients are in.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ConventionError, nearest
from equitools.groups._e3nn import Irreps
from equitools.groups.irreps import parse_irreps
from equitools.groups.su2 import check_degrees
from equitools.groups.wigner import wigner_D

__all__ = ["Convention", "change_of_basis"]

_M_ORDERS = ("ascending", "interleaved")
_NORMALIZATIONS = ("component", "norm", "integral")
_CG_PHASES = ("e3nn-0.4", "e3nn-0.5")


@dataclasses.dataclass(frozen=True)
class Convention:
    """One choice of the real basis of every degree.

    Attributes:
        name: What it is called.
        axes: The Cartesian axes that the three components m = −1, 0, 1 of degree 1 stand for: ``"xyz"`` (y is polar,
            e3nn) or ``"yzx"`` (z is polar, Wikipedia and sphericart), or another order.
        m_order: ``"ascending"``: m = −l … l; ``"interleaved"``: m = 0, 1, −1, 2, −2 ….
        condon_shortley: Whether component m carries the sign (−1)^m.
        normalization: Default of the spherical harmonics: "component", "norm" or "integral".
        cg_phase: Whose signs the Clebsch–Gordan tensors have, ``"e3nn-0.4"`` or ``"e3nn-0.5"``.
        version: Of this record's form.

    Raises:
        ConventionError: A value that is not understood.
    """

    name: str
    axes: str = "xyz"
    m_order: str = "ascending"
    condon_shortley: bool = False
    normalization: str = "component"
    cg_phase: str = "e3nn-0.5"
    version: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.axes, str) or sorted(self.axes) != ["x", "y", "z"]:
            raise ConventionError(f"axes must be an order of x, y and z such as 'xyz', not {self.axes!r}.")
        for field, known in (("m_order", _M_ORDERS), ("normalization", _NORMALIZATIONS), ("cg_phase", _CG_PHASES)):
            if getattr(self, field) not in known:
                raise ConventionError(
                    f"{field} = {getattr(self, field)!r} is not known. {nearest(str(getattr(self, field)), known)}"
                )
        if not isinstance(self.condon_shortley, bool):
            raise ConventionError(f"condon_shortley must be true or false, not {self.condon_shortley!r}.")
        if self.version != 1:
            raise ConventionError(
                f"This equitools reads convention records of version 1, not {self.version!r}; update it."
            )

    @staticmethod
    def preset(name: str) -> Convention:
        """Return a named convention: ``e3nn-0.5`` (the default), ``e3nn-0.4``, ``wikipedia`` or ``sphericart``.

        Raises:
            ConventionError: No preset has this name.
        """
        if not isinstance(name, str) or name not in _PRESETS:
            raise ConventionError(f"There is no convention {name!r}. {nearest(str(name), _PRESETS)}")
        return _PRESETS[name]

    @staticmethod
    def of(value: Convention | str) -> Convention:
        """Return a convention as it is, or the preset of this name.

        Raises:
            ConventionError: No preset has this name.
        """
        return value if isinstance(value, Convention) else Convention.preset(value)

    @property
    def default_basis(self) -> bool:
        """Whether components mean the same as in the default convention, e3nn-0.5."""
        return self.axes == "xyz" and self.m_order == "ascending" and not self.condon_shortley

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able record."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Convention:
        """Read a record that `to_dict` made.

        Raises:
            ConventionError: A key is missing or unknown, or a value is not understood.
        """
        if not isinstance(record, dict):
            raise ConventionError(f"A convention record is a dictionary, not {record!r}.")
        known = {field.name for field in dataclasses.fields(cls)}
        wrong = set(record) - known
        if wrong or "name" not in record:
            raise ConventionError(
                f"A convention record needs a name and knows the keys {sorted(known)}; given: {sorted(record)}."
            )
        return cls(**record)

    def from_default(self, l: int) -> Tensor:
        """Return the orthogonal matrix from the default basis (e3nn-0.5) of degree ``l`` to this one.

        Args:
            l: Degree.

        Returns:
            ``[2l+1, 2l+1]`` float64: f_here = M f_default.

        Raises:
            IrrepsError: The degree is negative or no integer.
        """
        (l,) = check_degrees(l)
        turn = torch.zeros(3, 3, dtype=torch.float64)
        for row, axis in enumerate(self.axes):
            turn[row, "xyz".index(axis)] = 1.0
        matrix = wigner_D(l, turn)  # where the order of the axes is odd, this is (−1)^l times a rotation's matrix
        if self.condon_shortley:
            matrix = matrix * torch.tensor([(-1.0) ** m for m in range(-l, l + 1)], dtype=torch.float64)[:, None]
        if self.m_order == "interleaved":
            order = [0] + [s * m for m in range(1, l + 1) for s in (1, -1)]
            matrix = matrix[[l + m for m in order]]
        return matrix

    def harmonics_norm(self, l: int) -> float:
        """Return the norm of the spherical harmonics of degree ``l`` on the unit sphere in this normalisation."""
        if self.normalization == "norm":
            return 1.0
        component = math.sqrt(2 * l + 1)
        return component if self.normalization == "component" else component / math.sqrt(4 * math.pi)


# In Wikipedia's real harmonics the sign (−1)^m of the complex ones is taken out again: Y_{1,1} = +√(3/4π) x.
_PRESETS = {
    "e3nn-0.5": Convention("e3nn-0.5"),
    "e3nn-0.4": Convention("e3nn-0.4", cg_phase="e3nn-0.4"),
    "wikipedia": Convention("wikipedia", axes="yzx", normalization="integral"),
    "sphericart": Convention("sphericart", axes="yzx", normalization="integral"),
}


def change_of_basis(a: Convention | str, b: Convention | str, irreps: Irreps | str) -> Tensor:
    """Return the matrix that takes features from convention ``a`` to convention ``b``: f_b = C f_a.

    It is orthogonal: it changes the basis, not the scale. The scale of spherical harmonics is another matter, which
    `Convention.harmonics_norm` tells.

    Args:
        a: The convention that the features are in, or a preset's name.
        b: The convention that they are wanted in.
        irreps: What the features are, ``mul_ir``.

    Returns:
        ``[dim, dim]`` float64.

    Raises:
        ConventionError: No preset has this name.
        IrrepsError: The irreps are not understood.

    Properties:
        round_trip: C(b, a) C(a, b) = 1.
        intertwines_coupling: coupling in b what C turned = turning by C what was coupled in a, up to the phase of the
            Clebsch–Gordan tensors.
    """
    first, second = Convention.of(a), Convention.of(b)
    blocks = []
    for mul, ir in parse_irreps(irreps):
        blocks += [second.from_default(ir.l) @ first.from_default(ir.l).T] * mul
    return torch.block_diag(*blocks) if blocks else torch.zeros(0, 0, dtype=torch.float64)

"""How things transform: irreps, coupling coefficients, Wigner D matrices, rotations."""

from __future__ import annotations

from equitools.groups._e3nn import Irrep, Irreps
from equitools.groups.conventions import Convention, change_of_basis
from equitools.groups.coupling import clebsch_gordan, gaunt_coefficients
from equitools.groups.rotations import quaternion_to_matrix, random_orthogonal, random_rotation
from equitools.groups.wigner import irreps_matrix, wigner_D, wigner_D_from_quaternion

__all__ = [
    "Convention", "Irrep", "Irreps", "change_of_basis", "clebsch_gordan", "gaunt_coefficients", "irreps_matrix", "quaternion_to_matrix",
    "random_orthogonal", "random_rotation", "wigner_D", "wigner_D_from_quaternion",
]  # fmt: skip

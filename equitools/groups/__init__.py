"""How things transform: irreps, coupling coefficients, Wigner D matrices, conventions, rotations, groups."""

from __future__ import annotations

from equitools.groups.admissible import check_admissible, classify_activation
from equitools.groups.conventions import Convention, change_of_basis
from equitools.groups.coupling import clebsch_gordan, gaunt_coefficients
from equitools.groups.equivariant_maps import (
    EquivariantMaps,
    equivariant_basis,
    group_average,
    invariant_basis,
    projector,
)
from equitools.groups.finite_rotations import (
    cyclic_group,
    dihedral_group,
    finite_group,
    icosahedral_group,
    multiplication_table,
    octahedral_group,
    tetrahedral_group,
    with_inversion,
)
from equitools.groups.generators import Generators, generators_of
from equitools.groups.irreps import Irrep, Irreps, parse_irreps
from equitools.groups.lie import SE, SO, E, MatrixGroup, O
from equitools.groups.lorentz import Lorentz, lorentz_metric, polar_factor
from equitools.groups.names import parse_group
from equitools.groups.representations import Rep, regular, scalar, tensor, vector
from equitools.groups.rotations import (
    axis_angle_to_matrix,
    matrix_to_quaternion,
    quaternion_to_matrix,
    random_orthogonal,
    random_rotation,
)
from equitools.groups.su2 import real_to_complex
from equitools.groups.wigner import irreps_matrix, wigner_D, wigner_D_from_quaternion

__all__ = [
    "SE",
    "SO",
    "Convention",
    "E",
    "EquivariantMaps",
    "Generators",
    "Irrep",
    "Irreps",
    "Lorentz",
    "MatrixGroup",
    "O",
    "Rep",
    "axis_angle_to_matrix",
    "change_of_basis",
    "check_admissible",
    "classify_activation",
    "clebsch_gordan",
    "cyclic_group",
    "dihedral_group",
    "equivariant_basis",
    "finite_group",
    "gaunt_coefficients",
    "generators_of",
    "group_average",
    "icosahedral_group",
    "invariant_basis",
    "irreps_matrix",
    "lorentz_metric",
    "matrix_to_quaternion",
    "multiplication_table",
    "octahedral_group",
    "parse_group",
    "parse_irreps",
    "polar_factor",
    "projector",
    "quaternion_to_matrix",
    "random_orthogonal",
    "random_rotation",
    "real_to_complex",
    "regular",
    "scalar",
    "tensor",
    "tetrahedral_group",
    "vector",
    "wigner_D",
    "wigner_D_from_quaternion",
    "with_inversion",
]

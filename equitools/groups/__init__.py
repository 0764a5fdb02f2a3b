"""How things transform: irreps, coupling coefficients, Wigner D matrices, conventions, rotations, groups."""

from __future__ import annotations

from equitools.groups.affine import Affine, homogeneous_matrices
from equitools.groups.conventions import Convention, change_of_basis
from equitools.groups.coupling import clebsch_gordan, gaunt_coefficients
from equitools.groups.decompositions import polar_chart, polar_chart_inverse, polar_chart_log_density
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
from equitools.groups.irreps import Irrep, Irreps, parse_irreps
from equitools.groups.linear_groups import SL, GLPlus
from equitools.groups.lorentz import Lorentz, lorentz_metric
from equitools.groups.matrix_functions import matrix_exp, matrix_log, polar
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.names import parse_group, parse_rigid_group
from equitools.groups.orthogonal import SE, SO, E, O
from equitools.groups.polar_factor import form_polar_factor, polar_factor
from equitools.groups.products import ProductGroup, SemidirectProduct
from equitools.groups.rotations import (
    axis_angle_to_matrix,
    matrix_to_quaternion,
    quaternion_to_matrix,
    random_orthogonal,
    random_rotation,
)
from equitools.groups.scalings import DiagonalScaling, Scaling
from equitools.groups.similarity import SIM, ScaledRotations
from equitools.groups.su2 import real_to_complex
from equitools.groups.symplectic import Sp, symplectic_form
from equitools.groups.torus import Torus
from equitools.groups.wigner import irreps_matrix, wigner_D, wigner_D_from_quaternion

__all__ = [
    "SE",
    "SIM",
    "SL",
    "SO",
    "Affine",
    "Convention",
    "DiagonalScaling",
    "E",
    "GLPlus",
    "Irrep",
    "Irreps",
    "Lorentz",
    "MatrixGroup",
    "O",
    "ProductGroup",
    "ScaledRotations",
    "Scaling",
    "SemidirectProduct",
    "Sp",
    "Torus",
    "axis_angle_to_matrix",
    "change_of_basis",
    "clebsch_gordan",
    "cyclic_group",
    "dihedral_group",
    "finite_group",
    "form_polar_factor",
    "gaunt_coefficients",
    "homogeneous_matrices",
    "icosahedral_group",
    "irreps_matrix",
    "lorentz_metric",
    "matrix_exp",
    "matrix_log",
    "matrix_to_quaternion",
    "multiplication_table",
    "octahedral_group",
    "parse_group",
    "parse_irreps",
    "parse_rigid_group",
    "polar",
    "polar_chart",
    "polar_chart_inverse",
    "polar_chart_log_density",
    "polar_factor",
    "quaternion_to_matrix",
    "random_orthogonal",
    "random_rotation",
    "real_to_complex",
    "symplectic_form",
    "tetrahedral_group",
    "wigner_D",
    "wigner_D_from_quaternion",
    "with_inversion",
]

"""How things transform: irreps, coupling coefficients, Wigner D matrices, conventions, rotations, groups."""

from __future__ import annotations

from equitools.groups.admissible import check_admissible, classify_activation
from equitools.groups.affine import Affine, homogeneous_matrices
from equitools.groups.algebras import InvariantForms, algebra_cosine, invariant_forms, subspace_cosines
from equitools.groups.conventions import Convention, change_of_basis
from equitools.groups.coupling import clebsch_gordan, gaunt_coefficients
from equitools.groups.decompositions import polar_chart, polar_chart_inverse, polar_chart_log_density
from equitools.groups.equivariant_maps import (
    EquivariantMaps,
    equivariant_basis,
    group_average,
    invariant_basis,
    projector,
)
from equitools.groups.estimates import InvarianceEstimate, WeightedMean, invariance_estimate, weighted_mean
from equitools.groups.finite import FiniteGroup
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
from equitools.groups.haar import log_uniform_rotations, rotation_volume, sample_haar, spaced_rotations
from equitools.groups.irreps import Irrep, Irreps, parse_irreps
from equitools.groups.linear_groups import SL, GLPlus
from equitools.groups.lorentz import Lorentz, lorentz_metric
from equitools.groups.matrix_functions import matrix_exp, matrix_log, polar
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.names import parse_group, parse_rigid_group
from equitools.groups.orthogonal import SE, SO, E, O
from equitools.groups.polar_factor import form_polar_factor, polar_factor
from equitools.groups.polar_sampling import haar_from_lebesgue, log_normal_spd, sample_polar
from equitools.groups.products import ProductGroup, SemidirectProduct
from equitools.groups.quadrature import Quadrature, icosahedral_grid, rotation_quadrature, sphere_quadrature
from equitools.groups.representations import Rep, regular, scalar, tensor, vector
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
    "EquivariantMaps",
    "FiniteGroup",
    "GLPlus",
    "Generators",
    "InvarianceEstimate",
    "InvariantForms",
    "Irrep",
    "Irreps",
    "Lorentz",
    "MatrixGroup",
    "O",
    "ProductGroup",
    "Quadrature",
    "Rep",
    "ScaledRotations",
    "Scaling",
    "SemidirectProduct",
    "Sp",
    "Torus",
    "WeightedMean",
    "algebra_cosine",
    "axis_angle_to_matrix",
    "change_of_basis",
    "check_admissible",
    "classify_activation",
    "clebsch_gordan",
    "cyclic_group",
    "dihedral_group",
    "equivariant_basis",
    "finite_group",
    "form_polar_factor",
    "gaunt_coefficients",
    "generators_of",
    "group_average",
    "haar_from_lebesgue",
    "homogeneous_matrices",
    "icosahedral_grid",
    "icosahedral_group",
    "invariance_estimate",
    "invariant_basis",
    "invariant_forms",
    "irreps_matrix",
    "log_normal_spd",
    "log_uniform_rotations",
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
    "projector",
    "quaternion_to_matrix",
    "random_orthogonal",
    "random_rotation",
    "real_to_complex",
    "regular",
    "rotation_quadrature",
    "rotation_volume",
    "sample_haar",
    "sample_polar",
    "scalar",
    "spaced_rotations",
    "sphere_quadrature",
    "subspace_cosines",
    "symplectic_form",
    "tensor",
    "tetrahedral_group",
    "vector",
    "weighted_mean",
    "wigner_D",
    "wigner_D_from_quaternion",
    "with_inversion",
]

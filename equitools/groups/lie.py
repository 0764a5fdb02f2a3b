"""The matrix Lie groups, collected: each is in a small file of its own, and every name can be had from here."""

from __future__ import annotations

from equitools.groups.affine import Affine
from equitools.groups.linear_groups import SL, GLPlus
from equitools.groups.lorentz import Lorentz
from equitools.groups.matrix_functions import matrix_log as matrix_logarithm
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.orthogonal import SE, SO, E, O
from equitools.groups.products import ProductGroup, SemidirectProduct
from equitools.groups.scalings import DiagonalScaling, Scaling
from equitools.groups.similarity import SIM, ScaledRotations
from equitools.groups.symplectic import Sp
from equitools.groups.torus import Torus

__all__ = [
    "SE",
    "SIM",
    "SL",
    "SO",
    "Affine",
    "DiagonalScaling",
    "E",
    "GLPlus",
    "Lorentz",
    "MatrixGroup",
    "O",
    "ProductGroup",
    "ScaledRotations",
    "Scaling",
    "SemidirectProduct",
    "Sp",
    "Torus",
    "matrix_logarithm",
]

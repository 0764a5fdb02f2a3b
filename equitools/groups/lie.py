"""The matrix Lie groups, collected: each is in a small file of its own, and every name can be had from here."""

from __future__ import annotations

from equitools.groups.affine import Affine
from equitools.groups.linear_groups import SL, GLPlus
from equitools.groups.matrix_functions import matrix_log as matrix_logarithm
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.orthogonal import SE, SO, E, O

__all__ = ["SE", "SL", "SO", "Affine", "E", "GLPlus", "MatrixGroup", "O", "matrix_logarithm"]

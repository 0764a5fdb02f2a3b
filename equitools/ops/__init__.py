"""Stateless tensor operations. Each is described by a small plan and executed by a backend chosen at call time."""

from __future__ import annotations

from equitools.ops.backend import BackendStatus, active_backend, extension_loaded, status, use_backend
from equitools.ops.diagram_tables import DiagramSpace
from equitools.ops.diagrams import diagram_linear
from equitools.ops.eigh3 import eigh3
from equitools.ops.gaunt import gaunt_power, gaunt_tensor_product
from equitools.ops.gaunt_conv import gaunt_convolution
from equitools.ops.gaunt_powers import gaunt_power_variance, gaunt_powers
from equitools.ops.grid_actions import grid_index, permute_pixels
from equitools.ops.kernel_orbits import group_kernel, group_kernel_index, lifting_kernel, lifting_kernel_index
from equitools.ops.matrix_functions import matrix_exp, matrix_log, polar
from equitools.ops.matrix_product import matrix_product
from equitools.ops.plan import SymmetricContractionPlan, TensorProductPlan
from equitools.ops.point_sets import (
    ball_query,
    farthest_points,
    gather_points,
    interpolate_points,
    k_nearest,
    lexicographic_order,
    squared_distances,
)
from equitools.ops.principal_axes import ExaminedAxes, examined_axes, principal_axes, signed_axes
from equitools.ops.radial import bessel_basis, polynomial_envelope
from equitools.ops.segment import segment_gather, segment_max, segment_mean, segment_softmax, segment_sum
from equitools.ops.so2 import EdgeFrames, edge_frames, edge_quaternion, rotate_from_pole, rotate_to_pole, wigner_blocks
from equitools.ops.so2_linear import by_degree, by_order, so2_linear
from equitools.ops.spherical_harmonics import spherical_harmonics
from equitools.ops.symmetric_contraction import symmetric_contraction
from equitools.ops.tensor_product_conv import radial_tensor_product_conv, tensor_product_conv
from equitools.ops.top_eigenpairs import top_eigenpairs

__all__ = [
    "BackendStatus",
    "DiagramSpace",
    "EdgeFrames",
    "ExaminedAxes",
    "SymmetricContractionPlan",
    "TensorProductPlan",
    "active_backend",
    "ball_query",
    "bessel_basis",
    "by_degree",
    "by_order",
    "diagram_linear",
    "edge_frames",
    "edge_quaternion",
    "eigh3",
    "examined_axes",
    "extension_loaded",
    "farthest_points",
    "gather_points",
    "gaunt_convolution",
    "gaunt_power",
    "gaunt_power_variance",
    "gaunt_powers",
    "gaunt_tensor_product",
    "grid_index",
    "group_kernel",
    "group_kernel_index",
    "interpolate_points",
    "k_nearest",
    "lexicographic_order",
    "lifting_kernel",
    "lifting_kernel_index",
    "matrix_exp",
    "matrix_log",
    "matrix_product",
    "permute_pixels",
    "polar",
    "polynomial_envelope",
    "principal_axes",
    "radial_tensor_product_conv",
    "rotate_from_pole",
    "rotate_to_pole",
    "segment_gather",
    "segment_max",
    "segment_mean",
    "segment_softmax",
    "segment_sum",
    "signed_axes",
    "so2_linear",
    "spherical_harmonics",
    "squared_distances",
    "status",
    "symmetric_contraction",
    "tensor_product_conv",
    "top_eigenpairs",
    "use_backend",
    "wigner_blocks",
]

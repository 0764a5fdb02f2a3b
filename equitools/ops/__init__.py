"""Stateless tensor operations. Each is described by a small plan and executed by a backend chosen at call time."""

from __future__ import annotations

from equitools.ops.backend import BackendStatus, active_backend, extension_loaded, status, use_backend
from equitools.ops.gaunt import gaunt_power, gaunt_tensor_product
from equitools.ops.matrix_product import matrix_product
from equitools.ops.plan import SymmetricContractionPlan, TensorProductPlan
from equitools.ops.radial import bessel_basis, polynomial_envelope
from equitools.ops.segment import segment_gather, segment_max, segment_mean, segment_softmax, segment_sum
from equitools.ops.spherical_harmonics import spherical_harmonics
from equitools.ops.symmetric_contraction import symmetric_contraction
from equitools.ops.tensor_product_conv import radial_tensor_product_conv, tensor_product_conv

__all__ = [
    "BackendStatus",
    "SymmetricContractionPlan",
    "TensorProductPlan",
    "active_backend",
    "bessel_basis",
    "extension_loaded",
    "gaunt_power",
    "gaunt_tensor_product",
    "matrix_product",
    "polynomial_envelope",
    "radial_tensor_product_conv",
    "segment_gather",
    "segment_max",
    "segment_mean",
    "segment_softmax",
    "segment_sum",
    "spherical_harmonics",
    "status",
    "symmetric_contraction",
    "tensor_product_conv",
    "use_backend",
]

"""Stateless tensor operations. Each is described by a small plan and executed by a backend chosen at call time."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from equitools.ops.backend import BackendStatus, active_backend, extension_loaded, status, use_backend
from equitools.ops.segment import segment_max, segment_mean, segment_softmax, segment_sum
from equitools.ops.spherical_harmonics import spherical_harmonics

if TYPE_CHECKING:
    from equitools.ops.plan import SymmetricContractionPlan, TensorProductPlan
    from equitools.ops.symmetric_contraction import symmetric_contraction
    from equitools.ops.tensor_product_conv import tensor_product_conv

__all__ = [
    "BackendStatus",
    "SymmetricContractionPlan",
    "TensorProductPlan",
    "active_backend",
    "extension_loaded",
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

# Plans need the coupling coefficients of equitools.groups, hence e3nn; the operations above do not.
_LAZY = {
    "SymmetricContractionPlan": "plan",
    "TensorProductPlan": "plan",
    "symmetric_contraction": "symmetric_contraction",
    "tensor_product_conv": "tensor_product_conv",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(f"equitools.ops.{_LAZY[name]}"), name)
        globals()[name] = value  # importing the module has put the module itself under this name
        return value
    raise AttributeError(f"module 'equitools.ops' has no attribute {name!r}")

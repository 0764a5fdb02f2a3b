"""Tools to test models with: tolerances, random inputs, an equivariance report and an inheritable acceptance suite.

`equivariance_report` needs torch alone; `strategies` needs hypothesis, and `ModelAcceptance` pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from equitools.testing import tolerances
from equitools.testing.clouds import degenerate_clouds
from equitools.testing.equivariance import equivariance_report
from equitools.testing.expressivity import Expressivity, coupling_paths, expressivity, path_coefficients
from equitools.testing.grid_report import grid_equivariance
from equitools.testing.point_report import PointReport, point_report
from equitools.testing.report import Report, Row
from equitools.testing.structures import Structure, build_graph, random_crystal, random_molecule

if TYPE_CHECKING:
    from equitools.testing import acceptance, checks, strategies
    from equitools.testing.acceptance import ModelAcceptance

__all__ = [
    "Expressivity", "ModelAcceptance", "PointReport", "Report", "Row", "Structure", "acceptance", "build_graph",
    "checks", "coupling_paths", "degenerate_clouds", "equivariance_report", "expressivity",
    "grid_equivariance", "path_coefficients",
    "point_report", "random_crystal", "random_molecule", "strategies", "tolerances",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in {"acceptance", "checks", "strategies"}:
        return importlib.import_module(f"equitools.testing.{name}")
    if name == "ModelAcceptance":
        return importlib.import_module("equitools.testing.acceptance").ModelAcceptance
    raise AttributeError(f"module 'equitools.testing' has no attribute {name!r}")

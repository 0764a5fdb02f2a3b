"""Training and evaluation: configuration, losses, the lightning module, runs that survive a kill.

Lightning is imported by `train` only; `load_config` and `evaluate` do without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equitools.training.config import TrainConfig, dump_config, load_config, parse_config
    from equitools.training.lie_gan import FoundSymmetry, LieGAN, Verdict, find_symmetry, judge_symmetry
    from equitools.training.lie_generator import LieGenerator, PairDiscriminator
    from equitools.training.metrics import Metrics, Row, evaluate
    from equitools.training.module import DivergenceError
    from equitools.training.prepare import Sets
    from equitools.training.projection_regulariser import ProjectionRegulariser, ProjectionTuning
    from equitools.training.report import error_table
    from equitools.training.run import TrainResult, train

_HOMES = {
    "DivergenceError": "module",
    "FoundSymmetry": "lie_gan",
    "LieGAN": "lie_gan",
    "LieGenerator": "lie_generator",
    "Metrics": "metrics",
    "PairDiscriminator": "lie_generator",
    "ProjectionRegulariser": "projection_regulariser",
    "ProjectionTuning": "projection_regulariser",
    "Row": "metrics",
    "Sets": "prepare",
    "TrainConfig": "config",
    "TrainResult": "run",
    "Verdict": "lie_gan",
    "dump_config": "config",
    "error_table": "report",
    "evaluate": "metrics",
    "find_symmetry": "lie_gan",
    "judge_symmetry": "lie_gan",
    "load_config": "config",
    "parse_config": "config",
    "train": "run",
}

__all__ = [
    "DivergenceError",
    "FoundSymmetry",
    "LieGAN",
    "LieGenerator",
    "Metrics",
    "PairDiscriminator",
    "ProjectionRegulariser",
    "ProjectionTuning",
    "Row",
    "Sets",
    "TrainConfig",
    "TrainResult",
    "Verdict",
    "dump_config",
    "error_table",
    "evaluate",
    "find_symmetry",
    "judge_symmetry",
    "load_config",
    "parse_config",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'equitools.training' has no attribute {name!r}")
    home = f"equitools.training.{_HOMES[name]}"
    try:
        return getattr(importlib.import_module(home), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "lightning":
            raise
        from equitools.errors import MissingDependencyError

        raise MissingDependencyError("Training needs lightning: pip install 'equitools[train]'.") from error

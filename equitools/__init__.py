"""equitools: networks that respect symmetry, from group representations to molecular dynamics.

The floors, from the bottom: `groups`, `ops`, `graph`, `symmetrize` and `nn`, `models`, `data`, `training`,
`integrations`, `cli`; `testing` beside them. Packages are imported when they are first touched, so that
``import equitools`` is quick and needs only what it uses.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from equitools._version import __version__

if TYPE_CHECKING:
    from equitools import cli, data, graph, groups, integrations, models, nn, ops, symmetrize, testing, training
    from equitools.models.files import load, save

_PACKAGES = (
    "cli", "data", "graph", "groups", "integrations", "models", "nn", "ops", "symmetrize", "testing", "training",
)  # fmt: skip
_NAMES = {"load": "equitools.models.files", "save": "equitools.models.files"}

__all__ = [
    "__version__",
    "cli",
    "data",
    "graph",
    "groups",
    "integrations",
    "load",
    "models",
    "nn",
    "ops",
    "save",
    "symmetrize",
    "testing",
    "training",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"equitools.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'equitools' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

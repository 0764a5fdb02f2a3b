"""Bridges to other engines. Each one is imported only when it is asked for: `equitools.integrations.ase`."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["ase"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"equitools.integrations.{name}")
    raise AttributeError(f"module 'equitools.integrations' has no attribute {name!r}")

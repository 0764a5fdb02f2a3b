"""The one place that imports e3nn.

e3nn 0.4.4 unpickles a table when it is imported, which torch's safe default refuses. The import is therefore done with
exactly the one extra class allowed that the table needs, and the process-wide default stays as it is.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import warnings
from typing import TYPE_CHECKING

import torch

__all__ = ["E3NN_VERSION", "Irrep", "Irreps"]

E3NN_VERSION = importlib.metadata.version("e3nn")

_allow = getattr(torch.serialization, "safe_globals", None)
with _allow([slice]) if _allow else contextlib.nullcontext(), warnings.catch_warnings():
    warnings.simplefilter("ignore")  # e3nn announces deprecations of its own use of torch.jit
    from e3nn.o3 import Irrep, Irreps

if TYPE_CHECKING:
    from e3nn.o3 import Irrep, Irreps

"""The one place that imports e3nn.

e3nn 0.4.4 unpickles a table when it is imported, which torch's safe default refuses. The import is therefore done with
exactly the one extra class allowed that the table needs, and the process-wide default stays as it is.

Only the module with the irreps is imported, and torch's compiler is left alone: the rest of ``e3nn.o3`` needs sympy and
``torch._dynamo``, a second that nobody who imports this package should wait for. It is loaded when it is first touched.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import sys
import threading
import types
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

__all__ = ["E3NN_VERSION", "Irrep", "Irreps"]

E3NN_VERSION = importlib.metadata.version("e3nn")

_lock = threading.RLock()


class _Deferred(types.ModuleType):
    """A package whose ``__init__`` runs when one of its public names is asked for; its modules can be imported before.

    The modules that were imported before stay the ones that they are: there is one `Irreps`, whoever imports it.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") and name != "__all__":  # a module of the package: for the import system to find
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        with _lock:
            if type(self) is _Deferred:
                self.__class__ = types.ModuleType  # type: ignore[assignment]
                spec = self.__spec__
                assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - _deferred_package made it
                try:
                    spec.loader.exec_module(self)
                except BaseException:
                    self.__class__ = _Deferred
                    raise
        return getattr(self, name)

    def __dir__(self) -> list[str]:
        return sorted(self.__all__)


def _deferred_package(name: str) -> None:
    """Put a package into ``sys.modules`` as a `_Deferred`, unless it is there already."""
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    module = _Deferred(name)
    module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
    module.__package__, module.__path__ = name, list(spec.submodule_search_locations or ())
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    setattr(sys.modules[parent], child, module)


@contextlib.contextmanager
def _light() -> Iterator[None]:
    """Import under this: nothing is compiled, warned about, or kept beyond the block."""
    allow = getattr(torch.serialization, "safe_globals", None)
    # torch's own decorator for its own modules does the same as the public one, and imports the compiler when the
    # function is first called instead of at once.
    disable, lazy = torch.compiler.disable, getattr(torch, "_disable_dynamo", None)
    with allow([slice]) if allow else contextlib.nullcontext(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # e3nn announces deprecations of its own use of torch.jit
        try:
            torch.compiler.disable = disable if lazy is None else lazy
            yield
        finally:
            torch.compiler.disable = disable


with _light():
    _deferred_package("e3nn.o3")
    from e3nn.o3._irreps import Irrep, Irreps

if TYPE_CHECKING:
    from e3nn.o3 import Irrep, Irreps

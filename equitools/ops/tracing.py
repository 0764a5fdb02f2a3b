"""Whether a compiler is looking on."""

from __future__ import annotations

import sys

import torch

__all__ = ["tracing"]


def tracing() -> bool:
    """Return whether the call is being traced: by torch.compile, by torch.export, or by ``make_fx``.

    Then no value of a tensor may be looked at, for the numbers that are there now are not those of later calls.
    """
    if torch.compiler.is_compiling():
        return True
    # Only where somebody has imported it: it brings much of the compiler with it.
    tracer = getattr(sys.modules.get("torch.fx.experimental.proxy_tensor"), "get_proxy_mode", None)
    return tracer is not None and tracer() is not None

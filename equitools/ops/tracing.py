"""Whether a compiler is looking on."""

from __future__ import annotations

import sys

import torch

__all__ = ["mode_active", "tracing"]


def tracing() -> bool:
    """Return whether the call is being traced: by torch.compile, by torch.export, or by ``make_fx``.

    Then no value of a tensor may be looked at, for the numbers that are there now are not those of later calls.
    """
    if torch.compiler.is_compiling():
        return True
    # Only where somebody has imported it: it brings much of the compiler with it.
    tracer = getattr(sys.modules.get("torch.fx.experimental.proxy_tensor"), "get_proxy_mode", None)
    return tracer is not None and tracer() is not None


def mode_active() -> bool:
    """Return whether a mode stands between the call and the tensors, such as ``FakeTensorMode``, or a tracer looks on.

    A tensor made now may be one without numbers: it must not be kept for later calls.
    """
    modes = getattr(torch._C, "_len_torch_dispatch_stack", None)  # private: without it only tracers are seen
    return tracing() or (modes is not None and modes() > 0)

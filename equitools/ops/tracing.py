"""Whether a compiler is looking on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import torch

__all__ = ["constant_when_traced", "mode_active", "reverse_only", "tracing"]

F = TypeVar("F", bound=Callable[..., object])


def constant_when_traced(function: F) -> F:
    """Have torch.compile run a function, instead of tracing it, and take its results for constants.

    The same as ``torch.compiler.assume_constant_result``, which would import the compiler to set this mark.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


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


def reverse_only() -> bool:
    """Return whether no derivative is being taken forward and nothing is mapped over: at most gradients are recorded.

    A ``torch.autograd.Function`` with a forward derivative of its own is right for one level of them, and not for
    forward over forward: there torch does not show it the outer level of what it has saved.
    """
    if getattr(torch.autograd.forward_ad, "_current_level", 0) >= 0:  # private: without it, be careful
        return False
    functorch = getattr(torch._C, "_functorch", None)
    if functorch is None:
        return True
    return all(level.key() == functorch.TransformType.Grad for level in functorch.get_interpreter_stack() or [])

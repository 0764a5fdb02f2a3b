"""Full precision where autocast is on: features are never rounded to bfloat16 behind the user's back.

Rounding does not commute with rotations. An equivariant network that multiplies matrices in bfloat16 is equivariant to
three digits only, and its energies have as many. So the operations, the layers and the potentials of this package run
in the dtype of their parameters, under autocast, too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

__all__ = ["HALF", "full_precision"]

P = ParamSpec("P")
R = TypeVar("R")
#: Dtypes that have no linear algebra.
HALF = (torch.bfloat16, torch.float16)


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Switch autocast off within a function, and widen to float32 what autocast has made of its arguments.

    Without autocast the function is called as it is; half-precision tensors then are the caller's own will.

    Args:
        function: The device is that of the first argument that has one: a tensor, a graph, or a list of such.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        device = ""
        for value in (*args, *kwargs.values()):
            device = device or _device(value)
        if not device or not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*map(_widened, args), **{k: _widened(v) for k, v in kwargs.items()})

    return wrapper


def _device(value: Any) -> str:
    """Return the type of the device of a tensor, or of anything else with a device, or of a list of such."""
    if isinstance(value, list | tuple):
        return next(filter(None, map(_device, value)), "")
    device = None if isinstance(value, torch.nn.Module) else getattr(value, "device", None)
    return device.type if isinstance(device, torch.device) else ""


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype in HALF else value
    if isinstance(value, list | tuple) and type(value) in {list, tuple}:
        return type(value)(_widened(v) for v in value)
    return value

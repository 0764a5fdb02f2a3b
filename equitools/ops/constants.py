"""Tables of numbers as tensors, made once for each dtype and device."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equitools.ops.tracing import constant_when_traced, mode_active

__all__ = ["constants", "numbers"]

_made: dict[tuple[Any, ...], tuple[Tensor, ...]] = {}


@constant_when_traced
def constants(
    module: str, name: str, arguments: tuple[Any, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, ...]:
    """Return what a function of a module of tables returns, as tensors. To torch.compile they are constants.

    Args:
        module: Of `equitools.ops`, such as ``"so2_tables"``.
        name: The function: it returns an array of float64 or of integers, or a tuple of them.
        arguments: Its arguments, hashable.
        dtype: Of the tensors; those of integers stay as they are.
        device: Of the tensors.
    """
    key = (module, name, arguments, dtype, device)
    kept = not mode_active()  # what a tracer or a fake mode hands out means nothing afterwards
    if kept and key in _made:
        return _made[key]
    found = getattr(importlib.import_module(f"equitools.ops.{module}"), name)(*arguments)
    with torch.inference_mode(False):  # a table of an inference could not be used in a training
        parts = found if isinstance(found, tuple) else (found,)
        made = {id(part): _tensor(part, dtype, device) for part in parts}  # one where an array stands several times
        tables = tuple(made[id(part)] for part in parts)
    if kept and not any(map(_is_wrapped, tables)):
        _made[key] = tables
    return tables


def _tensor(array: np.ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an array as a tensor, converted by numpy where it can: a transform looks on at what torch converts."""
    numpy_dtype = {torch.float32: np.float32, torch.float64: np.float64}.get(dtype)
    if array.dtype.kind != "i" and numpy_dtype is not None:
        array = array.astype(numpy_dtype)
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, None if array.dtype.kind == "i" else dtype)


def _is_wrapped(tensor: Tensor) -> bool:
    """Return whether a tensor belongs to a transform such as ``torch.func.jvp``, and means nothing after it."""
    functorch = getattr(torch._C, "_functorch", None)
    return functorch is not None and functorch.is_functorch_wrapped_tensor(tensor)


def numbers(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Return numbers as a tensor of the dtype and on the device of another, rounded once.

    A buffer would be rounded to float32 when a module is made, and stay so when the module becomes one of float64.

    Args:
        values: The numbers.
        like: Says the dtype and the device.
    """
    return constants("constants", "_array", (values,), like.dtype, like.device)[0]


def _array(values: tuple[float, ...]) -> np.ndarray:
    return np.array(values)

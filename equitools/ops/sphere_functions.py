"""What all products of functions on the sphere share: the form of the coefficients, the checks, the tables."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.ops.constants import constants

__all__ = ["MAX_GAUNT_DEGREE", "broadcast_channels", "check_factors", "lmax_of", "table_of"]

#: Highest degree of a factor or a product.
MAX_GAUNT_DEGREE = 32


def lmax_of(name: str, x: Tensor) -> int:
    """Return L of coefficients ``[..., (L+1)², C]``.

    Args:
        name: Of the tensor, for the message.
        x: The tensor.

    Raises:
        ShapeError: It has another shape.
    """
    components = x.shape[-2] if x.ndim >= 2 else 0
    lmax = math.isqrt(components) - 1
    if (lmax + 1) ** 2 != components or lmax < 0:
        raise ShapeError(
            f"{name} must hold the coefficients of all degrees up to one, [..., (L+1)², C], the tensor given is "
            f"{list(x.shape)}."
        )
    return lmax


def check_factors(x: Tensor, y: Tensor, lmax3: int) -> None:
    """Look whether two functions can be multiplied.

    Args:
        x: ``[..., (L1+1)², C]``.
        y: ``[..., (L2+1)², C]``, or one of both of one channel.
        lmax3: Highest degree that is wanted.

    Raises:
        ShapeError: They cannot.
    """
    for lmax in (lmax_of("x", x), lmax_of("y", y), lmax3):
        if not 0 <= lmax <= MAX_GAUNT_DEGREE:
            raise ShapeError(f"The Gaunt product has degrees 0 to {MAX_GAUNT_DEGREE}, {lmax} was asked for.")
    if x.dtype not in (torch.float32, torch.float64) or x.dtype != y.dtype or x.device != y.device:
        raise ShapeError(
            "The factors of the Gaunt product must both be float32 or both float64, on one device; they are "
            f"{x.dtype} on {x.device} and {y.dtype} on {y.device}. Its sums cancel: half precision would keep no digit."
        )
    if x.shape[-1] != y.shape[-1] and 1 not in (x.shape[-1], y.shape[-1]):
        raise ShapeError(
            f"The factors must have the same number of channels, or one of them one; they have {x.shape[-1]} and "
            f"{y.shape[-1]}."
        )
    if x.shape[:-2] != y.shape[:-2]:
        try:
            torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        except RuntimeError as error:
            raise ShapeError(
                f"The factors' leading dimensions do not fit together: {list(x.shape)} and {list(y.shape)}."
            ) from error


def broadcast_channels(*channels: int) -> int:
    """Return the number of channels of a product, of factors that have so many or one; it may be zero."""
    return next((number for number in channels if number != 1), 1)


def table_of(name: str, arguments: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Return tables of `sphere_tables`, or with ``sparse_`` in front of `sparse_tables`, as tensors.

    Args:
        name: Of the function that makes them.
        arguments: Its arguments.
        dtype: Of the tensors; those of integers stay as they are.
        device: Of the tensors.
    """
    module = "sparse_tables" if name.startswith("sparse_") else "sphere_tables"
    return constants(module, name.removeprefix("sparse_"), arguments, dtype, device)

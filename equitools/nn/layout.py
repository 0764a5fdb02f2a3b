"""The two orders of a feature's columns, and the conversion between them.

``mul_ir`` (e3nn's): within one irrep, channel by channel. ``ir_mul``: component by component, channels contiguous.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import IrrepsError, ShapeError
from equitools.groups import Irreps

__all__ = ["check_features", "check_layout", "to_ir_mul", "to_mul_ir"]


def check_layout(layout: str) -> str:
    """Return the layout, or raise `IrrepsError` where it is not one of the two."""
    if layout not in ("mul_ir", "ir_mul"):
        raise IrrepsError(f"The layout must be 'mul_ir' or 'ir_mul', not {layout!r}.")
    return layout


def check_features(name: str, x: Tensor, irreps: Irreps, like: Tensor | None = None) -> None:
    """Raise `ShapeError` unless ``x`` is ``[..., irreps.dim]`` with the dtype and device of ``like``."""
    if x.ndim < 1 or x.shape[-1] != irreps.dim:
        raise ShapeError(f"{name} must be [..., {irreps.dim}] for '{irreps}', the tensor given is {list(x.shape)}.")
    if like is not None and (x.dtype != like.dtype or x.device != like.device):
        raise ShapeError(
            f"{name} is {x.dtype} on {x.device}, the module is {like.dtype} on {like.device}; convert one of them."
        )


def to_ir_mul(x: Tensor, irreps: Irreps) -> Tensor:
    """Reorder ``[..., irreps.dim]`` from ``mul_ir`` to ``ir_mul``."""
    return _reorder(x, irreps, channel_first=True)


def to_mul_ir(x: Tensor, irreps: Irreps) -> Tensor:
    """Reorder ``[..., irreps.dim]`` from ``ir_mul`` to ``mul_ir``."""
    return _reorder(x, irreps, channel_first=False)


def _reorder(x: Tensor, irreps: Irreps, channel_first: bool) -> Tensor:
    parts = []
    for (mul, ir), piece in zip(irreps, irreps.slices(), strict=True):
        part = x[..., piece]
        if mul > 1 and ir.dim > 1:
            shape = (mul, ir.dim) if channel_first else (ir.dim, mul)
            part = part.unflatten(-1, shape).transpose(-1, -2).flatten(-2)
        parts.append(part)
    return torch.cat(parts, -1) if parts else x

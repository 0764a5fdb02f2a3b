"""The two orders of a feature's columns, and the conversion between them.

``mul_ir`` (e3nn's): within one irrep, channel by channel. ``ir_mul``: component by component, channels contiguous.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import IrrepsError, ShapeError
from equitools.groups import Irreps

__all__ = ["blocks_of", "check_features", "check_layout", "to_ir_mul", "to_mul_ir"]

#: Irreps as plain numbers: multiplicity and dimension of each block. torch.compile can follow these, and not `Irreps`.
Blocks = tuple[tuple[int, int], ...]


def check_layout(layout: str) -> str:
    """Return the layout, or raise `IrrepsError` where it is not one of the two."""
    if layout not in ("mul_ir", "ir_mul"):
        raise IrrepsError(f"The layout must be 'mul_ir' or 'ir_mul', not {layout!r}.")
    return layout


def blocks_of(irreps: Irreps) -> Blocks:
    """Return multiplicity and dimension of each block as plain numbers."""
    return tuple((int(mul), int(ir.dim)) for mul, ir in irreps)


def check_features(
    name: str, x: Tensor, irreps: Irreps, like: Tensor | None = None, blocks: Blocks | None = None
) -> None:
    """Raise `ShapeError` unless ``x`` is ``[..., irreps.dim]`` with the dtype and device of ``like``.

    Args:
        name: What it is, for the message.
        x: The features.
        irreps: What they must be.
        like: A tensor of the module.
        blocks: ``blocks_of(irreps)``, where it is at hand; with it torch.compile can follow the call.
    """
    width = irreps.dim if blocks is None else sum(mul * dim for mul, dim in blocks)
    if x.ndim < 1 or x.shape[-1] != width:
        raise ShapeError(f"{name} must be [..., {width}] for '{irreps}', the tensor given is {list(x.shape)}.")
    if like is not None and (x.dtype != like.dtype or x.device != like.device):
        raise ShapeError(
            f"{name} is {x.dtype} on {x.device}, the module is {like.dtype} on {like.device}; convert one of them."
        )


def to_ir_mul(x: Tensor, irreps: Irreps | Blocks) -> Tensor:
    """Reorder ``[..., irreps.dim]`` from ``mul_ir`` to ``ir_mul``; ``blocks_of(irreps)`` will do as well."""
    return _reorder(x, irreps, channel_first=True)


def to_mul_ir(x: Tensor, irreps: Irreps | Blocks) -> Tensor:
    """Reorder ``[..., irreps.dim]`` from ``ir_mul`` to ``mul_ir``; ``blocks_of(irreps)`` will do as well."""
    return _reorder(x, irreps, channel_first=False)


def _reorder(x: Tensor, irreps: Irreps | Blocks, channel_first: bool) -> Tensor:
    blocks = blocks_of(irreps) if isinstance(irreps, Irreps) else irreps
    parts = []
    for (mul, dim), part in zip(blocks, x.split([mul * dim for mul, dim in blocks], -1), strict=True):
        if mul > 1 and dim > 1:
            shape = (mul, dim) if channel_first else (dim, mul)
            part = part.unflatten(-1, shape).transpose(-1, -2).flatten(-2)
        parts.append(part)
    return torch.cat(parts, -1) if parts else x

"""Layer normalisation that commutes with rotations."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.groups import Irreps
from equitools.nn.layout import check_features
from equitools.ops.precision import full_precision

__all__ = ["EquivariantLayerNorm"]


class EquivariantLayerNorm(torch.nn.Module):
    """Normalise each block of irreps by its own root mean square over channels and components.

    ``0e`` blocks are centred first. √(⟨x²⟩ + ε) keeps it smooth where a block vanishes.

    Args:
        irreps: Irreps of input and output, ``mul_ir``.
        eps: ε, added to the mean square.
        affine: Whether each channel has a learned scale and each ``0e`` channel a learned offset.

    Properties:
        equivariance: forward(D x) = D forward(x).
        scale_invariance: forward(c x) = forward(x) for c > 0 up to ε.
    """

    def __init__(self, irreps: Irreps | str, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        self.irreps, self.eps = Irreps(irreps), eps
        scalars = sum(mul for mul, ir in self.irreps if str(ir) == "0e")
        self.weight = torch.nn.Parameter(torch.ones(self.irreps.num_irreps)) if affine else None
        self.bias = torch.nn.Parameter(torch.zeros(scalars)) if affine else None

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., irreps.dim]`` to the same shape."""
        check_features("x", x, self.irreps)
        parts, channel, scalar = [], 0, 0
        for (mul, ir), piece in zip(self.irreps, self.irreps.slices(), strict=True):
            block = x[..., piece].unflatten(-1, (mul, ir.dim))
            if str(ir) == "0e":
                block = block - block.mean(-2, keepdim=True)
            block = block / (block.square().mean((-1, -2), keepdim=True) + self.eps).sqrt()
            if self.weight is not None:
                block = block * self.weight[channel : channel + mul].unsqueeze(-1)
            if self.bias is not None and str(ir) == "0e":
                block = block + self.bias[scalar : scalar + mul].unsqueeze(-1)
                scalar += mul
            parts.append(block.flatten(-2))
            channel += mul
        return torch.cat(parts, -1) if parts else x

"""The equivariant linear map: channels of the same irrep mix, components do not."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.errors import IrrepsError, ShapeError
from equitools.groups import Irreps, parse_irreps
from equitools.nn.layout import check_features, check_layout

__all__ = ["Linear"]


class Linear(torch.nn.Module):
    """Mix the channels of each irrep; all input blocks of an irrep reach all output blocks of it.

    Weights are standard normal and divided by the square root of the number of channels that are summed when they are
    used, as in e3nn: features of unit variance stay so.

    Args:
        irreps_in: Irreps of the input.
        irreps_out: Irreps of the output. An output irrep that the input lacks is zero (and an error if that is all).
        layout: Order of the columns, ``"mul_ir"`` or ``"ir_mul"``.
        bias: Whether to add a constant to the ``0e`` outputs (no other can have one).
        num_elements: If given, there is one weight for each of so many species and `forward` takes the species.

    Raises:
        IrrepsError: No irrep is common to both.

    Properties:
        equivariance: forward(D_in x) = D_out forward(x).
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_out: Irreps | str,
        layout: str = "mul_ir",
        bias: bool = False,
        num_elements: int | None = None,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = parse_irreps(irreps_in, "irreps_in"), parse_irreps(irreps_out, "irreps_out")
        self.layout = check_layout(layout)
        self.num_elements = num_elements
        fan_in = {ir: sum(mul for mul, other in self.irreps_in if other == ir) for _, ir in self.irreps_out}
        self.fan_in = {str(ir): count for ir, count in fan_in.items() if count}
        if not self.fan_in:
            raise IrrepsError(
                f"A linear map from '{self.irreps_in}' to '{self.irreps_out}' is zero: no irrep is common to both."
            )
        leading = () if num_elements is None else (num_elements,)
        self.weights = torch.nn.ParameterDict()
        for key, count in self.fan_in.items():
            width = sum(mul for mul, ir in self.irreps_out if str(ir) == key)
            self.weights[key] = torch.nn.Parameter(torch.randn(*leading, count, width))
        scalars = sum(mul for mul, ir in self.irreps_out if ir.l == 0 and ir.p == 1)
        self.bias = torch.nn.Parameter(torch.zeros(*leading, scalars)) if bias and scalars else None

    def forward(self, x: Tensor, species: Tensor | None = None) -> Tensor:
        """Map ``[..., irreps_in.dim]`` to ``[..., irreps_out.dim]``; with ``num_elements``, [N, dim] and [N]."""
        check_features("x", x, self.irreps_in, next(iter(self.weights.values())))
        if (self.num_elements is None) != (species is None):
            raise ShapeError("Give the species exactly when the module was made with num_elements.")
        mixed = {key: self._mix(self._gather(x, key), key, species) for key in self.fan_in}
        if self.bias is not None and "0e" in mixed:
            bias = self.bias if species is None else self.bias.index_select(0, species)
            mixed["0e"] = mixed["0e"] + bias.unsqueeze(-2)
        taken = dict.fromkeys(mixed, 0)
        parts = []
        for mul, ir in self.irreps_out:
            key = str(ir)
            if key not in mixed:
                parts.append(x.new_zeros(*x.shape[:-1], mul * ir.dim))
                continue
            part = mixed[key].narrow(-1, taken[key], mul)  # [..., component, channel]
            taken[key] += mul
            parts.append((part if self.layout == "ir_mul" else part.transpose(-1, -2)).flatten(-2))
        return torch.cat(parts, -1) if len(parts) > 1 else parts[0]

    def _gather(self, x: Tensor, key: str) -> Tensor:
        parts = []
        for (mul, ir), piece in zip(self.irreps_in, self.irreps_in.slices(), strict=True):
            if str(ir) == key and mul:
                part = x[..., piece]
                if self.layout == "ir_mul":
                    parts.append(part.unflatten(-1, (ir.dim, mul)))
                else:
                    parts.append(part.unflatten(-1, (mul, ir.dim)).transpose(-1, -2))
        return torch.cat(parts, -1) if len(parts) > 1 else parts[0]

    def _mix(self, part: Tensor, key: str, species: Tensor | None) -> Tensor:
        weight = self.weights[key] / math.sqrt(self.fan_in[key])
        if species is None:
            return part @ weight
        return torch.bmm(part, weight.index_select(0, species))

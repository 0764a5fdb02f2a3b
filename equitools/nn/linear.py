"""The equivariant linear map: channels of the same irrep mix, components do not."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import IrrepsError, ShapeError
from equitools.groups import Irreps, parse_irreps
from equitools.nn.layout import blocks_of, check_features, check_layout
from equitools.ops.irreps_linear import IrrepsLinearPlan, irreps_linear
from equitools.ops.precision import full_precision

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
        self._blocks_in, self._dim_out = blocks_of(self.irreps_in), int(self.irreps_out.dim)
        fan_in = {ir: sum(mul for mul, other in self.irreps_in if other == ir) for _, ir in self.irreps_out}
        self.fan_in = {str(ir): count for ir, count in fan_in.items() if count}
        if not self.fan_in:
            raise IrrepsError(
                f"A linear map from '{self.irreps_in}' to '{self.irreps_out}' is zero: no irrep is common to both."
            )
        self.plan = IrrepsLinearPlan(self.irreps_in, self.irreps_out)
        leading = () if num_elements is None else (num_elements,)
        self.weights = torch.nn.ParameterDict()
        for key, count in self.fan_in.items():
            width = sum(mul for mul, ir in self.irreps_out if str(ir) == key)
            self.weights[key] = torch.nn.Parameter(torch.randn(*leading, count, width))
        scalars = sum(mul for mul, ir in self.irreps_out if ir.l == 0 and ir.p == 1)
        self.bias = torch.nn.Parameter(torch.zeros(*leading, scalars)) if bias and scalars else None

    @full_precision
    def forward(self, x: Tensor, species: Tensor | None = None) -> Tensor:
        """Map ``[..., irreps_in.dim]`` to ``[..., irreps_out.dim]``; with ``num_elements``, [N, dim] and [N]."""
        check_features("x", x, self.irreps_in, next(iter(self.weights.values())), self._blocks_in)
        if (self.num_elements is None) != (species is None):
            raise ShapeError("Give the species exactly when the module was made with num_elements.")
        rows = x.reshape(-1, x.shape[-1])
        if species is not None and (species.dtype != torch.int64 or species.shape != rows.shape[:1]):
            raise ShapeError(
                f"species must be int64 [{len(rows)}], one for each row of x, it is {species.dtype} "
                f"{list(species.shape)}."
            )
        out = irreps_linear(self.plan, rows, self._weight(), species, self.layout == "mul_ir")
        if self.bias is not None and "0e" in self.fan_in:
            out = out + self._offset(species)
        return out.reshape(*x.shape[:-1], self._dim_out)

    def _weight(self) -> Tensor:
        """Return the weights of each element in one row, as the operation takes them."""
        parts = [self.weights[key] for key, *_ in self.plan.keys]
        rows = [p.flatten(-2) if self.num_elements is not None else p.reshape(1, -1) for p in parts]
        return torch.cat(rows, -1) if len(rows) > 1 else rows[0]

    def _offset(self, species: Tensor | None) -> Tensor:
        """Return the bias of all columns; those of other irreps than ``0e`` are zero."""
        assert self.bias is not None  # noqa: S101 - our own invariant
        bias = self.bias if species is None else self.bias.index_select(0, species)
        parts, start = [], 0
        for mul, ir in self.irreps_out:
            scalar = str(ir) == "0e"
            parts.append(bias[..., start : start + mul] if scalar else bias.new_zeros(*bias.shape[:-1], mul * ir.dim))
            start += mul if scalar else 0
        return torch.cat(parts, -1)

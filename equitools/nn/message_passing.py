"""Blocks of message passing: interaction along edges, and many-body products on nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from equitools.errors import ConfigError, UnknownNameError, nearest
from equitools.groups import Irreps
from equitools.nn.activation import MLP
from equitools.nn.gaunt_blocks import GauntContraction, GauntTensorProductConv
from equitools.nn.linear import Linear
from equitools.nn.tensor_product import SymmetricContraction, TensorProductConv

__all__ = ["PRODUCTS", "InteractionBlock", "ProductBlock"]

#: The products that features can be multiplied with.
PRODUCTS = ("clebsch-gordan", "gaunt")


def _check_product(product: str) -> bool:
    """Return whether it is the Gaunt product, or raise `UnknownNameError`."""
    if product not in PRODUCTS:
        raise UnknownNameError(f"There is no product {product!r}. {nearest(product, PRODUCTS)}")
    return product == "gaunt"


class InteractionBlock(torch.nn.Module):
    """linear → convolution with radial weights → linear → divide by √(average number of neighbours).

    Args:
        irreps_in: Node features, ``ir_mul`` layout inside and out.
        irreps_edge: Spherical harmonics of the edges.
        irreps_out: What comes out.
        num_radial: Number of radial functions.
        hidden: Widths of the radial network's hidden layers.
        avg_num_neighbors: Average number of neighbours of the training data. Its root, and not the number itself, keeps
            the features of sparse and of dense matter at one scale: distant neighbours, the many, have small weights.
        product: ``"clebsch-gordan"``, or ``"gaunt"``: `GauntTensorProductConv`, where every weight of an edge belongs
            to a degree of its harmonics and not to a path.

    Source: Batatia et al., NeurIPS 2022 (arXiv 2206.07697), eqs. 8–9.
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_edge: Irreps | str,
        irreps_out: Irreps | str,
        num_radial: int,
        hidden: Sequence[int] = (64, 64, 64),
        avg_num_neighbors: float = 1.0,
        product: str = "clebsch-gordan",
    ) -> None:
        super().__init__()
        gaunt = _check_product(product)
        if not avg_num_neighbors > 0:
            raise ConfigError(f"avg_num_neighbors must be positive, it is {avg_num_neighbors}.")
        self.irreps_out = Irreps(irreps_out)
        self.avg_num_neighbors = float(avg_num_neighbors)
        self.linear_up = Linear(irreps_in, irreps_in, layout="ir_mul")
        self.conv: TensorProductConv | GauntTensorProductConv = (
            GauntTensorProductConv(irreps_in, irreps_edge, self.irreps_out, layout="ir_mul")
            if gaunt
            else TensorProductConv(irreps_in, irreps_edge, self.irreps_out, layout="ir_mul", merged=True)
        )
        self.radial = MLP([num_radial, *hidden, self.conv.weight_numel])
        self.linear = Linear(self.conv.irreps_out, self.irreps_out, layout="ir_mul")

    def forward(self, x: Tensor, edge_attr: Tensor, edge_radial: Tensor, edge_index: Tensor) -> Tensor:
        """Map node features ``[N, irreps_in.dim]`` to ``[N, irreps_out.dim]``."""
        hidden, weight = self.radial.hidden(edge_radial), self.radial.last_weight()
        message = self.conv.from_hidden(self.linear_up(x), edge_attr, hidden, weight, edge_index, x.shape[0])
        return self.linear(message) / math.sqrt(self.avg_num_neighbors)


class ProductBlock(torch.nn.Module):
    """Symmetric contraction → linear, plus a species-dependent linear map of what was there before.

    Args:
        irreps_in: Features that are multiplied.
        irreps_out: What comes out.
        correlation: The largest number of factors.
        num_elements: Number of species.
        irreps_residual: Features of the residual path; ``None``: there is none.
        product: ``"clebsch-gordan"``, or ``"gaunt"``: `GauntContraction`.
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_out: Irreps | str,
        correlation: int,
        num_elements: int,
        irreps_residual: Irreps | str | None = None,
        product: str = "clebsch-gordan",
    ) -> None:
        super().__init__()
        kind = GauntContraction if _check_product(product) else SymmetricContraction
        self.contraction = kind(irreps_in, irreps_out, correlation, num_elements, layout="ir_mul")
        self.irreps_out = self.contraction.irreps_out
        self.linear = Linear(self.irreps_out, self.irreps_out, layout="ir_mul")
        self.residual = (
            None
            if irreps_residual is None
            else Linear(irreps_residual, self.irreps_out, layout="ir_mul", num_elements=num_elements)
        )

    def forward(self, x: Tensor, species: Tensor, before: Tensor | None = None) -> Tensor:
        """Map ``[N, irreps_in.dim]`` to ``[N, irreps_out.dim]``."""
        out = self.linear(self.contraction(x, species))
        if self.residual is not None and before is not None:
            out = out + self.residual(before, species)
        return out

"""Paths, weights and freedom of the products; and how many multiply-adds their transforms take, by counting."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equitools.groups import Irreps
from equitools.nn import GauntTensorProduct
from equitools.ops import matrix_product
from equitools.testing import coupling_paths, expressivity, path_coefficients


def natural(lmax: int) -> str:
    """Return one irrep of each degree, of parity (−1)^l."""
    return "+".join(f"1x{l}{'eo'[l % 2]}" for l in range(lmax + 1))


def both(lmax: int) -> str:
    """Return all that a product of these reaches: with those of the other parity, but for a pseudoscalar."""
    return "+".join([natural(lmax), *(f"1x{l}{'oe'[l % 2]}" for l in range(1, lmax + 1))])


class Matrices(torch.nn.Module):
    """The product of matrices, with a weight for each degree of the factors and the product as Gaunt products have."""

    def __init__(self, lmax: int) -> None:
        super().__init__()
        counts = (lmax + 1, lmax + 1, 2 * lmax + 1)
        self.weights = torch.nn.ParameterList([torch.nn.Parameter(torch.ones(n, dtype=torch.float64)) for n in counts])
        degrees = torch.arange(lmax + 1)
        self.sizes = 2 * degrees + 1, 2 * torch.cat([degrees, degrees[1:]]) + 1

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Multiply."""
        first, second, third = self.weights
        x, y = x * first.repeat_interleave(self.sizes[0]), y * second.repeat_interleave(self.sizes[0])
        even, odd = (half.squeeze(-1) for half in matrix_product(x.unsqueeze(-1), y.unsqueeze(-1)))
        return torch.cat([even, odd[:, 1:]], 1) * third.repeat_interleave(self.sizes[1])


def products(lmax: int) -> dict[str, tuple[torch.nn.Module, tuple[Irreps, Irreps, Irreps]]]:
    """Return the products of one channel and their irreps."""
    one, all_ = natural(lmax), both(lmax)
    return {
        "Gaunt": (GauntTensorProduct(one, one, one, "dense").double(), (Irreps(one),) * 3),
        "Gaunt + curl": (
            GauntTensorProduct(one, one, all_, "dense", "curl").double(), (Irreps(one), Irreps(one), Irreps(all_)),
        ),
        "matrices": (Matrices(lmax), (Irreps(one), Irreps(one), Irreps(all_))),
    }  # fmt: skip


def reach(lmax: int, ranks: bool) -> dict[str, dict[str, Any]]:
    """Return what each product reaches, for one channel.

    Args:
        lmax: Highest degree of the factors and the product.
        ranks: Whether span and freedom are computed, too: with many paths that takes a while.
    """
    paths = len(coupling_paths(Irreps(natural(lmax)), Irreps(natural(lmax)), Irreps(both(lmax))))
    free = {"reached": paths, "weights": paths, **({"span": paths, "freedom": paths} if ranks else {})}
    found: dict[str, dict[str, Any]] = {"Clebsch–Gordan": {"paths": paths, **free}}
    for name, (module, irreps) in products(lmax).items():
        if ranks:
            counts = expressivity(module, *irreps)
            found[name] = {**vars(counts), "paths": paths}
        else:
            values = path_coefficients(module, *irreps).detach().abs()
            weights = sum(weight.numel() for weight in module.parameters())
            found[name] = {"paths": paths, "reached": int((values > 1e-9 * values.max()).sum()), "weights": weights}
    return found


def transform(lmax: int) -> int:
    """Return the multiply-adds of one component's separable transform on the grid of a product, both parities used.

    Along θ each order has its degrees at half of the rings; along φ each ring has the orders at half of the angles.
    """
    degree = 3 * lmax
    rings, angles = degree // 2 + 1, degree + 1
    along_theta = sum((lmax + 1 - abs(m)) * (rings + 1) // 2 for m in range(-lmax, lmax + 1))
    return along_theta + rings * (2 * lmax + 1) * (angles // 2 + 1)


#: Components that a product transforms (of both factors, and back), multiplications at a point.
FIELDS = {
    "Gaunt": (3, 1),  # two functions and one back
    "curl": (5, 2),  # two tangent fields of two components; the radial component back
    "vector product, radial × tangent": (5, 2),  # a function, a tangent field; the tangent field back
    "Gaunt + curl": (8, 3),
    "vector product, whole": (9, 6),  # three components of each factor and of the product
}


def operations(lmax: int) -> dict[str, int]:
    """Return the multiply-adds of one channel and row by product."""
    points = (3 * lmax // 2 + 1) * (3 * lmax + 1)
    return {name: parts * transform(lmax) + at * points for name, (parts, at) in FIELDS.items()}

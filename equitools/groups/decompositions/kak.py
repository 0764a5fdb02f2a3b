"""The decomposition G = K A K: a rotation, stretches along the axes, a rotation. It is the SVD.

The stretches are unique in descending order. The rotations are unique up to signs where the stretches differ; where
two of them coincide, a rotation in their plane can go to either side, and the derivative of the rotations is singular.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.groups.decompositions.checks import need_invertible, need_positive_determinant, need_square
from equitools.groups.decompositions.singular import singular_value_decomposition

__all__ = ["kak", "kak_log_density"]


def kak(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parts of g = k1 a k2.

    Args:
        g: ``[..., n, n]`` with positive determinant.

    Returns:
        k1 ``[..., n, n]`` a rotation, a ``[..., n, n]`` diagonal, positive and descending, k2 ``[..., n, n]`` a
        rotation. Where stretches coincide, derivatives leave out the turns within their plane. Functions of the
        stretches that treat them alike, and k1 k2, have their right first derivative all the same. A function of the
        stretch as a matrix, k1 f(a) k1ᵀ, has not: take it from the polar decomposition (`spd_log`).

    Raises:
        ShapeError: Not square matrices, or one is singular or has a negative determinant.

    Properties:
        kak_round_trip: k1 a k2 = g.
        kak_parts_stay_in_their_sets: k1 and k2 are rotations, and a is diagonal, positive and descending.
        kak_gradients_at_equal_values: where stretches coincide, symmetric functions of them and k1 k2 have their
            right gradients, and no gradient is infinite.
    """
    need_square(g, "KAK")
    need_positive_determinant(g, "KAK")
    u, s, v = singular_value_decomposition(g)
    need_invertible(s, "KAK")
    return u, torch.diag_embed(s), v.mT


def kak_log_density(a: Tensor) -> Tensor:
    """Return the logarithm of the density of the Haar measure, Π_{i<j} sinh(λi − λj) with a = exp(diag λ).

    With volumes by tr XᵀY, dg = density dk1 dλ dk2. The parts of an element are as many as there are sign changes
    (2ⁿ⁻¹): integrating over all k1, λ (descending) and k2 counts each element so many times.

    Args:
        a: ``[..., n, n]`` diagonal, positive and descending.

    Returns:
        ``[...]``, −∞ where stretches coincide.

    Properties:
        densities_are_numeric_jacobians: it is the logarithm of the determinant of the map's derivative.

    Source: S. Helgason, Groups and Geometric Analysis (1984), chapter I, theorem 5.8.
    """
    need_square(a, "The density of KAK")
    values = torch.diagonal(a, dim1=-2, dim2=-1).log()
    row, column = torch.triu_indices(values.shape[-1], values.shape[-1], 1, device=a.device)
    return log_sinh(values[..., row] - values[..., column]).sum(-1)


def log_sinh(x: Tensor) -> Tensor:
    """Return log sinh(x) for x ≥ 0, without overflow."""
    return x + torch.log(-torch.expm1(-2 * x)) - torch.log(torch.full_like(x, 2.0))

"""The Iwasawa decomposition g = k a n: a shear n, then stretches a along the axes, then a rotation k. It is QR."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.groups.decompositions.checks import need_invertible, need_positive_determinant, need_square

__all__ = ["iwasawa", "iwasawa_log_density"]


def iwasawa(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parts of g = k a n.

    Args:
        g: ``[..., n, n]`` with positive determinant.

    Returns:
        k ``[..., n, n]`` a rotation, a ``[..., n, n]`` diagonal and positive, n ``[..., n, n]`` upper triangular with
        ones on its diagonal. Every g has exactly one such triple, and it is smooth everywhere.

    Raises:
        ShapeError: Not square matrices, or one is singular or has a negative determinant.

    Properties:
        iwasawa_round_trip: k a n = g.
        iwasawa_parts_stay_in_their_sets: k is a rotation, a diagonal and positive, n unit upper triangular.
        iwasawa_is_unique: iwasawa(k a n) = (k, a, n).
    """
    need_square(g, "The Iwasawa decomposition")
    need_positive_determinant(g, "The Iwasawa decomposition")
    need_invertible(torch.linalg.svdvals(g.detach()), "The Iwasawa decomposition")
    q, r = torch.linalg.qr(g)
    diagonal = torch.diagonal(r, dim1=-2, dim2=-1)
    sign = torch.where(diagonal.detach() < 0, -1.0, 1.0).to(g.dtype)
    size = diagonal * sign
    n = r / diagonal.unsqueeze(-1)
    eye = torch.eye(g.shape[-1], dtype=g.dtype, device=g.device)
    return q * sign.unsqueeze(-2), torch.diag_embed(size), torch.triu(n, 1) + eye


def iwasawa_log_density(a: Tensor) -> Tensor:
    """Return the logarithm of the density of the Haar measure, a^{2ρ} = Π_{i<j} a_i / a_j, times 2^{−n(n−1)/4}.

    With volumes by tr XᵀY, dg = density dk dλ dn, a = exp(diag λ), dn the product of the entries above the diagonal.
    The constant is that a rotation has two entries where a shear has one.

    Args:
        a: ``[..., n, n]`` diagonal and positive.

    Returns:
        ``[...]``.

    Properties:
        densities_are_numeric_jacobians: it is the logarithm of the determinant of the map's derivative.

    Source: S. Helgason, Groups and Geometric Analysis (1984), chapter I, proposition 5.1.
    """
    need_square(a, "The density of the Iwasawa decomposition")
    values = torch.diagonal(a, dim1=-2, dim2=-1).log()
    n = values.shape[-1]
    weights = torch.arange(n - 1, -n, -2, dtype=a.dtype, device=a.device)  # how often λi counts: n − 1, n − 3, …
    return (values * weights).sum(-1) - n * (n - 1) / 4 * math.log(2)

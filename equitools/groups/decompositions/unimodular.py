"""KAK and Iwasawa parts of SL(n), whose stretches have determinant 1 themselves.

Small stretches are known to a rounding of the largest, so that their product is off by the condition of g times a
rounding. The smallest take up that error: it is below what they are known to.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.groups.decompositions.iwasawa import iwasawa
from equitools.groups.decompositions.kak import kak

__all__ = ["special_iwasawa", "special_kak"]


def special_kak(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parts of g = k1 a k2 for g of SL(n), as `kak`, with det a = 1.

    Args:
        g: ``[..., n, n]`` with determinant 1.

    Returns:
        k1, a and k2 ``[..., n, n]``.

    Raises:
        ShapeError: Not square matrices, or one is singular or has a negative determinant.

    Properties:
        special_parts_have_volume_one: det a = 1 to 1e-14 at condition 1e4, and the round trip is that of `kak`.
    """
    k1, a, k2 = kak(g)
    return k1, _of_volume_one(a), k2


def special_iwasawa(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parts of g = k a n for g of SL(n), as `iwasawa`, with det a = 1.

    Args:
        g: ``[..., n, n]`` with determinant 1.

    Returns:
        k, a and n ``[..., n, n]``.

    Raises:
        ShapeError: Not square matrices, or one is singular or has a negative determinant.

    Properties:
        special_parts_have_volume_one: det a = 1 to 1e-14 at condition 1e4, and the round trip is that of `iwasawa`.
    """
    k, a, n = iwasawa(g)
    return k, _of_volume_one(a), n


def _of_volume_one(a: Tensor) -> Tensor:
    values = torch.diagonal(a, dim1=-2, dim2=-1)
    logs = values.log()
    # shares of the correction go like the inverse squares of the stretches: an even share of the absolute error
    shares = torch.softmax(-2 * logs, -1)
    return torch.diag_embed(values * (-shares * logs.sum(-1, keepdim=True)).exp())

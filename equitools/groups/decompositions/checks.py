"""What every decomposition asks of the matrices that it is given."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError

__all__ = ["SINGULAR_ROUNDINGS", "count", "need_invertible", "need_positive_determinant", "need_square"]

#: A matrix counts as singular where its smallest singular value is below so many roundings
#: (``torch.finfo(dtype).eps``) per row of the largest.
SINGULAR_ROUNDINGS = 4


def count(bad: Tensor) -> str:
    """Return ``"3 of 8 matrices"`` for a mask of the matrices that something is wrong with."""
    return f"{int(bad.sum())} of {bad.numel()} matrices"


def need_square(g: Tensor, what: str, n: int | None = None) -> None:
    """Refuse what is no batch of finite square matrices in float32 or float64.

    Args:
        g: What was given.
        what: The decomposition, for the message.
        n: Number of rows that is wanted; ``None``: any.

    Raises:
        ShapeError: Wrong shape or dtype, or something is not finite.
    """
    wanted = "n" if n is None else str(n)
    square = g.ndim >= 2 and g.shape[-1] == g.shape[-2] and (n is None or g.shape[-1] == n) and g.shape[-1] > 0
    if not square or g.dtype not in {torch.float32, torch.float64}:
        raise ShapeError(
            f"{what} needs matrices [..., {wanted}, {wanted}] in float32 or float64, given {list(g.shape)} {g.dtype}."
        )
    bad = ~g.detach().isfinite().all(-1).all(-1)
    if bool(bad.any()):
        raise ShapeError(f"{what}: {count(bad)} are not finite.")


def need_invertible(singular_values: Tensor, what: str) -> None:
    """Refuse singular matrices.

    Args:
        singular_values: Of the matrices, ``[..., n]`` in any order.
        what: The decomposition, for the message.

    Raises:
        ShapeError: A matrix is singular to rounding.
    """
    values = singular_values.detach()
    limit = SINGULAR_ROUNDINGS * values.shape[-1] * torch.finfo(values.dtype).eps
    bad = values.amin(-1) <= limit * values.amax(-1)
    if bool(bad.any()):
        raise ShapeError(
            f"{what}: {count(bad)} are singular to rounding (smallest singular value below {limit:.1e} of the largest)."
        )


def need_positive_determinant(g: Tensor, what: str) -> None:
    """Refuse matrices that reverse the orientation, or are singular.

    Raises:
        ShapeError: A determinant is not positive.
    """
    bad = torch.linalg.slogdet(g.detach())[0] <= 0
    if bool(bad.any()):
        raise ShapeError(
            f"{what}: {count(bad)} have a determinant that is not positive. They are not in GL⁺(n), whose elements "
            "keep the orientation; multiply such a matrix with a reflection first."
        )

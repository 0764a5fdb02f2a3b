"""Linear maps in the frame of an edge: each order abs(m) by itself, degrees and channels mixed.

Rotations about the polar axis turn the pair of components (l, +m) and (l, −m) like a complex number. A linear map that
commutes with them multiplies with complex matrices, one for each order, and a real one for order 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.ops.precision import full_precision

__all__ = ["by_degree", "by_order", "so2_linear"]


def by_order(blocks: Sequence[Tensor], degrees: Sequence[int], mmax: int) -> list[Tensor]:
    """Collect the components of one order of all degrees.

    Args:
        blocks: Rotated features of some degrees l, ``[E, 2·M+1, C]`` each, M the smaller of l and some highest order.
        degrees: The degree of each block.
        mmax: Highest order that is wanted.

    Returns:
        For each order m from 0 to mmax ``[E, 2, K]`` (m = 0: ``[E, 1, K]``): first the components +m, then −m, of the
        blocks with l ≥ m side by side.
    """
    # Taken apart and put together in one step each: the derivative of a slice would be as large as the whole.
    rows = [block.unbind(1) for block in blocks]
    orders = []
    for m in range(mmax + 1):
        reaching = [row for row, l in zip(rows, degrees, strict=True) if l >= m]
        parts = [row[len(row) // 2 + signed] for signed in ((m, -m) if m else (0,)) for row in reaching]
        orders.append(torch.cat(parts, 1).unflatten(1, (2 if m else 1, -1)))
    return orders


def by_degree(orders: Sequence[Tensor], degrees: Sequence[int], channels: Sequence[int]) -> list[Tensor]:
    """Put the components of each block together again: the inverse of `by_order`.

    Args:
        orders: What `by_order` returns.
        degrees: The degree of each block.
        channels: The channels of each block.

    Returns:
        For each block ``[E, 2·min(l, mmax)+1, C]``.

    Properties:
        inverse_of_by_order: by_degree(by_order(x)) = x.
    """
    rows: list[dict[int, Tensor]] = [{} for _ in degrees]
    for m, order in enumerate(orders):
        reaching = [k for k, l in enumerate(degrees) if l >= m]
        for signed, part in zip((m, -m), order.unbind(1), strict=False):
            for k, columns in zip(reaching, part.split([channels[k] for k in reaching], 1), strict=True):
                rows[k][signed] = columns
    return [torch.stack([row[m] for m in sorted(row)], 1) for row in rows]


@full_precision
def so2_linear(
    orders: Sequence[Tensor], real: Sequence[Tensor], imaginary: Sequence[Tensor | None] | None = None
) -> list[Tensor]:
    """Multiply each order with its matrix: ``(x₊ + i x₋)(W_r + i W_i)``.

    Args:
        orders: ``[E, 1, K_0]``, then ``[E, 2, K_m]`` for m = 1, …, as `by_order` returns them.
        real: ``[K_m, K'_m]`` for each order.
        imaginary: The same for each order; that of order 0 is not used and may be ``None``. Without them, or where one
            is ``None``, the matrices are real.

    Returns:
        ``[E, 1, K'_0]``, then ``[E, 2, K'_m]``.

    Raises:
        ShapeError: A matrix does not fit.

    Properties:
        commutes_with_turns: turning all pairs (+m, −m) by m times an angle before or after is the same.

    Source: Passaro and Zitnick, ICML 2023 (arXiv 2302.03655), eq. 8.
    """
    found = []
    if len(real) != len(orders) or (imaginary is not None and len(imaginary) != len(orders)):
        raise ShapeError(f"One matrix for each of the {len(orders)} orders is needed, {len(real)} are given.")
    for m, (part, weight) in enumerate(zip(orders, real, strict=True)):
        other = imaginary[m] if imaginary is not None and m > 0 else None
        if part.shape[-1] != weight.shape[0] or (other is not None and other.shape != weight.shape):
            raise ShapeError(
                f"The matrices of order {m} must be [{part.shape[-1]}, …] both; they are {list(weight.shape)} and "
                f"{None if other is None else list(other.shape)}."
            )
        if other is None:
            found.append(part @ weight)
        else:  # one product of real matrices of twice the size: as many operations, one call
            both = torch.cat([torch.cat([weight, other], 1), torch.cat([-other, weight], 1)], 0)
            found.append((part.flatten(1) @ both).unflatten(1, (2, -1)))
    return found

"""Functions on the sphere as matrices: the product of matrices as an equivariant product of features.

The (2j+1)×(2j+1) matrices are V_j ⊗ V_j, which holds each degree 0 … 2j once. So a feature with one irrep of each
degree is a matrix, two matrices can be multiplied, and the product is a feature again. Unlike a product of functions,
that of matrices does not commute: its symmetric half couples degrees of an even sum and its antisymmetric half those of
an odd one. For j → ∞ the two become the Gaunt product and the surface curl (the "fuzzy sphere").
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.su2 import real_coupling
from equitools.ops.constants import constants
from equitools.ops.precision import full_precision
from equitools.ops.sphere_functions import lmax_of

__all__ = ["matrix_product"]

#: Highest j: (2j+1)² is then what the tables of Gaunt products have, degree 32.
MAX_J = 16


@full_precision
def matrix_product(x: Tensor, y: Tensor, lmax_out: int | None = None, *, j: int | None = None) -> tuple[Tensor, Tensor]:
    """Multiply two features as matrices, and return the halves of an even and of an odd sum of degrees.

    Args:
        x: ``[..., (L1+1)², C]`` coefficients as of `gaunt_tensor_product`, float32 or float64.
        y: ``[..., (L2+1)², C]``; leading dimensions and channels as of ``x``, or such that they broadcast.
        lmax_out: Highest degree that is wanted; ``None``: the larger of L1 and L2.
        j: The matrices are (2j+1)×(2j+1), with an integer j ≥ L/2 for the highest degree L of all three; ``None``: the
            smallest. The numbers depend on it.

    Returns:
        ``(XY + YX) / 2`` and ``√(j(j+1)) (XY − YX)``, each ``[..., (lmax_out+1)², C]``. Under inversion the second is a
        pseudo-function, if the factors are functions.

    Raises:
        ShapeError: The tensors are no coefficients or do not fit together, or j is too small or too large.

    Properties:
        equivariance: rotating both features rotates both halves; an inversion makes the odd half change its sign more.
        one_is_neutral: the constant function 1 times a feature is that feature.
        associative: for degrees of all sizes up to 2j, (XY)Z = X(YZ), where XY = even + odd / 2√(j(j+1)).
        paths: a path (l1, l2, l3) is there where the 6j symbol {l1 l2 l3; j j j} is not zero; with the smallest j a few
            may be missing.
        tends_to_gaunt: for j → ∞ each path's coefficient tends to that of the Gaunt product or of the curl, but for a
            minus where two degrees are odd and the product's is even, or two even and the product's odd; the odd half
            of two factors of degree 1 is their curl for every j.

    Source: Xie et al., ICML 2025 (arXiv 2506.13523), for its use in networks; the limit of large j: Hoppe, MIT thesis
        (1982), and Madore, Class. Quantum Grav. 9, 69 (1992).
    """
    lmax1, lmax2 = lmax_of("x", x), lmax_of("y", y)
    lmax3 = max(lmax1, lmax2) if lmax_out is None else int(lmax_out)
    highest = max(lmax1, lmax2, lmax3)
    size = (highest + 1) // 2 if j is None else j
    if lmax3 < 0 or not 2 * size >= highest or size > MAX_J:
        raise ShapeError(
            f"Matrices of degrees up to {highest} need an integer j from {(highest + 1) // 2} to {MAX_J}; "
            f"j = {size} and lmax_out = {lmax3} were asked for."
        )
    if x.dtype not in (torch.float32, torch.float64) or x.dtype != y.dtype or x.device != y.device:
        raise ShapeError(
            "The factors of a matrix product must both be float32 or both float64, on one device; they are "
            f"{x.dtype} on {x.device} and {y.dtype} on {y.device}."
        )
    try:
        torch.broadcast_shapes((*x.shape[:-2], x.shape[-1]), (*y.shape[:-2], y.shape[-1]))
    except RuntimeError as error:
        raise ShapeError(
            f"The factors' leading dimensions and channels do not fit together: {list(x.shape)} and {list(y.shape)}."
        ) from error
    (table,) = constants("matrix_product", "matrices", (size,), x.dtype, x.device)  # [(2j+1)², 2j+1, 2j+1]
    left, right = (torch.einsum("kab,...kc->...cab", table[: t.shape[-2]], t) for t in (x, y))
    back = table[: (lmax3 + 1) ** 2] * (4 * math.pi / (2 * size + 1))
    there, reverse = (torch.einsum("kab,...cab->...kc", back, product) for product in (left @ right, right @ left))
    return (there + reverse) / 2, math.sqrt(size * (size + 1)) * (there - reverse)


@functools.cache
def matrices(j: int) -> np.ndarray:
    """Return the matrices of the harmonics, ``[(2j+1)², 2j+1, 2j+1]``, such that the function 1 is the unit matrix.

    Those of even degree are symmetric and the others antisymmetric: all are real. The coupling tensors' signs are
    arbitrary; here degree 1 is such that its commutators are cross products, and the paths (1, l−1, l) have the sign of
    the Gaunt product, or where both factors are antisymmetric the other one (i² = −1 for the Hermitian matrices).
    """
    size = 2 * j + 1
    found = np.zeros((size * size, size, size))
    for l in range(size):
        block = np.moveaxis(real_coupling(j, j, l), 2, 0) * math.sqrt((2 * l + 1) * size / (4 * math.pi))
        if l == 0:
            sign = np.trace(block[0])
        elif l == 1:
            sign = np.sum((block[0] @ block[1] - block[1] @ block[0]) * block[2])
        else:
            sign = (-1) ** (l + 1) * np.sum(found[2] @ found[(l - 1) * l] * block[l])  # of the components m = 0
        found[l * l : (l + 1) ** 2] = block if sign > 0 else -block
    return found

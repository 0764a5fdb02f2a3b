"""The polar decomposition g = p k: a stretch p, symmetric and positive definite, after a rotation k.

It is the Cartan decomposition G = exp(𝔭) K of GL⁺(n) and SL(n), and a diffeomorphism: every g has exactly one (p, k).

Through the eigenvectors of g gᵀ, as it is often written, k = p⁻¹ g is no longer orthogonal where g is ill-conditioned
(1e-8 at condition 1e4); through the singular value decomposition it is, to the last digit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.groups.decompositions.checks import need_positive_determinant, need_square
from equitools.groups.decompositions.spectral import spd_log
from equitools.groups.matrix_functions import polar as polar_of_any

__all__ = ["polar", "polar_log_density"]


def polar(g: Tensor) -> tuple[Tensor, Tensor]:
    """Return the polar parts of g = p k.

    Args:
        g: ``[..., n, n]`` with positive determinant.

    Returns:
        p ``[..., n, n]`` symmetric and positive definite, k ``[..., n, n]`` a rotation; differentiable any number of
        times, also where singular values coincide: the derivative divides by their sums only.

    Raises:
        ShapeError: Not square matrices, or one is singular or has a negative determinant.

    Properties:
        polar_round_trip: p k = g, to 1e-10 relative at condition 1e4.
        polar_parts_stay_in_their_sets: p is symmetric and positive definite, and k is orthogonal to 1e-12 at any
            condition.
        polar_is_unique: polar(p k) = (p, k).
    """
    need_square(g, "The polar decomposition")
    need_positive_determinant(g, "The polar decomposition")
    return polar_of_any(g)


def polar_log_density(p: Tensor) -> Tensor:
    """Return the logarithm of the density of the Haar measure in polar coordinates: Π_{i<j} sinh(λi − λj) / (λi − λj).

    λ are the eigenvalues of x = log p. With the volumes dx of symmetric matrices, dk of rotations (the Haar measure)
    and dg of GL⁺(n) (the Haar measure, that is left and right invariant), all by tr XᵀY, it is dg = density dx dk for
    g = exp(x) k. On SL(n) the formula is the same, with dx of the symmetric matrices without trace.

    Args:
        p: ``[..., n, n]`` symmetric and positive definite.

    Returns:
        ``[...]``. Its second derivatives leave out pairs of equal eigenvalues.

    Properties:
        densities_are_numeric_jacobians: it is the logarithm of the determinant of the map's derivative.

    Source: S. Helgason, Groups and Geometric Analysis (1984), chapter I, theorem 5.8, here in the coordinates log p.
    """
    need_square(p, "The density of the polar decomposition")
    values = torch.linalg.eigvalsh(spd_log(p))
    gaps = values.unsqueeze(-1) - values.unsqueeze(-2)
    row, column = torch.tril_indices(values.shape[-1], values.shape[-1], -1, device=p.device)
    return log_sinhc(gaps[..., row, column]).sum(-1)


def log_sinhc(x: Tensor) -> Tensor:
    """Return log(sinh(x) / x), smooth at zero and without overflow."""
    size = x.abs()
    small = size < 0.1
    square = torch.where(small, x, torch.zeros_like(x)).square()
    series = square / 6 - square**2 / 180 + square**3 / 2835 - square**4 / 37800 + square**5 / 467775
    safe = torch.where(small, torch.ones_like(x), size)
    return torch.where(small, series, safe + torch.log(-torch.expm1(-2 * safe) / (2 * safe)))

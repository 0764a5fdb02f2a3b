"""The Jordan–Chevalley decomposition: a part that is diagonalisable over ℂ and a nilpotent one that commutes with it.

It is not continuous: the nilpotent part of a block [[λ, 1], [0, λ + ε]] is zero for every ε that is not zero, and
[[0, 1], [0, 0]] for ε = 0. So there are no gradients, and what "equal eigenvalues" means has to be said. Rounding
splits the eigenvalue of a Jordan block of size m by about the m-th root of a rounding. So m eigenvalues count as one,
their mean, where they are nearer than (`CLUSTER_ROUNDINGS` · eps)^(1/m), relative to the norm of the matrix: 5e-7,
6e-5, 7e-4, 3e-3 and 8e-3 for m = 2 … 6 in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.decompositions.checks import need_invertible, need_square

__all__ = ["CLUSTER_ROUNDINGS", "jordan_chevalley", "multiplicative_jordan_chevalley"]

#: By how many roundings of the norm the m-th power of the distance of m eigenvalues may differ from zero.
CLUSTER_ROUNDINGS = 1000.0


def jordan_chevalley(a: Tensor, threshold: float | None = None) -> tuple[Tensor, Tensor]:
    """Return the parts of a = s + n, s semisimple (diagonalisable over ℂ), n nilpotent, s n = n s.

    n is the sum of (a − μ) P over clusters of eigenvalues, μ their mean and P the projector onto the null space of
    (a − μ)^m along its range, m their number. Where all eigenvalues are apart it is zero, exactly.

    Args:
        a: ``[..., n, n]``; computed in float64.
        threshold: Eigenvalues nearer than this times the Frobenius norm of the matrix belong to one cluster (as do
            those that are joined by a chain of such); by default that depends on how many they are, see above. Too
            small a threshold takes the rounding of a Jordan block for distinct eigenvalues and finds no nilpotent part;
            too large a one takes distinct eigenvalues for a block, and then n is not nilpotent, but has the clusters'
            spread as eigenvalues.

    Returns:
        s and n ``[..., n, n]`` in the dtype of ``a``. There are no gradients: the decomposition is not continuous.

    Raises:
        ShapeError: Not square matrices.

    Properties:
        jordan_parts: s + n = a, s n = n s, n is nilpotent, and s has the clusters' means as eigenvalues.
        jordan_is_discontinuous: an eigenvalue that moves by more than the threshold removes the nilpotent part.
    """
    need_square(a, "The Jordan–Chevalley decomposition")
    wide = a.detach().double()
    size = torch.linalg.matrix_norm(wide).clamp(min=torch.finfo(torch.float64).tiny)[..., None, None]
    values = torch.linalg.eigvals(wide / size)
    n = size * _nilpotent(wide / size, values, _clusters(values, torch.ones_like(values.abs()), threshold))
    return (wide - n).to(a.dtype), n.to(a.dtype)


def _clusters(values: Tensor, scale: Tensor, threshold: float | None) -> Tensor:
    """Which eigenvalues ``[..., n]`` of a matrix of norm 1 belong together, ``[..., n, n]`` of zeros and ones."""
    n = values.shape[-1]
    gaps = (values.unsqueeze(-1) - values.unsqueeze(-2)).abs()
    scale = torch.maximum(scale.unsqueeze(-1), scale.unsqueeze(-2))
    eye = torch.eye(n, dtype=torch.float64, device=values.device)
    if threshold is not None:
        return _connected((gaps <= threshold * scale).double())
    together, limit = eye.expand(*values.shape, n), CLUSTER_ROUNDINGS * torch.finfo(torch.float64).eps
    alone = torch.ones_like(gaps)  # pairs of which neither is in a cluster yet
    for m in range(n, 1, -1):  # large clusters first: they may be wider
        near = _connected(((gaps**m <= limit * scale ** (m - 1)).double() * alone).clamp(min=eye))
        large = (near.sum(-1) >= m).double()
        together = torch.where(large.unsqueeze(-1) > 0, near, together)
        free = 1 - large
        alone = alone * free.unsqueeze(-1) * free.unsqueeze(-2)
    return together


def _connected(near: Tensor) -> Tensor:
    """The components of a symmetric relation, by its powers."""
    for _ in range(max(1, (near.shape[-1] - 1).bit_length())):
        near = (near @ near > 0).double()
    return near


def _nilpotent(a: Tensor, values: Tensor, together: Tensor) -> Tensor:
    """The nilpotent part of a matrix of norm 1 with eigenvalues and their clusters."""
    n = a.shape[-1]
    sizes = together.sum(-1)
    means = torch.einsum("...ij,...j->...i", together.to(values.dtype), values) / sizes
    first = together.argmax(-1) == torch.arange(n, device=a.device)  # one representative of each cluster
    eye, place = torch.eye(n, dtype=values.dtype, device=a.device), torch.arange(n, device=a.device)
    total = torch.zeros_like(a, dtype=values.dtype)
    for i in range(n):
        several = first[..., i] & (sizes[..., i] > 1)
        if not bool(several.any()):
            continue
        moved = a - means[..., i, None, None] * eye
        power = moved
        for m in range(2, n + 1):
            power = torch.where((sizes[..., i] >= m)[..., None, None], power @ moved, power)
        # null vectors from either side: the last ones; the others are left out by a mask
        left, _, right = torch.linalg.svd(power)
        null = (place >= n - sizes[..., i, None]).to(values.dtype)
        left, right = left * null.unsqueeze(-2), right.mH * null.unsqueeze(-2)
        inner = left.mH @ right + torch.diag_embed(1 - null)
        projector = right @ torch.linalg.solve(inner, left.mH)
        total = total + torch.where(several[..., None, None], moved @ projector, torch.zeros_like(total))
    return total.real


def multiplicative_jordan_chevalley(g: Tensor, threshold: float | None = None) -> tuple[Tensor, Tensor]:
    """Return the parts of g = s u, s semisimple, u unipotent (all its eigenvalues are 1), s u = u s.

    Both lie in every algebraic group that g lies in.

    Args:
        g: ``[..., n, n]`` invertible; computed in float64.
        threshold: As of `jordan_chevalley`, but relative to the larger of the two eigenvalues, not to the norm. By
            default the m-th power of a distance may be that number of roundings times the norm times the (m − 1)-th
            power of the eigenvalue: u is taken to be of moderate size.

    Returns:
        s and u ``[..., n, n]``, without gradients.

    Raises:
        ShapeError: Not square matrices, or one is singular.

    Properties:
        multiplicative_jordan_parts: s u = u s = g, and (u − 1)ⁿ = 0.
    """
    need_square(g, "The Jordan–Chevalley decomposition")
    need_invertible(torch.linalg.svdvals(g.detach()), "The Jordan–Chevalley decomposition")
    wide = g.detach().double()
    size = torch.linalg.matrix_norm(wide)[..., None, None]
    values = torch.linalg.eigvals(wide / size)
    nilpotent = size * _nilpotent(wide / size, values, _clusters(values, values.abs(), threshold))
    s, eye = wide - nilpotent, torch.eye(g.shape[-1], dtype=torch.float64, device=g.device)
    if bool((torch.linalg.slogdet(s)[0] == 0).any()):
        raise ShapeError("The Jordan–Chevalley decomposition: a cluster's mean is zero; take a smaller threshold.")
    return s.to(g.dtype), (eye + torch.linalg.solve(s, nilpotent)).to(g.dtype)

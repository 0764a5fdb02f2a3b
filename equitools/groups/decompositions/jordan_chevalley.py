"""The Jordan–Chevalley decomposition: a part that is diagonalisable over ℂ and a nilpotent one that commutes with it.

It is not continuous: the nilpotent part of a block [[λ, 1], [0, λ + ε]] is zero for every ε that is not zero, and
[[0, 1], [0, 0]] for ε = 0. So there are no gradients, and what "equal eigenvalues" means has to be said: eigenvalues
nearer than a threshold count as one, their mean.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.decompositions.checks import need_invertible, need_square

__all__ = ["CLUSTER_THRESHOLD", "jordan_chevalley", "multiplicative_jordan_chevalley"]

#: Eigenvalues nearer than this, relative to the norm of the matrix, count as one. Rounding splits the eigenvalue of a
#: Jordan block of size m by about eps^(1/m): 1.5e-8, 6e-6, 1e-4 and 7e-4 for m = 2 … 5 in float64.
CLUSTER_THRESHOLD = 1e-3


def jordan_chevalley(a: Tensor, threshold: float = CLUSTER_THRESHOLD) -> tuple[Tensor, Tensor]:
    """Return the parts of a = s + n, s semisimple (diagonalisable over ℂ), n nilpotent, s n = n s.

    s is found by Newton's iteration on the polynomial that has each cluster's mean as a simple root (the proof of
    Chevalley), in real arithmetic; it is a polynomial in ``a``.

    Args:
        a: ``[..., n, n]``; computed in float64.
        threshold: Eigenvalues nearer than this times the Frobenius norm of the matrix belong to one cluster (as do
            those that are joined by a chain of such). Too small a threshold takes the rounding of a Jordan block for
            distinct eigenvalues and finds no nilpotent part; too large a one takes distinct eigenvalues for a block,
            and then n is not nilpotent, but has the clusters' spread as eigenvalues.

    Returns:
        s and n ``[..., n, n]`` in the dtype of ``a``. There are no gradients: the decomposition is not continuous.

    Raises:
        ShapeError: Not square matrices.

    Properties:
        jordan_parts: s + n = a, s n = n s, n is nilpotent, and s has the clusters' means as eigenvalues.
        jordan_is_discontinuous: an eigenvalue that moves by more than the threshold removes the nilpotent part.
    """
    need_square(a, "The Jordan–Chevalley decomposition")
    dtype, a = a.dtype, a.detach().double()
    n, size = a.shape[-1], torch.linalg.matrix_norm(a).clamp(min=torch.finfo(torch.float64).tiny)
    scaled = a / size[..., None, None]
    values = torch.linalg.eigvals(scaled)
    joined = ((values.unsqueeze(-1) - values.unsqueeze(-2)).abs() <= threshold).to(torch.float64)
    for _ in range(max(1, (n - 1).bit_length())):  # chains: powers of the relation
        joined = (joined @ joined > 0).to(torch.float64)
    means = torch.einsum("...ij,...j->...i", joined.to(values.dtype), values) / joined.sum(-1)
    first = joined.argmax(-1) == torch.arange(n, device=a.device)  # one representative of each cluster
    s, eye = scaled, torch.eye(n, dtype=torch.float64, device=a.device)
    for _ in range(max(1, (n - 1).bit_length()) + 2):
        value, slope = eye.expand_as(s).to(values.dtype), torch.zeros_like(s, dtype=values.dtype)
        for i in range(n):
            factor = s - means[..., i, None, None] * eye
            keep = first[..., i, None, None]
            slope = torch.where(keep, slope @ factor + value, slope)
            value = torch.where(keep, value @ factor, value)
        s = s - torch.linalg.solve(slope.real, value.real)
    s = s * size[..., None, None]
    return s.to(dtype), (a - s).to(dtype)


def multiplicative_jordan_chevalley(g: Tensor, threshold: float = CLUSTER_THRESHOLD) -> tuple[Tensor, Tensor]:
    """Return the parts of g = s u, s semisimple, u unipotent (all its eigenvalues are 1), s u = u s.

    Both lie in every algebraic group that g lies in.

    Args:
        g: ``[..., n, n]`` invertible; computed in float64.
        threshold: As of `jordan_chevalley`.

    Returns:
        s and u ``[..., n, n]``, without gradients.

    Raises:
        ShapeError: Not square matrices, or one is singular.

    Properties:
        multiplicative_jordan_parts: s u = u s = g, and (u − 1)ⁿ = 0.
    """
    need_square(g, "The Jordan–Chevalley decomposition")
    need_invertible(torch.linalg.svdvals(g.detach()), "The Jordan–Chevalley decomposition")
    s, nilpotent = jordan_chevalley(g.double(), threshold)
    eye = torch.eye(g.shape[-1], dtype=torch.float64, device=g.device)
    if bool((torch.linalg.slogdet(s)[0] == 0).any()):
        raise ShapeError("The Jordan–Chevalley decomposition: a cluster's mean is zero; take a smaller threshold.")
    return s.to(g.dtype), (eye + torch.linalg.solve(s, nilpotent)).to(g.dtype)

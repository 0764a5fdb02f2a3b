"""What a Lie algebra of matrices leaves invariant, and how near two of them are: for algebras that were learned."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError

__all__ = ["InvariantForms", "algebra_cosine", "invariant_forms", "subspace_cosines"]


class InvariantForms(NamedTuple):
    """Bilinear forms that an algebra leaves invariant.

    Attributes:
        forms: ``[k, d, d]`` float64, orthonormal in the Frobenius product, those with the smallest residual first.
        residuals: ``[k]``: the norm of LᵀJ + J L over all (normalised) L, for each form.
        rejected: The smallest residual above the threshold; infinite where all forms are invariant. A gap between
            ``residuals[-1]`` and this says that the threshold was not decisive.
    """

    forms: Tensor
    residuals: Tensor
    rejected: float


def invariant_forms(algebra: Tensor, threshold: float = 1e-6, symmetric: bool = True) -> InvariantForms:
    """Return all bilinear forms J with LᵀJ + J L = 0 for each L: those that every exp(z L) leaves invariant.

    They are the null space of a linear map, found by its singular values. For the rotations the only symmetric one is
    the scalar product, for the Lorentz group Minkowski's metric.

    Args:
        algebra: ``[c, d, d]``, a basis or just generators; each is divided by its Frobenius norm first.
        threshold: Forms of Frobenius norm 1 count as invariant where the norm of all LᵀJ + J L together is at most
            this. Exact algebras give about 1e-15; for learned ones take 1e-1 … 1e-2 and look at ``residuals``.
        symmetric: Look at symmetric J only.

    Returns:
        `InvariantForms`; k is 0 where there is none.

    Raises:
        ShapeError: No stack of square floating-point matrices, or one that vanishes.
        ConfigError: A threshold that is not positive.

    Properties:
        forms_are_invariant: exp(L)ᵀ J exp(L) = J.
    """
    flat = _stack(algebra, "An algebra")
    if not threshold > 0:
        raise ConfigError(f"The threshold must be positive, not {threshold}.")
    d = algebra.shape[-1]
    generators = (flat / flat.norm(dim=1, keepdim=True)).reshape(-1, d, d)
    basis = torch.eye(d * d, dtype=torch.float64, device=algebra.device).reshape(d * d, d, d)
    if symmetric:
        rows, columns = torch.triu_indices(d, d)
        both = basis.reshape(d, d, d, d)[rows, columns]
        both = both + both.mT
        basis = both / both.flatten(1).norm(dim=1)[:, None, None]
    image = torch.einsum("cki,bkj->cijb", generators, basis) + torch.einsum("bik,ckj->cijb", basis, generators)
    _, values, vectors = torch.linalg.svd(image.flatten(0, 2))
    order = values.argsort()
    values, vectors = values[order], vectors[order]
    kept = values <= threshold
    forms = torch.einsum("kb,bij->kij", vectors[kept], basis)
    rest = values[~kept]
    return InvariantForms(forms, values[kept], float(rest[0]) if len(rest) else float("inf"))


def algebra_cosine(found: Tensor, truth: Tensor) -> Tensor:
    """Return the absolute cosine between matrices: 1 where they are multiples of each other.

    Scale and sign of a generator mean nothing, so that this is how a learned one is compared with a known one.

    Args:
        found: ``[..., d, d]``.
        truth: ``[..., d, d]``.

    Returns:
        ``[...]`` float64.

    Raises:
        ShapeError: The last two axes differ.

    Properties:
        scale_and_sign: multiples, also negative ones, have the same cosine.
    """
    if found.shape[-2:] != truth.shape[-2:]:
        raise ShapeError(f"Matrices of one size are needed, given {list(found.shape)} and {list(truth.shape)}.")
    a, b = found.detach().double(), truth.detach().double()
    return (a * b).sum((-1, -2)).abs() / (a.norm(dim=(-1, -2)) * b.norm(dim=(-1, -2)))


def subspace_cosines(found: Tensor, truth: Tensor) -> Tensor:
    """Return the cosines of the principal angles between the spans of two algebras, the largest first.

    Args:
        found: ``[c, d, d]``, linearly independent.
        truth: ``[k, d, d]``, linearly independent.

    Returns:
        ``[min(c, k)]`` float64: all are 1 where one span holds the other; the last one says how far the worst
        direction is away.

    Raises:
        ShapeError: No stacks of square matrices of one size, or matrices that are linearly dependent.

    Properties:
        basis_independent: another basis of the same span has the same cosines.
    """
    if found.shape[-2:] != truth.shape[-2:]:
        raise ShapeError(f"Matrices of one size are needed, given {list(found.shape)} and {list(truth.shape)}.")
    bases = []
    for name, algebra in (("found", found), ("truth", truth)):
        flat = _stack(algebra, f"The algebra {name!r}")
        q, values, _ = torch.linalg.svd((flat / flat.norm(dim=1, keepdim=True)).mT, full_matrices=False)
        if len(flat) > flat.shape[1] or float(values[-1]) < 1e-10 * float(values[0]):
            raise ShapeError(f"The matrices of {name!r} are linearly dependent: give a basis.")
        bases.append(q)
    return torch.linalg.svdvals(bases[0].mT @ bases[1]).clamp(max=1.0)


def _stack(algebra: Tensor, what: str) -> Tensor:
    if algebra.ndim != 3 or algebra.shape[1] != algebra.shape[2] or not algebra.is_floating_point():
        raise ShapeError(f"{what} is a stack of matrices [c, d, d], given {list(algebra.shape)} {algebra.dtype}.")
    flat = algebra.detach().double().flatten(1)
    if algebra.numel() == 0 or not bool((flat.norm(dim=1) > 0).all()) or not bool(flat.isfinite().all()):
        raise ShapeError(f"{what} needs matrices that are finite and not zero, at least one.")
    return flat

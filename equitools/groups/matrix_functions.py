"""Exponential, principal logarithm and polar decomposition of matrices of any size, differentiable any number of times.

Sizes 2 to 4 run compiled where `equitools.ops.matrix_functions` has kernels; the ``…_reference`` functions are plain
torch and are the definition.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.logarithm import matrix_log_reference, on_the_cut
from equitools.groups.orthogonal_factor import orthogonal_factor
from equitools.groups.precision import HALF, full_precision

__all__ = [
    "matrix_exp",
    "matrix_exp_reference",
    "matrix_log",
    "matrix_log_reference",
    "on_the_cut",
    "polar",
    "polar_reference",
]

_COMPILED = (2, 3, 4)
_ROOM = "equitools.ops.matrix_functions"


@functools.cache
def _kernels() -> ModuleType | None:
    """The module with compiled forms, if there is one.

    This is the only place where a lower floor uses a higher one, by its name and at the first call: kernels belong to
    `ops`, which is built on groups, and the methods of the groups are what people call.
    """
    try:
        return importlib.import_module(_ROOM)
    except ModuleNotFoundError as error:
        if error.name != _ROOM:  # the module is there, and something that it needs is not
            raise
        return None


def _check(a: Tensor, what: str) -> None:
    if a.ndim < 2 or a.shape[-1] != a.shape[-2] or not a.is_floating_point():
        raise ShapeError(f"{what} needs floating-point matrices [..., n, n], given {list(a.shape)} {a.dtype}.")


def _finite(found: Tensor, what: str) -> None:
    """Refuse what the kernels gave NaN for."""
    good = found.detach().isfinite().all(-1).all(-1)
    if not bool(good.all()):
        raise ShapeError(f"{int((~good).sum())} of {good.numel()} matrices {what}")


@full_precision
def matrix_exp(x: Tensor) -> Tensor:
    """Return the exponential of matrices.

    Args:
        x: ``[..., n, n]``.

    Returns:
        ``[..., n, n]``, differentiable any number of times.

    Raises:
        ShapeError: The matrices are not square, or not of a floating-point dtype.

    Properties:
        agrees_with_scipy: the exponential is scipy's.
    """
    _check(x, "The exponential")
    kernels = _kernels() if x.shape[-1] in _COMPILED else None
    return matrix_exp_reference(x) if kernels is None else kernels.matrix_exp(x)


@full_precision
def matrix_exp_reference(x: Tensor) -> Tensor:
    """Return the exponential of matrices ``[..., n, n]`` by `torch.matrix_exp`."""
    if x.dtype in HALF:
        return torch.matrix_exp(x.float()).to(x.dtype)
    return torch.matrix_exp(x) if x.numel() else x.clone()  # of nothing, but with a gradient


@full_precision
def matrix_log(a: Tensor) -> Tensor:
    """Return the principal logarithm of matrices: that with the imaginary parts of its eigenvalues in (−π, π).

    Args:
        a: ``[..., n, n]`` real.

    Returns:
        ``[..., n, n]`` in the dtype of ``a``, differentiable any number of times; zero at the identity, and accurate
        near it.

    Raises:
        ShapeError: The matrices are not square or not of a floating-point dtype, or one is on the cut: singular, not
            finite, or with an eigenvalue on the negative real axis. Nothing real and continuous is there.

    Properties:
        inverts_the_exponential: exp(log(a)) = a, and log(exp(x)) = x where the eigenvalues of x have imaginary parts in
            (−π, π).
        logarithm_agrees_with_scipy: the logarithm is scipy's, to condition 1e4.
        small_logarithms_keep_their_digits: near the identity the relative error is that of a − 1.
    """
    _check(a, "The logarithm")
    kernels = _kernels() if a.shape[-1] in _COMPILED else None
    if kernels is None:
        return matrix_log_reference(a)
    found = kernels.matrix_log(a)
    _finite(
        found,
        "have no principal logarithm: they are singular, not finite, or have an eigenvalue on the negative "
        "real axis (the cut).",
    )
    return found


@full_precision
def polar(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return the polar decomposition a = p k of invertible matrices.

    Args:
        a: ``[..., n, n]`` invertible.

    Returns:
        p ``[..., n, n]`` symmetric and positive definite, and k ``[..., n, n]`` orthogonal, det k = sign det a;
        differentiable any number of times, also where singular values coincide.

    Raises:
        ShapeError: The matrices are not square or not of a floating-point dtype, or one is singular or not finite.

    Properties:
        polar_parts: a = p k, p is symmetric and positive definite, and k is orthogonal to the last digit at any
            condition.
    """
    _check(a, "The polar decomposition")
    kernels = _kernels() if a.shape[-1] in _COMPILED else None
    if kernels is None:
        return polar_reference(a)
    p, k = kernels.polar(a)
    _finite(p, "are singular, or not finite: they have no polar decomposition with a positive definite factor.")
    return p, k


@full_precision
def polar_reference(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return the polar decomposition of matrices ``[..., n, n]`` by the singular value decomposition; see `polar`.

    Raises:
        ShapeError: A matrix is singular to rounding, or not finite.
    """
    if a.dtype in HALF:
        p, k = polar_reference(a.float())
        return p.to(a.dtype), k.to(a.dtype)
    if not bool(a.detach().isfinite().all()):
        raise ShapeError("A matrix to be decomposed is not finite.")
    k = orthogonal_factor(a)
    p = a @ k.transpose(-1, -2)
    p = (p + p.transpose(-1, -2)) / 2
    if a.numel():
        values = torch.linalg.eigvalsh(p.detach())
        if bool((values[..., 0] <= 2 * torch.finfo(a.dtype).eps * values[..., -1]).any()):
            raise ShapeError("A singular matrix has no polar decomposition with a positive definite factor.")
    return p, k

"""The factor of a matrix that keeps a bilinear form: polar decomposition in an indefinite or symplectic metric."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError

__all__ = ["form_polar_factor", "polar_factor"]


def polar_factor(a: Tensor, signature: tuple[float, ...], iterations: int = 60) -> Tensor:
    """Return the factor q of a = q s where qᵀ J q = J, J s = sᵀ J and s has eigenvalues with positive real parts.

    Args:
        a: ``[..., n, n]``.
        signature: Diagonal of J, entries ±1; all ones is the ordinary polar decomposition.
        iterations: At most so many; fewer than ten are usual.

    Returns:
        ``[..., n, n]``; see `form_polar_factor`.

    Raises:
        ShapeError: A matrix has no such factor.
    """
    return form_polar_factor(a, torch.diag(torch.tensor(signature, dtype=a.dtype, device=a.device)), iterations)


def form_polar_factor(a: Tensor, form: Tensor, iterations: int = 60) -> Tensor:
    """Return the factor q of a = q s where qᵀ J q = J, J s = sᵀ J and s has eigenvalues with positive real parts.

    Newton's iteration x ← (x + J⁻¹ x⁻ᵀ J) / 2, scaled by the determinant as long as it is far from its limit. Every
    step goes along with multiplication by matrices that keep the form, so that the limit does. It is differentiable to
    any order.

    Args:
        a: ``[..., n, n]``.
        form: J ``[n, n]``, orthogonal, and symmetric or antisymmetric.
        iterations: At most so many; fewer than ten are usual.

    Returns:
        ``[..., n, n]``.

    Raises:
        ShapeError: A matrix has no such factor.

    Source:
        N. J. Higham, D. S. Mackey, N. Mackey, F. Tisseur, Computing the polar decomposition and the matrix sign
        decomposition in matrix groups, SIAM J. Matrix Anal. Appl. 25 (2004); Higham, SIAM Review 45 (2003).
    """
    n = form.shape[-1]
    if not _has_polar_factor(a.detach(), form):
        raise ShapeError(
            "A matrix has no generalised polar factor: it is singular or not finite, or J⁻¹ aᵀ J a has an eigenvalue "
            "that is real and not positive."
        )
    tolerance = 10 * n * torch.finfo(a.dtype).eps
    x = a
    for _ in range(iterations):
        y = form.T @ torch.linalg.inv(x).transpose(-1, -2) @ form
        step = (x - y).detach().abs().amax((-1, -2)) / x.detach().abs().amax((-1, -2))
        far = (step > 0.1)[..., None, None]
        scale = torch.linalg.det(x.detach()).abs().pow(-1 / n)[..., None, None]
        scale = torch.where(far, scale, torch.ones_like(scale))
        x = (scale * x + y / scale) / 2
        if not bool((step > tolerance**0.5).any()):  # convergence is quadratic: this step was the last that counts
            return x
    raise ShapeError("The iteration for the generalised polar factor did not converge: a matrix is too near to none.")


def _has_polar_factor(a: Tensor, form: Tensor) -> bool:
    if a.numel() == 0:
        return True
    if not bool(a.isfinite().all()):
        return False
    values = torch.linalg.eigvals(form.T @ a.transpose(-1, -2) @ form @ a)
    small = 100 * torch.finfo(a.dtype).eps * values.abs().amax(-1, keepdim=True)
    return not bool(((values.real <= small) & (values.imag.abs() <= small)).any())

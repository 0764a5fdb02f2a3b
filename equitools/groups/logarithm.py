"""The principal logarithm of matrices of any size, in plain torch: inverse scaling and squaring.

Square roots are taken until a matrix is near the identity, each matrix as often as it needs; then the [8/8] Padé
approximant of log(1 + x), in partial fractions, is right to the last digit. N. J. Higham, Functions of Matrices (SIAM,
2008): sections 11.4 (partial fractions of the Padé approximant), 11.5 (inverse scaling and squaring), 6.3 (the
Denman–Beavers iteration, with its scaling by determinants), 3.2 (the derivative as a block of the function
of a matrix of twice the size).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.batching import to_front
from equitools.groups.precision import full_precision

__all__ = ["matrix_log_reference", "on_the_cut"]

_NODES = 8
_NEAR = 0.3  # ‖a − 1‖ up to which eight nodes are exact in float64
_MOST_ROOTS = 64
_MOST_STEPS = 60


def on_the_cut(a: Tensor) -> Tensor:
    """Return which matrices have no principal logarithm: an eigenvalue is zero, or real and negative, to rounding.

    Args:
        a: ``[..., n, n]``.

    Returns:
        ``[...]`` bool; true also where something is not finite.
    """
    finite = a.isfinite().all(-1).all(-1)
    values = torch.linalg.eigvals(torch.where(finite[..., None, None], a, torch.zeros_like(a)))
    if a.shape[-1] == 0:
        return ~finite
    small = 16 * a.shape[-1] * torch.finfo(a.dtype).eps * values.abs().amax(-1, keepdim=True)
    return ~finite | ((values.real <= small) & (values.imag.abs() <= small)).any(-1)


@full_precision
def matrix_log_reference(a: Tensor) -> Tensor:
    """Return the principal logarithm of matrices: that with the imaginary parts of its eigenvalues in (−π, π).

    It is computed in float64 whatever the dtype, each matrix for itself: what else is in the batch does not matter.

    Args:
        a: ``[..., n, n]`` real.

    Returns:
        ``[..., n, n]`` in the dtype of ``a``, differentiable any number of times.

    Raises:
        ShapeError: The matrices are not square or not of a floating-point dtype, or one is on the cut: singular, not
            finite, or with an eigenvalue on the negative real axis (see `on_the_cut`).
    """
    if a.ndim < 2 or a.shape[-1] != a.shape[-2] or not a.is_floating_point():
        raise ShapeError(f"The logarithm needs floating-point matrices [..., n, n], given {list(a.shape)} {a.dtype}.")
    return _MatrixLog.apply(a.double(), True).to(a.dtype)


class _MatrixLog(torch.autograd.Function):
    """The logarithm; its derivative is that of a matrix of twice the size, so that it can be taken again."""

    @staticmethod
    def forward(a: Tensor, check: bool) -> Tensor:
        if check:
            bad = on_the_cut(a)
            if bool(bad.any()):
                raise ShapeError(
                    f"{int(bad.sum())} of {bad.numel()} matrices have no principal logarithm: they are singular, not "
                    "finite, or have an eigenvalue on the negative real axis (the cut)."
                )
        if a.numel() == 0:
            return torch.zeros_like(a)
        return _logarithm(a.reshape(-1, *a.shape[-2:])).reshape(a.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, bool], output: Tensor) -> None:  # noqa: ARG004 - torch's form
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (a,) = ctx.saved_tensors
        return _derivative(a.transpose(-1, -2), grads[0]), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        (a,) = ctx.saved_tensors
        return _derivative(a, tangents[0])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, None], a: Tensor, check: bool) -> tuple[Tensor, int]:
        return _MatrixLog.apply(to_front(a, in_dims[0], info.batch_size), check), 0


@full_precision
def _derivative(a: Tensor, direction: Tensor) -> Tensor:
    """The derivative of the logarithm at ``a``: the corner of log [[a, d], [0, a]]."""
    if a.numel() == 0:
        return torch.zeros_like(a)
    n = a.shape[-1]
    # it is linear in the direction, which is made as large as a: so it costs no further square roots
    size = a.detach().abs().amax((-1, -2), keepdim=True) / direction.detach().abs().amax((-1, -2), keepdim=True)
    size = torch.where(size.isfinite() & (size > 0), size, torch.ones_like(size))
    upper = torch.cat([a, direction * size], -1)
    lower = torch.cat([torch.zeros_like(a), a], -1)
    return _MatrixLog.apply(torch.cat([upper, lower], -2), False)[..., :n, n:] / size


def _logarithm(a: Tensor) -> Tensor:
    """Logarithm of ``[B, n, n]``, B ≥ 1."""
    a, eye = a.clone(), torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    roots = a.new_zeros(len(a))
    for _ in range(_MOST_ROOTS):
        far = torch.linalg.matrix_norm(a - eye, 1) > _NEAR
        if not bool(far.any()):
            break
        a[far] = _square_root(a[far])
        roots[far] += 1
    x = a - eye
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    total = torch.zeros_like(x)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        total += float(weight) * torch.linalg.solve_ex(eye + float(node) * x, x)[0]
    return total * torch.exp2(roots)[:, None, None]


def _square_root(a: Tensor) -> Tensor:
    """Principal square root of ``[B, n, n]``: the Denman–Beavers iteration, not in its product form.

    That form needs one inverse a step instead of two, but forms 1 + cos θ near the cut, and loses twice the digits.
    """
    n, eye = a.shape[-1], torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    x, z = a, eye.expand_as(a)
    last = torch.full_like(a[:, 0, 0], torch.inf)
    for _ in range(_MOST_STEPS):
        scale = torch.exp(-(torch.linalg.slogdet(x)[1] + torch.linalg.slogdet(z)[1]) / (2 * n))
        scale = torch.where(last > 0.01, scale, torch.ones_like(scale))[:, None, None]
        x, z = scale * x, scale * z
        new = (x + torch.linalg.inv_ex(z)[0]) / 2
        z = (z + torch.linalg.inv_ex(x)[0]) / 2
        change = torch.linalg.matrix_norm(new - x, 1) / torch.linalg.matrix_norm(new, 1)
        x = new
        # quadratic convergence: after a small change nothing is left; where rounding is all there is, it stops falling
        if not bool(((change > 1e-9) & ((change < last / 2) | (change > 1e-3))).any()):
            break
        last = change
    if not bool(x.isfinite().all()):
        raise ShapeError("A square root for the logarithm did not converge: a matrix is too near to the cut.")
    return x

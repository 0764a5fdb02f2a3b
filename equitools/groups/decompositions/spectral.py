"""Logarithm and exponential of symmetric matrices, with derivatives of any order that are right where eigenvalues meet.

The k-th derivative of f(a) in the directions G₁ … G_k has in the eigenbasis of ``a`` the entries

    Σ over permutations, Σ over i₁ … i_{k−1}  f[w_i, w_{i₁}, …, w_j] (G₁)_{i i₁} (G₂)_{i₁ i₂} … (G_k)_{i_{k−1} j}

where f[…] is a divided difference (Daleckii and Krein; N. J. Higham, Functions of Matrices, SIAM 2008, chapter 3). It
is smooth where its arguments coincide: there it is a derivative of f. Differentiating through the eigenvectors, as
autograd would, divides by the differences of eigenvalues instead.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.decompositions.checks import count, need_square

__all__ = ["divided_differences", "spd_log", "symmetric_exp"]

_TERMS = 20  # of the series of a divided difference, whose ratio is at most 0.1 (log) or whose terms have factorials


@dataclass(frozen=True)
class _Function:
    """A scalar function: its values, its Taylor coefficients f⁽ʲ⁾(c)/j!, and how far a series of them reaches."""

    value: Callable[[Tensor], Tensor]
    coefficient: Callable[[Tensor, int], Tensor]
    reach: Callable[[Tensor], Tensor]


def _exp_coefficient(c: Tensor, j: int) -> Tensor:
    return c.exp() * float(1.0 / torch.exp(torch.lgamma(torch.tensor(j + 1.0, dtype=torch.float64))))


def _log_coefficient(c: Tensor, j: int) -> Tensor:
    return -((-1.0 / c) ** j) / j


_FUNCTIONS = {
    "exp": _Function(torch.exp, _exp_coefficient, torch.ones_like),
    "log": _Function(torch.log, _log_coefficient, lambda smallest: 0.1 * smallest),
}


def divided_differences(name: str, points: Tensor) -> Tensor:
    """Return the divided differences f[x₀, …, x_k].

    Args:
        name: ``"exp"`` or ``"log"``.
        points: ``[..., k+1]``, ascending along the last axis; some or all may coincide.

    Returns:
        ``[...]``.

    Properties:
        divided_differences_of_equal_points: with all points equal it is f⁽ᵏ⁾(x)/k!.
    """
    f = _FUNCTIONS[name]
    row = f.value(points)
    for level in range(1, points.shape[-1]):
        low, high = points[..., :-level], points[..., level:]
        far = high - low > f.reach(low)
        quotient = (row[..., 1:] - row[..., :-1]) / torch.where(far, high - low, torch.ones_like(low))
        row = torch.where(far, quotient, _series(f, points.unfold(-1, level + 1, 1)))
    return row[..., 0]


def _series(f: _Function, points: Tensor) -> Tensor:
    """The divided difference as Σ_m f⁽ᵏ⁺ᵐ⁾(c)/(k+m)! h_m(x − c), h_m the complete homogeneous symmetric polynomials."""
    k = points.shape[-1] - 1
    centre = points.mean(-1)
    # Where the points are far apart the result is not taken; there they are drawn together, so that nothing overflows.
    near = points[..., -1] - points[..., 0] <= f.reach(points[..., 0])
    offsets = torch.where(near.unsqueeze(-1), points - centre.unsqueeze(-1), torch.zeros_like(points))
    homogeneous = [torch.ones_like(centre)] + [torch.zeros_like(centre)] * (_TERMS - 1)
    for x in offsets.unbind(-1):  # generating function: multiply with 1 / (1 − x t) one point after the other
        for m in range(1, _TERMS):
            homogeneous[m] = homogeneous[m] + x * homogeneous[m - 1]
    total = torch.zeros_like(centre)
    for m in reversed(range(_TERMS)):
        total = total + f.coefficient(centre, k + m) * homogeneous[m]
    return total


def _table(name: str, values: Tensor, order: int) -> Tensor:
    """All divided differences f[w_i0, …, w_ik] of eigenvalues ``[..., n]``: ``[..., n, …, n]``, k + 1 axes."""
    n = values.shape[-1]
    index = torch.cartesian_prod(*[torch.arange(n, device=values.device)] * (order + 1)).reshape(-1, order + 1)
    points = values[..., index].sort(-1).values
    return divided_differences(name, points).reshape(*values.shape[:-1], *[n] * (order + 1))


class _Derivative(torch.autograd.Function):
    """The derivative of f(a) in given symmetric directions; without any, f(a). Its derivative is of the same kind."""

    generate_vmap_rule = True

    @staticmethod
    def forward(name: str, a: Tensor, values: Tensor, vectors: Tensor, *directions: Tensor) -> Tensor:  # noqa: ARG004
        if not directions:
            f = _FUNCTIONS[name].value(values)
            return (vectors * f.unsqueeze(-2)) @ vectors.mT
        order = len(directions)
        table = _table(name, values, order)
        inside = [vectors.mT @ d @ vectors for d in directions]
        letters = string.ascii_lowercase[: order + 1]
        factors = ",".join(f"...{letters[k]}{letters[k + 1]}" for k in range(order))
        term = f"...{letters},{factors}->...{letters[0]}{letters[-1]}"
        total = sum(torch.einsum(term, table, *order_) for order_ in itertools.permutations(inside))
        return vectors @ total @ vectors.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG004
        ctx.name = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        a, values, vectors, *directions = ctx.saved_tensors
        grad = 0.5 * (grads[0] + grads[0].mT)
        needed = ctx.needs_input_grad
        along = _Derivative.apply(ctx.name, a, values, vectors, *directions, grad) if needed[1] else None
        others = []
        for k in range(len(directions)):
            swapped = [*directions[:k], grad, *directions[k + 1 :]]
            others.append(_Derivative.apply(ctx.name, a, values, vectors, *swapped) if needed[4 + k] else None)
        return None, along, None, None, *others


def spd_log(p: Tensor) -> Tensor:
    """Return the logarithm of symmetric positive definite matrices.

    Args:
        p: ``[..., n, n]``; only the symmetric part counts.

    Returns:
        ``[..., n, n]`` symmetric, differentiable any number of times, also where eigenvalues coincide.

    Raises:
        ShapeError: Not square matrices, or one is not positive definite.

    Properties:
        spectral_functions_agree: logarithm and exponential are those of scipy, and inverse to each other.
        gradients_at_equal_eigenvalues: first and second derivatives are right where eigenvalues coincide.
    """
    need_square(p, "The logarithm of a symmetric matrix")
    p = 0.5 * (p + p.mT)
    values, vectors = torch.linalg.eigh(p.detach())
    bad = values[..., 0] <= 0
    if bool(bad.any()):
        raise ShapeError(f"The logarithm of a symmetric matrix: {count(bad)} are not positive definite.")
    return _Derivative.apply("log", p, values, vectors)


def symmetric_exp(x: Tensor) -> Tensor:
    """Return the exponential of symmetric matrices, which is positive definite.

    Args:
        x: ``[..., n, n]``; only the symmetric part counts.

    Returns:
        ``[..., n, n]`` symmetric, differentiable any number of times, also where eigenvalues coincide.

    Raises:
        ShapeError: Not square matrices.
    """
    need_square(x, "The exponential of a symmetric matrix")
    x = 0.5 * (x + x.mT)
    values, vectors = torch.linalg.eigh(x.detach())
    return _Derivative.apply("exp", x, values, vectors)

"""Exponential, principal logarithm and polar decomposition of matrices, compiled for sizes 2, 3 and 4.

The kernels have a matrix in each lane; other sizes, other dtypes and the backend ``reference`` take the plain torch of
`equitools.groups.matrix_functions`. First derivatives are compiled as well; those of higher order are those of formulas
in plain torch: the derivative of a function of a matrix is a block of the function of a matrix of twice the size, and
that of the polar decomposition solves a Lyapunov equation.

Each matrix is for itself: what else is in the batch changes no bit of a result, and a matrix without a logarithm or a
polar decomposition gives NaN there and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.matrix_functions import (
    matrix_exp_reference,
    matrix_log_reference,
    on_the_cut,
    polar_reference,
)
from equitools.groups.orthogonal_factor import solve_lyapunov
from equitools.ops import backend
from equitools.ops.folded_vmap import register_folded_vmap
from equitools.ops.partial_vjp import partial_vjp
from equitools.ops.precision import full_precision

__all__ = ["COMPILED_SIZES", "SINGULAR_ROUNDINGS", "matrix_exp", "matrix_log", "polar"]

#: Sizes of matrices with compiled kernels.
COMPILED_SIZES = (2, 3, 4)
#: A matrix is singular for `polar` if its smallest singular value is below so many roundings of the largest one.
SINGULAR_ROUNDINGS = 4


# ---- plain torch --------------------------------------------------------------------------------------------------


def _widened(function: Callable[[Tensor], Any], a: Tensor) -> Any:
    """Apply a function in float32 to half precision, which has no linear algebra."""
    if a.dtype not in {torch.float16, torch.bfloat16}:
        return function(a)
    out = function(a.float())
    return tuple(t.to(a.dtype) for t in out) if isinstance(out, tuple) else out.to(a.dtype)


def _regular(function: Callable[[Tensor], Any], a: Tensor, bad: Tensor) -> Any:
    """Apply a function that refuses bad matrices: these count as the identity, and give NaN."""
    bad = bad[..., None, None]
    out = function(torch.where(bad, torch.eye(a.shape[-1], dtype=a.dtype, device=a.device), a))
    if isinstance(out, tuple):
        return tuple(t.masked_fill(bad, torch.nan) for t in out)
    return out.masked_fill(bad, torch.nan)


def _log(a: Tensor) -> Tensor:
    return _regular(matrix_log_reference, a, on_the_cut(a.detach()))


def _polar(a: Tensor) -> tuple[Tensor, Tensor]:
    finite = a.isfinite().all(-1).all(-1)
    if not a.numel():
        return polar_reference(a)
    values = torch.linalg.svdvals(torch.where(finite[..., None, None], a.detach(), torch.zeros_like(a)))
    singular = values[..., -1] <= SINGULAR_ROUNDINGS * torch.finfo(a.dtype).eps * values[..., 0]
    return _regular(polar_reference, a, singular | ~finite)


def _corner(function: Callable[[Tensor], Tensor], a: Tensor, direction: Tensor) -> Tensor:
    """Return the derivative of a function of a matrix: the corner of f [[a, d], [0, a]], linear in d."""
    n = a.shape[-1]
    # Made about as large as a, the direction changes neither how often it is scaled nor how exact the rest is.
    size = direction.detach().abs().amax((-1, -2), keepdim=True) / a.detach().abs().amax((-1, -2), keepdim=True)
    size = torch.where(size.isfinite() & (size > 0), size, torch.ones_like(size))
    upper = torch.cat([a, direction / size], -1)
    lower = torch.cat([torch.zeros_like(a), a], -1)
    return function(torch.cat([upper, lower], -2))[..., :n, n:] * size


def _polar_pulled(g: Tensor, grad_p: Tensor, grad_k: Tensor) -> Tensor:
    """Return the gradient with respect to g of what has gradients by p and k; differentiable."""
    p, k = polar(g)
    regular = p.detach().isfinite().all(-1).all(-1)[..., None, None]
    p_or_one = torch.where(regular, p, torch.eye(p.shape[-1], dtype=p.dtype, device=p.device))
    turned = grad_k @ k.mT - p @ grad_p
    turn = solve_lyapunov(p_or_one, torch.where(regular, turned - turned.mT, torch.zeros_like(p)))
    return (grad_p + turn) @ k


# ---- compiled -----------------------------------------------------------------------------------------------------


def _exp_pulled(x: Tensor, grad: Tensor) -> Tensor:
    """Return exp'(xᵀ)[grad], the gradient with respect to x; differentiable."""
    return _corner(matrix_exp, x.mT, grad)


def _log_pulled(log: Tensor, grad: Tensor) -> Tensor:
    """Return log'(gᵀ)[grad], the gradient with respect to g, whose logarithm is given; differentiable."""
    return _corner(matrix_log, matrix_exp(log).mT, grad)


def _register_function(name: str, pulled: Callable[[Tensor, Tensor], Tensor], of_result: bool) -> None:
    """Tell torch the shapes and derivatives of a compiled function of a matrix.

    Args:
        name: Of the operation; ``…_vjp`` is the other one.
        pulled: What the other one computes, in operations that torch can differentiate.
        of_result: Whether its first argument is the result of the function, or the argument.
    """
    library, qualified = torch.library, f"equitools::{name}"
    vjp: Callable[..., Tensor] = getattr(torch.ops.equitools, f"{name}_vjp")

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(output if of_result else inputs[0])

    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return vjp(*ctx.saved_tensors, grad)

    def save_vjp(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
        ctx.save_for_backward(*inputs)

    def vjp_backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        return partial_vjp(lambda *t: (pulled(*t),), ctx.saved_tensors, (cotangent,))

    library.register_fake(qualified, lambda a: a.new_empty(a.shape))
    library.register_fake(f"{qualified}_vjp", lambda a, _: a.new_empty(a.shape))
    library.register_autograd(qualified, backward, setup_context=save)
    library.register_autograd(f"{qualified}_vjp", vjp_backward, setup_context=save_vjp)
    register_folded_vmap(qualified)
    register_folded_vmap(f"{qualified}_vjp")


def _register_polar() -> None:
    """Tell torch the shapes and derivatives of the compiled polar decomposition."""
    library, name = torch.library, "equitools::polar"

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
        ctx.save_for_backward(*inputs)

    def backward(ctx: Any, grad_p: Tensor, grad_k: Tensor) -> Tensor:
        return torch.ops.equitools.polar_vjp(*ctx.saved_tensors, grad_p, grad_k)

    def vjp_backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        return partial_vjp(lambda *t: (_polar_pulled(*t),), ctx.saved_tensors, (cotangent,))

    library.register_fake(name, lambda g: (g.new_empty(g.shape), g.new_empty(g.shape)))
    library.register_fake(f"{name}_vjp", lambda g, *_: g.new_empty(g.shape))
    library.register_autograd(name, backward, setup_context=save)
    library.register_autograd(f"{name}_vjp", vjp_backward, setup_context=save)
    register_folded_vmap(name)
    register_folded_vmap(f"{name}_vjp")


def _compiled(name: str, a: Tensor) -> bool:
    """Check the matrices, and tell whether the kernels take them."""
    if not a.is_floating_point() or a.dim() < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"{name}: needs floating-point matrices [..., n, n], but got {a.dtype} {list(a.shape)}.")
    return a.shape[-1] in COMPILED_SIZES and backend.choose(name, a) != "reference"


@full_precision
def matrix_exp(x: Tensor) -> Tensor:
    """Return the exponential of matrices.

    Args:
        x: ``[..., n, n]``, any n; sizes 2, 3 and 4 are compiled.

    Returns:
        ``[..., n, n]``; NaN where an entry is not finite. Results beyond the range of the dtype are infinite or NaN.

    Raises:
        ShapeError: ``x`` is not floating point, or no square matrices.

    Properties:
        equals scipy; any norm; zero is the identity; each matrix is for itself.

    Source: scaling and squaring, Higham, Functions of Matrices (SIAM, 2008), chapter 10; its derivative, Al-Mohy and
    Higham, SIAM J. Matrix Anal. Appl. 30, 1639 (2009).
    """
    if not _compiled("matrix_exp", x):
        return _widened(matrix_exp_reference, x)
    return torch.ops.equitools.matrix_exp(x.reshape(-1, *x.shape[-2:])).reshape(x.shape)


@full_precision
def matrix_log(g: Tensor) -> Tensor:
    """Return the principal logarithm of matrices, whose eigenvalues have imaginary parts in (−π, π).

    Where an eigenvalue comes near the closed negative real axis, by an angle d, the logarithm is known to about 1 / d
    roundings. Where it is zero, or on the axis to rounding (below about 1e-9 in float64), there is no logarithm: that
    matrix gives NaN. The groups' ``log`` raises an error instead.

    Args:
        g: ``[..., n, n]``, any n; sizes 2, 3 and 4 are compiled.

    Returns:
        ``[..., n, n]``; NaN where there is no logarithm, or an entry is not finite.

    Raises:
        ShapeError: ``g`` is not floating point, or no square matrices.

    Properties:
        inverts the exponential; equals scipy; relative accuracy near the identity; no logarithm is nan; each matrix is
        for itself.

    Source: inverse scaling and squaring with the roots of Denman and Beavers, Higham, Functions of Matrices (SIAM,
    2008), sections 6.3 and 11.5; the derivative of a root, Smith, SIAM J. Appl. Math. 16, 198 (1968).
    """
    if not _compiled("matrix_log", g):
        return _widened(_log, g)
    return torch.ops.equitools.matrix_log(g.reshape(-1, *g.shape[-2:])).reshape(g.shape)


@full_precision
def polar(g: Tensor) -> tuple[Tensor, Tensor]:
    """Return the polar decomposition g = p k: p symmetric and positive definite, k orthogonal.

    Derivatives hold sums of two singular values and no differences: equal ones do no harm.

    Args:
        g: ``[..., n, n]``, any n; sizes 2, 3 and 4 are compiled.

    Returns:
        p and k, each ``[..., n, n]``; det k has the sign of det g. Both are NaN where an entry is not finite, or the
        smallest singular value is below `SINGULAR_ROUNDINGS` roundings of the largest one.

    Raises:
        ShapeError: ``g`` is not floating point, or no square matrices.

    Properties:
        rebuilds the matrix; orthogonal to rounding; finite gradients at equal singular values; singular is nan; each
        matrix is for itself.

    Source: one-sided rotations, Hestenes, J. SIAM 6, 51 (1958); derivative, Kenney and Laub, SIAM J. Matrix Anal. Appl.
    12, 488 (1991).
    """
    if not _compiled("polar", g):
        return _widened(_polar, g)
    p, k = torch.ops.equitools.polar(g.reshape(-1, *g.shape[-2:]))
    return p.reshape(g.shape), k.reshape(g.shape)


if backend.extension_loaded():
    _register_function("matrix_exp", _exp_pulled, of_result=False)
    _register_function("matrix_log", _log_pulled, of_result=True)
    _register_polar()

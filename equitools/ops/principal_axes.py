"""Principal axes of point clouds in three dimensions, and the matrices that they make with all signs.

Mean, second moments, their eigenvectors (`equitools.ops.eigh3`) and what there is to know about degeneracy come from
one pass over the points. First derivatives are compiled as well; those of higher order are those of the same formulas
in plain torch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.ops import backend
from equitools.ops.eigh3 import eigh3_reference, matrix_vjp
from equitools.ops.folded_vmap import register_folded_vmap
from equitools.ops.partial_vjp import partial_vjp
from equitools.ops.precision import full_precision

__all__ = [
    "ExaminedAxes",
    "examined_axes",
    "examined_axes_reference",
    "principal_axes",
    "principal_axes_reference",
    "signed_axes",
    "signed_axes_reference",
]

#: Bits of `ExaminedAxes.state`.
NOT_FINITE = 1
REPEATED = (2, 4)
OPEN = (8, 16, 32)
POSITIVE = (64, 128, 256)


class ExaminedAxes(NamedTuple):
    """Principal axes of clouds, and what they are like.

    Attributes:
        mean: ``[B, 3]``; zero where moments are about the origin.
        values: Second moments along the axes, ascending, ``[B, 3]``.
        vectors: The axes as columns, a rotation, ``[B, 3, 3]``.
        state: int32 ``[B]``, a sum of `NOT_FINITE`; `REPEATED` k where moments k and k + 1 along the axes coincide;
            and, where third moments were asked for, `OPEN` k where the one along axis k vanishes and `POSITIVE` k where
            it is positive.
    """

    mean: Tensor
    values: Tensor
    vectors: Tensor
    state: Tensor


# ---- plain torch --------------------------------------------------------------------------------------------------


def _about(points: Tensor, mask: Tensor | None, centred: bool) -> tuple[Tensor, Tensor, Tensor | int]:
    """Return the mean, the points about it with zeros where they do not count, and how many count."""
    real = points if mask is None else torch.where(mask.unsqueeze(-1), points, torch.zeros_like(points))
    count = points.shape[1] if mask is None else mask.sum(1, keepdim=True)
    if not centred:
        return points.new_zeros(points.shape[0], 3), real, count
    mean = real.sum(1) / (max(count, 1) if isinstance(count, int) else count.clamp(min=1).to(points.dtype))
    about = real - mean.unsqueeze(1)
    return mean, about if mask is None else torch.where(mask.unsqueeze(-1), about, torch.zeros_like(about)), count


def principal_axes_reference(
    points: Tensor, mask: Tensor | None = None, centred: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `principal_axes` in plain torch; differentiable to any order by autograd.

    Args:
        points: As in `principal_axes`.
        mask: As in `principal_axes`.
        centred: As in `principal_axes`.

    Returns:
        As `principal_axes`.
    """
    mean, about, _ = _about(points, mask, centred)
    return mean, *eigh3_reference(about.mT @ about)


def examined_axes_reference(
    points: Tensor, mask: Tensor | None = None, centred: bool = True, threshold: float = 0.0, moments: bool = False
) -> ExaminedAxes:
    """Compute `examined_axes` in plain torch; differentiable to any order by autograd.

    Args:
        points: As in `examined_axes`.
        mask: As in `examined_axes`.
        centred: As in `examined_axes`.
        threshold: As in `examined_axes`.
        moments: As in `examined_axes`.

    Returns:
        As `examined_axes`.
    """
    mean, about, count = _about(points, mask, centred)
    values, vectors = eigh3_reference(about.mT @ about)
    with torch.no_grad():
        rounding = count * (16 * torch.finfo(points.dtype).eps * mean.norm(dim=-1, keepdim=True)).square()
        repeated = values.diff(dim=-1) <= torch.maximum(threshold * values[:, -1:], rounding)
        bits = [~values.isfinite().all(-1), *repeated.unbind(-1)]
        if moments:
            cubes = (about @ vectors) ** 3
            moment = cubes.sum(1)
            small = moment.abs() <= threshold * cubes.abs().sum(1)
            bits += [*(small | (values <= threshold**2 * values[:, -1:])).unbind(-1), *(moment > 0).unbind(-1)]
        state = sum((b.to(torch.int32) << i for i, b in enumerate(bits)), torch.zeros_like(bits[0], dtype=torch.int32))
    return ExaminedAxes(mean, values, vectors, state)


def signed_axes_reference(
    vectors: Tensor, signs: Tensor, mean: Tensor | None = None, choice: Tensor | None = None, corner: float = 1.0
) -> Tensor:
    """Compute `signed_axes` in plain torch.

    Args:
        vectors: As in `signed_axes`.
        signs: As in `signed_axes`.
        mean: As in `signed_axes`.
        choice: As in `signed_axes`.
        corner: The last entry of homogeneous matrices.

    Returns:
        As `signed_axes`.
    """
    table = signs.unsqueeze(0) if choice is None else signs[choice.long()]
    out = vectors.unsqueeze(1) * table.unsqueeze(2)
    if mean is None:
        return out
    out = torch.cat([out, mean[:, None, :, None].expand(-1, out.shape[1], -1, -1)], -1)
    last = out.new_tensor([0.0, 0.0, 0.0, corner]).expand(*out.shape[:2], 1, 4)
    return torch.cat([out, last], -2)


# ---- compiled -----------------------------------------------------------------------------------------------------


def _points_vjp(
    points: Tensor,
    mask: Tensor | None,
    mean: Tensor,
    values: Tensor,
    vectors: Tensor,
    grad_mean: Tensor,
    grad_values: Tensor,
    grad_vectors: Tensor,
    *,
    centred: bool,
) -> Tensor:
    """Return the gradient with respect to the points, as the compiled operation does; differentiable.

    That the mean moves with the points changes nothing at second moments about it.
    """
    about = points - mean.unsqueeze(1) if centred else points
    out = 2 * about @ matrix_vjp(values, vectors, grad_values, grad_vectors)
    if centred:
        count = max(points.shape[1], 1) if mask is None else mask.sum(1, keepdim=True).clamp(min=1).to(points.dtype)
        out = out + (grad_mean / count).unsqueeze(1)
    return out if mask is None else torch.where(mask.unsqueeze(-1), out, torch.zeros_like(out))


def _register_axes() -> None:
    """Tell torch the shapes and derivatives of the compiled axes."""
    ops, library, name = torch.ops.equitools, torch.library, "equitools::principal_axes"

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2], *output[:3])
        ctx.centred = inputs[2]
        ctx.mark_non_differentiable(output[3])

    def backward(ctx: Any, grad_mean: Tensor, grad_values: Tensor, grad_vectors: Tensor, _: Any) -> tuple[Any, ...]:
        grads = (grad_mean, grad_values, grad_vectors)
        return ops.principal_axes_vjp(*ctx.saved_tensors, *grads, ctx.centred), None, None, None, None

    def save_vjp(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
        ctx.save_for_backward(*inputs[:-1])
        ctx.centred = inputs[-1]

    def vjp_backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        points, mask, *rest = ctx.saved_tensors
        centred = ctx.centred

        def formula(points: Tensor, *rest: Any) -> tuple[Tensor]:
            return (_points_vjp(points, mask, *rest, centred=centred),)

        first, *others = partial_vjp(formula, (points, *rest), (cotangent,))
        return first, None, *others, None

    def fake(points: Tensor, *_: Any) -> tuple[Tensor, ...]:
        rows = points.shape[0]
        shapes = ((rows, 3), (rows, 3), (rows, 3, 3))
        return *(points.new_empty(s) for s in shapes), points.new_empty((rows,), dtype=torch.int32)

    library.register_fake(name, fake)
    library.register_fake(f"{name}_vjp", lambda points, *_: points.new_empty(points.shape))
    library.register_autograd(name, backward, setup_context=save)
    library.register_autograd(f"{name}_vjp", vjp_backward, setup_context=save_vjp)
    register_folded_vmap(name)
    register_folded_vmap(f"{name}_vjp")


def _register_signed() -> None:
    """Tell torch the same of the matrices of signed axes; both operations are linear, each the adjoint of the other."""
    ops, library, name = torch.ops.equitools, torch.library, "equitools::signed_axes"

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
        ctx.save_for_backward(*inputs[2:4])
        ctx.affine = inputs[1] is not None

    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        vectors, mean = ops.signed_axes_vjp(grad, *ctx.saved_tensors)
        return vectors, mean if ctx.affine else None, None, None, None

    def save_vjp(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
        ctx.save_for_backward(*inputs[1:])
        ctx.affine = inputs[0].shape[-1] == 4

    def vjp_backward(ctx: Any, vectors: Tensor, mean: Tensor) -> tuple[Any, ...]:
        return ops.signed_axes(vectors, mean if ctx.affine else None, *ctx.saved_tensors, 0.0), None, None

    def fake(vectors: Tensor, mean: Tensor | None, signs: Tensor, choice: Tensor | None, _: float) -> Tensor:
        d = 3 if mean is None else 4
        return vectors.new_empty((vectors.shape[0], signs.shape[0] if choice is None else choice.shape[1], d, d))

    def fake_vjp(grad: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        rows = grad.shape[0]
        return grad.new_empty((rows, 3, 3)), grad.new_empty((rows if grad.shape[-1] == 4 else 0, 3))

    library.register_fake(name, fake)
    library.register_fake(f"{name}_vjp", fake_vjp)
    library.register_autograd(name, backward, setup_context=save)
    library.register_autograd(f"{name}_vjp", vjp_backward, setup_context=save_vjp)
    register_folded_vmap(name, constants=[2])
    register_folded_vmap(f"{name}_vjp", constants=[1])


if backend.extension_loaded():
    _register_axes()
    _register_signed()


def _check(name: str, points: Tensor, mask: Tensor | None) -> None:
    if not points.is_floating_point() or points.dim() != 3 or points.shape[-1] != 3:
        raise ShapeError(f"{name}: needs floating-point points [B, N, 3], but got {points.dtype} {list(points.shape)}.")
    if mask is not None and (mask.dtype != torch.bool or mask.shape != points.shape[:2]):
        raise ShapeError(
            f"{name}: the mask must be bool {list(points.shape[:2])}, but it is {mask.dtype} {list(mask.shape)}."
        )


@full_precision
def principal_axes(points: Tensor, mask: Tensor | None = None, centred: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean, second moments and principal axes of clouds of points, in one pass over them.

    The moments are Σ (x − m)(x − m)ᵀ, a sum over the points that count and no mean. Derivatives are those of `eigh3`.

    Args:
        points: ``[B, N, 3]``.
        mask: ``[B, N]`` bool, True for the points that count; None: all.
        centred: Whether moments are about the mean; else they are about the origin, and ``mean`` is zero.

    Returns:
        Mean ``[B, 3]``; moments along the axes ``[B, 3]``, ascending; axes ``[B, 3, 3]`` as columns, orthonormal and
        right-handed. A cloud without points has mean and moments 0 and the unit matrix for axes. Moments and axes are
        NaN where a coordinate is not finite (or its square is not); what stands at points that do not count is not
        looked at.

    Raises:
        ShapeError: ``points`` are not floating point or not in three dimensions, or ``mask`` does not fit.

    Properties:
        equals its definition; right-handed; ignores masked points; finite gradients at equal eigenvalues.
    """
    _check("principal_axes", points, mask)
    if backend.choose("principal_axes", points) == "reference":
        return principal_axes_reference(points, mask, centred)
    return torch.ops.equitools.principal_axes(points, mask, centred, 0.0, False)[:3]


@full_precision
def examined_axes(
    points: Tensor, mask: Tensor | None = None, centred: bool = True, threshold: float = 0.0, moments: bool = False
) -> ExaminedAxes:
    """Return `principal_axes` with what they are like, found in the same pass.

    Args:
        points: As in `principal_axes`.
        mask: As in `principal_axes`.
        centred: As in `principal_axes`.
        threshold: Two moments along the axes coincide if they differ by no more than this fraction of the largest one
            (or than what the rounding of the mean makes). A third moment Σ (x·v)³ vanishes if it is no more than this
            fraction of Σ abs(x·v)³, or if the second one is no more than its square times the largest one.
        moments: Whether to look at third moments.

    Returns:
        `ExaminedAxes`; the state has no derivative.

    Raises:
        ShapeError: As for `principal_axes`.

    Properties:
        equals its definition.
    """
    _check("examined_axes", points, mask)
    if backend.choose("principal_axes", points) == "reference":
        return examined_axes_reference(points, mask, centred, threshold, moments)
    return ExaminedAxes(*torch.ops.equitools.principal_axes(points, mask, centred, float(threshold), moments))


@full_precision
def signed_axes(vectors: Tensor, signs: Tensor, mean: Tensor | None = None, choice: Tensor | None = None) -> Tensor:
    """Return matrices whose columns are axes times signs, as homogeneous ones where there is a translation.

    Args:
        vectors: The axes as columns, ``[B, 3, 3]``.
        signs: A table of factors ``[F, 3]``, constants.
        mean: Translations ``[B, 3]``; None: matrices stay 3×3.
        choice: Which rows of the table each cloud takes, int32 ``[B, F]``; None: each takes all of them.

    Returns:
        ``[B, F, 3, 3]``, or ``[B, F, 4, 4]`` with the translation in the last column.

    Raises:
        ShapeError: A wrong shape.

    Properties:
        equals its definition.
    """
    rows = vectors.shape[0] if vectors.dim() else 0
    fits = vectors.shape == (rows, 3, 3) and signs.dim() == 2 and signs.shape[1] == 3
    fits = (
        fits
        and (mean is None or mean.shape == (rows, 3))
        and (choice is None or (choice.dim() == 2 and choice.shape[0] == rows))
    )
    if not fits:
        shapes = [list(t.shape) for t in (vectors, signs, mean, choice) if t is not None]
        raise ShapeError(f"signed_axes: needs [B, 3, 3], [F, 3] and, where given, [B, 3] and [B, F], but got {shapes}.")
    if backend.choose("signed_axes", vectors) == "reference":
        return signed_axes_reference(vectors, signs, mean, choice)
    return torch.ops.equitools.signed_axes(vectors, mean, signs, choice, 1.0)

"""Polar, KAK and Iwasawa decompositions of Sp(n), n = 2m, whose parts are in Sp(n) themselves.

gᵀ J g = J with J = [[0, 1], [−1, 0]]. The rotations in Sp(n) are [[x, −y], [y, x]] with x + iy unitary: U(m). The
stretches along the axes are diag(d, 1/d). The stretches p of the polar decomposition have logarithms
[[a, b], [b, −a]], where the complex symmetric matrix z = a + ib has a Takagi factorisation z = q Σ qᵀ, q unitary:
that is KAK. The general algorithms would give parts outside of the group.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.decompositions.checks import count, need_square
from equitools.groups.decompositions.kak import log_sinh
from equitools.groups.decompositions.polar import log_sinhc
from equitools.groups.decompositions.singular import singular_vjp
from equitools.groups.decompositions.spectral import spd_log
from equitools.groups.matrix_functions import polar as polar_of_any
from equitools.groups.symplectic import symplectic_form

__all__ = [
    "symplectic_iwasawa",
    "symplectic_iwasawa_log_density",
    "symplectic_kak",
    "symplectic_kak_log_density",
    "symplectic_polar",
    "symplectic_polar_log_density",
]

_SWEEPS = 30


def _need_symplectic(g: Tensor, what: str) -> Tensor:
    """Check, and return J."""
    need_square(g, what)
    n = g.shape[-1]
    if n % 2:
        raise ShapeError(f"{what} needs symplectic matrices, which have an even number of rows; these have {n}.")
    j, tolerance = symplectic_form(n, g.dtype, g.device), 1e-6 if g.dtype == torch.float64 else 1e-4
    scale = g.detach().abs().amax((-1, -2)).square().clamp(min=1.0)
    bad = (g.detach().mT @ j @ g.detach() - j).abs().amax((-1, -2)) > tolerance * scale
    if bool(bad.any()):
        raise ShapeError(f"{what}: {count(bad)} are not symplectic (gᵀ J g = J with J = [[0, 1], [−1, 0]]).")
    return j


def _to_unitary(k: Tensor) -> Tensor:
    """Return the rotation in Sp(n) beside a matrix that is one up to rounding (times the condition of g)."""
    m = k.shape[-1] // 2
    x = (k[..., :m, :m] + k[..., m:, m:]) / 2
    y = (k[..., m:, :m] - k[..., :m, m:]) / 2
    k = torch.cat([torch.cat([x, -y], -1), torch.cat([y, x], -1)], -2)
    eye = torch.eye(2 * m, dtype=k.dtype, device=k.device)
    for _ in range(2):  # the error squares with each step
        k = k @ (3 * eye - k.mT @ k) / 2
    return k


def symplectic_polar(g: Tensor) -> tuple[Tensor, Tensor]:
    """Return the polar parts of symplectic g = p k.

    Args:
        g: ``[..., 2m, 2m]`` symplectic.

    Returns:
        p ``[..., 2m, 2m]`` symplectic, symmetric and positive definite; k ``[..., 2m, 2m]`` symplectic and orthogonal.
        Differentiable any number of times, also where singular values coincide.

    Raises:
        ShapeError: Not symplectic matrices.

    Properties:
        symplectic_round_trips: the product of the parts is g, to 1e-10 relative at condition 1e4.
        symplectic_parts_stay_in_the_group: all parts are symplectic, and those that are rotations are orthogonal.
    """
    _need_symplectic(g, "The symplectic polar decomposition")
    k = _to_unitary(polar_of_any(g)[1])
    p = g @ k.mT
    return 0.5 * (p + p.mT), k


def symplectic_polar_log_density(p: Tensor) -> Tensor:
    """Return the logarithm of the density of the Haar measure in polar coordinates: Π_α sinh(α) / α.

    α are the positive roots λi − λj, λi + λj (i < j) and 2 λi of the logarithms λ1 ≥ … ≥ λm ≥ 0 of the stretches. With
    dx of x = log p, dk and dg by ½ tr XᵀY, dg = density dx dk for g = exp(x) k.

    Args:
        p: ``[..., 2m, 2m]`` symplectic, symmetric and positive definite.

    Returns:
        ``[...]``.

    Properties:
        densities_are_numeric_jacobians: it is the logarithm of the determinant of the map's derivative.
    """
    need_square(p, "The density of the symplectic polar decomposition")
    values = torch.linalg.eigvalsh(spd_log(p))  # λ and −λ: in pairs of these every root is there twice, 2λi once
    row, column = torch.tril_indices(values.shape[-1], values.shape[-1], -1, device=p.device)
    pairs = log_sinhc(values[..., row] - values[..., column]).sum(-1)
    return 0.5 * (pairs + 0.5 * log_sinhc(2 * values).sum(-1))


def symplectic_kak(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parts of symplectic g = k1 a k2.

    Args:
        g: ``[..., 2m, 2m]`` symplectic.

    Returns:
        k1 ``[..., 2m, 2m]`` symplectic and orthogonal, a ``[..., 2m, 2m]`` = diag(d, 1/d) with d ≥ 1 descending, k2 as
        k1. Derivatives of k1 and k2 leave out the turns between equal stretches, as those of `kak`.

    Raises:
        ShapeError: Not symplectic matrices.

    Properties:
        symplectic_round_trips: the product of the parts is g, to 1e-10 relative at condition 1e4.
        symplectic_parts_stay_in_the_group: all parts are symplectic, and those that are rotations are orthogonal.
    """
    _need_symplectic(g, "The symplectic KAK")
    u, s, v = _SymplecticSingular.apply(g)
    return u, torch.diag_embed(s), v.mT


def symplectic_kak_log_density(a: Tensor) -> Tensor:
    """Return the logarithm of the density of the Haar measure in KAK: Π_α sinh(α), α as of the polar coordinates.

    With volumes by ½ tr XᵀY and λ = log d, dg = density dk1 dλ dk2. Each element has 2ᵐ parts.

    Args:
        a: ``[..., 2m, 2m]`` = diag(d, 1/d), d ≥ 1 descending.

    Returns:
        ``[...]``, −∞ where stretches coincide or are 1.

    Properties:
        densities_are_numeric_jacobians: it is the logarithm of the determinant of the map's derivative.
    """
    need_square(a, "The density of the symplectic KAK")
    m = a.shape[-1] // 2
    values = torch.diagonal(a, dim1=-2, dim2=-1)[..., :m].log()
    row, column = torch.triu_indices(m, m, 1, device=a.device)
    differences = log_sinh(values[..., row] - values[..., column]).sum(-1)
    return differences + log_sinh(values[..., row] + values[..., column]).sum(-1) + log_sinh(2 * values).sum(-1)


def symplectic_iwasawa(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parts of symplectic g = k a n.

    Args:
        g: ``[..., 2m, 2m]`` symplectic.

    Returns:
        k ``[..., 2m, 2m]`` symplectic and orthogonal, a = diag(d, 1/d) positive, and n = [[u, u s], [0, u⁻ᵀ]] with u
        unit upper triangular and s symmetric: with the last m axes in reverse order n is unit upper triangular. They
        are unique and smooth everywhere.

    Raises:
        ShapeError: Not symplectic matrices.

    Properties:
        symplectic_round_trips: the product of the parts is g, to 1e-10 relative at condition 1e4.
        symplectic_parts_stay_in_the_group: all parts are symplectic, and those that are rotations are orthogonal.
    """
    j = _need_symplectic(g, "The symplectic Iwasawa decomposition")
    m = g.shape[-1] // 2
    q, r = torch.linalg.qr(g[..., :m])
    sign = torch.where(torch.diagonal(r.detach(), dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(g.dtype)
    q = q * sign.unsqueeze(-2)
    k = _to_unitary(torch.cat([q, -j @ q], -1))
    eye = torch.eye(m, dtype=g.dtype, device=g.device)
    d = torch.diagonal(r, dim1=-2, dim2=-1) * sign
    u = torch.triu(r * sign.unsqueeze(-1) / d.unsqueeze(-1), 1) + eye
    inverse = torch.linalg.solve_triangular(u, eye.expand_as(u), upper=True, unitriangular=True)
    s = inverse @ ((k.mT @ g)[..., :m, m:] / d.unsqueeze(-1))
    s = 0.5 * (s + s.mT)
    n = torch.cat([torch.cat([u, u @ s], -1), torch.cat([torch.zeros_like(u), inverse.mT], -1)], -2)
    return k, torch.diag_embed(torch.cat([d, 1 / d], -1)), n


def symplectic_iwasawa_log_density(a: Tensor) -> Tensor:
    """Return the logarithm of the density of the Haar measure, a^{2ρ} = Π_i d_i^{2(m−i+1)}, times 2^{−m²/2}.

    With volumes by ½ tr XᵀY and λ = log d, dg = density dk dλ dn, dn the invariant measure of the unipotent part.

    Args:
        a: ``[..., 2m, 2m]`` = diag(d, 1/d).

    Returns:
        ``[...]``.

    Properties:
        densities_are_numeric_jacobians: it is the logarithm of the determinant of the map's derivative.
    """
    need_square(a, "The density of the symplectic Iwasawa decomposition")
    m = a.shape[-1] // 2
    values = torch.diagonal(a, dim1=-2, dim2=-1)[..., :m].log()
    weights = 2 * torch.arange(m, 0, -1, dtype=a.dtype, device=a.device)
    return (values * weights).sum(-1) - m * m / 2 * math.log(2)


class _SymplecticSingular(torch.autograd.Function):
    """g = u diag(d, 1/d) vᵀ with u and v in Sp(n), with the derivatives of a singular value decomposition."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        m, j = g.shape[-1] // 2, symplectic_form(g.shape[-1], g.dtype, g.device)
        u, s, vh = torch.linalg.svd(g)
        k = _to_unitary(u @ vh)
        # The stretches above 1 are right to the last digit; those below are their inverses, along J times the axes.
        # Where a stretch is 1 the axes are any, and its logarithm is zero.
        top = (u[..., :, :m] * s[..., :m].clamp(min=1.0).log().unsqueeze(-2)) @ u[..., :, :m].mT
        log_p = top + j @ top @ j
        z = torch.complex((log_p[..., :m, :m] - log_p[..., m:, m:]) / 2, (log_p[..., :m, m:] + log_p[..., m:, :m]) / 2)
        values, q = takagi(z)
        k1 = torch.cat([torch.cat([q.real, -q.imag], -1), torch.cat([q.imag, q.real], -1)], -2)
        return k1, torch.cat([values, -values], -1).exp(), k.mT @ k1

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG004
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        u, s, v = ctx.saved_tensors
        return singular_vjp(u, s, v, grads[0], grads[1], grads[2], relative=True)


def takagi(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Takagi factorisation z = q diag(values) qᵀ of complex symmetric matrices, by Jacobi's rotations.

    They stay unitary to the last digit and need no gaps: values may coincide or be zero.

    Args:
        z: ``[..., m, m]`` complex symmetric.

    Returns:
        values ``[..., m]`` real, descending and not negative, and q ``[..., m, m]`` unitary.

    Properties:
        takagi_factorisation: q diag(values) qᵀ = z, qᴴ q = 1.
    """
    m = z.shape[-1]
    z, q = (z + z.mT) / 2, torch.eye(m, dtype=z.dtype, device=z.device).expand_as(z)
    unit = z.abs().amax((-1, -2), keepdim=True)
    unit = torch.where(unit > 0, unit, torch.ones_like(unit))  # squares of entries must not underflow
    z = z / unit
    # A pair is turned while its entry is above a rounding of the norm; a sweep without turns ends it.
    size = z.abs().square().sum((-1, -2)).sqrt()
    for _ in range(_SWEEPS):
        turned = False
        for i in range(m):
            for j in range(i + 1, m):
                a, b, d = z[..., i, i], z[..., i, j], z[..., j, j]
                active = b.abs() > 1e-2 * torch.finfo(size.dtype).eps * size
                turned = turned or bool(active.any())
                # G = [[c, s], [−s̄, c]] with s = t c removes z_ij where b (1 − |t|²) + a t̄ − d t = 0: t = τ u with
                # the phase u of b̄ a + b d̄, and τ² − w τ − 1 = 0.
                phase = b.conj() * a + b * d.conj()
                length = phase.abs()
                phase = torch.where(length > 0, phase / torch.where(length > 0, length, 1.0), 1.0)
                square = b.abs().square()
                w = (b.conj() * (a * phase.conj() - d * phase)).real / torch.where(active & (square > 0), square, 1.0)
                tau = -2 / (w + torch.where(w < 0, -1.0, 1.0) * (w.square() + 4).sqrt())
                t = torch.where(active & (square > 0), tau, 0.0) * phase
                c = 1 / (1 + t.abs().square()).sqrt()
                z, q = _turn(z, i, j, c, t * c, both=True), _turn(q, i, j, c, t * c, both=False)
        if not turned:
            break
    diagonal = torch.diagonal(z, dim1=-2, dim2=-1)
    values, order = diagonal.abs().sort(-1, descending=True)
    q = q * torch.polar(torch.ones_like(values), diagonal.angle() / 2).unsqueeze(-2)
    return values * unit.squeeze(-1), q.gather(-1, order.unsqueeze(-2).expand_as(q))


def _turn(x: Tensor, i: int, j: int, c: Tensor, s: Tensor, both: bool) -> Tensor:
    """Return x G, or Gᴴ x Ḡ, for the rotation G = [[c, s], [−s̄, c]] of axes i and j."""
    c, s = c.unsqueeze(-1), s.unsqueeze(-1)
    if both:  # the columns of x Ḡ
        s = s.conj()
    columns = list(x.unbind(-1))
    columns[i], columns[j] = c * columns[i] - s.conj() * columns[j], s * columns[i] + c * columns[j]
    x = torch.stack(columns, -1)
    if both:
        rows = list(x.unbind(-2))
        s = s.conj()
        rows[i], rows[j] = c * rows[i] - s * rows[j], s.conj() * rows[i] + c * rows[j]
        x = torch.stack(rows, -2)
    return x

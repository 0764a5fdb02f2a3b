"""Random elements of GL⁺(n) and SL(n) by the polar decomposition, with weights against the invariant measure.

These groups are not compact: their Haar measure μ is infinite, nothing can be drawn from it, and a mean over it does
not exist. What exists is the integral ∫ f dμ of an integrable function, and the mean over a region of finite measure.
Both are estimated here from samples of a distribution that is known, each of which carries the logarithm of its weight
dμ / dq.

μ is normalised so that it is dX dk near the identity, g = exp(X) k: dX the volume of symmetric matrices by tr XᵀY, dk
the Haar *probability* of SO(n). In these coordinates dμ = Π_{i<j} sinh(λ_i − λ_j) / (λ_i − λ_j) dX dk, λ the
eigenvalues of X. GL⁺(n) and SL(n) are unimodular: μ is left- and right-invariant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.groups.affine import Affine
from equitools.groups.decompositions.polar import log_sinhc
from equitools.groups.linear_groups import SL, GLPlus, symmetric_basis
from equitools.groups.matrix_functions import matrix_exp
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.names import parse_group
from equitools.groups.orthogonal import SO
from equitools.groups.products import ProductGroup
from equitools.groups.scalings import DiagonalScaling, Scaling
from equitools.groups.similarity import ScaledRotations

__all__ = ["haar_from_lebesgue", "log_normal_spd", "sample_polar"]


def log_normal_spd(
    n: int,
    shape: tuple[int, ...] = (),
    spread: float = 0.1**0.5,
    traceless: bool = False,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Draw symmetric positive definite matrices exp(X) with X normal: the sampler of the published code.

    Times a Haar rotation, this is *not* the Haar measure of GL⁺(n) or SL(n), and means over it are not invariant. It is
    a distribution around the identity, often what one wants in a network. For invariant integrals take `sample_polar`.

    Args:
        n: Size.
        shape: Of the batch.
        spread: Standard deviation of each coordinate of X in a basis of symmetric matrices that is orthonormal in
            tr XᵀY. The published code has the covariance 0.1.
        traceless: Determinant 1, for SL(n).
        generator: Source of randomness; the matrices are made on its device.
        dtype: Of the matrices.

    Returns:
        ``[*shape, n, n]``.

    Raises:
        ConfigError: The spread is negative or n < 1.

    Properties:
        log_is_normal: the coordinates of the logarithm are independent and normal.

    Source: M. Mironenko, P. Forré, Lie Group Decompositions for Equivariant Neural Networks, ICLR 2024,
        arXiv 2310.11366.

    Example:
        >>> log_normal_spd(3, (5,)).shape
        torch.Size([5, 3, 3])
    """
    if n < 1 or spread < 0:
        raise ConfigError(f"log_normal_spd needs n ≥ 1 and a spread ≥ 0, not {n} and {spread}.")
    basis = _directions(n, traceless)
    device = None if generator is None else generator.device
    x = spread * torch.randn(*shape, len(basis), generator=generator, dtype=dtype, device=device)
    return matrix_exp(torch.einsum("...k,kij->...ij", x, basis.to(x)))


def sample_polar(
    group: MatrixGroup | str,
    shape: tuple[int, ...] = (),
    spread: float = 0.3,
    proposal: str = "normal",
    translation: float = 1.0,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    """Draw g = exp(X) k with weights against the invariant measure μ.

    The mean of weight · f(g) estimates

    * ``"normal"`` (X normal, on the whole group): ∫ f dμ. The weight grows like the inverse of the normal density, so
      that the estimate has a finite variance only where f, times the density of μ, falls off faster than the root of
      that: for example where f vanishes outside a bounded set. A larger ``spread`` reaches farther.
    * ``"ball"`` (X uniform where its Frobenius norm is at most ``spread``): ∫_R f dμ over the region
      R where norm(log p) ≤ spread, p the positive factor. Weights are bounded, and R has a finite measure: the weighted
      *mean* of f (`weighted_mean` with ``normalise=True``) is its Haar mean on R. R is mapped to itself by rotations
      from either side, not by other elements: no bounded set is.

    In both cases k has the Haar probability of SO(n). Scalings are drawn the same way, by the logarithms of their
    factors; compact groups have the weight 1, products the product of the weights of their factors (and a ball for each
    of them).

    Args:
        group: GL⁺(n), SL(n), scalings, CSO(n), compact groups, products, and affine groups ℝⁿ ⋊ H of these (SIM(n),
            E(n) and SE(n) among them), or a name.
        shape: Of the batch.
        spread: Standard deviation of the coordinates of X in a basis that is orthonormal in the Frobenius norm, or the
            radius of the ball in that norm. (`GLPlus.sample` and `equitools.nn.PolarSampler` take bases of norm √2.)
        proposal: See above.
        translation: Affine groups: standard deviation of the translations. The measure is the *left* Haar measure
            dt dμ_H / det A of ℝⁿ ⋊ H, which is not right-invariant unless det A = 1.
        generator: Source of randomness; the elements are made on its device.
        dtype: Of the elements.

    Returns:
        Elements ``[*shape, size, size]`` and the logarithms ``[*shape]`` of their weights.

    Raises:
        ConfigError: Another group, an unknown proposal, or a spread or translation that is not positive.

    Properties:
        left_and_right_invariance: the weighted estimates of ∫ f(h g) dμ and ∫ f(g h) dμ are that of ∫ f dμ.
        lebesgue: on GL⁺(n), μ is det(g)⁻ⁿ dg times `haar_from_lebesgue`.

    Source: S. Helgason, Groups and Geometric Analysis (1984), chapter I, theorem 5.8.

    Example:
        >>> g, log_weight = sample_polar("SL(2)", (100,), proposal="ball", spread=1.0)
        >>> g.shape, log_weight.shape
        (torch.Size([100, 2, 2]), torch.Size([100]))
    """
    found = parse_group(group)
    if proposal not in {"normal", "ball"} or not spread > 0 or not translation > 0:
        raise ConfigError(
            "sample_polar needs proposal 'normal' or 'ball' and a positive spread and translation, not "
            f"{proposal!r}, {spread} and {translation}."
        )
    return _draw(found, _Draw(tuple(shape), spread, proposal, translation, generator, dtype))


@dataclass(frozen=True)
class _Draw:
    """What `sample_polar` was asked for, but for the group."""

    shape: tuple[int, ...]
    spread: float
    proposal: str
    translation: float
    generator: torch.Generator | None
    dtype: torch.dtype

    def normal(self, size: int) -> Tensor:
        device = None if self.generator is None else self.generator.device
        return torch.randn(*self.shape, size, generator=self.generator, dtype=self.dtype, device=device)

    def coordinates(self, size: int) -> tuple[Tensor, Tensor]:
        """Draw coordinates ``[*shape, size]``, and the logarithm of the density they have."""
        x = self.normal(size)
        if self.proposal == "normal":
            log_q = -x.square().sum(-1) / 2 - size * math.log(self.spread * math.sqrt(2 * math.pi))
            return self.spread * x, log_q
        length = torch.rand(self.shape, generator=self.generator, dtype=self.dtype, device=x.device) ** (
            1 / max(1, size)
        )
        log_ball = size / 2 * math.log(math.pi) - math.lgamma(size / 2 + 1) + size * math.log(self.spread)
        x = self.spread * length.unsqueeze(-1) * torch.nn.functional.normalize(x, dim=-1)
        return x, torch.full(self.shape, -log_ball, dtype=self.dtype, device=x.device)


def _draw(group: MatrixGroup, draw: _Draw) -> tuple[Tensor, Tensor]:
    if isinstance(group, Affine):
        linear, log_weight = _draw(group.linear, draw)
        noise = draw.normal(group.n)
        log_q = -noise.square().sum(-1) / 2 - group.n * math.log(draw.translation * math.sqrt(2 * math.pi))
        log_weight = log_weight - log_q - torch.linalg.slogdet(linear).logabsdet
        return group.element(linear, draw.translation * noise), log_weight
    if isinstance(group, ProductGroup):
        parts = [_draw(factor, draw) for factor in group.factors]
        return group.join(*(g for g, _ in parts)), torch.stack([log_weight for _, log_weight in parts]).sum(0)
    if group.compact:
        g = group.sample(draw.shape, draw.generator, draw.dtype)
        return g, torch.zeros(draw.shape, dtype=draw.dtype, device=g.device)
    if isinstance(group, (Scaling, DiagonalScaling)):
        x, log_q = draw.coordinates(group.dim)
        return group.exp(x), -log_q
    if isinstance(group, ScaledRotations):
        scale, log_weight = _draw(Scaling(group.n), draw)
        return scale @ SO(group.n).sample(draw.shape, draw.generator, draw.dtype), log_weight
    if not isinstance(group, GLPlus):
        raise ConfigError(
            f"sample_polar knows GL+(n), SL(n), scalings, compact groups, and products and affine groups of these, not "
            f"{group.name}."
        )
    basis = _directions(group.n, isinstance(group, SL))
    x, log_q = draw.coordinates(len(basis))
    symmetric = torch.einsum("...k,kij->...ij", x, basis.to(x))
    values = torch.linalg.eigvalsh(symmetric)
    row, column = torch.tril_indices(group.n, group.n, -1, device=x.device)
    log_density = log_sinhc(values[..., row] - values[..., column]).sum(-1)
    turn = SO(group.n).sample(draw.shape, draw.generator, draw.dtype)
    return matrix_exp(symmetric) @ turn, log_density - log_q


def haar_from_lebesgue(n: int) -> float:
    """Return c of dμ = c · det(g)⁻ⁿ dg on GL⁺(n), dg the volume by the n² entries, μ normalised as in this module.

    Raises:
        ConfigError: n < 1.
    """
    from equitools.groups.haar import rotation_volume

    # dg = dX dΩ at the identity, and dΩ by tr ΩᵀΩ is 2^{n(n−1)/4} times that by half of it
    return 1 / (rotation_volume(n) * 2 ** (n * (n - 1) / 4))


def _directions(n: int, traceless: bool) -> Tensor:
    """Basis of symmetric matrices ``[k, n, n]``, orthonormal in tr XᵀY; without the multiples of 1 if traceless."""
    basis = symmetric_basis(n) / 2**0.5
    return basis[:-1] if traceless else basis

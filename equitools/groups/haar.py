"""Random and regular elements of compact groups: from the Haar measure, equally spaced, and uniform in the algebra."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.names import parse_group
from equitools.groups.orthogonal import SO
from equitools.groups.rotations import quaternion_to_matrix

__all__ = ["log_uniform_rotations", "rotation_volume", "sample_haar", "spaced_rotations"]


def sample_haar(
    group: MatrixGroup | str,
    shape: tuple[int, ...] = (),
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Draw from the Haar probability of a compact group: the one distribution that no multiplication changes.

    For O(n) and SO(n) it is exact: the orthogonal factor of a Gaussian matrix with the signs that make its other factor
    positive (and, for SO(n), one column turned round where the determinant is negative). Tori and products of compact
    groups have the product of the measures.

    Args:
        group: A compact group, or its name.
        shape: Of the batch.
        generator: Source of randomness; the elements are made on its device.
        dtype: Of the elements.

    Returns:
        ``[*shape, size, size]``.

    Raises:
        ConfigError: The group is not compact: its Haar measure is infinite and no probability.

    Properties:
        haar_invariance: g h and h g have the distribution of g, for every fixed h.
        character_orthogonality: the mean of χ_i χ_j over SO(3) is δ_ij.
        moments: E[g_ij g_kl] = δ_ik δ_jl / n, and the fourth moments are those of the orthogonal group.

    Source: F. Mezzadri, How to generate random matrices from the classical compact groups, Notices AMS 54 (2007) 592.

    Example:
        >>> sample_haar("SO(4)", (5,)).shape
        torch.Size([5, 4, 4])
    """
    found = parse_group(group)
    if not found.compact:
        raise ConfigError(
            f"{found.name} is not compact: its Haar measure is infinite, so that nothing can be drawn from it. "
            "sample_polar draws elements together with weights against it; its sample() has a stated distribution."
        )
    return found.sample(shape, generator, dtype)


def spaced_rotations(n: int, number: int, generator: torch.Generator | None = None) -> Tensor:
    """Return rotations that cover SO(2) or SO(3) evenly.

    In the plane they are turns by 2πk / number, k = 0 … number − 1: each angle once (the turns by π and by −π are the
    same, and a grid that has both has one of its elements twice). In space they are super-Fibonacci spirals, which are
    nearly as even as the best known point sets, for any number.

    Args:
        n: 2 or 3.
        number: Of rotations, at least 1.
        generator: Where given, all are multiplied by one random rotation: each of them then is Haar-distributed, and
            means over them are unbiased.

    Returns:
        ``[number, n, n]`` float64.

    Raises:
        ConfigError: Another dimension, or no rotations.

    Properties:
        all_different: no element comes twice.
        more_even_than_random: means of characters over them deviate less from those of the Haar measure.

    Source: M. Alexa, Super-Fibonacci Spirals: Fast, Low-Discrepancy Sampling of SO(3), CVPR 2022.

    Example:
        >>> spaced_rotations(2, 4)[1].round(decimals=6)
        tensor([[0., -1.],
                [1., 0.]], dtype=torch.float64)
    """
    if n not in {2, 3} or isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ConfigError(f"Spaced rotations exist for n = 2 and 3 and a number ≥ 1, not for n={n!r}, {number!r}.")
    index = torch.arange(number, dtype=torch.float64)
    if n == 2:
        angle = index * (2 * math.pi / number)
        rows = [torch.stack([angle.cos(), -angle.sin()], -1), torch.stack([angle.sin(), angle.cos()], -1)]
        turns = torch.stack(rows, -2)
    else:
        psi = 1.533751168755204288118041  # the root of ψ⁴ = ψ + 4 between 1 and 2
        along = (index + 0.5) / number
        first, second = (2 * math.pi * (index + 0.5) / pitch for pitch in (math.sqrt(2), psi))
        short, long = along.sqrt(), (1 - along).sqrt()
        turns = quaternion_to_matrix(
            torch.stack([short * first.sin(), short * first.cos(), long * second.sin(), long * second.cos()], -1)
        )
    if generator is not None:
        turns = turns @ SO(n).sample((), generator).to(turns.device)
    return turns


def log_uniform_rotations(
    n: int,
    shape: tuple[int, ...] = (),
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    """Draw rotations whose logarithm is uniform in the ball where the logarithm is unique, with weights against Haar.

    The ball is that of the operator norm: all rotation angles below π. For n = 2 this is the Haar measure; for n ≥ 3 it
    has too many rotations by large angles (far from the identity the exponential map contracts), which the weights make
    up for: Π (2 sin(α/2) / α)² over the positive roots α, which for angles θ are θ_i ± θ_j with i < j, and θ_i if n is
    odd.

    Args:
        n: 2, 3 or 4.
        shape: Of the batch.
        generator: Source of randomness; the rotations are made on its device.
        dtype: Of the rotations.

    Returns:
        Rotations ``[*shape, n, n]`` and the logarithms ``[*shape]`` of their weights: E[weight · f] is the Haar mean of
        f.

    Raises:
        ConfigError: Another dimension.

    Properties:
        weights_are_a_density: the mean of the weights is 1.
        weighted_moments: weighted means are those of the Haar measure.
    """
    if n not in {2, 3, 4}:
        raise ConfigError(f"Rotations with uniform logarithms exist for n = 2, 3 and 4, not for {n!r}.")
    device = None if generator is None else generator.device
    like: dict[str, Any] = {"generator": generator, "dtype": torch.float64, "device": device}
    if n == 2:
        x = math.pi * (2 * torch.rand(*shape, 1, **like) - 1)
        return SO(2).exp(x).to(dtype), torch.zeros(shape, dtype=dtype, device=device)
    if n == 3:
        axis = torch.nn.functional.normalize(torch.randn(*shape, 3, **like), dim=-1)
        angle = math.pi * torch.rand(*shape, 1, **like) ** (1 / 3)
        x, angles, volume = axis * angle, angle, 4 * math.pi**4 / 3
    else:
        # so(4) = so(3) ⊕ so(3): with vectors p and q, the angles of the rotation are |p| ± |q|
        axes = torch.nn.functional.normalize(torch.randn(*shape, 2, 3, **like), dim=-1)
        # the lengths have the density r² s² on r + s < π: a Dirichlet distribution, by sums of exponentials
        waits = -torch.log1p(-torch.rand(*shape, 7, **like))
        parts = torch.stack([waits[..., :3].sum(-1), waits[..., 3:6].sum(-1)], -1)
        lengths = math.pi * parts / waits.sum(-1, keepdim=True)
        p, q = (axes * lengths.unsqueeze(-1)).unbind(-2)
        omega = torch.zeros(*shape, 4, 4, dtype=torch.float64, device=device)
        for k, (i, j) in enumerate(((1, 2), (2, 0), (0, 1))):
            omega[..., i, j], omega[..., k, 3] = p[..., k] + q[..., k], p[..., k] - q[..., k]
        omega = omega - omega.mT
        basis = SO(4).algebra_basis.to(omega)
        x = torch.einsum("...ij,kij->...k", omega, basis) / 2
        angles = torch.stack([lengths.sum(-1), (lengths[..., 0] - lengths[..., 1]).abs()], -1)
        volume = 128 * math.pi**8 / 180
    # density of Haar's probability against that of the proposal, 1 / volume of the ball
    log_weight = _log_exponential_density(angles, n) + math.log(volume / rotation_volume(n))
    return SO(n).exp(x).to(dtype), log_weight.to(dtype)


def rotation_volume(n: int) -> float:
    """Return the volume of SO(n) in the metric ½ tr XᵀY, where a turn by an angle has that length.

    It is the product of the volumes of the spheres S¹ … Sⁿ⁻¹: 2π for n = 2, 8π² for n = 3.

    Raises:
        ConfigError: n < 1.
    """
    if n < 1:
        raise ConfigError(f"SO(n) needs n ≥ 1, not {n}.")
    return math.prod(2 * math.pi ** (k / 2) / math.gamma(k / 2) for k in range(2, n + 1))


def _log_exponential_density(angles: Tensor, n: int) -> Tensor:
    """Log of the determinant of the exponential map's derivative on so(n), of rotation angles ``[..., ⌊n/2⌋]``."""
    first, second = torch.triu_indices(angles.shape[-1], angles.shape[-1], 1)
    roots = [angles[..., first] - angles[..., second], angles[..., first] + angles[..., second]]
    if n % 2:
        roots.append(angles)
    return 2 * torch.sinc(torch.cat(roots, -1) / (2 * math.pi)).abs().log().sum(-1)

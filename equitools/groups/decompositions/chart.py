"""One chart for a whole group, by the polar decomposition: vee(log p) ⊕ vee(log k), behind the translation if any.

The exponential of GL⁺(n) and SL(n) does not reach all of the group, and reaches parts of it more than once. The polar
coordinates do neither: stretches have one logarithm, and rotations have one wherever no angle is π. They are continuous
at the identity, where the published code wraps the angle to [0, 2π) and jumps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError, UnknownNameError
from equitools.groups.decompositions.checks import need_square
from equitools.groups.decompositions.dispatch import decompose, kinds, log_density
from equitools.groups.decompositions.families import Family, family
from equitools.groups.decompositions.spectral import spd_log, symmetric_exp
from equitools.groups.matrix_functions import matrix_exp
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.orthogonal import SO

__all__ = ["polar_chart", "polar_chart_inverse", "polar_chart_log_density", "polar_chart_sizes"]


def _linear(of: Family) -> MatrixGroup:
    return getattr(of.group, "linear", of.group)


def _symmetric(of: Family) -> Tensor:
    """Which elements of the basis of the linear part's algebra are symmetric; the others are antisymmetric."""
    if not of.letter.startswith(("O", "SO")) and "polar" not in kinds(of.group):
        raise UnknownNameError(f"{of.group.name} has no polar decomposition, and so no such chart.")
    basis = _linear(of).algebra_basis
    return (basis == basis.mT).all(-1).all(-1)


def polar_chart_sizes(group: str | MatrixGroup) -> tuple[int, int, int]:
    """Return how many coordinates of `polar_chart` are those of the translation, of the stretch and of the rotation.

    Raises:
        UnknownNameError: The group has no such chart.

    Example:
        >>> polar_chart_sizes("R^2:SL(2)")
        (2, 2, 1)
    """
    of = family(group)
    symmetric = _symmetric(of)
    return of.n if of.affine else 0, int(symmetric.sum()), int((~symmetric).sum())


def polar_chart(group: str | MatrixGroup, g: Tensor) -> Tensor:
    """Return the coordinates of elements in the polar chart.

    Args:
        group: GL⁺(n), SL(n), Sp(n), SO(n), SIM(n), the Lorentz groups, or an affine group over one of them.
        g: ``[..., size, size]``.

    Returns:
        ``[..., dim]``: the translation, then log p, then log k, these two in the symmetric and in the antisymmetric
        elements of the algebra's basis. For n = 2 and 3 (and in the Lorentz group) the rotation is its angle times its
        axis, the angle in (−π, π] or [0, π].

    Raises:
        UnknownNameError: The group has no such chart.
        ShapeError: The matrices are no elements, reverse orientation or time, or (n ≥ 4) an angle is π.

    Properties:
        chart_round_trip: polar_chart_inverse(polar_chart(g)) = g, to 1e-10 relative at condition 1e4.
        chart_is_continuous_at_the_identity: coordinates of elements near the identity are near zero.
        chart_agrees_with_log: of a stretch or a rotation alone the coordinates are those of `log`.

    Source: Mironenco and Forré, ICLR 2024 (arXiv 2310.11366).
    """
    of = family(group)
    linear, symmetric = _linear(of), _symmetric(of).to(g.device)
    n, found = of.n, []
    if of.letter in {"O", "SO"}:
        need_square(g, f"The chart of {of.group.name}", of.group.size)
        if not bool(of.group.contains(g.detach()).all()):
            raise ShapeError(f"A matrix is no element of {of.group.name}.")
        k = g[..., :n, :n]
    else:
        *_, p, k = (part[..., :n, :n] for part in decompose(of.group, g, "polar"))
        found.append(linear.vee(spd_log(p))[..., symmetric])
    if of.affine:
        found.insert(0, g[..., :n, n])
    return torch.cat([*found, linear.vee(_log_rotation(of, k))[..., ~symmetric]], -1)


def _log_rotation(of: Family, k: Tensor) -> Tensor:
    """The antisymmetric logarithm ``[..., n, n]`` of the orthogonal part."""
    if bool((torch.linalg.det(k.detach()) < 0).any()) or ("," in of.letter and bool((k.detach()[..., 0, 0] < 0).any())):
        raise ShapeError(f"An element of {of.group.name} reverses orientation or time: the chart has none of those.")
    if "," in of.letter:
        rotations = SO(3)
        return torch.nn.functional.pad(rotations.hat(rotations.log(k[..., 1:, 1:])), (1, 0, 1, 0))
    rotations = SO(of.n)
    return rotations.hat(rotations.log(k))


def _split(group: str | MatrixGroup, coordinates: Tensor) -> tuple[Family, Tensor, Tensor, Tensor]:
    """Translation ``[..., 0 or n]``, log p and log k ``[..., n, n]`` of coordinates."""
    of = family(group)
    sizes = polar_chart_sizes(of.group)
    if coordinates.ndim < 1 or coordinates.shape[-1] != sum(sizes) or not coordinates.is_floating_point():
        raise ShapeError(
            f"The chart of {of.group.name} has {sum(sizes)} coordinates ({sizes[0]} of a translation, {sizes[1]} of a "
            f"stretch, {sizes[2]} of a rotation), given {list(coordinates.shape)} {coordinates.dtype}."
        )
    translation, x, y = coordinates.split(sizes, -1)
    basis, symmetric = _linear(of).algebra_basis, _symmetric(of)
    # where there are none, the empty sum is the zero matrix of the right shape
    stretch = torch.einsum("...k,kij->...ij", x, basis[symmetric].to(x))
    turn = torch.einsum("...k,kij->...ij", y, basis[~symmetric].to(y))
    return of, translation, stretch, turn


def polar_chart_inverse(group: str | MatrixGroup, coordinates: Tensor) -> Tensor:
    """Return the elements of coordinates in the polar chart: exp(log p) exp(log k), behind the translation.

    Args:
        group: As of `polar_chart`.
        coordinates: ``[..., dim]``; any: angles above π are taken as they are.

    Returns:
        ``[..., size, size]``.

    Raises:
        UnknownNameError: The group has no such chart.
        ShapeError: The last axis has not as many entries as there are coordinates.
    """
    of, translation, stretch, turn = _split(group, coordinates)
    linear = matrix_exp(turn)
    if of.letter not in {"O", "SO"}:
        linear = symmetric_exp(stretch) @ linear
    if not of.affine:
        return linear
    n = of.n
    top = torch.cat([linear, translation.unsqueeze(-1)], -1)
    last = torch.zeros_like(top[..., :1, :]) + torch.eye(n + 1, dtype=top.dtype, device=top.device)[n]
    return torch.cat([top, last], -2)


def polar_chart_log_density(group: str | MatrixGroup, coordinates: Tensor) -> Tensor:
    """Return the logarithm of the density of the left Haar measure in the polar chart; it is zero at the identity.

    It is that of the polar parts, times Π sin(θ/2) / (θ/2) over the angles θ by which the logarithm of the rotation
    turns the algebra of rotations, divided by abs(det g) where there are translations.

    Args:
        group: As of `polar_chart`.
        coordinates: ``[..., dim]``.

    Returns:
        ``[...]``; the measure is that of g⁻¹ dg in the algebra's orthonormal basis.

    Raises:
        UnknownNameError: The group has no such chart.
        ShapeError: The last axis has not as many entries as there are coordinates.

    Properties:
        chart_densities_are_numeric_jacobians: it is the logarithm of the determinant of the map's derivative.
    """
    of, _, stretch, turn = _split(group, coordinates)
    if of.letter == "Sp":  # in U(m): the eigenvalues' differences, each of them twice
        m = of.n // 2
        angles = torch.linalg.eigvalsh(torch.complex(-turn[..., m:, :m], turn[..., :m, :m]))
        row, column = torch.tril_indices(m, m, -1, device=turn.device)
        total = 2 * _log_sinc((angles[..., row] - angles[..., column]) / 2).sum(-1)
    else:
        angles = torch.linalg.eigvalsh(torch.complex(torch.zeros_like(turn), turn))
        row, column = torch.tril_indices(of.n, of.n, -1, device=turn.device)
        total = _log_sinc((angles[..., row] + angles[..., column]) / 2).sum(-1)
        if "," in of.letter:  # in SO(3), which leaves the time alone: there every angle came a second time, with it
            total = total / 2
    if of.letter in {"O", "SO"}:
        return total
    stretches = symmetric_exp(stretch)
    total = total + log_density(_linear(of), (stretches, stretches), "polar")
    return total - torch.diagonal(stretch, dim1=-2, dim2=-1).sum(-1) if of.affine else total


def _log_sinc(x: Tensor) -> Tensor:
    """Log |sin(x) / x|, smooth at zero."""
    small = x.detach().abs() < 0.1
    square = torch.where(small, x, torch.zeros_like(x)).square()
    series = -square / 6 - square**2 / 180 - square**3 / 2835 - square**4 / 37800 - square**5 / 467775
    safe = torch.where(small, torch.ones_like(x), x)
    return torch.where(small, series, (torch.sin(safe) / safe).abs().log())

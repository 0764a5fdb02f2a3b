"""Elements of a linear group to sum over, and the chart that kernels on the group are functions of.

All is in polar form, g = p k with p symmetric positive definite and k a rotation: log p and log k are the chart's
coordinates, and what is drawn is log p and k.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, UnknownNameError, nearest
from equitools.groups import SO, MatrixGroup, quaternion_to_matrix
from equitools.groups.decompositions import polar, polar_log_density, spd_log, symmetric_exp
from equitools.groups.linear_groups import symmetric_basis

__all__ = ["ESTIMATORS", "GroupSamples", "PolarChart", "PolarSampler", "check_samples", "closed_samples"]

#: Ways of drawing elements.
ESTIMATORS = ("log_normal", "weighted")
_LETTERS = {"SO": "SO", "SE": "SO", "SIM": "SIM", "SL": "SL", "GL+": "GL+"}


class GroupSamples(NamedTuple):
    """Elements of H, each with the weight that it has in a mean over them.

    Attributes:
        elements: ``[S, n, n]``.
        weights: ``[S]``, not negative, with the mean 1.
    """

    elements: Tensor
    weights: Tensor


class PolarChart:
    """The global chart ξ(p k) = vee(log p) ⊕ vee(log k) of a group H of matrices.

    Args:
        group: H, or ℝⁿ⋊H, whose linear part is meant: ``"SO(n)"`` (or ``"SE(n)"``), ``"SIM(n)"`` (rotations times
            scalings), ``"SL(n)"``, ``"GL+(n)"``; a name or a group object of that name. n is 2 or 3.

    Attributes:
        name: Of H; the similarities of the origin are called ``"SIM(n)"``.
        n: Size of its matrices.
        dim: Number of coordinates, the group's dimension.
        symmetric: Basis ``[P, n, n]`` of the logarithms of p, orthonormal under ½ tr XᵀY; for n = 2 the
            coordinate of the multiple of 1 is the logarithm of the scale.
        volume_preserving: Whether all determinants are 1.

    Raises:
        UnknownNameError: Another group.

    Properties:
        chart_round_trip: `inverse` undoes `coordinates`.
        angles_are_wrapped: for n = 2 the last coordinate is an angle in (−π, π], π and not −π for what differs from a
            half turn by rounding, and continuous at the identity.

    Source:
        M. Mironenco, P. Forré, Lie Group Decompositions for Equivariant Neural Networks (ICLR 2024); the published code
        wraps the angle to [0, 2π) instead, where the chart jumps at the identity.
    """

    def __init__(self, group: str | MatrixGroup) -> None:
        name = group.name if isinstance(group, MatrixGroup) else str(group)
        bare = re.sub(r"^R\^[23]:", "", name.replace(" ", "")).replace("CSO(", "SIM(")
        found = re.fullmatch(r"(SO|SE|SIM|SL|GL\+)\((2|3)\)", bare)
        if found is None:
            known = [f"{letter}({n})" for letter in _LETTERS for n in (2, 3)]
            raise UnknownNameError(f"There are no convolutions over {name!r}. {nearest(name, known)}")
        self.letter, self.n = _LETTERS[found[1]], int(found[2])
        self.name = f"{self.letter}({self.n})"
        self.symmetric = _symmetric_basis(self.letter, self.n)
        self.rotations = SO(self.n)
        self.dim = len(self.symmetric) + self.rotations.dim
        self.volume_preserving = self.letter in {"SO", "SL"}

    def __repr__(self) -> str:
        return f"PolarChart({self.name!r})"

    def coordinates(self, g: Tensor) -> Tensor:
        """Return the coordinates ``[..., dim]`` of elements ``[..., n, n]``: log p first, then log k."""
        p, k = polar(g)
        stretch = torch.einsum("...ij,kij->...k", spd_log(p), self.symmetric.to(g)) / 2
        turn = self.rotations.log(k)
        if self.n == 2:  # rounding must not choose between −π and π
            turn = torch.where(turn < 100 * torch.finfo(turn.dtype).eps - math.pi, turn + 2 * math.pi, turn)
        return torch.cat([stretch, turn], -1)

    def inverse(self, x: Tensor) -> Tensor:
        """Return the elements ``[..., n, n]`` with coordinates ``[..., dim]``.

        Raises:
            ShapeError: The last axis has the wrong length.
        """
        if x.shape[-1] != self.dim:
            raise ShapeError(f"The chart of {self.name} has {self.dim} coordinates, given {list(x.shape)}.")
        count = len(self.symmetric)
        logarithm = torch.einsum("...k,kij->...ij", x[..., :count], self.symmetric.to(x))
        return symmetric_exp(logarithm) @ self.rotations.exp(x[..., count:])


def _symmetric_basis(letter: str, n: int) -> Tensor:
    """Symmetric matrices of the algebra, the multiple of 1 last: all of them, or those without trace, or that one."""
    basis = symmetric_basis(n)
    return {"GL+": basis, "SL": basis[:-1], "SIM": basis[-1:], "SO": basis[:0]}[letter]


class PolarSampler:
    """Draws elements of H in polar form.

    Args:
        group: As of `PolarChart`.
        spread: Of the coordinates of log p: their standard deviation for ``"log_normal"``; for ``"weighted"``, where
            they lie in a ball, its radius is ``spread`` · √(number of them + 2), which gives each the same variance.
            The basis is orthonormal under ½ tr XᵀY: its matrices have norm √2, those of the published code norm 1.
        angle: Rotations lie within ± this angle (radians, n = 2); π is the whole circle. n = 3 has all rotations.
        estimator: ``"log_normal"`` is the published distribution, with equal weights: not invariant under the group, so
            that a mean over it is equivariant near the identity only. ``"weighted"`` draws from a ball of log p and
            weights by the density of the invariant measure there: an estimate of the integral over that part of the
            group, which an element near the identity moves by little.
        stratified: For n = 2, draw one angle from each of as many equal arcs as there are elements, all shifted alike.

    Raises:
        ConfigError: A number is out of range.
        UnknownNameError: No such estimator.

    Properties:
        samples_are_elements: determinants are positive, those of volume-preserving groups 1.
        weights_are_of_the_invariant_measure: a weighted mean estimates the mean over the Haar measure of that part.
    """

    def __init__(
        self,
        group: str | MatrixGroup | PolarChart,
        spread: float = 0.3,
        angle: float = math.pi,
        estimator: str = "log_normal",
        stratified: bool = True,
    ) -> None:
        self.chart = group if isinstance(group, PolarChart) else PolarChart(group)
        if estimator not in ESTIMATORS:
            raise UnknownNameError(f"There is no estimator {estimator!r}. {nearest(estimator, ESTIMATORS)}")
        if not 0 <= spread < math.inf or not 0 <= angle <= math.pi + 1e-12:
            raise ConfigError(f"A sampler needs a spread ≥ 0 and an angle in [0, π]; they are {spread} and {angle}.")
        if self.chart.n == 3 and angle < math.pi:
            raise ConfigError("In three dimensions all rotations are drawn: leave the angle at π.")
        self.spread, self.angle, self.estimator, self.stratified = spread, angle, estimator, stratified

    def draw(
        self, count: int, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float32
    ) -> GroupSamples:
        """Draw elements.

        Args:
            count: How many.
            generator: Source of randomness; the elements are made on its device.
            dtype: Of the elements; they are made in float64.

        Returns:
            `GroupSamples`.

        Raises:
            ConfigError: Fewer than one is asked for.
        """
        _check_count(count)
        device = None if generator is None else generator.device
        stretches = len(self.chart.symmetric)
        shape = (count, stretches + 1)
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64, device=device)
        normal, radius = drawn[:, :-1], torch.special.ndtr(drawn[:, -1])
        if self.chart.n == 2:
            arcs = 1 if self.stratified else count
            place = torch.rand(arcs, generator=generator, dtype=torch.float64, device=device)
            if self.stratified:
                place = (torch.arange(count, dtype=torch.float64, device=device) + place) / count
            turn = self.chart.rotations.exp((self.angle * (2 * place - 1)).unsqueeze(-1))
        else:
            turn = self.chart.rotations.sample((count,), generator)
        return self._samples(normal, radius, turn, dtype)

    def quadrature(self, count: int, dtype: torch.dtype = torch.float32) -> GroupSamples:
        """Return elements that are the same each time: a Sobol sequence in place of random numbers.

        Args:
            count: How many.
            dtype: Of the elements.

        Returns:
            `GroupSamples`, of the same distribution (or of the same weighted estimate) as `draw`; for n = 2 the angles
            are equispaced.

        Raises:
            ConfigError: Fewer than one is asked for.
        """
        _check_count(count)
        stretches = len(self.chart.symmetric)
        sequence = torch.quasirandom.SobolEngine(stretches + 1 + 3, scramble=True, seed=0)
        uniform = sequence.draw(count, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
        normal = math.sqrt(2) * torch.erfinv(2 * uniform[:, :stretches] - 1)
        if self.chart.n == 2:
            place = (torch.arange(count, dtype=torch.float64) + 0.5) / count
            turn = self.chart.rotations.exp((self.angle * (2 * place - 1)).unsqueeze(-1))
        else:
            turn = _rotations_of(uniform[:, stretches + 1 :])
        return self._samples(normal, uniform[:, stretches], turn, dtype)

    def _samples(self, normal: Tensor, radius: Tensor, turn: Tensor, dtype: torch.dtype) -> GroupSamples:
        """Elements of normal numbers [S, P], uniform ones [S] and rotations [S, n, n]."""
        count = normal.shape[1]
        weights = torch.ones(len(normal), dtype=torch.float64, device=normal.device)
        x = self.spread * normal
        if self.estimator == "weighted" and count:
            ball = self.spread * math.sqrt(count + 2)
            x = ball * torch.nn.functional.normalize(normal, dim=1) * radius.unsqueeze(1) ** (1 / count)
        stretch = symmetric_exp(torch.einsum("sk,kij->sij", x, self.chart.symmetric.to(x)))
        if self.estimator == "weighted" and count:
            weights = polar_log_density(stretch).exp()
            weights = weights / weights.mean()
        return GroupSamples((stretch @ turn).to(dtype), weights.to(dtype))


def _rotations_of(uniform: Tensor) -> Tensor:
    """Rotations ``[S, 3, 3]`` of uniform numbers ``[S, 3]``, by Shoemake's map to quaternions."""
    a, b, c = uniform.unbind(-1)
    first, second = (1 - a).sqrt(), a.sqrt()
    angles = 2 * math.pi * b, 2 * math.pi * c
    parts = [first * angles[0].sin(), first * angles[0].cos(), second * angles[1].sin(), second * angles[1].cos()]
    return quaternion_to_matrix(torch.stack(parts, -1))


def closed_samples(order: int, dtype: torch.dtype = torch.float32) -> GroupSamples:
    """Return the rotations of the plane by multiples of 360°/``order``, which multiplication only permutes.

    Raises:
        ConfigError: ``order`` is below 1.

    Properties:
        closed: the product of two is one of them.
    """
    _check_count(order)
    angles = 2 * math.pi * torch.arange(order, dtype=torch.float64) / order
    return GroupSamples(SO(2).exp(angles.unsqueeze(-1)).to(dtype), torch.ones(order, dtype=dtype))


def check_samples(samples: GroupSamples, chart: PolarChart) -> None:
    """Refuse samples that are not of the group.

    Raises:
        ShapeError: A shape is wrong, there are none, or a matrix is singular, not finite or not of the group.
    """
    elements, weights = samples
    if elements.ndim != 3 or elements.shape[-2:] != (chart.n, chart.n) or weights.shape != elements.shape[:1]:
        raise ShapeError(
            f"Samples of {chart.name} are elements [S, {chart.n}, {chart.n}] and weights [S], given "
            f"{list(elements.shape)} and {list(weights.shape)}."
        )
    if not len(elements):
        raise ShapeError("There must be one sample or more.")
    determinant = torch.linalg.det(elements.detach().double())
    if not bool((determinant > 0).all()):
        raise ShapeError(
            f"Elements of {chart.name} have a positive determinant; the smallest is {determinant.min():g}."
        )
    if chart.volume_preserving and bool(((determinant - 1).abs() > 1e-3).any()):
        raise ShapeError(f"Elements of {chart.name} have the determinant 1; one has {determinant.max():g}.")
    if chart.letter in {"SO", "SIM"}:
        turn = elements.detach().double() / determinant.pow(1 / chart.n)[..., None, None]
        if not bool(SO(chart.n).contains(turn, 1e-3).all()):
            raise ShapeError(f"Elements of {chart.name} are rotations{' times numbers' * (chart.letter == 'SIM')}.")


def _check_count(count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(f"The number of elements must be an integer ≥ 1, it is {count!r}.")

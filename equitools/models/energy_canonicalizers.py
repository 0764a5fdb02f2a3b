"""Canonicalizers that minimise: the pose in which a given function of the cloud, its energy, is lowest.

Any function e of clouds that is not invariant will do, a network or a formula. The element is the minimiser of
``E(g) = e(g⁻¹ x)``. Since ``E`` for a turned cloud is ``E`` turned, the minimiser turns with the cloud, provided that
the search does: it starts from the cloud's own frames, and its steps are taken in the moving frame.

A classifier's uncertainty is an energy, too: then the canonical pose is the one that the classifier is most sure of
(Y. Lin and R. Levie, Adaptive Canonicalization, arXiv:2509.24886).

Source:
    S.-O. Kaba et al., ICML 2023, arXiv:2211.06489 (canonicalization by optimisation).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, nearest
from equitools.groups import MatrixGroup, parse_rigid_group
from equitools.models.cloud_input import check_clouds, mask_arguments, takes_mask
from equitools.ops.precision import full_precision
from equitools.symmetrize import Frames, frames, inverse

__all__ = ["DERIVATIVES", "Candidates", "EnergyCanonicalizer"]

#: How derivatives of the minimiser are found.
DERIVATIVES = ("implicit", "unrolled", "none")
_METHODS = ("newton", "gradient")
_LONGEST = 0.5  # radians: of one step
_HALVINGS = 10


class Candidates(NamedTuple):
    """Where a search has ended.

    Attributes:
        elements: ``[B, S, s, s]``, from each start.
        energies: ``[B, S]``; infinite for padding.
    """

    elements: Tensor
    energies: Tensor


class EnergyCanonicalizer(torch.nn.Module):
    """The element of a Lie group that minimises the energy of the cloud in its pose.

    From each start, Newton steps (with the absolute values of the Hessian's eigenvalues, which leads away from saddles)
    or gradient steps are taken in the coordinates of the Lie algebra at the present element, each shortened until the
    energy sinks. The lowest end is chosen; of equally low ones the first. Where minima are equally low because the
    cloud is symmetric, the canonical pose is the same whichever is taken; where they are for no reason, the choice
    jumps, as every canonicalizer must somewhere.

    Args:
        energy: Maps clouds ``[M, N, d]`` to ``[M]`` or ``[M, 1]``, differentiable (twice for ``"newton"``; a network of
            ReLUs has no Hessian: take ``"gradient"``); given ``mask=[M, N]`` if it has such a parameter or takes
            any keyword; without one it is refused clouds with padding. It may not depend on the other clouds of a
            batch: batch norms in training mode do.
        group: O(d), SO(d), E(d) or SE(d). Translations are minimised over, too, if the group has them: an energy that
            does not depend on where the cloud lies leaves the centroid at the origin.
        starts: ``None``: the frames of `equitools.symmetrize.frames`, mode "full". Or a table ``[K, d, d]``: each of
            them times each of its matrices (from the right), for more starts. Or a callable ``starts(x, mask)`` that
            returns `Frames`, equivariant ones.
        steps: How many at most. 0: the best of the starts is taken as it is.
        method: ``"newton"`` or ``"gradient"``.
        differentiate: ``"implicit"``: by the implicit function theorem at the minimum, with any number of steps at the
            price of one; directions in which the energy is flat have no derivative. ``"unrolled"``: through the steps
            (each one's Hessian is taken as constant, which changes nothing at convergence). ``"none"``. With
            ``steps=0`` the starts' own derivative is kept.
        tolerance: A search ends early when no gradient is larger, relative to the energies' size.

    Properties:
        equivariance: forward(h x) = h forward(x) for every h of the group where the lowest minimum is unique up to the
            cloud's symmetry.
        descent: no end has a higher energy than its start.
        implicit_derivative: is that of finite differences.

    Example:
        >>> lean = lambda y: (y[..., 2] ** 3).mean(1) + (y[..., 0] * y[..., 1] ** 2).mean(1)
        >>> EnergyCanonicalizer(lean, "SO(3)")(torch.randn(5, 32, 3)).shape
        torch.Size([5, 3, 3])
    """

    def __init__(
        self,
        energy: torch.nn.Module | Callable[..., Tensor],
        group: str | MatrixGroup = "SO(3)",
        *,
        starts: Tensor | Callable[[Tensor, Tensor | None], Frames] | None = None,
        steps: int = 30,
        method: str = "newton",
        differentiate: str = "implicit",
        tolerance: float = 1e-12,
    ) -> None:
        super().__init__()
        self.group = parse_rigid_group(group, "Poses of least energy")
        if method not in _METHODS:
            raise ConfigError(f"method={method!r} is not known. {nearest(str(method), _METHODS)}")
        if differentiate not in DERIVATIVES:
            known = nearest(str(differentiate), DERIVATIVES)
            raise ConfigError(f"differentiate={differentiate!r} is not known. {known}")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
            raise ConfigError(f"steps is an integer of at least 0, not {steps!r}.")
        d = self.group.n
        if isinstance(starts, Tensor) and (starts.ndim != 3 or starts.shape[1:] != (d, d) or len(starts) == 0):
            raise ShapeError(f"The table of starts for {self.group} is [K, {d}, {d}], given {list(starts.shape)}.")
        if isinstance(starts, Tensor) and not bool(starts.isfinite().all()):
            raise ShapeError(f"The table of starts for {self.group} is not finite.")
        self.energy, self.steps, self.method = energy, steps, method
        self.found_by = None if isinstance(starts, Tensor) else starts
        # the bits of a table in float64: saved with the module, and not rounded by a change of its dtype
        bits = starts.detach().double().contiguous().clone().view(torch.int64) if isinstance(starts, Tensor) else None
        self.register_buffer("start_bits", bits)
        self.differentiate, self.tolerance = differentiate, tolerance
        self.passes_mask = takes_mask(energy)

    start_bits: Tensor | None

    @property
    def starts(self) -> Tensor | Callable[[Tensor, Tensor | None], Frames] | None:
        """Where searches start: what was given; a table ``[K, d, d]`` as float64, which is part of the state."""
        return self.found_by if self.start_bits is None else self.start_bits.view(torch.float64)

    def extra_repr(self) -> str:
        """Return the group and the search."""
        return f"{self.group}, steps={self.steps}, method={self.method!r}, differentiate={self.differentiate!r}"

    @full_precision
    def candidates(self, x: Tensor, mask: Tensor | None = None) -> Candidates:
        """Return where the search ends from each start.

        Args:
            x: Clouds ``[B, N, d]``.
            mask: Real points ``[B, N]``.

        Returns:
            `Candidates`; energies have the gradient of the energy's parameters, elements have none unless ``steps=0``.

        Raises:
            ShapeError: A shape is wrong, or a coordinate or an energy is not finite.
            ConfigError: The mask leaves points out, and the energy has no parameter for it.
        """
        check_clouds(x, self.group.n, mask)
        found = self._starts(x, mask)
        if len(x) == 0:
            return Candidates(found.elements, found.weights)
        batch, count = found.weights.shape
        wide = x.repeat_interleave(count, 0)
        wide_mask = None if mask is None else mask.repeat_interleave(count, 0)
        element = found.elements.flatten(0, 1)
        if self.steps:
            element = self._descend(element.detach(), wide.detach(), wide_mask, graph=False)
        energy = self._energy(self.group.act(inverse(element), wide), wide_mask)
        if not bool(energy.isfinite().all()):
            raise ShapeError("The energy of a cloud is not finite: the minimiser of such an energy cannot be found.")
        energy = energy.view(batch, count).masked_fill(found.weights <= 0, torch.inf)
        return Candidates(element.unflatten(0, (batch, count)), energy)

    @full_precision
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the element of the lowest energy for each cloud.

        Args:
            x: Clouds ``[B, N, d]``.
            mask: Real points ``[B, N]``.

        Returns:
            ``[B, d, d]``, or ``[B, d+1, d+1]`` for E and SE.

        Raises:
            ShapeError: As of `candidates`.
            ConfigError: As of `candidates`.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.steps == 0):
            elements, energies = self.candidates(x, mask)
        if len(x) == 0:
            return elements[:, 0]
        rows = torch.arange(len(x), device=x.device)
        element = elements[rows, energies.argmin(1)]
        if self.steps == 0 or self.differentiate == "none" or not torch.is_grad_enabled():
            return element
        if self.differentiate == "implicit":
            return self._implicit(element, x, mask)
        start = self._starts(x, mask).elements[rows, energies.argmin(1)]
        return self._descend(start, x, mask, graph=True)

    def _starts(self, x: Tensor, mask: Tensor | None) -> Frames:
        starts = self.starts
        if starts is not None and not isinstance(starts, Tensor):
            return starts(x, mask)
        found = frames(x, self.group, mask, "full", degenerate="average")
        if starts is None:
            return found
        table = starts.to(x)
        if self.group.euclidean:
            wide = torch.eye(self.group.size, dtype=x.dtype, device=x.device).repeat(len(table), 1, 1)
            wide[:, :-1, :-1] = table
            table = wide
        elements = (found.elements.unsqueeze(2) @ table).flatten(1, 2)
        return Frames(elements, found.weights.repeat_interleave(len(table), 1) / len(table))

    def _energy(self, y: Tensor, mask: Tensor | None) -> Tensor:
        found = self.energy(y, **mask_arguments(mask, self.passes_mask, "the energy of this canonicalizer"))
        if found.shape not in {(len(y),), (len(y), 1)}:
            raise ShapeError(f"The energy must return [{len(y)}] numbers, it returned {list(found.shape)}.")
        return found.reshape(-1)

    def _slope(
        self, element: Tensor, x: Tensor, mask: Tensor | None, graph: bool, hessian: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Energy ``[M]``, and its gradient ``[M, m]`` and Hessian ``[M, m, m]`` in the moving frame's coordinates."""
        with torch.enable_grad():
            pose = self.group.act(inverse(element), x)
            if not graph:
                pose = pose.detach()
            step = pose.new_zeros(len(pose), self.group.dim, requires_grad=True)
            generator = torch.einsum("mk,kij->mij", step, self.group.algebra_basis.to(pose))
            eye = torch.eye(self.group.size, dtype=pose.dtype, device=pose.device)
            # exp(−ξ) to second order, which is all that the first two derivatives at 0 see
            moved = self.group.act(eye - generator + generator @ generator / 2, pose)
            energy = self._energy(moved, mask)
            (gradient,) = torch.autograd.grad(energy.sum(), step, create_graph=graph or hessian)
            second = None
            if hessian:
                rows = [_row(gradient[:, k], step) for k in range(self.group.dim)]
                second = torch.stack(rows, 1).detach()
                second = (second + second.mT) / 2
        return energy, gradient if graph else gradient.detach(), second

    def _descend(self, element: Tensor, x: Tensor, mask: Tensor | None, graph: bool) -> Tensor:
        """Minimise from each of M starts ``[M, s, s]``."""
        for _ in range(self.steps):
            energy, gradient, second = self._slope(element, x, mask, graph, self.method == "newton")
            slope, size = gradient.detach(), energy.detach().abs().mean() + 1e-30
            if bool((slope.abs().amax() <= self.tolerance * size).all()):
                break
            inverse_ = _positive_inverse(second) if second is not None else None
            direction = -slope if inverse_ is None else -(inverse_ @ slope.unsqueeze(-1)).squeeze(-1)
            factor = self._shortened(element.detach(), x.detach(), mask, energy.detach(), slope, direction)
            taken = gradient if inverse_ is None else (inverse_ @ gradient.unsqueeze(-1)).squeeze(-1)
            element = element @ self.group.exp(-factor.unsqueeze(-1) * taken)
        return element

    @torch.no_grad()
    def _shortened(
        self, element: Tensor, x: Tensor, mask: Tensor | None, energy: Tensor, slope: Tensor, direction: Tensor
    ) -> Tensor:
        """By how much to multiply each direction for the energy to sink; 0 where nothing helps."""
        turns = self.group.n * (self.group.n - 1) // 2
        length = direction[:, :turns].norm(dim=-1)
        factor = (_LONGEST / length.clamp(min=1e-30)).clamp(max=1.0)
        fall = (slope * direction).sum(-1)
        rounding = 50 * torch.finfo(energy.dtype).eps * (energy.abs() + energy.abs().mean())
        good = torch.zeros_like(energy, dtype=torch.bool)
        for _ in range(_HALVINGS):
            tried = element @ self.group.exp(factor.unsqueeze(-1) * direction)
            new = self._energy(self.group.act(inverse(tried), x), mask)
            good = new <= energy + 1e-4 * factor * fall + rounding
            if bool(good.all()):
                break
            factor = torch.where(good, factor, factor / 2)
        return torch.where(good, factor, torch.zeros_like(factor))

    def _implicit(self, element: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        """The minimiser with its derivative: dξ = −H⁻¹ d(∂E/∂ξ) at the minimum."""
        _, gradient, second = self._slope(element, x, mask, graph=True, hessian=True)
        assert second is not None  # noqa: S101 - asked for
        step = -(_pseudo_inverse(second) @ gradient.unsqueeze(-1)).squeeze(-1)
        return element @ self.group.exp(step - step.detach())


def _row(component: Tensor, step: Tensor) -> Tensor:
    if not component.requires_grad:  # an energy that is linear in the coordinates
        return torch.zeros_like(step)
    (row,) = torch.autograd.grad(component.sum(), step, retain_graph=True, allow_unused=True)
    return torch.zeros_like(step) if row is None else row


def _positive_inverse(second: Tensor) -> Tensor:
    """The inverse with the absolute eigenvalues, not smaller than a millionth of the largest."""
    values, vectors = torch.linalg.eigh(second)
    size = values.abs()
    size = torch.maximum(size, 1e-6 * size.amax(-1, keepdim=True)).clamp(min=1e-30)
    return (vectors / size.unsqueeze(-2)) @ vectors.mT


def _pseudo_inverse(second: Tensor) -> Tensor:
    """The inverse where the energy is curved; zero in directions in which it is flat."""
    values, vectors = torch.linalg.eigh(second)
    curved = values.abs() > 1e-8 * values.abs().amax(-1, keepdim=True)
    factor = torch.where(curved, 1 / torch.where(curved, values, torch.ones_like(values)), torch.zeros_like(values))
    return (vectors * factor.unsqueeze(-2)) @ vectors.mT

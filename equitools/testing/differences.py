"""Derivatives against differences: forces, stress and the gradient of a force loss by the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equitools.testing import tolerances
from equitools.testing.equivariance import at_dtype, model_cutoff
from equitools.testing.outputs import call_options, plain_outputs
from equitools.testing.structures import Structure, build_graph

__all__ = [
    "CheckFailedError",
    "Difference",
    "check_forces",
    "check_stress",
    "check_training_gradient",
    "compare_forces",
    "compare_stress",
]

STEP = 1e-3  # Å, and for strains unitless: with four points the error is of the order step^4


class CheckFailedError(AssertionError):
    """A model breaks a property that it should have.

    Attributes:
        heading: Which property.
    """

    def __init__(self, heading: str, message: str) -> None:
        super().__init__(f"[{heading}] {message}")
        self.heading = heading


@dataclass(frozen=True)
class Difference:
    """A derivative compared with a difference quotient of the energy.

    Attributes:
        what: ``forces`` or ``stress``.
        unit: Of `absolute`.
        absolute: Largest difference.
        relative: The same, less what rounding of the total energy explains, over the RMS of the difference quotients.
        where: The component with the largest difference.
        tolerance: Largest relative error that passes.
        count: Components that were compared.
    """

    what: str
    unit: str
    absolute: float
    relative: float
    where: str
    tolerance: float
    count: int

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.relative <= self.tolerance

    def __str__(self) -> str:
        """Return one sentence."""
        verdict = "agree with" if self.passed else "are NOT the derivative that"
        tail = "finite differences of the energy" + ("" if self.passed else " give")
        return (
            f"{self.what} {verdict} {tail}: largest difference {self.absolute:.2e} {self.unit} at {self.where}, "
            f"{self.relative:.1e} of the RMS ({self.tolerance:.0e} is allowed; {self.count} components, float64)"
        )


def _energies(model: torch.nn.Module, structures: Sequence[Structure], chunk: int = 64) -> Tensor:
    options = {"forces": False} if "forces" in call_options(model, structures) else {}
    cutoff = model_cutoff(model)
    parts = [
        plain_outputs(model, build_graph(structures[k : k + chunk], cutoff), options)["energy"]
        for k in range(0, len(structures), chunk)
    ]
    return torch.cat(parts)


def _quotients(model: torch.nn.Module, displaced: Sequence[Sequence[Structure]]) -> tuple[Tensor, float]:
    """Return difference quotients of the energy, and how far float64's rounding of that energy can move them."""
    # five-point stencil without its middle: exact for polynomials of the fourth degree
    flat = [structure for four in displaced for structure in four]
    energy = _energies(model, flat).reshape(-1, 4)
    noise = 4 * torch.finfo(torch.float64).eps * float(energy.abs().max()) / STEP
    return (energy[:, 0] - 8 * energy[:, 1] + 8 * energy[:, 2] - energy[:, 3]) / (12 * STEP), noise


def _judged(what: str, unit: str, got: Tensor, wanted: Tensor, noise: float, places: Sequence[str]) -> Difference:
    absolute, _ = tolerances.relative_error(got, wanted)
    scale = max(tolerances.rms(wanted), tolerances.FLOOR[torch.float64])
    relative = max(absolute - noise, 0.0) / scale
    where = places[int((got - wanted).abs().nan_to_num(torch.inf).argmax())]
    return Difference(what, unit, absolute, relative, where, tolerances.FINITE_DIFFERENCE[torch.float64], len(places))


_STENCIL = (-2 * STEP, -STEP, STEP, 2 * STEP)


def compare_forces(model: torch.nn.Module, structure: Structure, max_components: int = 24, seed: int = 0) -> Difference:
    """Compare forces with four-point differences of the energy, in float64.

    Args:
        model: A potential: ``model(graph)`` has ``energy`` and ``forces``.
        structure: The atoms.
        max_components: How many of the 3N components to look at; drawn at random if there are more.
        seed: Of that draw.

    Returns:
        The comparison, in eV/Å.
    """
    ready = at_dtype(model, torch.float64)
    forces = plain_outputs(ready, build_graph([structure], model_cutoff(ready)))["forces"]
    total = 3 * len(structure)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:max_components].sort().values
    displaced = []
    for component in order.tolist():
        direction = torch.zeros(total, dtype=torch.float64)
        direction[component] = 1.0
        move = direction.reshape(-1, 3)
        displaced.append([structure.moved(structure.positions + step * move) for step in _STENCIL])
    wanted, noise = _quotients(ready, displaced)
    places = [f"atom {component // 3} {'xyz'[component % 3]}" for component in order.tolist()]
    return _judged("forces", "eV/Å", forces.reshape(-1)[order], -wanted, noise, places)


def compare_stress(model: torch.nn.Module, structure: Structure) -> Difference:
    """Compare the stress with ``+1/V dE/dε`` from four-point differences, in float64.

    Args:
        model: A potential whose outputs have ``stress`` for a periodic structure.
        structure: Periodic along three axes.

    Returns:
        The comparison, in eV/Å³.
    """
    ready = at_dtype(model, torch.float64)
    graph = build_graph([structure], model_cutoff(ready))
    stress = plain_outputs(ready, graph, call_options(ready, [structure]))["stress"][0]
    pairs = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    displaced = []
    for i, j in pairs:
        unit = torch.zeros(3, 3, dtype=torch.float64)
        unit[i, j] += 0.5
        unit[j, i] += 0.5
        displaced.append([structure.strained(step * unit) for step in _STENCIL])
    volume = float(torch.linalg.det(structure.cell).abs())
    wanted, noise = _quotients(ready, displaced)
    got = torch.stack([(stress[i, j] + stress[j, i]) / 2 for i, j in pairs])
    places = ["xyz"[i] + "xyz"[j] for i, j in pairs]
    return _judged("stress", "eV/Å³", got, wanted / volume, noise / volume, places)


def check_forces(model: torch.nn.Module, structure: Structure) -> Difference:
    """Fail where the forces are not minus the gradient of the energy."""
    found = compare_forces(model, structure)
    if not found.passed:
        raise CheckFailedError("finite-difference forces", str(found))
    return found


def check_stress(model: torch.nn.Module, structure: Structure) -> Difference:
    """Fail where the stress is not ``+1/V dE/dε``, or is not symmetric."""
    found = compare_stress(model, structure)
    if not found.passed:
        raise CheckFailedError("finite-difference stress", f"{found}. Stress is +1/V dE/d(strain); virial = -V stress.")
    return found


def check_training_gradient(model: torch.nn.Module, structures: Sequence[Structure], seed: int = 0) -> float:
    """Fail where the gradient of an energy-and-force loss by the weights is not finite, or not the loss's slope.

    The loss in training mode is differentiated twice (forces are a gradient already). Its slope along a random
    direction in weight space is compared with a four-point difference, in float64.

    Returns:
        The relative error of the slope.
    """
    ready = at_dtype(model, torch.float64).train()
    graph = build_graph(structures, model_cutoff(ready))
    parameters = [p for p in ready.parameters() if p.requires_grad and p.is_floating_point()]
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(graph.num_nodes, 3, generator=generator, dtype=torch.float64)

    def loss() -> Tensor:
        outputs = ready(graph)
        per_atom = outputs.get("interaction_energy", outputs["energy"]) / graph.num_nodes
        return (outputs["forces"] - target).square().sum() + per_atom.square().sum()

    value = loss()
    if not value.requires_grad:
        raise CheckFailedError("training gradient", "In training mode the loss has no gradient by the weights.")
    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
    if not all(bool(torch.isfinite(g).all()) for g in gradients if g is not None):
        raise CheckFailedError("training gradient", "The gradient of an energy-and-force loss is not finite.")
    directions = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
    length = sum(float(d.square().sum()) for d in directions) ** 0.5
    directions = [d / max(length, 1e-30) for d in directions]
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True) if g is not None)
    values = []
    for step in _STENCIL:
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.add_(step * direction)
        values.append(float(loss().detach()))
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.sub_(step * direction)
    wanted = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * STEP)
    relative = abs(slope - wanted) / max(abs(wanted), 1e-6 * max(abs(value.item()), 1.0))
    if not relative <= tolerances.TRAINING_GRADIENT[torch.float64]:
        raise CheckFailedError(
            "training gradient",
            f"The loss has the slope {wanted:.6g} along a direction in weight space, its gradient gives {slope:.6g}. "
            "Forces must be computed with create_graph=True in training mode, and nothing may be detached.",
        )
    return relative

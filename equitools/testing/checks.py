"""The single checks behind `equitools.testing.ModelAcceptance`: each measures one property and says what broke.

Every check is a function of a potential or a backbone; it returns what it measured, or raises `CheckFailedError` (an
AssertionError) with a heading, what was found, what was allowed and where to look. Models are copied, never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equitools.ops import backend as backends
from equitools.testing import tolerances
from equitools.testing.differences import CheckFailedError
from equitools.testing.equivariance import at_dtype, equivariance_report, model_cutoff
from equitools.testing.outputs import behaviours_of, call_options, plain_outputs
from equitools.testing.structures import Structure, build_graph

if TYPE_CHECKING:
    from equitools.testing.report import Report

__all__ = [
    "check_backends", "check_batching", "check_deterministic", "check_equivariance", "check_gradients_across",
    "check_input_unchanged", "check_isolated_atom", "check_no_edges", "check_precision", "check_separation",
    "check_smooth_at_cutoff",
]  # fmt: skip


Dress = Callable[[Structure], Structure]


def _undressed(structure: Structure) -> Structure:
    return structure


def check_equivariance(
    model: torch.nn.Module, structures: Sequence[Structure], group: str = "E(3)", dtype: torch.dtype = torch.float64
) -> Report:
    """Fail where outputs do not transform as ``group`` says, or depend on the order of the atoms."""
    report = equivariance_report(model, build_graph(structures, model_cutoff(model)), group, dtype=dtype)
    if not report.passed:
        raise CheckFailedError(f"{', '.join(report.broken)}", f"{report.worst_row}\n\n{report}")
    return report


def _compare(
    heading: str,
    got: dict[str, Tensor],
    wanted: dict[str, Tensor],
    tolerance: tolerances.Tolerance,
    dtype: torch.dtype,
    hint: str,
) -> float:
    worst = 0.0
    for name, value in wanted.items():
        if name not in got:
            raise CheckFailedError(
                heading, f"The output {name!r} is there in one case and missing in the other. {hint}"
            )
        scale = wanted["interaction_energy"] if name == "energy" and "interaction_energy" in wanted else value
        absolute, relative = tolerances.relative_error(got[name], value, dtype, tolerances.rms(scale))
        if not relative <= tolerance[dtype]:
            raise CheckFailedError(
                heading,
                f"{name!r} differs by {absolute:.3g}, {relative:.2e} of its RMS; {tolerance[dtype]:.0e} is allowed in "
                f"{str(dtype).removeprefix('torch.')}. {hint}",
            )
        worst = max(worst, relative)
    return worst


def check_batching(
    model: torch.nn.Module, structures: Sequence[Structure], dtype: torch.dtype = torch.float64
) -> float:
    """Fail where a structure gives other outputs in a batch than alone."""
    ready = at_dtype(model, dtype)
    options = call_options(ready, structures)
    joined = plain_outputs(ready, build_graph(structures, model_cutoff(ready), dtype), options)
    alone = [plain_outputs(ready, build_graph([each], model_cutoff(ready), dtype), options) for each in structures]
    wanted = {name: torch.cat([each[name] for each in alone]) for name in alone[0]}
    hint = "One graph of the batch sees another: look for sums or means over all nodes, or a wrong `batch` index."
    return _compare("batch = single", joined, wanted, tolerances.BATCHING, dtype, hint)


def check_separation(
    model: torch.nn.Module,
    first: Structure,
    second: Structure,
    distance: float = 40.0,
    dtype: torch.dtype = torch.float64,
) -> float:
    """Fail where two molecules ``distance`` Å apart in one graph are not the two molecules.

    Energies add up, outputs of nodes stand one after the other; other outputs of a graph (a mean, a class) are not
    judged.
    """
    ready = at_dtype(model, dtype)
    cutoff = model_cutoff(ready)
    reach = float(max(first.positions.norm(dim=1).max(), second.positions.norm(dim=1).max()))
    shift = torch.tensor([distance + 2 * reach, 0.0, 0.0], dtype=torch.float64)
    pair = replace(
        first,
        positions=torch.cat([first.positions, second.positions + shift]),
        atomic_numbers=torch.cat([first.atomic_numbers, second.atomic_numbers]),
        extras={
            name: torch.cat([value, second.extras[name]]) if first.extra_levels.get(name) == "node" else value
            for name, value in first.extras.items()
        },
    )
    options = call_options(ready, [pair])
    got, one, two = (
        plain_outputs(ready, build_graph([each], cutoff, dtype), options) for each in (pair, first, second)
    )
    wanted = {}
    for name, behaviour in behaviours_of(ready, got).items():
        if behaviour.level == "node":
            moved = two[name] + shift if behaviour.kind == "point" else two[name]
            wanted[name] = torch.cat([one[name], moved])
        elif name in {"energy", "interaction_energy", "virial"}:
            wanted[name] = one[name] + two[name]
    hint = (
        f"Atoms {distance:g} Å apart feel each other: look for means over a graph, or for positions without a cutoff."
    )
    return _compare("separation", {k: got[k] for k in wanted}, wanted, tolerances.SEPARATION, dtype, hint)


def _probe(species: Sequence[int], distance: float) -> Structure:
    # The probe leaves atom 0 along x; the others lie behind atom 0, farther away, and never meet the probe.
    numbers = [species[k % len(species)] for k in range(5)]
    base = torch.tensor([[0.0, 0, 0], [-0.9, 0.5, 0.3], [-0.7, -0.8, 0.5], [-0.6, 0.2, -1.1]], dtype=torch.float64)
    probe = torch.tensor([[distance, 0.0, 0.0]], dtype=torch.float64)
    return Structure(torch.cat([base, probe]), torch.tensor(numbers))


def check_smooth_at_cutoff(
    potential: torch.nn.Module, species: Sequence[int], dress: Dress = _undressed
) -> dict[str, float]:
    """Fail where energy or forces jump as an atom crosses the cutoff, or change infinitely fast there.

    An atom leaves another one across the cutoff. The jump between 1e-6 Å inside and outside is compared with the
    largest change that the same atom causes inside the cutoff; the slope of the forces within 1e-2 Å of the cutoff
    must not exceed a hundred times what is usual inside.

    Args:
        potential: Gives ``energy`` and ``forces``.
        species: Atomic numbers to use.
        dress: Adds the extra inputs that the model needs to a structure.

    Returns:
        The relative jumps of ``energy`` and ``forces`` and the relative ``slope``.
    """
    ready = at_dtype(potential, torch.float64)
    cutoff = model_cutoff(ready)
    inside = torch.linspace(max(0.35 * cutoff, 0.9), 0.95 * cutoff, 13, dtype=torch.float64).tolist()
    near = [cutoff + sign * step for step in (1e-2, 1e-4, 2e-6, 1e-6) for sign in (-1, 1)]
    distances = sorted([*inside, *near, cutoff + 0.5])
    graph = build_graph([dress(_probe(species, distance)) for distance in distances], cutoff)
    outputs = plain_outputs(ready, graph, {})
    energy, forces = outputs["energy"], outputs["forces"].reshape(len(distances), -1)
    place = {distance: index for index, distance in enumerate(distances)}
    rows = [place[distance] for distance in inside]
    below, above, outside = place[cutoff - 1e-6], place[cutoff + 1e-6], place[cutoff + 0.5]
    energy_scale = float((energy[rows] - energy[outside]).abs().max())
    force_scale = float((forces[rows] - forces[outside]).abs().max())
    gaps = torch.tensor(distances, dtype=torch.float64).diff()[:, None]
    slopes = forces.diff(dim=0).abs() / gaps
    usual = max(float(slopes[: len(inside) - 1].max()), force_scale)
    steepest = max(float(slopes[place[d]].max()) for d in sorted(near)[:-1])
    found = {
        "energy": float((energy[below] - energy[above]).abs()) / max(energy_scale, 1e-9),
        "forces": float((forces[below] - forces[above]).abs().max()) / max(force_scale, 1e-9),
        "slope": steepest / max(usual, 1e-9),
    }
    allowed = tolerances.SMOOTHNESS[torch.float64]
    for name in ("energy", "forces"):
        if not found[name] <= allowed:
            raise CheckFailedError(
                "smooth at the cutoff",
                f"The {name} jump at the cutoff of {cutoff:g} Å by {found[name]:.2e} of the largest effect of the same "
                f"neighbour inside; {allowed:.0e} is allowed. An edge must fade out: multiply messages by an envelope.",
            )
    if not found["slope"] <= 100.0:
        raise CheckFailedError(
            "smooth at the cutoff",
            f"The forces change {found['slope']:.1e} times faster at the cutoff of {cutoff:g} Å than inside it; 100 "
            "times is allowed. The envelope's second derivative must stay finite.",
        )
    return found


def check_isolated_atom(
    potential: torch.nn.Module,
    species: Sequence[int],
    energies: dict[int, float] | None = None,
    dress: Dress = _undressed,
) -> dict[int, float]:
    """Fail where a single atom feels a force, has no finite energy, or not the energy it should have.

    Args:
        potential: The potential.
        species: Atomic numbers to try.
        energies: eV; the energy of each isolated atom, where it is known.
        dress: Adds the extra inputs that the model needs to a structure.

    Returns:
        The energies that were found, eV.
    """
    ready = at_dtype(potential, torch.float64)
    structures = [dress(Structure(torch.zeros(1, 3, dtype=torch.float64), torch.tensor([z]))) for z in species]
    outputs = plain_outputs(ready, build_graph(structures, model_cutoff(ready)), {})
    found = {z: float(value) for z, value in zip(species, outputs["energy"], strict=True)}
    if not torch.isfinite(outputs["energy"]).all():
        raise CheckFailedError("isolated atom", f"The energy of a single atom is not finite: {found} (eV by number).")
    if "forces" in outputs and not float(outputs["forces"].abs().max()) <= 1e-10:
        raise CheckFailedError("isolated atom", f"A single atom feels a force: {outputs['forces'].tolist()} eV/Å.")
    for z, wanted in (energies or {}).items():
        if z in found and not abs(found[z] - wanted) <= 1e-8 * max(1.0, abs(wanted)):
            raise CheckFailedError(
                "isolated atom", f"Element {z} alone has {found[z]:.9g} eV, but should have {wanted:.9g} eV."
            )
    return found


def check_gradients_across(model: torch.nn.Module, structures: Sequence[Structure]) -> None:
    """Fail where an output of one graph of a batch has a gradient by the positions of another one."""
    ready = at_dtype(model, torch.float64)
    graph = build_graph(structures, model_cutoff(ready))
    positions = graph.positions.clone().requires_grad_()
    options = {"forces": False} if call_options(ready, structures) else {}
    outputs = ready(graph.replace(positions=positions), **options)
    for name, behaviour in behaviours_of(ready, plain_outputs(ready, graph, options)).items():
        value = outputs[name]
        if not value.requires_grad:
            continue
        own = graph.batch == 0
        first = value[own] if behaviour.level == "node" else value[:1]
        gradient = torch.autograd.grad(first.sum(), positions, retain_graph=True, allow_unused=True)[0]
        leak = 0.0 if gradient is None else float(gradient[~own].abs().max())
        if not leak == 0.0:
            raise CheckFailedError(
                "gradients across molecules",
                f"{name!r} of graph 0 changes by {leak:.3g} for each Å that an atom of another graph moves, not 0.",
            )


def check_no_edges(model: torch.nn.Module, species: Sequence[int], dress: Dress = _undressed) -> None:
    """Fail where a graph without edges (atoms out of each other's sight) gives an error, NaN or forces."""
    ready = at_dtype(model, torch.float64)
    cutoff = model_cutoff(ready)
    numbers = torch.tensor([species[k % len(species)] for k in range(3)])
    positions = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=torch.float64) * 3 * cutoff
    graph = build_graph([dress(Structure(positions, numbers))], cutoff)
    outputs = plain_outputs(ready, graph, {})
    for name, value in outputs.items():
        if not torch.isfinite(value).all():
            raise CheckFailedError("no edges", f"{name!r} is not finite in a graph of 3 atoms without edges.")
    if "forces" in outputs and not float(outputs["forces"].abs().max()) <= 1e-10:
        raise CheckFailedError("no edges", f"Atoms without edges feel forces: {outputs['forces'].tolist()} eV/Å.")


def check_deterministic(model: torch.nn.Module, structures: Sequence[Structure], dtype: torch.dtype) -> None:
    """Fail where the same call twice in evaluation mode does not give the same bits."""
    ready = at_dtype(model, dtype)
    graph = build_graph(structures, model_cutoff(ready), dtype)
    options = call_options(ready, structures)
    first, second = plain_outputs(ready, graph, options), plain_outputs(ready, graph, options)
    hint = "Something random or stateful is left in evaluation mode."
    _compare("deterministic", second, first, tolerances.DETERMINISM, dtype, hint)


def check_input_unchanged(model: torch.nn.Module, structures: Sequence[Structure]) -> None:
    """Fail where a call changes a tensor of the caller's graph, in evaluation or in training mode."""
    ready = at_dtype(model, torch.float64)
    for mode in (False, True):
        graph = build_graph(structures, model_cutoff(ready))
        fields = {k: v for k, v in vars(graph).items() if isinstance(v, Tensor)}
        before = {k: (v.clone(), v.requires_grad) for k, v in {**fields, **graph.extras}.items()}
        ready.train(mode)(graph, **call_options(ready, structures))
        after = {**{k: getattr(graph, k) for k in fields}, **graph.extras}
        for name, (value, requires_grad) in before.items():
            if name not in after or not torch.equal(after[name], value) or after[name].requires_grad != requires_grad:
                raise CheckFailedError(
                    "input unchanged", f"The call changed graph.{name}. Work on a copy (graph.replace), never in place."
                )


def check_precision(model: torch.nn.Module, structures: Sequence[Structure]) -> float:
    """Fail where float32 and float64 disagree by more than rounding explains."""
    results = {}
    for dtype in (torch.float32, torch.float64):
        ready = at_dtype(at_dtype(model, torch.float32), dtype)  # the same weights to the last bit
        graph = build_graph(structures, model_cutoff(ready), dtype)
        results[dtype] = plain_outputs(ready, graph, call_options(ready, structures))
    hint = "Look for differences of large numbers, 1/r at small r, and sums of total energies in float32."
    return _compare(
        "float32 = float64", results[torch.float32], results[torch.float64], tolerances.PRECISION, torch.float32, hint
    )


def check_backends(
    model: torch.nn.Module, structures: Sequence[Structure], dtype: torch.dtype = torch.float64
) -> float:
    """Fail where the compiled kernels and the reference disagree; 0 where no kernels are active."""
    ready = at_dtype(model, dtype)
    graph = build_graph(structures, model_cutoff(ready), dtype)
    options = call_options(ready, structures)
    with backends.use_backend("reference"):
        wanted = plain_outputs(ready, graph, options)
    worst = 0.0
    for status in backends.status():
        if not status.active or status.name not in {"cpu", "torch_scatter"}:
            continue
        with backends.use_backend(status.name):
            got = plain_outputs(ready, graph, options)
        hint = f"Compare the operations of the backend {status.name!r} one by one with the reference."
        worst = max(worst, _compare("both backends equal", got, wanted, tolerances.BACKENDS, dtype, hint))
    return worst

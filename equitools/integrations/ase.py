"""Trained potentials as ASE calculators.

``EquitoolsCalculator("model.safetensors")`` is all that ASE's dynamics, optimisers, and the programs that speak ASE
need. Importing this module also registers the calculator under the name ``"equitools"`` with
`ase.calculators.calculator.get_calculator_class`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms
from ase.calculators import calculator as ase_calculator
from ase.calculators.calculator import (
    Calculator,
    CalculatorSetupError,
    InputError,
    PropertyNotImplementedError,
    all_changes,
)
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress

from equitools.errors import ConfigError, EquitoolsError, UnknownSpeciesError
from equitools.graph import Graph, batch

__all__ = ["CalculatorInputError", "CalculatorModelError", "EquitoolsCalculator", "UnknownElementError"]

#: ``atoms.info`` keys that a model can ask for in its ``inputs``, and the graph input that each one becomes.
INFO_KEYS = {"total_charge": "charge", "spin_multiplicity": "spin"}


class CalculatorModelError(EquitoolsError, CalculatorSetupError):
    """The model, device or dtype cannot serve as an ASE calculator."""


class CalculatorInputError(EquitoolsError, InputError):
    """The atoms cannot be evaluated: positions not finite, a periodic axis without a cell vector, and so on."""


class UnknownElementError(UnknownSpeciesError, InputError):
    """The atoms contain an element that the model has never seen."""


class EquitoolsCalculator(Calculator):
    """An ASE calculator for a trained `equitools.models.Potential`.

    Energies in eV, forces in eV/Å, stress in eV/Å³ with ASE's sign (σ = +1/V ∂E/∂ε) and Voigt order
    (xx, yy, zz, yz, xz, xy). ``free_energy`` equals ``energy``; ``energies`` are the per-atom energies. Stress exists
    for structures that are periodic along all three axes.

    The work is done by `evaluate`, whose answer depends on its arguments only. Neighbours are searched within
    cutoff + skin, and the list is kept until an atom has moved more than half the skin or the cell, the periodicity
    or the elements have changed; every edge is compared with the true cutoff at every call, so the answer is that of a
    fresh list.

    Args:
        model: A ``.safetensors`` file, or a module such as `equitools.models.Potential` (copied: later changes of the
            module do not reach the calculator, and the calculator does not change the module).
        device: Where to compute, such as ``"cpu"`` or ``"cuda"``.
        dtype: ``torch.float32``, ``torch.float64`` or their names; None keeps the model's.
        skin: Å added to the cutoff in the neighbour search; 0 searches at every call.
        compute_stress: None and True give stress wherever it exists; False switches it off.
        compiled: Whether energies and forces come from one compiled operation without autograd
            (`equitools.models.compile_potential`), with the same numbers up to rounding. None: where the model has such
            a form, on the CPU. True: it must; else an error says why not.
        radial: Of the compiled form: ``"exact"`` runs the radial networks, ``"tabulated"`` reads tables instead, faster
            and with a small error that ``tables`` of the attribute ``evaluator`` report.
        atoms: If given, the calculator is attached to it.

    Raises:
        CalculatorModelError: the model has no energies (a head for something else), the device is not there, or
            ``compiled=True`` (or tables) were asked of a model without a compiled form.
        CheckpointError: the file is missing, truncated or foreign.

    Properties:
        compiled_changes_nothing: the results of the compiled form equal those of the model up to rounding.
        skin_changes_nothing: the results with a skin equal those without one, bit for bit.
        atoms_are_not_mutated: neither ``atoms`` nor ``atoms.info`` or ``atoms.arrays`` is changed.
        stress_is_strain_derivative: equals ASE's numerical stress.
    """

    name = "equitools"
    # ASE declares it as a plain attribute, which ClassVar would contradict
    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        model: str | Path | torch.nn.Module,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str | None = None,
        skin: float = 0.5,
        compute_stress: bool | None = None,
        compiled: bool | None = None,
        radial: Literal["exact", "tabulated"] = "exact",
        atoms: Atoms | None = None,
    ) -> None:
        if not (np.isfinite(skin) and skin >= 0):
            raise CalculatorModelError(f"The skin must be a length of at least 0 Å, but {skin!r} was given.")
        super().__init__(atoms=atoms)
        self.device = _device(device)
        self.model = _prepare(model, self.device, _dtype(dtype))
        self.evaluator = _evaluator(self.model, compiled, radial)
        self.dtype = next((p.dtype for p in self.model.parameters() if p.is_floating_point()), torch.float32)
        self.cutoff = float(self.model.cutoff)  # type: ignore[arg-type]
        self.species = tuple(int(z) for z in self.model.species)  # type: ignore[union-attr]
        self.skin = float(skin)
        self.compute_stress = compute_stress is not False and getattr(self.model, "has_stress", True)
        self.info_inputs = tuple(name for name in getattr(self.model, "inputs", ()) if name in INFO_KEYS)
        backbone = getattr(self.model, "backbone", self.model)
        self.reads_tags = "tags" in getattr(backbone, "node_inputs", ())
        if str(getattr(getattr(backbone, "config", None), "frames_in_eval", "")).startswith("sample"):
            warnings.warn(
                "This model draws its frames at random in evaluation, too: the same atoms have another energy and "
                'other forces at every call. Build it with frames_in_eval="weighted" or "full" for dynamics.',
                UserWarning,
                stacklevel=2,
            )
        self._neighbours: _NeighbourCache | None = None

    def evaluate(self, atoms: Atoms, properties: Sequence[str] = ("energy", "forces")) -> dict[str, Any]:
        """Compute properties of a structure. The answer does not depend on earlier calls.

        Args:
            atoms: Not changed.
            properties: Any of `implemented_properties`.

        Returns:
            The properties by name: ``energy`` and ``free_energy`` float, ``energies`` ``[N]``, ``forces`` ``[N, 3]``,
            ``stress`` ``[6]``. More than was asked where it comes for free.

        Raises:
            PropertyNotImplementedError: a property that a potential does not have, or stress without three periodic
                axes.
            UnknownElementError: an element that the model has never seen.
            CalculatorInputError: positions or cell that make no structure.
        """
        wanted = self._check_properties(atoms, properties)
        self._check_elements(atoms)
        if self._neighbours is None or not self._neighbours.covers(atoms):
            self._neighbours = None  # so that a failed search leaves nothing behind
            self._neighbours = _NeighbourCache(self._graph(atoms, self.cutoff + self.skin), atoms, self.skin)
        extras = {name: torch.tensor([value], dtype=self.dtype) for name, value in self._extras(atoms).items()}
        extras |= {name: torch.from_numpy(value) for name, value in self._node_extras(atoms).items()}
        graph = self._neighbours.graph_at(atoms, self.cutoff, extras, self.device)
        return self._results(self._run(graph, wanted), 0, slice(None), wanted)

    def evaluate_many(
        self,
        structures: Iterable[Atoms],
        properties: Sequence[str] | None = None,
        batch_size: int = 32,
    ) -> list[dict[str, Any]]:
        """Compute properties of many structures, several at once.

        Args:
            structures: ASE Atoms, of any size and any mix of periodicity; not changed.
            properties: As for `evaluate`. None stands for energies and forces, and stress where it exists.
            batch_size: Structures in one pass through the network.

        Returns:
            One dictionary a structure, in order, each as `evaluate` gives it.

        Raises:
            CalculatorInputError: a structure is wrong; its index is named.
        """
        frames = list(structures)
        if batch_size < 1:
            raise CalculatorInputError(f"batch_size must be at least 1, but {batch_size} was given.")
        groups: dict[bool, list[int]] = {True: [], False: []}
        for index, atoms in enumerate(frames):
            groups[self._has_stress(atoms)].append(index)
        results: list[dict[str, Any]] = [{} for _ in frames]
        for periodic, members in groups.items():
            asked = properties if properties is not None else ["energy", "forces"] + ["stress"] * periodic
            for start in range(0, len(members), batch_size):
                part = members[start : start + batch_size]
                for index, result in zip(part, self._evaluate_batch(frames, part, asked), strict=True):
                    results[index] = result
        return results

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill ``results``, as ASE asks for; energies, forces and (where it exists) stress come together."""
        super().calculate(atoms, properties, system_changes)
        structure = self.atoms
        if structure is None:
            raise CalculatorInputError("There are no atoms to calculate: attach the calculator to a structure.")
        stress = ["stress"] if self._has_stress(structure) else []
        self.results = self.evaluate(structure, [*properties, "energy", "forces", *stress])

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Return what has changed since the last calculation, ``atoms.info`` included where the model reads it."""
        changes = list(super().check_state(atoms, tol=tol))
        if self.atoms is None:
            return changes
        for name in self.info_inputs:
            key = INFO_KEYS[name]
            if self.atoms.info.get(key) != atoms.info.get(key):
                changes.append(key)
        if self.reads_tags and not np.array_equal(self.atoms.get_tags(), atoms.get_tags()):
            changes.append("tags")
        return changes

    def _has_stress(self, atoms: Atoms) -> bool:
        return self.compute_stress and bool(np.all(atoms.pbc))

    def _check_properties(self, atoms: Atoms, properties: Sequence[str]) -> list[str]:
        wanted = [properties] if isinstance(properties, str) else list(properties)
        for name in wanted:
            if name not in self.implemented_properties:
                raise PropertyNotImplementedError(
                    f"EquitoolsCalculator has no {name!r}; it gives {', '.join(self.implemented_properties)}."
                )
        if "stress" in wanted and not self._has_stress(atoms):
            why = (
                "the calculator was made with compute_stress=False"
                if not self.compute_stress
                else f"it is defined for structures periodic along all three axes, and this one has pbc = "
                f"{[bool(flag) for flag in atoms.pbc]}; set atoms.pbc = True (with a cell) if that is meant"
            )
            raise PropertyNotImplementedError(f"There is no stress: {why}.")
        return wanted

    def _check_elements(self, atoms: Atoms) -> None:
        unknown = sorted(set(atoms.numbers.tolist()) - set(self.species))
        if unknown:
            names = ", ".join(chemical_symbols[z] for z in unknown)
            known = ", ".join(chemical_symbols[z] for z in self.species)
            raise UnknownElementError(
                f"The structure {atoms.get_chemical_formula()} contains {names}, which the model has never seen; it "
                f"was trained on {known}. Train a model on data with {names}, or change the structure."
            )

    def _extras(self, atoms: Atoms) -> dict[str, float]:
        return {name: float(atoms.info.get(INFO_KEYS[name], 0.0)) for name in self.info_inputs}

    def _node_extras(self, atoms: Atoms) -> dict[str, np.ndarray]:
        return {"tags": np.array(atoms.get_tags(), dtype=np.int64)} if self.reads_tags else {}

    def _graph(self, atoms: Atoms, cutoff: float) -> Graph:
        if len(atoms) == 0:
            raise CalculatorInputError("There are no atoms in the structure.")
        # Centred in float64: far from the origin float32 coordinates would lose digits, and energies do not care.
        positions = np.array(atoms.positions, dtype=np.float64)
        extras = {name: np.array(value) for name, value in self._extras(atoms).items()}
        try:
            return Graph.from_arrays(
                positions - positions.mean(axis=0),
                np.array(atoms.numbers),
                np.array(atoms.cell, dtype=np.float64),
                np.array(atoms.pbc),
                cutoff=cutoff,
                dtype=self.dtype,
                extras={**extras, **self._node_extras(atoms)} or None,
                extra_levels=dict.fromkeys(extras, "graph") or None,
            )
        except EquitoolsError as error:
            raise CalculatorInputError(str(error)) from error

    def _evaluate_batch(self, frames: list[Atoms], members: list[int], properties: Sequence[str]) -> list[dict]:
        graphs = []
        for index in members:
            try:
                wanted = self._check_properties(frames[index], properties)
                self._check_elements(frames[index])
                graphs.append(self._graph(frames[index], self.cutoff))
            except EquitoolsError as error:
                raise type(error)(f"Structure {index} of {len(frames)}: {error}") from error
        outputs = self._run(batch(graphs).to(device=self.device), wanted)
        results, start = [], 0
        for position, graph in enumerate(graphs):
            stop = start + graph.num_nodes
            results.append(self._results(outputs, position, slice(start, stop), wanted))
            start = stop
        return results

    def _run(self, graph: Graph, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        stress = "stress" in wanted
        outputs = self.evaluator(graph, forces=stress or "forces" in wanted, stress=stress)
        arrays = {
            key: outputs[key].detach().cpu().double().numpy()  # widened on the CPU: MPS has no float64
            for key in ("energy", "node_energy", "forces", "stress")
            if outputs.get(key) is not None
        }
        for key, values in arrays.items():
            if not np.isfinite(values).all():
                raise CalculatorInputError(
                    f"The model's {key} is not finite: the structure is far outside what it was trained on (atoms on "
                    "top of each other?), or the model file is damaged."
                )
        return arrays

    def _results(self, arrays: dict[str, np.ndarray], graph: int, nodes: slice, wanted: Sequence[str]) -> dict:
        energy = float(arrays["energy"][graph])
        results: dict[str, Any] = {"energy": energy, "free_energy": energy}
        if "node_energy" in arrays:
            results["energies"] = arrays["node_energy"][nodes].copy()
        if "forces" in arrays:
            results["forces"] = arrays["forces"][nodes].copy()
        if "stress" in wanted:
            results["stress"] = full_3x3_to_voigt_6_stress(arrays["stress"][graph])
        return results


class _NeighbourCache:
    """Edges within cutoff + skin of a reference structure, and the test whether they still cover another one."""

    def __init__(self, graph: Graph, atoms: Atoms, skin: float) -> None:
        self.graph = graph
        self.skin = skin
        self.positions = np.array(atoms.positions)
        self.numbers = np.array(atoms.numbers)
        self.cell = np.array(atoms.cell)
        self.pbc = np.array(atoms.pbc)
        self.edge_index = graph.edge_index.numpy()
        self.edge_shift = graph.edge_shift.double().numpy()
        self.offset = self.edge_shift @ self.cell  # exact whole numbers times the cell

    def covers(self, atoms: Atoms) -> bool:
        if self.skin == 0 or not (
            np.array_equal(self.numbers, atoms.numbers)
            and np.array_equal(self.pbc, atoms.pbc)
            and np.array_equal(self.cell, np.array(atoms.cell))
        ):
            return False
        moved = np.square(atoms.positions - self.positions).sum(axis=1).max()
        # NaN compares as False, so that it reaches the checks of a fresh graph
        return bool(moved <= (0.5 * self.skin) ** 2)

    def graph_at(self, atoms: Atoms, cutoff: float, extras: dict[str, torch.Tensor], device: torch.device) -> Graph:
        positions = np.array(atoms.positions, dtype=np.float64)
        sender, receiver = self.edge_index
        vectors = positions[sender] - positions[receiver] + self.offset
        # the same comparison in the same precision as a fresh search within the cutoff makes
        keep = np.linalg.norm(vectors, axis=1) < cutoff
        dtype = self.graph.dtype
        graph = self.graph.replace(
            positions=torch.from_numpy(positions - positions.mean(axis=0)).to(dtype),
            edge_index=torch.from_numpy(self.edge_index[:, keep]),
            edge_shift=torch.from_numpy(self.edge_shift[keep]).to(dtype),
            cutoff=cutoff,
            extras=extras,
        )
        return graph.to(device=device) if device.type != "cpu" else graph


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    if dtype is None:
        return None
    named = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if named not in (torch.float32, torch.float64):
        raise CalculatorModelError(f"dtype must be float32 or float64, but {dtype!r} was given.")
    return named


def _device(device: str | torch.device) -> torch.device:
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch raises any of these
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise CalculatorModelError(
            f"The device {str(device)!r} cannot be used here: {reason} Use device='cpu', or install a torch for it."
        ) from error
    return chosen


def _prepare(model: str | Path | torch.nn.Module, device: torch.device, dtype: torch.dtype | None) -> torch.nn.Module:
    if isinstance(model, str | Path):
        from equitools.models.files import load

        module: torch.nn.Module = load(model, device=device, dtype=dtype)
        source = f"The file {str(model)!r}"
    elif isinstance(model, torch.nn.Module):
        module = copy.deepcopy(model).to(device=device, dtype=dtype)
        source = f"The {type(model).__name__}"
    else:
        raise CalculatorModelError(
            f"The model must be the path of a .safetensors file or a torch module, not {type(model).__name__}."
        )
    _check_potential(module, source)
    # Only derivatives by positions are wanted; parameters that ask for a gradient would make each step slower.
    return module.eval().requires_grad_(False)


def _check_potential(module: torch.nn.Module, source: str) -> None:
    missing = [name for name in ("cutoff", "species") if not hasattr(module, name)]
    head = getattr(module, "head", None)
    if head is not None or not (missing or _gives_energy(module)):
        what = f"a {type(head).__name__}" if head is not None else f"a bare {type(module).__name__}"
        raise CalculatorModelError(
            f"{source} holds {what}, which has no energy and forces, so it cannot run as a calculator. Train with "
            "'potential:' instead of 'head:' in the configuration, or wrap a backbone: equitools.models.Potential(net)."
        )
    if missing:
        raise CalculatorModelError(
            f"{source} has no {' and no '.join(missing)}, so it is no equitools model. "
            "Give an equitools.models.Potential, or a file that equitools.save wrote."
        )


def _evaluator(model: torch.nn.Module, compiled: bool | None, radial: str) -> Callable[..., dict[str, torch.Tensor]]:
    """Return what turns a graph into energies and forces: the model, or its compiled form."""
    from equitools.models.compiled import compile_potential, obstacle

    if radial not in ("exact", "tabulated"):
        raise CalculatorModelError(f"radial must be 'exact' or 'tabulated', not {radial!r}.")
    reason = obstacle(model)
    if compiled is False or (reason and compiled is None and radial == "exact"):
        if radial == "tabulated":
            raise CalculatorModelError("Tables belong to the compiled form: leave out compiled=False, or radial.")
        return model
    if reason:
        raise CalculatorModelError(
            f"The model has no compiled form: {reason}. Leave out compiled=True and radial='tabulated'."
        )
    try:
        return compile_potential(model, radial)  # type: ignore[arg-type]
    except ConfigError as error:
        raise CalculatorModelError(str(error)) from error


def _gives_energy(module: torch.nn.Module) -> bool:
    from equitools.models.contract import Backbone

    return not isinstance(module, Backbone)


if "equitools" not in ase_calculator.external_calculators:  # the module may be reloaded
    ase_calculator.register_calculator_class("equitools", EquitoolsCalculator)

"""Geometry relaxation with ASE, of the atoms alone or of atoms and cell."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.io import write
from ase.io.formats import UnknownFileTypeError
from ase.optimize import BFGS, FIRE, LBFGS, BFGSLineSearch

from equitools._atomic import atomic_path
from equitools.errors import ConfigError, nearest

__all__ = ["OPTIMIZERS", "RelaxResult", "relax"]

OPTIMIZERS = {"bfgs": BFGS, "fire": FIRE, "lbfgs": LBFGS, "bfgs-line": BFGSLineSearch}


@dataclasses.dataclass
class RelaxResult:
    """What came out.

    Attributes:
        atoms: The last structure, with its energy, forces and (where periodic) stress attached.
        converged: Whether fmax was reached.
        steps: Steps of the optimiser.
        energy: Before and after, eV.
        largest_force: Before and after, eV/Å, without constrained components.
        pressure: Before and after, GPa; None unless periodic along all three axes.
        volume: Before and after, Å³; None likewise.
        seconds: Wall time.
    """

    atoms: Atoms
    converged: bool
    steps: int
    energy: tuple[float, float]
    largest_force: tuple[float, float]
    pressure: tuple[float, float] | None
    volume: tuple[float, float] | None
    seconds: float

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON-able values, units in the names."""
        return {
            "converged": self.converged,
            "steps": self.steps,
            "energy_eV": list(self.energy),
            "largest_force_eV_per_A": list(self.largest_force),
            "pressure_GPa": None if self.pressure is None else list(self.pressure),
            "volume_A3": None if self.volume is None else list(self.volume),
            "cell_lengths_angles": self.atoms.cell.cellpar().tolist(),
            "wall_seconds": self.seconds,
        }


def relax(
    atoms: Atoms,
    calculator: Any,
    fmax: float = 0.01,
    cell: bool = False,
    optimizer: str = "bfgs",
    steps: int = 500,
    pressure: float = 0.0,
    output: str | Path | None = None,
    on_step: Callable[[int, float, float], None] | None = None,
) -> RelaxResult:
    """Move atoms (and cell) downhill until no force is larger than ``fmax``.

    Args:
        atoms: Start; not changed.
        calculator: Any ASE calculator.
        fmax: eV/Å; with ``cell``, also for the derivative by the cell that ASE's FrechetCellFilter gives.
        cell: Relax the cell, too; needs three periodic axes.
        optimizer: A name in `OPTIMIZERS`.
        steps: At most so many.
        pressure: External pressure in GPa, with ``cell``.
        output: Where to write the relaxed structure (any format that ASE writes, by suffix); None writes nothing.
        on_step: Called with step, energy (eV) and largest force (eV/Å).

    Returns:
        The result; look at ``converged``.

    Raises:
        ConfigError: an unknown optimiser, a bad number, or ``cell`` without three periodic axes.
        EquitoolsError: the structure cannot be evaluated.
    """
    _check(atoms, fmax, cell, optimizer, steps)
    atoms = atoms.copy()
    atoms.calc = calculator
    begin = time.perf_counter()
    before = _state(atoms)
    target = FrechetCellFilter(atoms, scalar_pressure=pressure * units.GPa) if cell else atoms
    with OPTIMIZERS[optimizer](target, logfile=None) as run:

        def report() -> None:
            # not get_number_of_steps: a line search advances it on its own
            on_step(run.nsteps, float(atoms.get_potential_energy()), _largest(target))  # type: ignore[misc]

        if on_step is not None:
            run.attach(report)
        converged = bool(run.run(fmax=fmax, steps=steps))
        taken = int(run.nsteps)
    after = _state(atoms)
    final = atoms.copy()
    final.calc = SinglePointCalculator(final, **after["results"])
    if output is not None:
        _write(output, final)
    periodic = before["pressure"] is not None
    return RelaxResult(
        atoms=final,
        converged=converged,
        steps=taken,
        energy=(before["energy"], after["energy"]),
        largest_force=(before["force"], after["force"]),
        pressure=(before["pressure"], after["pressure"]) if periodic else None,
        volume=(before["volume"], after["volume"]) if periodic else None,
        seconds=time.perf_counter() - begin,
    )


def _check(atoms: Atoms, fmax: float, cell: bool, optimizer: str, steps: int) -> None:
    if optimizer not in OPTIMIZERS:
        raise ConfigError(f"There is no optimizer {optimizer!r}. {nearest(optimizer, OPTIMIZERS)}")
    if not (math.isfinite(fmax) and fmax > 0):
        raise ConfigError(f"fmax must be a positive force in eV/Å, but {fmax} was given.")
    if steps < 1:
        raise ConfigError(f"steps must be at least 1, but {steps} was given.")
    if cell and not atoms.pbc.all():
        raise ConfigError(
            f"The cell can be relaxed only where all three axes are periodic, but pbc = {atoms.pbc.tolist()}. "
            "Relax without the cell, or set the periodicity in the structure file."
        )


def _largest(target: Any) -> float:
    return float(np.sqrt(np.square(target.get_forces()).sum(axis=1).max()))


def _state(atoms: Atoms) -> dict[str, Any]:
    results: dict[str, Any] = {
        "energy": float(atoms.get_potential_energy()),
        "forces": atoms.get_forces(apply_constraint=False),
    }
    periodic = bool(atoms.pbc.all()) and "stress" in atoms.calc.implemented_properties
    if periodic:
        results["stress"] = atoms.get_stress()
    return {
        "results": results,
        "energy": results["energy"],
        "force": _largest(atoms),
        "pressure": float(-results["stress"][:3].mean() / units.GPa) if periodic else None,
        "volume": float(atoms.get_volume()) if periodic else None,
    }


def _write(path: str | Path, atoms: Atoms) -> None:
    try:
        with atomic_path(path) as temporary:
            write(temporary, atoms)
    except (UnknownFileTypeError, KeyError, ValueError, NotImplementedError) as error:  # a format that ASE cannot write
        raise ConfigError(
            f"The relaxed structure could not be written to {str(path)!r}: {type(error).__name__}: {error}. Use a "
            "suffix that ASE writes, such as .extxyz or .cif."
        ) from error

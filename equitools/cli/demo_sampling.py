"""The demo's data: ethanol sampled with GFN2-xTB (tblite) by Langevin dynamics through ASE."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.optimize import BFGS

from equitools.errors import MissingDependencyError
from equitools.integrations.dynamics import thermal_momenta

__all__ = ["Sample", "SamplingPlan", "ethanol_calculator", "sample_ethanol"]


@dataclasses.dataclass(frozen=True)
class SamplingPlan:
    """How ethanol is sampled.

    The trajectory is, in order: equilibration, the training frames, a gap that nothing is taken from, the test frames.
    So no test frame is near a training frame in time.

    Attributes:
        temperature: K of the thermostat. Above the 300 K of the demo's dynamics, so that the potential knows more than
            what it will meet.
        timestep: fs.
        friction: 1/ps.
        stride: Steps between two frames.
        equilibration: Steps thrown away at the start.
        gap: Steps thrown away between training and test frames.
        train: Frames for training and validation.
        test: Frames held out.
    """

    temperature: float = 450.0
    timestep: float = 1.0
    friction: float = 10.0
    stride: int = 15
    equilibration: int = 1500
    gap: int = 1500
    train: int = 800
    test: int = 250

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.equilibration + self.gap + self.stride * (self.train + self.test)


@dataclasses.dataclass
class Sample:
    """The frames, with energy (eV) and forces (eV/Å) attached, and the relaxed molecule."""

    train: list[Atoms]
    test: list[Atoms]
    relaxed: Atoms


def ethanol_calculator() -> Any:
    """Return tblite's GFN2-xTB calculator.

    Raises:
        MissingDependencyError: tblite is not installed.
    """
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise MissingDependencyError(
            "The demo samples its data with GFN2-xTB, which needs the package tblite, and that could not be imported "
            f"({error}). Install it with: pip install equitools[demo]"
        ) from error
    return TBLite(method="GFN2-xTB", verbosity=0)


def sample_ethanol(
    plan: SamplingPlan,
    seed: int,
    calculator: Any = None,
    on_step: Callable[[int, float], None] | None = None,
) -> Sample:
    """Relax ethanol, then run Langevin dynamics and take frames from it.

    Args:
        plan: See `SamplingPlan`.
        seed: Of velocities and thermostat.
        calculator: Another ASE calculator than GFN2-xTB.
        on_step: Called with the number of steps done and the temperature in K, every 25 steps.

    Returns:
        The frames.
    """
    atoms = molecule("CH3CH2OH")
    atoms.calc = ethanol_calculator() if calculator is None else calculator
    with BFGS(atoms, logfile=None) as optimizer:
        optimizer.run(fmax=0.02, steps=200)
    relaxed = _labelled(atoms)
    rng = np.random.default_rng(seed)
    thermal_momenta(atoms, plan.temperature, rng)
    dynamics = Langevin(
        atoms,
        plan.timestep * units.fs,
        temperature_K=plan.temperature,
        friction=plan.friction / (1000 * units.fs),
        fixcm=False,  # with it, Langevin dynamics of few atoms samples the wrong ensemble
        rng=rng,
    )
    first_train = plan.equilibration
    first_test = first_train + plan.stride * plan.train + plan.gap
    frames: dict[str, list[Atoms]] = {"train": [], "test": []}
    for _ in dynamics.irun(plan.steps):
        step = dynamics.get_number_of_steps()
        for name, start, count in (("train", first_train, plan.train), ("test", first_test, plan.test)):
            position, rest = divmod(step - start, plan.stride)
            if rest == 0 and 1 <= position <= count:
                frames[name].append(_labelled(atoms))
        if on_step is not None and step % 25 == 0:
            on_step(step, float(atoms.get_temperature()))
    return Sample(train=frames["train"], test=frames["test"], relaxed=relaxed)


def _labelled(atoms: Atoms) -> Atoms:
    """Return a copy without momenta, moved to the origin, with energy and forces attached."""
    frame = Atoms(numbers=atoms.numbers, positions=atoms.positions - atoms.get_center_of_mass())
    frame.calc = SinglePointCalculator(frame, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    return frame

"""One step of an ASE calculator, as dynamics asks for it: what the calculator does about neighbours is in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from benchmarks.side_by_side.tasks import Task


def calculator_task(atoms: Atoms) -> Task:
    """Return the task of one step: the atoms have moved a little since the last one."""
    rng = np.random.default_rng(0)
    start = atoms.get_positions()

    def move() -> None:
        atoms.set_positions(start + rng.normal(0, 0.005, start.shape))

    def run(_: Any) -> dict[str, np.ndarray]:
        return {"energy": np.array(atoms.get_potential_energy()), "forces": atoms.get_forces()}

    return Task(run, lambda result: result, prepare=move)

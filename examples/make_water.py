"""Write `water.xyz`: a water molecule at 500 K, labelled with GFN2-xTB (needs `pip install tblite`).

    python examples/make_water.py [OUTPUT]

Sampled by Langevin dynamics in ASE; energies in eV, forces in eV/Å.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ase import units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from tblite.ase import TBLite

CONFIGURATIONS = 80
STEPS_BETWEEN = 20  # 10 fs


def main(output: Path) -> None:
    """Sample and write the configurations."""
    rng = np.random.default_rng(7)
    atoms = molecule("H2O")
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    thermalize_momenta(atoms, temperature_K=500, rng=rng)
    dynamics = Langevin(atoms, 0.5 * units.fs, temperature_K=500, friction=0.02 / units.fs, fixcm=False, rng=rng)
    dynamics.run(200)
    frames = []
    for _ in range(CONFIGURATIONS):
        dynamics.run(STEPS_BETWEEN)
        frame = atoms.copy()
        del frame.arrays["momenta"]  # positions and labels are all that a potential learns from
        frame.calc = SinglePointCalculator(frame, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
        frames.append(frame)
    write(output, frames, format="extxyz")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("water.xyz"))

"""Small labelled files for the tests of `train` and `eval`."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms, io
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator


def write_structures(path: Path, count: int = 12, key: str | None = None) -> None:
    """Stretched water-like molecules with Lennard-Jones labels, as ASE's results or under a key of their own."""
    frames = []
    for index in range(count):
        atoms = Atoms("OHH", [[0, 0, 0], [1.0 + 0.02 * index, 0, 0], [-0.2, 1.0 - 0.01 * index, 0.1]])
        atoms.calc = LennardJones(sigma=0.9, epsilon=0.1, rc=10.0)
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        if key is None:
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        else:
            atoms.calc = None
            atoms.info[f"{key}_energy"] = energy
            atoms.arrays[f"{key}_forces"] = forces
        frames.append(atoms)
    io.write(path, frames, format="extxyz")

"""Make a periodic training set: strained and rattled copper cells with energy, forces and stress from ASE's EMT.

python examples/make_copper.py            # writes runs/copper_data/train.extxyz and runs/copper_data/test.extxyz
equitools train examples/copper.yaml
python examples/relax_copper.py           # the trained potential's lattice constant beside EMT's own
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from equitools._atomic import atomic_path

SIZES = ((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2))  # of the conventional cell: 4 to 32 atoms


def sample(rng: np.random.Generator) -> Atoms:
    """Draw one strained and rattled cell and label it."""
    atoms = bulk("Cu", "fcc", a=rng.uniform(3.40, 3.85), cubic=True) * SIZES[rng.integers(len(SIZES))]
    strain = rng.normal(0.0, 0.02, (3, 3))
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
    atoms.positions += rng.normal(0.0, rng.uniform(0.01, 0.2), atoms.positions.shape)
    atoms.calc = EMT()
    atoms.calc = SinglePointCalculator(
        atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces(), stress=atoms.get_stress()
    )
    return atoms


def main() -> None:
    """Write the two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=Path("runs/copper_data"), help="folder (default: runs/copper_data)"
    )
    parser.add_argument("--train", type=int, default=250, help="number of training structures")
    parser.add_argument("--test", type=int, default=80, help="number of test structures")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    for name, count in (("train", options.train), ("test", options.test)):
        path = options.output / f"{name}.extxyz"
        with atomic_path(path) as temporary:
            write(temporary, [sample(rng) for _ in range(count)], format="extxyz")
        print(f"{count} structures in {path}")


if __name__ == "__main__":
    main()

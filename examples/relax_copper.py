"""Relax a distorted copper cell with the trained potential and with EMT, whose labels it learned, and compare.

python examples/relax_copper.py runs/copper/model.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from equitools.integrations.ase import EquitoolsCalculator
from equitools.integrations.relaxation import relax


def distorted(seed: int = 1) -> Atoms:
    """Return a stretched, sheared and rattled conventional cell."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a=3.72, cubic=True)
    strain = rng.normal(0.0, 0.02, (3, 3))
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
    atoms.positions += rng.normal(0.0, 0.05, atoms.positions.shape)
    return atoms


def compare(model: str | Path, fmax: float = 1e-3) -> dict[str, Any]:
    """Relax atoms and cell with both; return lattice constants (Å, cube root of the volume) and their difference."""
    figures: dict[str, Any] = {}
    for name, calculator in (("model", EquitoolsCalculator(model, dtype="float64")), ("emt", EMT())):
        result = relax(distorted(), calculator, fmax=fmax, cell=True, optimizer="bfgs", steps=300)
        figures[f"lattice_constant_{name}_A"] = float(result.atoms.get_volume() ** (1 / 3))
        figures[f"converged_{name}"] = result.converged
        figures[f"largest_angle_error_{name}_degrees"] = float(np.abs(result.atoms.cell.angles() - 90).max())
    ours, theirs = figures["lattice_constant_model_A"], figures["lattice_constant_emt_A"]
    figures["difference_percent"] = 100 * (ours - theirs) / theirs
    return figures


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=Path("runs/copper/model.safetensors"))
    figures = compare(parser.parse_args().model)
    start = distorted()
    print(f"start: cell lengths {np.round(start.cell.lengths(), 4)} Å, angles {np.round(start.cell.angles(), 2)}°")
    for name, label in (("model", "trained potential"), ("emt", "EMT")):
        print(
            f"{label:>18}: a = {figures[f'lattice_constant_{name}_A']:.4f} Å, "
            f"angles off 90° by {figures[f'largest_angle_error_{name}_degrees']:.3f}°, "
            f"converged: {figures[f'converged_{name}']}"
        )
    print(f"difference: {figures['difference_percent']:+.3f} %")


if __name__ == "__main__":
    main()

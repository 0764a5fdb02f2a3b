"""Molecular dynamics with and without the compiled form of a potential: the same numbers, and the time of a step.

python examples/compiled_calculator.py [model.safetensors]

Without a file, a network that was not trained stands in: good enough to compare, not to believe.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule

import equitools as et
from equitools.integrations.ase import CalculatorModelError, EquitoolsCalculator


def untrained(folder: Path) -> Path:
    """Write a small network for C, H and O, in float64."""
    torch.manual_seed(0)
    network = et.models.build("many_body_mp", cutoff=5.0, species=("H", "C", "O"), channels=16, l_max=2)
    path = folder / "model.safetensors"
    et.save(et.models.Potential(network.double()), path)
    return path


def evaluate(calculator: EquitoolsCalculator, atoms: Atoms, repeats: int) -> tuple[np.ndarray, float]:
    """Return forces (eV/Å) and the median time of one evaluation (ms); the first one, which warms up, is left out."""
    times = []
    for _ in range(repeats + 1):
        atoms.positions[0, 0] += 1e-4  # as in dynamics, each structure is a new one
        start = time.perf_counter()
        forces = calculator.evaluate(atoms)["forces"]
        times.append(1000 * (time.perf_counter() - start))
    return forces, float(np.median(times[1:]))


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, help="a trained potential that knows C, H and O")
    parser.add_argument("--repeats", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or untrained(Path(folder))
        reference = None
        for label, options in (
            ("autograd", {"compiled": False}),
            ("compiled", {"compiled": True}),
            ("compiled, tables", {"radial": "tabulated"}),
        ):
            try:
                calculator = EquitoolsCalculator(model, dtype="float64", **options)
            except CalculatorModelError as error:
                print(f"{label:>18}: {error}")
                continue
            forces, milliseconds = evaluate(calculator, molecule("CH3CH2OH"), given.repeats)
            reference = forces if reference is None else reference
            error = np.linalg.norm(forces - reference) / np.linalg.norm(reference)
            print(f"{label:>18}: {milliseconds:8.3f} ms a step, forces differ by {error:.1e} of their norm")


if __name__ == "__main__":
    main()

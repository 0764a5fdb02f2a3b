"""In how many frames FAENet sees molecules and crystals.

    python benchmarks/faenet_frames.py

Takes seconds. The result goes to `benchmarks/results/faenet_frames.json`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule

from benchmarks._results import command, save
from equitools.graph import Graph
from equitools.models.frame_copies import frames_of_graphs
from equitools.nn import PolynomialEnvelope

CUTOFF = 4.0  # Å
RATTLE = 0.05  # Å
#: What each column is called, and the options of the frames.
KINDS = {
    "weighted": {"mode": "weighted"},
    "weighted, sparsity 0.75": {"mode": "weighted", "sparsity": 0.75},
    "full": {"mode": "full"},
    "canonical": {"mode": "canonical"},
    "weighted, dimensions 2": {"mode": "weighted", "planar": True},
}


def structures() -> dict[str, Atoms]:
    """Return the structures by name."""
    crystal, salt, slab = bulk("Cu", cubic=True), bulk("NaCl", "rocksalt", 5.64, cubic=True), fcc111("Pt", (2, 2, 3))
    slab.center(vacuum=8.0, axis=2)
    covered = slab.copy()
    add_adsorbate(covered, molecule("CO"), 1.9, (0.0, 0.0))
    ideal = {"Cu crystal, 4 atoms": crystal, "NaCl crystal, 8 atoms": salt, "Pt(111) slab, 12 atoms": slab}
    moved = {f"{name}, displaced": atoms.copy() for name, atoms in {**ideal, "CO on Pt(111)": covered}.items()}
    for seed, atoms in enumerate(moved.values()):
        atoms.rattle(RATTLE, seed=seed)
    molecules = {"water": "H2O", "methane": "CH4", "benzene": "C6H6", "fullerene, 60 atoms": "C60"}
    return {**{name: molecule(formula) for name, formula in molecules.items()}, **ideal, **moved}


def count(atoms: Atoms, **options: object) -> int:
    """Return the number of frames of E(3) that a structure has."""
    graph = Graph.from_ase(atoms, CUTOFF, dtype=torch.float64)
    vectors = graph.edge_vectors()
    lengths = vectors.norm(dim=-1)
    closeness = PolynomialEnvelope(CUTOFF)(lengths) / lengths
    weights = frames_of_graphs(graph, vectors, closeness, "E(3)", max_frames=10**6, **options)[1]  # type: ignore[arg-type]
    return int((weights > 0).sum())


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="the result file")
    arguments = parser.parse_args()
    rows = {
        name: {kind: count(atoms, **options) for kind, options in KINDS.items()} for name, atoms in structures().items()
    }
    result = {"cutoff_A": CUTOFF, "displacement_A": RATTLE, "frames": rows}
    print(f"wrote {save('faenet_frames', command('faenet_frames.py'), result, arguments.output)}")


if __name__ == "__main__":
    main()

"""Small labelled sets that need no files: argon clusters of a Lennard-Jones potential."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.calculators.lj import LennardJones

from equitools.graph import Graph
from equitools.training import Sets, TrainConfig, parse_config
from equitools.training.prepare import DTYPES

CUTOFF = 5.0


def clusters(count: int, seed: int = 0, offset: float = -100.0) -> list[Atoms]:
    """Rattled tetrahedra of two elements with energies and forces; the energies have a large constant."""
    rng = np.random.default_rng(seed)
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]]) * 2.2 / np.sqrt(8)
    structures = []
    for _ in range(count):
        atoms = Atoms("CNCN", corners + rng.normal(scale=0.1, size=(4, 3)))
        calculator = LennardJones(sigma=1.9, epsilon=0.1, rc=20.0)
        calculator.calculate(atoms, ["energy", "forces"], all_changes)
        atoms.info["reference"] = calculator.results["energy"] + offset
        atoms.arrays["pull"] = calculator.results["forces"]
        structures.append(atoms)
    return structures


def graphs(count: int, seed: int = 0, dtype: str = "float32", **labels: Any) -> list[Graph]:
    """Graphs of `clusters` with energy and forces."""
    made = []
    for atoms in clusters(count, seed):
        targets = {"energy": atoms.info["reference"], "forces": atoms.arrays["pull"]}
        extra = {name: rule(atoms) for name, rule in labels.items()}
        made.append(
            Graph.from_ase(
                atoms, CUTOFF, DTYPES[dtype], labels={**targets, **extra}, label_levels=dict.fromkeys(extra, "graph")
            )
        )
    return made


def sets(dtype: str = "float32", train: int = 24, **labels: Any) -> Sets:
    """Training, validation and test set."""
    return Sets(graphs(train, 1, dtype, **labels), graphs(6, 2, dtype, **labels), graphs(6, 3, dtype, **labels))


def config(output: Any, **sections: Any) -> TrainConfig:
    """A tiny EGNN run; sections are merged into the defaults."""
    values: dict[str, Any] = {
        "output": str(output),
        "data": {"train": "unused.xyz", "batch_size": 6},
        "model": {"name": "egnn", "cutoff": CUTOFF, "hidden": 12, "layers": 2},
        "potential": {"reference_energies": "average"},
        "optimizer": {"lr": 0.01},
        "trainer": {"max_epochs": 4, "accelerator": "cpu"},
    }
    for name, section in sections.items():
        if isinstance(section, dict) and isinstance(values.get(name), dict) and "name" not in section:
            values[name] = {**values[name], **section}
        elif section is None:
            values.pop(name, None)
        else:
            values[name] = section
    return parse_config(values)

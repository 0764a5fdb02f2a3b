"""The structures of the model benchmark, made on the spot: the same for everyone, from no file."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.data import atomic_masses

from equitools.graph import Graph, batch

#: The enol of acetylacetone at the minimum of GFN2-xTB, Å.
ACETYLACETONE = (
    ("C", -0.349, 1.272, 0.177), ("C", 0.304, 0.018, -0.088), ("C", -0.366, -1.161, 0.033),
    ("O", -1.634, -1.218, 0.396),
    ("C", 0.274, -2.488, -0.235), ("O", -1.533, 1.341, 0.519), ("C", 0.492, 2.511, 0.016), ("H", 1.338, 0.021, -0.385),
    ("H", 1.121, -2.640, 0.431), ("H", 0.639, -2.532, -1.258), ("H", -0.456, -3.276, -0.077),
    ("H", -1.945, -0.277, 0.542), ("H", -0.105, 3.396, 0.221), ("H", 0.885, 2.561, -0.997), ("H", 1.334, 2.472, 0.704),
)  # fmt: skip
WATER_DENSITY = 0.997  # g/cm³
_ANGSTROM3_PER_AMU = 1.66053907  # at 1 g/cm³


def _rotation(rng: np.random.Generator) -> np.ndarray:
    a, b, c, d = (q := rng.standard_normal(4)) / np.linalg.norm(q)
    return np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
    ])  # fmt: skip


def water_box(side: int = 4, seed: int = 0) -> Atoms:
    """Return ``side³`` molecules at the density of water: a grid, jittered, every molecule turned at random."""
    rng = np.random.default_rng(seed)
    single = molecule("H2O")
    single.positions -= single.positions[0]
    length = (side**3 * atomic_masses[single.numbers].sum() * _ANGSTROM3_PER_AMU / WATER_DENSITY) ** (1 / 3)
    atoms = Atoms(cell=[length] * 3, pbc=True)
    for place in np.ndindex(side, side, side):
        one = single.copy()
        centre = (np.array(place) + 0.5) * length / side + rng.uniform(-0.25, 0.25, 3)
        one.positions = one.positions @ _rotation(rng).T + centre
        atoms += one
    return atoms


def ethanol() -> Atoms:
    """Return one ethanol molecule in vacuum."""
    return molecule("CH3CH2OH")


def acetylacetones(count: int = 10, jitter: float = 0.08, seed: int = 0) -> list[Atoms]:
    """Return acetylacetone molecules, each distorted by normal displacements of ``jitter`` Å."""
    rng = np.random.default_rng(seed)
    symbols = [row[0] for row in ACETYLACETONE]
    positions = np.array([row[1:] for row in ACETYLACETONE])
    return [Atoms(symbols, positions + rng.normal(0, jitter, positions.shape)) for _ in range(count)]


def arrays(structures: list[Atoms], cutoff: float, seed: int = 0) -> dict[str, Any]:
    """Return the graph of some structures as arrays, with made-up labels, in float64."""
    import torch

    graph = batch([Graph.from_ase(atoms, cutoff, dtype=torch.float64) for atoms in structures])
    names = ("positions", "atomic_numbers", "cell", "pbc", "batch", "edge_index", "edge_shift")
    found = {name: getattr(graph, name).numpy() for name in names}
    rng = np.random.default_rng(seed)
    found["energy"] = rng.standard_normal(len(structures))
    found["forces"] = rng.standard_normal(found["positions"].shape)
    return found

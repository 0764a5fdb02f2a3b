"""The names by which graphs, labels and model outputs call their tensors, with shape, unit and meaning of each.

A model takes a `Graph` and returns a dictionary; labels are kept under the same names as the outputs that they are
compared with. Sizes: N atoms, E edges, B graphs in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "ATOMIC_NUMBERS",
    "BATCH",
    "CELL",
    "CHARGES",
    "DIPOLE",
    "EDGE_INDEX",
    "EDGE_SHIFT",
    "ENERGY",
    "FORCES",
    "INTERACTION_ENERGY",
    "KEYS",
    "NODE_ENERGY",
    "NODE_FEATURES",
    "PBC",
    "POSITIONS",
    "STRESS",
    "TAGS",
    "TOTAL_CHARGE",
    "VELOCITIES",
    "VIRIAL",
    "KeySpec",
    "Level",
]

Level = Literal["node", "edge", "graph"]

POSITIONS = "positions"
ATOMIC_NUMBERS = "atomic_numbers"
CELL = "cell"
PBC = "pbc"
BATCH = "batch"
EDGE_INDEX = "edge_index"
EDGE_SHIFT = "edge_shift"
VELOCITIES = "velocities"
TAGS = "tags"
TOTAL_CHARGE = "total_charge"
ENERGY = "energy"
INTERACTION_ENERGY = "interaction_energy"
NODE_ENERGY = "node_energy"
FORCES = "forces"
STRESS = "stress"
VIRIAL = "virial"
DIPOLE = "dipole"
CHARGES = "charges"
NODE_FEATURES = "node_features"


@dataclass(frozen=True)
class KeySpec:
    """What one key stands for.

    Attributes:
        name: The key.
        shape: The shape in words, such as ``[N, 3]``.
        unit: The unit; ``"1"`` where there is none.
        level: What the first dimension counts: nodes, edges or graphs.
        dtype_kind: ``"float"`` (the geometry's dtype), ``"float64"`` (kept wide: total energies lose meV digits in
            float32), ``"int"`` or ``"bool"``.
        meaning: One sentence.
        trailing: The dimensions after the first; None where they depend on the model.
    """

    name: str
    shape: str
    unit: str
    level: Level
    dtype_kind: Literal["float", "float64", "int", "bool"]
    meaning: str
    trailing: tuple[int, ...] | None = ()


_SPECS = (
    KeySpec(POSITIONS, "[N, 3]", "Å", "node", "float", "Cartesian positions.", (3,)),
    KeySpec(ATOMIC_NUMBERS, "[N]", "1", "node", "int", "Atomic numbers, 1 to 118."),
    KeySpec(CELL, "[B, 3, 3]", "Å", "graph", "float", "Lattice vectors as rows; zero where there is none.", (3, 3)),
    KeySpec(PBC, "[B, 3]", "1", "graph", "bool", "Whether each lattice vector is periodic.", (3,)),
    KeySpec(BATCH, "[N]", "1", "node", "int", "Index of the graph that the atom belongs to, ascending."),
    KeySpec(
        EDGE_INDEX, "[2, E]", "1", "edge", "int", "Row 0 the sender j, row 1 the receiver i; sorted by receiver.", None
    ),
    KeySpec(EDGE_SHIFT, "[E, 3]", "1", "edge", "float", "Integer-valued lattice shift S of the sender's image.", (3,)),
    KeySpec(VELOCITIES, "[N, 3]", "Å/fs", "node", "float", "Velocities, an optional input.", (3,)),
    KeySpec(TOTAL_CHARGE, "[B]", "e", "graph", "float", "Total charge, an optional input."),
    KeySpec(TAGS, "[N]", "1", "node", "int", "ASE's tags, an optional input."),
    KeySpec(ENERGY, "[B]", "eV", "graph", "float64", "Total energy, reference energies included."),
    KeySpec(INTERACTION_ENERGY, "[B]", "eV", "graph", "float", "Energy without the reference energies."),
    KeySpec(NODE_ENERGY, "[N]", "eV", "node", "float64", "Energy of each atom; sums to the energy."),
    KeySpec(FORCES, "[N, 3]", "eV/Å", "node", "float", "Minus the gradient of the energy by the positions.", (3,)),
    KeySpec(STRESS, "[B, 3, 3]", "eV/Å³", "graph", "float", "+1/V dE/d(strain), ASE's sign.", (3, 3)),
    KeySpec(VIRIAL, "[B, 3, 3]", "eV", "graph", "float", "Minus volume times stress.", (3, 3)),
    KeySpec(DIPOLE, "[B, 3]", "e·Å", "graph", "float", "Electric dipole moment.", (3,)),
    KeySpec(CHARGES, "[N]", "e", "node", "float", "Partial charge of each atom."),
    KeySpec(NODE_FEATURES, "[N, irreps_out.dim]", "1", "node", "float", "Equivariant features, mul_ir layout.", None),
)

KEYS: dict[str, KeySpec] = {spec.name: spec for spec in _SPECS}
"""Every known key, by name."""

"""Small structures to test on, made from a seed: no files, no ASE.

A test structure should have no symmetry: forces that vanish by symmetry, or a planar molecule that equals its mirror
image, hide errors. So everything here is random, and three-dimensional from four atoms on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from equitools.errors import GraphError
from equitools.graph import Graph, batch, unbatch

__all__ = ["Structure", "build_graph", "random_cluster", "random_crystal", "random_molecule", "structures_of"]

#: Extra inputs that turn with the structure; every other extra input is taken as invariant.
VECTOR_EXTRAS = ("velocities",)


@dataclass(frozen=True)
class Structure:
    """Atoms without edges, in float64 on the CPU.

    Attributes:
        positions: ``[N, 3]``, Å.
        atomic_numbers: ``[N]``, int64.
        cell: ``[3, 3]``, Å, rows are lattice vectors.
        pbc: ``[3]``, bool.
        extras: Further inputs of the model, ``[N, ...]`` for a node and ``[1, ...]`` for the structure.
        extra_levels: ``"node"`` or ``"graph"`` for each of them.
    """

    positions: Tensor
    atomic_numbers: Tensor
    cell: Tensor = field(default_factory=lambda: torch.zeros(3, 3, dtype=torch.float64))
    pbc: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.bool))
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    extra_levels: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of atoms."""
        return int(self.positions.shape[0])

    def moved(self, positions: Tensor) -> Structure:
        """Return the same atoms at other positions ``[N, 3]``, Å."""
        return replace(self, positions=positions)

    def strained(self, strain: Tensor) -> Structure:
        """Return the structure after ``r -> r (1 + strain)``, for ``strain [3, 3]`` (unitless)."""
        deformation = torch.eye(3, dtype=torch.float64) + strain
        return replace(self, positions=self.positions @ deformation, cell=self.cell @ deformation)

    def rattled(self, amplitude: float, generator: torch.Generator) -> Structure:
        """Return the structure with Gaussian displacements of ``amplitude`` Å on every coordinate."""
        noise = torch.randn(self.positions.shape, generator=generator, dtype=torch.float64)
        return self.moved(self.positions + amplitude * noise)


def structures_of(graph: Graph) -> list[Structure]:
    """Take a (batched) graph apart into structures; edges and labels are dropped."""
    result = []
    for member in unbatch(graph):
        extras = {name: value.detach().cpu() for name, value in member.extras.items()}
        result.append(
            Structure(
                positions=member.positions.detach().to("cpu", torch.float64),
                atomic_numbers=member.atomic_numbers.cpu(),
                cell=member.cell.detach().to("cpu", torch.float64).reshape(3, 3),
                pbc=member.pbc.cpu().reshape(3),
                extras={k: v.double() if v.is_floating_point() else v for k, v in extras.items()},
                extra_levels=dict(member.extra_levels),
            )
        )
    return result


def build_graph(
    structures: Sequence[Structure],
    cutoff: float,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Graph:
    """Build the neighbour lists of some structures anew and batch them.

    Args:
        structures: At least one.
        cutoff: Å.
        dtype: Of the geometry.
        device: Where the graph is to lie.

    Returns:
        One graph, with ``len(structures)`` members.
    """
    graphs = []
    for structure in structures:
        # ASE gives a molecule a zero cell; the graph takes None for the same thing
        periodic = bool(structure.pbc.any())
        arguments: dict[str, Any] = {"cell": structure.cell, "pbc": structure.pbc} if periodic else {}
        graph = Graph.from_arrays(
            structure.positions, structure.atomic_numbers, cutoff=cutoff, dtype=dtype, **arguments
        )
        if structure.extras:
            extras = {k: v.to(dtype) if v.is_floating_point() else v for k, v in structure.extras.items()}
            graph = graph.replace(extras=extras, extra_levels=dict(structure.extra_levels))
        graphs.append(graph)
    joined = batch(graphs) if len(graphs) > 1 else graphs[0]
    return joined.to(device=device)


def random_cluster(
    num_atoms: int, generator: torch.Generator, closest: float = 0.95, spread: float | None = None
) -> Tensor:
    """Throw points into a ball and keep those that are not too close to an earlier one.

    Args:
        num_atoms: How many.
        generator: Source of randomness.
        closest: Smallest distance between two points, Å.
        spread: Radius of the ball, Å; 1.2 Å times the cube root of the number of atoms if None.

    Returns:
        ``[num_atoms, 3]``, Å, float64, centred on its mean.
    """
    radius = spread if spread is not None else 1.2 * max(num_atoms, 1) ** (1 / 3)
    points: list[Tensor] = []
    for attempt in range(2000 * max(num_atoms, 1)):
        if len(points) == num_atoms:
            break
        # the ball grows slowly, so that the loop ends for any request
        point = radius * (1 + 1e-3 * attempt) * (2 * torch.rand(3, generator=generator, dtype=torch.float64) - 1)
        if all(float((point - other).norm()) >= closest for other in points):
            points.append(point)
    if len(points) < num_atoms:
        raise GraphError(f"{num_atoms} points at least {closest} Å apart do not fit into a ball of {radius:.2f} Å.")
    cluster = torch.stack(points) if points else torch.zeros(0, 3, dtype=torch.float64)
    return cluster - cluster.mean(0, keepdim=True) if num_atoms else cluster


def random_molecule(species: Sequence[int], num_atoms: int = 7, seed: int = 0) -> Structure:
    """Make a random cluster of atoms that uses each of ``species`` if there is room.

    Args:
        species: Atomic numbers to draw from.
        num_atoms: How many atoms.
        seed: Same seed, same molecule.

    Returns:
        A structure without a cell; distances are at least 0.95 Å.

    Raises:
        GraphError: ``species`` is empty.
    """
    if not species:
        raise GraphError("A random molecule needs at least one atomic number to draw from; species is empty.")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(species), (num_atoms,), generator=generator)
    first = torch.randperm(len(species), generator=generator)[:num_atoms]
    drawn[: first.numel()] = first
    numbers = torch.tensor(list(species), dtype=torch.int64)[drawn]
    return Structure(random_cluster(num_atoms, generator), numbers)


def random_crystal(species: Sequence[int], num_atoms: int = 4, seed: int = 0, length: float = 3.6) -> Structure:
    """Make a random skewed periodic cell, usually smaller than the cutoff.

    Args:
        species: Atomic numbers to draw from.
        num_atoms: Atoms in the cell.
        seed: Same seed, same crystal.
        length: Typical length of a lattice vector, Å.

    Returns:
        A structure that is periodic along three axes; no two atoms are closer than 1.2 Å, images included.

    Raises:
        GraphError: ``species`` is empty.
    """
    if not species:
        raise GraphError("A random crystal needs at least one atomic number to draw from; species is empty.")
    generator = torch.Generator().manual_seed(seed)
    skew = 0.15 * (2 * torch.rand(3, 3, generator=generator, dtype=torch.float64) - 1)
    steps = torch.cartesian_prod(*[torch.arange(-1, 2, dtype=torch.float64)] * 3)
    cell = length * (torch.eye(3, dtype=torch.float64) + skew)
    fractions: list[Tensor] = []
    for attempt in range(5000):
        if len(fractions) == num_atoms:
            break
        scaled = cell * (1 + 1e-3 * attempt)
        point = torch.rand(3, generator=generator, dtype=torch.float64)
        images = [((point - other + steps) @ scaled).norm(dim=1).min() for other in fractions]
        if all(float(distance) >= 1.2 for distance in images):
            fractions.append(point)
            cell = scaled
    numbers = torch.tensor(list(species), dtype=torch.int64)[
        torch.randint(len(species), (num_atoms,), generator=generator)
    ]
    return Structure(torch.stack(fractions) @ cell, numbers, cell, torch.ones(3, dtype=torch.bool))

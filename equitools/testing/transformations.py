"""The transformations that a group allows on a structure, drawn in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from equitools.errors import UnknownNameError, nearest
from equitools.groups import random_rotation
from equitools.testing.structures import VECTOR_EXTRAS, Structure

__all__ = ["GROUPS", "Transformation", "sample_transformations"]

_TURN, _MIRROR, _SHIFT = ("rotation",), ("inversion", "reflection"), ("translation", "lattice translation")

#: The kinds of transformation that each group holds; a permutation of atoms is checked with every one of them.
GROUPS: dict[str, tuple[str, ...]] = {
    "E(3)": (*_TURN, *_MIRROR, *_SHIFT),
    "SE(3)": (*_TURN, *_SHIFT),
    "O(3)": (*_TURN, *_MIRROR),
    "SO(3)": _TURN,
    "T(3)": _SHIFT,
    "S_n": (),
}


@dataclass(frozen=True)
class Transformation:
    """One element of a group that acts on structures.

    Attributes:
        kind: Its name in the report.
        matrix: ``[3, 3]``, float64, orthogonal.
        shift: ``[3]``, Å.
        wrap: Move every atom back into the cell afterwards: a lattice translation, different for each atom.
        permutation: Seed of the permutation of the atoms; None to leave their order.
    """

    kind: str
    matrix: Tensor
    shift: Tensor
    wrap: bool = False
    permutation: int | None = None

    def apply(self, structure: Structure) -> tuple[Structure, Tensor, Tensor]:
        """Move a structure.

        Returns:
            The moved structure; for each of its atoms the index ``[N]`` in the old one, and the shift ``[N, 3]`` in Å
            by which it was translated after the matrix acted.
        """
        positions = structure.positions @ self.matrix.T + self.shift
        cell = structure.cell @ self.matrix.T
        shifts = self.shift.expand_as(positions).clone()
        if self.wrap and bool(structure.pbc.any()):
            moves = _lattice_moves(positions, cell, structure.pbc)
            positions, shifts = positions + moves, shifts + moves
        order = torch.arange(len(structure))
        if self.permutation is not None:
            order = torch.randperm(len(structure), generator=torch.Generator().manual_seed(self.permutation))
        extras = {}
        for name, value in structure.extras.items():
            turned = value @ self.matrix.T if name in VECTOR_EXTRAS else value
            extras[name] = turned[order] if structure.extra_levels.get(name) == "node" else turned
        moved = replace(
            structure,
            positions=positions[order],
            atomic_numbers=structure.atomic_numbers[order],
            cell=cell,
            extras=extras,
        )
        return moved, order, shifts[order]


def _lattice_moves(positions: Tensor, cell: Tensor, pbc: Tensor) -> Tensor:
    # a missing lattice vector is completed by the others' complement, so that fractions exist for slabs and wires
    basis = cell.clone()
    for axis in range(3):
        if not bool(pbc[axis]):
            basis[axis] = 0.0
    known = basis[pbc]
    complement = torch.linalg.svd(known, full_matrices=True).Vh[known.shape[0] :]
    basis[~pbc] = complement
    fractions = positions @ torch.linalg.inv(basis)
    whole = torch.floor(fractions) * pbc.to(fractions.dtype)
    return -whole @ basis


def sample_transformations(group: Any, trials: int, seed: int = 0) -> Iterator[list[Transformation]]:
    """Draw the transformations of a group, one list for each kind.

    Args:
        group: A name in `GROUPS`, or an object with such a ``name``.
        trials: Random elements of each kind.
        seed: Same seed, same transformations.

    Raises:
        UnknownNameError: The group is not known here.
    """
    name = str(getattr(group, "name", group))
    if name not in GROUPS:
        raise UnknownNameError(f"Equivariance under {name!r} cannot be checked. {nearest(name, GROUPS)}")
    generator = torch.Generator().manual_seed(1000 + seed)
    for kind in GROUPS[name]:
        count = 1 if kind == "inversion" else trials
        yield [_draw(kind, generator) for _ in range(count)]
    eye, zero = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    yield [Transformation("permutation", eye, zero, permutation=7919 * seed + trial) for trial in range(trials)]


def _draw(kind: str, generator: torch.Generator) -> Transformation:
    eye, zero = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    if kind == "rotation":
        return Transformation(kind, random_rotation((), generator=generator), zero)
    if kind == "inversion":
        return Transformation(kind, -eye, zero)
    if kind == "reflection":
        normal = torch.nn.functional.normalize(torch.randn(3, generator=generator, dtype=torch.float64), dim=0)
        return Transformation(kind, eye - 2 * torch.outer(normal, normal), zero)
    shift = 4 * torch.randn(3, generator=generator, dtype=torch.float64)
    return Transformation(kind, eye, shift, wrap=kind == "lattice translation")

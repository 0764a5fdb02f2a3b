"""Random inputs for property-based tests, as hypothesis strategies that yield float64 tensors.

Degenerate cases (identity, half turns, poles, collinear and coincident points) are drawn on purpose: they are where
frames, angles and normalisations fail. Needs hypothesis (``pip install 'equitools[dev]'``).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from equitools.errors import MissingDependencyError, ShapeError
from equitools.groups import Irreps, quaternion_to_matrix
from equitools.testing.structures import Structure, random_crystal, random_molecule

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = [
    "irreps", "molecules", "orthogonal_matrices", "periodic_structures", "point_clouds", "quaternions", "rotations",
    "special_rotations", "translations", "unit_vectors",
]  # fmt: skip


def _hypothesis() -> Any:
    try:
        return importlib.import_module("hypothesis.strategies")
    except ImportError as error:
        raise MissingDependencyError(
            "equitools.testing.strategies needs hypothesis, which is not installed. Install it with "
            "`pip install hypothesis` or `pip install 'equitools[dev]'`."
        ) from error


def _numbers(st: Any, bound: float) -> Any:
    return st.floats(-bound, bound, allow_nan=False, allow_infinity=False, width=64)


def quaternions() -> SearchStrategy[Tensor]:
    """Unit quaternions ``[4]`` in the order (w, x, y, z)."""
    st = _hypothesis()
    four = st.tuples(*[_numbers(st, 1.0)] * 4).filter(lambda q: sum(x * x for x in q) > 1e-2)
    return four.map(lambda q: torch.nn.functional.normalize(torch.tensor(q, dtype=torch.float64), dim=0))


def special_rotations() -> SearchStrategy[Tensor]:
    """Rotations ``[3, 3]`` that break parametrisations: identity, quarter and half turns about the axes, tiny turns."""
    st = _hypothesis()
    angles = (0.0, math.pi / 2, math.pi, -math.pi / 2, 1e-9, math.pi - 1e-9)
    return st.tuples(st.sampled_from(range(3)), st.sampled_from(angles)).map(lambda pair: _axis_turn(*pair))


def _axis_turn(axis: int, angle: float) -> Tensor:
    quaternion = torch.zeros(4, dtype=torch.float64)
    quaternion[0], quaternion[1 + axis] = math.cos(angle / 2), math.sin(angle / 2)
    return quaternion_to_matrix(quaternion)


def rotations(special: bool = True) -> SearchStrategy[Tensor]:
    """Rotation matrices ``[3, 3]`` with determinant +1.

    Args:
        special: Whether to draw from `special_rotations`, too.

    Properties:
        orthogonal: ``R Rᵀ = 1`` to rounding, with determinant +1.
    """
    general = quaternions().map(quaternion_to_matrix)
    return general | special_rotations() if special else general


def orthogonal_matrices(special: bool = True) -> SearchStrategy[Tensor]:
    """Elements ``[3, 3]`` of O(3): rotations, and rotations times the inversion."""
    st = _hypothesis()
    return st.tuples(rotations(special), st.sampled_from((1.0, -1.0))).map(lambda pair: pair[1] * pair[0])


def translations(bound: float = 20.0) -> SearchStrategy[Tensor]:
    """Vectors ``[3]`` with components within ``bound`` Å."""
    st = _hypothesis()
    return st.tuples(*[_numbers(st, bound)] * 3).map(lambda x: torch.tensor(x, dtype=torch.float64))


def unit_vectors(poles: bool = True) -> SearchStrategy[Tensor]:
    """Directions ``[3]``; with ``poles`` also the six axis directions."""
    st = _hypothesis()
    axes = [sign * torch.eye(3, dtype=torch.float64)[k] for k in range(3) for sign in (1.0, -1.0)]
    general = translations(1.0).filter(lambda v: float(v.norm()) > 1e-2).map(lambda v: v / v.norm())
    return general | st.sampled_from(axes).map(torch.clone) if poles else general


def irreps(max_l: int = 3, max_mul: int = 4, max_blocks: int = 4, parity: bool = True) -> SearchStrategy[Irreps]:
    """Irreps such as ``2x0e+1x1o``, in any order and with repetition.

    Args:
        max_l: Largest degree.
        max_mul: Largest multiplicity.
        max_blocks: Most blocks; at least one is drawn.
        parity: Whether to draw both parities; else the parity of spherical harmonics.
    """
    st = _hypothesis()
    if max_l < 0 or max_mul < 1 or max_blocks < 1:
        raise ShapeError(
            f"irreps needs max_l >= 0, max_mul >= 1, max_blocks >= 1, got {max_l}, {max_mul}, {max_blocks}."
        )
    signs = st.sampled_from("eo") if parity else st.none()
    block = st.tuples(st.integers(1, max_mul), st.integers(0, max_l), signs)
    return st.lists(block, min_size=1, max_size=max_blocks).map(
        lambda blocks: Irreps("+".join(f"{mul}x{l}{sign or 'eo'[l % 2]}" for mul, l, sign in blocks))
    )


def point_clouds(min_points: int = 1, max_points: int = 10, degenerate: bool = True) -> SearchStrategy[Tensor]:
    """Point clouds ``[N, 3]`` within about 3 Å of the origin.

    Args:
        min_points: Fewest points.
        max_points: Most points.
        degenerate: Whether to draw collinear, planar, coincident and centrosymmetric clouds, too.
    """
    st = _hypothesis()
    sizes, seeds = st.integers(min_points, max_points), st.integers(0, 2**31 - 1)
    shapes = ("general", "collinear", "planar", "coincident", "centred") if degenerate else ("general",)
    return st.tuples(sizes, seeds, st.sampled_from(shapes)).map(lambda args: _cloud(*args))


def _cloud(size: int, seed: int, shape: str) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(size, 3, generator=generator, dtype=torch.float64)
    turn = quaternion_to_matrix(torch.randn(4, generator=generator, dtype=torch.float64))
    if shape == "collinear":
        points[:, 1:] = 0.0
    elif shape == "planar":
        points[:, 2] = 0.0
    elif shape == "coincident" and size > 1:
        points[1] = points[0]
    elif shape == "centred":
        points[size - size // 2 :] = -points[: size // 2]
    return points @ turn.T


def molecules(
    species: Sequence[int] = (1, 6, 7, 8), min_atoms: int = 1, max_atoms: int = 9
) -> SearchStrategy[Structure]:
    """Random clusters of atoms at least 0.95 Å apart, without a cell."""
    st = _hypothesis()
    return st.tuples(st.integers(min_atoms, max_atoms), st.integers(0, 2**31 - 1)).map(
        lambda args: random_molecule(species, *args)
    )


def periodic_structures(
    species: Sequence[int] = (8, 14), max_atoms: int = 4, partial: bool = True
) -> SearchStrategy[Structure]:
    """Random skewed cells, turned arbitrarily in space and mostly smaller than a usual cutoff.

    Args:
        species: Atomic numbers to draw from.
        max_atoms: Most atoms in a cell.
        partial: Whether to draw slabs and wires (one or two periodic axes), too.
    """
    st = _hypothesis()
    flags = [(True, True, True)]
    if partial:
        flags += [(True, True, False), (False, True, True), (True, False, False), (False, False, True)]
    parts = st.tuples(st.integers(1, max_atoms), st.integers(0, 2**31 - 1), st.sampled_from(flags), rotations())
    return parts.map(lambda args: _turned_crystal(species, *args))


def _turned_crystal(
    species: Sequence[int], size: int, seed: int, pbc: tuple[bool, bool, bool], turn: Tensor
) -> Structure:
    crystal = random_crystal(species, size, seed)
    return Structure(crystal.positions @ turn.T, crystal.atomic_numbers, crystal.cell @ turn.T, torch.tensor(pbc))

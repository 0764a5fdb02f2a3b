"""Finite groups of rotations and reflections in two and three dimensions, as tables of matrices.

Each table is ``[G, d, d]`` in float64 with the identity first. The polyhedral groups are closed up from two rotations
each, and their entries are set to the closed forms that they are.
"""

from __future__ import annotations

import functools
import math
import re

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, UnknownNameError
from equitools.groups.rotations import axis_angle_to_matrix

__all__ = [
    "cyclic_group",
    "dihedral_group",
    "finite_group",
    "icosahedral_group",
    "multiplication_table",
    "octahedral_group",
    "tetrahedral_group",
    "with_inversion",
]

_NAME = re.compile(r"([CD])(\d+)(?:\((\d)\))?")
_SAME = 1e-6  # elements of the groups here differ by far more than this, and products of them by far less


def cyclic_group(n: int, d: int = 3) -> Tensor:
    """Return the n rotations of the plane by multiples of 2π/n; in three dimensions they are about z.

    Args:
        n: Number of elements, n ≥ 1.
        d: 2 or 3.

    Returns:
        ``[n, d, d]`` float64; element k turns by 2πk/n.

    Raises:
        ConfigError: n is not a positive integer, or d is not 2 or 3.

    Properties:
        closure: products and inverses of elements are elements.
        orthogonality: gᵀg = 1, and det g = 1.
    """
    _check(n, d)
    elements = torch.eye(d, dtype=torch.float64).repeat(n, 1, 1)
    for k in range(n):
        cosine, sine = _turn(k, n)
        elements[k, 0, 0] = elements[k, 1, 1] = cosine
        elements[k, 1, 0], elements[k, 0, 1] = sine, -sine
    return elements


def dihedral_group(n: int, d: int = 3) -> Tensor:
    """Return the 2n symmetries of the regular n-gon.

    Args:
        n: Corners of the polygon, n ≥ 1; one of them is on the x axis.
        d: 3: rotations only, the second half are half turns about axes in the xy plane. 2: the second half are
            reflections, determinant −1.

    Returns:
        ``[2n, d, d]`` float64: `cyclic_group`, then each of its elements after the half turn about x (d = 3) or the
        reflection of y (d = 2).

    Raises:
        ConfigError: n is not a positive integer, or d is not 2 or 3.

    Properties:
        closure: products and inverses of elements are elements.
        orthogonality: gᵀg = 1; for d = 3 det g = 1.
    """
    turns = cyclic_group(n, d)
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0][:d], dtype=torch.float64))
    return torch.cat([turns, turns @ flip])


def tetrahedral_group() -> Tensor:
    """Return the 12 rotations of a tetrahedron with corners (1, 1, 1), (1, −1, −1) and so on, ``[12, 3, 3]``."""
    return _polyhedral("T").clone()


def octahedral_group() -> Tensor:
    """Return the 24 rotations of a cube whose faces are normal to the axes, ``[24, 3, 3]``."""
    return _polyhedral("O").clone()


def icosahedral_group() -> Tensor:
    """Return the 60 rotations of an icosahedron with corners (0, ±1, ±φ) and their cyclic shifts, ``[60, 3, 3]``."""
    return _polyhedral("I").clone()


def with_inversion(elements: Tensor) -> Tensor:
    """Return a group of rotations together with each of them times −1.

    Args:
        elements: ``[G, d, d]``, a group without −1.

    Returns:
        ``[2G, d, d]``, the rotations first. For even d these still have determinant +1.

    Raises:
        ShapeError: The tensor is not ``[G, d, d]``.

    Properties:
        closure: of a group that does not contain −1, products and inverses of elements are elements.
    """
    _check_table(elements)
    return torch.cat([elements, -elements])


def finite_group(name: str) -> Tensor:
    """Return the table of a finite group by its Schoenflies name.

    Args:
        name: ``"C4"`` and ``"D4"`` (three dimensions, main axis z), ``"C4(2)"`` and ``"D4(2)"`` in the plane, ``"T"``,
            ``"O"``, ``"I"`` (rotations), ``"Oh"``, ``"Th"``, ``"Ih"`` (with inversion).

    Returns:
        ``[G, d, d]`` float64, the identity first.

    Raises:
        UnknownNameError: There is no such name here.
        ConfigError: The dimension is not 2 or 3, or the order is 0.
    """
    if name in {"T", "O", "I"}:
        return _polyhedral(name).clone()
    if name in {"Th", "Oh", "Ih"}:
        return with_inversion(_polyhedral(name[0]))
    found = _NAME.fullmatch(name)
    if found is None:
        raise UnknownNameError(
            f"There is no finite group {name!r}. Known: Cn and Dn such as 'C4' and 'D4' (in the plane 'C4(2)', "
            "'D4(2)'), T, O, I, and Th, Oh, Ih with the inversion."
        )
    make = cyclic_group if found[1] == "C" else dihedral_group
    return make(int(found[2]), int(found[3] or 3))


def multiplication_table(elements: Tensor) -> Tensor:
    """Return which element each product is.

    Args:
        elements: ``[G, d, d]``.

    Returns:
        ``[G, G]`` int64: entry (i, j) is the index of ``elements[i] @ elements[j]``.

    Raises:
        ShapeError: The tensor is not ``[G, d, d]``, or a product is not among the elements.

    Properties:
        rows_are_permutations: each row and each column of a group's table has every index once.
    """
    _check_table(elements)
    flat = elements.reshape(len(elements), -1)
    distance = torch.cdist(
        torch.einsum("aij,bjk->abik", elements, elements).reshape(-1, flat.shape[1]),
        flat,
        compute_mode="donot_use_mm_for_euclid_dist",
    )
    nearest, index = distance.min(-1)
    if bool((nearest > 1e-4).any()):
        raise ShapeError(f"These {len(elements)} matrices are not closed: a product is not among them.")
    return index.reshape(len(elements), len(elements))


def _turn(k: int, n: int) -> tuple[float, float]:
    """Cosine and sine of 2πk/n, exact at the multiples of a quarter turn."""
    quarters, rest = divmod(4 * k, n)
    if rest == 0:
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[quarters % 4]
    return math.cos(2 * math.pi * k / n), math.sin(2 * math.pi * k / n)


@functools.cache
def _polyhedral(name: str) -> Tensor:
    cycle = [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]  # a third of a turn about (1, 1, 1), in all three
    phi = (1 + math.sqrt(5)) / 2
    axis, angle = {
        "T": ([1.0, 0.0, 0.0], 1 / 2),
        "O": ([0.0, 0.0, 1.0], 1 / 4),
        "I": ([0.0, 1.0, phi], 1 / 5),  # about a corner
    }[name]
    other = axis_angle_to_matrix(*(torch.tensor(value, dtype=torch.float64) for value in (axis, 2 * math.pi * angle)))
    elements = _close(torch.stack([torch.tensor(cycle, dtype=torch.float64), other]))
    # Entries of T and O are 0 and ±1, those of I are half of 0, ±1, ±φ, ±(φ−1) and ±2: the last bit is set right.
    exact = torch.tensor([0.0, 0.5, 1.0, phi / 2, (phi - 1) / 2], dtype=torch.float64)
    exact = torch.cat([exact, -exact])
    return exact[(elements.unsqueeze(-1) - exact).abs().argmin(-1)] + 0.0


def _close(generators: Tensor) -> Tensor:
    """All products of the generators, breadth first from the identity."""
    elements = [torch.eye(generators.shape[-1], dtype=torch.float64)]
    for element in elements:  # the list grows as it is walked
        for generator in generators:
            product = generator @ element
            if all(float((product - known).abs().max()) > _SAME for known in elements):
                elements.append(product)
    return torch.stack(elements)


def _check(n: int, d: int) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ConfigError(f"A cyclic or dihedral group needs an integer order n ≥ 1, not {n!r}.")
    if d not in {2, 3}:
        raise ConfigError(f"Cyclic and dihedral groups are made for d = 2 and 3, not {d!r}.")


def _check_table(elements: Tensor) -> None:
    if elements.ndim != 3 or elements.shape[0] < 1 or elements.shape[1] != elements.shape[2]:
        raise ShapeError(f"A table of group elements [G, d, d] is needed, given {list(elements.shape)}.")

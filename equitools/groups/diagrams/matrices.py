"""Diagrams as matrices: the entries that are not zero, and the whole matrix."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.groups.diagrams.diagram import Diagram

__all__ = ["MOST_ENTRIES", "diagram_entries", "diagram_matrix", "signed_permutations"]

#: No more entries of one diagram than these are written down.
MOST_ENTRIES = 50_000_000


@functools.lru_cache(maxsize=16)
def signed_permutations(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all permutations of 0 … n − 1, ``[n!, n]``, and their signs ``[n!]``."""
    rows = np.array(list(itertools.permutations(range(n))), dtype=np.int64).reshape(math.factorial(n), n)
    signs = np.ones(len(rows))
    for i, j in itertools.combinations(range(n), 2):
        signs[rows[:, i] > rows[:, j]] *= -1
    return rows, signs


def diagram_entries(diagram: Diagram, n: int, symplectic: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the entries of a diagram's matrix that are not zero.

    Args:
        diagram: The diagram.
        n: Dimension of the space; the head, if there is one, must have n legs.
        symplectic: Whether a pair in one row stands for J instead of for equal indices (Sp).

    Returns:
        Row and column of each entry, as numbers in base n with the first axis as the leading digit, and its sign.

    Raises:
        ConfigError: The head has another number of legs, or there are too many entries.
    """
    free = [b for b in range(len(diagram.blocks)) if b not in diagram.head]
    if diagram.legs not in (0, n):
        raise ConfigError(f"The head of a diagram for n = {n} must have {n} legs, it has {diagram.legs}: {diagram}.")
    size = n ** len(free) * (math.factorial(n) if diagram.legs else 1)
    if size > MOST_ENTRIES:
        raise ConfigError(f"The diagram {diagram} has {size:,} entries for n = {n}; at most {MOST_ENTRIES:,} are made.")
    held, signs = signed_permutations(n) if diagram.legs else (np.zeros((1, 0), dtype=np.int64), np.ones(1))
    # One index for each block: all combinations of those that are free, for each permutation on the head's legs.
    grid = np.indices((n,) * len(free), dtype=np.int64).reshape(len(free), n ** len(free))
    index: dict[int, np.ndarray] = {}
    for place, block in enumerate(free):
        index[block] = np.tile(grid[place], len(held))
    for place, block in enumerate(diagram.head):
        index[block] = np.repeat(held[:, place], grid.shape[1])
    signs = np.repeat(signs, grid.shape[1])
    points = [np.zeros(0, dtype=np.int64)] * (diagram.top + diagram.bottom)
    half = n // 2
    for block, values in index.items():
        top, bottom = diagram.parts(block)
        for point in diagram.blocks[block]:
            points[point] = values
        if symplectic and not (top and bottom):  # J[a, a + n/2] = 1, J[a + n/2, a] = −1
            points[diagram.blocks[block][1]] = (values + half) % n
            signs = np.where(values < half, signs, -signs)
    rows, columns = (np.zeros(size, dtype=np.int64) for _ in range(2))
    for point, values in enumerate(points):
        if point < diagram.top:
            rows = rows * n + values
        else:
            columns = columns * n + values
    return rows, columns, signs


def diagram_matrix(diagram: Diagram, n: int, symplectic: bool = False) -> Tensor:
    """Return the matrix of a diagram.

    Args:
        diagram: The diagram.
        n: Dimension of the space.
        symplectic: Whether a pair in one row stands for J (Sp).

    Returns:
        ``[n**l, n**k]`` float64, of numbers −1, 0 and 1. A fresh tensor.

    Raises:
        ConfigError: The head does not have n legs, or the matrix is too large.

    Properties:
        equivariance: the matrix commutes with the group's action on the tensor powers.
        definition: an entry is the product over all blocks of whether their indices are equal (or of J), times ε.
    """
    entries = n ** (diagram.top + diagram.bottom)
    if entries > MOST_ENTRIES:
        raise ConfigError(
            f"The matrix of a diagram from {diagram.bottom} to {diagram.top} axes with n = {n} has {entries:,} "
            f"entries ({8 * entries / 2**30:.1f} GiB); at most {MOST_ENTRIES:,} are made."
        )
    rows, columns, signs = diagram_entries(diagram, n, symplectic)
    matrix = torch.zeros(n**diagram.top, n**diagram.bottom, dtype=torch.float64)
    return matrix.index_put_((torch.from_numpy(rows), torch.from_numpy(columns)), torch.from_numpy(signs), True)

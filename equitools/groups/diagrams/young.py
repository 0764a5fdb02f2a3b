"""The irreps of the symmetric group as orthogonal matrices, and the tensors ℝⁿ ⊗ … ⊗ ℝⁿ sorted by them."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from equitools.groups.diagrams.counting import integer_partitions

__all__ = ["symmetry_components", "young_orthogonal"]


@functools.cache
def _tableaux(shape: tuple[int, ...]) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Return the standard tableaux of a shape: for each number 0 … q − 1 its row and column."""
    if not shape:
        return ((),)
    found = []
    for row, length in enumerate(shape):
        if row + 1 == len(shape) or shape[row + 1] < length:
            smaller = tuple(r for r in (*shape[:row], length - 1, *shape[row + 1 :]) if r)
            found += [(*tableau, (row, length - 1)) for tableau in _tableaux(smaller)]
    return tuple(found)


@functools.cache
def young_orthogonal(shape: tuple[int, ...]) -> dict[tuple[int, ...], np.ndarray]:
    """Return Young's orthogonal form of an irrep of S_q: a matrix for each permutation.

    Args:
        shape: A partition of q.

    Returns:
        ``[d, d]`` float64 for each permutation s, as the tuple (s(0), …, s(q − 1)).

    Properties:
        homomorphism: the matrix of s∘t is the product of their matrices.
        orthogonality: the matrices are orthogonal, and matrix elements of different irreps are orthogonal functions.

    Source: G. James, A. Kerber, The Representation Theory of the Symmetric Group (Addison-Wesley 1981), section 3.4.
    """
    tableaux, q = _tableaux(shape), sum(shape)
    swaps = []
    for i in range(q - 1):
        matrix = np.zeros((len(tableaux), len(tableaux)))
        for a, tableau in enumerate(tableaux):
            (row, column), (other_row, other_column) = tableau[i], tableau[i + 1]
            distance = (other_column - other_row) - (column - row)
            matrix[a, a] = 1 / distance
            if abs(distance) > 1:
                swapped = (*tableau[:i], tableau[i + 1], tableau[i], *tableau[i + 2 :])
                matrix[a, tableaux.index(swapped)] = math.sqrt(1 - 1 / distance**2)
        swaps.append(matrix)
    start = tuple(range(q))
    found, front = {start: np.eye(len(tableaux))}, [start]
    while front:
        s = front.pop()
        for i, swap in enumerate(swaps):
            after = (*s[:i], s[i + 1], s[i], *s[i + 2 :])  # s after the swap of i and i + 1
            if after not in found:
                found[after] = found[s] @ swap
                front.append(after)
    return found


def symmetry_components(
    q: int, n: int, distinct: bool = False
) -> list[tuple[tuple[int, ...], int, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Return an orthonormal basis of (ℝⁿ)^{⊗q} that is sorted by the irreps of S_q: Schur and Weyl's decomposition.

    Permutations s act by (s·z)[i_1 … i_q] = z[i_{s(1)} … i_{s(q)}]. A component (m, a) of irrep λ transforms as
    (s·z)_{m,a} = Σ_b ρ_λ(s)_{ab} z_{m,b}: a map that commutes with GL(n), Σ_s w_s s, mixes a only. Each component is a
    sum over one orbit of index tuples, of at most q! entries.

    Args:
        q: Number of axes.
        n: Dimension of the space.
        distinct: Only index tuples without repetition.

    Returns:
        For each irrep that occurs its shape, how often it does, and the entries of the basis: rows m·d + a, columns as
        numbers in base n, values.

    Properties:
        orthonormality: the rows of all irreps are an orthonormal basis (of the tuples without repetition).
        components_transform_by_the_irreps: as said.
    """
    found = []
    for shape in integer_partitions(q):
        matrices = young_orthogonal(shape)
        size = next(iter(matrices.values())).shape[0]
        rows: list[np.ndarray] = []
        columns: list[np.ndarray] = []
        values: list[np.ndarray] = []
        times = 0
        for multiplicities in _compositions(q):
            if len(multiplicities) > n or (distinct and len(multiplicities) < q):
                continue
            pattern = tuple(i for i, count in enumerate(multiplicities) for _ in range(count))
            cosets: dict[tuple[int, ...], np.ndarray] = {}
            stable = np.zeros((size, size))
            for s, matrix in matrices.items():
                moved = [0] * q  # the pattern after s⁻¹
                for j, value in enumerate(pattern):
                    moved[s[j]] = value
                cosets.setdefault(tuple(moved), matrix)
                if tuple(moved) == pattern:
                    stable += matrix
            stable *= len(cosets) / len(matrices)  # the projector onto what the stabiliser leaves unchanged
            eigenvalues, vectors = np.linalg.eigh(stable)
            vectors = vectors[:, eigenvalues > 0.5]
            if not vectors.shape[1]:
                continue
            chosen = np.array(list(itertools.combinations(range(n), len(multiplicities))), dtype=np.int64)
            chosen = chosen.reshape(math.comb(n, len(multiplicities)), len(multiplicities))
            table = math.sqrt(size / len(cosets)) * np.stack([m @ vectors for m in cosets.values()])  # [coset, a, v]
            place = sum(
                (chosen[:, [t[i] for t in cosets]] * n ** (q - 1 - i) for i in range(q)),
                start=np.zeros((len(chosen), len(cosets)), dtype=np.int64),
            )  # [orbit, coset]
            orbit, coset, a, v = np.indices((len(chosen), len(cosets), size, vectors.shape[1]))
            kept = np.abs(table[coset, a, v]) > 1e-12
            rows.append(((times + orbit * vectors.shape[1] + v) * size + a)[kept])
            columns.append(place[orbit, coset][kept])
            values.append(table[coset, a, v][kept])
            times += len(chosen) * vectors.shape[1]
        if times:
            found.append((shape, times, tuple(map(np.concatenate, (rows, columns, values)))))
    return found  # type: ignore[return-value]


def _compositions(total: int) -> list[tuple[int, ...]]:
    """Return the ordered ways to write a number as a sum of positive integers."""
    if total == 0:
        return [()]
    return [(first, *rest) for first in range(1, total + 1) for rest in _compositions(total - first)]

"""How many diagrams there are, and how many of them can be independent: exact integers."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

from equitools.errors import ConfigError, UnknownNameError, nearest

__all__ = [
    "GROUPS",
    "bell_number",
    "check_sizes",
    "hom_dimension",
    "integer_partitions",
    "matching_number",
    "number_of_diagrams",
    "restricted_bell_number",
    "stirling_number",
    "tableau_number",
]

#: The groups whose maps between tensor powers are spanned by diagrams: permutations S_n, even ones A_n, and matrices.
GROUPS = ("S", "A", "O", "SO", "Sp")


def check_sizes(group: str, n: int, k: int, l: int) -> None:
    """Refuse what is no tensor power of the defining representation of one of the groups.

    Args:
        group: One of `GROUPS`.
        n: Dimension of the space, 1 or more; even for Sp.
        k: Number of axes of the input.
        l: Number of axes of the output.

    Raises:
        UnknownNameError: There is no such group.
        ConfigError: A number is negative or no integer, n is 0, or odd for Sp.
    """
    if group not in GROUPS:
        raise UnknownNameError(f"Diagrams do not know the group {group!r}. {nearest(str(group), GROUPS)}")
    sizes = {"n": n, "k": k, "l": l}
    for name, value in sizes.items():
        least = 1 if name == "n" else 0
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{name} must be an integer of {least} or more, given {value!r}.")
    if group == "Sp" and n % 2:
        raise ConfigError(f"Sp(n) acts on an even number of dimensions, given n = {n}.")


@functools.cache
def stirling_number(points: int, blocks: int) -> int:
    """Return the number of ways to divide so many points into so many blocks (Stirling, second kind)."""
    if points == blocks:
        return 1
    if blocks <= 0 or blocks > points:
        return 0
    return blocks * stirling_number(points - 1, blocks) + stirling_number(points - 1, blocks - 1)


def restricted_bell_number(points: int, most_blocks: int) -> int:
    """Return the number of ways to divide so many points into at most so many blocks."""
    return sum(stirling_number(points, blocks) for blocks in range(min(points, most_blocks) + 1))


def bell_number(points: int) -> int:
    """Return the number of ways to divide so many points into blocks."""
    return restricted_bell_number(points, points)


def matching_number(points: int) -> int:
    """Return the number of ways to pair so many points: (points − 1)!!, and 0 where the number is odd."""
    return 0 if points % 2 else math.prod(range(1, points, 2))


def integer_partitions(
    total: int, most_parts: int | None = None, largest: int | None = None
) -> Iterator[tuple[int, ...]]:
    """Yield the descending tuples of positive integers with a given sum.

    Args:
        total: The sum.
        most_parts: How many parts there may be; ``None``: any number.
        largest: The largest part that there may be; ``None``: any.
    """
    if total == 0:
        yield ()
        return
    if most_parts == 0:
        return
    for first in range(min(total, total if largest is None else largest), 0, -1):
        for rest in integer_partitions(total - first, None if most_parts is None else most_parts - 1, first):
            yield (first, *rest)


def tableau_number(shape: tuple[int, ...]) -> int:
    """Return the number of standard Young tableaux of a shape, by the hook lengths."""
    columns = [sum(row > j for row in shape) for j in range(shape[0])] if shape else []
    hooks = math.prod(row - j + columns[j] - i - 1 for i, row in enumerate(shape) for j in range(row))
    return math.factorial(sum(shape)) // hooks


def number_of_diagrams(group: str, n: int, k: int, l: int) -> int:
    """Return how many diagrams span the equivariant maps from k to l axes: see `spanning_set`.

    Args:
        group: One of `GROUPS`.
        n: Dimension of the space.
        k: Number of axes of the input.
        l: Number of axes of the output.

    Properties:
        counts: the number of diagrams that are enumerated.
    """
    check_sizes(group, n, k, l)
    points = k + l
    if group == "S":
        return bell_number(points)
    if group == "A":
        extra = stirling_number(points, n) + stirling_number(points, n - 1) if n > 1 else 0
        return bell_number(points) + extra
    extra = math.comb(points, n) * matching_number(points - n) if group == "SO" and points >= n else 0
    return matching_number(points) + extra


@functools.cache
def hom_dimension(group: str, n: int, k: int, l: int) -> int:
    """Return the dimension of the space of equivariant linear maps (ℝⁿ)^{⊗k} → (ℝⁿ)^{⊗l}.

    S_n has one map for each orbit of index tuples, that is for each division of the k + l axes into at most n blocks;
    A_n one more for each orbit that splits: those of n or n − 1 different values. For the others it is the number of
    invariants in the tensor power: by Schur–Weyl duality the sum of the numbers of standard tableaux over the shapes
    whose representation of GL(n) holds an invariant: at most n rows, all of even length for O(n); for SO(n) also those
    with n rows of odd length; all columns of even length for Sp(n).

    Args:
        group: One of `GROUPS`.
        n: Dimension of the space.
        k: Number of axes of the input.
        l: Number of axes of the output.

    Properties:
        dimension_of_null_space: that of the maps that commute with the group.
        dimension_is_character_integral: the mean of the character, for finite groups.

    Source: R. Goodman, N. Wallach, Symmetry, Representations, and Invariants (Springer 2009), chapters 5 and 9.
    """
    check_sizes(group, n, k, l)
    points = k + l
    if group in {"S", "A"}:
        extra = stirling_number(points, n) + stirling_number(points, n - 1) if group == "A" and n > 1 else 0
        return restricted_bell_number(points, n) + extra
    half, odd = divmod(points, 2)
    even_rows = [] if odd else [tuple(2 * row for row in shape) for shape in integer_partitions(half)]
    if group == "Sp":  # columns of even length are the rows of the transposed shape: as many tableaux
        return sum(tableau_number(shape) for shape in even_rows if not shape or shape[0] <= n)
    found = sum(tableau_number(shape) for shape in even_rows if len(shape) <= n)
    if group == "SO" and points >= n and (points - n) % 2 == 0:
        for shape in integer_partitions((points - n) // 2, n):
            found += tableau_number(tuple(2 * row + 1 for row in shape) + (1,) * (n - len(shape)))
    return found

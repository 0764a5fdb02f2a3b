"""All diagrams of a kind, in a fixed order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from equitools.errors import ConfigError
from equitools.groups.diagrams.counting import check_sizes, number_of_diagrams
from equitools.groups.diagrams.diagram import Diagram

__all__ = [
    "MOST_DIAGRAMS",
    "brauer_diagrams",
    "jellyfish_diagrams",
    "levi_civita_diagrams",
    "partition_diagrams",
    "perfect_matchings",
    "set_partitions",
    "spanning_set",
]

#: No more diagrams than these are written down.
MOST_DIAGRAMS = 200_000


def set_partitions(points: int, most_blocks: int | None = None) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Yield all divisions of the points 0 … points − 1 into blocks, blocks by their first points.

    Args:
        points: Their number.
        most_blocks: How many blocks there may be; ``None``: any number.

    Properties:
        counts: a Bell number, or the restricted one.
    """
    most = points if most_blocks is None else most_blocks
    blocks: list[list[int]] = []

    def place(point: int) -> Iterator[tuple[tuple[int, ...], ...]]:
        if point == points:
            yield tuple(map(tuple, blocks))
            return
        for block in blocks:
            block.append(point)
            yield from place(point + 1)
            block.pop()
        if len(blocks) < most:
            blocks.append([point])
            yield from place(point + 1)
            blocks.pop()

    return place(0)


def perfect_matchings(points: tuple[int, ...]) -> Iterator[tuple[tuple[int, int], ...]]:
    """Yield all ways to pair points; none where their number is odd.

    Args:
        points: The points, in any order.

    Properties:
        counts: (points − 1)!!.
    """
    if not points:
        yield ()
        return
    first, others = points[0], points[1:]
    for i, partner in enumerate(others):
        for rest in perfect_matchings(others[:i] + others[i + 1 :]):
            yield ((first, partner), *rest)


def partition_diagrams(k: int, l: int, most_blocks: int | None = None) -> Iterator[Diagram]:
    """Yield the diagrams from k to l axes that are divisions into blocks, those of S_n.

    Args:
        k: Number of axes of the input.
        l: Number of axes of the output.
        most_blocks: How many blocks there may be. Those of at most n blocks are a basis for S_n.
    """
    return (Diagram(l, k, blocks) for blocks in set_partitions(k + l, most_blocks))


def brauer_diagrams(k: int, l: int) -> Iterator[Diagram]:
    """Yield the diagrams from k to l axes that pair all points, those of O(n) and Sp(n).

    Args:
        k: Number of axes of the input.
        l: Number of axes of the output.
    """
    return (Diagram(l, k, pairs) for pairs in perfect_matchings(tuple(range(k + l))))


def levi_civita_diagrams(n: int, k: int, l: int) -> Iterator[Diagram]:
    """Yield the (l+k)∖n diagrams: n points hang on a Levi-Civita tensor, in their order, and the others are paired.

    Args:
        n: Number of legs.
        k: Number of axes of the input.
        l: Number of axes of the output.
    """
    points = range(k + l)
    for legs in itertools.combinations(points, n):
        for pairs in perfect_matchings(tuple(p for p in points if p not in legs)):
            blocks = sorted([*((p,) for p in legs), *pairs])
            yield Diagram(l, k, tuple(blocks), tuple(blocks.index((p,)) for p in legs))


def jellyfish_diagrams(n: int, k: int, l: int) -> Iterator[Diagram]:
    """Yield the independent jellyfish of A_n: all blocks hang on the head, n of them, or n − 1 and a loose leg.

    Those of fewer blocks are zero or, where blocks are free of the head, sums of these.

    Args:
        n: Number of legs, 2 or more: there is nothing that changes its sign for n = 1.
        k: Number of axes of the input.
        l: Number of axes of the output.
    """
    for blocks in set_partitions(k + l, n):
        if n > 1 and len(blocks) >= n - 1:
            yield Diagram(l, k, blocks, tuple(range(len(blocks))), loose=len(blocks) == n - 1)


def spanning_set(group: str, n: int, k: int, l: int) -> list[Diagram]:
    """Return the diagrams that span the equivariant maps (ℝⁿ)^{⊗k} → (ℝⁿ)^{⊗l} of a group.

    Args:
        group: ``"S"`` and ``"A"`` (permutations of the n indices; even ones), ``"O"``, ``"SO"`` or ``"Sp"``.
        n: Dimension of the space.
        k: Number of axes of the input.
        l: Number of axes of the output.

    Returns:
        For S_n all partition diagrams, for O(n) and Sp(n) all Brauer diagrams; A_n has the jellyfish in addition, and
        SO(n) the (l+k)∖n diagrams. For odd k + l there are none for O(n) and Sp(n): the only equivariant map is zero.

    Raises:
        UnknownNameError: There is no such group.
        ConfigError: A size is wrong, or there are too many diagrams.

    Properties:
        counts: as `number_of_diagrams` says.
        spanning: the diagrams' matrices span all equivariant maps, and each is equivariant.

    Source: E. Pearce-Crump, arXiv 2212.08630 (O, SO, Sp), 2212.08648 (S), 2301.10152 (A).
    """
    check_sizes(group, n, k, l)
    number = number_of_diagrams(group, n, k, l)
    if number > MOST_DIAGRAMS:
        raise ConfigError(
            f"{group}(n) with n = {n} has {number:,} diagrams from {k} to {l} axes; at most {MOST_DIAGRAMS:,} are "
            f"enumerated. Take fewer axes."
        )
    if group in {"S", "A"}:
        return [*partition_diagrams(k, l), *(jellyfish_diagrams(n, k, l) if group == "A" else ())]
    return [*brauer_diagrams(k, l), *(levi_civita_diagrams(n, k, l) if group == "SO" else ())]

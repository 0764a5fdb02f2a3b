"""Which diagrams are independent: their Gram matrix, counted without any tensor, and a choice by pivots."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from equitools.errors import ConfigError, EquitoolsError
from equitools.groups.diagrams.algebra import permutation_sign
from equitools.groups.diagrams.counting import check_sizes, hom_dimension, number_of_diagrams
from equitools.groups.diagrams.diagram import Diagram
from equitools.groups.diagrams.enumeration import jellyfish_diagrams, partition_diagrams, spanning_set

__all__ = ["INDEPENDENCE_THRESHOLD", "gram_matrix", "independent_set", "is_independent"]

#: A diagram is independent of others when what is left of its unit vector has a squared length above this.
INDEPENDENCE_THRESHOLD = 1e-9
#: No larger Gram matrices than of so many diagrams.
MOST_PIVOTS = 5_000


def is_independent(group: str, n: int, k: int, l: int) -> bool:
    """Return whether all diagrams of a group's spanning set are independent.

    That is so for O(n) exactly where 2n ≥ k + l, for Sp(n) where n ≥ k + l, for S_n where n ≥ k + l (and everywhere,
    where there are none).

    Args:
        group: One of `GROUPS`.
        n: Dimension of the space.
        k: Number of axes of the input.
        l: Number of axes of the output.

    Properties:
        independence_condition: these conditions.
    """
    return number_of_diagrams(group, n, k, l) == hom_dimension(group, n, k, l)


def gram_matrix(diagrams: list[Diagram], n: int, symplectic: bool = False) -> Tensor:
    """Return the inner products ⟨A, B⟩ = tr AᵀB of diagrams, from the loops that two of them make together.

    Laid upon each other, two diagrams without a head join their points to components: the inner product is n to their
    number. For Sp there is a sign: with the number of crossings of each as its sign, sgn A · sgn B · (−1)^r (−n)^loops
    for r pairs. With a head: if each leg of the one is joined to one leg of the other, n! times the sign of that
    permutation, and n for each component without legs (n! too where both have a loose leg); else zero.

    Args:
        diagrams: Diagrams of one pair of rows.
        n: Dimension of the space.
        symplectic: Whether pairs in one row stand for J (Sp).

    Returns:
        ``[D, D]`` float64.

    Raises:
        ConfigError: There are more than 5 000 diagrams.

    Properties:
        gram_is_inner_product: of the matrices.
    """
    if len(diagrams) > MOST_PIVOTS:
        raise ConfigError(
            f"A Gram matrix of {len(diagrams):,} diagrams would be needed, at most {MOST_PIVOTS:,} are taken: use the "
            f"spanning set."
        )
    points = diagrams[0].top + diagrams[0].bottom if diagrams else 0
    gram = torch.zeros(len(diagrams), len(diagrams), dtype=torch.float64)
    plain = [i for i, d in enumerate(diagrams) if not d.legs]
    if plain:
        loops = _components([diagrams[i] for i in plain], points)
        sign: Tensor = torch.ones(len(plain), dtype=torch.float64)
        if symplectic:
            sign = torch.tensor([_crossing_sign(diagrams[i]) for i in plain], dtype=torch.float64)
        values = sign[:, None] * sign * (-n if symplectic else n) ** loops.double() * (-1) ** (symplectic * points // 2)
        gram[torch.tensor(plain)[:, None], torch.tensor(plain)] = values
    headed = [i for i, d in enumerate(diagrams) if d.legs]
    for place, i in enumerate(headed):
        for j in headed[place:]:
            gram[i, j] = gram[j, i] = _headed(diagrams[i], diagrams[j], n)
    return gram


def _components(diagrams: list[Diagram], points: int) -> Tensor:
    """Return the number of components of each pair, ``[D, D]``: labels spread over the blocks of both in turn."""
    block_of = torch.zeros(len(diagrams), points, dtype=torch.int64)
    for i, diagram in enumerate(diagrams):
        for number, block in enumerate(diagram.blocks):
            block_of[i, list(block)] = number
    found = torch.zeros(len(diagrams), len(diagrams), dtype=torch.int64)
    own = torch.arange(points)
    for i in range(len(diagrams)):
        labels = own.expand(len(diagrams), points)
        while True:
            spread = labels
            for blocks in (block_of, block_of[i].expand(len(diagrams), points)):
                least = torch.full_like(spread, points).scatter_reduce(1, blocks, spread, "amin")
                spread = least.gather(1, blocks)
            if torch.equal(spread, labels):
                break
            labels = spread
        found[i] = (labels == own).sum(1)
    return found


def _crossing_sign(diagram: Diagram) -> int:
    return permutation_sign([p for pair in diagram.blocks for p in pair])


def _headed(first: Diagram, second: Diagram, n: int) -> float:
    """Return the inner product of two diagrams with a head."""
    nodes = [*map(set, first.blocks), *map(set, second.blocks)]
    legs = [[set(d.blocks[b]) for b in d.head] for d in (first, second)]
    joined: list[set[int]] = []
    for node in nodes:
        touching = [other for other in joined if other & node]
        joined = [other for other in joined if not other & node] + [node.union(*touching)]
    pairs, loops = [], 0
    single: list[list[int]] = [[], []]
    for component in joined:
        here = [[i for i, leg in enumerate(side) if leg <= component] for side in legs]
        if max(map(len, here)) > 1:
            return 0.0
        if all(here):
            pairs.append((here[0][0], here[1][0]))
        elif any(here):  # this leg meets no leg but is summed over
            single[bool(here[1])].append((here[0] or here[1])[0])
        else:
            loops += 1
    for side, diagram in zip(single, (first, second), strict=True):
        side += [len(diagram.head)] * diagram.loose
    if len(single[0]) > 1 or len(single[1]) > 1:
        return 0.0
    pairs += [(single[0][0], single[1][0])] if single[0] else []
    return float(permutation_sign([b for _, b in sorted(pairs)]) * math.factorial(n) * n**loops)


@functools.lru_cache(maxsize=64)
def _independent(group: str, n: int, k: int, l: int) -> tuple[Diagram, ...]:
    if group in {"S", "A"}:
        heads = jellyfish_diagrams(n, k, l) if group == "A" else ()
        return (*partition_diagrams(k, l, n), *heads)
    diagrams = spanning_set(group, n, k, l)
    rank = hom_dimension(group, n, k, l)
    if len(diagrams) == rank:
        return tuple(diagrams)
    gram = gram_matrix(diagrams, n, group == "Sp")
    chosen, left = _pivots(gram, rank)
    if left > INDEPENDENCE_THRESHOLD or len(chosen) < rank:
        raise EquitoolsError(
            f"The diagrams of {group}({n}) from {k} to {l} axes should have rank {rank}; by pivots it is not so "
            f"({len(chosen)} found, {left:.1e} left). Please report this."
        )
    return tuple(diagrams[i] for i in sorted(chosen))


def _pivots(gram: Tensor, rank: int) -> tuple[list[int], float]:
    """Choose vectors by a Cholesky factorisation of their Gram matrix with pivots: QR with column pivots, squared.

    Returns:
        The numbers of the chosen ones, and the largest squared length that is left of the others.
    """
    scale = gram.diagonal().rsqrt()
    residual = gram * scale[:, None] * scale
    chosen: list[int] = []
    factors = torch.zeros(rank, len(gram), dtype=gram.dtype)
    left = residual.diagonal().clone()
    for step in range(rank):
        # of equally long ones the first: rounding must not choose
        pivot = int((left > left.max() - INDEPENDENCE_THRESHOLD).nonzero()[0])
        if left[pivot] <= INDEPENDENCE_THRESHOLD:
            break
        chosen.append(pivot)
        row = (residual[pivot] - factors[:step, pivot] @ factors[:step]) / left[pivot].sqrt()
        factors[step] = row
        left = left - row.square()
        left[pivot] = 0.0
    return chosen, float(left.max())


def independent_set(group: str, n: int, k: int, l: int) -> list[Diagram]:
    """Return diagrams that are a basis of the equivariant maps (ℝⁿ)^{⊗k} → (ℝⁿ)^{⊗l}.

    For S_n and A_n these are the diagrams of at most n blocks (and the jellyfish). For the others all diagrams, where
    they are independent; else those that a pivoted factorisation of the Gram matrix chooses. A diagram is taken for
    dependent where the squared length that the chosen ones leave of its unit vector is below 1e-9; the number that is
    found must be `hom_dimension`, which is exact.

    Args:
        group: One of `GROUPS`.
        n: Dimension of the space.
        k: Number of axes of the input.
        l: Number of axes of the output.

    Raises:
        UnknownNameError: There is no such group.
        ConfigError: A size is wrong, or there are too many diagrams.

    Properties:
        basis: as many as `hom_dimension`, independent, with the span of all diagrams.

    Source: E. Pearce-Crump, arXiv 2212.08630, 2212.08648, 2301.10152.
    """
    check_sizes(group, n, k, l)
    number = hom_dimension(group, n, k, l)
    if number > 200_000:
        raise ConfigError(f"A basis of {number:,} diagrams is too large. Take fewer axes.")
    return list(_independent(group, n, k, l))

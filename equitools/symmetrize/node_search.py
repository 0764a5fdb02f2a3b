"""Numberings of a graph's nodes by individualisation and refinement: few where a partition alone leaves many.

A class of nodes that look alike is split by giving one of its members the first place. Which one is free, so each is
tried; its neighbours then are no longer alike, and so on until all nodes differ. The numberings at the leaves of this
tree do not depend on how the nodes were numbered at first. Among them, those under which the weights read smallest
give one and the same matrix: one numbering for each automorphism of the graph, which is as few as there can be.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["refine_classes", "smallest_numberings"]

Integers = NDArray[np.int64]


def refine_classes(classes: Integers, weights: Integers) -> Integers:
    """Split classes until all nodes of a class have equally many equal edges to every class (1-WL).

    Args:
        classes: ``[n]``, an ordered partition.
        weights: ``[n, n]``, edges as small integers from 0 on; the same integer, the same weight.

    Returns:
        ``[n]``, a finer ordered partition, numbered from 0 without gaps.

    Properties:
        refinement_moves_with_nodes: renumbering the nodes permutes the classes.
    """
    kinds = int(weights.max(initial=0)) + 1
    while True:
        around = np.sort(classes[None, :] * kinds + weights, axis=1)
        own = np.diagonal(weights)[:, None]
        _, finer = np.unique(np.concatenate([classes[:, None], own, around], axis=1), axis=0, return_inverse=True)
        finer = finer.reshape(-1)
        if finer.max(initial=0) == classes.max(initial=0):
            return finer
        classes = finer


def smallest_numberings(classes: Integers, weights: Integers, limit: int, every: bool = True) -> list[Integers] | None:
    """Return the numberings of the nodes under which the weights read smallest.

    Args:
        classes: ``[n]``, an ordered partition, numbered from 0 without gaps.
        weights: ``[n, n]``, symmetric, edges as small integers.
        limit: Most leaves of the tree that are looked at.
        every: ``False``: one numbering will do, so that nodes which can be exchanged for each other (all nodes of a
            complete graph, the leaves of a star) are not tried in turn.

    Returns:
        Numberings ``[n]``: the node in the first place, in the second, …; ``None`` if there are more leaves than
        ``limit``.

    Properties:
        one_for_each_automorphism: all give the same matrix, and there are as many as the graph has automorphisms.

    Source: B. D. McKay and A. Piperno, J. Symb. Comput. 60 (2014) 94 (arXiv 1301.1493), in its simplest form.
    """
    best: list[Integers] = []
    smallest: bytes | None = None
    for count, order in enumerate(_leaves(refine_classes(classes, weights), weights, every)):
        if count >= limit:
            return None
        word = weights[np.ix_(order, order)].astype(">u4").tobytes()  # big-endian: bytes compare as numbers do
        if smallest is None or word < smallest:
            best, smallest = [order], word
        elif word == smallest:
            best.append(order)
    return best


def _leaves(classes: Integers, weights: Integers, every: bool) -> Iterator[Integers]:
    counts = np.bincount(classes, minlength=1)
    if counts.max(initial=0) <= 1:
        yield np.argsort(classes, kind="stable")
        return
    target = int(np.argmax(counts > 1))
    members = np.flatnonzero(classes == target)
    for member in members if every else _not_exchangeable(members, weights):
        split = classes + (classes >= target)  # room for a class of its own
        split[member] = target
        yield from _leaves(refine_classes(split, weights), weights, every)


def _not_exchangeable(members: Integers, weights: Integers) -> list[int]:
    """Return one node of each set of twins: nodes whose exchange leaves all weights as they are."""
    kept: list[int] = []
    for node in members:
        if not any(_twins(int(node), other, weights) for other in kept):
            kept.append(int(node))
    return kept


def _twins(i: int, j: int, weights: Integers) -> bool:
    others = np.ones(len(weights), dtype=bool)
    others[[i, j]] = False
    return bool(weights[i, i] == weights[j, j]) and bool((weights[i, others] == weights[j, others]).all())

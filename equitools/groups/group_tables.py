"""What a multiplication table must obey, and how the products of generators are closed up into a group."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError

__all__ = [
    "LARGEST_TABLE",
    "RowIndex",
    "check_table",
    "close_matrices",
    "close_permutations",
    "compose",
    "require_table_size",
]

#: Elements of the largest group whose table is written out: half a gigabyte.
LARGEST_TABLE = 8192
_SAME = 1e-6  # elements of a group of matrices differ by far more than this, and products of them by far less


def require_table_size(order: int, what: str) -> None:
    """Refuse a table that is larger than memory should hold.

    Raises:
        ConfigError: The group has more than `LARGEST_TABLE` elements.
    """
    if order > LARGEST_TABLE:
        raise ConfigError(
            f"The multiplication table of {what} has {order}² entries, {8 * order**2 / 1e9:.3g} GB; tables are written "
            f"out for at most {LARGEST_TABLE} elements. Take products of single elements with `product` instead."
        )


def compose(a: Tensor, b: Tensor) -> Tensor:
    """Return the permutation "first b, then a": ``(ab)(i) = a(b(i))``.

    Args:
        a: ``[..., n]`` int64, the image of each point.
        b: The same, of a shape that broadcasts.
    """
    a, b = torch.broadcast_tensors(a, b)
    return a.gather(-1, b)


class RowIndex:
    """Finds rows of integers in a list of rows.

    Each row has a number, a sum with random weights that wraps around; what is found by its number is compared.

    Args:
        rows: ``[N, n]`` int64, all different.
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        generator = torch.Generator().manual_seed(0)
        while True:
            self.weights = torch.randint(-(2**62), 2**62, (rows.shape[1],), generator=generator)
            self.keys, self.order = (rows * self.weights).sum(-1).sort()
            if not bool((self.keys[1:] == self.keys[:-1]).any()):
                return
            if len(torch.unique(rows, dim=0)) < len(rows):
                raise ShapeError("A row occurs twice.")

    def find(self, rows: Tensor) -> Tensor:
        """Return where each row stands, or −1 where it does not.

        Args:
            rows: ``[..., n]``.
        """
        place = torch.searchsorted(self.keys, (rows * self.weights).sum(-1)).clamp(max=len(self.keys) - 1)
        index = self.order[place]
        return torch.where((self.rows[index] == rows).all(-1), index, -1)


def close_permutations(generators: Tensor, limit: int) -> Tensor:
    """Return all products of permutations, the identity first and the rest in lexicographic order.

    Args:
        generators: ``[k, n]`` int64.
        limit: The largest number of elements.

    Raises:
        ConfigError: There are more.
    """
    known = torch.arange(generators.shape[1]).unsqueeze(0)
    fresh = known
    while len(fresh):
        products = torch.unique(compose(generators[:, None], fresh[None]).flatten(0, 1), dim=0)
        fresh = products[RowIndex(known).find(products) < 0]
        known = torch.cat([known, fresh])
        _check_limit(len(known), limit)
    return torch.unique(known, dim=0)  # lexicographic order puts the identity first


def close_matrices(generators: Tensor, limit: int) -> Tensor:
    """Return all products of matrices ``[G, d, d]``, breadth first from the identity.

    Args:
        generators: ``[k, d, d]``.
        limit: The largest number of elements.

    Raises:
        ConfigError: There are more: the group is larger, or the matrices generate no finite one.
    """
    known = fresh = torch.eye(generators.shape[-1], dtype=torch.float64).unsqueeze(0)
    while len(fresh):
        products = (generators[:, None] @ fresh[None]).flatten(0, 1)
        if not bool(torch.isfinite(products).all()):
            raise ConfigError("The products of these matrices grow without bound: they generate no finite group.")
        # a product is new if it is neither known nor equal to one before it in the list
        new = (_distances(products, known) > _SAME).all(1)
        earlier = (_distances(products, products) <= _SAME).tril(-1)
        new &= ~(earlier & new[None]).any(1)
        fresh = products[new]
        known = torch.cat([known, fresh])
        _check_limit(len(known), limit)
    return known


def check_table(table: Tensor) -> tuple[int, Tensor]:
    """Check that a table is that of a group.

    Associativity is checked with Light's test: ``(a s) b = a (s b)`` for all a, b and for a set of s that generates all
    elements, which takes n² instead of n³ comparisons for each.

    Args:
        table: ``[n, n]`` int64: entry (i, j) is the product of i and j.

    Returns:
        The identity and the inverses ``[n]``.

    Raises:
        ShapeError: It is not square, or an entry is no element.
        ConfigError: There is no identity, an element has no inverse, or the product is not associative.
    """
    if table.ndim != 2 or table.shape[0] != table.shape[1] or table.shape[0] < 1 or table.is_floating_point():
        raise ShapeError(f"A table of integers [n, n] is needed, given {table.dtype} {list(table.shape)}.")
    n = len(table)
    if bool(((table < 0) | (table >= n)).any()):
        raise ShapeError(f"The entries of a table of {n} elements are 0 to {n - 1}; it has other ones.")
    everything = torch.arange(n)
    units = ((table == everything).all(1) & (table == everything[:, None]).all(0)).nonzero().flatten()
    if len(units) != 1:
        raise ConfigError(f"This table of {n} elements has no identity: no row and column repeats the elements.")
    unit = int(units[0])
    is_unit = table == unit
    if not bool((is_unit.sum(1) == 1).all() and (is_unit.sum(0) == 1).all()):
        wrong = int((is_unit.sum(1) != 1).logical_or(is_unit.sum(0) != 1).nonzero()[0])
        raise ConfigError(f"Element {wrong} of this table of {n} has no inverse, or several: it is no group.")
    inverse = is_unit.int().argmax(1)
    for s in magma_generators(table, unit):
        found = (table[table[:, s]] != table[:, table[s]]).nonzero()
        if len(found):
            a, b = found[0].tolist()
            raise ConfigError(f"The product of this table is not associative: ({a}·{s})·{b} is not {a}·({s}·{b}).")
    return unit, inverse


def magma_generators(table: Tensor, unit: int) -> list[int]:
    """Return elements whose products in any order of brackets are all elements (the identity excepted)."""
    reached = torch.zeros(len(table), dtype=torch.bool)
    reached[unit] = True
    chosen: list[int] = []
    while not bool(reached.all()):
        s = int((~reached).int().argmax())
        chosen.append(s)
        reached[s] = True
        count = 0
        while count != int(reached.sum()):
            count = int(reached.sum())
            members = reached.nonzero().flatten()
            reached[table[members][:, chosen].flatten()] = True
            reached[table[chosen][:, members].flatten()] = True
    return chosen


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a.flatten(1), b.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")


def _check_limit(found: int, limit: int) -> None:
    if found > limit:
        raise ConfigError(
            f"The generators have more than {limit} products ({found} when listing stopped). If the group is meant to "
            f"be that large, raise limit; its table takes at least {8 * found**2 / 1e9:.3g} GB."
        )

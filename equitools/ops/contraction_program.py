"""The symmetric contraction as a program: shared products of features first, then a sum of terms in two levels.

Each output component z is a polynomial in the components of x. With the variables v = (x, 1, products of x's) it is

    out_z = Σ_groups v_outer · (Σ_terms c_term · v_leaf),

so that every monomial is an outer times a leaf, both of about half the degree. A monomial may be cut in many ways; the
builder cuts it so that few products and few groups serve many terms.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equitools.ops.symmetric_basis import monomial_counts, monomials

__all__ = ["ContractionProgram", "build_program", "terms_of_program"]

#: Entries smaller than this, relative to the largest of their basis, are zeros that rounding has left.
_ZERO = 1e-12
#: How often each cut is looked at again in the light of all others; a few times settle it.
_SWEEPS = 8
_HEADER = 8

_Monomial = tuple[int, ...]


@dataclass(frozen=True)
class ContractionProgram:
    """The tables that the kernels read.

    Attributes:
        code: int32, one after the other: the header ``dim_in, dim_out, paths, terms, products, groups, 0, 0``; for each
            term its first path and its number of paths; for each product its two variables; for each output the end of
            its groups; for each group its outer variable and the end of its terms; for each term its leaf; then once
            more by variables: for each variable the end of its uses, for each use its term and group. Variables are
            numbered x, the constant 1 (``dim_in``), products (their factors come before them).
        values: float64: for each term its factor for each of its paths, one after the other.
    """

    code: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class _Term:
    output: int
    monomial: _Monomial
    first_path: int
    factors: np.ndarray


def build_program(dim_in: int, blocks: Sequence[Sequence[np.ndarray]]) -> ContractionProgram:
    """Build the program of a symmetric contraction.

    Args:
        dim_in: Number of components of x.
        blocks: ``blocks[k][ν-1]``: entries of block k at ascending indices, ``[paths, 2l+1, monomials(dim_in, ν)]``.

    Returns:
        The program. The paths are numbered through, blocks outermost.
    """
    terms, paths, dim_out = _nonzero_terms(dim_in, blocks)
    cuts = _cut([(t.output, t.monomial) for t in terms], max((len(row) for row in blocks), default=1))
    products = _closed({part for cut in cuts for part in cut if len(part) > 1})
    number: dict[_Monomial, int] = {(): dim_in} | {(i,): i for i in range(dim_in)}
    number |= {monomial: dim_in + 1 + k for k, monomial in enumerate(products)}
    # Terms in the order of (output, outer, leaf); a group is a run of one output and outer.
    rows = sorted((t.output, number[outer], number[leaf], k) for k, (t, (outer, leaf)) in enumerate(zip(terms, cuts)))
    group_of: list[int] = []
    groups: list[tuple[int, int, int]] = []  # output, outer, end of its terms
    for position, (output, outer, _, _) in enumerate(rows, 1):
        if groups and groups[-1][:2] == (output, outer):
            groups.pop()
        groups.append((output, outer, position))
        group_of.append(len(groups) - 1)
    uses = sorted((leaf, position) for position, (_, _, leaf, _) in enumerate(rows))
    per_output, per_leaf = Counter(g[0] for g in groups), Counter(leaf for leaf, _ in uses)
    ordered = [terms[k] for *_, k in rows]
    code = [dim_in, dim_out, paths, len(terms), len(products), len(groups), 0, 0]
    code += [n for t in ordered for n in (t.first_path, len(t.factors))]
    code += [number[part] for monomial in products for part in _factors(monomial)]
    code += itertools.accumulate(per_output[z] for z in range(dim_out))
    code += [n for _, outer, end in groups for n in (outer, end)]
    code += [leaf for _, _, leaf, _ in rows]
    code += itertools.accumulate(per_leaf[v] for v in range(dim_in + 1 + len(products)))
    code += [n for _, position in uses for n in (position, group_of[position])]
    values = np.concatenate([t.factors for t in ordered]) if ordered else np.zeros(0)
    return ContractionProgram(np.array(code, dtype=np.int32), values)


def _nonzero_terms(dim_in: int, blocks: Sequence[Sequence[np.ndarray]]) -> tuple[list[_Term], int, int]:
    """Return the terms of all outputs, the number of paths and the number of outputs."""
    terms: list[_Term] = []
    path, output = 0, 0
    for row in blocks:
        for nu, entries in enumerate(row, 1):
            if len(entries):
                weights = entries * monomial_counts(dim_in, nu)
                largest = np.abs(weights).max(0)
                names = [tuple(m) for m in monomials(dim_in, nu).tolist()]
                for z, t in zip(*np.nonzero(largest > _ZERO * largest.max()), strict=True):
                    terms.append(_Term(output + int(z), names[t], path, weights[:, z, t]))
            path += len(entries)
        output += row[0].shape[1]
    return terms, path, output


def _cut(terms: Sequence[tuple[int, _Monomial]], degree: int) -> list[tuple[_Monomial, _Monomial]]:
    """Cut each monomial into an outer and a leaf.

    A cut costs what its group and its products cost more than without it; the square root of the number of users is
    taken for the cost, so that what has many users attracts more of them.
    """
    low, high = degree // 2, (degree + 1) // 2
    options = {monomial: _cuts(monomial, low, high) for _, monomial in terms}
    price = [(n + 1) ** 0.5 - n**0.5 for n in range(2 * len(terms) + 1)]
    groups: Counter[tuple[int, _Monomial]] = Counter()
    products: Counter[_Monomial] = Counter()
    chosen: list[tuple[_Monomial, _Monomial]] = []
    for sweep in range(_SWEEPS):
        before = list(chosen)
        for t, (z, monomial) in enumerate(terms):
            if sweep:
                outer, leaf = chosen[t]
                groups[z, outer] -= 1
                products[outer] -= 1
                products[leaf] -= 1
            best = min(
                options[monomial],
                key=lambda cut: price[groups[z, cut[0]]] + sum(price[products[part]] for part in cut if len(part) > 1),
            )
            groups[z, best[0]] += 1
            products[best[0]] += 1
            products[best[1]] += 1
            chosen[t : t + 1] = [best]  # appends in the first sweep
        if chosen == before:
            break
    return chosen


def _cuts(monomial: _Monomial, low: int, high: int) -> list[tuple[_Monomial, _Monomial]]:
    """All ways to cut a monomial into an outer of at most ``low`` factors and a leaf of at most ``high``."""
    found = set()
    for size in range(max(0, len(monomial) - high), min(low, len(monomial)) + 1):
        for chosen in itertools.combinations(range(len(monomial)), size):
            outer = tuple(monomial[i] for i in chosen)
            found.add((outer, tuple(v for i, v in enumerate(monomial) if i not in chosen)))
    return sorted(found)


def _factors(monomial: _Monomial) -> tuple[_Monomial, _Monomial]:
    return monomial[:-1], monomial[-1:]


def _closed(products: set[_Monomial]) -> list[_Monomial]:
    """Add the products that products are made from; by degree and first factor, so that runs share the first factor."""
    for monomial in list(products):
        products |= {monomial[:n] for n in range(2, len(monomial))}
    return sorted(products, key=lambda monomial: (len(monomial), monomial))


def terms_of_program(code: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a program back as plain lists of terms.

    Args:
        code: `ContractionProgram.code`.

    Returns:
        For each term its output ``[terms]``, its variables ``[terms, most factors]`` (``dim_in`` where it has fewer
        factors), and its first path and number of paths ``[terms, 2]``.
    """
    one, dim_out, _, terms, products, groups = code[:6].tolist()
    sizes = [2 * terms, 2 * products, dim_out, 2 * groups, terms]
    ranges, factors, outputs, group_table, leaves, _ = np.split(code[_HEADER:], np.cumsum(sizes))
    monomial: list[list[int]] = [[i] for i in range(one)] + [[]]
    for a, b in factors.reshape(products, 2).tolist():
        monomial.append(monomial[a] + monomial[b])
    ends = group_table.reshape(groups, 2)
    group = np.repeat(np.arange(groups), np.diff(ends[:, 1], prepend=0))
    output = np.repeat(np.arange(dim_out), np.diff(outputs, prepend=0))[group]
    names = [monomial[o] + monomial[v] for o, v in zip(ends[group, 0].tolist(), leaves.tolist(), strict=True)]
    width = max((len(name) for name in names), default=0)
    variables = [(name + [one] * width)[:width] for name in names]
    return output, np.array(variables, dtype=np.int64).reshape(terms, width), ranges.reshape(terms, 2)

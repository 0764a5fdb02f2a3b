"""Numbers of the diagram layers: which components are summed into which, for the contraction and the expansion.

All diagrams that pass the same number of lines share the space in between (a *class*). Each distinct contraction is
computed once, and its lines are sorted by the irreps of their permutations: there, mixing channels and permuting lines
is one small matrix for each irrep (a *block*), the sum over all diagrams of the class.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import Any

import numpy as np

from equitools.errors import UnknownNameError, nearest
from equitools.groups.diagrams import (
    Diagram,
    hom_dimension,
    independent_set,
    number_of_diagrams,
    spanning_set,
    transpose,
)
from equitools.groups.diagrams.algebra import permutation_sign
from equitools.groups.diagrams.factorisation import FactoredDiagram, factor_diagram
from equitools.groups.diagrams.matrices import diagram_entries
from equitools.groups.diagrams.young import symmetry_components, young_orthogonal
from equitools.ops.tracing import constant_when_traced

__all__ = [
    "BASES",
    "Block",
    "DiagramSpace",
    "Layout",
    "block_sizes",
    "dense_tables",
    "diagrams_of",
    "entry_number",
    "layout",
    "norms",
    "operations",
    "predicted_entries",
    "tables",
]

#: Which diagrams a layer has.
BASES = ("spanning", "independent")

Entries = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class DiagramSpace:
    """Which equivariant maps are meant. Hashable: tables are kept for each.

    Args:
        group: ``"S"``, ``"A"``, ``"O"``, ``"SO"`` or ``"Sp"``.
        n: Dimension of the space.
        k: Number of axes of the input.
        l: Number of axes of the output.
        basis: ``"spanning"``: all diagrams; ``"independent"``: a basis of them.

    Raises:
        UnknownNameError: There is no such group or basis.
        ConfigError: A size is wrong.
    """

    group: str
    n: int
    k: int
    l: int
    basis: str = "spanning"
    #: Number of diagrams.
    size: int = dataclasses.field(init=False, compare=False)

    def __post_init__(self) -> None:
        number = number_of_diagrams(self.group, self.n, self.k, self.l)
        if self.basis not in BASES:
            raise UnknownNameError(f"There is no basis {self.basis!r} of diagrams. {nearest(str(self.basis), BASES)}")
        if self.basis == "independent":
            number = hom_dimension(self.group, self.n, self.k, self.l)
        object.__setattr__(self, "size", number)

    @property
    def key(self) -> tuple[str, int, int, int, str]:
        """What makes it, as a tuple: a compiler takes it for a constant."""
        return self.group, self.n, self.k, self.l, self.basis

    @property
    def symplectic(self) -> bool:
        """Whether pairs in one row stand for J."""
        return self.group == "Sp"


@dataclasses.dataclass(frozen=True)
class Block:
    """One irrep of a class: a matrix product for each of so many components.

    Attributes:
        components: Number of components: how often the irrep occurs, times the choices of open legs.
        inputs: Rows of one component that are contracted: contractions times the dimension of the irrep.
        outputs: Rows of one component that come out.
        start_in: First row of the contracted input.
        start_out: First row of what is expanded.
        start_weight: First row of the mixed weights: outputs × inputs of them.
    """

    components: int
    inputs: int
    outputs: int
    start_in: int
    start_out: int
    start_weight: int


@dataclasses.dataclass(frozen=True)
class Layout:
    """The blocks, and how many rows and entries the tables have.

    Attributes:
        blocks: All of them.
        rows_in: Rows of the contracted input.
        rows_out: Rows that are expanded.
        entries_in: Entries of the contraction's table.
        entries_out: Entries of the expansion's table.
    """

    blocks: tuple[Block, ...]
    rows_in: int
    rows_out: int
    entries_in: int
    entries_out: int


@functools.lru_cache(maxsize=64)
def diagrams_of(space: DiagramSpace) -> tuple[Diagram, ...]:
    """Return the diagrams of a space, in the order of their weights."""
    choose = spanning_set if space.basis == "spanning" else independent_set
    return tuple(choose(space.group, space.n, space.k, space.l))


def entry_number(diagram: Diagram, n: int) -> int:
    """Return the number of entries of a diagram's matrix that are not zero, all 1 or −1."""
    return n ** (len(diagram.blocks) - len(diagram.head)) * (math.factorial(n) if diagram.legs else 1)


def norms(space: DiagramSpace) -> np.ndarray:
    """Return the Frobenius norms of the diagrams' matrices."""
    return np.array([math.sqrt(entry_number(diagram, space.n)) for diagram in diagrams_of(space)])


@dataclasses.dataclass
class _Class:
    """Diagrams with the same space in between: their distinct halves, and which diagram joins which of them."""

    contractions: dict[Diagram, int]
    expansions: dict[Diagram, int]
    joined: list[tuple[int, int, int, FactoredDiagram]]


def classes(space: DiagramSpace) -> dict[tuple[int, int, bool, bool, bool], _Class]:
    """Sort the diagrams by the space in between their halves.

    Args:
        space: Which diagrams.
    """
    found: dict[tuple[int, int, bool, bool, bool], _Class] = {}
    for number, diagram in enumerate(diagrams_of(space)):
        factored = factor_diagram(diagram)
        here = found.setdefault(factored.kind, _Class({}, {}, []))
        p = here.contractions.setdefault(factored.contraction, len(here.contractions))
        r = here.expansions.setdefault(factored.expansion, len(here.expansions))
        here.joined.append((number, p, r, factored))
    return found


def predicted_entries(space: DiagramSpace) -> int:
    """Return a bound on the entries of the tables, from the diagrams alone.

    Args:
        space: Which diagrams.
    """
    total = 0
    for kind, here in classes(space).items():
        for half in (*here.contractions, *here.expansions):
            total += entry_number(half, space.n) * min(math.factorial(kind[0]), space.n ** kind[0])
    return total


def _legs(n: int, s: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each tuple of s indices the number of the set that they are (−1: two are equal), sign, and sorted."""
    number = np.full(n**s, -1, dtype=np.int64)
    sign, ascending = np.zeros(n**s), np.zeros(n**s, dtype=bool)
    for e, chosen in enumerate(itertools.combinations(range(n), s)):
        for order in itertools.permutations(chosen):
            place = functools.reduce(lambda total, index: total * n + index, order, 0)
            number[place], sign[place], ascending[place] = e, permutation_sign(order), order == chosen
    return number, sign, ascending


def _half(diagram: Diagram, space: DiagramSpace, open_legs: int, whole: bool) -> Entries:
    """Return one half of a diagram as entries: the lines, then (set of legs, index of the other row), and values.

    Args:
        diagram: A contraction, or a transposed expansion: in its top row are the lines and the open legs.
        space: Which maps.
        open_legs: s.
        whole: Whether all orders of the legs are summed, with their signs; else only the ascending one is taken.
    """
    n = space.n
    rows, columns, values = diagram_entries(diagram, n, space.symplectic)
    if open_legs:
        number, sign, ascending = _legs(n, open_legs)
        legs = rows % n**open_legs
        kept = (number[legs] >= 0) & (whole | ascending[legs])
        rows, columns, values, legs = rows[kept], columns[kept], values[kept], legs[kept]
        rows = rows // n**open_legs
        columns, values = number[legs] * n**diagram.bottom + columns, values * sign[legs]
    return rows, columns, values


def _product(left: Entries, right: Entries) -> Entries:
    """Multiply two sparse matrices."""
    order = np.argsort(right[0], kind="stable")
    rows, columns, values = (part[order] for part in right)
    first, last = (np.searchsorted(rows, left[1], side) for side in ("left", "right"))
    each = np.repeat(np.arange(len(first)), last - first)
    at = np.arange(len(each)) - np.repeat(np.cumsum(last - first) - (last - first), last - first) + first[each]
    width = int(columns.max(initial=0)) + 1
    keys, inverse = np.unique(left[0][each] * width + columns[at], return_inverse=True)
    return keys // width, keys % width, np.bincount(inverse, left[2][each] * values[at], len(keys))


def _sorted_half(halves: list[Diagram], space: DiagramSpace, lines: int, open_legs: int, distinct: bool,
                 whole: bool) -> list[Entries]:  # fmt: skip
    """Return for each irrep of the lines' permutations the rows (component, half, a) of all halves."""
    n, width, sets = space.n, space.n ** halves[0].bottom, math.comb(space.n, open_legs)
    matrices = [_half(half, space, open_legs, whole) for half in halves]
    found = []
    for shape, _, basis in symmetry_components(lines, n, distinct):
        size = next(iter(young_orthogonal(shape).values())).shape[0]
        parts = []
        for number, matrix in enumerate(matrices):
            rows, columns, values = _product(basis, matrix)
            component = (rows // size) * sets + columns // width
            parts.append(((component * len(halves) + number) * size + rows % size, columns % width, values))
        found.append(_joined(parts))
    return found


@functools.lru_cache(maxsize=32)
def _made(space: DiagramSpace) -> tuple[Layout, tuple[Entries, Entries, Entries]]:
    """Return the layout, and the entries of the contraction, of the mixing of weights and of the expansion."""
    blocks: list[Block] = []
    contraction: list[Entries] = []
    mixing: list[Entries] = []
    expansion: list[Entries] = []
    start_in = start_out = start_weight = 0
    for (lines, open_legs, _, distinct, _), here in classes(space).items():
        expansions = [transpose(half) for half in here.expansions]
        halves_in = _sorted_half(list(here.contractions), space, lines, open_legs, distinct, False)
        halves_out = _sorted_half(expansions, space, lines, open_legs, distinct, True)
        irreps = symmetry_components(lines, space.n, distinct)
        for (shape, times, _), (rows, columns, values), out in zip(irreps, halves_in, halves_out, strict=True):
            matrices = young_orthogonal(shape)
            size = next(iter(matrices.values())).shape[0]
            components = times * math.comb(space.n, open_legs)
            inputs, outputs = len(here.contractions) * size, len(here.expansions) * size
            blocks.append(Block(components, inputs, outputs, start_in, start_out, start_weight))
            contraction.append((rows + start_in, columns, values))
            expansion.append((out[1], out[0] + start_out, out[2]))
            a, b = np.indices((size, size)).reshape(2, -1)
            for number, p, r, factored in here.joined:
                row = (r * size + a) * inputs + p * size + b
                weight = factored.sign * matrices[factored.permutation].ravel()
                mixing.append((row + start_weight, np.full(len(row), number), weight))
            start_in += components * inputs
            start_out += components * outputs
            start_weight += inputs * outputs
    made = tuple(_joined(parts) for parts in (contraction, mixing, expansion))
    return Layout(tuple(blocks), start_in, start_out, len(made[0][0]), len(made[2][0])), made  # type: ignore[return-value]


def _joined(parts: list[Entries]) -> Entries:
    """Return entries of all parts, by rows; those that are zero are left out."""
    if not parts:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
    rows, columns, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    kept = np.abs(values) > 1e-12
    return rows[kept], columns[kept], values[kept]


def layout(space: DiagramSpace) -> Layout:
    """Return the blocks of a space.

    Args:
        space: Which maps.
    """
    return _made(space)[0]


@constant_when_traced
def block_sizes(key: tuple[str, int, int, int, str]) -> tuple[tuple[int, ...], ...]:
    """Return of each block what `Block` holds, in its order.

    Args:
        key: That of a `DiagramSpace`.
    """
    return tuple(map(dataclasses.astuple, layout(DiagramSpace(*key)).blocks))


def operations(space: DiagramSpace, in_channels: int = 1, out_channels: int = 1) -> dict[str, int]:
    """Return how many multiplications (each with an addition) a layer takes for one input, counted from its tables.

    Args:
        space: Which maps.
        in_channels: Channels of the input.
        out_channels: Channels of the output.

    Returns:
        Those of the contraction, of the mixing of channels and of the expansion, and those of the whole matrix as
        ``"dense"``.
    """
    made = layout(space)
    return {
        "contraction": made.entries_in * in_channels,
        "mixing": sum(b.components * b.inputs * b.outputs for b in made.blocks) * in_channels * out_channels,
        "expansion": made.entries_out * out_channels,
        "dense": space.n ** (space.k + space.l) * in_channels * out_channels,
    }


def _bags(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, number: int) -> tuple[np.ndarray, ...]:
    """Return where the entries of each row begin, their columns and their values."""
    order = np.argsort(rows * (columns.max(initial=0) + 1) + columns, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=number))]).astype(np.int64)
    return starts, columns[order].astype(np.int64), values[order]


def tables(*key: Any) -> tuple[np.ndarray, ...]:
    """Return six tables of three arrays: contraction, mixing and expansion, each followed by its transpose; and blocks.

    The last array has a row for each `Block`, with what it holds.

    Args:
        key: That of a `DiagramSpace`.
    """
    space = DiagramSpace(*key)
    made, (contraction, mixing, expansion) = _made(space)
    weights = sum(block.inputs * block.outputs for block in made.blocks)
    found: list[np.ndarray] = []
    for (rows, columns, values), number, others in (
        (contraction, made.rows_in, space.n**space.k),
        (mixing, weights, space.size),
        (expansion, space.n**space.l, made.rows_out),
    ):
        found += [*_bags(rows, columns, values, number), *_bags(columns, rows, values, others)]
    blocks = np.array([dataclasses.astuple(block) for block in made.blocks], dtype=np.int64)
    return *found, blocks.reshape(-1, 6)


def dense_tables(*key: Any) -> tuple[np.ndarray, ...]:
    """Return the diagrams' matrices as a table from diagrams to entries (output, input), and its transpose.

    Args:
        key: That of a `DiagramSpace`.
    """
    space = DiagramSpace(*key)
    width = space.n**space.k
    parts = []
    for number, diagram in enumerate(diagrams_of(space)):
        rows, columns, values = diagram_entries(diagram, space.n, space.symplectic)
        parts.append((rows * width + columns, np.full(len(rows), number), values))
    rows, columns, values = _joined(parts)
    entries = space.n ** (space.k + space.l)
    return *_bags(rows, columns, values, entries), *_bags(columns, rows, values, space.size)

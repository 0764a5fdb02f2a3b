"""Each diagram as contraction, permutation of the lines that pass, and expansion."""

from __future__ import annotations

import dataclasses

from equitools.errors import ConfigError
from equitools.groups.diagrams.algebra import permutation_sign
from equitools.groups.diagrams.diagram import Diagram

__all__ = ["FactoredDiagram", "factor_diagram"]


@dataclasses.dataclass(frozen=True)
class FactoredDiagram:
    """A diagram as sign · expansion ∘ permutation ∘ contraction.

    Between the two halves there are q axes of *lines*, which pass from the bottom row to the top row, and s axes of
    *legs*, those of the head that hold something of the top row only; in them the tensor in between is antisymmetric.

    Attributes:
        contraction: From the bottom row to q lines, in the order in which their blocks begin in the bottom row, and s
            legs. It has the head.
        expansion: From q lines, in the order of the top row, and s legs to the top row; without a head.
        permutation: Line j of the contraction is line ``permutation[j]`` of the expansion.
        lines: q.
        open_legs: s.
        sign: 1 or −1.
    """

    contraction: Diagram
    expansion: Diagram
    permutation: tuple[int, ...]
    lines: int
    open_legs: int
    sign: int

    @property
    def kind(self) -> tuple[int, int, bool, bool, bool]:
        """What diagrams with one space in between share: q, s, a head, that it holds the lines, and a loose leg."""
        head = self.contraction.legs > 0
        held = head and any(
            self.contraction.parts(b)[0] and self.contraction.parts(b)[1] for b in self.contraction.head
        )
        return self.lines, self.open_legs, head, held, self.contraction.loose


def factor_diagram(diagram: Diagram) -> FactoredDiagram:
    """Take a diagram apart.

    Args:
        diagram: Any without a head; with one, its legs hold all blocks (a jellyfish) or none that passes (SO).

    Raises:
        ConfigError: The head holds some of the blocks that pass, but not all.

    Properties:
        factors_make_the_diagram: the product of the three matrices, times the sign, is the diagram's.

    Source: E. Pearce-Crump, arXiv 2304.14165, section 5, of which this is the version without planar order: here the
        permutations of the axes are parts of the contraction and the expansion.
    """
    parts = [diagram.parts(b) for b in range(len(diagram.blocks))]
    passing = [b for b, (top, bottom) in enumerate(parts) if top and bottom]
    held = [b for b in passing if b in diagram.head]
    if held and len(held) < len(passing):
        raise ConfigError(f"Only heads that hold all of the passing blocks or none can be factored, not {diagram}.")
    above = [b for b, (_, bottom) in enumerate(parts) if not bottom]
    below = [b for b, (top, _) in enumerate(parts) if not top]
    entering = sorted(passing, key=lambda b: parts[b][1])
    leaving = sorted(passing, key=lambda b: parts[b][0])
    opened = [b for b in above if b in diagram.head]
    q, s = len(passing), len(opened)
    # The contraction: lines, then open legs, then the blocks of the bottom row alone.
    blocks = [(j, *(q + s + p for p in parts[b][1])) for j, b in enumerate(entering)]
    blocks += [(q + i,) for i in range(s)] + [tuple(q + s + p for p in parts[b][1]) for b in below]
    # The head's legs in one order for all diagrams of a kind: open ones, lines, bottom row, loose.
    order = [*opened, *[b for b in entering if b in diagram.head], *[b for b in below if b in diagram.head]]
    numbers = {b: i for i, b in enumerate([*entering, *opened, *below])}
    contraction = Diagram(q + s, diagram.bottom, tuple(blocks), tuple(numbers[b] for b in order), diagram.loose)
    top = [(*parts[b][0], diagram.top + j) for j, b in enumerate(leaving)]
    top += [(*parts[b][0], diagram.top + q + i) for i, b in enumerate(opened)]
    top += [parts[b][0] for b in above if b not in diagram.head]
    return FactoredDiagram(
        contraction,
        Diagram(diagram.top, q + s, tuple(top)),
        tuple(leaving.index(b) for b in entering),
        q,
        s,
        permutation_sign([order.index(b) for b in diagram.head]),
    )

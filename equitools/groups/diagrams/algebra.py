"""Diagrams as a category: one after the other, side by side, turned over. The same as products of their matrices."""

from __future__ import annotations

from collections.abc import Sequence

from equitools.errors import ConfigError
from equitools.groups.diagrams.diagram import Diagram

__all__ = ["compose", "identity", "permutation_sign", "tensor", "transpose"]


def permutation_sign(order: Sequence[int]) -> int:
    """Return the sign of the permutation that puts different numbers into ascending order."""
    return -1 if sum(a > b for i, a in enumerate(order) for b in order[i + 1 :]) % 2 else 1


def identity(k: int) -> Diagram:
    """Return the diagram of the identity of (ℝⁿ)^{⊗k}."""
    return Diagram(k, k, tuple((i, k + i) for i in range(k)))


def transpose(diagram: Diagram) -> Diagram:
    """Return the diagram of the transposed matrix: the two rows change places.

    For Sp the pairs keep their direction, as those of the matrix do.

    Properties:
        transposition: its matrix is the transpose.
    """
    place = [p + diagram.bottom if p < diagram.top else p - diagram.top for p in range(diagram.top + diagram.bottom)]
    blocks = tuple(tuple(place[p] for p in block) for block in diagram.blocks)
    return Diagram(diagram.bottom, diagram.top, blocks, diagram.head, diagram.loose)


def tensor(left: Diagram, right: Diagram) -> Diagram:
    """Return the diagram of the Kronecker product: the second stands at the right of the first.

    Raises:
        ConfigError: Both have a head: that is no single diagram.

    Properties:
        tensor_is_kronecker: its matrix is the Kronecker product.
    """
    if left.legs and right.legs:
        raise ConfigError("The product of two diagrams with a head is a sum of many; only one may have a head.")
    top, bottom = left.top + right.top, left.bottom + right.bottom

    def moved(block: tuple[int, ...], side: Diagram, above: int, below: int) -> tuple[int, ...]:
        return tuple(p + above if p < side.top else p - side.top + top + below for p in block)

    blocks = [moved(block, left, 0, 0) for block in left.blocks]
    blocks += [moved(block, right, left.top, left.bottom) for block in right.blocks]
    head = left.head if left.legs else tuple(b + len(left.blocks) for b in right.head)
    return Diagram(top, bottom, tuple(blocks), head, left.loose or right.loose)


def compose(upper: Diagram, lower: Diagram, n: int, symplectic: bool = False) -> tuple[int, Diagram | None]:
    """Return the product of two diagrams' matrices as a number times a diagram: the first stands upon the second.

    Parts that are left in the middle row, without a point outside, become factors n (for Sp: n or −n).

    Args:
        upper: The diagram that is applied last.
        lower: The one that is applied first; its top row is the other's bottom row.
        n: Dimension of the space.
        symplectic: Whether pairs in one row stand for J (Sp).

    Returns:
        The number and the diagram; 0 and ``None`` where two legs of the head meet.

    Raises:
        ConfigError: The rows do not fit together, or both have a head.

    Properties:
        composition: the matrix of the product is the product of the matrices.
    """
    if upper.bottom != lower.top:
        raise ConfigError(
            f"A diagram with {lower.top} points in its top row does not fit under one with {upper.bottom} in its "
            f"bottom row."
        )
    if upper.legs and lower.legs:
        raise ConfigError("The product of two diagrams with a head is a sum of many; only one may have a head.")
    if symplectic:
        return _compose_symplectic(upper, lower, n)
    middle = upper.bottom
    # Points: the upper diagram's as they are, so that the middle row follows its top row, then the lower's bottom row.
    nodes = [set(block) for block in upper.blocks] + [{p + upper.top for p in block} for block in lower.blocks]
    held = [*upper.head] if upper.legs else [b + len(upper.blocks) for b in lower.head]
    legs: list[set[int]] = [nodes[b] for b in held]
    joined: list[set[int]] = []
    for node in nodes:
        touching = [other for other in joined if other & node]
        joined = [other for other in joined if not other & node] + [node.union(*touching)]
    factor, blocks, head = 1, [], []
    loose = int(upper.loose or lower.loose)
    for component in joined:
        outside = tuple(p if p < upper.top else p - middle for p in component if not 0 <= p - upper.top < middle)
        held_here = [i for i, leg in enumerate(legs) if leg <= component]
        if len(held_here) > 1:
            return 0, None
        if outside:
            blocks.append(outside)
            head += [(held_here[0], len(blocks) - 1)] if held_here else []
        elif held_here:
            loose += 1  # a leg that ends in the middle row is summed over
            head.append((held_here[0], -1))
        else:
            factor *= n
    if loose > 1:
        return 0, None
    head.sort()
    order = [block for _, block in head]
    if -1 in order:  # the loose leg goes to the end
        factor *= (-1) ** (len(order) - 1 - order.index(-1))
        order.remove(-1)
    return factor, Diagram(upper.top, lower.bottom, tuple(blocks), tuple(order), bool(loose))


def _compose_symplectic(upper: Diagram, lower: Diagram, n: int) -> tuple[int, Diagram]:
    """Follow the lines: a pair in one row is J from its first to its second point, −J backwards; J² = −1."""
    top, middle = upper.top, upper.bottom
    # Line ends at each node: (where the line goes, sign, whether it is a J).
    ends: dict[tuple[int, int], tuple[int, int, bool]] = {}
    for side, diagram, shift in ((0, upper, 0), (1, lower, top)):
        for a, b in diagram.blocks:
            bent = (a < diagram.top) == (b < diagram.top)
            ends[side, a + shift] = (b + shift, 1, bent)
            ends[side, b + shift] = (a + shift, -1 if bent else 1, bent)
    seen: set[int] = set()
    factor, pairs = 1, []

    def follow(start: int, side: int) -> tuple[int, int, int]:
        """Return the end of the path, its sign and its number of Js; a loop ends where it has begun."""
        point, sign, bends = start, 1, 0
        while True:
            seen.add(point)
            point, turn, bent = ends[side, point]
            seen.add(point)
            sign, bends, side = sign * turn, bends + bent, 1 - side
            if point == start or not 0 <= point - top < middle:
                return point, sign, bends

    outer = [*range(top), *range(top + middle, top + middle + lower.bottom)]
    for start in outer:
        if start in seen:
            continue
        end, sign, bends = follow(start, 0 if start < top else 1)
        factor *= sign * (-1) ** (bends // 2)
        pairs.append(tuple(p if p < top else p - middle for p in (start, end)))
    for start in range(top, top + middle):
        if start not in seen:
            _, sign, bends = follow(start, 0)
            factor *= n * sign * (-1) ** (bends // 2)
    return factor, Diagram(top, lower.bottom, tuple(pairs))

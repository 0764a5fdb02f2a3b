"""A diagram: points in two rows, joined to blocks, and perhaps a Levi-Civita tensor that some blocks hang on."""

from __future__ import annotations

import dataclasses

from equitools.errors import ConfigError

__all__ = ["Diagram"]


@dataclasses.dataclass(frozen=True)
class Diagram:
    """Points in two rows that are joined to blocks: the picture of a map (ℝⁿ)^{⊗bottom} → (ℝⁿ)^{⊗top}.

    The points of the top row (axes of the output) have the numbers 0 … top − 1, those of the bottom row (axes of the
    input) follow. All axes of one block have the same index. A block of the bottom row contracts the input, a block of
    both rows transfers an axis, a block of the top row makes one.

    A diagram can have a *head*: a Levi-Civita tensor ε with n legs. Each leg holds a block, whose index is that of the
    leg; one leg may hang loose, and is summed over. In an (l+k)∖n diagram of SO(n) the legs hold single points and the
    other points are paired; in a jellyfish of A_n they hold all blocks.

    Args:
        top: Number of points in the top row.
        bottom: Number of points in the bottom row.
        blocks: The points of each block. They are put into ascending order, blocks by their first points.
        head: The blocks that the legs hold, as their numbers in that order.
        loose: Whether a last leg holds no block.

    Raises:
        ConfigError: The blocks do not hold each point once, or the head holds a block twice or one that is not there.
    """

    top: int
    bottom: int
    blocks: tuple[tuple[int, ...], ...]
    head: tuple[int, ...] = ()
    loose: bool = False

    def __post_init__(self) -> None:
        held = [self.blocks[b] if 0 <= b < len(self.blocks) else None for b in self.head]
        blocks = tuple(sorted(tuple(sorted(block)) for block in self.blocks))
        if sorted(p for block in blocks for p in block) != list(range(self.top + self.bottom)) or () in blocks:
            raise ConfigError(
                f"The blocks of a diagram must hold each of its {self.top} + {self.bottom} points once, given {blocks}."
            )
        if None in held or len(set(self.head)) < len(self.head):
            raise ConfigError(f"The head must hold different ones of the {len(blocks)} blocks, given {self.head}.")
        object.__setattr__(self, "blocks", blocks)
        object.__setattr__(self, "head", tuple(blocks.index(tuple(sorted(b))) for b in held if b is not None))

    @property
    def legs(self) -> int:
        """Number of legs of the head; 0: there is none."""
        return len(self.head) + self.loose

    @property
    def matching(self) -> bool:
        """Whether all blocks are pairs."""
        return all(len(block) == 2 for block in self.blocks)

    def parts(self, block: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return a block's points in the top row and in the bottom row, each counted from its row's left end.

        Args:
            block: Its number.
        """
        points = self.blocks[block]
        return tuple(p for p in points if p < self.top), tuple(p - self.top for p in points if p >= self.top)

    def __str__(self) -> str:
        names = [f"{p + 1}'" if p < self.top else str(p - self.top + 1) for p in range(self.top + self.bottom)]
        words = [" ".join(names[p] for p in block) for block in self.blocks]
        head = f" ε({', '.join([*(words[b] for b in self.head), *('·' * self.loose)])})" if self.legs else ""
        return "{" + " | ".join(words) + "}" + head

"""How permutations of the nodes act on what belongs to nodes and to pairs of nodes."""

from __future__ import annotations

from torch import Tensor

from equitools.errors import ShapeError

__all__ = ["act_on_edges", "act_on_nodes"]


def act_on_nodes(elements: Tensor, value: Tensor) -> Tensor:
    """Renumber what belongs to nodes.

    Args:
        elements: ``[B, n, n]`` permutation matrices; node k moves to where column k has its 1.
        value: ``[B, n, ...]`` of any dtype (a mask as well); a floating-point value is differentiable.

    Returns:
        ``[B, n, ...]``.

    Raises:
        ShapeError: The two do not fit together.

    Properties:
        action: act(g h, x) = act(g, act(h, x)).
    """
    _check(elements, value, 1)
    source = _source(elements)
    return value.gather(1, source.reshape(*source.shape, *[1] * (value.ndim - 2)).expand_as(value))


def act_on_edges(elements: Tensor, value: Tensor) -> Tensor:
    """Renumber what belongs to pairs of nodes, as an adjacency matrix does: ``g A gᵀ``.

    Args:
        elements: ``[B, n, n]`` permutation matrices.
        value: ``[B, n, n, ...]`` of any dtype.

    Returns:
        ``[B, n, n, ...]``.

    Raises:
        ShapeError: The two do not fit together.

    Properties:
        action: act(g h, x) = act(g, act(h, x)).
    """
    _check(elements, value, 2)
    rows = act_on_nodes(elements, value).transpose(1, 2)
    return act_on_nodes(elements, rows).transpose(1, 2)


def _source(elements: Tensor) -> Tensor:
    """Return the old number ``[B, n]`` of the node that now has number i: where row i has its 1."""
    return elements.argmax(-1) if elements.shape[-1] else elements.sum(-1).long()


def _check(elements: Tensor, value: Tensor, axes: int) -> None:
    if elements.ndim != 3 or elements.shape[1] != elements.shape[2]:
        raise ShapeError(f"Permutations must be [B, n, n], given {list(elements.shape)}.")
    wanted = (len(elements), *[elements.shape[1]] * axes)
    if tuple(value.shape[: axes + 1]) != wanted:
        names = "nodes" if axes == 1 else "edges"
        raise ShapeError(f"{names!r} must be {[*wanted, '...']} for these permutations, given {list(value.shape)}.")

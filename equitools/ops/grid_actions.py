"""Turns and reflections of grids that move every pixel exactly onto another one.

A grid's axes are its coordinates: the first axis is x, the second y, the third z. An element is a signed permutation
matrix g, and it acts on functions by ``(g f)(x) = f(g⁻¹ x)``. What x is measured from is told by ``centre``:

* ``"grid"``: the middle of the grid. A side of N pixels has the coordinates −(N−1)/2 … (N−1)/2, and a reflection takes
  pixel i to N − 1 − i. For even N the centre lies between pixels. The quarter turn is ``torch.rot90``.
* ``"origin"``: pixel 0 of a periodic grid. A reflection takes pixel i to −i modulo N. For even N pixel N/2 stays, too.

The two differ by a shift of one pixel along each reflected axis. What is equivariant to the one, and to shifts of a
periodic grid, is equivariant to the other; a field at the pixels i/N of a torus, say cos 2πx, is even about the origin
and not about the middle of the grid.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError

__all__ = ["Centre", "grid_index", "permute_pixels"]

Centre = Literal["grid", "origin"]


def permute_pixels(g: Tensor, images: Tensor, centre: Centre = "grid") -> Tensor:
    """Turn or reflect images, exactly.

    Args:
        g: A signed permutation matrix ``[d, d]``.
        images: ``[..., N₁, …, N_d]``; axes that g exchanges must be of the same length.
        centre: What stays where it is; see the module.

    Returns:
        The shape of ``images``.

    Raises:
        ShapeError: The matrix is no signed permutation, or the axes that it exchanges have different lengths.
        ConfigError: There is no such centre.

    Properties:
        homomorphism: acting with h and then with g is acting with g h.
        rot90: the quarter turn about the middle of the grid is ``torch.rot90(images, 1, (-2, -1))``.
        centres_differ_by_a_shift: about the origin is about the middle, and then a shift by one pixel.
    """
    axes, signs = _parts(g)
    d = len(axes)
    if images.ndim < d:
        raise ShapeError(f"A {d}×{d} matrix acts on at least {d} axes, the images have {images.ndim}.")
    if centre not in {"grid", "origin"}:
        raise ConfigError(f"A grid is turned about 'grid' or 'origin', not {centre!r}.")
    lengths = images.shape[images.ndim - d :]
    if any(lengths[axis] != lengths[k] for k, axis in enumerate(axes)):
        raise ShapeError(f"This element exchanges axes of different lengths: the grid is {list(lengths)}.")
    first = images.ndim - d
    # (g f)(y) = f(gᵀ y): if row i of g has its entry ±1 in column j, then coordinate j of gᵀ y is ±y_i
    moved = images.permute(*range(first), *(first + column for column in axes))
    flipped = [first + row for row in range(d) if signs[row] < 0]
    moved = moved.flip(flipped)
    return moved.roll([1] * len(flipped), flipped) if centre == "origin" and flipped else moved


def grid_index(elements: Tensor, shape: tuple[int, ...], centre: Centre = "grid") -> Tensor:
    """Return where each pixel of turned images comes from.

    Args:
        elements: Signed permutation matrices ``[G, d, d]``.
        shape: Of the grid, d lengths.
        centre: As for `permute_pixels`.

    Returns:
        ``[G, N₁ ⋯ N_d]`` int64: the flattened ``g f`` is the flattened f at these places.
    """
    numbers = torch.arange(int(torch.tensor(shape).prod())).reshape(shape)
    return torch.stack([permute_pixels(g, numbers, centre).reshape(-1) for g in elements])


def _parts(g: Tensor) -> tuple[list[int], list[int]]:
    """Column and sign of the entry of each row."""
    size = g.abs()
    good = g.ndim == 2 and g.shape[0] == g.shape[1] and bool(((size == 0) | (size == 1)).all())
    if not good or not bool((size.sum(0) == 1).all() and (size.sum(1) == 1).all()):
        raise ShapeError(
            "Grids are moved exactly by signed permutation matrices only: one entry ±1 in each row and column, all "
            "others 0. Other elements need interpolation."
        )
    axes = size.argmax(1)
    return axes.tolist(), [int(s) for s in g.gather(1, axes[:, None])[:, 0].tolist()]

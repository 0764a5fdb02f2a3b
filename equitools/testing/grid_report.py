"""Whether layers and networks on images and on functions of shifts and turns are equivariant, element by element."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups import FiniteGroup
from equitools.ops.grid_actions import Centre, permute_pixels

__all__ = ["grid_equivariance", "move"]

KINDS = ("image", "pseudoscalar", "features", "group", "invariant")


def move(group: FiniteGroup, element: int, x: Tensor, kind: str, centre: Centre = "grid") -> Tensor:
    """Let an element of a group act on an array.

    Args:
        group: The group; it needs matrices for all kinds but ``"group"`` and ``"invariant"``.
        element: The number of the element a.
        x: The array.
        kind: ``"image"``: ``[B, C, *grid]``, f(a⁻¹p). ``"pseudoscalar"``: the same times det a. ``"features"``:
            ``[B, C, G, *grid]``, f(a⁻¹g, a⁻¹p). ``"group"``: ``[B, C, G, ...]``, f(a⁻¹g). ``"invariant"``: as it is.
        centre: What turns leave in place, see `equitools.ops.grid_actions`.

    Raises:
        ConfigError: There is no such kind.
        ShapeError: The array does not have the group's axis, or the grid cannot be turned by the element.
    """
    if kind not in KINDS:
        raise ConfigError(f"Arrays are {', '.join(map(repr, KINDS))}, not {kind!r}.")
    if kind == "invariant":
        return x
    if kind in {"features", "group"}:
        if x.ndim < 3 or x.shape[2] != group.order:
            raise ShapeError(f"Functions on the group are [B, C, {group.order}, ...], given {list(x.shape)}.")
        x = x[:, :, group.product(group.inverse[element], torch.arange(group.order))]
    if kind == "group":
        return x
    matrix = group.matrices[element]
    sign = torch.linalg.det(matrix).round().to(x) if kind == "pseudoscalar" else 1.0
    return sign * permute_pixels(matrix, x, centre)


@torch.no_grad()
def grid_equivariance(
    layer: Callable[[Tensor], Tensor],
    group: str | FiniteGroup,
    x: Tensor,
    inputs: str = "image",
    outputs: str = "image",
    centre: Centre = "grid",
) -> Tensor:
    """Measure by how much the answer to a moved input is not the moved answer.

    Args:
        layer: Anything that takes the input and returns the output.
        group: A group, or its name.
        x: An input without symmetries of its own; in float64, if errors of 1e-12 are to be told.
        inputs: What the input is, see `move`.
        outputs: What the answer is.
        centre: What turns leave in place.

    Returns:
        ``[G]``: for each element the largest difference, relative to the largest number of the answer.

    Raises:
        ConfigError: There is no such kind of array.
        ShapeError: The arrays do not fit to their kinds.

    Properties:
        flags_wrong_sides: kernels that are shifted along the group from the wrong side, not turned, or not shifted are
            far from zero.
        exact_layers: those of `equitools.nn.finite_conv` and `equitools.nn.spectral` are zero but for rounding.
    """
    known = FiniteGroup.named(group) if isinstance(group, str) else group
    answer = layer(x)
    scale = answer.abs().max().clamp(min=torch.finfo(answer.dtype).tiny)
    errors = [
        (layer(move(known, a, x, inputs, centre)) - move(known, a, answer, outputs, centre)).abs().max() / scale
        for a in range(known.order)
    ]
    return torch.stack(errors)

"""What canonicalizers and the networks in them ask of clouds and masks before they look at them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from equitools.errors import ConfigError
from equitools.symmetrize.degenerate import check_finite
from equitools.symmetrize.frame_set import check_cloud

__all__ = ["check_clouds", "mask_arguments", "takes_mask"]


def check_clouds(x: Tensor, d: int, mask: Tensor | None, *others: Tensor | None) -> None:
    """Raise unless there are clouds ``[B, N, d]`` of finite coordinates with at least one real point each.

    Args:
        x: The clouds.
        d: Their dimension.
        mask: Real points ``[B, N]``; what the others are does not matter.
        others: What else the points have, ``[B, N, ...]``: it has to be finite, too.

    Raises:
        ShapeError: Something has the wrong shape or dtype, a cloud has no real point, a real value is not finite.
    """
    check_cloud(x, mask, d)
    for value in (x, *others):
        if value is not None:
            real = value if mask is None else value.masked_fill(~mask.view(*mask.shape, *[1] * (value.ndim - 2)), 0.0)
            check_finite(real)


def takes_mask(called: nn.Module | Callable[..., Any]) -> bool:
    """Return whether something may be called with ``mask=``: it names it, or takes any keyword."""
    function = called.forward if isinstance(called, nn.Module) else called
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of some functions written in C nothing is known
        return False
    return any(p.name == "mask" or p.kind is p.VAR_KEYWORD for p in parameters)


def mask_arguments(mask: Tensor | None, takes: bool, what: str) -> dict[str, Tensor]:
    """Return the keyword arguments that hand a mask on.

    Args:
        mask: Real points ``[B, N]``.
        takes: Whether it can be handed on, see `takes_mask`.
        what: Whom it is handed to, in words.

    Raises:
        ConfigError: There are points that are not real, and there is no way to say so.
    """
    if mask is None or (not takes and bool(mask.all())):
        return {}
    if not takes:
        raise ConfigError(
            f"The mask leaves points out, but {what} has no parameter 'mask' and would count them. Give it one (mask: "
            "bool [M, N], True is a real point), or give clouds without padding."
        )
    return {"mask": mask}

"""Derivatives of a compiled operation beyond its compiled ones: the VJP of a differentiable stand-in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["partial_vjp"]


def partial_vjp(
    function: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Tensor | None],
    cotangents: Sequence[Tensor | None],
) -> tuple[Tensor | None, ...]:
    """Return the partial derivatives of ``Σ cotangent · output`` by each input, for a backward function to return.

    Where gradients are recorded, the result can be differentiated again.

    Args:
        function: Maps the inputs to the outputs in operations that torch can differentiate.
        inputs: Its arguments; None where an optional one was not given.
        cotangents: One for each output; None for zero.

    Returns:
        One for each input; None for zero.
    """
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, because one input may have been computed from another (a cotangent from the features): only what the
        # function itself does with each of them counts here, else such a dependence would count twice.
        fresh = [
            t if t is None else t.view_as(t) if again and t.requires_grad else t.detach().requires_grad_()
            for t in inputs
        ]
        outputs = function(*fresh)
        used = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if c is not None and o.requires_grad]
        if not used:
            return (None,) * len(inputs)
        given = [t for t in fresh if t is not None]
        grads = iter(
            torch.autograd.grad(
                [o for o, _ in used], given, [c for _, c in used], create_graph=again, allow_unused=True
            )
        )
    return tuple(None if t is None else next(grads) for t in fresh)

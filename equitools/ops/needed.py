"""Which gradients a backward pass is asked for."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["needed"]


def needed(ctx: Any, position: int) -> bool:
    """Return whether the backward pass that runs now wants the gradient of an input of the operation.

    ``ctx.needs_input_grad`` knows only which inputs require gradients. Where forces are taken by
    ``torch.autograd.grad(energy, positions)``, the weights require gradients that nobody asks for; the engine knows.
    It does not tell for leaves, and not under transforms: then the answer is that of ``needs_input_grad``.

    Args:
        ctx: The context of the operation's backward function.
        position: Position of the input among the operation's arguments; those before it must be tensors.
    """
    if not ctx.needs_input_grad[position]:
        return False
    if torch.compiler.is_compiling():
        return True
    try:
        node = ctx.next_functions[position][0]
        if node is None or type(node).__name__ == "AccumulateGrad":  # asked about a leaf, the engine would raise
            return True
        return bool(torch._C._will_engine_execute_node(node))
    except (AttributeError, IndexError, RuntimeError, TypeError):
        return True

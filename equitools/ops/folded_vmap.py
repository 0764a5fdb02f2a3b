"""vmap rules of operations on rows that do not know of each other: the batch is folded into the rows."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

__all__ = ["register_folded_vmap"]


def register_folded_vmap(name: str, constants: Collection[int] = ()) -> None:
    """Register the vmap rule of an operation whose tensors all have the rows as their first dimension.

    Args:
        name: Of the operation, ``"equitools::…"``.
        constants: The numbers of the arguments that are tensors without rows; they cannot be batched.
    """
    namespace, _, short = name.partition("::")
    operation: Callable[..., Any] = getattr(getattr(torch.ops, namespace), short)

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        size = info.batch_size

        def folded(k: int, value: Any) -> Any:
            dim = in_dims[k] if k < len(in_dims) else None
            if k in constants:
                if dim is not None:
                    raise NotImplementedError(f"{name}: argument {k} is a constant, and cannot be batched by vmap.")
                return value
            if not isinstance(value, Tensor):
                return value
            moved = value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)
            return moved.flatten(0, 1)

        out = operation(*(folded(k, value) for k, value in enumerate(args)))
        if isinstance(out, Tensor):
            return out.unflatten(0, (size, -1)), 0
        return tuple(t.unflatten(0, (size, -1)) for t in out), (0,) * len(out)

    torch.library.register_vmap(name, rule)

"""What is timed: a differentiable function alone, with its gradient, and with the gradient of its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Canonical = Callable[[str, Tensor], np.ndarray]


@dataclass
class Task:
    """One thing to time.

    Attributes:
        run: Does the work on what ``prepare`` returned.
        prepare: Done before each run, outside the clock.
        outputs: Turns what ``run`` returned into arrays that can be compared between sides.
    """

    run: Callable[[Any], Any]
    outputs: Callable[[Any], dict[str, np.ndarray]]
    prepare: Callable[[], Any] = lambda: None


def plain(_: str, tensor: Tensor) -> np.ndarray:
    """Return the numbers as they are."""
    return tensor.detach().cpu().numpy()


def leaves(arrays: dict[str, np.ndarray], names: Sequence[str], dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    """Return tensors of some arrays that ask for gradients, in memory of torch, where a user's tensors are.

    numpy's arrays begin at any multiple of 16 bytes, and half of all vector loads would meet two cache lines.
    """
    return {n: torch.from_numpy(arrays[n]).to(device, dtype, copy=True).requires_grad_(True) for n in names}


def derivative_tasks(
    function: Callable[[], Tensor],
    inputs: dict[str, Tensor],
    cotangent: Tensor,
    second: str,
    canonical: Canonical = plain,
    subsets: dict[str, Sequence[str]] | None = None,
    weighted: bool = False,
) -> dict[str, Task]:
    """Return the tasks of a differentiable function.

    Args:
        function: Computes the output from ``inputs``.
        inputs: Leaves that ask for gradients.
        cotangent: Of the output.
        second: The input y of the double backward: the gradient of Σ|∂(Σ out²)/∂y|² + Σ out for all inputs. Where
            there are weights, ``double_backward_both`` takes the gradient for y and for them, or for the hidden layer
            that they come from: through both does a network's force depend on the positions.
        canonical: Brings an output (``"out"``) or the gradient of an input (its name) to the common order.
        subsets: Further "forward + backward" tasks by name, for some of the inputs.
        weighted: Take Σ cotangent · out instead of Σ out² (which does not depend on y for spherical harmonics), and
            count the cotangent as an input.
    """
    wrt = tuple(inputs)
    cotangent = cotangent.clone()  # as the inputs: in memory of torch

    def forward(_: Any) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (function(),)

    def forward_backward(names: Sequence[str]) -> Callable[[Any], tuple[Tensor, ...]]:
        def run(_: Any) -> tuple[Tensor, ...]:
            out = function()
            return out.detach(), *torch.autograd.grad(out, [inputs[n] for n in names], cotangent)

        return run

    def backward(out: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(out, [inputs[n] for n in wrt], cotangent)

    upstream = cotangent.detach().clone().requires_grad_(True) if weighted else cotangent
    all_inputs = [*inputs.values(), upstream] if weighted else list(inputs.values())
    all_names = (*wrt, "cotangent") if weighted else wrt

    def double_backward(names: Sequence[str]) -> Callable[[Any], tuple[Tensor, ...]]:
        def run(_: Any) -> tuple[Tensor, ...]:
            out = function()
            scalar = (out * upstream).sum() if weighted else out.square().sum()
            firsts = torch.autograd.grad(scalar, [inputs[n] for n in names], create_graph=True)
            total = out.sum()
            for first in firsts:
                total = total + first.square().sum()
            return torch.autograd.grad(total, all_inputs)

        return run

    def named(names: Sequence[str]) -> Callable[[Any], dict[str, np.ndarray]]:
        return lambda result: {n: canonical(n, t) for n, t in zip(names, result, strict=True)}

    tasks = {
        "forward": Task(forward, named(("out",))),
        "forward_backward": Task(forward_backward(wrt), named(("out", *wrt))),
        "backward": Task(backward, named(wrt), prepare=function),
        "double_backward": Task(double_backward([second]), named(all_names)),
    }
    weights = next((n for n in ("hidden", "weight") if n in inputs), None)
    if weights is not None:
        tasks["double_backward_both"] = Task(double_backward([second, weights]), named(all_names))
    for name, subset in (subsets or {}).items():
        tasks[name] = Task(forward_backward(subset), named(("out", *subset)))
    return tasks

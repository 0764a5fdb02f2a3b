"""What equitools will have: looked up by name, so that the benchmark finds it on the day it lands.

This file is the only one that knows these names. Each function returns the thing, or raises `NotThere` with the note
for the table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

import equitools

ABSENT = "not in this version"


class NotThere(Exception):  # noqa: N818 - not an error, an answer
    """This version of equitools does not have it."""


def radial_convolution(irreps_in: str, irreps_edge: str, irreps_out: str) -> Callable[..., torch.Tensor]:
    """Return the convolution with the radial last layer fused in, channels innermost.

    It is called as ``(x, edge_attr, hidden, weight, edge_index, num_nodes)`` with hidden ``[E, K]`` and weight
    ``[K, weight_numel]``: the same as the convolution weighted with ``hidden @ weight``.
    """
    function = getattr(equitools.ops, "radial_tensor_product_conv", None)
    if function is None:
        raise NotThere(f"equitools.ops.radial_tensor_product_conv is {ABSENT}")
    plan = equitools.ops.TensorProductPlan(irreps_in, irreps_edge, irreps_out)
    return functools.partial(function, plan)


def inference(potential: torch.nn.Module, radial: str) -> Callable[[Any], dict[str, torch.Tensor]]:
    """Return the evaluator without autograd.

    Args:
        potential: An `equitools.models.Potential`.
        radial: ``"exact"`` or ``"tabulated"``.

    Returns:
        Maps a graph to ``energy`` and ``forces``.
    """
    function = getattr(equitools.models, "compile_potential", None)
    if function is None:
        raise NotThere(f"equitools.models.compile_potential is {ABSENT}")
    return function(potential, radial=radial)

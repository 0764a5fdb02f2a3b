"""e3nn under torch.compile; double backward is not offered there (aot_autograd has none)."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.side_by_side.sides.e3nn_eager import Convolution, convolution_tasks, gaunt_product, gaunt_tasks
from benchmarks.side_by_side.tasks import Task

PACKAGES = ("e3nn", "numpy")


def build(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task]:
    """Return the tasks of a case."""
    if case["kind"] not in ("conv", "radial", "gaunt"):
        raise NotImplementedError("only the convolution and the Gaunt product are compared under torch.compile")
    torch._dynamo.reset()
    if case["kind"] == "gaunt":
        module, make = gaunt_product(case, arrays), gaunt_tasks
    else:
        module = Convolution(case["irreps_in"], case["irreps_edge"], case["irreps_out"], case["irreps_mid"])
        make = convolution_tasks
    tasks = make(torch.compile(module.to(device=device, dtype=dtype)), case, arrays, dtype, device)
    return {name: task for name, task in tasks.items() if not name.startswith("double_backward")}

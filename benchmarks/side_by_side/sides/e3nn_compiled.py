"""e3nn under torch.compile; double backward is not offered there (aot_autograd has none)."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.side_by_side.sides.e3nn_eager import Convolution, convolution_tasks
from benchmarks.side_by_side.tasks import Task

PACKAGES = ("e3nn", "numpy")


def build(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task]:
    """Return the tasks of a case."""
    if case["kind"] not in ("conv", "radial"):
        raise NotImplementedError("only the convolution is compared under torch.compile")
    torch._dynamo.reset()
    module = Convolution(case["irreps_in"], case["irreps_edge"], case["irreps_out"], case["irreps_mid"])
    compiled = torch.compile(module.to(device=device, dtype=dtype))
    tasks = convolution_tasks(compiled, case, arrays, dtype, device)
    return {name: task for name, task in tasks.items() if not name.startswith("double_backward")}

"""sphericart-torch: its axes are (y, z, x) where e3nn has (x, y, z), so it is given permuted vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import sphericart.torch
import torch

from benchmarks.side_by_side.tasks import Task, derivative_tasks, leaves

PACKAGES = ("sphericart-torch", "numpy")


def build(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task]:
    """Return the tasks of a case."""
    if case["kind"] != "sh":
        raise NotImplementedError("sphericart has spherical harmonics only")
    arrays = {**arrays, "vectors": np.ascontiguousarray(arrays["vectors"][:, [2, 0, 1]])}
    inputs = leaves(arrays, ["vectors"], dtype, device)
    cotangent = torch.from_numpy(arrays["cotangent"]).to(device=device, dtype=dtype)
    module = sphericart.torch.SphericalHarmonics(case["lmax"])

    def canonical(name: str, tensor: torch.Tensor) -> np.ndarray:
        values = tensor.detach().cpu().numpy()
        return values[:, [1, 2, 0]] if name == "vectors" else values

    return derivative_tasks(lambda: module(inputs["vectors"]), inputs, cotangent, "vectors", canonical, weighted=True)

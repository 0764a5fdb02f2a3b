"""OpenEquivariance's fused convolution. It needs a CUDA or HIP device; written from its documentation, not yet run."""

from __future__ import annotations

from typing import Any

import openequivariance as oeq
import torch
from e3nn import o3

from benchmarks.side_by_side.tasks import Task, derivative_tasks, leaves

PACKAGES = ("openequivariance", "numpy")


def build(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task]:
    """Return the tasks of a case."""
    if case["kind"] != "conv" or device != "cuda":
        raise NotImplementedError("OpenEquivariance is compared in the convolution on a GPU")
    first, second, allowed = (o3.Irreps(case[f"irreps_{name}"]) for name in ("in", "edge", "out"))
    found, instructions = [], []
    for i, (mul, ir1) in enumerate(first):
        for j, (_, ir2) in enumerate(second):
            for ir in ir1 * ir2:
                if ir in allowed:
                    instructions.append((i, j, len(found), "uvu", True))
                    found.append((mul, ir))
    middle = o3.Irreps(found).sort()
    problem = oeq.TPProblem(
        oeq.Irreps(str(first)), oeq.Irreps(str(second)), oeq.Irreps(str(middle.irreps)),
        [(i, j, middle.p[k], mode, train) for i, j, k, mode, train in instructions],
        shared_weights=False, internal_weights=False,
    )  # fmt: skip
    module = oeq.TensorProductConv(problem, deterministic=False)
    inputs = leaves(arrays, ["x", "edge_attr", "weight"], dtype, device)
    edge_index = torch.from_numpy(arrays["edge_index"]).to(device)
    receivers, senders = edge_index[1].contiguous(), edge_index[0].contiguous()
    cotangent = torch.from_numpy(arrays["cotangent"]).to(device=device, dtype=dtype)

    def function() -> torch.Tensor:
        return module(inputs["x"], inputs["edge_attr"], inputs["weight"], receivers, senders)

    return derivative_tasks(function, inputs, cotangent, "edge_attr")

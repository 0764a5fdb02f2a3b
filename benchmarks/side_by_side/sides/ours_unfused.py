"""equitools without fusing the radial network's last layer: the matrix product, then the convolution."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.side_by_side.sides import ours
from benchmarks.side_by_side.tasks import Task

PACKAGES = ours.PACKAGES


def build(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task | str]:
    """Return the tasks of a case."""
    if case["kind"] != "radial":
        raise NotImplementedError("only the convolution with a radial layer is compared unfused")
    return ours.build({**case, "unfused": True}, arrays, dtype, device)

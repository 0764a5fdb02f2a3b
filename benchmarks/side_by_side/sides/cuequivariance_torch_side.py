"""cuequivariance_torch: ChannelWiseTensorProduct with its own gather and scatter.

Clebsch–Gordan tensors are given to it in e3nn's convention (a subclass of its group, the way that its users convert
e3nn's weights), so that the numbers can be compared. On a CPU it has the method "naive"; with its CUDA kernels
"uniform_1d".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cuequivariance as cue
import cuequivariance_torch as cuet
import numpy as np
import torch

from benchmarks.side_by_side import problems
from benchmarks.side_by_side.tasks import Task, derivative_tasks, leaves

PACKAGES = ("cuequivariance", "cuequivariance-torch", "numpy")


def _group(arrays: dict[str, Any]) -> type:
    class E3nn(cue.O3):
        """O(3) with the coupling tensors of the case."""

        def __mul__(self, other: Any) -> Iterator[Any]:
            return [E3nn(l=ir.l, p=ir.p) for ir in cue.O3.__mul__(self, other)]

        @classmethod
        def clebsch_gordan(cls, rep1: Any, rep2: Any, rep3: Any) -> np.ndarray:
            """Return ``[1, 2l1+1, 2l2+1, 2l3+1]``."""
            rep1, rep2, rep3 = cls._from(rep1), cls._from(rep2), cls._from(rep3)
            if rep1.p * rep2.p != rep3.p:
                return np.zeros((0, rep1.dim, rep2.dim, rep3.dim))
            return arrays[f"coupling_{rep1.l}_{rep2.l}_{rep3.l}"][None]

        def __lt__(self, other: Any) -> bool:
            other = self._from(other)
            return (self.l, self.p) < (other.l, other.p)

        @classmethod
        def iterator(cls) -> Iterator[Any]:
            """All irreps."""
            for ir in cue.O3.iterator():
                yield E3nn(l=ir.l, p=ir.p)

    return E3nn


def _reorder(weight: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Permute the paths of weights ``[rows, paths · channels]``."""
    blocks = weight.reshape(len(weight), len(order), -1)
    return np.ascontiguousarray(blocks[:, order]).reshape(weight.shape)


def build(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task]:
    """Return the tasks of a case."""
    if case["kind"] not in ("conv", "radial"):
        raise NotImplementedError(f"cuequivariance is not compared in {case['kind']}")
    group = _group(arrays)
    irreps_in, irreps_mid = problems.parse(case["irreps_in"]), problems.parse(case["irreps_mid"])
    module = cuet.ChannelWiseTensorProduct(
        cue.Irreps(group, case["irreps_in"]),
        cue.Irreps(group, case["irreps_edge"]),
        [ir for _, ir in cue.Irreps(group, case["irreps_out"])],
        layout=cue.ir_mul, shared_weights=False, internal_weights=False, device=device, dtype=dtype,
        method="uniform_1d" if device == "cuda" else "naive",
    )  # fmt: skip
    if module.weight_numel != case["weight_numel"]:
        raise ValueError(f"cuequivariance has {module.weight_numel} weights, the case {case['weight_numel']}")
    order = np.array(case["path_order"])  # its weights lie in the order of the output's blocks
    arrays = {
        **arrays,
        "weight": _reorder(arrays["weight"], order),
        "x": problems.mul_ir_to_ir_mul(arrays["x"], irreps_in),
        "cotangent": problems.mul_ir_to_ir_mul(arrays["cotangent"], irreps_mid),
    }
    radial = case["kind"] == "radial"
    inputs = leaves(arrays, ["x", "edge_attr", "weight"] + (["hidden"] if radial else []), dtype, device)
    edge_index = torch.from_numpy(arrays["edge_index"]).to(device)
    senders, receivers = edge_index[0].contiguous(), edge_index[1].contiguous()
    cotangent = torch.from_numpy(arrays["cotangent"]).to(device=device, dtype=dtype)

    def canonical(name: str, tensor: torch.Tensor) -> np.ndarray:
        values = tensor.detach().cpu().numpy()
        if name == "weight":
            return _reorder(values, np.argsort(order))
        columns = {"out": irreps_mid, "x": irreps_in}.get(name)
        return values if columns is None else problems.ir_mul_to_mul_ir(values, columns)

    def function() -> torch.Tensor:
        weight = inputs["hidden"] @ inputs["weight"] if radial else inputs["weight"]
        return module(
            inputs["x"], inputs["edge_attr"], weight, indices_1=senders, indices_out=receivers, size_out=case["nodes"]
        )

    return derivative_tasks(function, inputs, cotangent, "edge_attr", canonical)

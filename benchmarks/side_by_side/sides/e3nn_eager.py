"""e3nn as it comes: TensorProduct with gather and index_add, and its spherical harmonics.

As it comes is without a compiler: from torch 2.10 on, the default of its ``jit_mode`` is "eager" and not "script".
"""

from __future__ import annotations

from typing import Any

import torch
from e3nn import o3

from benchmarks.side_by_side.tasks import Task, derivative_tasks, leaves

PACKAGES = ("e3nn", "numpy")


class Convolution(torch.nn.Module):
    """Gather, e3nn's product with weights of each edge, sum over receivers."""

    def __init__(self, irreps_in: str, irreps_edge: str, irreps_out: str, irreps_mid: str) -> None:
        super().__init__()
        first, second, allowed = o3.Irreps(irreps_in), o3.Irreps(irreps_edge), o3.Irreps(irreps_out)
        found, instructions = [], []
        for i, (mul, ir1) in enumerate(first):
            for j, (_, ir2) in enumerate(second):
                for ir in ir1 * ir2:
                    if ir in allowed:
                        instructions.append((i, j, len(found), "uvu", True))
                        found.append((mul, ir))
        middle = o3.Irreps(found).sort()
        instructions = [(i, j, middle.p[k], mode, train) for i, j, k, mode, train in instructions]
        self.product = o3.TensorProduct(
            first, second, middle.irreps, instructions, shared_weights=False, internal_weights=False
        )
        if str(middle.irreps) != irreps_mid:
            raise ValueError(f"e3nn gives {middle.irreps}, the case says {irreps_mid}")

    def forward(
        self, x: torch.Tensor, edge_attr: torch.Tensor, weight: torch.Tensor, edge_index: torch.Tensor, nodes: int
    ) -> torch.Tensor:
        """Return ``[nodes, irreps_mid.dim]``."""
        messages = self.product(x[edge_index[0]], edge_attr, weight)
        return messages.new_zeros(nodes, messages.shape[1]).index_add(0, edge_index[1], messages)


def convolution_tasks(
    module: Any, case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str
) -> dict[str, Task]:
    """Return the tasks of a module with the signature of `Convolution`."""
    radial = case["kind"] == "radial"
    names = ["x", "edge_attr", "weight"] + (["hidden"] if radial else [])
    inputs = leaves(arrays, names, dtype, device)
    edge_index = torch.from_numpy(arrays["edge_index"]).to(device)
    cotangent = torch.from_numpy(arrays["cotangent"]).to(device=device, dtype=dtype)

    def function() -> torch.Tensor:
        weight = inputs["hidden"] @ inputs["weight"] if radial else inputs["weight"]
        return module(inputs["x"], inputs["edge_attr"], weight, edge_index, case["nodes"])

    return derivative_tasks(function, inputs, cotangent, "edge_attr")


def build(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task]:
    """Return the tasks of a case."""
    if case["kind"] in ("conv", "radial"):
        module = Convolution(case["irreps_in"], case["irreps_edge"], case["irreps_out"], case["irreps_mid"])
        return convolution_tasks(module.to(device=device, dtype=dtype), case, arrays, dtype, device)
    if case["kind"] == "sh":
        inputs = leaves(arrays, ["vectors"], dtype, device)
        cotangent = torch.from_numpy(arrays["cotangent"]).to(device=device, dtype=dtype)
        degrees = list(range(case["lmax"] + 1))
        return derivative_tasks(
            lambda: o3.spherical_harmonics(degrees, inputs["vectors"], normalize=True, normalization="integral"),
            inputs, cotangent, "vectors", weighted=True,
        )  # fmt: skip
    if case["kind"] == "gaunt":
        return gaunt_tasks(gaunt_product(case, arrays).to(device=device, dtype=dtype), case, arrays, dtype, device)
    raise NotImplementedError(f"e3nn has no {case['kind']}")


def gaunt_product(case: dict[str, Any], arrays: dict[str, Any]) -> torch.nn.Module:
    """Return e3nn's product with a "uuu" path for each triple of even sum of degrees."""
    irreps = o3.Irreps(case["irreps"])
    instructions = [(int(i), int(j), int(k), "uuu", True) for i, j, k in arrays["paths"]]
    return o3.TensorProduct(
        irreps, irreps, irreps, instructions, irrep_normalization="none", path_normalization="none",
        shared_weights=True, internal_weights=False,
    )  # fmt: skip


def gaunt_tasks(
    product: Any, case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str
) -> dict[str, Task]:
    """Return the tasks of a module with the paths of `gaunt_product`, with the weights that make it the same."""
    factors = torch.from_numpy(arrays["factors"]).to(device=device, dtype=dtype)
    weight = factors.repeat_interleave(o3.Irreps(case["irreps"])[0].mul)
    inputs = leaves(arrays, ["x", "y"], dtype, device)
    cotangent = torch.from_numpy(arrays["cotangent"]).to(device=device, dtype=dtype)
    return derivative_tasks(lambda: product(inputs["x"], inputs["y"], weight), inputs, cotangent, "y")

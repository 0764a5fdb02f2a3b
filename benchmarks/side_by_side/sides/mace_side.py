"""mace-torch: its symmetric contraction, and its network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

with torch.serialization.safe_globals([slice]):  # e3nn 0.4 unpickles its constants when it is imported
    from e3nn import o3

from mace.modules.symmetric_contraction import SymmetricContraction

from benchmarks.side_by_side import problems
from benchmarks.side_by_side.sides import mace_models
from benchmarks.side_by_side.tasks import Task, derivative_tasks, leaves

PACKAGES = ("mace-torch", "e3nn", "numpy")


def _module(
    irreps_in: str, irreps_out: str, correlation: int, channels: int, species: int, dtype: torch.dtype
) -> SymmetricContraction:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # its tables take the default dtype
    try:
        return SymmetricContraction(
            o3.Irreps([(channels, (l, p)) for _, l, p in problems.parse(irreps_in)]),
            o3.Irreps([(channels, (l, p)) for _, l, p in problems.parse(irreps_out)]),
            correlation,
            num_elements=species,
        )
    finally:
        torch.set_default_dtype(before)


def _weights(module: SymmetricContraction, correlation: int) -> list[torch.nn.Parameter]:
    """Return the weights block by block, for 1 … ν factors."""
    ordered = []
    for contraction in module.contractions:
        ordered += [contraction.weights[correlation - 1 - nu] for nu in range(1, correlation)]
        ordered.append(contraction.weights_max)
    return ordered


def contraction_basis(irreps_in: str, irreps_out: str, correlation: int, seed: int, points: int, file: str) -> None:
    """Write, for random one-channel features, what each path alone gives."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((points, problems.dimension(irreps_in)))
    probe = _module(irreps_in, irreps_out, correlation, 1, 1, torch.float64)
    widest = max(weight.shape[1] for weight in _weights(probe, correlation))
    module = _module(irreps_in, irreps_out, correlation, widest, 1, torch.float64)
    weights = _weights(module, correlation)
    features = torch.from_numpy(np.repeat(x[:, None, :], widest, 1))
    species = torch.ones(points, 1, dtype=torch.float64)
    dims = [2 * degree + 1 for _, degree, _ in problems.parse(irreps_out)]
    arrays = {}
    for k, weight in enumerate(weights):
        paths, block = weight.shape[1], k // correlation
        with torch.no_grad():
            for other in weights:
                other.zero_()
            weight[0, :, :paths] = torch.eye(paths, dtype=torch.float64)
            out = module(features, species)
        start = widest * sum(dims[:block])
        values = out[:, start : start + widest * dims[block]].unflatten(1, (widest, dims[block]))[:, :paths]
        arrays[f"weight{k}"] = values.transpose(1, 2).flatten(0, 1).numpy()
    np.savez(file, **arrays)


def _contraction(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task]:
    module = _module(
        case["irreps_in"], case["irreps_out"], case["correlation"], case["channels"], case["species"], dtype
    ).to(device)
    weights = _weights(module, case["correlation"])
    with torch.no_grad():
        for k, weight in enumerate(weights):
            weight.copy_(torch.from_numpy(arrays[f"theirs{k}"]))
    inputs = leaves(arrays, ["x"], dtype, device) | {f"weight{k}": weight for k, weight in enumerate(weights)}
    cotangent = torch.from_numpy(arrays["cotangent"]).to(device=device, dtype=dtype)
    species = torch.nn.functional.one_hot(torch.from_numpy(arrays["species"]), case["species"])
    species = species.to(device=device, dtype=dtype)
    return derivative_tasks(
        lambda: module(inputs["x"], species), inputs, cotangent, "x", subsets={"forward_backward_x": ["x"]}
    )


def build(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task]:
    """Return the tasks of a case."""
    if case["kind"] == "contraction":
        return _contraction(case, arrays, dtype, device)
    return mace_models.build(case, arrays, dtype, device)


def parameters(case: dict[str, Any]) -> int:
    """Return the number of parameters of a case's network."""
    return mace_models.parameters(case)

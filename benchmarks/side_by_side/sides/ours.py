"""equitools: its public modules, "ir_mul" inside and out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.side_by_side import planned, problems
from benchmarks.side_by_side.sides import ours_models
from benchmarks.side_by_side.tasks import Task, derivative_tasks, leaves
from equitools.nn import SymmetricContraction, TensorProductConv
from equitools.ops import backend, gaunt_tensor_product, spherical_harmonics

PACKAGES = ("equitools", "numpy")
NOTES = "; ".join(f"{s.name}: {s.reason}" for s in backend.status() if s.active)


def contraction_basis(irreps_in: str, irreps_out: str, correlation: int, seed: int, points: int, file: str) -> None:
    """Write, for random one-channel features, what each path alone gives: how our weights relate to other bases."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((points, problems.dimension(irreps_in)))
    module = SymmetricContraction(irreps_in, irreps_out, correlation, 1).double()
    widest = max(weight.shape[1] for weight in module.weights)
    wide = "+".join(f"{widest}x{part.split('x')[-1]}" for part in irreps_in.split("+"))
    out = "+".join(f"{widest}x{part.split('x')[-1]}" for part in irreps_out.split("+"))
    module = SymmetricContraction(wide, out, correlation, 1, layout="ir_mul").double()
    columns = torch.from_numpy(np.repeat(x[:, :, None], widest, 2)).flatten(1)
    species = torch.zeros(points, dtype=torch.int64)
    arrays = {}
    for k, weight in enumerate(module.weights):
        with torch.no_grad():
            for other in module.weights:
                other.zero_()
            weight[0, :, : weight.shape[1]] = torch.eye(weight.shape[1], dtype=torch.float64)
            values = module(columns, species).unflatten(1, (-1, widest))[..., : weight.shape[1]]
        arrays[f"weight{k}"] = _block(values, irreps_out, k // correlation).flatten(0, 1).numpy()
    np.savez(file, **arrays)


def _block(values: torch.Tensor, irreps_out: str, block: int) -> torch.Tensor:
    dims = [2 * degree + 1 for _, degree, _ in problems.parse(irreps_out)]
    return values[:, sum(dims[:block]) : sum(dims[: block + 1])]


def _convolution(
    case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str
) -> dict[str, Task | str]:
    irreps_in, irreps_mid = problems.parse(case["irreps_in"]), problems.parse(case["irreps_mid"])
    arrays = {
        **arrays,
        "x": problems.mul_ir_to_ir_mul(arrays["x"], irreps_in),
        "cotangent": problems.mul_ir_to_ir_mul(arrays["cotangent"], irreps_mid),
    }
    edge_index = torch.from_numpy(arrays["edge_index"]).to(device)
    cotangent = torch.from_numpy(arrays["cotangent"]).to(device=device, dtype=dtype)
    nodes = case["nodes"]

    def canonical(name: str, tensor: torch.Tensor) -> np.ndarray:
        values = tensor.detach().cpu().numpy()
        columns = {"out": irreps_mid, "x": irreps_in}.get(name)
        return values if columns is None else problems.ir_mul_to_mul_ir(values, columns)

    unfused = case.get("reference", False) or case.get("unfused", False)
    if case["kind"] == "conv" or unfused:
        module: Any = TensorProductConv(case["irreps_in"], case["irreps_edge"], case["irreps_out"], layout="ir_mul")
        if (str(module.irreps_out), module.weight_numel) != (case["irreps_mid"], case["weight_numel"]):
            raise ValueError(f"the plan gives {module.irreps_out}, the case says {case['irreps_mid']}")
    else:
        try:
            module = planned.radial_convolution(case["irreps_in"], case["irreps_edge"], case["irreps_out"])
        except planned.NotThere as note:
            names = ("forward", "forward_backward", "backward", "double_backward", "double_backward_both")
            return dict.fromkeys(names, str(note))
    names = ["x", "edge_attr", "weight"] + (["hidden"] if case["kind"] == "radial" else [])
    inputs = leaves(arrays, names, dtype, device)

    def function() -> torch.Tensor:
        x, edge_attr, weight = inputs["x"], inputs["edge_attr"], inputs["weight"]
        if case["kind"] == "conv":
            return module(x, edge_attr, weight, edge_index, nodes)
        if unfused:
            return module(x, edge_attr, inputs["hidden"] @ weight, edge_index, nodes)
        return module(x, edge_attr, inputs["hidden"], weight, edge_index, nodes)

    return derivative_tasks(function, inputs, cotangent, "edge_attr", canonical)


def _harmonics(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task | str]:
    inputs = leaves(arrays, ["vectors"], dtype, device)
    cotangent = torch.from_numpy(arrays["cotangent"]).to(device=device, dtype=dtype)
    lmax = case["lmax"]

    def function() -> torch.Tensor:
        return spherical_harmonics(lmax, inputs["vectors"], normalize=True, normalization="integral")

    return derivative_tasks(function, inputs, cotangent, "vectors", weighted=True)


def _contraction(
    case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str
) -> dict[str, Task | str]:
    channels = case["channels"]
    wide_in = [(channels, degree, parity) for _, degree, parity in problems.parse(case["irreps_in"])]
    wide_out = [(channels, degree, parity) for _, degree, parity in problems.parse(case["irreps_out"])]
    text = {name: "+".join(f"{m}x{l}{'e' if p > 0 else 'o'}" for m, l, p in irreps)
            for name, irreps in (("in", wide_in), ("out", wide_out))}  # fmt: skip
    module = SymmetricContraction(text["in"], text["out"], case["correlation"], case["species"], layout="ir_mul")
    module = module.to(device=device, dtype=dtype)
    count = len(module.weights)
    with torch.no_grad():
        for k, weight in enumerate(module.weights):
            weight.copy_(torch.from_numpy(arrays[f"ours{k}"]))
    arrays = {
        **arrays,
        "x": np.ascontiguousarray(arrays["x"].swapaxes(1, 2)).reshape(case["nodes"], -1),
        "cotangent": problems.mul_ir_to_ir_mul(arrays["cotangent"], wide_out),
    }
    inputs = leaves(arrays, ["x"], dtype, device) | {f"weight{k}": module.weights[k] for k in range(count)}
    cotangent = torch.from_numpy(arrays["cotangent"]).to(device=device, dtype=dtype)
    species = torch.from_numpy(arrays["species"]).to(device)

    def canonical(name: str, tensor: torch.Tensor) -> np.ndarray:
        values = tensor.detach().cpu().numpy()
        if name == "out":
            return problems.ir_mul_to_mul_ir(values, wide_out)
        if name == "x":
            return values.reshape(case["nodes"], -1, channels).swapaxes(1, 2)
        change = arrays.get(f"change{name.removeprefix('weight')}")  # ours = change · theirs
        return values if change is None else np.einsum("qp,sqc->spc", change, values)

    return derivative_tasks(
        lambda: module(inputs["x"], species), inputs, cotangent, "x", canonical, {"forward_backward_x": ["x"]}
    )


def _gaunt(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task | str]:
    irreps = problems.parse(case["irreps"])
    channels, lmax, method = irreps[0][0], case["lmax"], case.get("method", "grid")
    given = {name: problems.mul_ir_to_ir_mul(arrays[name], irreps) for name in ("x", "y", "cotangent")}
    inputs = leaves(given, ["x", "y"], dtype, device)
    cotangent = torch.from_numpy(given["cotangent"]).to(device=device, dtype=dtype)

    def function() -> torch.Tensor:
        x, y = (inputs[name].unflatten(1, (-1, channels)) for name in ("x", "y"))
        return gaunt_tensor_product(x, y, lmax, method=method).flatten(1)

    def canonical(_: str, tensor: torch.Tensor) -> np.ndarray:
        return problems.ir_mul_to_mul_ir(tensor.detach().cpu().numpy(), irreps)

    return derivative_tasks(function, inputs, cotangent, "y", canonical)


_BUILDERS = {
    "conv": _convolution, "radial": _convolution, "sh": _harmonics, "contraction": _contraction, "gaunt": _gaunt,
}  # fmt: skip


def build(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task | str]:
    """Return the tasks of a case, and why others are not in this version."""
    builder = _BUILDERS.get(case["kind"], ours_models.build)
    if not case.get("reference"):
        return builder(case, arrays, dtype, device)
    with backend.use_backend("reference"):
        tasks = builder(case, arrays, dtype, device)
    return {name: task if isinstance(task, str) else _on_reference(task) for name, task in tasks.items()}


def _on_reference(task: Task) -> Task:
    def run(prepared: Any) -> Any:
        with backend.use_backend("reference"):
            return task.run(prepared)

    def prepare() -> Any:
        with backend.use_backend("reference"):
            return task.prepare()

    return Task(run, task.outputs, prepare)


def parameters(case: dict[str, Any]) -> int:
    """Return the number of parameters of a case's network."""
    return ours_models.parameters(case)

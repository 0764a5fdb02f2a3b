"""equitools' many-body network: energy and forces, a step of the ASE calculator, a training step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ase import Atoms

import equitools
from benchmarks.side_by_side import planned
from benchmarks.side_by_side.calculator import calculator_task
from benchmarks.side_by_side.tasks import Task
from equitools.graph import Graph
from equitools.integrations.ase import EquitoolsCalculator


def potential(case: dict[str, Any]) -> torch.nn.Module:
    """Return the network of a case with random weights, in float64."""
    torch.manual_seed(case["seed"])
    backbone = equitools.models.build(
        "many_body_mp",
        cutoff=case["cutoff"],
        species=tuple(case["numbers"]),
        channels=case["channels"],
        l_max=case["l_max"],
        hidden_lmax=case["hidden_lmax"],
        num_layers=2,
        correlation=case["correlation"],
        num_radial=8,
        radial_hidden=(64, 64, 64),
        avg_num_neighbors=case["avg_num_neighbors"],
        residual_first=True,
    )
    return equitools.models.Potential(backbone).double()


def graph_of(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> Graph:
    """Return the graph of the arrays."""
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(arrays[name]))
        for name in ("positions", "atomic_numbers", "cell", "pbc", "batch", "edge_index", "edge_shift")
    }
    for name in ("positions", "cell", "edge_shift"):
        tensors[name] = tensors[name].to(dtype)
    graph = Graph(**tensors, cutoff=case["cutoff"])
    return graph.to(device=device) if device != "cpu" else graph


def _numbers(result: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: result[name].detach().cpu().numpy() for name in ("energy", "forces")}


def _evaluate(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task | str]:
    model = potential(case).to(device=device, dtype=dtype).eval().requires_grad_(False)
    graph = graph_of(case, arrays, dtype, device)
    tasks: dict[str, Task | str] = {
        "energy_forces": Task(lambda _: model(graph, forces=True, stress=False), _numbers),
    }
    for name, radial in (("inference", "exact"), ("inference_tabulated", "tabulated")):
        try:
            evaluator = planned.inference(model, radial)
        except planned.NotThere as note:
            tasks[name] = str(note)
        else:
            tasks[name] = Task(lambda _, run=evaluator: run(graph), _numbers)
    return tasks


def _calculator(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task]:
    atoms = Atoms(arrays["atomic_numbers"], arrays["positions"], cell=arrays["cell"][0], pbc=arrays["pbc"][0])
    name = "float32" if dtype == torch.float32 else "float64"
    atoms.calc = EquitoolsCalculator(potential(case).to(dtype), device=device, dtype=name)
    return {"calculator_step": calculator_task(atoms)}


def _train(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task]:
    model = potential(case).to(device=device, dtype=dtype).train()
    graph = graph_of(case, arrays, dtype, device)
    energy = torch.from_numpy(arrays["energy"]).to(device=device)
    forces = torch.from_numpy(arrays["forces"]).to(device=device, dtype=dtype)
    counts = torch.bincount(graph.batch)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step(_: Any) -> float:
        optimizer.zero_grad(set_to_none=True)
        outputs = model(graph, forces=True, stress=False)
        loss = ((outputs["energy"] - energy) / counts).square().mean()
        loss = loss + 10 * (outputs["forces"] - forces).square().mean()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return {"training_step": Task(step, lambda loss: {"loss": np.array(loss)})}


def parameters(case: dict[str, Any]) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in potential(case).parameters())


_BUILDERS = {"evaluate": _evaluate, "calculator": _calculator, "train": _train}


def build(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task | str]:
    """Return the tasks of a case."""
    return _BUILDERS[case["kind"]](case, arrays, dtype, device)

"""mace-torch's network with the hyperparameters of ours: energy and forces, a calculator's step, a training step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ase import Atoms
from e3nn import o3
from mace.modules import RealAgnosticResidualInteractionBlock, ScaleShiftMACE

from benchmarks.side_by_side.calculator import calculator_task
from benchmarks.side_by_side.tasks import Task


def network(case: dict[str, Any]) -> torch.nn.Module:
    """Return the network of a case with random weights, in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # its tables take the default dtype
    torch.manual_seed(case["seed"])
    hidden = "+".join(f"{case['channels']}x{l}{'eo'[l % 2]}" for l in range(case["hidden_lmax"] + 1))
    try:
        return ScaleShiftMACE(
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
            r_max=case["cutoff"],
            num_bessel=8,
            num_polynomial_cutoff=5,
            max_ell=case["l_max"],
            interaction_cls=RealAgnosticResidualInteractionBlock,
            interaction_cls_first=RealAgnosticResidualInteractionBlock,
            num_interactions=2,
            num_elements=len(case["numbers"]),
            hidden_irreps=o3.Irreps(hidden),
            MLP_irreps=o3.Irreps("16x0e"),
            atomic_energies=np.zeros(len(case["numbers"])),
            avg_num_neighbors=case["avg_num_neighbors"],
            atomic_numbers=list(case["numbers"]),
            correlation=case["correlation"],
            gate=torch.nn.functional.silu,
            radial_MLP=[64, 64, 64],
            use_reduced_cg=False,
        )
    finally:
        torch.set_default_dtype(before)


def batch_of(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, torch.Tensor]:
    """Return the arrays as mace-torch's dictionary; its edge vectors are r_receiver − r_sender + shift."""
    species = np.searchsorted(case["numbers"], arrays["atomic_numbers"])
    edge_batch = arrays["batch"][arrays["edge_index"][0]]
    shifts = -np.einsum("ei,eij->ej", arrays["edge_shift"], arrays["cell"][edge_batch])
    counts = np.bincount(arrays["batch"], minlength=len(arrays["cell"]))
    found = {
        "positions": torch.from_numpy(arrays["positions"]).to(dtype),
        "node_attrs": torch.nn.functional.one_hot(torch.from_numpy(species), len(case["numbers"])).to(dtype),
        "edge_index": torch.from_numpy(arrays["edge_index"]),
        "shifts": torch.from_numpy(shifts).to(dtype),
        "unit_shifts": torch.from_numpy(-arrays["edge_shift"]).to(dtype),
        "cell": torch.from_numpy(arrays["cell"].reshape(-1, 3)).to(dtype),
        "batch": torch.from_numpy(arrays["batch"]),
        "ptr": torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)),
        "head": torch.zeros(len(counts), dtype=torch.int64),
    }
    return {name: tensor.to(device) for name, tensor in found.items()}


def _numbers(result: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: result[name].detach().cpu().numpy() for name in ("energy", "forces")}


def _evaluate(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task]:
    model = network(case).to(device=device, dtype=dtype).eval().requires_grad_(False)  # as its calculator does
    data = batch_of(case, arrays, dtype, device)

    def run(_: Any) -> dict[str, torch.Tensor]:
        return model(data, training=False, compute_force=True)

    task = Task(run, _numbers)
    return {"energy_forces": task, "inference": task, "inference_tabulated": task}  # its only evaluator, beside each


def _calculator(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task]:
    from mace.calculators import MACECalculator

    atoms = Atoms(arrays["atomic_numbers"], arrays["positions"], cell=arrays["cell"][0], pbc=arrays["pbc"][0])
    name = "float32" if dtype == torch.float32 else "float64"
    atoms.calc = MACECalculator(models=[network(case).to(dtype)], device=device, default_dtype=name)
    return {"calculator_step": calculator_task(atoms)}


def _train(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task]:
    model = network(case).to(device=device, dtype=dtype).train()
    data = batch_of(case, arrays, dtype, device)
    energy = torch.from_numpy(arrays["energy"]).to(device=device, dtype=dtype)
    forces = torch.from_numpy(arrays["forces"]).to(device=device, dtype=dtype)
    counts = torch.bincount(data["batch"])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step(_: Any) -> float:
        optimizer.zero_grad(set_to_none=True)
        outputs = model(data, training=True, compute_force=True)
        loss = ((outputs["energy"] - energy) / counts).square().mean()
        loss = loss + 10 * (outputs["forces"] - forces).square().mean()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return {"training_step": Task(step, lambda loss: {"loss": np.array(loss)})}


def parameters(case: dict[str, Any]) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in network(case).parameters())


_BUILDERS = {"evaluate": _evaluate, "calculator": _calculator, "train": _train}


def build(case: dict[str, Any], arrays: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Task]:
    """Return the tasks of a case."""
    return _BUILDERS[case["kind"]](case, arrays, dtype, device)

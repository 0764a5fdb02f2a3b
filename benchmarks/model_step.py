"""Networks beside mace-torch's: energy and forces, a step of the ASE calculator, a training step, memory.

    python benchmarks/model_step.py                       # everything, 1 and 2 threads; the machine should be idle
    python benchmarks/model_step.py --quick               # does it run? (1 minute)
    python benchmarks/model_step.py --only water_fp32 --threads 1

Both networks have the same hyperparameters and the same neighbours; their weights are random, so each one's error is
against its own float64. Writes `benchmarks/results/model_step.json` (`model_step_cuda.json` with `--device cuda`) after
every row; Ctrl-C keeps what was measured.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.side_by_side import molecules
from benchmarks.side_by_side.driver import ONE_THREAD, OURS, WorkerError, shorten
from benchmarks.side_by_side.rows import exact_outputs, slim
from benchmarks.side_by_side.session import Problems, Run, Session, arguments

PEER = "mace-torch"
CUTOFF = 5.0
EVALUATIONS = ("energy_forces", "inference", "inference_tabulated")


def _case(run: Run, kind: str, structures: list[Atoms], channels: int, hidden_lmax: int = 1) -> dict[str, Any]:
    """Return the case of a network on some structures; their graph travels in a file."""
    arrays = molecules.arrays(structures, CUTOFF)
    file = run.team.scratch / f"{run.problem}.npz"
    np.savez(file, **arrays)
    edges, atoms = arrays["edge_index"].shape[1], len(arrays["positions"])
    return {
        "kind": kind, "file": str(file), "seed": 0, "atoms": atoms, "edges": edges, "structures": len(structures),
        "cutoff": CUTOFF, "numbers": sorted({int(z) for z in arrays["atomic_numbers"]}),
        "channels": 8 if run.quick else channels, "l_max": 2 if run.quick else 3, "hidden_lmax": hidden_lmax,
        "correlation": 2 if run.quick else 3, "layers": 2, "avg_num_neighbors": edges / atoms,
    }  # fmt: skip


def _water(run: Run, kind: str = "evaluate") -> dict[str, Any]:
    return _case(run, kind, [molecules.water_box(2 if run.quick else 4)], 128)


def _own_exact(run: Run, case: dict[str, Any]) -> dict[str, Any]:
    """Return what each side's autograd path gives in float64, as what all of its evaluators should give."""
    found = {}
    for side in run.team.ensure(run.sides(PEER)):
        # in double precision the compiled path will do: plain torch would need more memory than a worker may have
        exact = exact_outputs(run.team, case, ["energy_forces"], side, reference=False)
        found[side] = dict.fromkeys(EVALUATIONS, exact["energy_forces"]) if exact else {}
    return found


def _evaluate(run: Run, dtype: str) -> None:
    case = _water(run)
    run.compare(case, EVALUATIONS, run.sides(PEER), dtype=dtype, exact=_own_exact(run, case))


def water_fp32(run: Run) -> None:
    """Energy and forces of a water box, by autograd, by the inference path, and with tabulated radials."""
    _evaluate(run, "float32")


def threads(run: Run) -> None:
    """All threads and one in turns, with the usual allocator and with one that keeps freed memory."""
    if run.team.threads == 1 or run.session.options.device != "cpu":
        return
    sides = [OURS, ONE_THREAD]
    for keep in (False, True):
        label = "water_fp32, kept memory" if keep else "water_fp32"
        run.in_fresh_processes(
            lambda fresh, label=label: fresh.compare(_water(fresh), EVALUATIONS, sides, exact={}, label=label), keep
        )
    structures = molecules.acetylacetones(2 if run.quick else 10)
    run.in_fresh_processes(
        lambda fresh: fresh.compare(
            _case(fresh, "train", structures, 64), ("training_step",), sides, exact={}, label="training"
        )
    )


def water_fp64(run: Run) -> None:
    """The same in double precision; here the error of ours is the table's own."""
    _evaluate(run, "float64")


def ethanol_fp32(run: Run) -> None:
    """A small molecule, where overheads count."""
    case = _case(run, "evaluate", [molecules.ethanol()], 128)
    run.compare(case, EVALUATIONS, run.sides(PEER), exact=_own_exact(run, case))


def calculator(run: Run) -> None:
    """One step of molecular dynamics' calculator, neighbours included."""
    run.compare(_water(run, "calculator"), ("calculator_step",), run.sides(PEER), exact={})


def training(run: Run) -> None:
    """One training step: energy and force loss, gradient through the forces, Adam."""
    structures = molecules.acetylacetones(2 if run.quick else 10)
    run.compare(_case(run, "train", structures, 64), ("training_step",), run.sides(PEER), exact={})


def memory(run: Run) -> None:
    """The largest resident size of a process that does nothing but evaluate the water box."""
    if not run.first or run.session.options.device != "cpu":
        return
    case = {**_water(run), "device": "cpu"}
    for dtype in ("float32", "float64"):
        for task in EVALUATIONS:
            row: dict[str, Any] = {
                "label": f"process, {task}", "task": task, "threads": run.team.threads, "dtype": dtype,
                "case": slim(case), "memory": {},
            }  # fmt: skip
            for side in run.sides(PEER) if task == EVALUATIONS[0] else [OURS]:
                row["memory"][side] = _process(run, side, case, dtype, task)
            run.session.add(run.problem, row)


def _process(run: Run, side: str, case: dict[str, Any], dtype: str, task: str) -> dict[str, Any]:
    try:
        client = run.team.start(side)
    except WorkerError as error:
        return {"note": shorten(str(error))}
    try:
        client.wait()
        answer = client.do("setup", case=case, dtype=dtype)
        if task not in answer["tasks"]:
            return {"note": answer["absent"].get(task, "not offered")}
        client.do("time", task=task, repetitions=3)
        return client.do("memory")
    except WorkerError as error:
        return {"note": shorten(str(error))}
    finally:
        client.close()


def water_gpu(run: Run) -> None:
    """A large box on a GPU, 128×(0e+1o+2e)."""
    if run.session.options.device == "cuda":
        case = _case(run, "evaluate", [molecules.water_box(4 if run.quick else 12)], 128, hidden_lmax=2)
        run.compare(case, EVALUATIONS, run.sides(PEER), exact={})


PROBLEMS: Problems = {
    "water_fp32": (water_fp32, "energy + forces, 128×(0e+1o), 2 layers, correlation 3, 192 atoms of water, 5 Å"),
    "threads": (threads, "the water box and the training step on all threads and on one, in turns"),
    "water_fp64": (water_fp64, "the same in double precision"),
    "ethanol_fp32": (ethanol_fp32, "the same of one ethanol molecule"),
    "calculator": (calculator, "one step of the ASE calculator, water"),
    "training": (training, "one training step, 64×(0e+1o), a batch of 10 acetylacetones"),
    "memory": (memory, "largest resident size of the evaluating process"),
    "water_gpu": (water_gpu, "5 184 atoms of water, 128×(0e+1o+2e) (with --device cuda)"),
}


if __name__ == "__main__":
    sys.exit(Session("model_step", arguments(__doc__ or "", PROBLEMS)).run(PROBLEMS))

"""FAENet on acetylacetone: conservative forces with deterministic frames beside direct forces with random frames.

    python benchmarks/faenet_acac.py [--data ../shared/data/acac] [--runs runs/faenet_acac]
    python benchmarks/faenet_acac.py --only train:direct      # one stage, for example beside another one
    python benchmarks/faenet_acac.py --quick                  # does it run?

Two networks of the same size and with the same smooth cutoff are trained on the same structures:

* ``gradient``: one random frame of each molecule and training step, then the average over its weighted frames, and
  forces that are minus the gradient of that average (`examples/acac_faenet.yaml`);
* ``direct``: as published, one random frame also where the trained network is used, and forces that are an output.

Then constant-energy dynamics from one and the same start: the relaxed molecule after 1 ps at 300 K (Langevin) with the
forces of ``gradient``, and velocities of 300 K from a fixed seed. ``direct_full`` is the second network averaged over
all its frames: deterministic, and still no gradient. Finished stages are taken as they are: remove their files to
repeat them; a training that was ended is continued. Writes `benchmarks/results/faenet_acac.json` and
`docs/images/faenet_acac.png`.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from ase import Atoms
from ase.io import read, write

import equitools as et
from benchmarks._results import IMAGES, ROOT, save
from benchmarks.symmetrized.faenet_page import TITLES
from equitools._atomic import write_text
from equitools.graph import Graph
from equitools.integrations.ase import EquitoolsCalculator
from equitools.integrations.dynamics import (
    BondGraph,
    DynamicsSettings,
    energy_drift,
    internal_freedom,
    run_dynamics,
    thermal_momenta,
)
from equitools.integrations.relaxation import relax
from equitools.models import FAENet

#: Of `examples/acac_faenet.yaml`, what is set otherwise.
TRAININGS: dict[str, dict[str, Any]] = {
    "gradient": {"trainer.max_time_minutes": 48},
    "direct": {
        "trainer.max_time_minutes": 30,
        "model.vectors": "true",
        "potential.direct_forces": "true",
        "model.frames_in_training": "sample",
        "model.frames_in_eval": "sample",
    },
}
#: Name of a run of dynamics: which network, and which frames.
DYNAMICS = {"gradient": ("gradient", "weighted"), "direct": ("direct", "sample"), "direct_full": ("direct", "full")}
TIMESTEP, TEMPERATURE, SEED = 0.5, 300.0, 2026
STAGES = [*(f"train:{name}" for name in TRAININGS), "start", *(f"md:{name}" for name in DYNAMICS), "write"]


def train(name: str, data: Path, run: Path, extra: list[str]) -> None:
    """Train a network, unless that has been done; continue where it was ended."""
    if (run / "result.json").exists():
        return
    files = {
        "data.train": data / "train_300K.xyz",
        "data.test": data / "test_MD_300K.xyz",
        "potential.reference_energies.file": data / "isolated_atoms.xyz",
        "output": run,
    }
    words = [f"{key}={value}" for key, value in {**files, **TRAININGS[name]}.items()]
    again = ["--resume"] if (run / "last.ckpt").exists() else []
    base = [sys.executable, "-m", "equitools", "train", "examples/acac_faenet.yaml"]
    subprocess.run([*base, *words, *extra, *again], check=True, cwd=ROOT)


def potential(runs: Path, network: str, frames: str, dtype: str = "float32") -> torch.nn.Module:
    """Return a trained potential that uses the given frames."""
    model = et.load(runs / network / "model.safetensors", dtype=dtype)
    backbone = model.backbone
    if not isinstance(backbone, FAENet):
        raise SystemExit(f"{runs / network} holds a {type(backbone).__name__}, not a FAENet")
    backbone.config = backbone.config.model_copy(update={"frames_in_eval": frames})
    return model


def start(runs: Path, data: Path, equilibration: int) -> Atoms:
    """Return the molecule that all runs begin with, made once: relaxed, then 300 K for a while, then new velocities."""
    path = runs / "start.extxyz"
    if not path.exists():
        calculator = EquitoolsCalculator(potential(runs, "gradient", "weighted"))
        atoms = relax(read(data / "test_MD_300K.xyz", index=0), calculator, fmax=0.02, steps=300).atoms
        settings = DynamicsSettings(
            ensemble="nvt", temperature=TEMPERATURE, timestep=TIMESTEP, steps=equilibration, seed=SEED
        )
        atoms = run_dynamics(atoms, calculator, settings).atoms
        thermal_momenta(atoms, TEMPERATURE, np.random.default_rng(SEED))
        partial = path.with_name(".start.extxyz")
        write(partial, atoms, columns=["symbols", "positions", "momenta"], format="extxyz")
        partial.replace(path)
    return read(path)


def dynamics(name: str, runs: Path, data: Path, steps: int, equilibration: int) -> None:
    """Run one of the dynamics, unless that has been done."""
    path = runs / f"md_{name}.json"
    if path.exists():
        return
    atoms = start(runs, data, equilibration)
    model = potential(runs, *DYNAMICS[name])
    settings = DynamicsSettings(timestep=TIMESTEP, temperature=TEMPERATURE, steps=steps, keep_velocities=True)
    bonds, torn = BondGraph(atoms), []
    # the velocities are those of internal motion alone, which has fewer degrees of freedom than run_dynamics takes
    factor = 3 * len(atoms) / internal_freedom(atoms)
    calculator = _Watched(model)
    calculator.seen = atoms.copy()
    began = time.monotonic()

    def watch(step: int, row: dict[str, float], drift: float) -> None:
        if not torn and not bonds.keeps_molecules(calculator.seen):
            torn.append(row["time_fs"])
        if step % 2000 == 0:
            now = f"{row['time_fs'] / 1000:.1f} ps, {factor * row['temperature_K']:.0f} K, {drift:+.3f} meV/atom/ps"
            fate = "broken" if torn else "intact"
            print(f"{name}: {now}, {fate}, {time.monotonic() - began:.0f} s", flush=True)

    torch.manual_seed(SEED)
    result = run_dynamics(atoms, calculator, settings, on_record=watch)
    keep = max(1, len(result.table["step"]) // 500)
    atoms_count = len(atoms)
    per_atom = 1000 / atoms_count
    total = result.table["total_eV"]
    until = result.table["time_fs"] <= (torn[0] if torn else math.inf)
    summary = result.summary()
    temperature = factor * result.table["temperature_K"]
    summary.update(
        temperature_mean_K=float(temperature.mean()),
        temperature_std_K=float(temperature.std()),
        temperature_first_ps_K=float(temperature[result.table["time_fs"] <= 1000].mean()),
        temperature_last_ps_K=float(temperature[result.table["time_fs"] >= result.table["time_fs"][-1] - 1000].mean()),
        broken_at_ps=torn[0] / 1000 if torn else None,
        drift_until_broken=energy_drift(result.table["time_fs"][until], total[until], atoms_count)[0],
        total_noise_meV_per_atom=float(np.diff(total).std() / math.sqrt(2) * per_atom),
        step_ms=1000 * result.seconds / max(1, result.steps_done),
    )
    series = {
        "time_ps": [round(float(t) / 1000, 4) for t in result.table["time_fs"][::keep]],
        "total_meV_per_atom": [round(float(e), 4) for e in ((total - total[0]) * per_atom)[::keep]],
        "temperature_K": [round(float(t), 1) for t in temperature[::keep]],
    }
    write_text(path, json.dumps({"summary": summary, "series": series}) + "\n")


class _Watched(EquitoolsCalculator):
    """The calculator, which keeps what it saw last, for the watch on bonds."""

    seen: Atoms

    def evaluate(self, atoms: Atoms, properties: Any = ("energy", "forces")) -> dict[str, Any]:
        self.seen.positions = atoms.positions
        return super().evaluate(atoms, properties)


def symmetry(runs: Path, data: Path, network: str, frames: str, count: int = 20) -> dict[str, float]:
    """Return by how much energy and forces change when a molecule is turned, over a few of them (float64)."""
    model = potential(runs, network, frames, "float64")
    generator = torch.Generator().manual_seed(SEED)
    energies, forces = [], []
    torch.manual_seed(SEED)
    for atoms in read(data / "test_MD_300K.xyz", index=f":{count}"):
        graph = Graph.from_ase(atoms, model.cutoff, dtype=torch.float64)
        matrix = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
        matrix = matrix * torch.linalg.det(matrix)
        one, two = model(graph), model(graph.replace(positions=graph.positions @ matrix.T))
        energies.append(float((one["energy"] - two["energy"]).abs()))
        forces.append(float((one["forces"] @ matrix.T - two["forces"]).square().mean().sqrt()))
    return {"energy_meV": 1000 * float(np.mean(energies)), "forces_meV_per_A": 1000 * float(np.mean(forces))}


def collect(runs: Path, data: Path) -> dict[str, Any]:
    """Read what all stages have left."""
    trained = {}
    for name in TRAININGS:
        found = json.loads((runs / name / "result.json").read_text(encoding="utf-8"))
        trained[name] = {
            "structures": found["structures"],
            "parameters": found["parameters"],
            "epochs": found["timing"]["epochs"],
            "minutes": found["timing"]["training_seconds"] / 60,
            "test": found["errors"]["test"],
        }
    runs_of = {name: json.loads((runs / f"md_{name}.json").read_text(encoding="utf-8")) for name in DYNAMICS}
    return {
        "data": "acetylacetone, train_300K (450 training, 50 validation), test_MD_300K",
        "trained": trained,
        "symmetry": {name: symmetry(runs, data, *parts) for name, parts in DYNAMICS.items()},
        "dynamics": runs_of,
    }


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the total energies: what is conserved above, on its own scale, and the beginning of all of them below."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (fine, coarse) = plt.subplots(2, 1, figsize=(7, 5.5), layout="constrained")
    colours = {"gradient": "C0", "direct": "C3", "direct_full": "C1"}
    for name, run in result["dynamics"].items():
        series, summary = run["series"], run["summary"]
        line = {"color": colours[name], "lw": 1.0, "label": TITLES[name]}
        if name == "gradient":
            fine.plot(series["time_ps"], series["total_meV_per_atom"], **line)
        coarse.plot(series["time_ps"], series["total_meV_per_atom"], **line)
        if summary["broken_at_ps"] is not None:
            coarse.axvline(summary["broken_at_ps"], color=colours[name], ls=":", lw=1.0)
    coarse.set_yscale("symlog", linthresh=1.0)
    torn = [run["series"]["time_ps"][-1] for run in result["dynamics"].values() if run["summary"]["stopped"]]
    if torn:
        coarse.set_xlim(0, 1.5 * max(torn))
    for axes in (fine, coarse):
        axes.set_xlabel("time / ps")
        axes.set_ylabel("change of total energy\nmeV / atom")
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "acac")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "faenet_acac", help="folder of the stages")
    parser.add_argument("--only", choices=STAGES, help="one stage")
    parser.add_argument("--quick", action="store_true", help="tiny networks and a few steps; writes into --runs only")
    arguments = parser.parse_args()
    runs, data = arguments.runs.resolve(), arguments.data.resolve()
    steps, equilibration, extra = round(20_000 / TIMESTEP), 2000, []
    if arguments.quick:
        steps, equilibration = 40, 10
        extra = ["model.hidden=36", "model.filters=8", "model.layers=1", "model.gaussians=4", "model.period_group=4"]
        extra += ["trainer.max_epochs=1", "trainer.max_time_minutes=5", "data.train_size=20", "ema=null"]
    runs.mkdir(parents=True, exist_ok=True)
    for stage in STAGES if arguments.only is None else [arguments.only]:
        kind, _, name = stage.partition(":")
        if kind == "train":
            train(name, data, runs / name, extra)
        elif kind == "start":
            start(runs, data, equilibration)
        elif kind == "md":
            dynamics(name, runs, data, steps, equilibration)
        else:
            result = collect(runs, data)
            quick = arguments.quick
            # all stages belong to the result, however many commands they were run by
            words = "python benchmarks/faenet_acac.py" + " --quick" * quick
            save("faenet_acac", words, result, runs / "faenet_acac.json" if quick else None)
            draw(result, (runs if quick else IMAGES) / "faenet_acac.png")


if __name__ == "__main__":
    main()

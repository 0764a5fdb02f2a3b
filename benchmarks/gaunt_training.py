"""Many-body networks with Gaunt products beside the same network with Clebsch–Gordan ones, trained on real data.

    python benchmarks/gaunt_training.py                     # trains (two at a time, one thread each), then times steps
    python benchmarks/gaunt_training.py --only steps        # times the training steps again; the machine should be idle
    python benchmarks/gaunt_training.py --quick             # does it run?

The networks differ in nothing but the products: the same channels, degrees, correlation, seed, batches and epochs.
Where a folder has no test file, a fifth of the training file is held out of training and validation. Writes
`benchmarks/results/gaunt_training.json` and `docs/images/gaunt_training.png`.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from ase.io import read, write

from benchmarks._results import IMAGES, ROOT, load, save

#: What is compared: name, options of the network.
NETWORKS = {
    "Clebsch–Gordan": {},
    "Gaunt product basis": {"product": "gaunt"},
    "Gaunt product basis and convolution": {"product": "gaunt", "convolution": "gaunt"},
}
#: Folder, training file, test file (or None), isolated atoms, epochs.
DATA = {
    "acac": ("train_300K.xyz", "test_MD_300K.xyz", "isolated_atoms.xyz", 100),
    "3bpa": ("train_300K.xyz", None, "iso_atoms.xyz", 60),
}
CHANNELS, BATCH = 64, 5


def _slug(name: str) -> str:
    return name.lower().replace(" ", "_").replace("–", "_")


def files(data: Path, name: str, runs: Path) -> tuple[Path, Path, Path]:
    """Return files of training, test and isolated atoms; a fifth of the training file is set apart where need be."""
    train, test, atoms, _ = DATA[name]
    folder = data / name
    if test is not None:
        return folder / train, folder / test, folder / atoms
    structures = read(folder / train, index=":")
    order = np.random.default_rng(0).permutation(len(structures))
    held = len(structures) // 5
    runs.mkdir(parents=True, exist_ok=True)
    parts = {"train": order[held:], "test": order[:held]}
    for part, indices in parts.items():
        write(runs / f"{name}_{part}.xyz", [structures[i] for i in sorted(indices)])
    return runs / f"{name}_train.xyz", runs / f"{name}_test.xyz", folder / atoms


def train(data: Path, name: str, network: str, runs: Path, epochs: int) -> dict[str, Any]:
    """Train one network in a process of its own with one thread, unless its folder holds the finished training."""
    training, test, atoms = files(data, name, runs)
    run = runs / f"{name}_{_slug(network)}"
    if not (run / "eval.json").exists():
        options = {f"model.{key}": value for key, value in {"channels": CHANNELS, **NETWORKS[network]}.items()}
        options |= {
            "data.train": training,
            "data.test": test,
            "data.batch_size": BATCH,
            "potential.reference_energies.file": atoms,
            "schedule.over": "epochs",
            "trainer.max_epochs": epochs,
            "trainer.max_time_minutes": "null",
            "output": run,
        }
        command = [sys.executable, "-m", "equitools", "train", "examples/acac.yaml"]
        command += [f"{key}={value}" for key, value in options.items()]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (runs / f"{run.name}.log").open("w", encoding="utf-8") as log:
            subprocess.run(
                [*command, "--overwrite"], check=True, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
            subprocess.run(
                [sys.executable, "-m", "equitools", "eval", str(run / "model.safetensors"), str(test), "--output",
                 str(run / "eval.json")], check=True, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
    result, evaluation = (json.loads((run / f"{n}.json").read_text(encoding="utf-8")) for n in ("result", "eval"))
    return {
        "data": name,
        "network": network,
        "epochs": result["timing"]["epochs"],
        "minutes": result["timing"]["training_seconds"] / 60,
        "structures": result["structures"],
        "parameters": result["parameters"],
        "test": evaluation["errors"],
    }


# ---- the time and the memory of a step ------------------------------------------------------------------------------


def steps(data: Path, name: str, seconds: float) -> list[dict[str, Any]]:
    """Time training steps of all networks in turns, one thread, on one batch."""
    import torch

    from equitools.graph import Graph, batch
    from equitools.models import Potential, build

    torch.set_num_threads(1)
    structures = read(data / name / DATA[name][0], index=f":{2 * BATCH}")
    species = tuple(sorted({int(z) for atoms in structures for z in atoms.numbers}))
    graph = batch([Graph.from_ase(atoms, cutoff=5.0) for atoms in structures])
    sides = {}
    for network, options in NETWORKS.items():
        torch.manual_seed(0)
        net = build("many_body_mp", cutoff=5.0, species=species, channels=CHANNELS, **options)
        sides[network] = (Potential(net).train(), [])

    def step(potential: torch.nn.Module) -> None:
        potential.zero_grad()
        out = potential(graph)
        (out["energy"].square().sum() + out["forces"].square().sum()).backward()

    for potential, _ in sides.values():
        for _ in range(3):
            step(potential)
    end = time.perf_counter() + seconds * len(sides)
    while time.perf_counter() < end or min(len(times) for _, times in sides.values()) < 5:
        for potential, times in sides.values():
            start = time.perf_counter()
            step(potential)
            times.append(1e3 * (time.perf_counter() - start))
    return [
        {
            "data": name,
            "network": network,
            "structures": len(structures),
            "edges": graph.num_edges,
            "step_ms": {
                "median": statistics.median(times),
                "q25": float(np.quantile(times, 0.25)),
                "q75": float(np.quantile(times, 0.75)),
                "count": len(times),
            },
            "peak_mb": _peak(data, name, network),
        }
        for network, (_, times) in sides.items()
    ]


def _peak(data: Path, name: str, network: str) -> float:
    """Return how much a few steps add to the resident size of a new process, MB."""
    command = [sys.executable, __file__, "--data", str(data), "--peak", name, network]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    return float(done.stdout)


def peak(data: Path, name: str, network: str) -> None:
    """Print the largest resident size of a few steps less that before them, MB (Linux)."""
    import torch

    from equitools.graph import Graph, batch
    from equitools.models import Potential, build

    torch.set_num_threads(1)
    structures = read(data / name / DATA[name][0], index=f":{2 * BATCH}")
    species = tuple(sorted({int(z) for atoms in structures for z in atoms.numbers}))
    graph = batch([Graph.from_ase(atoms, cutoff=5.0) for atoms in structures])
    net = build("many_body_mp", cutoff=5.0, species=species, channels=CHANNELS, **NETWORKS[network])
    potential = Potential(net).train()

    def size(key: str) -> float:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:"))

    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the largest size so far is forgotten
    before = size("VmRSS")
    for _ in range(3):
        potential.zero_grad()
        out = potential(graph)
        (out["energy"].square().sum() + out["forces"].square().sum()).backward()
    print(size("VmHWM") - before)


def plot(result: dict[str, Any]) -> None:
    """Draw errors and step times side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4))
    kinds = (
        ("forces, meV/Å", lambda row: row["test"]["forces"]["rmse"], "trainings"),
        ("energy, meV", lambda row: row["test"]["energy"]["rmse"], "trainings"),
        ("training step, ms", lambda row: row["step_ms"]["median"], "steps"),
    )
    for axis, (title, value, key) in zip(axes, kinds, strict=True):
        names = list(dict.fromkeys(row["data"] for row in result.get(key, ())))
        for k, network in enumerate(NETWORKS):
            found = {row["data"]: value(row) for row in result.get(key, ()) if row["network"] == network}
            places = [names.index(name) + 0.26 * (k - 1) for name in found]
            bars = axis.bar(places, list(found.values()), 0.24, label=network)
            axis.bar_label(bars, fmt="%.3g", fontsize=7)
        axis.set_xticks(range(len(names)), names)
        axis.set_title(title)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncol=3, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / "gaunt_training.png", dpi=130)


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "gaunt", help="folder of the trainings")
    parser.add_argument("--only", choices=["trainings", "steps"])
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--seconds", type=float, default=10.0, help="for the steps of one network")
    parser.add_argument("--quick", action="store_true", help="one epoch, nothing is written")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    data = arguments.data.resolve()
    if arguments.peak:
        peak(data, *arguments.peak)
        return
    missing = [name for name in DATA if not (data / name).is_dir()]
    if missing:
        sys.exit(f"There is no data of {', '.join(missing)} in {data}: say where it is with --data.")
    runs = arguments.runs.resolve()
    if arguments.quick:
        runs = runs.with_name(runs.name + "_quick")
    old = load("gaunt_training")
    result: dict[str, Any] = dict(old["result"]) if old and not arguments.quick else {}

    def keep() -> None:
        if not arguments.quick:
            save("gaunt_training", " ".join(["python", "benchmarks/gaunt_training.py", *sys.argv[1:]]), result)
            plot(result)

    if arguments.only != "steps":
        runs.mkdir(parents=True, exist_ok=True)
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            jobs = [
                pool.submit(train, data, name, network, runs, 1 if arguments.quick else DATA[name][3])
                for name in DATA
                for network in NETWORKS
            ]
            rows = []
            for job in jobs:
                rows.append(job.result())
                row = rows[-1]
                forces, energy = (row["test"][key]["rmse"] for key in ("forces", "energy"))
                print(f"{row['data']:6s} {row['network']:38s} {forces:8.2f} meV/Å {energy:8.2f} meV", flush=True)
        result["trainings"] = rows
        result["channels"], result["batch"] = CHANNELS, BATCH
        keep()
    if arguments.only != "trainings":
        result["steps"] = [
            row for name in DATA for row in steps(data, name, 1.0 if arguments.quick else arguments.seconds)
        ]
        for row in result["steps"]:
            print(f"{row['data']:6s} {row['network']:38s} {row['step_ms']['median']:8.1f} ms {row['peak_mb']:8.0f} MB")
        keep()


if __name__ == "__main__":
    main()

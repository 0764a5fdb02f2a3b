"""Many-body networks with Gaunt products beside the same network with Clebsch–Gordan ones, trained on real data.

    python benchmarks/gaunt_training.py                     # trains (two at a time, one thread each), then times steps
    python benchmarks/gaunt_training.py --only steps        # times the training steps again; the machine should be idle
    python benchmarks/gaunt_training.py --quick             # does it run?

The networks differ in nothing but the products: the same channels, degrees, correlation, seed, batches and epochs.
Where a folder has no test file, a fifth of the training file is held out of training and validation. A finished
training is taken where its folder says that it was made the same way. Writes `benchmarks/results/gaunt_training.json`
and `docs/images/gaunt_training.png`.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import shlex
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from ase.io import read, write

from benchmarks._results import IMAGES, ROOT, command, load, save
from equitools._atomic import write_text

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
        path = runs / f"{name}_{part}.xyz"
        partial = path.with_name(f".{path.name}.partial")  # whoever reads the file has all of it
        write(partial, [structures[i] for i in sorted(indices)], format="extxyz")
        partial.replace(path)
    return runs / f"{name}_train.xyz", runs / f"{name}_test.xyz", folder / atoms


def commands(parts: tuple[Path, Path, Path], network: str, run: Path, epochs: int) -> list[list[str]]:
    """Return how a network is trained and tested."""
    training, test, atoms = parts
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
    program = [sys.executable, "-m", "equitools"]
    given = [f"{key}={value}" for key, value in options.items()]
    return [
        [*program, "train", "examples/acac.yaml", *given, "--overwrite"],
        [*program, "eval", str(run / "model.safetensors"), str(test), "--output", str(run / "eval.json")],
    ]


class Children:
    """Processes that end together: when one fails, and with Ctrl-C."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: set[subprocess.Popen[str]] = set()
        self.ended = False

    def run(self, command: list[str], log: Path) -> None:
        """Run a command with one thread, what it says goes into a file.

        Raises:
            RuntimeError: It failed, or was ended.
        """
        with log.open("a", encoding="utf-8") as out:
            with self.lock:
                if self.ended:
                    raise RuntimeError("another process failed before this one was started")
                child = subprocess.Popen(
                    command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=out, stderr=subprocess.STDOUT,
                    text=True,
                )  # fmt: skip
                self.running.add(child)
            status = child.wait()
            with self.lock:
                self.running.discard(child)
        if status:
            raise RuntimeError(f"`{shlex.join(command[:4])} …` failed with status {status}: see {log}")

    def end(self) -> None:
        """End those that run, and start no other."""
        with self.lock:
            self.ended = True
            for child in self.running:
                child.terminate()


def train(
    parts: tuple[Path, Path, Path], name: str, network: str, runs: Path, epochs: int, children: Children, reuse: bool
) -> dict[str, Any]:
    """Train one network in a process of its own with one thread, unless its folder holds the same training.

    Args:
        parts: What `files` returns.
        name: Of the data.
        network: Of `NETWORKS`.
        runs: Where the folders are.
        epochs: Their number.
        children: What runs.
        reuse: Take a finished training that does not say how it was made.
    """
    run = runs / f"{name}_{_slug(network)}"
    wanted = commands(parts, network, run, epochs)
    record = run / "benchmark.json"
    known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else None
    same = known == wanted[0][1:] or (known is None and reuse)
    if not (same and (run / "eval.json").exists()):
        for old in (record, run / "eval.json"):
            old.unlink(missing_ok=True)
        log = runs / f"{run.name}.log"
        log.unlink(missing_ok=True)
        for command in wanted:
            children.run(command, log)
        write_text(record, json.dumps(wanted[0][1:], indent=1) + "\n")
    result, evaluation = (json.loads((run / f"{n}.json").read_text(encoding="utf-8")) for n in ("result", "eval"))
    return {
        "data": name,
        "network": network,
        "epochs": result["timing"]["epochs"],
        "structures": result["structures"],
        "parameters": result["parameters"],
        "test": evaluation["errors"],
    }


def trainings(data: Path, runs: Path, jobs: int, quick: bool, reuse: bool) -> list[dict[str, Any]]:
    """Train all networks, a few at a time; when one fails, and with Ctrl-C, all end.

    Raises:
        SystemExit: One failed.
    """
    runs.mkdir(parents=True, exist_ok=True)
    parts = {name: files(data, name, runs) for name in DATA}
    children = Children()
    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    waiting = [
        pool.submit(train, parts[name], name, network, runs, 1 if quick else DATA[name][3], children, reuse)
        for name in DATA
        for network in NETWORKS
    ]
    try:
        for job in concurrent.futures.as_completed(waiting):
            row = job.result()
            forces, energy = (row["test"][key]["rmse"] for key in ("forces", "energy"))
            print(f"{row['data']:6s} {row['network']:38s} {forces:8.2f} meV/Å {energy:8.2f} meV", flush=True)
    except RuntimeError as failure:
        sys.exit(str(failure))
    finally:
        children.end()
        pool.shutdown(cancel_futures=True)
    return [job.result() for job in waiting]


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


def _peak(data: Path, name: str, network: str) -> float | None:
    """Return how much a few steps add to the resident size of a new process, MB; ``None`` where none can be had."""
    if sys.platform != "linux":
        return None
    command = [sys.executable, __file__, "--data", str(data), "--peak", name, network]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    return float(done.stdout)


def peak(data: Path, name: str, network: str) -> None:
    """Print the largest resident size of a few steps less that before them, MB, after a first step (Linux)."""
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

    def step() -> None:
        potential.zero_grad()
        out = potential(graph)
        (out["energy"].square().sum() + out["forces"].square().sum()).backward()

    step()  # tables, code
    potential.zero_grad()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the largest size so far is forgotten
    before = size("VmRSS")
    for _ in range(3):
        step()
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
    parser.add_argument(
        "--reuse", action="store_true", help="take finished trainings whose folder does not say how they were made"
    )
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
            save(
                "gaunt_training",
                command("gaunt_training.py"),
                result,
            )
            plot(result)

    if arguments.only != "steps":
        result["trainings"] = trainings(data, runs, arguments.jobs, arguments.quick, arguments.reuse)
        result["channels"], result["batch"] = CHANNELS, BATCH
        keep()
    if arguments.only != "trainings":
        result["steps"] = [
            row for name in DATA for row in steps(data, name, 1.0 if arguments.quick else arguments.seconds)
        ]
        for row in result["steps"]:
            memory = "" if row["peak_mb"] is None else f" {row['peak_mb']:8.0f} MB"
            print(f"{row['data']:6s} {row['network']:38s} {row['step_ms']['median']:8.1f} ms{memory}", flush=True)
        keep()


if __name__ == "__main__":
    main()

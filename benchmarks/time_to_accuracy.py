"""Acetylacetone: validation error against wall time, ours beside mace-torch trained by its own command.

    python benchmarks/time_to_accuracy.py --minutes 60            # both sides, an hour each, 2 threads
    python benchmarks/time_to_accuracy.py --side mace-torch       # one of them; the other's result stays
    python benchmarks/time_to_accuracy.py --config examples/acac.yaml model.channels=64

Both have the same 450 training and 50 validation structures and the same time. Ours follows a configuration;
mace-torch has the settings of its documentation (64 channels, max_L 1, correlation 3, EMA, AMSGrad, a second stage with
a large energy weight), and as many epochs as its measured speed allows, so that its schedule ends with the time. A side
that was cut off goes on from its last epoch; a side that is finished is not run again (``--again`` does).

Writes `benchmarks/results/time_to_accuracy.json` when a side ends, and while it runs `runs/time_to_accuracy/SIDE/`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ase import Atoms
from ase.io import read, write

from benchmarks._results import ROOT, load, save
from benchmarks.side_by_side import environments

RUNS = ROOT / "runs" / "time_to_accuracy"
OURS, PEER = "equitools", "mace-torch"
#: epoch, energy RMSE in meV, force RMSE in meV/Å
Errors = tuple[int, float, float]


def split(data: Path, seed: int = 1) -> tuple[list[Atoms], list[Atoms]]:
    """Return 450 structures for training and 50 for validation."""
    structures = read(data / "train_300K.xyz", index=":")
    order = np.random.default_rng(seed).permutation(len(structures))
    count = len(structures) // 10
    return [structures[k] for k in sorted(order[count:])], [structures[k] for k in sorted(order[:count])]


def prepare(data: Path) -> None:
    """Write both sides' files; mace-torch reads its labels under names that ASE does not interpret."""
    RUNS.mkdir(parents=True, exist_ok=True)
    sets = dict(zip(("train", "valid"), split(data), strict=True)) | {
        "test": read(data / "test_MD_300K.xyz", index=":")
    }
    for name, structures in sets.items():
        write(RUNS / f"{name}.xyz", structures)
        for atoms in structures:
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
            atoms.calc = None
            atoms.info = {"REF_energy": energy}
            atoms.arrays["REF_forces"] = forces
        write(RUNS / f"{name}_mace.xyz", structures)


def watch(command: list[str], folder: Path, found: Callable[[], list[Errors]], **more: Any) -> float:
    """Run a training and note when each epoch's errors appear; return its minutes, with those before an interruption.

    Args:
        command: Of the training.
        folder: Of the side; ``history.jsonl`` grows there.
        found: Reads the errors of all epochs so far.
        more: For `subprocess.Popen`.
    """
    log = folder / "history.jsonl"
    before = _history(folder)
    known = {entry["epoch"] for entry in before}
    offset = max((entry["minutes"] for entry in before), default=0.0)
    start = time.monotonic()
    with (folder / "log.txt").open("a", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, **more)
        try:
            running = True
            while running:
                running = process.poll() is None
                minutes = offset + (time.monotonic() - start) / 60
                new = [errors for errors in found() if errors[0] not in known]
                with log.open("a", encoding="utf-8") as lines:
                    for epoch, energy, forces in new:
                        known.add(epoch)
                        entry = {
                            "epoch": epoch,
                            "minutes": minutes,
                            "energy_rmse_meV": energy,
                            "forces_rmse_meV_A": forces,
                        }
                        lines.write(json.dumps(entry) + "\n")
                if running:
                    time.sleep(0.5)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        raise RuntimeError(f"the training ended with {process.returncode}: see {folder / 'log.txt'}")
    return offset + (time.monotonic() - start) / 60


def _history(folder: Path) -> list[dict[str, Any]]:
    log = folder / "history.jsonl"
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []


def _lines(path: Path) -> list[str]:
    """Return the whole lines of a file that another process writes."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1].splitlines()


def ours(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train with `equitools train`."""
    run = folder / "run"
    equitools = [sys.executable, "-m", "equitools"]
    isolated = options.data / "isolated_atoms.xyz"
    command = [
        *equitools, "train", str(options.config), f"data.train={RUNS / 'train.xyz'}",
        f"data.valid={RUNS / 'valid.xyz'}", f"data.test={RUNS / 'test.xyz'}",
        f"potential.reference_energies.file={isolated}", f"output={run}",
        f"trainer.max_time_minutes={options.minutes}", *options.override,
        *(["--resume"] if (run / "last.ckpt").exists() else ["--overwrite"]),
    ]  # fmt: skip

    def found() -> list[Errors]:
        rows = csv.DictReader(_lines(run / "metrics.csv"))
        return [
            (int(float(row["epoch"])), float(row["valid_energy_rmse"]), float(row["valid_forces_rmse"])) for row in rows
        ]

    minutes = watch(command, folder, found)
    report = json.loads((run / "result.json").read_text(encoding="utf-8"))
    test = report["errors"]["test"]
    return {
        "minutes": minutes,
        "parameters": report["parameters"],
        "test": {"energy_rmse_meV": test["energy"]["rmse"], "forces_rmse_meV_A": test["forces"]["rmse"]},
        "settings": " ".join([Path(options.config).name, *options.override]),
    }


def mace(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train with mace-torch's own command, in its environment."""
    python, reason = environments.find("mace", install=not options.no_install)
    if python is None:
        return {"note": reason}
    # e3nn 0.4 and its checkpoints hold objects that torch's safe loading refuses.
    environment = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    energies = {
        int(atoms.numbers[0]): float(atoms.get_potential_energy())
        for atoms in read(options.data / "isolated_atoms.xyz", index=":")
    }
    settings = [
        "--model=MACE", "--num_channels=64", "--max_L=1", "--max_ell=3", "--correlation=3", "--num_interactions=2",
        "--r_max=5.0", "--batch_size=5", "--valid_batch_size=50", "--lr=0.01", "--amsgrad", "--ema", "--ema_decay=0.99",
        "--default_dtype=float32", "--device=cpu", "--seed=1", "--eval_interval=1",
    ]  # fmt: skip
    train = str(python.parent / "mace_run_train")

    def command(name: str, epochs: int) -> list[str]:
        return [
            str(python), train, f"--name={name}", f"--work_dir={folder}", f"--E0s={energies}",
            f"--train_file={RUNS / 'train_mace.xyz'}", f"--valid_file={RUNS / 'valid_mace.xyz'}",
            "--energy_key=REF_energy", "--forces_key=REF_forces", *settings, f"--max_num_epochs={epochs}",
        ]  # fmt: skip

    def found(name: str) -> list[Errors]:
        entries = [json.loads(line) for line in _lines(folder / "results" / f"{name}_run-1_train.txt")]
        return [
            (entry["epoch"], 1e3 * entry["rmse_e"], 1e3 * entry["rmse_f"])
            for entry in entries
            if entry["mode"] == "eval" and entry.get("epoch") is not None
        ]

    plan = folder / "plan.json"
    if not plan.exists():  # how long is an epoch?
        shutil.rmtree(folder / "calibration", ignore_errors=True)
        calibration = folder / "calibration"
        calibration.mkdir()
        watch(command("calibration", 2), calibration, lambda: found("calibration"), env=environment)
        times = [entry["minutes"] for entry in _history(calibration)]
        epochs = max(4, int(options.minutes / max(times[-1] - times[-2], 1e-3)))
        plan.write_text(json.dumps({"epochs": epochs}), encoding="utf-8")
    epochs = json.loads(plan.read_text(encoding="utf-8"))["epochs"]
    stages = ["--swa", f"--start_swa={max(2, 3 * epochs // 4)}", "--restart_latest"]
    minutes = watch([*command("acac", epochs), *stages], folder, lambda: found("acac"), env=environment)
    models = [folder / "acac_stagetwo.model", folder / "acac.model"]
    model = next(path for path in models if path.exists())
    predicted = folder / "test_predicted.xyz"
    subprocess.run(
        [str(python), str(python.parent / "mace_eval_configs"), f"--configs={RUNS / 'test_mace.xyz'}",
         f"--model={model}", f"--output={predicted}", "--device=cpu", "--default_dtype=float32", "--batch_size=50"],
        check=True, cwd=ROOT, env=environment, capture_output=True,
    )  # fmt: skip
    count = "import sys, torch; print(sum(p.numel() for p in torch.load(sys.argv[1], map_location='cpu').parameters()))"
    done = subprocess.run(
        [str(python), "-c", count, str(model)], check=True, env=environment, capture_output=True, text=True
    )
    return {
        "minutes": minutes,
        "parameters": int(done.stdout.strip().splitlines()[-1]),
        "epochs": epochs,
        "test": _errors(predicted),
        "settings": " ".join([*settings, *stages]),
    }


def _errors(predicted: Path) -> dict[str, float]:
    structures = read(predicted, index=":")
    energies = [atoms.info["MACE_energy"] - atoms.info["REF_energy"] for atoms in structures]
    forces = np.concatenate([atoms.arrays["MACE_forces"] - atoms.arrays["REF_forces"] for atoms in structures])
    return {
        "energy_rmse_meV": 1e3 * float(np.sqrt(np.mean(np.square(energies)))),
        "forces_rmse_meV_A": 1e3 * float(np.sqrt(np.mean(np.square(forces)))),
    }


SIDES = {OURS: ours, PEER: mace}


def main() -> int:
    """Run the sides that are not finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "acac")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", action="append", choices=list(SIDES))
    parser.add_argument("--config", type=Path, default=ROOT / "examples" / "acac.yaml")
    parser.add_argument("--again", action="store_true", help="forget what was trained before")
    parser.add_argument("--no-install", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="does it run? Own folder, no result file")
    parser.add_argument("override", nargs="*", metavar="KEY=VALUE", help="changes to our configuration")
    options = parser.parse_args()
    options.data, options.config = options.data.resolve(), options.config.resolve()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the training ends with this process
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ["PYTHONPATH"] = str(ROOT)
    base = RUNS.with_name("time_to_accuracy_smoke") if options.smoke else RUNS
    prepare(options.data)
    stored = None if options.smoke else load("time_to_accuracy")
    result: dict[str, Any] = {
        "data": "acetylacetone, train_300K (450 training, 50 validation)", "minutes": options.minutes,
        "threads": options.threads, "sides": stored["result"]["sides"] if stored else {},
    }  # fmt: skip
    for side in options.side or list(SIDES):
        folder = base / side
        if options.again:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        finished = folder / "finished.json"
        if not finished.exists():
            print(f"{side}: training for {options.minutes:g} minutes …", flush=True)
            try:
                found = SIDES[side](folder, options)
            except KeyboardInterrupt:
                print("\ninterrupted: the same command goes on from the last epoch", flush=True)
                return 130
            if "note" in found:
                result["sides"][side] = found
                print(f"{side}: {found['note']}")
                continue
            finished.write_text(json.dumps({**found, "history": _history(folder)}), encoding="utf-8")
        result["sides"][side] = json.loads(finished.read_text(encoding="utf-8"))
        summary = {key: value for key, value in result["sides"][side].items() if key != "history"}
        print(f"{side}: {json.dumps(summary)}", flush=True)
        if not options.smoke:
            save("time_to_accuracy", "python benchmarks/time_to_accuracy.py", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())

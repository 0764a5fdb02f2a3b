"""Acetylacetone: train `examples/acac.yaml`, test it on the 300 K test set, run 10 ps of NVE dynamics.

    python benchmarks/acac.py [--data ../shared/data/acac] [--reuse] [--run FOLDER]

Writes `benchmarks/results/acac.json`, `docs/images/acac_*.png`. Takes about 50 minutes; `--reuse` takes what the run's
folder holds of finished training and dynamics, and `--run` names another folder than `runs/acac`, such as our side's of
`benchmarks/time_to_accuracy.py`, which trains the same network on the same structures.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ase.io import read

from benchmarks._results import IMAGES, ROOT, save
from equitools.integrations.dynamics import BondGraph


def _equitools(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "equitools", *arguments], check=True, cwd=ROOT)


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def train(data: Path, run: Path, reuse: bool) -> None:
    """Train, unless a finished training may be taken."""
    if reuse and (run / "result.json").exists():
        return
    _equitools(
        "train",
        "examples/acac.yaml",
        f"data.train={data / 'train_300K.xyz'}",
        f"data.test={data / 'test_MD_300K.xyz'}",
        f"potential.reference_energies.file={data / 'isolated_atoms.xyz'}",
        f"output={run}",
        "--overwrite",
    )


def molecule_is_intact(trajectory: Path) -> bool:
    """Return whether the molecule of the first frame is the molecule of every frame."""
    frames = read(trajectory, index=":")
    bonds = BondGraph(frames[0])
    return all(bonds.keeps_molecules(frame) for frame in frames)


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "acac")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "acac", help="folder of the training")
    parser.add_argument("--reuse", action="store_true")
    arguments = parser.parse_args()
    run = arguments.run.resolve()
    train(arguments.data, run, arguments.reuse)
    model = str(run / "model.safetensors")
    test = str(arguments.data / "test_MD_300K.xyz")
    _equitools("eval", model, test, "--plot", str(run / "test_parity.png"), "--output", str(run / "eval.json"))
    if not (arguments.reuse and (run / "md" / "md.json").exists()):
        _equitools("md", model, test, "--ensemble", "nve", "--temperature", "300", "--timestep", "0.5", "--time", "10",
                   "--equilibrate", "0.5", "--output", str(run / "md"))  # fmt: skip
    training, evaluation, dynamics = _json(run / "result.json"), _json(run / "eval.json"), _json(run / "md" / "md.json")
    dynamics["molecule_intact"] = molecule_is_intact(run / "md" / "trajectory.extxyz")
    save(
        "acac",
        " ".join(["python", "benchmarks/acac.py", *sys.argv[1:]]),
        {
            "data": "acetylacetone, train_300K (450 training, 50 validation), test_MD_300K",
            "structures": training["structures"],
            "parameters": training["parameters"],
            "training_minutes": training["timing"]["training_seconds"] / 60,
            "epochs": training["timing"]["epochs"],
            "test": evaluation["errors"],
            "nve": dynamics,
        },
    )
    IMAGES.mkdir(parents=True, exist_ok=True)
    for source, name in (
        (run / "test_parity.png", "acac_parity.png"),
        (run / "learning_curve.png", "acac_learning_curve.png"),
        (run / "md" / "energy_conservation.png", "acac_energy.png"),
    ):
        shutil.copyfile(source, IMAGES / name)


if __name__ == "__main__":
    main()

"""Copper with EMT's labels: train `examples/copper.yaml`, report energy, forces and stress, relax a distorted cell.

    python benchmarks/copper.py [--reuse]

Writes `benchmarks/results/copper.json` and `docs/images/copper_parity.png`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import IMAGES, ROOT, save
from examples.relax_copper import compare

RUN = ROOT / "runs" / "copper"


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reuse", action="store_true")
    if not (parser.parse_args().reuse and (RUN / "result.json").exists()):
        subprocess.run([sys.executable, "examples/make_copper.py"], check=True, cwd=ROOT)
        subprocess.run(
            [sys.executable, "-m", "equitools", "train", "examples/copper.yaml", "--overwrite"], check=True, cwd=ROOT
        )
    training = json.loads((RUN / "result.json").read_text(encoding="utf-8"))
    save(
        "copper",
        "python benchmarks/copper.py",
        {
            "structures": training["structures"],
            "parameters": training["parameters"],
            "training_minutes": training["timing"]["training_seconds"] / 60,
            "test": training["errors"]["test"],
            "relaxation": compare(RUN / "model.safetensors"),
        },
    )
    IMAGES.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(RUN / "parity.png", IMAGES / "copper_parity.png")


if __name__ == "__main__":
    main()

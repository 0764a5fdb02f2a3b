"""The demo's figures: run `equitools demo` and keep its result and pictures for the README.

    python benchmarks/demo.py [--reuse]

Writes `benchmarks/results/demo.json` and `docs/images/demo_*.png`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import IMAGES, ROOT, save

RUN = ROOT / "demo"


def main() -> None:
    """Run the demo and keep its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reuse", action="store_true")
    start = time.perf_counter()
    if not (parser.parse_args().reuse and (RUN / "result.json").exists()):
        subprocess.run([sys.executable, "-m", "equitools", "demo"], check=True, cwd=ROOT)
    result = json.loads((RUN / "result.json").read_text(encoding="utf-8"))
    result["wall_minutes"] = max(time.perf_counter() - start, sum(result["seconds"].values())) / 60
    save("demo", "python benchmarks/demo.py", result)
    IMAGES.mkdir(parents=True, exist_ok=True)
    for source, name in (
        ("energy_conservation.png", "demo_energy.png"),
        ("parity.png", "demo_parity.png"),
        ("learning_curve.png", "demo_learning_curve.png"),
    ):
        shutil.copyfile(RUN / source, IMAGES / name)


if __name__ == "__main__":
    main()

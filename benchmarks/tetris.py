"""Tetris with the chiral pair: the network of `examples/tetris.py` with each product, several seeds.

    python benchmarks/tetris.py            # about 5 minutes
    python benchmarks/tetris.py --quick    # does it run? Writes .bench/tetris.json

Writes `benchmarks/results/tetris.json`: of each training which shapes it tells in fresh random rotations. The seconds
are those of one thread and say nothing about other sizes: the shapes have four points.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import ROOT, command, save


def example() -> ModuleType:
    """Return `examples/tetris.py` as a module: it is a script, and this one has the same name."""
    spec = importlib.util.spec_from_file_location("tetris_example", ROOT / "examples" / "tetris.py")
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - the file is there
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(tetris: ModuleType, product: str, seeds: int, steps: int, rotations: int) -> dict[str, Any]:
    """Train with each seed and test."""
    runs = []
    for seed in range(seeds):
        start = time.perf_counter()
        network = tetris.train(product, seed, steps)
        seconds = time.perf_counter() - start
        runs.append({"seed": seed, "seconds": round(seconds, 1), **tetris.accuracy(network, rotations)})
        print(f"{product}, seed {seed}: {runs[-1]['shapes_told']} of {len(tetris.SHAPES)}, {seconds:.0f} s", flush=True)
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "features": str(network.layers[-1].irreps_out),
        "runs": runs,
    }


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="the result file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tetris = example()
    seeds, steps, rotations = (1, 3, 2) if arguments.quick else (arguments.seeds, tetris.STEPS, 100)
    path = arguments.output or (ROOT / ".bench" / "tetris.json" if arguments.quick else None)
    result: dict[str, Any] = {
        "protocol": {
            "steps": steps, "rotations": rotations, "layers": tetris.LAYERS, "lmax": tetris.LMAX, "rate": tetris.RATE,
            "channels": tetris.CHANNELS, "cutoff": tetris.CUTOFF, "margin": tetris.MARGIN,
        },
        "products": {},
    }  # fmt: skip
    for product in tetris.PRODUCTS:
        result["products"][product] = measure(tetris, product, seeds, steps, rotations)
    ran = command("tetris.py")
    print(f"wrote {save('tetris', ran, result, path)}")


if __name__ == "__main__":
    main()

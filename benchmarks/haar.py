"""Means over rotations by number of elements, and integrals over SL(2) of moved functions.

    python benchmarks/haar.py            # about a minute
    python benchmarks/haar.py --quick    # does it run? Writes .bench/haar.json

Writes `benchmarks/results/haar.json` and `docs/images/haar.png`. Rotations: the root of the mean squared error, over
random translates of the function exp(tr A g) with a fixed matrix A, of its mean over SO(3). SL(2): the mean of a bump
function moved by diag(eˢ, e⁻ˢ), over that of the bump itself, by log-normal samples as they are and by weighted ones,
which estimate the integral against the invariant measure: that one is 1 for every s.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import IMAGES, ROOT, command, save
from benchmarks.lie.haar_page import plot
from equitools.groups import (
    log_uniform_rotations,
    rotation_quadrature,
    sample_haar,
    sample_polar,
    spaced_rotations,
    weighted_mean,
)

SEED = 0


def integrand(g: Tensor, turn: Tensor) -> Tensor:
    """Return exp(tr A h g) for rotations ``[Q, 3, 3]`` and translates h."""
    weights = torch.tensor([[1.2, 0.3, 0.0], [-0.5, 0.8, 0.2], [0.1, 0.0, -0.9]], dtype=torch.float64)
    return torch.einsum("ij,jk,qki->q", weights, turn, g).exp()


def rotations(counts: list[int], degrees: list[int], repeats: int) -> dict[str, list[dict[str, float]]]:
    """Return the relative errors of each way, by number of elements."""
    random = torch.Generator().manual_seed(SEED)
    turns = sample_haar("SO(3)", (repeats,), random)
    elements, weights = rotation_quadrature(3, 24)
    exact = torch.stack([(weights * integrand(elements, turn)).sum() for turn in turns])
    ways: dict[str, list[dict[str, float]]] = {"haar": [], "log_uniform": [], "spaced": [], "quadrature": []}

    def put(way: str, count: int, found: list[Tensor]) -> None:
        error = ((torch.stack(found) - exact) / exact).square().mean().sqrt()
        ways[way].append({"elements": count, "error": float(error)})

    for count in counts:
        put("haar", count, [integrand(sample_haar("SO(3)", (count,), random), turn).mean() for turn in turns])
        drawn = [log_uniform_rotations(3, (count,), random) for _ in turns]
        pairs = zip(drawn, turns, strict=True)
        put("log_uniform", count, [weighted_mean(integrand(g, turn), w).mean for (g, w), turn in pairs])
        even = spaced_rotations(3, count)
        put("spaced", count, [integrand(even, turn).mean() for turn in turns])
    for degree in degrees:
        elements, weights = rotation_quadrature(3, degree)
        put("quadrature", len(elements), [(weights * integrand(elements, turn)).sum() for turn in turns])
    return ways


def bump(g: Tensor) -> Tensor:
    """Return a function of bounded support on SL(2)."""
    return torch.relu(1 - (g.square().sum((-1, -2)) - 2) / 1.5).square()


def moved(samples: int, steps: list[float], spread: float) -> dict[str, Any]:
    """Return means of the moved bump over those of the bump, with error bars."""
    random = torch.Generator().manual_seed(SEED + 1)
    g, log_weight = sample_polar("SL(2)", (samples,), spread, generator=random)
    rows: dict[str, Any] = {"spread": spread, "samples": samples, "log_normal": [], "weighted": []}
    for s in steps:
        h = torch.diag(torch.tensor([math.exp(s), math.exp(-s)], dtype=torch.float64))
        there, here = bump(h @ g), bump(g)
        for name, weight in (("log_normal", torch.ones_like(log_weight)), ("weighted", log_weight.exp())):
            ratio = float((weight * there).mean() / (weight * here).mean())
            error = float((weight * (there - ratio * here)).std() / (weight * here).mean() / math.sqrt(samples))
            rows[name].append({"s": s, "ratio": ratio, "error": error})
    return rows


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, help="the result file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quick = arguments.quick
    path = arguments.output or (ROOT / ".bench" / "haar.json" if quick else None)
    counts = [8, 32] if quick else [8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]
    result = {
        "repeats": 4 if quick else 100,
        "rotations": rotations(counts, [1, 3] if quick else [1, 2, 3, 4, 6, 8, 10, 12, 14], 4 if quick else 100),
        "moved": moved(2000 if quick else 2_000_000, [0.0, 0.5] if quick else [k / 10 for k in range(9)], 1.0),
    }
    print(f"wrote {save('haar', command('haar.py'), result, path)}")
    plot(result, IMAGES / "haar.png" if path is None else path.with_suffix(".png"))


if __name__ == "__main__":
    main()

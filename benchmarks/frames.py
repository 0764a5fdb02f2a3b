"""Frames of many small clouds beside the same frames by torch.linalg.eigh: forward, and with the gradient.

    python benchmarks/frames.py            # about 3 minutes; the machine should be idle
    python benchmarks/frames.py --quick    # does it run? Writes .bench/frames.json

Both sides take turns. The peer is what a careful user would write: centre, second moments, torch.linalg.eigh,
determinants and a table of signs, without any look at degenerate clouds. Writes `benchmarks/results/frames.json`.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import ROOT, command, save
from equitools.ops import eigh3
from equitools.symmetrize import frames

GROUPS = ("SO(3)", "O(3)", "SE(3)")
MODES = ("full", "canonical")
TASKS = ("forward", "forward and gradient")


def signs_of(reflections: bool) -> Tensor:
    """Return the table of signs, 8 rows or the 4 of determinant 1."""
    table = torch.tensor(list(itertools.product((1.0, -1.0), repeat=3)))
    return table if reflections else table[table.prod(1) > 0]


def by_eigh(x: Tensor, group: str, mode: str) -> Tensor:
    """Return the same elements as `equitools.symmetrize.frames`, for clouds that are not degenerate."""
    euclidean, reflections = group == "SE(3)", group == "O(3)"
    mean = x.mean(1) if euclidean else None
    if mean is not None:
        x = x - mean.unsqueeze(1)
    _, vectors = torch.linalg.eigh(x.mT @ x)
    if mode == "full":
        right = torch.linalg.det(vectors.detach()).sign()
        signs = signs_of(reflections).to(x) * torch.stack([torch.ones_like(right)] * 2 + [right], 1).unsqueeze(1)
        elements = vectors.unsqueeze(1) * signs.unsqueeze(2)
    else:
        with torch.no_grad():
            signs = ((x @ vectors) ** 3).sum(1).sign()
            if not reflections:
                signs[:, 0] *= torch.linalg.det(vectors * signs.unsqueeze(1)).sign()
        elements = (vectors * signs.unsqueeze(1)).unsqueeze(1)
    if mean is None:
        return elements
    upper = torch.cat([elements, mean[:, None, :, None].expand(-1, elements.shape[1], -1, -1)], -1)
    last = upper.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*upper.shape[:2], 1, 4)
    return torch.cat([upper, last], -2)


def ours(x: Tensor, group: str, mode: str) -> Tensor:
    """Return the elements of `equitools.symmetrize.frames`."""
    return frames(x, group, mode=mode).elements


def with_gradient(function: Callable[[Tensor, str, str], Tensor], group: str, mode: str) -> Callable[[Tensor], Tensor]:
    """Return a function that gives the gradient of a weighted sum of the elements."""
    weight = torch.randn(16, generator=torch.Generator().manual_seed(2))

    def gradient(x: Tensor) -> Tensor:
        leaf = x.detach().requires_grad_()
        elements = function(leaf, group, mode)
        d = elements.shape[-1]
        (elements * weight[: d * d].view(d, d)).sum().backward()
        assert leaf.grad is not None  # noqa: S101 - the sum depends on it
        return leaf.grad

    return gradient


def difference(clouds: int) -> float:
    """Return the largest difference of what does not depend on the order of the elements, in double precision."""
    x = torch.randn(clouds, 32, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.2
    worst = 0.0
    for group, mode in itertools.product(GROUPS, MODES):
        found, weights = frames(x, group, mode=mode)
        other = by_eigh(x, group, mode)
        third = [
            torch.einsum("bf,bfij,bfkl,bfmn->bijklmn", w, g, g, g)
            for w, g in ((weights, found), (torch.full(other.shape[:2], 1 / other.shape[1]).to(x), other))
        ]
        worst = max(worst, float((third[0] - third[1]).abs().max()))
    return worst


def seconds(function: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Time both in turns, the first one four times a round."""
    first(), second()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        times[0].extend(seconds(first) for _ in range(4))
        times[1].append(seconds(second))
    mine, theirs = (1e3 * median(t) for t in times)
    return {"ms": round(mine, 3), "peer_ms": round(theirs, 3), "ratio": round(theirs / mine, 2)}


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--clouds", type=int, default=100_000)
    parser.add_argument("--points", type=int, default=32)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, help="the result file")
    arguments = parser.parse_args()
    clouds, rounds = (500, 2) if arguments.quick else (arguments.clouds, arguments.rounds)
    path = arguments.output or (ROOT / ".bench" / "frames.json" if arguments.quick else None)
    x = torch.randn(clouds, arguments.points, 3, generator=torch.Generator().manual_seed(0))
    moments = x.mT @ x
    rows: list[dict[str, Any]] = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        solved = compare(lambda: eigh3(moments), lambda: torch.linalg.eigh(moments), rounds)
        rows.append({"threads": threads, "group": "", "mode": "eigenvectors", "task": TASKS[0], **solved})
        for group, mode, task in itertools.product(GROUPS, MODES, TASKS):
            if task == TASKS[0]:
                sides = [lambda f=f: f(x, group, mode) for f in (ours, by_eigh)]  # noqa: B023 - called at once
            else:
                pulled = [with_gradient(f, group, mode) for f in (ours, by_eigh)]
                sides = [lambda g=g: g(x) for g in pulled]
            with torch.set_grad_enabled(task != TASKS[0]):
                found = compare(*sides, rounds)
            rows.append({"threads": threads, "group": group, "mode": mode, "task": task, **found})
            print(f"{threads} threads, {group} {mode}, {task}: {found}", flush=True)
    torch.set_num_threads(max(arguments.threads))
    result = {
        "clouds": clouds, "points": arguments.points, "dtype": "float32", "rounds": rounds,
        "difference_float64": difference(200), "rows": rows,
    }  # fmt: skip
    print(f"wrote {save('frames', command('frames.py'), result, path)}")


if __name__ == "__main__":
    main()

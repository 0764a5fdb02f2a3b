"""Equivariant linear layers by diagrams beside the product with their whole matrix, over the length of the axes.

    python benchmarks/diagrams.py            # about 5 minutes; the machine should be idle
    python benchmarks/diagrams.py --quick    # does it run? Writes .bench/diagrams.json

Writes `benchmarks/results/diagrams.json` and draws `docs/images/diagrams.png` and `docs/images/diagram_pictures.png`.

The layers map tensors with three axes of length n to such tensors, 16 channels to 16, a batch of 32. The dense product
has its matrix assembled beforehand; the layer by factors starts from its weights. Both take turns, and of each the
fastest run counts: what else the machine does can only add to a time.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import IMAGES, ROOT, command, save
from benchmarks.products import diagrams_page
from equitools.ops.diagram_tables import DiagramSpace, diagrams_of, operations
from equitools.ops.diagrams import diagram_linear, diagram_weight_matrix

AXES, CHANNELS, BATCH = 3, 16, 32
GROUPS = ("O", "S", "Sp", "SO")
LENGTHS = (4, 6, 8, 10, 12, 16)
FIGURE = 8
#: Larger matrices are not made.
DENSE_BYTES = 600 * 2**20


def fastest(functions: dict[str, Callable[[], Any]], seconds: float) -> dict[str, dict[str, Any]]:
    """Time functions in turns for so many seconds each, and return the least and the middle time in milliseconds."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    while min(sum(times) for times in taken.values()) < seconds or min(map(len, taken.values())) < 5:
        for name, function in functions.items():
            for _ in range(1 if len(taken[name]) < 2 else max(1, min(50, int(0.05 / np.median(taken[name]))))):
                start = time.perf_counter()
                function()
                taken[name].append(time.perf_counter() - start)
    return {
        name: {"least_ms": 1e3 * min(times), "median_ms": 1e3 * float(np.median(times)), "runs": len(times)}
        for name, times in taken.items()
    }


def tensors(space: DiagramSpace, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an input and weights."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((BATCH, CHANNELS, *(space.n,) * space.k), (space.size, CHANNELS, CHANNELS))
    x, weight = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return x.to(dtype), weight.to(dtype) / math.sqrt(CHANNELS * space.size)


def measure(group: str, n: int, dtype: torch.dtype, seconds: float, threads: int) -> dict[str, Any]:
    """Time one layer, and the whole matrix where that is not too large; compare the results."""
    torch.set_num_threads(threads)
    space = DiagramSpace(group, n, AXES, AXES)
    x, weight = tensors(space, dtype)
    out = diagram_linear(x, weight, space)
    functions: dict[str, Callable[[], Any]] = {"factored": lambda: diagram_linear(x, weight, space)}
    row: dict[str, Any] = {
        "group": group, "n": n, "threads": threads, "dtype": str(dtype).removeprefix("torch."),
        "diagrams": space.size, "operations": operations(space, CHANNELS, CHANNELS),
    }  # fmt: skip
    row["dense_bytes"] = row["operations"]["dense"] * x.element_size()
    if row["dense_bytes"] <= DENSE_BYTES:
        matrix = diagram_weight_matrix(weight, space).contiguous()
        exact = x.flatten(1) @ matrix.T
        row["error"] = float((out.flatten(1) - exact).abs().max() / exact.abs().max())
        functions["dense"] = lambda: x.flatten(1) @ matrix.T
    with torch.no_grad():
        row["times"] = fastest(functions, seconds)
    trained = {"factored": _step(lambda v, w: diagram_linear(v, w, space), x, weight)}
    if "dense" in functions and n <= FIGURE:  # the gradient is as large as the matrix
        trained["dense"] = _step(lambda v, m: v.flatten(1) @ m.T, x, matrix)
    row["training"] = fastest(trained, seconds)
    if "dense" in row["times"]:
        row["ratio"] = row["times"]["dense"]["least_ms"] / row["times"]["factored"]["least_ms"]
    if "dense" in row["training"]:
        row["training_ratio"] = row["training"]["dense"]["least_ms"] / row["training"]["factored"]["least_ms"]
    least = ", ".join(f"{name} {found['least_ms']:.3f} ms" for name, found in row["times"].items())
    print(
        f"{group}({n}) {row['dtype']}, {threads} threads: {least}; ratio {row.get('ratio', 0):.0f}, "
        f"in training {row.get('training_ratio', 0):.0f}",
        flush=True,
    )
    return row


def _step(function: Callable[..., torch.Tensor], *given: torch.Tensor) -> Callable[[], Any]:
    """Return a forward pass with the gradients of all that is given."""
    leaves = [v.clone().requires_grad_() for v in given]

    def run() -> None:
        result = function(*leaves)
        torch.autograd.grad(result, leaves, torch.ones_like(result))

    return run


def single(group: str, lengths: tuple[int, ...]) -> dict[str, Any]:
    """Count the additions that the contraction by one diagram takes, and those of the one that takes the most."""
    counts = []
    for n in lengths:
        space = DiagramSpace(group, n, AXES, AXES)
        counts.append(max(_additions(diagram, n) for diagram in diagrams_of(space) if not diagram.legs))
    return {"group": group, "lengths": list(lengths), "additions": counts}


def _additions(diagram: Any, n: int) -> int:
    lines = sum(bool(top) and bool(bottom) for top, bottom in map(diagram.parts, range(len(diagram.blocks))))
    below = sum(not diagram.parts(b)[0] for b in range(len(diagram.blocks)))
    return n ** (lines + below) - n**lines  # a sum of m numbers has m − 1 additions


def slope(lengths: list[int], values: list[float]) -> float:
    """Return the exponent of a power law through the points, by least squares of the logarithms."""
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])


def exponents(rows: list[dict[str, Any]], group: str, least: int) -> dict[str, Any]:
    """Return the exponents in n of one group's operations and times."""
    mine = sorted((r for r in rows if r["group"] == group and r["n"] >= least), key=lambda r: r["n"])
    lengths = [r["n"] for r in mine]
    kinds = ("contraction", "mixing", "expansion")
    found = {
        "lengths": lengths,
        "operations": slope(lengths, [sum(r["operations"][kind] for kind in kinds) for r in mine]),
        "time": slope(lengths, [r["times"]["factored"]["least_ms"] for r in mine]),
        "operations_dense": slope(lengths, [r["operations"]["dense"] for r in mine]),
    }
    dense = sorted((r for r in rows if r["group"] == group and "dense" in r["times"]), key=lambda r: r["n"])
    if len(dense) > 1:
        found["time_dense"] = slope([r["n"] for r in dense], [r["times"]["dense"]["least_ms"] for r in dense])
        found["lengths_dense"] = [r["n"] for r in dense]
    return found


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--draw-only", action="store_true", help="draw the pictures from the results that are there")
    parser.add_argument("--output", type=Path, help="the result file")
    arguments = parser.parse_args()
    if arguments.draw_only:
        diagrams_page.draw(IMAGES)
        return
    lengths, figure, seconds = ((2, 4), 4, 0.01) if arguments.quick else (LENGTHS, FIGURE, 1.0)
    load = os.getloadavg()[0]
    # glibc gives memory back after each call, and takes it anew, until something large has been freed once, as in any
    # training: without this, the first rows would have the time of page faults in them, and the last ones not.
    freed = torch.empty(30 * 2**20, dtype=torch.uint8)
    del freed
    rows, curves = [], []
    for group in GROUPS:
        for threads in (1, 2):
            for dtype in (torch.float32, torch.float64):
                rows.append(measure(group, figure, dtype, seconds, threads))
    for group in GROUPS:
        for n in lengths:
            known = [r for r in rows if (r["group"], r["n"], r["threads"], r["dtype"]) == (group, n, 1, "float32")]
            curves.append(known[0] if known else measure(group, n, torch.float32, seconds / 2, 1))
    result = {
        "protocol": {
            "axes": AXES, "channels": CHANNELS, "batch": BATCH, "figure": figure, "lengths": list(lengths),
            "load_at_start": load,
        },
        "rows": rows,
        "curves": curves,
        "exponents": {group: exponents(curves, group, lengths[-3] if len(lengths) > 2 else 0) for group in GROUPS},
        "single": [
            {**(found := single(group, lengths)), "exponent": slope(found["lengths"][-2:], found["additions"][-2:])}
            for group in GROUPS
        ],
    }  # fmt: skip
    path = arguments.output or (ROOT / ".bench" / "diagrams.json" if arguments.quick else None)
    print(f"wrote {save('diagrams', command('diagrams.py'), result, path)}")
    if not arguments.quick:
        diagrams_page.draw(IMAGES)


if __name__ == "__main__":
    main()

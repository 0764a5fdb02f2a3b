"""Where which way of multiplying functions on the sphere is the fastest, and how exact each is in float32.

    python benchmarks/gaunt_crossover.py             # 5 minutes; the machine should be idle
    python benchmarks/gaunt_crossover.py --quick     # does it run? (10 s; writes nothing unless --output is given)

Measures all methods of `gaunt_tensor_product` over degrees, channels and rows, forward and forward with backward, in
turns; and both of `gaunt_convolution` at a few degrees. Writes `benchmarks/results/gaunt_crossover.json`
(`gaunt_crossover_cuda.json` with `--device cuda`) after each degree and, when all is measured,
`equitools/ops/gaunt_measured.py` from it, which ``method="auto"`` looks its choice up in.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import RESULTS, ROOT, command, load, save
from equitools._atomic import write_text
from equitools.ops import edge_frames, gaunt_convolution
from equitools.ops.gaunt import gaunt_tensor_product

DEGREES = tuple(range(11))
CHANNELS = (1, 8, 32, 128)
ROWS = (1, 32, 1000, 10_000)
METHODS = ("sparse", "grid", "dense", "fourier")
#: A call that would take longer is not made, nor one that needs more memory, nor a method that lost by so much.
LONGEST_S, MOST_BYTES, HOPELESS = 0.4, 1.0e9, 8.0
#: Where the two ways of the convolution are measured, and the longest call of it.
POLE_DEGREES, POLE_EDGES, POLE_CHANNELS, POLE_LONGEST_S = (2, 4, 6, 8), (1000, 10_000), 64, 3.0
POLE_METHODS, POLE_WEIGHTS = ("pole", "grid"), ("each channel", "all channels")
#: A measurement goes on for so long, and has at least so many calls.
LEAST_S, LEAST_CALLS = 0.02, 3
TABLE = ROOT / "equitools" / "ops" / "gaunt_measured.py"
HEAD = '''"""The fastest methods of Gaunt products, which benchmarks/gaunt_crossover.py measured and wrote here.

A letter for each degree 0, 1, 2, …, of both factors and of the product: d(ense), s(parse), f(ourier), g(rid); forward
and backward together, float32. {origin}
"""

from __future__ import annotations

from typing import Any

__all__ = ["MEASURED"]

MEASURED: dict[str, dict[str, Any]] = {{
'''


def _inputs(lmax: int, channels: int, rows: int, device: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(lmax)
    shape = (rows, (lmax + 1) ** 2, channels)
    return [torch.randn(shape, generator=generator).to(device=device, dtype=dtype) for _ in range(3)]


def _bytes(method: str, lmax: int, channels: int, rows: int) -> float:
    """Return about how much memory the largest array of a method takes."""
    items = 4.0 * rows * channels
    return items * {"dense": (lmax + 1) ** 4, "fourier": 4 * (4 * lmax + 1) ** 2}.get(method, (lmax + 1) ** 2)


def _seconds(call: Callable[[], Any], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _tasks(x: Tensor, y: Tensor, cotangent: Tensor, curl: bool, method: str) -> dict[str, Callable[[], Any]]:
    leaves = [t.clone().requires_grad_() for t in (x, y)]

    def forward() -> Tensor:
        with torch.no_grad():
            return gaunt_tensor_product(x, y, curl=curl, method=method)

    def forward_backward() -> tuple[Tensor, ...]:
        return torch.autograd.grad(gaunt_tensor_product(*leaves, curl=curl, method=method), leaves, cotangent)

    return {"forward": forward, "forward_backward": forward_backward}


def _cell(lmax: int, channels: int, rows: int, curl: bool, methods: list[str], device: str) -> dict[str, Any]:
    """Time the methods in turns."""
    x, y, cotangent = _inputs(lmax, channels, rows, device)
    return _in_turns({m: _tasks(x, y, cotangent, curl, m) for m in methods}, device)


def _in_turns(calls: dict[str, dict[str, Callable[[], Any]]], device: str) -> dict[str, Any]:
    """Return medians in ms, by task and method."""
    methods = list(calls)
    found: dict[str, Any] = {}
    for task in ("forward", "forward_backward"):
        for method in methods:
            calls[method][task]()  # tables, memory
        times: dict[str, list[float]] = {m: [] for m in methods}
        while min(map(len, times.values())) < LEAST_CALLS or max(map(sum, times.values())) < LEAST_S:
            for method in methods:
                if len(times[method]) < LEAST_CALLS or sum(times[method]) < LEAST_S:
                    times[method].append(_seconds(calls[method][task], device))
        found[f"{task}_ms"] = {m: 1e3 * statistics.median(t) for m, t in times.items()}
    return found


def crossover(
    degrees: tuple[int, ...], all_channels: tuple[int, ...], all_rows: tuple[int, ...], device: str,
    keep: Callable[[list[dict[str, Any]]], None] = lambda _: None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Measure all cells, and give them to ``keep`` after each degree; taken is the fastest forward with backward."""
    cells: list[dict[str, Any]] = []
    for curl in (False, True):
        for lmax in degrees:
            for channels in all_channels:
                before: dict[str, Any] | None = None  # the same with fewer rows
                for rows in all_rows:
                    cell = {"lmax": lmax, "channels": channels, "rows": rows, "curl": curl}
                    methods = _worth_while(cell, before)
                    if methods:
                        cell |= _cell(lmax, channels, rows, curl, methods, device)
                        times = cell["forward_backward_ms"]
                        cell["taken"] = min(times, key=times.__getitem__)
                        before = cell
                    else:
                        cell |= {"taken": before["taken"] if before else "grid", "note": "as with fewer rows: too long"}
                    cells.append(cell)
            print(f"degree {lmax}, {'curl' if curl else 'plain'}", flush=True)
            keep(cells)
    return cells


def pole(
    degrees: tuple[int, ...], all_edges: tuple[int, ...], channels: int, device: str,
    keep: Callable[[list[dict[str, Any]]], None] = lambda _: None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Measure the Gaunt convolution in the frame of the edge and on the grid.

    The frames are given, as the layers of a network share them; gradients are those of the features and the weights.
    """
    cells: list[dict[str, Any]] = []
    for lmax in degrees:
        for weights in POLE_WEIGHTS:
            slowest = 0.0  # seconds of an edge
            for edges in all_edges:
                cell = {"lmax": lmax, "edges": edges, "channels": channels, "weights": weights}
                if slowest * edges > POLE_LONGEST_S:
                    cell["note"] = f"would take about {slowest * edges:.0f} s"
                else:
                    wide = channels if weights == POLE_WEIGHTS[0] else 1
                    cell |= _in_turns(_convolutions(lmax, edges, channels, wide, device), device)
                    slowest = 1e-3 * max(cell["forward_backward_ms"].values()) / edges
                cells.append(cell)
        print(f"convolution, degree {lmax}", flush=True)
        keep(cells)
    return cells


def _convolutions(
    lmax: int, edges: int, channels: int, wide: int, device: str
) -> dict[str, dict[str, Callable[[], Any]]]:
    x, cotangent, _ = _inputs(lmax, channels, edges, device)
    generator = torch.Generator().manual_seed(1)
    vectors, weight = (torch.randn(s, generator=generator).to(device) for s in ((edges, 3), (edges, lmax + 1, wide)))
    frames = edge_frames(vectors, lmax)
    leaves = [t.clone().requires_grad_() for t in (x, weight)]

    def tasks(method: str) -> dict[str, Callable[[], Any]]:
        given = frames if method == "pole" else None

        def run(x: Tensor, weight: Tensor) -> Tensor:
            return gaunt_convolution(x, vectors, weight, method=method, frames=given)

        def forward() -> Tensor:
            with torch.no_grad():
                return run(x, weight)

        return {
            "forward": forward,
            "forward_backward": lambda: torch.autograd.grad(run(*leaves), leaves, cotangent),
        }

    return {method: tasks(method) for method in POLE_METHODS}


def _worth_while(cell: dict[str, Any], before: dict[str, Any] | None) -> list[str]:
    """Return the methods that are neither too slow nor too large."""
    found = []
    for method in METHODS:
        if method == "fourier" and cell["curl"]:
            continue
        if _bytes(method, cell["lmax"], cell["channels"], cell["rows"]) > MOST_BYTES:
            continue
        if before is not None:
            times = before["forward_backward_ms"]
            # With few rows the call itself is what takes the time, so that losing there says nothing.
            lost = before["rows"] >= 32 and times.get(method, float("inf")) > HOPELESS * min(times.values())
            ratio = cell["rows"] / before["rows"]
            if lost or (before["rows"] > 1 and 1e-3 * ratio * times.get(method, float("inf")) > LONGEST_S):
                continue
        found.append(method)
    return found


def errors(degrees: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return the largest error in float32 beside the largest number, against the dense tensor in float64."""
    found = []
    for curl in (False, True):
        for lmax in degrees:
            x, y, _ = _inputs(lmax, 4, 25, "cpu")
            exact = gaunt_tensor_product(x.double(), y.double(), curl=curl, method="dense")
            scale = float(exact.abs().max())
            if scale == 0:
                continue  # the curl of constants
            each = {}
            for method in METHODS:
                if not (curl and method == "fourier"):
                    value = gaunt_tensor_product(x, y, curl=curl, method=method)
                    each[method] = float((value - exact).abs().max()) / scale
            found.append({"lmax": lmax, "curl": curl, "error": each})
    return found


def table(device: str, cells: list[dict[str, Any]]) -> str:
    """Return one device's entry of the table that is looked up."""
    taken = {(c["curl"], c["channels"], c["rows"], c["lmax"]): c["taken"][0] for c in cells}
    channels, rows, degrees = (sorted({c[key] for c in cells}) for key in ("channels", "rows", "lmax"))
    lines = [f'    "{device}": {{', f'        "channels": {tuple(channels)},', f'        "rows": {tuple(rows)},']
    for name, curl in (("plain", False), ("curl", True)):
        lines.append(f'        "{name}": (')
        for c in channels:
            letters = ", ".join('"' + "".join(taken[curl, c, r, d] for d in degrees) + '"' for r in rows)
            lines.append(f"            ({letters}),")
        lines.append("        ),")
    return "\n".join([*lines, "    },\n"])


def write_table() -> None:
    """Write the module that ``method="auto"`` reads from the result files that there are."""
    body, origin = "", []
    for device, name in (("cpu", "gaunt_crossover"), ("cuda", "gaunt_crossover_cuda")):
        result = load(name)
        if result is not None and result["result"].get("complete", True):
            body += table(device, result["result"]["cells"])
            machine = result["processor"] if device == "cpu" else result["result"]["device"]
            origin.append(f"{machine}, {result['date']}")
    write_text(TABLE, HEAD.format(origin=f"Measured on {'; '.join(origin)}.") + body + "}\n")


def main() -> int:
    """Measure, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few small cells")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="default: torch's own")
    parser.add_argument("--output", type=Path, help="another file than the one in benchmarks/results; no table then")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    start = time.perf_counter()
    device, quick = options.device, options.quick
    name = "gaunt_crossover" if device == "cpu" else "gaunt_crossover_cuda"
    ran = command("gaunt_crossover.py")
    path = options.output or (None if quick else RESULTS / f"{name}.json")
    result: dict[str, Any] = {
        "complete": False, "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "cells": [], "float32": [], "pole": [],
    }  # fmt: skip

    def keep(part: str) -> Callable[[list[dict[str, Any]]], None]:
        def write(rows: list[dict[str, Any]]) -> None:
            result[part] = rows
            result["seconds"] = round(time.perf_counter() - start, 1)
            if path is not None:
                save(name, ran, result, path)

        return write

    cells = ((0, 1, 3), (1, 8), (1, 32)) if quick else (DEGREES, CHANNELS, ROWS)
    crossover(*cells, device, keep("cells"))
    keep("float32")(errors((1, 3) if quick else tuple(range(13))))
    pole(*((1, 2), (1, 32), 8) if quick else (POLE_DEGREES, POLE_EDGES, POLE_CHANNELS), device, keep("pole"))
    result["complete"] = True
    keep("pole")(result["pole"])
    if path is not None:
        print(f"{path}: {len(result['cells'])} cells in {result['seconds']} s")
    if options.output is None and not quick:
        write_table()
        print(TABLE)
    if quick:
        print(json.dumps(result["float32"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Where which way of multiplying functions on the sphere is the fastest, and how exact each is in float32.

    python benchmarks/gaunt_crossover.py             # 4 minutes; the machine should be idle
    python benchmarks/gaunt_crossover.py --quick     # does it run? (10 s; writes nothing unless --output is given)

Measures all methods of `gaunt_tensor_product` over degrees, channels and rows, forward and forward with backward, in
turns. Writes `benchmarks/results/gaunt_crossover.json` (`gaunt_crossover_cuda.json` with `--device cuda`) and, from it,
`equitools/ops/gaunt_measured.py`, which ``method="auto"`` looks its choice up in.
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

from benchmarks._results import RESULTS, ROOT, load, save
from equitools._atomic import write_text
from equitools.ops.gaunt import gaunt_tensor_product

DEGREES = tuple(range(11))
CHANNELS = (1, 8, 32, 128)
ROWS = (1, 32, 1000, 10_000)
METHODS = ("sparse", "grid", "dense", "fourier")
#: A call that would take longer is not made, nor one that needs more memory, nor a method that lost by so much.
LONGEST_S, MOST_BYTES, HOPELESS = 0.4, 1.0e9, 8.0
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
    calls = {m: _tasks(x, y, cotangent, curl, m) for m in methods}
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
    degrees: tuple[int, ...], all_channels: tuple[int, ...], all_rows: tuple[int, ...], device: str
) -> list[dict[str, Any]]:
    """Measure all cells; the method taken is the fastest forward with backward."""
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
    return cells


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
        if result is not None:
            body += table(device, result["result"]["cells"])
            origin.append(f"{result['processor']}, {result['date']}")
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
    if options.quick:
        result: dict[str, Any] = {"cells": crossover((0, 1, 3), (1, 8), (1, 32), options.device)}
        result["float32"] = errors((1, 3))
    else:
        result = {"cells": crossover(DEGREES, CHANNELS, ROWS, options.device), "float32": errors(tuple(range(13)))}
    result["device"] = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    result["seconds"] = round(time.perf_counter() - start, 1)
    name = "gaunt_crossover" if options.device == "cpu" else "gaunt_crossover_cuda"
    if options.output is not None or not options.quick:
        path = save(name, "python benchmarks/gaunt_crossover.py", result, options.output or RESULTS / f"{name}.json")
        print(f"{path}: {len(result['cells'])} cells in {result['seconds']} s")
    if options.output is None and not options.quick:
        write_table()
        print(TABLE)
    if options.quick:
        print(json.dumps(result["float32"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

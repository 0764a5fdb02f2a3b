"""Gaunt products beside Clebsch–Gordan and other products: paths, weights, time, memory and error over L and rows.

    python benchmarks/gaunt.py                        # about 16 minutes; the machine should be idle
    python benchmarks/gaunt.py --quick                # does it run? Writes .bench/gaunt.json
    python benchmarks/gaunt.py --only "Gaunt grid" --only "curl grid"    # all other rows of the file stay
    python benchmarks/gaunt.py --degrees 4 --rows 1000                   # so they do here

Writes `benchmarks/results/gaunt.json` after each degree. A run of a part replaces what it measures again, and refuses
to join a file of other channels, threads, limits, versions or of another machine. The products of one degree are built
and warmed up first, then they take turns in one process. What would not fit into the memory or take too long is a row
that says so.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import RESULTS, ROOT, command, context, save
from benchmarks.products import counting
from benchmarks.products.sides import SIDES, Product, Side
from benchmarks.side_by_side.driver import shorten, statistics
from benchmarks.side_by_side.planned import NotThere
from benchmarks.side_by_side.worker import forget_peak, resident_mb

TASKS = ("forward", "forward_backward")
ROWS = (1, 10, 100, 1000, 10_000, 100_000)
#: Where the exponent is fitted, and where remarks are measured.
FIT_ROWS, FIT_DEGREES, FIT_SIDES = 1000, range(4, 13), ("Gaunt grid", "curl grid")
RANKS_TO = 8


@dataclass
class Prepared:
    """A side with its inputs.

    Attributes:
        once: Seconds of a run, by task.
        calls: What is timed, by task.
    """

    calls: dict[str, Callable[[], Any]]
    once: dict[str, float]


def inputs(lmax: int, rows: int, channels: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, torch.Generator]:
    """Return both factors ``[rows, (L+1)², C]``, the same on every day."""
    generator = torch.Generator().manual_seed(lmax)
    x, y = (torch.randn(rows, (lmax + 1) ** 2, channels, generator=generator).to(dtype) for _ in range(2))
    return x, y, generator


def leaves(product: Product, x: Tensor, y: Tensor) -> list[Tensor]:
    """Return the product's inputs, ``x`` first, asking for gradients."""
    return [t.detach().clone().requires_grad_() for t in product.inputs(x, y)]


def errors(side: Side, product: Product, lmax: int, channels: int) -> dict[str, float]:
    """Return the largest errors of float32 against float64, relative to the largest number of the array."""
    rows = 4 if lmax < 9 else 2
    x, y, generator = inputs(lmax, rows, channels, torch.float32)
    given = leaves(product, x, y)
    out = product.run(*given)
    found = product.canonical(out)
    cotangent = torch.randn(found.shape, generator=generator)
    gradient = product.gradient(torch.autograd.grad((found * cotangent).sum(), given[0])[0])
    exact_x, exact_y = (t.double().requires_grad_() for t in (x, y))
    if product.oracle is None:
        torch.manual_seed(0)
        double = side.build(lmax, channels, torch.float64)
        exact = double.canonical(double.run(*double.inputs(exact_x, exact_y)))
    else:
        pairs = torch.einsum("nac,nbc->nabc", exact_x, exact_y)
        exact = torch.einsum("abk,nabc->nkc", torch.from_numpy(product.oracle), pairs)
    (exact_gradient,) = torch.autograd.grad((exact * cotangent.double()).sum(), exact_x)

    def error(value: Tensor, wanted: Tensor) -> float:
        return float((value.double().reshape(wanted.shape) - wanted).abs().max() / wanted.abs().max())

    return {"error": error(found.detach(), exact.detach()), "error_backward": error(gradient, exact_gradient)}


def calls(product: Product, lmax: int, rows: int, channels: int) -> dict[str, Callable[[], Any]]:
    """Return what is timed, with inputs of its own."""
    x, y, _ = inputs(lmax, rows, channels, torch.float32)
    given = leaves(product, x, y)

    @torch.no_grad()
    def forward() -> Tensor:
        return product.run(*given)

    cotangent: list[Tensor] = []

    def forward_backward() -> tuple[Tensor, ...]:
        out = product.run(*given)
        if not cotangent:
            cotangent.append(torch.ones_like(out))
        return torch.autograd.grad(out, given, cotangent[0])

    return {"forward": forward, "forward_backward": forward_backward}


def seconds_of(call: Callable[[], Any], repetitions: int = 1) -> float:
    """Return the seconds of a call."""
    start = time.perf_counter()
    for _ in range(repetitions):
        result = call()
    del result
    return (time.perf_counter() - start) / repetitions


def extra_mb(call: Callable[[], Any]) -> float | None:
    """Return by how much the process grows in a call, where that can be seen."""
    if not forget_peak():
        return None
    before = resident_mb(peak=False)
    result = call()
    del result
    return max(0.0, resident_mb(peak=True) - before)


def joined(old: dict[str, Any], options: argparse.Namespace, path: Path) -> dict[str, Any]:
    """Return the result that a run of a part joins.

    Raises:
        SystemExit: It was measured with other channels, threads, limits or versions, or on another machine.
    """
    now, known = {**vars(options), **context()}, {**old["result"], **old}
    keys = ("channels", "threads", "max_gb", "max_run_seconds", "processor", "versions")
    other = [key for key in keys if known[key] != now[key]]
    if other:
        said = "; ".join(f"{key} {known[key]}, now {now[key]}" for key in other)
        sys.exit(f"{path} was measured otherwise ({said}): run everything again, or name another file with --output.")
    result: dict[str, Any] = old["result"]
    return result


class Table:
    """The measurement, and the file.

    Args:
        options: The command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.path = options.output or (ROOT / ".bench" if options.quick else RESULTS) / "gaunt.json"
        self.command = command("gaunt.py")
        self.wanted = [SIDES[name] for name in options.only or SIDES]
        self.fitted = [side for side in self.wanted if side.name in FIT_SIDES]
        self.result: dict[str, Any] = {"products": [], "rows": []}
        if options.part and self.path.exists():
            self.result = joined(json.loads(self.path.read_text(encoding="utf-8")), options, self.path)
        self.result |= {
            "complete": False, "channels": options.channels, "max_seconds": options.max_seconds,
            "max_gb": options.max_gb, "max_run_seconds": options.max_run_seconds, "dtype": "float32",
            "operations": {str(lmax): counting.operations(lmax) for lmax in range(1, 11)},
        }  # fmt: skip
        #: (side, task) → rows, seconds and MB of the last cell of this degree, to say what ten times as many rows take.
        self.last: dict[tuple[str, str], tuple[int, float, float]] = {}

    def save(self) -> None:
        """Write the file whole."""
        self.result["rows"].sort(key=lambda row: (row["lmax"], row["rows"], list(SIDES).index(row["side"])))
        self.result["products"].sort(key=lambda row: (row["lmax"], list(SIDES).index(row["side"])))
        save("gaunt", self.command, self.result, self.path)

    def run(self) -> None:
        """Measure everything."""
        for lmax in self.options.degrees:
            built = dict(self.build(lmax, self.wanted))
            self.last = {}
            for rows in self.options.rows:
                fitting = rows == self.options.fit_rows
                self.measure(lmax, rows, {s: p for s, p in built.items() if fitting or not SIDES[s].one_row_count})
            self.save()
        for lmax in self.options.further_degrees if self.fitted else ():
            self.last = {}
            self.measure(lmax, self.options.fit_rows, dict(self.build(lmax, self.fitted)))
        self.result["exponents"] = self.exponents()
        self.save()
        reach = self.result.setdefault("reach", {})
        for lmax in self.options.degrees:
            if not self.options.only or str(lmax) not in reach:
                reach[str(lmax)] = counting.reach(lmax, lmax <= RANKS_TO)
        self.result["reach"] = dict(sorted(reach.items(), key=lambda item: int(item[0])))
        self.result["complete"] = self.complete()
        self.save()
        print(f"wrote {self.path}")

    def complete(self) -> bool:
        """Return whether the file has every degree, number of rows and product, whenever they were measured."""
        known = {(row["side"], row["lmax"], row["rows"]) for row in self.result["rows"]}
        absent = {row["side"] for row in self.result["products"] if "note" in row}
        return {str(lmax) for lmax in range(1, 11)} <= set(self.result["reach"]) and known >= {
            (name, lmax, rows)
            for name, side in SIDES.items()
            for lmax in range(1, 11)
            for rows in ROWS
            if name not in absent and (rows == FIT_ROWS or not side.one_row_count)
        }

    def replace(self, part: str, rows: list[dict[str, Any]], keys: tuple[str, ...]) -> None:
        """Keep rows in the place of those with the same keys."""
        new = {tuple(row[key] for key in keys) for row in rows}
        old = [row for row in self.result[part] if tuple(row[key] for key in keys) not in new]
        self.result[part] = [*old, *map(rounded, rows)]

    def build(self, lmax: int, sides: list[Side]) -> Iterator[tuple[str, Product]]:
        """Build the products of a degree, and keep what is known of each."""
        for side in sides:
            row: dict[str, Any] = {"lmax": lmax, "side": side.name, "half": side.half}
            start = time.perf_counter()
            try:
                torch.manual_seed(0)
                product = side.build(lmax, self.options.channels, torch.float32)
                if product.paths is not None:
                    row["paths"] = product.paths
                row["build_s"] = time.perf_counter() - start
                row |= errors(side, product, lmax, self.options.channels)
            except NotThere as reason:
                self.replace("products", [{**row, "note": str(reason)}], ("lmax", "side"))
                continue
            self.replace("products", [row], ("lmax", "side"))
            yield side.name, product

    def measure(self, lmax: int, rows: int, built: dict[str, Product]) -> None:
        """Measure all products with a number of rows, in turns."""
        prepared: dict[str, Prepared] = {}
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for name, product in built.items():
            made: dict[str, Callable[[], Any]] = {}
            once: dict[str, float] = {}
            for task in TASKS:
                row = found[name, task] = {"lmax": lmax, "rows": rows, "side": name, "task": task}
                if reason := self.too_much(name, task, rows, lmax):
                    row["skipped"] = reason
                    continue
                try:
                    made = made or calls(product, lmax, rows, self.options.channels)
                    once[task], row["extra_mb"] = self.warm_up(made[task], self.arrays(task, rows, lmax) > 1e6)
                    self.last[name, task] = (rows, once[task], row["extra_mb"] or 0.0)
                except (RuntimeError, MemoryError) as error:
                    row["skipped"] = shorten(str(error))
            prepared[name] = Prepared(made, once)
        for task in TASKS:
            times = self.alternate({name: p for name, p in prepared.items() if task in p.once}, task)
            for name, seconds in times.items():
                found[name, task]["ms"] = statistics(seconds)
                found[name, task]["us_per_row"] = 1e6 * float(np.median(seconds)) / rows
        self.replace("rows", list(found.values()), ("lmax", "rows", "side", "task"))
        for row in found.values():
            if row["task"] == "forward":
                said = row.get("skipped") or f"{row['us_per_row']:.4g} µs a row"
                print(f"L = {lmax}, {rows} rows, {row['side']}: {said}", flush=True)

    def too_much(self, name: str, task: str, rows: int, lmax: int) -> str:
        """Return why a cell is not measured, judged by the last one."""
        arrays = self.arrays(task, rows, lmax)
        last = self.last.get((name, task))
        extra = last[2] * 1e6 * rows / last[0] if last else 0.0
        if arrays + extra > self.options.max_gb * 2**30:
            return f"would take about {(arrays + extra) / 2**30:.1f} GB"
        if last and last[1] * rows / last[0] > self.longest(rows) and rows > last[0]:
            return f"would take about {last[1] * rows / last[0]:.0f} s"
        return ""

    def arrays(self, task: str, rows: int, lmax: int) -> float:
        """Return the bytes of two factors and both halves of the product, and of as many gradients."""
        return 4.0 * 4 * (lmax + 1) ** 2 * self.options.channels * rows * (1 if task == "forward" else 2)

    def warm_up(self, call: Callable[[], Any], large: bool) -> tuple[float, float | None]:
        """Return the seconds of a warm run; and the memory of one, where it is large enough to be seen."""
        once = seconds_of(call)
        if once < 0.1:
            seconds_of(call)
            once = min(once, seconds_of(call))
        return once, extra_mb(call) if large else None

    def longest(self, rows: int) -> float:
        """Return the seconds that a run may take: the table of all products has 1 000 rows, and should be whole."""
        return self.options.max_run_seconds * (10 if rows <= FIT_ROWS else 1)

    def alternate(self, sides: dict[str, Prepared], task: str) -> dict[str, list[float]]:
        """Return seconds of each side's runs; they take turns, and the first run of a turn does not count."""
        plan = {}
        for name, side in sides.items():
            once = max(side.once[task], 1e-6)
            inner = max(1, min(50, int(0.005 / once)))
            least = 3 if once < 0.5 else 1
            plan[name] = max(least, min(9, int(self.options.max_seconds / (once * inner)))), inner
        times: dict[str, list[float]] = {name: [] for name in sides}
        with no_garbage():
            for turn in range(max((rounds for rounds, _ in plan.values()), default=0)):
                for name, (rounds, inner) in plan.items():
                    if turn < rounds:
                        call = sides[name].calls[task]
                        if sides[name].once[task] < 0.05:
                            call()
                        times[name].append(seconds_of(call, inner))
        return times

    def exponents(self) -> dict[str, dict[str, float]]:
        """Return the slope of log time over log L, by side and task."""
        found: dict[str, dict[str, float]] = {}
        for side in FIT_SIDES:
            for task in TASKS:
                points = [
                    (math.log(row["lmax"]), math.log(row["ms"]["median"]))
                    for row in self.result["rows"]
                    if row["side"] == side and row["task"] == task and row["rows"] == self.options.fit_rows
                    and row["lmax"] in self.options.fit_degrees and "ms" in row
                ]  # fmt: skip
                if len(points) > 1:
                    found.setdefault(side, {})[task] = round(float(np.polyfit(*zip(*points, strict=True), 1)[0]), 3)
        return found


@contextlib.contextmanager
def no_garbage() -> Iterator[None]:
    """Collect no garbage in between."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@functools.singledispatch
def rounded(value: Any) -> Any:
    """Return numbers with four digits."""
    return value


@rounded.register
def _(value: float) -> float:
    return float(f"{value:.4g}")


@rounded.register
def _(value: dict) -> dict:
    return {key: rounded(item) for key, item in value.items()}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small inputs, few runs")
    parser.add_argument("--only", action="append", choices=list(SIDES), metavar="PRODUCT", help="may be repeated")
    parser.add_argument("--degrees", type=int, nargs="+", help="default 1 … 10")
    parser.add_argument("--rows", type=int, nargs="+", help="default 1 … 100 000")
    parser.add_argument("--channels", type=int, help="default 64")
    parser.add_argument("--threads", type=int, help="default: as torch has")
    parser.add_argument("--max-seconds", type=float, help="for each product, cell and task; default 0.1")
    parser.add_argument(
        "--max-run-seconds", type=float, default=0.5, help="slower runs are skipped (to 1 000 rows, ten times as slow)"
    )
    parser.add_argument("--max-gb", type=float, default=4.0, help="larger cells are skipped")
    parser.add_argument("--output", type=Path, help="the result file")
    found = parser.parse_args()
    quick = found.quick
    asked = found.degrees or found.rows
    found.part = bool(found.only or asked)
    found.degrees = found.degrees or ([1, 2] if quick else list(range(1, 11)))
    found.rows = sorted(found.rows or ([1, 10] if quick else ROWS))
    found.channels = found.channels or (4 if quick else 64)
    found.max_seconds = found.max_seconds or (0.01 if quick else 0.1)
    found.fit_rows = 10 if quick else FIT_ROWS
    found.fit_degrees = [2, 3] if quick else list(FIT_DEGREES)
    whole = quick or not asked
    found.further_degrees = [d for d in found.fit_degrees if d not in found.degrees] if whole else []
    if found.threads:
        torch.set_num_threads(found.threads)
    return found


if __name__ == "__main__":
    Table(arguments()).run()

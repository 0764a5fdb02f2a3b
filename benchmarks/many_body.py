"""Many-body products at equal outputs: powers on the sphere's grid beside our compiled symmetric contraction.

    python benchmarks/many_body.py                  # ν = 2 … 5, L = 2 … 6; the machine should be idle
    python benchmarks/many_body.py --quick          # does it run?
    python benchmarks/many_body.py --only 4,4       # ν, L: one cell again, the others stay

Both take C × (0e + 1o + … L) to C × (0e + 1o) with weights for each species. The contraction has a weight for each way
of coupling, the powers one for each degree: what the table compares is the time of products with the same inputs and
the same irreps of the output, and not of the same function. Each cell has a process of its own, in which both run in
turns. Making the couplings of a contraction takes minutes where ν and L are large: where it exceeds `--build-seconds`,
the cell says so; and so it does where the runs take too long. Writes `benchmarks/results/many_body.json` after every
cell, and `docs/images/many_body.png`.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shlex
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import IMAGES, ROOT, command, load, save

#: What a cell's process prints when it has imported everything, and when its modules are made.
STARTED, BUILT, NO_MEMORY = "started", "built", "no memory"
#: Seconds that the start of a process may take.
START_SECONDS = 120.0
CELLS = [(power, lmax) for power in (2, 3, 4, 5) for lmax in (2, 3, 4, 5, 6)]
SIDES = ("Gaunt powers", "symmetric contraction")
TASKS = ("forward", "forward_backward", "double_backward")
NODES, CHANNELS, SPECIES, LMAX_OUT = 192, 128, 3, 1


def _natural(channels: int, lmax: int) -> str:
    return "+".join(f"{channels}x{degree}{'eo'[degree % 2]}" for degree in range(lmax + 1))


def cell(power: int, lmax: int, nodes: int, channels: int, threads: int, seconds: float, side: str) -> None:
    """Time one cell and print it as JSON: both sides in turns, or one alone."""
    import torch

    from equitools.nn import GauntContraction, SymmetricContraction

    _limit_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x = torch.randn(nodes, channels * (lmax + 1) ** 2)
    species = torch.randint(0, SPECIES, (nodes,))
    modules: dict[str, torch.nn.Module] = {}
    built = {}
    print(STARTED, flush=True)
    for name, kind in zip(SIDES, (GauntContraction, SymmetricContraction), strict=True):
        if side in (name, "both"):
            start = time.perf_counter()
            irreps = (_natural(channels, lmax), _natural(channels, LMAX_OUT))
            try:
                modules[name] = kind(*irreps, power, SPECIES, layout="ir_mul")
            except (MemoryError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and "memory" not in str(error):
                    raise
                print(NO_MEMORY, flush=True)
                return
            built[name] = time.perf_counter() - start
    print(BUILT, flush=True)
    found: dict[str, Any] = {name: {"build_s": built[name]} for name in modules}
    for name, module in modules.items():
        found[name]["weights"] = sum(p.numel() for p in module.parameters()) // (SPECIES * channels)
    for task in TASKS:
        times: dict[str, list[float]] = {name: [] for name in modules}
        runs = {name: _task(task, module, x, species) for name, module in modules.items()}
        for run in runs.values():
            run()
            run()
        end = time.perf_counter() + seconds * len(modules)
        while time.perf_counter() < end or min(map(len, times.values())) < 5:
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                times[name].append(1e3 * (time.perf_counter() - start))
        for name, values in times.items():
            low, middle, high = statistics.quantiles(values, n=4)
            found[name][task] = {"median": middle, "q25": low, "q75": high, "count": len(values)}
    print(json.dumps(found))


def _limit_memory() -> None:
    """Have what needs more than three quarters of the memory fail, instead of the system running out of it."""
    try:
        import resource

        most = int(0.75 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    except (ImportError, ValueError, OSError):
        pass


def _task(task: str, module: Any, x: Any, species: Any) -> Callable[[], Any]:
    import torch

    leaf = x.clone().requires_grad_()
    parameters = list(module.parameters())

    def forward() -> Any:
        with torch.no_grad():
            return module(leaf, species)

    def forward_backward() -> Any:
        return torch.autograd.grad(module(leaf, species).square().sum(), [leaf, *parameters])

    def double_backward() -> Any:
        (slope,) = torch.autograd.grad(module(leaf, species).sum(), leaf, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), [leaf, *parameters], allow_unused=True)

    return {"forward": forward, "forward_backward": forward_backward, "double_backward": double_backward}[task]


def run_cell(command: list[str], build_seconds: float, run_seconds: float) -> dict[str, Any] | str:
    """Return what a cell's process finds, or after which of its lines it took too long or ended: it is ended then.

    Args:
        command: Prints `STARTED`, `BUILT`, and the figures as JSON.
        build_seconds: How long it may take from the first of them to the second.
        run_seconds: And from the second to the third.

    Raises:
        RuntimeError: The process failed, or did not start in `START_SECONDS`.
    """
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines: queue.Queue[str] = queue.Queue()
    errors: list[str] = []
    readers = [
        threading.Thread(target=lambda: [lines.put(line.strip()) for line in child.stdout or ()] + [lines.put("")]),
        threading.Thread(target=lambda: errors.extend(child.stderr or ())),
    ]
    for reader in readers:
        reader.start()
    said = ""
    try:
        for limit in (START_SECONDS, build_seconds, run_seconds):
            line = lines.get(timeout=limit)
            if not line:
                child.wait()
                readers[1].join()
                raise RuntimeError(f"{shlex.join(command)} failed:\n{''.join(errors)}")
            said = line
            if said == NO_MEMORY:
                return said
        found: dict[str, Any] = json.loads(said)
    except queue.Empty:
        if not said:
            raise RuntimeError(f"{shlex.join(command)} did not start in {START_SECONDS:.0f} s") from None
        return said
    finally:
        child.kill()
        child.wait()
        for reader in readers:
            reader.join()
    return found


def measure(power: int, lmax: int, options: argparse.Namespace, least: int | None) -> dict[str, Any]:
    """Run one cell in a new process; without the contraction where that takes too long to make.

    Args:
        power: ν.
        lmax: L.
        options: Of the command line.
        least: A lower L with which the couplings of this ν took too long: then it is not tried.
    """
    command = [sys.executable, __file__, "--cell", str(power), str(lmax), "--threads", str(options.threads)]
    command += ["--seconds", str(options.seconds), "--nodes", str(options.nodes), "--channels", str(options.channels)]
    row: dict[str, Any] = {"power": power, "lmax": lmax}
    if least is not None:
        row["missing"] = f"the couplings of L = {least} could not be made"
    else:
        # Two sides of three tasks, each for so many seconds or five runs; these may be slow.
        found = run_cell([*command, "--side", "both"], options.build_seconds, 60 + 30 * options.seconds)
        if isinstance(found, dict):
            row["sides"] = found
        elif found == BUILT:
            row["missing"] = f"the runs took longer than {60 + 30 * options.seconds:.0f} s"
        else:
            row["missing"] = (
                "the couplings need more than three quarters of the memory"
                if found == NO_MEMORY
                else f"the couplings were not made in {options.build_seconds:.0f} s"
            )
            row["too_long_to_build"] = True
    if "sides" not in row:
        done = subprocess.run([*command, "--side", SIDES[0]], check=True, cwd=ROOT, capture_output=True, text=True)
        row["sides"] = json.loads(done.stdout.splitlines()[-1])
    for task in TASKS:
        ours, other = (row["sides"].get(name, {}).get(task) for name in SIDES)
        if ours and other:
            row.setdefault("ratio", {})[task] = other["median"] / ours["median"]
    return row


def plot(rows: list[dict[str, Any]]) -> None:
    """Draw times over L, one panel for each ν."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    powers = sorted({row["power"] for row in rows})
    figure, axes = plt.subplots(1, len(powers), figsize=(3 * len(powers), 3.2), sharey=True, squeeze=False)
    for axis, power in zip(axes[0], powers, strict=True):
        for name, marker in zip(SIDES, "os", strict=True):
            for task, style in (("forward", "-"), ("forward_backward", "--")):
                found = [(r["lmax"], r["sides"][name][task]["median"]) for r in rows
                         if r["power"] == power and name in r["sides"]]  # fmt: skip
                colour = f"C{SIDES.index(name)}"
                axis.plot(*zip(*sorted(found), strict=True), style + marker, color=colour, ms=4,
                          label=f"{name}, {task.replace('_', ' + ')}") if found else None  # fmt: skip
        axis.set(title=f"ν = {power}", xlabel="L", yscale="log")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("ms")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncol=2, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / "many_body.png", dpi=130)


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each side and task of a cell")
    parser.add_argument("--build-seconds", type=float, default=240.0, help="for the couplings of a contraction")
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--channels", type=int, default=CHANNELS)
    parser.add_argument("--only", nargs="+", metavar="ν,L", help="these cells")
    parser.add_argument("--quick", action="store_true", help="two small cells, nothing is written")
    parser.add_argument("--cell", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--side", default="both", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        cell(*options.cell, options.nodes, options.channels, options.threads, options.seconds, options.side)
        return
    cells, rows = CELLS, []
    if options.quick:
        cells, options.seconds, options.nodes = [(2, 2), (3, 2)], 0.05, 16
    elif options.only:
        wanted = [tuple(int(word) for word in pair.split(",")) for pair in options.only]
        cells, old = [pair for pair in CELLS if pair in wanted], load("many_body")
        rows = [row for row in (old["result"]["rows"] if old else []) if (row["power"], row["lmax"]) not in wanted]
    too_long: dict[int, int] = {}
    for power, lmax in cells:
        rows.append(measure(power, lmax, options, too_long.get(power)))
        row = rows[-1]
        if row.get("too_long_to_build"):
            too_long.setdefault(power, lmax)
        words = "  ".join(f"{task} {row['ratio'][task]:.2f}×" for task in row.get("ratio", ()))
        gaunt = row["sides"][SIDES[0]]["forward"]["median"]
        print(f"ν {power} L {lmax}: Gaunt powers {gaunt:8.2f} ms  {words or row.get('missing', '')}", flush=True)
        rows.sort(key=lambda r: (r["power"], r["lmax"]))
        if not options.quick:
            result = {"nodes": options.nodes, "channels": options.channels, "species": SPECIES, "lmax_out": LMAX_OUT,
                      "threads": options.threads, "rows": rows}  # fmt: skip
            save("many_body", command("many_body.py"), result)
            plot(rows)


if __name__ == "__main__":
    main()

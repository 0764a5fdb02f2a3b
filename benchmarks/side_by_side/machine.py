"""What the machine can do: the peak of fused multiply-adds, of a matrix product, and of reading and writing memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._results import ROOT

_RATES = """
import sys, time, torch
threads, megabytes = int(sys.argv[1]), int(sys.argv[2])
clock = time.thread_time if sys.argv[3] == "cpu" else time.perf_counter
torch.set_num_threads(threads)
def best(function, repetitions=7):
    function()
    times = []
    for _ in range(repetitions):
        start = clock(); function(); times.append(clock() - start)
    return min(times)
n = 1536 if megabytes > 64 else 512
for dtype in (torch.float32, torch.float64):
    a, b, c = (torch.randn(n, n, dtype=dtype) for _ in range(3))
    print(2 * n**3 / best(lambda: torch.mm(a, b, out=c)) / 1e9)
def rates(total, repetitions):
    def repeated(function):
        return lambda: [function() for _ in range(repetitions)]
    for arrays, function in (
        (1, lambda x: x.sum()), (2, lambda x, y: y.copy_(x)), (3, lambda x, y, z: torch.add(x, y, alpha=3.0, out=z)),
    ):
        given = [torch.ones(total // 4 // arrays) for _ in range(arrays)]
        print(4 * arrays * len(given[0]) * repetitions / best(repeated(lambda: function(*given))) / 1e9)
rates(megabytes * 1_000_000 * 3, 1)
rates(12_000_000, 20)
"""


def _fma(threads: int, clock: str) -> tuple[float, float] | None:
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "fma"
        source = ROOT / "benchmarks" / "side_by_side" / "fma.cpp"
        command = [compiler, "-O2", "-std=c++17", "-pthread", "-ffp-contract=fast", str(source), "-o", str(program)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return None
        done = subprocess.run([str(program), str(threads), clock], capture_output=True, text=True, check=False)
        if done.returncode:
            return None
        single, double = done.stdout.split()
        return float(single), float(double)


def limits(threads: int, megabytes: int = 400, clock: str = "wall", repetitions: int = 3) -> dict[str, Any]:
    """Return the best of several measurements: what else goes on in the host can only lower them.

    Args:
        threads: As in `measure`.
        megabytes: As in `measure`.
        clock: As in `measure`.
        repetitions: How many measurements.
    """
    found = [measure(threads, megabytes, clock) for _ in range(repetitions)]
    best = {key: value if key == "clock" else max(f.get(key, 0.0) for f in found) for key, value in found[0].items()}
    return {**best, "cache_mb": last_level_cache()}


def last_level_cache() -> float:
    """Return the size of the largest cache of the first processor in MB (10⁶ bytes), 0 where it is not known."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((1024e-6 * int(size.read_text().strip().rstrip("K")) for size in sizes), default=0.0)


def measure(threads: int, megabytes: int = 400, clock: str = "wall") -> dict[str, Any]:
    """Measure with a number of threads.

    Args:
        threads: Their number.
        megabytes: Of each array that is streamed, where there are three.
        clock: What the rows are timed by. Limits by another clock are none: on a busy machine those by the wall clock
            are too low for times by the processor's, and more than all of them would be reached.

    Returns:
        ``gflops`` and ``gflops64`` (the better of multiply-adds and matrix product), ``gbs`` (the best of reading,
        copying and triad), ``cached_gbs`` (the same of 12 MB, which a last-level cache holds), and each of what they
        come from.
    """
    command = [sys.executable, "-c", _RATES, str(threads), str(megabytes), clock]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    gemm, gemm64, read, copy, triad, *cached = (float(line) for line in done.stdout.split())
    fma = _fma(threads, clock)
    found: dict[str, Any] = {
        "clock": clock,
        "gemm_gflops": gemm, "gemm64_gflops": gemm64, "read_gbs": read, "copy_gbs": copy, "triad_gbs": triad,
        "gflops": gemm, "gflops64": gemm64, "gbs": max(read, copy, triad),
        "cached_gbs": max(cached),
    }  # fmt: skip
    if fma is not None:
        found |= {"fma_gflops": fma[0], "fma64_gflops": fma[1]}
        found |= {"gflops": max(gemm, fma[0]), "gflops64": max(gemm64, fma[1])}
    return found


def import_seconds(statement: str, repetitions: int = 5) -> float:
    """Return the least time that a statement takes after ``import torch``, in a fresh process each time."""
    code = f"import time, torch; s = time.perf_counter(); {statement}; print(time.perf_counter() - s)"
    times = []
    for _ in range(repetitions):
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
        times.append(float(done.stdout.strip().splitlines()[-1]))
    return min(times)

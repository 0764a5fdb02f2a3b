"""A process that holds one side of the comparison: it reads commands as lines of JSON and answers each with one.

    python -m benchmarks.side_by_side.worker SIDE THREADS MEMORY_LIMIT_GB

Commands: ``setup`` (make the inputs and the modules of a case), ``time`` (run a task so many times), ``outputs`` (run
it once and write the results), ``run_memory`` (run it once and see how much the process grows), ``memory`` (the
process's largest resident size), ``quit``. A command that fails is
answered with ``{"error": ...}``. A worker may allocate no more than its limit, so that a case that does not fit is an
error of this process and not the end of the machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.metadata
import json
import os
import platform
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np


def _limit(gigabytes: float) -> None:
    if gigabytes > 0 and platform.system() == "Linux":
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 2**30), hard))


class Worker:
    """The state between commands."""

    def __init__(self, side: str, threads: int) -> None:
        import torch

        self.torch = torch
        torch.set_num_threads(threads)
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(1)
        self.side = importlib.import_module(f"benchmarks.side_by_side.sides.{side}")
        self.tasks: dict[str, Any] = {}
        self.device = "cpu"

    def hello(self, _: dict[str, Any]) -> dict[str, Any]:
        """Versions, and the resident size before any work."""
        versions = {name: importlib.metadata.version(name) for name in self.side.PACKAGES}
        return {
            "versions": {**versions, "torch": self.torch.__version__},
            "notes": getattr(self.side, "NOTES", ""),
            "threads": self.torch.get_num_threads(),
            "resident_mb": resident_mb(peak=False),
        }

    def setup(self, command: dict[str, Any]) -> dict[str, Any]:
        """Make inputs and modules."""
        from benchmarks.side_by_side import problems

        self.tasks = {}
        gc.collect()
        case = command["case"]
        self.device = case.get("device", "cpu")
        arrays = problems.make(case)
        sum_ = problems.checksum(arrays)
        dtype = getattr(self.torch, command["dtype"])
        start = time.perf_counter()
        built = self.side.build(case, arrays, dtype, self.device)
        self.tasks = {name: task for name, task in built.items() if not isinstance(task, str)}
        return {
            "tasks": sorted(self.tasks),
            "absent": {name: reason for name, reason in built.items() if isinstance(reason, str)},
            "checksum": sum_,
            "setup_s": time.perf_counter() - start,
        }

    def _wait(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def time(self, command: dict[str, Any]) -> dict[str, Any]:
        """Run a task; seconds of each run by the wall clock and by this thread's processor time."""
        task = self.tasks[command["task"]]
        wall, processor = [], []
        gc.collect()
        gc.disable()
        try:
            for _ in range(command["repetitions"]):
                prepared = task.prepare()
                self._wait()
                start, used = time.perf_counter(), time.thread_time()
                result = task.run(prepared)
                self._wait()
                processor.append(time.thread_time() - used)
                wall.append(time.perf_counter() - start)
                del result, prepared
        finally:
            gc.enable()
        return {"wall": wall, "cpu": processor}

    def outputs(self, command: dict[str, Any]) -> dict[str, Any]:
        """Run a task once and write what it computed."""
        task = self.tasks[command["task"]]
        arrays = task.outputs(task.run(task.prepare()))
        np.savez(command["file"], **arrays)
        return {"names": list(arrays)}

    def release(self, _: dict[str, Any]) -> dict[str, Any]:
        """Forget inputs and modules."""
        self.tasks = {}
        gc.collect()
        return {}

    def call(self, command: dict[str, Any]) -> dict[str, Any]:
        """Call a function of the side by name, with keyword arguments."""
        return {"value": getattr(self.side, command["function"])(**command.get("arguments", {}))}

    def run_memory(self, command: dict[str, Any]) -> dict[str, Any]:
        """Run a task once; by how many MB the process (on a GPU: its device memory) was larger than before."""
        task = self.tasks[command["task"]]
        gc.collect()
        if self.device == "cuda":
            prepared = task.prepare()
            self._wait()
            self.torch.cuda.reset_peak_memory_stats()
            before = self.torch.cuda.memory_allocated()
            result = task.run(prepared)
            self._wait()
            del result
            return {"extra_mb": (self.torch.cuda.max_memory_allocated() - before) / 1e6}
        if not forget_peak():
            return {"extra_mb": None}
        before_mb = resident_mb(peak=False)
        result = task.run(task.prepare())
        del result
        return {"extra_mb": resident_mb(peak=True) - before_mb}

    def memory(self, _: dict[str, Any]) -> dict[str, Any]:
        """The process's largest resident size so far."""
        return {"peak_mb": resident_mb(peak=True)}


def resident_mb(peak: bool) -> float:
    """Resident size in MB (10⁶ bytes), now or its largest since the last `forget_peak`."""
    status = Path("/proc/self/status")
    if status.exists():  # not getrusage: what it says begins with the size of the process that started this one
        name = "VmHWM:" if peak else "VmRSS:"
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024 / 1e6
    scale = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6


def forget_peak() -> bool:
    """Let the largest resident size start again from now; return whether this system can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return False
    return True


def main() -> None:
    """Serve commands until the input ends."""
    # What libraries print must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    side, threads, limit = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    _limit(limit)

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        worker = Worker(side, threads)
    except Exception as error:  # told to the driver, whatever it is
        answer({"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()})
        return
    answer(worker.hello({}))
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "quit":
            return
        try:
            answer(getattr(worker, command["do"])(command))
        except Exception as error:  # as above
            answer({"error": f"{type(error).__name__}: {error}"[:500], "trace": traceback.format_exc()})


if __name__ == "__main__":
    main()

"""Start one worker for each side, let them take turns on the same inputs, and put their figures side by side."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._results import ROOT
from benchmarks.side_by_side import environments

OURS = "equitools"
#: Side → environment and module in `benchmarks.side_by_side.sides`.
SIDES = {
    OURS: ("", "ours"),
    "e3nn": ("", "e3nn_eager"),
    "e3nn compiled": ("", "e3nn_compiled"),
    "cuequivariance": ("cuequivariance", "cuequivariance_torch_side"),
    "sphericart": ("sphericart", "sphericart_side"),
    "mace-torch": ("mace", "mace_side"),
    "openequivariance": ("openequivariance", "openequivariance_side"),
}


class WorkerError(RuntimeError):
    """A worker answered that a command failed, or ended."""


class Client:
    """A running worker.

    Args:
        side: A key of `SIDES`.
        python: The interpreter of its environment.
        threads: Number of threads, for OpenMP and torch alike.
        limit_gb: What the process may allocate; 0 for no limit.
    """

    def __init__(self, side: str, python: Path, threads: int, limit_gb: float) -> None:
        self.side = side
        module = SIDES[side][1]
        count = str(threads)
        variables = {
            **os.environ,
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "PYTHONPATH": str(ROOT),
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
        }
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [str(python), "-m", "benchmarks.side_by_side.worker", module, count, str(limit_gb)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=ROOT, env=variables,
        )  # fmt: skip
        self.hello = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            said = self.log.read().strip().splitlines()[-3:]
            raise WorkerError(f"the worker of {self.side} ended: {' | '.join(said) or 'without a word'}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def do(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            self.process.stdin.write(json.dumps({"do": name, **arguments}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise WorkerError(f"the worker of {self.side} has ended") from error
        return self._answer()

    def close(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            self.process.stdin.close()  # type: ignore[union-attr]
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


class Team:
    """The workers of several sides with one number of threads.

    Args:
        sides: Keys of `SIDES`.
        threads: Number of threads of each.
        install: Whether environments that are absent may be made.
        limit_gb: What a worker may allocate.
    """

    def __init__(self, sides: Iterable[str], threads: int, install: bool = True, limit_gb: float = 12.0) -> None:
        self.threads, self.limit_gb = threads, limit_gb
        self.clients: dict[str, Client] = {}
        self.absent: dict[str, str] = {}
        self._pythons: dict[str, Path] = {}
        self._scratch = tempfile.TemporaryDirectory(prefix="equitools-bench-")
        self.scratch = Path(self._scratch.name)
        for side in sides:
            python, reason = environments.find(SIDES[side][0], install)
            if python is None:
                self.absent[side] = reason
                continue
            self._pythons[side] = python
            self._start(side)

    def _start(self, side: str) -> None:
        try:
            self.clients[side] = Client(side, self._pythons[side], self.threads, self.limit_gb)
        except WorkerError as error:
            self.absent[side] = str(error)

    def versions(self) -> dict[str, Any]:
        """What each side runs."""
        return {side: client.hello["versions"] for side, client in self.clients.items()}

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients.values():
            client.close()
        self._scratch.cleanup()

    def setup(
        self, case: dict[str, Any], dtype: str, sides: Iterable[str] | None = None
    ) -> tuple[dict[str, list[str]], dict[str, str]]:
        """Set a case up on every side.

        Returns:
            The tasks of each side that can do the case, and why the others cannot.
        """
        tasks, notes, sums = {}, dict(self.absent), {}
        for side in list(self.clients) if sides is None else sides:
            if side not in self.clients:
                continue
            try:
                answer = self.clients[side].do("setup", case=case, dtype=dtype)
            except WorkerError as error:
                notes[side] = shorten(str(error))
                self._revive(side)
                continue
            tasks[side], sums[side] = answer["tasks"], answer["checksum"]
        if len(set(sums.values())) > 1:
            raise WorkerError(f"the sides do not have the same inputs: {sums}")
        return tasks, notes

    def _revive(self, side: str) -> None:
        if self.clients[side].process.poll() is not None:
            self.clients.pop(side).log.close()
            self._start(side)

    def alternate(
        self, task: str, sides: Iterable[str], seconds: float, rounds: int = 15, warm_ups: int = 2
    ) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """Time a task on all sides in turns: one, the next, …, the first again.

        Args:
            task: Its name.
            sides: Which sides have it.
            seconds: About how long each side may run; a slow one has fewer rounds, at least 3.
            rounds: At most so many.
            warm_ups: Runs before the first that counts.

        Returns:
            Statistics in milliseconds for each side, and why others have none.
        """
        wall: dict[str, list[float]] = {}
        cpu: dict[str, list[float]] = {}
        plan: dict[str, tuple[int, int]] = {}
        notes: dict[str, str] = {}
        for side in sides:
            try:
                warm = self.clients[side].do("time", task=task, repetitions=1)["wall"]
                if warm[0] < 1.0 or side == OURS:  # a slow one is warm after one run
                    warm = self.clients[side].do("time", task=task, repetitions=max(1, warm_ups - 1))["wall"]
            except WorkerError as error:
                notes[side] = shorten(str(error))
                self._revive(side)
                continue
            wall[side], cpu[side] = [], []
            most = rounds if side == OURS else max(min(3, rounds), min(rounds, int(seconds / max(min(warm), 1e-6))))
            plan[side] = (most, max(1, min(50, int(0.03 / max(min(warm), 1e-6)))))
        longest = max((count for side, (count, _) in plan.items() if side != OURS), default=rounds)
        for turn in range(longest):
            for side, (count, inner) in plan.items():
                if turn < count:
                    answer = self.clients[side].do("time", task=task, repetitions=inner)
                    wall[side] += answer["wall"]
                    cpu[side] += answer["cpu"]
        return {s: {"wall_ms": statistics(wall[s]), "cpu_ms": statistics(cpu[s])} for s in plan}, notes

    def outputs(self, side: str, task: str) -> dict[str, np.ndarray]:
        """Run a task once and return what it computed."""
        file = self.scratch / "outputs.npz"
        self.clients[side].do("outputs", task=task, file=str(file))
        with np.load(file) as stored:
            found = {name: stored[name] for name in stored.files}
        file.unlink()
        return found


def shorten(message: str) -> str:
    """Return the message of a failure as a note in a table."""
    if "can't allocate memory" in message or "MemoryError" in message or "not enough memory" in message:
        return "does not fit into the memory limit"
    return message[:200]


def statistics(seconds: list[float]) -> dict[str, float]:
    """Median, quartiles, least and number, in milliseconds."""
    low, middle, high = (1e3 * float(q) for q in np.percentile(seconds, [25, 50, 75]))
    return {"median": middle, "q25": low, "q75": high, "min": 1e3 * min(seconds), "count": len(seconds)}


def largest_error(values: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> float:
    """Return the largest of max|a − b| / max|b| over the arrays."""
    worst = 0.0
    for name, exact in reference.items():
        scale = float(np.abs(exact).max(initial=0.0))
        worst = max(worst, float(np.abs(values[name] - exact).max(initial=0.0)) / (scale or 1.0))
    return worst

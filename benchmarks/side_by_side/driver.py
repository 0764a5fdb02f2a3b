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
#: Ours with one thread, whatever the team has: in turns with the others, since a host's speed changes within minutes.
ONE_THREAD = "equitools on one thread"
#: Side → environment and module in `benchmarks.side_by_side.sides`.
SIDES = {
    OURS: ("", "ours"),
    ONE_THREAD: ("", "ours"),
    "equitools unfused": ("", "ours_unfused"),
    "e3nn": ("", "e3nn_eager"),
    "e3nn compiled": ("", "e3nn_compiled"),
    "cuequivariance": ("cuequivariance", "cuequivariance_torch_side"),
    "sphericart": ("sphericart", "sphericart_side"),
    "mace-torch": ("mace", "mace_side"),
    "openequivariance": ("openequivariance", "openequivariance_side"),
}


class WorkerError(RuntimeError):
    """A worker answered that a command failed, or ended."""


#: glibc keeps what is freed: without this, every result of more than 32 MB gets new pages from the system, and clearing
#: them can take longer than the operation.
KEPT_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1", "MALLOC_TOP_PAD_": str(2**26)}


class Client:
    """A running worker.

    Args:
        side: A key of `SIDES`.
        python: The interpreter of its environment.
        threads: Number of threads, for OpenMP and torch alike.
        limit_gb: What the process may allocate; 0 for no limit.
    """

    def __init__(self, side: str, python: Path, threads: int, limit_gb: float, keep_memory: bool = False) -> None:
        self.side = side
        module = SIDES[side][1]
        count = str(threads)
        variables = {
            **os.environ,
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "PYTHONPATH": str(ROOT),
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
            **(KEPT_MEMORY if keep_memory else {}),
        }
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - lives as long as the process
        self.process = subprocess.Popen(
            [str(python), "-m", "benchmarks.side_by_side.worker", module, count, str(limit_gb)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=ROOT, env=variables,
            start_new_session=True,  # Ctrl-C reaches the driver alone, which then ends its workers
        )  # fmt: skip
        self.hello: dict[str, Any] = {}

    def wait(self) -> Client:
        """Wait until the worker has imported what it needs."""
        self.hello = self.hello or self._answer()
        return self

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
    """The workers of several sides with one number of threads; a side's worker starts when it is first needed.

    Args:
        threads: Number of threads of each.
        install: Whether environments that are absent may be made.
        device: ``"cpu"`` or ``"cuda"``.
        limit_gb: What a worker may allocate; none on a GPU, whose driver maps far more than it uses.
        keep_memory: Whether the workers' allocator keeps what is freed.
    """

    def __init__(
        self,
        threads: int,
        install: bool = True,
        device: str = "cpu",
        limit_gb: float = 12.0,
        keep_memory: bool = False,
    ) -> None:
        self.keep_memory = keep_memory
        self.threads, self.install, self.device = threads, install, device
        self.limit_gb = limit_gb if device == "cpu" else 0.0
        self.clients: dict[str, Client] = {}
        self.absent: dict[str, str] = {}
        self.versions: dict[str, Any] = {}
        self._set_up: set[str] = set()
        self._scratch = tempfile.TemporaryDirectory(prefix="equitools-bench-")
        self.scratch = Path(self._scratch.name)

    def start(self, side: str) -> Client:
        """Start a worker of a side, without waiting for it.

        Raises:
            WorkerError: There is no environment for it.
        """
        python, reason = environments.find(SIDES[side][0], self.install, self.device)
        if python is None:
            raise WorkerError(reason)
        threads = 1 if side == ONE_THREAD else self.threads
        return Client(side, python, threads, self.limit_gb, self.keep_memory)

    def ensure(self, sides: Iterable[str]) -> list[str]:
        """Have the workers of these sides running; return those that do, the others are in ``absent`` with a reason."""
        sides = list(sides)
        starting = {}
        for side in sides:
            if side not in self.clients and side not in self.absent:
                try:
                    starting[side] = self.start(side)
                except WorkerError as error:
                    self.absent[side] = str(error)
        for side, client in starting.items():
            try:
                self.clients[side] = client.wait()
                self.versions[side] = client.hello["versions"]
            except WorkerError as error:
                client.close()
                self.absent[side] = f"does not start: {error}"
        return [side for side in sides if side in self.clients]

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients.values():
            client.close()
        self._scratch.cleanup()

    def setup(
        self, case: dict[str, Any], dtype: str, sides: Iterable[str]
    ) -> tuple[dict[str, list[str]], dict[str, dict[str, str]]]:
        """Set a case up on every side.

        Returns:
            The tasks of each side that can do the case; and by side why it cannot do all tasks (``"*"``) or one.
        """
        sides = list(sides)
        running = self.ensure(sides)
        tasks: dict[str, list[str]] = {}
        notes = {side: {"*": self.absent[side]} for side in sides if side in self.absent}
        sums = {}
        for side in running:
            try:
                answer = self.clients[side].do("setup", case=case, dtype=dtype)
            except WorkerError as error:
                notes[side] = {"*": shorten(str(error))}
                self._revive(side)
                continue
            tasks[side], sums[side], notes[side] = answer["tasks"], answer["checksum"], answer["absent"]
            self._set_up.add(side)
        if len(set(sums.values())) > 1:
            raise WorkerError(f"the sides do not have the same inputs: {sums}")
        return tasks, notes

    def holds(self, side: str) -> bool:
        """Return whether the worker of a side still has the case that was set up."""
        return side in self._set_up

    def release(self) -> None:
        """Let every worker forget its inputs and modules."""
        for side in list(self.clients):
            try:
                self.clients[side].do("release")
            except WorkerError:
                self._revive(side)

    def _revive(self, side: str) -> None:
        """Start a worker that has ended anew, so that the next case finds one."""
        if self.clients[side].process.poll() is not None:
            self.clients.pop(side).close()
            self._set_up.discard(side)
            self.ensure([side])

    def alternate(
        self, task: str, sides: Iterable[str], seconds: float, rounds: int = 15, warm_ups: int = 2
    ) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """Time a task on all sides in turns: one, the next, …, the first again.

        Args:
            task: Its name.
            sides: Which sides have it.
            seconds: About how long each side may run; a slow one has fewer rounds, at least 5. Where a single run takes
                more than twice as long, that run is the measurement.
            rounds: At most so many.
            warm_ups: Runs before the first that counts.

        Returns:
            Statistics in milliseconds for each side, and why others have none.
        """
        wall: dict[str, list[float]] = {}
        cpu: dict[str, list[float]] = {}
        plan: dict[str, tuple[int, int]] = {}
        cold: dict[str, int] = {}  # runs at the beginning of a turn that do not count: the side before had the caches
        notes: dict[str, str] = {}
        for side in sides:
            try:
                answer = self.clients[side].do("time", task=task, repetitions=1)
                if answer["wall"][0] < 0.5:  # a slow one is warm after one run
                    answer = self.clients[side].do("time", task=task, repetitions=max(1, warm_ups - 1))
            except WorkerError as error:
                notes[side] = shorten(str(error))
                self._revive(side)
                continue
            once = max(min(answer["wall"]), 1e-6)
            wall[side], cpu[side], cold[side] = [], [], int(once < 0.2)
            if once > 2 * seconds:
                wall[side], cpu[side], plan[side] = answer["wall"], answer["cpu"], (0, 0)
            else:
                inner = max(1, min(200, int(0.1 / once)))  # long turns: the caches hold this side's data
                plan[side] = max(min(5, rounds), min(rounds, int(seconds / (once * inner)))), inner
        for turn in range(max((count for count, _ in plan.values()), default=0)):
            for side, (count, inner) in plan.items():
                if turn >= count:
                    continue
                try:
                    answer = self.clients[side].do("time", task=task, repetitions=cold[side] + inner)
                except WorkerError as error:  # what it has done so far counts
                    notes[side], plan[side] = shorten(str(error)), (0, 0)
                    self._revive(side)
                    break
                wall[side] += answer["wall"][cold[side] :]
                cpu[side] += answer["cpu"][cold[side] :]
        return {s: {"wall_ms": statistics(wall[s]), "cpu_ms": statistics(cpu[s])} for s in plan if wall[s]}, notes

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
    if any(part in message for part in ("can't allocate memory", "MemoryError", "not enough memory", "bad_alloc")):
        return "does not fit into the memory that a worker may have"
    return message.removeprefix("NotImplementedError: ").splitlines()[0][:200]


def statistics(seconds: list[float]) -> dict[str, float]:
    """Median, quartiles, least and number, in milliseconds."""
    low, middle, high = (1e3 * float(q) for q in np.percentile(seconds, [25, 50, 75]))
    return {"median": middle, "q25": low, "q75": high, "min": 1e3 * min(seconds), "count": len(seconds)}


def errors_of(values: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> dict[str, float]:
    """Return max|a − b| / max|b| of each array."""
    found = {}
    for name, wanted in exact.items():
        scale = float(np.abs(wanted).max(initial=0.0))
        found[name] = float(np.abs(values[name] - wanted).max(initial=0.0)) / (scale or 1.0)
    return found

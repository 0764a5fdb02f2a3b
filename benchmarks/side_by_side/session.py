"""What the scripts share: arguments, one problem after the other, and results that are on disk after each row."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._results import RESULTS, ROOT, save
from benchmarks.side_by_side import machine
from benchmarks.side_by_side.driver import ONE_THREAD, OURS, SIDES, Team
from benchmarks.side_by_side.rows import exact_outputs, measure, median_row

#: name → (what it does with a run, what it is)
Problems = dict[str, tuple[Callable[["Run"], None], str]]
QUICK_FOLDER = ROOT / ".bench"


def arguments(description: str, problems: Problems) -> argparse.Namespace:
    """Read the command line."""
    listed = "\n".join(f"  {name:18} {what}" for name, (_, what) in problems.items())
    parser = argparse.ArgumentParser(
        description=f"{description}\nproblems:\n{listed}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="small inputs, few rounds: does it run? Writes .bench/NAME.json"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(problems),
        metavar="PROBLEM",
        help="may be repeated; the others' results stay",
    )
    parser.add_argument("--threads", type=int, nargs="+", default=None, help="numbers of threads; default 1 2")
    peers = [side for side in SIDES if side not in (OURS, ONE_THREAD)]
    parser.add_argument("--peers", nargs="*", choices=peers, help="default: all")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: the main thread's processor time, for --threads 1 on a busy machine",
    )
    parser.add_argument(
        "--seconds", type=float, default=None, help="for each side and task, about; default 5, quick 0.2"
    )
    parser.add_argument("--no-install", action="store_true", help="make no environments")
    parser.add_argument("--output", type=Path, help="the result file; default benchmarks/results/NAME.json")
    found = parser.parse_args()  # fmt: skip
    if found.threads is None:
        found.threads = [1] if found.quick or found.clock == "cpu" else [1, 2]
    if found.clock == "cpu" and found.threads != [1]:
        parser.error("--clock cpu measures the main thread alone: use it with --threads 1")
    if "threads" in (found.only or ()) and (max(found.threads) == 1 or found.device != "cpu"):
        parser.error("the problem 'threads' compares several threads of a CPU with one: use it with --threads 2")
    found.seconds = found.seconds or (0.2 if found.quick else 5.0)
    return found


@dataclass
class Run:
    """One problem with one number of threads.

    Attributes:
        session: Where rows go.
        team: The workers.
        problem: Its name.
        kept: Where rows go instead, if not ``None``.
    """

    session: Session
    team: Team
    problem: str
    kept: list[dict[str, Any]] | None = None

    @property
    def quick(self) -> bool:
        """Whether small inputs are wanted."""
        return self.session.options.quick

    @property
    def first(self) -> bool:
        """Whether this is the first number of threads, with which scaling and memory are measured."""
        return self.team.threads == self.session.options.threads[0]

    def sides(self, *peers: str) -> list[str]:
        """Return ours and those of the peers that were asked for."""
        wanted = self.session.options.peers
        return [OURS, *(peer for peer in peers if wanted is None or peer in (ONE_THREAD, *wanted))]

    def compare(
        self,
        case: dict[str, Any],
        tasks: Sequence[str],
        sides: Sequence[str],
        *,
        dtype: str = "float32",
        exact: Any = None,
        seconds: float = 0.0,
        finish: Callable[[dict[str, Any]], None] = lambda _: None,
        **more: Any,
    ) -> list[dict[str, Any]]:
        """Measure a case and keep its rows.

        Args:
            case: Inputs and modules.
            tasks: What to time.
            sides: Who takes part.
            dtype: ``"float32"`` or ``"float64"``.
            exact: ``exact[side][task]``; ``None``: our reference in float64 is what all should give; ``{}``: no errors.
            seconds: For each side and task; 0: as asked on the command line.
            finish: Adds to each row.
            more: Goes into each row.
        """
        options = self.session.options
        case = {**case, "device": options.device}
        if exact is None:
            exact = dict.fromkeys(sides, exact_outputs(self.team, case, tasks))
        rounds, least = (
            (3, min(options.seconds, seconds or options.seconds)) if self.quick else (15, seconds or options.seconds)
        )
        rows = []
        for row in measure(
            self.team, case, tasks, sides, dtype=dtype, seconds=least, rounds=rounds, clock=options.clock, exact=exact
        ):
            row.update(more)
            finish(row)
            if self.kept is None:
                self.session.add(self.problem, row)
            else:
                self.kept.append(row)
            rows.append(row)
        return rows

    @contextlib.contextmanager
    def keeping_memory(self) -> Iterator[Run]:
        """Give the same run with workers of their own, whose allocator keeps what is freed."""
        options = self.session.options
        with Team(self.team.threads, not options.no_install, options.device, keep_memory=True) as team:
            yield Run(self.session, team, self.problem)

    def in_fresh_processes(self, measure: Callable[[Run], Any], keep_memory: bool = False, times: int = 5) -> None:
        """Measure with several sets of new workers, and keep the medians over the sets.

        Where its pages lie decides, for as long as a process lives, how well its threads get on with each other: by up
        to a third on a virtual machine.
        """
        options = self.session.options
        found: list[list[dict[str, Any]]] = []
        for _ in range(1 if self.quick else times):
            with Team(self.team.threads, not options.no_install, options.device, keep_memory=keep_memory) as team:
                run = Run(self.session, team, self.problem, [])
                measure(run)
                found.append(run.kept or [])
        for rows in zip(*found, strict=True):
            self.session.add(self.problem, median_row(rows))

    def roofline(self) -> dict[str, float]:
        """Return what the machine can do with this number of threads, measured in this run."""
        return self.session.result["machine"][str(self.team.threads)]


class Session:
    """The run of a script.

    Args:
        name: Of the result file.
        options: The command line.
    """

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name, self.options = name, options
        if options.device != "cpu":
            self.name = f"{name}_{options.device}"
        self.path = options.output or (QUICK_FOLDER if options.quick else RESULTS) / f"{self.name}.json"
        self.command = f"python benchmarks/{name}.py" + (" --quick" if options.quick else "")
        if options.device != "cpu":
            self.command += f" --device {options.device}"
        self.result: dict[str, Any] = {"complete": False, "machine": {}, "versions": {}, "problems": {}}
        if options.only:
            self._keep_the_others()

    def _keep_the_others(self) -> None:
        if self.path.exists():
            self.result = json.loads(self.path.read_text(encoding="utf-8"))["result"]
        for problem in self.options.only:
            self.result["problems"].pop(problem, None)

    def add(self, problem: str, row: dict[str, Any]) -> None:
        """Keep a row, on disk too, and print it."""
        record = self.result["problems"].setdefault(problem, {**_revision(), "rows": []})
        record["rows"].append(_rounded(row))
        self.save()
        print(_line(problem, row), flush=True)

    def save(self) -> None:
        """Write the file whole."""
        save(self.name, self.command, self.result, self.path)

    def run(self, problems: Problems, not_quick: Sequence[str] = ()) -> int:
        """Run the problems, without some of them where a quick run asks for none by name; return the exit code."""
        skipped = not_quick if self.options.quick else ()
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same as Ctrl-C
        wanted = self.options.only or [name for name in problems if name not in skipped]
        try:
            for threads in self.options.threads:
                print(f"— {threads} thread{'s' * (threads > 1)}: the machine's limits …", flush=True)
                self.result["machine"][str(threads)] = _rounded(
                    machine.limits(
                        threads, 100 if self.options.quick else 400, self.options.clock, 1 if self.options.quick else 3
                    )
                )
                with Team(threads, not self.options.no_install, self.options.device) as team:
                    for name in wanted:
                        problems[name][0](Run(self, team, name))
                        self.result["versions"].update(team.versions)
                        team.release()
            elsewhere = {"threads"} if self.options.device != "cpu" else {n for n in problems if n.endswith("_gpu")}
            self.result["complete"] = set(self.result["problems"]) >= set(problems) - elsewhere
        except KeyboardInterrupt:
            print("\ninterrupted: what was measured is kept", flush=True)
            self.save()
            return 130
        self.save()
        print(f"wrote {self.path}")
        return 0


def _revision() -> dict[str, str]:
    """Return date and commit of what is measured."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)

    commit = git("rev-parse", "--short", "HEAD").stdout.strip() or "unknown"
    changed = git("diff", "--quiet", "HEAD", "--", "csrc", "equitools", "setup.py").returncode == 1
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"date": date, "commit": commit + " with changes" * changed}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def _line(problem: str, row: dict[str, Any]) -> str:
    if "sides" not in row:
        return f"{problem}: {json.dumps(_rounded(row))}"
    parts = list(_parts(row))
    label = f" {row['label']}" if "label" in row else ""
    return f"{problem}{label} {row['task']} {row['dtype']} nt{row['threads']}: " + " | ".join(parts)


def _parts(row: dict[str, Any]) -> Iterator[str]:
    for side, figures in row["sides"].items():
        if "note" in figures and f"{row['clock']}_ms" not in figures:
            yield f"{side}: {figures['note']}"
            continue
        median = figures[f"{row['clock']}_ms"]["median"]
        text = f"{side} {median:.4g} ms"
        if "ratio" in figures:
            text += f" ({figures['ratio']:.3g}×)"
        if "error" in figures:
            text += f" ±{figures['error']:.0e}"
        yield text
    if "roofline" in row:
        doubt = "" if row["roofline"]["credible"] else " (not credible: the limit was measured too low)"
        yield f"{100 * row['roofline']['fraction']:.3g} % of the {row['roofline']['binding']} limit{doubt}"

"""From a case to rows of a table: errors against float64, times in turns, ratios, memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.side_by_side.driver import OURS, Team, WorkerError, errors_of, shorten

Arrays = dict[str, np.ndarray]


def exact_outputs(
    team: Team, case: dict[str, Any], tasks: Sequence[str], side: str = OURS, reference: bool = True
) -> dict[str, Arrays]:
    """Return what each task gives in float64 on a CPU.

    Args:
        team: The workers.
        case: The case.
        tasks: Names; those that a side does not have, or that do not fit into memory, are left out.
        side: Who computes.
        reference: Whether ours takes its reference path, which is plain torch.
    """
    case = {**case, "reference": reference, "device": "cpu"}
    known, _ = team.setup(case, "float64", [side])
    found: dict[str, Arrays] = {}
    for task in tasks:
        if task in known.get(side, ()):
            try:
                found[task] = team.outputs(side, task)
            except WorkerError:
                team.setup(case, "float64", [side])
    return found


def measure(
    team: Team,
    case: dict[str, Any],
    tasks: Sequence[str],
    sides: Sequence[str],
    *,
    dtype: str = "float32",
    seconds: float = 5.0,
    rounds: int = 15,
    clock: str = "wall",
    exact: dict[str, dict[str, Arrays]] | None = None,
    memory: bool = True,
) -> Iterator[dict[str, Any]]:
    """Set a case up on every side, compare what they compute, and time them in turns.

    Args:
        team: The workers.
        case: Inputs and modules.
        tasks: What to time.
        sides: Who takes part.
        dtype: ``"float32"`` or ``"float64"``.
        seconds: For each side and task, about.
        rounds: At most.
        clock: ``"wall"``, or ``"cpu"`` (the main thread's processor time, for one thread on a machine that is busy).
        exact: ``exact[side][task]``, what the side should have computed.
        memory: Whether to see how much each process grows.

    Yields:
        A row for each task: ``sides`` with times, error, ratio (the side's median over ours) and memory, or a note on
        a side that has none.
    """
    known, notes = team.setup(case, dtype, sides)
    for task in tasks:
        row: dict[str, Any] = {
            "task": task, "threads": team.threads, "dtype": dtype, "clock": clock, "case": slim(case), "sides": {},
        }  # fmt: skip
        entries: dict[str, Any] = row["sides"]
        able = []
        for side in sides:
            about = notes.get(side, {})
            if task in known.get(side, ()):
                able.append(side)
            elif task in about or "*" in about:
                entries[side] = {"note": about.get(task) or about["*"]}
        if able == [] or (OURS in sides and OURS not in able):  # nothing to put beside the peers
            if entries:
                yield row
            continue
        errors: dict[str, dict[str, float]] = {}
        for side in list(able):
            wanted = (exact or {}).get(side, {}).get(task)
            if wanted is None:
                continue
            try:
                errors[side] = errors_of(team.outputs(side, task), wanted)
            except WorkerError as error:
                _give_up(team, side, str(error), known, notes)
                entries[side] = {"note": notes[side]["*"]}
                able.remove(side)
        times, failed = team.alternate(task, able, seconds, rounds)
        for side, note in failed.items():
            _give_up(team, side, note, known, notes)
            entries[side] = {"note": note}
        for side, figures in times.items():
            entry = entries[side] = {**entries.get(side, {}), **figures}
            if side in errors:
                entry["error"] = max(errors[side].values())
                if len(errors[side]) > 1:
                    entry["errors"] = errors[side]
            if side != OURS and OURS in times:
                entry["ratio"] = figures[f"{clock}_ms"]["median"] / times[OURS][f"{clock}_ms"]["median"]
            if memory and side not in failed:
                entry["extra_mb"] = _memory(team, side, task)
        yield row


def median_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one row from those of several sets of processes: medians of medians and of ratios."""
    merged = {**rows[0], "processes": len(rows), "sides": {}}
    for side, first in rows[0]["sides"].items():
        all_ = [row["sides"][side] for row in rows]
        entry = merged["sides"][side] = dict(first)
        for clock in ("wall_ms", "cpu_ms"):
            if all(clock in figures for figures in all_):
                times = [figures[clock] for figures in all_]
                entry[clock] = {
                    "median": float(np.median([t["median"] for t in times])), "q25": min(t["q25"] for t in times),
                    "q75": max(t["q75"] for t in times), "min": min(t["min"] for t in times),
                    "count": sum(t["count"] for t in times),
                }  # fmt: skip
        if all("ratio" in figures for figures in all_):
            entry["ratio"] = float(np.median([figures["ratio"] for figures in all_]))
        if all("error" in figures for figures in all_):
            entry["error"] = max(figures["error"] for figures in all_)
    merged.pop("roofline", None)
    return merged


def _give_up(team: Team, side: str, reason: str, known: dict[str, list[str]], notes: dict[str, dict[str, str]]) -> None:
    """Drop a side for the rest of a case if its worker had to start anew, so that its inputs are gone."""
    notes.setdefault(side, {})["*"] = shorten(reason)
    if not team.holds(side):
        known.pop(side, None)


def _memory(team: Team, side: str, task: str) -> float | None:
    try:
        return team.clients[side].do("run_memory", task=task)["extra_mb"]
    except WorkerError:
        return None


def slim(case: dict[str, Any]) -> dict[str, Any]:
    """Return a case without what is only for the workers."""
    return {key: value for key, value in case.items() if key not in ("file", "irreps_mid", "path_order", "reference")}

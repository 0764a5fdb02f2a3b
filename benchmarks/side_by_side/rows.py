"""From a case to rows of a table: errors against float64, times in turns, ratios."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.side_by_side.driver import OURS, Team, WorkerError, largest_error, shorten


def references(team: Team, case: dict[str, Any], tasks: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """Return what each task gives in float64 on our reference path, in plain torch."""
    found: dict[str, dict[str, np.ndarray]] = {}
    exact = {**case, "reference": True, "device": "cpu"}
    known, _ = team.setup(exact, "float64", [OURS])
    for task in tasks:
        if task in known.get(OURS, ()):
            try:
                found[task] = team.outputs(OURS, task)
            except WorkerError:
                continue  # too large in float64: no error is reported
    return found


def measure(
    team: Team,
    case: dict[str, Any],
    tasks: Sequence[str],
    *,
    dtype: str = "float32",
    seconds: float = 5.0,
    rounds: int = 15,
    clock: str = "wall",
    sides: Iterable[str] | None = None,
    exact: dict[str, dict[str, np.ndarray]] | None = None,
) -> list[dict[str, Any]]:
    """Set up a case on every side, compare what it computes, and time it in turns.

    Returns:
        A row for each task: ``sides`` with times, error and ratio (the peer's median over ours, by ``clock``), or a
        note for a side that has none.
    """
    known, notes = team.setup(case, dtype, sides)
    rows = []
    for task in tasks:
        able = [side for side, names in known.items() if task in names]
        if OURS not in able:
            continue
        errors: dict[str, float] = {}
        failed: dict[str, str] = {}
        for side in able if exact and task in exact else ():
            try:
                errors[side] = largest_error(team.outputs(side, task), exact[task])  # type: ignore[index]
            except WorkerError as error:
                failed[side] = shorten(str(error))
        times, more = team.alternate(task, [s for s in able if s not in failed], seconds, rounds)
        row: dict[str, Any] = {
            "task": task, "threads": team.threads, "dtype": dtype, "case": slim(case), "sides": {},
        }  # fmt: skip
        absent = {**notes, **failed, **more}
        for side, figures in times.items():
            row["sides"][side] = dict(figures)
            if side in errors:
                row["sides"][side]["error"] = errors[side]
            if side != OURS and OURS in times:
                ours = times[OURS][f"{clock}_ms"]["median"]
                row["sides"][side]["ratio"] = figures[f"{clock}_ms"]["median"] / ours
        for side, note in absent.items():
            if side not in times and "NotImplementedError" not in note and (sides is None or side in sides):
                row["sides"][side] = {"note": note}
        rows.append(row)
    return rows


def slim(case: dict[str, Any]) -> dict[str, Any]:
    """Return a case without what is only for the workers."""
    return {key: value for key, value in case.items() if key not in ("file", "irreps_mid")}

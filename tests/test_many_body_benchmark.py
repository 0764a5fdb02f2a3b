"""The benchmark of many-body products: it runs, says what takes too long, and its page says what the file says."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import many_body
from benchmarks.products import many_body_page

TABLE = {"processor": "one", "threads": 1, "versions": {"torch": "2", "equitools": "0"}, "date": "2026-01-01"}


def _child(*lines: str, then: str = "") -> list[str]:
    """Return the command of a process that prints lines."""
    return [sys.executable, "-c", "; ".join([*(f"print({line!r}, flush=True)" for line in lines), then or "pass"])]


def _options(**more: Any) -> argparse.Namespace:
    return argparse.Namespace(**{
        "threads": 1, "seconds": 0.01, "nodes": 4, "channels": 4, "build_seconds": 60.0, **more,
    })  # fmt: skip


def test_one_cell_has_both_sides() -> None:
    row = many_body.measure(2, 2, _options(), None)
    assert "missing" not in row
    for side in many_body.SIDES:
        assert all(row["sides"][side][task]["median"] > 0 for task in many_body.TASKS)
    assert set(row["ratio"]) == set(many_body.TASKS)


def test_what_takes_too_long_is_told_apart() -> None:
    sleep = "import time; time.sleep(60)"
    assert many_body.run_cell(_child("started", "built", "{}"), 30, 30) == {}
    assert many_body.run_cell(_child("started", then=sleep), 0.1, 30) == many_body.STARTED
    assert many_body.run_cell(_child("started", "built", then=sleep), 30, 0.1) == many_body.BUILT
    assert many_body.run_cell(_child("started", "no memory", then=sleep), 30, 30) == many_body.NO_MEMORY
    with pytest.raises(RuntimeError, match="no such couplings"):
        many_body.run_cell(_child("started", then="raise ValueError('no such couplings')"), 30, 30)


@pytest.mark.parametrize("after", [many_body.STARTED, many_body.BUILT, many_body.NO_MEMORY])
def test_a_cell_that_takes_too_long_has_our_side(after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_body, "run_cell", lambda *_: after)
    row = many_body.measure(2, 1, _options(), None)
    words = {many_body.BUILT: "the runs", many_body.NO_MEMORY: "the couplings need more"}
    assert row["missing"].startswith(words.get(after, "the couplings were not made in 60 s"))
    assert ("too_long_to_build" in row) == (after != many_body.BUILT)
    assert list(row["sides"]) == [many_body.SIDES[0]]
    assert "ratio" not in row


def test_many_body_page_says_what_the_results_say() -> None:
    times = {task: {"median": 2.0} for task in many_body.TASKS}
    ours = {"build_s": 0.5, "weights": 3, **times}
    other = {"build_s": 7.0, "weights": 9, **{task: {"median": 8.0} for task in many_body.TASKS}}
    rows = [
        {"power": 4, "lmax": 4, "sides": {many_body.SIDES[0]: ours, many_body.SIDES[1]: other},
         "ratio": {"forward": 4.0, "forward_backward": 0.5, "double_backward": 4.0}},
        {"power": 4, "lmax": 5, "missing": "the couplings were not made in 9 s", "sides": {many_body.SIDES[0]: ours}},
    ]  # fmt: skip
    result = {"nodes": 1, "channels": 2, "species": 3, "lmax_out": 1, "threads": 2, "rows": rows}
    text = many_body_page.many_body({**TABLE, "command": "c", "result": result})
    assert "| 4 | 4 | 9 | 3 | 8 | 2 | 4 × | 0.5 × | 4 × | 7 s |" in text
    assert "| 4 | 5 | – | 3 | the couplings were not made in 9 s | 2 | – | – | – | – |" in text
    assert "ν = 4, forward: the powers are ahead at L = 4 (of L = 4)" in text
    assert "ν = 4, forward + backward: the powers are ahead at no L (of L = 4)" in text
    assert [target.reached for target in many_body_page.targets(result)] == [True, False]
    assert "no results" in many_body_page.many_body(None)


def test_a_quick_run_writes_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    median = {"forward": {"median": 1.0}}
    found = {"power": 2, "lmax": 2, "sides": dict.fromkeys(many_body.SIDES, median), "ratio": {"forward": 1.0}}
    monkeypatch.setattr(many_body, "measure", lambda *_: dict(found))
    monkeypatch.setattr(sys, "argv", ["many_body.py", "--quick"])
    before = [path.stat().st_mtime_ns for path in (Path(many_body.ROOT) / "benchmarks" / "results").iterdir()]
    many_body.main()
    assert capsys.readouterr().out.count("1.00×") == 2
    assert before == [path.stat().st_mtime_ns for path in (Path(many_body.ROOT) / "benchmarks" / "results").iterdir()]

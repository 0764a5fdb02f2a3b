"""The measured choice of a method: the benchmark runs, the table is what the results say; no time is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import gaunt_crossover
from equitools.ops import gaunt_measured


def test_cells_become_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gaunt_crossover, "LEAST_S", 0.0)
    cells = gaunt_crossover.crossover((0, 2), (1, 4), (1, 3), "cpu")
    assert len(cells) == 2 * 2 * 2 * 2
    for cell in cells:
        assert set(cell["forward_ms"]) == set(cell["forward_backward_ms"])
        assert "fourier" not in cell["forward_ms"] or not cell["curl"]
        assert cell["taken"] in cell["forward_backward_ms"]
    monkeypatch.setattr(gaunt_crossover, "TABLE", tmp_path / "table.py")
    found = {"result": {"cells": cells}, "processor": "one", "date": "today"}
    monkeypatch.setattr(gaunt_crossover, "load", lambda name: None if "cuda" in name else found)
    gaunt_crossover.write_table()
    space: dict[str, dict[str, dict[str, object]]] = {}
    exec((tmp_path / "table.py").read_text(encoding="utf-8"), space)  # noqa: S102 - what was just written
    measured = space["MEASURED"]["cpu"]
    assert (measured["channels"], measured["rows"]) == ((1, 4), (1, 3))
    for cell in cells:
        lines = measured["curl" if cell["curl"] else "plain"]
        line = lines[(1, 4).index(cell["channels"])][(1, 3).index(cell["rows"])]
        assert line[(0, 2).index(cell["lmax"])] == cell["taken"][0]


def test_what_takes_too_long_is_left_out() -> None:
    cell = {"lmax": 4, "channels": 8, "rows": 1000, "curl": False}
    before = {"rows": 32, "forward_backward_ms": {"sparse": 1.0, "grid": 1.5, "dense": 7.0, "fourier": 9.0}}
    assert gaunt_crossover._worth_while(cell, before) == ["sparse", "grid", "dense"]
    assert gaunt_crossover._worth_while(cell | {"rows": 100_000}, before) == []
    assert gaunt_crossover._worth_while(cell, None) == ["sparse", "grid", "dense", "fourier"]
    assert gaunt_crossover._worth_while(cell | {"curl": True, "lmax": 10, "channels": 128}, None) == ["sparse", "grid"]


def test_errors_in_single_precision_are_small() -> None:
    found = gaunt_crossover.errors((0, 1, 3))
    assert [(row["lmax"], row["curl"]) for row in found] == [(0, False), (1, False), (3, False), (1, True), (3, True)]
    for row in found:
        assert set(row["error"]) == {"sparse", "grid", "dense"} | (set() if row["curl"] else {"fourier"})
        assert 0 < max(row["error"].values()) < 1e-6


def test_the_table_is_what_the_results_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if gaunt_crossover.load("gaunt_crossover") is None:
        assert "Provisional" in (gaunt_measured.__doc__ or "")
        return
    monkeypatch.setattr(gaunt_crossover, "TABLE", tmp_path / "table.py")
    gaunt_crossover.write_table()
    assert (tmp_path / "table.py").read_text() == Path(gaunt_measured.__file__).read_text()

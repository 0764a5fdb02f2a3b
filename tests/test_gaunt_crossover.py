"""The measured choice of a method: the benchmark runs, the table is what the results say; no time is judged."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gaunt_crossover
from benchmarks.products import crossover_page
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
    found = {"result": {"cells": cells, "device": "a card"}, "processor": "one", "date": "today"}
    other = {**found, "result": {**found["result"], "complete": False}}
    monkeypatch.setattr(gaunt_crossover, "load", lambda name: other if "cuda" in name else found)
    gaunt_crossover.write_table()
    assert "a card" not in (tmp_path / "table.py").read_text(encoding="utf-8")
    other["result"]["complete"] = True
    gaunt_crossover.write_table()
    assert "Measured on one, today; a card, today." in (tmp_path / "table.py").read_text(encoding="utf-8")
    space: dict[str, dict[str, dict[str, object]]] = {}
    exec((tmp_path / "table.py").read_text(encoding="utf-8"), space)  # noqa: S102 - what was just written
    measured = space["MEASURED"]["cpu"]
    assert (measured["channels"], measured["rows"]) == ((1, 4), (1, 3))
    for cell in cells:
        lines = measured["curl" if cell["curl"] else "plain"]
        line = lines[(1, 4).index(cell["channels"])][(1, 3).index(cell["rows"])]
        assert line[(0, 2).index(cell["lmax"])] == cell["taken"][0]


def test_a_quick_run_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gaunt_crossover, "LEAST_S", 0.0)
    output = tmp_path / "crossover.json"
    monkeypatch.setattr(sys, "argv", ["gaunt_crossover.py", "--quick", "--output", str(output)])
    seen: list[tuple[bool, int, int]] = []
    save = gaunt_crossover.save

    def watched(name: str, command: str, result: dict[str, Any], path: Path) -> Path:
        seen.append((result["complete"], len(result["cells"]), len(result["pole"])))
        return save(name, command, result, path)

    monkeypatch.setattr(gaunt_crossover, "save", watched)
    assert gaunt_crossover.main() == 0
    cells, poles = 2 * 3 * 2 * 2, 2 * 2 * 2
    assert seen[0] == (False, cells // 6, 0)
    assert seen[-1] == (True, cells, poles)
    table = json.loads(output.read_text(encoding="utf-8"))
    assert table["command"].endswith(f"--quick --output {output.name}")
    for cell in table["result"]["pole"]:
        assert min(*cell["forward_ms"].values(), *cell["forward_backward_ms"].values()) > 0
    page = crossover_page.pole(table)
    assert page.count("| each channel |") == page.count("| all channels |") == poles // 2
    assert "| 2 | 32 |" in page
    assert "dense" in crossover_page.auto(table) + crossover_page.errors(table)


def test_pages_say_what_the_results_say() -> None:
    times = {"forward_ms": {"pole": 3.0, "grid": 2.0}, "forward_backward_ms": {"pole": 4.0, "grid": 5.0}}
    shape = {"lmax": 2, "channels": 8, "weights": "all channels"}
    table = {
        "processor": "one", "threads": 1, "versions": {"torch": "2", "equitools": "0"}, "date": "2026-01-01",
        "command": "c",
        "result": {
            "complete": False,
            "cells": [{"lmax": 2, "channels": 8, "rows": 10, "curl": curl, "taken": "grid"} for curl in (False, True)],
            "float32": [{"lmax": 2, "curl": True, "error": {"grid": 1e-7}}],
            "pole": [{**shape, "edges": 10, **times}, {**shape, "edges": 100, "note": "would take about 7 s"}],
        },
    }  # fmt: skip
    pole = crossover_page.pole(table)
    assert "| 2 | 10 | all channels | 3 | 2 | 1.5 | 4 | 5 | 0.8 |" in pole
    assert "| 2 | 100 | all channels | would take about 7 s |" in pole
    assert (
        "Forward the grid is the faster in 1 of 1 cases; forward and backward the grid is the faster in 0 of 1" in pole
    )
    assert "not everything has been run" in pole
    assert "| 8 | 10 | grid |" in crossover_page.auto(table)
    assert "| 2 | – | – | – | – | – | – | 1.0e-07 |" in crossover_page.errors(table)
    for part in (crossover_page.pole, crossover_page.auto, crossover_page.errors):
        assert "no results" in part(None)
    del table["result"]["pole"]  # as of an older run
    assert "no results" in crossover_page.pole(table)


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
    assert gaunt_crossover.load("gaunt_crossover") is not None
    monkeypatch.setattr(gaunt_crossover, "TABLE", tmp_path / "table.py")
    gaunt_crossover.write_table()
    assert (tmp_path / "table.py").read_text() == Path(gaunt_measured.__file__).read_text()

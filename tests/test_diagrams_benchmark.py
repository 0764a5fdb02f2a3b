"""The benchmark of diagram layers: it runs, and its page says what the result file says; no time is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import diagrams
from benchmarks._results import load
from benchmarks.products import diagrams_page
from equitools.groups.diagrams import Diagram

ROOT = Path(__file__).resolve().parent.parent


def test_it_runs_and_both_ways_agree(tmp_path: Path) -> None:
    output = tmp_path / "diagrams.json"
    command = [sys.executable, "benchmarks/diagrams.py", "--quick", "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    table = json.loads(output.read_text(encoding="utf-8"))
    for row in table["result"]["rows"]:
        assert row["error"] < {"float32": 1e-5, "float64": 1e-12}[row["dtype"]]
    assert table["result"]["exponents"]["O"]["operations_dense"] == pytest.approx(6)
    page = diagrams_page.figures(table)
    assert page.count("\n| ") == len(table["result"]["rows"]) + 1
    assert f"{table['result']['rows'][0]['times']['dense']['least_ms']:.1f} ms" in page
    assert "| S_n | 3 (k) | " in diagrams_page.exponents(table)
    assert "no results" in diagrams_page.figures(None) + diagrams_page.exponents(None)


def test_exponents_are_slopes() -> None:
    lengths = [4, 8, 16]
    assert diagrams.slope(lengths, [3.0 * n**2.5 for n in lengths]) == pytest.approx(2.5)


def test_additions_are_counted_as_by_hand() -> None:
    trace = Diagram(1, 3, ((0, 1), (2, 3)))  # n sums of n numbers
    assert diagrams._additions(trace, 5) == 5 * 4
    total = Diagram(1, 3, ((0,), (1,), (2,), (3,)))  # one sum of n³ numbers
    assert diagrams._additions(total, 5) == 5**3 - 1
    assert diagrams.single("S", (4, 5))["additions"] == [4**3 - 1, 5**3 - 1]
    assert diagrams.single("O", (4, 5))["additions"] == [4 * 3, 5 * 4]


def test_the_figure_was_measured() -> None:
    """In the file that the docs show: the right sizes, and the same numbers to 1e-12."""
    table = load("diagrams")
    assert table is not None
    protocol = table["result"]["protocol"]
    assert (protocol["figure"], protocol["axes"], protocol["channels"], protocol["batch"]) == (8, 3, 16, 32)
    rows = [row for row in table["result"]["rows"] if row["group"] == "O"]
    assert {(row["dtype"], row["threads"]) for row in rows} == {(d, t) for d in ("float32", "float64") for t in (1, 2)}
    assert max(row["error"] for row in rows if row["dtype"] == "float64") < 1e-12
    assert all(row["operations"]["dense"] == (16 * 512) ** 2 for row in rows)
    for group in ("O", "S", "Sp", "SO"):
        found = table["result"]["exponents"][group]
        rows = [r for r in table["result"]["curves"] if r["group"] == group and r["n"] in found["lengths"]]
        counts = [sum(r["operations"][kind] for kind in ("contraction", "mixing", "expansion")) for r in rows]
        assert found["operations"] == pytest.approx(np.polyfit(np.log(found["lengths"]), np.log(counts), 1)[0])


def test_pictures_are_drawn(tmp_path: Path) -> None:
    diagrams_page.draw(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"diagrams.png", "diagram_pictures.png"}

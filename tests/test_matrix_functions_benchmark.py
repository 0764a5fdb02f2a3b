"""The comparison of functions of small matrices with torch's own runs and compares equal things; no time is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.matrix_functions import DTYPES, FUNCTIONS, TASKS, arguments, with_gradient
from benchmarks.products.matrix_functions_page import matrix_functions

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", FUNCTIONS)
def test_both_sides_compute_the_same(name: str) -> None:
    ours, theirs, _ = FUNCTIONS[name]
    a = arguments(name, 40, 3, torch.float64)
    for x, y in zip(torch.stack(list(ours(a))), torch.stack(list(theirs(a))), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(with_gradient(ours, a)(), with_gradient(theirs, a)(), rtol=1e-6, atol=1e-6)


def test_every_cell_is_measured(tmp_path: Path) -> None:
    output = tmp_path / "matrix_functions.json"
    command = [sys.executable, "benchmarks/matrix_functions.py", "--quick", "--threads", "1", "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    table = json.loads(output.read_text(encoding="utf-8"))
    rows = table["result"]["rows"]
    assert len(rows) == len(FUNCTIONS) * 3 * len(DTYPES) * len(TASKS)
    assert all(row["ms"] > 0 and row["peer_ms"] > 0 for row in rows)
    page = matrix_functions(table)
    assert all(f"| {name}, " in page for name in FUNCTIONS)
    assert "There are no results" in matrix_functions(None)

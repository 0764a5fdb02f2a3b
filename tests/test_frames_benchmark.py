"""The comparison of frames with torch.linalg.eigh runs and compares equal things; no time is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.frames import GROUPS, MODES, TASKS, difference
from benchmarks.symmetrized.frames_page import frames

ROOT = Path(__file__).resolve().parent.parent


def test_both_sides_give_the_same_elements() -> None:
    assert difference(20) < 1e-9


def test_every_cell_is_measured(tmp_path: Path) -> None:
    output = tmp_path / "frames.json"
    command = [sys.executable, "benchmarks/frames.py", "--quick", "--threads", "1", "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    table = json.loads(output.read_text(encoding="utf-8"))
    rows = table["result"]["rows"]
    assert len(rows) == 1 + len(GROUPS) * len(MODES) * len(TASKS)
    assert all(row["ms"] > 0 and row["peer_ms"] > 0 for row in rows)
    page = frames(table)
    assert all(f'{group}, "{mode}"' in page for group in GROUPS for mode in MODES)
    assert "There are no results" in frames(None)

"""The figure on averages over groups, at a tiny size."""

from __future__ import annotations

from pathlib import Path

from benchmarks import haar
from benchmarks.lie import haar_page


def test_errors_shrink_and_are_shown(tmp_path: Path) -> None:
    result = {
        "repeats": 6,
        "rotations": haar.rotations([16, 256], [2, 6], 6),
        "moved": haar.moved(20_000, [0.0, 0.6], 1.0),
    }
    for way, rows in result["rotations"].items():
        assert rows[1]["error"] < rows[0]["error"], way
    assert result["rotations"]["quadrature"][1]["error"] < 1e-5
    plain, weighted = (result["moved"][name][1] for name in ("log_normal", "weighted"))
    assert abs(weighted["ratio"] - 1) < 5 * weighted["error"]
    assert 1 - plain["ratio"] > 5 * plain["error"]
    table = {
        "processor": "a", "threads": 1, "versions": {"torch": "2", "equitools": "0"}, "date": "d", "command": "c",
        "result": result,
    }  # fmt: skip
    page = haar_page.haar(table)
    assert f"{plain['ratio']:.3f}" in page
    assert len([line for line in page.splitlines() if line.startswith("| ")]) == 5
    assert "no results" in haar_page.haar(None)
    haar_page.plot(result, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000

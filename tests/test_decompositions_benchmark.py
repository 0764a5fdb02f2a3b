"""The benchmark of decompositions runs, its numbers are in bounds, and its page says what the file says."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import decompositions
from benchmarks.lie import decompositions_page
from benchmarks.lie.decompositions_picture import picture


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("decompositions") / "decompositions.json"
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["decompositions.py", "--quick", "--output", str(path)])
        decompositions.main()
    torch.set_num_threads(threads)
    return json.loads(path.read_text(encoding="utf-8"))


def test_errors_are_in_bounds(table):
    for row in table["result"]["rows"]:
        for condition, found in row["conditions"].items():
            if float(condition) <= 1e4:
                assert found["round_trip"] <= 1e-10
                assert found.get("orthogonality", 0.0) <= 1e-12
        assert row.get("density_error", 0.0) <= 1e-6


def test_the_eigenvectors_of_the_square_are_a_control_that_fails(table):
    rows = {row["condition"]: row for row in table["result"]["limits"]["polar"]}
    assert rows[1e4]["svd"] < 1e-12 < 1e-10 < rows[1e4]["eigenvectors"]
    cells = table["result"]["limits"]["big_cell"]
    assert all(row["error"] < 3 * 2.3e-16 * row["condition"] for row in cells)
    assert cells[-1]["condition"] > 1e5 * cells[0]["condition"]


def test_page(table, tmp_path):
    text = decompositions_page.page(table)
    families = {(row["group"], row["kind"]) for row in table["result"]["rows"]}
    assert text.count("\n| ") == len(families)
    assert "eigenvectors" in decompositions_page.limits(table)
    assert "no results" in decompositions_page.page(None)
    assert "no results" in decompositions_page.limits(None)
    assert decompositions_page.jordan(table).count("\n| ") == 5
    assert "no results" in decompositions_page.jordan(None)
    picture(tmp_path / "parts.png")
    assert (tmp_path / "parts.png").stat().st_size > 20000

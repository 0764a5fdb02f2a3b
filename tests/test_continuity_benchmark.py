"""The benchmark of jumps runs, and its page says what the file says."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import continuity
from benchmarks.symmetrized import continuity_page


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("continuity") / "continuity.json"
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["continuity.py", "--quick", "--output", str(path)])
        continuity.main()
    torch.set_num_threads(threads)
    return json.loads(path.read_text(encoding="utf-8"))


def test_weighted_frames_do_not_jump_and_the_controls_do(table):
    methods = table["result"]["methods"]
    worst = {name: max(cell["value"] for cell in row["jumps"].values()) for name, row in methods.items()}
    assert worst["weighted"] < 1e-6
    assert worst["eigensolver, one pose (control)"] > 1e-2
    assert max(methods["weighted"]["across"].values()) < 1e-4 < 1e-2 < max(methods["full"]["across"].values())
    rest = {kind: row["rest"] for kind, row in table["result"]["vectors"].items()}
    # the principal frames of what surrounds a point may average to nothing as well
    assert {kind for kind, value in rest.items() if value > 1e-3} | {"one point"} == {
        "linear",
        "two points",
        "one point",
    }
    assert all(row["kept"] < 1e-4 for row in table["result"]["vectors"].values())
    assert all(error < 1e-9 for row in table["result"]["equivariance"].values() for error in row.values())


def test_page(table, tmp_path):
    text = continuity_page.jumps(table)
    assert text.count("\n| ") == len(table["result"]["methods"])
    assert "the rest" in continuity_page.vectors(table)
    assert "weighted" in continuity_page.equivariance(table)
    assert "no results" in continuity_page.jumps(None)
    continuity_page.picture(table, tmp_path / "walk.png")
    assert (tmp_path / "walk.png").stat().st_size > 5000

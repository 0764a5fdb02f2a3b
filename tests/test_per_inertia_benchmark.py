"""The benchmark of broken inertia at a tiny size: its rows, its resuming, its table."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from benchmarks import per_inertia
from benchmarks.lie import per_page
from equitools.groups import random_orthogonal


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("runs")
    rows = {}
    for row in per_inertia.ROWS:
        runs = [per_inertia.measure(row, seed, 3e-3, 0.0, per_inertia.QUICK, folder) for seed in (1, 2)]
        rows[row] = {"rate": 3e-3, "decay": 0.0, "runs": runs}
    return folder, rows


@pytest.mark.parametrize("row", per_inertia.ROWS)
def test_a_row(row: str, made: tuple[Path, dict]) -> None:
    folder, rows = made
    run = rows[row]["runs"][0]
    assert [epoch for epoch, *_ in run["curve"]] == [2, 4, 6, 8]
    assert run["validation"] == min(value for *_, value in run["curve"])
    exact = {"emlp": list(per_inertia.GROUPS), "oracle": [per_inertia.TRUE]}.get(row, [])
    for name, value in run["broken"].items():
        assert (value < 1e-5) == (name in exact)  # trained in float32
    again = per_inertia.measure(row, 1, 3e-3, 0.0, per_inertia.QUICK, folder)
    assert again["cpu_seconds"] == run["cpu_seconds"]  # taken, not run again
    weights = [level[2] for level in run["levels"]]
    assert bool(weights) == (row in {"fixed", "per"})
    if row == "per":
        assert weights[0] != weights[-1]
        assert len(run["noted"]) == 4


def test_the_target_breaks_what_it_should() -> None:
    truth = per_inertia.truth(per_inertia.QUICK)
    assert truth[per_inertia.TRUE] < 1e-12
    assert min(value for name, value in truth.items() if name != per_inertia.TRUE) > 0.01


def test_the_floor_is_what_an_average_over_the_group_leaves() -> None:
    """f(x) = (I a) aᵀ and its equivariant part I / 3, by averaging over many elements."""
    part = per_inertia.broken_inertia(4, 0, 0, 3).train
    g = random_orthogonal((4000,), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = per_inertia.inertia_tensor(part.inputs[:, :5], part.inputs[:, 5:].unflatten(1, (5, 3)))
    moved = torch.einsum("gij,njk,glk->gnil", g, matrix, g)
    moved[..., :2] = 0  # (I a) aᵀ has the last column only
    back = torch.einsum("gji,gnjk,gkl->nil", g, moved, g) / len(g)
    assert float((back - matrix / 3).abs().max()) < 0.05 * float(matrix.abs().max())
    protocol = dataclasses.replace(per_inertia.QUICK, breaking=0.0)
    assert per_inertia.floor(1, protocol) < 1e-25


def test_the_choice_is_by_validation(tmp_path: Path) -> None:
    protocol = dataclasses.replace(per_inertia.QUICK, tries=((3e-3, 0.0), (1e-9, 0.0)))
    assert per_inertia.choose("mlp", protocol, tmp_path) == (3e-3, 0.0)
    assert "test" not in json.loads((tmp_path / "mlp_0_0.003_0.json").read_text())["run"]


def test_the_table_has_what_the_file_has(made: tuple[Path, dict], tmp_path: Path) -> None:
    _, rows = made
    result = {
        "protocol": json.loads(json.dumps(dataclasses.asdict(per_inertia.QUICK))), "groups": list(per_inertia.GROUPS),
        "true": per_inertia.TRUE, "seeds": [1, 2], "truth": per_inertia.truth(per_inertia.QUICK), "rows": rows,
        "floor": [per_inertia.floor(seed, per_inertia.QUICK) for seed in (1, 2)],
        "right_order": [per_inertia.order(run) for run in rows["per"]["runs"]],
    }  # fmt: skip
    table = {"processor": "a", "threads": 1, "versions": {"torch": "2", "equitools": "0"}, "date": "d", "command": "c",
             "result": json.loads(json.dumps(result))}  # fmt: skip
    page = per_page.per_inertia(table)
    assert all(name in page for name in per_page.NAMES.values())
    assert "in the right order" in page
    assert "no results" in per_page.per_inertia(None)
    per_page.plot(result, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000

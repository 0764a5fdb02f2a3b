"""The comparisons run, count operations rightly, and their page says what the result files say; no time is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.side_by_side import counts, environments, planned, problems, report, rows
from benchmarks.side_by_side.driver import ONE_THREAD, OURS, errors_of, shorten
from benchmarks.side_by_side.targets import gpu_targets, rows_of, targets

ROOT = Path(__file__).resolve().parent.parent


def _run(script: str, output: Path, *words: str) -> dict[str, Any]:
    command = [sys.executable, f"benchmarks/{script}.py", "--quick", "--no-install", "--output", str(output), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(output.read_text(encoding="utf-8"))


def _check_rows(table: dict[str, Any], problem: str) -> None:
    found = table["result"]["problems"][problem]["rows"]
    assert found
    for row in found:
        for side, figures in row.get("sides", {}).items():
            assert "note" in figures or figures["wall_ms"]["count"] >= 1, (problem, side)
            assert figures.get("error", 0.0) < 1e-4, (problem, row["task"], side)


def test_operations_of_the_convolution_are_counted_as_by_hand() -> None:
    case = {
        "kind": "conv", "irreps_in": "128x0e+128x1o+128x2e", "irreps_edge": "0e+1o+2e+3o",
        "irreps_out": "0e+1o+2e+3o", "edges": 1, "nodes": 2,
    }  # fmt: skip
    assert counts.complete(case)["paths"] == 17
    found = counts.floor_counts(case)
    assert found["forward"] == {
        "flop": (2 * 187 + 71) * 128 + 2 * 215, "bytes": 4 * (17 * 128 + 9 * 128 + 16),
        "footprint": 4 * (17 * 128 + 16 + 2 * (71 + 9) * 128),
    }  # fmt: skip
    assert found["backward"] == {
        "flop": (6 * 187 + 3 * 71) * 128, "bytes": 8 * (17 * 128 + 9 * 128 + 16),
        "footprint": 4 * (2 * 17 * 128 + 2 * 16 + 2 * (71 + 18) * 128),
    }  # fmt: skip
    radial = counts.floor_counts({**case, "kind": "radial", "hidden": 64})
    assert radial["forward"]["flop"] - found["forward"]["flop"] == 2 * 64 * 17 * 128
    assert radial["forward"]["bytes"] == 4 * (64 + 9 * 128 + 16)


def test_the_binding_limit() -> None:
    limits = {"gflops": 100.0, "gbs": 10.0}
    memory = counts.against_roofline({"flop": 1e9, "bytes": 1e9}, 200.0, limits)
    assert memory["binding"] == "memory"
    assert memory["fraction"] == pytest.approx(0.5)
    work = counts.against_roofline({"flop": 1e11, "bytes": 1e9}, 2000.0, limits)
    assert work["binding"] == "operations"
    assert work["fraction"] == pytest.approx(0.5)
    assert work["gflops"] == pytest.approx(50.0)
    assert work["credible"]
    assert not counts.against_roofline({"flop": 1e11, "bytes": 0.0}, 900.0, limits)["credible"]
    limits |= {"cached_gbs": 20.0, "cache_mb": 30.0}
    cached = counts.against_roofline({"flop": 1e9, "bytes": 1e9, "footprint": 14e6}, 100.0, limits)
    assert (cached["binding"], cached["fraction"]) == ("cache", pytest.approx(0.5))
    assert counts.against_roofline({"flop": 1e9, "bytes": 1e9, "footprint": 16e6}, 200.0, limits)["binding"] == "memory"


def test_layouts_are_undone() -> None:
    irreps = problems.parse("3x0e+2x1o+4x2e")
    array = np.random.default_rng(0).standard_normal((5, problems.dimension("3x0e+2x1o+4x2e")))
    there = problems.mul_ir_to_ir_mul(array, irreps)
    assert not np.array_equal(there, array)
    np.testing.assert_array_equal(problems.ir_mul_to_mul_ir(there, irreps), array)


def test_errors_are_relative_to_the_largest_number() -> None:
    exact = {"a": np.array([1.0, -4.0]), "b": np.zeros(2)}
    values = {"a": np.array([1.0, -3.0]), "b": np.array([0.0, 0.5])}
    assert errors_of(values, exact) == {"a": 0.25, "b": 0.5}
    assert shorten("NotImplementedError: no\nsecond line") == "no"


def test_a_peer_that_cannot_be_had_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    python, reason = environments.find("sphericart", install=False)
    assert python is None
    assert "not installed" in reason
    assert environments.find("")[0] == Path(sys.executable)


def test_what_is_not_in_this_version_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    import equitools

    monkeypatch.delattr(equitools.ops, "radial_tensor_product_conv", raising=False)
    with pytest.raises(planned.NotThere, match="not in this version"):
        planned.radial_convolution("4x0e", "0e", "0e")


def _table(problem_rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    names = ("gemm_gflops", "gemm64_gflops", "read_gbs", "copy_gbs", "triad_gbs", "gflops", "gbs")
    machine = dict.fromkeys(names, 1.0)
    return {
        "name": "kernels", "command": "python benchmarks/kernels.py", "date": "2026-01-01", "processor": "a processor",
        "result": {
            "complete": False, "machine": {"1": machine}, "versions": {OURS: {"equitools": "0"}},
            "problems": {
                name: {"date": "2026-01-01", "commit": "abc", "rows": found} for name, found in problem_rows.items()
            },
        },
    }  # fmt: skip


def _row(task: str, threads: int, ours: float, **peers: float) -> dict[str, Any]:
    def times(value: float) -> dict[str, Any]:
        return {"wall_ms": {"median": value, "q25": value, "q75": value, "min": value, "count": 1}, "extra_mb": 1.0}

    sides = {OURS: times(ours), **{side: {**times(t), "ratio": t / ours} for side, t in peers.items()}}
    return {"task": task, "threads": threads, "dtype": "float32", "clock": "wall", "case": {}, "sides": sides}


def test_targets_stand_beside_what_was_measured() -> None:
    table = _table(
        {
            "conv_128_l2": [
                _row("forward", 1, 2.0, e3nn=100.0),
                _row("double_backward", 1, 2.0, e3nn=20.0),
            ],
            "threads": [{**_row("forward", 2, 1.0, **{ONE_THREAD: 2.0}), "label": "conv_128_l2"}],
            "gaunt_l4": [_row("forward", 1, 1.0, e3nn=20.0), _row("forward", 2, 1.0, e3nn=14.0)],
            "imports": [{"label": OURS, "statement": "import equitools", "seconds": 0.1}],
        }
    )
    found = {(t.problem, t.peer, t.quantity): t for t in targets(table["result"], None)}
    large, small = "convolution 128×(0e+1o+2e) ⊗ 0..3", "convolution 64×(0e+1o+2e) ⊗ 0..2"
    forward = found[large, "e3nn", "forward"]
    assert (forward.wanted, forward.measured, forward.reached) == (40, 50.0, True)
    gain = found[large, "one thread", "two threads, forward"]
    assert (gain.measured, gain.reached) == (2.0, True)
    assert found[small, "one thread", "two threads, forward"].measured is None
    assert found["import equitools", "torch", "time beyond torch's"].reached is True
    four = found["Gaunt product, l ≤ 4", "e3nn", "forward, two threads"]
    assert (four.wanted, four.measured, four.reached) == (15, 14.0, False)
    eight = found["Gaunt product, l ≤ 8", "e3nn", "forward + backward, two threads"]
    assert (eight.wanted, eight.measured) == (50, None)
    assert found["training step", "mace-torch", "acetylacetones"].reached is None


def test_rows_of_several_processes_become_one() -> None:
    merged = rows.median_row(
        [_row("forward", 2, t, **{ONE_THREAD: t * r}) for t, r in ((1.0, 1.5), (2.0, 1.9), (9.0, 2.5))]
    )
    assert merged["processes"] == 3
    assert merged["sides"][OURS]["wall_ms"] == {"median": 2.0, "q25": 1.0, "q75": 9.0, "min": 1.0, "count": 3}
    assert merged["sides"][ONE_THREAD]["ratio"] == pytest.approx(1.9)


def test_shares_of_limits_are_not_cut_off() -> None:
    """Arrays that come out of the cache may exceed the memory's bandwidth; the target says by how much."""
    row = {"task": "forward", "threads": 1, "label": "conv_64_l2", "clock": "wall", "sides": {}}
    row["roofline"] = {"gbs": 30.0, "gflops": 10.0, "binding": "cache", "fraction": 0.3, "credible": True}
    result = {
        "problems": {"roofline": {"rows": [row]}},
        "machine": {"1": {"gbs": 20.0, "gflops": 100.0}},
    }
    found = {(t.problem, t.quantity): t.measured for t in targets(result, None) if t.peer == "memory or multiply-adds"}
    assert found["convolution 64×(0e+1o+2e) ⊗ 0..2", "forward"] == pytest.approx(150.0)
    assert found["convolution 64×(0e+1o+2e) ⊗ 0..2", "backward"] is None


def test_there_is_no_gpu_target_without_a_gpu() -> None:
    assert all(t.measured is None for t in gpu_targets(None, None))


def test_page_says_what_the_results_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report.figures, "FOLDER", tmp_path)
    rows_ = [_row("forward", 1, 2.0, e3nn=123.0), _row("double_backward", 1, 2.0, e3nn=20.0)]
    rows_[0]["sides"]["cuequivariance"] = {"note": "not installable: no network"}
    page = report.page(_table({"conv_128_l2": rows_}), None)
    assert "123 (61.5×)" in page
    assert "not installable: no network" in page
    assert "**short by 2.5×**" in page
    assert (tmp_path / "bench_ratios.png").exists()
    assert "no results" in report.page(None, None)


def test_rows_leave_out_what_is_for_workers_only() -> None:
    assert rows.slim({"kind": "sh", "file": "x", "path_order": [1]}) == {"kind": "sh"}


def test_kernels_run_beside_a_peer(tmp_path: Path) -> None:
    table = _run("kernels", tmp_path / "kernels.json", "--only", "sh_l3", "--peers", "e3nn", "sphericart")
    _check_rows(table, "sh_l3")
    found = rows_of(table["result"], "sh_l3")
    assert [row["task"] for row in found] == ["forward", "forward_backward", "double_backward"]
    assert all("error" in row["sides"][OURS] and row["sides"]["e3nn"]["ratio"] > 0 for row in found)
    assert set(table["result"]["machine"]) == {"1"}


@pytest.mark.slow
@pytest.mark.parametrize("script", ["kernels", "model_step"])
def test_every_problem_runs(script: str, tmp_path: Path) -> None:
    table = _run(script, tmp_path / f"{script}.json")
    assert len(table["result"]["problems"]) >= 6
    for problem in table["result"]["problems"]:
        _check_rows(table, problem)
    alone = _run(script, tmp_path / "threads.json", "--only", "threads", "--threads", "2")
    _check_rows(alone, "threads")
    assert all(row["sides"][ONE_THREAD]["ratio"] > 0 for row in alone["result"]["problems"]["threads"]["rows"])

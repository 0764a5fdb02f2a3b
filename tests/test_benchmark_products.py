"""The comparison of products runs, counts rightly, and its page says what the files say; no time is judged."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gaunt as benchmark
from benchmarks.products import counting, page
from benchmarks.products.sides import SIDES, triples
from benchmarks.side_by_side.planned import NotThere

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    output = tmp_path_factory.mktemp("gaunt") / "gaunt.json"
    command = [sys.executable, "benchmarks/gaunt.py", "--quick", "--degrees", "1", "2", "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(output.read_text(encoding="utf-8"))


def test_every_product_is_measured(table: dict[str, Any]) -> None:
    result = table["result"]
    for product in result["products"]:
        assert "note" in product or max(product["error"], product["error_backward"]) < 1e-5, product
    absent = {product["side"] for product in result["products"] if "note" in product}
    assert absent <= {"SO(2) convolution"}
    for name, side in SIDES.items():
        if name not in absent:
            cells = [row for row in result["rows"] if row["side"] == name and row["lmax"] == 2]
            assert len(cells) == (2 if side.one_row_count else 4), name
            assert all(row["us_per_row"] > 0 for row in cells)
    assert set(result["exponents"]) == {"Gaunt grid", "curl grid"}


@pytest.mark.parametrize("name", [name for name, side in SIDES.items() if side.half != "edge"])
def test_products_are_what_their_tensors_say(name: str) -> None:
    """In float64, of degree 3: the outputs and the gradients."""
    side = SIDES[name]
    torch.set_default_dtype(torch.float64)  # so that e3nn builds its couplings in it
    try:
        product = side.build(3, 3, torch.float64)
    finally:
        torch.set_default_dtype(torch.float32)
    x, y, _ = benchmark.inputs(3, 5, 3, torch.float64)
    first, *others = benchmark.leaves(product, x, y)
    out = product.canonical(product.run(first, *others))
    exact_x = x.clone().requires_grad_()
    exact = torch.einsum("abk,nac,nbc->nkc", torch.from_numpy(product.oracle), exact_x, y)
    torch.testing.assert_close(out, exact, rtol=1e-10, atol=1e-10)
    (grad,), (wanted,) = (torch.autograd.grad(o.pow(3).sum(), t) for o, t in ((out, first), (exact, exact_x)))
    torch.testing.assert_close(product.gradient(grad), wanted, rtol=1e-9, atol=1e-9)


def _measured(monkeypatch: pytest.MonkeyPatch, output: Path, *words: str) -> dict[str, Any]:
    """Run a few products with the command line of a quick run, in this process."""
    monkeypatch.setattr(benchmark, "SIDES", {name: SIDES[name] for name in ("CG dense", "Gaunt grid", "curl grid")})
    monkeypatch.setattr(sys, "argv", ["gaunt.py", "--quick", "--output", str(output), *words])
    benchmark.Table(benchmark.arguments()).run()
    return json.loads(output.read_text(encoding="utf-8"))


def test_a_part_that_is_run_again_replaces_its_own_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    output = tmp_path / "gaunt.json"
    whole = _measured(monkeypatch, output)["result"]

    def cells(result: dict[str, Any], part: str = "rows") -> list[tuple[Any, ...]]:
        return [tuple(row.get(key) for key in ("lmax", "rows", "side", "task")) for row in result[part]]

    parts = ("--only", "Gaunt grid", "--degrees", "2"), ("--degrees", "1", "--rows", "10"), ("--only", "CG dense")
    for words in parts:
        table = _measured(monkeypatch, output, *words)
        assert table["command"].endswith(shlex.join(words))
        for part in ("rows", "products"):
            assert cells(table["result"], part) == cells(whole, part), words
        assert list(table["result"]["reach"]) == ["1", "2"]
    same = [row for row in whole["rows"] if (row["lmax"], row["side"]) == (2, "curl grid")]
    assert all(row in table["result"]["rows"] for row in same if row["rows"] == 1)
    with pytest.raises(SystemExit, match=r"channels 4, now 8.*--output"):
        _measured(monkeypatch, output, "--only", "CG dense", "--channels", "8")


def test_paths_are_counted() -> None:
    # the table of the number of triples by L, even and all
    for lmax, even, every in ((1, 4, 5), (2, 11, 15), (4, 42, 65), (8, 215, 369)):
        assert len(triples(lmax, "even")) == even
        assert len(triples(lmax, "both")) == every
    found = counting.reach(3, ranks=True)
    assert {name: row["reached"] for name, row in found.items()} == {
        "Clebsch–Gordan": 34, "Gaunt": 23, "Gaunt + curl": 34, "matrices": 34,
    }  # fmt: skip
    assert found["Gaunt"]["freedom"] == found["Gaunt"]["weights"] - 2 == 10
    assert found["Clebsch–Gordan"]["freedom"] == 34
    short = counting.reach(3, ranks=False)
    assert all(found[name][key] == value for name, row in short.items() for key, value in row.items())


def test_operations_are_counted_as_by_hand() -> None:
    # L = 1: grid of 2 rings and 4 angles; orders 0 (two degrees), ±1 (one): along θ 3 + 1 + 1, along φ 2·3·3
    assert counting.transform(1) == 5 + 18
    found = counting.operations(1)
    assert found["Gaunt"] == 3 * 23 + 8
    assert found["curl"] == found["vector product, radial × tangent"] == 5 * 23 + 2 * 8
    assert all(
        counting.operations(lmax)["Gaunt + curl"] < counting.operations(lmax)["vector product, whole"]
        for lmax in range(1, 11)
    )


def test_a_product_that_is_not_there_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    import equitools

    monkeypatch.delattr(equitools.nn, "SO2Convolution", raising=False)
    with pytest.raises(NotThere, match="not in this version"):
        SIDES["SO(2) convolution"].build(1, 4, torch.float32)


def test_what_would_be_too_much_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gaunt.py", "--quick", "--channels", "64", "--max-gb", "1"])
    measured = benchmark.Table(benchmark.arguments())
    assert measured.too_much("Gaunt grid", "forward", 1000, 4) == ""
    assert "GB" in measured.too_much("Gaunt grid", "forward", 1_000_000, 4)
    measured.last["CG dense", "forward"] = (100, 0.5, 200.0)
    assert measured.too_much("CG dense", "forward", 300, 4) == ""
    assert measured.too_much("CG dense", "forward", 1000, 4) == "would take about 1.9 GB"
    measured.last["CG dense", "forward"] = (100, 0.7, 0.0)
    assert measured.too_much("CG dense", "forward", 700, 4) == ""
    assert measured.too_much("CG dense", "forward", 1000, 4) == "would take about 7 s"
    assert measured.too_much("CG dense", "forward", 1001, 4) == "would take about 7 s"
    measured.last["Gaunt grid", "forward"] = (1000, 0.1, 0.0)
    assert measured.too_much("Gaunt grid", "forward", 10_000, 1) == "would take about 1 s"


def test_page_says_what_the_results_say(table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.side_by_side import figures

    monkeypatch.setattr(figures, "FOLDER", tmp_path)
    result = table["result"]
    for row in result["rows"]:
        if row["side"] == "Gaunt grid" and row["lmax"] == 2 and row["rows"] == 10 and row["task"] == "forward":
            row["us_per_row"] = 1e-4
    text = page.gaunt(table)
    assert "Gaunt grid 0.0001" in text
    assert "exponent of L" in text
    assert (tmp_path / "gaunt_products.png").exists()
    assert "| 2 | Gaunt | 11 | 15 | 11 | 7 | 9 |" in page.reach(table)
    assert f"| 2 | {result['operations']['2']['Gaunt']} |" in page.vectors(table)
    for part in (page.gaunt, page.reach, page.vectors, page.tetris):
        assert "no results" in part(None)


def test_targets_need_all_degrees() -> None:
    def cell(lmax: int, side: str, time: float) -> dict[str, Any]:
        return {"lmax": lmax, "rows": 1000, "side": side, "task": "forward", "us_per_row": time}

    cells = [cell(lmax, "Gaunt grid", 1.0) for lmax in range(1, 11)]
    cells += [cell(lmax, "Gaunt fourier", 3.0 + lmax) for lmax in range(1, 11)]
    result = {"rows": cells, "exponents": {"Gaunt grid": {"forward": 2.5}}}
    found = {(t.problem, t.quantity): t for t in page.targets(result)}
    first = found["Gaunt product", "grid, forward, the least of L = 1 … 10 and all rows"]
    assert (first.measured, first.reached) == (4.0, True)
    assert found["Gaunt grid, 1,000 rows", "exponent of L, 4 … 12, forward"].reached is True
    assert next(page.targets({"rows": cells[:-1]})).measured is None
    other = [{**cell(3, side, time), "rows": 1} for side, time in (("Gaunt grid", 2.0), ("Gaunt fourier", 1.0))]
    assert next(page.targets({"rows": cells + other})).measured == 0.5


def test_tetris_page() -> None:
    def run(told: int, pair: float) -> dict[str, Any]:
        by_shape = {"chiral": pair, "its mirror image": pair, "line": 1.0, "L": 0.5}
        return {"seed": 0, "seconds": 1.0, "by_shape": by_shape, "shapes_told": told, "chiral_difference": 1e-7}

    product = {"parameters": 1234, "features": "8x0e", "runs": [run(3, 1.0), run(1, 0.0)]}
    protocol = {"steps": 1000, "rotations": 10, "margin": 1e-3}
    text = page.tetris({
        "processor": "one", "threads": 1, "versions": {"torch": "2", "e3nn": "0.6", "equitools": "0"},
        "date": "2026-01-01", "command": "c", "result": {"protocol": protocol, "products": {"gaunt": product}},
    })  # fmt: skip
    assert "| `gaunt` | 8x0e | 1,234 | 3, 1 of 4 | 0 % | 50 % | 1.0e-07 |" in text

"""The benchmark of digits under affine maps at a tiny size, and its page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import affine_digits
from benchmarks.lie import affine_page
from equitools.data import DigitImages, stratified_split
from equitools.models.images import num_parameters

TINY = replace(affine_digits.QUICK, test=20, valid=15, batch=10, samples=2, eval_samples=2)


@pytest.fixture(autouse=True)
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty made-up digits in place of scikit-learn's, and few numbers of samples."""
    generator = torch.Generator().manual_seed(0)
    small = DigitImages(torch.rand(60, 1, 8, 8, generator=generator), torch.arange(60) % 10)
    original = affine_digits.upright_digits
    monkeypatch.setattr(affine_digits, "upright_digits", lambda size, digit: original(size, digit, small))
    monkeypatch.setattr(affine_digits, "COUNTS", (1, 2))


def test_networks_are_measured_and_drawn(tmp_path: Path) -> None:
    sets = affine_digits.make_sets(TINY, "test")
    rows = [affine_digits.measure(name, 1, sets, TINY) for name in affine_digits.NETWORKS]
    for row in rows:
        if row["network"] not in {"cnn", "mean"}:  # which are matched at the size of the table only
            assert abs(row["parameters"] / rows[-1]["parameters"] - 1) <= 0.02
        assert all(0 <= row[key] <= 100 for key in affine_page.COLUMNS if key in row)
        assert [s for s, _ in row["strength"]] == list(affine_digits.STRENGTHS)
        assert row["strength"][0][1] == row["upright"]
        assert ("invariance" in row) is (row["network"] in affine_digits.GROUPS)
    assert all(error > 0 for pairs in rows[-1]["invariance"].values() for _, error in pairs)
    affine_digits.draw({"rows": rows}, tmp_path / "picture.png", TINY)
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_the_same_seed_gives_the_same_row() -> None:
    sets = affine_digits.make_sets(TINY, "test")
    rows = [affine_digits.measure("gl", seed, sets, TINY) for seed in (2, 2)]
    assert {**rows[0], "cpu_seconds": 0} == {**rows[1], "cpu_seconds": 0}


def test_the_choice_knows_no_test_digit() -> None:
    table, choice = affine_digits.make_sets(TINY, "test"), affine_digits.make_sets(TINY, "valid")
    known = torch.cat([choice.train.images, choice.held["upright"].images]).flatten(1)
    assert torch.cdist(known, table.held["upright"].images.flatten(1)).min() > 0.1
    assert len(known) == len(table.train.labels) == 40
    rest, test = stratified_split(torch.arange(60) % 10, 20)
    assert len(set(rest.tolist()) & set(test.tolist())) == 0
    rows = list(affine_digits.choose(TINY, [("plain", 0.01, 1), ("sl", 0.02, 2)]))
    assert [(row["rate"], row["epochs"]) for row in rows] == [(0.01, 1), (0.02, 2)]


def test_usual_networks_have_as_many_parameters() -> None:
    protocol = affine_digits.Protocol()
    counts = [num_parameters(affine_digits.build(name, protocol)) for name in affine_digits.NETWORKS]
    assert max(counts) <= 1.02 * min(counts)


def test_networks_have_the_layout_that_is_said() -> None:
    protocol = affine_digits.Protocol()
    names = ("zeros", "plain", "gl", "sl")
    sizes = {name: num_parameters(affine_digits.build(name, protocol)) for name in names}
    assert abs(sizes["plain"] / sizes["gl"] - 1) <= 0.02
    assert sizes["plain"] == sizes["zeros"]
    modes = {n: affine_digits.build(n, protocol).convs[0].padding_mode for n in ("zeros", "plain", "augmented")}
    assert modes == {"zeros": "zeros", "plain": "replicate", "augmented": "zeros"}
    assert protocol.rate("gl") == dict(protocol.rates)["groups"]
    assert protocol.rate("zeros") == protocol.rate("augmented") == dict(protocol.rates)["plain"]
    assert protocol.rate("mean") == dict(protocol.rates)["mean"]


def test_page_says_what_the_results_say() -> None:
    def row(network: str, seed: int, affine: float) -> dict[str, object]:
        return {
            "network": network, "seed": seed, "parameters": 13854, "cpu_seconds": 50.0, "upright": 98.0,
            "affine": affine, "wide": 40.0, "wide_border": 41.0,
            "affine_border": affine + 8 * (network == "plain"),
        }  # fmt: skip

    rows = [row("plain", 1, 70.0), row("plain", 2, 74.0), row("gl", 1, 84.0), row("gl", 2, 86.0)]
    ranges = {"rotation": 20.0, "shear": 0.2, "scale": [0.8, 1.2], "translation": True}
    result = {
        "rows": rows, "train": 1437, "ranges": {"affine": ranges, "wide": ranges | {"translation": False}},
        "protocol": {
            "test": 360, "copies": 2, "digit": 20, "size": 40, "batch": 32, "valid": 287, "border": 4,
            "epochs": 30, "rates": {"plain": 0.005, "groups": 0.01}, "eval_samples": 96,
        },
        "published": {"somebody": "98.30 ± 0.10"},
    }  # fmt: skip
    table = {
        "processor": "one", "threads": 1, "versions": {"torch": "2", "equitools": "0"}, "date": "2026-01-01",
        "command": "c", "result": result,
    }  # fmt: skip
    text = affine_page.page(table)
    assert "| over ℝ²⋊GL⁺(2) | 13,854 | 98.0 ± 0.0 | 85.0 ± 1.4 | 85.0 ± 1.4 | 40.0 ± 0.0 | 41.0 ± 0.0 | 50 |" in text
    assert "| plain convolutions, borders repeated | 13.0 ± 1.4 ✓ | 5.0 ± 1.4 |" in text
    assert "somebody 98.30 ± 0.10" in text
    assert "no results" in affine_page.page(None)
    tried = [{"network": "plain", "rate": 0.005, "epochs": 25, "upright": 98.0, "affine": 72.25, "wide": 35.0}]
    assert "| plain convolutions, borders repeated | 0.005 | 25 | 98.0 | 72.2 | 35.0 |" in affine_page.choice(
        {**table, "result": {**result, "rows": tried}}
    )
    assert "no results" in affine_page.choice(None)

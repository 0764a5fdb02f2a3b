"""The benchmark of adapted classifiers at a tiny size, its page, and the example that it measures."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch

from benchmarks import adaptation
from benchmarks.symmetrized import adaptation_page

SIZES = {"train": 26, "held": 13, "pretrain": 1, "adapt": 1}


@pytest.fixture(scope="module")
def parts() -> ModuleType:
    return adaptation.example()


def test_all_ways_are_measured_and_drawn(parts: ModuleType, tmp_path: Path) -> None:
    rows = adaptation.measure(parts, 0, SIZES)
    assert [row["way"] for row in rows] == list(adaptation.WAYS)
    for row in rows:
        assert 0 <= row["upright"] <= 100
        assert ("identity" in row) is (row["way"] == "adapted")
        if row["way"] in {"frames", "adapted"}:
            assert row["turned"] == pytest.approx(row["upright"])  # exactly invariant, whatever was learned
    adaptation.draw({"rows": rows, "protocol": {"classes": ["box", "mug"]}}, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


@pytest.mark.parametrize("kind", ["vectors", "poses"])
def test_adapted_classifiers_are_invariant(parts: ModuleType, kind: str) -> None:
    sets = parts.make_sets(26, 13, 0)
    net = parts.pretrain(sets.train, 1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    model = parts.adapt(net, sets.train, kind, 1, frozen=True).double()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value.to(before[name].dtype), before[name], atol=0, rtol=0)
    x = sets.test.upright.double()
    turned = parts.rotated(x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(turned), model(x), atol=1e-8, rtol=0)
    assert float((model.net(turned) - model.net(x)).detach().abs().max()) > 1e-4


def test_sets_are_of_different_seeds(parts: ModuleType) -> None:
    sets = parts.make_sets(26, 26, 3)
    clouds = [sets.train.points, sets.valid.upright, sets.test.upright]
    for k in range(3):
        assert torch.cdist(clouds[k].flatten(1), clouds[k - 1].flatten(1)).min() > 0.1
    assert len(sets.train.names) == 13
    for held in (sets.valid, sets.test):
        torch.testing.assert_close(held.turned.norm(dim=-1), held.upright.norm(dim=-1))
        assert float((held.turned - held.upright).abs().amax((1, 2)).min()) > 0.01
    seeds = {10 * seed + k for seed in (adaptation.CHOICE, *adaptation.SEEDS) for k in (1, 2, 3, 7, 8)}
    assert len(seeds) == 5 * (1 + len(adaptation.SEEDS))


def test_choosing_needs_no_test_set(parts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    make_sets = parts.make_sets
    monkeypatch.setattr(parts, "make_sets", lambda *args: make_sets(*args)._replace(test=None))
    rows = adaptation.choose(parts, SIZES, (1,))
    assert [row["epochs"] for row in rows] == [0, 1]


def test_orders_make_all_poses_of_principal_axes_once(parts: ModuleType) -> None:
    elements = parts.by_poses().candidates(torch.randn(2, 30, 3)).elements
    assert elements.shape == (2, 24, 3, 3)
    torch.testing.assert_close(torch.linalg.det(elements), torch.ones(2, 24))
    distance = (elements.unsqueeze(1) - elements.unsqueeze(2)).flatten(3).norm(dim=-1)
    assert float((distance + 9 * torch.eye(24)).min()) > 0.1


def test_the_same_seed_gives_the_same_rows(parts: ModuleType) -> None:
    ways = ("original", "adapted")
    first, second = (adaptation.measure(parts, 1, SIZES, ways) for _ in range(2))
    assert [row["upright"] for row in first] == [row["upright"] for row in second]


def test_page_says_what_the_results_say() -> None:
    adapted = {"way": "adapted", "axis": 50.0}
    rows = [
        {"way": "original", "seed": 1, "cpu_seconds": 14.0, "upright": 99.5, "turned": 17.25},
        {"way": "original", "seed": 2, "cpu_seconds": 14.0, "upright": 100.0, "turned": 17.25},
        {**adapted, "seed": 1, "cpu_seconds": 40.0, "upright": 97.0, "turned": 97.0, "identity": 44.0},
        {**adapted, "seed": 2, "cpu_seconds": 60.0, "upright": 99.0, "turned": 99.0, "identity": 46.0},
    ]
    protocol = {**SIZES, "points": 96, "noise": 0.02, "classes": ["a", "b"]}
    table = {
        "processor": "one", "threads": 1, "versions": {"torch": "2", "equitools": "0"}, "date": "2026-01-01",
        "command": "c", "result": {"rows": rows, "protocol": protocol},
    }  # fmt: skip
    text = adaptation_page.page(table)
    assert "| original | 99.8 ± 0.4 | 17.2 ± 0.0 | 82.5 ± 0.4 | 14 |" in text
    assert "| adapted | 98.0 ± 1.4 | 98.0 ± 1.4 | 1.8 ± 1.1 | 50 |" in text
    assert "the difference is 0.0 ± 0.0 points (within 2)" in text
    assert "2.5 in the worst seed (not within 2)" in text
    assert "2 kinds of solids (a, b)" in text
    assert "augmentation |" not in text
    assert "no results" in adaptation_page.page(None)
    tried = [{"epochs": 5, "upright": 9.0, "turned": 8.25}]
    chosen = {**table, "result": {"protocol": protocol, "seed": 9, "rows": tried}}
    assert "| 5 | 9.0 | 8.2 |" in adaptation_page.choice(chosen)
    assert "no results" in adaptation_page.choice(None)

"""Mirror images: what no training can teach a network of plain Gaunt products, and the others learn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from benchmarks.tetris import example
from equitools.groups import random_rotation

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tetris() -> ModuleType:
    return example()


def logits(tetris: ModuleType, product: str) -> tuple[Tensor, Tensor]:
    """Return an untrained network's answers in float64: to the shapes, and to their mirror images turned at random."""
    torch.manual_seed(3)
    network = tetris.Network(product).double()
    points = torch.tensor(list(tetris.SHAPES.values()), dtype=torch.float64)
    rotation = random_rotation(generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    with torch.no_grad():
        return network(points), network(-points @ rotation.T)


def test_plain_products_cannot_tell_mirror_images_apart(tetris: ModuleType) -> None:
    found, mirrored = logits(tetris, "gaunt")
    scale = float(found.abs().max())
    assert float((found - mirrored).abs().max()) < 1e-12 * scale  # of all eight shapes
    assert float((found[0] - found[1]).abs().max()) < 1e-12 * scale
    assert not found[:, :2].any()  # it has no pseudoscalar at all
    assert float((found[2] - found[3]).abs().max()) > 1e-3 * scale  # but it does tell shapes apart


# e3nn's product was built in float32: so exact are its couplings.
@pytest.mark.parametrize(("product", "tolerance"), [("cg", 1e-7), ("gaunt+curl", 1e-12)])
def test_a_mirror_image_exchanges_the_chiral_pair(tetris: ModuleType, product: str, tolerance: float) -> None:
    found, mirrored = logits(tetris, product)
    exchanged = found[:, [1, 0, 2, 3, 4, 5, 6, 7]]
    scale = float(found.abs().max())
    assert float((mirrored - exchanged).abs().max()) < tolerance * scale
    assert float((found[1] - exchanged[0]).abs().max()) < tolerance * scale
    assert float(found[0, 0].abs()) > 1e-4 * scale  # a pseudoscalar of the chiral shape
    assert float(found[2:, :2].abs().max()) < tolerance * scale  # and of no other shape: they are their mirror images


def test_a_tie_tells_nothing(tetris: ModuleType) -> None:
    rows = torch.eye(8)
    assert tetris.told(rows).all()
    rows[0, 1] = rows[1, 0] = 1.0
    assert tetris.told(rows).tolist() == [False, False] + 6 * [True]


def test_the_table_runs(tmp_path: Path) -> None:
    output = tmp_path / "tetris.json"
    command = [sys.executable, "benchmarks/tetris.py", "--quick", "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    products = json.loads(output.read_text(encoding="utf-8"))["result"]["products"]
    assert set(products) == {"cg", "gaunt", "gaunt+curl"}
    for product in products.values():
        assert len(product["runs"][0]["by_shape"]) == 8
        assert product["parameters"] > 1000


@pytest.mark.slow
@pytest.mark.parametrize(("product", "expected"), [("cg", 8), ("gaunt", 6), ("gaunt+curl", 8)])
def test_training_tells_all_that_can_be_told(tetris: ModuleType, product: str, expected: int) -> None:
    result = tetris.accuracy(tetris.train(product, seed=0), rotations=30)
    assert result["shapes_told"] == expected, result
    if product == "gaunt":
        assert [name for name, share in result["by_shape"].items() if share < 1] == ["chiral", "its mirror image"]
        assert result["by_shape"]["chiral"] == result["by_shape"]["its mirror image"] == 0

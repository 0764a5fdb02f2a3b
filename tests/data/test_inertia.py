"""The inertia task: an independent oracle, and that it breaks the symmetry it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equitools.data.inertia import broken_inertia, inertia_tensor
from equitools.errors import ConfigError, ShapeError
from equitools.groups import random_orthogonal


def test_against_the_textbook() -> None:
    random = np.random.default_rng(0)
    masses, r = random.random(4), random.standard_normal((4, 3))
    wanted = np.zeros((3, 3))
    for m, (x, y, z) in zip(masses, r, strict=True):
        wanted += m * np.array([[y * y + z * z, -x * y, -x * z], [-x * y, x * x + z * z, -y * z],
                                [-x * z, -y * z, x * x + y * y]])  # fmt: skip
    np.testing.assert_allclose(inertia_tensor(torch.from_numpy(masses), torch.from_numpy(r)).numpy(), wanted)


def test_equivariance() -> None:
    g = random_orthogonal((6,), dtype=torch.float64)
    masses, r = torch.rand(6, 5).double(), torch.randn(6, 5, 3).double()
    turned = inertia_tensor(masses, r @ g.mT)
    assert torch.allclose(turned, g @ inertia_tensor(masses, r) @ g.mT, atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_symmetry(axis: int) -> None:
    part = broken_inertia(50, 0, 0, seed=1, axis=axis).train

    def target(x: torch.Tensor) -> torch.Tensor:
        matrix = inertia_tensor(x[:, :5], x[:, 5:].unflatten(1, (5, 3)))
        a = torch.eye(3, dtype=x.dtype)[axis]
        return matrix + 0.3 * (matrix @ a).unsqueeze(-1) * a

    assert torch.allclose(part.target, target(part.inputs).flatten(1), atol=1e-12)

    def broken(g: torch.Tensor) -> float:
        moved = torch.cat([part.inputs[:, :5], (part.inputs[:, 5:].unflatten(1, (5, 3)) @ g.T).flatten(1)], 1)
        return float((target(moved) - g @ target(part.inputs) @ g.T).abs().max())

    kept = torch.eye(3).double()
    others = [k for k in range(3) if k != axis]
    kept[others[0], others[0]] = kept[others[1], others[1]] = 0.6
    kept[others[0], others[1]], kept[others[1], others[0]] = 0.8, -0.8
    assert broken(kept) < 1e-12
    assert broken(kept * torch.where(torch.arange(3) == axis, -1.0, 1.0)) < 1e-12
    assert broken(torch.eye(3).double().roll(1, 0)) > 0.5


def test_parts() -> None:
    task = broken_inertia(7, 5, 3, seed=2, masses=4, breaking=0.0)
    assert [len(part.inputs) for part in task] == [7, 5, 3]
    assert task.train.inputs.shape == (7, 16)
    assert bool((task.train.inputs[:, :4] > 0).all())
    again = broken_inertia(7, 5, 3, seed=2, masses=4, breaking=0.0)
    assert torch.equal(task.test.target, again.test.target)
    matrix = task.valid.target.view(-1, 3, 3)
    assert torch.allclose(matrix, matrix.mT)
    assert broken_inertia(0, 0, 0).train.target.shape == (0, 9)


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="must not be negative"):
        broken_inertia(-1)
    with pytest.raises(ConfigError, match="axis"):
        broken_inertia(1, axis=3)
    with pytest.raises(ShapeError, match="do not fit"):
        inertia_tensor(torch.ones(3), torch.ones(4, 3))

"""The particle-interaction task."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equitools.data.particle_interaction import matrix_element, particle_interaction
from equitools.errors import ConfigError, ShapeError
from equitools.groups import Lorentz


def test_the_formula_in_scalar_products() -> None:
    rng = np.random.default_rng(0)
    momenta = rng.normal(size=(50, 4, 4))
    s = np.einsum("nia,a,nja->nij", momenta, [1.0, -1.0, -1.0, -1.0], momenta)
    a, b = s[:, 0, 2] - s[:, 0, 0], s[:, 1, 3] - s[:, 1, 1]
    wanted = 4 * (s[:, 0, 1] * s[:, 2, 3] - b * s[:, 0, 2] - a * s[:, 1, 3] + 4 * a * b)
    torch.testing.assert_close(matrix_element(torch.from_numpy(momenta)), torch.from_numpy(wanted))


def test_lorentz_invariance() -> None:
    generator = torch.Generator().manual_seed(0)
    momenta = torch.randn(20, 4, 4, generator=generator, dtype=torch.float64)
    g = Lorentz().sample((20,), generator, rapidity=0.8)
    assert torch.linalg.det(g).sign().unique().numel() == 2
    torch.testing.assert_close(matrix_element(Lorentz().act(g, momenta)), matrix_element(momenta), atol=1e-8, rtol=1e-9)
    turned = momenta @ torch.diag(torch.tensor([1.0, 1.0, 2.0, 1.0], dtype=torch.float64))
    assert float((matrix_element(turned) - matrix_element(momenta)).abs().min()) > 1e-6


def test_scales_and_sizes() -> None:
    task = particle_interaction(1000, 30, 20)
    assert [len(part.target) for part in task[:3]] == [1000, 30, 20]
    torch.testing.assert_close(task.train.momenta.square().mean((0, 2)), torch.ones(4, dtype=torch.float64))
    assert abs(float(task.train.target.mean())) < 1e-12
    assert abs(float(task.train.target.std()) - 1) < 1e-12
    raw = task.test.momenta * task.scale[:, None]
    torch.testing.assert_close(task.test.target, (matrix_element(raw) - task.mean) / task.std)
    assert 0.2 < float(raw.std()) < 0.3


def test_the_seed_is_all() -> None:
    first, second, other = (particle_interaction(20, 5, 5, seed) for seed in (2021, 2021, 1))
    assert torch.equal(first.test.momenta, second.test.momenta)
    assert not torch.equal(first.test.momenta, other.test.momenta)
    raw = first.train.momenta[0, 0, 0] * first.scale[0]
    assert abs(float(raw) - np.random.RandomState(2021).randn() / 4) < 1e-15


def test_wrong_input() -> None:
    with pytest.raises(ConfigError, match="events"):
        particle_interaction(1, 1, 1)
    with pytest.raises(ConfigError, match="events"):
        particle_interaction(10, 0, 1)
    with pytest.raises(ShapeError, match="momenta"):
        matrix_element(torch.zeros(3, 4))

"""The identity prior and its metric."""

from __future__ import annotations

import math

import pytest
import torch

from equitools.errors import ConfigError, ShapeError
from equitools.groups import SO, finite_group
from equitools.symmetrize import identity_metric, identity_prior


def test_zero_at_the_identity() -> None:
    eye = torch.eye(3, dtype=torch.float64).repeat(4, 1, 1).requires_grad_()
    loss = identity_prior(eye)
    assert float(loss.detach()) == 0
    (gradient,) = torch.autograd.grad(loss, eye)
    assert float(gradient.abs().max()) == 0
    assert float(identity_prior(finite_group("O")[1:2])) > 0
    assert float(identity_prior(eye[:0]).detach()) == 0


def test_continuous_prior_is_that_of_the_angle() -> None:
    """|g − 1|² = 8 sin²(θ/2), over nine entries; the gradient turns towards the identity."""
    angle = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    turn = SO(3).exp(angle * torch.tensor([[0.0, 0.6, 0.8]], dtype=torch.float64))
    loss = identity_prior(turn)
    assert math.isclose(float(loss.detach()), 8 * math.sin(0.35) ** 2 / 9, rel_tol=1e-12)
    (slope,) = torch.autograd.grad(loss, angle)
    assert math.isclose(float(slope), 8 * math.sin(0.35) * math.cos(0.35) / 9, rel_tol=1e-12)


def test_discrete_prior_is_the_cross_entropy() -> None:
    scores = torch.randn(6, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for identity in (0, 5):
        wanted = torch.nn.functional.cross_entropy(scores, torch.full((6,), identity))
        torch.testing.assert_close(identity_prior(scores, "discrete", identity), wanted)
    assert float(identity_prior(scores[:0], "discrete")) == 0
    sure = torch.full((2, 24), -100.0)
    sure[:, 0] = 100.0
    assert float(identity_prior(sure, "discrete")) == 0


def test_one_at_the_identity() -> None:
    group = finite_group("O")
    assert float(identity_metric(group[:1].repeat(3, 1, 1))) == 1
    assert math.isclose(float(identity_metric(group)), 1 / 24)
    small = SO(3).exp(torch.tensor([[0.0, 0.0, 0.03], [0.0, 0.0, 0.04]], dtype=torch.float64))
    assert float(identity_metric(small, 0.1)) == 1  # the norms are 0.042 and 0.057
    assert float(identity_metric(small, 0.05)) == 0.5


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="not known"):
        identity_prior(torch.eye(3)[None], "both")
    with pytest.raises(ShapeError, match=r"\[B, d, d\]"):
        identity_prior(torch.eye(3))
    with pytest.raises(ShapeError, match=r"scores \[B, G\]"):
        identity_prior(torch.eye(3)[None], "discrete")
    with pytest.raises(ConfigError, match="no element 24"):
        identity_prior(torch.zeros(2, 24), "discrete", 24)
    with pytest.raises(ShapeError, match=r"\[B, d, d\]"):
        identity_metric(torch.zeros(2, 3, 4))

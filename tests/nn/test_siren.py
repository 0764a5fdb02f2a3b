"""Sine networks."""

from __future__ import annotations

import math

import pytest
import torch

from equitools.errors import ConfigError, ShapeError
from equitools.nn import Siren


def test_values_are_the_formula() -> None:
    torch.manual_seed(0)
    net = Siren(3, 4, hidden=5, layers=2, omega=7.0, hidden_omega=3.0, fan_in=4).double()
    x = torch.randn(6, 3, dtype=torch.float64)
    a, b = net.sines
    by_hand = torch.sin(3.0 * (torch.sin(7.0 * (x @ a.weight.T + a.bias)) @ b.weight.T + b.bias))
    torch.testing.assert_close(net(x), (by_hand @ net.last.weight.T + net.last.bias) / 2)
    assert torch.autograd.gradcheck(net, (x[:2].requires_grad_(),))
    assert torch.autograd.gradgradcheck(net, (x[:2].detach().requires_grad_(),))


@pytest.mark.parametrize("layers", [1, 3])
def test_variance(layers: int) -> None:
    torch.manual_seed(1)
    x = 2 * torch.rand(400, 2, dtype=torch.float64) - 1
    found = torch.stack(
        [Siren(2, 8, hidden=64, layers=layers, fan_in=50).double()(x).square().mean() for _ in range(8)]
    )
    assert 0.7 < 50 * float(found.detach().mean()) < 1.3


def test_frequencies() -> None:
    torch.manual_seed(2)
    net = Siren(2, 1, hidden=128, layers=4, omega=20.0).double()
    x = 2 * torch.rand(300, 2, dtype=torch.float64) - 1
    for k, (omega, linear) in enumerate(zip(net.omegas, net.sines, strict=True)):
        before = omega * linear(x)
        if k == 0:
            assert float(linear.weight.detach().abs().max()) <= 1 / 2  # at most omega / 2 a coordinate
        else:
            assert 0.7 < float(before.detach().std()) < 1.4
        x = torch.sin(before)


def test_empty_and_strided_points() -> None:
    net = Siren(2, 3)
    assert net(torch.zeros(0, 2)).shape == (0, 3)
    x = torch.randn(2, 7).T
    torch.testing.assert_close(net(x), net(x.contiguous()))


@pytest.mark.parametrize(
    "wrong", [{"in_features": 0}, {"hidden": 1.5}, {"layers": True}, {"omega": 0.0}, {"fan_in": math.inf}]
)
def test_wrong_numbers(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Siren(**({"in_features": 2, "out_features": 1} | wrong))  # type: ignore[arg-type]


def test_wrong_points() -> None:
    with pytest.raises(ShapeError, match="2"):
        Siren(2, 1)(torch.zeros(4, 3))

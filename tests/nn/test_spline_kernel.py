"""Kernels as sums of B-splines."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import ConfigError, ShapeError
from equitools.nn import SplineKernel


def test_partition_of_unity() -> None:
    kernel = SplineKernel(2, 1, knots=5).double()
    torch.nn.init.ones_(kernel.last.weight)
    x = torch.rand(200, 2, dtype=torch.float64) - 0.5
    torch.testing.assert_close(kernel(x), torch.ones(200, 1, dtype=torch.float64))


def test_smoothness() -> None:
    torch.manual_seed(0)
    kernel = SplineKernel(1, 3, knots=4).double()
    x = torch.linspace(-2.2, 2.2, 4001, dtype=torch.float64).unsqueeze(1).requires_grad_()
    values = kernel(x)
    slope = torch.stack([torch.autograd.grad(values[:, k].sum(), x, retain_graph=True)[0][:, 0] for k in range(3)], 1)
    # a jump would not shrink with the step; the second derivative is bounded by the coefficients
    bound = 4 * float(kernel.last.weight.detach().abs().max()) * (3 / 2) ** 2 * 4.4 / 4000
    assert float(slope.diff(dim=0).abs().max()) <= bound
    outside = x.detach().abs()[:, 0] >= 1 + 1.5 * 2 / 3
    assert float(values.detach()[outside].abs().max()) == 0
    assert float(values.detach().abs().max()) > 0.1


def test_values_are_scipys() -> None:
    interpolate = pytest.importorskip("scipy.interpolate")
    torch.manual_seed(1)
    kernel = SplineKernel(1, 1, knots=5).double()
    x = torch.linspace(-1.6, 1.6, 50, dtype=torch.float64)
    at, step = torch.linspace(-1, 1, 5, dtype=torch.float64), 0.5
    found = kernel(x.unsqueeze(1))[:, 0].detach()
    expected = torch.zeros(50, dtype=torch.float64)
    for centre, weight in zip(at, kernel.last.weight[0].detach(), strict=True):
        knots = (centre + step * torch.tensor([-1.5, -0.5, 0.5, 1.5])).numpy()
        spline = interpolate.BSpline.basis_element(knots, extrapolate=False)(x.numpy())
        expected += weight * torch.from_numpy(spline).nan_to_num()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_gradients_and_empty_input() -> None:
    kernel = SplineKernel(2, 2, knots=3).double()
    assert torch.autograd.gradcheck(kernel, (torch.rand(4, 2, dtype=torch.float64, requires_grad=True),))
    assert SplineKernel(3, 2)(torch.zeros(0, 3)).shape == (0, 2)


def test_wrong_numbers() -> None:
    for wrong in ({"knots": 1}, {"in_features": 0}, {"out_features": 1.5}, {"fan_in": 0.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            SplineKernel(**({"in_features": 2, "out_features": 1} | wrong))  # type: ignore[arg-type]
    with pytest.raises(ShapeError):
        SplineKernel(2, 1)(torch.zeros(4, 3))

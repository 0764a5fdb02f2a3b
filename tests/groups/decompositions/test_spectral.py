"""Logarithm and exponential of symmetric matrices, where eigenvalues differ and where they coincide."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.decompositions import spd_log, symmetric_exp
from equitools.groups.decompositions.spectral import divided_differences


def symmetric(values: list[float], seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(len(values), len(values), generator=g, dtype=torch.float64))[0]
    return (q * torch.tensor(values, dtype=torch.float64)) @ q.mT


CLOSE = [[0.5, 1.5, 3.0], [1.0, 1.0, 1.0], [2.0, 2.0, 0.3], [1.0, 1.0 + 1e-9, 1.0 + 1e-5], [1e-2, 1e2, 1e2], [4.0, 0.7]]


@pytest.mark.parametrize("values", CLOSE, ids=str)
def test_spectral_functions_agree(values: list[float]) -> None:
    p = symmetric(values)
    x = spd_log(p)
    np.testing.assert_allclose(x.numpy(), scipy.linalg.logm(p.numpy()), atol=1e-12)
    torch.testing.assert_close(symmetric_exp(x), p, atol=1e-12 * max(values), rtol=0)
    torch.testing.assert_close(symmetric_exp(x), torch.matrix_exp(x), atol=1e-11 * max(values), rtol=0)


@pytest.mark.parametrize("values", CLOSE, ids=str)
@pytest.mark.parametrize("function", [spd_log, symmetric_exp])
def test_gradients_at_equal_eigenvalues(values: list[float], function) -> None:
    if values[0] == 1e-2 and function is symmetric_exp:
        values = [-2.0, 3.0, 3.0]
    p = symmetric(values).requires_grad_()
    assert torch.autograd.gradcheck(function, p)
    assert torch.autograd.gradgradcheck(function, p)


def test_third_derivatives() -> None:
    p = symmetric([1.0, 1.0, 2.0]).requires_grad_()

    def second(a: Tensor) -> Tensor:
        (first,) = torch.autograd.grad(spd_log(a)[0, 1], a, create_graph=True)
        (gradient,) = torch.autograd.grad((first**2).sum(), a, create_graph=True)
        return gradient

    assert torch.autograd.gradcheck(second, p)


@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-6, 1e-3, 0.05, 0.1, 0.2, 1.0, 50.0])
@pytest.mark.parametrize("name", ["log", "exp"])
def test_first_divided_differences(gap: float, name: str) -> None:
    x, y = 0.8, 0.8 + min(gap, 5.0 if name == "exp" else gap)
    found = float(divided_differences(name, torch.tensor([x, y], dtype=torch.float64)))
    t, w = np.polynomial.legendre.leggauss(60)
    slope = np.exp if name == "exp" else np.reciprocal
    wanted = float((w / 2 * slope(x + (t + 1) / 2 * (y - x))).sum())  # the mean of the slope
    assert found == pytest.approx(wanted, rel=3e-13)


@pytest.mark.parametrize("name", ["log", "exp"])
def test_divided_differences_of_equal_points(name: str) -> None:
    x = torch.tensor(1.3, dtype=torch.float64)
    for k, wanted in enumerate([x.log(), 1 / x, -1 / (2 * x**2), 1 / (3 * x**3)] if name == "log" else []):
        torch.testing.assert_close(divided_differences("log", x.expand(k + 1)), wanted, atol=1e-14, rtol=1e-13)
    if name == "exp":
        for k, factorial in enumerate([1, 1, 2, 6]):
            torch.testing.assert_close(divided_differences("exp", x.expand(k + 1)), x.exp() / factorial)


def test_what_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(ShapeError, match="1 of 2 matrices are not positive definite"):
        spd_log(torch.stack([torch.eye(3), -torch.eye(3)]))
    with pytest.raises(ShapeError, match="float32 or float64"):
        spd_log(torch.ones(2, 3))
    assert spd_log(torch.zeros(0, 3, 3)).shape == (0, 3, 3)
    assert spd_log(torch.eye(3, dtype=torch.float32)).dtype == torch.float32

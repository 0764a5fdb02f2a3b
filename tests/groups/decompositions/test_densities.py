"""Densities of the Haar measure in the coordinates of parts, against numeric Jacobians."""

from __future__ import annotations

import pytest
import torch
from decomposition_cases import (
    diagonal_basis,
    generator,
    log_jacobian,
    rotations,
    skew_basis,
    symmetric_basis,
    triangular_basis,
)
from torch import Tensor

from equitools.groups.decompositions import iwasawa_log_density, kak_log_density, polar_log_density
from equitools.groups.decompositions.polar import log_sinhc

TOLERANCE = 1e-9  # the criterion is 1e-6


def combine(x: Tensor, basis: Tensor) -> Tensor:
    return torch.einsum("k,kij->ij", x, basis)


def full_basis(n: int) -> Tensor:
    return torch.cat([symmetric_basis(n), skew_basis(n)])


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_densities_are_numeric_jacobians(n: int) -> None:
    symmetric, skew, diagonal, upper = symmetric_basis(n), skew_basis(n), diagonal_basis(n), triangular_basis(n)
    k1, k2 = rotations(2, n, n)
    x0 = combine(torch.randn(len(symmetric), generator=generator(n), dtype=torch.float64), symmetric)
    values = torch.randn(n, generator=generator(n + 1), dtype=torch.float64).sort(descending=True).values
    n0 = torch.eye(n, dtype=torch.float64)
    n0 = n0 + combine(torch.randn(len(upper), generator=generator(n + 2), dtype=torch.float64), upper)
    a, basis = torch.diag(values.exp()), full_basis(n)

    def turn(x: Tensor) -> Tensor:
        return torch.matrix_exp(combine(x, skew))

    def by_polar(x: Tensor) -> Tensor:
        s, k = x.split([len(symmetric), len(skew)])
        return torch.matrix_exp(x0 + combine(s, symmetric)) @ turn(k) @ k1

    def by_kak(x: Tensor) -> Tensor:
        left, h, right = x.split([len(skew), n, len(skew)])
        return k1 @ turn(left) @ a @ torch.matrix_exp(combine(h, diagonal)) @ turn(right) @ k2

    def by_iwasawa(x: Tensor) -> Tensor:
        left, h, right = x.split([len(skew), n, len(upper)])
        return k1 @ turn(left) @ a @ torch.matrix_exp(combine(h, diagonal)) @ (n0 + combine(right, upper))

    found = {
        "polar": float(polar_log_density(torch.matrix_exp(x0))),
        "kak": float(kak_log_density(a)),
        "iwasawa": float(iwasawa_log_density(a)),
    }
    for kind, element in (("polar", by_polar), ("kak", by_kak), ("iwasawa", by_iwasawa)):
        assert found[kind] == pytest.approx(log_jacobian(element, n * n, basis), abs=TOLERANCE), kind


def test_density_of_polar_at_equal_stretches() -> None:
    p = torch.eye(3, dtype=torch.float64).requires_grad_()
    density = polar_log_density(p)
    assert float(density.detach()) == pytest.approx(0.0, abs=1e-14)
    (gradient,) = torch.autograd.grad(density, p)
    assert float(gradient.abs().max()) < 1e-12  # one is the least of it
    gaps = torch.tensor([0.0, 1e-8, 0.099, 0.101, 2.0, 700.0, 1e5], dtype=torch.float64)
    found = log_sinhc(gaps)
    wanted = (torch.sinh(gaps[1:5]) / gaps[1:5]).log()
    torch.testing.assert_close(found[1:5], wanted, atol=1e-15, rtol=1e-11)
    assert found[0] == 0
    torch.testing.assert_close(found[5:], gaps[5:] - (2 * gaps[5:]).log())

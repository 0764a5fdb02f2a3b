"""Polar, KAK and Iwasawa parts in Sp(n)."""

from __future__ import annotations

import math

import pytest
import torch
from decomposition_cases import generator, orthogonality, relative_error
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups import Sp, symplectic_form
from equitools.groups.decompositions import symplectic_iwasawa, symplectic_kak, symplectic_polar
from equitools.groups.decompositions.symplectic import takagi

FUNCTIONS = [symplectic_polar, symplectic_kak, symplectic_iwasawa]
SIZES = [2, 4, 6, 8]


def unitary(batch: int, m: int, seed: int) -> Tensor:
    q = torch.linalg.qr(torch.randn(batch, m, m, generator=generator(seed), dtype=torch.complex128))[0]
    return torch.cat([torch.cat([q.real, -q.imag], -1), torch.cat([q.imag, q.real], -1)], -2)


def symplectic(batch: int, n: int, condition: float, seed: int, logs: list[float] | None = None) -> Tensor:
    m = n // 2
    x = torch.rand(batch, m, generator=generator(seed), dtype=torch.float64)
    x[:, 0] = 1.0
    x = x * 0.5 * math.log(condition) if logs is None else torch.tensor(logs, dtype=torch.float64).expand(batch, m)
    return unitary(batch, m, seed + 1) @ torch.diag_embed(torch.cat([x, -x], -1).exp()) @ unitary(batch, m, seed + 2)


def product(parts: tuple[Tensor, ...]) -> Tensor:
    g = parts[0]
    for part in parts[1:]:
        g = g @ part
    return g


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_symplectic_round_trips(function, n: int, condition: float) -> None:
    g = symplectic(20, n, condition, n)
    assert relative_error(product(function(g)), g) < 1e-11


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("condition", [1.0, 1e4])
def test_symplectic_parts_stay_in_the_group(n: int, condition: float) -> None:
    g, m = symplectic(20, n, condition, n), n // 2
    j = symplectic_form(n)
    p, k = symplectic_polar(g)
    k1, a, k2 = symplectic_kak(g)
    turn, stretch, shear = symplectic_iwasawa(g)
    for part in (p, k, k1, a, k2, turn, stretch, shear):
        scale = part.abs().amax((-1, -2)).square().clamp(min=1.0)
        assert float(((part.mT @ j @ part - j).abs().amax((-1, -2)) / scale).max()) < 1e-12
    for part in (k, k1, k2, turn):
        assert orthogonality(part) < 1e-12
    assert torch.equal(p, p.mT)
    values = torch.diagonal(a, dim1=-2, dim2=-1)
    assert torch.equal(a, torch.diag_embed(values))
    assert (values[:, :m] >= 1).all()
    assert (values[:, :m].diff(dim=-1) <= 0).all()
    order = [*range(m), *range(n - 1, m - 1, -1)]  # the last axes in reverse order
    ordered = shear[:, order][:, :, order]
    assert torch.equal(torch.tril(ordered), torch.eye(n, dtype=g.dtype).expand_as(ordered))


@pytest.mark.parametrize("logs", [[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [1e-9, 0.0], [1.0, 1.0 - 1e-12]], ids=str)
def test_coinciding_stretches(logs: list[float]) -> None:
    g = symplectic(10, 4, 1.0, 3, logs)
    k1, a, k2 = symplectic_kak(g)
    assert relative_error(k1 @ a @ k2, g) < 1e-13
    assert Sp(4).contains(k1, 1e-12).all()
    assert Sp(4).contains(k2, 1e-12).all()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("n", [2, 4])
def test_derivatives_in_the_group(function, n: int) -> None:
    g, group = symplectic(1, n, 9.0, 1)[0], Sp(n)

    def parts(x: Tensor) -> tuple[Tensor, ...]:
        return function(g @ torch.matrix_exp(group.hat(x)))

    x = torch.zeros(group.dim, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(parts, x)
    assert torch.autograd.gradgradcheck(parts, x)


@pytest.mark.parametrize("logs", [[0.0, 0.0], [1.0, 1.0]], ids=str)
def test_polar_derivatives_at_coinciding_stretches(logs: list[float]) -> None:
    g, group = symplectic(1, 4, 1.0, 5, logs)[0], Sp(4)
    x = torch.zeros(group.dim, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: symplectic_polar(g @ torch.matrix_exp(group.hat(y))), x)
    parts = symplectic_kak(g @ torch.matrix_exp(group.hat(x)))
    (gradient,) = torch.autograd.grad(sum((part**3).sum() for part in parts), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_takagi_factorisation(m: int) -> None:
    z = torch.randn(10, m, m, generator=generator(m), dtype=torch.complex128)
    z = z + z.mT
    z[0], z[1], z[2] = 0, torch.eye(m), torch.eye(m).flip(0)
    z[3] = torch.diag(torch.tensor([1.0] + [1e-9] * (m - 1))).to(z)
    z[4] = 1e-150 * z[5]
    values, q = takagi(z)
    size = z.abs().amax((-1, -2), keepdim=True).clamp(min=1e-300)
    assert float(((q @ torch.diag_embed(values.to(z)) @ q.mT - z).abs() / size).max()) < 1e-13
    assert float((q.mH @ q - torch.eye(m)).abs().max()) < 1e-13
    assert (values >= 0).all()
    assert (values.diff(dim=-1) <= 0).all()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_bad_matrices_and_empty_batches(function) -> None:
    with pytest.raises(ShapeError, match="1 of 1 matrices are not symplectic"):
        function(2 * torch.eye(4).unsqueeze(0))
    with pytest.raises(ShapeError, match="even number of rows"):
        function(torch.eye(3))
    assert function(torch.zeros(0, 4, 4))[0].shape == (0, 4, 4)
    g = symplectic(3, 4, 10.0, 2).float()
    assert all(part.dtype == torch.float32 for part in function(g))
    assert relative_error(product(function(g)), g) < 1e-5

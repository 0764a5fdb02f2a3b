"""LU on the big cell, with the error that its minors make, and the Bruhat decomposition of every invertible matrix."""

from __future__ import annotations

import itertools

import pytest
import torch
from decomposition_cases import generator, of_condition, relative_error
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.decompositions import big_cell_condition, bruhat, lu

EPS = torch.finfo(torch.float64).eps


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("condition", [1.0, 1e4])
def test_lu_round_trip(n: int, condition: float) -> None:
    g = of_condition(40, n, condition, n)
    l, d, u = lu(g)
    error = (l @ d @ u - g).norm(dim=(-1, -2)) / g.norm(dim=(-1, -2))
    assert (error <= 2 * n * EPS * big_cell_condition(g)).all()
    usual = big_cell_condition(g) < 1e4
    assert usual.double().mean() > 0.8
    assert error[usual].max() < 1e-11


@pytest.mark.parametrize("n", [2, 4])
def test_lu_parts_stay_in_their_sets(n: int) -> None:
    g = of_condition(20, n, 100.0, n)
    l, d, u = lu(g)
    eye = torch.eye(n, dtype=g.dtype)
    assert torch.equal(torch.triu(l), eye.expand_as(l))
    assert torch.equal(torch.tril(u), eye.expand_as(u))
    assert torch.equal(d, torch.diag_embed(torch.diagonal(d, dim1=-2, dim2=-1)))
    minors = torch.stack([torch.linalg.det(g[:, :k, :k]) for k in range(1, n + 1)], -1)
    torch.testing.assert_close(torch.diagonal(d, dim1=-2, dim2=-1).cumprod(-1), minors, atol=1e-10, rtol=1e-9)
    assert (torch.diagonal(d, dim1=-2, dim2=-1) < 0).any()  # they may be negative


def test_lu_derivatives() -> None:
    g = of_condition(2, 3, 5.0, 4).requires_grad_()
    assert torch.autograd.gradcheck(lu, g)
    assert torch.autograd.gradgradcheck(lu, g)


def test_lu_error_scales_with_the_minors() -> None:
    q = torch.linalg.qr(torch.randn(3, 3, generator=generator(0), dtype=torch.float64))[0]
    q = q * torch.linalg.det(q).sign()
    conditions, errors = [], []
    for minor in (1e-2, 1e-4, 1e-6, 1e-8):
        family = q + torch.randn(200, 3, 3, generator=generator(1), dtype=torch.float64) * 0.1
        family[:, 0, 0] = minor
        family = family[torch.linalg.det(family) > 0.1]
        l, d, u = lu(family)
        error = (l @ d @ u - family).norm(dim=(-1, -2)) / family.norm(dim=(-1, -2))
        condition = big_cell_condition(family)
        assert (error <= 6 * EPS * condition).all()
        conditions.append(float(condition.median()) * minor)
        errors.append(float(error.median()))
    assert max(conditions) < 1.5 * min(conditions)  # the condition goes like one over the minor
    assert errors[3] > 1e3 * errors[0]  # and the error goes with it
    assert float(big_cell_condition(torch.eye(3))) == pytest.approx(1.0)
    assert big_cell_condition(torch.tensor([[0.0, -1.0], [1.0, 0.0]])).isinf()


def test_what_is_outside_of_the_big_cell_is_refused() -> None:
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    with pytest.raises(ShapeError, match="1 of 2 matrices have a leading minor that vanishes"):
        lu(torch.stack([quarter, torch.eye(2, dtype=torch.float64)]))
    nearly = torch.tensor([[1e-17, -1.0], [1.0, 0.0]], dtype=torch.float64)
    with pytest.raises(ShapeError, match="big cell"):
        lu(nearly)
    with pytest.raises(ShapeError, match="determinant"):
        lu(torch.diag(torch.tensor([-1.0, 1.0])))
    with pytest.raises(ShapeError, match="singular"):
        lu(torch.diag(torch.tensor([1.0, 1e-8])))
    for part in lu(torch.zeros(0, 2, 2)):
        assert part.shape == (0, 2, 2)


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_bruhat_round_trip(n: int) -> None:
    g = of_condition(30, n, 1e3, n)
    l, w, d, u = bruhat(g)
    assert relative_error(l @ w @ d @ u, g) < 1e-9
    eye = torch.eye(n, dtype=g.dtype)
    assert torch.equal(w, eye.expand_as(w))  # almost all are in the big cell
    torch.testing.assert_close((l, d, u), lu(g), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_bruhat_finds_the_cell(n: int) -> None:
    cells = torch.stack([torch.eye(n, dtype=torch.float64)[list(p)] for p in itertools.permutations(range(n))])
    shape = cells.shape
    l = torch.tril(torch.randn(shape, generator=generator(2), dtype=torch.float64), -1) + torch.eye(n)
    u = torch.triu(torch.randn(shape, generator=generator(3), dtype=torch.float64), 1) + torch.eye(n)
    d = torch.diag_embed(1 + torch.rand(shape[:-1], generator=generator(4), dtype=torch.float64))
    g = l @ cells @ d @ u
    parts = bruhat(g)
    assert torch.equal(parts[1], cells)
    assert relative_error(parts[0] @ parts[1] @ parts[2] @ parts[3], g) < 1e-12
    assert torch.equal(torch.triu(parts[0]), torch.eye(n, dtype=g.dtype).expand(shape))
    assert torch.equal(torch.tril(parts[3]), torch.eye(n, dtype=g.dtype).expand(shape))


def test_bruhat_has_derivatives_within_a_cell() -> None:
    def product(x: Tensor) -> Tensor:
        w = torch.eye(3, dtype=torch.float64)[[1, 2, 0]]
        return (
            torch.linalg.matrix_exp(torch.tril(x, -1))
            @ w
            @ torch.diag(torch.diagonal(x))
            @ torch.triu(x, 1).matrix_exp()
        )

    x = torch.randn(3, 3, generator=generator(5), dtype=torch.float64)
    x = (x + 3 * torch.eye(3)).requires_grad_()

    def parts(y: Tensor) -> tuple[Tensor, ...]:
        l, _, d, u = bruhat(product(y))
        return l, d, u

    assert torch.autograd.gradcheck(parts, x)


def test_singular_matrices_have_no_bruhat_decomposition() -> None:
    with pytest.raises(ShapeError, match="singular"):
        bruhat(torch.ones(2, 2))
    with pytest.raises(ShapeError, match="singular to the threshold"):
        bruhat(torch.diag(torch.tensor([1.0, 1e-3], dtype=torch.float64)), threshold=1e-2)

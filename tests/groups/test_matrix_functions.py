"""Exponential, logarithm and polar decomposition of any size, against scipy and against their definitions."""

from __future__ import annotations

import math

import pytest
import scipy.linalg
import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups import matrix_exp, matrix_log, polar
from equitools.groups.matrix_functions import (
    matrix_exp_reference,
    matrix_log_reference,
    on_the_cut,
    polar_reference,
)
from equitools.groups.orthogonal_factor import orthogonal_factor, solve_lyapunov

SIZES = [1, 2, 3, 4, 6]
BOTH = pytest.mark.parametrize("log", [matrix_log, matrix_log_reference], ids=["public", "reference"])
POLARS = pytest.mark.parametrize("decompose", [polar, polar_reference], ids=["public", "reference"])
EXPS = pytest.mark.parametrize("exp", [matrix_exp, matrix_exp_reference], ids=["public", "reference"])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def orthogonal(count: int, n: int, seed: int) -> Tensor:
    return torch.linalg.qr(torch.randn(count, n, n, generator=generator(seed), dtype=torch.float64))[0]


def conditioned(count: int, n: int, condition: float, seed: int = 0) -> Tensor:
    """Matrices of a condition number, with every eigenvalue well off the cut."""
    values = torch.exp(torch.linspace(-0.5, 0.5, n, dtype=torch.float64) * math.log(condition))
    a = (orthogonal(20 * count, n, seed) * values) @ orthogonal(20 * count, n, seed + 1)
    far = (torch.linalg.eigvals(a).angle().abs() < 3.0).all(-1)
    return a[far][:count]


def relative(got: Tensor, wanted: Tensor) -> float:
    return float(((got - wanted).norm(dim=(-1, -2)) / wanted.norm(dim=(-1, -2))).max())


@EXPS
@pytest.mark.parametrize("n", SIZES)
def test_agrees_with_scipy(exp, n: int) -> None:
    for scale in (1e-9, 0.1, 1.0, 4.0):
        x = scale * torch.randn(10, n, n, generator=generator(1), dtype=torch.float64)
        wanted = torch.stack([torch.from_numpy(scipy.linalg.expm(m)) for m in x.numpy()])
        assert relative(exp(x), wanted) < 1e-11


@BOTH
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("condition", [1.5, 1e2, 1e4])
def test_inverts_the_exponential(log, n: int, condition: float) -> None:
    a = conditioned(20, n, condition)
    assert len(a) >= 5
    found = log(a)
    assert relative(matrix_exp(found), a) < 1e-10
    angles = torch.linalg.eigvals(found).imag.abs()
    assert float(angles.max()) < math.pi


@BOTH
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("condition", [1.5, 1e2, 1e4])
def test_logarithm_agrees_with_scipy(log, n: int, condition: float) -> None:
    a = conditioned(8, n, condition, seed=2)
    wanted = torch.stack([torch.from_numpy(scipy.linalg.logm(m).real) for m in a.numpy()])
    assert relative(log(a), wanted) < 1e-11


@BOTH
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("size", [1e-14, 1e-8, 1e-4, 1e-2])
def test_small_logarithms_keep_their_digits(log, n: int, size: float) -> None:
    eye = torch.eye(n, dtype=torch.float64)
    a = eye + size * torch.randn(10, n, n, generator=generator(3), dtype=torch.float64)
    x = a - eye
    series, power = torch.zeros_like(x), eye
    for k in range(1, 14):
        power = power @ x
        series = series - (-1) ** k * power / k
    assert relative(log(a), series) < 1e-12
    assert not log(eye.expand(2, n, n)).any()


@BOTH
def test_others_in_the_batch_do_not_matter(log) -> None:
    near = torch.eye(3, dtype=torch.float64) + 1e-9 * torch.randn(3, 3, generator=generator(4), dtype=torch.float64)
    far = conditioned(1, 3, 1e4)[0]
    together = log(torch.stack([near, far]))
    torch.testing.assert_close(together[0], log(near), atol=0, rtol=1e-14)
    torch.testing.assert_close(together[1], log(far), atol=0, rtol=1e-13)


@BOTH
def test_logarithm_of_what_is_not_diagonalisable(log) -> None:
    jordan = torch.tensor([[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 2.0]], dtype=torch.float64)
    wanted = torch.from_numpy(scipy.linalg.logm(jordan.numpy()).real)
    torch.testing.assert_close(log(jordan), wanted, atol=1e-13, rtol=0)


@BOTH
@pytest.mark.parametrize("n", [2, 3, 4])
def test_float32(log, n: int) -> None:
    x = 0.5 * torch.randn(50, n, n, generator=generator(5))
    found = log(matrix_exp(x))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, x, atol=2e-5, rtol=0)


@BOTH
def test_the_cut(log) -> None:
    turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
    eye = torch.eye(3, dtype=torch.float64)
    for wrong in (turn, -eye, torch.diag(torch.tensor([-2.0, 1.0, 3.0])), 0 * eye, eye * math.nan, eye / 0):
        with pytest.raises(ShapeError, match="cut"):
            log(wrong)
        with pytest.raises(ShapeError, match="1 of 2"):
            log(torch.stack([eye.to(wrong), wrong]))
    assert on_the_cut(torch.stack([turn, eye, -eye, 2 * eye])).tolist() == [True, False, True, False]


@BOTH
@pytest.mark.parametrize("gap", [1e-1, 1e-3, 1e-6])
def test_near_the_cut(log, gap: float) -> None:
    angle = math.pi - gap
    a = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    found = log(a)
    wanted = torch.tensor([[0.0, -angle], [angle, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(found, wanted, atol=1e-14 / gap, rtol=0)


@POLARS
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("condition", [1.0, 1e4, 1e8])
def test_polar_parts(decompose, n: int, condition: float) -> None:
    values = torch.exp(torch.linspace(-0.5, 0.5, n, dtype=torch.float64) * math.log(condition))
    a = (orthogonal(20, n, 6) * values) @ orthogonal(20, n, 7)
    p, k = decompose(a)
    assert relative(p @ k, a) < 1e-14 * 10
    assert float((k @ k.mT - torch.eye(n)).abs().max()) < 1e-13
    assert torch.equal(p, p.mT)
    assert (torch.linalg.eigvalsh(p) > 0).all()
    assert torch.equal(torch.linalg.det(k) > 0, torch.linalg.det(a) > 0)


@POLARS
def test_polar_of_a_scaled_rotation_has_derivatives(decompose) -> None:
    a = 2 * orthogonal(2, 3, 8)  # every singular value is 2
    assert torch.autograd.gradcheck(decompose, a.requires_grad_())
    assert torch.autograd.gradgradcheck(decompose, a)


@pytest.mark.parametrize("function", [matrix_exp, matrix_log, polar], ids=["exp", "log", "polar"])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_derivatives(function, n: int) -> None:
    a = torch.eye(n) + 0.4 * torch.randn(1, n, n, generator=generator(9), dtype=torch.float64)
    a = torch.linalg.matrix_exp(a - torch.eye(n)) if function is matrix_log else a
    assert torch.autograd.gradcheck(function, a.requires_grad_())
    if n <= 3:
        assert torch.autograd.gradgradcheck(function, a)


def test_third_derivatives_of_the_logarithm() -> None:
    x = torch.tensor([[1.3]], dtype=torch.float64, requires_grad=True)
    value = matrix_log_reference(x).sum()
    for wanted in (1 / 1.3, -1 / 1.3**2, 2 / 1.3**3):
        (gradient,) = torch.autograd.grad(value, x, create_graph=True)
        value = gradient.sum()
        assert abs(float(value.detach()) - wanted) < 1e-13


def test_derivatives_at_a_large_condition() -> None:
    a = conditioned(3, 3, 1e4, seed=10).requires_grad_()
    direction = torch.randn(3, 3, 3, generator=generator(11), dtype=torch.float64)
    weight = torch.randn(3, 3, 3, generator=generator(12), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weight * matrix_log_reference(a)).sum(), a)
    for k in range(3):
        wide = torch.zeros(6, 6, dtype=torch.float64)
        wide[:3, :3] = wide[3:, 3:] = a[k].detach()
        wide[:3, 3:] = 1e-3 * direction[k]
        wanted = torch.from_numpy(scipy.linalg.logm(wide.numpy()).real)[:3, 3:] * 1e3
        got, expected = (gradient[k] * direction[k]).sum(), (weight[k] * wanted).sum()
        torch.testing.assert_close(got, expected, atol=0, rtol=1e-7)


@pytest.mark.parametrize(
    "function", [matrix_log_reference, orthogonal_factor, lambda a: solve_lyapunov(a @ a.mT, a)], ids="lok"
)
def test_transforms_of_torch(function) -> None:
    a = torch.eye(2) + 0.2 * torch.randn(3, 2, 2, generator=generator(13), dtype=torch.float64)
    wanted = torch.stack([torch.autograd.functional.jacobian(function, one) for one in a])
    torch.testing.assert_close(torch.func.vmap(torch.func.jacrev(function))(a), wanted, atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacfwd(function))(a), wanted, atol=1e-12, rtol=0)


def test_lyapunov() -> None:
    p = conditioned(5, 3, 10.0)
    p, c = p @ p.mT, torch.randn(5, 3, 3, generator=generator(14), dtype=torch.float64)
    z = solve_lyapunov(p, c)
    torch.testing.assert_close(p @ z + z @ p, c, atol=1e-12, rtol=0)
    eye = torch.eye(3, dtype=torch.float64)[None].requires_grad_()  # all eigenvalues coincide
    both = (eye, c[:1].requires_grad_())
    assert torch.autograd.gradcheck(lambda p, c: solve_lyapunov((p + p.mT) / 2, c), both)
    assert torch.autograd.gradgradcheck(lambda p, c: solve_lyapunov((p + p.mT) / 2, c), both)


def test_proper_orthogonal_factor() -> None:
    a = torch.randn(40, 3, 3, generator=generator(15), dtype=torch.float64)
    k = orthogonal_factor(a, proper=True)
    torch.testing.assert_close(torch.linalg.det(k), torch.ones(40, dtype=torch.float64))
    turns = orthogonal(500, 3, 16)
    turns = turns * torch.linalg.det(turns)[:, None, None]
    nearest = (k - a).norm(dim=(-1, -2))
    assert (nearest[:, None] <= (turns - a[:, None]).norm(dim=(-1, -2)) + 1e-12).all()
    mirrored = a[torch.linalg.det(a) < 0][:2].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: orthogonal_factor(x, proper=True), mirrored)
    assert torch.autograd.gradgradcheck(lambda x: orthogonal_factor(x, proper=True), mirrored)


@pytest.mark.parametrize("function", [matrix_exp, matrix_log, polar], ids=["exp", "log", "polar"])
def test_empty_and_wrong_input(function) -> None:
    for n in (2, 5):
        found = function(torch.zeros(0, n, n))
        assert all(part.shape == (0, n, n) for part in (found if isinstance(found, tuple) else (found,)))
    for wrong in (torch.zeros(3), torch.zeros(2, 3), torch.eye(2, dtype=torch.int64)):
        with pytest.raises(ShapeError, match=r"n, n"):
            function(wrong)


@POLARS
def test_no_polar_decomposition(decompose) -> None:
    for wrong in (torch.zeros(2, 2), torch.ones(3, 3), torch.full((2, 2), math.inf)):
        with pytest.raises(ShapeError, match=r"singular|finite"):
            decompose(wrong.double())


def test_other_layouts() -> None:
    a = conditioned(6, 3, 5.0)
    turned = a.transpose(0, 2).contiguous().transpose(0, 2)
    assert not turned.is_contiguous()
    for function in (matrix_exp, matrix_log, lambda m: polar(m)[1]):
        torch.testing.assert_close(function(turned), function(a), atol=1e-13, rtol=0)
        torch.testing.assert_close(function(a.reshape(2, 3, 3, 3)), function(a).reshape(2, 3, 3, 3))

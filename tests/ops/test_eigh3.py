"""Eigenvectors of symmetric 3×3 matrices: numpy as oracle, derivatives by differences, equal eigenvalues."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equitools.errors import ShapeError
from equitools.ops import eigh3, extension_loaded, use_backend
from equitools.ops.eigh3 import GAP_ROUNDINGS, eigh3_reference

BACKENDS = ["reference", *(["cpu"] if extension_loaded() else [])]
DTYPES = [torch.float32, torch.float64]
VALUES = {
    "apart": (-1.0, 0.5, 2.0),
    "repeated": (1.0, 1.0, 2.0),
    "upper": (1.0, 2.0, 2.0),
    "all": (1.0, 1.0, 1.0),
    "close": (1.0, 1.0 + 1e-7, 2.0),
    "closer": (1.0, 1.0 + 1e-12, 1.0 + 1e-7),
    "zero": (0.0, 0.0, 0.0),
    "rank one": (0.0, 0.0, 1.0),
    "graded": (1e-12, 1e-5, 1.0),
    "opposite": (-1.0, 0.0, 1.0),
}

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def with_values(values, count=50, seed=0):
    basis = torch.linalg.qr(random(count, 3, 3, seed=seed))[0]
    a = basis * torch.tensor(values, dtype=torch.float64) @ basis.mT
    return 0.5 * (a + a.mT)


def solve(backend, a):
    with use_backend(backend):
        return eigh3(a)


def check(a, values, vectors):
    """Residual, orthonormality and orientation, in roundings of the largest entry."""
    dtype = a.dtype
    a, values, vectors = (t.double() for t in (0.5 * (a.double() + a.double().mT), values, vectors))
    eps, one = torch.finfo(dtype).eps, torch.eye(3, dtype=torch.float64)
    size = a.abs().amax((-1, -2)).clamp(min=1e-300)
    residual = (a @ vectors - vectors * values.unsqueeze(-2)).abs().amax((-1, -2)) / size
    assert float(residual.max()) < 20 * eps
    assert float((vectors.mT @ vectors - one).abs().max()) < 12 * eps
    assert (values.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(
        torch.linalg.det(vectors), torch.ones(len(a), dtype=torch.float64), rtol=0, atol=30 * eps
    )
    exact = torch.from_numpy(np.linalg.eigvalsh(a.numpy()))
    assert float(((values - exact).abs().amax(-1) / size).max()) < 20 * eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", VALUES)
def test_solves_the_eigenvalue_problem(backend, case, dtype):
    for a in (with_values(VALUES[case]), torch.diag(torch.tensor(VALUES[case], dtype=torch.float64)).expand(3, 3, 3)):
        for scale in (1.0, 1e-25, 1e25):
            given = (scale * a).to(dtype)
            check(given, *solve(backend, given))


@pytest.mark.parametrize("dtype", DTYPES)
def test_right_handed(backend, dtype):
    a = random(1003, 3, 3, dtype=dtype)
    a = a + a.mT
    values, vectors = solve(backend, a)
    check(a, values, vectors)
    assert (torch.linalg.det(vectors) > 0.9).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_extremes_of_the_dtype(backend, dtype):
    info = torch.finfo(dtype)
    for size in (info.max / 8, info.tiny * 64):
        a = (with_values((-1.0, 0.25, 0.5)) * size).to(dtype)
        values, vectors = solve(backend, a)
        wanted = torch.tensor([-1.0, 0.25, 0.5], dtype=torch.float64) * size
        assert ((values.double() - wanted).abs() < 30 * info.eps * size + info.tiny).all()
        one = torch.eye(3, dtype=dtype)
        assert ((vectors.mT @ vectors - one).abs() < 12 * info.eps).all()


@pytest.mark.parametrize("shape", [(0,), (1,), (), (2, 3), (17,), (64,)])
def test_shapes(backend, shape):
    a = random(*shape, 3, 3)
    values, vectors = solve(backend, a)
    assert values.shape == (*shape, 3)
    assert vectors.shape == a.shape
    rebuilt = vectors * values.unsqueeze(-2) @ vectors.mT
    torch.testing.assert_close(rebuilt, 0.5 * (a + a.mT), rtol=0, atol=1e-13)


def test_non_contiguous_input(backend):
    a = random(9, 3, 3)
    wide = torch.stack([a, a], -1)[..., 0]
    assert not wide.is_contiguous()
    for given in (wide, a.mT):
        for x, y in zip(solve(backend, given), solve(backend, a), strict=True):
            assert torch.equal(x, y)


def test_what_is_not_finite_gives_nan(backend):
    a = random(40, 3, 3)
    a[3, 0, 1], a[7, 2, 2], a[20] = torch.nan, torch.inf, -torch.inf
    bad = torch.zeros(40, dtype=torch.bool)
    bad[[3, 7, 20]] = True
    values, vectors = solve(backend, a)
    assert torch.equal(values.isnan().all(-1), bad)
    assert torch.equal(vectors.isnan().all(-1).all(-1), bad)
    assert values[~bad].isfinite().all()


def test_gradients(backend):
    a = random(5, 3, 3).requires_grad_()
    with use_backend(backend):
        assert torch.autograd.gradcheck(eigh3, a)
        assert torch.autograd.gradgradcheck(eigh3, a)


def test_third_derivative(backend):
    a = random(2, 3, 3)

    def along(s):
        values, vectors = solve(backend, a + s * random(3, 3, seed=1))
        return (values**3 * vectors[..., 0, :] ** 2).sum()

    def derivative(order, s):
        s = torch.tensor(s, dtype=torch.float64, requires_grad=True)
        out = along(s)
        for _ in range(order):
            (out,) = torch.autograd.grad(out, s, create_graph=True)
        return float(out.detach())

    step = 1e-5
    difference = (derivative(2, step) - derivative(2, -step)) / (2 * step)
    assert derivative(3, 0.0) == pytest.approx(difference, rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", VALUES)
def test_finite_gradients_at_equal_eigenvalues(backend, case, dtype):
    a = with_values(VALUES[case]).to(dtype).requires_grad_()
    values, vectors = solve(backend, a)
    loss = (values * random(50, 3, seed=1, dtype=dtype)).sum() + (vectors * random(50, 3, 3, seed=2, dtype=dtype)).sum()
    (grad,) = torch.autograd.grad(loss, a, create_graph=True)
    assert grad.isfinite().all()
    (second,) = torch.autograd.grad((grad * random(50, 3, 3, seed=3, dtype=dtype)).sum(), a)
    assert second.isfinite().all()


def test_gradients_of_what_does_not_depend_on_the_choice(backend):
    """Of a projector on a pair of equal eigenvalues, the derivative by the other gap is all there is."""
    a = with_values((1.0, 1.0, 2.0), 1).requires_grad_()
    values, vectors = solve(backend, a)
    weight = random(3, 3, seed=4)
    pair = vectors[..., :2]
    (grad,) = torch.autograd.grad(((pair @ pair.mT) * weight).sum() + values[..., :2].sum(), a)
    other = vectors[0, :, 2].detach()
    rest = torch.eye(3, dtype=torch.float64) - torch.outer(other, other)
    exact = -torch.outer(other, rest @ (weight + weight.T) @ other)  # dP = −(R dA P₂ + P₂ dA R) with the gap 1
    exact = 0.5 * (exact + exact.T) + rest
    torch.testing.assert_close(grad[0], exact, rtol=0, atol=1e-12)


def test_gaps_below_rounding_count_as_none(backend):
    """The factor 1 / gap is there above the stated limit, and 0 below it."""
    eps = torch.finfo(torch.float64).eps
    for gap, there in ((0.5 * GAP_ROUNDINGS * eps, False), (4.0 * GAP_ROUNDINGS * eps, True)):
        a = torch.diag(torch.tensor([1.0 - gap, 1.0, 0.5], dtype=torch.float64)).requires_grad_()
        _, vectors = solve(backend, a)
        (grad,) = torch.autograd.grad((vectors * random(3, 3)).sum(), a)
        assert (float(grad.abs().max()) > 1e12) == there


def test_symmetric_part_is_what_counts(backend):
    a = random(6, 3, 3)
    for x, y in zip(solve(backend, a), solve(backend, 0.5 * (a + a.mT)), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-14)
    a = a.requires_grad_()
    (grad,) = torch.autograd.grad(solve(backend, a)[1].sum(), a)
    torch.testing.assert_close(grad, grad.mT, rtol=0, atol=1e-13)


def test_half_precision_and_bad_input(backend):
    if backend == "reference":
        values, vectors = eigh3_reference(torch.eye(3, dtype=torch.bfloat16))
        assert values.dtype == vectors.dtype == torch.bfloat16
    for bad in (torch.zeros(3, 3, dtype=torch.int64), torch.zeros(3), torch.zeros(4, 2, 3)):
        with pytest.raises(ShapeError, match="eigh3"):
            solve(backend, bad)


def test_compiles_to_one_graph(backend):
    a = random(5, 3, 3)
    compiled = torch.compile(lambda a: eigh3(a)[0].sum(), fullgraph=True, backend="eager")
    with use_backend(backend):
        torch.testing.assert_close(compiled(a), eigh3(a)[0].sum())

"""Exponential, logarithm and polar decomposition of small matrices: mpmath and scipy as oracles, derivatives, NaN."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import scipy.linalg
import torch

from equitools.errors import ShapeError
from equitools.ops import extension_loaded, matrix_exp, matrix_log, polar, use_backend

BACKENDS = ["reference", *(["cpu"] if extension_loaded() else [])]
DTYPES = [torch.float32, torch.float64]
SIZES = [2, 3, 4]
FUNCTIONS = [matrix_exp, matrix_log, polar]

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def orthogonal(count, n, seed=0):
    return torch.linalg.qr(random(count, n, n, seed=seed))[0]


def conditioned(condition, n, count=60, seed=0):
    """Return matrices with singular values between 1 / √condition and √condition, both among them."""
    between = torch.rand(count, n, generator=torch.Generator().manual_seed(seed + 7), dtype=torch.float64)
    between[:, 0], between[:, -1] = 0.0, 1.0
    values = condition ** (between - 0.5)
    return orthogonal(count, n, seed) * values.unsqueeze(-2) @ orthogonal(count, n, seed + 1)


def positive(condition, n, count=60, seed=0):
    """Return symmetric positive definite matrices, turned a little so that they are not symmetric."""
    g = conditioned(condition, n, count, seed)
    p = orthogonal(count, n, seed) * torch.linalg.svdvals(g).unsqueeze(-2) @ orthogonal(count, n, seed).mT
    small = 0.2 * random(count, n, n, seed=seed + 2)
    return p @ torch.matrix_exp(small - small.mT)


def relative(found, exact):
    """Return the largest relative error of matrices in the Frobenius norm."""
    found, exact = found.double(), exact.double()
    return float(((found - exact).norm(dim=(-1, -2)) / exact.norm(dim=(-1, -2)).clamp(min=1e-300)).max())


def by_mpmath(function, a, *more):
    with mpmath.workdps(40):
        out = [function(mpmath.matrix(m), *more) for m in a.double().tolist()]
        numbers = [[[float(mpmath.re(v)) for v in row] for row in m.tolist()] for m in out]
    return torch.tensor(numbers, dtype=torch.float64)


def run(backend, function, *arguments):
    with use_backend(backend):
        return function(*arguments)


def parts(out):
    return out if isinstance(out, tuple) else (out,)


def arguments(function, *shape, dtype=torch.float64, seed=0):
    """Return matrices that a function takes, none of them near to what it does not."""
    x = 0.5 * random(*shape, seed=seed)
    return (x if function is matrix_exp else torch.matrix_exp(x)).to(dtype)


# ---- exponential ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_equals_scipy(backend, n, dtype):
    """The exponential to a few roundings of mpmath's; scipy's is no nearer."""
    eps = torch.finfo(dtype).eps
    for size in (0.05, 0.4, 1.0, 3.0):
        x = (size * random(12, n, n)).to(dtype)
        found, exact = run(backend, matrix_exp, x), by_mpmath(mpmath.expm, x)
        assert found.dtype == dtype
        assert relative(found, exact) < 12 * eps * (1 + float(x.norm(dim=(-1, -2)).max()))
        by_scipy = torch.from_numpy(np.stack([scipy.linalg.expm(m) for m in x.double().numpy()]))
        assert relative(found, by_scipy) < 1e-11 + 40 * eps * (1 + size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_any_norm(backend, n, dtype):
    eps = torch.finfo(dtype).eps
    direction = random(9, n, n)
    least = 1e-160 if dtype == torch.float64 else 1e-36
    for size in (least, least**0.5, 1e-8):  # exp(x) = 1 + x to rounding: every digit of it
        x = (size * direction).to(dtype)
        exact = torch.eye(n, dtype=torch.float64) + x.double()
        torch.testing.assert_close(run(backend, matrix_exp, x).double(), exact, rtol=0, atol=4 * eps)
    skew = (direction - direction.mT).to(dtype)
    for size in (30.0, 1e3):  # rotations by many turns: the rounding of the angle remains
        x = size * skew / skew.abs().amax((-1, -2), keepdim=True)
        values, vectors = np.linalg.eig(x.double().numpy())
        exact = torch.from_numpy((vectors * np.exp(values)[:, None, :] @ np.linalg.inv(vectors)).real)
        assert relative(run(backend, matrix_exp, x), exact) < 20 * eps * size
    gone = run(backend, matrix_exp, torch.eye(n, dtype=dtype).expand(3, n, n) * -1e30)
    assert torch.equal(gone, torch.zeros(3, n, n, dtype=dtype))
    beyond = run(backend, matrix_exp, torch.ones(2, n, n, dtype=dtype) * 1e3)
    assert not beyond.isfinite().any()


def test_zero_is_the_identity(backend):
    for n, dtype in ((n, dtype) for n in SIZES for dtype in DTYPES):
        one = torch.eye(n, dtype=dtype).expand(5, n, n)
        assert torch.equal(run(backend, matrix_exp, torch.zeros(5, n, n, dtype=dtype)), one)
        assert torch.equal(run(backend, matrix_log, one), torch.zeros(5, n, n, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_gradient_of_the_exponential_equals_scipy(backend, n, dtype):
    for size in (1e-3, 0.5, 4.0):
        x, grad = ((s * random(8, n, n, seed=k)).to(dtype) for k, s in enumerate((size, 1.0)))
        leaf = x.clone().requires_grad_()
        run(backend, matrix_exp, leaf).backward(grad)
        pairs = zip(x.double().mT.numpy(), grad.double().numpy(), strict=True)
        exact = torch.from_numpy(np.stack([scipy.linalg.expm_frechet(m, d, compute_expm=False) for m, d in pairs]))
        assert relative(leaf.grad, exact) < 30 * torch.finfo(dtype).eps * (1 + size * n)


# ---- logarithm ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_inverts_the_exponential(backend, condition, n, dtype):
    bound = (1e-10 if dtype == torch.float64 else 3e-5) * condition**0.25
    g = positive(condition, n).to(dtype)
    log = run(backend, matrix_log, g)
    assert log.dtype == dtype
    assert relative(torch.matrix_exp(log.double()), g) < bound
    x = 0.9 * random(60, n, n, seed=3) / n
    g = torch.matrix_exp(x).to(dtype)
    assert relative(run(backend, matrix_log, g), x) < bound
    for size in (1e-30, 1e30):
        log = run(backend, matrix_log, (size * torch.matrix_exp(x)).to(dtype))
        shift = math.log(size) * torch.eye(n, dtype=torch.float64)
        assert relative(log, x + shift) < 20 * torch.finfo(dtype).eps


@pytest.mark.parametrize("n", SIZES)
def test_logarithm_equals_scipy(backend, n):
    g = positive(1e3, n, 20)
    exact = torch.from_numpy(np.stack([scipy.linalg.logm(m).real for m in g.numpy()]))
    assert relative(run(backend, matrix_log, g), exact) < 1e-11
    assert relative(run(backend, matrix_log, g[:4]), by_mpmath(mpmath.logm, g[:4])) < 1e-12


@pytest.mark.parametrize("n", SIZES)
def test_relative_accuracy_near_the_identity(backend, n):
    one = torch.eye(n, dtype=torch.float64)
    for size in (1e-3, 1e-6, 1e-10):
        g = one + size * random(10, n, n)
        rest = g - one  # what the rounding has left of it
        exact = rest - rest @ rest / 2 + rest @ rest @ rest / 3 - rest @ rest @ rest @ rest / 4
        assert relative(run(backend, matrix_log, g), exact) < 5 * n**5 * size**4 + 1e-15


@pytest.mark.parametrize("n", SIZES)
def test_near_the_cut_as_many_digits_are_left_as_there_can_be(backend, n):
    """Rotations by π − d: the error is some roundings divided by d; roots by products would leave d² of them."""
    basis = orthogonal(20, n, 4)
    for gap in (1e-2, 1e-4, 1e-6):
        angle = math.pi - gap
        x = torch.zeros(n, n, dtype=torch.float64)
        x[0, 1], x[1, 0] = -angle, angle
        turn = torch.eye(n, dtype=torch.float64)
        turn[0, 0] = turn[1, 1] = -math.cos(gap)
        turn[0, 1], turn[1, 0] = -math.sin(gap), math.sin(gap)
        log = run(backend, matrix_log, basis @ turn @ basis.mT)
        if backend != "reference":
            assert relative(log, basis @ x @ basis.mT) < 2e-14 / gap
            assert relative(torch.matrix_exp(log), basis @ turn @ basis.mT) < 2e-14 / gap


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_gradient_of_the_logarithm_inverts_that_of_the_exponential(backend, n, dtype):
    """With exp'(X)[D] = E it is log'(exp X)[E] = D."""
    x, d = (0.8 * random(20, n, n, seed=k) / n for k in (0, 1))
    pairs = zip(x.numpy(), d.numpy(), strict=True)
    e = torch.from_numpy(np.stack([scipy.linalg.expm_frechet(m, k, compute_expm=False) for m, k in pairs]))
    g = torch.matrix_exp(x).mT.to(dtype).contiguous().requires_grad_()
    run(backend, matrix_log, g).backward(e.to(dtype))
    assert relative(g.grad, d) < 100 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_no_logarithm_is_nan(backend, n, dtype):
    good = torch.matrix_exp(0.3 * random(40, n, n)).to(dtype)
    g = good.clone()
    g[2] = 0.0  # singular
    g[5, 0, 1] = torch.nan
    g[6, 1, 1] = torch.inf
    basis = orthogonal(40, n, 9).to(dtype)
    values = torch.ones(40, n, dtype=dtype)
    values[9, 0] = -2.0  # an eigenvalue on the axis
    values[13, :2] = torch.tensor([-2.0, -0.7])  # two different ones
    values[17, :2] = -1.0  # a turn by π
    for k in (9, 13, 17):
        g[k] = basis[k] * values[k] @ basis[k].mT
    log = run(backend, matrix_log, g)
    bad = torch.zeros(40, dtype=torch.bool)
    bad[[2, 5, 6, 9, 13, 17]] = True
    assert torch.equal(log.isnan().any(-1).any(-1), bad)
    assert torch.equal(log.isnan().all(-1).all(-1), bad)
    assert torch.equal(log[~bad], run(backend, matrix_log, good)[~bad])


# ---- polar decomposition --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("condition", [1.0, 10.0, 1e4])
def test_rebuilds_the_matrix(backend, condition, n, dtype):
    eps, least = torch.finfo(dtype).eps, 1e-100 if dtype == torch.float64 else 1e-25
    for size in (1.0, least, 1 / least):
        g = (conditioned(condition, n) * size).to(dtype)
        p, k = run(backend, polar, g)
        assert relative(p.double() @ k.double(), g) < (12 if backend == "cpu" else 60) * eps
        assert torch.equal(p, p.mT)
        assert (torch.linalg.eigvalsh(p.double() / size) > 0).all()
        assert torch.equal(torch.linalg.det(k.double()).sign(), torch.linalg.det(g.double() / size).sign())
        exact = torch.from_numpy(np.stack([scipy.linalg.polar(m, side="left")[0] for m in g.double().numpy()]))
        assert relative(k, exact) < 20 * eps * condition


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_orthogonal_to_rounding(backend, n, dtype):
    """At any condition, also where the eigenvectors of g gᵀ would have lost half of the digits, or all."""
    eps, one = torch.finfo(dtype).eps, torch.eye(n, dtype=torch.float64)
    for condition in (1.0, 1e4, 1e6 if dtype == torch.float32 else 1e14):
        _, k = run(backend, polar, conditioned(condition, n, 300).to(dtype))
        assert float((k.double().mT @ k.double() - one).abs().max()) < (6 if backend == "cpu" else 20) * eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_finite_gradients_at_equal_singular_values(backend, n, dtype):
    """The gradient of a rotation and of one with two equal values: against the formula in the known basis."""
    u, v = orthogonal(30, n), orthogonal(30, n, 1)
    for values in (torch.ones(n), torch.tensor([1.0, 1.0, 2.0, 2.0])[:n], torch.tensor([3.0, 1.0, 0.2, 0.1])[:n]):
        values = values.double()
        g = (u * values @ v.mT).to(dtype).requires_grad_()
        grad_p, grad_k = random(30, n, n, seed=2), random(30, n, n, seed=3)
        torch.autograd.backward(run(backend, polar, g), (grad_p.to(dtype), grad_k.to(dtype)))
        inner = u.mT @ grad_p @ u
        turned = u.mT @ grad_k @ v - values.unsqueeze(-1) * inner
        exact = u @ (inner + (turned - turned.mT) / (values.unsqueeze(-1) + values)) @ v.mT
        assert relative(g.grad, exact) < 200 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_singular_is_nan(backend, n, dtype):
    g = conditioned(10.0, n, 30).to(dtype)
    good = g.clone()
    g[3] = 0.0
    g[4, 0] = g[4, 1]
    g[8, 0, 0], g[9, 1, 1] = torch.nan, -torch.inf
    bad = torch.zeros(30, dtype=torch.bool)
    bad[[3, 4, 8, 9]] = True
    for found, whole in zip(run(backend, polar, g), run(backend, polar, good), strict=True):
        assert torch.equal(found.isnan().all(-1).all(-1), bad)
        assert torch.equal(found[~bad], whole[~bad])


# ---- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients(backend, function, n):
    if backend == "reference" and n > 2:
        pytest.skip("slow; its sizes are all the same code")
    a = arguments(function, 2, n, n).requires_grad_()
    with use_backend(backend):
        assert torch.autograd.gradcheck(function, a)
        assert torch.autograd.gradgradcheck(function, a)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_third_derivative(backend, function):
    a, direction = arguments(function, 3, 3), random(3, 3, seed=1)

    def derivative(order, at):
        s = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        out = sum((t**3 * direction).sum() for t in parts(run(backend, function, a + s * direction)))
        for _ in range(order):
            (out,) = torch.autograd.grad(out, s, create_graph=True)
        return float(out.detach())

    step = 1e-4
    difference = (derivative(2, step) - derivative(2, -step)) / (2 * step)
    assert derivative(3, 0.0) == pytest.approx(difference, rel=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_matrix_is_for_itself(backend, function, dtype):
    """The bits of a result, and of a gradient, do not depend on the batch: alone, in odd batches, beside NaN."""
    if backend == "reference":
        pytest.skip("torch's own batches may differ in the last bit")
    for n in SIZES:
        a = arguments(function, 67, n, n, dtype=dtype)
        a[::3] *= 40 if function is not matrix_exp else 7  # some take more steps than others

        def both(x, function=function):
            leaf = x.clone().requires_grad_()
            out = parts(run(backend, function, leaf))
            sum((t * t).sum() for t in out).backward()
            return [*(t.detach() for t in out), leaf.grad]

        whole = both(a)
        for count in (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33):
            assert all(torch.equal(x, y[:count]) for x, y in zip(both(a[:count]), whole, strict=True))
        spoiled = a.clone()
        spoiled[5] = torch.nan
        rest = torch.arange(67) != 5
        for x, y in zip(both(spoiled), whole, strict=True):
            assert x[5].isnan().all()
            assert torch.equal(x[rest], y[rest])


@pytest.mark.parametrize("shape", [(0,), (1,), (), (2, 3), (0, 2)])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_shapes_and_other_sizes(backend, function, n, shape):
    a = arguments(function, *shape, n, n).requires_grad_()
    out = parts(run(backend, function, a))
    for t in out:
        assert t.shape == a.shape
        assert t.isfinite().all()
    sum(t.sum() for t in out).backward()
    assert a.grad.shape == a.shape


@pytest.mark.parametrize("function", FUNCTIONS)
def test_non_contiguous_input(backend, function):
    a = arguments(function, 9, 3, 3)
    wide = torch.stack([a, a], -1)[..., 0]
    assert not wide.is_contiguous()
    for given, same in ((wide, a), (a.mT, a.mT.contiguous())):
        for x, y in zip(parts(run(backend, function, given)), parts(run(backend, function, same)), strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-14)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_vmap_is_the_batch(backend, function):
    a = arguments(function, 4, 5, 3, 3)
    if backend == "reference" and function is not matrix_exp:
        pytest.skip("the reference looks at the numbers for what has no result")
    with use_backend(backend):
        mapped = torch.func.vmap(function, in_dims=1, out_dims=1)(a)
    for x, y in zip(parts(mapped), parts(run(backend, function, a)), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-13)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_compiles_to_one_graph(backend, function):
    if backend == "reference" and function is not matrix_exp:
        pytest.skip("the reference looks at the numbers for what has no result")
    a = arguments(function, 5, 3, 3)

    def loss(x):
        return sum(t.sum() for t in parts(function(x)))

    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    with use_backend(backend):
        torch.testing.assert_close(compiled(a), loss(a))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_half_precision_and_bad_input(backend, function):
    if backend == "reference":
        a = arguments(function, 4, 3, 3, dtype=torch.bfloat16)
        for t in parts(run(backend, function, a)):
            assert t.dtype == torch.bfloat16
            assert t.isfinite().all()
    for bad in (torch.zeros(3, 3, dtype=torch.int64), torch.zeros(3), torch.zeros(4, 2, 3)):
        with pytest.raises(ShapeError, match="needs floating-point matrices"):
            run(backend, function, bad)


@pytest.mark.skipif(not extension_loaded(), reason="the extension is not built")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_kernels_equal_the_reference(backend, function):
    """In value, gradient, and gradient of the gradient."""
    if backend == "reference":
        pytest.skip("this is it")
    for n in SIZES:
        a = arguments(function, 20, n, n)

        def three(name, a=a):
            with use_backend(name):
                leaf = a.clone().requires_grad_()
                out = parts(function(leaf))
                weights = [random(*t.shape, seed=5 + k) for k, t in enumerate(out)]
                total = sum((t * w).sum() for t, w in zip(out, weights, strict=True))
                (first,) = torch.autograd.grad(total, leaf, create_graph=True)
                (second,) = torch.autograd.grad((first * random(*a.shape, seed=8)).sum(), leaf)
            return [*(t.detach() for t in out), first.detach(), second]

        for x, y in zip(three("cpu"), three("reference"), strict=True):
            assert relative(x, y) < 1e-10

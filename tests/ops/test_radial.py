from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from equitools.errors import ShapeError
from equitools.ops import bessel_basis, extension_loaded, polynomial_envelope, use_backend
from equitools.ops.radial import bessel_basis_reference

needs_kernels = pytest.mark.skipif(not extension_loaded(), reason="the extension is not built")
CUTOFF = 5.0


def distances(count, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.2 + (CUTOFF + 0.3) * torch.rand(count, dtype=dtype, generator=generator)


def derivatives(function, r, weight, cotangent):
    r, weight = r.clone().requires_grad_(), weight.clone().requires_grad_()
    values = function(r)
    (first,) = torch.autograd.grad(values, r, weight, create_graph=True)
    return values.detach(), first.detach(), *torch.autograd.grad(first, (r, weight), cotangent)


@pytest.mark.parametrize("p", [0, 2, 5])
def test_equals_its_formula(backend, p):
    r, n = np.linspace(0.3, 5.4, 40), np.arange(1, 8)
    x = r / CUTOFF
    u = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    u = np.where(x < 1, u, 0.0) if p else np.ones_like(r)
    expected = 1.5 * np.sqrt(2 / CUTOFF) * np.sin(n * np.pi * r[:, None] / CUTOFF) / r[:, None] * u[:, None]
    np.testing.assert_allclose(bessel_basis(torch.from_numpy(r), 7, CUTOFF, p, 1.5).numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vanishes_at_the_cutoff(backend, dtype):
    r = torch.tensor([CUTOFF, CUTOFF + 1e-3, 40.0, 1e6], dtype=dtype)
    weight, cotangent = torch.randn(4, 8, dtype=dtype), torch.randn(4, dtype=dtype)
    results = derivatives(lambda x: bessel_basis(x, 8, CUTOFF, 5), r, weight, cotangent)
    bound = 1e-3 if dtype == torch.float32 else 1e-12
    assert all(t.abs().max() < bound for t in results)
    near = torch.tensor([CUTOFF * (1 - 1e-4)], dtype=torch.float64)
    value, first, second, _ = derivatives(
        lambda x: bessel_basis(x, 8, CUTOFF, 5), near, torch.ones(1, 8).double(), torch.ones(1).double()
    )
    assert value.abs().max() < 1e-9
    assert abs(float(first)) < 1e-6
    assert abs(float(second)) < 1e-1


@pytest.mark.parametrize("p", [0, 5])
def test_finite_at_zero(backend, p):
    r = torch.zeros(2, dtype=torch.float64)
    weight = torch.ones(2, 4, dtype=torch.float64)
    value, first, _, along = derivatives(lambda x: bessel_basis(x, 4, CUTOFF, p), r, weight, torch.ones(2).double())
    n = torch.arange(1, 5).double()
    torch.testing.assert_close(value[0], math.sqrt(2 / CUTOFF) * math.pi / CUTOFF * n)
    assert not first.any()
    assert not along.any()


@needs_kernels
@pytest.mark.parametrize("p", [0, 2, 5])
def test_small_distances(p):
    """The second derivative of the first functions at r → 0, where sin(t)/t cancels: −a³/3 times the norm."""
    r = torch.tensor([0.0, 1e-12, 1e-6, 1e-3], dtype=torch.float64)
    zeros = torch.zeros(4, dtype=torch.float64)
    for column in range(3):
        weight = torch.nn.functional.one_hot(torch.tensor([column] * 4), 3).double()
        with use_backend("cpu"):
            second = derivatives(lambda x: bessel_basis(x, 3, CUTOFF, p), r, weight, zeros + 1)[2]
        a = (column + 1) * math.pi / CUTOFF
        expected = -math.sqrt(2 / CUTOFF) * a * (a * a / 3 + (12 / CUTOFF**2 if p == 2 else 0.0))
        torch.testing.assert_close(second[:3], torch.full((3,), expected, dtype=torch.float64), rtol=1e-4, atol=0)
        assert second.isfinite().all()


@needs_kernels
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
@pytest.mark.parametrize("num", [1, 3, 8, 17, 33, 64])
@pytest.mark.parametrize("p", [0, 2, 6])
def test_kernels_equal_float64_reference(num, p, dtype, tolerance):
    r = distances(37, dtype)
    weight, cotangent = torch.randn(37, num, dtype=dtype), torch.randn(37, dtype=dtype)
    expected = derivatives(
        lambda x: bessel_basis_reference(x, num, CUTOFF, p), r.double(), weight.double(), cotangent.double()
    )
    with use_backend("cpu"):
        result = derivatives(lambda x: bessel_basis(x, num, CUTOFF, p), r, weight, cotangent)
    for a, b in zip(result, expected, strict=True):
        assert a.dtype == dtype
        assert ((a.double() - b).abs().max() <= tolerance * max(1, num / 8) * b.abs().max()).all()


@pytest.mark.parametrize("p", [0, 5])
@pytest.mark.parametrize("count", [0, 1, 5, 19])
def test_derivatives(backend, count, p):
    r = distances(count).requires_grad_()
    assert gradcheck(lambda x: bessel_basis(x, 3, CUTOFF, p), r)
    assert gradgradcheck(lambda x: bessel_basis(x, 3, CUTOFF, p), r)


def test_third_derivative(backend):
    r = distances(4).requires_grad_()

    def force_norm(x):
        (gradient,) = torch.autograd.grad(bessel_basis(x, 4, CUTOFF, 5).pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), x, create_graph=True)
        return second

    assert gradcheck(force_norm, r)


def test_third_derivative_with_a_graph(backend):
    """Its cotangents depend on the inputs then; each dependence counts once."""
    results = []
    for again in (False, True):
        v = distances(4).requires_grad_()
        value = bessel_basis(v, 4, CUTOFF, 5).pow(3).sum()
        for _ in range(2):
            value = torch.autograd.grad(value, v, create_graph=True)[0].square().sum()
        results.append(torch.autograd.grad(value, v, create_graph=again)[0].detach())
    torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_leading_shapes(backend, shape):
    r = 1 + torch.rand(shape, dtype=torch.float64)
    values = bessel_basis(r, 5, CUTOFF, 5)
    torch.testing.assert_close(values, bessel_basis_reference(r, 5, CUTOFF, 5))


def test_not_contiguous(backend):
    wide = distances(30).reshape(15, 2).requires_grad_()
    values = bessel_basis(wide[:, 1], 4, CUTOFF, 5)
    torch.testing.assert_close(values, bessel_basis(wide[:, 1].contiguous(), 4, CUTOFF, 5))
    (a,) = torch.autograd.grad(values.sum(), wide)  # an expanded gradient
    (b,) = torch.autograd.grad(bessel_basis_reference(wide[:, 1], 4, CUTOFF, 5).sum(), wide)
    torch.testing.assert_close(a, b)


def test_nan_is_seen(backend):
    r = torch.tensor([1.0, math.nan, 2.0])
    assert bessel_basis(r, 3, CUTOFF, 5).isnan().any(-1).tolist() == [False, True, False]


def test_more_functions_than_compiled():
    r = distances(3)
    torch.testing.assert_close(bessel_basis(r, 70, CUTOFF, 5), bessel_basis_reference(r, 70, CUTOFF, 5))


@needs_kernels
def test_opcheck():
    spec = (3, CUTOFF, 5, 1.0)
    r, weight, cotangent = distances(5), torch.randn(5, 3, dtype=torch.float64), distances(5, seed=1)
    ops = torch.ops.equitools
    torch.library.opcheck(ops.bessel_basis.default, (r.clone().requires_grad_(), *spec))
    torch.library.opcheck(ops.bessel_basis_vjp.default, (r.clone().requires_grad_(), weight.requires_grad_(), *spec))
    torch.library.opcheck(ops.bessel_basis_vjp_vjp.default, (r, weight.detach(), cotangent, *spec))


@needs_kernels
def test_vmap_and_threads():
    r, before = distances(6000), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(bessel_basis(r, 8, CUTOFF, 5))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    batched = torch.func.vmap(lambda x: bessel_basis(x, 8, CUTOFF, 5))(r.reshape(3, 2000))
    torch.testing.assert_close(batched.reshape(6000, 8), results[0], rtol=0, atol=0)


@needs_kernels
def test_mistakes():
    with pytest.raises(ShapeError, match="num"):
        bessel_basis(distances(2), 0, CUTOFF)
    with pytest.raises(ShapeError, match="floating point"):
        bessel_basis(torch.ones(2, dtype=torch.int64), 3, CUTOFF)
    with pytest.raises(ShapeError, match="p 0 or at least 2"):
        bessel_basis(distances(2), 3, CUTOFF, 1)
    ops, r = torch.ops.equitools, distances(2)
    for call in (
        lambda: ops.bessel_basis(r, 65, CUTOFF, 5, 1.0),
        lambda: ops.bessel_basis(r[:, None], 3, CUTOFF, 5, 1.0),
        lambda: ops.bessel_basis(r, 3, -1.0, 5, 1.0),
        lambda: ops.bessel_basis_vjp(r, r[:, None], 3, CUTOFF, 5, 1.0),
        lambda: ops.bessel_basis_vjp(r, torch.zeros(2, 3), 3, CUTOFF, 5, 1.0),
        lambda: ops.bessel_basis_vjp_vjp(r, torch.zeros(2, 3).double(), torch.zeros(3).double(), 3, CUTOFF, 5, 1.0),
    ):
        with pytest.raises(RuntimeError):
            call()


@needs_kernels
@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_every_instruction_set(capability):
    environment = {**os.environ, "EQUITOOLS_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": "1"}
    files = [__file__, str(Path(__file__).with_name("test_spherical_harmonics.py"))]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files, "-k", "kernels_equal"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("p", [2, 5])
def test_envelope_from_one_to_zero(p):
    values = polynomial_envelope(torch.tensor([0.0, CUTOFF, 7.0], dtype=torch.float64), CUTOFF, p)
    assert values.tolist() == [1.0, 0.0, 0.0]

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from equitools.ops import extension_loaded
from equitools.ops.activation import scaled_silu

needs_kernels = pytest.mark.skipif(not extension_loaded(), reason="the extension is not built")


def derivatives(function, x, grad, cotangent):
    x, grad = x.clone().requires_grad_(), grad.clone().requires_grad_()
    values = function(x)
    (first,) = torch.autograd.grad(values, x, grad, create_graph=True)
    return values.detach(), first.detach(), *torch.autograd.grad(first, (x, grad), cotangent)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (37,), (3, 1001)])
def test_equals_torch(backend, shape, dtype, tolerance):
    x, grad, cotangent = (size * torch.randn(shape, dtype=dtype) for size in (6, 1, 1))
    expected = derivatives(lambda v: 1.7 * torch.nn.functional.silu(v), x.double(), grad.double(), cotangent.double())
    for a, b in zip(derivatives(lambda v: scaled_silu(v, 1.7), x, grad, cotangent), expected, strict=True):
        assert a.dtype == dtype
        assert ((a.double() - b).abs() <= 10 * tolerance * (1 + (b.abs().max() if b.numel() else 0))).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_arguments(backend, dtype):
    x = torch.tensor([-1e4, -800.0, -100.0, -88.0, 0.0, 88.0, 100.0, 800.0, 1e4], dtype=dtype)
    torch.testing.assert_close(scaled_silu(x), torch.nn.functional.silu(x), rtol=1e-6, atol=1e-30)
    results = derivatives(scaled_silu, x, torch.ones_like(x), torch.ones_like(x))
    assert all(t.isfinite().all() for t in results)
    torch.testing.assert_close(results[1], (x > 0).to(dtype) + 0.5 * (x == 0).to(dtype), rtol=0, atol=1e-30)
    assert scaled_silu(torch.tensor([1.0, torch.nan], dtype=dtype)).isnan().tolist() == [False, True]


def test_derivatives(backend):
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(scaled_silu, x)
    assert gradgradcheck(scaled_silu, x)

    def third(v):
        (first,) = torch.autograd.grad(scaled_silu(v, 1.3).pow(2).sum(), v, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), v, create_graph=True)
        return second

    assert gradcheck(third, x)


def test_third_derivative_with_a_graph(backend):
    """Its cotangents depend on the inputs then; each dependence counts once."""
    results = []
    for again in (False, True):
        v = torch.linspace(-2, 2, 5, dtype=torch.float64).requires_grad_()
        value = scaled_silu(v, 1.3).pow(3).sum()
        for _ in range(2):
            value = torch.autograd.grad(value, v, create_graph=True)[0].square().sum()
        results.append(torch.autograd.grad(value, v, create_graph=again)[0].detach())
    torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-10)


def test_not_contiguous(backend):
    wide = torch.randn(6, 8, dtype=torch.float64, requires_grad=True)
    values = scaled_silu(wide[:, ::2].t())
    torch.testing.assert_close(values, torch.nn.functional.silu(wide[:, ::2].t()))
    (a,) = torch.autograd.grad(values.sum(), wide)
    (b,) = torch.autograd.grad(torch.nn.functional.silu(wide[:, ::2]).sum(), wide)
    torch.testing.assert_close(a, b)


@needs_kernels
def test_opcheck_and_vmap():
    ops, x = torch.ops.equitools, torch.randn(7, dtype=torch.float64)
    torch.library.opcheck(ops.scaled_silu.default, (x.clone().requires_grad_(), 1.5))
    torch.library.opcheck(ops.scaled_silu_vjp.default, (x.clone().requires_grad_(), x.clone().requires_grad_(), 1.5))
    torch.library.opcheck(ops.scaled_silu_vjp_vjp.default, (x, x + 1, x - 1, 1.5))
    v = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(scaled_silu(v).sum(), v, create_graph=True)
    (hessian,) = torch.autograd.grad(gradient, v, torch.eye(7, dtype=torch.float64), is_grads_batched=True)
    second = derivatives(scaled_silu, x, torch.ones_like(x), torch.ones_like(x))[2]
    torch.testing.assert_close(hessian, torch.diag(second))
    with pytest.raises(RuntimeError):
        ops.scaled_silu_vjp(x, x[1:], 1.0)
    with pytest.raises(RuntimeError):
        ops.scaled_silu(torch.ones(2, dtype=torch.int64), 1.0)


@needs_kernels
@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_every_instruction_set(capability):
    environment = {**os.environ, "EQUITOOLS_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": "1"}
    chosen = ["-k", "equals_torch or large_arguments"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__, *chosen]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout

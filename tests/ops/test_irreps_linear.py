from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from equitools.groups import Irreps
from equitools.ops import extension_loaded, use_backend
from equitools.ops import irreps_linear as module
from equitools.ops.irreps_linear import IrrepsLinearPlan, irreps_linear, irreps_linear_reference
from equitools.ops.needed import needed

needs_kernels = pytest.mark.skipif(not extension_loaded(), reason="the extension is not built")
CASES = [
    ("1x0e", "1x0e"),
    ("3x0e+2x1o", "4x1o+5x0e"),
    ("17x0e+3x1o+2x0e+1x1o+4x2e", "33x0e+2x1o+1x0e+3x3o+5x2e"),  # repeated, absent and dropped irreps
    ("64x0e+32x1o", "64x0e+16x1o"),
    ("130x2e+70x2e", "49x2e"),
]


def inputs(case, rows=7, elements=None, dtype=torch.float64):
    plan = IrrepsLinearPlan(Irreps(case[0]), Irreps(case[1]))
    x = torch.randn(rows, plan.irreps_in.dim, dtype=dtype)
    weight = torch.randn(elements or 1, plan.weight_numel, dtype=dtype)
    species = None if elements is None else torch.randint(0, elements, (rows,))
    return plan, x, weight, species


def derivatives(function, x, weight):
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    out = function(x, weight)
    generator = torch.Generator().manual_seed(5)
    grad = torch.randn(out.shape, dtype=torch.float64, generator=generator).to(x.dtype).requires_grad_()
    first = torch.autograd.grad(out, (x, weight), grad, create_graph=True)
    cotangents = [torch.randn(t.shape, dtype=torch.float64, generator=generator).to(x.dtype) for t in first]
    return out, *first, *torch.autograd.grad(first, (x, weight, grad), cotangents)


@needs_kernels
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("mul_ir", [False, True])
@pytest.mark.parametrize("elements", [None, 3])
@pytest.mark.parametrize("rows", [1, 50])
@pytest.mark.parametrize("case", CASES)
def test_equals_float64_reference(case, rows, elements, mul_ir, dtype, tolerance):
    plan, x, weight, species = inputs(case, rows, elements, dtype)
    expected = derivatives(
        lambda a, w: irreps_linear_reference(plan, a, w, species, mul_ir), x.double(), weight.double()
    )
    with use_backend("cpu"):
        result = derivatives(lambda a, w: irreps_linear(plan, a, w, species, mul_ir), x, weight)
    for a, b in zip(result, expected, strict=True):
        assert a.dtype == dtype
        assert ((a.double() - b.to(torch.float64)).abs().max() <= 10 * tolerance * (1 + b.abs().max())).all()


@pytest.mark.parametrize("elements", [None, 2])
@pytest.mark.parametrize("mul_ir", [False, True])
def test_derivatives(backend, elements, mul_ir):
    plan, x, weight, species = inputs(CASES[1], 3, elements)
    arguments = (x.requires_grad_(), weight.requires_grad_())
    assert gradcheck(lambda a, w: irreps_linear(plan, a, w, species, mul_ir), arguments)
    assert gradgradcheck(lambda a, w: irreps_linear(plan, a, w, species, mul_ir), arguments)


def test_no_rows(backend):
    plan, x, weight, _ = inputs(CASES[2], 0)
    out = irreps_linear(plan, x, weight.requires_grad_())
    assert out.shape == (0, plan.irreps_out.dim)
    (gradient,) = torch.autograd.grad(out.sum(), weight)
    assert not gradient.any()


def test_an_element_without_rows_has_zero_gradient(backend):
    plan, x, weight, _ = inputs(CASES[1], 4, 3)
    species = torch.tensor([2, 0, 0, 2])
    (gradient,) = torch.autograd.grad(irreps_linear(plan, x, weight.requires_grad_(), species).sum(), weight)
    assert not gradient[1].any()
    assert gradient[0].any()


def test_not_contiguous(backend):
    plan, x, weight, _ = inputs(CASES[1], 6)
    wide = torch.cat([x, x], -1)[:, : plan.irreps_in.dim].requires_grad_()
    values = irreps_linear(plan, wide, weight)
    torch.testing.assert_close(values, irreps_linear(plan, x, weight))
    (gradient,) = torch.autograd.grad(values.sum(), wide)  # an expanded gradient
    assert gradient.isfinite().all()


@needs_kernels
def test_gradients_that_nobody_asks_for_are_not_computed(monkeypatch):
    plan, x, weight, _ = inputs(CASES[1], 4)
    x, weight = x.requires_grad_(), weight.requires_grad_()
    answers = []
    monkeypatch.setattr(module, "needed", lambda ctx, i: answers.append((i, needed(ctx, i))) or answers[-1][1])
    with use_backend("cpu"):
        for wanted, expected in (((x,), [True, False]), ((weight,), [False, True]), ((x, weight), [True, True])):
            out = irreps_linear(plan, x * 1, weight * 1)
            answers.clear()
            torch.autograd.grad(out.sum(), wanted)
            assert [answer for _, answer in answers] == expected
        irreps_linear(plan, x * 1, weight).sum().backward()  # a leaf; the engine does not say
        assert weight.grad is not None


@needs_kernels
@pytest.mark.parametrize("elements", [None, 2])
def test_opcheck(elements):
    plan, x, weight, species = inputs(CASES[1], 3, elements)
    ops, spec = torch.ops.equitools, (plan.table, False)
    grad = torch.randn(3, plan.irreps_out.dim, dtype=torch.float64, requires_grad=True)
    x, weight = x.requires_grad_(), weight.requires_grad_()
    torch.library.opcheck(ops.irreps_linear.default, (x, weight, species, *spec))
    torch.library.opcheck(ops.irreps_linear_adjoint.default, (grad, weight, species, *spec))
    torch.library.opcheck(ops.irreps_linear_weight_grad.default, (x, grad, species, elements or 1, *spec))


@needs_kernels
def test_threads_do_not_change_the_result():
    before, results = torch.get_num_threads(), []
    plan, x, weight, species = inputs(CASES[2], 500, 3)
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(derivatives(lambda a, w: irreps_linear(plan, a, w, species), x, weight))
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@needs_kernels
def test_mistakes():
    plan, x, weight, species = inputs(CASES[1], 4, 2)
    op, table = torch.ops.equitools.irreps_linear, plan.table
    for call in (
        lambda: op(x[:, 1:], weight, species, table, False),
        lambda: op(x, weight[:, 1:], species, table, False),
        lambda: op(x, weight.float(), species, table, False),
        lambda: op(x, weight, None, table, False),
        lambda: op(x, weight, species[1:], table, False),
        lambda: op(x, weight, species + 1, table, False),
        lambda: op(x, weight, species, table[:-1], False),
        lambda: op(x, weight, species, [*table[:-1], 1000], False),
    ):
        with pytest.raises(RuntimeError):
            call()


@needs_kernels
@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_every_instruction_set(capability):
    environment = {**os.environ, "EQUITOOLS_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        "float64_reference",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout

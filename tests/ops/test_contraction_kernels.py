"""The compiled symmetric contraction: against plain torch in every derivative, on any input, and on bad programs."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equitools.errors import IrrepsError, ShapeError
from equitools.ops import SymmetricContractionPlan, backend, symmetric_contraction, use_backend
from equitools.ops.contraction_program import build_program, terms_of_program
from equitools.ops.symmetric_contraction import symmetric_contraction_reference

needs_kernels = pytest.mark.skipif(not backend.extension_loaded(), reason="kernels not built")
F64 = torch.float64


def make(irreps_in, irreps_out, correlation, channels=2, species=3, nodes=6, dtype=F64, seed=0):
    g = torch.Generator().manual_seed(seed)
    plan = SymmetricContractionPlan(irreps_in, irreps_out, correlation)
    x = torch.randn(nodes, plan.irreps_in.dim, channels, generator=g, dtype=F64).to(dtype)
    weights = [
        [torch.randn(species, paths, channels, generator=g, dtype=F64).to(dtype) for paths in counts]
        for counts in plan.num_paths
    ]
    return plan, x, weights, torch.randint(0, species, (nodes,), generator=g)


def packed(plan, x, weights, species):
    """The arguments of the compiled operation."""
    weight = torch.cat([w for row in weights for w in row], 1)
    return x, weight, species, *plan.program(x.device, x.dtype)


def derivatives(function, plan, x, weights, species):
    """Value, first and second derivatives, with all cross terms, of a scalar that all of them enter."""
    leaf = x.clone().requires_grad_()
    parameters = [[w.clone().requires_grad_() for w in row] for row in weights]
    used = [leaf, *(w for row in parameters for w in row if w.numel())]
    out = function(plan, leaf, parameters, species)
    first = torch.autograd.grad(out.square().sum(), used, create_graph=True)
    second = torch.autograd.grad(sum(t.square().sum() for t in first), used)
    return [out, *first, *second]


def compare(plan, x, weights, species, rtol=1e-9, function=symmetric_contraction_reference):
    with use_backend("cpu"):
        ours = derivatives(symmetric_contraction, plan, x, weights, species)
    theirs = derivatives(function, plan, x.double(), [[w.double() for w in row] for row in weights], species)
    for a, b in zip(ours, theirs, strict=True):
        scale = float(b.detach().abs().max()) if b.numel() else 1.0
        torch.testing.assert_close(a.double(), b, rtol=0, atol=rtol * max(scale, 1e-30))


@needs_kernels
@pytest.mark.parametrize("channels", [1, 3, 16, 17, 33])
@pytest.mark.parametrize("nodes", [1, 5, 40])
def test_channels_and_nodes(channels, nodes):
    compare(*make("0e + 1o + 2e", "0e + 1o", 3, channels=channels, nodes=nodes))


@needs_kernels
@settings(deadline=None, max_examples=25)
@given(
    irreps_in=st.lists(st.sampled_from(["0e", "0o", "1o", "1e", "2e", "3o"]), min_size=1, max_size=3, unique=True),
    irreps_out=st.lists(st.sampled_from(["0e", "0o", "1o", "2e"]), min_size=1, max_size=2, unique=True),
    correlation=st.integers(1, 4),
    channels=st.integers(1, 20),
    nodes=st.integers(0, 20),
    seed=st.integers(0, 1000),
)
def test_random_irreps(irreps_in, irreps_out, correlation, channels, nodes, seed):
    try:
        case = make(
            " + ".join(irreps_in), " + ".join(irreps_out), correlation, channels=channels, nodes=nodes, seed=seed
        )
    except IrrepsError:
        return  # nothing to produce
    oracle = symmetric_contraction_reference if correlation < 4 else plain
    compare(*case, function=oracle)


def plain(*args):
    with use_backend("reference"):
        return symmetric_contraction(*args)


@needs_kernels
@pytest.mark.parametrize("correlation", [1, 2, 5, 6])
def test_every_correlation(correlation):
    compare(*make("0e + 1o", "0e + 1o", correlation, channels=5))


@needs_kernels
def test_float32_error():
    # Sums of some hundred products of numbers of order 1: a few hundred units of rounding, relative to the largest.
    for irreps_out, correlation in (("0e", 3), ("0e + 1o", 3), ("0e", 4)):
        compare(
            *make("0e + 1o + 2e + 3o", irreps_out, correlation, channels=8, nodes=20, dtype=torch.float32),
            rtol=2e-5,
            function=plain,
        )


@needs_kernels
@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_every_instruction_set(capability):
    code = """
import sys
sys.path.insert(0, "tests/ops")
import torch
from test_contraction_kernels import compare, make
compare(*make("0e + 1o + 2e + 3o", "0e + 1o", 3, channels=21, nodes=13))
compare(*make("0e + 1o + 2e", "0e + 1o", 3, channels=21, nodes=13, dtype=torch.float32), rtol=2e-5)
"""
    environment = {**os.environ, "EQUITOOLS_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


@needs_kernels
def test_missing_and_unsorted_species_and_strides():
    plan, x, weights, _ = make("0e + 1o + 2e", "0e + 1o", 3, channels=17, species=5, nodes=11)
    species = torch.tensor([4, 1, 4, 0, 1, 1, 4, 0, 4, 4, 1])
    compare(plan, x, weights, species)
    strided = x.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    turned = [[w.transpose(0, 2).contiguous().transpose(0, 2) for w in row] for row in weights]
    assert not strided.is_contiguous()
    torch.testing.assert_close(
        symmetric_contraction(plan, strided, turned, species.repeat_interleave(2)[::2]),
        symmetric_contraction(plan, x, weights, species),
    )
    parts = derivatives(symmetric_contraction, plan, x, weights, species)
    gradient = parts[2]  # of the first weight
    assert bool((gradient[[2, 3]] == 0).all())


@needs_kernels
def test_nothing_at_all():
    plan, x, weights, species = make("0e + 1o", "0e + 1o", 3)
    for part in (x[:0], x[..., :0]):
        cut = [[w[..., : part.shape[2]] for w in row] for row in weights]
        results = derivatives(symmetric_contraction, plan, part, cut, species[: len(part)])
        assert results[0].shape == (len(part), 4, part.shape[2])
        assert all(bool((t == 0).all()) for t in results)


@needs_kernels
def test_gradcheck_of_values_and_weights():
    for arguments in (("0e + 1o", "0e + 1o", 3), ("0e + 1o", "0e", 4), ("0e + 1o", "1o", 5)):
        plan, x, weights, species = make(*arguments, channels=1, nodes=3, species=2)
        _, weight, _, *program = packed(plan, x, weights, species)
        rest = (species, *program, plan.dim_out)

        def function(x, weight, rest=rest):
            return torch.ops.equitools.symmetric_contraction(x, weight, *rest)

        inputs = (x.requires_grad_(), weight.requires_grad_())
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


@needs_kernels
def test_third_derivatives():
    plan, x, weights, species = make("0e + 1o", "0e + 1o", 4, channels=2, nodes=3, species=2)
    _, weight, _, *program = packed(plan, x, weights, species)
    ops = torch.ops.equitools

    def function(x, weight, grad, u, v):
        return ops.symmetric_contraction_double_backward(x, weight, species, grad, u, v, *program, True)

    grad = torch.randn(3, 4, 2, dtype=F64)
    inputs = [t.clone().requires_grad_() for t in (x, weight, grad, torch.randn_like(x), torch.randn_like(weight))]
    assert torch.autograd.gradcheck(function, inputs)
    # The fourth, by differentiating plain torch once more.
    thirds = torch.autograd.grad(function(*inputs)[1].square().sum(), inputs[0], create_graph=True)
    assert bool(torch.isfinite(torch.autograd.grad(thirds[0].sum(), inputs[0])[0]).all())

    def energy_of(backend_name):
        with use_backend(backend_name):
            leaf = x.clone().requires_grad_()
            out = symmetric_contraction(plan, leaf, weights, species)
            for _ in range(3):
                (out,) = torch.autograd.grad((0.1 * out).square().sum(), leaf, create_graph=True)
            return out

    torch.testing.assert_close(energy_of("cpu"), energy_of("reference"), rtol=1e-9, atol=1e-9)


@needs_kernels
def test_only_what_is_needed():
    plan, x, weights, species = make("0e + 1o", "0e + 1o", 3)
    args = packed(plan, x, weights, species)
    grad = torch.randn(len(x), 4, 2, dtype=F64)
    ops = torch.ops.equitools
    both = ops.symmetric_contraction_backward(*args[:3], grad, *args[3:], True, True)
    only_x = ops.symmetric_contraction_backward(*args[:3], grad, *args[3:], True, False)
    only_weight = ops.symmetric_contraction_backward(*args[:3], grad, *args[3:], False, True)
    assert only_x[1].shape[0] == 0
    assert only_weight[0].shape[0] == 0
    torch.testing.assert_close(only_x[0], both[0], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(only_weight[1], both[1], rtol=1e-13, atol=1e-13)
    u, v = torch.randn_like(x), torch.randn_like(args[1])
    full = ops.symmetric_contraction_double_backward(*args[:3], grad, u, v, *args[3:], True)
    less = ops.symmetric_contraction_double_backward(*args[:3], grad, u, v, *args[3:], False)
    assert less[2].shape[0] == 0
    torch.testing.assert_close(less[:2], full[:2], rtol=1e-13, atol=1e-13)
    absent = ops.symmetric_contraction_double_backward(*args[:3], grad, u, None, *args[3:], True)
    zero = ops.symmetric_contraction_double_backward(*args[:3], grad, u, torch.zeros_like(v), *args[3:], True)
    torch.testing.assert_close(absent, zero, rtol=1e-13, atol=1e-13)
    frozen = x.clone().requires_grad_()
    (dx,) = torch.autograd.grad(symmetric_contraction(plan, frozen, weights, species).sum(), frozen, create_graph=True)
    assert torch.autograd.grad(dx.sum(), frozen)[0].shape == x.shape


@needs_kernels
def test_forces_need_no_gradient_of_the_weights():
    plan, x, weights, species = make("0e + 1o", "0e + 1o", 3)
    leaf = x.clone().requires_grad_()
    trained = [[w.clone().requires_grad_() for w in row] for row in weights]
    flat = [w for row in trained for w in row]
    seen = []

    class Record(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if "symmetric_contraction_backward" in str(function):
                seen.append(args[-2:])
            return function(*args, **(kwargs or {}))

    energy = (
        symmetric_contraction(plan, 1.0 * leaf, [[1.0 * w for w in row] for row in trained], species).square().sum()
    )
    with Record():
        (force,) = torch.autograd.grad(energy, leaf, create_graph=True)
    assert seen == [(True, False)]
    found = torch.autograd.grad(force.square().sum(), flat, allow_unused=True)
    energy = symmetric_contraction(plan, leaf, trained, species).square().sum()
    (force,) = torch.autograd.grad(energy, leaf, create_graph=True)
    again = torch.autograd.grad(force.square().sum(), flat, allow_unused=True)
    torch.testing.assert_close(found, again, rtol=1e-12, atol=1e-12)


@needs_kernels
def test_opcheck():
    plan, x, weights, species = make("0e + 1o", "0e + 1o", 2)
    args = packed(plan, x, weights, species)
    grad = torch.randn(len(x), 4, 2, dtype=F64, requires_grad=True)
    args = (x.requires_grad_(), args[1].requires_grad_(), *args[2:])
    ops = torch.ops.equitools
    torch.library.opcheck(ops.symmetric_contraction.default, (*args, 4))
    for wanted in ((True, True), (True, False), (False, True)):
        torch.library.opcheck(ops.symmetric_contraction_backward.default, (*args[:3], grad, *args[3:], *wanted))
    plain_args = [t.detach() for t in (*args[:3], grad)]
    for v in (None, torch.randn_like(args[1]).detach()):
        inputs = (*plain_args, torch.randn_like(plain_args[0]), v, *args[3:], True)
        torch.library.opcheck(ops.symmetric_contraction_double_backward.default, inputs)


@needs_kernels
def test_compile_smoke():
    plan, x, weights, species = make("0e + 1o", "0e + 1o", 3)

    def function(t):
        return symmetric_contraction(plan, t, weights, species).square().sum()

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    x.requires_grad_()
    (a,) = torch.autograd.grad(compiled(x), x)
    (b,) = torch.autograd.grad(function(x), x)
    torch.testing.assert_close(a, b)


@needs_kernels
def test_batched_gradients():
    plan, x, weights, species = make("0e + 1o", "0e", 3, channels=1, nodes=2)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(symmetric_contraction(plan, x, weights, species).sum(), x, create_graph=True)
    basis = torch.eye(x.numel(), dtype=F64).reshape(-1, *x.shape)
    (batched,) = torch.autograd.grad(gradient, x, basis, is_grads_batched=True, retain_graph=True)
    one_by_one = [torch.autograd.grad(gradient, x, b, retain_graph=True)[0] for b in basis]
    torch.testing.assert_close(batched, torch.stack(one_by_one))


@needs_kernels
def test_same_bits_with_any_number_of_threads():
    plan, x, weights, species = make("0e + 1o + 2e", "0e + 1o", 3, channels=40, nodes=3000, dtype=torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 1, 2, 3):
            torch.set_num_threads(threads)
            results.append(derivatives(symmetric_contraction, plan, x, weights, species))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0][1:], other[1:], strict=True):
            assert torch.equal(a, b)


@needs_kernels
def test_reference_backend_is_plain_torch(monkeypatch):
    plan, x, weights, species = make("0e + 1o", "0e", 2)
    x.requires_grad_()
    assert "equitools" in symmetric_contraction(plan, x, weights, species).grad_fn.name().lower()
    monkeypatch.setenv("EQUITOOLS_BACKEND", "reference")
    assert "equitools" not in symmetric_contraction(plan, x, weights, species).grad_fn.name().lower()


@needs_kernels
def test_bad_calls():
    plan, x, weights, species = make("0e + 1o", "0e + 1o", 2)
    _, weight, _, program, values = packed(plan, x, weights, species)
    run = torch.ops.equitools.symmetric_contraction
    for args, match in (
        ((x.float(), weight, species, program, values, 4), "same dtype"),
        ((x[:, :3], weight, species, program, values, 4), "x must have shape"),
        ((x, weight[:, :1], species, program, values, 4), "weight must have shape"),
        ((x, weight, species.int(), program, values, 4), "species must be int64"),
        ((x, weight, species + 3, program, values, 4), "outside"),
        ((x, weight, species - 2, program, values, 4), "outside"),
        ((x, weight, species[:2], program, values, 4), "species must be int64"),
        ((x, weight, species, program.long(), values, 4), "int32"),
        ((x, weight, species, program, values[:-1], 4), "not valid"),
        ((x, weight, species, program, values, 5), "dim_out"),
        ((x.half(), weight.half(), species, program, values.half(), 4), "float32 or float64"),
    ):
        with pytest.raises(RuntimeError, match=match):
            run(*args)
    with pytest.raises(ShapeError, match="weight"):
        symmetric_contraction(plan, x, [[w[:, :, :1] for w in row] for row in weights], species)
    with pytest.raises(ShapeError, match="species"):
        symmetric_contraction(plan, x, weights, species - 3)


@needs_kernels
def test_damaged_programs_are_errors():
    # Any one number of the program replaced: an error, or a call that stays in its arrays (a sanitizer run of
    # tests/csrc looks closer). Every cut of it is an error.
    plan, x, weights, species = make("0e + 1o", "0e + 1o", 3)
    _, weight, _, program, values = packed(plan, x, weights, species)
    run = torch.ops.equitools.symmetric_contraction
    for at in range(0, len(program), 3):
        for number in (-1, 2**31 - 1):
            damaged = program.clone()
            damaged[at] = number
            with pytest.raises(RuntimeError, match="not valid"):
                run(x, weight, species, damaged, values, 4)
    for length in (0, 1, 7, 8, len(program) // 2, len(program) - 1):
        with pytest.raises(RuntimeError, match="not valid"):
            run(x, weight, species, program[:length], values, 4)


@pytest.mark.parametrize(("irreps_out", "correlation"), [("0e", 3), ("0e + 1o", 2), ("0e + 1o", 4), ("1o", 6)])
def test_program_holds_every_entry(irreps_out, correlation):
    plan = SymmetricContractionPlan("0e + 1o", irreps_out, correlation)
    code, values = plan.program(torch.device("cpu"), F64)
    output, variables, ranges = terms_of_program(code.numpy())
    rng = np.random.default_rng(0)
    x = np.append(rng.standard_normal(4), 1.0)
    weight = rng.standard_normal(int(code[2]))
    path = np.concatenate([np.arange(a, a + n) for a, n in ranges])
    coefficients = np.zeros(len(ranges))
    np.add.at(coefficients, np.repeat(np.arange(len(ranges)), ranges[:, 1]), values.numpy() * weight[path])
    out = np.zeros(int(code[1]))
    np.add.at(out, output, coefficients * x[variables].prod(1))
    pieces = np.split(weight, np.cumsum([n for row in plan.num_paths for n in row])[:-1])
    flat = iter([torch.from_numpy(piece.reshape(1, -1, 1)) for piece in pieces])
    weights = [[next(flat) for _ in row] for row in plan.num_paths]
    features = torch.from_numpy(x[:4].reshape(1, 4, 1))
    expected = plain(plan, features, weights, torch.zeros(1, dtype=torch.int64))
    np.testing.assert_allclose(out, expected.flatten().numpy(), rtol=1e-10, atol=1e-12)


def test_program_shares_products():
    plan = SymmetricContractionPlan("0e + 1o + 2e + 3o", "0e + 1o", 3)
    _, _, _, terms, products, groups = plan.program(torch.device("cpu"), F64)[0][:6].tolist()
    assert products + groups < terms / 2  # each term alone would need two products
    again = SymmetricContractionPlan("0e + 1o + 2e + 3o", "0e + 1o", 3)
    assert torch.equal(plan.program(torch.device("cpu"), F64)[0], again.program(torch.device("cpu"), F64)[0])


def test_program_of_nothing():
    program = build_program(3, [[np.zeros((0, 1, 3))]])
    assert program.values.size == 0
    assert program.code[:6].tolist() == [3, 1, 0, 0, 0, 0]

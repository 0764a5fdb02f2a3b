from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from equitools.errors import GraphError, ShapeError
from equitools.ops import (
    extension_loaded,
    segment_gather,
    segment_max,
    segment_mean,
    segment_softmax,
    segment_sum,
    use_backend,
)

OPERATIONS = [segment_sum, segment_mean, segment_max, segment_softmax]
needs_kernels = pytest.mark.skipif(not extension_loaded(), reason="the extension is not built")
by_name = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda f: f.__name__)


def expected(operation, values, receiver, num_segments):
    """The same by a loop over the segments."""
    if operation is segment_softmax:
        out = torch.empty_like(values)
        for n in range(num_segments):
            out[receiver == n] = values[receiver == n].softmax(dim=0)
        return out
    reduce = {
        segment_sum: lambda v: v.sum(dim=0),
        segment_mean: lambda v: v.mean(dim=0),
        segment_max: lambda v: v.amax(dim=0),
    }[operation]
    rows = [reduce(values[receiver == n]) if (receiver == n).any() else 0 * values.sum(0) for n in range(num_segments)]
    return torch.stack(rows) if rows else values.new_zeros((0, *values.shape[1:]))


def example(edges=11, segments=5, tail=(2, 3), seed=0, ascending=True, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    receiver = torch.randint(0, segments, (edges,), generator=generator)
    receiver[receiver == 2] = 3  # segment 2 is empty
    values = torch.randn(edges, *tail, dtype=dtype, generator=generator)
    return values, receiver.sort().values if ascending else receiver, segments


@by_name
@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("tail", [(), (1,), (7,), (2, 3), (4, 0)])
def test_against_a_loop(backend, operation, tail, ascending):
    values, receiver, segments = example(tail=tail, ascending=ascending)
    torch.testing.assert_close(
        operation(values, receiver, segments), expected(operation, values, receiver, segments), rtol=1e-12, atol=1e-12
    )


@by_name
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_receivers(operation, data):
    segments = data.draw(st.integers(1, 6))
    receiver = torch.tensor(data.draw(st.lists(st.integers(0, segments - 1), max_size=20)), dtype=torch.int64)
    values = torch.randn(len(receiver), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(len(receiver)))
    for name in ["reference"] + ["cpu"] * extension_loaded():
        with use_backend(name):
            result = operation(values, receiver, segments)
        torch.testing.assert_close(result, expected(operation, values, receiver, segments), rtol=1e-12, atol=1e-12)


@by_name
@pytest.mark.parametrize("ascending", [True, False])
def test_derivatives(backend, operation, ascending):
    values, receiver, segments = example(ascending=ascending)
    values.requires_grad_()
    assert gradcheck(lambda v: operation(v, receiver, segments), values)
    assert gradgradcheck(lambda v: operation(v, receiver, segments), values)


@by_name
@pytest.mark.parametrize(("edges", "segments"), [(0, 3), (0, 0), (1, 1)])
def test_empty_and_single(backend, operation, edges, segments):
    values = torch.randn(edges, 2, dtype=torch.float64, requires_grad=True)
    receiver = torch.zeros(edges, dtype=torch.int64)
    result = operation(values, receiver, segments)
    assert result.shape == ((edges if operation is segment_softmax else segments), 2)
    (gradient,) = torch.autograd.grad(result.sum(), values)
    assert gradient.shape == values.shape
    assert gradcheck(lambda v: operation(v, receiver, segments), values)
    assert gradgradcheck(lambda v: operation(v, receiver, segments), values)


@by_name
def test_empty_segments_are_zero(backend, operation):
    values, receiver, segments = example()
    if operation is not segment_softmax:
        assert not operation(values - 100.0, receiver, segments)[2].any()


@by_name
def test_not_contiguous(backend, operation):
    values, receiver, segments = example(edges=8, tail=(3, 4))
    strided = values.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    spaced = torch.stack([receiver, receiver], dim=1)[:, 0]
    assert not strided.is_contiguous()
    assert not spaced.is_contiguous()
    torch.testing.assert_close(operation(strided, spaced, segments), operation(values, receiver, segments))
    one = torch.ones(1, 1, 1, dtype=torch.float64).expand(8, 3, 4)
    torch.testing.assert_close(operation(one, receiver, segments), operation(one.clone(), receiver, segments))


def test_linear(backend):
    values, receiver, segments = example()
    other = torch.randn_like(values)
    torch.testing.assert_close(
        segment_sum(2 * values + other, receiver, segments),
        2 * segment_sum(values, receiver, segments) + segment_sum(other, receiver, segments),
    )


def test_adjoint_of_segment_sum(backend):
    values, receiver, segments = example()
    nodes = torch.randn(segments, 2, 3, dtype=torch.float64, requires_grad=True)
    left = (segment_sum(values, receiver, segments) * nodes).sum()
    right = (values * segment_gather(nodes, receiver)).sum()
    torch.testing.assert_close(left, right)
    assert gradcheck(lambda v: segment_gather(v, receiver), nodes)
    assert gradgradcheck(lambda v: segment_gather(v, receiver), nodes)


def test_sums_to_one(backend):
    values, receiver, segments = example()
    total = segment_sum(segment_softmax(100 * values, receiver, segments), receiver, segments)
    filled = torch.bincount(receiver, minlength=segments) > 0
    torch.testing.assert_close(total[filled], torch.ones_like(total[filled]))


def test_softmax_of_large_numbers(backend):
    values, receiver, segments = example(dtype=torch.float32)
    shift = 1e4 * torch.arange(segments)[receiver][:, None, None]
    near = segment_softmax(values, receiver, segments)
    assert (near - segment_softmax(values + shift, receiver, segments)).abs().max() < 5e-3  # 1e4 has few digits left


def test_max_of_ties_goes_to_the_first(backend):
    values = torch.tensor([1.0, 3.0, 3.0, 2.0, 2.0], dtype=torch.float64, requires_grad=True)
    receiver = torch.tensor([0, 0, 0, 1, 1])
    (gradient,) = torch.autograd.grad(segment_max(values, receiver, 2).sum(), values)
    assert gradient.tolist() == [0, 1, 0, 1, 0]


def test_max_shows_nan(backend):
    values = torch.tensor([1.0, torch.nan, 3.0, 2.0])
    result = segment_max(values, torch.tensor([0, 0, 0, 1]), 2)
    assert result[0].isnan()
    assert result[1] == 2.0


def test_max_of_minus_infinity(backend):
    values = torch.tensor([-torch.inf, -torch.inf])
    assert segment_max(values, torch.tensor([1, 1]), 2).tolist() == [0.0, -torch.inf]


@by_name
def test_float32_against_float64(backend, operation):
    values, receiver, segments = example(edges=300, tail=(5,))
    low = operation(values.float(), receiver, segments)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low.double(), operation(values, receiver, segments), rtol=1e-5, atol=1e-5)


@by_name
def test_out_of_range(backend, operation):
    values, receiver, segments = example()
    for bad in (-1, segments, 10**12):
        wrong = receiver.clone()
        wrong[-1] = bad
        with pytest.raises(GraphError, match="there are 5 segments"):
            operation(values, wrong, segments)
    with pytest.raises(GraphError, match="segment_gather"):
        segment_gather(torch.ones(3, 1), torch.tensor([0, 3]))


@by_name
def test_mistakes(operation):
    values, receiver, segments = example()
    with pytest.raises(ShapeError, match="int64"):
        operation(values, receiver.int(), segments)
    with pytest.raises(ShapeError, match="int64"):
        operation(values, receiver[None], segments)
    with pytest.raises(ShapeError, match="E = 10"):
        operation(values, receiver[1:], segments)
    with pytest.raises(ShapeError, match="negative"):
        operation(values, receiver, -1)
    with pytest.raises(ShapeError, match=r"\[N, \.\.\.\]"):
        segment_gather(torch.ones(()), receiver)


def test_integers_take_the_reference():
    values, receiver = torch.tensor([1, 2, 3]), torch.tensor([0, 0, 1])
    with use_backend("reference"):
        assert segment_sum(values, receiver, 3).tolist() == [3, 3, 0]
        assert segment_max(values, receiver, 3).tolist() == [2, 3, 0]


@needs_kernels
@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("operation", ["segment_sum", "segment_max", "segment_softmax", "segment_gather"])
def test_opcheck(operation, ascending):
    values, receiver, segments = example(tail=(3,), ascending=ascending)
    values.requires_grad_()
    arguments = (values, receiver % 5) if operation == "segment_gather" else (values, receiver, segments)
    torch.library.opcheck(getattr(torch.ops.equitools, operation).default, arguments)


@needs_kernels
@pytest.mark.parametrize("ascending", [True, False])
def test_opcheck_of_the_derivative_of_softmax(ascending):
    values, receiver, segments = example(tail=(3,), ascending=ascending)
    out = segment_softmax(values, receiver, segments)
    grad = torch.randn_like(out).requires_grad_()
    arguments = (out.clone().requires_grad_(), grad, receiver, segments)
    torch.library.opcheck(torch.ops.equitools.segment_softmax_vjp.default, arguments)
    with pytest.raises(RuntimeError):
        torch.ops.equitools.segment_softmax_vjp(out, grad[1:], receiver, segments)


@needs_kernels
def test_compile_smoke():
    values, receiver, segments = example(tail=(3,))
    values.requires_grad_()

    def function(v):
        mixed = segment_softmax(v, receiver, segments) * segment_sum(v, receiver, segments)[receiver]
        return (segment_max(mixed, receiver, segments) + segment_mean(mixed, receiver, segments)).sum()

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    (a,) = torch.autograd.grad(compiled(values), values)
    (b,) = torch.autograd.grad(function(values), values)
    torch.testing.assert_close(a, b)


@needs_kernels
@by_name
def test_deterministic_for_any_number_of_threads(operation):
    generator = torch.Generator().manual_seed(3)
    receiver = torch.randint(0, 300, (20_000,), generator=generator)
    values = torch.randn(20_000, 8, generator=generator)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            results.append(operation(values, receiver, 300))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[1], results[2])


@by_name
def test_torch_scatter_agrees(operation):
    pytest.importorskip("torch_scatter")
    values, receiver, segments = example(ascending=False)
    values.requires_grad_()
    ours = operation(values, receiver, segments)
    with use_backend("torch_scatter"):
        theirs = operation(values, receiver, segments)
        with pytest.raises(GraphError, match="segments"):
            operation(values, receiver + segments, segments)
    torch.testing.assert_close(theirs, ours)
    weight = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad(ours, values, weight), torch.autograd.grad(theirs, values, weight), strict=True
    ):
        torch.testing.assert_close(a, b)

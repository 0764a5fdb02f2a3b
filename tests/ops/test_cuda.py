"""The CUDA kernels on a GPU, through the public functions: against the CPU kernels, bitwise, with derivatives.

Skipped without a GPU; tests/csrc/test_cuda_host.py runs the same kernels on a CPU.
"""

from __future__ import annotations

import warnings

import pytest
import torch

from equitools.errors import BackendError, GraphError
from equitools.ops import (
    TensorProductPlan,
    active_backend,
    gaunt_tensor_product,
    matrix_exp,
    matrix_log,
    polar,
    radial_tensor_product_conv,
    segment_gather,
    segment_max,
    segment_softmax,
    segment_sum,
    spherical_harmonics,
    symmetric_contraction,
    tensor_product_conv,
    use_backend,
)
from equitools.ops import backend as backend_module
from equitools.ops.backend import BackendFallbackWarning, choose, set_cuda_atomics, status
from equitools.ops.gaunt import gaunt_paths

on_gpu = pytest.mark.skipif(not backend_module._cuda.loaded, reason=f"no CUDA kernels: {backend_module._cuda.reason}")


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def problem(case, dtype=torch.float64):
    irreps_in, irreps_edge, irreps_out, nodes, edges = case
    plan = TensorProductPlan(irreps_in, irreps_edge, irreps_out)
    x = random(nodes, plan.irreps_in.dim, dtype=dtype)
    y = random(edges, plan.irreps_edge.dim, seed=1, dtype=dtype)
    w = random(edges, plan.weight_numel, seed=2, dtype=dtype)
    edge_index = torch.randint(0, max(nodes - 1, 1), (2, edges), generator=torch.Generator().manual_seed(3))
    return plan, (x, y, w), edge_index


def three_orders(function, inputs, device):
    """Return the value, the gradients, and the gradients of a function of the gradients."""
    leaves = [t.to(device).requires_grad_() for t in inputs]
    out = function(*leaves)
    weight = random(*out.shape, seed=9, dtype=out.dtype).to(device)
    first = torch.autograd.grad((out * weight).sum(), leaves, create_graph=True)
    mixed = sum((g * random(*g.shape, seed=10 + i, dtype=g.dtype).to(device)).sum() for i, g in enumerate(first))
    second = torch.autograd.grad(mixed, leaves, allow_unused=True, materialize_grads=True)
    return [t.detach() for t in (out, *first, *second)]


def agree(function, inputs, tolerance):
    there = three_orders(function, inputs, "cuda")
    for a, b in zip(there, three_orders(function, inputs, "cpu"), strict=True):
        assert a.device.type == "cuda"
        scale = max(1.0, float(b.abs().max())) if b.numel() else 1.0
        torch.testing.assert_close(a.cpu(), b, rtol=0, atol=tolerance * scale)
    for a, b in zip(three_orders(function, inputs, "cuda"), there, strict=True):
        assert torch.equal(a, b)  # the same bits in every run


CASES = [
    ("3x0e + 3x1o", "0e + 1o + 2e", None, 4, 9),
    ("128x0e + 128x1o + 128x2e", "0e + 1o + 2e + 3o", "0e + 1o + 2e + 3o", 50, 900),
    ("17x0e + 33x1o", "0e + 1o", "0e + 1o", 3, 400),
    ("130x0e + 1x2e", "0e + 2e", "0e + 2e", 3, 5),
    ("4x0e + 2x1o", "2x0e + 1o + 1o", None, 4, 12),
    ("1x4e + 2x0e", "4e + 3o", "6e + 1o + 0e + 3o", 3, 4),
    ("2x0e + 2x1o", "0e + 1o", None, 3, 0),
]
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11}


@on_gpu
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_equals_the_cpu(case, dtype):
    plan, inputs, edge_index = problem(case, dtype)

    def function(x, y, w):
        return tensor_product_conv(plan, x, y, w, edge_index.to(x.device), case[3])

    agree(function, inputs, TOLERANCE[dtype])


@on_gpu
@pytest.mark.parametrize("case", CASES[:2], ids=str)
def test_radial_convolution_equals_the_cpu(case):
    plan, (x, y, _), edge_index = problem(case)
    hidden, weight = random(case[4], 8, seed=5), random(8, plan.weight_numel, seed=6)

    def function(x, y, h, v):
        return radial_tensor_product_conv(plan, x, y, h, v, edge_index.to(x.device), case[3])

    agree(function, (x, y, hidden, weight), 1e-10)


@on_gpu
def test_convolution_gradcheck():
    plan, inputs, edge_index = problem(("2x0e + 2x1o", "0e + 1o", "0e + 1o", 3, 4))
    leaves = [t.cuda().requires_grad_() for t in inputs]

    def function(*t):
        return tensor_product_conv(plan, *t, edge_index.cuda(), 3)

    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)


@on_gpu
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("lmax", [0, 1, 3, 4, 6])
@pytest.mark.parametrize("normalize", [True, False])
def test_harmonics_equal_the_cpu(lmax, normalize, dtype):
    vectors = random(1000, 3, dtype=dtype)
    agree(lambda v: spherical_harmonics(lmax, v, normalize), (vectors,), 10 * TOLERANCE[dtype])


@on_gpu
@pytest.mark.parametrize("operation", [segment_sum, segment_max, segment_softmax])
@pytest.mark.parametrize("ascending", [True, False])
def test_segments_equal_the_cpu(operation, ascending):
    receiver = torch.randint(0, 40, (3000,), generator=torch.Generator().manual_seed(0))
    receiver = receiver.sort().values if ascending else receiver
    agree(lambda v: operation(v, receiver.to(v.device), 41), (random(3000, 7),), 1e-12)
    agree(lambda v: segment_gather(v, receiver.to(v.device)), (random(41, 7),), 1e-12)


@on_gpu
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("n", [2, 3, 4])
def test_matrix_functions_equal_the_cpu(n, dtype):
    x = 0.3 * random(1000, n, n)
    g = torch.matrix_exp(x).to(dtype)
    agree(matrix_exp, (x.to(dtype),), 10 * TOLERANCE[dtype])
    agree(matrix_log, (g,), 10 * TOLERANCE[dtype])
    agree(lambda a: torch.cat(polar(a)), (g,), 10 * TOLERANCE[dtype])


@on_gpu
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("method", ["grid", "sparse"])
@pytest.mark.parametrize("curl", [False, True])
@pytest.mark.parametrize("degrees", [(0, 0, 0), (1, 1, 1), (4, 4, 4), (2, 5, 3), (9, 3, 8)], ids=str)
def test_gaunt_products_equal_the_cpu(degrees, curl, method, dtype):
    for channels in ((33, 33), (7, 1), (1, 1)):
        x, y = (random(50, (l + 1) ** 2, c, seed=l, dtype=dtype) for l, c in zip(degrees[:2], channels, strict=True))
        agree(
            lambda x, y: gaunt_tensor_product(x, y, degrees[2], curl=curl, method=method),
            (x, y),
            5 * TOLERANCE[dtype],
        )


@on_gpu
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("curl", [False, True])
@pytest.mark.parametrize("channels", [33, 0])
def test_weighted_gaunt_products_equal_the_cpu(channels, curl, dtype):
    """With 0 channels, a weight for all."""
    x, y = (random(50, (l + 1) ** 2, 33, seed=l, dtype=dtype) for l in (3, 2))
    weight = random(len(gaunt_paths(3, 2, 4, curl)), *([channels] if channels else []), dtype=dtype)
    agree(
        lambda x, y, w: gaunt_tensor_product(x, y, 4, curl=curl, method="sparse", path_weight=w),
        (x, y, weight),
        50 * TOLERANCE[dtype],
    )


@on_gpu
@pytest.mark.parametrize("method", ["grid", "sparse"])
def test_gaunt_gradcheck_and_graph(method):
    x, y = (random(3, (l + 1) ** 2, 2, seed=l).cuda().requires_grad_() for l in (2, 3))

    def function(x, y):
        return gaunt_tensor_product(x, y, 2, curl=True, method=method)

    assert torch.autograd.gradcheck(function, (x, y))
    assert torch.autograd.gradgradcheck(function, (x, y))
    x, y = x.detach(), y.detach()
    expected = function(x, y)  # the tables are on the device from here on
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = function(x, y)
    x.mul_(2)
    graph.replay()
    torch.testing.assert_close(captured, 2 * expected)


@on_gpu
def test_atomic_additions_and_determinism():
    plan, inputs, edge_index = problem(CASES[1])

    def function(x, y, w):
        return tensor_product_conv(plan, x, y, w, edge_index.to(x.device), CASES[1][3])

    exact = three_orders(function, inputs, "cuda")
    try:
        set_cuda_atomics(True)
        for a, b in zip(three_orders(function, inputs, "cuda"), exact, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
        torch.use_deterministic_algorithms(True)
        for a, b in zip(three_orders(function, inputs, "cuda"), exact, strict=True):
            assert torch.equal(a, b)
    finally:
        torch.use_deterministic_algorithms(False)
        set_cuda_atomics(False)


@on_gpu
def test_index_out_of_range_is_an_error_and_the_device_lives_on():
    plan, inputs, edge_index = problem(CASES[0])
    with pytest.raises(GraphError):
        tensor_product_conv(plan, *(t.cuda() for t in inputs), edge_index.cuda() + 4, 4)
    with pytest.raises(GraphError):
        segment_sum(random(3, 2).cuda(), torch.tensor([0, 1, 7]).cuda(), 3)
    assert float(torch.ones(3, device="cuda").sum()) == 3


@on_gpu
def test_runs_on_the_current_stream_and_in_a_graph():
    plan, inputs, edge_index = problem(CASES[1], torch.float32)
    x, y, w = (t.cuda() for t in inputs)
    edge_index = edge_index.cuda()
    expected = tensor_product_conv(plan, x, y, w, edge_index, CASES[1][3])
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        out = tensor_product_conv(plan, x, y, w, edge_index, CASES[1][3])
    torch.cuda.current_stream().wait_stream(stream)
    assert torch.equal(out, expected)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = tensor_product_conv(plan, x, y, w, edge_index, CASES[1][3])
    x.mul_(2)
    graph.replay()
    torch.testing.assert_close(captured, 2 * expected)


@on_gpu
def test_opcheck():
    from equitools.ops.conv_tables import conv_tables

    plan, inputs, edge_index = problem(CASES[0])
    tables = conv_tables(plan)
    x, y, w = (t.cuda().requires_grad_() for t in inputs)
    arguments = (x, y, w, edge_index.cuda(), 4, tables.dim_out, *tables.tensors(x.dtype))
    torch.library.opcheck(torch.ops.equitools.tensor_product_conv.default, arguments)
    vectors = random(5, 3).cuda().requires_grad_()
    torch.library.opcheck(torch.ops.equitools.spherical_harmonics.default, (vectors, 3, True, 0))


@on_gpu
def test_operations_without_kernels_say_so():
    assert symmetric_contraction is not None
    assert active_backend(torch.zeros(1, device="cuda")) == "cuda"
    with pytest.warns(BackendFallbackWarning, match="no compiled CUDA kernels"):
        assert choose("something_new", torch.zeros(1, device="cuda")) == "reference"


def test_choice_of_the_cuda_backend(monkeypatch):
    """What the choice does for a CUDA tensor, told from a stand-in: there may be no GPU here."""

    class Stand:
        device = torch.device("cuda", 0)
        dtype = torch.float32

    monkeypatch.delenv("EQUITOOLS_BACKEND", raising=False)
    monkeypatch.setattr(backend_module, "_reported", set())
    monkeypatch.setattr(backend_module, "_follow_determinism", lambda: None)
    monkeypatch.setattr(backend_module, "_cuda", backend_module._Extension(True, "there"))
    assert choose("segment_sum", Stand()) == "cuda"
    assert active_backend(Stand()) == "cuda"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert choose("symmetric_contraction", Stand()) == "reference"
    assert "no compiled CUDA kernels" in str(caught[0].message)
    with use_backend("cuda"):
        assert choose("segment_sum", Stand()) == "cuda"
        with pytest.raises(BackendError, match="the tensor is on cpu"):
            choose("segment_sum", torch.zeros(1))
    monkeypatch.setattr(backend_module, "_cuda", backend_module._Extension(False, "not there", "build it"))
    with pytest.raises(BackendError, match="not there"), use_backend("cuda"):
        pass
    assert next(s for s in status() if s.name == "cuda").hint == "build it"


def test_library_that_is_missing_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(backend_module, "_PACKAGE", tmp_path)
    good = backend_module._Extension(True, "there")
    (tmp_path / "_build.json").write_text('{"reason": "", "cuda_reason": "nvcc was not found"}')
    missing = backend_module._load_cuda(good)
    assert not missing.loaded
    assert "nvcc was not found" in missing.reason
    assert "nvcc" in missing.hint
    (tmp_path / "_C_cuda.abi3.so").write_bytes(b"not a library")
    assert "do not load" in backend_module._load_cuda(good).reason
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no device" in backend_module._load_cuda(good).reason

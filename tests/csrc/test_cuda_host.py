"""The CUDA kernels executed on a CPU (cuda_on_host.h), against the float64 reference and against the CPU kernels.

Nothing here says how fast they are, nor that a GPU runs them: that is for tests/ops/test_cuda.py, where there is one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from equitools.ops import (
    TensorProductPlan,
    backend,
    extension_loaded,
    sparse_tables,
    sphere_tables,
    tensor_product_conv,
    use_backend,
)
from equitools.ops.conv_tables import conv_tables
from equitools.ops.spherical_harmonics import spherical_harmonics_reference

ROOT = Path(__file__).parents[2]
CUDA = ROOT / "csrc" / "cuda"
OPERATIONS = [
    "eigh3", "eigh3_vjp", "principal_axes", "principal_axes_vjp",
    "matrix_exp", "matrix_exp_vjp", "matrix_log", "matrix_log_vjp", "polar", "polar_vjp",
    "segment_gather", "segment_max", "segment_softmax", "segment_softmax_vjp", "segment_sum",
    "signed_axes", "signed_axes_vjp",
    "spherical_harmonics", "spherical_harmonics_vjp", "spherical_harmonics_vjp_vjp",
    "tensor_product_conv", "tensor_product_conv_backward", "tensor_product_conv_double_backward",
    "radial_tensor_product_conv", "radial_tensor_product_conv_backward", "radial_tensor_product_conv_double_backward",
    "sparse_product", "sparse_product_weights", "sphere_product",
]  # fmt: skip
SOURCES = [*sorted(CUDA.glob("*.cu")), *sorted(CUDA.glob("*.cpp"))]
TABLE = ROOT / "csrc" / "cpu" / "spherical_harmonics_table.cpp"
COMPILE = ["g++", "-x", "c++", "-std=c++20", "-fPIC", "-Wall", "-Wno-psabi", "-DEQUITOOLS_CUDA_ON_HOST"]
COMPILE += [f"-I{Path(__file__).parent}", f"-I{ROOT / 'csrc'}"]

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="no g++"),
    pytest.mark.skipif(not extension_loaded(), reason="the extension is not built"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the emulation is for Linux"),
]


def build_library() -> Path:
    """Compile the CUDA library with g++ for the host; kept in build/ until a source changes."""
    folder = ROOT / "build" / "cuda_on_host"
    folder.mkdir(parents=True, exist_ok=True)
    headers = [p for d in ("core", "cuda", "torch") for p in (ROOT / "csrc" / d).glob("*.h")]
    newest = max(p.stat().st_mtime for p in [*headers, Path(__file__), Path(__file__).with_name("cuda_on_host.h")])
    torch_folder = Path(torch.__file__).parent
    include = [f"-I{torch_folder / 'include'}", f"-I{torch_folder / 'include' / 'torch' / 'csrc' / 'api' / 'include'}"]
    library = folder / "on_host.so"
    with (folder / "lock").open("w") as lock:  # the workers of a parallel test run share it
        fcntl.flock(lock, fcntl.LOCK_EX)
        objects = []
        for source in [*SOURCES, TABLE]:
            out = folder / f"{source.name}.o"
            objects.append(str(out))
            if out.is_file() and out.stat().st_mtime > max(newest, source.stat().st_mtime):
                continue
            command = [*COMPILE, "-O0", "-DTORCH_TARGET_VERSION=0x020a000000000000", *include]
            subprocess.run([*command, "-c", str(source), "-o", str(out)], check=True)
            library.unlink(missing_ok=True)
        if not library.is_file():
            link = [f"-L{torch_folder / 'lib'}", "-Wl,--no-as-needed", "-ltorch_cpu", "-o", str(library)]
            subprocess.run(["g++", "-shared", *objects, *link], check=True)
    return library


_kept = []


def load():
    """Load the host's CUDA library under the names of the real operations, in a namespace of its own."""
    if not _kept:
        library = torch.library.Library("equitools_on_host", "DEF")
        for name in OPERATIONS:
            schema = str(getattr(torch.ops.equitools, name).default._schema)
            library.define(schema.removeprefix("equitools::"))
        torch.ops.load_library(str(build_library()))
        _kept.append(library)
    return torch.ops.equitools_on_host


@pytest.fixture(scope="module")
def ops():
    return load()


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def close(ours, theirs, tolerance=1e-11):
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_same_operations_as_on_the_cpu(ops):
    """Each operation is implemented, and by the schema that the CPU library declares."""
    for name in OPERATIONS:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"equitools_on_host::{name}", "CPU"), name


def test_families_with_cuda_kernels_have_them_all():
    """Whatever a forward operation with CUDA kernels calls in its derivatives has CUDA kernels as well."""
    names = {
        n.removeprefix("equitools::") for n in torch._C._dispatch_get_all_op_names() if n.startswith("equitools::")
    }
    families = tuple(backend._CUDA_OPERATIONS)
    assert {n for n in names if n.removeprefix("radial_").startswith(families)} == set(OPERATIONS)


# ---- segments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("edges", "segments", "width"), [(30, 7, 5), (0, 3, 2), (5, 1, 1), (1, 4, 33), (1300, 2, 1)])
@pytest.mark.parametrize("ascending", [True, False])
def test_segments_equal_the_cpu(ops, edges, segments, width, ascending, dtype):
    values = random(edges, width, dtype=dtype)
    receiver = torch.randint(0, segments, (edges,), generator=torch.Generator().manual_seed(1))
    if ascending:
        receiver = receiver.sort().values
    cpu = torch.ops.equitools
    assert torch.equal(ops.segment_sum(values, receiver, segments), cpu.segment_sum(values, receiver, segments))
    close(ops.segment_max(values, receiver, segments), cpu.segment_max(values, receiver, segments), 0)
    soft = cpu.segment_softmax(values, receiver, segments)
    close([ops.segment_softmax(values, receiver, segments)], [soft], 1e-6)
    arguments = (soft, random(edges, width, seed=2, dtype=dtype), receiver, segments)
    close([ops.segment_softmax_vjp(*arguments)], [cpu.segment_softmax_vjp(*arguments)], 1e-6)
    rows = random(segments, width, dtype=dtype)
    assert torch.equal(ops.segment_gather(rows, receiver), rows[receiver])


def test_segment_max_sees_nan_and_takes_the_first(ops):
    values = torch.tensor([[1.0], [float("nan")], [3.0], [3.0]])
    out, where = ops.segment_max(values, torch.tensor([0, 0, 2, 2]), 3)
    assert out[0].isnan()
    assert where.flatten().tolist() == [1, -1, 2]


def test_index_out_of_range_is_an_error(ops):
    for receiver in (torch.tensor([0, 3]), torch.tensor([-1, 0])):
        with pytest.raises(RuntimeError, match="outside"):
            ops.segment_sum(random(2, 2), receiver, 3)
        with pytest.raises(RuntimeError, match="outside"):
            ops.segment_gather(random(3, 2), receiver)


@pytest.mark.parametrize("variable", [("EQUITOOLS_CUDA_CHECK", "0"), ("EQUITOOLS_ON_HOST_CAPTURING", "1")])
def test_index_out_of_range_without_waiting_is_nan(ops, monkeypatch, variable):
    plan, tensors, edge_index = problem("2x0e + 2x1o", "0e + 1o", None, 4, 6)
    convolve(ops, plan, tensors, edge_index, 4)  # the tables are on the device from here on
    monkeypatch.setenv(*variable)
    receiver = torch.tensor([0, 3])
    assert ops.segment_sum(random(2, 2), receiver, 3).isnan().all()
    assert ops.segment_gather(random(3, 2), receiver).isnan().all()
    out, where = ops.segment_max(random(2, 2), receiver, 3)
    assert out.isnan().all()
    assert (where == -1).all()
    good = convolve(ops, plan, tensors, edge_index, 4)
    for row in (0, 1):
        wrong = edge_index.clone()
        wrong[row, 2] = 99
        for stage, right in zip(convolve(ops, plan, tensors, wrong, 4), good, strict=True):
            assert all(t.isnan().all() and not r.isnan().any() for t, r in zip(stage, right, strict=True))


# ---- spherical harmonics --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lmax", [0, 1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("normalize", [True, False])
def test_harmonics_equal_the_reference(ops, lmax, normalize):
    vectors, grad = random(7, 3, seed=lmax).requires_grad_(), random(7, (lmax + 1) ** 2, seed=1).requires_grad_()
    cotangent = random(7, 3, seed=2)
    for code, name in enumerate(("component", "norm", "integral")):
        value = spherical_harmonics_reference(lmax, vectors, normalize, name)
        (vjp,) = torch.autograd.grad(value, vectors, grad, create_graph=True)
        second = torch.autograd.grad(vjp, (vectors, grad), cotangent, materialize_grads=True)
        spec = (lmax, normalize, code)
        inputs = vectors.detach(), grad.detach()
        tolerance = 1e-11 if lmax < 9 else 1e-8
        close([ops.spherical_harmonics(inputs[0], *spec)], [value.detach()], tolerance)
        close([ops.spherical_harmonics_vjp(*inputs, *spec)], [vjp.detach()], tolerance)
        close(ops.spherical_harmonics_vjp_vjp(*inputs, cotangent, *spec), second, tolerance)


def test_harmonics_at_zero_and_of_nothing(ops):
    zero, grad = torch.zeros(2, 3), torch.ones(2, 16)
    close([ops.spherical_harmonics(zero, 3, True, 0)], [torch.ops.equitools.spherical_harmonics(zero, 3, True, 0)], 0)
    assert not ops.spherical_harmonics_vjp(zero, grad, 3, True, 0).any()
    assert ops.spherical_harmonics(torch.zeros(0, 3), 6, True, 0).shape == (0, 49)
    assert ops.spherical_harmonics_vjp(torch.zeros(0, 3), torch.zeros(0, 49), 6, True, 0).shape == (0, 3)


# ---- convolution ----------------------------------------------------------------------------------------------------


def problem(irreps_in, irreps_edge, irreps_out, nodes, edges, dtype=torch.float64):
    plan = TensorProductPlan(irreps_in, irreps_edge, irreps_out)
    widths = (plan.irreps_in.dim, plan.irreps_edge.dim, plan.weight_numel)
    rows = (nodes, edges, edges)
    tensors = [random(r, w, seed=i, dtype=dtype) for i, (r, w) in enumerate(zip(rows, widths, strict=True))]
    tensors += [random(r, w, seed=i + 5, dtype=dtype) for i, (r, w) in enumerate(zip(rows, widths, strict=True))]
    edge_index = torch.randint(0, max(nodes - 1, 1), (2, edges), generator=torch.Generator().manual_seed(3))
    return plan, tensors, edge_index


def convolve(ops, plan, tensors, edge_index, nodes, merged=False):
    """Return the forward, the backward and the double backward."""
    tables = conv_tables(plan, merged)
    arguments = tables.tensors(tensors[0].dtype)
    x, y, w, a, b, c = tensors
    w, c = tables.reorder(w), tables.reorder(c)
    grad = random(nodes, tables.dim_out, seed=20, dtype=x.dtype)
    out = ops.tensor_product_conv(x, y, w, edge_index, nodes, tables.dim_out, *arguments)
    first = ops.tensor_product_conv_backward(grad, x, y, w, edge_index, *arguments, True, True, True)
    second = ops.tensor_product_conv_double_backward(a, b, c, grad, x, y, w, edge_index, *arguments)
    return (out,), first, second


def reference(plan, tensors, edge_index, nodes, merged=False):
    """Return the same by autograd of the plain torch reference."""
    x, y, w = (t.clone().requires_grad_() for t in tensors[:3])
    with use_backend("reference"):
        out = tensor_product_conv(plan, x, y, w, edge_index, nodes, merged)
    grad = random(nodes, out.shape[1], seed=20, dtype=x.dtype).requires_grad_()
    first = torch.autograd.grad(out, (x, y, w), grad, create_graph=True)
    second = torch.autograd.grad(first, (grad, x, y, w), tensors[3:])
    tables = conv_tables(plan, merged)
    first = (*first[:2], tables.reorder(first[2]))
    second = (*second[:3], tables.reorder(second[3]))
    return (out.detach(),), tuple(t.detach() for t in first), second


CASES = [
    ("3x0e + 3x1o", "0e + 1o + 2e", None, 4, 9),
    ("2x0e + 2x1o + 2x2e + 2x3o", "0e + 1o + 2e + 3o", "0e + 0o + 1e + 1o + 2e + 2o + 3e + 3o", 3, 5),  # all triples
    ("17x0e + 33x1o", "0e + 1o", "0e + 1o", 3, 40),  # more edges than a tile
    ("65x0e + 1x2e", "0e + 2e", "0e + 2e", 3, 5),  # more channels than a warp takes
    ("4x0e + 2x1o", "2x0e + 1o + 1o", None, 4, 12),  # several edge channels
    ("1x4e + 2x0e", "4e + 3o", "6e + 1o + 0e + 3o", 3, 4),  # by the list of entries
    ("1x6e", "6e", "6e + 5e", 2, 2),
    ("2x0e + 2x1o", "0e + 1o", None, 3, 0),
    ("2x0e + 3x0e", "1o", "1o", 1, 3),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("merged", [False, True])
def test_convolution_equals_the_reference(ops, case, merged):
    plan, tensors, edge_index = problem(*case)
    ours = convolve(ops, plan, tensors, edge_index, case[3], merged)
    for a, b in zip(ours, reference(plan, tensors, edge_index, case[3], merged), strict=True):
        close(a, b, 1e-11)


def test_convolution_in_single_precision(ops):
    """Within 4e-6 of the largest entry of the float64 result."""
    plan, tensors, edge_index = problem("40x0e + 40x1o", "0e + 1o + 2e", "0e + 1o + 2e", 4, 37)
    exact = reference(plan, tensors, edge_index, 4)
    single = convolve(ops, plan, [t.float() for t in tensors], edge_index, 4)
    grad = random(4, conv_tables(plan).dim_out, seed=20)
    assert torch.allclose(grad, grad.float().double(), rtol=1e-6)
    for stage, right in zip(single, exact, strict=True):
        for a, b in zip(stage, right, strict=True):
            assert a.dtype == torch.float32
            assert (a - b).abs().max() < 4e-6 * b.abs().max()


def test_non_contiguous_input_and_ascending_receivers(ops):
    plan, tensors, edge_index = problem("3x0e + 3x1o", "0e + 1o", None, 5, 11)
    expected = convolve(ops, plan, tensors, edge_index, 5)
    strided = [torch.stack([t, t], -1)[..., 0] for t in tensors]
    columns = edge_index.T.contiguous().T
    for a, b in zip(convolve(ops, plan, strided, columns, 5), expected, strict=True):
        close(a, b, 0)
    order = edge_index[1].argsort(stable=True)
    permuted = [t if i % 3 == 0 else t[order] for i, t in enumerate(tensors)]
    out = convolve(ops, plan, permuted, edge_index[:, order], 5)
    assert torch.equal(out[0][0], expected[0][0])
    assert torch.equal(out[1][2], expected[1][2][order])


def test_gradients_that_are_not_wanted(ops):
    plan, (x, y, w, *_), edge_index = problem("3x0e + 3x1o", "0e + 1o", None, 4, 9)
    tables = conv_tables(plan)
    grad = random(4, tables.dim_out)
    arguments = (grad, x, y, w, edge_index, *tables.tensors(x.dtype))
    whole = ops.tensor_product_conv_backward(*arguments, True, True, True)
    for i in range(3):
        wanted = [i == k for k in range(3)]
        parts = ops.tensor_product_conv_backward(*arguments, *wanted)
        for k in range(3):
            assert torch.equal(parts[k], whole[k]) if wanted[k] else parts[k].numel() == 0


def test_radial_convolution_equals_the_cpu(ops):
    plan, (x, y, _, a, b, _), edge_index = problem("5x0e + 5x1o", "0e + 1o + 2e", None, 4, 9)
    tables = conv_tables(plan)
    rest = tables.tensors(x.dtype)
    h, v, ch, cv = (
        random(9, 4),
        random(4, plan.weight_numel),
        random(9, 4, seed=1),
        random(4, plan.weight_numel, seed=1),
    )
    grad = random(4, tables.dim_out)
    for need_v, d in ((True, cv), (False, None)):
        results = []
        for library in (ops, torch.ops.equitools):
            out = library.radial_tensor_product_conv(x, y, h, v, edge_index, 4, tables.dim_out, *rest)
            first = library.radial_tensor_product_conv_backward(
                grad, x, y, h, v, edge_index, *rest, True, True, True, need_v
            )
            second = library.radial_tensor_product_conv_double_backward(
                a, b, ch, d, grad, x, y, h, v, edge_index, *rest, need_v
            )
            results.append([out, *first, *second])
        close(*results)


def test_atomic_additions_give_the_same_numbers(ops):
    plan, tensors, edge_index = problem("3x0e + 33x1o", "0e + 1o", None, 4, 9)
    expected = convolve(ops, plan, tensors, edge_index, 4)
    assert ops.cuda_atomics(-1) == 0
    try:
        assert ops.cuda_atomics(1) == 1
        for a, b in zip(convolve(ops, plan, tensors, edge_index, 4), expected, strict=True):
            close(a, b, 1e-12)
    finally:
        ops.cuda_atomics(0)


def test_the_order_of_threads_does_not_matter(ops, monkeypatch):
    """Threads that run in reverse give the same bits: no barrier is missing, and no sum depends on who comes first."""
    plan, tensors, edge_index = problem("2x0e + 33x1o + 1x4e", "0e + 1o + 4e", "0e + 1o + 4e", 3, 36)
    forward = convolve(ops, plan, tensors, edge_index, 3)
    values, receiver = random(1300, 1), torch.arange(1300) % 2
    added = ops.segment_sum(values, receiver, 2)
    monkeypatch.setenv("EQUITOOLS_ON_HOST_REVERSED", "1")
    for a, b in zip(convolve(ops, plan, tensors, edge_index, 3), forward, strict=True):
        close(a, b, 0)
    assert torch.equal(ops.segment_sum(values, receiver, 2), added)


def test_wrong_calls_are_errors(ops):
    plan, (x, y, w, *_), edge_index = problem("2x0e + 2x1o", "0e + 1o", None, 4, 6)
    tables = conv_tables(plan)
    paths, pairs, entries, coupling = tables.tensors(x.dtype)

    def call(x=x, y=y, w=w, edge_index=edge_index, paths=paths, pairs=pairs, entries=entries, coupling=coupling):
        return ops.tensor_product_conv(x, y, w, edge_index, 4, tables.dim_out, paths, pairs, entries, coupling)

    call()
    beyond = paths.clone()
    beyond[0, 4] = 10_000
    for changed, message in (
        ({"y": y.float()}, "dtype"),
        ({"w": w[:, 1:]}, "weights"),
        ({"x": x.half()}, "float32 or float64"),
        ({"x": x[:, 1:]}, "beyond the node features"),
        ({"y": y[1:]}, "edge_attr"),
        ({"edge_index": edge_index.int()}, "int64"),
        ({"edge_index": edge_index + 4}, "outside"),
        ({"paths": beyond}, "beyond the node features"),
        ({"pairs": pairs[1:]}, "entries"),
        ({"coupling": coupling[1:]}, "coupling"),
    ):
        with pytest.raises(RuntimeError, match=message):
            call(**changed)


# ---- products on the sphere -----------------------------------------------------------------------------------------


SPHERES = [(0, 0, 0), (1, 1, 1), (3, 2, 4), (2, 5, 3), (4, 0, 4), (7, 6, 1)]


def sparse_tables_of(degrees, sums, dtype=torch.float64):
    return [torch.from_numpy(table).to(dtype) for table in sparse_tables.kernel_tables(*degrees, sums)]


def coefficients(degrees, channels, rows=3, dtype=torch.float64):
    pairs = enumerate(zip(degrees, channels, strict=True))
    return [random(rows, (l + 1) ** 2, c, seed=k, dtype=dtype) for k, (l, c) in pairs]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("curl", [False, True])
@pytest.mark.parametrize("degrees", SPHERES, ids=str)
def test_grid_product_equals_the_dense_one(ops, degrees, curl, dtype):
    tensor = torch.from_numpy(sphere_tables.dense(*degrees, curl))
    table = torch.from_numpy(sphere_tables.kernel_table(*degrees, curl)).to(dtype)
    cyclic = ("abk,nbc,nkc->nac", "abk,nkc,nac->nbc", "abk,nac,nbc->nkc")
    for channels in ((5, 5, 5), (1, 5, 5), (5, 1, 1)):
        given = coefficients(degrees, channels, dtype=dtype)
        for third in range(3):
            first, second = (third + 1) % 3, (third + 2) % 3
            x, y = given[first], given[second]
            exact = torch.einsum(cyclic[third], tensor, *_channels(x, y))
            found = ops.sphere_product(x, y, table, list(degrees), first, second, curl)
            assert found.dtype == dtype
            assert found.shape == exact.shape
            bound = (5e-6 if dtype == torch.float32 else 1e-13) * max(1.0, float(exact.abs().max()))
            assert float((found - exact).abs().max()) <= bound


def _channels(x, y):
    """Return both in double precision and with the same number of channels."""
    channels = max(x.shape[2], y.shape[2])
    return [t.double().expand(*t.shape[:2], channels) for t in (x, y)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sums", [0, 1, 2])
@pytest.mark.parametrize("degrees", SPHERES, ids=str)
def test_sparse_product_equals_the_cpu(ops, degrees, sums, dtype):
    tables, triple, cpu = sparse_tables_of(degrees, sums, dtype), list(degrees), torch.ops.equitools
    paths = len(sparse_tables.paths(*degrees, sums))
    tolerance = 2e-6 if dtype == torch.float32 else 1e-12
    for channels in ((5, 5, 5), (1, 5, 5), (5, 1, 1)):
        given = coefficients(degrees, channels, dtype=dtype)
        for weight in (None, random(paths, 5, dtype=dtype), random(paths, 1, dtype=dtype)):
            for third in range(3):
                arguments = (given[third - 2], given[third - 1], weight, *tables, triple, third, sums)
                close([ops.sparse_product(*arguments)], [cpu.sparse_product(*arguments)], tolerance)
        arguments = (*given, *tables, triple, sums)
        close([ops.sparse_product_weights(*arguments)], [cpu.sparse_product_weights(*arguments)], 10 * tolerance)


def test_products_on_the_sphere_of_many_rows_and_of_none(ops):
    """More than one block of threads, and more parts of the sum than one; and nothing."""
    degrees = [1, 2, 1]
    table = torch.from_numpy(sphere_tables.kernel_table(*degrees, False))
    tables, cpu = sparse_tables_of(degrees, 0), torch.ops.equitools
    for rows in (0, 301):
        x, y, z = coefficients(degrees, (3, 3, 3), rows)
        for name, arguments in (
            ("sphere_product", (x, y, table, degrees, 0, 1, False)),
            ("sparse_product", (x, y, None, *tables, degrees, 2, 0)),
            ("sparse_product_weights", (x, y, z, *tables, degrees, 0)),
        ):
            close([getattr(ops, name)(*arguments)], [getattr(cpu, name)(*arguments)], 1e-12)


def test_products_on_the_sphere_do_not_depend_on_the_order_of_threads(ops, monkeypatch):
    degrees = [2, 2, 2]
    x, y, z = coefficients(degrees, (3, 3, 3), 50)
    table, tables = torch.from_numpy(sphere_tables.kernel_table(*degrees, True)), sparse_tables_of(degrees, 1)

    def results():
        return [
            ops.sphere_product(x, y, table, degrees, 0, 1, True),
            ops.sparse_product(x, y, None, *tables, degrees, 2, 1),
            ops.sparse_product_weights(x, y, z, *tables, degrees, 1),
        ]

    forward = results()
    monkeypatch.setenv("EQUITOOLS_ON_HOST_REVERSED", "1")
    for a, b in zip(results(), forward, strict=True):
        assert torch.equal(a, b)


def test_wrong_products_on_the_sphere_are_errors(ops):
    degrees = [2, 2, 2]
    x, y, z = coefficients(degrees, (3, 3, 3))
    table, tables = torch.from_numpy(sphere_tables.kernel_table(*degrees, False)), sparse_tables_of(degrees, 0)
    for words, name, arguments in (
        ("three degrees", "sphere_product", (x, y, table, [2, 2], 0, 1, False)),
        ("two different", "sphere_product", (x, y, table, degrees, 0, 0, False)),
        ("table must hold", "sphere_product", (x, y, table[1:], degrees, 0, 1, False)),
        ("x must be", "sphere_product", (x[:, :4], y, table, degrees, 0, 1, False)),
        ("same dtype", "sphere_product", (x, y.float(), table, degrees, 0, 1, False)),
        ("three degrees", "sparse_product", (x, y, None, *tables, [2, 2], 2, 0)),
        ("number 0, 1 or 2", "sparse_product", (x, y, None, *tables, degrees, 3, 0)),
        ("table must hold", "sparse_product", (x, y, None, *(t[1:] for t in tables), degrees, 2, 0)),
        ("y must be", "sparse_product", (x, y[:, :4], None, *tables, degrees, 2, 0)),
        ("weights must be", "sparse_product", (x, y, z[0], *tables, degrees, 2, 0)),
        ("z must be", "sparse_product_weights", (x, y, z[:, :4], *tables, degrees, 0)),
    ):
        with pytest.raises(RuntimeError, match=words):
            getattr(ops, name)(*arguments)


# ---- principal axes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eigenvectors_equal_the_cpu(ops, dtype):
    a = random(140, 3, 3, dtype=dtype)
    a[0], a[1], a[2], a[3, 0, 1] = 0.0, torch.eye(3), torch.ones(3, 3), torch.nan
    ours, theirs = ops.eigh3(a), torch.ops.equitools.eigh3(a)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=10 * tolerance, equal_nan=True)
    good = torch.arange(140) != 3
    values, vectors = (t[good] for t in ours)
    symmetric = 0.5 * (a + a.mT)[good]
    assert ((symmetric @ vectors - vectors * values.unsqueeze(-2)).abs() < 10 * tolerance).all()
    assert ((vectors.mT @ vectors - torch.eye(3, dtype=dtype)).abs() < 5 * tolerance).all()
    grads = random(140, 3, dtype=dtype), random(140, 3, 3, seed=1, dtype=dtype)
    for a, b in zip([ops.eigh3_vjp(*theirs, *grads)], [torch.ops.equitools.eigh3_vjp(*theirs, *grads)], strict=True):
        scale = b[good].abs().amax((-1, -2), keepdim=True).clamp(min=1)
        assert ((a - b)[good].abs() <= 10 * tolerance * scale).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("clouds", "points"), [(5, 1), (3, 70), (9, 32), (0, 4), (2, 0)])
def test_principal_axes_equal_the_cpu(ops, clouds, points, centred, dtype):
    cpu = torch.ops.equitools
    x = random(clouds, points, 3, dtype=dtype) * torch.tensor([1.0, 2.0, 3.0], dtype=dtype) + 0.5
    tolerance = 2e-5 if dtype == torch.float32 else 1e-11
    for mask in (None, random(clouds, points, seed=1) < 0.5):
        if mask is not None and clouds > 1:
            mask[1] = False
        arguments = (x, mask, centred, 1e-4, True)
        ours, theirs = ops.principal_axes(*arguments), cpu.principal_axes(*arguments)
        close(ours[:2], theirs[:2], tolerance * max(points, 1))
        if points > 30:
            assert torch.equal(ours[3] & 7, theirs[3] & 7)
            if mask is None:
                turned = (ours[2] * theirs[2]).sum(1, keepdim=True).sign()
                close([ours[2] * turned], [theirs[2]], 10 * tolerance)
        grads = [random(*t.shape, seed=3, dtype=dtype) for t in theirs[:3]]
        arguments = (x, mask, *theirs[:3], *grads, centred)
        a, b = ops.principal_axes_vjp(*arguments), cpu.principal_axes_vjp(*arguments)
        scale = float(b.abs().max()) + 1 if b.numel() else 1.0
        close([a / scale], [b / scale], tolerance)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("choice", [None, [[1, 0], [1, 1], [0, 0], [1, 0], [0, 1]]])
def test_signed_axes_equal_the_cpu(ops, affine, choice):
    signs = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0]], dtype=torch.float64)
    chosen = None if choice is None else torch.tensor(choice, dtype=torch.int32)
    arguments = (random(5, 3, 3), random(5, 3) if affine else None, signs, chosen, 1.0)
    out = torch.ops.equitools.signed_axes(*arguments)
    close([ops.signed_axes(*arguments)], [out], 0)
    grad = random(*out.shape, seed=2)
    close(ops.signed_axes_vjp(grad, signs, chosen), torch.ops.equitools.signed_axes_vjp(grad, signs, chosen), 1e-14)


# ---- matrix functions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_matrix_functions_equal_the_cpu(ops, n, dtype):
    """More than a block of threads, with matrices that have no result among them."""
    cpu, tolerance = torch.ops.equitools, 2e-6 if dtype == torch.float32 else 1e-13
    x = (0.5 * random(140, n, n)).to(dtype)
    g = torch.matrix_exp(x.double()).to(dtype)
    g[7], g[9, 0, 1] = 0.0, torch.nan
    grad, other = random(140, n, n, seed=1, dtype=dtype), random(140, n, n, seed=2, dtype=dtype)
    log = cpu.matrix_log(g)
    pairs = [
        (ops.matrix_exp(x), cpu.matrix_exp(x)),
        (ops.matrix_exp_vjp(x, grad), cpu.matrix_exp_vjp(x, grad)),
        (ops.matrix_log(g), log),
        (ops.matrix_log_vjp(log, grad), cpu.matrix_log_vjp(log, grad)),
        *zip(ops.polar(g), cpu.polar(g), strict=True),
        (ops.polar_vjp(g, grad, other), cpu.polar_vjp(g, grad, other)),
    ]
    for ours, theirs in pairs:
        scale = theirs.nan_to_num().abs().amax((-1, -2), keepdim=True).clamp(min=1)
        torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=30 * tolerance, equal_nan=True)
    assert ops.matrix_log(g)[7].isnan().all()
    assert ops.polar(g)[0][9].isnan().all()
    for empty in (ops.matrix_exp(x[:0]), ops.matrix_log(x[:0]), *ops.polar(x[:0])):
        assert empty.shape == (0, n, n)


def test_wrong_matrices_are_errors(ops):
    x = random(5, 3, 3)
    for words, name, arguments in (
        ("n = 2, 3 or 4", "matrix_exp", (random(5, 5, 5),)),
        ("n = 2, 3 or 4", "matrix_log", (random(3, 3),)),
        ("n = 2, 3 or 4", "polar", (random(5, 3, 4),)),
        ("float32 or float64", "matrix_exp", (x.half(),)),
        ("shape of the matrices", "matrix_exp_vjp", (x, x[:4])),
        ("same dtype", "matrix_log_vjp", (x, x.float())),
        ("shape of the matrices", "polar_vjp", (x, x, x[:4])),
    ):
        for namespace in (ops, torch.ops.equitools):
            with pytest.raises(RuntimeError, match=words):
                getattr(namespace, name)(*arguments)


def test_tables_are_refused_while_a_graph_is_captured(ops, monkeypatch):
    plan, tensors, edge_index = problem("7x0e + 2x1o", "0e + 1o", "1o", 3, 2)
    monkeypatch.setenv("EQUITOOLS_ON_HOST_CAPTURING", "1")
    with pytest.raises(RuntimeError, match="before a CUDA graph is captured"):
        convolve(ops, plan, tensors, edge_index, 3)


@pytest.mark.slow
def test_host_program_under_sanitizers(tmp_path):
    flags = [*COMPILE, "-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    no_torch = [
        *sorted(CUDA.glob("*.cu")),
        CUDA / "convolution_tables.cpp",
        TABLE,
        Path(__file__).with_name("cuda_host.cpp"),
    ]
    objects = []
    for source in no_torch:
        objects.append(str(tmp_path / f"{source.name}.o"))
        subprocess.run([*flags, "-c", str(source), "-o", objects[-1]], check=True)
    subprocess.run(["g++", "-fsanitize=address,undefined", *objects, "-o", str(tmp_path / "host")], check=True)
    environment = {**os.environ, "ASAN_OPTIONS": "detect_stack_use_after_return=0"}
    done = subprocess.run([str(tmp_path / "host")], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

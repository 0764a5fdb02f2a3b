from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import torch
from torch.autograd import gradcheck, gradgradcheck

from equitools.errors import ShapeError, UnknownNameError
from equitools.groups import random_rotation, wigner_D
from equitools.ops import extension_loaded, spherical_harmonics, use_backend
from equitools.ops.spherical_harmonics import NORMALIZATIONS, spherical_harmonics_reference

needs_kernels = pytest.mark.skipif(not extension_loaded(), reason="the extension is not built")
SPEC = (3, True, 0)


def points(count, dtype=torch.float64, seed=0):
    return torch.randn(count, 3, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def degrees(lmax):
    return torch.cat([torch.full((2 * l + 1,), l) for l in range(lmax + 1)])


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("normalization", list(NORMALIZATIONS))
def test_equals_e3nn(backend, normalization, normalize):
    import e3nn.o3  # after equitools, which knows how to import e3nn 0.4.4 beside a recent torch

    vectors = torch.cat([points(40), torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64)])
    vectors = torch.cat([vectors, torch.zeros(1, 3, dtype=torch.float64)])
    lmax = 11  # where e3nn ends
    expected = e3nn.o3.spherical_harmonics(list(range(lmax + 1)), vectors, normalize, normalization)
    values = spherical_harmonics(lmax, vectors, normalize, normalization)
    torch.testing.assert_close(values, expected, rtol=1e-10, atol=1e-10)


def test_equals_scipy(backend):
    lmax, vectors = 12, points(25)
    x, y, z = (vectors / vectors.norm(dim=-1, keepdim=True)).numpy().T
    polar, azimuth = np.arccos(y), np.arctan2(x, z)  # the polar axis is y, the azimuth runs from z to x
    values = spherical_harmonics(lmax, vectors, normalization="integral").numpy()
    for degree in range(lmax + 1):
        for order in range(degree + 1):
            complex_value = scipy.special.sph_harm_y(degree, order, polar, azimuth) * (-1) ** order
            centre = degree * degree + degree
            scale = 1.0 if order == 0 else np.sqrt(2)
            np.testing.assert_allclose(values[:, centre + order], scale * complex_value.real, atol=1e-12)
            if order:
                np.testing.assert_allclose(values[:, centre - order], scale * complex_value.imag, atol=1e-12)


def test_degree_one_is_x_y_z(backend):
    vectors = points(5)
    values = spherical_harmonics(1, vectors, normalize=False, normalization="norm")
    torch.testing.assert_close(values[:, 1:], vectors)


def test_orthonormal(backend):
    lmax, count = 6, 16
    nodes, weights = np.polynomial.legendre.leggauss(count)
    azimuth = torch.arange(2 * count, dtype=torch.float64) * torch.pi / count
    height = torch.from_numpy(nodes)[:, None].expand(count, 2 * count)
    radius = (1 - height**2).sqrt()
    vectors = torch.stack([radius * azimuth.sin(), height, radius * azimuth.cos()], dim=-1)
    weight = torch.from_numpy(weights)[:, None].expand(count, 2 * count) * torch.pi / count
    values = spherical_harmonics(lmax, vectors, normalization="integral")
    gram = torch.einsum("abi,abj,ab->ij", values, values, weight)
    torch.testing.assert_close(gram, torch.eye((lmax + 1) ** 2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_rotation_equivariance(backend):
    rotation, vectors = random_rotation(dtype=torch.float64), points(10)
    matrix = torch.block_diag(*(wigner_D(l, rotation) for l in range(13)))
    rotated = spherical_harmonics(12, vectors @ rotation.T)
    torch.testing.assert_close(rotated, spherical_harmonics(12, vectors) @ matrix.T, rtol=1e-10, atol=1e-10)


def test_parity(backend):
    sign = (-1.0) ** degrees(8).double()
    vectors = points(10)
    torch.testing.assert_close(spherical_harmonics(8, -vectors), sign * spherical_harmonics(8, vectors))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("normalize", [True, False])
def test_finite_at_zero(backend, dtype, normalize):
    vectors = torch.cat([torch.zeros(2, 3, dtype=dtype), points(3, dtype)]).requires_grad_()
    values = spherical_harmonics(4, vectors, normalize)
    assert torch.equal(values[:2, 0], torch.ones(2, dtype=dtype))
    assert torch.equal(values[:2, 1:], torch.zeros(2, 24, dtype=dtype))
    (gradient,) = torch.autograd.grad(values.square().sum() + values.sum(), vectors, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), vectors)
    assert gradient.isfinite().all()
    assert second.isfinite().all()
    if normalize:
        assert not gradient[:2].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_direction_of_tiny_and_huge_vectors(backend, dtype):
    vectors = points(4, dtype)
    values = spherical_harmonics(3, vectors)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for factor in (1e-11, 1e-8, 1e15, 1e30):
        torch.testing.assert_close(spherical_harmonics(3, vectors * factor), values, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("lmax", [0, 1, 2, 5])
def test_derivatives(backend, lmax, normalize):
    vectors = points(3).requires_grad_()

    def function(v):
        return spherical_harmonics(lmax, v, normalize, "norm")

    assert gradcheck(function, vectors)
    assert gradgradcheck(function, vectors)


@pytest.mark.parametrize("count", [0, 1, 17])
def test_derivatives_of_any_count(backend, count):
    vectors = points(count).requires_grad_()
    assert gradcheck(lambda v: spherical_harmonics(2, v), vectors)
    assert gradgradcheck(lambda v: spherical_harmonics(2, v), vectors)


def test_third_derivative(backend):
    vectors = points(2).requires_grad_()

    def force_norm(v):
        energy = spherical_harmonics(3, v).pow(3).sum()
        (gradient,) = torch.autograd.grad(energy, v, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), v, create_graph=True)
        return second

    assert gradcheck(force_norm, vectors)


def test_third_derivative_with_a_graph(backend):
    """Its cotangents depend on the inputs then; each dependence counts once."""
    results = []
    for again in (False, True):
        v = points(2).requires_grad_()
        value = spherical_harmonics(3, v).pow(3).sum()
        for _ in range(2):
            value = torch.autograd.grad(value, v, create_graph=True)[0].square().sum()
        results.append(torch.autograd.grad(value, v, create_graph=again)[0].detach())
    torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(), (4,), (0,), (2, 3), (2, 0, 3)])
def test_leading_shapes(backend, shape):
    vectors = torch.randn(*shape, 3, dtype=torch.float64)
    values = spherical_harmonics(2, vectors)
    assert values.shape == (*shape, 9)
    torch.testing.assert_close(values, spherical_harmonics_reference(2, vectors))


def test_not_contiguous(backend):
    wide = points(12).requires_grad_()
    vectors = wide.t().contiguous().t()[::2]
    assert not vectors.is_contiguous()
    torch.testing.assert_close(spherical_harmonics(3, vectors), spherical_harmonics(3, vectors.contiguous()))
    (a,) = torch.autograd.grad(spherical_harmonics(3, vectors).sum(), wide)  # an expanded gradient
    (b,) = torch.autograd.grad(spherical_harmonics(3, vectors.contiguous()).sum(), wide)
    torch.testing.assert_close(a, b)


@needs_kernels
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-4)])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("lmax", [0, 1, 2, 3, 4, 5, 6, 7, 12])
def test_kernels_equal_reference(lmax, normalize, dtype, tolerance):
    vectors = points(37, dtype) / (1.0 if normalize else 2.0)
    vectors[5] = 0
    weight, cotangent = torch.randn(37, (lmax + 1) ** 2, dtype=dtype), torch.randn(37, 3, dtype=dtype)

    def derivatives():
        v, w = vectors.clone().requires_grad_(), weight.clone().requires_grad_()
        values = spherical_harmonics(lmax, v, normalize, "norm")
        (first,) = torch.autograd.grad(values, v, w, create_graph=True)
        second = torch.autograd.grad(first, (v, w), cotangent, materialize_grads=True, allow_unused=True)
        return values, first, *second

    with use_backend("reference"):
        expected = derivatives()
    with use_backend("cpu"):
        result = derivatives()
    for a, b in zip(result, expected, strict=True):
        assert ((a - b).abs() <= tolerance * (1 + b.abs().amax())).all()


def test_float32_against_float64(backend):
    vectors = points(50, torch.float32)
    low, high = spherical_harmonics(12, vectors), spherical_harmonics(12, vectors.double())
    assert low.dtype == torch.float32
    torch.testing.assert_close(low.double(), high, rtol=0, atol=2e-5)


def test_nan_is_seen(backend):
    vectors = points(3)
    vectors[1, 2] = torch.nan
    assert spherical_harmonics(2, vectors)[1, 1:].isnan().any()


@needs_kernels
@pytest.mark.parametrize("operation", ["spherical_harmonics", "spherical_harmonics_vjp"])
def test_opcheck(operation):
    inputs = [points(5).requires_grad_()]
    if operation != "spherical_harmonics":
        inputs.append(torch.randn(5, 16, dtype=torch.float64, requires_grad=True))
    torch.library.opcheck(getattr(torch.ops.equitools, operation).default, (*inputs, *SPEC))


@needs_kernels
def test_opcheck_of_second_derivative():
    inputs = (points(5), torch.randn(5, 16, dtype=torch.float64), points(5, seed=1))
    torch.library.opcheck(torch.ops.equitools.spherical_harmonics_vjp_vjp.default, (*inputs, *SPEC))
    with_grad = tuple(t.clone().requires_grad_() for t in inputs)
    torch.library.opcheck(
        torch.ops.equitools.spherical_harmonics_vjp_vjp.default,
        (*with_grad, *SPEC),
        test_utils=["test_schema", "test_autograd_registration", "test_faketensor"],
    )


@needs_kernels
def test_batched_gradients():
    vectors = points(2).requires_grad_()
    with use_backend("cpu"):
        (gradient,) = torch.autograd.grad(spherical_harmonics(3, vectors).pow(3).sum(), vectors, create_graph=True)
        basis = torch.eye(6, dtype=torch.float64).reshape(6, 2, 3)
        (batched,) = torch.autograd.grad(gradient, vectors, basis, is_grads_batched=True, retain_graph=True)
        one_by_one = [torch.autograd.grad(gradient, vectors, b, retain_graph=True)[0] for b in basis]
    torch.testing.assert_close(batched, torch.stack(one_by_one))


@needs_kernels
def test_compile_smoke():
    function = torch.compile(lambda v: spherical_harmonics(2, v).square().sum(), fullgraph=True, backend="aot_eager")
    vectors = points(4).requires_grad_()
    (compiled,) = torch.autograd.grad(function(vectors), vectors)
    (eager,) = torch.autograd.grad(spherical_harmonics(2, vectors).square().sum(), vectors)
    torch.testing.assert_close(compiled, eager)


@needs_kernels
def test_threads_do_not_change_the_result():
    vectors, before = points(5000), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(spherical_harmonics(4, vectors))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_mistakes():
    vectors = points(2)
    with pytest.raises(ShapeError, match=r"\[\.\.\., 3\].*\[2, 2\]"):
        spherical_harmonics(2, vectors[:, :2])
    with pytest.raises(ShapeError, match="floating point"):
        spherical_harmonics(2, torch.ones(2, 3, dtype=torch.int64))
    for lmax in (-1, 1000, 2.0, True):
        with pytest.raises(ShapeError, match="lmax"):
            spherical_harmonics(lmax, vectors)
    with pytest.raises(UnknownNameError, match="'component'"):
        spherical_harmonics(2, vectors, normalization="components")

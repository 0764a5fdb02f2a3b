"""Products of functions on the sphere: every method against the dense tensor, and that against independent oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y
from torch import Tensor

from equitools.errors import ShapeError, UnknownNameError
from equitools.groups import clebsch_gordan, gaunt_coefficients, irreps_matrix, random_rotation
from equitools.ops import sphere_tables, spherical_harmonics, use_backend
from equitools.ops.gaunt import GAUNT_METHODS, gaunt_method, gaunt_paths, gaunt_power, gaunt_tensor_product

EXACT = [("dense", False), ("sparse", False), ("fourier", False), ("grid", False)]
EXACT += [(method, True) for method, _ in EXACT if method != "fourier"]


def factors(l1: int, l2: int, rows: int = 3, channels: int = 5, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(100 * l1 + l2)
    shapes = ((rows, (l + 1) ** 2, channels) for l in (l1, l2))
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def near(a: Tensor, b: Tensor, tolerance: float) -> None:
    assert a.shape == b.shape
    assert float((a - b).abs().max()) <= tolerance * max(1e-30, float(b.abs().max()))


def natural(lmax: int) -> str:
    return "+".join(f"{l}{'eo'[l % 2]}" for l in range(lmax + 1))


def test_harmonics_are_those_of_scipy() -> None:
    """Y_{l,±m} = √2 (−1)^m Re, Im of the complex harmonic, polar axis y, azimuth from z to x."""
    points = sphere_tables.grid(9)
    theta = np.repeat(np.arccos(points.cosine), len(points.phi))
    phi = np.tile(points.phi, len(points.cosine))
    table, _, _ = sphere_tables.synthesis(6, 9)
    for l in range(7):
        for m in range(l + 1):
            complex_ = (-1) ** m * sph_harm_y(l, m, theta, phi) * (math.sqrt(2) if m else 1)
            np.testing.assert_allclose(table[:, l * l + l + m], complex_.real, atol=1e-14)
            if m:
                np.testing.assert_allclose(table[:, l * l + l - m], complex_.imag, atol=1e-14)


def test_slopes_are_those_of_finite_differences() -> None:
    cosine, step = np.array([0.9, 0.3, -0.2, -0.7]), 1e-6
    theta = np.arccos(cosine)
    _, slope, turned = sphere_tables.legendre(8, cosine)
    above, below = (sphere_tables.legendre(8, np.cos(theta + s))[0] for s in (step, -step))
    np.testing.assert_allclose(slope, (above - below) / (2 * step), atol=1e-7)
    value = sphere_tables.legendre(8, cosine)[0]
    np.testing.assert_allclose(turned, np.arange(9)[:, None, None] * value / np.sin(theta), atol=1e-12)


def test_dense_is_the_integral_of_three_harmonics() -> None:
    table = sphere_tables.dense(4, 3, 5, False)
    for a in range(5):
        for b in range(4):
            for c in range(6):
                block = table[a * a : (a + 1) ** 2, b * b : (b + 1) ** 2, c * c : (c + 1) ** 2]
                np.testing.assert_allclose(block, gaunt_coefficients(a, b, c).numpy(), atol=1e-14)


@pytest.mark.parametrize(("method", "curl"), EXACT)
@pytest.mark.parametrize(
    "degrees", [(0, 0, 0), (1, 1, 1), (3, 2, 4), (2, 5, 3), (6, 6, 6), (0, 4, 4), (3, 3, 0), (1, 1, 4), (12, 12, 12)]
)
def test_methods_agree(method: str, curl: bool, degrees: tuple[int, int, int]) -> None:
    l1, l2, l3 = degrees
    x, y = factors(l1, l2, channels=3)
    dense = np.einsum("abk,nac,nbc->nkc", sphere_tables.dense(l1, l2, l3, curl), x.numpy(), y.numpy(), optimize=True)
    found = gaunt_tensor_product(x, y, l3, curl=curl, method=method)
    bound = 1e-11 * max(1e-3, float(np.abs(dense).max()))  # the curl of degree 0 is zero
    assert float((found - torch.from_numpy(dense)).abs().max()) <= bound
    with use_backend("reference"):
        again = gaunt_tensor_product(x, y, l3, curl=curl, method=method)
    assert float((again - found).abs().max()) <= bound


def test_values_multiply() -> None:
    """The product's values at any point are the products of the values."""
    x, y = factors(3, 4)
    point = torch.randn(7, 3, dtype=torch.float64)
    harmonics = [spherical_harmonics(l, point, normalization="integral") for l in (3, 4, 7)]
    product = gaunt_tensor_product(x, y, 7)
    left = torch.einsum("pk,nkc->npc", harmonics[2], product)
    near(left, torch.einsum("pk,nkc->npc", harmonics[0], x) * torch.einsum("pk,nkc->npc", harmonics[1], y), 1e-12)


def test_the_curl_of_degree_one_is_the_cross_product() -> None:
    a, b = torch.randn(2, 6, 3, dtype=torch.float64)
    x, y = (torch.cat([torch.zeros(6, 1, 1, dtype=torch.float64), v.unsqueeze(-1)], 1) for v in (a, b))
    for method in ("dense", "sparse", "grid"):
        found = gaunt_tensor_product(x, y, 1, curl=True, method=method)
        near(found[:, 1:, 0], math.sqrt(3 / (4 * math.pi)) * torch.linalg.cross(a, b), 1e-13)
        assert float(found[:, 0].abs().max()) < 1e-14


def test_plain_products_have_no_odd_paths() -> None:
    """Of one degree each: nothing where the sum of the degrees is odd, and of the curl where it is even."""
    for l1, l2 in ((1, 1), (2, 2), (1, 2), (3, 2)):
        x, y = (torch.zeros_like(t) for t in factors(l1, l2))
        x[:, l1 * l1 :], y[:, l2 * l2 :] = 1 + torch.rand(2, 1, 1)
        for curl in (False, True):
            out = gaunt_tensor_product(x, y, l1 + l2, curl=curl)
            for l in range(l1 + l2 + 1):
                if (l1 + l2 + l) % 2 != int(curl):
                    assert float(out[:, l * l : (l + 1) ** 2].abs().max()) < 1e-13


def test_both_halves_span_what_clebsch_gordan_spans() -> None:
    """Each triple of degrees that couples has an integral that is not zero, in one half, and it is CG times that."""
    for l1 in range(9):
        for l2 in range(9):
            for l3 in range(abs(l1 - l2), min(l1 + l2, 8) + 1):
                assert abs(sphere_tables.reduced(l1, l2, l3)) > 0.05
    lmax = 3
    rows, free = [], 0
    for curl in (False, True):
        table = torch.from_numpy(sphere_tables.dense(lmax, lmax, lmax, curl))
        for l1 in range(lmax + 1):
            for l2 in range(lmax + 1):
                for l3 in range(lmax + 1):
                    block = tuple(slice(l * l, (l + 1) ** 2) for l in (l1, l2, l3))
                    part = torch.zeros_like(table)
                    part[block] = table[block]
                    rows.append(part.flatten())
                    if abs(l1 - l2) <= l3 <= l1 + l2:
                        free += int(not curl)
                        exact = clebsch_gordan(l1, l2, l3)
                        if (l1 + l2 + l3) % 2 == int(curl):
                            near(
                                part[block] / part[block].norm() * torch.sign((part[block] * exact).sum()), exact, 1e-12
                            )
    assert int(torch.linalg.matrix_rank(torch.stack(rows))) == free == 34


@pytest.mark.parametrize("method", ["dense", "sparse", "fourier", "grid"])
@pytest.mark.parametrize("curl", [False, True])
def test_equivariance(method: str, curl: bool) -> None:
    if curl and method == "fourier":
        pytest.skip("the Fourier method has no curl")
    x, y = factors(4, 3)
    rotation = random_rotation(generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    d = [irreps_matrix(natural(l), rotation) for l in (4, 3, 5)]
    out = gaunt_tensor_product(x, y, 5, curl=curl, method=method)
    turned = gaunt_tensor_product(
        torch.einsum("ab,nbc->nac", d[0], x), torch.einsum("ab,nbc->nac", d[1], y), 5, curl=curl, method=method
    )
    near(turned, torch.einsum("ab,nbc->nac", d[2], out), 1e-11)
    # The inversion: degree l of a function has parity (−1)^l, of a curl the other one.
    parity = [torch.cat([torch.full((2 * l + 1, 1), (-1.0) ** l) for l in range(n + 1)]).double() for n in (4, 3, 5)]
    inverted = gaunt_tensor_product(parity[0] * x, parity[1] * y, 5, curl=curl, method=method)
    near(inverted, (-1) ** curl * parity[2] * out, 1e-11)


def test_symmetry() -> None:
    x, y = factors(4, 4)
    near(gaunt_tensor_product(x, y), gaunt_tensor_product(y, x), 1e-12)
    near(gaunt_tensor_product(x, y, curl=True), -gaunt_tensor_product(y, x, curl=True), 1e-12)
    assert float(gaunt_tensor_product(x, x, curl=True).abs().max()) < 1e-12


@pytest.mark.parametrize("curl", [False, True])
@pytest.mark.parametrize("channels", [(2, 2), (2, 1), (1, 3)])
def test_derivatives_are_products(curl: bool, channels: tuple[int, int]) -> None:
    x, y = factors(2, 1, rows=2)
    x, y = (t[..., :c].clone().requires_grad_() for t, c in zip((x, y), channels, strict=True))

    def function(x: Tensor, y: Tensor) -> Tensor:
        return gaunt_tensor_product(x, y, 2, curl=curl, method="grid")

    assert torch.autograd.gradcheck(function, (x, y))
    assert torch.autograd.gradgradcheck(function, (x, y))
    with use_backend("reference"):
        exact = torch.autograd.grad(function(x, y).pow(3).sum(), (x, y), create_graph=True)
        second = torch.autograd.grad(sum(g.pow(2).sum() for g in exact), (x, y))
    ours = torch.autograd.grad(function(x, y).pow(3).sum(), (x, y), create_graph=True)
    for a, b in zip(
        (*ours, *torch.autograd.grad(sum(g.pow(2).sum() for g in ours), (x, y))), (*exact, *second), strict=True
    ):
        near(a, b, 1e-11)


@pytest.mark.parametrize(("lmax", "tolerance"), [(2, 5e-7), (4, 5e-7), (8, 1e-6), (12, 2e-6)])
@pytest.mark.parametrize("curl", [False, True])
def test_single_precision(lmax: int, tolerance: float, curl: bool) -> None:
    x, y = factors(lmax, lmax, dtype=torch.float32)
    exact = gaunt_tensor_product(x.double(), y.double(), curl=curl, method="dense")
    near(gaunt_tensor_product(x, y, curl=curl, method="grid").double(), exact, tolerance)


@pytest.mark.parametrize("channels", [1, 3, 7, 8, 16, 17, 33])
@pytest.mark.parametrize("rows", [0, 1, 2, 19])
def test_rows_and_channels_of_any_number(rows: int, channels: int) -> None:
    x, y = factors(3, 2, rows=rows, channels=channels)
    dense = gaunt_tensor_product(x, y, 4, method="dense")
    found = gaunt_tensor_product(x, y, 4, method="grid")
    assert found.shape == dense.shape == (rows, 25, channels)
    if rows:
        near(found, dense, 1e-12)
        near(gaunt_tensor_product(x, y[..., :1], 4), gaunt_tensor_product(x, y[..., :1].expand_as(y), 4), 1e-12)


@pytest.mark.parametrize(("method", "curl"), [*EXACT, ("auto", False)])
def test_no_rows_and_no_channels(method: str, curl: bool) -> None:
    """Also beside one channel, which is multiplied with all of the other's: there are none."""
    for rows, first, second in ((0, 2, 2), (3, 0, 0), (3, 0, 1), (3, 1, 0), (0, 0, 0)):
        for name in ("auto", "reference"):
            x, y = (f.requires_grad_() for f in (factors(2, 1, rows, first)[0], factors(2, 1, rows, second)[1]))
            with use_backend(name):
                out = gaunt_tensor_product(x, y, 3, curl=curl, method=method)
                gradients = torch.autograd.grad(out.sum(), (x, y))
            assert out.shape == (rows, 16, min(first, second))
            assert [g.shape for g in gradients] == [x.shape, y.shape]
    if method in ("grid", "sparse"):
        fake = torch._subclasses.FakeTensorMode()
        x, y = (fake.from_tensor(factors(2, 1, 3, c)[k]) for k, c in enumerate((0, 1)))
        with fake:
            assert gaunt_tensor_product(x, y, 3, curl=curl, method=method).shape == (3, 16, 0)
            assert gaunt_tensor_product(y, x, 3, curl=curl, method=method).shape == (3, 16, 0)


def test_nothing_beyond_what_is_reached() -> None:
    """Degrees above the sum of both are zero, with every method; weights of paths are those that there are."""
    x, y = factors(1, 1)
    for method in ("auto", "dense", "sparse", "fourier", "grid"):
        out = gaunt_tensor_product(x, y, 4, method=method)
        near(out[:, :9], gaunt_tensor_product(x, y, 2, method="dense"), 1e-13)
        assert not out[:, 9:].any()
    weight = torch.rand(len(gaunt_paths(1, 1, 4)), dtype=torch.float64)
    for method in ("dense", "sparse"):
        out = gaunt_tensor_product(x, y, 4, method=method, path_weight=weight)
        near(out[:, :9], gaunt_tensor_product(x, y, 2, method="dense", path_weight=weight), 1e-13)
    assert gaunt_method(1, 1, 30) == gaunt_method(1, 1, 2)


def test_auto_without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the table says sparse, plain torch takes the grid: the sparse product would need memory for every term."""
    monkeypatch.setattr("equitools.ops.gaunt_crossover.fastest", lambda *_: "sparse")
    assert gaunt_method(3, 3, 3, 3, 4) == "sparse"
    x, y = factors(3, 3, rows=4, channels=3)
    with use_backend("reference"):
        assert torch.equal(gaunt_tensor_product(x, y), gaunt_tensor_product(x, y, method="grid"))
        assert not torch.equal(gaunt_tensor_product(x, y), gaunt_tensor_product(x, y, method="sparse"))


def test_fourier_series_are_the_harmonics() -> None:
    """At any angles, on both sheets of the torus."""
    lmax, count = 5, 12
    table, places = sphere_tables.fourier(lmax, count)
    generator = np.random.default_rng(0)
    theta, phi = generator.uniform(0, 2 * math.pi, (2, 9))
    frequencies = np.fft.fftfreq(count, 1 / count)
    x = generator.normal(size=(lmax + 1) ** 2)
    series = np.einsum("psu,ps->pu", table, x[places].reshape(-1, lmax + 1)).reshape(lmax + 1, 2, count)
    orders = (series[:, 0] + 1j * series[:, 1]) @ np.exp(1j * np.outer(frequencies, theta))  # [m, n]
    waves = np.exp(1j * np.outer(np.arange(lmax + 1), phi))
    found = (np.where(np.arange(lmax + 1) > 0, 2, 1)[:, None] * (orders * waves).real).sum(0)
    around = -math.pi / 2 - phi
    points = np.stack([np.sin(theta) * np.sin(around), np.cos(theta), np.sin(theta) * np.cos(around)], 1)
    harmonics = spherical_harmonics(lmax, torch.from_numpy(points), normalization="integral").numpy()
    np.testing.assert_allclose(found, harmonics @ x, atol=1e-13)


def test_fourier_derivatives() -> None:
    x, y = (f.requires_grad_() for f in (factors(2, 1, rows=2, channels=2)[0], factors(2, 1, rows=2, channels=1)[1]))

    def function(x: Tensor, y: Tensor) -> Tensor:
        return gaunt_tensor_product(x, y, 2, method="fourier")

    assert torch.autograd.gradcheck(function, (x, y))
    assert torch.autograd.gradgradcheck(function, (x, y))


def test_lengths_of_transforms() -> None:
    assert [sphere_tables.fast_length(n) for n in (1, 7, 8, 11, 13, 17, 49, 61, 129)] == [
        1, 8, 8, 12, 15, 18, 50, 64, 135,
    ]  # fmt: skip


def test_leading_dimensions_and_strides() -> None:
    x, y = factors(2, 2, rows=6)
    flat = gaunt_tensor_product(x, y, 3)
    near(gaunt_tensor_product(x.view(2, 3, 9, 5), y.view(2, 3, 9, 5), 3).flatten(0, 1), flat, 1e-13)
    near(gaunt_tensor_product(x.view(2, 3, 9, 5), y[:3], 3)[0], flat[:3], 1e-13)
    strided = x.transpose(1, 2).contiguous().transpose(1, 2)
    near(gaunt_tensor_product(strided, y, 3), flat, 1e-13)


def test_vmap_compile_and_opcheck() -> None:
    x, y = factors(2, 2, rows=6)
    near(torch.vmap(lambda a, b: gaunt_tensor_product(a, b, 3))(x.view(2, 3, 9, 5), y.view(2, 3, 9, 5)).flatten(0, 1),
         gaunt_tensor_product(x, y, 3), 1e-13)  # fmt: skip
    near(torch.vmap(lambda a: gaunt_tensor_product(a, y[:3], 3))(x.view(2, 3, 9, 5))[0],
         gaunt_tensor_product(x[:3], y[:3], 3), 1e-13)  # fmt: skip
    table = torch.from_numpy(sphere_tables.kernel_table(2, 2, 3, True))
    arguments = (x.requires_grad_(), y.requires_grad_(), table, [2, 2, 3], 0, 1, True)
    torch.library.opcheck(torch.ops.equitools.sphere_product.default, arguments)


def test_power_is_repeated_product() -> None:
    x, _ = factors(2, 2)
    once = x
    for exponent in range(2, 6):
        once = gaunt_tensor_product(once, x, exponent * 2)
        near(gaunt_power(x, exponent, exponent * 2), once, 1e-11)
        near(gaunt_power(x, exponent), once[:, :9], 1e-11)
        near(gaunt_power(x, exponent, 0), once[:, :1], 1e-11)
    near(gaunt_power(x, 1, 3)[:, :9], x, 0)
    near(gaunt_power(x, 1, 1), x[:, :4], 0)


def test_bad_input() -> None:
    x, y = factors(2, 2)
    with pytest.raises(ShapeError, match="all degrees up to one"):
        gaunt_tensor_product(x[:, :8], y)
    with pytest.raises(ShapeError, match="half precision"):
        gaunt_tensor_product(x.half(), y.half())
    with pytest.raises(ShapeError, match="same number of channels"):
        gaunt_tensor_product(x[..., :2], y)
    with pytest.raises(ShapeError, match="33 was asked for"):
        gaunt_tensor_product(x, y, 33)
    with pytest.raises(ShapeError, match="leading dimensions do not fit"):
        gaunt_tensor_product(x, y[:2])
    with pytest.raises(UnknownNameError, match=r"'grids' of the Gaunt product\. Did you mean 'grid'\? Known: [^.]*\.$"):
        gaunt_tensor_product(x, y, method="grids")
    with pytest.raises(UnknownNameError, match="no curl"):
        gaunt_tensor_product(x, y, method="fourier", curl=True)
    with pytest.raises(ShapeError, match="exponent"):
        gaunt_power(x, 0)
    with pytest.raises(ShapeError, match="-3 was asked for"):
        gaunt_power(x, 1, -3)
    with pytest.raises(ShapeError, match="half precision"):
        gaunt_power(x.half(), 1)
    with pytest.raises(ShapeError, match=r"power 14 .*degree 35; .*gaunt_powers"):
        gaunt_power(factors(5, 0)[0], 14)
    assert set(GAUNT_METHODS) == {"auto", "dense", "sparse", "fourier", "grid"}
    for words, arguments in (
        ("three degrees", (x, y, x.flatten(), [2, 2], 0, 1, False)),
        ("two different", (x, y, x.flatten(), [2, 2, 2], 0, 0, False)),
        ("table must hold", (x, y, x.flatten(), [2, 2, 2], 0, 1, False)),
        ("x must be", (x[:, :4], y, x.flatten(), [2, 2, 2], 0, 1, False)),
        ("same dtype", (x, y.float(), x.flatten(), [2, 2, 2], 0, 1, False)),
    ):
        with pytest.raises(RuntimeError, match=words):
            torch.ops.equitools.sphere_product(*arguments)


@pytest.mark.parametrize("method", ["dense", "sparse", "fourier", "grid"])
def test_compilers_take_tables_for_constants(method: str) -> None:
    """One graph for value and gradients, in torch.compile and torch.export; a fake mode leaves nothing behind."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    curl = method != "fourier"
    x, y = (f.requires_grad_() for f in factors(4, 3, rows=2))

    def product(x: Tensor, y: Tensor) -> Tensor:
        return gaunt_tensor_product(x, y, 3, curl=curl, method=method)

    class Module(torch.nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return product(x, y)

    with FakeTensorMode():
        assert product(*(torch.randn(f.shape, dtype=f.dtype) for f in (x, y))).shape == (2, 16, 5)
    eager = product(x, y)
    with FakeTensorMode():
        assert product(*(torch.randn(f.shape, dtype=f.dtype) for f in (x, y))).shape == (2, 16, 5)
    compiled = torch.compile(product, backend="aot_eager", fullgraph=True)(x, y)
    near(compiled, eager, 1e-14)
    for a, b in zip(*(torch.autograd.grad(out.square().sum(), (x, y)) for out in (compiled, eager)), strict=True):
        near(a, b, 1e-13)
    exported = torch.export.export(Module(), (x.detach(), y.detach()))
    near(exported.module()(x.detach(), y.detach()), eager, 1e-14)

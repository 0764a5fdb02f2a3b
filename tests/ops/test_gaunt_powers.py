"""All powers of a function on the sphere at once, compiled and in plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups import irreps_matrix, random_rotation
from equitools.ops import (
    gaunt_power,
    gaunt_power_variance,
    gaunt_powers,
    gaunt_tensor_product,
    spherical_harmonics,
    use_backend,
)


def function(lmax: int, rows: int = 3, channels: int = 5, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(10 * lmax + channels)
    return torch.randn(rows, (lmax + 1) ** 2, channels, generator=generator, dtype=torch.float64).to(dtype)


def near(a: Tensor, b: Tensor, tolerance: float) -> None:
    assert a.shape == b.shape
    assert float((a - b).detach().abs().max()) <= tolerance * max(1e-30, float(b.detach().abs().max()))


def both(run: Callable[[], Sequence[Tensor]], tolerance: float) -> None:
    """Compare what the kernels give with plain torch."""
    found = run()
    with use_backend("reference"):
        wanted = run()
    for a, b in zip(found, wanted, strict=True):
        near(a, b, tolerance)


@pytest.mark.parametrize(
    ("lmax", "wanted", "power", "channels"),
    [(0, 0, 1, 1), (1, 1, 1, 3), (2, 1, 3, 16), (3, 2, 4, 17), (1, 3, 5, 4), (4, 4, 2, 33), (2, 0, 8, 2), (6, 1, 4, 3)],
)
def test_powers_are_repeated_products(lmax: int, wanted: int, power: int, channels: int) -> None:
    x = function(lmax, channels=channels)
    found = gaunt_powers(x, power, wanted)
    assert found.shape == (3, power, (wanted + 1) ** 2, channels)
    product = x  # one factor after the other, by the dense tensor
    for v in range(1, power + 1):
        near(found[:, v - 1], gaunt_power(x, v, wanted), 1e-11)
        if v > 1 and v * lmax <= 8:
            product = gaunt_tensor_product(product, x, v * lmax, method="dense")
            common = min((wanted + 1) ** 2, product.shape[1])
            near(found[:, v - 1, :common], product[:, :common], 1e-11)
        beyond = (min(wanted, v * lmax) + 1) ** 2  # degrees that the power does not reach
        assert float(found[:, v - 1, beyond:].abs().sum()) <= 1e-10
    both(lambda: [gaunt_powers(x, power, wanted)], 1e-12)


def test_powers_are_powers_of_values() -> None:
    x = function(2)
    points = torch.nn.functional.normalize(function(0, 7, 3)[:, 0], dim=-1)
    values = torch.einsum("pk,nkc->npc", spherical_harmonics(2, points, normalization="integral"), x)
    powers = gaunt_powers(x, 3, 6)
    harmonics = spherical_harmonics(6, points, normalization="integral")
    for v in range(3):
        near(torch.einsum("pk,nkc->npc", harmonics, powers[:, v]), values ** (v + 1), 1e-12)


def test_equivariance() -> None:
    """Rotating the function rotates its powers, applied in float64."""
    x, generator = function(3), torch.Generator().manual_seed(1)
    rotation = random_rotation(generator=generator, dtype=torch.float64)
    d, wide = (irreps_matrix("+".join(f"1x{l}e" for l in range(n + 1)), rotation) for n in (3, 4))
    turned = gaunt_powers(torch.einsum("ab,nbc->nac", d, x), 4, 4)
    near(turned, torch.einsum("ab,nvbc->nvac", wide, gaunt_powers(x, 4, 4)), 1e-11)


@pytest.mark.parametrize("power", [1, 2, 4])
def test_all_orders_of_derivatives(power: int) -> None:
    x = function(2, rows=2, channels=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: gaunt_powers(x, power, 1), (x,))
    assert torch.autograd.gradgradcheck(lambda x: gaunt_powers(x, power, 1), (x,))

    def orders() -> list[Tensor]:
        out, found = gaunt_powers(x, power, 1), []
        for _ in range(4):
            (slope,) = torch.autograd.grad(out.square().sum() / (1 + out.numel()), x, create_graph=True)
            found.append(slope.detach())
            out = slope
        return found

    both(orders, 1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes(dtype: torch.dtype) -> None:
    """No rows, no channels, several leading dimensions, not contiguous; the dtype stays."""
    for shape in ((0, 9, 4), (3, 9, 0), (9, 5), (2, 1, 9, 3)):
        out = gaunt_powers(torch.randn(shape, dtype=dtype), 3, 1)
        assert out.shape == (*shape[:-2], 3, 4, shape[-1])
        assert out.dtype == dtype
    x = function(2, dtype=dtype)
    turned = x.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert not turned.is_contiguous()
    assert torch.equal(gaunt_powers(turned, 3, 1), gaunt_powers(x, 3, 1))


def test_single_precision() -> None:
    x = function(4, rows=20, channels=16)
    near(gaunt_powers(x.float(), 4, 2).double(), gaunt_powers(x.float().double(), 4, 2), 3e-6)


def test_threads_and_blocks_do_not_matter() -> None:
    """With so many rows that several threads have work; the derivative is another kernel."""
    x = function(3, rows=700, channels=37).requires_grad_()
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            out = gaunt_powers(x, 3, 2)
            found.append((out.detach(), torch.autograd.grad(out.square().sum(), x)[0]))
    finally:
        torch.set_num_threads(before)
    for one, several in zip(*found, strict=True):
        assert torch.equal(one, several)
    near(torch.cat([gaunt_powers(part, 3, 2) for part in x.detach().split(77)]), found[0][0], 1e-14)


@pytest.mark.parametrize(("lmax", "power", "l"), [(2, 1, 1), (2, 2, 0), (2, 3, 1), (1, 4, 0), (1, 4, 2)])
def test_variance_of_random_powers(lmax: int, power: int, l: int) -> None:
    generator = torch.Generator().manual_seed(power)
    x = torch.randn(100_000, (lmax + 1) ** 2, 1, generator=generator, dtype=torch.float64)
    found = gaunt_powers(x, power, l)[:, power - 1, l * l :].square().mean()
    assert math.isclose(float(found), gaunt_power_variance(lmax, power, l), rel_tol=0.06)


def test_compilers() -> None:
    x = function(2).requires_grad_()

    def loss(x: Tensor) -> Tensor:
        return gaunt_powers(x, 3, 1).square().sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    for run in (loss, compiled):
        near(torch.autograd.grad(run(x), x)[0], torch.autograd.grad(loss(x), x)[0], 1e-13)
    mapped = torch.func.vmap(lambda t: gaunt_powers(t, 3, 1), in_dims=1)(x.detach().unsqueeze(1).expand(-1, 4, -1, -1))
    near(mapped[2], gaunt_powers(x.detach(), 3, 1), 1e-14)


@pytest.mark.skipif(not hasattr(torch.ops.equitools, "sphere_powers"), reason="the extension is not built")
def test_opcheck() -> None:
    from equitools.ops.sphere_functions import table_of

    x = function(2, rows=2, channels=3).requires_grad_()
    others = function(2, rows=2, channels=6).reshape(2, 9, 2, 3).movedim(2, 0).contiguous().requires_grad_()
    g = function(1, rows=2, channels=9).reshape(2, 4, 3, 3).movedim(2, 1).contiguous().requires_grad_()
    (table,) = table_of("kernel_table", (2, 1, 0, False, 7), x.dtype, x.device)
    for rest in (others, others[:0].detach()):
        torch.library.opcheck(torch.ops.equitools.sphere_powers.default, (x, rest, table, [2, 1], 3))
        torch.library.opcheck(torch.ops.equitools.sphere_powers_pull.default, (x, rest, g, table, [2, 1]))


def test_bad_input() -> None:
    x = function(2)
    for power in (0, 17):
        with pytest.raises(ShapeError, match="powers 1 to 16"):
            gaunt_powers(x, power)
    with pytest.raises(ShapeError, match=r"\[\.\.\., \(L\+1\)², C\]"):
        gaunt_powers(x[:, :8], 2)
    with pytest.raises(ShapeError, match="degrees 0 to 32"):
        gaunt_powers(x, 2, 33)
    with pytest.raises(ShapeError, match="half precision"):
        gaunt_powers(x.half(), 2)

"""Spectral layers: equivariance to turns and shifts, and the same convolution in space."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import ConfigError, ShapeError
from equitools.groups import FiniteGroup
from equitools.nn import GroupSpectralConv2d, SpectralConv2d
from equitools.nn.spectral import hermitian_spectrum
from equitools.ops import permute_pixels


def moved(group, a, features, centre="grid"):
    """(a·x)(h, p) = x(a⁻¹h, a⁻¹p)."""
    order = group.product(group.inverse[a], torch.arange(group.order))
    return permute_pixels(group.matrices[a], features[:, :, order], centre)


@pytest.mark.parametrize("centre", ["grid", "origin"])
@pytest.mark.parametrize("size", [9, 10])
@pytest.mark.parametrize("name", ["p4", "p4m", "D2(2)"])
def test_equivariance(name, size, centre):
    group = FiniteGroup.named(name)
    layer = GroupSpectralConv2d(2, 3, 5, group).double()
    x = torch.randn(2, 2, group.order, size, size, dtype=torch.float64)
    y = layer(x)
    for a in range(group.order):
        torch.testing.assert_close(layer(moved(group, a, x, centre)), moved(group, a, y, centre), atol=1e-14, rtol=0)
    shift = lambda f: f.roll((2, 3), (-2, -1))  # noqa: E731
    torch.testing.assert_close(layer(shift(x)), shift(y), atol=1e-14, rtol=0)


@torch.no_grad()
def test_a_kernel_turned_to_the_wrong_side_is_seen():
    """g h⁻¹ instead of g⁻¹ h: the test above must not pass by accident."""
    group = FiniteGroup.named("p4m")
    layer = GroupSpectralConv2d(1, 1, 3, group).double()
    x = torch.randn(1, 1, 8, 6, 6, dtype=torch.float64)
    pixels = layer.index[0, 0].shape[0]
    wrong = group.product(torch.arange(8)[:, None], group.inverse) * pixels
    layer.index = wrong[..., None] + layer.index % pixels
    worst = max(
        float((layer(moved(group, a, x)) - moved(group, a, layer(x))).abs().max() / layer(x).abs().max())
        for a in range(8)
    )
    assert worst > 0.1


@torch.no_grad()
def test_half_a_spectrum_is_not_turned():
    """FNO's set of coefficients has a row −m without m, and its layer does not commute with turns."""
    layer = SpectralConv2d(1, 1, 3).double()
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    turn = FiniteGroup.named("p4").matrices[1]
    kernel_is_turned = permute_pixels(turn, layer(permute_pixels(turn.mT, x)))
    assert float((kernel_is_turned - layer(x)).abs().max() / layer(x).abs().max()) > 0.1
    # even a kernel that is one number, all coefficients alike: rows −3 … 2 are no square about 0
    layer.weight.copy_(torch.tensor([1.0, 0.0]).expand_as(layer.weight))
    there_and_back = permute_pixels(turn, layer(permute_pixels(turn.mT, x)))
    assert float((there_and_back - layer(x)).abs().max()) > 0.1


def test_hermitian():
    constant, waves = torch.randn(2, 1), torch.randn(2, 12, 2)
    full = hermitian_spectrum(constant, waves).unflatten(-1, (5, 5))
    assert torch.equal(full.flip((-2, -1)).conj(), full)
    assert torch.equal(full[:, 2, 2].real, constant[:, 0])
    for name in ("p4", "p4m"):
        spectrum = GroupSpectralConv2d(2, 2, 4, name).spectrum()
        assert spectrum.shape[-2:] == (7, 7)
        assert torch.equal(spectrum.flip((-2, -1)).conj().resolve_conj(), spectrum)


@pytest.mark.parametrize("size", [7, 8])
def test_spatial_oracle(size):
    """The layer is the circular convolution with the kernels that the spectrum has in space."""
    group, m = FiniteGroup.named("p4m"), 3
    layer = GroupSpectralConv2d(2, 1, m, group).double()
    x = torch.randn(1, 2, 8, size, size, dtype=torch.float64)
    padded = torch.zeros(1, 8, 2, 8, size, size, dtype=torch.complex128)
    rows = torch.arange(-(m - 1), m) % size
    padded[..., rows[:, None], rows] = layer.spectrum().detach()
    kernel = torch.fft.ifft2(padded)
    assert float(kernel.imag.abs().max()) < 1e-15
    wanted = torch.zeros(1, 1, 8, size, size, dtype=torch.float64)
    for dx in range(size):
        for dy in range(size):
            wanted += torch.einsum("ogih,bihxy->bogxy", kernel.real[..., dx, dy], x.roll((dx, dy), (-2, -1)))
    torch.testing.assert_close(layer(x), wanted, atol=1e-14, rtol=0)
    # the kernels in space are turned copies of the first one, about pixel 0
    for g in range(8):
        copy = permute_pixels(group.matrices[g], kernel.real[:, 0], "origin")
        back = group.product(group.inverse[g], torch.arange(8))
        torch.testing.assert_close(kernel.real[:, g], copy[:, :, back], atol=1e-15, rtol=0)


def test_resolution():
    """A field of few waves is convolved to the same field on a finer grid."""
    coarse_waves = torch.randn(1, 2, 4, 5, 3, dtype=torch.complex128)

    def field(size):
        waves = torch.zeros(1, 2, 4, size, size // 2 + 1, dtype=torch.complex128)
        waves[..., [0, 1, 2, -2, -1], :3] = coarse_waves
        return torch.fft.irfft2(waves, s=(size, size), norm="forward")

    for layer, join in (
        (GroupSpectralConv2d(2, 1, 3).double(), lambda v: v),
        (SpectralConv2d(8, 1, 3).double(), lambda v: v.flatten(1, 2)),
    ):
        fine, coarse = layer(join(field(24))), layer(join(field(8)))
        torch.testing.assert_close(fine[..., ::3, ::3], coarse, atol=1e-13, rtol=0)


def test_shift_equivariance():
    layer, x = SpectralConv2d(2, 3, 4).double(), torch.randn(2, 2, 8, 12, dtype=torch.float64)
    shift = lambda f: f.roll((3, 5), (-2, -1))  # noqa: E731
    torch.testing.assert_close(layer(shift(x)), shift(layer(x)), atol=1e-14, rtol=0)


def test_fourier_oracle():
    """SpectralConv2d beside a loop over its coefficients."""
    layer, x = SpectralConv2d(2, 1, 2).double(), torch.randn(1, 2, 6, 6, dtype=torch.float64)
    spectrum, answer = torch.fft.rfft2(x), torch.zeros(1, 1, 6, 4, dtype=torch.complex128)
    weight = torch.view_as_complex(layer.weight.detach())
    for place, row in enumerate((0, 1, -2, -1)):
        for column in (0, 1):
            answer[0, 0, row, column] = spectrum[0, :, row, column] @ weight[place, column, :, 0]
    torch.testing.assert_close(layer(x), torch.fft.irfft2(answer, s=(6, 6)))


@pytest.mark.parametrize("layer", [GroupSpectralConv2d(1, 2, 2), SpectralConv2d(4, 2, 2)])
def test_derivatives_and_dtypes(layer):
    grouped = isinstance(layer, GroupSpectralConv2d)
    shape = (1, 1, 4, 4, 4) if grouped else (1, 4, 4, 4)
    assert layer(torch.zeros(0, *shape[1:])).shape[0] == 0
    assert layer(torch.randn(shape)).dtype == torch.float32
    layer = layer.double()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    parameters = tuple(layer.parameters())

    def call(v, *p):
        return torch.func.functional_call(layer, dict(zip(dict(layer.named_parameters()), p, strict=True)), v)

    assert torch.autograd.gradcheck(call, (x, *parameters), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, (x, *parameters), fast_mode=True)
    wide = torch.randn(*shape[:-1], 8, dtype=torch.float64)[..., ::2]
    torch.testing.assert_close(layer(wide), layer(wide.contiguous()))


def test_what_is_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        SpectralConv2d(1, 1, 0)
    with pytest.raises(ConfigError, match="p4 and p4m, not C3"):
        GroupSpectralConv2d(1, 1, 2, FiniteGroup.cyclic(3))
    with pytest.raises(ConfigError, match="p4 and p4m"):
        GroupSpectralConv2d(1, 1, 2, "O")
    with pytest.raises(ShapeError, match="images of 6"):
        SpectralConv2d(1, 1, 3)(torch.zeros(1, 1, 5, 8))
    with pytest.raises(ShapeError, match="images of 5"):
        GroupSpectralConv2d(1, 1, 3)(torch.zeros(1, 1, 4, 4, 4))
    with pytest.raises(ShapeError, match=r"\[B, 1, 4, S, S\]"):
        GroupSpectralConv2d(1, 1, 3)(torch.zeros(1, 1, 4, 6, 7))
    with pytest.raises(ShapeError, match=r"\[B, 1, H, W\]"):
        SpectralConv2d(1, 1, 3)(torch.zeros(1, 2, 6, 6))
    assert "group=p4" in repr(GroupSpectralConv2d(1, 1, 3))
    assert "modes=3" in repr(SpectralConv2d(1, 1, 3))

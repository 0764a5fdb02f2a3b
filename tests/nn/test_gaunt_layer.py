"""The Gaunt tensor product as a layer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equitools.errors import IrrepsError, ShapeError, UnknownNameError
from equitools.groups import Irreps, irreps_matrix, random_rotation
from equitools.nn import GauntTensorProduct, to_ir_mul, to_mul_ir
from equitools.ops import spherical_harmonics

SETS = [
    ("4x0e + 4x1o + 4x2e", "4x0e + 4x1o + 4x2e", None),
    ("4x0e + 4x1o + 4x2e", "1x0e + 1x1o + 1x2e + 1x3o", "4x0e + 4x1o + 4x3o"),
    ("3x0e + 3x0o + 3x1o + 3x1e + 3x2e", "3x1e + 3x1o + 3x3e", None),
    ("2x2e", "2x2e", "2x0e + 2x4e"),
    ("5x1o", "5x1o", None),
]


def inputs(layer: GauntTensorProduct, rows: int = 6, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    first, second = (
        torch.randn(rows, irreps.dim, generator=generator, dtype=torch.float64).to(dtype)
        for irreps in (layer.irreps_in1, layer.irreps_in2)
    )
    return first, second


@pytest.mark.parametrize("irreps", SETS)
@pytest.mark.parametrize("odd", ["none", "curl"])
@pytest.mark.parametrize("improper", [False, True])
def test_equivariance(irreps: tuple[str, str, str | None], odd: str, improper: bool) -> None:
    layer = GauntTensorProduct(*irreps, odd=odd).double()
    for weight in layer.parameters():
        torch.nn.init.normal_(weight)
    x, y = inputs(layer)
    rotation = random_rotation(generator=torch.Generator().manual_seed(0), dtype=torch.float64) * (
        -1 if improper else 1
    )
    d1, d2, d3 = (irreps_matrix(i, rotation) for i in (layer.irreps_in1, layer.irreps_in2, layer.irreps_out))
    out = layer(x, y)
    assert out.shape == (6, layer.irreps_out.dim)
    assert float(out.abs().max()) > 1e-3
    assert float((layer(x @ d1.T, y @ d2.T) - out @ d3.T).abs().max()) < 1e-11 * float(out.abs().max())


@pytest.mark.parametrize("odd", ["none", "curl"])
def test_methods_agree(odd: str) -> None:
    layers = {}
    for method in ("dense", "sparse", "fourier", "grid", "auto"):
        if odd == "none" or method != "fourier":
            layers[method] = GauntTensorProduct("4x0e+4x1o+4x2e", "4x0e+4x1o+4x2e", method=method, odd=odd).double()
    state = {name: torch.randn_like(value) for name, value in layers["grid"].state_dict().items()}
    assert set(state) == {"weight1", "weight2", "weight_out"}
    x, y = inputs(layers["grid"])
    found = {}
    for method, layer in layers.items():
        layer.load_state_dict(state)
        found[method] = layer(x, y)
    for value in found.values():
        assert float((value - found["dense"]).abs().max()) < 1e-11 * float(found["dense"].abs().max())


def test_what_comes_out() -> None:
    plain = GauntTensorProduct("8x0e + 8x1o", "8x0e + 8x1o")
    assert str(plain.irreps_out) == str(Irreps("8x0e+8x1o"))
    both = GauntTensorProduct("8x0e + 8x1o", "8x0e + 8x1o", odd="curl")
    assert sorted(str(ir) for _, ir in both.irreps_out) == ["0e", "1e", "1o"]


def test_cross_product() -> None:
    layer = GauntTensorProduct("3x1o", "3x1o", "3x1e", odd="curl").double()
    x, y = inputs(layer)
    cross = torch.linalg.cross(x.view(6, 3, 3), y.view(6, 3, 3)).flatten(1)
    out = layer(x, y)
    factor = float((out * cross).sum() / cross.square().sum())
    assert float((out - factor * cross).abs().max()) < 1e-12
    assert factor == pytest.approx(1 / math.sqrt(2))


@pytest.mark.parametrize("odd", ["none", "curl"])
def test_unit_variance(odd: str) -> None:
    layer = GauntTensorProduct("64x0e+64x1o+64x2e", "64x0e+64x1o+64x2e", odd=odd).double()
    x, y = inputs(layer, rows=400)
    start = 0
    out = layer(x, y)
    for mul, ir in layer.irreps_out:
        part = out[:, start : start + mul * ir.dim]
        assert float(part.square().mean()) == pytest.approx(1.0, abs=0.05)
        start += mul * ir.dim


def test_only_both_halves_tell_mirror_images_apart() -> None:
    """The chiral pair of the tetris shapes: all that plain products give is the same for both."""
    shapes = [[[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 1, 0]], [[1, 1, 1], [1, 1, 2], [2, 1, 1], [2, 0, 1]]]
    natural, results = "1x0e+1x1o+1x2e", []
    first = GauntTensorProduct(natural, natural, "1x0e+1x1o+1x1e+1x2e+1x2o", odd="curl").double()
    second = GauntTensorProduct(first.irreps_out, natural, "1x0e+1x0o", odd="curl").double()
    with pytest.raises(IrrepsError, match="do not reach 0o"):
        GauntTensorProduct(natural, natural, "1x0o")
    for shape in shapes:
        points = torch.tensor(shape, dtype=torch.float64)
        vectors = points.unsqueeze(0) - points.unsqueeze(1)
        harmonics = spherical_harmonics(2, vectors, normalize=True)
        lengths = vectors.norm(dim=-1, keepdim=True)
        radial = (torch.exp(-lengths), lengths, lengths.square())
        a, b, c = ((harmonics * weight * (lengths > 0)).sum(1) for weight in radial)
        results.append(second(first(a, b), c).sum(0))
    (scalar1, pseudo1), (scalar2, pseudo2) = results
    assert float(scalar1) == pytest.approx(float(scalar2), rel=1e-12)
    assert float(pseudo1) == pytest.approx(-float(pseudo2), rel=1e-9)
    assert abs(float(pseudo1)) > 1e-3


def test_layouts() -> None:
    layers = [
        GauntTensorProduct("4x0e+4x1o", "4x1o+4x2e", odd="curl", layout=layout) for layout in ("mul_ir", "ir_mul")
    ]
    x, y = inputs(layers[0], dtype=torch.float32)
    other = layers[1](to_ir_mul(x, layers[0].irreps_in1), to_ir_mul(y, layers[0].irreps_in2))
    torch.testing.assert_close(to_mul_ir(other, layers[0].irreps_out), layers[0](x, y))


def test_gradients() -> None:
    layer = GauntTensorProduct("2x0e+2x1o", "2x0e+2x1o", odd="curl").double()
    x, y = (t.requires_grad_() for t in inputs(layer, rows=2))
    assert torch.autograd.gradcheck(layer, (x, y))
    assert torch.autograd.gradgradcheck(layer, (x, y))
    layer(x, y).sum().backward()
    assert all(weight.grad is not None and float(weight.grad.abs().max()) > 0 for weight in layer.parameters())


def test_bad_input() -> None:
    with pytest.raises(IrrepsError, match=r"do not reach 1e.*odd='curl'"):
        GauntTensorProduct("4x1o", "4x1o", "4x1e")
    with pytest.raises(IrrepsError, match="do not reach 3o"):
        GauntTensorProduct("4x1o", "4x1o", "4x3o", odd="curl")
    with pytest.raises(IrrepsError, match="one multiplicity"):
        GauntTensorProduct("4x0e + 8x1o", "4x0e")
    with pytest.raises(IrrepsError, match="each irrep once"):
        GauntTensorProduct("4x0e + 4x0e", "4x0e")
    with pytest.raises(IrrepsError, match="multiplicity of irreps_in1, 4"):
        GauntTensorProduct("4x0e", "8x0e")
    with pytest.raises(UnknownNameError, match="Known"):
        GauntTensorProduct("4x0e", "4x0e", method="fft")
    with pytest.raises(UnknownNameError, match="'none' or 'curl'"):
        GauntTensorProduct("4x0e", "4x0e", odd="vector")
    with pytest.raises(UnknownNameError, match="no odd half"):
        GauntTensorProduct("4x0e", "4x0e", method="fourier", odd="curl")
    layer = GauntTensorProduct("4x0e", "4x0e")
    with pytest.raises(ShapeError, match=r"\[..., 4\]"):
        layer(torch.randn(2, 5), torch.randn(2, 4))
    with pytest.raises(ShapeError, match="convert one of them"):
        layer(torch.randn(2, 4).double(), torch.randn(2, 4))

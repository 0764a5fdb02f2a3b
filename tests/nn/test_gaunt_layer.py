"""The Gaunt tensor product as a layer."""

from __future__ import annotations

import math

import e3nn.o3
import pytest
import torch
from torch import Tensor

from equitools.errors import IrrepsError, ShapeError, UnknownNameError
from equitools.groups import Irreps, irreps_matrix, random_rotation
from equitools.groups._e3nn import E3NN_VERSION
from equitools.nn import GauntTensorProduct, to_ir_mul, to_mul_ir
from equitools.ops import extension_loaded, sphere_tables, spherical_harmonics, use_backend
from equitools.ops.gaunt import gaunt_method

OLD = tuple(int(part) for part in E3NN_VERSION.split(".")[:2]) < (0, 5)
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


@pytest.mark.parametrize("irreps", SETS)
@pytest.mark.parametrize("odd", ["none", "curl"])
def test_methods_agree(irreps: tuple[str, str, str | None], odd: str) -> None:
    """Also where one pair of kinds does not reach the highest degree of another."""
    layers = {}
    for method in ("dense", "sparse", "fourier", "grid", "auto"):
        if odd == "none" or method != "fourier":
            layers[method] = GauntTensorProduct(*irreps, method=method, odd=odd).double()
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


@pytest.mark.parametrize("irreps", SETS)
@pytest.mark.parametrize("odd", ["none", "curl"])
def test_path_weights_are_clebsch_gordan(irreps: tuple[str, str, str | None], odd: str) -> None:
    """The paths are those of e3nn's uuu product: with the odd half all that couple, without those of even sum."""
    if odd == "curl" and OLD:
        pytest.skip("e3nn 0.4 gives some couplings of odd sum the other sign")
    layer = GauntTensorProduct(*irreps, odd=odd, path_weights=True).double()
    assert layer.path_weight is not None
    assert set(layer.state_dict()) == {"path_weight"}
    torch.nn.init.normal_(layer.path_weight)
    sets = layer.irreps_in1, layer.irreps_in2, layer.irreps_out
    couple = {
        (i, j, k)
        for i, (_, a) in enumerate(sets[0])
        for j, (_, b) in enumerate(sets[1])
        for k, (_, c) in enumerate(sets[2])
        if c in a * b and ((a.l + b.l + c.l) % 2 == 0 or odd == "curl")
    }
    assert set(layer.paths) == couple
    assert len(layer.paths) == len(couple)
    mode = "uuu" if sets[1][0].mul == sets[0][0].mul else "uvu"
    factors = [sphere_tables.reduced(*(irreps[k].ir.l for irreps, k in zip(sets, p, strict=True))) for p in layer.paths]
    theirs = [row * f * layer.scale[p[2]] for row, f, p in zip(layer.path_weight, factors, layer.paths, strict=True)]
    before = torch.get_default_dtype()
    try:  # e3nn keeps its coefficients in the default dtype
        torch.set_default_dtype(torch.float64)
        product = e3nn.o3.TensorProduct(
            *(e3nn.o3.Irreps(str(s)) for s in sets), [(*p, mode, True) for p in layer.paths],
            irrep_normalization="none", path_normalization="none", internal_weights=False, shared_weights=True,
        )  # fmt: skip
    finally:
        torch.set_default_dtype(before)
    x, y = inputs(layer)
    exact = product(x, y, torch.cat(theirs))
    for method in ("auto", "sparse", "dense"):
        other = GauntTensorProduct(*irreps, odd=odd, method=method, path_weights=True).double()
        other.load_state_dict(layer.state_dict())
        found = other(x, y)
        assert float((found - exact).abs().max()) < 1e-12 * float(exact.abs().max())
    found.sum().backward()
    assert other.path_weight is not None
    assert other.path_weight.grad is not None
    assert float(other.path_weight.grad.abs().min()) > 0


def test_path_weights_begin_as_the_published_ones() -> None:
    """All weights 1: the same product; and the weights by degree are path weights of rank one."""
    degrees = GauntTensorProduct("4x0e+4x1o+4x2e", "4x0e+4x1o+4x2e", odd="curl").double()
    paths = GauntTensorProduct("4x0e+4x1o+4x2e", "4x0e+4x1o+4x2e", odd="curl", path_weights=True).double()
    x, y = inputs(degrees)
    assert float((degrees(x, y) - paths(x, y)).detach().abs().max()) < 1e-12
    for weight in degrees.parameters():
        torch.nn.init.normal_(weight)
    first, second, third = (torch.stack(rows) for rows in zip(
        *((degrees.weight1[i], degrees.weight2[j], degrees.weight_out[k]) for i, j, k in paths.paths), strict=True
    ))  # fmt: skip
    paths.load_state_dict({"path_weight": first * second * third})
    assert float((degrees(x, y) - paths(x, y)).detach().abs().max()) < 1e-12


def test_path_weights_compile_in_one_graph() -> None:
    layer = GauntTensorProduct("2x0e+2x1o", "2x0e+2x1o", odd="curl", path_weights=True).double()
    x, y = inputs(layer)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert float((compiled(x, y) - layer(x, y)).detach().abs().max()) < 1e-14
    assert torch.autograd.gradcheck(layer, tuple(t.requires_grad_() for t in inputs(layer, rows=2)))


def test_the_layer_says_which_method_it_takes() -> None:
    layer = GauntTensorProduct("4x0e+4x1o+4x2e", "4x0e+4x1o+4x2e", odd="curl")
    of_table = [gaunt_method(2, 2, 2, 4, 7, "cpu", curl) for curl in (False, True)]
    if extension_loaded():
        with use_backend("cpu"):
            assert layer.methods(rows=7) == tuple(of_table)
    with use_backend("reference"):  # in plain torch the sparse product needs memory for every term
        assert layer.methods(rows=7) == tuple("grid" if method == "sparse" else method for method in of_table)
    assert f"auto ({layer.methods()[0]}" in repr(layer)
    grid = GauntTensorProduct("4x0e+4x1o", "4x0e+4x1o", method="grid")
    assert set(grid.methods()) == {"grid"}
    assert ", grid, odd=none" in repr(grid)
    free = GauntTensorProduct("4x0e+4x1o", "4x0e+4x1o", path_weights=True)
    assert set(free.methods()) == {"sparse"}
    assert "4 path weights" in repr(free)


def test_bad_input() -> None:
    for method in ("grid", "fourier"):
        with pytest.raises(UnknownNameError, match=r"'sparse' and method='dense'"):
            GauntTensorProduct("4x1o", "4x1o", method=method, path_weights=True)
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
    with pytest.raises(UnknownNameError, match=r"'grids' of the Gaunt product\. Did you mean 'grid'"):
        GauntTensorProduct("4x0e", "4x0e", method="grids")
    with pytest.raises(UnknownNameError, match="'none' or 'curl'"):
        GauntTensorProduct("4x0e", "4x0e", odd="vector")
    with pytest.raises(UnknownNameError, match="no odd half"):
        GauntTensorProduct("4x0e", "4x0e", method="fourier", odd="curl")
    layer = GauntTensorProduct("4x0e", "4x0e")
    with pytest.raises(ShapeError, match=r"\[..., 4\]"):
        layer(torch.randn(2, 5), torch.randn(2, 4))
    with pytest.raises(ShapeError, match="convert one of them"):
        layer(torch.randn(2, 4).double(), torch.randn(2, 4))

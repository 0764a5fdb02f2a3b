"""The convolution of Gaunt products with functions of the edges."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equitools.errors import GraphError, IrrepsError, ShapeError, UnknownNameError
from equitools.groups import irreps_matrix, random_rotation
from equitools.nn import GauntConvolution
from equitools.ops import (
    edge_frames,
    extension_loaded,
    gaunt_tensor_product,
    segment_sum,
    spherical_harmonics,
    use_backend,
)

NODES, EDGES = 5, 9


def graph(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Edges between five nodes in any order, both poles among them, and their vectors."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(EDGES, 3, generator=generator, dtype=torch.float64)
    vectors[0], vectors[1] = torch.tensor([[0.0, 2.0, 0.0], [0.0, -1.0, 0.0]], dtype=torch.float64)
    return torch.randint(NODES, (2, EDGES), generator=generator), vectors.to(dtype)


def normal(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def near(a: Tensor, b: Tensor, tolerance: float) -> None:
    assert a.shape == b.shape
    a, b = a.detach(), b.detach()
    assert float((a - b).abs().max()) <= tolerance * max(1.0, float(b.abs().max()))


SETS = [
    ("4x0e + 4x1o + 4x2e", 2, None, "none"),
    ("4x0e + 4x1o + 4x2e", 3, "4x0e + 4x1o + 4x1e + 4x3o", "curl"),
    ("3x0e + 3x1e + 3x2e + 3x1o", 2, None, "curl"),
    ("2x0e", 2, "2x0e + 2x1o + 2x2e", "none"),
    ("2x0o", 1, "2x1e", "none"),
]


def inputs(layer: GauntConvolution) -> tuple[Tensor, Tensor, Tensor]:
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(4))
    _, vectors = graph()
    return normal(NODES, layer.irreps_in.dim), vectors, normal(EDGES, layer.weight_numel, seed=3)


@pytest.mark.parametrize("case", SETS)
@pytest.mark.parametrize("channelwise", [True, False])
def test_methods_agree(case: tuple, channelwise: bool) -> None:
    *arguments, odd = case
    layers = {
        method: GauntConvolution(*arguments, method=method, odd=odd, channelwise=channelwise).double()
        for method in ("grid", "pole", "auto")
    }
    index, _ = graph()
    x, vectors, weight = inputs(layers["grid"])
    state = layers["grid"].state_dict()
    assert set(state) == {"weight_in", "weight_out"}
    out = layers["grid"](x, vectors, weight, index, NODES)
    assert float(out.detach().abs().max()) > 1e-2
    for layer in layers.values():
        layer.load_state_dict(state)
        near(layer(x, vectors, weight, index, NODES), out, 1e-11)


@pytest.mark.parametrize("case", SETS)
@pytest.mark.parametrize("method", ["grid", "pole"])
@pytest.mark.parametrize("improper", [False, True])
def test_equivariance(case: tuple, method: str, improper: bool) -> None:
    *arguments, odd = case
    layer = GauntConvolution(*arguments, method=method, odd=odd).double()
    index, _ = graph()
    x, vectors, weight = inputs(layer)
    element = random_rotation(generator=torch.Generator().manual_seed(2)) * (-1 if improper else 1)
    d1, d2 = (irreps_matrix(irreps, element) for irreps in (layer.irreps_in, layer.irreps_out))
    turned = layer(x @ d1.T, vectors @ element.T, weight, index, NODES)
    near(turned, layer(x, vectors, weight, index, NODES) @ d2.T, 1e-11)


def test_is_the_product_with_harmonics() -> None:
    layer = GauntConvolution("2x0e+2x1o+2x2e", 2, layout="ir_mul").double()
    index, _ = graph()
    x, vectors, weight = inputs(layer)
    with torch.no_grad():
        layer.weight_in.fill_(1.0)
        layer.weight_out.copy_(
            (1 / torch.tensor(layer.scale, dtype=layer.weight_out.dtype))[:, None].expand_as(layer.weight_out)
        )
    harmonics = spherical_harmonics(2, vectors, normalization="integral")
    degree = [l for l in range(3) for _ in range(2 * l + 1)]
    filters = harmonics.unsqueeze(-1) * weight.view(EDGES, 3, 2)[:, degree]
    product = gaunt_tensor_product(x[index[0]].view(EDGES, 9, 2), filters)
    near(layer(x, vectors, weight, index, NODES), segment_sum(product.flatten(1), index[1], NODES), 1e-12)


@pytest.mark.parametrize("odd", ["none", "curl"])
def test_unit_variance(odd: str) -> None:
    layer = GauntConvolution("64x0e+64x1o+64x2e", 2, odd=odd).double()
    count = 400
    own = torch.arange(count).expand(2, -1)
    x, vectors = normal(count, layer.irreps_in.dim), normal(count, 3, seed=2)
    out = layer(x, vectors, normal(count, layer.weight_numel, seed=3), own, count)
    for part in layer.irreps_out.slices():
        assert float(out[:, part].detach().square().mean()) == pytest.approx(1.0, abs=0.07)


def test_gradients() -> None:
    layer = GauntConvolution("2x0e+2x1o", 1, odd="curl", method="pole").double()
    index, _ = graph()
    x, vectors, weight = (t.requires_grad_() for t in inputs(layer))

    def function(x: Tensor, v: Tensor, w: Tensor) -> Tensor:
        return layer(x, v, w, index, NODES)

    assert torch.autograd.gradcheck(function, (x, vectors, weight))
    function(x, vectors, weight).square().sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in layer.parameters())


@pytest.mark.parametrize("method", ["grid", "pole"])
def test_compilers(method: str) -> None:
    """One graph for value and gradients, and an exported program."""
    layer = GauntConvolution("2x0e+2x1o", 1, odd="curl", method=method).double()
    index, _ = graph()
    given = [t.requires_grad_() for t in inputs(layer)]

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor, v: Tensor, w: Tensor) -> Tensor:
            return self.layer(x, v, w, index, NODES)

    eager, compiled = (f(*given) for f in (Module(), torch.compile(Module(), backend="aot_eager", fullgraph=True)))
    near(compiled, eager, 1e-13)
    for a, b in zip(*(torch.autograd.grad(out.square().sum(), given) for out in (compiled, eager)), strict=True):
        near(a, b, 1e-12)
    plain = tuple(t.detach() for t in given)
    near(torch.export.export(Module(), plain).module()(*plain), eager, 1e-13)


@pytest.mark.parametrize("irreps_out", [None, "4x0e+4x1o", "4x2e+4x3o"])
def test_frames_are_shared(irreps_out: str | None) -> None:
    layer = GauntConvolution("4x0e+4x1o+4x2e", 2, irreps_out, method="pole").double()
    index, vectors = graph()
    x, vectors, weight = inputs(layer)
    plain = layer(x, vectors, weight, index, NODES)
    for lmax in (3, 5):
        near(layer(x, vectors, weight, index, NODES, frames=edge_frames(vectors, lmax)), plain, 1e-12)
    with pytest.raises(ShapeError, match="end at 1"):
        layer(x, vectors, weight, index, NODES, frames=edge_frames(vectors, 1))
    with pytest.raises(ShapeError, match="frames of 4 edges"):
        layer(x, vectors, weight, index, NODES, frames=edge_frames(vectors[:4], 3))


def test_the_layer_says_which_method_it_takes() -> None:
    assert ", pole, odd=none" in repr(GauntConvolution("2x0e", 1, method="pole"))
    layer = GauntConvolution("2x0e", 1)
    with use_backend("reference"):
        assert ", auto (pole on cpu), odd=none" in repr(layer)
    if extension_loaded():
        with use_backend("cpu"):
            assert ", auto (grid on cpu), odd=none" in repr(layer)


def test_bad_input() -> None:
    with pytest.raises(IrrepsError, match=r"reach 1e.*odd='curl'"):
        GauntConvolution("4x1o", 1, "4x1e")
    with pytest.raises(IrrepsError, match="reach 3o"):
        GauntConvolution("4x1o", 1, "4x3o", odd="curl")
    with pytest.raises(IrrepsError, match="one multiplicity"):
        GauntConvolution("4x0e + 8x1o", 1)
    with pytest.raises(IrrepsError, match="multiplicity 4"):
        GauntConvolution("4x0e", 1, "8x0e")
    with pytest.raises(IrrepsError, match="lmax_filter is 33"):
        GauntConvolution("4x0e", 33)
    with pytest.raises(UnknownNameError, match="pole"):
        GauntConvolution("4x0e", 1, method="fourier")
    with pytest.raises(UnknownNameError, match="'none' or 'curl'"):
        GauntConvolution("4x0e", 1, odd="vector")
    layer = GauntConvolution("4x0e+4x1o", 1)
    index, vectors = graph(torch.float32)
    x = normal(NODES, 16, dtype=torch.float32)
    with pytest.raises(ShapeError, match=r"weight must be \[9, 8\]"):
        layer(x, vectors, torch.ones(9, 2), index, NODES)
    with pytest.raises(ShapeError, match="edge_index"):
        layer(x, vectors, torch.ones(9, 8), index.int(), NODES)
    with pytest.raises(ShapeError, match="vectors must be"):
        layer(x, vectors[:4], torch.ones(9, 8), index, NODES)
    for sender in (NODES, -1):
        wrong = index.clone()
        wrong[0, 3] = sender
        with pytest.raises(GraphError, match=f"0 to {NODES - 1}"):
            layer(x, vectors, torch.ones(9, 8), wrong, NODES)

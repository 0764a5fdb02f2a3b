"""The SO(2) convolution beside full Clebsch–Gordan convolutions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equitools.errors import GraphError, IrrepsError, ShapeError, UnknownNameError
from equitools.groups import Irreps, clebsch_gordan, irreps_matrix, random_rotation
from equitools.nn import SO2Convolution, TensorProductConv, to_ir_mul, to_mul_ir
from equitools.ops import edge_frames, segment_sum, spherical_harmonics

NATURAL = ("3x0e + 2x1o + 4x2e", "2x0e + 3x1o + 2x2e + 1x3o")
MIXED = ("3x0e + 2x1o + 2x2e + 2x1e + 1x0o + 2x3e", "2x0e + 1x1o + 3x1e + 2x2o + 1x2e + 1x0o + 2x1o")
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


def full_convolution(layer: SO2Convolution, weights: dict, x: Tensor, vectors: Tensor) -> Tensor:
    """The messages of the full convolution, path by path."""
    out = torch.zeros(len(x), layer.irreps_out.dim, dtype=x.dtype)
    columns, rows = layer.irreps_in.slices(), layer.irreps_out.slices()
    for (a, degree, b), weight in weights.items():
        first, last = layer.irreps_in[a], layer.irreps_out[b]
        harmonics = spherical_harmonics(degree, vectors)[:, degree * degree :]
        coupling = clebsch_gordan(first.ir.l, degree, last.ir.l).to(x) * math.sqrt(last.ir.dim)
        part = x[:, columns[a]].unflatten(1, (first.mul, first.ir.dim))
        out[:, rows[b]] += torch.einsum("abk,nua,nb,uv->nvk", coupling, part, harmonics, weight).flatten(1)
    return out


def path_weights(layer: SO2Convolution) -> dict[tuple[int, int, int], Tensor]:
    return {
        path: normal(layer.irreps_in[path[0]].mul, layer.irreps_out[path[2]].mul, seed=10 + k)
        for k, path in enumerate(layer.paths)
    }


@pytest.mark.parametrize("irreps", [NATURAL, MIXED])
@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
def test_equals_full_convolution(irreps: tuple[str, str], group: str) -> None:
    layer = SO2Convolution(*irreps, group=group).double()
    weights = path_weights(layer)
    layer.set_path_weights(weights)
    index, vectors = graph()
    x = normal(NODES, layer.irreps_in.dim)
    messages = full_convolution(layer, weights, x[index[0]], vectors)
    near(layer(x, vectors, index, NODES), segment_sum(messages, index[1], NODES), 1e-11)
    near(layer.message(x[index[0]], vectors), messages, 1e-11)


def test_equals_full_convolution_of_high_degree() -> None:
    layer = SO2Convolution(
        "+".join(f"1x{l}{'eo'[l % 2]}" for l in range(8)), "1x0e + 1x3o + 1x7o", group="SO(3)"
    ).double()
    weights = path_weights(layer)
    layer.set_path_weights(weights)
    x, (_, vectors) = normal(EDGES, layer.irreps_in.dim), graph()
    near(layer.message(x, vectors), full_convolution(layer, weights, x, vectors), 1e-11)


def test_equals_e3nn() -> None:
    """Of e3nn's product with a weight for each path and pair of channels."""
    from e3nn import o3

    layer = SO2Convolution(*MIXED).double()
    harmonics = o3.Irreps.spherical_harmonics(5)
    count = [0] * len(layer.irreps_out)
    for a, _, b in layer.paths:
        count[b] += layer.irreps_in[a].mul
    torch.set_default_dtype(torch.float64)
    try:
        instructions = [(a, degree, b, "uvw", True) for a, degree, b in layer.paths]
        theirs = o3.TensorProduct(layer.irreps_in, harmonics, layer.irreps_out, instructions)
        weights = {}
        for path, weight in zip(layer.paths, theirs.weight_views(), strict=True):
            a, degree, b = path
            triple = layer.irreps_in[a].ir.l, degree, layer.irreps_out[b].ir.l
            sign = torch.sign((o3.wigner_3j(*triple) * clebsch_gordan(*triple)).sum())  # changes with e3nn's version
            weights[path] = weight.detach()[:, 0] * sign / math.sqrt(count[b])
        layer.set_path_weights(weights)
        x, (_, vectors) = normal(EDGES, layer.irreps_in.dim), graph()
        near(layer.message(x, vectors), theirs(x, spherical_harmonics(5, vectors)), 1e-11)
    finally:
        torch.set_default_dtype(torch.float32)


def test_equals_our_channelwise_convolution() -> None:
    """A depthwise convolution is one whose path weights are diagonal in the channels."""
    irreps = Irreps("3x0e + 3x1o + 3x2e")
    conv = TensorProductConv(irreps, "0e + 1o + 2e + 3o + 4e", irreps).double()
    layer = SO2Convolution(irreps, conv.irreps_out).double()
    index, vectors = graph()
    x, weight = normal(NODES, irreps.dim), normal(1, conv.weight_numel).expand(EDGES, -1)
    theirs = conv(x, spherical_harmonics(4, vectors), weight, index, NODES)
    # Each path of the depthwise convolution has an output block of its own; one path is switched on after the other.
    total = torch.zeros_like(theirs)
    assert len(layer.irreps_out) * 3 == conv.weight_numel
    found = 0
    for a, degree, b in layer.paths:
        layer.set_path_weights({(a, degree, b): torch.eye(3, dtype=torch.float64)})
        only = layer(x, vectors, index, NODES).detach()
        block = layer.irreps_out.slices()[b]
        scaled = only[:, block].unflatten(1, (3, -1))
        target = theirs[:, block].unflatten(1, (3, -1))
        factor = (scaled * target).sum((0, 2)) / scaled.square().sum((0, 2))
        if float((scaled * factor[:, None] - target).abs().max()) < 1e-11 * float(target.abs().max()):
            total[:, block] += (scaled * factor[:, None]).flatten(1)
            found += 1
    assert found == len(layer.irreps_out)
    near(total, theirs, 1e-11)


@pytest.mark.parametrize("irreps", [NATURAL, MIXED, ("2x3e", "2x1o"), ("4x1e", "2x1e + 2x1o")])
def test_as_many_weights_as_paths(irreps: tuple[str, str]) -> None:
    """As many numbers, and different path weights give different maps."""
    for group in ("O(3)", "SO(3)"):
        layer = SO2Convolution(*irreps, group=group).double()
        numbers = sum(p.numel() for p in layer.parameters())
        weights = path_weights(layer)
        assert numbers == sum(w.numel() for w in weights.values())
        few = SO2Convolution(*irreps, mmax=1, group=group)
        assert few.mmax == min(layer.mmax, 1)
        assert sum(p.numel() for p in few.parameters()) <= numbers
    small = SO2Convolution("1x0e + 1x1o + 1x2e + 1x1e", "1x1o + 1x2e + 1x2o").double()
    rows = []
    for path in small.paths:
        small.set_path_weights({path: torch.ones(1, 1, dtype=torch.float64)})
        rows.append(torch.cat([p.detach().flatten() for p in small.parameters()]))
    square = torch.stack(rows)
    assert square.shape[0] == square.shape[1] == int(torch.linalg.matrix_rank(square))


@pytest.mark.parametrize("irreps", [NATURAL, MIXED])
@pytest.mark.parametrize("mmax", [None, 2, 1, 0])
@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
def test_equivariance(irreps: tuple[str, str], mmax: int | None, group: str) -> None:
    out = irreps[1] if mmax != 0 or group == "SO(3)" else "2x0e + 1x1o + 2x2e"  # order 0 does not mix the kinds
    layer = SO2Convolution(irreps[0], out, mmax, group).double()
    index, vectors = graph()
    x, weight = normal(NODES, layer.irreps_in.dim), normal(EDGES, layer.weight_numel)
    plain = layer(x, vectors, index, NODES, weight)
    assert float(plain.detach().abs().max()) > 0.1
    for improper in (False, True):
        element = random_rotation(generator=torch.Generator().manual_seed(2)) * (-1 if improper else 1)
        d1, d2 = (irreps_matrix(irreps, element) for irreps in (layer.irreps_in, layer.irreps_out))
        turned = layer(x @ d1.T, vectors @ element.T, index, NODES, weight)
        if group == "O(3)" or not improper:
            near(turned, plain @ d2.T, 1e-12)
        elif mmax != 0 or irreps is MIXED:  # under SO(3) parities are names only; order 0 alone has no odd paths
            assert float((turned - plain @ d2.T).detach().abs().max()) > 1e-3


@pytest.mark.parametrize(("mmax", "group"), [(None, "O(3)"), (1, "O(3)"), (None, "SO(3)"), (0, "SO(3)")])
def test_unit_variance(mmax: int | None, group: str) -> None:
    torch.manual_seed(0)
    layer = SO2Convolution("64x0e+64x1o+64x2e+32x1e", "32x0e+32x1o+32x3o+32x2o+32x1e", mmax, group).double()
    x, vectors = normal(300, layer.irreps_in.dim), normal(300, 3, seed=2)
    out = layer.message(x, vectors)
    for part, (_, ir) in zip(layer.irreps_out.slices(), layer.irreps_out, strict=True):
        assert float(out[:, part].detach().square().mean()) == pytest.approx(1.0, abs=0.12), str(ir)


def test_compilers() -> None:
    """One graph for value and gradients, and an exported program."""
    layer = SO2Convolution("2x0e+2x1o+1x1e", "2x0e+1x1o+1x2o").double()
    index, vectors = graph()
    x, weight = normal(NODES, layer.irreps_in.dim), normal(EDGES, layer.weight_numel, seed=3)
    given = [t.requires_grad_() for t in (x, vectors, weight)]

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor, v: Tensor, w: Tensor) -> Tensor:
            return self.layer(x, v, index, NODES, w)

    eager, compiled = (f(*given) for f in (Module(), torch.compile(Module(), backend="aot_eager", fullgraph=True)))
    near(compiled, eager, 1e-13)
    for a, b in zip(*(torch.autograd.grad(out.square().sum(), given) for out in (compiled, eager)), strict=True):
        near(a, b, 1e-12)
    plain = tuple(t.detach() for t in given)
    near(torch.export.export(Module(), plain).module()(*plain), eager, 1e-13)


def test_no_direction() -> None:
    layer = SO2Convolution(*NATURAL).double()
    x, (_, vectors) = normal(EDGES, layer.irreps_in.dim), graph()
    vectors[3] = 0.0
    vectors.requires_grad_()
    out = layer.message(x, vectors)
    assert float(out[3].detach().abs().max()) == 0.0
    (grad,) = torch.autograd.grad(out.square().sum(), vectors)
    assert float(grad[3].abs().max()) == 0.0
    assert bool(torch.isfinite(grad).all())


def test_gradients() -> None:
    layer = SO2Convolution("2x0e+1x1o+1x1e+1x2e", "1x0e+1x1o+1x2o").double()
    index, vectors = graph()
    index, vectors = index[:, :4] % 3, vectors[:4].requires_grad_()
    x, weight = normal(3, layer.irreps_in.dim).requires_grad_(), normal(4, layer.weight_numel).requires_grad_()

    def function(x: Tensor, v: Tensor, w: Tensor) -> Tensor:
        return layer(x, v, index, 3, w)

    assert torch.autograd.gradcheck(function, (x, vectors, weight))
    assert torch.autograd.gradgradcheck(function, (x, vectors, weight))
    function(x, vectors, weight).square().sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in layer.parameters())


def test_layouts_frames_and_empty_graphs() -> None:
    index, vectors = graph(torch.float32)
    layer = SO2Convolution(*MIXED)
    other = SO2Convolution(*MIXED, layout="ir_mul")
    other.load_state_dict(layer.state_dict())
    x = normal(NODES, layer.irreps_in.dim, dtype=torch.float32)
    out = layer(x, vectors, index, NODES)
    assert out.dtype == torch.float32
    again = other(to_ir_mul(x, layer.irreps_in), vectors, index, NODES)
    torch.testing.assert_close(to_mul_ir(again, layer.irreps_out), out)
    torch.testing.assert_close(layer(x, edge_frames(vectors, 6), index, NODES), out)
    few = SO2Convolution(*MIXED, mmax=1)
    torch.testing.assert_close(few(x, edge_frames(vectors, 3), index, NODES), few(x, vectors, index, NODES))
    none = layer(x, vectors[:0], index[:, :0], NODES)
    assert none.shape == (NODES, layer.irreps_out.dim)
    assert float(none.detach().abs().max()) == 0.0
    assert layer(x, vectors[:1], index[:, :1], NODES).shape == none.shape


def test_single_precision() -> None:
    layer = SO2Convolution("8x0e+8x3o+8x6e", "8x1o+8x6e", group="SO(3)")
    x, (_, vectors) = normal(EDGES, layer.irreps_in.dim, dtype=torch.float32), graph(torch.float32)
    single = layer.message(x, vectors)
    near(single.double(), layer.double().message(x.double(), vectors.double()), 5e-6)


def test_bad_input() -> None:
    with pytest.raises(IrrepsError, match="reaches 1e"):
        SO2Convolution("4x0e", "4x1e")
    with pytest.raises(IrrepsError, match="reaches 1e"):
        SO2Convolution("4x1o", "4x1e", mmax=0)
    with pytest.raises(IrrepsError, match="multiplicity 0"):
        SO2Convolution("0x0e", "4x0e")
    with pytest.raises(IrrepsError, match="up to 32"):
        SO2Convolution("1x33o", "4x0e")
    with pytest.raises(IrrepsError, match="mmax"):
        SO2Convolution("1x1o", "4x0e", mmax=-1)
    with pytest.raises(UnknownNameError, match=r"'O\(3\)'"):
        SO2Convolution("1x1o", "4x0e", group="E(3)")
    layer = SO2Convolution("4x0e+4x1o", "4x1o")
    index, vectors = graph(torch.float32)
    x = normal(NODES, 16, dtype=torch.float32)
    with pytest.raises(ShapeError, match=r"\[..., 16\]"):
        layer(x[:, :8], vectors, index, NODES)
    with pytest.raises(ShapeError, match="convert one"):
        layer(x, vectors.double(), index, NODES)
    with pytest.raises(ShapeError, match="Frames of 9 edges"):
        layer(x, vectors[:4], index, NODES)
    with pytest.raises(ShapeError, match="orders up to 0"):
        layer(x, edge_frames(vectors, 1, 0), index, NODES)
    with pytest.raises(ShapeError, match=f"weight must be .9, {layer.weight_numel}"):
        layer(x, vectors, index, NODES, torch.ones(9, 3))
    with pytest.raises(ShapeError, match="edge_index"):
        layer(x, vectors, index[0], NODES)
    with pytest.raises(GraphError):
        layer(x, vectors, index, 2)
    for sender in (NODES, -1):
        wrong = index.clone()
        wrong[0, 3] = sender
        with pytest.raises(GraphError, match=f"0 to {NODES - 1}"):
            layer(x, vectors, wrong, NODES)
    with pytest.raises(ShapeError, match="no path"):
        layer.set_path_weights({(0, 2, 0): torch.ones(4, 4)})
    with pytest.raises(ShapeError, match=r"must be \[4, 4\]"):
        layer.set_path_weights({(0, 1, 0): torch.ones(4, 3)})

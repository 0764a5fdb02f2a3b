"""Gaunt products in the place of Clebsch–Gordan ones: the convolution, the contraction, and the network of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, GraphError, IrrepsError, ShapeError, UnknownNameError
from equitools.groups import irreps_matrix, random_orthogonal
from equitools.nn import (
    GauntContraction,
    GauntTensorProductConv,
    InteractionBlock,
    ProductBlock,
    SymmetricContraction,
    to_ir_mul,
)
from equitools.ops import gaunt_power, gaunt_power_variance, gaunt_tensor_product, spherical_harmonics, use_backend

NODES, EDGES = 5, 14


def natural(channels: int, lmax: int) -> str:
    return "+".join(f"{channels}x{l}{'eo'[l % 2]}" for l in range(lmax + 1))


def near(a: Tensor, b: Tensor, tolerance: float) -> None:
    assert a.shape == b.shape
    assert float((a - b).detach().abs().max()) <= tolerance * max(1e-30, float(b.detach().abs().max()))


def edges(lmax: int) -> tuple[Tensor, Tensor]:
    """Return harmonics of random edges and their index; node 4 is isolated."""
    vectors = torch.randn(EDGES, 3, dtype=torch.float64)
    return spherical_harmonics(lmax, vectors), torch.randint(0, NODES - 1, (2, EDGES))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
@pytest.mark.parametrize("method", ["coupling", "product"])
def test_equals_gaunt_tensor_product(layout: str, method: str) -> None:
    conv = GauntTensorProductConv(natural(6, 1), natural(1, 3), natural(6, 2), layout, method).double()
    x = torch.randn(NODES, conv.irreps_in.dim, dtype=torch.float64)
    y, index = edges(3)
    weight = torch.randn(EDGES, conv.weight_numel, dtype=torch.float64)
    found = conv(x, y, weight, index, NODES)
    columns = to_ir_mul(x, conv.irreps_in) if layout == "mul_ir" else x
    wanted = torch.zeros(NODES, 9, 6, dtype=torch.float64)
    for e in range(EDGES):
        w = torch.stack([weight[e].view(4, 6)[l] for l in range(4) for _ in range(2 * l + 1)])
        product = gaunt_tensor_product(columns[index[0, e]].view(4, 6), y[e][:, None] * w, 2, method="dense")
        wanted[index[1, e]] += product * torch.tensor(conv.scale, dtype=torch.float64)[:, None]
    found = to_ir_mul(found, conv.irreps_out) if layout == "mul_ir" else found
    near(found.view(NODES, 9, 6), wanted, 1e-12)
    assert not found[4].any()


def test_equals_gaunt_powers() -> None:
    block = GauntContraction(natural(4, 2), natural(4, 1), 3, 2).double()
    x, species = torch.randn(NODES, block.irreps_in.dim, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
    columns = to_ir_mul(x, block.irreps_in).view(NODES, 9, 4)
    wanted = torch.zeros(NODES, 4, 4, dtype=torch.float64)
    for v in range(1, 4):
        power = gaunt_power(columns, v, 1, method="dense")
        for l in range(2):
            scale = (3 * gaunt_power_variance(2, v, l)) ** -0.5  # all three powers reach both degrees
            part = slice(l * l, (l + 1) ** 2)
            wanted[:, part] += power[:, part] * scale * block.weights[species, v - 1, l].unsqueeze(1)
    near(to_ir_mul(block(x, species), block.irreps_out).view(NODES, 4, 4), wanted, 1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_equivariance(seed: int) -> None:
    """Also under inversions."""
    generator = torch.Generator().manual_seed(seed)
    conv = GauntTensorProductConv(natural(3, 2), natural(1, 2), natural(3, 3)).double()
    block = GauntContraction(natural(3, 3), natural(3, 2), 4, 2).double()
    x, (y, index) = torch.randn(NODES, conv.irreps_in.dim, dtype=torch.float64), edges(2)
    weight, species = torch.randn(EDGES, conv.weight_numel, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
    element = random_orthogonal(generator=generator, dtype=torch.float64) * (-1) ** seed
    d = {irreps: irreps_matrix(irreps, element) for irreps in (conv.irreps_in, conv.irreps_edge, conv.irreps_out)}
    message = conv(x, y, weight, index, NODES)
    turned = conv(x @ d[conv.irreps_in].T, y @ d[conv.irreps_edge].T, weight, index, NODES)
    near(turned, message @ d[conv.irreps_out].T, 1e-12)
    out = block(message, species)
    near(block(turned, species), out @ irreps_matrix(block.irreps_out, element).T, 1e-12)


def test_unit_variance() -> None:
    rows, channels = 20_000, 8
    conv = GauntTensorProductConv(natural(channels, 2), natural(1, 3), natural(channels, 3), layout="ir_mul")
    x, y = torch.randn(rows, conv.irreps_in.dim), torch.randn(rows, 16)
    index = torch.arange(rows).expand(2, -1)
    out = conv(x, y, torch.randn(rows, conv.weight_numel), index, rows)
    for l, part in enumerate(out.split([channels * (2 * l + 1) for l in range(4)], 1)):
        assert 0.9 < float(part.square().mean()) < 1.1, l
    block = GauntContraction(natural(200, 2), natural(200, 2), 3, 4, layout="ir_mul")
    x = torch.randn(2000, block.irreps_in.dim)
    out = block(x, torch.randint(0, 4, (2000,)))
    for l, part in enumerate(out.split([200 * (2 * l + 1) for l in range(3)], 1)):
        assert 0.75 < float(part.square().mean()) < 1.3, l
    # Degree 2 has two powers that reach it, degree 3 one.
    block = GauntContraction(natural(400, 1), natural(400, 3), 3, 4, layout="ir_mul")
    out = block(torch.randn(2000, block.irreps_in.dim), torch.randint(0, 4, (2000,)))
    for l, part in enumerate(out.split([400 * (2 * l + 1) for l in range(4)], 1)):
        assert 0.75 < float(part.square().mean()) < 1.3, l


@pytest.mark.parametrize(("l1", "lf", "l3"), [(0, 3, 3), (1, 3, 3), (3, 1, 4), (2, 2, 0), (4, 4, 4), (0, 0, 0)])
def test_tied_paths_are_the_gaunt_product(l1: int, lf: int, l3: int) -> None:
    """The convolution with tied weights, the products of edges, and the weights made from a hidden layer, are one."""
    irreps = natural(3, l1), natural(1, lf), natural(3, l3)
    coupling, product = (
        GauntTensorProductConv(*irreps, "ir_mul", method).double() for method in ("coupling", "product")
    )
    assert coupling.weight_numel == product.weight_numel
    x, (y, index) = torch.randn(NODES, coupling.irreps_in.dim, dtype=torch.float64), edges(lf)
    hidden, last = (torch.randn(shape, dtype=torch.float64) for shape in ((EDGES, 5), (5, coupling.weight_numel)))
    x, y, hidden, last = (t.requires_grad_() for t in (x, y, hidden, last))
    found = [conv.from_hidden(x, y, hidden, last, index, NODES) for conv in (coupling, product)]
    found.append(coupling(x, y, hidden @ last, index, NODES))
    for other in found[1:]:
        near(found[0], other, 1e-12)
        slopes = (
            torch.autograd.grad(out.square().sum(), (x, y, hidden, last), create_graph=True)
            for out in (found[0], other)
        )
        for a, b in zip(*slopes, strict=True):
            near(a, b, 1e-11)


@pytest.mark.parametrize("method", ["coupling", "product"])
def test_gradients(method: str) -> None:
    conv = GauntTensorProductConv(natural(2, 1), natural(1, 1), natural(2, 1), "ir_mul", method).double()
    block = GauntContraction(natural(2, 1), natural(2, 1), 3, 2, layout="ir_mul").double()
    x, (y, index) = torch.randn(NODES, 8, dtype=torch.float64, requires_grad=True), edges(1)
    y.requires_grad_()
    weight = torch.randn(EDGES, 4, dtype=torch.float64, requires_grad=True)
    species = torch.tensor([0, 1, 1, 0, 1])

    def run(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return block(conv(x, y, weight, index, NODES), species)

    assert torch.autograd.gradcheck(run, (x, y, weight))
    assert torch.autograd.gradgradcheck(run, (x, y, weight))
    with use_backend("reference"):
        wanted = run(x, y, weight)
    near(run(x, y, weight), wanted, 1e-12)


def test_compilers() -> None:
    """Convolution and contraction: one graph for value and gradients, and an exported program."""
    conv = GauntTensorProductConv(natural(2, 1), natural(1, 1), natural(2, 2), layout="ir_mul").double()
    block = GauntContraction(natural(2, 2), natural(2, 1), 3, 2).double()
    y, index = edges(1)
    species = torch.tensor([0, 1, 1, 0, 1])
    x, weight = torch.randn(NODES, 8, dtype=torch.float64), torch.randn(EDGES, 4, dtype=torch.float64)
    given = [t.requires_grad_() for t in (x, y, weight)]

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.block = conv, block

        def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
            return self.block(self.conv(x, y, weight, index, NODES), species)

    eager, compiled = (f(*given) for f in (Module(), torch.compile(Module(), backend="aot_eager", fullgraph=True)))
    near(compiled, eager, 1e-13)
    for a, b in zip(*(torch.autograd.grad(out.square().sum(), given) for out in (compiled, eager)), strict=True):
        near(a, b, 1e-12)
    plain = tuple(t.detach() for t in given)
    near(torch.export.export(Module(), plain).module()(*plain), eager, 1e-13)


def test_blocks_take_either_product() -> None:
    """One call, either product; Gaunt has fewer weights, and refuses what is no function."""
    interaction, product = (
        {
            kind: build(kind)
            for kind in ("clebsch-gordan", "gaunt")
        }
        for build in (
            lambda kind: InteractionBlock(natural(4, 1), natural(1, 2), natural(4, 2), 8, (16,), product=kind),
            lambda kind: ProductBlock(natural(4, 2), natural(4, 1), 3, 2, natural(4, 1), product=kind),
        )
    )  # fmt: skip
    assert isinstance(interaction["gaunt"].conv, GauntTensorProductConv)
    assert isinstance(product["gaunt"].contraction, GauntContraction)
    assert isinstance(product["clebsch-gordan"].contraction, SymmetricContraction)
    for blocks in (interaction, product):
        gaunt, full = (sum(p.numel() for p in blocks[kind].parameters()) for kind in ("gaunt", "clebsch-gordan"))
        assert gaunt < full
    x, (y, index) = torch.randn(NODES, 16), edges(2)
    for kind in interaction:
        message = interaction[kind](x, y.float(), torch.randn(EDGES, 8), index)
        assert product[kind](message, torch.zeros(NODES, dtype=torch.int64), x).shape == (NODES, 16)
    with pytest.raises(UnknownNameError, match=r"'gunt'. Did you mean 'gaunt'\? Known: clebsch-gordan, gaunt\.$"):
        ProductBlock(natural(4, 2), natural(4, 1), 3, 2, product="gunt")
    with pytest.raises(UnknownNameError, match="Known: clebsch-gordan, gaunt"):
        InteractionBlock(natural(4, 1), natural(1, 2), natural(4, 2), 8, (16,), product="cg")


def test_bad_input() -> None:
    with pytest.raises(IrrepsError, match=r"parity \(-1\)\^l.*SymmetricContraction"):
        GauntContraction("4x0e+4x1e", natural(4, 1), 2, 1)
    with pytest.raises(IrrepsError, match="all degrees from 0 up"):
        GauntTensorProductConv("4x0e+4x2e", natural(1, 1), natural(4, 1))
    with pytest.raises(IrrepsError, match="one multiplicity"):
        GauntContraction("4x0e+3x1o", natural(4, 1), 2, 1)
    with pytest.raises(IrrepsError, match="multiplicity 1"):
        GauntTensorProductConv(natural(4, 1), natural(2, 1), natural(4, 1))
    with pytest.raises(IrrepsError, match="reaches degree 2"):
        GauntTensorProductConv(natural(4, 1), natural(1, 1), natural(4, 3))
    with pytest.raises(IrrepsError, match="reach degree 2"):
        GauntContraction(natural(4, 1), natural(4, 3), 2, 1)
    with pytest.raises(IrrepsError, match="4 channels"):
        GauntContraction(natural(4, 1), natural(2, 1), 2, 1)
    with pytest.raises(ConfigError, match="correlation must be 1 to 16"):
        GauntContraction(natural(4, 1), natural(4, 1), 17, 1)
    conv, (y, index) = GauntTensorProductConv(natural(2, 1), natural(1, 1), natural(2, 1)).double(), edges(1)
    x, weight = torch.randn(NODES, 8, dtype=torch.float64), torch.randn(EDGES, 4, dtype=torch.float64)
    with pytest.raises(ShapeError, match="weight must be"):
        conv(x, y, weight[:, :3], index, NODES)
    with pytest.raises(ShapeError, match="edge_attr"):
        conv(x, y[:, :3], weight, index, NODES)
    with pytest.raises(GraphError):
        conv(x, y, weight, index + NODES, NODES)
    with pytest.raises(GraphError):
        conv(x, y, weight, index - NODES, NODES)
    for wrong in (index.int(), index[0], index[:, :-1], index[:, :1]):
        with pytest.raises(ShapeError, match=r"edge_index int64 \[2, E\]"):
            conv(x, y, weight, wrong, NODES)
    with pytest.raises(ShapeError, match=r"weight is torch\.float32"):
        conv(x, y, weight.float(), index, NODES)
    with pytest.raises(ShapeError, match=r"edge_attr is torch\.float32"):
        conv(x, y.float(), weight, index, NODES)
    with pytest.raises(ShapeError, match="weight must be"):
        conv.from_hidden(x, y, weight, weight[:4, :3], index, NODES)
    with pytest.raises(UnknownNameError, match="'coupling'"):
        GauntTensorProductConv(natural(2, 1), natural(1, 1), natural(2, 1), method="couple")
    assert conv(x, y[:0], weight[:0], index[:, :0], NODES).shape == (NODES, 8)
    assert GauntTensorProductConv(natural(2, 5), natural(1, 1), natural(2, 1)).method == "product"
    assert "coupling" in repr(conv)


@pytest.mark.parametrize("kind", [GauntContraction, SymmetricContraction])
def test_bad_species(kind: type) -> None:
    """Both contractions look in the same way: one species for many rows must not be broadcast."""
    block = kind(natural(2, 1), natural(2, 1), 2, 2).double()
    x, species = torch.randn(NODES, 8, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
    assert block(x, species).shape == (NODES, 8)
    for wrong in (species[:1], species[:, None], species.int(), species.double()):
        with pytest.raises(ShapeError, match=r"int64 of shape \[5\]"):
            block(x, wrong)
    for wrong in (species + 1, species - 1):
        with pytest.raises(ShapeError, match="must lie in 0 … 1"):
            block(x, wrong)
    assert block(x[:0], species[:0]).shape == (0, 8)

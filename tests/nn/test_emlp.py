"""Perceptrons for any matrix group: every layer is equivariant, and the products are all there are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equitools import nn as enn
from equitools.errors import ConfigError, IrrepsError, ShapeError
from equitools.groups import Lorentz
from equitools.groups.generators import Generators, generators_of
from equitools.groups.representations import Rep, regular, scalar, vector
from equitools.nn.emlp import (
    EMLP,
    EquivariantBilinear,
    EquivariantLinear,
    GatedNonlinearity,
    SoftEquivariantLinear,
    gated,
    uniform_rep,
)


def sl2() -> Generators:
    e = torch.tensor([[0.0, 1], [0, 0]])
    return Generators([e, e.T, torch.diag(torch.tensor([1.0, -1]))], name="SL(2)")


GROUPS = {"SO(3)": "SO(3)", "O(2)": "O(2)", "O(1,3)": Lorentz(), "SL(2)": sl2(), "D4": "D4"}


def pair(name: str) -> tuple[Rep, Rep]:
    v = vector(GROUPS[name])
    return 2 * v + 3 * scalar(v.group), v + 2 * scalar(v.group) + v.dual()


def broken(module: torch.nn.Module, rep_in: Rep, rep_out: Rep) -> float:
    """Largest relative deviation over random elements and inputs, float64."""
    random = torch.Generator().manual_seed(0)
    module = module.double()
    g = rep_in.group.sample(5, random, scale=0.4)
    x = torch.randn(5, rep_in.dim, generator=random, dtype=torch.float64)
    with torch.no_grad():
        moved = module(torch.einsum("nij,nj->ni", rep_in.matrix(g), x))
        first = torch.einsum("nij,nj->ni", rep_out.matrix(g), module(x))
    assert float(first.abs().max()) > 1e-3
    return float((moved - first).abs().max() / first.abs().max())


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("kind", ["linear", "bilinear", "gates", "network"])
def test_equivariance(kind: str, name: str) -> None:
    torch.manual_seed(1)
    rep_in, rep_out = pair(name)
    if kind == "linear":
        module: torch.nn.Module = EquivariantLinear(rep_in, rep_out)
        with torch.no_grad():
            module.bias.normal_()
    elif kind == "bilinear":
        rep_out = rep_in.symmetric() if name == "O(2)" else rep_out + scalar(rep_in.group) + rep_in
        module = EquivariantBilinear(rep_in, rep_out, channels=3, max_size=400)
    elif kind == "gates":
        module, rep_in = GatedNonlinearity(rep_out), gated(rep_out)
    else:
        module = EMLP(rep_in, rep_out, hidden=30, layers=2, channels=3)
    assert broken(module, rep_in, rep_out) < 1e-10


def test_it_finds_what_there_is_and_nothing_else() -> None:
    one, v = scalar("SO(3)"), vector("SO(3)")
    layer = EquivariantLinear(3 * one + 2 * v, 4 * one + v)
    assert (layer.weight.numel(), layer.bias.numel()) == (3 * 4 + 2, 4)
    weight, bias = layer.matrix()
    assert torch.equal(layer(torch.zeros(9)), bias)
    assert float(weight[:4, 3:].detach().abs().max()) == 0.0
    assert EquivariantLinear(v, v, bias=False).bias is None
    with pytest.raises(ConfigError, match="but zero"):
        EquivariantLinear(v, Rep.from_irreps("2e", "SO(3)"))
    with pytest.raises(ConfigError, match="restrict"):
        EquivariantLinear(v, vector("O(3)"))


def test_products_of_vectors() -> None:
    """SO(3) makes of two vectors their scalar and cross products and r rᵀ; O(3) no cross product."""
    for group, paths in (("SO(3)", 4), ("O(3)", 2)):
        v = vector(group)
        layer = EquivariantBilinear(2 * v, scalar(group) + v + v**2, channels=2)
        counted = sum(len(table) for table in layer._tables)
        assert counted == {"SO(3)": 1 + 1 + 3, "O(3)": 1 + 3}[group]
        assert len(layer.paths) == {4: 3, 2: 2}[paths]
        x = torch.randn(3, 6)
        assert torch.allclose(layer(2 * x), 4 * layer(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="restrict"):
        EquivariantBilinear(vector("O(3)"), vector("SO(3)"))


def test_an_equivariant_product_can_be_learned() -> None:
    """r ↦ r rᵀ, exactly, by products of pairs alone."""
    torch.manual_seed(0)
    v = vector("O(3)")
    layer = EquivariantBilinear(v, v**2, channels=2).double()
    x = torch.randn(64, 3, dtype=torch.float64)
    wanted = (x.unsqueeze(2) * x.unsqueeze(1)).flatten(1)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = (layer(x) - wanted).square().mean()
        value.backward()
        return value

    optimizer.step(loss)
    assert float(loss().detach()) < 1e-8


@pytest.mark.parametrize("shape", [(0,), (1,), (2, 3)])
def test_shapes_and_dtypes(shape: tuple[int, ...]) -> None:
    rep_in, rep_out = pair("SO(3)")
    net = EMLP(rep_in, rep_out, hidden=20, layers=1)
    assert net(torch.randn(*shape, rep_in.dim)).shape == (*shape, rep_out.dim)
    wide = torch.randn(rep_in.dim, 7).T
    assert torch.allclose(net(wide), net(wide.contiguous()))
    twice = net.double()
    assert twice(torch.randn(*shape, rep_in.dim).double()).dtype == torch.float64
    with pytest.raises(ShapeError, match="floating point"):
        net(torch.randn(2, rep_in.dim + 1))


def test_a_network_of_another_dtype_is_as_exact() -> None:
    """The tables are not rounded to float32 when the network is made."""
    rep_in, rep_out = pair("SO(3)")
    assert broken(EMLP(rep_in, rep_out, hidden=20, layers=1).float().double(), rep_in, rep_out) < 1e-12


def test_gradients() -> None:
    torch.manual_seed(0)
    rep_in, rep_out = pair("O(2)")
    net = EMLP(rep_in, rep_out, hidden=8, layers=1, channels=2).double()
    x = torch.randn(2, rep_in.dim, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, x)
    assert torch.autograd.gradgradcheck(net, x)


def test_unit_variance_at_first() -> None:
    torch.manual_seed(0)
    v = vector("SO(3)")
    layer = EquivariantLinear(40 * scalar("SO(3)") + 30 * v, 30 * scalar("SO(3)") + 40 * v, bias=False)
    out = layer(torch.randn(4000, 130))
    assert abs(float(out[:, :30].var()) - 1) < 0.15
    assert abs(float(out[:, 30:].var()) - 1) < 0.15


def test_saved_coordinates_mean_the_same_in_another_network() -> None:
    from equitools.groups import equivariant_maps

    rep_in, rep_out = pair("D4")
    first = EMLP(rep_in, rep_out, hidden=20, layers=1)
    equivariant_maps._cache.clear()
    second = EMLP(rep_in, rep_out, hidden=20, layers=1)
    second.load_state_dict(first.state_dict())
    x = torch.randn(3, rep_in.dim)
    assert torch.equal(first(x), second(x))
    assert set(first.state_dict()) == {name for name, _ in first.named_parameters()}


def test_a_soft_layer_is_nearly_equivariant() -> None:
    torch.manual_seed(0)
    rep_in, rep_out = 20 * vector("O(3)"), 20 * vector("O(3)")
    assert broken(SoftEquivariantLinear(rep_in, rep_out, noise=0.0), rep_in, rep_out) < 1e-6
    assert 1e-3 < broken(SoftEquivariantLinear(rep_in, rep_out, noise=0.1), rep_in, rep_out) < 0.5
    soft = EMLP(rep_in, rep_out, hidden=20, layers=1, soft=True)
    assert sum(isinstance(module, torch.nn.Linear) for module in soft.modules()) == 2


def test_uniform_rep() -> None:
    for group, channels in (("O(3)", 128), ("SO(2)", 17), (Lorentz(), 100), ("O(3)", 1)):
        rep = uniform_rep(vector(group), channels)
        assert rep.dim == channels
    assert max(block.rep.dim for block in uniform_rep(vector("O(3)"), 128, max_rank=2).blocks) == 9
    kinds = [block.rep.name for block in uniform_rep(vector(Lorentz()), 100).blocks]
    assert kinds == ["1", "V", "V*", "V⊗V", "V⊗V*", "V*⊗V*"][: len(kinds)]
    with pytest.raises(ConfigError):
        uniform_rep(vector("O(3)"), 0)


def test_pointwise_activation() -> None:
    rep = 2 * regular("D4") + scalar("D4")
    layer = enn.PointwiseActivation(rep, torch.nn.functional.silu)
    g = rep.group.elements
    x = torch.randn(len(g), rep.dim, dtype=torch.float64)
    moved = torch.einsum("nij,nj->ni", rep.matrix(g), x)
    assert torch.allclose(layer(moved), torch.einsum("nij,nj->ni", rep.matrix(g), layer(x)), atol=1e-12)
    assert enn.PointwiseActivation("2x0o", torch.tanh).kind == "odd"
    with pytest.raises(ConfigError, match=r"NormActivation"):
        enn.PointwiseActivation("0e+1o", torch.relu)
    with pytest.raises(ShapeError, match="x must be"):
        layer(torch.zeros(3))


def test_gates_admit_what_is_admissible() -> None:
    gate = enn.Gate("2x0e+3x0o", "1o", torch.tanh).double()
    x = torch.randn(5, gate.irreps_in.dim, dtype=torch.float64)
    flip = torch.tensor([1.0] * 2 + [-1.0] * 3 + [1.0] + [-1.0] * 3).double()
    assert torch.allclose(gate(x * flip), gate(x) * flip[[0, 1, 2, 3, 4, 6, 7, 8]], atol=1e-12)
    with pytest.raises(IrrepsError, match="odd activation"):
        enn.Gate("2x0e+3x0o", "1o", torch.relu)
    with pytest.raises(IrrepsError, match="gate the others"):
        enn.Gate("1o", "1o", torch.nn.Identity())


def test_a_subgroup_has_more_maps() -> None:
    v = vector("O(3)")
    inside = generators_of("O(2)").embedded(3, [0, 1])
    small = EquivariantLinear(v.restrict(inside), v.restrict(inside))
    assert (EquivariantLinear(v, v).weight.numel(), small.weight.numel()) == (1, 2)

"""FNO and G-FNO: equivariance with the sign of the field, numbers of parameters, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import ConfigError, ShapeError
from equitools.groups import FiniteGroup
from equitools.models.images import FNO, GFNO
from equitools.models.images.grid_embedding import grid_embedding
from equitools.ops import permute_pixels


def some_net(**options):
    torch.manual_seed(1)
    return GFNO(3, 2, **{"width": 3, "modes": 4, "layers": 2, **options}).double()


def deviation(net, group, parity, centre, size=9):
    """By how much answers to turned fields are not turned answers, relative to the answers."""
    x, worst = torch.randn(2, 3, size, size, dtype=torch.float64), 0.0
    with torch.no_grad():
        for g in FiniteGroup.named(group).matrices:
            sign = torch.linalg.det(g).round() if parity == "pseudoscalar" else 1.0
            found = net(sign * permute_pixels(g, x, centre))
            wanted = sign * permute_pixels(g, net(x), centre)
            worst = max(worst, float((found - wanted).abs().max() / wanted.abs().max()))
    return worst


@pytest.mark.parametrize("size", [9, 10])
@pytest.mark.parametrize("centre", ["origin", "grid"])
@pytest.mark.parametrize("parity", ["scalar", "pseudoscalar"])
@pytest.mark.parametrize("group", ["p4", "p4m"])
def test_equivariance(group, parity, centre, size):
    assert deviation(some_net(group=group, parity=parity, centre=centre), group, parity, centre, size) < 1e-12


def test_other_symmetries_are_not_there():
    assert deviation(some_net(group="p4"), "p4m", "scalar", "origin") > 1e-3
    assert deviation(some_net(group="p4m"), "p4m", "pseudoscalar", "origin") > 1e-3
    assert deviation(some_net(group="p4m", parity="pseudoscalar"), "p4m", "scalar", "origin") > 1e-3
    assert deviation(some_net(), "p4", "scalar", "grid") > 1e-3  # its distances are measured from pixel 0
    assert deviation(FNO(3, 2, 4, 4, 2).double(), "p4", "scalar", "origin") > 1e-3


def test_without_an_embedding_both_centres_and_shifts():
    net = some_net(embedding="none")
    for centre in ("origin", "grid"):
        assert deviation(net, "p4", "scalar", centre) < 1e-12
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(net(x.roll((2, 3), (-2, -1))), net(x).roll((2, 3), (-2, -1)), atol=1e-12, rtol=0)


def test_shift_equivariance():
    net, x = FNO(3, 2, 4, 4, 2, embedding="none").double(), torch.randn(2, 3, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(net(x.roll((2, 3), (-2, -1))), net(x).roll((2, 3), (-2, -1)), atol=1e-12, rtol=0)


@pytest.mark.parametrize("modes", [8, 12])
def test_parameters(modes):
    """8 of a G-FNO to 15 of an FNO for 8 modes, 10 to 19 for 12."""
    narrow, wide = {8: (8, 15), 12: (10, 19)}[modes]
    count = lambda net: sum(p.numel() for p in net.parameters())  # noqa: E731
    ratio = count(GFNO(10, 1, narrow, modes)) / count(FNO(10, 1, wide, modes))
    assert abs(ratio - 1) < 0.02


@pytest.mark.parametrize("centre", ["origin", "grid"])
@pytest.mark.parametrize("size", [7, 8])
def test_invariance(centre, size):
    distance = grid_embedding("distance", size, torch.zeros(1), centre)
    for g in FiniteGroup.named("p4m").matrices:
        assert torch.equal(permute_pixels(g, distance, centre), distance)
    least = distance.argmin() if centre == "origin" else distance[0, (size - 1) // 2, (size - 1) // 2] - distance.min()
    assert least == 0
    plain = grid_embedding("cartesian", size, torch.zeros(1), centre)
    assert plain.shape == (2, size, size)
    assert not torch.equal(permute_pixels(FiniteGroup.named("p4").matrices[1], plain, centre), plain)


@pytest.mark.parametrize("net", [FNO(2, 1, 2, 2, 1), GFNO(2, 1, 2, 2, 1)])
def test_derivatives_and_dtypes(net):
    assert net(torch.randn(2, 2, 4, 4)).dtype == torch.float32
    net = net.double()
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, x, fast_mode=True)
    assert all(p.grad is not None for p in net.parameters() if net(x).sum().backward() is None)
    wide = torch.randn(2, 2, 4, 8, dtype=torch.float64)[..., ::2]
    torch.testing.assert_close(net(wide), net(wide.contiguous()))
    both = net(wide)
    torch.testing.assert_close(net(wide[:1]), both[:1])  # the norm is that of one sample
    assert net(torch.zeros(0, 2, 4, 4, dtype=torch.float64)).shape == (0, 1, 4, 4)


def test_state_is_real_and_complete():
    net = some_net(group="p4m", parity="pseudoscalar")
    state = net.state_dict()
    assert all(not value.is_complex() for value in state.values())
    other = some_net(group="p4m", parity="pseudoscalar")
    for p in other.parameters():
        torch.nn.init.zeros_(p)
    other.load_state_dict(state)
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(net(x), other(x))


def test_what_is_refused():
    with pytest.raises(ConfigError, match="which way the grid lies"):
        GFNO(1, embedding="cartesian")
    with pytest.raises(ConfigError, match="'scalar' or 'pseudoscalar'"):
        GFNO(1, parity="vector")
    with pytest.raises(ConfigError, match="p4 and p4m"):
        GFNO(1, group="O")
    with pytest.raises(ConfigError, match="Embeddings"):
        FNO(1, embedding="polar")
    with pytest.raises(ConfigError, match="Embeddings"):
        grid_embedding("polar", 4, torch.zeros(1))
    with pytest.raises(ConfigError, match="centre"):
        grid_embedding("distance", 4, torch.zeros(1), "corner")
    for make in (lambda: FNO(0), lambda: GFNO(1, width=0), lambda: GFNO(1, layers=0)):
        with pytest.raises(ConfigError, match="at least 1"):
            make()
    for net in (FNO(1, 1, 2, 2, 1), GFNO(1, 1, 2, 2, 1)):
        with pytest.raises(ShapeError, match=r"\[B, 1, S, S\]"):
            net(torch.zeros(1, 1, 4, 5))

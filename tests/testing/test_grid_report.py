"""The measure of equivariance on grids: exact layers pass, and the usual mistakes are seen."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import ConfigError, ShapeError
from equitools.groups import FiniteGroup
from equitools.models.images import GFNO
from equitools.nn import FiniteGroupLinear, GroupConv, GroupPool, GroupSpectralConv2d, LiftingConv
from equitools.testing import grid_equivariance
from equitools.testing.grid_report import move


@pytest.mark.parametrize(
    ("layer", "shape", "kinds"),
    [
        (LiftingConv(1, 2, 3, "p4m", padding="zeros"), (1, 6, 6), ("image", "features")),
        (GroupConv(1, 2, 3, "p4m"), (1, 8, 5, 5), ("features", "features")),
        (GroupSpectralConv2d(1, 2, 3, "p4m"), (1, 8, 6, 6), ("features", "features")),
        (FiniteGroupLinear(1, 2, "p4m"), (1, 8), ("group", "group")),
        (GroupPool("p4m"), (1, 8, 4, 4), ("features", "image")),
        (GroupPool("p4m"), (1, 8), ("group", "invariant")),
        (GFNO(1, 1, 2, 3, 2, group="p4m", parity="pseudoscalar", centre="grid"), (1, 6, 6), ("pseudoscalar",) * 2),
    ],
)
def test_exact_layers(layer, shape, kinds):
    x = torch.randn(2, *shape, dtype=torch.float64)
    errors = grid_equivariance(layer.double(), "p4m", x, *kinds)
    assert errors.shape == (8,)
    assert float(errors.max()) < 1e-12


@pytest.mark.parametrize("wrong", ["group on the right", "kernel not turned", "group not shifted"])
def test_flags_wrong_sides(wrong):
    group = FiniteGroup.named("p4m")
    conv = GroupConv(1, 1, 3, group).double()
    everything = torch.arange(8)
    places, shift = conv.index % 9, group.product(group.inverse[:, None], everything)
    if wrong == "group on the right":
        shift = group.product(everything[:, None], group.inverse)
    elif wrong == "kernel not turned":
        places = torch.arange(9).expand_as(places)
    else:
        shift = everything.expand(8, -1)
    conv.index = shift[..., None] * 9 + places
    errors = grid_equivariance(conv, group, torch.randn(1, 1, 8, 5, 5, dtype=torch.float64), "features", "features")
    assert errors[0] == 0  # the identity tells nothing
    assert float(errors.max()) > 0.1


def test_plain_convolutions_are_seen():
    plain = torch.nn.Conv2d(1, 1, 3, padding=1).double()
    x = torch.randn(1, 1, 6, 6, dtype=torch.float64)
    assert float(grid_equivariance(plain, "p4", x)[1:].min()) > 0.1
    assert float(grid_equivariance(torch.nn.AvgPool2d(2), "p4", x).max()) < 1e-15
    odd = torch.nn.AvgPool2d(2, ceil_mode=True)
    assert float(grid_equivariance(odd, "p4", torch.randn(1, 1, 5, 5)).max()) > 0.1


def test_what_is_refused():
    group = FiniteGroup.named("p4")
    with pytest.raises(ConfigError, match="'features'"):
        move(group, 1, torch.zeros(1, 1, 3, 3), "picture")
    with pytest.raises(ShapeError, match=r"\[B, C, 4"):
        move(group, 1, torch.zeros(1, 1, 3, 3), "features")
    assert move(group, 1, torch.zeros(0, 1, 3, 3), "image").shape == (0, 1, 3, 3)

"""Samples that are not of the group, and names of groups that convolutions run over."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import ShapeError, UnknownNameError
from equitools.groups import Affine, GLPlus, parse_group
from equitools.nn import GroupSamples, LieLiftingConv, PolarChart


@pytest.mark.parametrize(
    ("group", "element"), [("SO(2)", [[2.0, 0.0], [0.0, 0.5]]), ("SIM(2)", [[1.0, 1.0], [0.0, 1.0]])]
)
def test_samples_of_another_group_are_refused(group, element):
    layer = LieLiftingConv(group, 1, 2, 3)
    images = torch.zeros(1, 1, 5, 5)
    with pytest.raises(ShapeError, match="are rotations"):
        layer(images, GroupSamples(torch.tensor([element]), torch.ones(1)))
    turn = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
    assert layer(images, GroupSamples(turn, torch.ones(1))).shape == (1, 2, 1, 3, 3)


def test_the_linear_part_of_an_affine_group_is_meant():
    assert PolarChart("R^3:SL(3)").name == PolarChart(Affine(parse_group("SL(3)"))).name == "SL(3)"
    assert PolarChart(GLPlus(2)).name == PolarChart("R^2:GL+(2)").name == "GL+(2)"
    assert PolarChart(parse_group("CSO(2)")).name == "SIM(2)"
    with pytest.raises(UnknownNameError):
        PolarChart("Sp(2)")

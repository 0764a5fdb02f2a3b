"""GL⁺, SL and the affine groups on them."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import ConfigError, ShapeError
from equitools.groups import SL, SO, Affine, GLPlus, MatrixGroup, parse_group

GROUPS = [GLPlus(1), GLPlus(2), GLPlus(3), GLPlus(5), SL(2), SL(3), SL(4), Affine(GLPlus(2)), Affine("SL(3)")]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("group", GROUPS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_samples_are_elements(group: MatrixGroup, dtype: torch.dtype) -> None:
    g = group.sample((4, 10), generator(0), dtype)
    assert (g.shape, g.dtype) == ((4, 10, group.size, group.size), dtype)
    assert group.contains(g).all()
    assert not group.contains(torch.full((group.size, group.size), torch.nan))
    assert not group.contains(torch.zeros(group.size, group.size))


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_log_inverts_exp(group: MatrixGroup) -> None:
    x = 0.5 * torch.randn(6, group.dim, generator=generator(1), dtype=torch.float64)
    g = group.exp(x)
    assert group.contains(g, 1e-10).all()
    torch.testing.assert_close(group.log(g), x, atol=1e-12, rtol=0)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_projection(group: MatrixGroup) -> None:
    g = group.sample((5,), generator(2))
    torch.testing.assert_close(group.project(g), g, atol=1e-12, rtol=0)
    a = torch.randn(20, group.size, group.size, generator=generator(3), dtype=torch.float64)
    assert group.contains(group.project(a)).all()


def test_the_reversed_axis_is_the_least() -> None:
    a = torch.diag(torch.tensor([3.0, -0.1, 2.0], dtype=torch.float64)).requires_grad_()
    torch.testing.assert_close(GLPlus(3).project(a), a.abs())
    assert torch.autograd.gradcheck(GLPlus(3).project, a)


def test_wrong_input() -> None:
    with pytest.raises(ConfigError, match="GL"):
        GLPlus(0)
    with pytest.raises(ConfigError, match="linear maps"):
        Affine(parse_group("SE(2)"))
    for group in (GLPlus(2), SL(2)):
        with pytest.raises(ShapeError, match="polar"):
            group.log(torch.diag(torch.tensor([-2.0, -0.5])))
        with pytest.raises(ShapeError, match="singular"):
            group.project(torch.ones(2, 2))
        with pytest.raises(ShapeError, match="finite"):
            group.project(torch.full((2, 2), torch.inf))
    with pytest.raises(ShapeError, match="coordinates"):
        SL(2).exp(torch.zeros(4))
    assert not GLPlus(2).contains(torch.diag(torch.tensor([1.0, -1.0])))


def test_names() -> None:
    assert parse_group("GL+(2)") == GLPlus(2)
    assert parse_group("SL(3)") == SL(3)
    assert parse_group("R^2:GL+(2)") == Affine(GLPlus(2))
    assert Affine("SO(2)").linear == SO(2)

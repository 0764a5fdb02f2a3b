"""Scale and volume-preserving part; translation and linear part."""

from __future__ import annotations

import pytest
import torch
from decomposition_cases import generator, of_condition, relative_error

from equitools.errors import ShapeError
from equitools.groups import parse_group
from equitools.groups.decompositions import affine_levi, levi, semidirect, semidirect_log_density


@pytest.mark.parametrize("n", [2, 3, 6])
@pytest.mark.parametrize("condition", [1.0, 1e4])
def test_levi_round_trip(n: int, condition: float) -> None:
    g = 7 * of_condition(20, n, condition, n)
    scale, rest = levi(g)
    assert relative_error(scale @ rest, g) < 1e-14
    torch.testing.assert_close(scale @ rest, rest @ scale)
    affine = torch.cat([torch.cat([g, torch.ones_like(g[..., :1])], -1), torch.eye(n + 1)[n:].expand(20, 1, n + 1)], -2)
    radical, rest = affine_levi(affine)
    assert relative_error(radical @ rest, affine) < 1e-14
    assert float((torch.linalg.det(rest) - 1).abs().max()) < 1e-11


def test_levi_parts_stay_in_their_sets() -> None:
    scale, rest = levi(3 * of_condition(20, 3, 1e4, 1))
    assert float((torch.linalg.det(rest) - 1).abs().max()) < 1e-11
    assert torch.equal(scale, scale[..., :1, :1] * torch.eye(3, dtype=scale.dtype))


def test_levi_derivatives() -> None:
    g = of_condition(2, 3, 5.0, 4).requires_grad_()
    assert torch.autograd.gradcheck(levi, g)
    assert torch.autograd.gradgradcheck(levi, g)


@pytest.mark.parametrize("name", ["E(3)", "SE(2)", "SIM(2)", "R^2:GL+(2)", "R^3:SL(3)"])
def test_semidirect_round_trip(name: str) -> None:
    group = parse_group(name)
    g = group.sample((20,), generator(1))
    translation, linear = semidirect(g)
    assert torch.equal(translation @ linear, g)
    assert group.contains(translation).all()
    assert group.contains(linear).all()
    x = torch.randn(20, 4, group.n, generator=generator(2), dtype=torch.float64)
    torch.testing.assert_close(group.act(translation, group.act(linear, x)), group.act(g, x))


def test_semidirect_densities() -> None:
    _, linear = semidirect(parse_group("R^2:GL+(2)").sample((5,), generator(3)))
    torch.testing.assert_close(semidirect_log_density(linear), -torch.linalg.det(linear).log())
    assert torch.equal(semidirect_log_density(linear, "right"), torch.zeros(5, dtype=torch.float64))
    with pytest.raises(ShapeError, match="'left' or 'right'"):
        semidirect_log_density(linear, "both")


def test_what_is_not_homogeneous_is_refused() -> None:
    with pytest.raises(ShapeError, match="last row of 1 of 1 matrices"):
        semidirect(torch.ones(1, 3, 3))
    with pytest.raises(ShapeError, match="determinant"):
        levi(torch.diag(torch.tensor([1.0, -1.0])))

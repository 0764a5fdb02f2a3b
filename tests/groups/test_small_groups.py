"""Branches of logarithms, names, products, similarities, scalings and tori: what is each group's own."""

from __future__ import annotations

import math

import pytest
import torch

from equitools.errors import ConfigError, ShapeError, UnknownNameError
from equitools.groups import (
    SE,
    SIM,
    SL,
    SO,
    Affine,
    DiagonalScaling,
    GLPlus,
    O,
    ProductGroup,
    ScaledRotations,
    Scaling,
    SemidirectProduct,
    Torus,
    parse_group,
    parse_rigid_group,
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_angles_lie_above_minus_pi_and_reach_pi(dtype: torch.dtype) -> None:
    for entries in ([[-1.0, 0.0], [0.0, -1.0]], [[-1.0, 0.0], [-0.0, -1.0]], [[-1.0, 1e-30], [-1e-30, -1.0]]):
        g = torch.tensor(entries, dtype=dtype)
        angles = [SO(2).log(g), Torus(1).log(g), ScaledRotations(2).log(2 * g)[:1], SIM(2).log(SIM(2).element(g, g[0]))]
        for found in angles:
            assert found[0].item() == torch.tensor(math.pi, dtype=dtype).item()
    just_below = SO(2).exp(torch.tensor([-math.pi + 1e-3], dtype=dtype))
    assert SO(2).log(just_below).item() < -3


def test_half_turns_of_space_have_a_logarithm_and_of_more_dimensions_none() -> None:
    turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
    assert abs(float(SO(3).log(turn).norm()) - math.pi) < 1e-7
    wide = torch.eye(4, dtype=torch.float64)
    wide[:3, :3] = turn
    with pytest.raises(ShapeError, match="angle is π"):
        SO(4).log(wide)
    planes = Torus(2).log(torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64)))
    assert planes.tolist() == [math.pi, 0.0]


def test_the_logarithm_is_continuous_at_the_identity() -> None:
    for group in (SO(2), SO(3), Torus(2), SIM(2), SE(3)):
        small = group.exp(1e-9 * torch.randn(20, group.dim, generator=generator(0), dtype=torch.float64))
        assert float(group.log(small).abs().max()) < 1e-8


def test_linear_part_of_an_affine_logarithm_is_the_one_of_its_group() -> None:
    group = Affine(GLPlus(2))
    g = group.exp(0.6 * torch.randn(10, 6, generator=generator(1), dtype=torch.float64))
    torch.testing.assert_close(group.log(g)[:, :4], GLPlus(2).log(g[:, :2, :2]))
    with pytest.raises(ShapeError, match=r"No logarithm in GL\+\(2\): 1 of 1 .*polar"):
        group.log(group.element(torch.diag(torch.tensor([-1.0, -3.0])), torch.zeros(2)))
    shift = group.element(torch.eye(2, dtype=torch.float64), torch.tensor([3.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(group.log(shift), torch.tensor([0, 0, 0, 0, 3.0, -1.0], dtype=torch.float64))


def test_similarities() -> None:
    g = SIM(3).sample((5,), generator(2))
    scale, turn = ScaledRotations(3).parts(g[:, :3, :3])
    torch.testing.assert_close(SIM(3).log(g)[:, 3], torch.log(scale))
    assert SO(3).contains(turn).all()
    a = torch.randn(30, 3, 3, generator=generator(3), dtype=torch.float64)
    nearest = ScaledRotations(3).project(a)
    assert ScaledRotations(3).contains(nearest).all()
    for other in ScaledRotations(3).sample((40,), generator(4), spread=1.0):
        assert ((nearest - a).norm(dim=(-1, -2)) <= (other - a).norm(dim=(-1, -2))).all()
    with pytest.raises(ShapeError, match="positive determinant"):
        ScaledRotations(3).log(-torch.eye(3))
    with pytest.raises(ShapeError, match="no projection"):
        ScaledRotations(2).project(torch.diag(torch.tensor([1.0, -1.0])))


def test_scalings() -> None:
    g = Scaling(3).exp(torch.tensor([math.log(2.0)]))
    torch.testing.assert_close(g, 2 * torch.eye(3))
    torch.testing.assert_close(
        DiagonalScaling(2).log(torch.diag(torch.tensor([2.0, 3.0]))), torch.tensor([2.0, 3.0]).log()
    )
    a = torch.tensor([[2.0, 5.0], [1.0, 4.0]])
    torch.testing.assert_close(Scaling(2).project(a), 3 * torch.eye(2))
    torch.testing.assert_close(DiagonalScaling(2).project(a), torch.diag(torch.tensor([2.0, 4.0])))
    for group in (Scaling(2), DiagonalScaling(2)):
        with pytest.raises(ShapeError, match="no projection"):
            group.project(-torch.eye(2))
        with pytest.raises(ShapeError, match="no elements"):
            group.log(-torch.eye(2))
        assert group.contains(torch.stack([torch.eye(2), -torch.eye(2), torch.ones(2, 2)])).tolist() == [
            True,
            False,
            False,
        ]


def test_tori() -> None:
    group = Torus(2)
    assert (group.n, group.size, group.dim, group.name) == (4, 4, 2, "Torus(2)")
    g = group.sample((4000,), generator(5))
    assert SO(4).contains(g).all()
    assert float(g.mean(0).abs().max()) < 0.05
    assert abs(float(g[:, 0, 0].square().mean()) - 0.5) < 0.03
    other = torch.eye(4, dtype=torch.float64)[[2, 3, 0, 1]]
    assert not group.contains(other)


def test_products() -> None:
    group = ProductGroup(SO(2), "R^2:SL(2)", Scaling(1))
    assert (group.n, group.size, group.dim) == (5, 6, 1 + 5 + 1)
    assert not group.compact
    assert ProductGroup("SO(2)", "O(3)").compact
    assert not ProductGroup("SO(2)", "O(3)").connected
    parts = [factor.sample((3,), generator(6)) for factor in group.factors]
    g = group.join(*parts)
    for found, wanted in zip(group.split(g), parts, strict=True):
        assert torch.equal(found, wanted)
    x = torch.randn(3, 4, 5, generator=generator(7), dtype=torch.float64)
    moved = group.act(g, x)
    torch.testing.assert_close(moved[..., :2], SO(2).act(parts[0], x[..., :2]))
    torch.testing.assert_close(moved[..., 2:4], Affine("SL(2)").act(parts[1], x[..., 2:4]))
    with pytest.raises(ShapeError, match="sizes"):
        group.join(*parts[:2])
    with pytest.raises(ConfigError, match="factor"):
        ProductGroup()


def test_semidirect_products() -> None:
    plain = SemidirectProduct("GL+(2)", lambda h: h, 2, "again")
    g = plain.sample((4,), generator(8))
    like = Affine(GLPlus(2)).element(g[:, 3:, 3:], g[:, :2, 2])
    torch.testing.assert_close(plain.log(g), Affine(GLPlus(2)).log(like))
    torch.testing.assert_close(plain.modular(g), Affine(GLPlus(2)).modular(like))
    determinant = SemidirectProduct("GL+(2)", lambda h: torch.linalg.det(h)[..., None, None], 1, "R:det")
    g = determinant.sample((4,), generator(9))
    assert determinant.contains(g).all()
    torch.testing.assert_close(determinant.exp(determinant.log(g)), g, atol=1e-12, rtol=0)
    with pytest.raises(ConfigError, match="homomorphism"):
        SemidirectProduct("SL(2)", lambda h: h.mT, 2, "wrong")
    with pytest.raises(ConfigError, match="3 × 3"):
        SemidirectProduct("SL(2)", lambda h: h, 3, "wrong")
    with pytest.raises(ShapeError, match="made of"):
        plain.element(torch.eye(3), torch.zeros(2))


def test_names() -> None:
    for name, wanted in {
        "GL+(2)": GLPlus(2),
        " GLPlus( 3 )": GLPlus(3),
        "SL(4)": SL(4),
        "R^2:GL+(2)": Affine(GLPlus(2)),
        "SO(2)xSL(3)": ProductGroup(SO(2), SL(3)),
        "SO(2) × O(1)": ProductGroup(SO(2), O(1)),
        "R^5:(SO(2)xSL(3))": Affine(ProductGroup(SO(2), SL(3))),
        "R^2:SO(2)xSL(3)": ProductGroup(Affine(SO(2)), SL(3)),
        "SO(2)x(SO(2)xO(1))": ProductGroup(SO(2), ProductGroup(SO(2), O(1))),
        "SO+(1,3)xSO(2)": ProductGroup("SO+(1,3)", SO(2)),
    }.items():
        assert parse_group(name) == wanted
        assert parse_group(wanted.name) == wanted
    for wrong in ("U(2)", "SO", "SO(0)", "SO(2)x", "x", "", "(", "R^2:", "GL(2)", "SO+(2)", None, 3):
        with pytest.raises(UnknownNameError, match="not known"):
            parse_group(wrong)
    with pytest.raises(ConfigError, match="not on R"):
        parse_group("R^3:SO(2)")
    with pytest.raises(ConfigError, match="even"):
        parse_group("Sp(3)")
    with pytest.raises(ConfigError, match="linear maps"):
        parse_group("R^2:SE(2)")


def test_rigid_names() -> None:
    assert parse_rigid_group("SE(3)", "Frames") == SE(3)
    assert parse_rigid_group("Lorentz", "Frames", lorentz=True).name == "O(1,3)"
    for wrong in ("Lorentz", "SL(3)"):
        with pytest.raises(ConfigError, match=r"Frames can be had for O\(d\).* not for"):
            parse_rigid_group(wrong, "Frames")

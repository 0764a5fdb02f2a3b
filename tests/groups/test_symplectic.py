"""The symplectic group."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import ConfigError, ShapeError
from equitools.groups import SL, Sp, symplectic_form


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n", [2, 4, 6])
def test_keeps_the_form(n: int) -> None:
    g = Sp(n).sample((10,), generator(0), spread=0.6)
    J = symplectic_form(n)
    torch.testing.assert_close(g.mT @ J @ g, J.expand(10, n, n), atol=1e-9, rtol=0)
    torch.testing.assert_close(torch.linalg.det(g), torch.ones(10, dtype=torch.float64), atol=1e-9, rtol=0)
    x, y = torch.randn(2, 10, 5, n, generator=generator(1), dtype=torch.float64)
    moved = [Sp(n).act(g, v) for v in (x, y)]
    torch.testing.assert_close(moved[0] @ J @ moved[1].mT, x @ J @ y.mT, atol=1e-9, rtol=0)


@pytest.mark.parametrize("n", [2, 4, 6])
def test_the_compact_coordinates_come_first(n: int) -> None:
    basis, m = Sp(n).algebra_basis, n // 2
    assert len(basis) == Sp(n).dim == n * (n + 1) // 2
    torch.testing.assert_close(basis[: m * m].mT, -basis[: m * m])
    torch.testing.assert_close(basis[m * m :].mT, basis[m * m :])
    J = symplectic_form(n)
    torch.testing.assert_close(J @ basis, (J @ basis).mT, atol=1e-14, rtol=0)


def test_the_plane_has_the_special_linear_group() -> None:
    g = SL(2).sample((10,), generator(2))
    assert Sp(2).contains(g).all()
    products = Sp(2).algebra_basis.flatten(1) @ SL(2).algebra_basis.flatten(1).T / 2
    torch.testing.assert_close(products.abs().sum(0), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(Sp(2).algebra_basis[0], SL(2).algebra_basis[0])  # the same angle


@pytest.mark.parametrize("n", [2, 4])
def test_left_equivariance(n: int) -> None:
    group = Sp(n)
    a = torch.eye(n) + 0.1 * torch.randn(10, n, n, generator=generator(3), dtype=torch.float64)
    h = group.sample((10,), generator(4))
    projected = group.project(a)
    assert group.contains(projected, 1e-11).all()
    torch.testing.assert_close(group.project(h @ a), h @ projected, atol=1e-9, rtol=0)
    assert torch.autograd.gradcheck(group.project, a[:1].requires_grad_())


def test_wrong_input() -> None:
    for odd in (1, 3):
        with pytest.raises(ConfigError, match="even"):
            Sp(odd)
    with pytest.raises(ConfigError, match="integer"):
        Sp(0)
    mirror = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    assert not Sp(2).contains(mirror)
    for wrong in (mirror, torch.zeros(2, 2, dtype=torch.float64)):
        with pytest.raises(ShapeError, match="no projection onto Sp"):
            Sp(2).project(wrong)
    with pytest.raises(ShapeError, match="polar"):
        Sp(2).log(torch.diag(torch.tensor([-2.0, -0.5])))

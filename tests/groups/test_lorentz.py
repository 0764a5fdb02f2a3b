"""The Lorentz group: elements, algebra, exponential, polar projection, action."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.linalg import expm

from equitools.errors import ShapeError
from equitools.groups import Lorentz, MatrixGroup, axis_angle_to_matrix
from equitools.groups.lorentz import lorentz_metric, polar_factor

GROUPS = [Lorentz(), Lorentz(proper=True)]
ETA = lorentz_metric()


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("group", GROUPS, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_samples_are_elements(group: Lorentz, dtype: torch.dtype, tolerance: float) -> None:
    g = group.sample((5, 40), generator(0), dtype, rapidity=1.0)
    assert (g.shape, g.dtype) == ((5, 40, 4, 4), dtype)
    assert group.contains(g, tolerance).all()
    assert not group.contains(1.1 * g).any()
    assert not group.contains(torch.full((4, 4), torch.nan))


def test_the_two_groups() -> None:
    full, proper = GROUPS
    assert (full.name, proper.name) == ("O(1,3)", "SO+(1,3)")
    assert full != proper
    assert isinstance(full, MatrixGroup)
    g = full.sample((400,), generator(1))
    kinds = {(bool(x[0, 0] > 0), bool(torch.linalg.det(x) > 0)) for x in g}
    assert len(kinds) == 4  # every component is met
    assert proper.contains(g).sum() == sum(bool(x[0, 0] > 0) and bool(torch.linalg.det(x) > 0) for x in g)
    assert proper.contains(proper.sample((50,), generator(2))).all()


def test_the_algebra() -> None:
    basis = Lorentz().algebra_basis
    assert basis.shape == (6, 4, 4)
    assert Lorentz().dim == 6
    torch.testing.assert_close(ETA @ basis, -(ETA @ basis).transpose(-1, -2))  # gᵀ η g = η to first order
    rotations, boosts = basis[:3], basis[3:]

    def bracket(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b - b @ a

    torch.testing.assert_close(bracket(rotations[0], rotations[1]), rotations[2])
    torch.testing.assert_close(bracket(rotations[0], boosts[1]), boosts[2])
    torch.testing.assert_close(bracket(boosts[0], boosts[1]), -rotations[2])


def test_boosts_are_exponentials() -> None:
    v = torch.tensor([0.4, -0.3, 1.2], dtype=torch.float64)
    boost = Lorentz().boost(v)
    wanted = expm(torch.einsum("k,kij->ij", v, Lorentz().algebra_basis[3:]).numpy())
    torch.testing.assert_close(boost, torch.from_numpy(wanted), atol=1e-12, rtol=0)
    rapidity = float(v.norm())
    torch.testing.assert_close(
        boost[:, 0], torch.cat([torch.tensor([math.cosh(rapidity)]).double(), v / rapidity * math.sinh(rapidity)])
    )


def test_rotations_turn_space() -> None:
    x = torch.tensor([0.3, -0.2, 0.9, 0.0, 0.0, 0.0], dtype=torch.float64)
    g = Lorentz().exp(x)
    torch.testing.assert_close(g[1:, 1:], axis_angle_to_matrix(x[:3], x[:3].norm()), atol=1e-12, rtol=0)
    assert float(g[0, 0]) == 1.0


def test_log_inverts_exp() -> None:
    group = Lorentz(proper=True)
    x = 0.7 * torch.randn(30, 6, generator=generator(3), dtype=torch.float64)
    torch.testing.assert_close(group.log(group.exp(x)), x, atol=1e-9, rtol=0)
    null = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0, 0.0], dtype=torch.float64)  # a null rotation: not diagonalisable
    torch.testing.assert_close(group.log(group.exp(null)), null, atol=1e-9, rtol=0)
    torch.testing.assert_close(group.log(torch.eye(4).double()), torch.zeros(6).double(), atol=1e-14, rtol=0)
    for reflected in (ETA, -ETA, -torch.eye(4, dtype=torch.float64)):
        with pytest.raises(ShapeError, match="reverses"):
            group.log(reflected)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_inverse(group: Lorentz) -> None:
    g = group.sample((20,), generator(4), rapidity=0.8)
    torch.testing.assert_close(group.inverse(g), torch.linalg.inv(g), atol=1e-10, rtol=0)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_projection(group: Lorentz) -> None:
    g = group.sample((20,), generator(5), rapidity=0.8)
    torch.testing.assert_close(group.project(g), g, atol=1e-10, rtol=0)
    a = g @ (torch.eye(4) + 0.1 * torch.randn(20, 4, 4, generator=generator(6), dtype=torch.float64))
    q = group.project(a)
    assert group.contains(q, 1e-11).all()
    s = group.inverse(q) @ a  # the other factor is self-adjoint, with a spectrum in the right half-plane
    torch.testing.assert_close(ETA @ s, (ETA @ s).transpose(-1, -2), atol=1e-9, rtol=0)
    assert (torch.linalg.eigvals(s).real > 0).all()


def test_left_equivariance() -> None:
    group = Lorentz()
    a = torch.eye(4) + 0.1 * torch.randn(10, 4, 4, generator=generator(7), dtype=torch.float64)
    h = group.sample((10,), generator(8), rapidity=0.8)
    torch.testing.assert_close(group.project(h @ a), h @ group.project(a), atol=1e-9, rtol=0)


def test_polar_factor_is_the_ordinary_one_where_the_metric_is() -> None:
    a = torch.randn(6, 3, 3, generator=generator(9), dtype=torch.float64)
    u, _, vh = torch.linalg.svd(a)
    torch.testing.assert_close(polar_factor(a, (1.0, 1.0, 1.0)), u @ vh, atol=1e-10, rtol=0)


def test_projection_has_derivatives() -> None:
    a = torch.eye(4) + 0.1 * torch.randn(2, 4, 4, generator=generator(10), dtype=torch.float64)
    assert torch.autograd.gradcheck(Lorentz().project, a.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda x: Lorentz().project(x)[:, :2], a)
    one = torch.eye(4, dtype=torch.float64).unsqueeze(0).requires_grad_()  # on the group: every singular value is 1
    assert torch.autograd.gradcheck(Lorentz().project, one)


def test_no_projection() -> None:
    swapped = torch.eye(4, dtype=torch.float64)[[1, 0, 2, 3]]  # time and x exchanged: ηaᵀηa has eigenvalues −1
    with pytest.raises(ShapeError, match="polar factor"):
        Lorentz().project(swapped)
    for wrong in (torch.zeros(4, 4), torch.full((4, 4), torch.nan)):
        with pytest.raises(ShapeError, match="polar factor"):
            Lorentz().project(wrong)
    with pytest.raises(ShapeError, match="reverses"):
        Lorentz(proper=True).project(ETA)
    torch.testing.assert_close(Lorentz().project(ETA), ETA)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_action(group: Lorentz) -> None:
    g, h = group.sample((2,), generator(11))
    x = torch.randn(3, 5, 4, generator=generator(12), dtype=torch.float64)
    torch.testing.assert_close(group.act(g @ h, x), group.act(g, group.act(h, x)), atol=1e-12, rtol=0)
    torch.testing.assert_close(group.act(g, x)[1, 2], g @ x[1, 2])


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_dot_products(group: Lorentz) -> None:
    g = group.sample((4,), generator(13), rapidity=1.0)
    x = torch.randn(4, 6, 4, generator=generator(14), dtype=torch.float64)
    y = group.act(g, x)
    torch.testing.assert_close(y @ ETA @ y.transpose(-1, -2), x @ ETA @ x.transpose(-1, -2), atol=1e-10, rtol=0)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_empty_batches_and_other_layouts(group: Lorentz) -> None:
    g = group.sample((0,))
    assert g.shape == (0, 4, 4)
    assert group.log(g).shape == (0, 6)
    assert group.project(g).shape == g.shape
    assert group.contains(g).shape == (0,)
    g = group.sample((6,), generator(15))
    turned = g.transpose(0, 2).contiguous().transpose(0, 2)
    assert not turned.is_contiguous()
    torch.testing.assert_close(group.project(turned), group.project(g))


def test_wrong_input() -> None:
    with pytest.raises(ShapeError, match="4, 4"):
        Lorentz().contains(torch.eye(3))
    with pytest.raises(ShapeError, match="points"):
        Lorentz().act(torch.eye(4), torch.zeros(5, 3))
    with pytest.raises(ShapeError, match="coordinates"):
        Lorentz().exp(torch.zeros(5))
    with pytest.raises(ShapeError, match="rapidity"):
        Lorentz().boost(torch.zeros(4))

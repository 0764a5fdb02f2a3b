"""O, SO, E and SE in several dimensions."""

from __future__ import annotations

import math

import pytest
import torch

from equitools.errors import ConfigError, ShapeError
from equitools.groups import SE, SO, E, MatrixGroup, O, axis_angle_to_matrix

GROUPS = [O(2), O(3), SO(2), SO(3), SO(5), E(3), SE(2), SE(3)]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_samples_are_elements(group: MatrixGroup) -> None:
    g = group.sample((20,), generator(0))
    assert group.contains(g, 1e-10).all()
    assert not group.contains(2 * g).any()
    noisy = g + 0.01 * torch.randn(g.shape, generator=generator(1), dtype=g.dtype)
    assert group.contains(group.project(noisy), 1e-10).all()
    torch.testing.assert_close(group.project(g), g, atol=1e-10, rtol=0)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_action(group: MatrixGroup) -> None:
    g, h = group.sample((2,), generator(2))
    x = torch.randn(4, group.n, generator=generator(3), dtype=torch.float64)
    torch.testing.assert_close(group.act(g @ h, x), group.act(g, group.act(h, x)), atol=1e-12, rtol=0)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_log_inverts_exp(group: MatrixGroup) -> None:
    assert group.algebra_basis.shape == (group.dim, group.size, group.size)
    x = 0.5 * torch.randn(6, group.dim, generator=generator(4), dtype=torch.float64)
    g = group.exp(x)
    assert group.contains(g, 1e-10).all()
    torch.testing.assert_close(group.log(g), x, atol=1e-9, rtol=0)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_projection(group: MatrixGroup) -> None:
    g = group.sample((5,), generator(7))
    torch.testing.assert_close(group.project(g), g, atol=1e-12, rtol=0)
    a = g + 0.2 * torch.randn(g.shape, generator=generator(8), dtype=g.dtype)
    nearest, n = group.project(a), group.n
    distance = (nearest - a)[..., :n, :n].norm(dim=(-1, -2))
    for other in group.sample((20,), generator(9)):
        assert ((other - a)[..., :n, :n].norm(dim=(-1, -2)) >= distance).all()


@pytest.mark.parametrize("group", [SO(2), SO(3), SO(4), SE(2), SE(3), E(3), SE(4)], ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_exp_inverts_log(group: MatrixGroup, dtype: torch.dtype, tolerance: float) -> None:
    g = group.sample((30,), generator(10), dtype)
    assert group.contains(g).all()
    g = g[torch.linalg.det(g) > 0]
    torch.testing.assert_close(group.exp(group.log(g)), g, atol=tolerance, rtol=0)


@pytest.mark.parametrize("group", [SO(2), SO(3), SE(2), SE(3)], ids=str)
@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-8, 1e-5, 1e-3])
def test_log_near_a_half_turn(group: MatrixGroup, gap: float) -> None:
    x = torch.randn(20, group.dim, generator=generator(11), dtype=torch.float64)
    turn = x[:, : group.n * (group.n - 1) // 2]
    turn.mul_((math.pi - gap) / turn.norm(dim=-1, keepdim=True))
    back = group.log(group.exp(x))
    torch.testing.assert_close(group.exp(back), group.exp(x), atol=1e-12, rtol=0)
    if gap > 1e-9:  # nearer, the sign of the axis is lost in the last digit
        torch.testing.assert_close(back, x, atol=1e-12 / min(1.0, gap), rtol=0)


def test_log_has_a_gradient() -> None:
    for scale in (0.0, 1e-5, 0.7):
        x = (scale * torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64)).requires_grad_()
        # The function is smooth only on the group, so that it is composed with exp.
        jacobian = torch.autograd.functional.jacobian(lambda v: SO(3).log(SO(3).exp(v)), x)
        torch.testing.assert_close(jacobian.reshape(3, 3), torch.eye(3, dtype=torch.float64), atol=1e-9, rtol=0)


def test_haar_invariance() -> None:
    g = SO(3).sample((20000,), generator(5))
    fixed = SO(3).sample((), generator(6))
    for sample in (g, g @ fixed):
        assert float(sample.mean(0).abs().max()) < 0.025
        assert abs(float(sample[:, 0, 0].square().mean()) - 1 / 3) < 0.01


def test_log_at_a_half_turn() -> None:
    axis = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    turn = axis_angle_to_matrix(axis, torch.tensor(math.pi, dtype=torch.float64))
    x = SO(3).log(turn)
    assert abs(float(x.norm()) - math.pi) < 1e-7
    torch.testing.assert_close(SO(3).exp(x), turn, atol=1e-7, rtol=0)
    torch.testing.assert_close(SO(3).log(torch.eye(3, dtype=torch.float64)), torch.zeros(3, dtype=torch.float64))


def test_coordinates_are_angle_times_axis() -> None:
    x = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64)
    torch.testing.assert_close(SO(3).exp(x), axis_angle_to_matrix(x, x.norm()), atol=1e-12, rtol=0)


@pytest.mark.parametrize("group", [SO(1), SO(3), SO(4), E(1), SE(3)], ids=str)
def test_empty_batches(group: MatrixGroup) -> None:
    g = group.sample((0,))
    assert g.shape == (0, group.size, group.size)
    assert group.log(g).shape == (0, group.dim)
    assert group.exp(torch.zeros(0, group.dim)).shape == g.shape
    assert group.project(g).shape == g.shape
    assert group.contains(g).shape == (0,)


def test_wrong_input() -> None:
    for wrong in (0, 2.5, "3", True):
        with pytest.raises(ConfigError):
            SO(wrong)
    with pytest.raises(ShapeError, match="points"):
        SO(3).act(torch.eye(3), torch.zeros(5, 2))
    with pytest.raises(ShapeError, match="floating-point"):
        SO(3).contains(torch.eye(3, dtype=torch.int64))
    assert not SO(3).contains(torch.full((3, 3), torch.nan))
    with pytest.raises(ShapeError, match="coordinates"):
        SO(3).exp(torch.zeros(4))
    with pytest.raises(ShapeError, match="determinant"):
        O(3).log(-torch.eye(3))
    with pytest.raises(ShapeError, match="4, 4"):
        SE(3).act(torch.eye(3), torch.zeros(2, 3))

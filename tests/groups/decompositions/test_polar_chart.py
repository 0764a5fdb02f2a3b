"""The polar chart of whole groups: round trips, continuity, densities."""

from __future__ import annotations

import math

import pytest
import torch
from decomposition_cases import generator, of_condition, relative_error
from torch import Tensor

from equitools.errors import ShapeError, UnknownNameError
from equitools.groups import parse_group
from equitools.groups.decompositions import (
    polar_chart,
    polar_chart_inverse,
    polar_chart_log_density,
    polar_chart_sizes,
)

NAMES = [
    "GL+(1)", "GL+(2)", "GL+(3)", "GL+(4)", "SL(2)", "SL(3)", "Sp(2)", "Sp(4)", "Sp(6)", "SO(2)", "SO(3)", "SO(4)",
    "SO(5)", "SE(2)", "SE(3)", "SIM(2)", "SIM(3)", "SO+(1,3)", "R^2:GL+(2)", "R^2:SL(2)", "R^3:GL+(3)", "R^4:Sp(4)",
    "R^4:SO+(1,3)",
]  # fmt: skip


def coordinates(name: str, seed: int, batch: tuple[int, ...] = (10,)) -> Tensor:
    x = torch.randn(*batch, sum(polar_chart_sizes(name)), generator=generator(seed), dtype=torch.float64)
    return 0.6 * x


@pytest.mark.parametrize("name", NAMES)
def test_chart_round_trip(name: str) -> None:
    group, x = parse_group(name), coordinates(name, 1)
    assert sum(polar_chart_sizes(group)) == group.dim
    g = polar_chart_inverse(name, x)
    assert group.contains(g).all()
    torch.testing.assert_close(polar_chart(group, g), x, atol=1e-11, rtol=0)
    assert polar_chart(name, g[:0]).shape == (0, group.dim)
    single = polar_chart(name, g.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), x, atol=1e-4, rtol=0)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_chart_at_condition_ten_thousand(n: int) -> None:
    g = of_condition(50, n, 1e4, n)
    name = f"GL+({n})"
    back = polar_chart_inverse(name, polar_chart(name, g))
    assert relative_error(back, g) < 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_chart_derivatives(name: str) -> None:
    group, x = parse_group(name), coordinates(name, 2, (1,)).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: polar_chart_inverse(group, y), x)
    # from the group, along it: the identity
    jacobian = torch.autograd.functional.jacobian(
        lambda y: polar_chart(group, polar_chart_inverse(group, y))[0], x.detach()
    )
    torch.testing.assert_close(jacobian[:, 0], torch.eye(group.dim, dtype=torch.float64), atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", ["GL+(2)", "GL+(3)", "SL(2)"])
def test_chart_second_derivatives(name: str) -> None:
    n = parse_group(name).n

    def chart(a: Tensor) -> Tensor:
        return polar_chart(name, a / torch.linalg.det(a).pow(1 / n)[..., None, None] if name == "SL(2)" else a)

    assert torch.autograd.gradgradcheck(chart, of_condition(1, n, 4.0, 8).requires_grad_())
    eye = torch.eye(n, dtype=torch.float64).requires_grad_()  # where all stretches are equal
    assert torch.autograd.gradcheck(chart, eye)
    assert torch.autograd.gradgradcheck(chart, eye)


@pytest.mark.parametrize("name", NAMES)
def test_chart_is_continuous_at_the_identity(name: str) -> None:
    group = parse_group(name)
    for sign in (-1.0, 1.0):
        x = torch.full((group.dim,), sign * 1e-7, dtype=torch.float64)
        found = polar_chart(group, group.exp(x))
        assert float(found.abs().max()) < 2e-7


def test_angles_are_wrapped_around_zero() -> None:
    angles = torch.tensor([-3.1, -0.001, 0.0, 0.001, 3.1, math.pi], dtype=torch.float64)
    turn = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], -1).reshape(-1, 2, 2)
    found = polar_chart("GL+(2)", turn)
    torch.testing.assert_close(found[:, -1], angles)
    torch.testing.assert_close(found[:, :-1], torch.zeros(6, 3, dtype=torch.float64))


@pytest.mark.parametrize("name", ["GL+(2)", "SL(3)", "Sp(4)", "SO+(1,3)", "SIM(3)"])
def test_chart_agrees_with_log(name: str) -> None:
    group = parse_group(name)
    translation, stretch, _ = polar_chart_sizes(name)
    x = coordinates(name, 3)
    for part in ("stretch", "turn"):
        y = x.clone()
        y[:, :translation] = 0
        if part == "stretch":
            y[:, translation + stretch :] = 0
        else:
            y[:, translation : translation + stretch] = 0
        found = group.log(polar_chart_inverse(name, y))
        wanted, ours = found.sort(-1).values, y.sort(-1).values  # the order of the basis is another
        torch.testing.assert_close(wanted, ours, atol=1e-11, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_chart_densities_are_numeric_jacobians(name: str) -> None:
    group = parse_group(name)
    for seed in (5, 6):
        x = 1.7 * coordinates(name, seed, ())
        g = polar_chart_inverse(group, x)
        jacobian = torch.autograd.functional.jacobian(lambda y: polar_chart_inverse(group, y), x)
        moved = group.vee(torch.linalg.solve(g, jacobian.movedim(-1, 0)))
        wanted = torch.linalg.slogdet(moved)[1]
        found = polar_chart_log_density(group, x)
        assert float((found - wanted).abs()) < 1e-8
    zero = torch.zeros(group.dim, dtype=torch.float64)
    assert float(polar_chart_log_density(group, zero).abs()) < 1e-13
    batch = polar_chart_log_density(group, coordinates(name, 7, (2, 3)))
    assert batch.shape == (2, 3)


@pytest.mark.parametrize("name", ["GL+(3)", "Sp(4)", "SO(4)"])
def test_density_gradients_are_finite_at_the_identity(name: str) -> None:
    x = torch.zeros(sum(polar_chart_sizes(name)), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(polar_chart_log_density(name, x), x)
    assert float(gradient.abs().max()) < 1e-13
    x = coordinates(name, 9, ()).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: polar_chart_log_density(name, y), x)


def test_what_has_no_coordinates_is_refused() -> None:
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    with pytest.raises(ShapeError, match="reverses orientation or time"):
        polar_chart("O(3)", mirror)
    time = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64))
    with pytest.raises(ShapeError, match="reverses orientation or time"):
        polar_chart("O(1,3)", time)
    with pytest.raises(ShapeError, match="no element"):
        polar_chart("SO(3)", 2 * torch.eye(3))
    with pytest.raises(ShapeError, match="has 4 coordinates"):
        polar_chart_inverse("GL+(2)", torch.zeros(3))
    with pytest.raises(UnknownNameError, match="no polar decomposition"):
        polar_chart("Torus(2)", torch.eye(4))

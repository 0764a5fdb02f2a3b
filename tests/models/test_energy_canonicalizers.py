"""Canonicalizers that minimise an energy: equivariance, descent, stationarity, and derivatives of the minimiser."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups import finite_group, parse_group
from equitools.models import EnergyCanonicalizer
from equitools.symmetrize import Canonicalize, inverse

B, N = 3, 6


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Energy(torch.nn.Module):
    """Smooth, of no symmetry but that of permutations; bounded below in translations."""

    def __init__(self, d: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.point = torch.nn.Sequential(torch.nn.Linear(d, 12), torch.nn.Tanh(), torch.nn.Linear(12, 1)).double()

    def forward(self, points: Tensor, mask: Tensor | None = None) -> Tensor:
        found = self.point(points).squeeze(-1) + 0.05 * points.square().sum(-1)
        return found.sum(1) if mask is None else (found * mask).sum(1)


def build(group: str, **options: Any) -> EnergyCanonicalizer:
    return EnergyCanonicalizer(Energy(parse_group(group).n), group, **options)


def energy_of(pose: EnergyCanonicalizer, element: Tensor, x: Tensor) -> Tensor:
    return pose.energy(pose.group.act(inverse(element), x))


GROUPS = ["SO(2)", "O(2)", "SO(3)", "O(3)", "SE(3)", "E(2)", "SO(4)"]


@pytest.mark.parametrize("group", GROUPS)
def test_equivariance(group: str) -> None:
    pose, parsed = build(group), parse_group(group)
    x, h = random(1, B, N, parsed.n), parsed.sample((B,), torch.Generator().manual_seed(2))
    element = pose(x)
    assert bool(parsed.contains(element, 1e-9).all())
    torch.testing.assert_close(pose(parsed.act(h, x)), h @ element, atol=1e-8, rtol=1e-8)
    mask = torch.ones(B, N, dtype=torch.bool)
    mask[1, 4:] = False
    spoilt = torch.where(mask.unsqueeze(-1), x, torch.full_like(x, 9.0))
    torch.testing.assert_close(pose(spoilt, mask)[1], pose(x[1:2, :4])[0], atol=1e-8, rtol=0)


@pytest.mark.parametrize("method", ["newton", "gradient"])
@pytest.mark.parametrize("group", ["SO(3)", "E(3)"])
def test_descent(group: str, method: str) -> None:
    pose, x = build(group, method=method, steps=30), random(1, B, N, 3)
    start, end = build(group, steps=0).candidates(x), pose.candidates(x)
    assert start.energies.shape == end.energies.shape == (B, 4 if group == "SO(3)" else 8)
    assert bool((end.energies <= start.energies + 1e-9).all())
    assert bool((end.energies < start.energies - 1e-3).any(1).all())
    lowest = energy_of(pose, pose(x), x)
    torch.testing.assert_close(lowest, end.energies.min(1).values, atol=1e-12, rtol=0)
    # nothing near is lower
    for seed in range(8):
        near = pose.group.exp(0.05 * random(seed, B, pose.group.dim))
        assert bool((energy_of(pose, pose(x) @ near, x) >= lowest - (1e-9 if method == "newton" else 1e-3)).all())


def test_the_lowest_of_many_starts_is_a_global_minimum() -> None:
    """Against a search over the circle."""
    pose, x = build("SO(2)", starts=finite_group("C12(2)")), random(1, B, N, 2)
    angles = torch.linspace(0, 2 * torch.pi, 2001, dtype=torch.float64).unsqueeze(1)
    turns = parse_group("SO(2)").exp(angles)
    scan = torch.stack([energy_of(pose, turn.expand(B, 2, 2), x) for turn in turns])
    found = energy_of(pose, pose(x), x)
    assert bool((found <= scan.amin(0) + 1e-12).all())
    torch.testing.assert_close(found, scan.amin(0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("group", ["SO(2)", "SO(3)", "SE(2)"])
def test_implicit_derivative(group: str) -> None:
    pose = build(group)
    x = random(1, 1, 4, parse_group(group).n).requires_grad_()
    assert torch.autograd.gradcheck(pose, (x,), atol=1e-6, eps=1e-5)


@pytest.mark.parametrize("method", ["newton", "gradient"])
def test_unrolled_steps_have_the_derivative_of_the_minimum(method: str) -> None:
    x, weight = random(1, B, N, 2).requires_grad_(), random(2, B, 2, 2)
    found = []
    for differentiate in ("implicit", "unrolled"):
        pose = build("SO(2)", differentiate=differentiate, method=method, steps=60, tolerance=1e-9)
        found.append(torch.autograd.grad((pose(x) * weight).sum(), [x, *pose.parameters()], allow_unused=True))
    for implicit, unrolled in zip(*found, strict=True):
        if implicit is not None:
            torch.testing.assert_close(unrolled, implicit, atol=1e-5, rtol=1e-4)


def test_derivatives_by_parameters() -> None:
    """The energy learns: the minimiser's derivative by a parameter, against finite differences."""
    pose, x, weight = build("SO(3)"), random(1, B, N, 3), random(2, B, 3, 3)
    parameter = pose.energy.point[0].bias  # type: ignore[union-attr, index]
    (found,) = torch.autograd.grad((pose(x) * weight).sum(), parameter)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            parameter[3] += sign * 1e-5
            values.append(float((pose(x) * weight).sum()))
            parameter[3] -= sign * 1e-5
    assert float(found[3]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-6)


def test_forces_of_a_pipeline_agree_with_finite_differences() -> None:
    torch.manual_seed(5)
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    model = Canonicalize(lambda y: net(y).sum(1), build("SO(3)"), "points", "scalar")
    x = random(1, 1, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(model, (x,), atol=1e-6, eps=1e-5)


def test_no_derivative_where_none_is_asked_for() -> None:
    x = random(1, B, N, 3).requires_grad_()
    assert not build("SO(3)", differentiate="none")(x).requires_grad
    assert build("SO(3)", steps=0)(x).requires_grad  # of the starts
    with torch.no_grad():
        assert not build("SO(3)")(x).requires_grad


def test_symmetric_clouds_have_one_canonical_pose() -> None:
    """Corners of a cube: 24 minima, one pose as a set."""
    cube = torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=torch.float64)] * 3).unsqueeze(0)
    pose, group = build("SO(3)", starts=finite_group("O")), parse_group("SO(3)")
    model = Canonicalize(lambda y: (y.unsqueeze(-1) ** torch.arange(1, 5)).sum(1).flatten(1), pose, "points", "scalar")
    h = group.sample((1,), torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(cube @ h.mT), model(cube), atol=1e-7, rtol=0)
    x = cube.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(pose(x)[0, 0, 1], x)
    assert bool(gradient.isfinite().all())


def test_an_energy_that_is_linear_or_flat() -> None:
    x = random(1, B, N, 3)
    flat = EnergyCanonicalizer(lambda y: y.square().sum((1, 2)), "SO(3)")
    assert bool(parse_group("SO(3)").contains(flat(x.requires_grad_()), 1e-9).all())
    up = EnergyCanonicalizer(lambda y: -y[:, 0, 2], "SO(3)")  # the first point goes up
    canonical = x @ up(x)
    torch.testing.assert_close(canonical[:, 0, 2], x[:, 0].norm(dim=-1), atol=1e-9, rtol=0)


def test_shapes_and_dtypes() -> None:
    pose = EnergyCanonicalizer(Energy(3).float(), "SE(3)")
    assert pose(torch.randn(2, N, 3)).dtype == torch.float32
    assert pose(torch.randn(0, N, 3)).shape == (0, 4, 4)


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'newton'"):
        build("SO(3)", method="newtn")
    with pytest.raises(ConfigError, match="'implicit'"):
        build("SO(3)", differentiate="implicitly")
    with pytest.raises(ConfigError, match="steps"):
        build("SO(3)", steps=-1)
    with pytest.raises(ShapeError, match=r"\[K, 3, 3\]"):
        build("SO(3)", starts=torch.eye(3))
    with pytest.raises(ShapeError, match=r"must return \[12\] numbers"):
        EnergyCanonicalizer(lambda y: y.sum(1), "SO(3)")(random(0, B, N, 3))
    with pytest.raises(ShapeError, match="not finite"):
        EnergyCanonicalizer(lambda y: y.sum((1, 2)) / 0, "SO(3)", steps=0)(random(0, B, N, 3))


def test_masks_are_not_dropped() -> None:
    def blind(y: Tensor) -> Tensor:
        return y[..., 0].sum(1) ** 3 + y[..., 1].tanh().sum(1)

    def seeing(y: Tensor, **options: Tensor) -> Tensor:
        return blind(y * options["mask"].unsqueeze(-1)) if options else blind(y)

    x, mask = random(1, B, N, 3), torch.ones(B, N, dtype=torch.bool)
    pose = EnergyCanonicalizer(blind, "SO(3)", steps=0)
    torch.testing.assert_close(pose(x, mask), pose(x))
    mask[1, 4:] = False
    with pytest.raises(ConfigError, match="no parameter 'mask'"):
        pose(x, mask)
    element = EnergyCanonicalizer(seeing, "SO(3)", steps=0)(x, mask)
    torch.testing.assert_close(element[1:2], pose(x[1:2, :4]), atol=1e-9, rtol=0)


def test_coordinates_have_to_be_finite() -> None:
    with pytest.raises(ShapeError, match="Coordinates are not finite"):
        build("SO(3)")(torch.full((B, N, 3), torch.inf).double())

"""Orbit invariants, orbit distance and the projection that keeps equivariance."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, UnknownNameError
from equitools.groups import Lorentz, parse_group, polar_factor
from equitools.symmetrize import orbit_distance, orbit_invariants, orbit_project, orbit_projectable

NAMES = ["O(2)", "O(3)", "SO(2)", "SO(3)", "SO(4)", "SL(2)", "SL(3)", "O(1,3)", "SO+(1,3)"]
LORENTZ = ["O(1,3)", "SO+(1,3)"]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample(name: str, count: int, seed: int) -> Tensor:
    """Random elements of a group."""
    if name.startswith("SL"):
        g = torch.randn(count, int(name[3]), int(name[3]), generator=generator(seed), dtype=torch.float64)
        g[:, 0] *= torch.linalg.det(g).sign()[:, None]
        return g / torch.linalg.det(g).pow(1 / g.shape[-1])[:, None, None]
    group = parse_group(name)
    if isinstance(group, Lorentz):
        return group.sample((count,), generator(seed), rapidity=0.8)
    return group.sample((count,), generator(seed))


def matrices(name: str, count: int, seed: int) -> Tensor:
    """Random matrices, of which none is an element."""
    d = sample(name, 1, 0).shape[-1]
    return torch.randn(count, d, d, generator=generator(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
def test_invariance(name: str) -> None:
    h, g = sample(name, 20, 1), matrices(name, 20, 2)
    first, second = orbit_invariants(g, name), orbit_invariants(h @ g, name)
    torch.testing.assert_close(second, first, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_zero_on_the_orbit(name: str) -> None:
    h, reference = sample(name, 20, 3), matrices(name, 1, 4)[0]
    assert float(orbit_distance(h, name).max()) < 1e-20
    assert float(orbit_distance(h @ reference, name, reference).max()) < 1e-18
    assert float(orbit_distance(h, name, p=1).max()) < 1e-10


@pytest.mark.parametrize("name", NAMES)
def test_separation(name: str) -> None:
    g = matrices(name, 200, 5)
    distance = orbit_distance(g, name)
    assert float(distance.min()) > 1e-6
    assert float(orbit_distance(2 * sample(name, 20, 6), name).min()) > 0.1
    # random matrices lie in different orbits
    invariants = orbit_invariants(g[:40], name)
    apart = (invariants.unsqueeze(0) - invariants.unsqueeze(1)).abs().amax(-1)
    assert float((apart + torch.eye(40)).min()) > 1e-6


@pytest.mark.parametrize("name", ["O(3)", "O(1,3)"])
def test_equal_invariants_mean_the_same_orbit(name: str) -> None:
    g, h = matrices(name, 10, 7), sample(name, 10, 8)
    other = h @ g  # equal invariants; the element between them is h again, and is one of the group
    between = other @ torch.linalg.inv(g)
    assert parse_group(name).contains(between).all()
    # and a matrix that shares only a part of the invariants is no element times g
    assert float(orbit_distance(g.transpose(-1, -2), name, g).min()) > 1e-6


@pytest.mark.parametrize("d", [2, 3, 4])
def test_reflections_are_told_from_rotations(d: int) -> None:
    mirror = torch.eye(d, dtype=torch.float64)
    mirror[0, 0] = -1.0
    assert float(orbit_distance(mirror, f"O({d})")) == 0.0
    assert float(orbit_distance(mirror, f"SO({d})")) > 0.1
    assert float(orbit_distance(mirror, f"SL({d})")) > 1.0


def test_reflections_of_time_and_space_are_told_apart() -> None:
    eta, eye = torch.diag(torch.tensor([1.0, -1.0, -1.0, -1.0])).double(), torch.eye(4, dtype=torch.float64)
    for g in (eta, -eta, -eye):
        assert float(orbit_distance(g, "O(1,3)")) == 0.0
        assert float(orbit_distance(g, "SO+(1,3)")) > 0.05
    moved = Lorentz(proper=True).sample((10,), generator(9), rapidity=0.8)
    assert float(orbit_distance(-moved, "SO+(1,3)").min()) > 0.05  # its determinant is 1: only time tells
    assert float(orbit_distance(moved, "SO+(1,3)").max()) < 1e-20


@pytest.mark.parametrize("name", NAMES)
def test_left_invariance(name: str) -> None:
    h, g = sample(name, 10, 10), matrices(name, 10, 11)
    torch.testing.assert_close(orbit_distance(h @ g, name), orbit_distance(g, name), atol=1e-8, rtol=1e-8)


def test_the_published_invariants_of_plane_rotations() -> None:
    g = matrices("SO(2)", 5, 12)
    got = orbit_invariants(g, "SO(2)")
    lengths, inner = g.norm(dim=1), (g[:, :, 0] * g[:, :, 1]).sum(1)
    wanted = torch.stack([lengths[:, 0] ** 2, inner, inner, lengths[:, 1] ** 2, torch.linalg.det(g)], 1)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("p", [1, 2, 3])
def test_derivatives_of_the_distance(name: str, p: int) -> None:
    g = matrices(name, 2, 13).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: orbit_distance(x, name, p=p), g)
    assert torch.autograd.gradgradcheck(lambda x: orbit_distance(x, name, p=p), g)
    one = torch.eye(g.shape[-1], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(orbit_distance(one, name, p=p), one)
    assert not gradient.any()  # zero, and not NaN


@pytest.mark.parametrize("name", NAMES)
def test_projection(name: str) -> None:
    h, g = sample(name, 20, 14), matrices(name, 20, 15)
    torch.testing.assert_close(orbit_project(h, name), h, atol=1e-9, rtol=0)  # projection: elements stay
    projected = orbit_project(g, name)  # membership
    assert float(orbit_distance(projected, name).max()) < 1e-14
    if not name.startswith("SL"):
        assert parse_group(name).contains(projected).all()
    torch.testing.assert_close(orbit_project(h @ g, name), h @ projected, atol=1e-7, rtol=1e-7)  # left_equivariance


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_of_the_projection(name: str) -> None:
    g = (torch.eye(matrices(name, 1, 0).shape[-1]) + 0.4 * matrices(name, 1, 16)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: orbit_project(x, name), g, atol=1e-4)
    assert torch.autograd.gradgradcheck(lambda x: orbit_project(x, name), g, atol=1e-3, rtol=1e-2)
    one = torch.eye(g.shape[-1], dtype=torch.float64).unsqueeze(0).requires_grad_()  # in the group: all values coincide
    assert torch.autograd.gradcheck(lambda x: orbit_project(x, name), one)


@pytest.mark.parametrize("name", LORENTZ)
def test_projection_exists_where_the_polar_factor_does_not(name: str) -> None:
    swapped = torch.eye(4, dtype=torch.float64)[[1, 0, 2, 3]] + 0.1 * matrices(name, 1, 17)[0]
    with pytest.raises(ShapeError, match="polar"):
        polar_factor(swapped, Lorentz.signature)
    assert parse_group(name).contains(orbit_project(swapped, name))


@pytest.mark.parametrize("name", NAMES)
def test_projectable_is_what_can_be_projected(name: str) -> None:
    g = matrices(name, 4, 21)
    g[1, :, 0] = 0.0  # singular
    g[2, 0, 0] = torch.nan
    good = orbit_projectable(g, name)
    assert good.tolist() == [True, False, False, True]
    orbit_project(g[good], name)
    for k in (1, 2):
        with pytest.raises(ShapeError):
            orbit_project(g[k], name)
    assert orbit_projectable(g[:0], name).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_dtypes_and_layouts(name: str, dtype: torch.dtype) -> None:
    g = matrices(name, 6, 18).to(dtype)
    d = g.shape[-1]
    assert orbit_invariants(g[:0], name).shape[0] == 0
    assert orbit_distance(g[:0], name).shape == (0,)
    assert orbit_project(g[:0], name).shape == (0, d, d)
    assert orbit_distance(g[0], name).shape == ()
    folded = g.reshape(2, 3, d, d)
    assert orbit_project(folded, name).shape == folded.shape
    assert orbit_project(folded, name).dtype == orbit_distance(g, name).dtype == dtype
    turned = g.transpose(0, 2).contiguous().transpose(0, 2)
    torch.testing.assert_close(orbit_project(turned, name), orbit_project(g, name))
    torch.testing.assert_close(orbit_distance(turned, name), orbit_distance(g, name))


def test_wrong_input() -> None:
    eye = torch.eye(3)
    with pytest.raises(UnknownNameError, match="SO"):
        orbit_invariants(eye, "SE(3)")
    with pytest.raises(UnknownNameError):
        orbit_project(eye, "U(3)")
    with pytest.raises(ShapeError, match="3, 3"):
        orbit_invariants(torch.eye(4), "SO(3)")
    with pytest.raises(ShapeError, match="floating point"):
        orbit_project(torch.eye(3, dtype=torch.int64), "SO(3)")
    with pytest.raises(ShapeError, match="Reference"):
        orbit_distance(eye, "SO(3)", torch.eye(2))
    with pytest.raises(ConfigError, match="at least 1"):
        orbit_distance(eye, "SO(3)", p=0.5)
    for name, d in (("SO(3)", 3), ("SL(3)", 3), ("O(1,3)", 4), ("O(3)", 3)):
        with pytest.raises(ShapeError, match="singular"):
            orbit_project(torch.zeros(d, d), name)
        with pytest.raises(ShapeError, match="finite"):
            orbit_project(torch.full((d, d), torch.nan), name)

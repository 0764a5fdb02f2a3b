"""The labelled set of solids: reproducible, on the surface, spread evenly over it, upright."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from equitools.data import SOLIDS, Solids, rotated, solids, unit_ball
from equitools.data.solids import surface
from equitools.errors import ConfigError, ShapeError, UnknownNameError

every = pytest.mark.parametrize("name", SOLIDS)


def drawn(name, count=4, points=400, seed=0):
    """Points of solids, and their proportions."""
    generator = torch.Generator().manual_seed(seed)
    parameters = {
        key: low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)
        for key, (low, high) in SOLIDS[name].ranges.items()
    }
    return surface(name, parameters, points, generator), {key: value.unsqueeze(1) for key, value in parameters.items()}


def test_seed_fixes_every_bit():
    options = {"points": 64, "noise": 0.02, "turned": True}
    one, again, other = (solids(40, seed=seed, **options) for seed in (3, 3, 4))
    assert isinstance(one, Solids)
    assert torch.equal(one.points, again.points)
    assert torch.equal(one.labels, again.labels)
    assert not torch.equal(one.points, other.points)
    before = torch.get_rng_state()
    solids(3, points=8)
    assert torch.equal(before, torch.get_rng_state())


def test_set():
    found = solids(60, points=32, seed=1, noise=0.05)
    assert found.points.shape == (60, 32, 3)
    assert found.points.dtype == torch.float32
    assert len(found.names) == len(SOLIDS) >= 10
    counts = found.labels.bincount(minlength=len(SOLIDS))
    assert counts.max() - counts.min() <= 1
    assert found.labels[:13].tolist() != sorted(found.labels[:13].tolist())
    assert torch.allclose(found.points.norm(dim=-1).amax(1), torch.ones(60), atol=1e-6)
    assert found.points.mean(1).abs().max() < 1e-6
    few = solids(5, points=8, classes=("mug", "cup"), dtype=torch.float64)
    assert (few.names, few.points.dtype) == (("mug", "cup"), torch.float64)
    assert solids(0).points.shape == (0, 1024, 3)


def test_clouds_are_those_of_their_label():
    found = solids(26, points=800, seed=2, dtype=torch.float64)
    for label, name in enumerate(found.names):
        extent = found.points[found.labels == label].amax(1) - found.points[found.labels == label].amin(1)
        if name == "torus":
            assert (extent[:, 2] < 0.7 * extent[:, :2].amin(1)).all()
        if name in {"ellipsoid", "capsule", "cylinder", "box", "spring", "l_shape"}:
            assert (extent[:, 2] > extent[:, :2].amax(1)).all()  # what is tall stands


def test_turned_solids_stay_upright():
    plain, turned = (solids(13, points=50, seed=5, turned=turn, dtype=torch.float64) for turn in (False, True))
    assert torch.equal(plain.points[..., 2], turned.points[..., 2])
    torch.testing.assert_close(plain.points.norm(dim=-1), turned.points.norm(dim=-1))
    assert (plain.points - turned.points).abs().amax((1, 2)).min() > 1e-3


def test_noise_has_the_stated_size():
    """On a sphere-like solid the radial part of the noise can be seen: √noise² of each coordinate."""
    clean, noisy = (solids(20, points=4000, seed=6, noise=s, classes=("capsule",)).points for s in (0.0, 0.03))
    # the noise is drawn after everything else, so that the clouds are the same but for it, and for the scaling
    ratio = noisy.std(1).mean() / clean.std(1).mean()
    off = noisy / ratio - clean
    assert off.std().item() == pytest.approx(0.03 / ratio.item(), rel=0.1)


def test_rotated():
    x = torch.randn(5, 7, 3, dtype=torch.float64)
    out = rotated(x, torch.Generator().manual_seed(0))
    assert torch.equal(out, rotated(x, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(torch.cdist(out, out), torch.cdist(x, x))
    volume = [torch.linalg.det(t[:, :3]) for t in (out, x)]
    torch.testing.assert_close(*volume)  # no reflection
    assert (out - x).abs().amax((1, 2)).min() > 1e-2
    with pytest.raises(ShapeError, match=r"\[B, N, 3\]"):
        rotated(x[0])


def test_unit_ball():
    x = unit_ball(5 + torch.randn(2, 9, 3, dtype=torch.float64))
    torch.testing.assert_close(x.norm(dim=-1).amax(1), torch.ones(2, dtype=torch.float64))
    assert not unit_ball(torch.ones(1, 1, 3)).any()


# ---- on the surface: how far each point is from solving the equation of its solid ------------------------------------


def planes(p, *normals):
    """Signed distances to planes: inside is negative, and on the surface of a convex body the largest is 0."""
    x, y, z = p.unbind(-1)
    return torch.stack([a * x + b * y + c * z - e for (a, b, c, e) in normals], -1).amax(-1)


def through(a, b, c, inner):
    """The plane through three corners as (normal, offset), pointing away from an inner point."""
    normal = torch.linalg.cross(b - a, c - a)
    normal = normal / normal.norm(dim=-1, keepdim=True)
    normal = normal * -torch.sign(((inner - a) * normal).sum(-1, keepdim=True))
    return *(normal[:, k : k + 1] for k in range(3)), (normal * a).sum(-1, keepdim=True)


def corner(like, x, y, z):
    return torch.cat([like * 0 + v for v in (x, y, z)], -1)


def tube(p, radius, rise, thickness, low, high):
    """Distance to a helix less the thickness, by a fine search for the nearest parameter, then Newton's method."""
    t = torch.linspace(0, 1, 4001, dtype=torch.float64) * (high - low) + low  # [n, T]

    def at(s):
        return torch.stack(torch.broadcast_tensors(radius * s.cos(), radius * s.sin(), rise * s), -1)

    best = torch.cdist(p, at(t)).argmin(-1)
    s = t.gather(1, best)
    for _ in range(20):
        off = p - at(s)
        speed = torch.stack(torch.broadcast_tensors(-radius * s.sin(), radius * s.cos(), rise + 0 * s), -1)
        bend = torch.stack(torch.broadcast_tensors(-radius * s.cos(), -radius * s.sin(), 0 * s), -1)
        s = s + (off * speed).sum(-1) / ((speed * speed).sum(-1) - (off * bend).sum(-1))
    inside = (s > low) & (s < high)
    return torch.where(inside, (p - at(s)).norm(dim=-1) - thickness, torch.nan)


def residual(name, p, q):
    """Zero on the surface."""
    x, y, z = p.unbind(-1)
    r = torch.hypot(x, y)
    if name == "ellipsoid":
        return (x / q["depth"]).square() + (y / q["width"]).square() + (z / q["height"]).square() - 1
    if name == "box":
        faces = torch.stack([x.abs() - q["width"] / 2, y.abs() - q["depth"] / 2, (z - q["height"] / 2).abs()], -1)
        faces[..., 2] -= q["height"] / 2
        return faces.amax(-1)
    if name == "cylinder":
        return torch.maximum(r - q["radius"], (z - q["height"] / 2).abs() - q["height"] / 2)
    if name == "cone":
        return torch.maximum(r - q["radius"] * (1 - z / q["height"]), -z)
    if name == "torus":
        return torch.hypot(r - q["radius"], z) - q["thickness"]
    if name == "capsule":
        return torch.hypot(r, z - z.clamp(min=0).minimum(q["height"])) - q["radius"]
    if name in {"cup", "mug"}:
        wall = (r - q["bottom"] - (q["top"] - q["bottom"]) * z / q["height"]).abs()
        cup = torch.minimum(wall, torch.where(r <= q["bottom"] + 1e-9, z.abs(), 1.0))
        if name == "cup":
            return cup
        bow = torch.hypot(x - (q["bottom"] + q["top"]) / 2, z - q["height"] / 2) - q["handle"]
        return torch.minimum(cup, (torch.hypot(bow, y) - q["thickness"]).abs())
    if name == "spring":
        rise = q["height"] / (2 * math.pi * q["turns"])
        return tube(p, q["radius"], rise, q["thickness"], 0 * rise, 2 * math.pi * q["turns"])
    if name == "l_shape":
        outer = planes(p, (-1, 0, 0, 0), (1, 0, 0, q["width"]), (0, 0, -1, 0), (0, 0, 1, q["height"]))
        outer = torch.maximum(outer, planes(p, (0, -1, 0, 0), (0, 1, 0, q["depth"])))
        return torch.maximum(outer, torch.minimum(x - q["upright"], z - q["foot"]))
    if name == "pyramid":
        a, b = q["width"] / 2, q["depth"] / 2
        corners = [corner(a, sx * a, sy * b, 0) for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        top, base = corner(a, 0, 0, q["height"]), [(0, 1, 2)]
        corners, sides = [*corners, top], [(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4)]
    elif name == "prism":
        a, b, h = q["width"] / 2, q["depth"], q["height"]
        corners = [corner(a, *c) for c in ((-a, 0, 0), (a, 0, 0), (0, b, 0), (-a, 0, h), (a, 0, h), (0, b, h))]
        base, sides = [(0, 1, 2), (3, 4, 5)], [(0, 1, 4), (1, 2, 5), (2, 0, 3)]
    else:
        assert name == "tetrahedron"
        a = q["radius"]
        angles = [2 * math.pi * k / 3 for k in range(3)]
        corners = [corner(a, a * math.cos(t), a * math.sin(t), 0) for t in angles]
        corners.append(corner(a, q["lean"], 0, q["height"]))
        base, sides = [(0, 1, 2)], [(0, 1, 3), (1, 2, 3), (2, 0, 3)]
    inner = torch.stack(corners).mean(0)
    return planes(p, *(through(corners[i], corners[j], corners[k], inner) for i, j, k in (*base, *sides)))


@every
def test_points_lie_on_the_surface(name):
    points, parameters = drawn(name)
    off = residual(name, points, parameters)
    if name == "spring":  # the two discs at its ends are no part of the tube
        assert off.isnan().double().mean() < 0.02
        off = off[~off.isnan()]
        assert (off.abs() < 1e-9).double().mean() > 0.98
    else:
        assert off.abs().max() < 1e-9
    moved = residual(name, points * 1.05 + 0.02, parameters)
    assert moved[~moved.isnan()].abs().mean() > 1e-3  # the equation does see points that are off


# ---- even density ----------------------------------------------------------------------------------------------------


def even(values, name):
    """A value that is uniform on (0, 1) where the density over the surface is constant."""
    p = stats.kstest(values.flatten().numpy(), "uniform").pvalue
    assert p > 1e-3, f"{name}: p = {p:.1e}"


def test_density_is_uniform():
    """Of each kind of piece one: what share of the area lies below a point is a uniform number."""
    points, q = drawn("torus", 3, 4000)
    radius, thick = q["radius"], q["thickness"]
    phi = torch.atan2(points[..., 2], torch.hypot(points[..., 0], points[..., 1]) - radius) % (2 * math.pi)
    even((radius * phi + thick * phi.sin()) / (2 * math.pi * radius), "torus")
    even(torch.atan2(points[..., 1], points[..., 0]) / (2 * math.pi) % 1, "torus, around")

    points, q = drawn("capsule", 3, 4000)  # on a capsule, as on a sphere, area goes with height
    even((points[..., 2] + q["radius"]) / (q["height"] + 2 * q["radius"]), "capsule")

    points, q = drawn("cone", 3, 4000)
    side = points[..., 2] > 1e-12
    share = (math.pi * q["radius"] * torch.hypot(q["radius"], q["height"])).squeeze(1)
    share = share / (share + math.pi * q["radius"].squeeze(1).square())
    got = side.double().mean(1)
    assert ((got - share).abs() < 4 * (share * (1 - share) / 4000).sqrt()).all()
    even(((1 - points[..., 2] / q["height"]).square())[side], "cone")
    even(((points[..., 0].square() + points[..., 1].square()) / q["radius"].square())[~side], "disc")


def test_density_on_faces():
    points, q = drawn("box", 3, 6000)
    w, d, h = q["width"], q["depth"], q["height"]
    total = 2 * (w * d + w * h + d * h)
    for axis, area, half in ((0, d * h, w / 2), (1, w * h, d / 2)):
        got = ((points[..., axis].abs() - half).abs() < 1e-12).double().mean(1)
        share = (2 * area / total).squeeze(1)
        assert ((got - share).abs() < 4 * (share * (1 - share) / 6000).sqrt()).all()
    front = (points[..., 1] - d / 2).abs() < 1e-12
    even((points[..., 0] / w + 0.5)[front], "box, along")
    even((points[..., 2] / h)[front], "box, up")


def test_density_on_the_ellipsoid():
    """The share of area in a cap against numerical integration, which knows nothing of how points are drawn."""
    points, q = drawn("ellipsoid", 3, 8000)
    theta = torch.linspace(0, math.pi, 801, dtype=torch.float64)[1:] - math.pi / 1600
    phi = torch.linspace(0, 2 * math.pi, 801, dtype=torch.float64)[1:]
    t, f = torch.meshgrid(theta, phi, indexing="ij")
    unit = torch.stack([t.sin() * f.cos(), t.sin() * f.sin(), t.cos()], -1)
    for row in range(3):
        axes = torch.stack([q[key][row, 0] for key in ("depth", "width", "height")])
        area = (unit / axes).norm(dim=-1) * t.sin()  # up to a constant
        for axis in range(3):
            share = float(area[unit[..., axis] > 0.5].sum() / area.sum())
            got = float((points[row, :, axis] > 0.5 * axes[axis]).double().mean())
            assert abs(got - share) < 4 * (share * (1 - share) / 8000) ** 0.5


def test_density_on_the_spring():
    """Around the tube, where the inner side has less surface than the outer one."""
    points, q = drawn("spring", 3, 6000)
    rise = q["height"] / (2 * math.pi * q["turns"])
    speed = q["radius"].square() + rise.square()
    t = torch.linspace(0, 1, 4001, dtype=torch.float64) * 2 * math.pi * q["turns"]
    line = torch.stack(torch.broadcast_tensors(q["radius"] * t.cos(), q["radius"] * t.sin(), rise * t), -1)
    distance, best = torch.cdist(points, line).min(-1)
    tube_only = (distance - q["thickness"]).abs() < 1e-4
    s = t.gather(1, best)
    inwards = q["radius"] - (points[..., 0] * s.cos() + points[..., 1] * s.sin())
    share = 0.5 - (q["thickness"] * q["radius"] / speed) / math.pi  # ∫(1 − q cos φ) over the half that faces the axis
    got = ((inwards > 0) & tube_only).double().sum(1) / tube_only.sum(1)
    share = share.squeeze(1)
    assert ((got - share).abs() < 4 * (share * (1 - share) / 6000).sqrt()).all()
    assert (share < 0.475).all()  # four standard deviations are 0.026: an even split over φ would be seen


def test_bad_input():
    with pytest.raises(UnknownNameError, match="Did you mean 'cone'"):
        solids(3, classes=("cane",))
    with pytest.raises(UnknownNameError, match="Did you mean 'cone'"):
        surface("cane", {}, 3, torch.Generator())
    with pytest.raises(ConfigError, match="proportions"):
        surface("cone", {"radius": torch.ones(1)}, 3, torch.Generator())
    with pytest.raises(ConfigError, match="once"):
        solids(3, classes=("cone", "cone"))
    for wrong in ({"num": -1}, {"num": 1, "points": 0}, {"num": 1, "noise": -1.0}, {"num": 1, "noise": math.nan}):
        with pytest.raises(ConfigError, match="num ≥ 0"):
            solids(**wrong)

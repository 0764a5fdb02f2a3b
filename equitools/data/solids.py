"""A labelled set of point clouds that needs no download: surfaces of solids with random proportions, standing upright.

It stands where a set of scanned or drawn objects would stand: enough to show what a network that has only seen upright
solids does with turned ones, and whether a wrapper mends it. Train and test sets are two seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, UnknownNameError, nearest
from equitools.groups import SO

__all__ = ["SOLIDS", "Solid", "Solids", "rotated", "solids", "surface", "unit_ball"]

Parameters = Mapping[str, Tensor]
Corner = tuple[Tensor | float, Tensor | float, Tensor | float]

Edge = tuple[Tensor | float, Tensor | float]


class Patch(NamedTuple):
    """A piece of surface of n solids.

    Attributes:
        area: ``[n]``.
        sample: Of a shape ``(n, P)`` and a generator, points ``[n, P, 3]`` with constant density.
    """

    area: Tensor
    sample: Callable[[tuple[int, int], torch.Generator], Tensor]


class Solid(NamedTuple):
    """A family of solids.

    Attributes:
        ranges: Lowest and highest value of each proportion.
        patches: The surface of solids with given proportions ``[n]``.
    """

    ranges: Mapping[str, tuple[float, float]]
    patches: Callable[[Parameters], list[Patch]]


class Solids(NamedTuple):
    """A set of point clouds.

    Attributes:
        points: ``[num, P, 3]``, centred, within the unit ball.
        labels: int64 ``[num]``, into ``names``.
        names: Of the classes.
    """

    points: Tensor
    labels: Tensor
    names: tuple[str, ...]


# ---- pieces of surfaces ---------------------------------------------------------------------------------------------


def _uniform(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def _stack(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return torch.stack(torch.broadcast_tensors(x, y, z), -1)


def _triangle(a: Tensor, b: Tensor, c: Tensor) -> Patch:
    """Return the triangle with the corners ``[n, 3]``."""

    def sample(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        root, v = _uniform(shape, generator).sqrt().unsqueeze(-1), _uniform(shape, generator).unsqueeze(-1)
        return (1 - root) * a.unsqueeze(1) + root * (1 - v) * b.unsqueeze(1) + root * v * c.unsqueeze(1)

    return Patch(torch.linalg.cross(b - a, c - a).norm(dim=-1) / 2, sample)


def _faces(corners: Tensor, faces: Sequence[Sequence[int]]) -> list[Patch]:
    """Return convex faces, each given by the numbers of its corners ``[n, V, 3]`` around it."""
    return [
        _triangle(corners[:, face[0]], corners[:, face[k]], corners[:, face[k + 1]])
        for face in faces
        for k in range(1, len(face) - 1)
    ]


def _mantle(low: Tensor, high: Tensor, bottom: Tensor, top: Tensor) -> Patch:
    """Return the side of a cone's frustum about z: radius ``low`` at the height ``bottom``, ``high`` at ``top``."""

    def sample(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        u, angle = _uniform(shape, generator), 2 * math.pi * _uniform(shape, generator)
        first, last = low.unsqueeze(1), high.unsqueeze(1)
        radius = (first.square() + u * (last.square() - first.square())).sqrt()
        height = u * (first + last) / (first + radius)  # 0 to 1; u itself for a cylinder
        z = bottom.unsqueeze(1) + height * (top - bottom).unsqueeze(1)
        return _stack(radius * angle.cos(), radius * angle.sin(), z)

    return Patch(math.pi * (low + high) * torch.hypot(high - low, top - bottom), sample)


def _disc(radius: Tensor, height: Tensor) -> Patch:
    """Return a horizontal disc about z."""

    def sample(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        r = radius.unsqueeze(1) * _uniform(shape, generator).sqrt()
        angle = 2 * math.pi * _uniform(shape, generator)
        return _stack(r * angle.cos(), r * angle.sin(), height.unsqueeze(1))

    return Patch(math.pi * radius.square(), sample)


def _half_sphere(radius: Tensor, height: Tensor, sign: int) -> Patch:
    """Return the upper (sign 1) or lower (−1) half of a sphere about (0, 0, height)."""

    def sample(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        z, angle = _uniform(shape, generator), 2 * math.pi * _uniform(shape, generator)
        r = (1 - z.square()).sqrt()
        unit = _stack(r * angle.cos(), r * angle.sin(), sign * z)
        return radius[:, None, None] * unit + _stack(0 * height, 0 * height, height).unsqueeze(1)

    return Patch(2 * math.pi * radius.square(), sample)


def _around_helix(
    radius: Tensor, rise: Tensor, angle: Tensor, away: Tensor, across: Tensor
) -> Tensor:  # [n, 1] or [n, P] each
    """Return points beside a helix about z, ``away`` along its normal (to the axis), ``across`` along its binormal."""
    speed = torch.hypot(radius, rise)
    x = (radius - away) * angle.cos() + across * rise / speed * angle.sin()
    y = (radius - away) * angle.sin() - across * rise / speed * angle.cos()
    return _stack(x, y, rise * angle + across * radius / speed)


def _tube(radius: Tensor, rise: Tensor, start: Tensor, end: Tensor, thickness: Tensor) -> Patch:
    """Return a tube around the helix (R cos t, R sin t, rise·t) for t from start to end."""

    def sample(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        u, v = _uniform(shape, generator), 2 * math.pi * _uniform(shape, generator)
        angle = start.unsqueeze(1) + u * (end - start).unsqueeze(1)
        # On the inner side of a bend there is less surface: the density over φ is 1 − q cos φ, its distribution
        # function is Kepler's equation.
        q = (thickness * radius / (radius.square() + rise.square())).unsqueeze(1)
        phi = v + q * v.sin()
        for _ in range(12):
            phi = phi - (phi - q * phi.sin() - v) / (1 - q * phi.cos())
        r = thickness.unsqueeze(1)
        return _around_helix(radius.unsqueeze(1), rise.unsqueeze(1), angle, r * phi.cos(), r * phi.sin())

    return Patch(2 * math.pi * thickness * torch.hypot(radius, rise) * (end - start), sample)


def _tube_end(radius: Tensor, rise: Tensor, at: Tensor, thickness: Tensor) -> Patch:
    """Return the disc that closes a tube."""

    def sample(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        r = thickness.unsqueeze(1) * _uniform(shape, generator).sqrt()
        phi = 2 * math.pi * _uniform(shape, generator)
        helix = radius.unsqueeze(1), rise.unsqueeze(1), at.unsqueeze(1)
        return _around_helix(*helix, r * phi.cos(), r * phi.sin())

    return Patch(math.pi * thickness.square(), sample)


# ---- solids: z is up ------------------------------------------------------------------------------------------------


def _corners(*points: Corner, like: Tensor) -> Tensor:
    """Return corners ``[n, V, 3]`` of coordinates that are ``[n]`` or numbers."""
    rows = [torch.stack([like * 0 + coordinate for coordinate in point], -1) for point in points]
    return torch.stack(rows, 1)


def _ellipsoid(p: Parameters) -> list[Patch]:
    axes = torch.stack([p["depth"], p["width"], p["height"]], -1).unsqueeze(1)

    def sample(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        out, missing = torch.zeros(*shape, 3, dtype=torch.float64), torch.ones(shape, dtype=torch.bool)
        while bool(missing.any()):  # a direction is taken with a chance proportional to how much the map stretches it
            unit = torch.nn.functional.normalize(
                torch.randn(*shape, 3, generator=generator, dtype=torch.float64), dim=2
            )
            stretch = (unit / axes).norm(dim=2) * axes.amin(2)
            taken = missing & (_uniform(shape, generator) < stretch)
            out = torch.where(taken.unsqueeze(2), unit * axes, out)
            missing = missing & ~taken
        return out

    return [Patch(torch.ones_like(p["depth"]), sample)]


def _box(p: Parameters) -> list[Patch]:
    x, y, z = p["width"] / 2, p["depth"] / 2, p["height"]
    bottom: list[Corner] = [(-x, -y, 0.0), (x, -y, 0.0), (x, y, 0.0), (-x, y, 0.0)]
    corners = _corners(*bottom, *((a, b, z) for a, b, _ in bottom), like=z)
    return _faces(corners, [(0, 1, 2, 3), (4, 5, 6, 7), *((k, (k + 1) % 4, (k + 1) % 4 + 4, k + 4) for k in range(4))])


def _cylinder(p: Parameters) -> list[Patch]:
    r, h = p["radius"], p["height"]
    return [_mantle(r, r, 0 * h, h), _disc(r, 0 * h), _disc(r, h)]


def _cone(p: Parameters) -> list[Patch]:
    r, h = p["radius"], p["height"]
    return [_mantle(r, 0 * r, 0 * h, h), _disc(r, 0 * h)]


def _torus(p: Parameters) -> list[Patch]:
    r = p["radius"]
    return [_tube(r, 0 * r, 0 * r, 0 * r + 2 * math.pi, p["thickness"])]


def _capsule(p: Parameters) -> list[Patch]:
    r, h = p["radius"], p["height"]
    return [_mantle(r, r, 0 * h, h), _half_sphere(r, h, 1), _half_sphere(r, 0 * h, -1)]


def _pyramid(p: Parameters) -> list[Patch]:
    x, y = p["width"] / 2, p["depth"] / 2
    corners = _corners((-x, -y, 0.0), (x, -y, 0.0), (x, y, 0.0), (-x, y, 0.0), (0.0, 0.0, p["height"]), like=x)
    return _faces(corners, [(0, 1, 2, 3), *((k, (k + 1) % 4, 4) for k in range(4))])


def _prism(p: Parameters) -> list[Patch]:
    x, y = p["width"] / 2, p["depth"]
    bottom: list[Corner] = [(-x, 0.0, 0.0), (x, 0.0, 0.0), (0.0, y, 0.0)]
    corners = _corners(*bottom, *((a, b, p["height"]) for a, b, _ in bottom), like=x)
    return _faces(corners, [(0, 1, 2), (3, 4, 5), *((k, (k + 1) % 3, (k + 1) % 3 + 3, k + 3) for k in range(3))])


def _tetrahedron(p: Parameters) -> list[Patch]:
    r = p["radius"]
    base: list[Corner] = [(r * math.cos(2 * math.pi * k / 3), r * math.sin(2 * math.pi * k / 3), 0.0) for k in range(3)]
    corners = _corners(*base, (p["lean"], 0.0, p["height"]), like=r)
    return _faces(corners, [(0, 1, 2), (0, 1, 3), (1, 2, 3), (2, 0, 3)])


def _spring(p: Parameters) -> list[Patch]:
    r, end, thickness = p["radius"], 2 * math.pi * p["turns"], p["thickness"]
    rise = p["height"] / end
    ends = [_tube_end(r, rise, at, thickness) for at in (0 * end, end)]
    return [_tube(r, rise, 0 * end, end, thickness), *ends]


def _l_shape(p: Parameters) -> list[Patch]:
    w, h, s, t, y = p["width"], p["height"], p["upright"], p["foot"], p["depth"]
    outline: list[tuple[Tensor | float, Tensor | float]] = [
        (0.0, 0.0),
        (s, 0.0),
        (w, 0.0),
        (w, t),
        (s, t),
        (s, h),
        (0.0, h),
    ]
    front: list[Corner] = [(a, 0.0, c) for a, c in outline]
    corners = _corners(*front, *((a, y, c) for a, c in outline), like=w)
    flat = [(1, 2, 3, 4), (0, 1, 4, 5), (0, 5, 6)]  # the foot; the rest is a convex pentagon with a straight corner
    around = [(k, (k + 1) % 7, (k + 1) % 7 + 7, k + 7) for k in range(7)]
    return _faces(corners, [*flat, *(tuple(k + 7 for k in face) for face in flat), *around])


def _cup(p: Parameters) -> list[Patch]:
    low, high, h = p["bottom"], p["top"], p["height"]
    return [_mantle(low, high, 0 * h, h), _disc(low, 0 * h)]


def _mug(p: Parameters) -> list[Patch]:
    half = 0 * p["handle"] + math.pi / 2
    arch = _tube(p["handle"], 0 * half, -half, half, p["thickness"])  # lies flat, opens to −x, about the origin
    radius = (p["bottom"] + p["top"]) / 2  # of the wall at half height

    def sample(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        x, y, z = arch.sample(shape, generator).unbind(-1)
        return _stack(x + radius.unsqueeze(1), z, y + p["height"].unsqueeze(1) / 2)

    return [*_cup(p), Patch(arch.area, sample)]


_CUP = {"bottom": (0.4, 0.55), "top": (0.55, 0.7), "height": (1.1, 1.6)}

#: The solids by name. All stand upright: z is up, and what is tall is tall along z. A cup has no lid and thin walls; a
#: mug is a cup with a handle.
SOLIDS: dict[str, Solid] = {
    "ellipsoid": Solid({"depth": (0.35, 0.55), "width": (0.65, 0.85), "height": (1.0, 1.3)}, _ellipsoid),
    "box": Solid({"depth": (0.4, 0.7), "width": (0.8, 1.1), "height": (1.3, 1.9)}, _box),
    "cylinder": Solid({"radius": (0.3, 0.6), "height": (1.3, 2.0)}, _cylinder),
    "cone": Solid({"radius": (0.4, 0.8), "height": (1.2, 2.0)}, _cone),
    "torus": Solid({"radius": (0.8, 1.0), "thickness": (0.2, 0.4)}, _torus),
    "capsule": Solid({"radius": (0.3, 0.5), "height": (0.8, 1.6)}, _capsule),
    "pyramid": Solid({"width": (1.0, 1.5), "depth": (0.8, 1.2), "height": (1.0, 1.8)}, _pyramid),
    "prism": Solid({"width": (0.8, 1.2), "depth": (0.6, 1.0), "height": (1.2, 2.0)}, _prism),
    "tetrahedron": Solid({"radius": (0.7, 1.0), "lean": (-0.3, 0.3), "height": (1.0, 1.8)}, _tetrahedron),
    "spring": Solid(
        {"radius": (0.4, 0.6), "height": (1.4, 2.0), "turns": (2.5, 4.0), "thickness": (0.06, 0.12)}, _spring
    ),
    "l_shape": Solid(
        {"width": (0.8, 1.2), "height": (1.4, 1.8), "depth": (0.4, 0.7), "upright": (0.25, 0.4), "foot": (0.25, 0.4)},
        _l_shape,
    ),
    "cup": Solid(_CUP, _cup),
    "mug": Solid({**_CUP, "handle": (0.25, 0.4), "thickness": (0.06, 0.1)}, _mug),
}


def surface(name: str, parameters: Parameters, points: int, generator: torch.Generator) -> Tensor:
    """Draw points from the surfaces of solids, with constant density.

    Args:
        name: A name in `SOLIDS`.
        parameters: Each proportion that the solid has, ``[n]`` float64.
        points: Of each solid.
        generator: Source of randomness, on the CPU.

    Returns:
        ``[n, points, 3]`` float64, where and as large as the proportions say.

    Raises:
        UnknownNameError: No such solid.
        ConfigError: A proportion is missing, or is unknown.

    Properties:
        points_lie_on_the_surface: they solve its equation.
        density_is_uniform: a part of the surface has points in proportion to its area.
    """
    if name not in SOLIDS:
        raise UnknownNameError(f"There is no solid {name!r}. {nearest(name, SOLIDS)}")
    if set(parameters) != set(SOLIDS[name].ranges):
        raise ConfigError(f"A {name} has the proportions {sorted(SOLIDS[name].ranges)}, not {sorted(parameters)}.")
    patches = SOLIDS[name].patches(parameters)
    shape = (len(patches[0].area), points)
    share = torch.stack([patch.area for patch in patches], -1).cumsum(-1)
    drawn = _uniform(shape, generator) * share[:, -1:]
    choice = torch.searchsorted(share, drawn, right=True).clamp(max=len(patches) - 1)
    out = torch.zeros(*shape, 3, dtype=torch.float64)
    for number, patch in enumerate(patches):
        out = torch.where((choice == number).unsqueeze(-1), patch.sample(shape, generator), out)
    return out


def unit_ball(points: Tensor) -> Tensor:
    """Move the centroid of each cloud ``[..., P, 3]`` to the origin and its farthest point to the distance 1."""
    centred = points - points.mean(-2, keepdim=True)
    return centred / centred.norm(dim=-1).amax(-1)[..., None, None].clamp(min=torch.finfo(points.dtype).tiny)


def solids(
    num: int,
    points: int = 1024,
    seed: int = 0,
    noise: float = 0.0,
    classes: Sequence[str] | None = None,
    turned: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Solids:
    """Make a labelled set of point clouds.

    Args:
        num: How many clouds; the classes have as equal shares of them as is possible, in random order.
        points: Of each cloud.
        seed: Another seed makes another set.
        noise: Standard deviation of a normal error of each coordinate, as a part of the cloud's radius.
        classes: Names in `SOLIDS`; ``None``: all of them.
        turned: Turn each solid by a random angle about z. They stay upright.
        dtype: Of the points; they are made in float64.

    Returns:
        `Solids`, each cloud centred and scaled into the unit ball.

    Raises:
        UnknownNameError: No such class.
        ConfigError: A number is out of range, or a class is named twice.

    Properties:
        seed_fixes_every_bit: the same arguments give the same set on the same machine with the same torch.
    """
    names = tuple(SOLIDS) if classes is None else tuple(classes)
    for name in names:
        if name not in SOLIDS:
            raise UnknownNameError(f"There is no solid {name!r}. {nearest(name, SOLIDS)}")
    if len(set(names)) != len(names) or not names:
        raise ConfigError(f"Each class may be named once, and one must be; the classes given are {list(names)}.")
    if num < 0 or points < 1 or not 0 <= noise < math.inf:
        raise ConfigError(
            f"A set of solids needs num ≥ 0, points ≥ 1 and a finite noise ≥ 0; they are {num}, {points} and {noise}."
        )
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.arange(num) % len(names))[torch.randperm(num, generator=generator)]
    clouds = torch.zeros(num, points, 3, dtype=torch.float64)
    for label, name in enumerate(names):
        chosen = (labels == label).nonzero().flatten()
        parameters = {
            key: low + (high - low) * torch.rand(len(chosen), generator=generator, dtype=torch.float64)
            for key, (low, high) in SOLIDS[name].ranges.items()
        }
        clouds[chosen] = surface(name, parameters, points, generator)
    clouds = unit_ball(clouds)
    if noise:
        clouds = unit_ball(clouds + noise * torch.randn(clouds.shape, generator=generator, dtype=torch.float64))
    if turned:
        angle = 2 * math.pi * torch.rand(num, 1, generator=generator, dtype=torch.float64)
        x, y, z = clouds.unbind(-1)
        clouds = torch.stack([angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y, z], -1)
    return Solids(clouds.to(dtype), labels, names)


def rotated(points: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Turn each cloud by a rotation of its own, drawn from the Haar measure of SO(3).

    Args:
        points: ``[B, N, 3]``.
        generator: Source of randomness, on the CPU.

    Returns:
        ``[B, N, 3]``.

    Raises:
        ShapeError: The points are not in three dimensions.
    """
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ShapeError(f"Clouds [B, N, 3] are needed, the tensor given is {list(points.shape)}.")
    rotation = SO(3).sample((points.shape[0],), generator).to(points)
    return points @ rotation.transpose(-1, -2)

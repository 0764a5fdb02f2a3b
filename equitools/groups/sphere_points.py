"""Points on the sphere with much symmetry: Lebedev's rules, spherical designs, geodesic grids."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.groups.finite_rotations import icosahedral_group, octahedral_group

__all__ = ["LEBEDEV_DEGREES", "geodesic_vertices", "lebedev_points", "spherical_design"]

LEBEDEV_DEGREES = (3, 5, 7, 9, 11)

#: Weights of (1, 0, 0), (1, 1, 0)/√2 and (1, 1, 1)/√3 and their images, then of one more orbit through a point.
_LEBEDEV: dict[int, tuple[float, float, float, float, tuple[float, float, float]]] = {
    3: (1 / 6, 0.0, 0.0, 0.0, (0.0, 0.0, 0.0)),
    5: (1 / 15, 0.0, 3 / 40, 0.0, (0.0, 0.0, 0.0)),
    7: (1 / 21, 4 / 105, 9 / 280, 0.0, (0.0, 0.0, 0.0)),
    9: (1 / 105, 0.0, 9 / 280, 1 / 35, (math.sqrt((1 + 3**-0.5) / 2), math.sqrt((1 - 3**-0.5) / 2), 0.0)),
    11: (4 / 315, 64 / 2835, 27 / 1280, 14641 / 725760, (1 / math.sqrt(11), 1 / math.sqrt(11), 3 / math.sqrt(11))),
}

#: Starting points of orbits that make designs: zeros of the invariant harmonics named, found by Newton's method.
_SNUB = ((0.26663540151670473, 0.8662468181078206, -0.4225186537611116),)  # octahedral, l = 4, 6
_TWO_SNUBS = (  # octahedral, l = 4, 6, 8, 9
    (-0.7068416977125501, -0.3018400579657687, 0.6397400986197922),
    (-0.3535421889214721, 0.9333646931993099, 0.061953774231859014),
)
_ICOSAHEDRAL = ((0.5601567535383143, -0.11320819766080936, 0.8206145961703383),)  # with the 12 vertices, l = 6, 10


def lebedev_points(degree: int) -> tuple[Tensor, Tensor, int]:
    """Return points ``[Q, 3]``, weights ``[Q]`` with sum 1 and the degree of the smallest of Lebedev's rules here.

    Raises:
        ConfigError: None of them reaches the degree.
    """
    reached = next((known for known in LEBEDEV_DEGREES if known >= degree), None)
    if reached is None:
        raise ConfigError(f"Lebedev's rules reach degree {LEBEDEV_DEGREES[-1]} here, not {degree}.")
    axis, edge, corner, general, point = _LEBEDEV[reached]
    points, weights = [], []
    for weight, start in (
        (axis, (1.0, 0.0, 0.0)),
        (edge, (math.sqrt(0.5), math.sqrt(0.5), 0.0)),
        (corner, (3**-0.5,) * 3),
        (general, point),
    ):
        if weight:
            images = sorted({
                tuple(s * c for s, c in zip(signs, order, strict=True))
                for order in itertools.permutations(start)
                for signs in itertools.product((1.0, -1.0), repeat=3)
            })  # fmt: skip
            points.extend(images)
            weights.extend([weight] * len(images))
    return torch.tensor(points, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64), reached


def spherical_design(degree: int) -> tuple[Tensor, int]:
    """Return the smallest design here that averages harmonics up to the degree with equal weights.

    Returns:
        Points ``[Q, 3]`` float64, and the degree that they reach.

    Raises:
        ConfigError: It is above 11.
    """
    for reached, make in _DESIGNS.items():
        if reached >= degree:
            points = make()
            return points / points.norm(dim=1, keepdim=True), reached
    raise ConfigError(f"Designs reach degree {max(_DESIGNS)} here, not {degree}: take 'gauss'.")


def _table(*rows: tuple[float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _orbits(group: Tensor, starts: tuple[tuple[float, float, float], ...]) -> Tensor:
    return torch.einsum("gij,pj->pgi", group, _table(*starts)).reshape(-1, 3)


def _icosahedron() -> Tensor:
    golden = (1 + math.sqrt(5)) / 2
    rows = [(0.0, a, b * golden) for a in (1.0, -1.0) for b in (1.0, -1.0)]
    return torch.cat([torch.roll(_table(*rows), k, 1) for k in range(3)])


_DESIGNS = {
    1: lambda: _table((0, 0, 1), (0, 0, -1)),
    2: lambda: _table((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)),
    3: lambda: torch.cat([torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64)]),
    5: _icosahedron,
    7: lambda: _orbits(octahedral_group(), _SNUB),
    9: lambda: _orbits(octahedral_group(), _TWO_SNUBS),
    11: lambda: torch.cat([_icosahedron() / _icosahedron()[0].norm(), _orbits(icosahedral_group(), _ICOSAHEDRAL)]),
}


@lru_cache(maxsize=8)
def geodesic_vertices(frequency: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertices ``[10 ν² + 2, 3]`` of a subdivided icosahedron, and the number of the orbit of each.

    Orbits are those of the icosahedral group with inversion.
    """
    corners = _icosahedron().numpy()
    near = corners @ corners.T > 0.4 * float(corners[0] @ corners[0])  # the cosine of neighbours is 1/√5
    faces = [
        face for face in itertools.combinations(range(12), 3)
        if all(near[i, j] for i, j in itertools.combinations(face, 2))
    ]  # fmt: skip
    found: dict[tuple[int, ...], np.ndarray] = {}
    labels: dict[tuple[int, ...], tuple[int, ...]] = {}
    for face in faces:
        for i in range(frequency + 1):
            for j in range(frequency + 1 - i):
                parts = (i, j, frequency - i - j)
                point = sum(part * corners[corner] for part, corner in zip(parts, face, strict=True)) / frequency
                key = tuple(np.round(point * 1e6).astype(int))
                found.setdefault(key, point)
                labels[key] = tuple(sorted(parts))  # equal barycentric numbers: the same orbit
    points = np.array(list(found.values()))
    names = sorted(set(labels.values()))
    orbit = np.array([names.index(labels[key]) for key in found])
    return points / np.linalg.norm(points, axis=1, keepdims=True), orbit

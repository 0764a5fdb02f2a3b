"""Averages over all rotations, or over all directions, by finitely many: exact for functions of bounded degree."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, UnknownNameError, nearest
from equitools.groups.sphere_points import LEBEDEV_DEGREES, geodesic_vertices, lebedev_points, spherical_design

__all__ = ["Quadrature", "icosahedral_grid", "rotation_quadrature", "sphere_quadrature"]


class Quadrature(NamedTuple):
    """Nodes and weights of an average.

    Attributes:
        nodes: ``[Q, …]`` float64.
        weights: ``[Q]`` float64, positive, with sum 1. For an integral over the sphere multiply by 4π.
        degree: Up to which the average is exact: of polynomials in the coordinates, or of spherical harmonics.
    """

    nodes: Tensor
    weights: Tensor
    degree: int

    def mean(self, values: Tensor) -> Tensor:
        """Return the average of values at the nodes.

        Args:
            values: ``[Q, …]``.

        Returns:
            ``[…]``.

        Raises:
            ShapeError: There is not one value a node.
        """
        if values.ndim < 1 or len(values) != len(self.weights):
            raise ShapeError(f"{len(self.weights)} nodes need as many values, given {list(values.shape)}.")
        return torch.tensordot(self.weights.to(values), values, 1)


def rotation_quadrature(d: int, degree: int, reflections: bool = False) -> tuple[Tensor, Tensor]:
    """Return rotations and weights that average polynomials in the entries of a rotation matrix exactly.

    In the plane they are ``degree + 1`` equal turns. In space they are ``R_z(α) R_y(β) R_z(γ)`` with ``degree + 1``
    equal steps of α and of γ, and β on the Gauss–Legendre nodes of cos β: about degree³/2 elements.

    Args:
        d: 2 or 3.
        degree: Highest degree: of a polynomial in the entries of the rotation, or of the Wigner D matrices.
        reflections: Average over O(d) instead of SO(d).

    Returns:
        Elements ``[Q, d, d]`` and weights ``[Q]``, float64, positive, with sum 1.

    Raises:
        ConfigError: Another dimension, or a negative degree.

    Properties:
        exactness: the weighted mean of irreps up to the degree is their Haar mean (zero but for the trivial one).

    Source: Euler angles and product rules, for example P. J. Kostelec and D. N. Rockmore, J. Fourier Anal. Appl. 14
        (2008) 145.
    """
    if d not in {2, 3} or isinstance(degree, bool) or not isinstance(degree, int) or degree < 0:
        raise ConfigError(
            f"Quadratures of rotations exist here for d = 2 and 3 and an integer degree ≥ 0, not for d={d!r} and "
            f"degree={degree!r}. In other dimensions average over samples of the Haar measure."
        )
    steps = degree + 1
    angles = torch.arange(steps, dtype=torch.float64) * (2 * math.pi / steps)
    cos, sin = angles.cos(), angles.sin()
    flat = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    if d == 2:
        elements, weights = flat, torch.full((steps,), 1 / steps, dtype=torch.float64)
    else:
        nodes, node_weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
        cosine = torch.from_numpy(nodes)
        sine = (1 - cosine.square()).sqrt()
        about_z = torch.zeros(steps, 3, 3, dtype=torch.float64)
        about_z[:, :2, :2], about_z[:, 2, 2] = flat, 1.0
        about_y = torch.zeros(len(nodes), 3, 3, dtype=torch.float64)
        about_y[:, 0, 0], about_y[:, 2, 2], about_y[:, 1, 1] = cosine, cosine, 1.0
        about_y[:, 0, 2], about_y[:, 2, 0] = sine, -sine
        elements = torch.einsum("aij,bjk,ckl->abcil", about_z, about_y, about_z).reshape(-1, 3, 3)
        spread = torch.from_numpy(node_weights)[None, :, None].expand(steps, -1, steps) / (2 * steps * steps)
        weights = spread.reshape(-1)
    if reflections:
        mirror = torch.ones(d, dtype=torch.float64)
        mirror[0] = -1.0
        elements, weights = torch.cat([elements, elements * mirror]), torch.cat([weights, weights]) / 2
    return elements, weights


def sphere_quadrature(degree: int, kind: str = "gauss") -> Quadrature:
    """Return directions and weights that average spherical harmonics up to a degree exactly.

    ===========  ======================================  =========  ==================================================
    kind         nodes                                   degrees    how many
    ===========  ======================================  =========  ==================================================
    ``gauss``    Gauss–Legendre in z, equal steps about  any        (⌊L/2⌋ + 1)(L + 1)
    ``lebedev``  orbits of the octahedral group          to 11      6, 14, 26, 38, 50 for L = 3, 5, 7, 9, 11
    ``design``   of equal weight                         to 11      2, 4, 6, 12, 24, 48, 72 for L = 1, 2, 3, 5, 7, 9, 11
    ===========  ======================================  =========  ==================================================

    Args:
        degree: L, the lowest that will do.
        kind: See above.

    Returns:
        `Quadrature` with unit vectors ``[Q, 3]`` and the degree that it really has, at least L.

    Raises:
        ConfigError: A degree that is no integer ≥ 0, or that the kind does not reach.
        UnknownNameError: Another kind.

    Properties:
        exactness_on_the_sphere: the mean of every spherical harmonic of degree 1 … L is zero.
        no_more_than_stated: some harmonic of the next degree has another mean than zero.

    Source:
        V. I. Lebedev, USSR Comput. Math. Math. Phys. 16 (1976) 10 (the five rules in closed form); P. Delsarte, J. M.
        Goethals, J. J. Seidel, Geom. Dedicata 6 (1977) 363 (designs); the designs of 24, 48 and 72 points are orbits of
        the octahedral and icosahedral rotations, solved for here.

    Example:
        >>> sphere_quadrature(6, "design").nodes.shape
        torch.Size([24, 3])
    """
    if isinstance(degree, bool) or not isinstance(degree, int) or degree < 0:
        raise ConfigError(f"A degree is an integer ≥ 0, not {degree!r}.")
    if kind == "gauss":
        steps = degree + 1
        nodes, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
        angles = np.arange(steps) * (2 * np.pi / steps)
        sine = np.sqrt(1 - nodes**2)
        x, y = (sine[:, None] * function(angles) for function in (np.cos, np.sin))
        directions = np.stack([x, y, np.broadcast_to(nodes[:, None], x.shape)], -1).reshape(-1, 3)
        spread = np.repeat(weights / (2 * steps), steps)
        # in z the rule is exact to 2 (⌊L/2⌋ + 1) − 1, which is L or L + 1; about the axis only to L
        return Quadrature(torch.from_numpy(directions), torch.from_numpy(spread), degree)
    if kind == "lebedev":
        if degree > LEBEDEV_DEGREES[-1]:
            raise ConfigError(f"Lebedev's rules reach degree {LEBEDEV_DEGREES[-1]} here, not {degree}: take 'gauss'.")
        return Quadrature(*lebedev_points(degree))
    if kind == "design":
        points, reached = spherical_design(degree)
        return Quadrature(points, torch.full((len(points),), 1 / len(points), dtype=torch.float64), reached)
    raise UnknownNameError(f"There is no quadrature {kind!r}. {nearest(kind, ('gauss', 'lebedev', 'design'))}")


def icosahedral_grid(frequency: int) -> Quadrature:
    """Return the vertices of a geodesic sphere: nearly equal distances, no poles.

    Each edge of an icosahedron is divided into ``frequency`` parts of equal length, which makes 10 ν² + 2 vertices;
    they are then put onto the sphere. Weights are equal on each orbit of the icosahedral group and, among those, as
    nearly equal as exactness allows. The degree is the highest that positive weights reach.

    Args:
        frequency: ν.

    Returns:
        `Quadrature` with unit vectors ``[10 ν² + 2, 3]``. Degrees for ν = 1, 2, 3, 4, …: 5, 9, 11, 15, ….

    Raises:
        ConfigError: The frequency is no integer from 1 to 40.

    Properties:
        icosahedral_symmetry: the 60 rotations map the grid onto itself, weights and all.
        exactness_on_the_sphere: as of `sphere_quadrature`.
    """
    if isinstance(frequency, bool) or not isinstance(frequency, int) or not 1 <= frequency <= 40:
        raise ConfigError(f"A frequency is an integer from 1 to 40, not {frequency!r}.")
    points, orbit = geodesic_vertices(frequency)
    counts = np.bincount(orbit)
    # u -> Σ w_j P_l(u·x_j) is invariant under the group, so that a few u in general position see whether it vanishes
    probes = np.random.default_rng(0).normal(size=(8, 3))
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    cosines = probes @ points.T
    membership = np.zeros((len(points), len(counts)))
    membership[np.arange(len(points)), orbit] = 1.0
    best, degree = counts / len(points), 5
    rows, wanted = [counts / len(points)], [1.0]
    below, here = np.ones_like(cosines), cosines
    for l in range(2, 200):
        below, here = here, ((2 * l - 1) * cosines * here - (l - 1) * below) / l
        if l % 2:  # the grid has inversion symmetry
            continue
        conditions = here @ membership / len(points)
        if abs(conditions).max() > 1e-12:
            rows.extend(conditions)
            wanted.extend([0.0] * len(conditions))
        matrix = np.array(rows)
        scaled = np.linalg.lstsq(matrix, np.array(wanted) - matrix @ np.ones(len(counts)), rcond=1e-10)[0] + 1.0
        if abs(matrix @ scaled - wanted).max() > 1e-12 or scaled.min() <= 0:
            break
        best, degree = scaled * counts / len(points), l + 1
    weights = (best / counts)[orbit]
    return Quadrature(torch.from_numpy(points), torch.from_numpy(weights / weights.sum()), degree)

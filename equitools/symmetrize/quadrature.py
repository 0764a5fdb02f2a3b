"""Averages over all rotations by finitely many: exact for functions of bounded degree."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from equitools.errors import ConfigError

__all__ = ["rotation_quadrature"]


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
            f"degree={degree!r}. In other dimensions give samples=."
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

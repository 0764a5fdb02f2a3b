"""Clouds of every degeneracy: what a canonical pose has to survive."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["degenerate_clouds"]


def degenerate_clouds(n: int = 8, seed: int = 5) -> dict[str, Tensor]:
    """Return small clouds in space by the name of what is special about them.

    Args:
        n: Number of points of each, at least 4; the cube always has 8.
        seed: Of those that are random.

    Returns:
        Clouds ``[n, 3]`` float64: "generic", "planar", "linear", "spherical top" (three equal second moments, no
        symmetry), "symmetric top" (two equal ones, no symmetry), "cube", "polygon" (regular, planar), "two points"
        (the rest on top of the second), "one point", "origin".
    """
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    isotropic = torch.linalg.qr(draw - draw.mean(0))[0] * 2
    line = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    angles = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
    return {
        "generic": draw,
        "planar": draw * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64),
        "linear": line * torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64) / 3,
        "spherical top": isotropic,
        "symmetric top": isotropic * torch.tensor([1.0, 1.0, 1.5], dtype=torch.float64),
        "cube": torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3),
        "polygon": torch.stack([angles.cos(), angles.sin(), torch.zeros(n, dtype=torch.float64)], -1),
        "two points": torch.cat([draw[:1], draw[1:2].expand(n - 1, -1)]),
        "one point": torch.full((n, 3), 0.7, dtype=torch.float64),
        "origin": torch.zeros(n, 3, dtype=torch.float64),
    }

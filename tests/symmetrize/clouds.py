"""Clouds of every degeneracy, and networks without any symmetry, for the tests of frames."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def degenerate_clouds(n: int = 8) -> dict[str, Tensor]:
    """Named clouds ``[n, 3]`` float64; the centroid is not the origin, but for the ones that say so."""
    generator = torch.Generator().manual_seed(5)
    draw = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    centred = draw - draw.mean(0)
    isotropic = torch.linalg.qr(centred)[0] * 2
    planar = draw * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    line = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    cube = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    angles = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
    polygon = torch.stack([angles.cos(), angles.sin(), torch.zeros(n, dtype=torch.float64)], -1)
    return {
        "generic": draw,
        "planar": planar,
        "linear": line * torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64) / 3,
        "spherical top": isotropic,
        "symmetric top": isotropic * torch.tensor([1.0, 1.0, 1.5], dtype=torch.float64),
        "cube": cube,
        "polygon": polygon,
        "two points": torch.cat([draw[:1], draw[1:2].expand(n - 1, -1)]),
        "one point": torch.full((n, 3), 0.7, dtype=torch.float64),
        "origin": torch.zeros(n, 3, dtype=torch.float64),
    }


class Plain(nn.Module):
    """A network on flattened clouds that has no symmetry whatever."""

    def __init__(self, n: int, out: int, d: int = 3, shape: tuple[int, ...] = (), seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        first = torch.randn(n * d, 24, generator=generator, dtype=torch.float64)
        self.first = nn.Parameter(0.3 * first)
        self.second = nn.Parameter(torch.randn(24, out, generator=generator, dtype=torch.float64))
        self.shape = shape or (out,)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.first.to(x.dtype), self.second.to(x.dtype)
        return (torch.tanh(x.flatten(1) @ first + 0.1) @ second).unflatten(-1, self.shape)

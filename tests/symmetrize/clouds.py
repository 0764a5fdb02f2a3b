"""A network without any symmetry, for the tests of frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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

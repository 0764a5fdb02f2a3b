"""FNO: the Fourier neural operator in two dimensions (Li et al., ICLR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from equitools.errors import ConfigError, ShapeError
from equitools.models.images.grid_embedding import EMBEDDINGS, grid_embedding
from equitools.nn.spectral import SpectralConv2d
from equitools.ops.grid_actions import Centre
from equitools.ops.precision import full_precision

__all__ = ["FNO"]


class FNO(torch.nn.Module):
    """A Fourier neural operator for fields on the torus, the baseline of G-FNO.

    A map of each pixel to ``width`` channels; blocks ``gelu(MLP(norm(spectral(norm(x)))) + skip(x))``, the last one
    without gelu; an MLP of each pixel to the answer. Norms are those of instances, without parameters.

    Args:
        in_channels: Of the fields; for a flow its last frames.
        out_channels: Of the answer.
        width: Channels within.
        modes: Wave numbers that the spectral layers keep; at most half of the side.
        layers: Blocks.
        embedding: ``"distance"``, ``"cartesian"`` or ``"none"``: what it is told about the place of a pixel.
        centre: From where distances are measured: ``"origin"`` (pixel 0) or ``"grid"``.

    Properties:
        shift_equivariance: without an embedding, shifted fields give shifted answers.

    References:
        Z. Li et al., ICLR 2021 (arXiv:2010.08895); blocks and norms as in the public code of J. Helwig et al., ICML
        2023 (arXiv:2306.05697).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        width: int = 20,
        modes: int = 12,
        layers: int = 4,
        *,
        embedding: str = "distance",
        centre: Centre = "origin",
    ) -> None:
        super().__init__()
        if min(in_channels, out_channels, width, layers) < 1:
            raise ConfigError("Channels, width and layers must be at least 1.")
        if embedding not in EMBEDDINGS:
            raise ConfigError(f"Embeddings are {', '.join(map(repr, EMBEDDINGS))}, not {embedding!r}.")
        self.in_channels, self.embedding, self.centre = in_channels, embedding, centre
        self.lift = torch.nn.Conv2d(in_channels + EMBEDDINGS[embedding], width, 1)
        self.blocks = torch.nn.ModuleList(_Block(width, modes) for _ in range(layers))
        self.project = torch.nn.Sequential(
            torch.nn.Conv2d(width, 4 * width, 1), torch.nn.GELU(), torch.nn.Conv2d(4 * width, out_channels, 1)
        )

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Predict.

        Args:
            x: ``[B, in_channels, S, S]``.

        Returns:
            ``[B, out_channels, S, S]``.

        Raises:
            ShapeError: The shape is another, or the images are too small for the modes.
        """
        if x.ndim != 4 or x.shape[1] != self.in_channels or x.shape[2] != x.shape[3]:
            raise ShapeError(f"Fields [B, {self.in_channels}, S, S] are needed, given {list(x.shape)}.")
        place = grid_embedding(self.embedding, x.shape[-1], x, self.centre)
        h = self.lift(torch.cat([x, place.expand(len(x), -1, -1, -1)], 1))
        for k, block in enumerate(self.blocks):
            h = block(h)
            h = functional.gelu(h) if k + 1 < len(self.blocks) else h
        return self.project(h)


class _Block(torch.nn.Module):
    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.spectral = SpectralConv2d(width, width, modes)
        self.mlp = torch.nn.Sequential(
            torch.nn.Conv2d(width, width, 1), torch.nn.GELU(), torch.nn.Conv2d(width, width, 1)
        )
        self.skip = torch.nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.instance_norm(self.spectral(functional.instance_norm(x)))
        return self.mlp(h) + self.skip(x)

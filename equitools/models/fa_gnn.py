"""FA-GNN: message passing between particles whose every layer is averaged over frames (Puny et al., ICLR 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.models.gnn import ParticleGNNLayer, centroid, check_particles, pair_attributes, with_velocities
from equitools.ops.precision import full_precision
from equitools.symmetrize import fold, frames, unfold

__all__ = ["FAGNN"]

#: Weighted frames of a degenerate latent cloud would be very many: its outermost points have to do.
FRAME_OPTIONS = {"mode": "full", "degenerate": "average"}


class FAGNN(torch.nn.Module):
    """An E(3)-equivariant network for particles, made of plain layers that are averaged over frames one by one.

    The features of a particle are ``vectors`` vectors with three components each, to the plain layer 3·``vectors``
    numbers. Before each layer all systems are turned into the frames of their points: before the first one those of
    the positions, later those of the latent vectors (all vectors of all particles, their mean removed, as one cloud).
    After each layer the vectors are turned back and averaged. Every layer sees its input from the sides that suit it.

    Args:
        vectors: Vectors of a particle; 20 (60 numbers) in the paper.
        layers: Rounds of messages; 4 in the paper.
        detach: Take the frames as constants in the backward pass, as the published code does. The parameters' gradients
            then are not those of the function. Never where a derivative with respect to the positions is needed.
        frame_options: Further arguments of `equitools.symmetrize.frames`, such as ``mode``, ``degenerate`` and
            ``threshold``. Latent clouds have N·``vectors`` points: there the weighted frames of a degenerate cloud are
            very many, so that its policy is "average" by default.

    Properties:
        equivariance: rotations, reflections and translations of the system move the answer (frames of the full mode).
            Exact also where the particles lie on a line or there is only one: the velocities join their cloud then.
        permutation: relabelling the particles relabels the answer.
        padding: particles that the mask leaves out have no effect, and 0 is returned for them.
        any_number: the same network takes systems of any number of particles.

    References:
        O. Puny et al., Frame Averaging for Invariant and Equivariant Network Design, ICLR 2022 (arXiv:2110.03336). In
        the published code a system has five particles, and its frames are always constants in the backward pass; both
        are options here.
    """

    def __init__(
        self,
        vectors: int = 20,
        layers: int = 4,
        *,
        detach: bool = False,
        frame_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if vectors < 1 or layers < 1:
            raise ConfigError(f"vectors and layers must be at least 1, not {vectors} and {layers}.")
        hidden = 3 * vectors
        self.vectors, self.detach = vectors, detach
        self.frame_options = {**FRAME_OPTIONS, **(frame_options or {})}
        self.embedding = torch.nn.Linear(6, hidden)
        self.layers = torch.nn.ModuleList(ParticleGNNLayer(hidden) for _ in range(layers))
        self.decoder = torch.nn.Sequential(torch.nn.Linear(hidden, hidden), torch.nn.SiLU(), torch.nn.Linear(hidden, 3))

    @full_precision
    def forward(self, loc: Tensor, vel: Tensor, charges: Tensor, mask: Tensor | None = None) -> Tensor:
        """Predict.

        Args:
            loc: Positions ``[B, N, 3]``.
            vel: Velocities ``[B, N, 3]``.
            charges: ``[B, N, 1]``.
            mask: Real particles ``[B, N]``; ``None``: all.

        Returns:
            Later positions ``[B, N, 3]``.

        Raises:
            ShapeError: The shapes do not fit together.
            DegenerateFrameError: With ``frame_options={"degenerate": "raise"}``, a degenerate cloud.
        """
        loc, vel, charges = check_particles(loc, vel, charges, mask)
        size = loc.shape[0]
        attributes = pair_attributes(loc, charges).unsqueeze(1)
        real = None if mask is None else mask.unsqueeze(1)
        centre = centroid(loc, mask)
        loc = loc - centre
        elements, weights = self._frames(*with_velocities(loc, vel, mask))
        h = self.embedding(
            torch.cat([fold(loc, elements, "vector", rigid=True), fold(vel, elements, "vector", rigid=True)], dim=-1)
        )
        for k, module in enumerate(self.layers):
            layer, count = cast("ParticleGNNLayer", module), weights.shape[1]
            h = layer(h.unflatten(0, (size, count)), attributes, real).flatten(0, 1)
            if k + 1 == len(self.layers):
                break
            latent = unfold(h.unflatten(-1, (self.vectors, 3)), elements, weights, "vector")
            latent = latent - centroid(latent.flatten(2).unflatten(-1, (-1, 3)).mean(dim=2), mask).unsqueeze(1)
            cloud = latent.flatten(1, 2)
            points = None if mask is None else mask.repeat_interleave(self.vectors, dim=1)
            elements, weights = self._frames(cloud, points)
            h = fold(latent, elements, "vector", rigid=True).flatten(-2)
        answer = unfold(self.decoder(h), elements, weights, "vector") + centre
        return answer if mask is None else answer.masked_fill(~mask.unsqueeze(-1), 0.0)

    def _frames(self, cloud: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the frames of clouds about their origin."""
        elements, weights = frames(cloud.detach() if self.detach else cloud, "O(3)", mask, **self.frame_options)
        return elements, weights

"""A plain message-passing network for systems of particles. It is not equivariant to rotations: it is made so.

This is the network that frame averaging and canonicalization are put around, and their baseline. Every particle
hears from all others. The systems of a batch are padded to one number of particles, so that nothing is scattered: a
particle's messages lie side by side and are added up along an axis.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from equitools.errors import ConfigError, ShapeError
from equitools.ops.precision import full_precision

__all__ = ["ParticleGNN", "ParticleGNNLayer", "centroid", "check_particles", "others", "pair_attributes"]


def others(particles: int, device: torch.device | None = None) -> Tensor:
    """Return whom each particle hears from, ``[N, N − 1]``: all but itself, in their order."""
    column = torch.arange(max(particles - 1, 0), device=device)
    return column + (column >= torch.arange(particles, device=device)[:, None]).long()


def pair_attributes(loc: Tensor, charges: Tensor) -> Tensor:
    """Return the invariant attributes of pairs: the product of the charges and the squared distance.

    Args:
        loc: Positions ``[B, N, 3]``.
        charges: ``[B, N, 1]``.

    Returns:
        ``[B, N, N − 1, 2]``, pairs as in `others`.
    """
    index = others(loc.shape[-2], loc.device)
    difference = loc.unsqueeze(-2) - loc[..., index, :]
    product = charges.unsqueeze(-2) * charges[..., index, :]
    return torch.cat([product, (difference * difference).sum(dim=-1, keepdim=True)], dim=-1)


def centroid(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean over the real particles.

    Args:
        x: ``[B, N, d]``.
        mask: Real particles ``[B, N]``.

    Returns:
        ``[B, 1, d]``.
    """
    if mask is None:
        return x.mean(dim=1, keepdim=True)
    weight = mask.unsqueeze(-1).to(x.dtype)
    return (x * weight).sum(dim=1, keepdim=True) / weight.sum(dim=1, keepdim=True)


def check_particles(loc: Tensor, vel: Tensor, charges: Tensor, mask: Tensor | None) -> None:
    """Check what a network of particles is given.

    Raises:
        ShapeError: The shapes or dtypes do not fit together.
    """
    if loc.ndim != 3 or loc.shape[-1] != 3 or not loc.is_floating_point():
        raise ShapeError(f"Positions must be a floating-point tensor [B, N, 3], given {list(loc.shape)} {loc.dtype}.")
    if vel.shape != loc.shape:
        raise ShapeError(f"Velocities must have the shape of the positions, {list(loc.shape)}, not {list(vel.shape)}.")
    if charges.shape != (*loc.shape[:2], 1):
        raise ShapeError(f"Charges must be [B, N, 1] = {[*loc.shape[:2], 1]}, not {list(charges.shape)}.")
    if mask is not None and (mask.shape != loc.shape[:2] or mask.dtype != torch.bool):
        raise ShapeError(
            f"The mask must be bool {list(loc.shape[:2])} (True: a real particle), not {list(mask.shape)} {mask.dtype}."
        )


class ParticleGNNLayer(torch.nn.Module):
    """One round of messages between all particles of a system.

    ``h_i ← h_i + φ_h(h_i, Σ_{j≠i} φ_e(h_i, h_j, a_ij))`` with perceptrons of two layers and SiLU.

    Args:
        hidden: Width of the features.
        attributes: Number of attributes of a pair.

    Source: V. G. Satorras, E. Hoogeboom, M. Welling, ICML 2021, eq. 2 (there called GCL).
    """

    def __init__(self, hidden: int, attributes: int = 2) -> None:
        super().__init__()
        self.hidden, self.attributes = hidden, attributes
        self.first = torch.nn.Linear(2 * hidden + attributes, hidden)
        self.second = torch.nn.Linear(hidden, hidden)
        self.node = torch.nn.Sequential(
            torch.nn.Linear(2 * hidden, hidden), torch.nn.SiLU(), torch.nn.Linear(hidden, hidden)
        )

    def forward(self, h: Tensor, attributes: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pass messages once.

        Args:
            h: Features ``[..., N, hidden]``.
            attributes: Of pairs, ``[..., N, N − 1, attributes]``; leading axes of length 1 serve all.
            mask: Real particles ``[..., N]``; those that are not send nothing.

        Returns:
            ``[..., N, hidden]``.
        """
        index = others(h.shape[-2], h.device)
        # A linear map of [h_i, h_j, a_ij] is a sum of three, of which two need the particles only, not the pairs.
        to, of, pair = self.first.weight.split([self.hidden, self.hidden, self.attributes], dim=1)
        receiver = functional.linear(h, to, self.first.bias)
        sender = functional.linear(h, of)
        messages = receiver.unsqueeze(-2) + sender[..., index, :] + functional.linear(attributes, pair)
        messages = functional.silu(self.second(functional.silu(messages)))
        if mask is not None:
            messages = messages * mask[..., index].unsqueeze(-1)
        return h + self.node(torch.cat([h, messages.sum(dim=-2)], dim=-1))


class ParticleGNN(torch.nn.Module):
    """Positions, velocities and charges in, later positions out, by messages between all particles.

    The network sees the coordinates as they are: turning the system does not turn its answer. Put it into
    `equitools.symmetrize.FrameAverage` or `equitools.symmetrize.Canonicalize` with the representations
    ``("points", "vector", "scalar")`` for it to become equivariant; `FAGNN` and `CNGNN` do so.

    Args:
        hidden: Width of the features.
        layers: Rounds of messages.

    Properties:
        permutation: relabelling the particles relabels the answer.
        padding: particles that the mask leaves out have no effect, and 0 is returned for them.
        any_number: the same network takes systems of any number of particles.

    References:
        The "GNN" of V. G. Satorras, E. Hoogeboom, M. Welling, ICML 2021, with the squared distance as a second
        attribute of pairs, as in S.-O. Kaba et al., ICML 2023.
    """

    def __init__(self, hidden: int = 64, layers: int = 4) -> None:
        super().__init__()
        if hidden < 1 or layers < 1:
            raise ConfigError(f"hidden and layers must be at least 1, not {hidden} and {layers}.")
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
        """
        check_particles(loc, vel, charges, mask)
        attributes = pair_attributes(loc, charges)
        h = self.embedding(torch.cat([loc, vel], dim=-1))
        for layer in self.layers:
            h = cast("ParticleGNNLayer", layer)(h, attributes, mask)
        answer = self.decoder(h)
        return answer if mask is None else answer.masked_fill(~mask.unsqueeze(-1), 0.0)

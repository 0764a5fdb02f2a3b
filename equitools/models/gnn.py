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

__all__ = [
    "ParticleGNN",
    "ParticleGNNLayer",
    "centroid",
    "check_particles",
    "others",
    "pair_attributes",
    "with_velocities",
]

#: Relative distance from a line within which positions count as lying on it.
LINEAR = {torch.float64: 1e-7}


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


def check_particles(loc: Tensor, vel: Tensor, charges: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Check what a network of particles is given, and put zeros where the mask says that there is no particle.

    Returns:
        Positions, velocities and charges.

    Raises:
        ShapeError: The shapes or dtypes do not fit together, a system has no particle, or a real particle has an entry
            that is not finite.
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
    if loc.shape[1] == 0 or (mask is not None and not bool(mask.any(dim=1).all())):
        which = [] if mask is None else (~mask.any(dim=1)).nonzero().flatten()[:8].tolist()
        raise ShapeError(f"Every system must have a particle, but system {which or 'all'} of {len(loc)} has none.")
    given = [loc, vel, charges]
    if mask is not None:  # not times 0: padding may hold anything, NaN included
        given = [torch.where(mask.unsqueeze(-1), value, torch.zeros_like(value)) for value in given]
    for name, value in zip(("Positions", "Velocities", "Charges"), given, strict=True):
        finite = value.detach().isfinite().flatten(1).all(dim=1)
        if not bool(finite.all()):
            rows = (~finite).nonzero().flatten()[:8].tolist()
            raise ShapeError(f"{name} must be finite, but those of system {rows} of {len(loc)} are not finite.")
    return given[0], given[1], given[2]


def with_velocities(loc: Tensor, vel: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return clouds of positions, and of velocities, too, where the positions lie on a line or in one point.

    A frame of such positions leaves axes open that the velocities may tell; about the centroid they are vectors as
    the positions are. Elsewhere they are masked, which leaves the frames as they were.

    Args:
        loc: Positions about the centroid ``[B, N, 3]``, 0 where no particle is.
        vel: Velocities ``[B, N, 3]``, likewise.
        mask: Real particles ``[B, N]``.

    Returns:
        The clouds and their mask; those that were given where no system is linear.
    """
    with torch.no_grad():
        axis = torch.gather(loc, 1, loc.square().sum(-1).argmax(1)[:, None, None].expand(-1, 1, 3))
        far = axis.square().sum(-1)  # of the outermost particle
        off = torch.linalg.cross(loc, axis.expand_as(loc), dim=-1).square().sum(-1).amax(1, keepdim=True)
        # squares: a thousandth of the size in float32; clouds next to a line have frames next to undefined
        least = LINEAR.get(loc.dtype, 1e-3)
        moving = vel.square().sum(-1).amax(1, keepdim=True)
        linear = (off <= (least * far).square()) | (far <= (torch.finfo(loc.dtype).eps ** 2) * moving)
    if not bool(linear.any()):
        return loc, torch.ones_like(loc[..., 0], dtype=torch.bool) if mask is None else mask
    real = torch.ones_like(loc[..., 0], dtype=torch.bool) if mask is None else mask
    return torch.cat([loc, vel], 1), torch.cat([real, real & linear], 1)


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
        loc, vel, charges = check_particles(loc, vel, charges, mask)
        attributes = pair_attributes(loc, charges)
        h = self.embedding(torch.cat([loc, vel], dim=-1))
        for layer in self.layers:
            h = cast("ParticleGNNLayer", layer)(h, attributes, mask)
        answer = self.decoder(h)
        return answer if mask is None else answer.masked_fill(~mask.unsqueeze(-1), 0.0)

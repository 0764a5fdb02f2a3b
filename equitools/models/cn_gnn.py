"""CN-GNN: a plain network for particles behind a learned canonicalization (Kaba et al., ICML 2023)."""

from __future__ import annotations

import itertools
from typing import cast

import torch
from torch import Tensor

from equitools.errors import ConfigError, DegenerateFrameError, nearest
from equitools.models.gnn import ParticleGNN, centroid, check_particles
from equitools.ops.precision import full_precision
from equitools.symmetrize import Frames, Symmetrized, frames
from equitools.symmetrize.frame_set import default_threshold, pad_frames

__all__ = ["CNGNN", "DeepSetsCanonicalizer", "VectorDeepSetsLayer"]

#: What the canonicalizer may look at, and how many vectors of a particle that makes.
FEATURES = {"pv": 2, "pvc": 3}
#: Roundings within which the third vector counts as lying in the plane of the others: of thousands of
#: planar systems layers brought all but a few below 6, and one to 24. In float64 there is room for more.
SIDE = {torch.float64: 1e4}
SIDE_ELSE = 64.0


class VectorDeepSetsLayer(torch.nn.Module):
    """A layer on sets whose features are vectors: a map of each, a map of the mean of the others, a rectifier.

    Vectors are combined with numbers and compared by scalar products, so that turning all of them turns the output.

    Args:
        inputs: Vectors of a particle that come in.
        outputs: Vectors of a particle that go out. Where the numbers agree, the input is added.
        dropout: Probability that a whole vector is left out in training.

    Source: C. Deng et al., Vector Neurons, ICCV 2021 (the rectifier: of a vector that points away from its learned
        direction, only the part orthogonal to it remains).
    """

    def __init__(self, inputs: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.residual = inputs == outputs
        self.own = torch.nn.Linear(inputs, outputs, bias=False)
        self.pooled = torch.nn.Linear(inputs, outputs, bias=False)
        self.direction = torch.nn.Linear(outputs, outputs, bias=False)
        self.dropout = dropout

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Compute.

        Args:
            x: Vectors ``[B, N, 3, inputs]``.
            weight: 1 for real particles, 0 for others, ``[B, N, 1, 1]``.

        Returns:
            ``[B, N, 3, outputs]``.
        """
        x = x * weight
        count = (weight.sum(dim=1, keepdim=True) - 1).clamp(min=1)
        mean = (x.sum(dim=1, keepdim=True) - x) / count
        y = self.own(x) + self.pooled(mean)
        direction = self.direction(y)
        along = (y * direction).sum(dim=-2, keepdim=True)
        square = (direction * direction).sum(dim=-2, keepdim=True)
        y = y - along.clamp(max=0) / (square + torch.finfo(x.dtype).tiny ** 0.5) * direction
        if self.training and self.dropout:
            y = y * torch.nn.functional.dropout(torch.ones_like(along), self.dropout)
        return y + x if self.residual else y


class DeepSetsCanonicalizer(torch.nn.Module):
    """Three vectors that a small equivariant network makes of a system, orthonormalised: an element of O(3).

    Args:
        hidden: Vectors of a particle in the hidden layers.
        layers: Their number.
        features: ``"pv"``: positions about the centroid and velocities; ``"pvc"``: positions times charges, too.
            Positions alone, the default of the published code, cannot do: without biases all vectors of a particle
            then are fixed multiples of its position, and their mean over the particles is zero.
        dropout: Probability that a hidden vector is left out in training. The poses then vary, which keeps the network
            behind from learning them by heart: without it, it fits small sets of systems too well.
        degenerate: What becomes of systems whose vectors do not span space, such as planar ones that move in their
            plane: ``"weighted"``: the weighted frames of the positions; ``"raise"``: an error.
        threshold: Length, relative to those of the input, at which the first two vectors count as dependent; 1e-7 in
            float64, 1e-4 in smaller dtypes. Of the third only the side counts, which rounding alone leaves open.

    Properties:
        canonicalizer_equivariance: turning and reflecting the system turns and reflects the element.
    """

    def __init__(
        self,
        hidden: int = 16,
        layers: int = 4,
        *,
        features: str = "pv",
        dropout: float = 0.5,
        degenerate: str = "weighted",
        threshold: float | None = None,
    ) -> None:
        super().__init__()
        if hidden < 1 or layers < 1 or not 0 <= dropout < 1:
            raise ConfigError(
                f"hidden and layers must be at least 1 and dropout in [0, 1), not {hidden}, {layers} and {dropout}."
            )
        if features not in FEATURES:
            raise ConfigError(f"features={features!r} is not known. {nearest(str(features), FEATURES)}")
        if degenerate not in {"weighted", "raise"}:
            raise ConfigError(
                f"degenerate={degenerate!r} is not known. {nearest(str(degenerate), ('raise', 'weighted'))}"
            )
        self.features, self.degenerate, self.threshold = features, degenerate, threshold
        widths = [FEATURES[features]] + [hidden] * layers
        self.layers = torch.nn.ModuleList(VectorDeepSetsLayer(a, b, dropout) for a, b in itertools.pairwise(widths))
        self.output = torch.nn.Linear(hidden, 3, bias=False)

    def forward(self, loc: Tensor, vel: Tensor, charges: Tensor, mask: Tensor | None = None) -> Frames:
        """Return the element of each system.

        Args:
            loc: Positions about the centroid ``[B, N, 3]``.
            vel: Velocities ``[B, N, 3]``.
            charges: ``[B, N, 1]``.
            mask: Real particles ``[B, N]``.

        Returns:
            `Frames`: elements ``[B, 1, 3, 3]`` of weight 1; more in a batch with a degenerate system.

        Raises:
            DegenerateFrameError: Vectors that do not span space, with ``degenerate="raise"``.
        """
        given = [loc, vel, loc * charges][: FEATURES[self.features]]
        x = torch.stack(given, dim=-1)
        weight = torch.ones_like(loc[..., :1, None]) if mask is None else mask[..., None, None].to(loc.dtype)
        for layer in self.layers:
            x = cast("VectorDeepSetsLayer", layer)(x, weight)
        vectors = self.output((x * weight).sum(dim=1) / weight.sum(dim=1))
        threshold = default_threshold(loc.dtype) if self.threshold is None else self.threshold
        with torch.no_grad():
            square = sum((value * value).sum(dim=-1, keepdim=True) for value in given)
            scale = ((square * weight[..., 0]).sum(dim=1) / weight[..., 0].sum(dim=1)).sqrt()[:, 0]
        elements, bad = _orthonormal(vectors, threshold * scale, scale)
        elements = elements.unsqueeze(1)
        weights = elements.new_ones(len(loc), 1)
        if not bool(bad.any()):
            return Frames(elements, weights)
        rows = bad.nonzero().flatten()
        if self.degenerate == "raise":
            raise DegenerateFrameError(
                f"System {rows[:8].tolist()}{' …' if len(rows) > 8 else ''} of {len(loc)}: its three vectors do not "
                "span space, as where all moves in one plane. degenerate='weighted' takes weighted frames instead."
            )
        part = None if mask is None else mask[rows]
        other = frames(loc[rows], "O(3)", part, "weighted")
        width = other.weights.shape[1]
        elements, weights = pad_frames(elements, weights, width)
        return Frames(elements.index_copy(0, rows, other.elements), weights.index_copy(0, rows, other.weights))


class CNGNN(torch.nn.Module):
    """An E(3)-equivariant network for particles: a plain one that sees every system in its canonical pose.

    The pose is about the centroid, in the axes that a small equivariant network makes of the system.

    Args:
        hidden: Width of the plain network; 32 in the paper's code.
        layers: Its rounds of messages; 4.
        canonicalizer: From the system to group elements; ``None``: `DeepSetsCanonicalizer` of the paper's size.

    Properties:
        equivariance: rotations, reflections and translations of the system move the answer.
        permutation: relabelling the particles relabels the answer.
        padding: particles that the mask leaves out have no effect, and 0 is returned for them.
        any_number: the same network takes systems of any number of particles.

    References:
        S.-O. Kaba et al., Equivariance with Learned Canonicalization Functions, ICML 2023 (arXiv:2211.06489). What
        differs from the published code, and why: maps of vectors have no bias and dropout leaves out whole vectors,
        since a bias or a dropped coordinate does not turn with the system; any number of particles and
        any batch size are taken (there 5 and 100); the charges are left as they are (there overwritten by one of the
        prediction networks); no cross products as features, which would not change sign in a reflection.
    """

    def __init__(self, hidden: int = 32, layers: int = 4, canonicalizer: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.canonicalizer = DeepSetsCanonicalizer() if canonicalizer is None else canonicalizer
        self.posed = Symmetrized(ParticleGNN(hidden, layers), ("vector", "vector", "scalar"), "vector")

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
            DegenerateFrameError: See `DeepSetsCanonicalizer`.
        """
        check_particles(loc, vel, charges, mask)
        centre = centroid(loc, mask)
        loc = loc - centre
        found = self.canonicalizer(loc, vel, charges, mask)
        answer = self.posed.through(found, (loc, vel, charges), mask) + centre
        return answer if mask is None else answer.masked_fill(~mask.unsqueeze(-1), 0.0)


def _orthonormal(vectors: Tensor, least: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormalise the columns of ``[B, 3, 3]`` as Gram and Schmidt do; say of which matrices it is impossible.

    Of the third column only its side of the plane of the others matters, so that it may be next to dependent: the
    normal is exact where what is left after projections would have lost its digits.

    Args:
        vectors: ``[B, 3, 3]``.
        least: Length ``[B]`` at which the first two count as dependent.
        scale: Lengths ``[B]`` of what the vectors were made of. The third is dependent where its side could be theirs
            by rounding: an error of eps·scale in each vector moves its height by eps·lever.
    """
    first, second, third = vectors.unbind(-1)
    lengths = vectors.detach().norm(dim=-2)
    first, bad = _unit(first, least)
    rest = second - (second * first).sum(dim=-1, keepdim=True) * first
    second, flat = _unit(rest, least)
    with torch.no_grad():  # errors of the first two turn the normal, the more the shorter they are
        smallest = torch.finfo(vectors.dtype).tiny
        tilt = (1 + lengths[:, 1] / lengths[:, 0].clamp_min(smallest)) / rest.norm(dim=-1).clamp_min(smallest)
        lever = scale * (1 + lengths[:, 2] * tilt)
    normal = torch.linalg.cross(first, second)
    height = (third * normal).sum(dim=-1, keepdim=True).detach()
    beside = height[:, 0].abs() <= SIDE.get(vectors.dtype, SIDE_ELSE) * torch.finfo(vectors.dtype).eps * lever
    return torch.stack([first, second, normal * height.sign()], dim=-1), bad | flat | beside


def _unit(v: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    length = v.norm(dim=-1, keepdim=True)
    short = length.detach()[:, 0] <= least
    # those that are left out must not spoil the gradients of the others
    return v / torch.where(short[:, None], torch.ones_like(length), length), short

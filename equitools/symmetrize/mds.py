"""Coordinates that know distances only: classical multidimensional scaling, and a wrapper that works with them.

The coordinates of points that reproduce their distances are fixed up to a rotation, a reflection and a translation.
Ordering the axes by variance and choosing signs by a rule fixes the rest, so that whatever a network makes of the
coordinates is invariant. Two things follow from what this is:

* Classical scaling of Euclidean distances *is* principal component analysis, up to the signs of the axes. It has the
  same open choices where eigenvalues coincide or third moments vanish, and the same jumps there.
* Distances do not tell a cloud from its mirror image: handedness is lost. Where it matters, take a frame average or a
  canonical frame of SE(d).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from equitools.errors import ConfigError, DegenerateFrameError, ShapeError, nearest
from equitools.ops.precision import full_precision
from equitools.ops.top_eigenpairs import top_eigenpairs
from equitools.symmetrize.frame_set import Frames, check_cloud, default_threshold
from equitools.symmetrize.frames import DEGENERATE, MODES, frames
from equitools.symmetrize.representations import Representation
from equitools.symmetrize.symmetrized import Inputs, Outputs, Symmetrized

__all__ = ["Scaling", "TinvNet", "mds_coordinates"]

AMBIGUOUS = ("raise", "keep")


class Scaling(NamedTuple):
    """Coordinates of classical multidimensional scaling.

    Attributes:
        coordinates: ``[B, N, dim]``, centred, axes by descending variance; zero at padding.
        eigenvalues: The sums of squares along the axes ``[B, dim]``, before any scaling. Negative ones say that the
            distances are not Euclidean; their axes are zero.
        scale: What the coordinates were divided by, ``[B]``: their root mean square length, or 1.
    """

    coordinates: Tensor
    eigenvalues: Tensor
    scale: Tensor


@full_precision
def mds_coordinates(
    x: Tensor | None = None,
    *,
    distances: Tensor | None = None,
    dim: int | None = None,
    mask: Tensor | None = None,
    scale: bool = False,
    ambiguous: str = "raise",
    threshold: float | None = None,
) -> Scaling:
    """Return coordinates that depend on distances alone, by classical multidimensional scaling.

    Of a matrix D of distances they are U√Λ of the eigenvectors of ``−½ J D² J``, J the centring matrix. Of points the
    same follows from the d × d matrix of second moments, and distances are not needed. An axis points to where the
    third moment of the coordinates along it is positive; axes without extent are zero.

    Args:
        x: Points ``[B, N, d]``; or
        distances: ``[B, N, N]``, symmetric, zero on the diagonal, not negative.
        dim: How many coordinates; ``None``: d. With distances it must be said. Beyond d they are zero.
        mask: ``[B, N]`` bool, ``True`` for a real point.
        scale: Divide by the root mean square length, so that scaling the input does not matter either.
        ambiguous: What to do where the rule does not fix an axis, as eigenvalues coincide or a third moment vanishes:
            ``"raise"``, or ``"keep"`` whatever the eigensolver gave (then nothing is invariant there). To average over
            the choices instead, use `TinvNet` with mode "full" or "weighted", or `equitools.symmetrize.FrameAverage`.
        threshold: What counts as coinciding or vanishing, relative, as for `equitools.symmetrize.frames`.

    Returns:
        `Scaling`; differentiable, at all orders, with respect to x or to distances.

    Raises:
        ShapeError: A wrong shape, a wholly masked cloud, numbers that are not finite, or no matrix of distances.
        ConfigError: Neither or both of x and distances, no dim, an unknown policy.
        DegenerateFrameError: An axis is not fixed and ``ambiguous="raise"``.

    Properties:
        equals_principal_components: those of the points, up to signs.
        both_ways_agree: points and their distances give the same coordinates.
        invariance: rotations, reflections and translations of the points do not matter.
        scaling_invariance: with ``scale``, the size does not matter.
        distances_are_kept: the coordinates have the distances of the points, where dim is not below their rank.
        padding_is_nothing: the same as without the padded points.

    Source: Zhang et al., TinvNN, arXiv 2021; classical scaling is Torgerson's (Psychometrika 1952).
    """
    if (x is None) == (distances is None):
        raise ConfigError("Give either points x or distances=, one of them.")
    if ambiguous not in AMBIGUOUS:
        raise ConfigError(f"ambiguous={ambiguous!r} is not known. {nearest(str(ambiguous), AMBIGUOUS)}")
    if dim is not None and (isinstance(dim, bool) or not isinstance(dim, int) or dim < 1):
        raise ConfigError(f"dim must be an integer of 1 or more, it is {dim!r}.")
    given = x if x is not None else distances
    assert given is not None  # noqa: S101 - for the type checker
    check_cloud(given, mask)
    if given.dtype not in {torch.float32, torch.float64}:
        raise ShapeError(f"Coordinates are computed in float32 or float64, not in {given.dtype}: convert the input.")
    real = None if mask is None else mask.unsqueeze(-1)
    threshold = default_threshold(given.dtype) if threshold is None else threshold
    if x is not None:
        cloud = x if real is None else x.masked_fill(~real, 0)
        _check_finite(cloud)
        wanted = x.shape[2] if dim is None else dim
        count = x.shape[1] if mask is None else mask.sum(1)[:, None, None]
        centred = cloud - cloud.sum(1, keepdim=True) / count
        centred = centred if real is None else centred.masked_fill(~real, 0)
        kept = min(wanted, x.shape[2])
        matrix = centred.transpose(1, 2) @ centred
        values, axes = top_eigenpairs(matrix, kept, _floor(matrix, threshold))
        coordinates = centred @ axes
    else:
        if dim is None:
            raise ConfigError("With distances=, say how many coordinates are wanted: dim=.")
        wanted = dim
        matrix = _gram(given, mask)
        kept = min(wanted, given.shape[1])
        values, axes = top_eigenpairs(matrix, kept, _floor(matrix, threshold))
        coordinates = axes * values.clamp(min=torch.finfo(values.dtype).tiny).sqrt().unsqueeze(1)
    largest = values.detach().abs().amax(1, keepdim=True)
    flat = values.detach() <= _floor(matrix, threshold) * largest
    coordinates = coordinates.masked_fill(flat.unsqueeze(1), 0)
    open_, sign = _signs(coordinates.detach(), flat, threshold)
    coordinates = coordinates * sign.unsqueeze(1)
    if ambiguous == "raise":
        _raise_if(_coinciding(matrix, kept, threshold), "eigenvalues that coincide")
        _raise_if(open_.any(1), "third moments that vanish")
    if wanted > kept:
        coordinates = torch.nn.functional.pad(coordinates, (0, wanted - kept))
        values = torch.nn.functional.pad(values, (0, wanted - kept))
    size = coordinates.new_ones(len(coordinates))
    if scale:
        size = _size(coordinates, mask)
        coordinates = coordinates / size[:, None, None]
    return Scaling(coordinates, values, size)


class TinvNet(Symmetrized):
    """Any network on coordinates of classical scaling: invariant to E(d), and with ``scale`` to similarities.

    Its outputs may be equivariant: they are multiplied back. In mode "canonical" it is `mds_coordinates` before the
    network. As that is the canonical frame of principal axes, so are its limits: outputs jump where signs or the order
    of axes change, and a cloud is not told from its mirror image (pseudovectors and pseudoscalars come out, but a
    network of points alone cannot tell which of the two clouds it was given).

    Args:
        net: Any network, see `equitools.symmetrize.Symmetrized`.
        inputs: Representation of the input, or of each.
        outputs: Representation of the output, or of each.
        scale: Divide the coordinates by their root mean square length, and multiply what comes out: points and vectors
            by that length, tensors of rank k by its k-th power, scalars not at all. Irreps have no such rule.
        mode: ``"canonical"``: the coordinates whose signs third moments fix; ``"full"``, ``"sample"`` and
            ``"weighted"`` average over the choices, see `equitools.symmetrize.frames`.
        degenerate: Where the choice is open: ``"raise"``, ``"average"`` or ``"weighted"``, see
            `equitools.symmetrize.frames`.
        source: Which input the coordinates are made of.
        threshold: What counts as degenerate.

    Raises:
        ConfigError: An unknown representation, mode or policy, or irreps with ``scale``.

    Properties:
        invariance: scalars do not change under E(d), and with ``scale`` under similarities.
        equivariance: points, vectors and tensors turn with the input, and with ``scale`` grow with it.
        coordinates_are_mds: the network sees `mds_coordinates`.

    Source: Zhang et al., TinvNN, arXiv 2021 (later TinvNet), with its equivariant extension.
    """

    def __init__(
        self,
        net: nn.Module | Callable[..., Any],
        inputs: Inputs = "points",
        outputs: Outputs = "scalar",
        *,
        scale: bool = False,
        mode: str = "canonical",
        degenerate: str = "weighted",
        source: int | None = None,
        threshold: float | None = None,
    ) -> None:
        super().__init__(net, inputs, outputs, source)
        if mode not in MODES:
            raise ConfigError(f"mode={mode!r} is not known. {nearest(str(mode), MODES)}")
        if degenerate not in DEGENERATE:
            raise ConfigError(f"degenerate={degenerate!r} is not known. {nearest(str(degenerate), DEGENERATE)}")
        if scale and any(item.irreps is not None for item in (*self.inputs, *_listed(self.outputs))):
            raise ConfigError("With scale=True declare vectors and tensors by name: irreps do not say how they scale.")
        self.scale, self.mode = scale, mode
        self.options: dict[str, Any] = {"degenerate": degenerate, "threshold": threshold, "degree": self.degree}

    def extra_repr(self) -> str:
        """Return the options, for ``repr``."""
        return f"scale={self.scale}, mode={self.mode!r}"

    def frames_of(self, x: Tensor, mask: Tensor | None) -> Frames:
        """Return rigid motions, or similarities with ``scale``, whose inverses take the cloud to its coordinates."""
        check_cloud(x, mask)
        d = x.shape[-1]
        elements, weights = frames(x, f"E({d})", mask, self.mode, **self.options)
        # Frames have axes by ascending variance, scaling by descending.
        turned, shift = elements[..., :d].flip(-1), elements[..., d:]
        if self.scale:
            centred = x - elements[:, 0, :d, d].unsqueeze(1)
            size = _size(centred if mask is None else centred.masked_fill(~mask.unsqueeze(-1), 0), mask)
            turned = turned * size[:, None, None, None]
        return Frames(torch.cat([turned, shift], -1), weights)


def _listed(outputs: Any) -> tuple[Representation, ...]:
    if isinstance(outputs, Representation):
        return (outputs,)
    return tuple(outputs.values()) if isinstance(outputs, dict) else tuple(outputs)


def _check_finite(values: Tensor) -> None:
    bad = ~values.detach().isfinite().flatten(1).all(1)
    if bool(bad.any()):
        raise ShapeError(f"Numbers are not finite (NaN or infinite) in cloud {bad.nonzero().flatten()[:8].tolist()}.")


def _gram(distances: Tensor, mask: Tensor | None) -> Tensor:
    """Return ``−½ J D² J`` of the real points, zero at padding."""
    if distances.shape[1] != distances.shape[2]:
        raise ShapeError(f"Distances must be [B, N, N], they are {list(distances.shape)}.")
    if mask is None:
        pair, count = None, distances.new_full((len(distances), 1, 1), distances.shape[1])
    else:
        pair, count = mask.unsqueeze(1) & mask.unsqueeze(2), mask.sum(1)[:, None, None].to(distances.dtype)
        distances = distances.masked_fill(~pair, 0)
    _check_finite(distances)
    seen = distances.detach()
    # Of large clouds torch.cdist has an error of the square root of rounding where points (nearly) coincide.
    rounding = 8 * torch.finfo(seen.dtype).eps ** 0.5 * seen.abs().amax((1, 2), keepdim=True) if seen.numel() else 0.0
    wrong = (
        ((seen - seen.transpose(1, 2)).abs() > rounding)
        | (seen < 0)
        | (seen * torch.eye(seen.shape[1]).to(seen) > rounding)
    )
    wrong = wrong.flatten(1).any(1)
    if bool(wrong.any()):
        raise ShapeError(
            "Distances are symmetric, not negative, and zero from a point to itself; this is not so in cloud "
            f"{wrong.nonzero().flatten()[:8].tolist()}."
        )
    square = (distances.square() + distances.square().transpose(1, 2)) / 2
    row = square.sum(2, keepdim=True) / count
    gram = -(square - row - row.transpose(1, 2) + row.sum(1, keepdim=True) / count) / 2
    return gram if pair is None else gram.masked_fill(~pair, 0)


def _floor(matrix: Tensor, threshold: float) -> float:
    """Return below which relative size an eigenvalue is that of no extent: of the threshold, or of rounding."""
    return max(threshold**2, 16 * matrix.shape[-1] * torch.finfo(matrix.dtype).eps)


def _coinciding(matrix: Tensor, kept: int, threshold: float) -> Tensor:
    """Return in which clouds an axis shares its eigenvalue with the next one, if that has an extent, kept or not."""
    values = torch.linalg.eigvalsh(matrix.detach()).flip(-1)
    largest = values.abs().amax(1, keepdim=True)
    shared = (-values.diff(dim=-1) <= threshold * largest) & (values[:, 1:] > _floor(matrix, threshold) * largest)
    return shared[:, :kept].any(1)


def _signs(coordinates: Tensor, flat: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Return which axes have no sign, ``[B, dim]``, and the signs: +1 or −1 each."""
    moment, scale = coordinates.pow(3).sum(1), coordinates.abs().pow(3).sum(1)
    open_ = (moment.abs() <= threshold * scale) & ~flat
    return open_, torch.where(moment < 0, -1.0, 1.0).to(coordinates.dtype)


def _size(coordinates: Tensor, mask: Tensor | None) -> Tensor:
    """Return the root mean square length ``[B]`` of centred points, 1 where they all coincide."""
    count = coordinates.shape[1] if mask is None else mask.sum(1)
    square = coordinates.square().sum((1, 2)) / count
    nothing = square.detach() <= torch.finfo(square.dtype).tiny
    return torch.where(nothing, 1.0, square).sqrt()


def _raise_if(bad: Tensor, what: str) -> None:
    if bool(bad.any()):
        raise DegenerateFrameError(
            f"Cloud {bad.nonzero().flatten()[:8].tolist()} of {len(bad)} has {what}: its coordinates are not unique. "
            "ambiguous='keep' takes any; TinvNet with mode='full' or 'weighted' averages over them."
        )

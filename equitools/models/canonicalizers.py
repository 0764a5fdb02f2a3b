"""Learned canonicalizers: from a cloud to the group element that its canonical pose is moved by.

Each is a module, called as ``canonicalizer(x, mask=None)``, that returns an element g ``[B, d, d]`` (homogeneous
``[B, d+1, d+1]`` for Euclidean groups), or, where a symmetric cloud may need several, `equitools.symmetrize.Frames`,
with ``canonicalizer(h x) = h canonicalizer(x)``; `equitools.symmetrize.Canonicalize` puts one in front of a network.
The canonical pose of x is ``g⁻¹ x``. No state is kept on a module.

Source:
    S.-O. Kaba et al., Equivariance with Learned Canonicalization Functions, ICML 2023, arXiv:2211.06489.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, nearest
from equitools.groups import MatrixGroup, homogeneous_matrices, parse_rigid_group
from equitools.models.cloud_input import check_clouds
from equitools.ops.precision import full_precision
from equitools.symmetrize import Frames, degenerate_vectors, frames, gram_schmidt, vectors_needed
from equitools.symmetrize.degenerate import centroid as centroid_and_rounding

__all__ = ["GramSchmidtCanonicalizer", "centroid"]

_KNOWN = ("centroid", "learned")
_DEGENERATE = ("weighted", "complete", "raise")


def centroid(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean of the real points, ``[B, d]``.

    Args:
        x: Clouds ``[B, N, d]``.
        mask: Real points ``[B, N]``.
    """
    if mask is None:
        return x.mean(1)
    kept = torch.where(mask.unsqueeze(-1), x, torch.zeros_like(x))
    return kept.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


class GramSchmidtCanonicalizer(torch.nn.Module):
    """A network's equivariant vectors, made orthonormal; with the centroid and a size, if asked for.

    The cloud is centred (if there is a translation) and divided by its root mean square radius before the network sees
    it, so that the frame depends on neither.

    Vectors that vanish or are parallel give no frame. That is a matter of symmetry: of a cloud that is its own inverse,
    such as many a molecule, every polar vector vanishes, and of one with half turns about two axes any vector does. No
    single element can then be equivariant, whatever chooses it: several are needed.

    Args:
        network: Maps a centred cloud to vectors ``[B, k, d]``: called as ``network(points, mask=mask)``, such as
            `VNPointNet` or `VNDeepSets` with ``outputs`` as `needed` says.
        group: ``"O(d)"``, ``"SO(d)"``, ``"E(d)"`` or ``"SE(d)"``, or an object.
        translation: ``None``: the origin stays (O, SO). ``"centroid"`` (the default of E, SE). ``"learned"``: the
            centroid plus one more vector of the network, the last, times the radius.
        scale: ``None``: no scaling. ``"rms"``: the root mean square radius about the centroid (or the origin). Or a
            module: maps the centred cloud of radius 1 to ``[B, 1]``, and the scale is the radius times the exponential
            of its hyperbolic tangent (positive, and proportional to the size of the cloud). An element then is s·R,
            which is no element of the group but acts on points and vectors; irreps and tensors need plain R.
        degenerate: What becomes of a cloud whose vectors give no frame. ``"weighted"``: its weighted frames, of mode
            "weighted" of `equitools.symmetrize.frames`, which do not know of the network's vectors; all clouds have
            `Frames`, those with vectors of their own one of weight 1. ``"raise"``. ``"complete"``: one element, by the
            farthest point of the cloud, see `equitools.symmetrize.gram_schmidt`. It is *not* equivariant where several
            points are equally far: not for clouds that are their own inverse.
        first_axis: Along which axis the first vector points in the canonical pose; the others follow in cyclic order.
            The first vector is the one that a cloud with a single axis has: give the axis that upright data have.
        threshold: What counts as degenerate. In addition vectors shorter than 1e-7 (1e-5 in smaller dtypes) are: that
            is the rounding of sums that vanish because the cloud is symmetric.
        degree: Of weighted frames of linear clouds and single points, see `equitools.symmetrize.frames`.

    Properties:
        equivariance: forward(h x) = h forward(x) for every h of the group (as a set of elements with weights); with a
            scale, of similarities. With ``"weighted"`` for every cloud that the network's own vectors are equivariant
            for: ``pool="max"`` chooses one of several equivalent points, and so do nearest neighbours of which not all
            of an equal distance are taken. Symmetric clouds need ``pool="mean"``.
        right_handed: for SO(d) and SE(d) determinants are positive.
        gradients_are_finite: at symmetric clouds and zero vectors, too, unless ``degenerate="raise"`` refuses them.

    Example:
        >>> from equitools.models import VNPointNet
        >>> pose = GramSchmidtCanonicalizer(VNPointNet(2, "SE(3)"), "SE(3)")
        >>> pose(torch.randn(5, 32, 3)).elements.shape
        torch.Size([5, 1, 4, 4])
    """

    def __init__(
        self,
        network: torch.nn.Module,
        group: str | MatrixGroup = "SO(3)",
        *,
        translation: str | None = None,
        scale: str | torch.nn.Module | None = None,
        degenerate: str = "weighted",
        first_axis: int = 0,
        threshold: float | None = None,
        degree: int = 2,
    ) -> None:
        super().__init__()
        self.group = parse_rigid_group(group, "Learned poses")
        if translation is not None and translation not in _KNOWN:
            raise ConfigError(f"translation={translation!r} is not known. {nearest(str(translation), _KNOWN)}")
        if translation is not None and not self.group.euclidean:
            raise ConfigError(f"{self.group} has no translations: translation is None, or the group is E or SE.")
        if degenerate not in _DEGENERATE:
            raise ConfigError(f"degenerate={degenerate!r} is not known. {nearest(str(degenerate), _DEGENERATE)}")
        if isinstance(scale, str) and scale != "rms":
            raise ConfigError(f"scale={scale!r} is not known: None, 'rms' or a module.")
        if isinstance(first_axis, bool) or not isinstance(first_axis, int) or not 0 <= first_axis < self.group.n:
            raise ConfigError(f"first_axis is one of 0 to {self.group.n - 1}, not {first_axis!r}.")
        if isinstance(degree, bool) or not isinstance(degree, int) or degree < 0:
            raise ConfigError(f"degree is an integer of at least 0, not {degree!r}.")
        self.network, self.scale, self.first_axis = network, scale, first_axis
        self.translation = "centroid" if translation is None and self.group.euclidean else translation
        self.degenerate, self.threshold, self.degree = degenerate, threshold, degree

    @property
    def needed(self) -> int:
        """How many vectors the network has to return."""
        return vectors_needed(self.group) + (self.translation == "learned")

    def extra_repr(self) -> str:
        """Return the group and how translations are found."""
        return f"{self.group}, translation={self.translation!r}, degenerate={self.degenerate!r}"

    @full_precision
    def forward(
        self, x: Tensor, mask: Tensor | None = None, features: Tensor | None = None, vectors: Tensor | None = None
    ) -> Tensor | Frames:
        """Return an element, or weighted elements, for each cloud.

        Args:
            x: Clouds ``[B, N, d]``.
            mask: Real points ``[B, N]``.
            features: Handed to the network, if given.
            vectors: Handed to the network, if given; they are turned but neither moved nor scaled with the cloud.

        Returns:
            `Frames` of elements ``[B, F, d, d]``, or ``[B, F, d+1, d+1]`` for E and SE, with ``degenerate="weighted"``;
            F is 1 unless a cloud is degenerate. Otherwise elements ``[B, d, d]`` or ``[B, d+1, d+1]``.

        Raises:
            ShapeError: A shape is wrong, a cloud has no points or coordinates that are not finite, or the network's
                vectors are not as many as needed.
            DegenerateFrameError: Under ``degenerate="raise"``.
        """
        d = self.group.n
        check_clouds(x, d, mask, features, vectors)
        if len(x) == 0:
            return self._of_none(x)
        middle, rounding = centroid_and_rounding(x, mask, bool(self.translation))
        centred = x - middle.unsqueeze(1)
        if mask is not None:
            centred = centred.masked_fill(~mask.unsqueeze(-1), 0.0)
        if rounding is not None:  # points that are all the same, far from the origin
            nothing = centred.detach().abs().amax((1, 2)) <= rounding
            centred = centred.masked_fill(nothing[:, None, None], 0.0)
        count = x.shape[1] if mask is None else mask.sum(1).to(x.dtype)
        square = centred.square().sum((1, 2)) / count
        # a single point has no size: 1 instead, whose square root also has a derivative
        radius = torch.where(square > 0, square, torch.ones_like(square)).sqrt()
        unit = centred / radius.view(-1, 1, 1)
        found = self.network(unit, **_given(mask=mask, features=features, vectors=vectors))
        if found.shape != (len(x), self.needed, d):
            raise ShapeError(
                f"The network of this canonicalizer must return {self.needed} vectors, [{len(x)}, {self.needed}, {d}], "
                f"it returned {list(found.shape)}."
            )
        turns, weights = self._turns(found[:, : vectors_needed(self.group)], x, unit, mask)
        if self.first_axis:
            turns = turns @ self._axes().to(turns)
        if self.scale is not None:
            factor = radius
            if isinstance(self.scale, torch.nn.Module):
                factor = radius * self.scale(unit, **_given(mask=mask)).reshape(-1).tanh().exp()
            turns = turns * factor.view(-1, 1, 1, 1)
        if self.group.euclidean:
            if self.translation == "learned":
                middle = middle + radius.unsqueeze(-1) * found[:, -1]
            turns = homogeneous_matrices(turns, middle.unsqueeze(1))
        return Frames(turns, weights) if self.degenerate == "weighted" else turns[:, 0]

    def _turns(self, vectors: Tensor, x: Tensor, unit: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Orthogonal matrices ``[B, F, d, d]`` and their weights ``[B, F]``; F is 1 but for weighted frames."""
        options: dict[str, Any] = {
            "threshold": self.threshold,
            # of a cloud of radius 1, sums that should vanish by symmetry are not larger than this
            "floor": 1e-7 if x.dtype == torch.float64 else 1e-5,
        }
        if self.degenerate != "weighted":
            completion = unit if self.degenerate == "complete" else None
            frame = gram_schmidt(vectors, self.group, degenerate=self.degenerate, completion=completion, **options)
            return frame.unsqueeze(1), torch.ones_like(x[:, :1, 0])
        bad = degenerate_vectors(vectors, self.group, **options)
        if not bool(bad.any()):
            return gram_schmidt(vectors, self.group, **options).unsqueeze(1), torch.ones_like(x[:, :1, 0])
        d, own, other = self.group.n, (~bad).nonzero().flatten(), bad.nonzero().flatten()
        part = None if mask is None else mask[other]
        several = frames(x[other], self.group, part, "weighted", degree=self.degree)
        width = several.weights.shape[1]
        turns = torch.eye(d, dtype=x.dtype, device=x.device).expand(len(x), width, d, d)
        turns = turns.index_copy(0, other, several.elements[..., :d, :d])
        weights = x.new_zeros(len(x), width).index_copy(0, other, several.weights)
        if len(own):
            frame = gram_schmidt(vectors[own], self.group, **options).to(x.dtype)
            turns = turns.index_copy(0, own, frame.unsqueeze(1).expand(-1, width, -1, -1))
            alone = torch.zeros(len(own), width, dtype=x.dtype, device=x.device)
            alone[:, 0] = 1.0
            weights = weights.index_copy(0, own, alone)
        return turns, weights

    def _of_none(self, x: Tensor) -> Tensor | Frames:
        size = self.group.n + self.group.euclidean
        turns = x.new_zeros(0, 1, size, size)
        return Frames(turns, x.new_zeros(0, 1)) if self.degenerate == "weighted" else turns[:, 0]

    def _axes(self) -> Tensor:
        """The fixed matrix that moves the first column to ``first_axis``, the others cyclically behind it."""
        moved = torch.eye(self.group.n, dtype=torch.float64).roll(self.first_axis, 1)
        if not self.group.reflections and self.first_axis * (self.group.n - 1) % 2:
            moved[-1] *= -1  # an odd permutation: the last column, which no vector was given for, changes its sign
        return moved


def _given(**values: Any) -> dict[str, Any]:
    """The arguments that there are: a network need not know of those that there are not."""
    return {name: value for name, value in values.items() if value is not None}

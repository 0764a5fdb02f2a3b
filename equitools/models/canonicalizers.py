"""Learned canonicalizers: from a cloud to the one group element that its canonical pose is moved by.

Each is a module, called as ``canonicalizer(x, mask=None)``, that returns an element g ``[B, d, d]`` (homogeneous
``[B, d+1, d+1]`` for Euclidean groups) with ``canonicalizer(h x) = h canonicalizer(x)``; `equitools.symmetrize.
Canonicalize` puts one in front of a network. The canonical pose of x is ``g⁻¹ x``. No state is kept on a module.

Source:
    S.-O. Kaba et al., Equivariance with Learned Canonicalization Functions, ICML 2023, arXiv:2211.06489.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, nearest
from equitools.groups import MatrixGroup, parse_group
from equitools.ops.precision import full_precision
from equitools.symmetrize import gram_schmidt, vectors_needed

__all__ = ["GramSchmidtCanonicalizer", "centroid", "homogeneous"]

_KNOWN = ("centroid", "learned")


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


def homogeneous(linear: Tensor, shift: Tensor) -> Tensor:
    """Return matrices ``[B, d+1, d+1]`` of the maps ``x → A x + t``.

    Args:
        linear: A, ``[B, d, d]``.
        shift: t, ``[B, d]``.
    """
    upper = torch.cat([linear, shift.unsqueeze(-1)], -1)
    last = torch.zeros_like(upper[..., :1, :])
    last[..., -1] = 1.0
    return torch.cat([upper, last], -2)


def check_clouds(x: Tensor, d: int, mask: Tensor | None) -> None:
    """Raise unless there are clouds ``[B, N, d]`` with at least one real point each."""
    if x.ndim != 3 or x.shape[-1] != d or not x.is_floating_point():
        raise ShapeError(f"Clouds [B, N, {d}] of a floating-point dtype are needed, given {list(x.shape)} {x.dtype}.")
    if mask is not None and (mask.dtype != torch.bool or mask.shape != x.shape[:2]):
        raise ShapeError(f"The mask is bool {list(x.shape[:2])}, given {list(mask.shape)} {mask.dtype}.")
    if (x.shape[1] == 0 and len(x)) or (mask is not None and not bool(mask.any(1).all())):
        raise ShapeError("A cloud has no points, or all of them are masked: there is nothing to take a pose from.")


class GramSchmidtCanonicalizer(torch.nn.Module):
    """A network's equivariant vectors, made orthonormal; with the centroid and a size, if asked for.

    The cloud is centred (if there is a translation) and divided by its root mean square radius before the network sees
    it, so that the frame depends on neither.

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
        degenerate: ``"raise"``, or ``"complete"``: by the points of the cloud, see `equitools.symmetrize.gram_schmidt`.
        first_axis: Along which axis the first vector points in the canonical pose; the others follow in cyclic order.
            The first vector is the one that a cloud with a single axis has: give the axis that upright data have.
        threshold: What counts as degenerate. In addition vectors shorter than 1e-7 (1e-5 in smaller dtypes) are: that
            is the rounding of sums that vanish because the cloud is symmetric.

    Properties:
        equivariance: forward(h x) = h forward(x) for every h of the group; with a scale, of similarities.
        right_handed: for SO(d) and SE(d) determinants are positive.
        gradients_are_finite: at symmetric clouds and zero vectors, too, with ``degenerate="complete"``.

    Example:
        >>> from equitools.models import VNPointNet
        >>> pose = GramSchmidtCanonicalizer(VNPointNet(2, "SE(3)"), "SE(3)")
        >>> pose(torch.randn(5, 32, 3)).shape
        torch.Size([5, 4, 4])
    """

    def __init__(
        self,
        network: torch.nn.Module,
        group: str | MatrixGroup = "SO(3)",
        *,
        translation: str | None = None,
        scale: str | torch.nn.Module | None = None,
        degenerate: str = "complete",
        first_axis: int = 0,
        threshold: float | None = None,
    ) -> None:
        super().__init__()
        self.group = parse_group(group)
        if translation is not None and translation not in _KNOWN:
            raise ConfigError(f"translation={translation!r} is not known. {nearest(str(translation), _KNOWN)}")
        if translation is not None and not self.group.euclidean:
            raise ConfigError(f"{self.group} has no translations: translation is None, or the group is E or SE.")
        if degenerate not in {"raise", "complete"}:
            raise ConfigError(f"degenerate={degenerate!r} is not known. Known: 'raise', 'complete'.")
        if isinstance(scale, str) and scale != "rms":
            raise ConfigError(f"scale={scale!r} is not known: None, 'rms' or a module.")
        if isinstance(first_axis, bool) or not isinstance(first_axis, int) or not 0 <= first_axis < self.group.n:
            raise ConfigError(f"first_axis is one of 0 to {self.group.n - 1}, not {first_axis!r}.")
        self.network, self.scale, self.first_axis = network, scale, first_axis
        self.translation = "centroid" if translation is None and self.group.euclidean else translation
        self.degenerate, self.threshold = degenerate, threshold

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
    ) -> Tensor:
        """Return an element for each cloud.

        Args:
            x: Clouds ``[B, N, d]``.
            mask: Real points ``[B, N]``.
            features: Handed to the network, if given.
            vectors: Handed to the network, if given; they are turned but neither moved nor scaled with the cloud.

        Returns:
            ``[B, d, d]``, or ``[B, d+1, d+1]`` for E and SE.

        Raises:
            ShapeError: A shape is wrong, a cloud has no points, or the network's vectors are not as many as needed.
            DegenerateFrameError: Under ``degenerate="raise"``.
        """
        d = self.group.n
        check_clouds(x, d, mask)
        middle = centroid(x, mask) if self.translation else torch.zeros_like(x[:, 0] if x.shape[1] else x.sum(1))
        centred = x - middle.unsqueeze(1)
        if mask is not None:
            centred = torch.where(mask.unsqueeze(-1), centred, torch.zeros_like(centred))
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
        frame = gram_schmidt(
            found[:, : vectors_needed(self.group)],
            self.group,
            degenerate=self.degenerate,
            threshold=self.threshold,
            completion=unit if self.degenerate == "complete" else None,
            # of a cloud of radius 1, sums that should vanish by symmetry are not larger than this
            floor=1e-7 if x.dtype == torch.float64 else 1e-5,
        )
        if self.first_axis:
            frame = frame @ self._axes().to(frame)
        if self.scale is not None:
            factor = radius
            if isinstance(self.scale, torch.nn.Module):
                factor = radius * self.scale(unit, **_given(mask=mask)).reshape(-1).tanh().exp()
            frame = frame * factor.view(-1, 1, 1)
        if not self.group.euclidean:
            return frame
        if self.translation == "learned":
            middle = middle + radius.unsqueeze(-1) * found[:, -1]
        return homogeneous(frame, middle)

    def _axes(self) -> Tensor:
        """The fixed matrix that moves the first column to ``first_axis``, the others cyclically behind it."""
        moved = torch.eye(self.group.n, dtype=torch.float64).roll(self.first_axis, 1)
        if not self.group.reflections and self.first_axis * (self.group.n - 1) % 2:
            moved[-1] *= -1  # an odd permutation: the last column, which no vector was given for, changes its sign
        return moved


def _given(**values: Any) -> dict[str, Any]:
    """The arguments that there are: a network need not know of those that there are not."""
    return {name: value for name, value in values.items() if value is not None}

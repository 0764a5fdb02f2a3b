"""Modules that make any network equivariant. They only compose `frames`, `fold` and `unfold`, and keep no state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from equitools.errors import ConfigError, ShapeError, nearest
from equitools.groups import MatrixGroup, parse_group
from equitools.symmetrize.frame_set import Frames
from equitools.symmetrize.frames import DEGENERATE, MODES, SYMMETRIC, frames
from equitools.symmetrize.gram_schmidt_frames import SPARSITY
from equitools.symmetrize.symmetrized import Inputs, Outputs, Symmetrized
from equitools.symmetrize.weighted_frames import GAPS

__all__ = ["Canonicalize", "FrameAverage", "StochasticFrameAverage"]


class FrameAverage(Symmetrized):
    """Any network, averaged over the frames of its input: equivariant, exactly, and as expressive as the network.

    Args:
        net: Any network, see `Symmetrized`.
        group: ``"O(d)"``, ``"SO(d)"``, ``"E(d)"``, ``"SE(d)"``, a Lorentz group, a group object, or ``"S_n"`` (with
            inputs declared as "edges" and "nodes").
        inputs: Representation of the input, or of each.
        outputs: Representation of the output, or of each.
        mode: ``"full"``, ``"sample"``, ``"canonical"`` or ``"weighted"``, see `frames`.
        degenerate: ``"raise"``, ``"average"`` or ``"weighted"``, see `frames`.
        source: Which input the frames are computed from.
        samples: Frames that mode "sample" draws.
        threshold: What counts as degenerate, see `frames`.
        sparsity: Of weighted frames, see `frames`.
        gaps: Of weighted frames, see `frames`.
        detach: Cut the derivative through the frames off. Wrong for conservative forces, which need it; the N-body
            code of the paper does so in training.

    Raises:
        UnknownNameError: An unknown group.
        ConfigError: An unknown mode, policy or representation.

    Properties:
        equivariance: f(g x) = g f(x) for every mode but "sample", in float64 to 1e-9 of generic inputs.
        projection: a network that is equivariant already is not changed.
        conservative: gradients include the derivative through the frame and agree with finite differences.

    Source:
        O. Puny et al., Frame Averaging for Invariant and Equivariant Network Design, ICLR 2022, equation 4.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(15, 1))
        >>> FrameAverage(net, "SE(3)")(torch.randn(2, 5, 3)).shape
        torch.Size([2, 1])
    """

    def __init__(
        self,
        net: nn.Module | Callable[..., Any],
        group: str | MatrixGroup,
        inputs: Inputs = "points",
        outputs: Outputs = "scalar",
        mode: str = "full",
        *,
        degenerate: str = "weighted",
        source: int | None = None,
        samples: int = 1,
        threshold: float | None = None,
        sparsity: float = SPARSITY,
        gaps: tuple[float, float] | None = GAPS,
        detach: bool = False,
    ) -> None:
        super().__init__(net, inputs, outputs, source)
        self.group = group if group == SYMMETRIC else parse_group(group)
        if group == SYMMETRIC:
            self.mask_as = "nodes"
            if self.inputs[self.source].kind != "edges":
                raise ConfigError("Frames of S_n are those of a graph: declare its adjacency [B, n, n] as 'edges'.")
        if mode not in MODES:
            raise ConfigError(f"mode={mode!r} is not known. {nearest(str(mode), MODES)}")
        if degenerate not in DEGENERATE:
            raise ConfigError(f"degenerate={degenerate!r} is not known. {nearest(str(degenerate), DEGENERATE)}")
        self.mode = mode
        self.detach = detach
        self.options: dict[str, Any] = {
            "degenerate": degenerate,
            "samples": samples,
            "threshold": threshold,
            "sparsity": sparsity,
            "gaps": gaps,
            # one more than the outputs have, so that their gradients are averaged exactly, too: forces of linear clouds
            "degree": self.degree + 1 if self.degree < 5 else self.degree,
        }

    def extra_repr(self) -> str:
        """Return the group and the mode, for ``repr``."""
        return f"{self.group}, mode={self.mode!r}"

    def frames_of(self, x: Tensor, mask: Tensor | None) -> Frames:
        """Return the frames of clouds ``[B, N, d]`` in the mode that is in force now."""
        return frames(x.detach() if self.detach else x, self.group, mask, self.mode_now, **self.options)

    @property
    def mode_now(self) -> str:
        """The mode of the next call."""
        return self.mode

    def spread(self, *inputs: Any, mask: Tensor | None = None) -> Any:
        """Return by how much the output differs from frame to frame: the weighted standard deviation of its entries.

        Zero means that the network is invariant to the choice of the frame already.

        Args:
            inputs: As for `forward`.
            mask: As for `forward`.

        Returns:
            The structure of the output.
        """
        found = self._frames(inputs, mask)
        mean = self.through(found, inputs, mask)
        total: Any = None
        for k in range(found.weights.shape[1]):
            one = Frames(found.elements[:, k : k + 1], torch.ones_like(found.weights[:, :1]))
            off = _combine(torch.sub, self.through(one, inputs, mask), mean)
            off = _combine(partial(_weighted_square, weight=found.weights[:, k]), off, off)
            total = off if total is None else _combine(torch.add, total, off)
        return _combine(lambda a, _: a.sqrt(), total, total)


def _weighted_square(value: Tensor, _: Tensor, weight: Tensor) -> Tensor:
    return value.square() * weight.reshape(-1, *[1] * (value.ndim - 1))


def _combine(function: Callable[[Tensor, Tensor], Tensor], first: Any, second: Any) -> Any:
    if isinstance(first, Tensor):
        return function(first, second)
    if isinstance(first, Mapping):
        return {name: function(first[name], second[name]) for name in first}
    return tuple(function(a, b) for a, b in zip(first, second, strict=True))


class StochasticFrameAverage(FrameAverage):
    """A few random frames in training, all of them (or weighted ones) in evaluation.

    A random frame in every training step costs one pass through the network and teaches it to be nearly invariant to
    the frame. A prediction that changes from call to call is no potential energy surface, hence evaluation is
    deterministic and exact by default.

    Args:
        net: Any network, see `Symmetrized`.
        group: As for `FrameAverage`.
        inputs: Representation of the input, or of each.
        outputs: Representation of the output, or of each.
        samples: Frames drawn for each cloud in training.
        eval_mode: Mode in evaluation: ``"full"``, ``"canonical"``, ``"weighted"``, or ``"sample"`` as published.
        options: As for `FrameAverage`.

    Properties:
        unbiased: the expectation of the output over the draw is that of ``mode="full"``.
        deterministic_in_evaluation: two calls in evaluation return the same numbers.

    Source:
        A. Duval et al., FAENet, ICML 2023, section 3.3 (stochastic frame averaging).
    """

    def __init__(
        self,
        net: nn.Module | Callable[..., Any],
        group: str | MatrixGroup,
        inputs: Inputs = "points",
        outputs: Outputs = "scalar",
        *,
        samples: int = 1,
        eval_mode: str = "full",
        **options: Any,
    ) -> None:
        super().__init__(net, group, inputs, outputs, eval_mode, samples=samples, **options)

    @property
    def mode_now(self) -> str:
        """The mode of the next call: "sample" in training, the evaluation's otherwise."""
        return "sample" if self.training else self.mode


class Canonicalize(Symmetrized):
    """Any network behind a canonicalizer: the input is moved to its canonical pose, the output back.

    Args:
        net: Any network, see `Symmetrized`.
        canonicalizer: ``canonicalizer(x, mask=None)`` returns one element ``[B, d, d]`` or ``[B, d+1, d+1]`` for each
            cloud, or `Frames`; a module (its parameters train with the network's) or a function such as
            `equitools.symmetrize.canonicalize` with its group. Elements may be any invertible matrices: a similarity
            with a learned scale, too.
        inputs: Representation of the input, or of each.
        outputs: Representation of the output, or of each.
        source: Which input the canonicalizer sees.

    Raises:
        ConfigError: An unknown representation.

    Properties:
        equivariance: f(g x) = g f(x) if the canonicalizer is equivariant: h(g x) = g h(x).

    Source:
        S.-O. Kaba et al., Equivariance with Learned Canonicalization Functions, ICML 2023, equation 2.

    Example:
        >>> pose = lambda x, mask=None: canonicalize(x, "SE(3)", mask)
        >>> Canonicalize(torch.nn.Flatten(), pose)(torch.randn(2, 5, 3)).shape
        torch.Size([2, 15])
    """

    def __init__(
        self,
        net: nn.Module | Callable[..., Any],
        canonicalizer: nn.Module | Callable[..., Any],
        inputs: Inputs = "points",
        outputs: Outputs = "scalar",
        *,
        source: int | None = None,
    ) -> None:
        super().__init__(net, inputs, outputs, source)
        if not callable(canonicalizer):
            raise ConfigError(f"A canonicalizer is called as canonicalizer(x, mask=None); {canonicalizer!r} cannot be.")
        self.canonicalizer = canonicalizer

    def frames_of(self, x: Tensor, mask: Tensor | None) -> Frames:
        """Return the canonicalizer's elements as frames."""
        found = self.canonicalizer(x, mask=mask)
        if isinstance(found, Frames):
            return found
        if isinstance(found, tuple | list) and len(found) == 2:
            return Frames(*found)
        if not isinstance(found, Tensor) or found.ndim != 3 or found.shape[0] != x.shape[0]:
            given = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ShapeError(f"The canonicalizer must return elements [{x.shape[0]}, s, s], it returned {given}.")
        return Frames(found.unsqueeze(1), torch.ones_like(found[:, :1, 0]))

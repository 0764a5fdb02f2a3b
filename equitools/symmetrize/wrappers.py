"""Modules that make any network equivariant. They only compose `frames`, `fold` and `unfold`, and keep no state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from equitools.errors import ConfigError, ShapeError
from equitools.groups import MatrixGroup, parse_rigid_group
from equitools.symmetrize.frame_set import Frames
from equitools.symmetrize.frames import SYMMETRIC, check_options, frames
from equitools.symmetrize.gram_schmidt_frames import MAX_FRAMES, SPARSITY
from equitools.symmetrize.graph_frames import frames_of_graphs
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
        max_frames: Most Gram–Schmidt frames of one cloud, see `frames`.
        generator: Source of randomness of mode "sample"; it advances with every call. None: torch's own.
        detach: Cut the derivative through the frames off. Wrong for conservative forces, which need it; the N-body
            code of the paper does so in training.

    Raises:
        UnknownNameError: An unknown group.
        ConfigError: An unknown mode, policy or representation.

    Properties:
        equivariance: f(g x) = g f(x) for every mode but "sample", in float64 to 1e-9 of generic inputs. For S_n all
            inputs declared as "nodes" tell nodes apart, and mode "canonical" averages over the automorphisms that are
            left wherever one numbering would not do.
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
        max_frames: int = MAX_FRAMES,
        generator: torch.Generator | None = None,
        detach: bool = False,
    ) -> None:
        super().__init__(net, inputs, outputs, source)
        check_options(mode, degenerate, threshold, samples, self.degree, sparsity, gaps)
        self.group: MatrixGroup | str = (
            SYMMETRIC if group == SYMMETRIC else parse_rigid_group(group, "Frames", lorentz=True)
        )
        if isinstance(self.group, str):
            if self.inputs[self.source].kind != "edges":
                raise ConfigError("Frames of S_n are those of a graph: declare its adjacency [B, n, n] as 'edges'.")
        else:
            self.declare(self.group)
        if mode == "weighted" and not self.rigid:
            raise ConfigError(f"There are no weighted frames of {self.group}: use 'full', 'sample' or 'canonical'.")
        self.mode = mode
        self.detach = detach
        self.options: dict[str, Any] = {
            "degenerate": degenerate,
            "samples": samples,
            "threshold": threshold,
            "sparsity": sparsity,
            "gaps": gaps,
            "max_frames": max_frames,
            "generator": generator,
            # one more than the outputs have, so that their gradients are averaged exactly, too: forces of linear clouds
            "degree": self.degree + 1,
        }

    def extra_repr(self) -> str:
        """Return the group and the mode, for ``repr``."""
        return f"{self.group}, mode={self.mode!r}"

    def frames_of(self, x: Tensor, mask: Tensor | None) -> Frames:
        """Return the frames of clouds ``[B, N, d]`` in the mode that is in force now."""
        return frames(x.detach() if self.detach else x, self.group, mask, self.mode_now, **self.options)

    def _frames(self, inputs: Sequence[Any], mask: Tensor | None) -> Frames:
        if self.group != SYMMETRIC:
            return super()._frames(inputs, mask)
        self.check_count(inputs)
        return frames_of_graphs(
            inputs[self.source],
            mask,
            self.mode_now,
            self.options,
            # nodes of a graph are told apart by all that goes into the network, not by its adjacency alone
            features=[value for value, rep in zip(inputs, self.inputs, strict=True) if rep.kind == "nodes"],
            invariant=all(rep.kind == "scalar" for rep in self.representations[len(self.inputs) :])
            and sum(rep.kind == "edges" for rep in self.inputs) == 1,
        )

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
        return _combine(_root, total, total)


def _root(variance: Tensor, _: Tensor) -> Tensor:
    """Square roots whose gradient at zero is zero, not infinite."""
    some = variance > 0
    return torch.where(some, torch.where(some, variance, 1.0).sqrt(), 0.0)


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
            return _checked(found, x)
        if isinstance(found, tuple | list) and len(found) == 2:
            return _checked(Frames(*found), x)
        if not isinstance(found, Tensor) or found.ndim != 3 or found.shape[0] != x.shape[0]:
            given = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ShapeError(f"The canonicalizer must return elements [{x.shape[0]}, s, s], it returned {given}.")
        return Frames(found.unsqueeze(1), torch.ones_like(found[:, :1, 0]))


def _checked(found: Frames, x: Tensor) -> Frames:
    elements, weights = found
    if elements.ndim != 4 or elements.shape[2] != elements.shape[3] or elements.shape[:2] != weights.shape:
        raise ShapeError(
            f"Frames are elements [B, F, s, s] and weights [B, F]; the canonicalizer returned {list(elements.shape)} "
            f"and {list(weights.shape)}."
        )
    if len(elements) != len(x):
        raise ShapeError(f"The canonicalizer was given {len(x)} clouds and returned frames of {len(elements)}.")
    return found

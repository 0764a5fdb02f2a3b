"""Modules that make any network equivariant. They only compose `frames`, `fold` and `unfold`, and keep no state."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from equitools.errors import ConfigError, ShapeError, nearest
from equitools.groups import Irreps, MatrixGroup, parse_group
from equitools.symmetrize.frame_set import Frames
from equitools.symmetrize.frames import DEGENERATE, MODES, SYMMETRIC, frames
from equitools.symmetrize.gram_schmidt_frames import SPARSITY
from equitools.symmetrize.representations import Representation, fold, parse_representation, unfold
from equitools.symmetrize.weighted_frames import GAPS

__all__ = ["Canonicalize", "FrameAverage", "StochasticFrameAverage", "Symmetrized"]

Declared: TypeAlias = str | Irreps | Representation
Inputs: TypeAlias = Declared | Sequence[Declared]
Outputs: TypeAlias = Declared | Sequence[Declared] | Mapping[str, Declared]


class Symmetrized(nn.Module):
    """What all wrappers share: declared inputs and outputs, and the way through the network.

    Args:
        net: Any network. It is given the inputs with the frames folded into their first axis, ``[B·F, ...]``, and
            ``mask=[B·F, N]`` if its ``forward`` has a parameter of that name.
        inputs: Representation of the input, or a sequence of one for each positional argument.
        outputs: Representation of the output, a sequence for a network that returns a tuple, or a mapping of names for
            one that returns a dictionary (names that it does not have are an error, outputs that are not named are
            dropped).
        source: Which input the frames are computed from; by default the first one declared as "points" or "edges", or
            the first one.

    Raises:
        ConfigError: A representation is not known, or ``source`` is no input.
    """

    mask_as = "scalar"  # the mask's own representation; "nodes" where points are renumbered

    def __init__(
        self,
        net: nn.Module | Callable[..., Any],
        inputs: Inputs = "points",
        outputs: Outputs = "scalar",
        source: int | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        listed = [inputs] if isinstance(inputs, str | Irreps | Representation) else list(inputs)
        self.inputs = tuple(parse_representation(item) for item in listed)
        self.outputs = _parse_outputs(outputs)
        if source is None:
            points = [k for k, item in enumerate(self.inputs) if item.kind in {"points", "edges"}]
            source = points[0] if points else 0
        if not 0 <= source < len(self.inputs):
            raise ConfigError(f"source={source} is no input: {len(self.inputs)} are declared.")
        self.source = source
        if self.inputs[source].kind in {"nodes", "edges"}:
            self.mask_as = "nodes"
        called = net.forward if isinstance(net, nn.Module) else net
        try:
            self.passes_mask = "mask" in inspect.signature(called).parameters
        except (TypeError, ValueError):
            self.passes_mask = False

    @property
    def degree(self) -> int:
        """The highest degree of the declared outputs: averages over continuous stabilisers are exact to it."""
        if isinstance(self.outputs, Representation):
            return self.outputs.degree
        found = self.outputs.values() if isinstance(self.outputs, dict) else self.outputs
        return max((item.degree for item in found), default=0)

    def frames_of(self, x: Tensor, mask: Tensor | None) -> Frames:
        """Return the frames of clouds; what a subclass is about."""
        raise NotImplementedError

    def forward(self, *inputs: Any, mask: Tensor | None = None) -> Any:
        """Return the symmetrised output.

        Args:
            inputs: As declared, batched along their first axis.
            mask: Real points ``[B, N]`` of the input that the frames are computed from.

        Returns:
            What the network returns, for each of the B clouds.

        Raises:
            ShapeError: The number or a shape of the inputs, or of what the network returns, is wrong.
        """
        return self.through(self._frames(inputs, mask), inputs, mask)

    def _frames(self, inputs: Sequence[Any], mask: Tensor | None) -> Frames:
        if len(inputs) != len(self.inputs):
            raise ShapeError(f"{type(self).__name__} was declared with {len(self.inputs)} inputs, given {len(inputs)}.")
        return self.frames_of(inputs[self.source], mask)

    def through(self, found: Frames, inputs: Sequence[Any], mask: Tensor | None = None) -> Any:
        """Send inputs through the network as seen from given frames, and the outputs back.

        Args:
            found: Elements ``[B, F, d, d]`` and weights ``[B, F]``.
            inputs: As for `forward`.
            mask: As for `forward`.

        Returns:
            As `forward`.
        """
        elements, weights = found
        used = weights > 0
        if bool(used.all()):
            folded = [_fold(value, elements, rep) for value, rep in zip(inputs, self.inputs, strict=True)]
            result = self._call(folded, None if mask is None else fold(mask, elements, self.mask_as))
            return self._each(result, lambda value, rep: unfold(value, elements, weights, rep))
        # frames without weight are not sent through the network: each cloud's frames become clouds of their own
        batch, which = used.nonzero(as_tuple=True)
        single = elements[batch, which].unsqueeze(1)
        rows = [value if rep.kind == "shared" else value[batch] for value, rep in zip(inputs, self.inputs, strict=True)]
        folded = [_fold(value, single, rep) for value, rep in zip(rows, self.inputs, strict=True)]
        result = self._call(folded, None if mask is None else fold(mask[batch], single, self.mask_as))
        weight = weights[batch, which].unsqueeze(1)

        def back(value: Tensor, rep: Representation) -> Tensor:
            turned = unfold(value, single, weight, rep)
            return turned.new_zeros(len(weights), *turned.shape[1:]).index_add(0, batch, turned)

        return self._each(result, back)

    def _call(self, folded: Sequence[Any], mask: Tensor | None) -> Any:
        if mask is not None and self.passes_mask:
            return self.net(*folded, mask=mask)
        return self.net(*folded)

    def _each(self, result: Any, back: Callable[[Tensor, Representation], Tensor]) -> Any:
        if isinstance(self.outputs, dict):
            if not isinstance(result, Mapping) or not set(self.outputs) <= set(result):
                given = sorted(result) if isinstance(result, Mapping) else type(result).__name__
                raise ShapeError(f"The outputs {sorted(self.outputs)} were declared, the network returned {given}.")
            return {name: back(result[name], rep) for name, rep in self.outputs.items()}
        if isinstance(self.outputs, tuple):
            if not isinstance(result, tuple | list) or len(result) != len(self.outputs):
                given = f"{len(result)}" if isinstance(result, tuple | list) else f"a {type(result).__name__}"
                raise ShapeError(f"{len(self.outputs)} outputs were declared, the network returned {given}.")
            return tuple(back(value, rep) for value, rep in zip(result, self.outputs, strict=True))
        if not isinstance(result, Tensor):
            raise ShapeError(
                f"One output was declared, the network returned a {type(result).__name__}. Declare outputs= as a "
                "sequence for a tuple, as a mapping for a dictionary."
            )
        return back(result, self.outputs)


def _parse_outputs(outputs: Outputs) -> Representation | tuple[Representation, ...] | dict[str, Representation]:
    if isinstance(outputs, str | Irreps | Representation):
        found = parse_representation(outputs)
        _check_output(found)
        return found
    if isinstance(outputs, Mapping):
        named = {name: parse_representation(item) for name, item in outputs.items()}
        for item in named.values():
            _check_output(item)
        return named
    listed = tuple(parse_representation(item) for item in outputs)
    for item in listed:
        _check_output(item)
    return listed


def _check_output(rep: Representation) -> None:
    if rep.kind == "shared":
        raise ConfigError("An output cannot be 'shared': declare how it transforms, for example 'scalar' or 'vector'.")


def _fold(value: Any, elements: Tensor, rep: Representation) -> Any:
    return value if rep.kind == "shared" else fold(value, elements, rep)


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

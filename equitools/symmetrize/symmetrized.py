"""What all wrappers share: declared inputs and outputs, and the way through the network as seen from frames."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor, nn

from equitools.errors import ConfigError, ShapeError
from equitools.groups import Irreps, MatrixGroup
from equitools.symmetrize.frame_set import Frames
from equitools.symmetrize.representations import Representation, fold, parse_representation, unfold

__all__ = ["Declared", "Inputs", "Outputs", "Symmetrized"]

Declared: TypeAlias = str | Irreps | Representation
Inputs: TypeAlias = Declared | Sequence[Declared]
Outputs: TypeAlias = Declared | Sequence[Declared] | Mapping[str, Declared]


class Symmetrized(nn.Module):
    """What all wrappers share: declared inputs and outputs, and the way through the network.

    Args:
        net: Any network. It is given the inputs with the frames folded into their first axis, ``[B·F, ...]``, and
            ``mask=[B·F, N]`` if its ``forward`` has a parameter of that name. To one that has none, padded points are
            zero: they lie at the origin of each pose.
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
    rigid = False  # whether the elements are rigid motions whatever is differentiated
    dim: int | None = None  # the dimension of vectors, where the group says so

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
            parameters = inspect.signature(called).parameters
            self.passes_mask = "mask" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        except (TypeError, ValueError):
            self.passes_mask = False

    @property
    def representations(self) -> tuple[Representation, ...]:
        """All that is declared: the inputs, then the outputs."""
        if isinstance(self.outputs, Representation):
            return (*self.inputs, self.outputs)
        return (*self.inputs, *(self.outputs.values() if isinstance(self.outputs, dict) else self.outputs))

    def declare(self, group: MatrixGroup) -> None:
        """Say which group acts: the dimension of vectors is checked from now on.

        Args:
            group: A matrix group.

        Raises:
            ConfigError: Irreps are declared, and the group is not one of rotations of space; or nodes or edges are.
        """
        self.rigid = group.name.rstrip("0123456789()") in {"O", "SO", "E", "SE"}
        self.dim = group.n
        for rep in self.representations:
            if rep.kind == "irreps" and not (self.rigid and group.n == 3):
                raise ConfigError(f"Irreps are representations of O(3): {rep.irreps} means nothing under {group}.")
            if rep.kind in {"nodes", "edges"}:
                raise ConfigError(f"{rep.kind!r} are renumbered by permutations, not moved by {group}.")

    @property
    def degree(self) -> int:
        """The highest degree of the declared outputs: averages over continuous stabilisers are exact to it."""
        return max((rep.degree for rep in self.representations[len(self.inputs) :]), default=0)

    def frames_of(self, x: Tensor, mask: Tensor | None) -> Frames:
        """Return the frames of clouds; what a subclass is about."""
        raise NotImplementedError(f"{type(self).__name__} must say what its frames are.")

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
        self.check_count(inputs)
        return self.frames_of(inputs[self.source], mask)

    def check_count(self, inputs: Sequence[Any]) -> None:
        """Raise a `ShapeError` if there are not as many inputs as were declared."""
        if len(inputs) != len(self.inputs):
            raise ShapeError(f"{type(self).__name__} was declared with {len(self.inputs)} inputs, given {len(inputs)}.")

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
            result = self._call(inputs, elements, mask)
            return self._each(result, lambda value, rep: unfold(value, elements, weights, rep, dim=self.dim))
        # frames without weight are not sent through the network: each cloud's frames become clouds of their own
        batch, which = used.nonzero(as_tuple=True)
        single = elements[batch, which].unsqueeze(1)
        rows = [value if rep.kind == "shared" else value[batch] for value, rep in zip(inputs, self.inputs, strict=True)]
        result = self._call(rows, single, None if mask is None else mask[batch])
        weight = weights[batch, which].unsqueeze(1)

        def back(value: Tensor, rep: Representation) -> Tensor:
            turned = unfold(value, single, weight, rep, dim=self.dim)
            return turned.new_zeros(len(weights), *turned.shape[1:]).index_add(0, batch, turned)

        return self._each(result, back)

    def _call(self, inputs: Sequence[Any], elements: Tensor, mask: Tensor | None) -> Any:
        """Call the network with inputs as seen from elements ``[B, F, s, s]``."""
        folded = [
            value if rep.kind == "shared" else fold(value, elements, rep, rigid=self.rigid, dim=self.dim)
            for value, rep in zip(inputs, self.inputs, strict=True)
        ]
        return self._send(folded, None if mask is None else fold(mask, elements, self.mask_as))

    def _send(self, folded: Sequence[Any], seen: Tensor | None) -> Any:
        """Call the network with what it sees, and the mask of that."""
        if seen is None:
            return self.net(*folded)
        if self.passes_mask:
            return self.net(*folded, mask=seen)
        # translations would move padded points to wherever the origin of the pose happens to be
        return self.net(*[_without_padding(value, seen, rep) for value, rep in zip(folded, self.inputs, strict=True)])

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


def _without_padding(value: Any, mask: Tensor, rep: Representation) -> Any:
    if rep.kind not in {"points", "tensor", "irreps", "nodes"} or value.shape[:2] != mask.shape:
        return value
    return value.masked_fill(~mask.reshape(*mask.shape, *[1] * (value.ndim - 2)), 0)

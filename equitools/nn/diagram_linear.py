"""The general equivariant linear layer between tensor powers of ℝⁿ, by diagrams."""

from __future__ import annotations

import math
import os
import re

import numpy as np
import torch
from torch import Tensor

from equitools.errors import ConfigError, UnknownNameError, nearest
from equitools.groups import MatrixGroup
from equitools.groups.diagrams import GROUPS, Diagram
from equitools.ops.backend import active_backend
from equitools.ops.constants import numbers
from equitools.ops.diagram_tables import DiagramSpace, diagrams_of, entry_number, norms, predicted_entries
from equitools.ops.diagrams import check_tensors, diagram_linear, diagram_weight_matrix
from equitools.ops.precision import full_precision

__all__ = ["DiagramLinear"]

#: The ways of computing the layer.
METHODS = ("auto", "factored", "dense")
#: Up to so many entries of the whole matrix, ``"auto"`` takes it: about there the two are equally fast on a CPU, with
#: the compiled kernels and without them.
DENSE_UP_TO = 16_384
DENSE_UP_TO_IN_TORCH = 65_536


class DiagramLinear(torch.nn.Module):
    """Map tensors with k axes of length n to tensors with l, equivariantly, and mix channels: all such maps are this.

    A group element g acts on every axis: x[i, j, …] ↦ Σ g[i, a] g[j, b] … x[a, b, …]. The equivariant linear maps are
    the sums of diagrams, and each diagram has a matrix of weights between the channels. Weights are standard normal;
    when they are used, each diagram is divided by its matrix's norm, such that for inputs of independent entries of
    unit variance the outputs have unit variance, in the mean over the entries; each diagram gives the same part of it.

    Where k + l is odd, O(n) and Sp(n) have no diagrams, and neither has SO(n) unless n is odd and n ≤ k + l: then the
    map is zero (there are no weights), and only a bias can be left.

    Args:
        group: ``"S"`` or ``"A"`` (permutations of the n indices, or even ones only), ``"O"``, ``"SO"``, ``"Sp"``;
            ``"S_n"``, ``"O(n)"`` and the like are understood, with the number of n too, and so are the groups O, SO and
            Sp of `equitools.groups`.
        n: Length of each axis.
        k: Number of axes of the input.
        l: Number of axes of the output.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        bias: Whether to add a constant tensor for each output channel: a sum of the diagrams with k = 0, which starts
            at zero.
        basis: ``"spanning"``: all diagrams, which for small n are dependent: the same maps with more weights.
            ``"independent"``: a basis of them.
        method: ``"factored"``: contract, mix and expand, `equitools.ops.diagrams.diagram_linear`. ``"dense"``: the
            whole matrix is made from the weights at each call. ``"auto"``: dense where the matrix is tiny. The
            parameters do not depend on it.
        components_first: Whether the result stays in the order of memory in which a following layer of diagrams takes
            it without copies; only strides differ. That saves time where the steps run in torch; the compiled layer has
            no use for it. (Not with the dense method.)
        max_bytes: How large the tables and the matrix may be; ``None``: half of the machine's memory.

    Raises:
        UnknownNameError: There is no such group, basis or method.
        ConfigError: A size is wrong, or what would be needed is larger than ``max_bytes``; the message has the size.

    Properties:
        equivariance: forward(g x) = g forward(x).
        completeness: there are no other equivariant linear maps.
        method_independent_parameters: a state dict of one method fits to the others, with the same results.
        unit_variance: as said above.

    Source: E. Pearce-Crump, arXiv 2212.08630 (O, SO, Sp), 2212.08648 (S), 2301.10152 (A), 2304.14165 (algorithm).
    """

    def __init__(
        self,
        group: str | MatrixGroup,
        n: int,
        k: int,
        l: int,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        basis: str = "spanning",
        method: str = "auto",
        components_first: bool = False,
        max_bytes: int | None = None,
    ) -> None:
        super().__init__()
        self.space = DiagramSpace(_letter(group if isinstance(group, str) else group.name, n), n, k, l, basis)
        self.in_channels, self.out_channels, self.method = in_channels, out_channels, method
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be a positive integer, given {value!r}.")
        self.components_first = components_first
        if method not in METHODS:
            raise UnknownNameError(f"There is no method {method!r} of a diagram layer. {nearest(str(method), METHODS)}")
        self.max_bytes = _half_of_memory() if max_bytes is None else max_bytes
        self._check_size()
        self.weight = torch.nn.Parameter(torch.randn(self.space.size, out_channels, in_channels))
        self.bias_space = DiagramSpace(self.space.group, n, 0, l, basis)
        constant = bias and self.bias_space.size > 0
        self.bias = torch.nn.Parameter(torch.zeros(self.bias_space.size, out_channels)) if constant else None
        self._scales = tuple((_scales(self.space) / math.sqrt(in_channels)).tolist())
        self._bias_scales = tuple(_scales(self.bias_space).tolist()) if constant else ()

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., in_channels, n, …, n]`` (k axes) to ``[..., out_channels, n, …, n]`` (l axes).

        Raises:
            ShapeError: The shape or the dtype is wrong.
        """
        if self._dense():
            check_tensors(x, self.weight, self.space)
            lead = x.shape[: x.ndim - self.space.k - 1]
            out = x.flatten(len(lead)) @ self.matrix().T
            out = out.reshape(*lead, self.out_channels, *(self.space.n,) * self.space.l)
        else:
            out = diagram_linear(x, self._weight(), self.space, components_first=self.components_first)
        if self.bias is not None:
            one = x.new_ones(1)
            constant = (self.bias * numbers(self._bias_scales, self.bias)[:, None]).unsqueeze(-1)
            out = out + diagram_linear(one, constant, self.bias_space)
        return out

    def matrix(self) -> Tensor:
        """Return the matrix of the whole map without its bias, ``[out_channels · n**l, in_channels · n**k]``."""
        return diagram_weight_matrix(self._weight(), self.space)

    @property
    def diagrams(self) -> tuple[Diagram, ...]:
        """The diagrams that the weights belong to, in their order."""
        return diagrams_of(self.space)

    def extra_repr(self) -> str:
        """Return what the module's line in a printed model says."""
        space = self.space
        method = f"auto ({'dense' if self._dense() else 'factored'})" if self.method == "auto" else self.method
        return (
            f"{space.group}({space.n}), {space.k} → {space.l} axes, {self.in_channels} → {self.out_channels} channels, "
            f"{space.size} diagrams ({space.basis}), {method}"
        )

    def _weight(self) -> Tensor:
        return self.weight * numbers(self._scales, self.weight)[:, None, None]

    def _dense(self) -> bool:
        like = getattr(self, "weight", torch.empty(0))  # the size is checked before there are weights
        compiled = active_backend(like) == "cpu"
        limit = DENSE_UP_TO if compiled else DENSE_UP_TO_IN_TORCH
        return self.method == "dense" or (self.method == "auto" and self._entries() <= limit)

    def _entries(self) -> int:
        return self.in_channels * self.out_channels * self.space.n ** (self.space.k + self.space.l)

    def _check_size(self) -> None:
        """Refuse what does not fit into memory, before anything is made."""
        space, number = self.space, 4 if torch.get_default_dtype() == torch.float32 else 8
        size_in, size_out = self.in_channels * space.n**space.k, self.out_channels * space.n**space.l
        needed = number * 2 * (size_in + size_out)
        what = f"one input of {size_in:,} and one output of {size_out:,} numbers, and what is in between"
        if needed <= self.max_bytes:
            weights = number * space.size * self.in_channels * self.out_channels
            if self._dense():
                entries = sum(entry_number(diagram, space.n) for diagram in diagrams_of(space))
                needed = 2 * number * self._entries() + 200 * entries + weights
                what = f"the matrix of {size_out:,} × {size_in:,} numbers, made from {space.size:,} diagrams"
            else:
                needed += 200 * predicted_entries(space) + 2 * weights
                what = f"the tables of {space.size:,} diagrams"
        if needed > self.max_bytes:
            raise ConfigError(
                f"A layer of {space.group}({space.n}) from {space.k} to {space.l} axes with {self.in_channels} → "
                f"{self.out_channels} channels (method {self.method!r}) would need {_human(needed)} for {what}; "
                f"{_human(self.max_bytes)} are allowed. Take fewer axes or channels"
                f"{', or method=' + repr('factored') if self._dense() else ''}, or give max_bytes."
            )


def _scales(space: DiagramSpace) -> np.ndarray:
    """Return the factor of each diagram that gives all the same part of a variance of 1."""
    return math.sqrt(space.n**space.l / max(space.size, 1)) / norms(space)


def _letter(group: str, n: int) -> str:
    """Read names such as S, S_n, O(n), SO(3)."""
    found = re.fullmatch(r"([A-Za-z]+)(?:_(n|\d+)|\((n|\d+)\))?", str(group))
    if found is None:
        raise UnknownNameError(f"Diagrams do not know the group {group!r}. {nearest(str(group), GROUPS)}")
    size = found[2] or found[3] or "n"
    if size not in ("n", str(n)):
        raise ConfigError(
            f"The group {group!r} does not act on axes of length {n}: leave the number out, or let n be it."
        )
    return found[1]


def _human(size: float) -> str:
    unit = min(int(math.log(max(size, 1), 1024)), 5)
    return f"{size / 1024**unit:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')[unit]}"


def _half_of_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):  # not everywhere
        return 8 * 2**30

"""Equivariant perceptrons for any matrix group: linear layers in a null-space basis, gates, products, and the network.

After M. Finzi, M. Welling and A. G. Wilson, A Practical Method for Constructing Equivariant Multilayer Perceptrons for
Arbitrary Matrix Groups, ICML 2021 (arXiv 2104.09459). The products are our own: of pairs of few mixed channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups.equivariant_maps import THRESHOLD, EquivariantMaps, equivariant_basis
from equitools.groups.representations import Rep, scalar
from equitools.ops.precision import full_precision

__all__ = [
    "EMLP", "EquivariantBilinear", "EquivariantLinear", "GatedNonlinearity", "SoftEquivariantLinear", "gated",
    "uniform_rep",
]  # fmt: skip


Activation = Callable[[Tensor], Tensor]


def check_rep(what: str, x: Tensor, rep: Rep) -> None:
    """Raise `ShapeError` unless the last axis is that of a representation."""
    if x.shape[-1:] != (rep.dim,) or not x.is_floating_point():
        raise ShapeError(f"{what} must be floating point [..., {rep.dim}] for {rep.name}, given {list(x.shape)}.")


class EquivariantLinear(torch.nn.Module):
    """A linear layer whose weight and bias are equivariant: the parameters are coordinates in the basis of such maps.

    Args:
        rep_in: Representation of the input.
        rep_out: Representation of the output, of the same group.
        bias: Whether an invariant vector is added.
        threshold: As of `equivariant_basis`.

    Attributes:
        weight: Coordinates of the map ``[maps.dim]``; outputs of unit variance for inputs of unit variance at first.
        bias: Coordinates of the invariant vector, 0 at first, or None.
        maps: The `EquivariantMaps`.

    Raises:
        ConfigError: The groups differ, the memory for the basis does not suffice, or no output can be reached: neither
            an equivariant map nor an invariant vector exists.

    Properties:
        equivariance: forward(ρ_in(g) x) = ρ_out(g) forward(x).
    """

    def __init__(self, rep_in: Rep, rep_out: Rep, bias: bool = True, threshold: float = THRESHOLD) -> None:
        super().__init__()
        self.rep_in, self.rep_out = rep_in, rep_out
        self.maps = equivariant_basis(rep_in, rep_out, threshold)
        self.shifts = equivariant_basis(scalar(rep_out.group), rep_out, threshold) if bias else None
        if self.maps.dim == 0 and (self.shifts is None or self.shifts.dim == 0):
            raise ConfigError(f"There is no equivariant map from {rep_in.name} to {rep_out.name} but zero.")
        self.weight = torch.nn.Parameter(torch.empty(self.maps.dim))
        self.bias = torch.nn.Parameter(torch.empty(self.shifts.dim)) if self.shifts is not None else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight anew and set the bias to 0."""
        with torch.no_grad():
            self.weight.copy_(torch.randn_like(self.weight) * initial_scale(self.maps).to(self.weight))
            if self.bias is not None:
                self.bias.zero_()

    def matrix(self) -> tuple[Tensor, Tensor | None]:
        """Return the weight ``[rep_out.dim, rep_in.dim]`` and the bias ``[rep_out.dim]`` as they are applied."""
        bias = None
        if self.bias is not None and self.shifts is not None:
            bias = self.shifts.matrix(self.bias).squeeze(-1)
        return self.maps.matrix(self.weight), bias

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., rep_in.dim]`` to ``[..., rep_out.dim]``."""
        check_rep("x", x, self.rep_in)
        return torch.nn.functional.linear(x, *self.matrix())

    def extra_repr(self) -> str:
        """Representations and number of maps."""
        return f"{self.rep_in} → {self.rep_out}, {self.maps.dim} maps"


class SoftEquivariantLinear(torch.nn.Linear):
    """A plain linear layer that says how its input and output transform, so that a regulariser can ask it to.

    Its start is that of `EquivariantLinear` plus noise: an equivariant layer, nearly.

    Args:
        rep_in: Representation of the input.
        rep_out: Representation of the output, of the same group.
        bias: Whether it has a bias.
        noise: How large the part of the weights that is drawn without regard to the group is at first, relative to
            the usual start of a linear layer.
    """

    def __init__(self, rep_in: Rep, rep_out: Rep, bias: bool = True, noise: float = 0.1) -> None:
        super().__init__(rep_in.dim, rep_out.dim, bias)
        self.rep_in, self.rep_out = rep_in, rep_out
        maps = equivariant_basis(rep_in, rep_out)
        with torch.no_grad():
            free = torch.randn_like(self.weight) * (noise / math.sqrt(max(1, rep_in.dim)))
            self.weight.copy_(maps.matrix(torch.randn(maps.dim) * initial_scale(maps)) + free)
            if self.bias is not None:
                self.bias.zero_()

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., rep_in.dim]`` to ``[..., rep_out.dim]``."""
        check_rep("x", x, self.rep_in)
        return super().forward(x)


def initial_scale(maps: EquivariantMaps) -> Tensor:
    """Return the standard deviation of each coordinate ``[dim]`` that gives outputs of unit variance.

    Args:
        maps: `EquivariantMaps`.
    """
    reached: dict[int, int] = {}
    for block in maps.blocks:
        first = int(block.out_index[0, 0])
        reached[first] = reached.get(first, 0) + len(block.basis) * len(block.in_index)
    pieces = [
        torch.full((size,), math.sqrt(block.out_index.shape[1] / reached[int(block.out_index[0, 0])]))
        for block, size in zip(maps.blocks, maps.sizes, strict=True)
    ]
    return torch.cat(pieces) if pieces else torch.zeros(0)


def gated(rep: Rep) -> Rep:
    """Return a representation with one scalar more for each block that a gate has to act on.

    Blocks that are permuted (scalars, and the like) need none: an activation acts on them directly.
    """
    return rep + _gates(rep) * scalar(rep.group)


def _gates(rep: Rep) -> int:
    return sum(len(block.index) for block in rep.blocks if not block.rep.permutation)


class GatedNonlinearity(torch.nn.Module):
    """Blocks that are permuted through an activation; every other block times the sigmoid of a scalar of its own.

    Args:
        rep: Representation of the output.
        activation: For the blocks that are permuted; any continuous function is admissible there.

    Attributes:
        rep_in: `gated` of rep: the gates come last.

    Properties:
        equivariance: forward(ρ_in(g) x) = ρ(g) forward(x).
    """

    gate: Tensor
    plain: Tensor

    def __init__(self, rep: Rep, activation: Activation = torch.nn.functional.silu) -> None:
        super().__init__()
        self.rep, self.rep_in = rep, gated(rep)
        self.activation = activation
        where = torch.full((rep.dim,), -1)
        count = 0
        for block in rep.blocks:
            if not block.rep.permutation:
                for copy in block.index:
                    where[copy] = count
                    count += 1
        self.register_buffer("gate", where.clamp_min(0) + rep.dim, persistent=False)
        self.register_buffer("plain", where < 0, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., rep_in.dim]`` to ``[..., rep.dim]``."""
        check_rep("x", x, self.rep_in)
        values = x[..., : self.rep.dim]
        if self.rep_in.dim == self.rep.dim:
            return self.activation(values)
        factor = torch.sigmoid(x.index_select(-1, self.gate))
        return torch.where(self.plain, self.activation(values), values * factor)


class EquivariantBilinear(torch.nn.Module):
    """Products of pairs of blocks: what linear layers and gates cannot make, such as r rᵀ of a vector r.

    Of each kind of block ``channels`` mixtures are made twice, the two are multiplied channel by channel with every
    equivariant product of the kinds, and the results are mixed into the output.

    Args:
        rep_in: Representation of the input.
        rep_out: Representation of the output, of the same group.
        channels: Mixtures of each kind.
        max_size: Products whose table (d_out · d_1 · d_2) is larger are left out.

    Raises:
        ConfigError: The groups differ.

    Properties:
        equivariance: forward(ρ_in(g) x) = ρ_out(g) forward(x).
        bilinearity: forward(2 x) = 4 forward(x).
    """

    def __init__(self, rep_in: Rep, rep_out: Rep, channels: int = 8, max_size: int = 256) -> None:
        super().__init__()
        if rep_in.group != rep_out.group:
            raise ConfigError(
                f"The representations are of {rep_in.group.name} and {rep_out.group.name}: restrict both."
            )
        self.rep_in, self.rep_out, self.channels = rep_in, rep_out, channels
        self.paths: list[tuple[int, int, int]] = []  # first kind, second kind, kind of the output
        self._tables: list[Tensor] = []  # of each path [r, d_out, d_1, d_2], float64: buffers would be rounded
        self._cast: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for k, c in enumerate(rep_out.blocks):
            for i, a in enumerate(rep_in.blocks):
                for j, b in enumerate(rep_in.blocks[i:], start=i):
                    if a.rep.dim * b.rep.dim * c.rep.dim > max_size:
                        continue
                    maps = equivariant_basis(a.rep * b.rep, c.rep)
                    if maps.dim:
                        self._tables.append(maps.dense().unflatten(-1, (a.rep.dim, b.rep.dim)) * c.rep.dim**0.5)
                        self.paths.append((i, j, k))
        self._inputs = [block.index for block in rep_in.blocks]
        order = torch.cat([block.index.flatten() for block in rep_out.blocks])
        self._back = None if torch.equal(order, torch.arange(rep_out.dim)) else torch.argsort(order)
        # two mixtures of each kind; the first half of the rows is multiplied with the second half
        self.inner = torch.nn.ParameterList(
            [torch.nn.Parameter(torch.randn(2 * channels, len(index)) / len(index) ** 0.5) for index in self._inputs]
        )
        self.outer = torch.nn.ParameterList()
        for k, block in enumerate(rep_out.blocks):
            fan = channels * sum(len(t) for t, path in zip(self._tables, self.paths, strict=True) if path[2] == k)
            self.outer.append(torch.nn.Parameter(torch.randn(len(block.index), fan) / max(1, fan) ** 0.5))

    def _products(self, like: Tensor) -> list[Tensor]:
        key = (like.dtype, like.device)
        if key not in self._cast:
            with torch.inference_mode(False):
                flat = [t.flatten(2).flatten(0, 1).T.contiguous() for t in self._tables]
                self._cast[key] = [t.to(like.device, like.dtype) for t in flat]
        return self._cast[key]

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., rep_in.dim]`` to ``[..., rep_out.dim]``."""
        check_rep("x", x, self.rep_in)
        mixed = [w @ _take(x, index) for w, index in zip(self.inner, self._inputs, strict=True)]  # [..., 2C, d]
        halves = [m.split(self.channels, -2) for m in mixed]
        made: list[list[Tensor]] = [[] for _ in self.rep_out.blocks]
        for (i, j, k), table in zip(self.paths, self._products(x), strict=True):
            pairs = (halves[i][0].unsqueeze(-1) * halves[j][1].unsqueeze(-2)).flatten(-2)  # [..., C, d_1 · d_2]
            made[k].append((pairs @ table).unflatten(-1, (-1, self.rep_out.blocks[k].rep.dim)).flatten(-3, -2))
        pieces = [
            (w @ torch.cat(parts, -2) if parts else x.new_zeros(*x.shape[:-1], *block.index.shape)).flatten(-2)
            for w, parts, block in zip(self.outer, made, self.rep_out.blocks, strict=True)
        ]
        out = torch.cat(pieces, -1)
        return out if self._back is None else out.index_select(-1, self._back.to(x.device))


def _take(x: Tensor, index: Tensor) -> Tensor:
    """Return the blocks ``[..., m, d]``, as a view where they lie one after the other."""
    first, count = int(index[0, 0]), index.numel()
    if torch.equal(index.flatten(), torch.arange(first, first + count)):
        return x[..., first : first + count].unflatten(-1, index.shape)
    return x[..., index.to(x.device)]


def uniform_rep(rep: Rep, channels: int, max_rank: int | None = None) -> Rep:
    """Return about as many coordinates of each tensor power of a representation as of the others.

    Args:
        rep: Of which the powers are taken, usually `groups.vector`; with its dual, where that is another.
        channels: Coordinates in all.
        max_rank: Highest power; by default the highest of which all powers below have a fair share.

    Returns:
        A direct sum of exactly ``channels`` coordinates.

    Raises:
        ConfigError: ``channels`` is not positive.

    Example:
        >>> from equitools.groups.representations import vector
        >>> uniform_rep(vector("O(3)"), 128).dim
        128
    """
    if channels < 1:
        raise ConfigError(f"A representation needs a positive number of channels, not {channels}.")
    counts: dict[int, int] = {}
    left = channels
    while left:
        rank = 0
        while (rank + 2) * rep.dim ** (rank + 1) <= left and (max_rank is None or rank < max_rank):
            rank += 1
        for r in range(rank + 1):
            counts[r] = counts.get(r, 0) + rep.dim ** (rank - r)
        left -= (rank + 1) * rep.dim**rank
    total = 0 * rep
    for rank, count in sorted(counts.items()):
        duals = 1 if rank == 0 or rep.orthogonal else rank + 1
        for q in range(duals):  # p vectors and q duals, in equal shares
            share = count // duals + (q < count % duals)
            total = total + share * (rep ** (rank - q) * rep.dual() ** q)
    return total


class EMLP(torch.nn.Module):
    """An equivariant perceptron: layers of an equivariant linear map, products of pairs, and gates.

    Args:
        rep_in: Representation of the input.
        rep_out: Representation of the output, of the same group.
        hidden: Representation of the hidden layers, one for each, or a number of channels (see `uniform_rep`).
        layers: Number of hidden layers, where one representation is given for all.
        channels: Of the products, see `EquivariantBilinear`; 0 for none.
        soft: Whether the linear layers are plain ones (`SoftEquivariantLinear`): a network that can leave the symmetry,
            to be trained with `training.ProjectionRegulariser`.
        activation: Of the scalars.

    Properties:
        equivariance: forward(ρ_in(g) x) = ρ_out(g) forward(x), unless it is soft.
    """

    def __init__(
        self,
        rep_in: Rep,
        rep_out: Rep,
        hidden: int | Rep | Sequence[Rep] = 128,
        layers: int = 3,
        channels: int = 8,
        soft: bool = False,
        activation: Activation = torch.nn.functional.silu,
    ) -> None:
        super().__init__()
        if isinstance(hidden, int):
            from equitools.groups.representations import vector

            hidden = uniform_rep(vector(rep_in.group), hidden)
        middle = [hidden] * layers if isinstance(hidden, Rep) else list(hidden)
        linear = SoftEquivariantLinear if soft else EquivariantLinear
        self.rep_in, self.rep_out = rep_in, rep_out
        reps = [rep_in, *middle]
        self.linears = torch.nn.ModuleList([linear(a, gated(b)) for a, b in pairwise(reps)])
        self.products = torch.nn.ModuleList(
            [EquivariantBilinear(gated(b), gated(b), channels) for b in middle] if channels else []
        )
        self.gates = torch.nn.ModuleList([GatedNonlinearity(b, activation) for b in middle])
        self.last = linear(reps[-1], rep_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., rep_in.dim]`` to ``[..., rep_out.dim]``."""
        for k, (linear, gate) in enumerate(zip(self.linears, self.gates, strict=True)):
            x = linear(x)
            if len(self.products):
                x = x + 0.1 * self.products[k](x)
            x = gate(x)
        return self.last(x)

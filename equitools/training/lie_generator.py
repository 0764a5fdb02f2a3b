"""Elements of a Lie group whose algebra is learned: the generator of a GAN that looks for a symmetry of data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from equitools.errors import ConfigError, ShapeError, nearest

__all__ = ["Action", "LieGenerator", "PairDiscriminator", "act_on_vectors", "leave_alone"]

#: How elements ``[B, d, d]`` act on a batch.
Action = Callable[[Tensor, Tensor], Tensor]

DISTRIBUTIONS = ("normal", "uniform", "integers")


def act_on_vectors(g: Tensor, x: Tensor) -> Tensor:
    """Return g x for vectors ``[B, d]`` or several of them ``[B, n, d]``, with elements ``[B, d, d]``.

    Raises:
        ShapeError: The shapes do not fit.
    """
    if x.ndim not in {2, 3} or x.shape[-1] != g.shape[-1] or len(x) != len(g):
        raise ShapeError(
            f"Elements {list(g.shape)} act on vectors [{len(g)}, {g.shape[-1]}] or [{len(g)}, n, {g.shape[-1]}], given "
            f"{list(x.shape)}. Declare what is no vector as 'scalar', or give a function (g, x) -> g·x."
        )
    return torch.einsum("bij,b...j->b...i", g, x)


def leave_alone(g: Tensor, x: Tensor) -> Tensor:  # noqa: ARG001 - an action has two arguments
    """Return x: the action on what is invariant."""
    return x


ACTIONS: dict[str, Action] = {"vector": act_on_vectors, "scalar": leave_alone}


class LieGenerator(nn.Module):
    """Moves pairs (x, y) by random elements g = exp(Σᵢ zᵢ Lᵢ) of a group whose algebra basis L is a parameter.

    Args:
        dim: d: the group is one of d × d matrices.
        channels: c: number of Lᵢ, a guess of the group's dimension.
        blocks: Which coordinates mix: sets of indices that L does not leave, for example ``[(0, 1), (2, 3)]`` for two
            copies of the plane; an integer b for consecutive sets of b. ``None``: all mix.
        distribution: Of z: ``"normal"`` with standard deviation ``scale``, ``"uniform"`` in [−scale, scale], or
            ``"integers"`` uniform in −scale … scale − 1 (a grid, which finds discrete subgroups).
        scale: See ``distribution``.
        x: How elements act on inputs: ``"vector"``, ``"scalar"`` or a function ``(g, x) -> g·x``.
        y: How they act on targets.
        initial_scale: Standard deviation of the entries of L at the start.
        generator: Source of randomness for L at the start. ``None``: torch's own.

    Attributes:
        weight: Parameter ``[c, d, d]``; `algebra` is what counts of it.

    Raises:
        ConfigError: Blocks that overlap or leave a coordinate out, or an unknown name.

    Properties:
        blocks_are_kept: entries of L, and of g − 1, between two blocks are zero.
        one_element_moves_both: x and y of a pair are moved by the same g.
        identity_at_zero: z = 0 moves nothing.

    Source:
        J. Yang, R. Walters, N. Dehmamy, R. Yu, Generative Adversarial Symmetry Discovery, ICML 2023, arXiv 2302.00236.

    Example:
        >>> generator = LieGenerator(8, blocks=2)
        >>> generator.algebra.shape
        torch.Size([1, 8, 8])
    """

    mask: Tensor

    def __init__(
        self,
        dim: int,
        channels: int = 1,
        *,
        blocks: int | Sequence[Sequence[int]] | None = None,
        distribution: str = "normal",
        scale: float = 1.0,
        x: str | Action = "vector",
        y: str | Action = "vector",
        initial_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if min(dim, channels) < 1:
            raise ConfigError(f"dim and channels must be at least 1, not {dim} and {channels}.")
        if distribution not in DISTRIBUTIONS:
            raise ConfigError(f"There is no distribution {distribution!r}. {nearest(distribution, DISTRIBUTIONS)}")
        if not scale > 0 or (distribution == "integers" and scale != int(scale)):
            raise ConfigError(f"scale must be positive, and whole for integers; not {scale!r}.")
        self.dim, self.channels, self.distribution, self.scale = dim, channels, distribution, scale
        self.act_x, self.act_y = _action(x), _action(y)
        self.blocks = _partition(dim, blocks)
        mask = torch.zeros(dim, dim)
        for block in self.blocks:
            mask[torch.tensor(block)[:, None], torch.tensor(block)] = 1.0
        self.register_buffer("mask", mask, persistent=False)
        self.weight = nn.Parameter(initial_scale * torch.randn(channels, dim, dim, generator=generator))

    def extra_repr(self) -> str:
        """Return the settings, for ``repr``."""
        return f"{self.dim}, channels={self.channels}, blocks={self.blocks}, {self.distribution} {self.scale:g}"

    @property
    def algebra(self) -> Tensor:
        """The learned basis ``[c, d, d]``. Its scale means nothing: that of z could make up for it."""
        return self.weight * self.mask

    def coefficients(self, number: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw z ``[number, c]``."""
        like: dict[str, Any] = {"dtype": self.weight.dtype, "device": self.weight.device}
        shape = (number, self.channels)
        if self.distribution == "normal":
            return self.scale * torch.randn(shape, generator=generator, **like)
        if self.distribution == "uniform":
            return self.scale * (2 * torch.rand(shape, generator=generator, **like) - 1)
        whole = int(self.scale)
        return torch.randint(-whole, whole, shape, generator=generator, device=self.weight.device).to(self.weight.dtype)

    def elements(self, z: Tensor) -> Tensor:
        """Return exp(Σᵢ zᵢ Lᵢ), ``[B, d, d]`` of ``[B, c]``.

        Raises:
            ShapeError: There is not one coefficient for each channel.
        """
        if z.ndim != 2 or z.shape[1] != self.channels:
            raise ShapeError(f"Coefficients [B, {self.channels}] are needed, given {list(z.shape)}.")
        sizes = {len(block) for block in self.blocks}
        if len(self.blocks) == 1 or len(sizes) > 1:
            return torch.matrix_exp(torch.einsum("bc,cij->bij", z, self.algebra))
        # the exponential of small blocks is much cheaper than that of the matrix they stand in
        index = torch.tensor(self.blocks, device=z.device)
        rows, columns = index[:, :, None], index[:, None, :]
        small = torch.matrix_exp(torch.einsum("bc,cnij->bnij", z, self.weight[:, rows, columns]))
        g = z.new_zeros(len(z), self.dim, self.dim)
        g[:, rows, columns] = small
        return g

    def forward(self, x: Tensor, y: Tensor, z: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Move a batch of pairs, each by an element of its own.

        Args:
            x: Inputs ``[B, …]``.
            y: Targets ``[B, …]``.
            z: Coefficients ``[B, c]``; drawn where not given.

        Returns:
            The moved inputs and targets.
        """
        g = self.elements(self.coefficients(len(x)) if z is None else z)
        return self.act_x(g, x), self.act_y(g, y)

    def overlap(self) -> Tensor:
        """Return Σ_{i<j} of the absolute cosines between channels, times d: zero for orthogonal ones.

        The factor is that of the published code, whose channels are normalised to Frobenius norm √d.
        """
        flat = self.algebra.flatten(1)
        unit = flat / (flat.norm(dim=1, keepdim=True) + 1e-6 * math.sqrt(self.dim))
        return self.dim * torch.triu(unit @ unit.mT, diagonal=1).abs().sum()


class PairDiscriminator(nn.Module):
    """A perceptron that tells real pairs (x, y) from moved ones: 512-512 with leaky ReLUs, as published.

    Args:
        inputs: Number of entries of x and of y together, without the batch axis.
        width: Of both hidden layers.

    Example:
        >>> PairDiscriminator(16)(torch.randn(5, 8), torch.randn(5, 8)).shape
        torch.Size([5])
    """

    def __init__(self, inputs: int, width: int = 512) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1)
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return logits ``[B]``: positive for "real"."""
        return self.layers(torch.cat([x.flatten(1), y.reshape(len(y), -1).to(x)], 1)).squeeze(1)


def _action(action: str | Action) -> Action:
    if not isinstance(action, str):
        return action
    if action not in ACTIONS:
        raise ConfigError(f"There is no action {action!r}. {nearest(action, ACTIONS)} A function (g, x) works, too.")
    return ACTIONS[action]


def _partition(dim: int, blocks: int | Sequence[Sequence[int]] | None) -> list[list[int]]:
    if blocks is None:
        return [list(range(dim))]
    if isinstance(blocks, int):
        if blocks < 1 or dim % blocks:
            raise ConfigError(f"{dim} coordinates do not fall into blocks of {blocks}.")
        return [list(range(k, k + blocks)) for k in range(0, dim, blocks)]
    listed = [list(block) for block in blocks]
    if sorted(chain(*listed)) != list(range(dim)) or not all(listed):
        raise ConfigError(f"Blocks must hold each of the coordinates 0 … {dim - 1} once, given {listed}.")
    return listed

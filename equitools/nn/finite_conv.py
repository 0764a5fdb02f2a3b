"""Convolutions over finite groups: on the group alone, and over shifts and turns of square and cubic grids."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from equitools.errors import ConfigError, ShapeError
from equitools.groups.finite import FiniteGroup
from equitools.ops.kernel_orbits import group_kernel, group_kernel_index, lifting_kernel, lifting_kernel_index
from equitools.ops.precision import full_precision

__all__ = ["FiniteGroupLinear", "GroupConv", "GroupPool", "LiftingConv"]

Padding = Literal["circular", "zeros", "valid"]


class FiniteGroupLinear(torch.nn.Module):
    """A convolution on a finite group, by its table: y_o(g) = Σ_i Σ_h κ_oi(g⁻¹h) x_i(h) + b_o.

    These are all linear maps of functions on the group that commute with (a·f)(g) = f(a⁻¹g). Further axes (pixels,
    points) come last and share the weights: a group convolution whose kernel has one pixel.

    Args:
        in_channels: Of the features.
        out_channels: Of the answer.
        group: A group or its name; it needs no matrices.
        bias: Add one number to each channel.

    Properties:
        equivariance: for features and answers moved by the left regular representation, for every group.
        all_equivariant_maps: every linear map that commutes with the left regular representation is one of these.
    """

    index: Tensor

    def __init__(self, in_channels: int, out_channels: int, group: str | FiniteGroup, *, bias: bool = True) -> None:
        super().__init__()
        _check_channels(in_channels, out_channels)
        self.group = FiniteGroup.named(group) if isinstance(group, str) else group
        self.in_channels, self.out_channels = in_channels, out_channels
        self.register_buffer("index", group_kernel_index(self.group, 0), persistent=False)
        bound = 1 / math.sqrt(in_channels * self.group.order)
        self.weight = torch.nn.Parameter(
            torch.empty(out_channels, in_channels, self.group.order).uniform_(-bound, bound)
        )
        self.bias = torch.nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound)) if bias else None

    def extra_repr(self) -> str:
        """Return sizes and group, for ``repr``."""
        return f"{self.in_channels}, {self.out_channels}, group={self.group.name}"

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: ``[B, in_channels, G, ...]``.

        Returns:
            ``[B, out_channels, G, ...]``.

        Raises:
            ShapeError: The shape is another.
        """
        order = self.group.order
        if x.ndim < 3 or x.shape[1:3] != (self.in_channels, order):
            raise ShapeError(f"Features [B, {self.in_channels}, {order}, ...] are needed, given {list(x.shape)}.")
        kernel = group_kernel(self.weight.unsqueeze(-1), self.index).squeeze(-1)
        matrix = kernel.reshape(self.out_channels * order, self.in_channels * order)
        bias = None if self.bias is None else self.bias.repeat_interleave(order)
        # as a convolution with a kernel of one point: channels stay where they are
        flat = functional.conv1d(x.reshape(len(x), matrix.shape[1], x.shape[3:].numel()), matrix.unsqueeze(-1), bias)
        return flat.reshape(len(x), self.out_channels, order, *x.shape[3:])


class _GridConv(torch.nn.Module):
    """What the convolutions on grids have in common: their kernels' places, padding, strides and checks."""

    index: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        group: str | FiniteGroup,
        padding: Padding,
        stride: int,
    ) -> None:
        super().__init__()
        _check_channels(in_channels, out_channels)
        if padding not in {"circular", "zeros", "valid"}:
            raise ConfigError(f"Paddings are 'circular', 'zeros' and 'valid', not {padding!r}.")
        if kernel_size < 1 or (kernel_size % 2 == 0 and padding != "valid"):
            raise ConfigError(
                f"A padded kernel needs an odd side, so that it has a middle pixel to turn about; given {kernel_size}. "
                "Kernels with even sides are for padding='valid'."
            )
        if stride < 1:
            raise ConfigError(f"The stride must be at least 1, not {stride}.")
        self.group = FiniteGroup.named(group) if isinstance(group, str) else group
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.padding, self.stride = padding, stride
        self.register_buffer("index", self._places(), persistent=False)
        self.dim = int(self.group.matrices.shape[-1])
        if self.dim not in {1, 2, 3}:
            raise ConfigError(f"Convolutions are there for grids of 1 to 3 dimensions, not {self.dim}.")

    def _places(self) -> Tensor:
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Return sizes and group, for ``repr``."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, group={self.group.name}, "
            f"padding={self.padding!r}, stride={self.stride}"
        )

    def _convolve(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve images ``[B, channels, *grid]`` with a kernel ``[channels', channels, pixels]``."""
        self._check_grid(x.shape[2:])
        kernel = kernel.unflatten(-1, (self.kernel_size,) * self.dim)
        margin = self.kernel_size // 2
        if self.padding != "valid" and margin:
            mode = "circular" if self.padding == "circular" else "constant"
            x = functional.pad(x, (margin,) * (2 * self.dim), mode=mode)
        convolution = (functional.conv1d, functional.conv2d, functional.conv3d)[self.dim - 1]
        return convolution(x, kernel, bias, stride=self.stride)

    def _check_grid(self, shape: torch.Size) -> None:
        """Refuse grids on which the turned answer would lie on other pixels."""
        if len(shape) != self.dim:
            raise ShapeError(f"{self.group.name} turns grids of {self.dim} dimensions, given {list(shape)}.")
        exchanged = bool((self.group.matrices.abs() != torch.eye(self.dim, dtype=torch.float64)).any())
        if exchanged and len(set(shape)) > 1:
            raise ShapeError(f"{self.group.name} exchanges axes, which needs sides of one length; given {list(shape)}.")
        if self.padding == "circular" and self.kernel_size // 2 > min(shape):
            raise ShapeError(f"A kernel of {self.kernel_size} wraps more than once around a grid of {list(shape)}.")
        if self.stride == 1:
            return
        for side in shape:
            reach = side - (self.kernel_size if self.padding == "valid" else 1)
            if reach < 0 or reach % self.stride:
                raise ShapeError(
                    f"With a stride of {self.stride}, the pixels that are kept of a side of {side} are not symmetric "
                    "about its middle: turned images would be sampled elsewhere, and the answer would not be turned. "
                    f"Exact are sides of which {self.kernel_size if self.padding == 'valid' else 1} less is divisible "
                    "by the stride."
                )


class LiftingConv(_GridConv):
    """A convolution from images to functions on shifts and turns: each kernel in all positions of the group.

    y_o(g, p) = Σ_i Σ_q κ_oi(g⁻¹(q − p)) x_i(q) + b_o.

    Args:
        in_channels: Of the images.
        out_channels: Of the features; each has one image for each group element.
        kernel_size: Side of the kernels.
        group: A group of signed permutation matrices, or its name: ``"p4"``, ``"p4m"``, ``"O"``, ``"Oh"``.
        padding: ``"circular"`` (torus), ``"zeros"``, or ``"valid"`` (none; the answer is smaller).
        stride: Pixels between answers. Exact only where the kept pixels are symmetric about the middle of the grid:
            side − 1 (without padding: side − kernel_size) is divisible by it. Other grids are refused.
        bias: Add one number to each channel.

    Properties:
        equivariance: images turned about the middle of the grid give features turned alike, with the group index
            shifted, exactly: y(a⁻¹g, a⁻¹p).
        oracle: the answers are those of plain convolutions of turned images, turned back.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        group: str | FiniteGroup = "p4",
        *,
        padding: Padding = "circular",
        stride: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, group, padding, stride)
        pixels = self.index.shape[-1]
        bound = 1 / math.sqrt(in_channels * pixels)
        self.weight = torch.nn.Parameter(torch.empty(out_channels, in_channels, pixels).uniform_(-bound, bound))
        self.bias = torch.nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound)) if bias else None

    def _places(self) -> Tensor:
        return lifting_kernel_index(self.group, self.kernel_size)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: ``[B, in_channels, *grid]``.

        Returns:
            ``[B, out_channels, G, *grid']``.

        Raises:
            ShapeError: The shape is another, or the grid cannot be exact with this group and stride.
        """
        if x.ndim < 3 or x.shape[1] != self.in_channels:
            raise ShapeError(f"Images [B, {self.in_channels}, ...] are needed, given {list(x.shape)}.")
        order = self.group.order
        kernel = lifting_kernel(self.weight, self.index).flatten(0, 1)
        bias = None if self.bias is None else self.bias.repeat_interleave(order)
        return self._convolve(x, kernel, bias).unflatten(1, (self.out_channels, order))


class GroupConv(_GridConv):
    """A convolution of functions on shifts and turns.

    y_o(g, p) = Σ_i Σ_h Σ_q κ_oi(g⁻¹h, g⁻¹(q − p)) x_i(h, q) + b_o.

    Args:
        in_channels: Of the features.
        out_channels: Of the answer.
        kernel_size: Side of the kernels.
        group: As in `LiftingConv`, and the same one as there.
        padding: As in `LiftingConv`.
        stride: As in `LiftingConv`.
        bias: Add one number to each channel.

    Properties:
        equivariance: features x(a⁻¹h, a⁻¹q) give the answer y(a⁻¹g, a⁻¹p), exactly.
        shift_equivariance: on the torus, shifted features give shifted answers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        group: str | FiniteGroup = "p4",
        *,
        padding: Padding = "circular",
        stride: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, group, padding, stride)
        order, pixels = self.group.order, self.index.shape[-1]
        bound = 1 / math.sqrt(in_channels * order * pixels)
        self.weight = torch.nn.Parameter(torch.empty(out_channels, in_channels, order, pixels).uniform_(-bound, bound))
        self.bias = torch.nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound)) if bias else None

    def _places(self) -> Tensor:
        return group_kernel_index(self.group, self.kernel_size)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: ``[B, in_channels, G, *grid]``.

        Returns:
            ``[B, out_channels, G, *grid']``.

        Raises:
            ShapeError: The shape is another, or the grid cannot be exact with this group and stride.
        """
        order = self.group.order
        if x.ndim < 4 or x.shape[1:3] != (self.in_channels, order):
            raise ShapeError(f"Features [B, {self.in_channels}, {order}, ...] are needed, given {list(x.shape)}.")
        kernel = group_kernel(self.weight, self.index).flatten(2, 3).flatten(0, 1)
        bias = None if self.bias is None else self.bias.repeat_interleave(order)
        return self._convolve(x.flatten(1, 2), kernel, bias).unflatten(1, (self.out_channels, order))


class GroupPool(torch.nn.Module):
    """Pool features over the group, or over a subgroup's cosets.

    Args:
        group: The group of the features, or its name.
        mode: ``"mean"`` or ``"max"``.
        subgroup: Its numbers; ``None``: the whole group. Then the answer has one image for each left coset gH.

    Properties:
        invariance: over the whole group, the answer turns like an image: y(a⁻¹p).
        cosets: over a subgroup H, the answer is a function on the cosets gH, which the group permutes.
    """

    rows: Tensor

    def __init__(self, group: str | FiniteGroup, mode: str = "mean", subgroup: Tensor | None = None) -> None:
        super().__init__()
        if mode not in {"mean", "max"}:
            raise ConfigError(f"Features are pooled by 'mean' or 'max', not {mode!r}.")
        self.group = FiniteGroup.named(group) if isinstance(group, str) else group
        self.mode, self.whole = mode, subgroup is None
        rows = torch.arange(self.group.order)[None] if subgroup is None else self.group.cosets(subgroup)
        self.register_buffer("rows", rows, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pool.

        Args:
            x: ``[B, C, G, ...]``.

        Returns:
            ``[B, C, ...]``, or ``[B, C, cosets, ...]`` with a subgroup.

        Raises:
            ShapeError: The shape is another.
        """
        if x.ndim < 3 or x.shape[2] != self.group.order:
            raise ShapeError(f"Features [B, C, {self.group.order}, ...] are needed, given {list(x.shape)}.")
        parts = x[:, :, self.rows]
        pooled = parts.mean(3) if self.mode == "mean" else parts.amax(3)
        return pooled[:, :, 0] if self.whole else pooled


def _check_channels(in_channels: int, out_channels: int) -> None:
    if in_channels < 1 or out_channels < 1:
        raise ConfigError(f"Channels must be at least 1, not {in_channels} and {out_channels}.")

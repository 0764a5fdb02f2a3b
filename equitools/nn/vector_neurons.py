"""Vector neurons: layers on channels of vectors that commute with rotations and reflections, in any dimension.

A feature is ``[..., C, d]``: C channels, each a vector of ℝᵈ with the coordinates last. An orthogonal matrix R acts on
the coordinates of all channels at once. What commutes with it is mixing channels, and anything that scales vectors by
functions of their scalar products. What does not is adding a fixed vector (a bias), and dropping single coordinates:
no layer here can do either.

All vectors are polar (they change sign under inversion). The cross product of two of them is not: see `VNCrossProduct`.

Source:
    C. Deng et al., Vector Neurons: a general framework for SO(3)-equivariant networks, ICCV 2021, arXiv:2104.12229.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.ops.precision import full_precision

__all__ = [
    "VNBatchNorm",
    "VNBlock",
    "VNCrossProduct",
    "VNDropout",
    "VNInvariants",
    "VNLeakyReLU",
    "VNLinear",
    "VNMaxPool",
    "VNMeanPool",
]


def _check(name: str, x: Tensor, channels: int | None = None) -> None:
    """Raise unless ``x`` is a feature ``[..., C, d]``."""
    wanted = "C" if channels is None else channels
    if x.ndim < 2 or not x.is_floating_point() or (channels is not None and x.shape[-2] != channels):
        raise ShapeError(
            f"{name} needs channels of vectors [..., {wanted}, d] of a floating-point dtype, given {list(x.shape)} "
            f"{x.dtype}."
        )


def _check_mask(x: Tensor, mask: Tensor | None) -> None:
    if mask is not None and (mask.dtype != torch.bool or mask.shape != x.shape[:-2]):
        raise ShapeError(
            f"A mask of features {list(x.shape)} is bool {list(x.shape[:-2])} (True: a real point), given "
            f"{list(mask.shape)} {mask.dtype}."
        )


def _channels(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} needs at least one channel, not {value!r}.")
    return value


class VNLinear(torch.nn.Module):
    """Mix channels: ``y_o = Σ_c W_oc x_c``. There is no bias: a fixed vector would not turn with the others.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.

    Properties:
        equivariance: forward(x Rᵀ) = forward(x) Rᵀ for every orthogonal R (and every other matrix).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.in_channels = _channels("VNLinear", in_channels)
        self.out_channels = _channels("VNLinear", out_channels)
        self.weight = torch.nn.Parameter(torch.empty(out_channels, in_channels))
        bound = 1 / math.sqrt(in_channels)  # of torch.nn.Linear
        torch.nn.init.uniform_(self.weight, -bound, bound)

    def extra_repr(self) -> str:
        """Return the numbers of channels."""
        return f"{self.in_channels}, {self.out_channels}"

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., in_channels, d]`` to ``[..., out_channels, d]``.

        Raises:
            ShapeError: The channels are not as many.
        """
        _check("VNLinear", x, self.in_channels)
        # One product of matrices with the channels innermost; the transposed result keeps them so in memory, and the
        # next layer's transposition costs nothing.
        return torch.nn.functional.linear(x.mT, self.weight).mT


class VNLeakyReLU(torch.nn.Module):
    """Take back the part of each vector that points against a learned direction.

    With directions k = U x: where ⟨x, k⟩ < 0, x loses (1 − slope) times its component along k.

    Args:
        channels: Channels of input and output.
        negative_slope: What stays of the component; 0 takes all of it.
        shared_direction: One direction for all channels.
        eps: Added to ‖k‖², so that it is differentiable at k = 0.

    Properties:
        equivariance: forward(x Rᵀ) = forward(x) Rᵀ for orthogonal R.
        half_space: with slope 0 no output vector points against its direction.
    """

    def __init__(
        self, channels: int, negative_slope: float = 0.2, shared_direction: bool = False, eps: float = 1e-12
    ) -> None:
        super().__init__()
        if not 0 <= negative_slope <= 1:
            raise ConfigError(f"negative_slope is between 0 and 1, not {negative_slope!r}.")
        self.negative_slope, self.eps = negative_slope, eps
        self.direction = VNLinear(channels, 1 if shared_direction else channels)

    def extra_repr(self) -> str:
        """Return the slope."""
        return f"negative_slope={self.negative_slope}"

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., channels, d]`` to the same shape."""
        k = self.direction(x)
        along = (x * k).sum(-1, keepdim=True).clamp(max=0)
        return x - (1 - self.negative_slope) * along / (k.square().sum(-1, keepdim=True) + self.eps) * k


class VNBatchNorm(torch.nn.Module):
    """Batch normalisation of the lengths of vectors; their directions stay.

    ``y = x/‖x‖ · (a (‖x‖ − μ)/σ + b)`` for each channel with the mean μ and the deviation σ of its lengths over the
    batch (in evaluation over the past ones), and learned a and b. A vector shorter than the mean can turn round, as in
    the paper. With ``centre=False`` nothing is taken off and nothing added: ``y = a x/rms``, smooth everywhere.

    Args:
        channels: Channels of input and output.
        centre: Normalise mean and deviation, as in the paper; otherwise the root mean square.
        momentum: Share of this batch in the running statistics.
        eps: Added to the variance; its square is added to ‖x‖², so that a vanishing vector has a gradient.

    Properties:
        equivariance: forward(x Rᵀ) = forward(x) Rᵀ, in training too; each cloud of a batch may have its own R.
        masked_points_do_not_count: neither in the statistics nor in the outputs of others; their own are zero.
    """

    running_mean: Tensor
    running_square: Tensor

    def __init__(self, channels: int, centre: bool = True, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels = _channels("VNBatchNorm", channels)
        self.centre, self.momentum, self.eps = centre, momentum, eps
        self.weight = torch.nn.Parameter(torch.ones(channels))
        self.bias = torch.nn.Parameter(torch.zeros(channels)) if centre else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_square", torch.ones(channels))

    def extra_repr(self) -> str:
        """Return the channels."""
        return f"{self.channels}, centre={self.centre}"

    @full_precision
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``[..., channels, d]`` to the same shape.

        Args:
            x: Vectors; the statistics are over all leading axes.
            mask: Which points are real, bool of the leading axes.

        Raises:
            ShapeError: The channels are not as many, or the mask does not fit.
        """
        _check("VNBatchNorm", x, self.channels)
        _check_mask(x, mask)
        square = x.square().sum(-1) + self.eps**2
        length = square.sqrt()
        mean, second = self._statistics(length, square, mask)
        if self.bias is not None:
            deviation = ((second - mean.square()).clamp(min=0) + self.eps).sqrt()
            factor = (self.weight * (length - mean) / deviation + self.bias) / length
        else:
            factor = (self.weight / (second + self.eps).sqrt()).expand_as(length)
        if mask is not None:
            factor = torch.where(mask.unsqueeze(-1), factor, torch.zeros_like(factor))
        return x * factor.unsqueeze(-1)

    def _statistics(self, length: Tensor, square: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean length and mean square length of each channel."""
        if not self.training:
            return self.running_mean, self.running_square
        length, square = length.reshape(-1, self.channels), square.reshape(-1, self.channels)
        if mask is None:
            weight = length.new_ones(len(length), 1)
        else:
            weight = mask.reshape(-1, 1).to(length.dtype)
        count = weight.sum()
        share = count.clamp(min=1)
        mean = (length * weight).sum(0) / share
        second = (square * weight).sum(0) / share
        with torch.no_grad():
            rate = (self.momentum * (count > 0)).to(self.running_mean)  # an empty batch teaches nothing
            self.running_mean.lerp_(mean.detach().to(self.running_mean), rate)
            self.running_square.lerp_(second.detach().to(self.running_square), rate)
        return mean, second


class VNDropout(torch.nn.Module):
    """Drop whole vectors in training, each with probability p, and scale the others by 1/(1 − p).

    Dropping single coordinates, as `torch.nn.Dropout` does, would break the equivariance.

    Args:
        p: The probability, 0 ≤ p < 1.

    Properties:
        whole_vectors: all coordinates of a vector are kept, or none.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ConfigError(f"The probability of dropping is at least 0 and less than 1, not {p!r}.")
        self.p = p

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., C, d]`` to the same shape; in evaluation nothing is done."""
        _check("VNDropout", x)
        if not self.training or self.p == 0:
            return x
        return x * torch.nn.functional.dropout(torch.ones_like(x[..., :1]), self.p)


class VNMeanPool(torch.nn.Module):
    """Average over points: ``[..., N, C, d]`` to ``[..., C, d]``; of no points the average is zero.

    Properties:
        equivariance: forward(x Rᵀ) = forward(x) Rᵀ.
        permutation_invariance: the order of the points does not matter.
    """

    @full_precision
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Average over the third axis from the right.

        Args:
            x: ``[..., N, C, d]``.
            mask: Which points are real, bool ``[..., N]``.

        Raises:
            ShapeError: There is no axis of points, or the mask does not fit.
        """
        _check_points("VNMeanPool", x, mask)
        if mask is None:
            return x.sum(-3) / max(1, x.shape[-3])
        weight = mask[..., None, None].to(x.dtype)
        return torch.where(mask[..., None, None], x, torch.zeros_like(x)).sum(-3) / weight.sum(-3).clamp(min=1)


class VNMaxPool(torch.nn.Module):
    """Choose, for each channel, the vector of that point which is the longest along a learned direction.

    With directions k = U x the point with the largest ⟨x, k⟩ is taken. Of two equally large ones that are different
    vectors, the one that comes first is taken: there, and only there, the order of the points matters.

    Args:
        channels: Channels of input and output.

    Properties:
        equivariance: forward(x Rᵀ) = forward(x) Rᵀ.
        permutation_invariance: the order of the points does not matter but for ties.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.direction = VNLinear(channels, channels)

    @full_precision
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``[..., N, channels, d]`` to ``[..., channels, d]``; of no points it is zero.

        Args:
            x: Vectors of the points.
            mask: Which points are real, bool ``[..., N]``.

        Raises:
            ShapeError: The shape is wrong, or the mask does not fit.
        """
        _check_points("VNMaxPool", x, mask)
        if x.shape[-3] == 0:
            return x.sum(-3)
        score = (x * self.direction(x)).sum(-1)
        if mask is not None:
            score = score.masked_fill(~mask.unsqueeze(-1), -math.inf)
        index = score.argmax(-2)[..., None, :, None].expand(*x.shape[:-3], 1, *x.shape[-2:])
        chosen = x.gather(-3, index).squeeze(-3)
        if mask is not None:
            chosen = torch.where(mask.any(-1)[..., None, None], chosen, torch.zeros_like(chosen))
        return chosen


class VNInvariants(torch.nn.Module):
    """Scalar products of all channels with a few learned mixtures of them: invariants, one row of numbers.

    With d mixtures that are independent, the vectors can be had back from the numbers, up to a rotation or reflection.

    Args:
        channels: Channels of the input.
        directions: How many mixtures; as a rule d.

    Attributes:
        num_invariants: ``channels · directions``.

    Properties:
        invariance: forward(x Rᵀ) = forward(x) for orthogonal R.
    """

    def __init__(self, channels: int, directions: int = 3) -> None:
        super().__init__()
        self.direction = VNLinear(channels, _channels("VNInvariants", directions))
        self.num_invariants = channels * directions

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., channels, d]`` to ``[..., num_invariants]``."""
        return (x @ self.direction(x).mT).flatten(-2)


class VNCrossProduct(torch.nn.Module):
    """Cross products of learned mixtures of channels, in three dimensions: *pseudovectors*.

    A rotation turns them as it turns vectors; under inversion they stay. So under O(3) they may not be added to polar
    vectors, concatenated with them or mixed with them by a `VNLinear`; under SO(3) there is no difference.

    Args:
        in_channels: Channels of the input, polar vectors.
        out_channels: Channels of the output.

    Attributes:
        representation: ``"pseudovector"``.

    Properties:
        pseudovectors: forward(x Rᵀ) = det(R) forward(x) Rᵀ for orthogonal R.
    """

    representation = "pseudovector"

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.left, self.right = VNLinear(in_channels, out_channels), VNLinear(in_channels, out_channels)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., in_channels, 3]`` to ``[..., out_channels, 3]``.

        Raises:
            ShapeError: The vectors have not three coordinates.
        """
        if x.shape[-1:] != (3,):
            raise ShapeError(f"A cross product needs vectors with three coordinates, given {list(x.shape)}.")
        return torch.linalg.cross(self.left(x), self.right(x))


class VNBlock(torch.nn.Module):
    """`VNLinear`, `VNBatchNorm` and `VNLeakyReLU` in this order.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        norm: Whether lengths are normalised.
        negative_slope: Of the non-linearity.

    Properties:
        equivariance: forward(x Rᵀ) = forward(x) Rᵀ for orthogonal R.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: bool = True, negative_slope: float = 0.2) -> None:
        super().__init__()
        self.linear = VNLinear(in_channels, out_channels)
        self.norm = VNBatchNorm(out_channels) if norm else None
        self.activation = VNLeakyReLU(out_channels, negative_slope)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``[..., in_channels, d]`` to ``[..., out_channels, d]``; see `VNBatchNorm` for the mask."""
        x = self.linear(x)
        if self.norm is not None:
            x = self.norm(x, mask)
        return self.activation(x)


def _check_points(name: str, x: Tensor, mask: Tensor | None) -> None:
    if x.ndim < 3 or not x.is_floating_point():
        raise ShapeError(f"{name} needs vectors of points [..., N, C, d], given {list(x.shape)} {x.dtype}.")
    _check_mask(x, mask)

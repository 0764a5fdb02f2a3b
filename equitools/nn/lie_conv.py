"""Convolutions over ℝⁿ⋊H with kernels that are functions of the group's coordinates.

A feature of the group is a function of a position and of an element of H; here it is known on a grid of positions and
at samples of H, ``[B, C, S, *spatial]``. Kernels are sine networks of the relative position and of the chart's
coordinates of the relative element, so that they have a value wherever the samples are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, UnknownNameError, nearest
from equitools.groups import MatrixGroup
from equitools.nn.lie_samples import GroupSamples, PolarChart, check_samples
from equitools.nn.siren import Siren
from equitools.nn.spline_kernel import SplineKernel

__all__ = [
    "KERNELS",
    "MASKS",
    "PADDINGS",
    "LieFibreConv",
    "LieGroupConv",
    "LieLiftingConv",
    "group_pool",
    "support_mask",
]

#: Kinds of kernels that are functions of positions.
KERNELS = ("siren", "spline")

#: Supports of kernels.
MASKS = ("auto", "hard", "soft", "none")
#: What is outside of the images.
PADDINGS = ("zeros", "replicate")


def support_mask(points: Tensor, kind: str = "hard", slope: float = 2.0) -> Tensor:
    """Return how much of a kernel is left at points.

    Args:
        points: ``[..., d]``, in units of the kernel's radius.
        kind: ``"hard"``: 1 inside of the unit ball and 0 outside; ``"soft"``: sigmoid(slope · (1 − ‖x‖));
            ``"none"``: 1.
        slope: Of the soft one.

    Returns:
        ``[...]``.

    Raises:
        UnknownNameError: No such kind.

    Properties:
        mask_is_radial: it depends on the norm only.
    """
    norm = torch.linalg.vector_norm(points, dim=-1)
    if kind == "hard":
        return (norm <= 1).to(points)
    if kind == "soft":
        return torch.sigmoid(slope * (1 - norm))
    if kind == "none":
        return torch.ones_like(norm)
    raise UnknownNameError(f"There is no mask {kind!r}. {nearest(kind, MASKS)}")


class _ImplicitConv(torch.nn.Module):
    """What lifting and group convolutions share: the grid, the mask, the sum."""

    kernel: Siren | SplineKernel

    def __init__(
        self,
        group: str | MatrixGroup | PolarChart,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        radius: float | None,
        padding: int,
        bias: bool,
        mask: str,
        slope: float,
        stride: int,
        padding_mode: str,
    ) -> None:
        super().__init__()
        self.chart = group if isinstance(group, PolarChart) else PolarChart(group)
        numbers = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "kernel_size": kernel_size,
            "stride": stride,
        }
        for name, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ConfigError(f"{name} must be an integer ≥ 1, it is {number!r}.")
        if isinstance(padding, bool) or not isinstance(padding, int) or padding < 0:
            raise ConfigError(f"padding must be an integer ≥ 0, it is {padding!r}.")
        radius = kernel_size / 2 if radius is None else float(radius)
        if not 0 < radius < math.inf or not 0 < slope < math.inf:
            raise ConfigError(f"radius and slope must be positive and finite; they are {radius} and {slope}.")
        if mask not in MASKS:
            raise UnknownNameError(f"There is no mask {mask!r}. {nearest(mask, MASKS)}")
        if padding_mode not in PADDINGS:
            raise UnknownNameError(f"There is no padding {padding_mode!r}. {nearest(padding_mode, PADDINGS)}")
        self.padding_mode = padding_mode
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.radius, self.padding, self.slope, self.stride = radius, padding, slope, stride
        self.mask = ("hard" if self.chart.volume_preserving else "soft") if mask == "auto" else mask
        self.bias = torch.nn.Parameter(torch.zeros(out_channels)) if bias else None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the kernel's window."""
        return (self.kernel_size,) * self.chart.n

    def grid(self) -> Tensor:
        """Return the window's pixels ``[P, n]`` in units of the radius, in the dtype of the weights.

        The first coordinate runs along the last axis of an image, as in `torch.nn.functional.grid_sample`.
        """
        like = self.kernel.last.weight
        axis = torch.arange(self.kernel_size, dtype=like.dtype, device=like.device) - (self.kernel_size - 1) / 2
        axes = torch.meshgrid(*[axis / self.radius] * self.chart.n, indexing="ij")
        return torch.stack(axes[::-1], -1).flatten(0, -2)

    def _function_of_positions(self, kind: str, hidden: int, layers: int, omega: float) -> Siren | SplineKernel:
        n, out = self.chart.n, self.in_channels * self.out_channels
        fan_in = self.in_channels * self.kernel_size**n
        if kind == "siren":
            return Siren(n, out, hidden, layers, omega, fan_in=fan_in)
        if kind == "spline":
            return SplineKernel(n, out, max(2, self.kernel_size), fan_in=fan_in)
        raise UnknownNameError(f"There is no kernel {kind!r}. {nearest(kind, KERNELS)}")

    def _convolve(self, x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
        convolve = torch.nn.functional.conv2d if self.chart.n == 2 else torch.nn.functional.conv3d
        if self.padding_mode == "replicate" and self.padding and x.numel():
            x = torch.nn.functional.pad(x, (self.padding,) * 2 * self.chart.n, mode="replicate")
            return convolve(x, weight, stride=self.stride, groups=groups)
        return convolve(x, weight, stride=self.stride, padding=self.padding, groups=groups)

    def _biased(self, x: Tensor) -> Tensor:
        return x if self.bias is None else x + self.bias.view(-1, *[1] * (x.ndim - 2))

    def _check_images(self, x: Tensor, axes: int, wanted: str) -> None:
        if x.ndim != axes or x.shape[1] != self.in_channels:
            raise ShapeError(f"This layer needs {wanted}, given {list(x.shape)}.")
        if x.dtype != self.kernel.last.weight.dtype:
            raise ShapeError(f"The input is {x.dtype}, the layer {self.kernel.last.weight.dtype}. Convert one of them.")
        if min(x.shape[-self.chart.n :]) + 2 * self.padding < self.kernel_size:
            raise ShapeError(
                f"A kernel of {self.kernel_size} with padding {self.padding} does not fit into {list(x.shape)}."
            )

    def extra_repr(self) -> str:
        return (
            f"{self.chart.name}, {self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"radius={self.radius:g}, padding={self.padding}, mask={self.mask!r}"
        )


class LieLiftingConv(_ImplicitConv):
    """From images to features of the group: (f ⋆ k)(t, g) = ∫ f(t + y) k(g⁻¹y) dy / abs(det g).

    Args:
        group: H, as of `equitools.nn.lie_samples.PolarChart`.
        in_channels: Of the images.
        out_channels: Of the features.
        kernel_size: Pixels along an axis of the window. What a large g makes of the kernel is cut off at the window.
        radius: Of the kernel's unit ball, in pixels, for g = 1; by default the half of the window. A smaller one leaves
            room for elements that enlarge.
        padding: Pixels around the images.
        bias: Add a number to each channel.
        mask: ``"hard"``, ``"soft"``, ``"none"`` or ``"auto"``: hard where H preserves volumes, else soft.
        slope: Of the soft mask.
        hidden: Width of the sine network.
        layers: Its sines.
        omega: Its ω₀. What a kernel has between two pixels is lost: ω₀ / radius should stay well below π.
        stride: Only each so many-th position is wanted.
        padding_mode: ``"zeros"``, or ``"replicate"``: what is outside is as the border, as in a larger image
            whose border is empty.
        kernel: ``"siren"``, or ``"spline"``: B-splines with as many knots as the window has pixels, for which hidden,
            layers and omega are of no matter. Linear in their coefficients, they are learned faster.

    Raises:
        ConfigError: A number is out of range.
        UnknownNameError: No such group or mask.

    Properties:
        lifting_equivariance: for elements that map the grid to itself and samples that they permute, L_h of the image
            goes along with (t, g) ↦ (h t, h g), exactly.

    Source: M. Mironenco, P. Forré (ICLR 2024), section 4.
    """

    def __init__(
        self,
        group: str | MatrixGroup | PolarChart,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 5,
        radius: float | None = None,
        padding: int = 0,
        bias: bool = True,
        mask: str = "auto",
        slope: float = 2.0,
        hidden: int = 32,
        layers: int = 2,
        omega: float = 10.0,
        stride: int = 1,
        padding_mode: str = "zeros",
        kernel: str = "siren",
    ) -> None:
        super().__init__(
            group, in_channels, out_channels, kernel_size, radius, padding, bias, mask, slope, stride, padding_mode
        )
        self.kernel = self._function_of_positions(kernel, hidden, layers, omega)

    def weight(self, samples: GroupSamples) -> Tensor:
        """Return the kernel ``[out_channels, S, in_channels, *window]`` at elements of H."""
        inverse = torch.linalg.inv(samples.elements)
        points = torch.einsum("sij,pj->spi", inverse, self.grid())
        values = self.kernel(points) * support_mask(points, self.mask, self.slope).unsqueeze(-1)
        values = values * torch.linalg.det(inverse).abs()[:, None, None]
        values = values.unflatten(-1, (self.out_channels, self.in_channels))
        return values.permute(2, 0, 3, 1).unflatten(-1, self.shape)

    def forward(self, x: Tensor, samples: GroupSamples) -> Tensor:
        """Return features at elements of H.

        Args:
            x: ``[B, in_channels, *spatial]``.
            samples: S elements; their weights are of no matter here.

        Returns:
            ``[B, out_channels, S, *spatial']``.

        Raises:
            ShapeError: The input does not fit.
        """
        n = self.chart.n
        self._check_images(x, n + 2, f"images [B, {self.in_channels}, {n} axes]")
        check_samples(samples, self.chart)
        out = self._convolve(x, self.weight(samples).flatten(0, 1))
        return self._biased(out.unflatten(1, (self.out_channels, len(samples.elements))))


class LieFibreConv(LieLiftingConv):
    """From features of the group to features of the group, at each element of H on its own.

    (F ⋆ k)(t, g) = ∫ F(t + y, g) k(g⁻¹y) dy / abs(det g): a `LieGroupConv` whose kernel along H is concentrated at the
    identity. It costs S and not S² products, and no sum over samples is estimated; elements meet in the pooling only.

    Args: Those of `LieLiftingConv`; channels are of features.

    Properties:
        fibre_equivariance: for elements that map the grid to itself and samples that they permute, exactly.
    """

    def forward(self, x: Tensor, samples: GroupSamples) -> Tensor:
        """Return features at the same elements of H.

        Args:
            x: ``[B, in_channels, S, *spatial]``.
            samples: The S elements.

        Returns:
            ``[B, out_channels, S, *spatial']``.

        Raises:
            ShapeError: The input does not fit.
        """
        n, count = self.chart.n, len(samples.elements)
        self._check_images(x, n + 3, f"features [B, {self.in_channels}, S, {n} axes]")
        check_samples(samples, self.chart)
        if x.shape[2] != count:
            raise ShapeError(f"The features {list(x.shape)} are at {x.shape[2]} samples, not {count}.")
        weight = self.weight(samples).transpose(0, 1).flatten(0, 1)
        out = self._convolve(x.transpose(1, 2).flatten(1, 2), weight, count)
        return self._biased(out.unflatten(1, (count, self.out_channels)).transpose(1, 2))


class LieGroupConv(_ImplicitConv):
    """From features of the group to features of the group.

    (F ⋆ k)(t, g) = Σ w ∫ F(t + y, g̃) k(g⁻¹y, ξ(g⁻¹g̃)) dy / abs(det g̃), a mean over samples g̃ of H.

    Args:
        group: H, as of `equitools.nn.lie_samples.PolarChart`.
        in_channels: Of the features.
        out_channels: Of the features.
        kernel_size: As of `LieLiftingConv`; 1 for kernels on H alone.
        radius: As of `LieLiftingConv`.
        padding: Positions around the features.
        bias: Add a number to each channel.
        mask: As of `LieLiftingConv`; it is of the positions for ``"hard"``, of positions and chart for ``"soft"``.
        slope: Of the soft mask.
        hidden: Width of the sine network.
        layers: Its sines.
        omega: Its ω₀.
        group_omega: How fast kernels vary with the chart's coordinates; by default ω₀. Few samples cannot follow a fast
            one.
        stride: Only each so many-th position is wanted.
        padding_mode: ``"zeros"``, or ``"replicate"``: what is outside is as the border, as in a larger image
            whose border is empty.

    Raises:
        ConfigError: A number is out of range.
        UnknownNameError: No such group or mask.

    Properties:
        group_equivariance: for elements that map the grid to itself and samples that they permute, exactly.
        mean_over_samples: repeating each sample changes nothing.

    Source: M. Mironenco, P. Forré (ICLR 2024), section 4; there it is a sum over the samples.
    """

    def __init__(
        self,
        group: str | MatrixGroup | PolarChart,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 5,
        radius: float | None = None,
        padding: int = 0,
        bias: bool = True,
        mask: str = "auto",
        slope: float = 2.0,
        hidden: int = 32,
        layers: int = 2,
        omega: float = 10.0,
        group_omega: float | None = None,
        stride: int = 1,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__(
            group, in_channels, out_channels, kernel_size, radius, padding, bias, mask, slope, stride, padding_mode
        )
        n = self.chart.n
        fan_in = in_channels * self.kernel_size**n
        features = n + self.chart.dim
        self.kernel = Siren(features, in_channels * out_channels, hidden, layers, omega, fan_in=fan_in)
        self.chart_scale = 1.0 if group_omega is None else group_omega / omega

    def weight(self, inputs: GroupSamples, outputs: GroupSamples | None = None) -> Tensor:
        """Return the kernel ``[out_channels, S_out, in_channels, S_in, *window]``, weights of the mean included."""
        outputs = inputs if outputs is None else outputs
        inverse = torch.linalg.inv(outputs.elements)
        chart = self.chart.coordinates(torch.einsum("oij,sjk->osik", inverse, inputs.elements))
        points = torch.einsum("oij,pj->opi", inverse, self.grid())
        sizes = len(inverse), len(inputs.elements), points.shape[1]
        joint = torch.cat(
            [points.unsqueeze(1).expand(*sizes, -1), self.chart_scale * chart.unsqueeze(2).expand(*sizes, -1)], -1
        )
        where = (
            points.unsqueeze(1)
            if self.mask == "hard"
            else torch.cat([points.unsqueeze(1).expand(*sizes, -1), chart.unsqueeze(2).expand(*sizes, -1)], -1)
        )
        share = inputs.weights / len(inputs.weights) / torch.linalg.det(inputs.elements).abs()
        values = self.kernel(joint) * (support_mask(where, self.mask, self.slope) * share[:, None]).unsqueeze(-1)
        values = values.unflatten(-1, (self.out_channels, self.in_channels))
        return values.permute(3, 0, 4, 1, 2).unflatten(-1, self.shape)

    def forward(self, x: Tensor, inputs: GroupSamples, outputs: GroupSamples | None = None) -> Tensor:
        """Return features at elements of H.

        Args:
            x: ``[B, in_channels, S_in, *spatial]``.
            inputs: Where the features are known.
            outputs: Where they are wanted; by default where they are known.

        Returns:
            ``[B, out_channels, S_out, *spatial']``.

        Raises:
            ShapeError: The input does not fit.
        """
        n = self.chart.n
        self._check_images(x, n + 3, f"features [B, {self.in_channels}, S, {n} axes]")
        for samples in (inputs,) if outputs is None else (inputs, outputs):
            check_samples(samples, self.chart)
        if x.shape[2] != len(inputs.elements):
            raise ShapeError(f"The features {list(x.shape)} are at {x.shape[2]} samples, not {len(inputs.elements)}.")
        count = len((inputs if outputs is None else outputs).elements)
        weight = self.weight(inputs, outputs).flatten(2, 3).flatten(0, 1)
        return self._biased(self._convolve(x.flatten(1, 2), weight).unflatten(1, (self.out_channels, count)))


def group_pool(x: Tensor, kind: str = "max", weights: Tensor | None = None) -> Tensor:
    """Make invariants of features of the group: one number a channel, of all samples and positions.

    Args:
        x: ``[B, C, S, *spatial]``.
        kind: ``"max"`` or ``"mean"``.
        weights: ``[S]`` of the mean over samples; equal ones by default. A maximum has none.

    Returns:
        ``[B, C]``.

    Raises:
        UnknownNameError: No such kind.
        ShapeError: The input does not fit.

    Properties:
        pool_invariance: the same for permuted samples and positions.
    """
    if x.ndim < 4:
        raise ShapeError(f"Features [B, C, S, *spatial] are needed, given {list(x.shape)}.")
    if weights is not None and weights.shape != x.shape[2:3]:
        raise ShapeError(f"There are {x.shape[2]} samples and weights {list(weights.shape)}.")
    if kind == "max":
        return x.flatten(2).amax(-1)
    if kind != "mean":
        raise UnknownNameError(f"There is no pooling {kind!r}. {nearest(kind, ('max', 'mean'))}")
    rows = x.flatten(3).mean(-1)
    return rows.mean(-1) if weights is None else (rows * weights).sum(-1) / weights.sum()

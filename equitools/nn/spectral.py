"""Convolutions on the torus by their Fourier coefficients: of FNO, and equivariant to turns of the grid (G-FNO)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups.finite import FiniteGroup
from equitools.ops.kernel_orbits import group_kernel, group_kernel_index
from equitools.ops.precision import full_precision

__all__ = ["GroupSpectralConv2d", "SpectralConv2d", "hermitian_spectrum"]


class SpectralConv2d(torch.nn.Module):
    """Multiply the lowest Fourier coefficients of images by matrices: the layer of FNO.

    The coefficients kept are those of the wave numbers −m … m − 1 along the first axis and 0 … m − 1 along the second,
    m being ``modes``; all others become zero. It commutes with shifts. It does not commute with turns, and its set of
    coefficients could not: −m has no partner m.

    Args:
        in_channels: Of the images.
        out_channels: Of the answer.
        modes: m; at most half of the side of the images.

    Properties:
        shift_equivariance: shifted images give shifted answers.
        resolution: images with few waves give the same answer on a finer grid.

    References:
        Z. Li et al., Fourier Neural Operator for Parametric Partial Differential Equations, ICLR 2021
        (arXiv:2010.08895).
    """

    def __init__(self, in_channels: int, out_channels: int, modes: int) -> None:
        super().__init__()
        _check_sizes(in_channels, out_channels, modes)
        self.in_channels, self.out_channels, self.modes = in_channels, out_channels, modes
        # real and imaginary parts in the last axis: every file format knows real numbers
        scale = 1 / (in_channels * out_channels)
        self.weight = torch.nn.Parameter(scale * torch.rand(2 * modes, modes, in_channels, out_channels, 2))

    def extra_repr(self) -> str:
        """Return sizes, for ``repr``."""
        return f"{self.in_channels}, {self.out_channels}, modes={self.modes}"

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: ``[B, in_channels, H, W]``, real.

        Returns:
            ``[B, out_channels, H, W]``.

        Raises:
            ShapeError: The shape is another, or the images are too small for the modes.
        """
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ShapeError(f"Images [B, {self.in_channels}, H, W] are needed, given {list(x.shape)}.")
        if 2 * self.modes > min(x.shape[2:]):
            raise ShapeError(
                f"{self.modes} modes need images of {2 * self.modes} pixels a side, given {list(x.shape)}."
            )
        return _multiply(x, torch.view_as_complex(self.weight), self.modes, self.modes)


class GroupSpectralConv2d(torch.nn.Module):
    """A convolution over shifts and turns of the square grid whose kernels are given by their Fourier coefficients.

    A kernel κ_oi(h, p) lives on the group and on the torus; the answer is y_o(g) = Σ_i Σ_h κ_oi(g⁻¹h, g⁻¹·) ∗ x_i(h).
    Since the Fourier transform commutes with turns, the copies for the elements g are made of the coefficients: those
    with wave numbers −(m − 1) … m − 1 along both axes, (2m − 1)² of them, turned as an image and shifted along the
    group. Real kernels have Hermitian coefficients, K(−k) = K(k)*: free are the real K(0) and one half of the others.
    The half of a real transform alone, as FNO keeps it, is no set that turns map onto itself.

    Args:
        in_channels: Of the features.
        out_channels: Of the answer.
        modes: m; the images must have at least 2m − 1 pixels a side.
        group: ``"p4"``, ``"p4m"``, or another group of signed permutation matrices of the plane.

    Properties:
        hermitian: the spectrum of the kernels is Hermitian, so that the answer is real without dropping anything.
        equivariance: turned features (pixels turned, group index g⁻¹h) give turned answers, about the middle of the
            grid and about pixel (0, 0) alike; shifts commute, too.
        spatial_oracle: it is the circular group convolution with the kernels in space.

    References:
        J. Helwig et al., Group Equivariant Fourier Neural Operators for Partial Differential Equations, ICML 2023
        (arXiv:2306.05697).
    """

    index: Tensor

    def __init__(self, in_channels: int, out_channels: int, modes: int, group: str | FiniteGroup = "p4") -> None:
        super().__init__()
        _check_sizes(in_channels, out_channels, modes)
        self.group = FiniteGroup.named(group) if isinstance(group, str) else group
        if not self.group.is_signed_permutations or self.group.matrices.shape[-1] != 2:
            raise ConfigError(
                f"Spectra in two dimensions are turned by groups such as p4 and p4m, not {self.group.name}."
            )
        self.in_channels, self.out_channels, self.modes = in_channels, out_channels, modes
        self.register_buffer("index", group_kernel_index(self.group, 2 * modes - 1), persistent=False)
        shape = (out_channels, in_channels, self.group.order)
        bound = 1 / math.sqrt(in_channels * self.group.order * (2 * modes - 1) ** 2)
        self.constant = torch.nn.Parameter(torch.empty(*shape, 1).uniform_(-bound, bound))
        half = ((2 * modes - 1) ** 2 - 1) // 2
        self.waves = torch.nn.Parameter(torch.empty(*shape, half, 2).uniform_(-bound, bound))

    def extra_repr(self) -> str:
        """Return sizes and group, for ``repr``."""
        return f"{self.in_channels}, {self.out_channels}, modes={self.modes}, group={self.group.name}"

    def spectrum(self) -> Tensor:
        """Return the coefficients of all turned kernels ``[O, G, I, G, 2m − 1, 2m − 1]``, that of 0 in the middle."""
        full = group_kernel(hermitian_spectrum(self.constant, self.waves), self.index)
        return full.unflatten(-1, (2 * self.modes - 1, 2 * self.modes - 1))

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: Features ``[B, in_channels, G, S, S]``, real.

        Returns:
            ``[B, out_channels, G, S, S]``.

        Raises:
            ShapeError: The shape is another, or the images are too small for the modes.
        """
        order, m = self.group.order, self.modes
        if x.ndim != 5 or x.shape[1:3] != (self.in_channels, order) or x.shape[3] != x.shape[4]:
            raise ShapeError(f"Features [B, {self.in_channels}, {order}, S, S] are needed, given {list(x.shape)}.")
        if 2 * m - 1 > x.shape[-1]:
            raise ShapeError(f"{m} modes need images of {2 * m - 1} pixels a side, given {list(x.shape)}.")
        # columns with wave numbers 0 … m − 1 say it all, rows in the order of the transform: 0 … m − 1, −(m − 1) … −1
        half = self.spectrum()[..., m - 1 :].roll(-(m - 1), dims=-2)
        weight = half.permute(4, 5, 2, 3, 0, 1).flatten(4, 5).flatten(2, 3)
        return _multiply(x.flatten(1, 2), weight, m, m - 1).unflatten(1, (self.out_channels, order))


def hermitian_spectrum(mean: Tensor, half: Tensor) -> Tensor:
    """Return a spectrum of which one half is given.

    Args:
        mean: Coefficients of wave number zero ``[..., 1]``, real.
        half: The ones behind it in the order of reading ``[..., P, 2]``, real and imaginary parts.

    Returns:
        ``[..., 2P + 1]`` complex: the place p and the place 2P − p, which have opposite wave numbers, are conjugate.
    """
    after = torch.view_as_complex(half)
    return torch.cat([after.conj().flip(-1), mean.to(after.dtype), after], -1)


def _multiply(x: Tensor, weight: Tensor, upper: int, lower: int) -> Tensor:
    """Multiply coefficients ``[upper + lower, columns]`` by matrices ``[upper + lower, columns, I, O]``."""
    rows, columns = x.shape[2:]
    if not len(x):
        return x.new_zeros(0, weight.shape[-1], rows, columns)  # libraries of transforms refuse empty batches
    spectrum = torch.fft.rfft2(x)
    kept = spectrum[..., : weight.shape[1]]
    kept = torch.cat([kept[..., :upper, :], kept[..., rows - lower :, :]], 2).permute(2, 3, 0, 1).contiguous()
    # products of matrices that do not lie in one piece are taken one by one
    product = torch.matmul(kept, weight.contiguous()).permute(2, 3, 0, 1)
    answer = product.new_zeros(*product.shape[:2], rows, columns // 2 + 1)
    answer[..., :upper, : weight.shape[1]] = product[..., :upper, :]
    answer[..., rows - lower :, : weight.shape[1]] = product[..., upper:, :]
    return torch.fft.irfft2(answer, s=(rows, columns))


def _check_sizes(in_channels: int, out_channels: int, modes: int) -> None:
    if in_channels < 1 or out_channels < 1 or modes < 1:
        raise ConfigError(f"Channels and modes must be at least 1, not {in_channels}, {out_channels} and {modes}.")

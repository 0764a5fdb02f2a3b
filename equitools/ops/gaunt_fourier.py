"""The Gaunt product by Fourier series on the torus, in plain torch: the method of the paper.

A function on the sphere is one on the torus, which covers the sphere twice. Order m of a function in φ is a series in θ
of its own: O(L³) operations from coefficients to series and back. In between are fast Fourier transforms: O(L² log L).
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.ops.sphere_functions import table_of
from equitools.ops.sphere_tables import fast_length

__all__ = ["fourier_product"]


def fourier_product(x: Tensor, y: Tensor, lmax1: int, lmax2: int, lmax3: int) -> Tensor:
    """Multiply functions on the sphere by multiplying values on the torus.

    Args:
        x: ``[N, (lmax1+1)², C]``.
        y: ``[N, (lmax2+1)², C]``; either may have one channel.
        lmax1: Highest degree of x.
        lmax2: Of y.
        lmax3: Of the product, at most lmax1 + lmax2.

    Returns:
        ``[N, (lmax3+1)², C]``.

    Source: Luo, Chen and Krishnapriyan, ICLR 2024 (arXiv 2401.10216), section 3.2 and eqs. 5–7. That the series are
        those of real functions, and that an order has a series of its own, halves the transforms.
    """
    degree = lmax1 + lmax2
    # All frequencies of the product in θ; in φ those that are read, the others may fall onto each other.
    along, around = fast_length(2 * degree + 1), fast_length(degree + lmax3 + 1)
    values = _values(x, lmax1, along, around) * _values(y, lmax2, along, around)
    rows, channels = values.shape[:2]
    orders = torch.fft.rfft(values.flatten(0, 1), dim=2, norm="forward")[:, :, : lmax3 + 1]
    series = torch.fft.fft(orders.permute(2, 0, 1).contiguous(), dim=2, norm="forward")[:, :, : degree + 1]
    parts = torch.view_as_real(series).permute(0, 3, 2, 1).reshape(2 * (lmax3 + 1), degree + 1, rows * channels)
    back, places = table_of("projection", (lmax3, degree), x.dtype, x.device)
    out = torch.bmm(back, parts).flatten(0, 1).index_select(0, places)
    return out.unflatten(1, (rows, channels)).transpose(0, 1)


def _values(x: Tensor, lmax: int, along: int, around: int) -> Tensor:
    """Return the values on the torus, ``[N, C, θ, φ]``."""
    rows, components, channels = x.shape
    series, places = table_of("fourier", (lmax, along), x.dtype, x.device)
    # Transforms along the last dimension are two to three times as fast: so rows and channels go to the front.
    columns = x.transpose(0, 1).reshape(components, rows * channels)
    parts = columns.index_select(0, places).unflatten(0, (2 * (lmax + 1), lmax + 1))
    real, imaginary = torch.bmm(parts.mT, series).unflatten(0, (lmax + 1, 2)).unbind(1)  # [m, N·C, u]
    orders = torch.fft.ifft(torch.complex(real, imaginary), dim=2, norm="forward")
    values = torch.fft.irfft(orders.permute(1, 2, 0).contiguous(), n=around, dim=2, norm="forward")
    return values.unflatten(0, (rows, channels))

"""Radial bases, and the envelope that brings them smoothly to zero at the cutoff."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.ops import bessel_basis, polynomial_envelope
from equitools.ops.radial import bessel_basis_reference

__all__ = ["BesselBasis", "GaussianBasis", "PolynomialEnvelope"]


def _check(num: int, cutoff: float) -> None:
    if num < 1 or not cutoff > 0:
        raise ConfigError(f"A radial basis needs at least one function and a cutoff > 0, not {num} and {cutoff}.")


class PolynomialEnvelope(torch.nn.Module):
    """1 at r = 0, 0 from the cutoff on, with the first two derivatives zero at the cutoff.

    u(x) = 1 − (p+1)(p+2)/2 xᵖ + p(p+2) xᵖ⁺¹ − p(p+1)/2 xᵖ⁺² with x = r / cutoff.

    Args:
        cutoff: In Å.
        p: Exponent, at least 2.

    Source: Gasteiger, Groß, Günnemann, ICLR 2020 (arXiv 2003.03123), eq. 8.
    """

    def __init__(self, cutoff: float, p: int = 5) -> None:
        super().__init__()
        _check(1, cutoff)
        if p < 2:
            raise ConfigError(f"The exponent of the envelope must be at least 2, it is {p}.")
        self.cutoff, self.p = float(cutoff), int(p)

    def forward(self, lengths: Tensor) -> Tensor:
        """Map lengths in Å of any shape to factors of the same shape."""
        return polynomial_envelope(lengths, self.cutoff, self.p)


class BesselBasis(torch.nn.Module):
    """√(2/c) sin(n π r / c) / r for n = 1 … num, finite at r = 0.

    Args:
        num: Number of functions.
        cutoff: c, in Å.
        trainable: Whether the frequencies are learned.

    Source: Gasteiger, Groß, Günnemann, ICLR 2020 (arXiv 2003.03123), eq. 7.
    """

    def __init__(self, num: int, cutoff: float, trainable: bool = False) -> None:
        super().__init__()
        _check(num, cutoff)
        self.num, self.cutoff = num, float(cutoff)
        self.frequencies = torch.nn.Parameter(torch.arange(1, num + 1) * 1.0) if trainable else None

    def forward(self, lengths: Tensor, envelope: PolynomialEnvelope | None = None, scale: float = 1.0) -> Tensor:
        """Map lengths ``[...]`` in Å to ``[..., num]`` in Å^(−1/2 − 1), the unit of the source.

        Args:
            lengths: ``[...]``.
            envelope: Multiplied by, in the same pass where it has the same cutoff and the frequencies are not learned.
            scale: A constant factor.
        """
        if self.frequencies is None and (envelope is None or envelope.cutoff == self.cutoff):
            return bessel_basis(lengths, self.num, self.cutoff, 0 if envelope is None else envelope.p, scale)
        values = bessel_basis_reference(lengths, self.num, self.cutoff, 0, scale, self.frequencies)
        return values if envelope is None else values * envelope(lengths).unsqueeze(-1)


class GaussianBasis(torch.nn.Module):
    """exp(−(r − μ)² / 2σ²) with centres evenly from 0 to the cutoff and σ their distance.

    Args:
        num: Number of functions.
        cutoff: In Å.
    """

    def __init__(self, num: int, cutoff: float) -> None:
        super().__init__()
        _check(num, cutoff)
        self.num, self.cutoff = num, float(cutoff)

    def forward(self, lengths: Tensor) -> Tensor:
        """Map lengths ``[...]`` in Å to ``[..., num]``."""
        centres = torch.linspace(0, self.cutoff, self.num, dtype=torch.float64).to(lengths)
        width = self.cutoff / max(self.num - 1, 1)
        return torch.exp(-0.5 * ((lengths.unsqueeze(-1) - centres) / width).square())

"""Named tolerances, one number a floating-point type, relative to the size of the output that is judged.

An absolute tolerance says nothing about a network whose forces are 1e-3 eV/Å, and too much about one whose energies
are -9000 eV. So an error is divided by the root mean square of the output before it is compared.

    >>> import torch
    >>> from equitools.testing import tolerances
    >>> tolerances.EQUIVARIANCE[torch.float64]
    1e-08
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from equitools.errors import UnknownNameError, nearest

__all__ = [
    "BACKENDS",
    "BATCHING",
    "DETERMINISM",
    "EQUIVARIANCE",
    "FINITE_DIFFERENCE",
    "FLOOR",
    "PRECISION",
    "SEPARATION",
    "SMOOTHNESS",
    "TRAINING_GRADIENT",
    "Tolerance",
    "named",
    "relative_error",
    "rms",
]

#: Outputs smaller than this (in their own unit) count as zero: an error is never divided by less.
FLOOR: Mapping[torch.dtype, float] = {
    torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 1e-2, torch.float16: 1e-2,
}  # fmt: skip


@dataclass(frozen=True)
class Tolerance:
    """A named bound on a relative error, for each floating-point type.

    Attributes:
        name: What is judged.
        meaning: One sentence: which error, relative to what.
        values: The bound for each dtype.
    """

    name: str
    meaning: str
    values: Mapping[torch.dtype, float]

    def __getitem__(self, dtype: torch.dtype) -> float:
        """Return the bound for ``dtype``.

        Raises:
            UnknownNameError: No bound is set for this dtype.
        """
        if dtype not in self.values:
            known = ", ".join(str(known) for known in self.values)
            raise UnknownNameError(f"The tolerance {self.name!r} has no value for {dtype}. Known: {known}.")
        return self.values[dtype]


def _tolerance(name: str, meaning: str, double: float, single: float, half: float = 5e-2) -> Tolerance:
    values = {torch.float64: double, torch.float32: single, torch.bfloat16: half, torch.float16: half}
    return Tolerance(name, meaning, values)


EQUIVARIANCE = _tolerance("equivariance", "f(g x) - g f(x), relative to the RMS of f", 1e-8, 1e-3)
BATCHING = _tolerance("batching", "an output in a batch against the same graph alone, relative to its RMS", 1e-10, 1e-4)
SEPARATION = _tolerance("separation", "two molecules 40 Å apart against each alone, relative to the RMS", 1e-8, 1e-3)
BACKENDS = _tolerance("backends", "compiled kernels against the reference, relative to the RMS", 1e-10, 1e-4)
DETERMINISM = _tolerance("determinism", "the same call twice, relative to the RMS", 0.0, 0.0, 0.0)
FINITE_DIFFERENCE = _tolerance(
    "finite difference", "a derivative against a four-point difference of the energy, relative to the RMS", 1e-6, 1e-1
)
SMOOTHNESS = _tolerance(
    "smoothness", "the jump at the cutoff, relative to what the same neighbour does inside the cutoff", 1e-4, 1e-2
)
PRECISION = _tolerance("precision", "float32 against float64, relative to the RMS", 1e-3, 1e-3)
TRAINING_GRADIENT = _tolerance(
    "training gradient", "the loss along a direction in weight space against its difference quotient", 1e-5, 1e-1
)

_NAMED = {
    tolerance.name: tolerance
    for tolerance in (
        EQUIVARIANCE, BATCHING, SEPARATION, BACKENDS, DETERMINISM, FINITE_DIFFERENCE, SMOOTHNESS, PRECISION,
        TRAINING_GRADIENT,
    )
}  # fmt: skip


def named(name: str) -> Tolerance:
    """Return the tolerance of this name.

    Raises:
        UnknownNameError: There is none; the message names the nearest.
    """
    if name not in _NAMED:
        raise UnknownNameError(f"No tolerance is called {name!r}. {nearest(name, _NAMED)}")
    return _NAMED[name]


def rms(value: torch.Tensor) -> float:
    """Return the root mean square of all elements; 0 for an empty tensor."""
    if value.numel() == 0:
        return 0.0
    return float(value.detach().to("cpu", torch.float64).square().mean().sqrt())


def relative_error(
    got: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype = torch.float64, scale: float | None = None
) -> tuple[float, float]:
    """Compare two tensors in float64.

    Args:
        got: ``[...]``, what was computed.
        wanted: ``[...]``, the same shape.
        dtype: The type in which both were computed; it sets the floor of the scale.
        scale: What to divide by; the RMS of ``wanted`` if None.

    Returns:
        The largest absolute difference, and the same divided by the scale. Infinite where one is not finite or where
        the shapes differ.
    """
    if got.shape != wanted.shape:
        return float("inf"), float("inf")
    if got.numel() == 0:
        return 0.0, 0.0
    first = got.detach().to("cpu", torch.float64)
    second = wanted.detach().to("cpu", torch.float64)
    absolute = float((first - second).abs().max())
    if not (torch.isfinite(first).all() and torch.isfinite(second).all()):
        return float("inf"), float("inf")
    size = rms(second) if scale is None else scale
    return absolute, absolute / max(size, FLOOR.get(dtype, 1e-6))

"""Coupling of angular momenta: SU(2) coefficients in integer arithmetic, and their form in the real basis.

The coefficients come from Racah's sum (G. Racah, Phys. Rev. 62, 438 (1942), eq. 16) over Python integers, so that
nothing cancels; only the square root of a rational number is rounded. This file is the lowest of `groups`: Wigner
matrices are built on it, conventions on those, and the public `clebsch_gordan` on all three.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from equitools.errors import IrrepsError

__all__ = ["check_degrees", "real_coupling", "real_to_complex", "su2_coefficient"]


def check_degrees(*degrees: int) -> tuple[int, ...]:
    """Return the degrees as Python integers.

    Raises:
        IrrepsError: One is not an integer, or is negative.
    """
    for l in degrees:
        if isinstance(l, bool) or not hasattr(l, "__index__") or l.__index__() < 0:
            raise IrrepsError(f"A degree l must be an integer of 0 or more, not {l!r}.")
    return tuple(l.__index__() for l in degrees)


def su2_coefficient(j1: int, m1: int, j2: int, m2: int, j3: int, m3: int) -> float:
    """Return ⟨j1 m1 j2 m2 | j3 m3⟩ (Condon–Shortley phase) by Racah's formula, correctly rounded but for the root.

    Args:
        j1: First angular momentum, an integer.
        m1: Its projection.
        j2: Second angular momentum.
        m2: Its projection.
        j3: Total angular momentum, from abs(j1 − j2) to j1 + j2.
        m3: Its projection.

    Returns:
        The coefficient; 0 where m3 differs from m1 + m2.
    """
    if m3 != m1 + m2:
        return 0.0
    f = math.factorial
    lowest = max(0, j2 - j3 - m1, j1 - j3 + m2)
    highest = min(j1 + j2 - j3, j1 - m1, j2 + m2)
    total = Fraction(0)
    for k in range(lowest, highest + 1):
        total += Fraction(
            (-1) ** k,
            f(k) * f(j1 + j2 - j3 - k) * f(j1 - m1 - k) * f(j2 + m2 - k) * f(j3 - j2 + m1 + k) * f(j3 - j1 - m2 + k),
        )
    square = (
        Fraction((2 * j3 + 1) * f(j3 + j1 - j2) * f(j3 - j1 + j2) * f(j1 + j2 - j3), f(j1 + j2 + j3 + 1))
        * f(j3 + m3) * f(j3 - m3) * f(j1 - m1) * f(j1 + m1) * f(j2 - m2) * f(j2 + m2)
    )  # fmt: skip
    return math.copysign(math.sqrt(square * total * total), total)


@functools.cache
def _real_to_complex(l: int) -> np.ndarray:
    q = np.zeros((2 * l + 1, 2 * l + 1), dtype=np.complex128)
    root = 1 / math.sqrt(2)
    for m in range(-l, 0):
        q[l + m, l - m] = root
        q[l + m, l + m] = -1j * root
    q[l, l] = 1
    for m in range(1, l + 1):
        q[l + m, l + m] = (-1) ** m * root
        q[l + m, l - m] = 1j * (-1) ** m * root
    return (-1j) ** l * q  # the phase makes the real Clebsch–Gordan tensors real


def real_to_complex(l: int) -> Tensor:
    """Return the unitary matrix from the real to the complex basis of degree ``l``.

    Args:
        l: Degree, 0 or more.

    Returns:
        ``[2l+1, 2l+1]`` complex128; rows are complex m = −l…l, columns real components in e3nn's order.

    Raises:
        IrrepsError: The degree is negative or no integer.
    """
    (l,) = check_degrees(l)
    return torch.from_numpy(_real_to_complex(l).copy())


@functools.cache
def real_coupling(l1: int, l2: int, l3: int) -> np.ndarray:
    """Return the invariant tensor of three real irreps, with the phase of e3nn ≥ 0.5.

    Args:
        l1: First degree.
        l2: Second degree.
        l3: Third degree; the three satisfy the triangle inequality.

    Returns:
        ``[2l1+1, 2l2+1, 2l3+1]`` float64 of unit Frobenius norm. It is the cached array itself, and read-only.
    """
    su2 = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            su2[l1 + m1, l2 + m2, l3 + m1 + m2] = su2_coefficient(l1, m1, l2, m2, l3, m1 + m2)
    q1, q2, q3 = _real_to_complex(l1), _real_to_complex(l2), _real_to_complex(l3)
    real = np.einsum("ia,kb,nc,ikn->abc", q1, q2, q3.conj(), su2, optimize=True)
    coupling = np.ascontiguousarray(real.real)
    coupling[np.abs(coupling) < 1e-14] = 0.0
    coupling /= np.linalg.norm(coupling)
    coupling.flags.writeable = False
    return coupling

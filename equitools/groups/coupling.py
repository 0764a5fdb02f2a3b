"""Clebsch–Gordan and Gaunt coefficients in the real basis, exact to float64's last digits.

The coefficients of SU(2) come from Racah's sum in integer arithmetic, so that nothing cancels; only the square root of
a rational number is rounded.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from equitools.errors import IrrepsError

__all__ = ["clebsch_gordan", "gaunt_coefficients", "real_to_complex"]


def _su2_coefficient(j1: int, m1: int, j2: int, m2: int, j3: int, m3: int) -> float:
    """One coefficient ⟨j1 m1 j2 m2 | j3 m3⟩ (Condon–Shortley phase) by Racah's formula."""
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
    squared = square * total * total
    return math.copysign(math.sqrt(squared), total)


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
    """
    return torch.from_numpy(_real_to_complex(l).copy())


@functools.cache
def _real_coupling(l1: int, l2: int, l3: int) -> np.ndarray:
    su2 = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            su2[l1 + m1, l2 + m2, l3 + m1 + m2] = _su2_coefficient(l1, m1, l2, m2, l3, m1 + m2)
    q1, q2, q3 = _real_to_complex(l1), _real_to_complex(l2), _real_to_complex(l3)
    real = np.einsum("ia,kb,nc,ikn->abc", q1, q2, q3.conj(), su2, optimize=True)
    coupling = np.ascontiguousarray(real.real)
    coupling[np.abs(coupling) < 1e-14] = 0.0
    return coupling / np.linalg.norm(coupling)


def clebsch_gordan(l1: int, l2: int, l3: int, convention: str = "e3nn-0.5") -> Tensor:
    """Return the invariant coupling tensor of three real irreps of SO(3).

    Args:
        l1: First degree.
        l2: Second degree.
        l3: Third degree, from abs(l1 − l2) to l1 + l2.
        convention: Name of the phase convention, ``"e3nn-0.5"`` (the default) or ``"e3nn-0.4"``.

    Returns:
        ``[2l1+1, 2l2+1, 2l3+1]`` float64 with unit Frobenius norm; equals e3nn's ``o3.wigner_3j``.

    Raises:
        IrrepsError: The degrees are negative or do not satisfy the triangle inequality.

    Properties:
        invariance: D1 ⊗ D2 ⊗ D3 leaves the tensor unchanged.
    """
    if min(l1, l2, l3) < 0 or not abs(l1 - l2) <= l3 <= l1 + l2:
        raise IrrepsError(f"No coupling of degrees ({l1}, {l2}, {l3}): they must be ≥ 0 with |l1 − l2| ≤ l3 ≤ l1 + l2.")
    coupling = torch.from_numpy(_real_coupling(l1, l2, l3).copy())
    if (
        convention == "e3nn-0.4"
        and sorted((l1, l2, l3))[0] == 1
        and sorted((l1, l2, l3))[1] == sorted((l1, l2, l3))[2] > 1
    ):
        coupling = -coupling
    return coupling


def gaunt_coefficients(l1: int, l2: int, l3: int) -> Tensor:
    """Return ∫ Y_{l1 a} Y_{l2 b} Y_{l3 c} dΩ for orthonormal real spherical harmonics.

    Returns:
        ``[2l1+1, 2l2+1, 2l3+1]`` float64; zero where l1 + l2 + l3 is odd or the triangle inequality fails.
    """
    shape = (2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1)
    if (l1 + l2 + l3) % 2 or not abs(l1 - l2) <= l3 <= l1 + l2:
        return torch.zeros(shape, dtype=torch.float64)
    # Gaunt's integral is the coupling tensor times the reduced element ⟨l1 0 l2 0 | l3 0⟩; the sign of the real tensor
    # is fixed by evaluating all three harmonics at the pole, where only the middle component is not zero.
    scale = math.sqrt((2 * l1 + 1) * (2 * l2 + 1) / (4 * math.pi)) * abs(_su2_coefficient(l1, 0, l2, 0, l3, 0))
    coupling = clebsch_gordan(l1, l2, l3)
    return coupling * scale * torch.sign(coupling[l1, l2, l3])

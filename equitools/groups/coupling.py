"""Clebsch–Gordan tensors and Gaunt coefficients in the real basis, exact to float64's last digits."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from equitools.errors import IrrepsError
from equitools.groups.conventions import Convention
from equitools.groups.su2 import check_degrees, real_coupling, su2_coefficient

__all__ = ["clebsch_gordan", "gaunt_coefficients"]


def _old_sign(l1: int, l2: int, l3: int) -> float:
    """Sign of e3nn 0.4's tensor relative to that of e3nn 0.5.

    e3nn 0.4 stored the tensor of the ascending degrees, signed so that its middle component is positive or, where that
    vanishes (odd sum), its first non-zero one; the other orders followed by transposition and (−1)^(l1+l2+l3). Both
    versions obey that symmetry, so the sign depends on the ascending degrees only. Up to l = 4 it differs for (1, l, l)
    with l ≥ 2; above, for many more. e3nn 0.4's tables end at l = 11; the rule goes on.
    """
    a, b, c = sorted((l1, l2, l3))
    tensor = real_coupling(a, b, c)
    if (a + b + c) % 2 == 0:
        return float(np.sign(tensor[a, b, c]))
    return float(np.sign(tensor[np.nonzero(tensor)][0]))


@functools.cache
def _coupling(l1: int, l2: int, l3: int, convention: Convention) -> np.ndarray:
    tensor = real_coupling(l1, l2, l3)
    if convention.cg_phase == "e3nn-0.4":
        tensor = tensor * _old_sign(l1, l2, l3)
    if not convention.default_basis:
        m1, m2, m3 = (convention.from_default(l).numpy() for l in (l1, l2, l3))
        tensor = np.ascontiguousarray(np.einsum("ai,bj,ck,ijk->abc", m1, m2, m3, tensor, optimize=True))
    return tensor


def clebsch_gordan(l1: int, l2: int, l3: int, convention: Convention | str = "e3nn-0.5") -> Tensor:
    """Return the invariant coupling tensor of three real irreps of SO(3).

    Args:
        l1: First degree.
        l2: Second degree.
        l3: Third degree, from abs(l1 − l2) to l1 + l2.
        convention: The convention that the tensor's components and sign are in, or a preset's name.

    Returns:
        ``[2l1+1, 2l2+1, 2l3+1]`` float64 with unit Frobenius norm, a fresh copy. In the conventions ``"e3nn-0.5"`` and
        ``"e3nn-0.4"`` it equals ``o3.wigner_3j`` of these versions of e3nn.

    Raises:
        IrrepsError: The degrees are negative, no integers, or do not satisfy the triangle inequality.
        ConventionError: No preset has this name.

    Properties:
        invariance: D1 ⊗ D2 ⊗ D3 leaves the tensor unchanged.
        permutation_symmetry: exchanging two degrees transposes the tensor and multiplies it by (−1)^(l1+l2+l3).
    """
    l1, l2, l3 = check_degrees(l1, l2, l3)
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        raise IrrepsError(f"No coupling of degrees ({l1}, {l2}, {l3}): |l1 − l2| ≤ l3 ≤ l1 + l2 must hold.")
    return torch.from_numpy(_coupling(l1, l2, l3, Convention.of(convention)).copy())


def gaunt_coefficients(l1: int, l2: int, l3: int) -> Tensor:
    """Return ∫ Y_{l1 a} Y_{l2 b} Y_{l3 c} dΩ for orthonormal real spherical harmonics.

    Args:
        l1: First degree.
        l2: Second degree.
        l3: Third degree.

    Returns:
        ``[2l1+1, 2l2+1, 2l3+1]`` float64 in e3nn's basis; zero where l1 + l2 + l3 is odd or the triangle inequality
        fails.

    Raises:
        IrrepsError: A degree is negative or no integer.

    Properties:
        total_symmetry: exchanging two degrees transposes the tensor.
    """
    l1, l2, l3 = check_degrees(l1, l2, l3)
    if (l1 + l2 + l3) % 2 or not abs(l1 - l2) <= l3 <= l1 + l2:
        return torch.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1), dtype=torch.float64)
    # By Wigner and Eckart the integral is the coupling tensor times a number that ⟨l1 0 l2 0 | l3 0⟩ tells up to its
    # sign. The middle component, of three zonal harmonics, is a square times something positive: that gives the sign.
    scale = math.sqrt((2 * l1 + 1) * (2 * l2 + 1) / (4 * math.pi)) * abs(su2_coefficient(l1, 0, l2, 0, l3, 0))
    coupling = real_coupling(l1, l2, l3)
    return torch.from_numpy(coupling * (scale * float(np.sign(coupling[l1, l2, l3]))))

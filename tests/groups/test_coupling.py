"""Coupling coefficients against sympy, e3nn, quadrature and their own invariance."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from equitools.errors import ConventionError, IrrepsError
from equitools.groups import (
    Convention,
    change_of_basis,
    clebsch_gordan,
    gaunt_coefficients,
    random_rotation,
    real_to_complex,
    wigner_D,
)
from equitools.groups._e3nn import E3NN_VERSION
from equitools.groups.su2 import su2_coefficient

# The ascending triples up to l = 11 (where the table of e3nn 0.4 ends) whose sign differs between e3nn 0.4.4 and 0.6.0,
# found by comparing the tables of the two packages.
FLIPPED = [
    *[(1, l, l) for l in range(2, 12)],
    *[(3, l, l + 2) for l in range(4, 10)],
    *[(4, l, l + 1) for l in range(4, 11)],
    *[(5, l, l) for l in range(5, 12)],
    *[(5, l, l + 4) for l in (6, 7)],
    *[(6, l, l + 3) for l in (6, 7, 8)],
    *[(7, l, l + 2) for l in (7, 8, 9)],
    *[(8, l, l + 1) for l in (8, 9, 10)],
    *[(9, l, l) for l in (9, 10, 11)],
]


def triples(lmax: int) -> list[tuple[int, int, int]]:
    return [t for t in itertools.product(range(lmax + 1), repeat=3) if abs(t[0] - t[1]) <= t[2] <= t[0] + t[1]]


def old_signs() -> bool:
    return tuple(int(part) for part in E3NN_VERSION.split(".")[:2]) < (0, 5)


def test_equals_the_installed_e3nn() -> None:
    from e3nn import o3

    convention = "e3nn-0.4" if old_signs() else "e3nn-0.5"
    for l1, l2, l3 in [*triples(6), (7, 11, 5), (9, 9, 9), (10, 9, 9), (3, 11, 9), (11, 11, 11), (11, 10, 1)]:
        theirs = o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
        torch.testing.assert_close(clebsch_gordan(l1, l2, l3, convention), theirs, atol=1e-13, rtol=0)


@pytest.mark.slow
def test_equals_the_installed_e3nn_to_the_end_of_its_table() -> None:
    from e3nn import o3

    convention = "e3nn-0.4" if old_signs() else "e3nn-0.5"
    for degrees in triples(11):
        theirs = o3.wigner_3j(*degrees, dtype=torch.float64)
        torch.testing.assert_close(clebsch_gordan(*degrees, convention), theirs, atol=1e-13, rtol=0)


def test_signs_that_changed_between_e3nn_versions() -> None:
    flipped = set()
    for degrees in triples(11):
        new, old = clebsch_gordan(*degrees), clebsch_gordan(*degrees, "e3nn-0.4")
        assert torch.equal(old, new) or torch.equal(old, -new)
        if not torch.equal(old, new):
            flipped.add(degrees)
    assert flipped == {p for t in FLIPPED for p in itertools.permutations(t)}


def test_permutation_symmetry() -> None:
    for l1, l2, l3 in [*triples(4), (7, 5, 3), (12, 11, 12)]:
        for convention in ("e3nn-0.5", "e3nn-0.4", "wikipedia"):
            tensor, sign = clebsch_gordan(l1, l2, l3, convention), (-1) ** (l1 + l2 + l3)
            for other, order in (((l2, l1, l3), (1, 0, 2)), ((l1, l3, l2), (0, 2, 1))):
                turned = sign * clebsch_gordan(*other, convention).permute(order)
                torch.testing.assert_close(turned, tensor, atol=1e-13, rtol=0)


ODD = Convention("odd", axes="zyx", m_order="interleaved", condon_shortley=True, cg_phase="e3nn-0.4")


@pytest.mark.parametrize("convention", [Convention.preset("wikipedia"), ODD], ids=lambda c: c.name)
@pytest.mark.parametrize("degrees", [(3, 2, 4), (1, 2, 2), (2, 2, 4)])
def test_invariance_in_another_convention(convention: Convention, degrees: tuple[int, int, int]) -> None:
    rotation = random_rotation(generator=torch.Generator().manual_seed(8))
    turns = []
    for l in degrees:
        matrix = change_of_basis("e3nn-0.5", convention, f"1x{l}e")
        turns.append(matrix @ wigner_D(l, rotation) @ matrix.T)
    coupling = clebsch_gordan(*degrees, convention)
    torch.testing.assert_close(torch.einsum("ai,bj,ck,ijk->abc", *turns, coupling), coupling, atol=1e-13, rtol=0)
    # Turning all three bases in the same way changes nothing, so that "wikipedia" has the very tensors of e3nn.
    same = torch.allclose(coupling, clebsch_gordan(*degrees), rtol=0, atol=1e-13)
    assert same == (convention.name == "wikipedia")


def test_intertwines_coupling() -> None:
    generator = torch.Generator().manual_seed(9)
    x, y = (torch.randn(n, generator=generator, dtype=torch.float64) for n in (5, 7))
    for there in (Convention.preset("wikipedia"), dataclasses.replace(ODD, cg_phase="e3nn-0.5")):
        c2, c3, c4 = (change_of_basis("e3nn-0.5", there, f"{l}e") for l in (2, 3, 4))
        here = torch.einsum("abc,a,b->c", clebsch_gordan(2, 3, 4), x, y)
        moved = torch.einsum("abc,a,b->c", clebsch_gordan(2, 3, 4, there), c2 @ x, c3 @ y)
        torch.testing.assert_close(moved, c4 @ here, atol=1e-13, rtol=0)


@pytest.mark.parametrize("degrees", [(1, 1, 2), (2, 3, 1), (3, 3, 3), (4, 2, 3)])
def test_equals_sympy_3j(degrees: tuple[int, int, int]) -> None:
    from sympy.physics.wigner import wigner_3j

    l1, l2, l3 = degrees
    three = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1, m2, m3 in itertools.product(range(-l1, l1 + 1), range(-l2, l2 + 1), range(-l3, l3 + 1)):
        three[l1 + m1, l2 + m2, l3 + m3] = float(wigner_3j(l1, l2, l3, m1, m2, m3))
    q1, q2, q3 = (real_to_complex(l).numpy() for l in degrees)
    real = np.einsum("ia,jb,kc,ijk->abc", q1, q2, q3, three, optimize=True)
    ours = clebsch_gordan(*degrees).numpy()
    overlap = np.vdot(real, ours)  # the same tensor up to a phase
    assert abs(abs(overlap) - 1) < 1e-12
    np.testing.assert_allclose(real * overlap, ours, atol=1e-12)


@pytest.mark.parametrize(
    ("j1", "m1", "j2", "m2", "j3"),
    [(12, 3, 12, -5, 12), (12, -12, 11, 7, 9), (10, 0, 12, 0, 8), (9, 4, 7, 7, 12), (12, 1, 12, 2, 24)],
)
def test_su2_coefficients_of_high_degree_equal_sympy(j1: int, m1: int, j2: int, m2: int, j3: int) -> None:
    from sympy.physics.wigner import clebsch_gordan as exact

    value = float(exact(j1, j2, j3, m1, m2, m1 + m2).evalf(30))
    assert abs(su2_coefficient(j1, m1, j2, m2, j3, m1 + m2) - value) <= 4e-16 * abs(value)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (1, 2, 3), (4, 4, 4), (6, 5, 4), (12, 12, 12), (12, 5, 9)])
def test_invariance(degrees: tuple[int, int, int]) -> None:
    rotation = random_rotation(generator=torch.Generator().manual_seed(3))
    d1, d2, d3 = (wigner_D(l, rotation) for l in degrees)
    coupling = clebsch_gordan(*degrees)
    moved = torch.einsum("ai,ijk->ajk", d1, coupling)
    moved = torch.einsum("bj,ajk->abk", d2, moved)
    moved = torch.einsum("ck,abk->abc", d3, moved)
    torch.testing.assert_close(moved, coupling, atol=1e-11, rtol=0)
    assert abs(float(coupling.square().sum()) - 1) < 1e-12


def real_harmonics(l: int, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Orthonormal, y polar: e3nn's component m is Wikipedia's with (x, y, z) read as (z, x, y)."""
    columns = []
    for m in range(-l, l + 1):
        value = (-1) ** m * sph_harm_y(l, abs(m), theta, phi)  # takes the Condon–Shortley sign out again
        columns.append(value.real if m == 0 else np.sqrt(2) * (value.real if m > 0 else value.imag))
    return np.stack(columns, -1)


def test_gaunt_coefficients_by_quadrature() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(19)
    theta, phi = np.repeat(np.arccos(nodes), 38), np.tile(np.arange(38) * 2 * np.pi / 38, 19)
    w = np.repeat(weights, 38) * 2 * np.pi / 38
    y = [real_harmonics(l, theta, phi) for l in range(13)]
    for l1, l2, l3 in [*itertools.product(range(4), range(4), range(6)), (12, 12, 12), (12, 7, 9), (11, 12, 4)]:
        integral = np.einsum("g,ga,gb,gc->abc", w, y[l1], y[l2], y[l3], optimize=True)
        np.testing.assert_allclose(gaunt_coefficients(l1, l2, l3).numpy(), integral, atol=1e-12)


@pytest.mark.parametrize("degrees", [(1, 1, 2), (2, 2, 2), (3, 2, 1), (4, 3, 3)])
def test_gaunt_coefficients_equal_sympy(degrees: tuple[int, int, int]) -> None:
    from sympy.physics.wigner import gaunt

    complex_ones = np.zeros(tuple(2 * l + 1 for l in degrees), dtype=complex)
    for place in np.ndindex(*complex_ones.shape):
        orders = [i - l for i, l in zip(place, degrees, strict=True)]
        if sum(orders) == 0:
            complex_ones[place] = float(gaunt(*degrees, *orders))
    # Y_real = Σ_m conj(Q)[m, real] Y_m, without the phase (−i)^l that real_to_complex carries besides
    matrices = [(real_to_complex(l).numpy() * 1j**l).conj() for l in degrees]
    real = np.einsum("ia,jb,kc,ijk->abc", *matrices, complex_ones, optimize=True)
    np.testing.assert_allclose(real.imag, 0, atol=1e-14)
    np.testing.assert_allclose(gaunt_coefficients(*degrees).numpy(), real.real, atol=1e-13)


def test_total_symmetry() -> None:
    for l1, l2, l3 in [(2, 3, 5), (4, 4, 6), (12, 10, 8)]:
        tensor = gaunt_coefficients(l1, l2, l3)
        torch.testing.assert_close(gaunt_coefficients(l2, l1, l3).transpose(0, 1), tensor, atol=1e-13, rtol=0)
        torch.testing.assert_close(gaunt_coefficients(l1, l3, l2).transpose(1, 2), tensor, atol=1e-13, rtol=0)


def test_gaunt_coefficients_of_high_degree() -> None:
    tensor = gaunt_coefficients(12, 12, 12)
    rotation = random_rotation(generator=torch.Generator().manual_seed(4))
    d = wigner_D(12, rotation)
    moved = torch.einsum("ai,bj,ck,ijk->abc", d, d, d, tensor)
    torch.testing.assert_close(moved, tensor, atol=1e-11, rtol=0)
    assert float(tensor.abs().max()) > 0


def test_wrong_degrees() -> None:
    with pytest.raises(IrrepsError, match="No coupling"):
        clebsch_gordan(1, 1, 3)
    for wrong in (-1, 1.0, True, "1"):
        with pytest.raises(IrrepsError, match="integer of 0 or more"):
            clebsch_gordan(1, wrong, 1)
        with pytest.raises(IrrepsError, match="integer of 0 or more"):
            gaunt_coefficients(1, wrong, 1)
    with pytest.raises(ConventionError, match="Did you mean"):
        clebsch_gordan(1, 1, 0, "e3nn-0.6")
    assert torch.equal(clebsch_gordan(np.int64(1), 1, 2), clebsch_gordan(1, 1, 2))
    assert not gaunt_coefficients(1, 1, 3).any()
    assert not gaunt_coefficients(1, 1, 1).any()


def test_the_cache_cannot_be_spoilt() -> None:
    for convention in ("e3nn-0.5", "e3nn-0.4", "wikipedia"):
        clebsch_gordan(1, 1, 2, convention).zero_()
        assert clebsch_gordan(1, 1, 2, convention).any()
    gaunt_coefficients(1, 1, 2).zero_()
    assert gaunt_coefficients(1, 1, 2).any()
    real_to_complex(2).zero_()
    assert real_to_complex(2).any()

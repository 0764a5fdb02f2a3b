"""Coupling coefficients against sympy, e3nn, quadrature and their own invariance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from equitools.errors import ConventionError, IrrepsError
from equitools.groups import clebsch_gordan, gaunt_coefficients, random_rotation, real_to_complex, wigner_D
from equitools.groups._e3nn import E3NN_VERSION
from equitools.ops.spherical_harmonics import spherical_harmonics_reference


def triples(lmax: int) -> list[tuple[int, int, int]]:
    return [t for t in itertools.product(range(lmax + 1), repeat=3) if abs(t[0] - t[1]) <= t[2] <= t[0] + t[1]]


def old_signs() -> bool:
    return tuple(int(part) for part in E3NN_VERSION.split(".")[:2]) < (0, 5)


def test_equals_the_installed_e3nn() -> None:
    from e3nn import o3

    convention = "e3nn-0.4" if old_signs() else "e3nn-0.5"
    for l1, l2, l3 in triples(8):
        theirs = o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
        torch.testing.assert_close(clebsch_gordan(l1, l2, l3, convention), theirs, atol=1e-7, rtol=0)


def test_signs_that_changed_between_e3nn_versions() -> None:
    flipped = {t for t in triples(4) if not torch.equal(clebsch_gordan(*t, "e3nn-0.4"), clebsch_gordan(*t))}
    expected = {p for l in (2, 3, 4) for p in itertools.permutations((1, l, l))}
    assert flipped == expected
    with pytest.raises(ConventionError, match="ends at l = 11"):
        clebsch_gordan(12, 12, 0, "e3nn-0.4")
    with pytest.raises(ConventionError, match="Did you mean"):
        clebsch_gordan(1, 1, 0, "e3nn-0.6")


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


def test_gaunt_coefficients_by_quadrature() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(12)
    phi = np.arange(24) * 2 * np.pi / 24
    y = np.repeat(nodes, 24)
    s = np.sqrt(1 - y**2)
    points = np.stack([s * np.tile(np.sin(phi), 12), y, s * np.tile(np.cos(phi), 12)], -1)
    w = torch.from_numpy(np.repeat(weights, 24) * 2 * np.pi / 24)
    harmonics = spherical_harmonics_reference(5, torch.from_numpy(points), normalization="integral")
    for l1, l2, l3 in itertools.product(range(4), range(4), range(6)):
        a, b, c = (harmonics[:, l * l : (l + 1) ** 2] for l in (l1, l2, l3))
        integral = torch.einsum("g,ga,gb,gc->abc", w, a, b, c)
        torch.testing.assert_close(gaunt_coefficients(l1, l2, l3), integral, atol=1e-12, rtol=0)


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
    assert not gaunt_coefficients(1, 1, 3).any()
    assert not gaunt_coefficients(1, 1, 1).any()


def test_the_cache_cannot_be_spoilt() -> None:
    clebsch_gordan(1, 1, 2).zero_()
    assert clebsch_gordan(1, 1, 2).any()

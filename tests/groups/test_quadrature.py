"""Quadratures of rotations and of directions against spherical harmonics, Wigner matrices and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import lebedev_rule

from equitools.errors import ConfigError, ShapeError, UnknownNameError
from equitools.groups import (
    Quadrature,
    icosahedral_grid,
    icosahedral_group,
    rotation_quadrature,
    sphere_quadrature,
    wigner_D,
)
from equitools.ops import spherical_harmonics


def means(rule: Quadrature, lmax: int) -> list[float]:
    """The largest mean of a harmonic, by degree."""
    values = rule.mean(spherical_harmonics(lmax, rule.nodes))
    return [float(values[l * l : (l + 1) ** 2].abs().max()) for l in range(lmax + 1)]


@pytest.mark.parametrize("kind", ["gauss", "lebedev", "design"])
def test_exactness_on_the_sphere(kind: str) -> None:
    for degree in [*range(12), *([20, 31] if kind == "gauss" else [])]:
        rule = sphere_quadrature(degree, kind)
        assert rule.degree >= degree
        assert float((rule.nodes.norm(dim=1) - 1).abs().max()) < 1e-14
        assert float(rule.weights.sum()) == pytest.approx(1, abs=1e-14)
        assert float(rule.weights.min()) > 0
        found = means(rule, rule.degree)
        assert found[0] == pytest.approx(1, abs=1e-13)
        assert max(found[1:], default=0.0) < 1e-13


@pytest.mark.parametrize("kind", ["gauss", "lebedev", "design"])
def test_no_more_than_stated(kind: str) -> None:
    for degree in range(12):
        rule = sphere_quadrature(degree, kind)
        assert means(rule, rule.degree + 1)[-1] > 0.05


@pytest.mark.parametrize("degree", [3, 5, 7, 9, 11])
def test_lebedev_is_scipys(degree: int) -> None:
    points, weights = lebedev_rule(degree)
    rule = sphere_quadrature(degree, "lebedev")
    order = np.lexsort(points.round(9))
    ours = np.lexsort(rule.nodes.numpy().T.round(9))
    np.testing.assert_allclose(rule.nodes.numpy()[ours], points.T[order], atol=1e-12)
    np.testing.assert_allclose(rule.weights.numpy()[ours], weights[order] / (4 * math.pi), atol=1e-12)


def test_designs_have_equal_weights() -> None:
    sizes = {sphere_quadrature(degree, "design").degree: len(sphere_quadrature(degree, "design").nodes)
             for degree in range(12)}  # fmt: skip
    assert sizes == {1: 2, 2: 4, 3: 6, 5: 12, 7: 24, 9: 48, 11: 72}
    for degree in sizes:
        rule = sphere_quadrature(degree, "design")
        assert len(rule.weights.unique()) == 1
        distances = torch.cdist(rule.nodes, rule.nodes) + 9 * torch.eye(len(rule.nodes))
        assert float(distances.min()) > 0.1  # no point twice


@pytest.mark.parametrize(("frequency", "degree"), [(1, 5), (2, 9), (3, 11), (4, 15), (7, 23)])
def test_icosahedral_grids(frequency: int, degree: int) -> None:
    rule = icosahedral_grid(frequency)
    assert len(rule.nodes) == 10 * frequency**2 + 2
    assert rule.degree == degree
    found = means(rule, degree + 1)
    assert found[0] == pytest.approx(1, abs=1e-13)
    assert max(found[1:-1]) < 1e-12
    assert found[-1] > 1e-3
    ratio = rule.weights * len(rule.nodes)
    assert 0.5 < float(ratio.min()) <= float(ratio.max()) < 1.5


def test_icosahedral_symmetry() -> None:
    rule = icosahedral_grid(3)
    for g in icosahedral_group()[[1, 7, 30, 59]]:
        distance = (rule.nodes @ g.mT)[:, None].sub(rule.nodes).norm(dim=-1)
        image = distance.argmin(1)
        assert float(distance.amin(1).max()) < 1e-12
        assert len(image.unique()) == len(rule.nodes)
        torch.testing.assert_close(rule.weights[image], rule.weights, atol=1e-14, rtol=0)


def test_mean_of_an_integrand_that_is_known() -> None:
    """exp(a·x) has the mean sinh|a| / |a|."""
    a = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
    size = float(a.norm())
    for rule in (sphere_quadrature(20), icosahedral_grid(6)):
        assert float(rule.mean((rule.nodes @ a).exp())) == pytest.approx(math.sinh(size) / size, abs=1e-14)
    rule = sphere_quadrature(11, "design")
    assert float(rule.mean((rule.nodes @ a).exp())) == pytest.approx(math.sinh(size) / size, abs=1e-7)


@pytest.mark.parametrize("degree", range(6))
def test_rotations_in_space_by_wigner_matrices(degree: int) -> None:
    elements, weights = rotation_quadrature(3, degree)
    for l in range(1, degree + 1):
        assert float(torch.einsum("q,qij->ij", weights, wigner_D(l, elements)).abs().max()) < 1e-13
    beyond = torch.einsum("q,qij->ij", weights, wigner_D(degree + 1, elements))
    assert float(beyond.abs().max()) > 0.1
    for l in range(degree // 2 + 1):  # products of two are within the degree: the orthogonality of matrix elements
        for k in range(degree - l + 1):
            products = torch.einsum("q,qij,qkm->ijkm", weights, wigner_D(l, elements), wigner_D(k, elements))
            wanted = torch.zeros_like(products)
            if l == k:
                for i in range(2 * l + 1):
                    for j in range(2 * l + 1):
                        wanted[i, j, i, j] = 1 / (2 * l + 1)
            torch.testing.assert_close(products, wanted, atol=1e-13, rtol=0)


def test_rotations_in_the_plane() -> None:
    elements, weights = rotation_quadrature(2, 6)
    angle = torch.atan2(elements[:, 1, 0], elements[:, 0, 0])
    for k in range(1, 8):
        assert (abs(float((weights * torch.cos(k * angle)).sum())) < 1e-14) == (k <= 6)


def test_wrong_input() -> None:
    with pytest.raises(ConfigError, match="degree"):
        sphere_quadrature(-1)
    with pytest.raises(ConfigError, match="take 'gauss'"):
        sphere_quadrature(12, "lebedev")
    with pytest.raises(ConfigError, match="take 'gauss'"):
        sphere_quadrature(12, "design")
    with pytest.raises(UnknownNameError, match="Did you mean 'lebedev'"):
        sphere_quadrature(3, "lebedef")
    with pytest.raises(ConfigError, match="frequency"):
        icosahedral_grid(0)
    with pytest.raises(ConfigError, match="d = 2 and 3"):
        rotation_quadrature(4, 2)
    with pytest.raises(ShapeError, match="as many values"):
        sphere_quadrature(3).mean(torch.zeros(3))

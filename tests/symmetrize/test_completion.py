"""Means over what leaves a cloud as it is."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import ConfigError
from equitools.groups import SO, wigner_D
from equitools.symmetrize import gram_schmidt_frames, rotation_design
from equitools.symmetrize.completion import complement, stabiliser_mean


@pytest.mark.parametrize("degree", range(6))
def test_design(degree):
    table = rotation_design(3, degree)
    assert bool(SO(3).contains(table, 1e-12).all())
    for l in range(1, degree + 1):
        assert float(wigner_D(l, table).mean(0).abs().max()) < 1e-12
    plane = rotation_design(2, degree)
    for k in range(1, degree + 1):
        angle = torch.atan2(plane[:, 1, 0], plane[:, 0, 0])
        assert abs(torch.exp(1j * k * angle).mean()) < 1e-12


def test_design_is_not_more_than_it_says():
    # the tetrahedral table stands for degree 2: of degree 3 it leaves something
    assert float(wigner_D(2, rotation_design(3, 1)).mean(0).abs().max()) > 1e-3
    assert float(wigner_D(3, rotation_design(3, 2)).mean(0).abs().max()) > 1e-3
    assert float(wigner_D(4, rotation_design(3, 3)).mean(0).abs().max()) > 1e-3
    assert [len(rotation_design(3, k)) for k in range(6)] == [1, 4, 12, 24, 60, 60]


def test_design_in_four_dimensions():
    table = rotation_design(4, 2)
    assert bool(SO(4).contains(table, 1e-12).all())
    assert float(table.mean(0).abs().max()) < 1e-12
    products = torch.einsum("kab,kcd->abcd", table, table) / len(table)
    eye = torch.eye(4, dtype=torch.float64)
    assert torch.allclose(products, torch.einsum("ac,bd->abcd", eye, eye) / 4, atol=1e-12)


def test_design_has_limits():
    with pytest.raises(ConfigError, match="degree 5"):
        rotation_design(3, 6)
    with pytest.raises(ConfigError, match="degree 3"):
        rotation_design(4, 4)
    with pytest.raises(ConfigError, match="elements"):
        rotation_design(6, 2)
    assert float(rotation_design(6, 1).mean(0).abs().max()) == 0  # vectors need changes of sign alone


@pytest.mark.parametrize("degree", [6, 7])
def test_stabilisers_of_points_at_any_degree(degree):
    table, weights = stabiliser_mean(3, degree)
    for l in range(1, degree + 1):
        assert float(torch.einsum("k,kij->ij", weights, wigner_D(l, table)).abs().max()) < 1e-12


@pytest.mark.parametrize(("k", "d"), [(0, 3), (1, 3), (2, 3), (1, 2), (2, 5), (0, 1)])
def test_complement(k, d):
    axes = SO(d).sample((7,))[:, :k] if d > 1 else torch.zeros(7, 0, 1, dtype=torch.float64)
    rows = torch.cat([axes, complement(axes)], 1)
    assert bool(SO(d).contains(rows, 1e-10).all())


def test_complement_stays_orthogonal_to_first_order():
    axes = SO(3).sample((1,))[:, :1].requires_grad_()
    rest = complement(axes)
    # d(axis · rest) = 0 for every change of the axis that keeps its length
    (gradient,) = torch.autograd.grad((axes @ rest.mT).sum(), axes)
    tangent = gradient - (gradient * axes).sum(-1, keepdim=True) * axes
    assert float(tangent.detach().abs().max()) < 1e-12


def test_gram_schmidt_frames_alone_are_equivariant():
    x = torch.randn(4, 6, 3, dtype=torch.float64)
    g = SO(3).sample((4,))
    a, wa = gram_schmidt_frames(x)
    b, wb = gram_schmidt_frames(x @ g.mT)
    assert torch.allclose(wa, wb)
    assert torch.allclose(g[:, None] @ a, b, atol=1e-9)

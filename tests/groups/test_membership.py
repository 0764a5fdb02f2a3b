"""Matrices that are no elements are told from elements, also where entries are large or nothing is finite."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import ShapeError
from equitools.groups import SE, SL, SO, Affine, FiniteGroup, GLPlus, Lorentz, ProductGroup, Sp, generators_of
from equitools.symmetrize import GroupAverage

LARGE = [SL(2), Sp(2), SL(3), Sp(4), Lorentz(), Lorentz(proper=True)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("group", LARGE, ids=str)
def test_singular_and_infinite_matrices_are_no_elements(group, dtype):
    n = group.size
    for size in (1.0, 100.0):
        assert not group.contains(torch.full((n, n), size, dtype=dtype))
    assert not group.contains(torch.zeros(n, n, dtype=dtype))
    broken = torch.eye(n, dtype=dtype)
    broken[0, 0] = torch.inf
    assert not group.contains(broken)


@pytest.mark.parametrize("group", LARGE, ids=str)
def test_elements_with_large_entries_are_elements(group):
    g = group.sample((50,), torch.Generator().manual_seed(0))
    for _ in range(4):
        g = g @ g
        g = g[g.abs().amax((-1, -2)) < 1e5]
        assert group.contains(g).all()


def test_logarithms_need_the_determinant():
    off = torch.tensor([[100.0, 100.0], [0.0, 0.05]], dtype=torch.float64)
    assert not SL(2).contains(off)
    with pytest.raises(ShapeError, match="no elements of SL"):
        SL(2).log(off)
    moved = torch.eye(3, dtype=torch.float64)
    moved[:2, :2] = off
    with pytest.raises(ShapeError, match="no elements"):
        Affine(SL(2)).log(moved)


@pytest.mark.parametrize("group", [SO(3), SE(2), Sp(2), Lorentz(), GLPlus(3)], ids=str)
def test_what_is_no_element_acts_on_nothing(group):
    zero = torch.zeros(group.size, group.size, dtype=torch.float64)
    for method in (group.adjoint, group.coadjoint, group.modular):
        with pytest.raises(ShapeError, match="no elements"):
            method(zero)
    with pytest.raises(ShapeError, match="no elements"):
        group.act_on_function(zero, torch.sum)
    if group.n in {2, 3}:
        with pytest.raises(ShapeError, match="no elements"):
            group.act_on_grid(zero, torch.zeros(1, 1, *[4] * group.n, dtype=torch.float64))


def test_nearly_singular_matrices_have_no_inverse():
    rows = torch.arange(1.0, 10.0, dtype=torch.float64).view(3, 3)
    with pytest.raises(ShapeError, match="no elements"):
        GLPlus(3).inverse(rows)


def test_nothing_is_nearest_to_zero():
    for bad in (0.0, torch.nan):
        with pytest.raises(ShapeError, match="no nearest element"):
            SO(3).project(torch.full((3, 3), bad))


def test_products_with_translations_are_no_affine_groups():
    group = ProductGroup(SE(3), SO(2))
    assert "semidirect" not in group.kinds
    g = group.sample((3,), torch.Generator().manual_seed(0))
    for kind in group.kinds:
        torch.testing.assert_close(group.compose(group.decompose(g, kind), kind), g)


def test_finite_groups_are_taken_where_groups_are():
    group = FiniteGroup.dihedral(4)
    assert group.name == "D4(2)"
    assert FiniteGroup.cyclic(4, d=3).name == "C4"
    assert len(generators_of(group).elements) == 8
    assert generators_of("p4m").size == 2
    assert len(generators_of("S_4").elements) == 24
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 1)).double()
    x = torch.randn(2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    average = GroupAverage(net, group)
    torch.testing.assert_close(average(x @ group.matrices[3].T), average(x))

"""Tables of finite groups: group laws, order, determinants, and what they leave in place."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, UnknownNameError
from equitools.groups import (
    cyclic_group,
    dihedral_group,
    finite_group,
    icosahedral_group,
    multiplication_table,
    octahedral_group,
    tetrahedral_group,
    with_inversion,
)

ORDERS = {
    "C1": 1, "C2": 2, "C7": 7, "C12(2)": 12, "D1": 2, "D3": 6, "D6": 12, "D5(2)": 10, "T": 12, "O": 24, "I": 60,
    "Th": 24, "Oh": 48, "Ih": 120,
}  # fmt: skip


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_closure(name: str, order: int) -> None:
    elements = finite_group(name)
    table = multiplication_table(elements)  # raises where a product is missing
    assert elements.shape[0] == order
    assert elements.dtype == torch.float64
    torch.testing.assert_close(elements[0], torch.eye(elements.shape[-1], dtype=torch.float64), atol=0, rtol=0)
    assert bool((table == 0).any(1).all())  # each has an inverse
    products = torch.einsum("aij,bjk->abik", elements, elements)
    torch.testing.assert_close(products, elements[table], atol=1e-15, rtol=0)


@pytest.mark.parametrize("name", ORDERS)
def test_orthogonality(name: str) -> None:
    elements = finite_group(name)
    eye = torch.eye(elements.shape[-1], dtype=torch.float64).expand_as(elements)
    torch.testing.assert_close(elements.mT @ elements, eye, atol=1e-15, rtol=0)
    negative = int((torch.linalg.det(elements) < 0).sum())
    assert negative == (len(elements) // 2 if name.endswith("h") or name == "D5(2)" else 0)


@pytest.mark.parametrize("name", ["C5", "D4(2)", "O", "Th"])
def test_rows_are_permutations(name: str) -> None:
    table = multiplication_table(finite_group(name))
    everything = torch.arange(len(table)).expand_as(table)
    assert torch.equal(table.sort(0).values.T, everything)
    assert torch.equal(table.sort(1).values, everything)


def _orders(elements: Tensor) -> list[int]:
    """How many elements have order 1, 2, 3, ..., by their angle."""
    angle = torch.arccos(((elements.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1))
    return [int((abs(angle - 2 * math.pi / k * 1.0) < 1e-6).sum()) for k in (2, 3, 4, 5)]


def test_classes_of_the_polyhedral_groups() -> None:
    """By the character tables: axes of the solids, each with its turns."""
    assert _orders(tetrahedral_group()) == [3, 8, 0, 0]
    assert _orders(octahedral_group()) == [9, 8, 6, 0]
    assert _orders(icosahedral_group()) == [15, 20, 0, 12]


def test_solids_are_left_in_place() -> None:
    phi = (1 + math.sqrt(5)) / 2
    corners = [[0, a, b * phi] for a in (1, -1) for b in (1, -1)]
    corners = [c[k:] + c[:k] for c in corners for k in range(3)]
    cube = torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=torch.float64)] * 3)
    tetrahedron = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    square = torch.tensor([[1, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)
    for name, points in {
        "I": torch.tensor(corners, dtype=torch.float64), "Ih": torch.tensor(corners, dtype=torch.float64),
        "O": cube, "Oh": cube, "T": tetrahedron, "D4(2)": square,
    }.items():  # fmt: skip
        moved = torch.einsum("gij,nj->gni", finite_group(name), points)
        nearest = torch.cdist(moved, points).min(-1)
        assert float(nearest.values.max()) < 1e-6
        assert all(len(set(row.tolist())) == len(points) for row in nearest.indices)


def test_cyclic_elements_turn_by_their_angle() -> None:
    for d in (2, 3):
        elements = cyclic_group(8, d)
        x = torch.eye(d, dtype=torch.float64)[0]
        angle = torch.atan2((elements @ x)[:, 1], (elements @ x)[:, 0]) % (2 * math.pi)
        torch.testing.assert_close(angle, torch.arange(8, dtype=torch.float64) * math.pi / 4)
    assert set(cyclic_group(4).flatten().tolist()) == {0.0, 1.0, -1.0}  # quarter turns are exact


def test_tables_are_not_shared() -> None:
    octahedral_group().zero_()
    assert float(octahedral_group()[0, 0, 0]) == 1.0


def test_bad_input() -> None:
    with pytest.raises(UnknownNameError, match="no finite group 'C_4'"):
        finite_group("C_4")
    with pytest.raises(ConfigError, match="n ≥ 1"):
        cyclic_group(0)
    with pytest.raises(ConfigError, match="n ≥ 1"):
        dihedral_group(2.0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="d = 2 and 3"):
        cyclic_group(3, 4)
    with pytest.raises(ShapeError, match=r"\[G, d, d\]"):
        with_inversion(torch.eye(3))
    with pytest.raises(ShapeError, match="not closed"):
        multiplication_table(torch.stack([torch.eye(2), 2 * torch.eye(2)]))

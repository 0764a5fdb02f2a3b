"""Decompositions by name, over all groups that have some."""

from __future__ import annotations

import math

import pytest
import torch
from decomposition_cases import generator, relative_error
from torch import Tensor

from equitools.errors import ShapeError, UnknownNameError
from equitools.groups import MatrixGroup, parse_group
from equitools.groups.decompositions import compose, decompose, kinds, log_density

NAMES = [
    "GL+(1)", "GL+(2)", "GL+(5)", "SL(2)", "SL(4)", "Sp(2)", "Sp(6)", "SO(3)", "SO(6)", "O(4)", "SE(2)", "SE(3)",
    "E(4)", "SIM(2)", "SIM(3)", "O(1,3)", "SO+(1,3)", "R^2:GL+(2)", "R^3:GL+(3)", "R^2:SL(2)", "R^4:Sp(4)",
    "R^4:SO+(1,3)", "R^4:O(1,3)",
]  # fmt: skip


def pairs() -> list[tuple[str, str]]:
    return [(name, kind) for name in NAMES for kind in kinds(name)]


@pytest.mark.parametrize(("name", "kind"), pairs(), ids=lambda x: x)
def test_round_trip(name: str, kind: str) -> None:
    group = parse_group(name)
    g = group.sample((20,), generator(1))
    parts = decompose(name, g, kind)
    assert relative_error(compose(group, parts, kind), g) < 1e-10
    assert all(part.shape == g.shape for part in parts)
    by_method = group.decompose(g, kind)
    assert all(torch.equal(a, b) for a, b in zip(parts, by_method, strict=True))
    assert kind in group.kinds


@pytest.mark.parametrize(("name", "kind"), pairs(), ids=lambda x: x)
def test_parts_are_elements(name: str, kind: str) -> None:
    group = parse_group(name)
    g = group.sample((20,), generator(2))
    for part in decompose(group, g, kind):
        if kind == "bruhat":
            assert (torch.linalg.det(part).abs() > 0).all()
        elif kind == "lu" and "GL+" in name:
            assert (torch.linalg.det(part) > 0).all()
        else:
            assert group.contains(part).all()


@pytest.mark.parametrize(("name", "kind"), pairs(), ids=lambda x: x)
def test_empty_batches_and_single_precision(name: str, kind: str) -> None:
    group = parse_group(name)
    empty = torch.zeros(0, group.size, group.size)
    assert all(part.shape == empty.shape for part in decompose(group, empty, kind))
    g = group.sample((3,), generator(3), torch.float32)
    parts = decompose(group, g, kind)
    assert all(part.dtype == torch.float32 for part in parts)
    assert relative_error(compose(group, parts, kind), g) < 1e-3


def stretched(group: MatrixGroup, log_condition: float) -> Tensor:
    """Elements of a stated condition: a rotation times a stretch times a rotation, all of the group."""
    linear = getattr(group, "linear", group)
    basis = linear.algebra_basis
    symmetric = (basis == basis.mT).all(-1).all(-1)
    x = torch.randn(10, len(basis), generator=generator(4), dtype=torch.float64)
    stretch = linear.hat(x * symmetric)
    spread = torch.linalg.eigvalsh(stretch)
    spread = (spread[:, -1] - spread[:, 0]).clamp(min=1e-3)[:, None, None]
    turns = [torch.matrix_exp(linear.hat(y * ~symmetric)) for y in (x, x.flip(0))]
    g = turns[0] @ torch.matrix_exp(stretch / spread * log_condition) @ turns[1]
    if linear is group:
        return g
    g = torch.nn.functional.pad(g, (0, 1, 0, 1))
    g[:, -1, -1] = 1.0
    g[:, :-1, -1] = torch.randn(10, group.n, generator=generator(5), dtype=torch.float64)
    return g


STRETCHED = ["GL+(2)", "GL+(6)", "SL(3)", "Sp(4)", "Sp(6)", "SO+(1,3)", "R^2:GL+(2)", "R^3:SL(3)", "R^4:Sp(4)"]


@pytest.mark.parametrize("name", STRETCHED)
def test_round_trip_at_condition_ten_thousand(name: str) -> None:
    group = parse_group(name)
    g = stretched(group, math.log(1e4))
    for kind in kinds(group):
        if kind in {"jordan_chevalley", "bruhat", "lu"}:  # their errors go with other numbers than the condition
            continue
        assert relative_error(compose(group, decompose(group, g, kind), kind), g) < 1e-10, kind


def test_what_is_no_element_is_refused() -> None:
    for name in NAMES:
        if name.startswith("GL+"):
            continue
        group = parse_group(name)
        bad = 2 * group.sample((2,), generator(1))
        for kind in kinds(name):
            with pytest.raises(ShapeError, match="no elements of the group"):
                decompose(name, bad, kind)
            with pytest.raises(ShapeError, match="matrices"):
                decompose(name, torch.zeros(2, group.size, group.size + 1), kind)


def test_groups_without_decompositions() -> None:
    assert kinds("SO(2)") == ()
    with pytest.raises(UnknownNameError, match=r"SO\(2\) has no decomposition 'kak'. It has none"):
        decompose("SO(2)", torch.eye(2), "kak")
    with pytest.raises(UnknownNameError, match=r"has no density. Known: polar, kak"):
        log_density("SL(2)", [torch.eye(2)] * 4, "bruhat")
    with pytest.raises(UnknownNameError):
        kinds("GL+(two)")
    with pytest.raises(ShapeError, match=r"3 parts \(translation, p, k\), given 2"):
        compose("R^2:SL(2)", [torch.eye(3)] * 2, "polar")


def test_levi_is_offered_where_there_is_a_semisimple_rest() -> None:
    assert "levi" not in kinds("SE(2)")  # SO(2) is abelian: the whole group is its own radical
    assert "levi" not in kinds("SIM(2)")
    assert "levi" not in kinds("R^1:GL+(1)")
    assert "levi" in kinds("SE(3)")
    assert "levi" in kinds("SIM(3)")
    radical, rest = decompose("SIM(3)", parse_group("SIM(3)").sample((4,), generator(1)), "levi")
    assert parse_group("SE(3)").contains(rest).all()
    assert not parse_group("SE(3)").contains(radical).any()

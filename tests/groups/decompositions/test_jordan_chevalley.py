"""Semisimple and nilpotent parts, and that they are not continuous."""

from __future__ import annotations

import pytest
import torch
from decomposition_cases import generator
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups import parse_group
from equitools.groups.decompositions import decompose, jordan_chevalley, multiplicative_jordan_chevalley


def conjugated(a: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    q = torch.linalg.qr(torch.randn(a.shape, generator=generator(seed), dtype=torch.float64))[0]
    q = q @ torch.diag(torch.linspace(1, 2, a.shape[-1], dtype=torch.float64))
    return q @ a @ torch.linalg.inv(q), q


def blocks(*sizes_and_values: tuple[int, float]) -> Tensor:
    return torch.block_diag(
        *[
            v * torch.eye(m, dtype=torch.float64) + torch.diag(torch.ones(m - 1, dtype=torch.float64), 1)
            for m, v in sizes_and_values
        ]
    )


CASES = [
    ((2, 1.0),),
    ((3, 2.0), (1, -1.0)),
    ((2, 1.0), (2, -1.0), (1, 0.0)),
    ((4, 0.5), (2, 2.0)),
    ((1, 1.0), (1, 2.0)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_jordan_parts(case: tuple[tuple[int, float], ...]) -> None:
    form = blocks(*case)
    a, q = conjugated(form)
    s, n = jordan_chevalley(a)
    torch.testing.assert_close(s + n, a, atol=1e-13, rtol=0)
    assert float((s @ n - n @ s).abs().max()) < 1e-10
    assert float(torch.linalg.matrix_power(n, a.shape[-1]).abs().max()) < 1e-8
    wanted = q @ torch.diag(torch.diagonal(form)) @ torch.linalg.inv(q)
    torch.testing.assert_close(s, wanted, atol=1e-9, rtol=0)


def test_complex_eigenvalues() -> None:
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    form = torch.block_diag(turn, turn)
    nilpotent = torch.zeros(4, 4, dtype=torch.float64)
    nilpotent[:2, 2:] = torch.eye(2)
    a, q = conjugated(form + nilpotent)
    s, n = jordan_chevalley(a)
    torch.testing.assert_close(n, q @ nilpotent @ torch.linalg.inv(q), atol=1e-9, rtol=0)
    torch.testing.assert_close(s, q @ form @ torch.linalg.inv(q), atol=1e-9, rtol=0)


def test_jordan_is_discontinuous() -> None:
    block = blocks((2, 1.0))
    for gap, wanted in ((0.0, 1.0), (1e-8, 1.0), (1e-5, 0.0), (0.1, 0.0)):  # the threshold of two is 5e-7 of the norm
        moved = block.clone()
        moved[1, 1] += gap
        assert float(jordan_chevalley(moved)[1].norm()) == pytest.approx(wanted, abs=1e-6)
        assert float(multiplicative_jordan_chevalley(moved)[1][0, 1]) == pytest.approx(wanted, abs=1e-6)
    near = block.clone()
    near[1, 1] += 1e-4
    assert float(jordan_chevalley(near, threshold=1e-3)[1].norm()) == pytest.approx(1.0, abs=1e-3)
    assert float(jordan_chevalley(near, threshold=1e-6)[1].norm()) < 1e-9
    assert float(multiplicative_jordan_chevalley(near, threshold=1e-3)[1][0, 1]) == pytest.approx(1.0, abs=1e-3)
    a = block.requires_grad_()
    assert not jordan_chevalley(a)[0].requires_grad


@pytest.mark.parametrize("m", [2, 3, 4, 5, 6])
def test_blocks_of_all_sizes_are_found(m: int) -> None:
    a, _ = conjugated(blocks((m, 1.5)), m)
    s, _ = jordan_chevalley(a)
    assert float((s - 1.5 * torch.eye(m)).norm()) < 1e-9
    s, u = multiplicative_jordan_chevalley(a)
    assert float((s - 1.5 * torch.eye(m)).norm()) < 1e-9
    torch.testing.assert_close(u, a / 1.5, atol=1e-9, rtol=0)


def test_small_eigenvalues_of_ill_conditioned_matrices_are_kept_apart() -> None:
    a, _ = conjugated(torch.diag(torch.tensor([1e2, 1.1e-2, 1e-2], dtype=torch.float64)))
    s, u = multiplicative_jordan_chevalley(a)
    torch.testing.assert_close(s, a, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(u, torch.eye(3, dtype=torch.float64), atol=1e-7, rtol=0)


@pytest.mark.parametrize("name", ["GL+(3)", "SL(3)", "Sp(4)", "SO+(1,3)", "R^2:GL+(2)", "SE(3)"])
def test_multiplicative_jordan_parts(name: str) -> None:
    group = parse_group(name)
    g = group.sample((10,), generator(3))
    s, u = decompose(group, g, "jordan_chevalley")
    torch.testing.assert_close(s @ u, g, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(u @ s, g, atol=1e-10, rtol=1e-10)
    assert group.contains(s).all()
    assert group.contains(u).all()
    off = torch.linalg.matrix_power(u - torch.eye(group.size, dtype=u.dtype), group.size)
    assert float(off.abs().max()) < 1e-8


def test_unipotent_part_of_a_shear() -> None:
    shear = torch.tensor([[2.0, 3.0], [0.0, 2.0]], dtype=torch.float64)
    s, u = multiplicative_jordan_chevalley(shear)
    torch.testing.assert_close(s, 2 * torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(u, torch.tensor([[1.0, 1.5], [0.0, 1.0]], dtype=torch.float64))


def test_batches_and_bad_matrices() -> None:
    batch = torch.stack([blocks((2, 1.0)), blocks((1, 1.0), (1, 3.0)), torch.zeros(2, 2, dtype=torch.float64)])
    s, n = jordan_chevalley(batch)
    assert [round(float(x)) for x in n.norm(dim=(-1, -2))] == [1, 0, 0]
    torch.testing.assert_close(s + n, batch)
    assert jordan_chevalley(torch.zeros(0, 3, 3))[0].shape == (0, 3, 3)
    assert jordan_chevalley(torch.eye(2))[0].dtype == torch.float32
    with pytest.raises(ShapeError, match="singular"):
        multiplicative_jordan_chevalley(torch.ones(2, 2))

"""Sums of rows with fixed coefficients, against the whole matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equitools.ops.sparse_rows import sparse_rows


def table(matrix: Tensor) -> tuple[Tensor, ...]:
    """Starts, columns and values of a matrix."""
    rows, columns = matrix.nonzero(as_tuple=True)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), torch.bincount(rows, minlength=len(matrix)).cumsum(0)])
    return starts, columns, matrix[rows, columns]


def drawn(dtype: torch.dtype, rows: int = 7, columns: int = 5, width: int = 6) -> tuple[Tensor, Tensor]:
    """A sparse matrix with an empty row and an empty column, and what it is multiplied with."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    matrix = matrix * (torch.rand(rows, columns, generator=generator) < 0.5)
    matrix[2], matrix[:, 1] = 0, 0
    return matrix.to(dtype), torch.randn(columns, width, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("width", [0, 1, 6, 33])
def test_it_is_the_product(dtype: torch.dtype, tolerance: float, width: int) -> None:
    matrix, x = drawn(dtype, width=width)
    for rows in (x, x.T.contiguous().T):
        assert torch.allclose(sparse_rows(rows, table(matrix), table(matrix.T)), matrix @ x, atol=tolerance)
    recorded = sparse_rows(x.clone().requires_grad_(), table(matrix), table(matrix.T))
    assert torch.equal(recorded, sparse_rows(x, table(matrix), table(matrix.T)))


def test_nothing_is_a_sum_of_nothing() -> None:
    matrix, x = torch.zeros(3, 5, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    assert torch.equal(sparse_rows(x, table(matrix), table(matrix.T)), torch.zeros(3, 2, dtype=torch.float64))
    assert sparse_rows(x, table(matrix[:0]), table(matrix[:0].T)).shape == (0, 2)


def test_linearity() -> None:
    """First, second and forward derivatives."""
    matrix, x = drawn(torch.float64)
    x.requires_grad_()
    tables = table(matrix), table(matrix.T)
    assert torch.autograd.gradcheck(lambda y: sparse_rows(y, *tables), (x,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda y: sparse_rows(y, *tables), (x,))
    gradient = torch.ones(7, 6, dtype=torch.float64)
    assert torch.allclose(torch.autograd.grad(sparse_rows(x, *tables), x, gradient)[0], matrix.T @ gradient)

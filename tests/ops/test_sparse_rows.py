"""Sums of rows with fixed coefficients, against the whole matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equitools.ops import use_backend
from equitools.ops.backend import extension_loaded
from equitools.ops.sparse_rows import sparse_rows

BACKENDS = ["reference", pytest.param("cpu", marks=pytest.mark.skipif(not extension_loaded(), reason="not built"))]


def table(matrix: Tensor) -> tuple[Tensor, ...]:
    """Starts, columns and values of a matrix."""
    rows, columns = matrix.nonzero(as_tuple=True)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), torch.bincount(rows, minlength=len(matrix)).cumsum(0)])
    return starts, columns, matrix[rows, columns]


def drawn(
    dtype: torch.dtype, channels: int = 2, batch: int = 3, rows: int = 7, inner: int = 5
) -> tuple[Tensor, Tensor]:
    """A sparse matrix with an empty row and an empty column, and what it is multiplied with."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(rows, inner, generator=generator, dtype=torch.float64)
    matrix = matrix * (torch.rand(rows, inner, generator=generator) < 0.5)
    matrix[2], matrix[:, 1] = 0, 0
    x = torch.randn(inner, channels, batch, generator=generator, dtype=torch.float64)
    return matrix.to(dtype), x.to(dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("sizes", [(2, 0, 7, 5), (1, 1, 7, 5), (3, 2, 7, 5), (3, 11, 40, 33), (2, 40, 16, 16)])
def test_place_of_rows(backend: str, dtype: torch.dtype, tolerance: float, sizes: tuple[int, ...]) -> None:
    """The product, with rows first or last in memory, of what is contiguous and what is not."""
    matrix, x = drawn(dtype, *sizes)
    exact = torch.einsum("rn,ncb->rcb", matrix, x)
    with use_backend(backend):
        for last_in in (False, True):
            given = x.permute(2, 1, 0) if last_in else x
            for rows in (given, given.contiguous(), given.clone().requires_grad_()):
                for last_out in (False, True):
                    out = sparse_rows(rows, table(matrix), table(matrix.T), last_in=last_in, last_out=last_out)
                    out = out.permute(2, 1, 0) if last_out else out
                    assert torch.allclose(out, exact, atol=tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_a_sum_of_nothing(backend: str) -> None:
    matrix, x = torch.zeros(3, 5, dtype=torch.float64), torch.randn(5, 2, 1, dtype=torch.float64)
    with use_backend(backend):
        assert torch.equal(sparse_rows(x, table(matrix), table(matrix.T)), torch.zeros(3, 2, 1, dtype=torch.float64))
        assert sparse_rows(x, table(matrix[:0]), table(matrix[:0].T)).shape == (0, 2, 1)
        assert sparse_rows(x[:0], table(matrix[:, :0]), table(matrix[:, :0].T)).shape == (3, 2, 1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_empty_batches_on_several_threads(backend: str, dtype: torch.dtype) -> None:
    matrix, x = drawn(dtype)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with use_backend(backend):
            for empty in (x[:, :, :0], x[:, :0]):
                assert sparse_rows(empty, table(matrix), table(matrix.T)).shape == (7, *empty.shape[1:])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("last", [(False, False), (True, False), (False, True)])
def test_linearity(backend: str, last: tuple[bool, bool]) -> None:
    """First, second and forward derivatives, and vmap."""
    matrix, x = drawn(torch.float64)
    x = (x.permute(2, 1, 0).contiguous() if last[0] else x).requires_grad_()
    tables = table(matrix), table(matrix.T)

    def product(y: Tensor) -> Tensor:
        return sparse_rows(y, *tables, last_in=last[0], last_out=last[1])

    with use_backend(backend):
        assert torch.autograd.gradcheck(product, (x,), check_forward_ad=True)
        assert torch.autograd.gradgradcheck(product, (x,))
        several = torch.stack([x, 2 * x], 1).detach()
        found = torch.vmap(product, in_dims=1)(several)
        assert torch.allclose(found, torch.stack([product(x), 2 * product(x)]))


@pytest.mark.skipif(not extension_loaded(), reason="not built")
def test_bad_tables_are_refused() -> None:
    """The operation does not read outside of what it is given."""
    matrix, x = drawn(torch.float64)
    starts, columns, values = table(matrix)
    op = torch.ops.equitools.sparse_rows
    for bad in (
        (x[:3], starts, columns, values),
        (x, starts, columns - 2, values),
        (x, starts, columns[:-1], values),
        (x, starts[1:], columns, values),
        (x, starts.flip(0), columns, values),
        (x, starts.int(), columns, values),
        (x.float(), starts, columns, values),
        (x[0], starts, columns, values),
    ):
        with pytest.raises(RuntimeError, match="sparse_rows"):
            op(*bad)


def test_plain_torch_under_a_fake_mode() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    matrix, x = drawn(torch.float64)
    tables = table(matrix), table(matrix.T)
    with FakeTensorMode() as mode:
        one, other = (tuple(map(mode.from_tensor, t)) for t in tables)
        assert sparse_rows(mode.from_tensor(x), one, other, last_out=True).shape == (3, 2, 7)

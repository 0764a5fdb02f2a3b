from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from equitools.errors import ShapeError
from equitools.ops import top_eigenpairs


def gram(n=6, rank=2, batch=2, seed=0):
    factor = torch.randn(batch, n, rank, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return factor @ factor.transpose(-1, -2)


@pytest.mark.parametrize("count", [1, 2, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pairs_are_eigenpairs(count, dtype):
    matrix = (gram(rank=6) - 4 * torch.eye(6)).to(dtype)
    values, vectors = top_eigenpairs(matrix, count)
    assert values.dtype == vectors.dtype == dtype
    tolerance = 1e-4 if dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix)[:, ::-1][:, :count], atol=tolerance)
    torch.testing.assert_close(matrix @ vectors, vectors * values.unsqueeze(1), atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(
        vectors.transpose(1, 2) @ vectors, torch.eye(count, dtype=dtype).expand(2, -1, -1), atol=tolerance, rtol=0
    )


def invariant(matrix, count):
    """Something of the vectors that does not depend on their signs, and of the values."""
    values, vectors = top_eigenpairs((matrix + matrix.transpose(-1, -2)) / 2, count, 1e-12)
    return vectors.square() * values.unsqueeze(-2), values


@pytest.mark.parametrize("count", [1, 3, 6])
def test_derivatives(count):
    matrix = (gram(rank=6) - 4 * torch.eye(6)).requires_grad_()
    assert gradcheck(lambda m: invariant(m, count), matrix)
    assert gradgradcheck(lambda m: invariant(m, count), matrix)


@pytest.mark.parametrize("rank", [2, 3])
def test_derivatives_need_own_gaps(rank):
    """The other eigenvalues are zero, several times, and exactly so where rows are; torch's own derivative is NaN."""
    matrix = torch.nn.functional.pad(gram(4, rank, 1), (0, 3, 0, 3)).requires_grad_()
    assert gradcheck(lambda m: invariant(m, 2), matrix)
    assert gradgradcheck(lambda m: invariant(m, 2), matrix)
    vectors = torch.linalg.eigh(matrix).eigenvectors
    assert not torch.autograd.grad(vectors[..., -2:].pow(4).sum(), matrix)[0].isfinite().all()


def test_an_eigenvalue_of_zero_among_the_wanted():
    orthogonal = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    matrix = (orthogonal @ torch.diag(torch.tensor([2.0, 0.0, -1.0, -1.0, -3.0]).double()) @ orthogonal.T).unsqueeze(0)
    assert gradcheck(lambda m: invariant(m, 2), matrix.requires_grad_())


def test_coinciding_eigenvalues_leave_finite_gradients():
    for count in (1, 2, 4):
        matrix = torch.diag(torch.tensor([2.0, 2.0, 1.0, 1.0])).double().requires_grad_()
        out = top_eigenpairs(matrix, count, 1e-9)
        assert torch.autograd.grad(out[1].pow(4).sum() + out[0].sum(), matrix)[0].isfinite().all()


def test_shapes_and_errors():
    assert [t.shape for t in top_eigenpairs(torch.zeros(0, 3, 3), 2)] == [(0, 2), (0, 3, 2)]
    assert [t.shape for t in top_eigenpairs(torch.eye(3), 2)] == [(2,), (3, 2)]
    for matrix, count in ((torch.eye(3), 4), (torch.eye(3), 0), (torch.zeros(3, 2), 1)):
        with pytest.raises(ShapeError, match="eigenvectors"):
            top_eigenpairs(matrix, count)

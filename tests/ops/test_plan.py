"""Plans: hashes, exact tables, independent paths counted another way."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch

from equitools.errors import IrrepsError
from equitools.ops.plan import SymmetricContractionPlan, TensorProductPlan


def test_plans_are_values() -> None:
    a, b = TensorProductPlan("2x0e + 2x1o", "0e + 1o"), TensorProductPlan("2x0e + 2x1o", "0e + 1o")
    assert a == b
    assert hash(a) == hash(b)
    assert a.hash == b.hash
    assert copy.deepcopy(a) is a
    assert pickle.loads(pickle.dumps(a)) == a  # noqa: S301
    assert a != TensorProductPlan("2x0e + 2x1o", "0e + 1o", "0e")


def test_tables_keep_float64() -> None:
    plan = TensorProductPlan("2x1o", "1o")
    plan.prepare_fused()
    single = plan.table("edge_to_matrix", torch.device("cpu"), torch.float32)
    double = plan.table("edge_to_matrix", torch.device("cpu"), torch.float64)
    assert single.dtype == torch.float32
    assert not torch.equal(single.double(), double)
    assert plan.table("edge_to_matrix", torch.device("cpu"), torch.float32) is single


def characters_count(lmax: int, correlation: int, l_out: int) -> int:
    """Multiplicity of (l_out, natural parity) in the symmetric power of 0e + 1o + … + lmax, by characters of SO(3).

    The number of basis states of weight m in Sym^ν, minus that of weight m + 1, is the multiplicity of l = m; parity is
    followed by counting the odd factors. Nothing here knows of coupling coefficients.
    """
    states = [(m, l % 2) for l in range(lmax + 1) for m in range(-l, l + 1)]
    count = {0: 0, 1: 0}
    for combination in itertools.combinations_with_replacement(states, correlation):
        if sum(p for _, p in combination) % 2 == l_out % 2:
            weight = sum(m for m, _ in combination)
            count[0] += weight == l_out
            count[1] += weight == l_out + 1
    return count[0] - count[1]


@pytest.mark.parametrize(("lmax", "correlation"), [(1, 4), (1, 5), (2, 4), (3, 3), (3, 4)])
def test_number_of_independent_paths(lmax: int, correlation: int) -> None:
    irreps = " + ".join(f"{l}{'eo'[l % 2]}" for l in range(lmax + 1))
    plan = SymmetricContractionPlan(irreps, "0e + 1o + 2e", correlation)
    for k, l_out in enumerate(range(3)):
        expected = tuple(
            (1 if l_out <= lmax else 0) if nu == 1 else characters_count(lmax, nu, l_out)
            for nu in range(1, correlation + 1)
        )
        assert plan.num_paths[k] == expected


def test_basis_is_symmetric_and_orthonormal() -> None:
    plan = SymmetricContractionPlan("0e + 1o + 2e", "1o", 3)
    table = plan.table("0.3", torch.device("cpu"), torch.float64)
    for order in itertools.permutations(range(3)):
        torch.testing.assert_close(table.permute(0, 1, *(2 + k for k in order)), table, atol=1e-12, rtol=0)
    gram = table.flatten(1) @ table.flatten(1).T
    scale = 3 / 36  # the square of √(2l+1) / ν!
    torch.testing.assert_close(gram, scale * torch.eye(len(table), dtype=torch.float64), atol=1e-10, rtol=0)


def test_tables_of_the_fold_equal_the_whole_tensor() -> None:
    plan = SymmetricContractionPlan("0e + 1o", "1o", 3)
    device, x = torch.device("cpu"), torch.randn(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = torch.einsum("kzabc,a,b,c->kz", plan.table("0.3", device, x.dtype), x, x, x)
    first, rest = (plan.table(f"2.{name}", device, torch.int64) for name in ("first", "rest"))
    folded = torch.einsum("kzcm,c,m->kz", plan.table("0.3.fold", device, x.dtype), x, x[first] * x[rest])
    torch.testing.assert_close(folded, whole, atol=1e-14, rtol=1e-12)


def test_basis_does_not_depend_on_chance() -> None:
    # A checksum of the basis: weights of a stored model mean something only while it stays what it is.
    plan = SymmetricContractionPlan("0e + 1o + 2e + 3o", "0e + 1o", 3)
    probe = np.random.default_rng(0).normal(size=(16, 16, 16))
    table = plan.table("0.3", torch.device("cpu"), torch.float64).numpy()[:, 0]
    values = np.einsum("kabc,abc->k", table, probe)
    # the first path is the product of the scalars
    np.testing.assert_allclose(values[0], probe[0, 0, 0] / 6, atol=1e-12)


def test_wrong_irreps() -> None:
    with pytest.raises(IrrepsError, match="cannot produce"):
        TensorProductPlan("0e", "0e", "1o")
    with pytest.raises(IrrepsError, match="each irrep once"):
        SymmetricContractionPlan("0e + 0e", "0e", 2)
    with pytest.raises(IrrepsError, match="at least 1"):
        SymmetricContractionPlan("0e", "0e", 0)
    with pytest.raises(IrrepsError, match="1e"):
        SymmetricContractionPlan("0e + 1o", "1e", 2)
    with pytest.raises(IrrepsError, match="understood"):
        TensorProductPlan("rubbish", "0e")

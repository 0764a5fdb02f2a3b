"""Invariant forms of algebras, and how algebras are compared."""

from __future__ import annotations

import math

import pytest
import torch

from equitools.errors import ConfigError, ShapeError
from equitools.groups import SO, Lorentz, algebra_cosine, invariant_forms, lorentz_metric, subspace_cosines


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_form_of_known_groups() -> None:
    for algebra, metric in (
        (SO(3).algebra_basis, torch.eye(3, dtype=torch.float64)),
        (SO(5).algebra_basis, torch.eye(5, dtype=torch.float64)),
        (Lorentz().algebra_basis, lorentz_metric()),
    ):
        found = invariant_forms(algebra)
        assert found.forms.shape == (1, *metric.shape)
        assert float(found.residuals) < 1e-12
        assert found.rejected > 0.1
        assert float(algebra_cosine(found.forms[0], metric)) > 1 - 1e-12


def test_forms_are_invariant() -> None:
    algebra = Lorentz().algebra_basis
    change = random(0, 4, 4)
    moved = torch.linalg.inv(change) @ algebra @ change
    form = invariant_forms(moved).forms[0]
    assert torch.equal(form, form.mT) or float((form - form.mT).abs().max()) < 1e-14
    for generator in moved:
        g = torch.linalg.matrix_exp(0.5 * generator)
        torch.testing.assert_close(g.mT @ form @ g, form, atol=1e-11, rtol=0)
    assert float(algebra_cosine(form, change.mT @ lorentz_metric() @ change)) > 1 - 1e-10


def test_antisymmetric_forms_and_none() -> None:
    turn = SO(2).algebra_basis
    assert invariant_forms(turn).forms.shape[0] == 1
    both = invariant_forms(turn, symmetric=False)
    assert both.forms.shape[0] == 2
    torch.testing.assert_close(both.forms.flatten(1) @ both.forms.flatten(1).mT, torch.eye(2, dtype=torch.float64))
    none = invariant_forms(torch.eye(3, dtype=torch.float64)[None])
    assert none.forms.shape == (0, 3, 3)
    assert none.rejected == pytest.approx(2 / math.sqrt(3))


def test_a_learned_algebra_needs_a_threshold() -> None:
    algebra = Lorentz().algebra_basis + 0.01 * random(1, 6, 4, 4)
    assert invariant_forms(algebra).forms.shape[0] == 0
    found = invariant_forms(algebra, threshold=0.1)
    assert found.forms.shape[0] == 1
    assert 1e-3 < float(found.residuals) < 0.1 < found.rejected
    assert float(algebra_cosine(found.forms[0], lorentz_metric())) > 0.999
    scaled = algebra * torch.logspace(-3, 3, 6, dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(invariant_forms(scaled, threshold=0.1).residuals, found.residuals)


def test_scale_and_sign() -> None:
    a, b = random(2, 5, 3, 3), random(3, 5, 3, 3)
    torch.testing.assert_close(algebra_cosine(a, b), algebra_cosine(-7 * a, 0.1 * b))
    torch.testing.assert_close(algebra_cosine(a, -2 * a), torch.ones(5, dtype=torch.float64))
    assert float(algebra_cosine(SO(3).algebra_basis[0], SO(3).algebra_basis[1])) == 0


def test_basis_independent() -> None:
    basis = Lorentz().algebra_basis
    mixed = torch.einsum("ab,bij->aij", random(4, 6, 6), basis)
    torch.testing.assert_close(subspace_cosines(mixed, basis), torch.ones(6, dtype=torch.float64))
    part = subspace_cosines(mixed[:2], basis)
    torch.testing.assert_close(part, torch.ones(2, dtype=torch.float64))
    rotations, other = SO(4).algebra_basis, random(5, 3, 4, 4)
    torch.testing.assert_close(subspace_cosines(rotations, other), subspace_cosines(other, rotations))
    one = subspace_cosines(other[:1], rotations[:1])
    torch.testing.assert_close(one[0], algebra_cosine(other[0], rotations[0]))


def test_wrong_input() -> None:
    basis = SO(3).algebra_basis
    with pytest.raises(ShapeError, match="stack"):
        invariant_forms(basis[0])
    with pytest.raises(ShapeError, match="not zero"):
        invariant_forms(torch.zeros(1, 2, 2))
    with pytest.raises(ConfigError, match="threshold"):
        invariant_forms(basis, threshold=0.0)
    with pytest.raises(ShapeError, match="one size"):
        algebra_cosine(basis, torch.zeros(2, 2))
    with pytest.raises(ShapeError, match="dependent"):
        subspace_cosines(torch.cat([basis, basis[:1]]), basis)
    with pytest.raises(ShapeError, match="one size"):
        subspace_cosines(basis, torch.zeros(1, 2, 2))

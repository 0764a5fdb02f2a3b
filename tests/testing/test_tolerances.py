"""Tolerances are named, keyed by dtype, and errors are relative to the size of the output."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import GraphError, UnknownNameError
from equitools.testing import random_crystal, random_molecule, tolerances


def test_named_and_keyed_by_dtype():
    assert tolerances.named("equivariance") is tolerances.EQUIVARIANCE
    assert tolerances.EQUIVARIANCE[torch.float64] < tolerances.EQUIVARIANCE[torch.float32]
    with pytest.raises(UnknownNameError, match="Did you mean 'equivariance'"):
        tolerances.named("equivarience")
    with pytest.raises(UnknownNameError, match=r"no value for torch\.int64"):
        tolerances.EQUIVARIANCE[torch.int64]


def test_relative_to_the_root_mean_square():
    wanted = torch.full((4, 3), 100.0)
    assert tolerances.relative_error(wanted + 1, wanted) == (1.0, 0.01)
    assert tolerances.relative_error(wanted, wanted[:2]) == (float("inf"), float("inf"))
    assert tolerances.relative_error(torch.full((2,), torch.nan), torch.ones(2))[1] == float("inf")
    assert tolerances.relative_error(torch.zeros(0, 3), torch.zeros(0, 3)) == (0.0, 0.0)
    assert tolerances.rms(torch.tensor([3.0, 4.0, 0.0, 0.0])) == 2.5


def test_an_output_of_zero_is_compared_with_the_floor():
    absolute, relative = tolerances.relative_error(torch.tensor([1e-15]), torch.tensor([0.0]))
    assert absolute == pytest.approx(1e-15)
    assert relative == pytest.approx(1e-9)


def test_random_structures_are_seeded_and_use_every_species():
    first, again, other = (random_molecule((1, 6, 7, 8), 6, seed) for seed in (4, 4, 5))
    assert torch.equal(first.positions, again.positions)
    assert not torch.equal(first.positions, other.positions)
    assert set(first.atomic_numbers.tolist()) == {1, 6, 7, 8}
    crystal = random_crystal((29,), 3, seed=2)
    assert torch.linalg.det(crystal.cell).abs() > 10
    assert len(crystal) == 3
    with pytest.raises(GraphError, match="species is empty"):
        random_molecule(())
    with pytest.raises(GraphError, match="species is empty"):
        random_crystal(())

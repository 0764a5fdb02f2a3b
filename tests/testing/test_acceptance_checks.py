"""Each acceptance check passes the correct model and flags the broken one, under its own heading."""

from __future__ import annotations

import broken_models as bm
import pytest
import torch

from equitools.testing import ModelAcceptance, checks, differences, random_crystal, random_molecule

SPECIES = (1, 6, 8)
MOLECULES = [random_molecule(SPECIES, size, seed) for seed, size in ((1, 6), (2, 4), (3, 2))]
CRYSTAL = random_crystal(SPECIES, 3, 1)
DOUBLE, SINGLE = torch.float64, torch.float32

CHECKS = {
    "equivariance": lambda m: checks.check_equivariance(m, MOLECULES[:1]),
    "permutation": lambda m: checks.check_equivariance(m, MOLECULES, "S_n"),
    "batch = single": lambda m: checks.check_batching(m, MOLECULES),
    "separation": lambda m: checks.check_separation(m, MOLECULES[0], MOLECULES[1]),
    "smooth at the cutoff": lambda m: checks.check_smooth_at_cutoff(m, SPECIES),
    "finite-difference forces": lambda m: differences.check_forces(m, MOLECULES[0]),
    "finite-difference stress": lambda m: differences.check_stress(m, CRYSTAL),
    "isolated atom": lambda m: checks.check_isolated_atom(m, SPECIES),
    "gradients across molecules": lambda m: checks.check_gradients_across(m, MOLECULES),
    "no edges": lambda m: checks.check_no_edges(m, SPECIES),
    "both backends equal": lambda m: checks.check_backends(m, MOLECULES),
    "deterministic": lambda m: checks.check_deterministic(m, MOLECULES, SINGLE),
    "input unchanged": lambda m: checks.check_input_unchanged(m, MOLECULES),
    "float32 = float64": lambda m: checks.check_precision(m, MOLECULES),
    "training gradient": lambda m: differences.check_training_gradient(m, MOLECULES[:2]),
}


class TestCorrectModel(ModelAcceptance):
    """The whole suite, inherited as a user would."""

    stirred = False

    def build(self):
        return bm.PairPotential()


@pytest.mark.parametrize("heading", CHECKS)
def test_correct_model_passes(heading):
    CHECKS[heading](bm.PairPotential())


BROKEN = [
    (bm.HardCutoff, "smooth at the cutoff"),
    (bm.ConstantHardCutoff, "smooth at the cutoff"),
    (bm.DirectForces, "finite-difference forces"),
    (bm.WrongStressSign, "finite-difference stress"),
    (bm.OrderMatters, "permutation"),
    (bm.BatchLeak, "batch = single"),
    (bm.BatchLeak, "gradients across molecules"),
    (bm.GlobalMean, "separation"),
    (bm.AlwaysDropout, "deterministic"),
    (bm.MovesItsInput, "input unchanged"),
    (bm.HiddenSinglePrecision, "finite-difference forces"),
    (bm.SinglePrecisionSum, "finite-difference forces"),
    (bm.DetachedForces, "training gradient"),
    (bm.NotANumberAlone, "isolated atom"),
    (bm.NotANumberAlone, "no edges"),
]


@pytest.mark.parametrize(("model", "heading"), BROKEN, ids=[f"{model.__name__}-{text}" for model, text in BROKEN])
def test_broken_model_is_flagged(model, heading):
    with pytest.raises(differences.CheckFailedError) as caught:
        CHECKS[heading](model())
    assert heading in caught.value.heading
    assert len(str(caught.value)) > 60


@pytest.mark.parametrize("model", [bm.HardCutoff, bm.DirectForces, bm.BatchLeak, bm.GlobalMean])
def test_what_is_not_about_equivariance_passes_the_equivariance_check(model):
    checks.check_equivariance(model(), MOLECULES[:1])


def test_hard_cutoff_message_says_what_to_do():
    with pytest.raises(differences.CheckFailedError, match="envelope"):
        checks.check_smooth_at_cutoff(bm.HardCutoff(), SPECIES)


def test_reference_energies_of_isolated_atoms_are_compared():
    found = checks.check_isolated_atom(bm.PairPotential(), SPECIES)
    checks.check_isolated_atom(bm.PairPotential(), SPECIES, found)
    with pytest.raises(differences.CheckFailedError, match="Element 6 alone"):
        checks.check_isolated_atom(bm.PairPotential(), SPECIES, {6: found[6] + 1e-3})


def test_differences_are_sentences():
    found = differences.compare_forces(bm.PairPotential(), MOLECULES[0], max_components=5)
    assert found.passed
    assert found.count == 5
    assert "agree with finite differences" in str(found)
    assert "are NOT" in str(differences.compare_forces(bm.DirectForces(), MOLECULES[0]))


def test_models_are_left_as_they_were():
    model = bm.PairPotential().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for check in CHECKS.values():
        check(model)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_acceptance_suite_without_build_says_so():
    from equitools.errors import EquitoolsError

    with pytest.raises(EquitoolsError, match="must define build"):
        ModelAcceptance().build()

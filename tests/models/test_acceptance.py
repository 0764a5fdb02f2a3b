"""The acceptance suite for every network of the library, alone and inside a potential."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from equitools import models
from equitools.models import ClassHead, DipoleHead, HeadModel, NodeVectorHead, Potential, ScalarHead
from equitools.testing import ModelAcceptance, checks
from equitools.testing.differences import CheckFailedError

SPECIES = (1, 6, 8)
E0 = {1: -13.6, 6: -1029.5, 8: -2042.8}


class TestEGNN(ModelAcceptance):
    """EGNN without velocities."""

    def build(self):
        return models.build("egnn", cutoff=4.0, species=SPECIES, hidden=12, layers=2, radial=5)


class TestEGNNAttention(ModelAcceptance):
    """EGNN with every option that changes what is computed."""

    def build(self):
        return models.build(
            "egnn",
            cutoff=3.5,
            species=SPECIES,
            hidden=10,
            layers=2,
            radial=0,
            attention=True,
            normalize=True,
            tanh=True,
            residual=False,
            coordinate_mean=False,
            avg_num_neighbors=6.0,
        )


class TestEGNNVelocities(ModelAcceptance):
    """EGNN with velocities, which turn with the molecule."""

    def build(self):
        return models.build("egnn", cutoff=4.0, species=SPECIES, hidden=12, layers=2, radial=4, velocities=True)

    def dress(self, structure):
        generator = torch.Generator().manual_seed(len(structure))
        velocities = torch.randn(len(structure), 3, generator=generator, dtype=torch.float64)
        return replace(structure, extras={"velocities": velocities}, extra_levels={"velocities": "node"})


class TestFAENet(ModelAcceptance):
    """FAENet with weighted frames, in training, too: a network that draws its frames is no function of its weights."""

    options: ClassVar[dict[str, object]] = {}

    def build(self):
        small = {"hidden": 28, "filters": 10, "layers": 2, "gaussians": 6, "period_group": 3}
        training = {"frames_in_training": "weighted"}
        return models.build("faenet", cutoff=4.0, species=SPECIES, **{**small, **training, **self.options})

    def test_separation(self, candidates):
        """A frame belongs to the whole graph, so that two molecules in one are not exactly two: the docs say so."""
        first, second = self.molecules()[:2]
        for candidate in candidates:
            with pytest.raises(CheckFailedError, match="separation"):
                checks.check_separation(candidate, first, second)


class TestFAENetOfRotations(TestFAENet):
    """FAENet for SE(3), with vectors, and most of what can be chosen otherwise."""

    claims = "SE(3)"
    options: ClassVar[dict[str, object]] = {
        "symmetry": "SE(3)",
        "vectors": True,
        "message_passing": "base",
        "skip": "concat_atom",
        "energy_head": "weighted-av-final-embeds",
        "physical_hidden": 5,
        "complex_mp": True,
        "avg_num_neighbors": 6.0,
    }


class TestFAENetOfPrincipalAxes(TestFAENet):
    """FAENet with all frames of the principal axes, norms over the atoms of a graph and vectors."""

    options: ClassVar[dict[str, object]] = {
        "frames_in_training": "full",
        "frames_in_eval": "full",
        "vectors": True,
        "graph_norm": True,
        "message_passing": "updownscale",
        "skip": "add",
        "second_layer": False,
        "energy_head": "weighted-av-initial-embeds",
        "physical": False,
        "gaussians": 3,  # wider ones, for differences of the energy by a finite strain
    }


class TestManyBodyMP(ModelAcceptance):
    """MACE-style network, two layers, correlation 3."""

    def build(self):
        return models.build("many_body_mp", cutoff=4.0, species=SPECIES, channels=4)


class TestManyBodyMPOfGauntProducts(ModelAcceptance):
    """The same, with products of functions on the sphere."""

    def build(self):
        return models.build(
            "many_body_mp", cutoff=4.0, species=SPECIES, channels=4, product="gaunt", convolution="gaunt"
        )


class TestPotentialWithReferenceEnergies(ModelAcceptance):
    """A potential with total energies of thousands of eV, a scale, a shift and ZBL."""

    def build(self):
        backbone = models.build("egnn", cutoff=4.0, species=SPECIES, hidden=8, layers=2, radial=4)
        return Potential(backbone, reference_energies=E0, scale=2.5, shift=-0.3, zbl=True)


class TestManyBodyPotential(ModelAcceptance):
    """The same around the MACE-style network."""

    def build(self):
        backbone = models.build("many_body_mp", cutoff=3.5, species=SPECIES, channels=3)
        return Potential(backbone, reference_energies=E0, scale=0.7, shift=0.1)


def small_backbone():
    return models.build("egnn", cutoff=4.0, species=SPECIES, hidden=8, layers=2, radial=4)


class TestScalarHead(ModelAcceptance):
    """Two molecular scalars."""

    def build(self):
        return HeadModel(small_backbone(), ScalarHead("gap", num=2, pool="mean", scale=3.0, shift=1.0))


class TestDipoleHead(ModelAcceptance):
    """Charges and dipole; molecules only."""

    periodic = False

    def build(self):
        return HeadModel(small_backbone(), DipoleHead())


class TestNodeVectorHead(ModelAcceptance):
    """A vector of each atom."""

    def build(self):
        return HeadModel(small_backbone(), NodeVectorHead("push"))


class TestClassHead(ModelAcceptance):
    """Logits of three classes of each atom."""

    def build(self):
        return HeadModel(small_backbone(), ClassHead("kind", num_classes=3, level="node"))


def test_every_registered_network_is_accepted_here():
    tested = {"egnn", "faenet", "many_body_mp"}
    missing = set(models.names()) - tested
    assert not missing, f"Subclass ModelAcceptance for {sorted(missing)}."


@pytest.mark.parametrize("name", ["egnn", "faenet", "many_body_mp"])
def test_isolated_atoms_keep_their_reference_energy_apart(name):
    backbone = models.build(name, cutoff=4.0, species=SPECIES)
    plain, shifted = Potential(backbone), Potential(backbone, reference_energies=E0)
    shifted.load_state_dict(plain.state_dict(), strict=False)
    without = checks.check_isolated_atom(plain, SPECIES)
    checks.check_isolated_atom(shifted, SPECIES, {z: without[z] + E0[z] for z in SPECIES})

"""Networks on graphs of atoms, what is read out of them, and their files."""

from __future__ import annotations

from equitools.models import images, points
from equitools.models.canonicalizers import GramSchmidtCanonicalizer
from equitools.models.cn_gnn import CNGNN, DeepSetsCanonicalizer
from equitools.models.compiled import CompiledPotential, compile_potential
from equitools.models.contract import Backbone, ModelConfig
from equitools.models.direct_forces import DirectPotential
from equitools.models.discrete_canonicalizers import DiscreteCanonicalizer, distinct_vectors_loss
from equitools.models.egnn import EGNN, EGNNConfig
from equitools.models.energy_canonicalizers import EnergyCanonicalizer
from equitools.models.fa_gnn import FAGNN
from equitools.models.faenet import FAENet, FAENetConfig
from equitools.models.files import from_spec, load, read_metadata, save
from equitools.models.gnn import ParticleGNN
from equitools.models.heads import (
    HEADS,
    ClassHead,
    DipoleHead,
    Head,
    HeadModel,
    NodeVectorHead,
    ScalarHead,
    head_from_spec,
)
from equitools.models.orbit_generators import InvariantCombination, SetCombination
from equitools.models.potential import Potential
from equitools.models.reference_energies import ReferenceEnergies
from equitools.models.registry import PluginWarning, build, get, names, register
from equitools.models.vector_neuron_nets import VNDeepSets, VNInvariantHead, VNPointNet
from equitools.models.zbl import ZBLRepulsion

__all__ = [
    "CNGNN",
    "EGNN",
    "FAGNN",
    "HEADS",
    "Backbone",
    "ClassHead",
    "CompiledPotential",
    "DeepSetsCanonicalizer",
    "DipoleHead",
    "DirectPotential",
    "DiscreteCanonicalizer",
    "EGNNConfig",
    "EnergyCanonicalizer",
    "FAENet",
    "FAENetConfig",
    "GramSchmidtCanonicalizer",
    "Head",
    "HeadModel",
    "InvariantCombination",
    "ModelConfig",
    "NodeVectorHead",
    "ParticleGNN",
    "PluginWarning",
    "Potential",
    "ReferenceEnergies",
    "ScalarHead",
    "SetCombination",
    "VNDeepSets",
    "VNInvariantHead",
    "VNPointNet",
    "ZBLRepulsion",
    "build",
    "compile_potential",
    "distinct_vectors_loss",
    "from_spec",
    "get",
    "head_from_spec",
    "images",
    "load",
    "names",
    "points",
    "read_metadata",
    "register",
    "save",
]

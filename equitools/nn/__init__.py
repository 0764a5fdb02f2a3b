"""Layers with parameters. Public features are in e3nn's ``mul_ir`` order unless a layer is told otherwise."""

from __future__ import annotations

from equitools.nn.activation import MLP, Gate, NormActivation, PointwiseActivation
from equitools.nn.diagram_linear import DiagramLinear
from equitools.nn.embedding import SpeciesEmbedding, SpeciesIndex, species_index
from equitools.nn.emlp import (
    EMLP,
    EquivariantBilinear,
    EquivariantLinear,
    GatedNonlinearity,
    SoftEquivariantLinear,
    gated,
    uniform_rep,
)
from equitools.nn.finite_conv import FiniteGroupLinear, GroupConv, GroupPool, LiftingConv
from equitools.nn.gaunt import GauntTensorProduct
from equitools.nn.gaunt_blocks import GauntContraction, GauntTensorProductConv
from equitools.nn.gaunt_conv import GauntConvolution
from equitools.nn.layout import to_ir_mul, to_mul_ir
from equitools.nn.lie_conv import LieFibreConv, LieGroupConv, LieLiftingConv, group_pool
from equitools.nn.lie_samples import GroupSamples, PolarChart, PolarSampler, closed_samples
from equitools.nn.linear import Linear
from equitools.nn.masked_norm import MaskedBatchNorm
from equitools.nn.message_passing import InteractionBlock, ProductBlock
from equitools.nn.norm import EquivariantLayerNorm
from equitools.nn.radial import BesselBasis, GaussianBasis, PolynomialEnvelope
from equitools.nn.siren import Siren
from equitools.nn.so2 import SO2Convolution
from equitools.nn.spectral import GroupSpectralConv2d, SpectralConv2d
from equitools.nn.spline_kernel import SplineKernel
from equitools.nn.tensor_product import RadialTensorProductConv, SymmetricContraction, TensorProductConv
from equitools.nn.vector_neurons import (
    VNBatchNorm,
    VNBlock,
    VNCrossProduct,
    VNDropout,
    VNInvariants,
    VNLeakyReLU,
    VNLinear,
    VNMaxPool,
    VNMeanPool,
)

__all__ = [
    "EMLP",
    "MLP",
    "BesselBasis",
    "DiagramLinear",
    "EquivariantBilinear",
    "EquivariantLayerNorm",
    "EquivariantLinear",
    "FiniteGroupLinear",
    "Gate",
    "GatedNonlinearity",
    "GauntContraction",
    "GauntConvolution",
    "GauntTensorProduct",
    "GauntTensorProductConv",
    "GaussianBasis",
    "GroupConv",
    "GroupPool",
    "GroupSamples",
    "GroupSpectralConv2d",
    "InteractionBlock",
    "LieFibreConv",
    "LieGroupConv",
    "LieLiftingConv",
    "LiftingConv",
    "Linear",
    "MaskedBatchNorm",
    "NormActivation",
    "PointwiseActivation",
    "PolarChart",
    "PolarSampler",
    "PolynomialEnvelope",
    "ProductBlock",
    "RadialTensorProductConv",
    "SO2Convolution",
    "Siren",
    "SoftEquivariantLinear",
    "SpeciesEmbedding",
    "SpeciesIndex",
    "SpectralConv2d",
    "SplineKernel",
    "SymmetricContraction",
    "TensorProductConv",
    "VNBatchNorm",
    "VNBlock",
    "VNCrossProduct",
    "VNDropout",
    "VNInvariants",
    "VNLeakyReLU",
    "VNLinear",
    "VNMaxPool",
    "VNMeanPool",
    "closed_samples",
    "gated",
    "group_pool",
    "species_index",
    "to_ir_mul",
    "to_mul_ir",
    "uniform_rep",
]

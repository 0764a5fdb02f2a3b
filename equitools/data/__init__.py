"""Data: reading files, the census of labels, data sets of graphs, splits and statistics."""

from __future__ import annotations

from equitools.data.affine_digits import (
    AFFNIST_RANGES,
    WIDE_RANGES,
    AffineRanges,
    DigitImages,
    affine_images,
    affine_maps,
    small_digits,
    stratified_split,
    upright_digits,
    warp,
)
from equitools.data.census import Census, LabelSummary, census, require, suspicions
from equitools.data.converters import CONVERTERS, FACTORS, stress_from_virial, stress_matrix, virial_from_stress
from equitools.data.datasets import Dataset, collate
from equitools.data.digit_files import MNIST_FILES, padded, read_affnist, read_homnist, read_idx, read_mnist
from equitools.data.inertia import BrokenInertia, broken_inertia, inertia_tensor
from equitools.data.labels import STANDARD_KEYS, structure_from_atoms
from equitools.data.navier_stokes import (
    gaussian_random_field,
    solve_navier_stokes,
    symmetric_forcing,
    symmetric_navier_stokes,
    velocity,
)
from equitools.data.nbody import (
    NBODY_DRAWN,
    NBodyData,
    charged_nbody,
    charged_trajectories,
    draw_charged_particles,
)
from equitools.data.particle_interaction import ParticleInteraction, matrix_element, particle_interaction
from equitools.data.qm9 import QM9_TARGETS, qm9_split, read_atomref, read_exclusions, read_qm9, subtract_atomref
from equitools.data.read import read
from equitools.data.rmd17 import read_npz, read_rmd17_split
from equitools.data.solids import SOLIDS, Solids, rotated, solids, unit_ball
from equitools.data.splits import fingerprint, read_split, split, write_split
from equitools.data.statistics import (
    ReferenceFit,
    Statistics,
    average_energies,
    fit_reference_energies,
    isolated_energies,
    reference_energies,
    reference_fit,
    reference_sums,
    statistics,
)
from equitools.data.structure import Structure
from equitools.data.two_body import TwoBodyOrbits, two_body_invariants, two_body_orbits

__all__ = [
    "AFFNIST_RANGES",
    "CONVERTERS",
    "FACTORS",
    "MNIST_FILES",
    "NBODY_DRAWN",
    "QM9_TARGETS",
    "SOLIDS",
    "STANDARD_KEYS",
    "WIDE_RANGES",
    "AffineRanges",
    "BrokenInertia",
    "Census",
    "Dataset",
    "DigitImages",
    "LabelSummary",
    "NBodyData",
    "ParticleInteraction",
    "ReferenceFit",
    "Solids",
    "Statistics",
    "Structure",
    "TwoBodyOrbits",
    "affine_images",
    "affine_maps",
    "average_energies",
    "broken_inertia",
    "census",
    "charged_nbody",
    "charged_trajectories",
    "collate",
    "draw_charged_particles",
    "fingerprint",
    "fit_reference_energies",
    "gaussian_random_field",
    "inertia_tensor",
    "isolated_energies",
    "matrix_element",
    "padded",
    "particle_interaction",
    "qm9_split",
    "read",
    "read_affnist",
    "read_atomref",
    "read_exclusions",
    "read_homnist",
    "read_idx",
    "read_mnist",
    "read_npz",
    "read_qm9",
    "read_rmd17_split",
    "read_split",
    "reference_energies",
    "reference_fit",
    "reference_sums",
    "require",
    "rotated",
    "small_digits",
    "solids",
    "solve_navier_stokes",
    "split",
    "statistics",
    "stratified_split",
    "stress_from_virial",
    "stress_matrix",
    "structure_from_atoms",
    "subtract_atomref",
    "suspicions",
    "symmetric_forcing",
    "symmetric_navier_stokes",
    "two_body_invariants",
    "two_body_orbits",
    "unit_ball",
    "upright_digits",
    "velocity",
    "virial_from_stress",
    "warp",
    "write_split",
]

"""Data: reading files, the census of labels, data sets of graphs, splits and statistics."""

from __future__ import annotations

from equitools.data.census import Census, LabelSummary, census, require, suspicions
from equitools.data.converters import CONVERTERS, FACTORS, stress_from_virial, stress_matrix, virial_from_stress
from equitools.data.datasets import Dataset, collate
from equitools.data.labels import STANDARD_KEYS, structure_from_atoms
from equitools.data.read import read
from equitools.data.rmd17 import read_npz, read_rmd17_split
from equitools.data.splits import fingerprint, read_split, split, write_split
from equitools.data.statistics import (
    ReferenceFit,
    Statistics,
    average_energies,
    fit_reference_energies,
    isolated_energies,
    reference_energies,
    reference_sums,
    statistics,
)
from equitools.data.structure import Structure

__all__ = [
    "CONVERTERS",
    "FACTORS",
    "STANDARD_KEYS",
    "Census",
    "Dataset",
    "LabelSummary",
    "ReferenceFit",
    "Statistics",
    "Structure",
    "average_energies",
    "census",
    "collate",
    "fingerprint",
    "fit_reference_energies",
    "isolated_energies",
    "read",
    "read_npz",
    "read_rmd17_split",
    "read_split",
    "reference_energies",
    "reference_sums",
    "require",
    "split",
    "statistics",
    "stress_from_virial",
    "stress_matrix",
    "structure_from_atoms",
    "suspicions",
    "virial_from_stress",
    "write_split",
]

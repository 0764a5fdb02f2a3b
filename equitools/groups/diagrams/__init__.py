"""Equivariant linear maps between tensor powers of ℝⁿ, as diagrams, for S_n, A_n, O(n), SO(n) and Sp(n)."""

from __future__ import annotations

from equitools.groups.diagrams.algebra import compose, identity, tensor, transpose
from equitools.groups.diagrams.basis import gram_matrix, independent_set, is_independent
from equitools.groups.diagrams.counting import (
    GROUPS,
    bell_number,
    hom_dimension,
    matching_number,
    number_of_diagrams,
    restricted_bell_number,
    stirling_number,
)
from equitools.groups.diagrams.diagram import Diagram
from equitools.groups.diagrams.enumeration import (
    brauer_diagrams,
    jellyfish_diagrams,
    levi_civita_diagrams,
    partition_diagrams,
    spanning_set,
)
from equitools.groups.diagrams.matrices import diagram_matrix

__all__ = [
    "GROUPS",
    "Diagram",
    "bell_number",
    "brauer_diagrams",
    "compose",
    "diagram_matrix",
    "gram_matrix",
    "hom_dimension",
    "identity",
    "independent_set",
    "is_independent",
    "jellyfish_diagrams",
    "levi_civita_diagrams",
    "matching_number",
    "number_of_diagrams",
    "partition_diagrams",
    "restricted_bell_number",
    "spanning_set",
    "stirling_number",
    "tensor",
    "transpose",
]

"""Make any network equivariant: frames, canonicalization, group averages. Functions first, wrappers compose them."""

from __future__ import annotations

from equitools.symmetrize.completion import rotation_design
from equitools.symmetrize.degenerate import Degeneracy, degeneracy
from equitools.symmetrize.frame_set import Frames
from equitools.symmetrize.frames import canonicalize, frames
from equitools.symmetrize.gram_schmidt import degenerate_vectors, gram_schmidt, vectors_needed
from equitools.symmetrize.gram_schmidt_frames import gram_schmidt_frames
from equitools.symmetrize.group_average import GroupAverage, symmetric_group
from equitools.symmetrize.lorentz_frames import lorentz_frames
from equitools.symmetrize.mds import Scaling, TinvNet, mds_coordinates
from equitools.symmetrize.orbit import orbit_distance, orbit_invariants, orbit_project, orbit_projectable
from equitools.symmetrize.orbit_symmetrize import Estimate, OrbitSymmetrize
from equitools.symmetrize.permutation_actions import act_on_edges, act_on_nodes
from equitools.symmetrize.permutation_frames import permutation_frames
from equitools.symmetrize.prior import identity_metric, identity_prior
from equitools.symmetrize.quadrature import rotation_quadrature
from equitools.symmetrize.representations import Representation, act, fold, inverse, parse_representation, unfold
from equitools.symmetrize.symmetrized import Symmetrized
from equitools.symmetrize.weighted_frames import weighted_frames
from equitools.symmetrize.wrappers import Canonicalize, FrameAverage, StochasticFrameAverage

__all__ = [
    "Canonicalize",
    "Degeneracy",
    "Estimate",
    "FrameAverage",
    "Frames",
    "GroupAverage",
    "OrbitSymmetrize",
    "Representation",
    "Scaling",
    "StochasticFrameAverage",
    "Symmetrized",
    "TinvNet",
    "act",
    "act_on_edges",
    "act_on_nodes",
    "canonicalize",
    "degeneracy",
    "degenerate_vectors",
    "fold",
    "frames",
    "gram_schmidt",
    "gram_schmidt_frames",
    "identity_metric",
    "identity_prior",
    "inverse",
    "lorentz_frames",
    "mds_coordinates",
    "orbit_distance",
    "orbit_invariants",
    "orbit_project",
    "orbit_projectable",
    "parse_representation",
    "permutation_frames",
    "rotation_design",
    "rotation_quadrature",
    "symmetric_group",
    "unfold",
    "vectors_needed",
    "weighted_frames",
]

"""Make any network equivariant: frames, canonicalization, group averages. Functions first, wrappers compose them."""

from __future__ import annotations

from equitools.symmetrize.completion import rotation_design
from equitools.symmetrize.frame_set import Frames
from equitools.symmetrize.frames import Degeneracy, canonicalize, degeneracy, frames
from equitools.symmetrize.gram_schmidt import gram_schmidt, vectors_needed
from equitools.symmetrize.prior import identity_metric, identity_prior
from equitools.symmetrize.representations import Representation, act, fold, inverse, parse_representation, unfold
from equitools.symmetrize.weighted_frames import gram_schmidt_frames
from equitools.symmetrize.wrappers import Canonicalize, FrameAverage, StochasticFrameAverage, Symmetrized

__all__ = [
    "Canonicalize",
    "Degeneracy",
    "FrameAverage",
    "Frames",
    "Representation",
    "StochasticFrameAverage",
    "Symmetrized",
    "act",
    "canonicalize",
    "degeneracy",
    "fold",
    "frames",
    "gram_schmidt",
    "gram_schmidt_frames",
    "identity_metric",
    "identity_prior",
    "inverse",
    "parse_representation",
    "rotation_design",
    "unfold",
    "vectors_needed",
]

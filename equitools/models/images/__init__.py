"""Networks on images and fields on grids: tensors ``[B, C, *spatial]`` instead of graphs."""

from __future__ import annotations

from equitools.models.images.fno import FNO
from equitools.models.images.gfno import GFNO
from equitools.models.images.lie_classifier import ConvClassifier, LieClassifier, matched_cnn, num_parameters

__all__ = ["FNO", "GFNO", "ConvClassifier", "LieClassifier", "matched_cnn", "num_parameters"]

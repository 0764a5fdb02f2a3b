"""Networks on images and fields: ``net(images [B, C, H, W])``."""

from __future__ import annotations

from equitools.models.images.fno import FNO
from equitools.models.images.gfno import GFNO

__all__ = ["FNO", "GFNO"]
"""Networks on images."""

from __future__ import annotations

from equitools.models.images.lie_classifier import ConvClassifier, LieClassifier, matched_cnn, num_parameters

__all__ = ["ConvClassifier", "LieClassifier", "matched_cnn", "num_parameters"]

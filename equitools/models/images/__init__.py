"""Networks on images."""

from __future__ import annotations

from equitools.models.images.lie_classifier import ConvClassifier, LieClassifier, matched_cnn, num_parameters

__all__ = ["ConvClassifier", "LieClassifier", "matched_cnn", "num_parameters"]

"""Batch normalisation over what is real."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError

__all__ = ["MaskedBatchNorm"]


class MaskedBatchNorm(torch.nn.BatchNorm1d):
    """Batch normalisation of ``[..., C]`` whose statistics leave padding out.

    Parameters, buffers and their names are those of `torch.nn.BatchNorm1d`.

    Properties:
        padding_is_nothing: output, statistics and gradients are those of the real entries alone.
        plain_without_mask: without a mask it is torch's layer.
    """

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise.

        Args:
            x: ``[..., C]``.
            mask: ``[...]`` bool, ``True`` for a real entry; ``None``: all are. In training, padding becomes zero.

        Returns:
            The shape of ``x``.

        Raises:
            ShapeError: The shapes do not fit, or a single entry is to be normalised in training.
        """
        if x.ndim < 2 or x.shape[-1] != self.num_features:
            raise ShapeError(f"This layer normalises [..., {self.num_features}], the tensor is {list(x.shape)}.")
        if mask is not None and (mask.dtype != torch.bool or mask.shape != x.shape[:-1]):
            raise ShapeError(
                f"The mask of {list(x.shape)} must be bool {list(x.shape[:-1])}, it is {mask.dtype} {list(mask.shape)}."
            )
        own = self.training or self.running_mean is None  # statistics of this batch
        if mask is None or not own:
            return self._rows(x.reshape(-1, self.num_features), own).reshape(x.shape)
        rows = self._rows(x[mask], own)
        return torch.zeros_like(x).masked_scatter(mask.unsqueeze(-1), rows)

    def _rows(self, rows: Tensor, own: bool) -> Tensor:
        if len(rows) == 0:
            return rows
        if own and len(rows) == 1:
            raise ShapeError(
                "Batch normalisation in training needs more than one entry to take statistics of, there is one. Give "
                "a larger batch, call eval(), or build the network with another norm."
            )
        return super().forward(rows)

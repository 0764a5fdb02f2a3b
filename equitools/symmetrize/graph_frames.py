"""Frames of S_n under the modes and policies that frames of clouds have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.symmetrize.degenerate import raise_if
from equitools.symmetrize.frame_set import Frames
from equitools.symmetrize.permutation_frames import permutation_frames

__all__ = ["frames_of_graphs"]


def frames_of_graphs(
    adjacency: Tensor,
    mask: Tensor | None,
    mode: str,
    options: Mapping[str, Any],
    features: Sequence[Tensor] = (),
    invariant: bool = True,
) -> Frames:
    """Return frames of S_n under the modes and policies of `frames`.

    Args:
        adjacency: ``[B, n, n]``.
        mask: Real nodes ``[B, n]``.
        mode: "full", "sample" or "canonical".
        options: ``degenerate``, ``samples`` and ``generator`` of `frames`.
        features: What belongs to nodes, ``[B, n, ...]`` each: it tells them apart.
        invariant: Only invariants of the adjacency and the features are asked for: then one numbering is enough for
            mode "canonical", else all that the automorphisms leave are.

    Returns:
        `Frames`.

    Raises:
        ConfigError: Mode "weighted", which does not exist.
        DegenerateFrameError: Automorphisms under ``degenerate="raise"``.
    """
    if mode == "weighted":
        raise ConfigError(
            "Frames of S_n cannot be continuous (Dym et al., 2024): mode='weighted' does not exist for them. Use "
            "'full', 'sample' or 'canonical', or pool in the network."
        )
    refuse = options["degenerate"] == "raise"
    drawn = "full" if refuse or (mode == "canonical" and not invariant) else mode
    rows = [value.detach().to(adjacency.dtype) for value in features]
    told = torch.cat([v.flatten(2) if v.ndim > 2 else v.unsqueeze(-1) for v in rows], -1) if rows else None
    found = permutation_frames(
        adjacency,
        mask,
        drawn,
        features=told,
        refine=True,
        samples=options["samples"],
        generator=options["generator"],
    )
    if refuse:
        raise_if((found.weights > 0).sum(1) > 1, "automorphisms", "the numbering of its nodes is not unique")
    return found

"""Structures as graphs: `Graph`, the keys of its tensors, neighbour lists and batching."""

from __future__ import annotations

from equitools.graph.batching import batch, unbatch
from equitools.graph.graph import Graph
from equitools.graph.keys import KEYS, KeySpec
from equitools.graph.neighbours import neighbour_list, neighbour_list_brute_force

__all__ = ["KEYS", "Graph", "KeySpec", "batch", "neighbour_list", "neighbour_list_brute_force", "unbatch"]

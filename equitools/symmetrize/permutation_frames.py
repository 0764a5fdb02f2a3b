"""Frames of S_n for graphs: a few numberings of the nodes that move along when the nodes are renumbered.

The nodes are sorted by what a numbering cannot change (`equitools.symmetrize.permutation_order`). If no two nodes tie,
that is one numbering; ties are averaged over, sampled, or resolved by a search.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from equitools.errors import ConfigError, nearest
from equitools.symmetrize.frame_set import Frames
from equitools.symmetrize.node_search import Integers, smallest_numberings
from equitools.symmetrize.permutation_order import dense_rank, ordered_classes

__all__ = ["PERMUTATION_MODES", "permutation_frames"]

#: What `permutation_frames` can return.
PERMUTATION_MODES = ("full", "sample", "canonical")


def permutation_frames(
    adjacency: Tensor,
    mask: Tensor | None = None,
    mode: str = "full",
    *,
    features: Tensor | None = None,
    refine: bool = False,
    samples: int = 1,
    generator: torch.Generator | None = None,
    tolerance: float = 1e-4,
    eigenvalue_tolerance: float = 1e-6,
    max_frames: int = 5040,
) -> Frames:
    """Return permutation matrices g that number the nodes of graphs: g⁻¹ A g is the adjacency in its own order.

    Numberings are discrete: the elements are constants to autograd. Weights that move through a tie make them jump;
    no frame of S_n with few elements can be continuous (Dym, Lawrence and Siegel, ICML 2024, arXiv 2402.16077).

    Args:
        adjacency: ``[B, n, n]``, symmetric; weights of either sign, the diagonal holds self-loops.
        mask: ``[B, n]``, true for nodes that are there; the others are numbered last. ``None``: all.
        mode: ``"full"``: all numberings of the frame. ``"sample"``: ``samples`` of them, drawn uniformly (with
            replacement): unbiased. ``"canonical"``: one. Without ``refine``, tied nodes stay in the order in which they
            came, so that it is exact only where tied nodes can be exchanged without changing the graph. With
            ``refine``, invariant outputs are exact for every graph; outputs per node are exact where the graph has no
            automorphism but the identity (else take ``"full"``).
        features: ``[B, n, C]``: the nodes are ordered by these first.
        refine: Resolve ties by a search (individualisation and refinement) in place of trying all permutations of
            tied nodes. The frame then has one element for each automorphism of the graph, fewer is impossible; a
            cycle of 8 nodes has 16 in place of 40320.
        samples: How many elements ``"sample"`` draws.
        generator: Source of randomness of ``"sample"``.
        tolerance: Values with gaps no larger than this tie, see `ordered_classes`; with ``refine`` also edge weights,
            relative to the largest.
        eigenvalue_tolerance: Relative distance within which eigenvalues share an eigenspace.
        max_frames: Most elements (with ``refine``: most numberings looked at) of one graph.

    Returns:
        Elements ``[B, F, n, n]`` in the dtype of ``adjacency`` (float64 if that is no floating-point type) and weights
        ``[B, F]``; each row of weights sums to 1. Graphs with fewer elements are filled up with weight zero.

    Raises:
        ConfigError: There is no such mode, or a graph has more than ``max_frames`` elements; the message says how many.
        ShapeError: The tensors do not fit together.
        GraphError: The adjacency is not symmetric, or something is not finite.

    Properties:
        frames_move_with_nodes: the frame of the renumbered graph is the renumbered frame.
        one_for_each_automorphism: with ``refine``, a graph has as many elements as automorphisms.
        samples_are_uniform: every element of the frame is drawn equally often.

    Source: Puny et al., ICLR 2022 (arXiv 2110.03336), section 3.3; the search is McKay's, see
        `equitools.symmetrize.node_search`.
    """
    if mode not in PERMUTATION_MODES:
        raise ConfigError(f"Frames of S_n have no mode {mode!r}. {nearest(mode, PERMUTATION_MODES)}")
    if samples < 1 or max_frames < 1:
        raise ConfigError(f"samples and max_frames must be at least 1, not {samples} and {max_frames}.")
    classes = ordered_classes(adjacency, mask, features, tolerance=tolerance, eigenvalue_tolerance=eigenvalue_tolerance)
    mask = torch.ones_like(classes, dtype=torch.bool) if mask is None else mask
    if refine:
        orders, weights = _searched(classes, _edge_kinds(adjacency, mask, tolerance), mask, mode, max_frames)
    elif mode == "full":
        orders, weights = _all_tied(classes, mask, max_frames)
    else:
        keys = _shuffled(classes, samples, generator) if mode == "sample" else classes[:, None]
        orders = torch.argsort(keys, dim=-1, stable=True)
        weights = torch.full(orders.shape[:2], 1 / orders.shape[1], dtype=torch.float64)
    if refine and mode == "sample":
        orders, weights = _drawn(orders, weights, samples, generator)
    dtype = adjacency.dtype if adjacency.is_floating_point() else torch.float64
    return Frames(_matrices(orders.to(adjacency.device), dtype), weights.to(adjacency.device, dtype))


def _matrices(orders: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn numberings ``[B, F, n]`` (the node in place k) into matrices with g[order[k], k] = 1."""
    eye = torch.eye(orders.shape[-1], dtype=dtype, device=orders.device)
    return eye[orders].transpose(-1, -2)


def _shuffled(classes: Tensor, samples: int, generator: torch.Generator | None) -> Tensor:
    """Keys ``[B, samples, n]`` that sort by class, and at random within a class."""
    device = classes.device if generator is None else generator.device
    noise = torch.rand(
        classes.shape[0], samples, classes.shape[1], generator=generator, dtype=torch.float64, device=device
    )
    return classes[:, None] + noise.to(classes.device)


def _drawn(orders: Tensor, weights: Tensor, samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    if len(orders) == 0:
        return orders[:, :1].expand(-1, samples, -1), weights[:, :1].expand(-1, samples)
    device = orders.device if generator is None else generator.device
    chosen = torch.multinomial(weights.to(device), samples, replacement=True, generator=generator).to(orders.device)
    uniform = torch.full_like(chosen, 1, dtype=torch.float64) / samples
    return orders.gather(1, chosen[..., None].expand(-1, -1, orders.shape[-1])), uniform


def _edge_kinds(adjacency: Tensor, mask: Tensor, tolerance: float) -> Tensor:
    """Number the different edge weights of each graph, ``[B, n, n]``."""
    pair = mask[:, :, None] & mask[:, None, :]
    weights = torch.where(pair, adjacency.detach().double(), 0.0).flatten(1)
    if weights.numel() == 0:
        return torch.zeros_like(adjacency, dtype=torch.int64)
    scale = weights.abs().amax(-1, keepdim=True)
    kinds = dense_rank(weights / torch.where(scale > 0, scale, 1.0), tolerance).reshape(adjacency.shape)
    # a rounding error must not make the two directions of an edge different
    return torch.minimum(kinds, kinds.transpose(1, 2))


def _searched(classes: Tensor, kinds: Tensor, mask: Tensor, mode: str, max_frames: int) -> tuple[Tensor, Tensor]:
    found: list[list[Integers]] = []
    for index, (own, edges, there) in enumerate(zip(classes.cpu(), kinds.cpu(), mask.cpu(), strict=True)):
        real = torch.nonzero(there)[:, 0].numpy()
        numberings = smallest_numberings(
            own.numpy()[real], edges.numpy()[np.ix_(real, real)], max_frames, every=mode != "canonical"
        )
        if numberings is None:
            raise ConfigError(
                f"Graph {index} of the batch is so symmetric that the search for its frame meets more than "
                f"max_frames={max_frames} numberings. Raise max_frames, tell its nodes apart by features, "
                f"or, without refine, take mode='sample'."
            )
        if mode == "canonical":
            numberings = numberings[:1]
        absent = torch.nonzero(~there)[:, 0].numpy()
        found.append([np.concatenate([real[order], absent]) for order in numberings])
    return _stacked(found, classes.shape[-1])


def _all_tied(classes: Tensor, mask: Tensor, max_frames: int) -> tuple[Tensor, Tensor]:
    found = []
    for index, (own, there) in enumerate(zip(classes.cpu(), mask.cpu(), strict=True)):
        groups = [
            torch.nonzero((own == k) & there)[:, 0].tolist() for k in range(int(own.max()) + 1 if len(own) else 0)
        ]
        count = math.prod(math.factorial(len(group)) for group in groups)
        if count > max_frames:
            sizes = [len(group) for group in groups if len(group) > 1]
            raise ConfigError(
                f"The frame of graph {index} of the batch has {count} elements (tied nodes: classes of {sizes}), more "
                f"than max_frames={max_frames}. Take refine=True or mode='sample', or tell its nodes apart by features."
            )
        absent = torch.nonzero(~there)[:, 0].tolist()
        tied = itertools.product(*(itertools.permutations(group) for group in groups))
        found.append([np.array([*itertools.chain.from_iterable(parts), *absent], dtype=np.int64) for parts in tied])
    return _stacked(found, classes.shape[-1])


def _stacked(found: list[list[Integers]], size: int) -> tuple[Tensor, Tensor]:
    """Stack numberings ``[B, F, n]``; shorter lists repeat their first with weight zero."""
    longest = max((len(numberings) for numberings in found), default=1)
    orders = np.zeros((len(found), longest, size), dtype=np.int64)
    weights = np.zeros((len(found), longest))
    for row, numberings in enumerate(found):
        orders[row] = numberings[0]
        orders[row, : len(numberings)] = np.stack(numberings)
        weights[row, : len(numberings)] = 1 / len(numberings)
    return torch.from_numpy(orders), torch.from_numpy(weights)

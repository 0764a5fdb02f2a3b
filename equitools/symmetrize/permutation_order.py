"""An ordered partition of the nodes of a graph that does not depend on how they are numbered.

Every node gets a row of numbers that a renumbering of the nodes only moves: its features, its self-loop, and its share
in each eigenspace of the graph's Laplacian. Rows are compared from the left, as words in a dictionary are; nodes with
equal rows are tied and form a class.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import GraphError, ShapeError

__all__ = ["dense_rank", "laplacian_shares", "ordered_classes"]


def dense_rank(values: Tensor, tolerance: float = 0.0) -> Tensor:
    """Number the clusters of the values in each row, from 0 for the smallest.

    A cluster ends where the gap to the next larger value exceeds the tolerance. Plain rounding would put a border at
    fixed places, and a symmetric graph has values exactly there (1/8 between 0.12 and 0.13), which an error of 1e-16
    then moves to one side or the other. Here values that differ by rounding errors always stay together; what can flip
    is a gap that is itself equal to the tolerance up to rounding.

    Args:
        values: ``[..., n]``, integers or floating-point numbers; infinities are one cluster.
        tolerance: Largest gap within a cluster.

    Returns:
        ``[..., n]``, int64.

    Properties:
        borders_do_not_split: values next to a rounding border share a cluster.
    """
    if values.shape[-1] == 0:
        return torch.zeros_like(values, dtype=torch.int64)
    ordered, order = values.sort(dim=-1)
    gap = (ordered[..., 1:] - ordered[..., :-1]) > tolerance  # inf − inf is not a number, and no gap
    rank = torch.nn.functional.pad(gap.long(), (1, 0)).cumsum(-1)
    return torch.zeros_like(rank).scatter(-1, order, rank)


def laplacian_shares(adjacency: Tensor, mask: Tensor, eigenvalue_tolerance: float = 1e-6) -> Tensor:
    """Return how much of each node lies in each eigenspace of the Laplacian ``D − A``.

    For a simple eigenvalue that is the absolute value of the eigenvector's component, for an eigenspace of dimension m
    the length of the node's row of m components: numbers that no choice of basis changes.

    Args:
        adjacency: ``[B, n, n]``, float64, symmetric.
        mask: ``[B, n]``, true for nodes that are there.
        eigenvalue_tolerance: Neighbouring eigenvalues that differ by no more than this times the largest absolute one
            belong to one eigenspace. Eigenvectors of eigenvalues at a relative distance δ are known to about ε/δ
            (ε = 2e-16), so that 1e-6 leaves shares that are good to nine digits.

    Returns:
        ``[B, n, n]``: column k for the k-th eigenspace, eigenvalues ascending; columns that are left over are zero.

    Properties:
        shares_move_with_nodes: renumbering the nodes permutes the rows.
    """
    if adjacency.shape[-1] == 0:
        return adjacency
    pair = mask[:, :, None] & mask[:, None, :]
    weights = torch.where(pair, adjacency, 0.0)
    largest = weights.abs().amax((1, 2), keepdim=True)
    weights = weights / torch.where(largest > 0, largest, 1.0)  # so that the unit of the weights does not matter
    # a node that is not there gets an eigenvalue of its own kind, beyond all others, and mixes with none of them
    bound = 2 * weights.abs().sum(-1).amax(-1, keepdim=True) + 1
    diagonal = torch.where(mask, weights.sum(-1), bound)
    values, vectors = torch.linalg.eigh(torch.diag_embed(diagonal) - weights)
    real = values < bound - 0.5
    scale = torch.where(real, values.abs(), 0.0).amax(-1, keepdim=True)
    space = dense_rank(values / torch.where(scale > 0, scale, 1.0), eigenvalue_tolerance)
    squares = vectors.square() * real[:, None, :]
    shares = torch.zeros_like(squares).scatter_add(-1, space[:, None, :].expand_as(squares), squares)
    return shares.sqrt()


def ordered_classes(
    adjacency: Tensor,
    mask: Tensor | None = None,
    features: Tensor | None = None,
    *,
    tolerance: float = 1e-4,
    eigenvalue_tolerance: float = 1e-6,
) -> Tensor:
    """Sort the nodes of graphs into ordered classes of nodes that look alike.

    Args:
        adjacency: ``[B, n, n]``, symmetric; weights of either sign, the diagonal holds self-loops.
        mask: ``[B, n]``, true for nodes that are there; ``None``: all.
        features: ``[B, n, C]``: nodes are ordered by these first.
        tolerance: Values with gaps no larger than this are equal: absolute for shares (which lie between 0 and 1),
            relative to the largest absolute value for self-loops and for each feature.
        eigenvalue_tolerance: As in `laplacian_shares`.

    Returns:
        ``[B, n]``, int64: 0 for the first class, 1 for the second, …; nodes that are not there come last.

    Raises:
        ShapeError: The tensors do not fit together.
        GraphError: The adjacency is not symmetric, or something is not finite.

    Properties:
        classes_move_with_nodes: renumbering the nodes permutes the classes.

    Source: Puny et al., ICLR 2022 (arXiv 2110.03336), section 3.3: lexicographic order by Laplacian eigenvectors.
    """
    adjacency, mask, features = _checked(adjacency, mask, features)
    shares = laplacian_shares(adjacency, mask, eigenvalue_tolerance)
    columns = torch.cat([_relative(features, mask), _relative(adjacency.diagonal(dim1=1, dim2=2)[..., None], mask)], -1)
    columns = torch.cat([columns, shares], -1).masked_fill(~mask[..., None], torch.inf)
    ranks = dense_rank(columns.transpose(1, 2), tolerance)  # [B, columns, n]
    classes = (~mask).long()
    for column in ranks.unbind(1):
        classes = dense_rank(classes * (adjacency.shape[-1] + 1) + column)
    return classes


def _relative(values: Tensor, mask: Tensor) -> Tensor:
    """Divide each column ``[B, n, C]`` by its largest absolute value."""
    if values.numel() == 0:
        return values
    values = torch.where(mask[..., None], values, 0.0)
    scale = values.abs().amax(1, keepdim=True)
    return values / torch.where(scale > 0, scale, 1.0)


def _checked(adjacency: Tensor, mask: Tensor | None, features: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return all three in float64 (ordering is not differentiated, and small gaps need the digits)."""
    if adjacency.ndim != 3 or adjacency.shape[1] != adjacency.shape[2] or adjacency.is_complex():
        raise ShapeError(f"Frames of S_n need real adjacency matrices [B, n, n], given {list(adjacency.shape)}.")
    batch, size = adjacency.shape[:2]
    if mask is None:
        mask = torch.ones(batch, size, dtype=torch.bool, device=adjacency.device)
    if mask.shape != (batch, size) or mask.dtype != torch.bool:
        raise ShapeError(
            f"mask must be bool [{batch}, {size}] (true: the node is there), given {mask.dtype} {list(mask.shape)}."
        )
    if features is None:
        features = adjacency.new_zeros(batch, size, 0)
    if features.ndim != 3 or features.shape[:2] != (batch, size):
        raise ShapeError(f"Node features must be [{batch}, {size}, C], given {list(features.shape)}.")
    pair = mask[:, :, None] & mask[:, None, :]
    adjacency = torch.where(pair, adjacency.detach().double(), 0.0)
    features = torch.where(mask[..., None], features.detach().double(), 0.0)
    if not (adjacency.isfinite().all() and features.isfinite().all()):
        raise GraphError("The adjacency or the node features hold NaN or infinity, which cannot be ordered.")
    if adjacency.numel():
        uneven = (adjacency - adjacency.transpose(1, 2)).abs().amax((1, 2)) > 1e-6 * adjacency.abs().amax((1, 2))
        if bool(uneven.any()):
            raise GraphError(
                f"Adjacency {int(uneven.nonzero()[0])} of the batch is not symmetric. For a directed graph order by "
                f"(A + Aᵀ)/2, and hand A to the network as an input of its own."
            )
    return adjacency, mask, features

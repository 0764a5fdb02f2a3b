"""Neighbour lists: which atoms, and which of their periodic images, lie within the cutoff of each other.

The search itself is vesin's. Before it, the problem is brought into a form that leaves no corner cases: atoms are
wrapped into the cell along periodic axes, and each non-periodic axis gets a lattice vector at right angles to the
others and long enough that no image comes into reach, whatever vector (or none) the user gave it. Afterwards the wrap
is undone in the shifts, distances are compared with the cutoff once more in float64, and the edges are put into one
fixed order. `neighbour_list_brute_force` is the slow definition that all this is tested against.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equitools.errors import GraphError
from equitools.graph.checks import check_cell, check_cutoff, check_finite, check_shape

__all__ = ["neighbour_list", "neighbour_list_brute_force"]

# vesin is asked for a hair more than the cutoff, so that its own rounding never loses an edge that we would keep
MARGIN = 1e-9


def neighbour_list(positions: Any, cell: Any, pbc: Any, cutoff: float) -> tuple[Tensor, Tensor]:
    """Find all pairs (j, S) → i with ``|r_j − r_i + S·cell| < cutoff``.

    An atom is a neighbour of its own images, but not of itself (j = i with S = 0).

    Args:
        positions: ``[N, 3]`` Å, array or tensor; need not lie inside the cell.
        cell: ``[3, 3]`` Å, rows are lattice vectors; those of non-periodic axes are ignored and may be zero.
        pbc: ``[3]`` bool.
        cutoff: Å.

    Returns:
        ``edge_index [2, E]`` int64 (row 0 sender j, row 1 receiver i) and ``edge_shift [E, 3]`` float64 with whole
        numbers S; both on the CPU; sorted by (receiver, sender, S).

    Raises:
        GraphError: if an input has the wrong shape or is not finite, a periodic axis has a zero cell vector, or the
            periodic vectors are linearly dependent.

    Properties:
        equals_brute_force: the same edges as `neighbour_list_brute_force` for any mix of periodic axes, skewed,
            rotated, left-handed and tiny cells, and unwrapped positions.
        symmetric: with (j, S) → i there is (i, −S) → j.
    """
    points, lattice, periodic = _checked(positions, cell, pbc, cutoff)
    if points.shape[0] == 0 or (points.shape[0] == 1 and not periodic.any()):
        return _empty()
    box = _complete(points, lattice, periodic, cutoff)
    fractional = points @ np.linalg.inv(box)
    wrap = np.where(periodic, np.floor(fractional), 0.0)
    origin = np.where(periodic, 0.0, fractional.min(axis=0))
    receiver, sender, shift = _vesin(points - (wrap + origin) @ box, box, periodic, cutoff * (1.0 + MARGIN))
    shift = shift + wrap[receiver] - wrap[sender]
    vectors = points[sender] - points[receiver] + shift @ np.where(periodic[:, None], lattice, 0.0)
    keep = np.linalg.norm(vectors, axis=1) < cutoff
    return _ordered(sender[keep], receiver[keep], shift[keep])


def neighbour_list_brute_force(positions: Any, cell: Any, pbc: Any, cutoff: float) -> tuple[Tensor, Tensor]:
    """The same as `neighbour_list`, by trying every pair and every image: the oracle of the tests.

    The number of images is bounded by the distance between lattice planes, with the spread of unwrapped positions
    added, so no wrapping is needed. O(N² · images).
    """
    points, lattice, periodic = _checked(positions, cell, pbc, cutoff)
    if points.shape[0] == 0:
        return _empty()
    lattice = np.where(periodic[:, None], lattice, 0.0)
    reach = np.zeros(3, dtype=np.int64)
    if periodic.any():
        # columns of the pseudo-inverse give the fractional coordinate along each periodic axis; |S_k| cannot exceed
        # |dual_k| · cutoff plus the largest difference of fractional coordinates
        dual = np.linalg.pinv(lattice)
        fractional = points @ dual
        spread = fractional.max(axis=0) - fractional.min(axis=0)
        reach = np.where(periodic, np.ceil(np.linalg.norm(dual, axis=0) * cutoff + spread) + 1, 0).astype(np.int64)
    senders, receivers, shifts = [], [], []
    for image in itertools.product(*(range(-int(n), int(n) + 1) for n in reach)):
        vectors = points[None, :, :] - points[:, None, :] + np.asarray(image, dtype=np.float64) @ lattice
        near = np.linalg.norm(vectors, axis=-1) < cutoff
        if not any(image):
            np.fill_diagonal(near, val=False)
        i, j = np.nonzero(near)
        receivers.append(i)
        senders.append(j)
        shifts.append(np.tile(np.asarray(image, dtype=np.float64), (i.shape[0], 1)))
    return _ordered(np.concatenate(senders), np.concatenate(receivers), np.concatenate(shifts))


def _checked(positions: Any, cell: Any, pbc: Any, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions, cell and pbc as float64 and bool arrays, or raise `GraphError`."""
    check_cutoff(float(cutoff))
    points = _array(positions, "positions")
    lattice = _array(cell, "cell")
    flags = torch.as_tensor(np.array(pbc.detach().cpu().numpy() if isinstance(pbc, Tensor) else pbc, dtype=bool))
    if points.ndim == 1 and points.numel() == 0:
        points = points.reshape(0, 3)
    check_shape("positions", points, (None, 3))
    check_shape("cell", lattice, (3, 3))
    check_shape("pbc", flags, (3,))
    check_finite("positions", points)
    check_finite("cell", lattice)
    check_cell(lattice, flags)
    return points.numpy(), lattice.numpy(), flags.numpy()


def _array(values: Any, name: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().to("cpu", torch.float64)
    try:
        return torch.from_numpy(np.array(values, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise GraphError(f"{name} must be an array of numbers, but could not be read as one: {error}.") from error


def _complete(points: np.ndarray, lattice: np.ndarray, periodic: np.ndarray, cutoff: float) -> np.ndarray:
    """Return the lattice with its non-periodic vectors replaced by long ones at right angles to all others."""
    if periodic.all():
        return lattice
    free = np.nonzero(~periodic)[0]
    # the right singular vectors beyond the rank are an orthonormal basis of what the periodic vectors leave over
    rank = int(periodic.sum())
    directions = np.linalg.svd(lattice[periodic], full_matrices=True)[2][rank:] if rank else np.eye(3)
    box = lattice.copy()
    for axis, direction in zip(free, directions, strict=True):
        heights = points @ direction
        box[axis] = direction * (heights.max() - heights.min() + 2.0 * cutoff + 1.0)
    return box


def _vesin(
    points: np.ndarray, box: np.ndarray, periodic: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from vesin import NeighborList

    search = NeighborList(cutoff=cutoff, full_list=True)
    receiver, sender, shift = search.compute(points=points, box=box, periodic=periodic, quantities="ijS")
    return receiver.astype(np.int64), sender.astype(np.int64), shift.astype(np.float64).reshape(-1, 3)


def _ordered(sender: np.ndarray, receiver: np.ndarray, shift: np.ndarray) -> tuple[Tensor, Tensor]:
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], sender, receiver))
    edge_index = torch.from_numpy(np.stack([sender[order], receiver[order]]).astype(np.int64))
    return edge_index, torch.from_numpy(np.ascontiguousarray(shift[order]) + 0.0)


def _empty() -> tuple[Tensor, Tensor]:
    return torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.float64)

"""Checks of a graph's inputs; each raises `GraphError` with one paragraph that names the offender."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.errors import GraphError

__all__ = ["check_atomic_numbers", "check_cell", "check_cutoff", "check_edges", "check_finite", "check_shape"]

AXES = ("a (axis 0)", "b (axis 1)", "c (axis 2)")
HEAVIEST = 118
# a periodic cell is singular where its vectors span less than this part of the box that their lengths would span
SINGULAR = 1e-8


def check_shape(name: str, tensor: Tensor, expected: tuple[int | None, ...]) -> None:
    """Raise unless ``tensor`` has the expected shape; None stands for any size."""
    actual = tuple(tensor.shape)
    if len(actual) != len(expected) or any(e is not None and a != e for a, e in zip(actual, expected, strict=False)):
        wanted = ", ".join("any" if size is None else str(size) for size in expected)
        raise GraphError(f"{name} must have the shape [{wanted}], but has {list(actual)}.")


def check_finite(name: str, tensor: Tensor) -> None:
    """Raise if ``tensor`` holds NaN or infinity, naming the first offending row."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return
    finite = torch.isfinite(tensor.detach())
    if bool(finite.all()):
        return
    rows = (~finite).reshape(finite.shape[0], -1).any(dim=1) if finite.ndim else ~finite.reshape(1)
    count, first = int(rows.sum()), int(torch.nonzero(rows)[0, 0])
    raise GraphError(
        f"{name} must be finite, but {count} of {rows.shape[0]} rows hold NaN or infinity, the first at index {first}. "
        "Repair or remove this configuration."
    )


def check_atomic_numbers(numbers: Tensor) -> None:
    """Raise unless every atomic number lies between 1 and 118."""
    if numbers.is_floating_point() or numbers.dtype == torch.bool:
        raise GraphError(f"atomic_numbers must be integers, but have dtype {numbers.dtype}.")
    bad = (numbers < 1) | (numbers > HEAVIEST)
    if bool(bad.any()):
        first = int(torch.nonzero(bad)[0, 0])
        raise GraphError(
            f"atomic_numbers must lie between 1 and {HEAVIEST}, but atom {first} has {int(numbers[first])} "
            f"({int(bad.sum())} of {numbers.shape[0]} atoms are out of range). Dummy atoms must be removed."
        )


def check_cutoff(cutoff: float) -> None:
    """Raise unless the cutoff is a positive finite length."""
    if not (math.isfinite(cutoff) and cutoff > 0):
        raise GraphError(f"The cutoff must be a positive length in Å, but is {cutoff}.")


def check_cell(cell: Tensor, pbc: Tensor, which: str = "") -> None:
    """Raise if a periodic axis has a zero vector, or if the periodic vectors are linearly dependent.

    Args:
        cell: ``[3, 3]``, rows are lattice vectors, Å.
        pbc: ``[3]`` bool.
        which: Words after "the cell" that say whose cell it is.
    """
    cell = cell.detach().double().cpu()
    flags = pbc.tolist()
    lengths = cell.norm(dim=1)
    for axis, (periodic, length) in enumerate(zip(flags, lengths.tolist(), strict=True)):
        if periodic and length == 0.0:
            raise GraphError(
                f"Axis {AXES[axis]} of the cell{which} is periodic (pbc = {flags}), but its lattice vector is zero. "
                "Give it a lattice vector, or make the axis non-periodic."
            )
    vectors = cell[pbc.cpu()]
    if vectors.shape[0] < 2:
        return
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    if float(torch.linalg.svdvals(unit)[-1]) < SINGULAR:
        raise GraphError(
            f"The periodic lattice vectors of the cell{which} are linearly dependent: {vectors.tolist()} (rows, Å). "
            "They must span as many dimensions as there are periodic axes."
        )


def check_edges(edge_index: Tensor, edge_shift: Tensor, batch: Tensor, pbc: Tensor) -> None:
    """Raise unless the edges are in range, sorted by receiver, within one graph each, and shifted by whole cells."""
    num_nodes = batch.shape[0]
    if edge_index.shape[1] == 0:
        return
    low, high = int(edge_index.min()), int(edge_index.max())
    if low < 0 or high >= num_nodes:
        raise GraphError(
            f"edge_index must hold atom indices from 0 to {num_nodes - 1}, but its values run from {low} to {high}."
        )
    sender, receiver = edge_index
    if bool((receiver[1:] < receiver[:-1]).any()):
        raise GraphError("Edges must be sorted by receiver: edge_index[1] must not descend. Sort the edges first.")
    crossing = batch[sender] != batch[receiver]
    if bool(crossing.any()):
        edge = int(torch.nonzero(crossing)[0, 0])
        raise GraphError(
            f"An edge must stay within one graph, but edge {edge} goes from atom {int(sender[edge])} of graph "
            f"{int(batch[sender[edge]])} to atom {int(receiver[edge])} of graph {int(batch[receiver[edge]])}."
        )
    if bool((edge_shift != edge_shift.round()).any()):
        raise GraphError("edge_shift must hold whole numbers of lattice vectors, but some entries are fractions.")
    if bool(((edge_shift != 0) & ~pbc[batch[receiver]]).any()):
        raise GraphError("edge_shift must be zero along non-periodic axes, but some edges are shifted along one.")

"""Gauss decompositions g = l d u, on the big cell of GL⁺(n), and the Bruhat decomposition g = l w d u, on all of it.

The big cell is where no leading minor vanishes: an open and dense set, but not the group. Near its boundary the factors
grow without bound, and the rounding of g = l d u grows as they do: without exchange of rows nothing can be done about
it. `big_cell_condition` says by how much.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.decompositions.checks import count, need_invertible, need_positive_determinant, need_square

__all__ = ["big_cell_condition", "bruhat", "lu", "lu_log_density"]

_PIVOT_ROUNDINGS = 4  # per row: pivots below so many roundings of the largest entry count as zero


def _eliminate(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gauss elimination without exchange: l, the pivots ``[..., n]``, and u; not finite after a pivot that is zero."""
    n = g.shape[-1]
    columns, rows, pivots, rest = [], [], [], g
    for k in range(n):
        pivot = rest[..., :1, :1]
        column, row = rest[..., :, :1] / pivot, rest[..., :1, :] / pivot
        columns.append(torch.nn.functional.pad(column, (0, 0, k, 0)))
        rows.append(torch.nn.functional.pad(row, (k, 0)))
        pivots.append(pivot[..., 0, 0])
        rest = rest[..., 1:, 1:] - column[..., 1:, :] * rest[..., :1, 1:]
    l, u, eye = torch.cat(columns, -1), torch.cat(rows, -2), torch.eye(n, dtype=g.dtype, device=g.device)
    return torch.tril(l, -1) + eye, torch.stack(pivots, -1), torch.triu(u, 1) + eye


def lu(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parts of g = l d u.

    Args:
        g: ``[..., n, n]`` with positive determinant and no leading minor (determinant of the first k rows and columns)
            that vanishes.

    Returns:
        l ``[..., n, n]`` lower triangular with ones on its diagonal, d ``[..., n, n]`` diagonal (not necessarily
        positive: its entries are quotients of successive leading minors), u ``[..., n, n]`` upper triangular with ones
        on its diagonal. They are unique, and smooth on the big cell.

    Raises:
        ShapeError: Not square matrices, one is singular or has a negative determinant, or a leading minor vanishes to
            rounding.

    Properties:
        lu_round_trip: l d u = g, with an error of rounding times `big_cell_condition`.
        lu_parts_stay_in_their_sets: l and u are unit triangular, d is diagonal.
    """
    need_square(g, "The big cell (LU)")
    need_positive_determinant(g, "The big cell (LU)")
    need_invertible(torch.linalg.svdvals(g.detach()), "The big cell (LU)")
    l, pivots, u = _eliminate(g)
    limit = _PIVOT_ROUNDINGS * g.shape[-1] * torch.finfo(g.dtype).eps
    small = pivots.detach().abs() <= limit * g.detach().abs().amax((-1, -2)).unsqueeze(-1)
    bad = (small | ~pivots.detach().isfinite()).any(-1)
    if bool(bad.any()):
        raise ShapeError(
            f"The big cell (LU): {count(bad)} have a leading minor that vanishes to rounding, and lie outside of the "
            "big cell. `bruhat` decomposes every invertible matrix."
        )
    return l, torch.diag_embed(pivots), u


def big_cell_condition(g: Tensor) -> Tensor:
    """Return by how much the rounding of the round trip of `lu` is larger than one rounding: ``‖ |l| |d| |u| ‖ / ‖g‖``.

    It is 1 for triangular matrices, and grows like the inverse of the smallest leading minor towards the boundary of
    the big cell. The error of l d u is below n roundings of it (Higham, Accuracy and Stability of Numerical Algorithms,
    2002, theorem 9.3).

    Args:
        g: ``[..., n, n]``.

    Returns:
        ``[...]``, infinite where a leading minor is zero.

    Raises:
        ShapeError: Not square matrices.

    Properties:
        lu_error_scales_with_the_minors: the error of the round trip is bounded by it, and it grows like the inverse of
            the minor that goes to zero.
    """
    need_square(g, "The condition of the big cell")
    l, pivots, u = _eliminate(g.detach())
    size = (l.abs() @ (pivots.abs().unsqueeze(-1) * u.abs())).square().sum((-1, -2)).sqrt()
    size = size / g.detach().square().sum((-1, -2)).sqrt()
    return torch.where(size.isfinite(), size, torch.full_like(size, torch.inf))


def lu_log_density(d: Tensor) -> Tensor:
    """Return the logarithm of the density of the Haar measure on the big cell, Π_{i<j} abs(d_i / d_j).

    dg = density dl dλ du, with dl and du the products of the entries beside the diagonal, λ = log abs(d) and dg by
    tr XᵀY. In the leading minors Δ it is Δ₁² … Δ_{n−1}² / Δ_n^{n−1}, which vanishes on the boundary of the cell.

    Args:
        d: ``[..., n, n]`` diagonal.

    Returns:
        ``[...]``.

    Properties:
        densities_are_numeric_jacobians: it is the logarithm of the determinant of the map's derivative.
    """
    need_square(d, "The density of the big cell")
    values = torch.diagonal(d, dim1=-2, dim2=-1).abs().log()
    n = values.shape[-1]
    return (values * torch.arange(n - 1, -n, -2, dtype=d.dtype, device=d.device)).sum(-1)


def bruhat(g: Tensor, threshold: float | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the parts of g = l w d u, which every invertible matrix has.

    w, the cell, is unique; it is the identity on the big cell, which is dense: an entry that vanishes decides. l and u
    are unique only on the big cell. Here columns are taken from the left, and in each the topmost entry that is left
    is the pivot. The parts are smooth within a cell and jump between cells.

    Args:
        g: ``[..., n, n]`` invertible.
        threshold: Entries below it, relative to the largest entry of the matrix, count as zero; by default 1e-10 in
            float64 and 1e-4 in float32. The round trip has an error of that size at most.

    Returns:
        l ``[..., n, n]`` unit lower triangular, w ``[..., n, n]`` a permutation, d ``[..., n, n]`` diagonal,
        u ``[..., n, n]`` unit upper triangular.

    Raises:
        ShapeError: Not square matrices, or one is singular (to rounding, or to the threshold).

    Properties:
        bruhat_round_trip: l w d u = g.
        bruhat_finds_the_cell: a product l w d u with entries that are not small has the cell w.
    """
    need_square(g, "The Bruhat decomposition")
    need_invertible(torch.linalg.svdvals(g.detach()), "The Bruhat decomposition")
    if threshold is None:
        threshold = 1e-10 if g.dtype == torch.float64 else 1e-4
    n = g.shape[-1]
    eye = torch.eye(n, dtype=g.dtype, device=g.device)
    limit = threshold * g.detach().abs().amax((-1, -2)).unsqueeze(-1)
    l, u, rest = eye.expand_as(g), eye.expand_as(g), g
    used = torch.zeros(g.shape[:-1], dtype=torch.bool, device=g.device)
    cell, pivots = [], []
    for j in range(n):
        column = rest[..., :, j]
        candidates = (column.detach().abs() > limit) & ~used
        if not bool(candidates.any(-1).all()):
            raise ShapeError("The Bruhat decomposition: a matrix is singular to the threshold.")
        row = torch.nn.functional.one_hot(candidates.to(torch.uint8).argmax(-1), n).to(g.dtype)
        below = (row.cumsum(-1) - row) > 0  # rows under the pivot; those above are zero, or below the threshold
        pivot = (column * row).sum(-1, keepdim=True)
        down = torch.where(below & ~used, column / pivot, torch.zeros_like(column))
        across = (row.unsqueeze(-2) @ rest).squeeze(-2) / pivot
        across = torch.cat([torch.zeros_like(across[..., : j + 1]), across[..., j + 1 :]], -1)
        left = eye + down.unsqueeze(-1) * row.unsqueeze(-2)
        right = eye + eye[j].unsqueeze(-1) * across.unsqueeze(-2)
        rest = (2 * eye - left) @ rest @ (2 * eye - right)
        l, u = l @ left, right @ u
        used = used | (row > 0)
        cell.append(row)
        pivots.append(pivot)
    return l, torch.stack(cell, -1), torch.diag_embed(torch.cat(pivots, -1)), u

"""All equivariant linear maps between two representations, as the null space of what the generators demand.

W ρ_in(g) = ρ_out(g) W for every g of the group holds if it holds for the generators: dρ_out(X) W = W dρ_in(X) for a
basis of the Lie algebra and ρ_out(h) W = W ρ_in(h) for the discrete generators (M. Finzi, M. Welling and A. G. Wilson,
ICML 2021, arXiv 2104.09459, theorem 1). Direct sums are done block by block, each pair of kinds once. In large blocks
of orthogonal representations only the maps that commute with one generic algebra element are looked at, which are
found by diagonalising it on either side.
"""

from __future__ import annotations

import functools
import math
import operator
import warnings
from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups.representations import Rep, TensorProduct, scalar

__all__ = [
    "EquivariantMaps", "HomBlock", "NullSpace", "canonical_basis", "equivariant_basis", "group_average",
    "invariant_basis", "null_space", "projector",
]  # fmt: skip

THRESHOLD = 1e-6
MAX_BYTES = 2**31
_REDUCE_ABOVE = 512  # entries of a block above which the generic element pays
_REMEMBERED = 256
_cache: OrderedDict[Hashable, NullSpace] = OrderedDict()


class NullSpace(NamedTuple):
    """A null space, and how clearly it is one.

    Attributes:
        basis: ``[r, D]`` float64, orthonormal rows; which ones depends on the space only, not on the solver.
        scale: To which the threshold is relative: the largest singular value, or where most maps had been excluded
            before, the root of the mean square of all.
        largest_dropped: The largest singular value that was taken for zero, relative to the scale.
        smallest_kept: The smallest that was not; infinite where all are zero.
    """

    basis: Tensor
    scale: float
    largest_dropped: float
    smallest_kept: float


class HomBlock(NamedTuple):
    """The maps from one kind of block to another.

    Attributes:
        basis: ``[r, d_out, d_in]`` float64, orthonormal.
        out_index: ``[m_out, d_out]``: the output's coordinates of that kind.
        in_index: ``[m_in, d_in]``: the input's.
        space: How it was found.
    """

    basis: Tensor
    out_index: Tensor
    in_index: Tensor
    space: NullSpace


class EquivariantMaps:
    """The space of equivariant maps: its basis in blocks, coordinates, and the orthogonal projector onto it.

    The basis is orthonormal in the Frobenius product of matrices. It is stored once for each pair of kinds, whatever
    the multiplicities, and is no part of a state dict: it follows from the representations.

    Args:
        rep_in: Representation of the input.
        rep_out: Representation of the output, of the same group.
        threshold: Singular values below it, relative to the largest, are zero.
        max_bytes: Memory that finding the basis may take.

    Attributes:
        dim: Number of independent maps.
        blocks: The `HomBlock` s that are not empty.

    Raises:
        ConfigError: The groups differ, or the memory does not suffice.

    Properties:
        equivariance: each map W has W ρ_in(g) = ρ_out(g) W.
        projection: project is linear, idempotent and symmetric, and its image is the equivariant maps.
        completeness: dim is the number of independent equivariant maps.
    """

    def __init__(self, rep_in: Rep, rep_out: Rep, threshold: float = THRESHOLD, max_bytes: int = MAX_BYTES) -> None:
        if rep_in.group != rep_out.group:
            raise ConfigError(f"Maps from a representation of {rep_in.group.name} to one of {rep_out.group.name} "
                              "cannot be equivariant: restrict both to one group.")  # fmt: skip
        self.rep_in, self.rep_out, self.threshold = rep_in, rep_out, threshold
        self.blocks: list[HomBlock] = []
        for out in rep_out.blocks:
            for inp in rep_in.blocks:
                space = null_space(inp.rep, out.rep, threshold, max_bytes)
                if len(space.basis):
                    basis = space.basis.view(-1, out.rep.dim, inp.rep.dim)
                    self.blocks.append(HomBlock(basis, out.index, inp.index, space))
        self.sizes = [len(b.basis) * len(b.out_index) * len(b.in_index) for b in self.blocks]
        self.dim = sum(self.sizes)
        self._order_out, self._runs_out = _order(rep_out)
        self._order_in, self._runs_in = _order(rep_in)
        self._starts_out, self._starts_in = _starts(rep_out), _starts(rep_in)
        self._made: dict[tuple[torch.dtype, torch.device], tuple[list[Tensor], list[Tensor | None]]] = {}

    def __repr__(self) -> str:
        return f"EquivariantMaps({self.rep_in} → {self.rep_out}, dim={self.dim})"

    def _tables(self, like: Tensor) -> tuple[list[Tensor], list[Tensor | None]]:
        """The bases in the dtype and on the device of a tensor, rounded once, and the orders with their inverses."""
        key = (like.dtype, like.device)
        if key not in self._made:
            with torch.inference_mode(False):
                orders = [self._order_out, self._order_in]
                orders += [None if order is None else torch.argsort(order) for order in orders]
                self._made[key] = (
                    [block.basis.to(like.device, like.dtype) for block in self.blocks],
                    [None if order is None else order.to(like.device) for order in orders],
                )
        return self._made[key]

    def matrix(self, coordinates: Tensor) -> Tensor:
        """Return the maps ``[..., rep_out.dim, rep_in.dim]`` of coordinates ``[..., dim]``.

        Raises:
            ShapeError: The last axis is not `dim`.
        """
        if coordinates.shape[-1] != self.dim:
            raise ShapeError(f"There are {self.dim} coordinates, given {list(coordinates.shape)}.")
        batch = coordinates.shape[:-1]
        rows: list[list[Tensor]] = [
            [coordinates.new_zeros(1, 1).expand(*batch, out, inp) for inp in self._runs_in] for out in self._runs_out
        ]
        bases, (_, _, back_out, back_in) = self._tables(coordinates)
        parts = coordinates.split(self.sizes, -1)
        for block, basis, part in zip(self.blocks, bases, parts, strict=True):
            shaped = part.unflatten(-1, (len(basis), len(block.out_index), len(block.in_index)))
            piece = torch.einsum("...rij,rab->...iajb", shaped, basis).flatten(-2).flatten(-3, -2)
            rows[self._starts_out[_first(block.out_index)]][self._starts_in[_first(block.in_index)]] = piece
        if not rows or not rows[0]:
            return coordinates.new_zeros(*batch, self.rep_out.dim, self.rep_in.dim)
        weight = torch.cat([torch.cat(row, -1) for row in rows], -2)
        if back_out is not None:
            weight = weight.index_select(-2, back_out)
        return weight if back_in is None else weight.index_select(-1, back_in)

    def coordinates(self, weight: Tensor) -> Tensor:
        """Return the coordinates ``[..., dim]`` of the equivariant part of matrices ``[..., rep_out.dim, rep_in.dim]``.

        Raises:
            ShapeError: The shape is wrong.
        """
        if weight.shape[-2:] != (self.rep_out.dim, self.rep_in.dim):
            raise ShapeError(
                f"Matrices [..., {self.rep_out.dim}, {self.rep_in.dim}] are needed, given {list(weight.shape)}."
            )
        bases, (order_out, order_in, _, _) = self._tables(weight)
        if order_out is not None:
            weight = weight.index_select(-2, order_out)
        if order_in is not None:
            weight = weight.index_select(-1, order_in)
        rows = weight.split(self._runs_out, -2) if self._runs_out else ()
        pieces = [row.split(self._runs_in, -1) for row in rows]
        found = []
        for block, basis in zip(self.blocks, bases, strict=True):
            piece = pieces[self._starts_out[_first(block.out_index)]][self._starts_in[_first(block.in_index)]]
            shaped = piece.unflatten(-2, (-1, basis.shape[1])).unflatten(-1, (-1, basis.shape[2]))
            found.append(torch.einsum("...iajb,rab->...rij", shaped, basis).flatten(-3))
        return torch.cat(found, -1) if found else weight.new_zeros(*weight.shape[:-2], 0)

    def project(self, weight: Tensor) -> Tensor:
        """Return the nearest equivariant map (Frobenius norm) to matrices ``[..., rep_out.dim, rep_in.dim]``."""
        return self.matrix(self.coordinates(weight))

    def dense(self, max_bytes: int = MAX_BYTES) -> Tensor:
        """Return all of the basis as matrices ``[dim, rep_out.dim, rep_in.dim]`` float64.

        Raises:
            ConfigError: That would be more than ``max_bytes``.
        """
        _refuse(8 * self.dim * self.rep_out.dim * self.rep_in.dim, max_bytes, "The basis as dense matrices", "use its "
                "blocks, matrix() and project(), which need no dense basis")  # fmt: skip
        return self.matrix(torch.eye(self.dim, dtype=torch.float64))


def equivariant_basis(
    rep_in: Rep, rep_out: Rep, threshold: float = THRESHOLD, max_bytes: int = MAX_BYTES
) -> EquivariantMaps:
    """Find all equivariant linear maps from one representation to another.

    Args:
        rep_in: Representation of the input.
        rep_out: Representation of the output, of the same group.
        threshold: Singular values of the conditions below it, relative to the largest, are zero. A singular value
            within a factor of 30 of it is warned of. Exact generators leave about 1e-15 beside 0.1, so any threshold
            does; generators that were learned need one above their errors (for LieGAN, 5e-3).
        max_bytes: Memory that finding the basis may take.

    Returns:
        The maps; `EquivariantMaps.dense` has them as one tensor.

    Raises:
        ConfigError: The groups differ, or the memory does not suffice; nothing is allocated then.

    Example:
        >>> from equitools.groups.representations import vector
        >>> v = vector("SO(3)")
        >>> equivariant_basis(v**2, v).dim  # the cross product
        1
    """
    return EquivariantMaps(rep_in, rep_out, threshold, max_bytes)


def invariant_basis(rep: Rep, threshold: float = THRESHOLD) -> Tensor:
    """Return an orthonormal basis ``[r, rep.dim]`` float64 of the vectors that no element moves.

    Args:
        rep: The representation.
        threshold: As of `equivariant_basis`.
    """
    return EquivariantMaps(scalar(rep.group), rep, threshold).dense().squeeze(-1)


def projector(rep_in: Rep, rep_out: Rep, threshold: float = THRESHOLD, max_bytes: int = MAX_BYTES) -> Tensor:
    """Return the orthogonal projector onto the equivariant maps as one matrix on flattened maps, ``[D, D]`` float64.

    D is rep_out.dim · rep_in.dim: for looking at small cases. `EquivariantMaps.project` does the same without it.

    Raises:
        ConfigError: It would take more than ``max_bytes``.
    """
    size = rep_in.dim * rep_out.dim
    _refuse(8 * size * size, max_bytes, f"The projector on {size} numbers", "use equivariant_basis(...).project")
    flat = EquivariantMaps(rep_in, rep_out, threshold, max_bytes).dense().flatten(1)
    return flat.T @ flat


def group_average(weight: Tensor, rep_in: Rep, rep_out: Rep, elements: Tensor | None = None) -> Tensor:
    """Return the mean over a finite group of ρ_out(g) W ρ_in(g)⁻¹: an equivariant map, without any null space.

    Of orthogonal representations it is the orthogonal projection; of others a projection that is oblique.

    Args:
        weight: ``[..., rep_out.dim, rep_in.dim]``.
        rep_in: Representation of the input.
        rep_out: Representation of the output.
        elements: ``[G, n, n]``; by default those of the group.

    Raises:
        ConfigError: The group has no table of elements.
    """
    elements = rep_in.group.elements if elements is None else elements
    if elements is None:
        raise ConfigError(f"{rep_in.group.name} has no table of elements to average over; use equivariant_basis.")
    total = torch.zeros_like(weight)
    for g in elements.to(weight):  # one by one: the representations may be large
        total = total + rep_out.matrix(g) @ weight @ torch.linalg.inv(rep_in.matrix(g))
    return total / len(elements)


def null_space(rep_in: Rep, rep_out: Rep, threshold: float = THRESHOLD, max_bytes: int = MAX_BYTES) -> NullSpace:
    """Return the equivariant maps between two representations as one block, remembered for the next time.

    Args:
        rep_in: Representation of the input.
        rep_out: Representation of the output.
        threshold: Relative to the largest singular value.
        max_bytes: Memory that it may take.

    Raises:
        ConfigError: It would take more; or the representations are of different groups.
    """
    key = (rep_in.group.key, rep_in.key, rep_out.key, threshold)
    if key not in _cache:
        _cache[key] = _solve(rep_in, rep_out, threshold, max_bytes)
        while len(_cache) > _REMEMBERED:
            _cache.popitem(last=False)
    _cache.move_to_end(key)
    return _cache[key]


def _solve(rep_in: Rep, rep_out: Rep, threshold: float, max_bytes: int) -> NullSpace:
    size = rep_in.dim * rep_out.dim
    group = rep_in.group
    count = len(group.algebra) + len(group.discrete)
    if not count or size == 0:
        return NullSpace(torch.eye(size, dtype=torch.float64), 0.0, 0.0, math.inf)
    if size > _REDUCE_ABOVE and rep_in.orthogonal and rep_out.orthogonal:
        rep_in, rep_out = _balanced(rep_in, rep_out)
    if size > _REDUCE_ABOVE and group.elements is not None:
        start = _averaged(rep_in, rep_out, max_bytes)
    elif size > _REDUCE_ABOVE and len(group.algebra) and rep_in.orthogonal and rep_out.orthogonal:
        start = _reduced(rep_in, rep_out, max_bytes)
    else:
        _check_memory(rep_in, rep_out, 8 * size * size * (2 * count + 2), max_bytes)
        start = torch.eye(size, dtype=torch.float64).view(size, rep_out.dim, rep_in.dim)
    flat, columns = start.flatten(1), len(start)
    rows = torch.cat([part.flatten(1) for part in _conditions(rep_in, rep_out, start)], 1)  # [columns, count · D]
    triangle = torch.linalg.qr(rows.mT, mode="r").R if rows.shape[1] > columns else rows.mT
    _, values, right = torch.linalg.svd(triangle, full_matrices=True)
    values = torch.cat([values, values.new_zeros(columns - len(values))])
    # Algebra elements are of unit norm here: where nothing moves at all, the largest singular value is rounding. And
    # where few maps were left beforehand, it is what any map would have had.
    scale = max(float(values.max()) if columns else 0.0, _typical(rep_in, rep_out), 1e-6)
    relative = values / scale
    kept = relative > threshold
    dropped, smallest = relative[~kept], relative[kept]
    found = NullSpace(
        canonical_basis(right[~kept].conj() @ flat),
        scale,
        float(dropped.max()) if len(dropped) else 0.0,
        float(smallest.min()) if len(smallest) else math.inf,
    )
    if found.largest_dropped > threshold / 30 or found.smallest_kept < threshold * 30:
        warnings.warn(
            f"How many equivariant maps there are from {rep_in.name} to {rep_out.name} is not clear: relative singular "
            f"values up to {found.largest_dropped:.1e} count as zero and from {found.smallest_kept:.1e} on do not, at "
            f"a threshold of {threshold:.1e}. Are the generators exact? If they were learned, choose the threshold in "
            "the widest gap.",
            stacklevel=2,
        )
    return found


def _normalised(rep: Rep) -> tuple[Tensor, Tensor]:
    lie, discrete = rep.images
    norm = rep.group.algebra.flatten(1).norm(dim=1).clamp_min(1e-300)[:, None, None]
    return lie / norm, discrete


def _conditions(rep_in: Rep, rep_out: Rep, maps: Tensor) -> list[Tensor]:
    """What must vanish, for each generator: ``[columns, d_out, d_in]``."""
    found = []
    for a, b in zip(_normalised(rep_out), _normalised(rep_in), strict=True):
        for left, right in zip(a.to(maps.dtype), b.to(maps.dtype), strict=True):
            found.append(left @ maps - maps @ right)
    return found


def _typical(rep_in: Rep, rep_out: Rep) -> float:
    """Root mean square of the singular values of all conditions together, estimated with one random map."""
    drawn = torch.randn(1, rep_out.dim, rep_in.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return math.sqrt(sum(float(c.square().sum()) for c in _conditions(rep_in, rep_out, drawn))) / float(drawn.norm())


def _balanced(rep_in: Rep, rep_out: Rep) -> tuple[Rep, Rep]:
    """Move factors of tensor products to the other side, until both are about as large.

    For orthogonal representations maps from A to B are the invariants of B⊗A, whose coordinates are in the same order
    wherever the product is cut in two.
    """
    factors = [f for rep in (rep_out, rep_in) for f in (rep.factors if isinstance(rep, TensorProduct) else (rep,))]
    sizes = [math.prod(f.dim for f in factors[:k]) for k in range(len(factors) + 1)]
    cut = min(range(len(sizes)), key=lambda k: max(sizes[k], sizes[-1] // sizes[k]))
    one = scalar(rep_in.group)
    out, inp = (functools.reduce(operator.mul, part, one) for part in (factors[:cut], factors[cut:]))
    return inp, out


def _averaged(rep_in: Rep, rep_out: Rep, max_bytes: int) -> Tensor:
    """A space that contains all equivariant maps, for a finite group: group averages of random maps."""
    group = rep_in.group
    elements = group.elements
    if elements is None:
        raise ConfigError(f"{group.name} has no table of elements.")
    out, inp = rep_out.matrix(elements), torch.linalg.inv(rep_in.matrix(elements))
    trace = torch.einsum("gii,gjj->g", out, inp).mean()  # of the averaging: how many maps there are
    probes = min(round(float(trace)) + 3, rep_in.dim * rep_out.dim)
    _check_memory(rep_in, rep_out, 8 * probes * rep_in.dim * rep_out.dim * 8, max_bytes)
    random = torch.Generator().manual_seed(0)
    drawn = torch.randn(probes, rep_out.dim, rep_in.dim, generator=random, dtype=torch.float64)
    total = torch.zeros_like(drawn)
    for a, b in zip(out, inp, strict=True):
        total += a @ drawn @ b
    _, values, right = torch.linalg.svd((total / len(elements)).flatten(1), full_matrices=False)
    keep = values > 1e-9 * max(float(values[0]) if len(values) else 0.0, 1e-3)
    return right[keep].unflatten(1, (rep_out.dim, rep_in.dim))


def _reduced(rep_in: Rep, rep_out: Rep, max_bytes: int) -> Tensor:
    """A space that contains all equivariant maps: those that commute with two generic elements of the algebra.

    Complex orthonormal maps ``[columns, d_out, d_in]``. Those of the first element are products of its eigenvectors.
    """
    (values, left), (others, right) = _eigen(rep_out, 0), _eigen(rep_in, 0)
    difference = (values[:, None] - others).abs()
    # A pair too many costs time only: all conditions are still looked at.
    rows, columns = (difference < 1e-6 * max(1.0, float(difference.max()))).nonzero().unbind(1)
    _check_memory(rep_in, rep_out, 16 * len(rows) * rep_in.dim * rep_out.dim * 5, max_bytes)
    maps = left.T[rows].unsqueeze(2) * right.T[columns].conj().unsqueeze(1)
    second = _generic(rep_out, 1).to(maps) @ maps - maps @ _generic(rep_in, 1).to(maps)
    second = second.flatten(1)
    squares, vectors = torch.linalg.eigh(second.conj() @ second.T)
    few = vectors[:, squares < 1e-8 * max(float(squares.abs().max()) if len(squares) else 0.0, 1e-8)]
    return (few.T @ maps.flatten(1)).unflatten(1, maps.shape[1:])


def _generic(rep: Rep, which: int) -> Tensor:
    """The image of a generic algebra element ``[d, d]``; which 0 and 1 are different ones."""
    lie, _ = _normalised(rep)
    factors = torch.sqrt(torch.arange(2 + 7 * which, 2 + 7 * which + len(lie), dtype=torch.float64))
    return torch.einsum("k,kab->ab", factors * (-1.0) ** (which * torch.arange(len(lie))), lie)


def _eigen(rep: Rep, which: int) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(1j * _generic(rep, which))
    return values, vectors


def canonical_basis(rows: Tensor) -> Tensor:
    """Return an orthonormal basis of the row space that depends on the space only.

    Of the projections of the unit vectors onto the space, taken in their order, those that are independent of the ones
    before are made orthonormal. A solver's own basis would differ from machine to machine, and with it the meaning of
    coordinates that were saved.

    Args:
        rows: ``[r, D]``, orthonormal; complex ones must span a space that real vectors span.

    Returns:
        ``[r, D]``, real.
    """
    rank = len(rows)
    if rows.is_complex():  # the space is that of real maps: real and imaginary parts span it
        both = torch.cat([rows.real, rows.imag])
        _, _, right = torch.linalg.svd(both, full_matrices=False)
        rows = right[:rank]
    rest = rows.T.clone()  # one row for each unit vector
    chosen: list[Tensor] = []
    for _ in range(rank):
        norms = rest.norm(dim=1)
        large = (norms > 1e-3).nonzero()
        at = int(large[0, 0]) if len(large) else int(norms.argmax())
        unit = rest[at] / norms[at]
        for before in chosen:  # once more, against rounding
            unit = unit - before * (before @ unit)
        unit = unit / unit.norm()
        chosen.append(unit)
        rest = rest - torch.outer(rest @ unit, unit)
    basis = torch.stack(chosen) @ rows if chosen else rows
    return torch.where(basis.abs() < 1e-14, 0.0, basis).contiguous()


def _check_memory(rep_in: Rep, rep_out: Rep, needed: float, allowed: float) -> None:
    _refuse(
        needed,
        allowed,
        f"The equivariant maps from {rep_in.name} to {rep_out.name} ({rep_out.dim} × {rep_in.dim})",
        "build the representations as direct sums of smaller ones (irreps, tensors of lower rank), or raise max_bytes",
    )


def _refuse(needed: float, allowed: float, what: str, instead: str) -> None:
    if needed > allowed:
        raise ConfigError(f"{what} would take {needed / 2**30:.3g} GiB, {allowed / 2**30:.3g} are allowed: {instead}.")


def _order(rep: Rep) -> tuple[Tensor | None, list[int]]:
    """Coordinates sorted by kind (None where they are already), and how many each kind has."""
    runs = [block.index.numel() for block in rep.blocks]
    order = torch.cat([block.index.flatten() for block in rep.blocks]) if runs else torch.zeros(0, dtype=torch.int64)
    return (None if torch.equal(order, torch.arange(rep.dim)) else order), runs


def _starts(rep: Rep) -> dict[int, int]:
    """Which kind begins with which coordinate."""
    return {_first(block.index): k for k, block in enumerate(rep.blocks)}


def _first(index: Tensor) -> int:
    return int(index[0, 0])

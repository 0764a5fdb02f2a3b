"""The SO(2) convolution: full Clebsch–Gordan convolutions with harmonics of an edge, in the edge's own frame."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from equitools.errors import IrrepsError, ShapeError, UnknownNameError
from equitools.groups import Irreps, parse_irreps
from equitools.nn.layout import blocks_of, check_features, check_layout, to_ir_mul, to_mul_ir
from equitools.ops.precision import full_precision
from equitools.ops.segment import segment_gather, segment_sum
from equitools.ops.so2 import MAX_FRAME_DEGREE, EdgeFrames, edge_frames
from equitools.ops.so2_linear import by_degree, by_order, so2_linear
from equitools.ops.so2_tables import polar_coupling

__all__ = ["SO2Convolution"]

#: A path of a full convolution: position of an input irrep, degree of the filter, position of an output irrep.
Path = tuple[int, int, int]


class SO2Convolution(torch.nn.Module):
    """Rotate the features of the senders into the frame of the edge, mix each order abs(m), rotate back, sum.

    With all orders these are exactly the maps ``Σ_paths w x ⊗ Y(r̂)`` of a full Clebsch–Gordan convolution that mixes
    channels, with as many weights, at O(L³) in place of O(L⁶) operations. With fewer orders (``mmax``) it is cheaper
    still, and equivariant all the same.

    Any irreps are taken, of any multiplicities. ``group`` says what is kept of them. Under O(3), irreps of parity
    (−1)^l are coefficients of functions, the others of pseudo-functions. A mirror that contains the edge takes order
    +m of a function to itself and −m to its negative, and of a pseudo-function the other way round. So matrices between
    irreps of one kind are real (paths with even l1 + l_f + l3), those between different kinds imaginary (odd sums), and
    order 0 does not mix the kinds. Under SO(3) parities are names only: all matrices are complex, and an output "1e"
    need not be even.

    Args:
        irreps_in: Node features; orders of magnitude of the cost are Σ_m (channels of l ≥ m)².
        irreps_out: What comes out.
        mmax: Highest order that is mixed; ``None``: all.
        group: ``"O(3)"`` or ``"SO(3)"`` (as published).
        layout: Order of the columns, ``"mul_ir"`` or ``"ir_mul"``.

    Attributes:
        weights: The real parts ``order0``, ``order0_pseudo``, ``order1``, … ``[channels in, channels out]``; for SO(3)
            with ``order1_imaginary``, …
        mmax: Highest order.
        paths: The paths of the full convolution that the weights stand for: (position in irreps_in, degree of the
            filter, position in irreps_out).
        weight_numel: Number of weights of an edge in ``forward``: one for each order and each channel of the input
            that has it.

    Raises:
        IrrepsError: An output irrep cannot be reached, or a degree is too high.
        UnknownNameError: There is no such group or layout.

    Properties:
        equivariance: forward(D x, R r) = D forward(x, r), under O(3) for rotations and inversions, under SO(3) for
            rotations.
        equals_full_convolution: with `set_path_weights` and all orders the same as the Clebsch–Gordan convolution.
        as_many_weights_as_paths: with all orders as many weights as the full convolution has.
        unit_variance: independent inputs of unit variance give messages of unit variance, with the initial weights.
        no_direction: an edge shorter than 1e-12 has no frame and sends nothing.

    Source: Passaro and Zitnick, ICML 2023 (arXiv 2302.03655); the parity rule follows from the mirrors of the edge.
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_out: Irreps | str,
        mmax: int | None = None,
        group: str = "O(3)",
        layout: str = "mul_ir",
    ) -> None:
        super().__init__()
        if group not in ("O(3)", "SO(3)"):
            raise UnknownNameError(f"group must be 'O(3)' or 'SO(3)', not {group!r}.")
        self.group, self.layout = group, check_layout(layout)
        self.irreps_in, self.irreps_out = parse_irreps(irreps_in), parse_irreps(irreps_out)
        for name, irreps in (("irreps_in", self.irreps_in), ("irreps_out", self.irreps_out)):
            if not irreps or max(ir.l for _, ir in irreps) > MAX_FRAME_DEGREE or any(mul < 1 for mul, _ in irreps):
                raise IrrepsError(
                    f"{name} of an SO(2) convolution must have irreps, none with multiplicity 0, of degrees up to "
                    f"{MAX_FRAME_DEGREE}; it is '{irreps}'."
                )
        highest = min(max(ir.l for _, ir in irreps) for irreps in (self.irreps_in, self.irreps_out))
        if mmax is not None and mmax < 0:
            raise IrrepsError(f"mmax must be 0 or more, it is {mmax}.")
        self.mmax = highest if mmax is None else min(mmax, highest)
        self._blocks_in, self._blocks_out = blocks_of(self.irreps_in), blocks_of(self.irreps_out)
        self._in, self._out = _Side(self.irreps_in, group), _Side(self.irreps_out, group)
        self.paths = self._find_paths()
        reached = {path[2] for path in self.paths if self._reaches(path)}
        for k, (_, ir) in enumerate(self.irreps_out):
            if k not in reached:
                raise IrrepsError(
                    f"No path from '{self.irreps_in}' reaches {ir} with orders up to {self.mmax} under {group}."
                )
        self.weights = torch.nn.ParameterDict(
            {name: torch.nn.Parameter(value) for name, value in self._initial().items()}
        )
        self.weight_numel = sum(self._in.width(m) for m in range(self.mmax + 1))

    def _find_paths(self) -> list[Path]:
        found = []
        for a, (_, first) in enumerate(self.irreps_in):
            for b, (_, last) in enumerate(self.irreps_out):
                for degree in range(abs(first.l - last.l), first.l + last.l + 1):
                    if self.group == "SO(3)" or first.p * (-1) ** degree == last.p:
                        found.append((a, degree, b))
        return found

    def _reaches(self, path: Path) -> bool:
        """Return whether a path has an order up to mmax that is not zero."""
        a, degree, b = path
        tables = polar_coupling(self.irreps_in[a].ir.l, self.irreps_out[b].ir.l)
        row = degree - abs(self.irreps_in[a].ir.l - self.irreps_out[b].ir.l)
        return any(float(abs(table[row, : self.mmax + 1]).max()) > 0 for table in tables)

    def _initial(self) -> dict[str, Tensor]:
        """Return random weights that give each output irrep unit variance."""
        found: dict[str, Tensor] = {}
        orders: dict[str, int] = {}
        for m in range(self.mmax + 1):
            kinds = (1, -1) if m == 0 else (0,)
            for kind in kinds:
                name = f"order{m}_pseudo" if kind == -1 else f"order{m}"
                size = self._in.width(m, kind), self._out.width(m, kind)
                if min(size) > 0:
                    parts = (name, f"{name}_imaginary") if self.group == "SO(3)" and m > 0 else (name,)
                    for part in parts:
                        found[part] = torch.randn(size) / math.sqrt(size[0] * len(parts))
                        orders[part] = m
        # Orders that are not mixed, or have no input, leave components zero: the others make up for them.
        for part, weight in found.items():
            m, kind = orders[part], -1 if part == "order0_pseudo" else int(orders[part] == 0)
            start = 0
            for k in self._out.reaching(m, kind):
                l, mul = self._out.degrees[k], self._out.channels[k]
                pole = "order0_pseudo" if self._out.kinds[k] == -1 else "order0"
                live = 2 * min(l, self.mmax) + int(pole in found)
                weight[:, start : start + mul] *= math.sqrt((2 * l + 1) / live)
                start += mul
        return found

    def set_path_weights(self, weights: Mapping[Path, Tensor]) -> None:
        """Take the weights of a full Clebsch–Gordan convolution.

        It is the sum over `paths` of ``√(2l3+1) Σ C[a, b, k] w[u, v] x[a, u] Y_b(r̂)``, C the coupling tensor of unit
        norm (`equitools.groups.clebsch_gordan`) and Y in "component" normalisation.

        Args:
            weights: For each path ``[multiplicity in, multiplicity out]``; paths that are not there count as zero.

        Raises:
            ShapeError: A key is no path, or a weight has another shape.
        """
        size = {m: (self._in.width(m), self._out.width(m)) for m in range(self.mmax + 1)}
        like = next(iter(self.weights.values()))
        real = {m: like.new_zeros(shape) for m, shape in size.items()}
        imaginary = {m: like.new_zeros(shape) for m, shape in size.items()}
        for path, weight in weights.items():
            if path not in self.paths:
                raise ShapeError(f"{path} is no path of this convolution; the attribute `paths` lists them.")
            a, degree, b = path
            shape = (self.irreps_in[a].mul, self.irreps_out[b].mul)
            if tuple(weight.shape) != shape:
                raise ShapeError(f"The weight of path {path} must be {list(shape)}, it is {list(weight.shape)}.")
            l1, l3 = self.irreps_in[a].ir.l, self.irreps_out[b].ir.l
            diagonal, cross = (table[degree - abs(l1 - l3)] for table in polar_coupling(l1, l3))
            # Pseudo-functions are multiplied with i on the way in and with −i on the way out (`_Side.rotation`).
            turned = self.group == "O(3)" and self._in.kind_at[a] != self._out.kind_at[b]
            sign = -1.0 if turned and self._out.kind_at[b] == -1 else 1.0
            for m in range(min(l1, l3, self.mmax) + 1):
                rows, columns = self._in.columns(a, m), self._out.columns(b, m)
                value = weight.detach().to(like)
                real[m][rows, columns] += value * (sign * float(cross[m]) if turned else float(diagonal[m]))
                if not turned:
                    imaginary[m][rows, columns] += value * float(cross[m])
        with torch.no_grad():
            for name, target in self.weights.items():
                m = int(name.removeprefix("order").split("_")[0])
                source = (imaginary if name.endswith("_imaginary") else real)[m]
                if m == 0:
                    split_in, split_out = self._in.width(0, 1), self._out.width(0, 1)
                    pseudo = name.endswith("_pseudo")
                    source = source[split_in:, split_out:] if pseudo else source[:split_in, :split_out]
                target.copy_(source)

    @full_precision
    def forward(
        self,
        x: Tensor,
        edge: Tensor | EdgeFrames,
        edge_index: Tensor,
        num_nodes: int,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Convolve.

        Args:
            x: ``[N, irreps_in.dim]``.
            edge: Edge vectors ``[E, 3]``, or their frames (`equitools.ops.edge_frames`) of sufficient degree and order.
            edge_index: ``[2, E]``, sender and receiver.
            num_nodes: Number of receivers.
            weight: ``[E, weight_numel]`` factors of the rotated inputs, such as a radial network makes.

        Returns:
            ``[num_nodes, irreps_out.dim]``.

        Raises:
            ShapeError: A shape, dtype or device does not fit.
            GraphError: An index is out of range.
        """
        check_features("x", x, self.irreps_in, next(iter(self.weights.values())), self._blocks_in)
        if edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.dtype != torch.int64 or x.ndim != 2:
            raise ShapeError(
                f"x must be [N, {self.irreps_in.dim}] and edge_index int64 [2, E]; they are {list(x.shape)} and "
                f"{edge_index.dtype} {list(edge_index.shape)}."
            )
        columns = x if self.layout == "ir_mul" else to_ir_mul(x, self._blocks_in)
        message = self._message(segment_gather(columns, edge_index[0]), edge, weight)
        out = segment_sum(message, edge_index[1], num_nodes)
        return out if self.layout == "ir_mul" else to_mul_ir(out, self._blocks_out)

    @full_precision
    def message(self, x: Tensor, edge: Tensor | EdgeFrames, weight: Tensor | None = None) -> Tensor:
        """Map features of edges ``[E, irreps_in.dim]`` to messages ``[E, irreps_out.dim]``; else as `forward`."""
        check_features("x", x, self.irreps_in, next(iter(self.weights.values())), self._blocks_in)
        out = self._message(x if self.layout == "ir_mul" else to_ir_mul(x, self._blocks_in), edge, weight)
        return out if self.layout == "ir_mul" else to_mul_ir(out, self._blocks_out)

    def _message(self, x: Tensor, edge: Tensor | EdgeFrames, weight: Tensor | None) -> Tensor:
        lmax = max(*self._in.degrees, *self._out.degrees)
        frames = edge_frames(edge, lmax, self.mmax) if isinstance(edge, Tensor) else edge
        self._check(x, frames, weight, lmax)
        known = frames.known[:, None, None]
        # [E, 2·min(l, mmax)+1, 2l+1]: the rows of the orders that are mixed
        rotations = [
            block[:, skip : block.shape[1] - skip]
            for block in frames.blocks[: lmax + 1]
            for skip in [max(block.shape[1] // 2 - self.mmax, 0)]
        ]
        blocks = x.split([mul * dim for mul, dim in self._blocks_in], 1)
        rotated = [
            torch.bmm(self._in.rotation(rotations, k) * known, blocks[at].unflatten(1, (-1, self._in.channels[k])))
            for k, at in enumerate(self._in.order)
        ]
        orders = by_order(rotated, self._in.degrees, self.mmax)
        if weight is not None:
            factors = weight.split([order.shape[2] for order in orders], 1)
            orders = [order * factor.unsqueeze(1) for order, factor in zip(orders, factors, strict=True)]
        mixed = so2_linear(orders, *self._matrices())
        parts = by_degree(mixed, self._out.degrees, self._out.channels)
        found: dict[int, Tensor] = {}
        for k, at in enumerate(self._out.order):
            found[at] = torch.bmm(self._out.rotation(rotations, k).mT, parts[k]).flatten(1)
        return torch.cat([found[k] for k in range(len(found))], 1)

    def _matrices(self) -> tuple[list[Tensor], list[Tensor | None]]:
        """Return the real and imaginary parts of the matrices of all orders."""
        like = next(iter(self.weights.values()))
        diagonal = [
            self.weights[name]
            if name in self.weights
            else like.new_zeros(self._in.width(0, kind), self._out.width(0, kind))
            for name, kind in (("order0", 1), ("order0_pseudo", -1))
        ]
        real = [torch.block_diag(*diagonal)]
        real += [self.weights[f"order{m}"] for m in range(1, self.mmax + 1)]
        imaginary = [self.weights.get(f"order{m}_imaginary") for m in range(self.mmax + 1)]
        return real, imaginary

    def _check(self, x: Tensor, frames: EdgeFrames, weight: Tensor | None, lmax: int) -> None:
        edges = x.shape[0]
        if len(frames.known) != edges or len(frames.blocks) <= lmax or frames.mmax < self.mmax:
            raise ShapeError(
                f"Frames of {edges} edges with degrees up to {lmax} and orders up to {self.mmax} are needed; given are "
                f"{len(frames.known)} edges, degrees up to {len(frames.blocks) - 1} and orders up to {frames.mmax}."
            )
        if frames.blocks[0].dtype != x.dtype or frames.blocks[0].device != x.device:
            raise ShapeError(
                f"The edges are {frames.blocks[0].dtype} on {frames.blocks[0].device}, the features {x.dtype} on "
                f"{x.device}; convert one of them."
            )
        if weight is not None and (weight.shape != (edges, self.weight_numel) or weight.dtype != x.dtype):
            raise ShapeError(
                f"weight must be [{edges}, {self.weight_numel}] {x.dtype}; it is {list(weight.shape)} {weight.dtype}."
            )

    def extra_repr(self) -> str:
        """Return what the module's line in a printed model says."""
        return f"'{self.irreps_in}' → '{self.irreps_out}', mmax={self.mmax}, {self.group}"


class _Side:
    """The irreps of one side, functions first and pseudo-functions after them.

    Attributes:
        order: Position in the irreps of each block; then, block by block:
        degrees, channels, kinds: 1 for a function, −1 for a pseudo-function; under SO(3) all are 1.
        kind_at: The kind by the position in the irreps.
    """

    def __init__(self, irreps: Irreps, group: str) -> None:
        self.kind_at = [int(ir.p) * (-1) ** int(ir.l) if group == "O(3)" else 1 for _, ir in irreps]
        self.order = sorted(range(len(irreps)), key=lambda k: -self.kind_at[k])
        self.degrees = [int(irreps[k].ir.l) for k in self.order]
        self.channels = [int(irreps[k].mul) for k in self.order]
        self.kinds = [self.kind_at[k] for k in self.order]

    def reaching(self, m: int, kind: int = 0) -> list[int]:
        """Return the blocks that have an order, of one kind or of both (0)."""
        return [k for k, l in enumerate(self.degrees) if l >= m and kind in (0, self.kinds[k])]

    def width(self, m: int, kind: int = 0) -> int:
        """Return the number of channels that have an order."""
        return sum(self.channels[k] for k in self.reaching(m, kind))

    def columns(self, at: int, m: int) -> slice:
        """Return where the channels of the irrep at a position stand within an order."""
        block = self.order.index(at)
        start = sum(self.channels[k] for k in self.reaching(m) if k < block)
        return slice(start, start + self.channels[block])

    def rotation(self, rotations: list[Tensor], k: int) -> Tensor:
        """Return the rotation of a block; of a pseudo-function followed by a multiplication with i.

        The pair (+m, −m) of it then behaves under mirrors as that of a function does, and all matrices are real. The
        transposed matrix multiplies with −i and rotates back.
        """
        rotation = rotations[self.degrees[k]]
        if self.kinds[k] == 1:
            return rotation
        reach = rotation.shape[1] // 2
        upper = rotation[:, reach:].flip(1)  # orders +m, …, 0
        return torch.cat([upper, -rotation[:, :reach].flip(1)], 1)

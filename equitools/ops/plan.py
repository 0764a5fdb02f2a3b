"""Plans: what an operation computes, as small immutable tables that every backend reads.

A plan is made from irreps alone. It holds no parameters and is not part of a module's ``state_dict``; its tables are
float64 and are cast when they are used, so that a module that was built in float32 and converted with ``.double()`` is
exact to float64.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from equitools.errors import IrrepsError
from equitools.groups import Irrep, Irreps, clebsch_gordan, parse_irreps
from equitools.ops.contraction_program import build_program
from equitools.ops.conv_tables import MAX_COMPILED_DEGREE, ConvTables
from equitools.ops.symmetric_basis import (
    monomial_counts,
    monomial_factors,
    monomials,
    symmetric_basis,
    times_variable,
)
from equitools.ops.tracing import tracing

__all__ = ["Path", "Plan", "SymmetricContractionPlan", "TensorProductPlan"]


class Plan:
    """Base of all plans: named float64 tables, cast once for each dtype and device, and a hash of what they say."""

    def __init__(self, description: str) -> None:
        self.description = description
        self.hash = hashlib.sha256(description.encode()).hexdigest()[:16]
        self._tables: dict[str, Tensor] = {}
        self._cast: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}

    def table(self, name: str, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return a table on a device and in a dtype; the cast is kept. Treat it as read-only."""
        key = (name, device, dtype)
        found = self._cast.get(key)
        if found is None:
            table = self._tables[name]
            found = table.to(device=device, dtype=dtype if table.is_floating_point() else None)
            if not tracing():  # what a tracer hands out means nothing afterwards
                self._cast[key] = found
        return found

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Plan) and self.description == other.description

    def __hash__(self) -> int:
        return hash(self.description)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.description}, hash={self.hash})"

    def __deepcopy__(self, memo: object) -> Plan:
        return self  # immutable

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_cast": {}}  # a device's copies do not travel


@dataclass(frozen=True)
class Path:
    """One path of a product: which input block meets which edge block and what comes out.

    Attributes:
        index1: Block of the first irreps.
        index2: Block of the second irreps.
        irrep: What comes out.
        mul1: Multiplicity of the first block, and of the output.
        mul2: Multiplicity of the second block.
        weight_start: Where its ``mul1 · mul2`` weights begin.
        coefficient: e3nn's "component"/"element" normalisation, √((2l+1) / mul2).
    """

    index1: int
    index2: int
    irrep: Irrep
    mul1: int
    mul2: int
    weight_start: int
    coefficient: float


class TensorProductPlan(Plan):
    """The channelwise ("uvu") product of node features with edge attributes.

    Paths come from nested loops over (irreps_in, irreps_edge, l ascending) and are kept where l and parity occur in
    ``irreps_out``. Each path has an output block of its own; the blocks are stably sorted as ``Irreps.sort`` does.

    Args:
        irreps_in: Node features.
        irreps_edge: Edge attributes.
        irreps_out: What may come out; its multiplicities do not matter. ``None``: everything.

    Attributes:
        paths: The paths, in the order of generation, which is the order of the weights.
        order: ``order[k]`` is the path whose output is block k of ``irreps_out``.
        irreps_out: The sorted output irreps, one block a path.
        weight_numel: Number of weights of one edge.
        dim_in: ``irreps_in.dim``; this and the following are plain numbers, which torch.compile can follow.
        dim_edge: ``irreps_edge.dim``.
        uniform: Whether all input blocks have one multiplicity and the edge blocks have multiplicity 1: the fused form.
        channels: The multiplicity of the first input block; of a uniform plan, of all.
        max_degree: The highest degree among the irreps of the paths.
        blocks: For each used input block, the paths that start from it.
        conv_tables: What the compiled convolution reads, of separate and of merged outputs; empty for higher degrees.

    Raises:
        IrrepsError: Nothing that was asked for can be produced.
    """

    def __init__(
        self, irreps_in: Irreps | str, irreps_edge: Irreps | str, irreps_out: Irreps | str | None = None
    ) -> None:
        self.irreps_in, self.irreps_edge = (
            parse_irreps(irreps_in, "irreps_in"),
            parse_irreps(irreps_edge, "irreps_edge"),
        )
        allowed = None if irreps_out is None else {ir for _, ir in parse_irreps(irreps_out, "irreps_out")}
        super().__init__(
            f"{self.irreps_in} x {self.irreps_edge} -> {'all' if allowed is None else sorted(map(str, allowed))}"
        )
        paths: list[Path] = []
        start = 0
        for (i1, (mul1, ir1)), (i2, (mul2, ir2)) in itertools.product(
            enumerate(self.irreps_in), enumerate(self.irreps_edge)
        ):
            for ir in ir1 * ir2:
                if mul1 and mul2 and (allowed is None or ir in allowed):
                    paths.append(Path(i1, i2, ir, mul1, mul2, start, math.sqrt(ir.dim / mul2)))
                    start += mul1 * mul2
        if not paths:
            raise IrrepsError(
                f"The product of '{self.irreps_in}' with '{self.irreps_edge}' cannot produce any of "
                f"'{Irreps(irreps_out) if irreps_out is not None else 'anything'}'. Ask for irreps l, p with "
                "|l1 − l2| ≤ l ≤ l1 + l2 and p = p1 · p2."
            )
        self.paths = tuple(paths)
        self.weight_numel = start
        ordered = Irreps([(path.mul1, path.irrep) for path in paths]).sort()
        self.irreps_out = Irreps(ordered.irreps)
        self.order = tuple(int(k) for k in ordered.inv)
        self.dim_in, self.dim_edge = int(self.irreps_in.dim), int(self.irreps_edge.dim)
        self.uniform = len({mul for mul, _ in self.irreps_in}) == 1 and all(mul == 1 for mul, _ in self.irreps_edge)
        self.channels = int(self.irreps_in[0].mul)
        self.max_degree = max(
            max(self.irreps_in[p.index1].ir.l, self.irreps_edge[p.index2].ir.l, p.irrep.l) for p in paths
        )
        used = sorted({path.index1 for path in paths})
        self.blocks = tuple((i1, tuple(p for p, path in enumerate(paths) if path.index1 == i1)) for i1 in used)
        self.conv_tables: tuple[ConvTables, ...] = ()
        if self.max_degree <= MAX_COMPILED_DEGREE:
            self.conv_tables = ConvTables(self, merged=False), ConvTables(self, merged=True)

    def coupling(self, path: int) -> Tensor:
        """Return the coupling tensor of one path, normalised, ``[2l1+1, 2l2+1, 2l3+1]`` float64."""
        p = self.paths[path]
        l1, l2 = self.irreps_in[p.index1].ir.l, self.irreps_edge[p.index2].ir.l
        return clebsch_gordan(l1, l2, p.irrep.l) * p.coefficient

    def prepare_fused(self) -> None:
        """Fill the tables of the fused form; does nothing the second time.

        ``edge_to_matrix``: one GEMM turns edge attributes into, for each input block, the matrix M[m3 of all its paths,
        m1].
        """
        if "edge_to_matrix" in self._tables:
            return
        edge_slices = self.irreps_edge.slices()
        columns: list[Tensor] = []
        for i1, paths in self.blocks:
            dim1 = self.irreps_in[i1].ir.dim
            for p in paths:
                path = self.paths[p]
                block = torch.zeros(self.irreps_edge.dim, path.irrep.dim, dim1, dtype=torch.float64)
                block[edge_slices[path.index2]] = self.coupling(p).permute(1, 2, 0)
                columns.append(block.flatten(1))
        self._tables["edge_to_matrix"] = torch.cat(columns, 1).contiguous()


class SymmetricContractionPlan(Plan):
    """The many-body product basis: all independent symmetric products of 1 … ν copies of a feature.

    Args:
        irreps_in: One copy of each irrep that a channel holds, for example ``0e + 1o + 2e + 3o`` (multiplicities do not
            matter).
        irreps_out: What comes out of each channel, one copy each.
        correlation: ν, the largest number of factors, at least 1.

    Attributes:
        dim_in: Number of components of one copy of ``irreps_in``.
        dim_out: Number of components of ``irreps_out``.
        num_paths: ``num_paths[k][ν-1]`` is the number of independent paths of block k of ``irreps_out`` with ν factors.

    Raises:
        IrrepsError: Repeated irreps, a correlation below 1, or an output that no product reaches.
    """

    def __init__(self, irreps_in: Irreps | str, irreps_out: Irreps | str, correlation: int) -> None:
        self.irreps_in = Irreps([(1, ir) for mul, ir in Irreps(irreps_in) if mul])
        self.irreps_out = Irreps([(1, ir) for mul, ir in Irreps(irreps_out) if mul])
        self.correlation = correlation
        for what, irreps in (("irreps_in", self.irreps_in), ("irreps_out", self.irreps_out)):
            if len({ir for _, ir in irreps}) != len(irreps) or not len(irreps):
                raise IrrepsError(f"{what} of a symmetric contraction must hold each irrep once, '{irreps}' does not.")
        if correlation < 1:
            raise IrrepsError(f"The correlation must be at least 1, it is {correlation}.")
        super().__init__(f"sym^{correlation}({self.irreps_in}) -> {self.irreps_out}")
        dim = self.irreps_in.dim
        counts: list[tuple[int, ...]] = []
        for k, (_, ir) in enumerate(self.irreps_out):
            bases = [symmetric_basis(str(self.irreps_in), nu, ir) for nu in range(1, correlation + 1)]
            counts.append(tuple(len(basis) for basis in bases))
            if not any(counts[-1]):
                raise IrrepsError(
                    f"No product of up to {correlation} factors of '{self.irreps_in}' gives {ir}. Raise the "
                    "correlation or change its parity: products of 0e, 1o, 2e, … have the parity (−1)^(sum of l)."
                )
            for nu, basis in enumerate(bases, 1):
                # 1/ν! as in a power series: features of atoms with close neighbours exceed 1, and their bare powers
                # would start the training from energies of 10⁵.
                entries = basis.transpose(0, 2, 1) * (math.sqrt(ir.dim) / math.factorial(nu))
                self._tables[f"{k}.{nu}.entries"] = torch.from_numpy(np.ascontiguousarray(entries))
                # One factor stands apart (the last contraction), the others are a monomial of degree ν − 1.
                fold = entries[:, :, times_variable(dim, nu).T] * monomial_counts(dim, nu - 1)
                self._tables[f"{k}.{nu}.fold"] = torch.from_numpy(np.ascontiguousarray(fold))
        for nu in range(2, correlation):
            first, rest = monomial_factors(dim, nu)
            self._tables[f"{nu}.first"], self._tables[f"{nu}.rest"] = torch.from_numpy(first), torch.from_numpy(rest)
        self.num_paths = tuple(counts)
        self.dim_in, self.dim_out = dim, self.irreps_out.dim
        orders = range(1, correlation + 1)
        blocks = [[self._tables[f"{k}.{nu}.entries"].numpy() for nu in orders] for k in range(len(counts))]
        program = build_program(dim, blocks)
        self._tables["program.code"] = torch.from_numpy(program.code)
        self._tables["program.values"] = torch.from_numpy(program.values)

    def program(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return what the compiled kernels execute: `ContractionProgram.code` (int32) and ``values`` in a dtype."""
        return self.table("program.code", device, dtype), self.table("program.values", device, dtype)

    def table(self, name: str, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return a table on a device and in a dtype; the cast is kept. Treat it as read-only.

        Args:
            name: For block k of ``irreps_out`` and ν factors: ``"k.ν"``, all entries ``[paths, 2l+1, d, …, d]``
                (made when asked for); ``"k.ν.entries"``, those at ascending indices ``[paths, 2l+1, monomials(ν)]``;
                ``"k.ν.fold"``, ``[paths, 2l+1, d, monomials(ν−1)]``, times the number of orders of the monomial.
                ``"ν.first"`` and ``"ν.rest"``: each monomial as a variable times a monomial of one degree less.
            device: Where it is wanted.
            dtype: In which precision.
        """
        if name not in self._tables:
            entries = self._tables[f"{name}.entries"]
            dim, nu = self.irreps_in.dim, int(name.split(".")[1])
            index = torch.zeros((dim,) * nu, dtype=torch.int64)
            for order in itertools.permutations(range(nu)):
                index[tuple(torch.from_numpy(monomials(dim, nu)[:, list(order)].T))] = torch.arange(entries.shape[-1])
            self._tables[name] = entries[:, :, index]
        return super().table(name, device, dtype)

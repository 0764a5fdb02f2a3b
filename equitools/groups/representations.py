"""Representations of matrix groups, built from others: sums, products, duals, powers, subspaces, restrictions.

A representation is a tree. Its leaves say how a matrix of the group acts, everything else follows. What is equal in a
direct sum is known to be equal, so that linear algebra is done once for each kind of block (see `equivariant_basis`).
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups.finite_rotations import multiplication_table
from equitools.groups.generators import Generators, generators_of, matrices
from equitools.groups.irreps import Irreps, parse_irreps
from equitools.groups.su2 import real_coupling
from equitools.groups.wigner import irreps_matrix

__all__ = ["Block", "Rep", "TensorProduct", "regular", "scalar", "tensor", "vector"]


@dataclass(frozen=True, eq=False)
class Block:
    """All copies of one kind in a direct sum.

    Attributes:
        rep: The kind, which is no direct sum.
        index: ``[multiplicity, rep.dim]`` int64: where the coordinates of each copy are.
    """

    rep: Rep
    index: Tensor


class Rep:
    """A real representation of a matrix group.

    ``a + b`` is the direct sum, ``3 * a`` three copies, ``a * b`` the tensor product (coordinates in the order of
    ``torch.kron``), ``a ** 2`` the tensor square. `vector`, `scalar`, `tensor`, `regular`, `Rep.from_irreps` and
    `Rep.from_images` make the leaves.

    Attributes:
        group: The `Generators`.
        dim: Number of coordinates.
        key: Equal for equal representations of one group.

    Properties:
        homomorphism: matrix(g h) = matrix(g) matrix(h).
        derivative: algebra(X) is the derivative of matrix(exp(tX)) at t = 0.
    """

    group: Generators
    dim: int
    key: Hashable
    name: str

    def __repr__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rep) and (self.key, self.group) == (other.key, other.group)

    def __hash__(self) -> int:
        return hash((self.key, self.group))

    @staticmethod
    def from_irreps(irreps: Irreps | str, group: Any = "O(3)") -> Rep:
        """Return the representation of e3nn irreps, ``mul_ir`` layout, of O(3) or of a subgroup of it.

        Args:
            irreps: For example ``"4x0e + 2x1o"``.
            group: O(3) or a group of orthogonal 3 × 3 matrices.

        Raises:
            IrrepsError: The irreps are not understood.
            ConfigError: The group is not one of orthogonal 3 × 3 matrices.
        """
        group = generators_of(group)
        if group.size != 3 or not group.orthogonal:
            raise ConfigError(f"Irreps are those of O(3) and its subgroups; {group.name} is none.")
        total: Rep = DirectSum((), group)
        for mul, ir in parse_irreps(irreps):
            leaf: Rep = Trivial(group) if str(ir) == "0e" else _Irrep(str(ir), ir.dim, group)
            total = total + mul * leaf
        return total

    @staticmethod
    def from_images(group: Any, algebra: Any = None, discrete: Any = None, name: str = "rep") -> Rep:
        """Return a representation given by the matrices that the group's generators are sent to.

        Args:
            group: The group, as for `generators_of`.
            algebra: ``[k, d, d]`` for the k matrices of ``group.algebra``.
            discrete: ``[m, d, d]`` for the m matrices of ``group.discrete``, or ``[G, d, d]`` for the G matrices of
                ``group.elements``.
            name: For messages.

        Raises:
            ShapeError: The matrices are not as many as the generators, or not of one size.
            ConfigError: They do not multiply, or commute, as the generators do: this is no representation.
        """
        from equitools.groups.representation_images import ImageRep  # it is a representation itself

        return ImageRep(generators_of(group), matrices("algebra", algebra), matrices("discrete", discrete), name)

    def __add__(self, other: Rep) -> Rep:
        return DirectSum((*_summands(self), *_summands(self._same_group(other))), self.group)

    def __radd__(self, other: int) -> Rep:  # sum() starts from 0
        if other != 0:
            raise ConfigError(f"A representation and {other!r} cannot be added.")
        return self

    def __mul__(self, other: Rep | int) -> Rep:
        if isinstance(other, Rep):
            return _product(self, self._same_group(other))
        if isinstance(other, bool) or not isinstance(other, int) or other < 0:
            raise ConfigError(f"A representation is multiplied by a number of copies, 0 or more, not by {other!r}.")
        return DirectSum(tuple((n * other, rep) for n, rep in _summands(self)) if _is_single(self) else
                         _summands(self) * other, self.group)  # fmt: skip

    def __rmul__(self, other: int) -> Rep:
        return self * other

    def __pow__(self, power: int) -> Rep:
        if isinstance(power, bool) or not isinstance(power, int) or power < 0:
            raise ConfigError(f"A tensor power is an integer of 0 or more, not {power!r}.")
        return functools.reduce(lambda a, b: a * b, [self] * power, scalar(self.group)) if power else scalar(self.group)

    def dual(self) -> Rep:
        """Return the dual representation, matrix(g⁻¹)ᵀ; the same one where that is equal to matrix(g)."""
        return self if self.orthogonal else Dual(self)

    def symmetric(self, power: int = 2) -> Rep:
        """Return the symmetric tensors in a tensor power, in the orthonormal basis of symmetrised monomials."""
        return Subspace(self**power, _tensors(self.dim, power, False), f"S{power}({self.name})")

    def antisymmetric(self, power: int = 2) -> Rep:
        """Return the antisymmetric tensors in a tensor power; of power dim it is the determinant."""
        return Subspace(self**power, _tensors(self.dim, power, True), f"A{power}({self.name})")

    def subspace(self, basis: Tensor, name: str | None = None) -> Subspace:
        """Return the representation on an invariant subspace.

        Args:
            basis: ``[r, dim]``, rows that span it; made orthonormal.
            name: For messages.

        Raises:
            ShapeError: The rows have another length.
            ConfigError: The span is not invariant.
        """
        return Subspace(self, basis, name or f"subspace of {self.name}")

    def restrict(self, subgroup: Any) -> Rep:
        """Return the same matrices for the elements of a subgroup only.

        Args:
            subgroup: As for `generators_of`; matrices of the same size. That they are elements is for you to know.

        Raises:
            ShapeError: They are of another size.
        """
        subgroup = generators_of(subgroup)
        if subgroup.size != self.group.size:
            raise ShapeError(f"{subgroup.name} has matrices of size {subgroup.size}, {self.group.name} of "
                             f"{self.group.size}: no subgroup.")  # fmt: skip
        return self._restrict(subgroup)

    def matrix(self, g: Tensor) -> Tensor:
        """Return the matrices ``[..., dim, dim]`` of elements ``[..., n, n]``, in their dtype, differentiable.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        return self._matrix(g)

    def algebra(self, x: Tensor) -> Tensor:
        """Return the matrices ``[..., dim, dim]`` of elements ``[..., n, n]`` of the Lie algebra.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(x)
        return self._algebra(x)

    @functools.cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The direct sum by kinds, each once."""
        return (Block(self, torch.arange(self.dim)[None]),)

    @functools.cached_property
    def images(self) -> tuple[Tensor, Tensor]:
        """What the generators act by: ``[k, dim, dim]`` of the algebra, ``[m, dim, dim]`` of the discrete ones."""
        return self.algebra(self.group.algebra), self.matrix(self.group.discrete)

    @functools.cached_property
    def orthogonal(self) -> bool:
        """Whether all matrices are orthogonal."""
        for block in self.blocks:
            lie, discrete = block.rep.images
            eye = torch.eye(block.rep.dim, dtype=torch.float64)
            if lie.numel() and float((lie + lie.mT).abs().max()) > 1e-10 * max(1.0, float(lie.abs().max())):
                return False
            if discrete.numel() and float((discrete @ discrete.mT - eye).abs().max()) > 1e-10:
                return False
        return True

    @functools.cached_property
    def permutation(self) -> bool:
        """Whether all matrices are permutations."""
        return all(_permutes(block.rep) for block in self.blocks)

    def _same_group(self, other: Rep) -> Rep:
        if not isinstance(other, Rep):
            raise ConfigError(f"A representation is combined with a representation, not with {other!r}.")
        if other.group != self.group:
            raise ConfigError(f"Representations of {self.group.name} and of {other.group.name} do not combine.")
        return other

    def _check(self, g: Tensor) -> None:
        if g.ndim < 2 or g.shape[-2:] != (self.group.size, self.group.size) or not g.is_floating_point():
            raise ShapeError(
                f"{self.group.name} has matrices [..., {self.group.size}, {self.group.size}], given {list(g.shape)}."
            )

    def _matrix(self, g: Tensor) -> Tensor:
        raise NotImplementedError

    def _algebra(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _restrict(self, group: Generators) -> Rep:
        raise NotImplementedError


class Vector(Rep):
    """The group's own matrices."""

    def __init__(self, group: Generators) -> None:
        self.group, self.dim, self.key, self.name = group, group.size, ("V",), "V"

    def _matrix(self, g: Tensor) -> Tensor:
        return g

    def _algebra(self, x: Tensor) -> Tensor:
        return x

    def _restrict(self, group: Generators) -> Rep:
        return Vector(group)


class Trivial(Rep):
    """One number that does not change."""

    def __init__(self, group: Generators) -> None:
        self.group, self.dim, self.key, self.name = group, 1, ("1",), "1"

    def _matrix(self, g: Tensor) -> Tensor:
        return g.new_ones((*g.shape[:-2], 1, 1))

    def _algebra(self, x: Tensor) -> Tensor:
        return x.new_zeros((*x.shape[:-2], 1, 1))

    def _restrict(self, group: Generators) -> Rep:
        return Trivial(group)


class _Irrep(Rep):
    """An irrep of O(3), in e3nn's basis."""

    def __init__(self, irrep: str, dim: int, group: Generators) -> None:
        self.group, self.dim, self.key, self.name = group, dim, ("irrep", irrep), irrep

    def _matrix(self, g: Tensor) -> Tensor:
        return irreps_matrix(self.name, g)

    def _algebra(self, x: Tensor) -> Tensor:
        degree = self.dim // 2
        found = x if degree else x.new_zeros((*x.shape[:-2], 1, 1))
        for l in range(2, degree + 1):  # degree l is the top one in the product of degrees l − 1 and 1: product rule
            c = torch.from_numpy(real_coupling(l - 1, 1, l).copy()).to(x)
            found = torch.einsum("abm,...ac,cbn->...mn", c, found, c) + torch.einsum("abm,...bd,adn->...mn", c, x, c)
            found = (2 * l + 1) * found
        return found

    def _restrict(self, group: Generators) -> Rep:
        return _Irrep(self.name, self.dim, group)


class Dual(Rep):
    """The representation on linear functions."""

    def __init__(self, rep: Rep) -> None:
        self.group, self.dim, self.key, self.name = rep.group, rep.dim, ("dual", rep.key), f"{rep.name}*"
        self.rep = rep

    @functools.cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The duals of the blocks."""
        inner = self.rep.blocks
        if len(inner) == 1 and inner[0].rep is self.rep:
            return (Block(self, torch.arange(self.dim)[None]),)
        return _merged([Block(block.rep.dual(), block.index) for block in inner])

    def dual(self) -> Rep:
        """Return the representation itself."""
        return self.rep

    def _matrix(self, g: Tensor) -> Tensor:
        return torch.linalg.inv(self.rep.matrix(g)).mT

    def _algebra(self, x: Tensor) -> Tensor:
        return -self.rep.algebra(x).mT

    def _restrict(self, group: Generators) -> Rep:
        return self.rep.restrict(group).dual()


class DirectSum(Rep):
    """Copies of representations, one after the other."""

    def __init__(self, parts: Sequence[tuple[int, Rep]], group: Generators) -> None:
        runs: list[tuple[int, Rep]] = []
        for count, rep in parts:
            if runs and runs[-1][1] == rep:
                runs[-1] = (runs[-1][0] + count, rep)
            elif count:
                runs.append((count, rep))
        self.group, self.parts = group, tuple(runs)
        self.dim = sum(count * rep.dim for count, rep in runs)
        self.key = ("sum", *((count, rep.key) for count, rep in runs))
        self.name = " + ".join(f"{count}·{rep.name}" if count > 1 else rep.name for count, rep in runs) or "0"

    @functools.cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of all parts, equal ones joined."""
        found, start = [], 0
        for count, rep in self.parts:
            shift = start + rep.dim * torch.arange(count)[:, None, None]
            for block in rep.blocks:
                found.append(Block(block.rep, (block.index + shift).flatten(0, 1)))
            start += count * rep.dim
        return _merged(found)

    def _matrix(self, g: Tensor) -> Tensor:
        return self._assemble(g, [block.rep.matrix(g) for block in self.blocks])

    def _algebra(self, x: Tensor) -> Tensor:
        return self._assemble(x, [block.rep.algebra(x) for block in self.blocks])

    def _assemble(self, like: Tensor, pieces: list[Tensor]) -> Tensor:
        out = like.new_zeros((*like.shape[:-2], self.dim, self.dim))
        for block, piece in zip(self.blocks, pieces, strict=True):
            rows = block.index.to(like.device)
            out[..., rows[:, :, None], rows[:, None, :]] = piece.unsqueeze(-3)
        return out

    def _restrict(self, group: Generators) -> Rep:
        return DirectSum(tuple((count, rep.restrict(group)) for count, rep in self.parts), group)


class TensorProduct(Rep):
    """The Kronecker product of two or more representations that are no sums, or of sums: then it is one by blocks."""

    def __init__(self, factors: Sequence[Rep]) -> None:
        self.factors = tuple(factors)
        self.group = factors[0].group
        self.dim = math.prod(rep.dim for rep in factors)
        self.key = ("product", *(rep.key for rep in factors))
        self.name = "⊗".join(f"({rep.name})" if " " in rep.name else rep.name for rep in factors)

    @functools.cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The products of the factors' blocks."""
        if all(len(rep.blocks) == 1 and len(rep.blocks[0].index) == 1 for rep in self.factors):
            return (Block(self, torch.arange(self.dim)[None]),)
        found = [Block(scalar(self.group), torch.zeros(1, 1, dtype=torch.int64))]
        for factor in self.factors:
            found = [
                Block(
                    a.rep * b.rep,
                    (a.index[:, None, :, None] * factor.dim + b.index[None, :, None, :]).flatten(2).flatten(0, 1),
                )
                for a in found
                for b in factor.blocks
            ]
        return _merged(found)

    def _matrix(self, g: Tensor) -> Tensor:
        return functools.reduce(_kron, [rep.matrix(g) for rep in self.factors])

    def _algebra(self, x: Tensor) -> Tensor:
        total = x.new_zeros((*x.shape[:-2], self.dim, self.dim))
        before = 1
        for rep in self.factors:
            after = self.dim // before // rep.dim
            eyes = [torch.eye(n, dtype=x.dtype, device=x.device) for n in (before, after)]
            total = total + _kron(_kron(eyes[0], rep.algebra(x)), eyes[1])
            before *= rep.dim
        return total

    def _restrict(self, group: Generators) -> Rep:
        return functools.reduce(lambda a, b: a * b, [rep.restrict(group) for rep in self.factors])


class Subspace(Rep):
    """An invariant subspace of a representation.

    Attributes:
        rep: The representation that it is in.
        basis: ``[dim, rep.dim]`` float64, orthonormal rows.

    Raises:
        ShapeError: The basis has another length, or dependent rows.
        ConfigError: The subspace is not invariant.
    """

    def __init__(self, rep: Rep, basis: Tensor, name: str) -> None:
        if basis.ndim != 2 or basis.shape[1] != rep.dim:
            raise ShapeError(f"A basis [r, {rep.dim}] of a subspace of {rep.name} is needed, not {list(basis.shape)}.")
        basis = basis.detach().double().cpu()
        eye = torch.eye(len(basis), dtype=torch.float64)
        if float((basis @ basis.T - eye).abs().max() if len(basis) else 0.0) > 1e-12:
            q, r = torch.linalg.qr(basis.T)
            if len(basis) > rep.dim or float(torch.diagonal(r).abs().min()) < 1e-10 * float(r.abs().max()):
                raise ShapeError("The rows that span a subspace are linearly dependent.")
            basis = (q * torch.sign(torch.diagonal(r))).T.contiguous()
        self.group, self.dim, self.rep, self.basis, self.name = rep.group, len(basis), rep, basis, name
        digest = hashlib.sha256(basis.numpy().tobytes()).hexdigest()
        self.key = ("subspace", rep.key, digest)
        for image in torch.cat(rep.images):
            moved = image @ basis.T
            outside = moved - basis.T @ (basis @ moved)
            if outside.numel() and float(outside.abs().max()) > 1e-8 * max(1.0, float(image.abs().max())):
                raise ConfigError(f"{name} is not invariant: {rep.group.name} moves it out of itself.")

    def projector(self) -> Tensor:
        """Return the orthogonal projector ``[rep.dim, rep.dim]`` onto it."""
        return self.basis.T @ self.basis

    def _matrix(self, g: Tensor) -> Tensor:
        basis = self.basis.to(g)
        return basis @ self.rep.matrix(g) @ basis.T

    def _algebra(self, x: Tensor) -> Tensor:
        basis = self.basis.to(x)
        return basis @ self.rep.algebra(x) @ basis.T

    def _restrict(self, group: Generators) -> Rep:
        return Subspace(self.rep.restrict(group), self.basis, self.name)


def vector(group: Any) -> Rep:
    """Return the representation by the group's own matrices.

    Args:
        group: As for `generators_of`: a `MatrixGroup`, a name, matrices, `Generators`.
    """
    return Vector(generators_of(group))


def scalar(group: Any) -> Rep:
    """Return the representation on one number that does not change."""
    return Trivial(generators_of(group))


def tensor(group: Any, p: int, q: int = 0) -> Rep:
    """Return the tensors with p vector and q covector indices.

    Example:
        >>> tensor("SO(3)", 2).dim
        9
    """
    v = vector(group)
    return v**p * v.dual() ** q


def regular(group: Any) -> Rep:
    """Return the regular representation of a finite group: it permutes functions on itself.

    Args:
        group: A finite group: `Generators.finite`, `Generators.from_table`, or a name such as ``"D4"``.

    Raises:
        ConfigError: The elements are not known.
    """
    group = generators_of(group)
    if group.elements is None:
        raise ConfigError(f"The regular representation needs all elements of a finite group; {group.name} has none.")
    table = multiplication_table(group.elements)
    left = torch.nn.functional.one_hot(table, len(table)).transpose(1, 2).double()
    return Rep.from_images(group, None, left, f"regular({group.name})")


def _summands(rep: Rep) -> tuple[tuple[int, Rep], ...]:
    return rep.parts if isinstance(rep, DirectSum) else ((1, rep),)


def _is_single(rep: Rep) -> bool:
    return len(_summands(rep)) <= 1


def _product(a: Rep, b: Rep) -> Rep:
    if isinstance(a, Trivial):
        return b
    if isinstance(b, Trivial):
        return a
    factors = [f for rep in (a, b) for f in (rep.factors if isinstance(rep, TensorProduct) else (rep,))]
    return TensorProduct(factors)


def _merged(blocks: list[Block]) -> tuple[Block, ...]:
    found: dict[Hashable, Block] = {}
    for block in blocks:
        before = found.get(block.rep.key)
        index = block.index if before is None else torch.cat([before.index, block.index])
        found[block.rep.key] = Block(block.rep, index)
    return tuple(found.values())


def _kron(a: Tensor, b: Tensor) -> Tensor:
    out = a[..., :, None, :, None] * b[..., None, :, None, :]
    return out.flatten(-2).flatten(-3, -2)


def _permutes(rep: Rep) -> bool:
    lie, discrete = rep.images
    if lie.numel() and float(lie.abs().max()) > 1e-12:
        return False
    return bool((((discrete - 1).abs() < 1e-10) | (discrete.abs() < 1e-10)).all())


def _tensors(dim: int, power: int, antisymmetric: bool) -> Tensor:
    """Orthonormal symmetrised or antisymmetrised monomials ``[r, dim**power]``."""
    import itertools

    choose = itertools.combinations if antisymmetric else itertools.combinations_with_replacement
    rows = []
    for monomial in choose(range(dim), power):
        row = torch.zeros((dim,) * power, dtype=torch.float64)
        for order in itertools.permutations(range(power)):
            swaps = sum(order[i] > order[j] for i in range(power) for j in range(i + 1, power))
            row[tuple(monomial[i] for i in order)] += -1.0 if antisymmetric and swaps % 2 else 1.0
        rows.append(row.flatten() / row.norm())
    return torch.stack(rows) if rows else torch.zeros(0, dim**power, dtype=torch.float64)

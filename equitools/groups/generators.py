"""A matrix group by what generates it: a basis of its Lie algebra, and elements of its other components.

This is all that linear algebra needs to know of a group: a linear condition holds for every element if it holds for
the generators (M. Finzi, M. Welling and A. G. Wilson, ICML 2021, arXiv 2104.09459, section 4).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ConfigError, EquitoolsError, ShapeError
from equitools.groups.affine import Affine
from equitools.groups.finite import FiniteGroup
from equitools.groups.finite_rotations import multiplication_table
from equitools.groups.lorentz import Lorentz
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.names import parse_group
from equitools.groups.orthogonal import O
from equitools.groups.products import ProductGroup, SemidirectProduct

__all__ = ["Generators", "generating_set", "generators_of"]

_CLOSED = 1e-6  # elements of a finite group differ by far more, rounding by far less


class Generators:
    """A group of real matrices, given by generators.

    Args:
        algebra: Matrices ``[k, n, n]`` that span the Lie algebra; none for a finite group.
        discrete: Elements ``[m, n, n]`` that generate it together with the exponentials of the algebra.
        size: n, where both are empty: the group of the identity alone.
        name: For messages.
        elements: All elements ``[G, n, n]``, where the group is finite and they are known.

    Attributes:
        algebra: ``[k, n, n]`` float64.
        discrete: ``[m, n, n]`` float64.
        elements: ``[G, n, n]`` or None.
        size: n.
        orthogonal: Whether all elements are orthogonal matrices.
        key: Equal for equal generators.

    Raises:
        ShapeError: The matrices are not square, not of one size, not finite, or a discrete one is singular.
    """

    def __init__(
        self,
        algebra: Any = None,
        discrete: Any = None,
        *,
        size: int | None = None,
        name: str | None = None,
        elements: Tensor | None = None,
    ) -> None:
        found = [matrices("algebra", algebra), matrices("discrete", discrete)]
        sizes = {m.shape[-1] for m in found if len(m)} | ({size} if size is not None else set())
        if len(sizes) != 1:
            raise ShapeError(
                f"The generators of a group are matrices of one size, given {sorted(sizes) or 'none'}; "
                "for the trivial group say which size."
            )
        self.size: int = sizes.pop()
        empty = torch.zeros(0, self.size, self.size, dtype=torch.float64)
        self.algebra, self.discrete = (m if len(m) else empty for m in found)
        if len(self.discrete) and bool((torch.linalg.svdvals(self.discrete)[:, -1] < 1e-12).any()):
            raise ShapeError("A discrete generator is singular: it is no element of a group.")
        self.elements = None if elements is None else matrices("elements", elements)
        self.name = name or f"group of {self.size}×{self.size} matrices"
        eye = torch.eye(self.size, dtype=torch.float64)
        self.orthogonal = bool(
            (self.algebra + self.algebra.mT).abs().amax() < 1e-12 if len(self.algebra) else True
        ) and bool((self.discrete @ self.discrete.mT - eye).abs().amax() < 1e-12 if len(self.discrete) else True)
        digest = hashlib.sha256()
        for part in (self.algebra, self.discrete):
            digest.update(str(tuple(part.shape)).encode() + part.contiguous().numpy().tobytes())
        self.key = digest.hexdigest()

    def __repr__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Generators) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @classmethod
    def finite(cls, elements: Any, name: str | None = None) -> Generators:
        """Make a finite group of the table of its elements ``[G, n, n]``; few of them are kept as generators.

        Raises:
            ShapeError: The elements are not closed under products.
        """
        table = matrices("elements", elements)
        chosen = generating_set(multiplication_table(table))
        return cls(None, table[chosen], size=table.shape[-1], name=name, elements=table)

    @classmethod
    def from_table(cls, table: Any, name: str | None = None) -> Generators:
        """Make a finite group of a multiplication table ``[G, G]``: entry (i, j) says which element i times j is.

        The elements are the permutation matrices of size G by which the group moves itself from the left.

        Raises:
            ShapeError: This is no table of a group.
        """
        table = torch.as_tensor(table)
        order = len(table)
        if table.shape != (order, order) or table.is_floating_point() or order == 0:
            raise ShapeError(f"A multiplication table [G, G] of integers is needed, given {list(table.shape)}.")
        if not torch.equal(table.sort(0).values, torch.arange(order)[:, None].expand(order, order)):
            raise ShapeError("A column of the multiplication table does not have every element once.")
        left = torch.nn.functional.one_hot(table.long(), order).transpose(1, 2).double()  # e_j ↦ e_{ij}
        return cls.finite(left, name or f"group of order {order}")

    def embedded(self, size: int, axes: Sequence[int]) -> Generators:
        """Return the same group acting on some coordinates of a larger space, and not on the others.

        Args:
            size: Of the larger matrices.
            axes: Where this group's coordinates are, each once.

        Raises:
            ShapeError: The axes are not distinct coordinates of the larger space.
        """
        axes = list(axes)
        if len(set(axes)) != self.size or len(axes) != self.size or not all(0 <= a < size for a in axes):
            raise ShapeError(f"{self.name} needs {self.size} distinct axes of {size}, given {axes}.")

        def inside(m: Tensor, diagonal: float) -> Tensor:
            out = torch.eye(size, dtype=m.dtype).mul(diagonal).repeat(len(m), 1, 1)
            out[:, torch.tensor(axes)[:, None], torch.tensor(axes)] = m
            return out

        elements = None if self.elements is None else inside(self.elements, 1.0)
        name = f"{self.name} on axes {axes} of {size}"
        return Generators(
            inside(self.algebra, 0.0), inside(self.discrete, 1.0), size=size, name=name, elements=elements
        )

    def sample(
        self, count: int = 1, generator: torch.Generator | None = None, scale: float = 1.0, words: int = 3
    ) -> Tensor:
        """Draw elements ``[count, n, n]`` float64: not from the Haar measure, but such that every component occurs.

        An element is a product of ``words`` rounds, each an exponential of a normal algebra element (of unit Frobenius
        norm times √k, times ``scale``) and a discrete generator, each taken or not.
        """
        g = torch.eye(self.size, dtype=torch.float64).repeat(count, 1, 1)
        for _ in range(words):
            if len(self.algebra):
                unit = self.algebra / self.algebra.flatten(1).norm(dim=1).clamp_min(1e-300)[:, None, None]
                drawn = torch.randn(count, len(unit), generator=generator, dtype=torch.float64) * scale
                g = torch.matrix_exp(torch.einsum("ck,kij->cij", drawn, unit)) @ g
            for h in self.discrete:
                take = torch.rand(count, generator=generator) < 0.5
                g = torch.where(take[:, None, None], h @ g, g)
        return g


def generators_of(group: Any, name: str | None = None) -> Generators:
    """Return the generators of a group in any of the forms that it is given in.

    Args:
        group: `Generators`; a `MatrixGroup` or its name (``"SO(3)"``); a `FiniteGroup` or its name (``"D4"``, ``"p4"``,
            ``"S_4"``); or matrices ``[m, n, n]`` (a tensor or a list): discrete generators.
        name: For messages.

    Returns:
        The generators.

    Raises:
        ConfigError: A group has several components and does not say representatives of them.
        UnknownNameError: There is no group of that name.
        ShapeError: The matrices are not square and invertible.
    """
    if isinstance(group, Generators):
        return group
    if isinstance(group, FiniteGroup):
        return Generators.finite(group.matrices, name or group.name)
    if isinstance(group, str):
        try:
            return generators_of(parse_group(group))
        except EquitoolsError as unknown:
            try:
                return generators_of(FiniteGroup.named(group), name or group)
            except EquitoolsError:
                raise unknown from None
    if isinstance(group, MatrixGroup):
        return Generators(group.algebra_basis.double(), _components(group), size=group.size, name=name or group.name)
    return Generators(None, group, name=name)


def generating_set(table: Tensor) -> list[int]:
    """Return the indices of few elements that generate a finite group.

    Args:
        table: Multiplication table ``[G, G]``.

    Returns:
        Indices; none for the trivial group.
    """
    order = len(table)
    identity = int((table == torch.arange(order)).all(1).nonzero()[0])
    known, chosen = {identity}, []
    for element in range(order):
        if element in known:
            continue
        chosen.append(element)
        known.add(element)
        frontier = list(known)
        while frontier:  # close up under the products with the chosen ones
            fresh = {int(table[a, b]) for a in chosen for b in frontier} - known
            known |= fresh
            frontier = list(fresh)
        if len(known) == order:
            break
    return chosen


def matrices(what: str, given: Any) -> Tensor:
    """Return square matrices ``[m, n, n]`` in float64; None and empty lists give none."""
    if given is None or len(given) == 0:
        return torch.zeros(0, 0, 0, dtype=torch.float64)
    found = torch.stack([torch.as_tensor(m, dtype=torch.float64).detach().cpu() for m in given])
    if found.ndim != 3 or found.shape[1] != found.shape[2] or not bool(found.isfinite().all()):
        raise ShapeError(f"{what}: finite square matrices [m, n, n] are needed, given {list(found.shape)}.")
    return found


def _components(group: MatrixGroup) -> list[Tensor]:
    """Elements of the components that are not the identity's, enough to generate all of them."""
    if group.connected:
        return []
    if isinstance(group, Lorentz):
        metric = torch.tensor(group.signature, dtype=torch.float64)
        return [torch.diag(-metric), torch.diag(metric)]  # reverse time, and space
    if isinstance(group, O):
        flip = torch.eye(group.size, dtype=torch.float64)
        flip[0, 0] = -1.0
        return [flip]
    if isinstance(group, ProductGroup):
        others = [factor.identity() for factor in group.factors]
        return [
            torch.block_diag(*others[:k], part, *others[k + 1 :])
            for k, factor in enumerate(group.factors)
            for part in _components(factor)
        ]
    if isinstance(group, (Affine, SemidirectProduct)):
        still = torch.zeros(group.n, dtype=torch.float64)
        return [group.element(part, still) for part in _components(group.linear)]
    raise ConfigError(
        f"{group.name} is not connected, and representatives of its components are not known here. Give it by "
        "generators: Generators(algebra=group.algebra_basis, discrete=[...])."
    )

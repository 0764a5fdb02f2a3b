"""Finite groups by their multiplication tables: cosets, classes, subgroups, products, homomorphisms."""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, UnknownNameError
from equitools.groups.finite_rotations import cyclic_group, dihedral_group, finite_group, multiplication_table
from equitools.groups.group_tables import (
    RowIndex,
    check_table,
    close_matrices,
    close_permutations,
    compose,
    require_table_size,
)

__all__ = ["FiniteGroup"]

LARGEST_SYMMETRIC = 8
Indices = Tensor | Sequence[int]


class FiniteGroup:
    """A finite group; its elements are the numbers 0 to ``order`` − 1.

    It knows its product from a table, and what the elements are if somebody said so: matrices or permutations. The
    permutation p takes point i to p[i], and ``p q`` is "first q, then p", as with matrices.

    Args:
        table: ``[n, n]``, entry (i, j) is the product i·j. Checked: it must have an identity and inverses, and be
            associative.
        elements: Matrices ``[n, d, d]`` or permutations ``[n, m]`` (int64) that multiply by the same table; ``None``:
            the group is abstract.
        name: For messages.

    Attributes:
        order: Number of elements.
        name: As given.
        elements: As given, matrices in float64.
        identity: Its number.
        inverse: ``[n]``, the inverse of each element.

    Raises:
        ShapeError: The table is not square or has entries that are no elements, or the elements do not fit to it.
        ConfigError: It is not the table of a group.

    Properties:
        associativity: (a b) c = a (b c), and the identity and the inverses do what their names say.
        cosets_partition: the left cosets of a subgroup, and the right ones, each cover all elements once.
        class_equation: sizes of conjugacy classes divide the order and sum up to it; the center is the classes of one.
        lagrange: the order of a subgroup, and of an element, divides that of the group.
        products: direct and semidirect products are groups, of the order of the product.
        regular: the regular representations are homomorphisms.
    """

    def __init__(self, table: Tensor | Sequence[Sequence[int]], elements: Tensor | None = None, name: str = "") -> None:
        table = torch.as_tensor(table)
        self.identity, self.inverse = check_table(table)
        self.order, self.name = len(table), name or f"a group of {len(table)} elements"
        self.elements = elements
        self._table: Tensor | None = table.long()
        self._index: RowIndex | None = None
        if elements is not None:
            self._check_elements(elements)

    # ---------------------------------------------------------------- how groups are made

    @classmethod
    def from_matrices(cls, generators: Tensor, *, name: str = "", limit: int = 2048) -> FiniteGroup:
        """Return the group that matrices generate.

        Args:
            generators: ``[k, d, d]``.
            name: For messages.
            limit: The largest number of elements.

        Raises:
            ShapeError: They are no square matrices.
            ConfigError: There are more than ``limit`` products, so that the group is larger or not finite at all.
        """
        if generators.ndim != 3 or generators.shape[1] != generators.shape[2] or not generators.shape[1]:
            raise ShapeError(f"Generators [k, d, d] are needed, given {list(generators.shape)}.")
        return cls._of_matrices(close_matrices(generators.detach().double(), limit), name)

    @classmethod
    def from_permutations(
        cls, generators: Tensor | Sequence[Sequence[int]], *, name: str = "", limit: int = math.factorial(8)
    ) -> FiniteGroup:
        """Return the group that permutations generate.

        Args:
            generators: ``[k, n]``, the image of each point.
            name: For messages.
            limit: The largest number of elements.

        Raises:
            ShapeError: A row is no permutation of 0 to n − 1.
            ConfigError: There are more than ``limit`` products.
        """
        rows = torch.as_tensor(generators)
        good = rows.ndim == 2 and not rows.is_floating_point()
        if not good or not bool((rows.sort(-1)[0] == torch.arange(rows.shape[1])).all()):
            raise ShapeError("Each generator must be a permutation of the numbers 0 to n − 1, as a row of integers.")
        return cls._of_permutations(close_permutations(rows.long(), limit), name)

    @classmethod
    def cyclic(cls, n: int, d: int = 2) -> FiniteGroup:
        """Return the n rotations by multiples of 2π/n, as matrices of the plane (or about z, d = 3)."""
        elements = cyclic_group(n, d)
        return cls._of_matrices(elements, f"C{n}" if d == 3 else f"C{n}(2)", _sums(n))

    @classmethod
    def dihedral(cls, n: int, d: int = 2) -> FiniteGroup:
        """Return the 2n symmetries of the regular n-gon: rotations, then those after the reflection of y.

        For d = 3 the second half are half turns.
        """
        elements = dihedral_group(n, d)
        require_table_size(2 * n, f"D{n}")
        sums, places = _sums(n), torch.arange(n)
        differences = (places[:, None] - places) % n  # r^k s · r^j = r^(k−j) s and r^k s · r^j s = r^(k−j)
        table = torch.cat([torch.cat([sums, n + sums], 1), torch.cat([n + differences, differences], 1)])
        return cls._of_matrices(elements, f"D{n}" if d == 3 else f"D{n}(2)", table)

    @classmethod
    def tetrahedral(cls) -> FiniteGroup:
        """Return the 12 rotations of a tetrahedron."""
        return cls.named("T")

    @classmethod
    def octahedral(cls) -> FiniteGroup:
        """Return the 24 rotations of a cube; its matrices are signed permutations of the axes."""
        return cls.named("O")

    @classmethod
    def icosahedral(cls) -> FiniteGroup:
        """Return the 60 rotations of an icosahedron."""
        return cls.named("I")

    @classmethod
    def symmetric(cls, n: int) -> FiniteGroup:
        """Return all permutations of n points, in lexicographic order.

        Raises:
            ConfigError: n is no integer from 1 to 8; the message says how large the group would be.
        """
        return cls._of_permutations(_permutations(n, "S"), f"S_{n}")

    @classmethod
    def alternating(cls, n: int) -> FiniteGroup:
        """Return the even permutations of n points, in lexicographic order.

        Raises:
            ConfigError: n is no integer from 1 to 8; the message says how large the group would be.
        """
        rows = _permutations(n, "A")
        return cls._of_permutations(rows[_parity(rows) == 0], f"A_{n}")

    @classmethod
    def named(cls, name: str) -> FiniteGroup:
        """Return a group by its name.

        Args:
            name: ``"p4"`` and ``"p4m"``: the turns of the square grid, without and with reflections. ``"Cn"``, ``"Dn"``
                (three dimensions; ``"Cn(2)"``, ``"Dn(2)"`` in the plane), ``"T"``, ``"O"``, ``"I"``, ``"Th"``,
                ``"Oh"``, ``"Ih"``, ``"S_n"``, ``"A_n"``.

        Raises:
            UnknownNameError: There is no such name.
        """
        if name in {"p4", "p4m"}:
            group = cls.cyclic(4) if name == "p4" else cls.dihedral(4)
            group.name = name
            return group
        if found := re.fullmatch(r"([SA])_(\d+)", name):
            return (cls.symmetric if found[1] == "S" else cls.alternating)(int(found[2]))
        try:
            return cls._of_matrices(finite_group(name), name)
        except UnknownNameError as error:
            raise UnknownNameError(f"{error} Also p4, p4m, S_n and A_n such as 'S_5'.") from None

    @classmethod
    def _of_matrices(cls, elements: Tensor, name: str, table: Tensor | None = None) -> FiniteGroup:
        group = cls(multiplication_table(elements) if table is None else table, name=name)
        group.elements = elements
        return group

    @classmethod
    def _of_permutations(cls, rows: Tensor, name: str) -> FiniteGroup:
        """Make a group of permutations that are known to be closed; its table is written when it is asked for."""
        group = cls.__new__(cls)
        group.order, group.elements, group.name = len(rows), rows, name or f"a group of {len(rows)} elements"
        group._table, group._index = None, RowIndex(rows)
        group.identity = int(group._index.find(torch.arange(rows.shape[1])))
        group.inverse = group._index.find(rows.argsort(-1))
        return group

    def _check_elements(self, elements: Tensor) -> None:
        if elements.ndim == 2 and not elements.is_floating_point():
            self.elements = rows = elements.long()
            products = RowIndex(rows).find(compose(rows[:, None], rows[None]))
        else:
            self.elements = elements.detach().double()
            products = multiplication_table(self.elements)
        if len(elements) != self.order or not torch.equal(products, self.table):
            raise ShapeError(f"The {len(elements)} elements given do not multiply by the table of {self.order} ones.")

    def __repr__(self) -> str:
        return f"FiniteGroup({self.name}, order {self.order})"

    def __len__(self) -> int:
        return self.order

    # ---------------------------------------------------------------- elements and products

    @property
    def matrices(self) -> Tensor:
        """The elements as matrices ``[n, d, d]`` float64; permutations become permutation matrices.

        Raises:
            ShapeError: The group is abstract.
        """
        if self.elements is None:
            raise ShapeError(f"{self.name} is abstract: its elements are numbers only, and no matrices.")
        if self.elements.ndim == 3:
            return self.elements
        eye = torch.eye(self.elements.shape[1], dtype=torch.float64)
        return eye[self.elements].mT

    @property
    def table(self) -> Tensor:
        """The multiplication table ``[n, n]`` int64.

        Raises:
            ConfigError: The group is too large for one; the message says how large it would be.
        """
        if self._table is None:
            require_table_size(self.order, self.name)
            everything = torch.arange(self.order)
            rows = [self.product(part[:, None], everything) for part in everything.split(256)]
            self._table = torch.cat(rows)
        return self._table

    def product(self, a: Indices | int, b: Indices | int) -> Tensor:
        """Return the numbers of the products a·b, of shapes that broadcast."""
        first, second = self._numbers(a), self._numbers(b)
        if self._table is not None:
            return self._table[first, second]
        if self._index is None or self.elements is None:
            raise AssertionError("a group has a table, or permutations that are looked up")
        return self._index.find(compose(self.elements[first], self.elements[second]))

    def conjugate(self, a: Indices | int, b: Indices | int) -> Tensor:
        """Return a·b·a⁻¹."""
        return self.product(self.product(a, b), self.inverse[self._numbers(a)])

    def power(self, a: Indices | int, exponent: int) -> Tensor:
        """Return the powers of elements; negative ones are those of the inverse."""
        base = self._numbers(a) if exponent >= 0 else self.inverse[self._numbers(a)]
        count, result = abs(exponent), torch.full_like(base, self.identity)
        while count:
            if count & 1:
                result = self.product(result, base)
            base, count = self.product(base, base), count >> 1
        return result

    def element_orders(self) -> Tensor:
        """Return the smallest exponent that takes each element to the identity ``[n]``."""
        everything = torch.arange(self.order)
        orders, current = torch.zeros_like(everything), everything
        for k in itertools.count(1):
            orders[(current == self.identity) & (orders == 0)] = k
            if bool((orders > 0).all()):
                return orders
            current = self.product(current, everything)
        raise AssertionError

    def find(self, element: Tensor) -> Tensor:
        """Return the numbers of matrices or permutations.

        Args:
            element: ``[..., d, d]`` or ``[..., m]``.

        Raises:
            ShapeError: One is not in the group, or the group is abstract.
        """
        if self.elements is None:
            raise ShapeError(f"{self.name} is abstract: its elements are numbers only.")
        if self.elements.ndim == 2:
            index = (self._index or RowIndex(self.elements)).find(element)
        else:
            flat = element.double().reshape(-1, self.elements[0].numel())
            distance, index = torch.cdist(flat, self.elements.flatten(1)).min(-1)
            index = torch.where(distance < 1e-4, index, -1).reshape(element.shape[:-2])
        if bool((index < 0).any()):
            raise ShapeError(f"An element that was given is not in {self.name}.")
        return index

    def generators(self) -> Tensor:
        """Return a set of elements that generates the group; none of them is a product of those before it."""
        return self._closure(torch.arange(self.order))[0]

    def words(self, generators: Indices | None = None) -> list[tuple[int, ...]]:
        """Return each element as a shortest product of generators.

        Args:
            generators: Their numbers; ``None``: those of `generators`.

        Returns:
            For each element the positions of its factors in the list of generators, the leftmost first; the identity
            is the empty word.

        Raises:
            ConfigError: They do not generate the group.
        """
        letters = self.generators() if generators is None else self._numbers(generators)
        words: dict[int, tuple[int, ...]] = {self.identity: ()}
        fresh = [self.identity]
        while fresh:
            products = self.product(torch.tensor(fresh)[:, None], letters).tolist() if len(letters) else []
            following = []
            for element, row in zip(fresh, products, strict=False):
                for k, found in enumerate(row):
                    if found not in words:
                        words[found] = (*words[element], k)
                        following.append(found)
            fresh = following
        if len(words) < self.order:
            raise ConfigError(f"These elements generate {len(words)} of the {self.order} elements of {self.name}.")
        return [words[k] for k in range(self.order)]

    # ---------------------------------------------------------------- subgroups, cosets, classes

    def subgroup(self, members: Indices) -> Tensor:
        """Return the numbers of the smallest subgroup that contains some elements, in ascending order."""
        return self._closure(self._numbers(members).flatten())[1].nonzero().flatten()

    def is_subgroup(self, members: Indices) -> bool:
        """Return whether these elements are a subgroup."""
        known = torch.unique(self._numbers(members))
        return len(known) > 0 and len(self.subgroup(known)) == len(known)

    def is_normal(self, members: Indices) -> bool:
        """Return whether these elements are a normal subgroup: its left cosets are its right cosets."""
        known = torch.unique(self._numbers(members))
        inside = torch.zeros(self.order, dtype=torch.bool)
        inside[known] = True
        return self.is_subgroup(known) and bool(inside[self.conjugate(self.generators()[:, None], known)].all())

    def as_group(self, members: Indices, name: str = "") -> FiniteGroup:
        """Return a subgroup as a group of its own, its elements in ascending order of their numbers here."""
        known = self._subgroup_of(members)
        if self.elements is not None and self.elements.ndim == 2:
            return self._of_permutations(self.elements[known], name)
        number = torch.full((self.order,), -1)
        number[known] = torch.arange(len(known))
        table = number[self.product(known[:, None], known)]
        return FiniteGroup(table, None if self.elements is None else self.elements[known], name)

    def cosets(self, members: Indices, side: Literal["left", "right"] = "left") -> Tensor:
        """Return the cosets of a subgroup.

        Args:
            members: The subgroup H.
            side: ``"left"``: gH; ``"right"``: Hg.

        Returns:
            ``[n / |H|, |H|]``; the first of each row is its smallest element g, the others are g times (or times g)
            those of the subgroup in ascending order, the identity first. The subgroup itself comes first.

        Raises:
            ConfigError: These elements are no subgroup, or there is no such side.
        """
        if side not in {"left", "right"}:
            raise ConfigError(f"Cosets are 'left' or 'right', not {side!r}.")
        known = self._subgroup_of(members)
        known = torch.cat([torch.tensor([self.identity]), known[known != self.identity]])
        rows, left = [], torch.ones(self.order, dtype=torch.bool)
        following: int | None = self.identity
        while following is not None:
            row = self.product(following, known) if side == "left" else self.product(known, following)
            rows.append(row)
            left[row] = False
            following = int(left.int().argmax()) if bool(left.any()) else None
        return torch.stack(rows)

    def quotient(self, members: Indices, name: str = "") -> FiniteGroup:
        """Return the group of cosets of a normal subgroup, numbered as the rows of `cosets`.

        Raises:
            ConfigError: The subgroup is not normal.
        """
        if not self.is_normal(members):
            raise ConfigError(f"A quotient of {self.name} needs a normal subgroup; these elements are none.")
        rows = self.cosets(members)
        require_table_size(len(rows), name or f"this quotient of {self.name}")
        number = torch.empty(self.order, dtype=torch.long)
        number[rows] = torch.arange(len(rows))[:, None].expand_as(rows)
        return FiniteGroup(number[self.product(rows[:, None, 0], rows[None, :, 0])], name=name)

    def conjugacy_classes(self) -> list[Tensor]:
        """Return the classes of conjugate elements, each ascending, ordered by their smallest element."""
        everything, letters = torch.arange(self.order), self.generators()
        label = everything.clone()
        while True:  # labels run along conjugations by generators until nothing changes
            before = label.clone()
            for letter in letters:
                image = self.conjugate(int(letter), everything)
                label = torch.minimum(label, label[image])
                label[image] = torch.minimum(label[image], label)
            if torch.equal(before, label):
                break
        return [(label == smallest).nonzero().flatten() for smallest in torch.unique(label)]

    def center(self) -> Tensor:
        """Return the elements that commute with all others, ascending."""
        letters, everything = self.generators(), torch.arange(self.order)
        if not len(letters):
            return everything
        commutes = self.product(letters[:, None], everything) == self.product(everything, letters[:, None])
        return commutes.all(0).nonzero().flatten()

    @property
    def is_abelian(self) -> bool:
        """Whether all elements commute."""
        return len(self.center()) == self.order

    def commutator_subgroup(self) -> Tensor:
        """Return the subgroup that the commutators a b a⁻¹ b⁻¹ generate, ascending."""
        letters = self.generators()
        # the smallest normal subgroup with the commutators of generators: modulo it, generators commute
        back = self.inverse[letters]
        members = self.subgroup(self.product(self.conjugate(letters[:, None], letters), back).flatten())
        while True:
            closed = self.subgroup(self.conjugate(letters[:, None], members).flatten())
            if len(closed) == len(members):
                return members
            members = closed

    # ---------------------------------------------------------------- maps and products

    def is_homomorphism(self, other: FiniteGroup, image: Indices) -> bool:
        """Return whether a map respects the products: image[a b] = image[a] image[b].

        Args:
            other: Where it goes to.
            image: ``[n]``, the number in ``other`` of the image of each element.

        Raises:
            ShapeError: There is not one image for each element.
        """
        image = other._numbers(image)
        if image.shape != (self.order,):
            raise ShapeError(f"A map of {self.order} elements needs as many images, given {list(image.shape)}.")
        everything = torch.arange(self.order)
        # with generators on one side it holds for all products, if it holds for the identity
        letters = self.generators()
        same = image[self.product(everything, letters[:, None])] == other.product(image, image[letters][:, None])
        return bool(image[self.identity] == other.identity) and bool(same.all())

    def direct_product(self, other: FiniteGroup, name: str = "") -> FiniteGroup:
        """Return the pairs (a, b) with the product by parts; the pair has the number ``a · other.order + b``."""
        return self.semidirect_product(other, None, name or f"{self.name} × {other.name}")

    def semidirect_product(self, other: FiniteGroup, action: Tensor | None, name: str = "") -> FiniteGroup:
        """Return the pairs (n, h) with (n₁, h₁)(n₂, h₂) = (n₁ · h₁(n₂), h₁ h₂).

        Args:
            other: H.
            action: ``[|H|, |N|]``: the image of each element of this group N under each of H. ``None``: they stay, and
                the product is the direct one.
            name: For messages.

        Returns:
            The group; (n, h) has the number ``n · |H| + h``. Where N is the translations and H the turns, that is how
            Euclidean groups are made.

        Raises:
            ShapeError: The action has another shape.
            ConfigError: An element of H is no automorphism of N, the action is no homomorphism, or the table would be
                too large.
        """
        require_table_size(self.order * other.order, name or "this product")
        everything = torch.arange(self.order)
        if action is None:
            action = everything.expand(other.order, -1)
        if action.shape != (other.order, self.order):
            raise ShapeError(f"The action must be [{other.order}, {self.order}], it is {list(action.shape)}.")
        for h, row in enumerate(action):
            if not torch.equal(row.sort()[0], everything) or not self.is_homomorphism(self, row):
                raise ConfigError(f"Element {h} of {other.name} does not act by an automorphism of {self.name}.")
        pairs = torch.arange(other.order)
        if not torch.equal(action[other.table], action[pairs[:, None, None], action[pairs][None]]):
            raise ConfigError(f"This action of {other.name} on {self.name} is none: (g h)(n) is not g(h(n)).")
        first, second = everything.repeat_interleave(other.order), pairs.repeat(self.order)
        moved = self.table[first[:, None], action[second[:, None], first]]
        return FiniteGroup(moved * other.order + other.table[second[:, None], second], name=name)

    def regular_representation(self, side: Literal["left", "right"] = "left") -> Tensor:
        """Return the permutation matrices by which the group acts on functions on itself.

        Args:
            side: ``"left"``: (a·f)(x) = f(a⁻¹x). ``"right"``: (a·f)(x) = f(x a).

        Returns:
            ``[n, n, n]`` float64.

        Raises:
            ConfigError: The matrices would be larger than a gigabyte.
        """
        if self.order > 512:
            raise ConfigError(
                f"The regular representation of {self.name} has {self.order}³ entries, {8 * self.order**3 / 1e9:.3g} "
                "GB. Index with the table instead."
            )
        eye = torch.eye(self.order, dtype=torch.float64)
        return eye[self.table[self.inverse]] if side == "left" else eye[self.table.mT]

    @functools.cached_property
    def is_signed_permutations(self) -> bool:
        """Whether the elements are matrices with one entry ±1 in each row and column: those that keep a grid."""
        if self.elements is None or self.elements.ndim == 2:
            return self.elements is not None
        size = self.elements.abs()
        return bool(((size == 0) | (size == 1)).all() and (size.sum(1) == 1).all() and (size.sum(2) == 1).all())

    # ---------------------------------------------------------------- inside

    def _numbers(self, given: Indices | int) -> Tensor:
        numbers = torch.as_tensor(given)
        if numbers.numel() == 0:
            return numbers.long()
        if numbers.is_floating_point() or numbers.dtype == torch.bool:
            raise ShapeError(f"Elements of {self.name} are given by their numbers, not as {numbers.dtype}.")
        if bool(((numbers < 0) | (numbers >= self.order)).any()):
            raise ShapeError(f"Elements of {self.name} have the numbers 0 to {self.order - 1}; others were given.")
        return numbers.long()

    def _closure(self, members: Tensor) -> tuple[Tensor, Tensor]:
        """Members that generate what all of them do, and which elements those are ``[n]``."""
        chosen: list[int] = []
        reached = torch.zeros(self.order, dtype=torch.bool)
        reached[self.identity] = True
        while not bool(reached[members].all()):  # each further one doubles the subgroup at least
            chosen.append(int(members[(~reached[members]).int().argmax()]))
            letters, fresh = torch.tensor(chosen), reached.nonzero().flatten()
            while len(fresh):
                products = torch.unique(self.product(fresh[:, None], letters))
                fresh = products[~reached[products]]
                reached[fresh] = True
        return torch.tensor(chosen, dtype=torch.long), reached

    def _subgroup_of(self, members: Indices) -> Tensor:
        known = torch.unique(self._numbers(members))
        if not self.is_subgroup(known):
            raise ConfigError(
                f"These {len(known)} elements are no subgroup of {self.name}; they generate one of "
                f"{len(self.subgroup(known))}, see `subgroup`."
            )
        return known


def _sums(n: int) -> Tensor:
    """The table of the cyclic group."""
    require_table_size(n, f"C{n}")
    places = torch.arange(n)
    return (places[:, None] + places) % n


def _permutations(n: int, letter: str) -> Tensor:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ConfigError(f"{letter}_n needs an integer n ≥ 1, not {n!r}.")
    if n > LARGEST_SYMMETRIC:
        order = math.factorial(n) // (2 if letter == "A" else 1)
        raise ConfigError(
            f"{letter}_{n} has {order:,} elements: as permutations {8 * n * order / 1e9:.3g} GB, and its table "
            f"{8 * order**2 / 1e9:.3g} GB. It is listed for n ≤ {LARGEST_SYMMETRIC}."
        )
    return torch.tensor(list(itertools.permutations(range(n))), dtype=torch.long)


def _parity(rows: Tensor) -> Tensor:
    """0 for even permutations, 1 for odd ones."""
    i, j = torch.triu_indices(rows.shape[1], rows.shape[1], 1)
    return (rows[:, i] > rows[:, j]).sum(-1) % 2

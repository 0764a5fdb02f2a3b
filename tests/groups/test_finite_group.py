"""Finite groups by their tables: laws, cosets, classes, products, and what is refused."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from equitools.errors import ConfigError, ShapeError, UnknownNameError
from equitools.groups import FiniteGroup, multiplication_table
from equitools.groups import group_tables as tables

NAMES = ["C1", "C6", "p4", "p4m", "D5", "T", "O", "Th", "S_4", "A_5"]
#: Sizes of conjugacy classes, from character tables.
CLASSES = {
    "p4": [1, 1, 1, 1], "p4m": [1, 1, 2, 2, 2], "D5": [1, 2, 2, 5], "T": [1, 3, 4, 4], "O": [1, 3, 6, 6, 8],
    "I": [1, 12, 12, 15, 20], "S_4": [1, 3, 6, 6, 8], "A_4": [1, 3, 4, 4], "A_5": [1, 12, 12, 15, 20],
    "S_5": [1, 10, 15, 20, 20, 24, 30],
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_associativity(name):
    group = FiniteGroup.named(name)
    a, b, c = torch.randint(group.order, (3, 200))
    assert torch.equal(group.product(group.product(a, b), c), group.product(a, group.product(b, c)))
    everything = torch.arange(group.order)
    for left, right in ((group.identity, everything), (everything, group.identity)):
        assert torch.equal(group.product(left, right), everything)
    unit = torch.full_like(everything, group.identity)
    assert torch.equal(group.product(everything, group.inverse), unit)
    assert torch.equal(group.product(group.inverse, everything), unit)


@pytest.mark.parametrize("name", NAMES)
def test_the_table_is_that_of_the_elements(name):
    group = FiniteGroup.named(name)
    matrices = group.matrices
    products = matrices[:, None] @ matrices[None]
    torch.testing.assert_close(products, matrices[group.table], atol=1e-14, rtol=0)
    assert torch.equal(group.find(group.elements), torch.arange(group.order))


@pytest.mark.parametrize(("n", "d"), [(1, 2), (5, 2), (4, 3)])
@pytest.mark.parametrize("kind", ["cyclic", "dihedral"])
def test_written_tables_are_measured_ones(kind, n, d):
    group = getattr(FiniteGroup, kind)(n, d)
    assert torch.equal(group.table, multiplication_table(group.elements))
    assert group.order == n * (1 if kind == "cyclic" else 2)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["p4m", "O", "S_4", "A_5"])
def test_cosets_partition(name, side):
    group = FiniteGroup.named(name)
    members = group.subgroup(group.generators()[:1])
    cosets = group.cosets(members, side)
    assert cosets.shape == (group.order // len(members), len(members))
    assert torch.equal(cosets.flatten().sort()[0], torch.arange(group.order))
    assert torch.equal(cosets[0].sort()[0], members)
    for row in cosets:  # gH or Hg, as sets and in the order that is promised
        wanted = group.product(row[0], cosets[0]) if side == "left" else group.product(cosets[0], row[0])
        assert torch.equal(row, wanted)


@pytest.mark.parametrize("name", CLASSES)
def test_class_equation(name):
    group = FiniteGroup.named(name)
    classes = group.conjugacy_classes()
    assert sorted(map(len, classes)) == CLASSES[name]
    assert torch.equal(torch.cat(classes).sort()[0], torch.arange(group.order))
    by_hand = {frozenset(group.conjugate(torch.arange(group.order), int(a)).tolist()) for a in range(group.order)}
    assert {frozenset(c.tolist()) for c in classes} == by_hand
    alone = torch.cat([c for c in classes if len(c) == 1]).sort()[0]
    assert torch.equal(group.center(), alone)
    assert group.is_abelian is (len(alone) == group.order)


@pytest.mark.parametrize("name", NAMES)
def test_lagrange(name):
    group = FiniteGroup.named(name)
    orders = group.element_orders()
    for element in range(group.order):
        members = group.subgroup([element])
        assert len(members) == orders[element]
        assert group.order % len(members) == 0
        assert group.is_subgroup(members)
        assert group.power(element, int(orders[element])) == group.identity
    assert torch.equal(group.power(torch.arange(group.order), -1), group.inverse)


def test_subgroups_that_are_none():
    group = FiniteGroup.named("p4m")
    assert group.is_subgroup([0, 2])
    assert not group.is_subgroup([0, 1])
    assert not group.is_subgroup([])
    assert group.subgroup([1]).tolist() == [0, 1, 2, 3]
    with pytest.raises(ConfigError, match="generate one of 4"):
        group.cosets([0, 1])
    with pytest.raises(ConfigError, match="'left' or 'right'"):
        group.cosets([0, 2], side="middle")
    with pytest.raises(ConfigError, match="normal subgroup"):
        group.quotient([0, 4])
    with pytest.raises(ShapeError, match="0 to 7"):
        group.subgroup([8])


def test_quotients_and_derived_groups():
    s4 = FiniteGroup.symmetric(4)
    a4 = s4.commutator_subgroup()
    assert len(a4) == 12
    derived = s4.as_group(a4, "A_4").commutator_subgroup()
    four = a4[derived]  # Klein's group, normal in S_4; the quotient is S_3
    assert s4.is_normal(four)
    quotient = s4.quotient(four)
    assert sorted(map(len, quotient.conjugacy_classes())) == [1, 2, 3]
    rows, image = s4.cosets(four), torch.empty(24, dtype=torch.long)
    image[rows] = torch.arange(6)[:, None].expand_as(rows)
    assert s4.is_homomorphism(quotient, image)
    assert not s4.is_homomorphism(quotient, image.roll(1))
    assert len(FiniteGroup.icosahedral().commutator_subgroup()) == 60


@pytest.mark.parametrize(("name", "order"), [("p4", 1), ("p4m", 2), ("D5", 5), ("T", 4), ("Oh", 12), ("S_5", 60)])
def test_commutators(name, order):
    group = FiniteGroup.named(name)
    everything = torch.arange(group.order)
    all_of_them = group.product(group.conjugate(everything[:, None], everything), group.inverse)
    found = group.commutator_subgroup()
    assert torch.equal(found, group.subgroup(torch.unique(all_of_them)))
    assert len(found) == order
    assert group.quotient(found).is_abelian


def test_homomorphisms_of_determinants_and_signs():
    group, sign = FiniteGroup.named("p4m"), FiniteGroup([[0, 1], [1, 0]])
    image = (torch.linalg.det(group.matrices) < 0).long()
    assert group.is_homomorphism(sign, image)
    assert not group.is_homomorphism(sign, 1 - image)
    for wrong in range(8):  # any other value of one element spoils it
        other = image.clone()
        other[wrong] = 1 - other[wrong]
        assert not group.is_homomorphism(sign, other)
    with pytest.raises(ShapeError, match="8 elements"):
        group.is_homomorphism(sign, [0, 1])


def test_products():
    c2, c3 = FiniteGroup.cyclic(2), FiniteGroup.cyclic(3)
    c6 = c2.direct_product(c3)
    assert c6.is_abelian
    assert int(c6.element_orders().max()) == 6
    flip = torch.tensor([[0, 1, 2], [0, 2, 1]])
    s3 = c3.semidirect_product(c2, flip)
    assert sorted(map(len, s3.conjugacy_classes())) == [1, 2, 3]
    a, b = torch.randint(6, (2, 20))
    n, h = s3.product(a, b) // 2, s3.product(a, b) % 2
    assert torch.equal(n, c3.product(a // 2, flip[a % 2, b // 2]))
    assert torch.equal(h, c2.product(a % 2, b % 2))
    with pytest.raises(ConfigError, match="automorphism"):
        c3.semidirect_product(c2, torch.tensor([[0, 1, 2], [1, 2, 0]]))
    with pytest.raises(ConfigError, match=r"g\(h\(n\)\)"):
        c3.semidirect_product(c2, flip.flip(0))
    with pytest.raises(ShapeError, match=r"\[2, 3\]"):
        c3.semidirect_product(c2, flip.mT)
    with pytest.raises(ConfigError, match="GB"):
        FiniteGroup.symmetric(6).direct_product(FiniteGroup.symmetric(5))


@pytest.mark.parametrize("side", ["left", "right"])
def test_regular(side):
    group = FiniteGroup.named("O")
    matrices = group.regular_representation(side)
    products = matrices[:, None] @ matrices[None]
    assert torch.equal(products, matrices[group.table])
    f, a = torch.randn(24, dtype=torch.float64), 5
    x = torch.arange(24)
    wanted = f[group.product(group.inverse[a], x)] if side == "left" else f[group.product(x, a)]
    assert torch.equal(matrices[a] @ f, wanted)
    with pytest.raises(ConfigError, match="GB"):
        FiniteGroup.symmetric(7).regular_representation()


@pytest.mark.parametrize("name", ["p4m", "O", "S_4"])
def test_words_multiply_to_their_elements(name):
    group = FiniteGroup.named(name)
    letters = group.generators()
    words = group.words()
    for element, word in enumerate(words):
        product = group.identity
        for letter in word:
            product = int(group.product(product, letters[letter]))
        assert product == element
    assert words[group.identity] == ()
    by_length = {  # breadth first: no shorter product gives the same element
        int(group.product(letters[a], letters[b])) for a, b in itertools.product(range(len(letters)), repeat=2)
    }
    assert all(len(words[element]) <= 2 for element in by_length)
    with pytest.raises(ConfigError, match="generate 1 of"):
        group.words([group.identity])


def test_groups_from_generators():
    turn, flip = torch.tensor([[0.0, -1.0], [1.0, 0.0]]), torch.diag(torch.tensor([1.0, -1.0]))
    assert FiniteGroup.from_matrices(torch.stack([turn, flip])).order == 8
    assert FiniteGroup.from_matrices(FiniteGroup.icosahedral().matrices[1:3]).order == 60
    assert FiniteGroup.from_matrices(torch.empty(0, 3, 3)).order == 1
    cycle, swap = [1, 2, 3, 4, 0], [1, 0, 2, 3, 4]
    s5 = FiniteGroup.from_permutations([cycle, swap])
    assert torch.equal(s5.elements, FiniteGroup.symmetric(5).elements)
    assert FiniteGroup.from_permutations([cycle]).is_abelian
    with pytest.raises(ConfigError, match="more than 60 products"):
        FiniteGroup.from_permutations([cycle, swap], limit=60)
    angle = torch.tensor(1.0)
    one = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(1, 2, 2)
    with pytest.raises(ConfigError, match="more than 100"):
        FiniteGroup.from_matrices(one, limit=100)
    with pytest.raises(ConfigError, match="without bound"):
        FiniteGroup.from_matrices(torch.full((1, 1, 1), 1e200, dtype=torch.float64))
    with pytest.raises(ShapeError, match="permutation"):
        FiniteGroup.from_permutations([[0, 0, 1]])
    with pytest.raises(ShapeError, match=r"\[k, d, d\]"):
        FiniteGroup.from_matrices(torch.zeros(2, 3))


def test_symmetric_and_alternating_groups():
    for n in range(1, 7):
        assert FiniteGroup.symmetric(n).order == math.factorial(n)
        assert FiniteGroup.alternating(n).order == max(1, math.factorial(n) // 2)
    even = FiniteGroup.alternating(4)
    assert torch.allclose(torch.linalg.det(even.matrices), torch.ones(12, dtype=torch.float64))
    s4 = FiniteGroup.symmetric(4)
    assert s4.is_subgroup(s4.find(even.elements))


def test_large_groups_have_no_table_but_products():
    group = FiniteGroup.symmetric(8)
    a, b = torch.randint(group.order, (2, 50))
    assert torch.equal(group.elements[group.product(a, b)], tables.compose(group.elements[a], group.elements[b]))
    assert torch.equal(group.product(a, group.inverse[a]), torch.full((50,), group.identity))
    with pytest.raises(ConfigError, match=r"13 GB"):
        group.table  # noqa: B018
    with pytest.raises(ConfigError, match=r"362,880 elements.*1.05e\+03 GB.*n ≤ 8"):
        FiniteGroup.symmetric(9)
    with pytest.raises(ConfigError, match=r"181,440"):
        FiniteGroup.alternating(9)
    with pytest.raises(ConfigError, match="integer"):
        FiniteGroup.symmetric(0)
    with pytest.raises(ConfigError, match=r"C9000 has 9000² entries, 0.648 GB"):
        FiniteGroup.cyclic(9000)
    s4 = FiniteGroup.symmetric(4)
    again = FiniteGroup(s4.table, s4.elements.int(), "again")
    assert torch.equal(again.elements, s4.elements)
    assert torch.equal(again.find(s4.elements[[3, 1]]), torch.tensor([3, 1]))


def test_tables_that_are_none():
    good = FiniteGroup.named("p4m").table
    assert FiniteGroup(good).order == 8
    with pytest.raises(ShapeError, match="integers"):
        FiniteGroup(good[:7])
    with pytest.raises(ShapeError, match="0 to 7"):
        FiniteGroup(good + 1)
    with pytest.raises(ConfigError, match="no identity"):
        FiniteGroup([[1, 0], [1, 0]])
    with pytest.raises(ConfigError, match="no inverse"):
        FiniteGroup([[0, 1], [1, 1]])
    # a loop: Latin, with identity and inverses of both sides, but (1·1)·2 is not 1·(1·2)
    loop = [[0, 1, 2, 3, 4], [1, 0, 3, 4, 2], [2, 4, 0, 1, 3], [3, 2, 4, 0, 1], [4, 3, 1, 2, 0]]
    with pytest.raises(ConfigError, match="not associative"):
        FiniteGroup(loop)


def test_one_wrong_product_is_always_found():
    """Exchange two entries of a row: whatever is broken then, something is reported."""
    table = FiniteGroup.named("A_4").table
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        row, a, b = torch.randint(12, (3,), generator=generator).tolist()
        if a == b:
            continue
        broken = table.clone()
        broken[row, [a, b]] = table[row, [b, a]]
        with pytest.raises(ConfigError):
            FiniteGroup(broken)


def test_elements_must_fit():
    group = FiniteGroup.named("p4")
    assert FiniteGroup(group.table, group.elements).is_signed_permutations
    with pytest.raises(ShapeError, match="do not multiply"):
        FiniteGroup(group.table, group.elements[[0, 2, 1, 3]])
    abstract = FiniteGroup(group.table)
    assert not abstract.is_signed_permutations
    for use in (lambda: abstract.matrices, lambda: abstract.find(group.elements)):
        with pytest.raises(ShapeError, match="abstract"):
            use()
    with pytest.raises(ShapeError, match="not in"):
        group.find(torch.full((2, 2), 0.5))
    with pytest.raises(ShapeError, match="numbers"):
        group.product(0.5, 1)


def test_names():
    assert repr(FiniteGroup.named("p4m")) == "FiniteGroup(p4m, order 8)"
    assert len(FiniteGroup.tetrahedral()) == 12
    assert FiniteGroup.octahedral().is_signed_permutations
    assert not FiniteGroup.icosahedral().is_signed_permutations
    with pytest.raises(UnknownNameError, match="p4m"):
        FiniteGroup.named("p6")


def test_rows_are_found_whatever_their_numbers():
    rows = torch.tensor([[0, 1], [1, 0], [5, 7]])
    index = tables.RowIndex(rows)
    assert index.find(torch.tensor([[[5, 7], [0, 0]]])).tolist() == [[2, -1]]
    with pytest.raises(ShapeError, match="twice"):
        tables.RowIndex(rows[[0, 0]])

"""Diagrams: their counts against known sequences, matrices by the definition, span and independence by null spaces."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import sympy
import torch
from torch import Tensor

from equitools.errors import ConfigError, UnknownNameError
from equitools.groups import symplectic_form
from equitools.groups.diagrams import (
    GROUPS,
    Diagram,
    bell_number,
    brauer_diagrams,
    compose,
    diagram_matrix,
    gram_matrix,
    hom_dimension,
    identity,
    independent_set,
    is_independent,
    jellyfish_diagrams,
    levi_civita_diagrams,
    matching_number,
    number_of_diagrams,
    partition_diagrams,
    restricted_bell_number,
    spanning_set,
    stirling_number,
    tensor,
    transpose,
)
from equitools.groups.diagrams.factorisation import factor_diagram
from equitools.groups.diagrams.young import symmetry_components, young_orthogonal

CASES = [
    (group, n, k, l)
    for group in GROUPS
    for n in (1, 2, 3, 4, 5)
    for k, l in ((0, 0), (1, 0), (0, 2), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3))
    if (group != "Sp" or n % 2 == 0) and n ** (k + l) <= 800
]


def matrix(diagram: Diagram, n: int, group: str) -> Tensor:
    return diagram_matrix(diagram, n, group == "Sp")


def power(g: Tensor, count: int) -> Tensor:
    """Return the action on a tensor power."""
    out = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(count):
        out = torch.kron(out, g.contiguous())
    return out


def elements(group: str, n: int, count: int = 3) -> list[Tensor]:
    """Random elements: enough of them generate a dense subgroup, which has the same equivariant maps."""
    generator = torch.Generator().manual_seed(n)
    if group in {"S", "A"}:
        found = []
        for _ in range(20 * count):
            order = torch.randperm(n, generator=generator)
            g = torch.eye(n, dtype=torch.float64)[order]
            if group == "S" or float(torch.linalg.det(g)) > 0:
                found.append(g)
        # transpositions (or three-cycles) generate the whole group
        for i in range(n - 1 if group == "S" else n - 2):
            order = torch.arange(n)
            width = 2 if group == "S" else 3
            order[i : i + width] = order[i : i + width].roll(1)
            found.append(torch.eye(n, dtype=torch.float64)[order])
        return found[-max(3 * n, 5) :]
    if group == "Sp":
        form, found = symplectic_form(n), []
        for _ in range(count):
            half = torch.randn(n, n, generator=generator, dtype=torch.float64)
            found.append(torch.linalg.matrix_exp(0.3 * form @ (half + half.T)))  # J times symmetric: Hamiltonian
        return found
    found = []
    for _ in range(count):  # Haar: QR with the signs of R taken out
        q, r = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
        found.append(q * r.diagonal().sign())
    reflection = torch.ones(n, dtype=torch.float64)
    reflection[0] = -1
    signs = [float(torch.linalg.det(g)) for g in found]
    if group == "SO":
        return [g if sign > 0 else g * reflection for g, sign in zip(found, signs, strict=True)]
    return [*found, torch.diag(reflection)]


def by_definition(diagram: Diagram, n: int, group: str) -> Tensor:
    """Entry by entry, as the definition says."""
    form = symplectic_form(n) if group == "Sp" else torch.eye(n, dtype=torch.float64)
    out = torch.zeros((n,) * (diagram.top + diagram.bottom), dtype=torch.float64)
    for index in itertools.product(range(n), repeat=diagram.top + diagram.bottom):
        value = 1.0
        for block in diagram.blocks:
            if group == "Sp" and (block[1] < diagram.top or block[0] >= diagram.top):
                value *= float(form[index[block[0]], index[block[1]]])
            else:
                value *= float(all(index[p] == index[block[0]] for p in block))
        if diagram.legs and value:
            held = [index[diagram.blocks[b][0]] for b in diagram.head]
            ends = range(n) if diagram.loose else (None,)
            value *= sum(int(sympy.LeviCivita(*held, *([] if end is None else [end]))) for end in ends)
        out[index] = value
    return out.reshape(n**diagram.top, n**diagram.bottom)


def test_counts_are_known_sequences() -> None:
    for m in range(9):
        assert bell_number(m) == sympy.bell(m)
        assert bell_number(m) == sum(1 for _ in partition_diagrams(m, 0))
        for b in range(m + 1):
            assert stirling_number(m, b) == sympy.functions.combinatorial.numbers.stirling(m, b)
        for n in range(1, 5):
            assert restricted_bell_number(m, n) == sum(1 for _ in partition_diagrams(0, m, n))
    assert [bell_number(m) for m in range(8)] == [1, 1, 2, 5, 15, 52, 203, 877]
    assert [matching_number(m) for m in range(0, 11, 2)] == [1, 1, 3, 15, 105, 945]
    for m in range(9):
        assert matching_number(m) == (sympy.factorial2(m - 1) if m % 2 == 0 else 0)
        assert sum(1 for _ in brauer_diagrams(m // 2, m - m // 2)) == matching_number(m)
        for n in range(1, 6):
            expected = math.comb(m, n) * matching_number(m - n) if m >= n else 0
            assert sum(1 for _ in levi_civita_diagrams(n, m, 0)) == expected


@pytest.mark.parametrize(("group", "n", "k", "l"), CASES)
def test_counts(group: str, n: int, k: int, l: int) -> None:
    diagrams = spanning_set(group, n, k, l)
    assert len(diagrams) == len(set(diagrams)) == number_of_diagrams(group, n, k, l)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(("k", "l"), [(2, 1), (0, 3), (2, 2), (1, 3)])
def test_definition(group: str, k: int, l: int) -> None:
    for n in (2, 3) if group != "Sp" else (2, 4):
        if n ** (k + l) <= 256:
            for diagram in spanning_set(group, n, k, l):
                assert torch.equal(matrix(diagram, n, group), by_definition(diagram, n, group))


@pytest.mark.parametrize(("group", "n", "k", "l"), CASES)
def test_equivariance(group: str, n: int, k: int, l: int) -> None:
    for g in elements(group, n):
        above, below = power(g, l), power(g, k)
        for diagram in spanning_set(group, n, k, l):
            found = matrix(diagram, n, group)
            assert float((above @ found - found @ below).abs().max()) < 1e-10 * float(above.norm() * below.norm())


def null_space(group: str, n: int, k: int, l: int) -> Tensor:
    """The maps that commute with random elements, by singular values, as rows."""
    rows = []
    for g in elements(group, n):
        inverse = torch.linalg.inv(g)
        rows.append(torch.kron(power(g, l), power(inverse, k).T.contiguous()) - torch.eye(n ** (k + l)).double())
    _, values, vectors = torch.linalg.svd(torch.cat(rows))
    return vectors[values < 1e-9]


SMALL = [(group, n, k, l) for group, n, k, l in CASES if n ** (k + l) <= 130]


@pytest.mark.parametrize(("group", "n", "k", "l"), SMALL)
def test_dimension_of_null_space(group: str, n: int, k: int, l: int) -> None:
    assert len(null_space(group, n, k, l)) == hom_dimension(group, n, k, l)


@pytest.mark.parametrize(("group", "n", "k", "l"), [case for case in SMALL if case[1] > 1])
def test_spanning(group: str, n: int, k: int, l: int) -> None:
    """The diagrams and the null space have the same span."""
    null = null_space(group, n, k, l)
    flat = [matrix(diagram, n, group).flatten() for diagram in spanning_set(group, n, k, l)]
    every = torch.stack(flat) if flat else torch.zeros(0, n ** (k + l), dtype=torch.float64)
    assert float((every - every @ null.T @ null).norm()) < 1e-9 * max(1.0, float(every.norm()))
    assert (int(torch.linalg.matrix_rank(every)) if flat else 0) == len(null)


@pytest.mark.parametrize("group", ["S", "A"])
def test_dimension_is_character_integral(group: str) -> None:
    """Of a finite group: the mean number of fixed points to the power of the number of axes."""
    for n in range(1, 6):
        orders = [np.array(p) for p in itertools.permutations(range(n))]
        signs = [sympy.LeviCivita(*p) if n > 1 else 1 for p in itertools.permutations(range(n))]
        kept = [p for p, sign in zip(orders, signs, strict=True) if group == "S" or sign == 1]
        fixed = [int((p == np.arange(n)).sum()) for p in kept]
        for points in range(7):
            total = sum(f**points for f in fixed)
            assert total == len(kept) * hom_dimension(group, n, points // 2, points - points // 2)


def test_dimension_is_weyl_integral() -> None:
    """Of the circle and of the rotations of space: the integral of the character's powers over the angle."""
    angle = 2 * math.pi * np.arange(64) / 64
    for points in range(9):
        circle = np.mean((2 * np.cos(angle)) ** points)
        assert round(circle) == hom_dimension("SO", 2, points, 0)
        rotations = np.mean((1 + 2 * np.cos(angle)) ** points * (1 - np.cos(angle)))
        assert round(rotations) == hom_dimension("SO", 3, points, 0)
        unitary = np.mean((2 * np.cos(angle)) ** points * (1 - np.cos(2 * angle)))  # Sp(2): that of SU(2)
        assert round(unitary) == hom_dimension("Sp", 2, points, 0)
        mirrored = np.mean([1.0**points, (-1.0) ** points])
        assert mirrored == hom_dimension("O", 1, points, 0)
        turned = (circle + 0.0**points) / 2  # reflections of the plane have trace 0
        assert round(turned) == hom_dimension("O", 2, points, 0)


@pytest.mark.parametrize(("group", "n", "k", "l"), CASES)
def test_gram_is_inner_product(group: str, n: int, k: int, l: int) -> None:
    diagrams = spanning_set(group, n, k, l)
    if diagrams:
        flat = torch.stack([matrix(d, n, group).flatten() for d in diagrams])
        assert torch.equal(gram_matrix(diagrams, n, group == "Sp"), flat @ flat.T)


@pytest.mark.parametrize(("group", "n", "k", "l"), CASES)
def test_basis(group: str, n: int, k: int, l: int) -> None:
    diagrams, chosen = spanning_set(group, n, k, l), independent_set(group, n, k, l)
    assert set(chosen) <= set(diagrams)
    assert len(chosen) == hom_dimension(group, n, k, l)
    if chosen:
        flat = torch.stack([matrix(d, n, group).flatten() for d in chosen])
        every = torch.stack([matrix(d, n, group).flatten() for d in diagrams])
        assert int(torch.linalg.matrix_rank(flat)) == int(torch.linalg.matrix_rank(every)) == len(chosen)


def test_independence_condition() -> None:
    for n in range(1, 7):
        for points in range(8):
            if points % 2 == 0:
                assert is_independent("O", n, points, 0) == (2 * n >= points)
                if n % 2 == 0:
                    assert is_independent("Sp", n, 0, points) == (n >= points)
            assert is_independent("S", n, points, 0) == (n >= points)
    assert not is_independent("SO", 3, 2, 3)
    assert len(independent_set("SO", 3, 2, 3)) == 6  # Motzkin–Riordan: 1, 0, 1, 1, 3, 6, 15 for 3^⊗m


@pytest.mark.parametrize("group", GROUPS)
def test_composition(group: str) -> None:
    for n, (m, k, l) in itertools.product((2, 4) if group == "Sp" else (2, 3), ((2, 2, 2), (3, 1, 0), (1, 2, 1))):
        uppers, lowers = spanning_set(group, n, m, l), spanning_set(group, n, k, m)
        for upper, lower in itertools.product(uppers, lowers):
            if upper.legs and lower.legs:
                with pytest.raises(ConfigError, match="only one may have a head"):
                    compose(upper, lower, n)
                continue
            factor, product = compose(upper, lower, n, group == "Sp")
            exact = matrix(upper, n, group) @ matrix(lower, n, group)
            if product is None:
                assert factor == 0
                assert not exact.any()
            else:
                assert torch.equal(factor * matrix(product, n, group), exact), (upper, lower)
    with pytest.raises(ConfigError, match="does not fit under"):
        compose(identity(2), identity(3), 2)


@pytest.mark.parametrize("group", GROUPS)
def test_tensor_is_kronecker(group: str) -> None:
    n = 2
    for left, right in itertools.product(spanning_set(group, n, 1, 1), spanning_set(group, n, 2, 1)):
        if not (left.legs and right.legs):
            exact = torch.kron(matrix(left, n, group), matrix(right, n, group))
            assert torch.equal(matrix(tensor(left, right), n, group), exact)
    with pytest.raises(ConfigError, match="only one may have a head"):
        tensor(next(jellyfish_diagrams(2, 1, 1)), next(jellyfish_diagrams(2, 1, 1)))


@pytest.mark.parametrize("group", GROUPS)
def test_transposition(group: str) -> None:
    for n in (2,) if group == "Sp" else (2, 3):
        for diagram in spanning_set(group, n, 2, 1) + spanning_set(group, n, 1, 3):
            assert torch.equal(matrix(transpose(diagram), n, group), matrix(diagram, n, group).T)
            assert transpose(transpose(diagram)) == diagram


def test_identity_is_the_identity() -> None:
    assert torch.equal(diagram_matrix(identity(2), 3), torch.eye(9, dtype=torch.float64))
    diagram = Diagram(1, 3, ((0, 2), (1, 3)))
    assert compose(identity(1), diagram, 3) == compose(diagram, identity(3), 3) == (1, diagram)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(("k", "l"), [(0, 0), (2, 1), (0, 3), (3, 0), (2, 2), (2, 3)])
def test_factors_make_the_diagram(group: str, k: int, l: int) -> None:
    for n in (2, 4) if group == "Sp" else (2, 3):
        for diagram in spanning_set(group, n, k, l):
            parts = factor_diagram(diagram)
            q, s = parts.lines, parts.open_legs
            lines = [(parts.permutation[j], q + s + j) for j in range(q)]
            lines += [(q + i, q + s + q + i) for i in range(s)]
            middle = diagram_matrix(Diagram(q + s, q + s, tuple(lines)), n)
            product = matrix(parts.expansion, n, group) @ middle @ matrix(parts.contraction, n, group)
            assert torch.equal(parts.sign * product, matrix(diagram, n, group))


@pytest.mark.parametrize("q", range(5))
def test_homomorphism(q: int) -> None:
    for shape, _, _ in symmetry_components(q, max(q, 1)):
        matrices = young_orthogonal(shape)
        for s, t in itertools.product(matrices, repeat=2):
            product = tuple(s[t[j]] for j in range(q))
            np.testing.assert_allclose(matrices[product], matrices[s] @ matrices[t], atol=1e-12)


@pytest.mark.parametrize("q", range(5))
def test_orthogonality(q: int) -> None:
    """Matrix elements of all irreps are orthogonal functions on the group, and as many as it has elements."""
    functions = []
    for shape, _, _ in symmetry_components(q, max(q, 1)):
        matrices = young_orthogonal(shape)
        stacked = np.stack([matrices[s] for s in itertools.permutations(range(q))])
        size = stacked.shape[1]
        np.testing.assert_allclose(stacked @ stacked.transpose(0, 2, 1) - np.eye(size), 0, atol=1e-12)
        functions.append(math.sqrt(size / math.factorial(q)) * stacked.reshape(len(stacked), -1))
    whole = np.concatenate(functions, 1)
    assert whole.shape == (math.factorial(q),) * 2
    np.testing.assert_allclose(whole.T @ whole, np.eye(len(whole)), atol=1e-12)


def bases(q: int, n: int, distinct: bool = False) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """The basis of each irrep as a matrix."""
    found = []
    for shape, times, (row, column, value) in symmetry_components(q, n, distinct):
        size = next(iter(young_orthogonal(shape).values())).shape[0]
        basis = np.zeros((times * size, n**q))
        basis[row, column] = value
        found.append((shape, basis))
    return found


@pytest.mark.parametrize("q", range(4))
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_orthonormality(q: int, n: int) -> None:
    whole = np.concatenate([basis for _, basis in bases(q, n)])
    assert whole.shape == (n**q, n**q)
    np.testing.assert_allclose(whole @ whole.T, np.eye(n**q), atol=1e-12)
    part = np.concatenate([np.zeros((0, n**q)), *(basis for _, basis in bases(q, n, distinct=True))])
    assert len(part) == math.perm(n, q)
    kept = [len(set(index)) == q for index in itertools.product(range(n), repeat=q)]
    np.testing.assert_allclose(part.T @ part, np.diag(np.array(kept, dtype=float)), atol=1e-12)


@pytest.mark.parametrize("q", range(4))
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_components_transform_by_the_irreps(q: int, n: int) -> None:
    """The equivariance of `symmetry_components`."""
    z = np.array(np.random.default_rng(0).normal(size=(n,) * q))
    for shape, basis in bases(q, n):
        for s, representing in young_orthogonal(shape).items():
            moved = np.empty_like(z)
            for index in itertools.product(range(n), repeat=q):
                moved[index] = z[tuple(index[s[j]] for j in range(q))]
            found, before = ((basis @ t.ravel()).reshape(-1, len(representing)) for t in (moved, z))
            np.testing.assert_allclose(found, before @ representing.T, atol=1e-12)


def test_bad_input() -> None:
    with pytest.raises(UnknownNameError, match="group 'U'"):
        spanning_set("U", 3, 1, 1)
    with pytest.raises(ConfigError, match="even number"):
        spanning_set("Sp", 3, 1, 1)
    with pytest.raises(ConfigError, match="k must be an integer of 0 or more"):
        independent_set("O", 3, -1, 1)
    with pytest.raises(ConfigError, match="n must be an integer of 1 or more"):
        spanning_set("O", 0, 1, 1)
    with pytest.raises(ConfigError, match="27,644,437 diagrams"):
        spanning_set("S", 3, 6, 7)
    with pytest.raises(ConfigError, match="each of its 1 \\+ 1 points once"):
        Diagram(1, 1, ((0,),))
    with pytest.raises(ConfigError, match="different ones"):
        Diagram(1, 1, ((0,), (1,)), (0, 0))
    with pytest.raises(ConfigError, match="must have 3 legs"):
        diagram_matrix(Diagram(1, 1, ((0,), (1,)), (0, 1)), 3)
    with pytest.raises(ConfigError, match="entries"):
        diagram_matrix(identity(5), 10)


def test_text() -> None:
    assert str(Diagram(1, 2, ((0, 2), (1,)))) == "{1' 2 | 1}"
    assert str(Diagram(1, 1, ((0,), (1,)), (0, 1), True)) == "{1' | 1} ε(1', 1, ·)"

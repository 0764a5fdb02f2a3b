"""Representations: each is a homomorphism, its algebra the derivative, its blocks what its matrix shows."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, IrrepsError, ShapeError, UnknownNameError
from equitools.groups import E, Lorentz, ProductGroup, finite_group, irreps_matrix, multiplication_table, parse_group
from equitools.groups.generators import Generators, generating_set, generators_of
from equitools.groups.representations import Rep, regular, scalar, tensor, vector


def sl2() -> Generators:
    return generators_of("SL(2)")


def groups() -> dict[str, Generators]:
    return {
        "SO(3)": generators_of("SO(3)"),
        "O(2)": generators_of("O(2)"),
        "Lorentz": generators_of(Lorentz()),
        "E(2)": generators_of(E(2)),
        "SL(2)": sl2(),
        "D4": generators_of("D4"),
        "Th": generators_of("Th"),
    }


def reps(group: Generators) -> list[Rep]:
    v, one = vector(group), scalar(group)
    made = [v, one, v.dual(), 2 * v + 3 * one, v * v.dual(), (v + one) * (2 * v + one), v**3 if v.dim < 4 else v**2,
            v.symmetric(), v.antisymmetric(), (v + v.dual()).dual(), v.symmetric() * v, 0 * v + one]  # fmt: skip
    if group.elements is not None and len(group.elements) < 9:
        made.append(regular(group))
    if group.orthogonal and group.size == 3:
        made.append(Rep.from_irreps("2x0e+0o+1o+1e+2e+3o", group))
    return made


CASES = [(name, k) for name, group in groups().items() for k in range(len(reps(group)))]


def near(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> None:
    assert a.shape == b.shape
    scale = max(1.0, float(b.abs().max()) if b.numel() else 1.0)
    assert float((a - b).abs().max() if a.numel() else 0.0) <= tolerance * scale


@pytest.mark.parametrize(("name", "k"), CASES)
def test_homomorphism(name: str, k: int) -> None:
    group = groups()[name]
    rep = reps(group)[k]
    g, h = group.sample(6, torch.Generator().manual_seed(k), scale=0.4).chunk(2)
    near(rep.matrix(g @ h), rep.matrix(g) @ rep.matrix(h))
    near(rep.matrix(torch.eye(group.size).double()), torch.eye(rep.dim).double(), 1e-12)
    assert rep.matrix(g[:0]).shape == (0, rep.dim, rep.dim)
    assert rep.matrix(g.float()).dtype == torch.float32


@pytest.mark.parametrize(("name", "k"), CASES)
def test_derivative(name: str, k: int) -> None:
    group = groups()[name]
    rep = reps(group)[k]
    if not len(group.algebra):
        assert rep.algebra(group.algebra).shape == (0, rep.dim, rep.dim)
        return
    x = torch.einsum("k,kij->ij", torch.linspace(-0.4, 0.7, len(group.algebra)).double(), group.algebra)
    near(rep.matrix(torch.matrix_exp(x)), torch.matrix_exp(rep.algebra(x)), 1e-10)
    assert rep.algebra(group.algebra).shape == (len(group.algebra), rep.dim, rep.dim)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_blocks_are_what_the_matrix_shows(name: str, k: int) -> None:
    group = groups()[name]
    rep = reps(group)[k]
    index = torch.cat([block.index.flatten() for block in rep.blocks])
    assert sorted(index.tolist()) == list(range(rep.dim))
    g = group.sample(1, torch.Generator().manual_seed(1), scale=0.5)[0]
    rest = rep.matrix(g).clone()
    for block in rep.blocks:
        for copy in block.index:
            near(rest[copy[:, None], copy], block.rep.matrix(g))
            rest[copy[:, None], copy] = 0
    assert float(rest.abs().max()) < 1e-12
    assert len({block.rep.key for block in rep.blocks}) == len(rep.blocks)


def test_products_are_kronecker_products() -> None:
    v = vector("O(3)")
    a, b = 2 * v + scalar("O(3)"), v**2 + v
    g = v.group.sample(1, torch.Generator().manual_seed(0))[0]
    near((a * b).matrix(g), torch.kron(a.matrix(g), b.matrix(g)), 1e-13)
    assert tensor("O(3)", 2) == v**2 == tensor("O(3)", 1, 1)  # orthogonal: covectors are vectors
    assert tensor("O(1,3)", 2) != tensor("O(1,3)", 1, 1)
    assert (v**0, v**1) == (scalar("O(3)"), v)


def test_dual_keeps_the_pairing() -> None:
    v = vector(sl2())
    g = v.group.sample(4, torch.Generator().manual_seed(0), scale=0.5)
    near(v.dual().matrix(g).mT @ v.matrix(g), torch.eye(2).double().expand(4, 2, 2))
    assert v.dual().dual() == v


@pytest.mark.parametrize(("dim", "power"), [(2, 2), (3, 2), (3, 3), (4, 2), (2, 4)])
def test_powers(dim: int, power: int) -> None:
    v = vector(f"O({dim})")
    even, odd = v.symmetric(power), v.antisymmetric(power) if power <= dim else None
    assert even.dim == math.comb(dim + power - 1, power)
    assert odd is None or odd.dim == math.comb(dim, power)
    g = v.group.sample(1, torch.Generator().manual_seed(0))[0]
    values = torch.linalg.eigvals(g)
    wanted = sum(math.prod(c) for c in itertools.combinations_with_replacement(values.tolist(), power))
    assert abs(complex(torch.trace(even.matrix(g))) - wanted) < 1e-10  # the complete symmetric polynomial
    if power == dim:
        near(odd.matrix(g).squeeze(), torch.linalg.det(g), 1e-10)
    swapped = even.basis.unflatten(1, (dim,) * power).transpose(1, 2)
    near(swapped.flatten(1), even.basis, 1e-14)
    near(even.projector() @ even.projector(), even.projector(), 1e-13)


def test_subspaces() -> None:
    v = vector("SO(3)")
    trace = (v**2).subspace(2 * torch.eye(3).flatten()[None])
    assert trace.dim == 1
    near(trace.matrix(v.group.sample(1)[0]), torch.ones(1, 1).double())
    with pytest.raises(ConfigError, match="not invariant"):
        v.subspace(torch.eye(3)[:1])
    with pytest.raises(ShapeError, match="basis"):
        v.subspace(torch.eye(4)[:1])
    with pytest.raises(ShapeError, match="dependent"):
        (2 * scalar("SO(3)")).subspace(torch.ones(2, 2))


def test_restriction() -> None:
    rep = Rep.from_irreps("0e+2x1o+2e") * vector("O(3)")
    inside = generators_of("SO(2)").embedded(3, [0, 1])
    small = rep.restrict(inside)
    g = inside.sample(3, torch.Generator().manual_seed(0))
    near(small.matrix(g), rep.matrix(g))
    assert small.group == inside
    assert not small.blocks[0].rep.images[1].numel()
    near(
        regular("D4").restrict(finite_group("C4")[1:2]).matrix(finite_group("C4")),
        regular("D4").matrix(finite_group("C4")),
    )
    with pytest.raises(ShapeError, match="no subgroup"):
        rep.restrict("SO(2)")
    with pytest.raises(ConfigError, match="do not combine"):
        rep + small


def test_irreps_are_those_of_e3nn() -> None:
    rep = Rep.from_irreps("3x0e+0o+2x1o+1e+2e+4o")
    g = rep.group.sample(4, torch.Generator().manual_seed(0))
    near(rep.matrix(g), irreps_matrix("3x0e+0o+2x1o+1e+2e+4o", g))
    assert [(block.rep.name, len(block.index)) for block in rep.blocks] == [
        ("1", 3), ("0o", 1), ("1o", 2), ("1e", 1), ("2e", 1), ("4o", 1),
    ]  # fmt: skip
    with pytest.raises(IrrepsError):
        Rep.from_irreps("nonsense")
    with pytest.raises(ConfigError, match="subgroups"):
        Rep.from_irreps("1o", Lorentz())


def test_images() -> None:
    spin = Rep.from_irreps("2e", "SO(3)")
    known = Rep.from_images("SO(3)", spin.images[0], None, "degree 2")
    g = spin.group.sample(5, torch.Generator().manual_seed(3))
    near(known.matrix(g), spin.matrix(g), 1e-9)
    with pytest.raises(ConfigError, match="commute"):
        Rep.from_images("SO(3)", spin.images[0] * torch.tensor([1.0, 1.0, 2.0])[:, None, None])
    with pytest.raises(ShapeError, match="3 algebra"):
        Rep.from_images("SO(3)", spin.images[0][:2])
    flip = Rep.from_irreps("2e").images[1]
    near(Rep.from_images("O(3)", spin.images[0], flip).matrix(generators_of("O(3)").discrete), flip)
    with pytest.raises(ConfigError, match="turn the algebra"):
        Rep.from_images("O(3)", spin.images[0], -torch.eye(5)[None])
    with pytest.raises(ConfigError, match="by its generators only"):
        Rep.from_images("O(3)", spin.images[0], flip).matrix(-torch.eye(3).double())
    group = generators_of("D4")
    sign = torch.tensor([1.0] * 4 + [-1.0] * 4)[:, None, None]
    near(Rep.from_images("D4", None, sign).matrix(group.elements), sign.double())
    with pytest.raises(ConfigError, match="do not multiply"):
        Rep.from_images("D4", None, -sign)


def test_regular_representation() -> None:
    rep = regular("D4")
    assert rep.permutation
    assert rep.orthogonal
    characters = rep.matrix(rep.group.elements).diagonal(dim1=1, dim2=2).sum(1)
    assert characters.tolist() == [8.0] + [0.0] * 7
    with pytest.raises(ConfigError, match="finite"):
        regular("SO(3)")


def test_finite_groups_by_table() -> None:
    table = multiplication_table(finite_group("T"))
    group = Generators.from_table(table)
    assert torch.equal(multiplication_table(group.elements), table)
    assert len(group.discrete) <= 3
    chosen = generating_set(table)
    assert len(chosen) < 4
    with pytest.raises(ShapeError, match="column"):
        Generators.from_table(torch.zeros(3, 3, dtype=torch.int64))
    assert generating_set(torch.zeros(1, 1, dtype=torch.int64)) == []


def test_generators() -> None:
    assert generators_of("O(3)").discrete.shape == (1, 3, 3)
    assert generators_of("SO(3)").discrete.shape == (0, 3, 3)
    assert generators_of(Lorentz()).discrete.shape == (2, 4, 4)
    assert generators_of(Lorentz(proper=True)).discrete.shape == (0, 4, 4)
    assert not generators_of("SE(2)").orthogonal
    for name, components in (("GL+(2)", 0), ("SL(3)", 0), ("Sp(4)", 0), ("SIM(2)", 0), ("R^2:O(2)", 1), ("E(3)", 1)):
        group = parse_group(name)
        assert generators_of(group).discrete.shape == (components, group.size, group.size)
        assert group.contains(generators_of(group).sample(20, scale=0.3)).all()
    both = ProductGroup("O(2)", "O(1,3)", "SO(2)")
    assert generators_of(both).discrete.shape == (3, 8, 8)
    assert both.contains(generators_of(both).sample(20, scale=0.3)).all()
    assert Lorentz().contains(generators_of(Lorentz()).sample(20)).all()
    assert generators_of(finite_group("C3")[1:]).size == 3
    assert generators_of("SO(3)") == generators_of(generators_of("SO(3)"))
    assert Generators(size=2).sample(3).shape == (3, 2, 2)
    turned = generators_of("O(2)").embedded(3, [2, 0])
    assert torch.equal(turned.discrete[0], torch.diag(torch.tensor([1.0, 1, -1])).double())
    assert torch.equal(turned.algebra[0][1], torch.zeros(3).double())
    with pytest.raises(ShapeError, match="distinct axes"):
        turned.embedded(3, [0, 0, 1])
    with pytest.raises(ShapeError, match="say which size"):
        Generators()
    with pytest.raises(ShapeError, match="singular"):
        Generators(None, torch.zeros(1, 2, 2))
    with pytest.raises(ShapeError, match="square"):
        Generators(torch.zeros(1, 2, 3))
    with pytest.raises(UnknownNameError):
        generators_of("SU(9)")


def test_what_does_not_combine() -> None:
    v = vector("SO(3)")
    for wrong in (lambda: v + 3, lambda: -1 * v, lambda: v * 1.5, lambda: v**-1, lambda: v + vector("SO(2)")):
        with pytest.raises(ConfigError):
            wrong()
    with pytest.raises(ShapeError, match="matrices"):
        v.matrix(torch.eye(2))
    assert sum([v, v]) == 2 * v


def test_gradients() -> None:
    v = vector(sl2())
    rep = (v.dual() * v + v).symmetric()
    g = v.group.sample(1, torch.Generator().manual_seed(0), scale=0.3)[0].requires_grad_()
    assert torch.autograd.gradcheck(rep.matrix, g)
    assert torch.autograd.gradcheck((v.dual() * v + v).algebra, g)

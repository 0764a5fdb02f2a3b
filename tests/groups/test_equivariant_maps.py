"""Equivariant maps: they are, there are as many as characters say, and the projector is the group's average."""

from __future__ import annotations

import math

import pytest
import torch

from equitools.errors import ConfigError, ShapeError
from equitools.groups import Lorentz, finite_group
from equitools.groups.equivariant_maps import (
    EquivariantMaps,
    equivariant_basis,
    group_average,
    invariant_basis,
    null_space,
    projector,
)
from equitools.groups.generators import Generators, generators_of
from equitools.groups.representations import Rep, regular, scalar, tensor, vector


def symplectic(n: int) -> Generators:
    half = n // 2
    j = torch.zeros(n, n)
    j[:half, half:], j[half:, :half] = torch.eye(half), -torch.eye(half)
    algebra = []
    for a in range(n):
        for b in range(a, n):
            s = torch.zeros(n, n)
            s[a, b] = s[b, a] = 1.0
            algebra.append(j @ s)
    return Generators(algebra, name=f"Sp({n})")


def special_linear(n: int) -> Generators:
    algebra = []
    for a in range(n):
        for b in range(n):
            x = torch.zeros(n, n)
            x[a, b] = 1.0
            if a != b:
                algebra.append(x)
            elif a:
                x[0, 0] = -1.0
                algebra.append(x)
    return Generators(algebra, name=f"SL({n})")


def symmetric(n: int) -> Generators:
    swap, turn = torch.eye(n), torch.eye(n).roll(1, 0)
    swap[[0, 1]] = swap[[1, 0]]
    return Generators(None, [swap, turn], name=f"S({n})")


def is_equivariant(maps: EquivariantMaps, tolerance: float = 1e-9) -> None:
    basis = maps.dense()
    for g in maps.rep_in.group.sample(3, torch.Generator().manual_seed(0), scale=0.3):
        left, right = maps.rep_out.matrix(g) @ basis, basis @ maps.rep_in.matrix(g)
        scale = max(1.0, float(right.abs().max()) if right.numel() else 1.0)
        assert float((left - right).abs().max() if left.numel() else 0.0) <= tolerance * scale


PAIRS = {
    "SO(3)": ("2*v+s", "v**2+s"),
    "O(2)": ("v**2", "v**2+v"),
    "Lorentz": ("v+v**2", "v*v.dual()+s"),
    "SL(3)": ("v**2", "v.dual()+v"),
    "Sp(4)": ("v**2+v", "v**2+s"),
    "SIM(2)": ("v*v.dual()", "s+v"),
    "E(2)": ("v+s", "v**2+v.dual()"),
    "D4": ("regular(v.group)+v", "v**2+regular(v.group)"),
    "S(4)": ("v+s", "v**2"),
}


def pair(name: str) -> tuple[Rep, Rep]:
    known = {"Lorentz": Lorentz(), "SL(3)": special_linear(3), "Sp(4)": symplectic(4), "S(4)": symmetric(4)}
    v = vector(known.get(name, name))
    names = {"v": v, "s": scalar(v.group), "regular": regular}
    return tuple(eval(text, names) for text in PAIRS[name])  # type: ignore[return-value] # noqa: S307 - our own text


@pytest.mark.parametrize("name", PAIRS)
def test_equivariance(name: str) -> None:
    maps = equivariant_basis(*pair(name))
    assert maps.dim
    is_equivariant(maps)
    flat = maps.dense().flatten(1)
    assert torch.allclose(flat @ flat.T, torch.eye(maps.dim).double(), atol=1e-12)
    assert all(block.space.largest_dropped < 1e-12 for block in maps.blocks)


@pytest.mark.parametrize("name", PAIRS)
def test_projection(name: str) -> None:
    rep_in, rep_out = pair(name)
    maps = equivariant_basis(rep_in, rep_out)
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, rep_out.dim, rep_in.dim, generator=random, dtype=torch.float64)
    assert torch.allclose(maps.project(maps.project(a)), maps.project(a), atol=1e-12)
    assert abs(float((maps.project(a) * b).sum() - (a * maps.project(b)).sum())) < 1e-10
    matrix = projector(rep_in, rep_out)
    assert torch.allclose((matrix @ a.flatten()).view_as(a), maps.project(a), atol=1e-12)
    coordinates = torch.randn(4, maps.dim, generator=random, dtype=torch.float64)
    assert torch.allclose(maps.coordinates(maps.matrix(coordinates)), coordinates, atol=1e-12)
    assert torch.allclose(maps.matrix(coordinates), torch.einsum("nk,kij->nij", coordinates, maps.dense()), atol=1e-12)
    assert maps.project(a.float().T.contiguous().T).dtype == torch.float32


@pytest.mark.parametrize("name", PAIRS)
def test_completeness(name: str) -> None:
    """All at once, without blocks: the kernel of the conditions on the whole matrix has the same dimension."""
    rep_in, rep_out = pair(name)
    maps = equivariant_basis(rep_in, rep_out)
    eye_in, eye_out = torch.eye(rep_in.dim).double(), torch.eye(rep_out.dim).double()
    rows = []
    for out, inp in zip(rep_out.images, rep_in.images, strict=True):
        for a, b in zip(out, inp, strict=True):
            rows.append(torch.kron(a, eye_in) - torch.kron(eye_out, b.T.contiguous()))
    assert maps.dim == rep_in.dim * rep_out.dim - int(torch.linalg.matrix_rank(torch.cat(rows), rtol=1e-9))


@pytest.mark.parametrize(
    ("first", "second"), [("2x0e+3x1o+2e", "0e+2x1o+4x2e+3o"), ("1o+1e", "2x1e+0o"), ("5x0o", "2x0e+0o")]
)
@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
def test_schur(first: str, second: str, group: str) -> None:
    a, b = Rep.from_irreps(first, group), Rep.from_irreps(second, group)
    count: dict[str, list[int]] = {}
    for k, rep in enumerate((a, b)):
        for block in rep.blocks:
            name = {"1": "0e"}.get(block.rep.name, block.rep.name)
            kind = name if group == "O(3)" else name[:-1]
            count.setdefault(kind, [0, 0])[k] += len(block.index)
    assert equivariant_basis(a, b).dim == sum(x * y for x, y in count.values())


@pytest.mark.parametrize("n", [3, 4])
def test_brauer(n: int) -> None:
    """Invariant tensors of O(n) and of O(1, n−1): (k − 1)!! pairings, while k/2 ≤ n; of SO(n) one more of rank n."""
    for k in range(6 if n == 4 else 7):
        wanted = math.prod(range(1, k, 2)) if k % 2 == 0 else 0
        assert len(invariant_basis(tensor(f"O({n})", k))) == wanted
        if k <= 3:
            assert len(invariant_basis(tensor(f"SO({n})", k))) == wanted + (k == n)
        if n == 4 and k <= 4:
            assert len(invariant_basis(tensor(Lorentz(), k))) == wanted
    assert len(invariant_basis(tensor("O(2)", 4))) == 3
    assert len(invariant_basis(tensor("O(2)", 6))) == 10  # 15 pairings, dependent in the plane


def test_symplectic_and_special_linear() -> None:
    for k, wanted in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert len(invariant_basis(tensor(symplectic(4), k))) == wanted
    for made, group in ((symplectic(4), "Sp(4)"), (special_linear(3), "SL(3)")):  # written down here, and the library's
        v, w = vector(made), vector(group)
        assert torch.allclose(projector(v**2, v * v.dual()), projector(w**2, w * w.dual()), atol=1e-10)
    for k, wanted in ((1, 0), (2, 0), (3, 1), (4, 0)):
        assert len(invariant_basis(tensor(special_linear(3), k))) == wanted  # the determinant
    assert len(invariant_basis(tensor(special_linear(3), 2, 2))) == 2  # matchings of upper with lower


def test_bell() -> None:
    for k, wanted in ((0, 1), (1, 1), (2, 2), (3, 5), (4, 15)):
        assert len(invariant_basis(tensor(symmetric(4), k))) == wanted


def test_characters_of_a_finite_group() -> None:
    for name in ("D4", "O", "Th"):
        elements = finite_group(name)
        v = vector(Generators.finite(elements))
        for rep_in, rep_out in ((v**2, v**2), (v**3, v), (regular(v.group), v + scalar(v.group))):
            traces = [rep.matrix(elements).diagonal(dim1=1, dim2=2).sum(1) for rep in (rep_in, rep_out)]
            assert equivariant_basis(rep_in, rep_out).dim == round(float((traces[0] * traces[1]).mean()))


@pytest.mark.parametrize("name", ["D4", "T", "Ih"])
def test_the_average_over_the_group_is_the_projector(name: str) -> None:
    v = vector(name)
    rep_in, rep_out = 2 * v + scalar(v.group), v**2 + v
    weight = torch.randn(3, rep_out.dim, rep_in.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(group_average(weight, rep_in, rep_out), equivariant_basis(rep_in, rep_out).project(weight),
                          atol=1e-12)  # fmt: skip
    with pytest.raises(ConfigError, match="no table"):
        group_average(weight, vector("SO(3)"), vector("SO(3)"))


@pytest.mark.parametrize("name", ["SO(3)", "O(3)", "octahedral"])
def test_large_blocks_are_done_otherwise_with_the_same_result(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from equitools.groups import equivariant_maps

    v = vector("O" if name == "octahedral" else name)
    found = []
    for limit in (10**9, 8):
        monkeypatch.setattr(equivariant_maps, "_REDUCE_ABOVE", limit)
        equivariant_maps._cache.clear()
        found.append([null_space(a, b).basis for a, b in ((v**2, v**2), (v**2, v**3), (v, v**3), (v**4, v))])
    equivariant_maps._cache.clear()
    for slow, fast in zip(*found, strict=True):
        assert slow.shape == fast.shape
        assert torch.allclose(slow, fast, atol=1e-9)  # not the same space only: the same basis


def test_the_basis_does_not_depend_on_the_solver() -> None:
    """Coordinates that were saved mean the same elsewhere: another basis of the space gives the same one."""
    from equitools.groups.equivariant_maps import canonical_basis

    random = torch.Generator().manual_seed(0)
    space = torch.linalg.qr(torch.randn(30, 5, generator=random, dtype=torch.float64)).Q.T
    turned = torch.linalg.qr(torch.randn(5, 5, generator=random, dtype=torch.float64)).Q @ space
    assert torch.allclose(canonical_basis(space), canonical_basis(turned), atol=1e-12)
    assert torch.allclose(canonical_basis(space).T @ canonical_basis(space), space.T @ space, atol=1e-12)


def test_generators_that_are_not_exact() -> None:
    """As a discovered algebra has them: rotations with an error of 1e-3."""
    exact = generators_of("SO(3)").algebra
    noise = torch.randn(exact.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = vector(Generators(exact + 1e-3 * noise, name="learned"))
    assert equivariant_basis(v, v).dim == 1  # multiples of 1 commute with anything
    assert len(invariant_basis(v**2)) == 0  # the length is not kept exactly
    with pytest.warns(UserWarning, match="widest gap"):
        assert len(invariant_basis(v**2, threshold=5e-3)) == 1


def test_trivial_cases() -> None:
    one = scalar("SO(3)")
    assert equivariant_basis(0 * one, one).dim == 0
    assert equivariant_basis(0 * one, one).matrix(torch.zeros(0)).shape == (1, 0)
    assert equivariant_basis(vector("SO(3)"), one).project(torch.ones(1, 3)).tolist() == [[0.0, 0.0, 0.0]]
    free = vector(Generators(size=3))
    assert equivariant_basis(free, free).dim == 9
    assert equivariant_basis(one, one).dense().tolist() == [[[1.0]]]
    assert equivariant_basis(3 * one, 2 * one).dim == 6
    still = 2 * scalar("D4")
    assert equivariant_basis(still, still).dim == 4


def test_memory_is_refused() -> None:
    v = vector(Lorentz())
    with pytest.raises(ConfigError, match="GiB"):
        equivariant_basis(v**4, v**4)
    with pytest.raises(ConfigError, match="smaller ones"):
        equivariant_basis(v**2, v**2, max_bytes=10_000, threshold=2e-6)
    with pytest.raises(ConfigError, match="dense"):
        equivariant_basis(40 * v, 40 * v).dense(max_bytes=10_000)
    with pytest.raises(ConfigError, match="project"):
        projector(40 * v, 40 * v, max_bytes=10_000)


def test_bad_input() -> None:
    maps = equivariant_basis(vector("SO(3)"), vector("SO(3)"))
    with pytest.raises(ShapeError, match="coordinates"):
        maps.matrix(torch.zeros(2))
    with pytest.raises(ShapeError, match="Matrices"):
        maps.project(torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="cannot be equivariant"):
        equivariant_basis(vector("SO(3)"), vector("O(3)"))


def test_gradients() -> None:
    v = vector("SO(3)")
    maps = equivariant_basis(2 * v + scalar("SO(3)"), v + v**2 + v)
    coordinates = torch.randn(2, maps.dim, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(maps.rep_out.dim, maps.rep_in.dim, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(maps.matrix, coordinates)
    assert torch.autograd.gradcheck(maps.project, weight)
    assert torch.autograd.gradgradcheck(lambda w: maps.project(w).square(), weight)


def test_unsorted_sums() -> None:
    v, one = vector("SO(3)"), scalar("SO(3)")
    mixed, sorted_ = v + one + v + one, 2 * v + 2 * one
    assert equivariant_basis(mixed, mixed).dim == equivariant_basis(sorted_, sorted_).dim == 8
    is_equivariant(equivariant_basis(mixed, sorted_))

"""What holds in every matrix group: algebra, exponential, adjoint, membership, projection, action."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups import (
    SE,
    SIM,
    SL,
    SO,
    Affine,
    DiagonalScaling,
    E,
    GLPlus,
    Lorentz,
    MatrixGroup,
    O,
    ProductGroup,
    ScaledRotations,
    Scaling,
    SemidirectProduct,
    Sp,
    Torus,
    parse_group,
)


def square(h: Tensor) -> Tensor:
    """The representation of 2 × 2 matrices on ℝ² ⊗ ℝ²."""
    return torch.einsum("...ij,...kl->...ikjl", h, h).flatten(-4, -3).flatten(-2)


GROUPS = [
    O(1),
    O(3),
    SO(2),
    SO(3),
    SO(5),
    E(2),
    SE(3),
    GLPlus(1),
    GLPlus(2),
    GLPlus(4),
    SL(2),
    SL(3),
    Sp(2),
    Sp(4),
    ScaledRotations(3),
    SIM(2),
    SIM(3),
    Scaling(3),
    DiagonalScaling(3),
    Torus(1),
    Torus(3),
    Lorentz(),
    Lorentz(proper=True),
    Affine(GLPlus(2)),
    Affine(SL(3)),
    Affine(Sp(2)),
    Affine(Torus(2)),
    ProductGroup(SO(2), SL(2), Scaling(1)),
    ProductGroup(SE(2), GLPlus(2)),
    SemidirectProduct(SL(2), square, 4, "tensors:SL(2)"),
]
EVERY = pytest.mark.parametrize("group", GROUPS, ids=str)
COMMUTATIVE = [Torus(3), DiagonalScaling(3), Scaling(2), SO(2), ScaledRotations(2)]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coordinates(group: MatrixGroup, *shape: int, seed: int = 0, scale: float = 0.4) -> Tensor:
    return scale * torch.randn(*shape, group.dim, generator=generator(seed), dtype=torch.float64)


@EVERY
def test_basis_is_orthonormal(group: MatrixGroup) -> None:
    basis = group.algebra_basis
    assert basis.dtype == torch.float64
    assert basis.shape == (group.dim, group.size, group.size)
    gram = group.inner_product(basis.unsqueeze(1), basis.unsqueeze(0))
    torch.testing.assert_close(gram, torch.eye(group.dim, dtype=torch.float64), atol=1e-14, rtol=0)


@EVERY
def test_vee_inverts_hat(group: MatrixGroup) -> None:
    x = coordinates(group, 2, 3)
    torch.testing.assert_close(group.vee(group.hat(x)), x, atol=1e-14, rtol=0)


@EVERY
def test_membership_of_exponentials(group: MatrixGroup) -> None:
    x = coordinates(group, 10, seed=1)
    g = group.exp(x)
    assert group.contains(g, 1e-10).all()
    for k in range(3):
        wanted = torch.from_numpy(expm(group.hat(x[k]).numpy()))
        torch.testing.assert_close(g[k], wanted, atol=1e-12, rtol=1e-12)


@EVERY
def test_log_inverts_exp(group: MatrixGroup) -> None:
    x = coordinates(group, 10, seed=2)
    torch.testing.assert_close(group.log(group.exp(x)), x, atol=1e-11, rtol=0)
    torch.testing.assert_close(group.exp(group.log(group.exp(x))), group.exp(x), atol=1e-12, rtol=1e-12)
    assert not group.log(group.identity((2,))).any()


@EVERY
def test_log_of_float32(group: MatrixGroup) -> None:
    x = coordinates(group, 10, seed=3).float()
    g = group.exp(x)
    assert g.dtype == torch.float32
    assert group.contains(g).all()
    back = group.log(g)
    assert back.dtype == torch.float32
    torch.testing.assert_close(back, x, atol=2e-5, rtol=0)


@EVERY
def test_exp_of_commuting_elements(group: MatrixGroup) -> None:
    x = coordinates(group, 4, seed=4)
    torch.testing.assert_close(group.exp(1.7 * x), group.exp(x) @ group.exp(0.7 * x), atol=1e-11, rtol=1e-12)
    if group in COMMUTATIVE:
        y = coordinates(group, 4, seed=5)
        torch.testing.assert_close(group.exp(x + y), group.exp(x) @ group.exp(y), atol=1e-11, rtol=1e-12)


@EVERY
def test_bracket_stays_in_the_algebra(group: MatrixGroup) -> None:
    x, y, z = coordinates(group, 3, seed=6)
    X, Y = group.hat(x), group.hat(y)
    torch.testing.assert_close(group.hat(group.bracket(x, y)), X @ Y - Y @ X, atol=1e-13, rtol=0)
    around = [group.bracket(a, group.bracket(b, c)) for a, b, c in ((x, y, z), (y, z, x), (z, x, y))]
    torch.testing.assert_close(sum(around), torch.zeros_like(x), atol=1e-13, rtol=0)


@EVERY
def test_adjoint_is_a_homomorphism(group: MatrixGroup) -> None:
    g, h = group.sample((2, 5), generator(7))
    assert group.adjoint(g).shape == (5, group.dim, group.dim)
    torch.testing.assert_close(group.adjoint(g @ h), group.adjoint(g) @ group.adjoint(h), atol=1e-10, rtol=1e-10)
    x = coordinates(group, 5, seed=8)
    turned = torch.einsum("bij,bj->bi", group.adjoint(g), x)
    torch.testing.assert_close(group.hat(turned), g @ group.hat(x) @ torch.linalg.inv(g), atol=1e-11, rtol=1e-11)


@EVERY
def test_adjoint_of_exponentials(group: MatrixGroup) -> None:
    x = coordinates(group, seed=9)
    if not group.dim:
        assert group.adjoint(group.exp(x)).shape == (0, 0)
        return
    ad = torch.stack([group.bracket(x, e) for e in torch.eye(group.dim, dtype=torch.float64)], -1)
    torch.testing.assert_close(group.adjoint(group.exp(x)), torch.matrix_exp(ad), atol=1e-11, rtol=1e-11)


@EVERY
def test_coadjoint_keeps_the_pairing(group: MatrixGroup) -> None:
    g, x, p = group.sample((4,), generator(10)), coordinates(group, 4, seed=11), coordinates(group, 4, seed=12)
    moved = [torch.einsum("bij,bj->bi", m, v) for m, v in ((group.adjoint(g), x), (group.coadjoint(g), p))]
    torch.testing.assert_close((moved[0] * moved[1]).sum(-1), (x * p).sum(-1), atol=1e-11, rtol=1e-10)


@EVERY
def test_modular_is_a_homomorphism(group: MatrixGroup) -> None:
    g, h = group.sample((2, 5), generator(13))
    torch.testing.assert_close(group.modular(g @ h), group.modular(g) * group.modular(h), atol=1e-9, rtol=1e-9)
    if group.compact or isinstance(group, (E, SE, GLPlus, Sp, Lorentz)):
        torch.testing.assert_close(group.modular(g), torch.ones(5, dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("group", [SIM(2), Affine(GLPlus(2)), Affine(DiagonalScaling(2)), SE(2)], ids=str)
def test_modular_compares_haar_measures(group: MatrixGroup) -> None:
    g = group.sample((), generator(14))
    step = 1e-5
    columns = []
    for e in torch.eye(group.dim, dtype=torch.float64):
        ends = [group.log(g @ group.exp(sign * step * e) @ group.inverse(g)) for sign in (1, -1)]
        columns.append((ends[0] - ends[1]) / (2 * step))
    numeric = torch.linalg.det(torch.stack(columns, -1)).abs()
    torch.testing.assert_close(group.modular(g), numeric, atol=0, rtol=1e-7)
    if isinstance(group, SIM):  # ℝⁿ ⋊ H: the determinant of the linear part
        torch.testing.assert_close(group.modular(g), torch.linalg.det(g), atol=0, rtol=1e-10)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_samples_are_elements(group: MatrixGroup, dtype: torch.dtype) -> None:
    g = group.sample((2, 10), generator(15), dtype)
    assert (g.shape, g.dtype) == ((2, 10, group.size, group.size), dtype)
    assert group.contains(g).all()
    assert torch.equal(g, group.sample((2, 10), generator(15), dtype))
    assert group.contains(g @ g.flip(0)).all()
    assert group.contains(group.inverse(g)).all()
    assert not group.contains(torch.full_like(g, torch.nan)).any()


@EVERY
def test_inverse(group: MatrixGroup) -> None:
    g = group.sample((6,), generator(16))
    torch.testing.assert_close(g @ group.inverse(g), group.identity((6,)), atol=1e-11, rtol=0)


@EVERY
def test_projection(group: MatrixGroup) -> None:
    g = group.sample((5,), generator(17))
    torch.testing.assert_close(group.project(g), g, atol=1e-11, rtol=1e-11)
    noisy = g + 0.02 * torch.randn(g.shape, generator=generator(18), dtype=g.dtype)
    found = group.project(noisy)
    assert group.contains(found, 1e-9).all()
    torch.testing.assert_close(group.project(found), found, atol=1e-10, rtol=1e-10)


@EVERY
def test_action(group: MatrixGroup) -> None:
    g, h = group.sample((2,), generator(19))
    x = torch.randn(4, group.n, generator=generator(20), dtype=torch.float64)
    torch.testing.assert_close(group.act(g @ h, x), group.act(g, group.act(h, x)), atol=1e-11, rtol=1e-11)
    torch.testing.assert_close(group.act(group.identity(), x), x)


@EVERY
def test_action_on_functions(group: MatrixGroup) -> None:
    g, h = group.sample((2,), generator(21))
    x = torch.randn(4, group.n, generator=generator(22), dtype=torch.float64)

    def f(points: Tensor) -> Tensor:
        return torch.sin(points).sum(-1)

    moved = group.act_on_function(g, group.act_on_function(h, f))
    torch.testing.assert_close(group.act_on_function(g @ h, f)(x), moved(x), atol=1e-9, rtol=0)
    torch.testing.assert_close(group.act_on_function(g, f)(group.act(g, x)), f(x), atol=1e-9, rtol=0)


@EVERY
def test_empty_batches_and_other_layouts(group: MatrixGroup) -> None:
    g = group.sample((0,))
    assert g.shape == (0, group.size, group.size)
    assert group.log(g).shape == (0, group.dim)
    assert group.exp(torch.zeros(0, group.dim)).shape == g.shape
    assert group.project(g).shape == g.shape
    assert group.contains(g).shape == (0,)
    assert group.adjoint(g).shape == (0, group.dim, group.dim)
    g = group.exp(coordinates(group, 6, seed=23))
    turned = g.transpose(0, 2).contiguous().transpose(0, 2)
    torch.testing.assert_close(group.log(turned), group.log(g), atol=1e-12, rtol=0)
    torch.testing.assert_close(group.project(turned), group.project(g), atol=1e-12, rtol=0)


@EVERY
def test_derivatives(group: MatrixGroup) -> None:
    x = coordinates(group, 1, seed=24).requires_grad_()
    if not group.dim:
        return
    assert torch.autograd.gradcheck(group.exp, x)
    # the logarithm is smooth on the group only, so that it is composed with exp
    assert torch.autograd.gradcheck(lambda v: group.log(group.exp(v)), x)


@pytest.mark.parametrize("group", [SO(3), GLPlus(2), SL(3), Sp(2), SIM(2), Affine(SL(2))], ids=str)
def test_second_derivatives(group: MatrixGroup) -> None:
    x = coordinates(group, 1, seed=25).requires_grad_()
    weights = torch.randn(1, group.dim, generator=generator(26), dtype=torch.float64)

    def along(v: Tensor) -> Tensor:
        return (weights * group.log(group.exp(v) @ group.exp(0.3 * weights))).sum()

    assert torch.autograd.gradgradcheck(along, x)


@EVERY
def test_names_are_understood(group: MatrixGroup) -> None:
    if isinstance(group, SemidirectProduct):
        return
    found = parse_group(group.name)
    assert found == group
    assert type(found) is type(group)


@EVERY
def test_wrong_shapes(group: MatrixGroup) -> None:
    wrong = torch.eye(group.size + 1)
    for call in (group.log, group.contains, group.project, group.inverse, group.adjoint, group.vee):
        with pytest.raises(ShapeError, match=str(group.size)):
            call(wrong)
        with pytest.raises(ShapeError, match="floating"):
            call(torch.eye(group.size, dtype=torch.int64))
    for call in (group.exp, group.hat):
        with pytest.raises(ShapeError, match="coordinates"):
            call(torch.zeros(3, group.dim + 1))
    with pytest.raises(ShapeError, match="points"):
        group.act(torch.eye(group.size), torch.zeros(2, group.n + 1))


@EVERY
def test_non_members_are_refused(group: MatrixGroup) -> None:
    g = group.exp(coordinates(group, 3, seed=27))
    group.require(g)
    wrong = g.clone()
    wrong[1, 0] *= -1
    wrong[1, -1] *= 2
    assert group.contains(wrong).tolist() == [True, False, True]
    with pytest.raises(ShapeError, match="1 of 3 matrices are no elements"):
        group.require(wrong)
    with pytest.raises(ShapeError):
        group.log(wrong)
    with pytest.raises(ShapeError):
        group.log(torch.full_like(g, torch.nan))


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(["SO(3)", "SO(4)", "GL+(2)", "SL(3)", "Sp(4)", "SIM(3)", "R^2:SL(2)", "SO(2)xGL+(2)"]),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 1e-12, 1e-6, 0.1, 0.8]),
)
def test_small_and_large_coordinates(name: str, seed: int, size: float) -> None:
    group = parse_group(name)
    x = torch.randn(group.dim, generator=generator(seed), dtype=torch.float64)
    x = size * x / x.norm()
    torch.testing.assert_close(group.log(group.exp(x)), x, atol=1e-15 + 1e-12 * size, rtol=1e-3)

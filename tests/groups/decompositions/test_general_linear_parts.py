"""Polar, KAK and Iwasawa parts of GL⁺(n) and SL(n): round trips, sets, derivatives, errors."""

from __future__ import annotations

import pytest
import torch
from decomposition_cases import of_condition, orthogonality, relative_error, rotations
from torch import Tensor

from equitools.errors import ShapeError, UnknownNameError
from equitools.groups.decompositions import (
    compose,
    decompose,
    iwasawa,
    kak,
    kinds,
    polar,
    spd_log,
    special_iwasawa,
    special_kak,
)

SIZES = [2, 3, 4, 5, 6]
KINDS = ["polar", "kak", "iwasawa"]


def in_group(group: str, g: Tensor) -> Tensor:
    n = g.shape[-1]
    return g / torch.linalg.det(g).pow(1 / n)[..., None, None] if group == "SL" else g


@pytest.mark.parametrize("group", ["GL+", "SL"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_round_trip(group: str, kind: str, n: int, condition: float) -> None:
    g = in_group(group, of_condition(20, n, condition, 10 * n))
    name = f"{group}({n})"
    parts = decompose(name, g, kind)
    assert relative_error(compose(name, parts, kind), g) < 1e-12
    if group == "SL":
        for part in parts:
            assert float((torch.linalg.det(part) - 1).abs().max()) < 1e-11


def test_polar_round_trip() -> None:
    for n in SIZES:
        g = of_condition(10, n, 1e4, n)
        p, k = polar(g)
        assert relative_error(p @ k, g) < 1e-12


def test_kak_round_trip() -> None:
    for n in SIZES:
        g = of_condition(10, n, 1e4, n)
        k1, a, k2 = kak(g)
        assert relative_error(k1 @ a @ k2, g) < 1e-12


def test_iwasawa_round_trip() -> None:
    for n in SIZES:
        g = of_condition(10, n, 1e4, n)
        k, a, u = iwasawa(g)
        assert relative_error(k @ a @ u, g) < 1e-12


@pytest.mark.parametrize("n", [1, *SIZES])
@pytest.mark.parametrize("condition", [1.0, 1e4, 1e8])
def test_polar_parts_stay_in_their_sets(n: int, condition: float) -> None:
    p, k = polar(of_condition(20, n, condition, n))
    assert torch.equal(p, p.mT)
    assert (torch.linalg.eigvalsh(p) > 0).all()
    assert orthogonality(k) < 1e-12
    assert (torch.linalg.det(k) > 0).all()


@pytest.mark.parametrize("n", [1, *SIZES])
@pytest.mark.parametrize("condition", [1.0, 1e4, 1e8])
def test_kak_parts_stay_in_their_sets(n: int, condition: float) -> None:
    k1, a, k2 = kak(of_condition(20, n, condition, n))
    for k in (k1, k2):
        assert orthogonality(k) < 1e-12
        assert (torch.linalg.det(k) > 0).all()
    values = torch.diagonal(a, dim1=-2, dim2=-1)
    assert torch.equal(torch.diag_embed(values), a)
    assert (values > 0).all()
    assert (values.diff(dim=-1) <= 0).all()


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("function", [special_kak, special_iwasawa])
def test_special_parts_have_volume_one(function, n: int) -> None:
    g = in_group("SL", of_condition(200, n, 1e4, n))
    parts = function(g)
    volume = torch.diagonal(parts[1], dim1=-2, dim2=-1).prod(-1)
    assert float((volume - 1).abs().max()) < 1e-14 * n
    assert relative_error(parts[0] @ parts[1] @ parts[2], g) < 1e-12
    one = in_group("SL", of_condition(1, n, 4.0, n)).requires_grad_()
    assert torch.autograd.gradcheck(function, one)


@pytest.mark.parametrize("n", [1, *SIZES])
@pytest.mark.parametrize("condition", [1.0, 1e4, 1e8])
def test_iwasawa_parts_stay_in_their_sets(n: int, condition: float) -> None:
    k, a, u = iwasawa(of_condition(20, n, condition, n))
    assert orthogonality(k) < 1e-12
    assert (torch.linalg.det(k) > 0).all()
    values = torch.diagonal(a, dim1=-2, dim2=-1)
    assert (values > 0).all()
    assert torch.equal(torch.diag_embed(values), a)
    assert torch.equal(torch.tril(u), torch.eye(n, dtype=u.dtype).expand_as(u))


def test_published_polar_loses_orthogonality() -> None:
    """By the eigenvectors of g gᵀ the criterion of `test_polar_parts_stay_in_their_sets` is missed."""
    g = of_condition(20, 4, 1e4, 3)
    values, vectors = torch.linalg.eigh(g @ g.mT)
    log_p = 0.5 * (vectors * values.log().unsqueeze(-2)) @ vectors.mT
    k = torch.linalg.solve(torch.matrix_exp(log_p), g)
    assert orthogonality(k) > 1e-10


@pytest.mark.parametrize("n", [2, 4])
def test_polar_is_unique(n: int) -> None:
    p0, k0 = polar(of_condition(5, n, 100.0, n))
    p, k = polar(p0 @ k0)
    torch.testing.assert_close(p, p0, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(k, k0, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("n", [2, 4])
def test_iwasawa_is_unique(n: int) -> None:
    parts = iwasawa(of_condition(5, n, 100.0, n))
    again = iwasawa(parts[0] @ parts[1] @ parts[2])
    for a, b in zip(again, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_derivatives(kind: str, n: int) -> None:
    g = of_condition(2, n, 5.0, 7).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: decompose(f"GL+({n})", a, kind), g)
    assert torch.autograd.gradgradcheck(lambda a: decompose(f"GL+({n})", a, kind), g)


@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0], [2.0, 2.0, 0.5], [1.0 + 1e-9, 1.0, 1.0 - 1e-12]], ids=str)
def test_polar_derivatives_at_equal_singular_values(values: list[float]) -> None:
    s = torch.tensor(values, dtype=torch.float64)
    g = (rotations(1, 3, 1) @ torch.diag(s) @ rotations(1, 3, 2)).requires_grad_()
    assert torch.autograd.gradcheck(polar, g)
    assert torch.autograd.gradgradcheck(polar, g)


@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0], [2.0, 2.0, 0.5], [1.0 + 1e-15, 1.0, 1.0]], ids=str)
def test_kak_gradients_at_equal_values(values: list[float]) -> None:
    s = torch.tensor(values, dtype=torch.float64)
    g = (rotations(1, 3, 1) @ torch.diag(s) @ rotations(1, 3, 2)).requires_grad_()
    weight = rotations(1, 3, 3)

    def invariants(x: Tensor) -> tuple[Tensor, ...]:
        k1, a, k2 = kak(x)
        values = torch.diagonal(a, dim1=-2, dim2=-1)
        return ((k1 @ k2) * weight).sum(), (values**3).sum(), values.log().square().sum()

    for found, wanted in zip(invariants(g), _by_polar(g, weight), strict=True):
        torch.testing.assert_close(found, wanted)
        (ours,) = torch.autograd.grad(found, g, retain_graph=True)
        (right,) = torch.autograd.grad(wanted, g, retain_graph=True)
        torch.testing.assert_close(ours, right, atol=1e-10, rtol=1e-10)
    k1, a, k2 = kak(g)
    (gradient,) = torch.autograd.grad((k1 * weight).sum() + (a * weight).sum() + (k2 * weight).sum(), g)
    assert gradient.isfinite().all()


def _by_polar(x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    p, k = polar(x)
    return (k * weight).sum(), (p @ p * p).sum(), spd_log(p).square().sum()


@pytest.mark.parametrize("kind", KINDS)
def test_batches_layouts_and_dtypes(kind: str) -> None:
    for part in decompose("GL+(3)", torch.zeros(0, 3, 3), kind):
        assert part.shape == (0, 3, 3)
    g = of_condition(6, 3, 10.0, 1)
    whole = decompose("GL+(3)", g.reshape(2, 3, 3, 3), kind)
    for part, other in zip(decompose("GL+(3)", g[4], kind), whole, strict=True):
        torch.testing.assert_close(part, other[1, 1], atol=1e-14, rtol=1e-13)
    strided = torch.stack([g, g], -1)[..., 0]
    assert not strided.is_contiguous()
    for part, other in zip(decompose("GL+(3)", strided, kind), decompose("GL+(3)", g, kind), strict=True):
        torch.testing.assert_close(part, other, atol=1e-14, rtol=1e-13)
    single = decompose("GL+(3)", g.float(), kind)
    assert all(part.dtype == torch.float32 for part in single)
    assert relative_error(compose("GL+(3)", single, kind), g.float()) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_bad_matrices_are_refused(kind: str) -> None:
    eye = torch.eye(3, dtype=torch.float64)
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    with pytest.raises(ShapeError, match="1 of 2 matrices have a determinant that is not positive"):
        decompose("GL+(3)", torch.stack([eye, mirror]), kind)
    with pytest.raises(ShapeError):
        decompose("GL+(3)", torch.zeros(3, 3), kind)
    singular = torch.diag(torch.tensor([1.0, 1.0, 1e-16], dtype=torch.float64))
    with pytest.raises(ShapeError, match="singular"):
        decompose("GL+(3)", singular, kind)
    with pytest.raises(ShapeError, match="not finite"):
        decompose("GL+(3)", eye * torch.nan, kind)
    with pytest.raises(ShapeError, match=r"\[..., 3, 3\]"):
        decompose("GL+(3)", torch.eye(4), kind)
    with pytest.raises(ShapeError, match="float32 or float64"):
        decompose("GL+(3)", torch.eye(3, dtype=torch.float16), kind)


def test_unknown_kinds_are_refused() -> None:
    assert {"polar", "kak", "iwasawa"} <= set(kinds("GL+(3)"))
    with pytest.raises(UnknownNameError, match=r"'polar'.*iwasawa, jordan"):
        decompose("GL+(3)", torch.eye(3), "pola")
    with pytest.raises(UnknownNameError, match="no decomposition"):
        decompose("GL+(3)", torch.eye(3), "schur")
    with pytest.raises(UnknownNameError, match="is not known"):
        kinds("U(one)")
    with pytest.raises(ShapeError, match="given 3"):
        compose("GL+(3)", [torch.eye(3)] * 3, "polar")

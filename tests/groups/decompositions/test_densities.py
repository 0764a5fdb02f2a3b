"""Densities of the Haar measure in the coordinates of parts, against numeric Jacobians."""

from __future__ import annotations

import pytest
import torch
from decomposition_cases import (
    diagonal_basis,
    generator,
    log_jacobian,
    rotations,
    skew_basis,
    symmetric_basis,
    triangular_basis,
)
from torch import Tensor

from equitools.groups import SO, MatrixGroup, parse_group
from equitools.groups.decompositions import (
    decompose,
    iwasawa_log_density,
    kak_log_density,
    log_density,
    lu_log_density,
    polar_log_density,
)
from equitools.groups.decompositions.polar import log_sinhc

TOLERANCE = 1e-9  # the criterion is 1e-6


def combine(x: Tensor, basis: Tensor) -> Tensor:
    return torch.einsum("k,kij->ij", x, basis)


def full_basis(n: int) -> Tensor:
    return torch.cat([symmetric_basis(n), skew_basis(n)])


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_densities_are_numeric_jacobians(n: int) -> None:
    symmetric, skew, diagonal, upper = symmetric_basis(n), skew_basis(n), diagonal_basis(n), triangular_basis(n)
    k1, k2 = rotations(2, n, n)
    x0 = combine(torch.randn(len(symmetric), generator=generator(n), dtype=torch.float64), symmetric)
    values = torch.randn(n, generator=generator(n + 1), dtype=torch.float64).sort(descending=True).values
    n0 = torch.eye(n, dtype=torch.float64)
    n0 = n0 + combine(torch.randn(len(upper), generator=generator(n + 2), dtype=torch.float64), upper)
    a, basis = torch.diag(values.exp()), full_basis(n)

    def turn(x: Tensor) -> Tensor:
        return torch.matrix_exp(combine(x, skew))

    def by_polar(x: Tensor) -> Tensor:
        s, k = x.split([len(symmetric), len(skew)])
        return torch.matrix_exp(x0 + combine(s, symmetric)) @ turn(k) @ k1

    def by_kak(x: Tensor) -> Tensor:
        left, h, right = x.split([len(skew), n, len(skew)])
        return k1 @ turn(left) @ a @ torch.matrix_exp(combine(h, diagonal)) @ turn(right) @ k2

    def by_iwasawa(x: Tensor) -> Tensor:
        left, h, right = x.split([len(skew), n, len(upper)])
        return k1 @ turn(left) @ a @ torch.matrix_exp(combine(h, diagonal)) @ (n0 + combine(right, upper))

    def by_lu(x: Tensor) -> Tensor:
        left, h, right = x.split([len(upper), n, len(upper)])
        lower = n0.mT + combine(left, upper).mT
        return lower @ (a * signs) @ torch.matrix_exp(combine(h, diagonal)) @ (n0 + combine(right, upper))

    signs = (-1.0) ** torch.arange(n)
    found = {
        "lu": float(lu_log_density(a * signs)),
        "polar": float(polar_log_density(torch.matrix_exp(x0))),
        "kak": float(kak_log_density(a)),
        "iwasawa": float(iwasawa_log_density(a)),
    }
    for kind, element in (("polar", by_polar), ("kak", by_kak), ("iwasawa", by_iwasawa), ("lu", by_lu)):
        assert found[kind] == pytest.approx(log_jacobian(element, n * n, basis), abs=TOLERANCE), kind


def test_density_of_polar_at_equal_stretches() -> None:
    p = torch.eye(3, dtype=torch.float64).requires_grad_()
    density = polar_log_density(p)
    assert float(density.detach()) == pytest.approx(0.0, abs=1e-14)
    (gradient,) = torch.autograd.grad(density, p)
    assert float(gradient.abs().max()) < 1e-12  # one is the least of it
    gaps = torch.tensor([0.0, 1e-8, 0.099, 0.101, 2.0, 700.0, 1e5], dtype=torch.float64)
    found = log_sinhc(gaps)
    wanted = (torch.sinh(gaps[1:5]) / gaps[1:5]).log()
    torch.testing.assert_close(found[1:5], wanted, atol=1e-15, rtol=1e-11)
    assert found[0] == 0
    torch.testing.assert_close(found[5:], gaps[5:] - (2 * gaps[5:]).log())


def jacobian_in(group: MatrixGroup, element, size: int) -> float:
    """Logarithm of |det| of the derivative at zero of a map of coordinates to elements, as g⁻¹ dg in the basis."""
    x = torch.zeros(size, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(element, x)
    moved = group.vee(torch.linalg.solve(element(x), jacobian.movedim(-1, 0)))
    return float(torch.linalg.slogdet(moved)[1])


def unipotent_basis(group: MatrixGroup, a: Tensor) -> Tensor:
    """Orthonormal by ½ tr XᵀY: what a⁻¹ · a makes larger, for generic a; found by its eigenvectors."""
    basis = group.algebra_basis
    ad = group.adjoint(a)
    values, vectors = torch.linalg.eigh(ad)  # a is diagonal or a boost: symmetric
    return torch.einsum("ka,kij->aij", vectors[:, values > 1 + 1e-6], basis)


@pytest.mark.parametrize("name", ["Sp(2)", "Sp(4)", "Sp(6)", "SO+(1,3)"])
@pytest.mark.parametrize("kind", ["polar", "kak", "iwasawa"])
def test_densities_of_symplectic_and_lorentz_groups(name: str, kind: str) -> None:
    group = parse_group(name)
    basis = group.algebra_basis
    is_symmetric = (basis == basis.mT).all(-1).all(-1)
    symmetric, skew = basis[is_symmetric], basis[~is_symmetric]
    g = group.exp(0.8 * torch.randn(group.dim, generator=generator(3), dtype=torch.float64))
    parts = decompose(group, g, kind)
    found = float(log_density(group, parts, kind))
    if name == "SO+(1,3)":
        flat = basis[5:]
    else:
        m = group.n // 2
        flat = torch.stack([torch.diag(torch.cat([e, -e])) for e in torch.eye(m, dtype=torch.float64)])

    def exp(x: Tensor, along: Tensor) -> Tensor:
        return torch.matrix_exp(combine(x, along))

    if kind == "polar":
        log_p = group.hat(group.log(parts[0]))

        def element(x: Tensor) -> Tensor:
            return (
                torch.matrix_exp(log_p + combine(x[: len(symmetric)], symmetric))
                @ parts[1]
                @ exp(x[len(symmetric) :], skew)
            )

    elif kind == "kak":
        left = skew
        if name == "SO+(1,3)":  # only the two rotations that move z; the third commutes with a
            left = skew[:2]

        def element(x: Tensor) -> Tensor:
            y, h, z = x.split([len(left), len(flat), len(skew)])
            return parts[0] @ exp(y, left) @ parts[1] @ exp(h, flat) @ exp(z, skew) @ parts[2]

    else:
        heights = torch.arange(len(flat), 0, -1, dtype=torch.float64) * 0.3
        upper = unipotent_basis(group, exp(heights, flat))
        assert len(upper) == group.dim - len(skew) - len(flat)

        def element(x: Tensor) -> Tensor:
            y, h, z = x.split([len(skew), len(flat), len(upper)])
            return parts[0] @ exp(y, skew) @ parts[1] @ exp(h, flat) @ exp(z, upper) @ parts[2]

    assert found == pytest.approx(jacobian_in(group, element, group.dim), abs=TOLERANCE)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_density_of_rotations_about_one_axis(n: int) -> None:
    group = SO(n)
    g = group.sample((), generator(n))
    k1, a, k2 = decompose(group, g, "kak")
    basis = group.algebra_basis
    plane = basis[(basis[:, n - 2, n - 1] != 0)]
    inner = basis[(basis[:, n - 1] == 0).all(-1)]  # rotations that keep the last axis
    moving = inner[inner[:, n - 2].abs().amax(-1) > 0]  # and move the last but one

    def element(x: Tensor) -> Tensor:
        y, h, z = x.split([len(moving), 1, len(inner)])
        turn = torch.matrix_exp(combine(y, moving)), torch.matrix_exp(combine(z, inner))
        return k1 @ turn[0] @ a @ torch.matrix_exp(combine(h, plane)) @ turn[1] @ k2

    found = float(log_density(group, (k1, a, k2), "kak"))
    assert found == pytest.approx(jacobian_in(group, element, group.dim), abs=TOLERANCE)


@pytest.mark.parametrize("name", ["R^2:GL+(2)", "R^3:SL(3)", "SIM(2)", "SE(3)"])
def test_densities_of_affine_groups(name: str) -> None:
    group = parse_group(name)
    g = group.sample((), generator(4))
    n = group.n
    translation, linear = decompose(group, g, "semidirect")

    def element(x: Tensor) -> Tensor:
        inner = torch.nn.functional.pad(torch.matrix_exp(group.linear.hat(x[n:])), (0, 1, 0, 1))
        last = torch.zeros(n + 1, n + 1, dtype=torch.float64)
        last[n, n] = 1.0
        shift = torch.eye(n + 1, dtype=torch.float64) + torch.nn.functional.pad(x[:n].unsqueeze(-1), (n, 0, 0, 1))
        return shift @ translation @ linear @ (inner + last)

    wanted = jacobian_in(group, element, group.dim)
    assert float(log_density(group, (translation, linear), "semidirect")) == pytest.approx(wanted, abs=TOLERANCE)
    volume = float(torch.linalg.det(linear).log())
    if "levi" in group.kinds:
        found = log_density(group, decompose(group, g, "levi"), "levi")
        assert float(found) == pytest.approx(-volume, abs=1e-12)
    if "polar" in group.kinds and name.startswith("R^"):
        parts = decompose(group, g, "polar")
        assert float(log_density(group, parts, "polar")) == pytest.approx(
            float(polar_log_density(parts[1][:n, :n])) - volume, abs=1e-12
        )


def test_density_of_the_levi_parts() -> None:
    group = parse_group("GL+(3)")
    scale, rest = decompose(group, group.sample((), generator(5)), "levi")
    inner = parse_group("SL(3)")

    def element(x: Tensor) -> Tensor:  # ½ tr XᵀY of the identity is 3/2
        return scale * (x[0] * (2 / 3) ** 0.5).exp() @ rest @ torch.matrix_exp(inner.hat(x[1:]))

    assert jacobian_in(group, element, 9) == pytest.approx(float(log_density(group, (scale, rest), "levi")), abs=1e-9)

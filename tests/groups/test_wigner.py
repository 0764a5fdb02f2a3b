"""Wigner D matrices: homomorphism, orthogonality, harmonics, poles, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equitools.errors import IrrepsError, ShapeError
from equitools.groups import (
    Irreps,
    axis_angle_to_matrix,
    irreps_matrix,
    matrix_to_quaternion,
    parse_irreps,
    quaternion_to_matrix,
    random_orthogonal,
    random_rotation,
    wigner_D,
    wigner_D_from_quaternion,
)
from equitools.ops.spherical_harmonics import spherical_harmonics_reference

POLE = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]], dtype=torch.float64)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 10**6), st.integers(0, 12))
@settings(max_examples=25, deadline=None)
def test_homomorphism(seed: int, l: int) -> None:
    a, b = random_rotation((2,), generator(seed))
    torch.testing.assert_close(wigner_D(l, a @ b), wigner_D(l, a) @ wigner_D(l, b), atol=1e-10, rtol=0)


@given(st.integers(0, 10**6), st.integers(0, 12))
@settings(max_examples=25, deadline=None)
def test_orthogonality(seed: int, l: int) -> None:
    d = wigner_D(l, random_rotation((), generator(seed)))
    torch.testing.assert_close(d @ d.T, torch.eye(2 * l + 1, dtype=torch.float64), atol=1e-11, rtol=0)


@pytest.mark.parametrize("rotation", [POLE, torch.eye(3, dtype=torch.float64), random_rotation((), generator(1))])
def test_turns_spherical_harmonics(rotation: torch.Tensor) -> None:
    points = torch.randn(7, 3, generator=generator(2), dtype=torch.float64)
    here = spherical_harmonics_reference(12, points)
    there = spherical_harmonics_reference(12, points @ rotation.T)
    for l in range(13):
        piece = slice(l * l, (l + 1) ** 2)
        torch.testing.assert_close(there[:, piece], here[:, piece] @ wigner_D(l, rotation).T, atol=1e-10, rtol=0)


def test_equals_e3nn() -> None:
    from e3nn import o3

    angles = torch.rand(3, 4, generator=generator(5), dtype=torch.float64) * torch.tensor([[6.2], [3.1], [6.2]])
    torch.set_default_dtype(torch.float64)  # e3nn 0.6 computes its generators in the default dtype
    try:
        for l in range(12):
            ours = wigner_D(l, o3.angles_to_matrix(*angles))
            torch.testing.assert_close(ours, o3.wigner_D(l, *angles), atol=1e-11, rtol=0)
    finally:
        torch.set_default_dtype(torch.float32)


def test_improper_rotations_turn_spherical_harmonics_too() -> None:
    mirror = -random_rotation((), generator(13))
    points = torch.randn(7, 3, generator=generator(14), dtype=torch.float64)
    here, there = spherical_harmonics_reference(5, points), spherical_harmonics_reference(5, points @ mirror.T)
    for l in range(6):
        piece = slice(l * l, (l + 1) ** 2)
        torch.testing.assert_close(there[:, piece], here[:, piece] @ wigner_D(l, mirror).T, atol=1e-12, rtol=0)


def test_double_cover() -> None:
    q = torch.randn(5, 4, generator=generator(15), dtype=torch.float64)
    for l in (1, 4, 12):
        d = wigner_D_from_quaternion(l, q)
        torch.testing.assert_close(wigner_D_from_quaternion(l, -3 * q), d, atol=1e-13, rtol=0)
        torch.testing.assert_close(wigner_D(l, quaternion_to_matrix(q)), d, atol=1e-13, rtol=0)


def test_float32_keeps_its_digits() -> None:
    rotation = random_rotation((50,), generator(16))
    for l in (2, 6, 12):
        torch.testing.assert_close(wigner_D(l, rotation.float()).double(), wigner_D(l, rotation), atol=5e-6, rtol=0)


def test_gradient() -> None:
    rotation = random_rotation((2,), generator(6)).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: wigner_D(3, r), (rotation,))
    quaternion = torch.randn(2, 4, generator=generator(7), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q: wigner_D_from_quaternion(4, q), (quaternion,))
    assert torch.autograd.gradgradcheck(lambda q: wigner_D_from_quaternion(2, q), (quaternion,))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("angle", [0.0, math.pi / 2, math.pi])
def test_gradient_at_the_poles(axis: int, angle: float) -> None:
    direction = torch.eye(3, dtype=torch.float64)[axis]
    rotation = axis_angle_to_matrix(direction, torch.tensor(angle, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: wigner_D(3, r), (rotation,))
    assert torch.autograd.gradcheck(lambda r: irreps_matrix("0o + 2x1o + 2e", r), (rotation,))
    quaternion = matrix_to_quaternion(rotation.detach()).requires_grad_()
    assert torch.autograd.gradcheck(lambda q: wigner_D_from_quaternion(3, q), (quaternion,))


def test_function_transforms() -> None:
    rotations = random_rotation((4,), generator(17))
    for function in (lambda r: wigner_D(3, r), lambda r: irreps_matrix("0o + 2x1o + 2e", r), matrix_to_quaternion):
        torch.testing.assert_close(torch.func.vmap(function)(rotations), function(rotations), atol=1e-13, rtol=0)
        assert torch.func.jacrev(function)(rotations[0]).shape[-2:] == (3, 3)


def test_empty_batches_and_no_irreps() -> None:
    none = torch.zeros(0, 3, 3, dtype=torch.float64)
    assert wigner_D(4, none).shape == (0, 9, 9)
    assert irreps_matrix("2x1o + 0e", none).shape == (0, 7, 7)
    assert irreps_matrix("", torch.eye(3)).shape == (0, 0)
    assert matrix_to_quaternion(none).shape == (0, 4)


def test_homomorphism_of_O3() -> None:
    irreps = Irreps("2x0e + 0o + 2x1o + 1e + 3o")
    a, b = random_orthogonal((2, 6), generator(8))
    torch.testing.assert_close(
        irreps_matrix(irreps, a @ b), irreps_matrix(irreps, a) @ irreps_matrix(irreps, b), atol=1e-11, rtol=0
    )
    inversion = irreps_matrix(irreps, -torch.eye(3, dtype=torch.float64))
    expected = torch.diag(torch.tensor([1, 1, -1] + [-1] * 6 + [1] * 3 + [-1] * 7, dtype=torch.float64))
    torch.testing.assert_close(inversion, expected, atol=1e-12, rtol=0)


def test_round_trip_of_quaternions() -> None:
    rotations = random_rotation((50,), generator(9))
    half_turns = axis_angle_to_matrix(
        torch.randn(20, 3, generator=generator(10), dtype=torch.float64),
        torch.full((20,), math.pi, dtype=torch.float64),
    )
    for group in (rotations, half_turns, torch.eye(3, dtype=torch.float64)[None]):
        torch.testing.assert_close(quaternion_to_matrix(matrix_to_quaternion(group)), group, atol=1e-12, rtol=0)


def test_random_rotations_are_uniform() -> None:
    rotations = random_rotation((20000,), generator(11))
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(20000, dtype=torch.float64))
    # Haar: the mean vanishes, and the mean of the trace squared is 1 (the character of l = 1 has norm 1).
    assert float(rotations.mean(0).abs().max()) < 4 / math.sqrt(3 * 20000)
    assert abs(float(torch.diagonal(rotations, dim1=-2, dim2=-1).sum(-1).square().mean()) - 1) < 0.05
    signs = torch.linalg.det(random_orthogonal((4000,), generator(12)))
    assert abs(float(signs.mean())) < 0.07


def test_wrong_input() -> None:
    with pytest.raises(ShapeError, match="3, 3"):
        wigner_D(2, torch.eye(2))
    with pytest.raises(ShapeError, match="int64"):
        wigner_D(2, torch.eye(3, dtype=torch.int64))
    with pytest.raises(ShapeError, match="3, 3"):
        irreps_matrix("1o", torch.eye(2))
    for wrong in (-1, 1.5, True):
        with pytest.raises(IrrepsError, match="degree"):
            wigner_D(wrong, torch.eye(3))
    with pytest.raises(IrrepsError, match="8x0e"):
        irreps_matrix("vectors", torch.eye(3))
    with pytest.raises(ShapeError, match="axis"):
        axis_angle_to_matrix(torch.ones(2), torch.ones(()))
    with pytest.raises(ShapeError, match="4"):
        quaternion_to_matrix(torch.ones(3))
    with pytest.raises(IrrepsError, match="8x0e"):
        parse_irreps("three vectors")

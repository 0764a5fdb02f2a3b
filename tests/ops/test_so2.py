"""Frames of edges: quaternions to the pole, Wigner matrices of all degrees, linear maps of one order."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups import quaternion_to_matrix, wigner_D
from equitools.ops import (
    by_degree,
    by_order,
    edge_frames,
    edge_quaternion,
    rotate_from_pole,
    rotate_to_pole,
    so2_linear,
    so2_tables,
    spherical_harmonics,
    wigner_blocks,
)
from equitools.ops.so2 import degrees_from_pole

#: Both poles, directions next to them, the borders of the formulas, the other axes.
SPECIAL = [
    [0, 1, 0], [0, -1, 0], [1e-9, -1, 0], [0, -1, 1e-7], [1e-5, 1, 1e-5], [1, 0, 0], [-1, 0, 0], [0, 0, 1], [0, 0, -1],
    [1, 1, 0], [0, 1, 1], [0, -1, 1], [0, 1, -1], [1, -1, 1], [1, 1e-16, 0],
]  # fmt: skip


def directions(count: int = 12, seed: int = 0) -> Tensor:
    random = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([random, torch.tensor(SPECIAL, dtype=torch.float64)])


def quaternions(seed: int = 1) -> Tensor:
    """Random ones, those of edges, and those that take the axis y to itself and to its opposite."""
    random = torch.randn(40, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    special = torch.tensor(
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, -1],
         [0, 1, 1, 0], [3, 1e-9, 1, 0], [1e-12, 1, 0, 2]], dtype=torch.float64,
    )  # fmt: skip
    return torch.cat([random, special, edge_quaternion(directions())])


def second_differences(function: Callable[[Tensor], Tensor], at: Tensor, along: Tensor, step: float = 1e-3) -> Tensor:
    """Return the second derivative along a direction, to fourth order in the step."""
    near, far = (function(at + k * along) + function(at - k * along) for k in (step, 2 * step))
    return (16 * near - far - 30 * function(at)) / (12 * step**2)


def invariant(vectors: Tensor) -> Tensor:
    """Something that does not depend on the turn about the pole: one order of a feature, rotated back."""
    features = torch.randn(9, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    frames = edge_frames(vectors, 2)
    rotated = rotate_to_pole(features.expand(len(vectors), 9, 2), frames)
    kept = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1, 0], dtype=torch.float64)[:, None]
    return rotate_from_pole(rotated * kept, frames).flatten(1)


def test_takes_edges_to_the_pole() -> None:
    vectors = directions() * torch.logspace(-8, 8, len(directions()), dtype=torch.float64)[:, None]
    q = edge_quaternion(vectors)
    assert float((q.norm(dim=-1) - 1).abs().max()) < 1e-15 * 4
    unit = vectors / vectors.norm(dim=-1, keepdim=True)
    turned = (quaternion_to_matrix(q) @ unit.unsqueeze(-1)).squeeze(-1)
    assert float((turned - torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)).abs().max()) < 1e-15 * 8
    assert edge_quaternion(vectors.view(3, 9, 3)).shape == (3, 9, 4)


def test_no_direction() -> None:
    vectors = torch.tensor([[0.0, 0.0, 0.0], [1e-13, 0.0, -1e-13], [0.0, 2.0, 0.0]], dtype=torch.float64)
    vectors.requires_grad_()
    q = edge_quaternion(vectors)
    torch.testing.assert_close(q[:2].detach(), torch.eye(4, dtype=torch.float64)[:1].expand(2, 4), atol=0, rtol=0)
    frames = edge_frames(vectors, 4)
    assert frames.known.tolist() == [False, False, True]
    for l, block in enumerate(frames.blocks):
        torch.testing.assert_close(block[0].detach(), torch.eye(2 * l + 1, dtype=torch.float64), atol=1e-14, rtol=0)
    (first,) = torch.autograd.grad(sum(block.sin().sum() for block in frames.blocks), vectors, create_graph=True)
    assert float(first[:2].detach().abs().max()) == 0.0
    (second,) = torch.autograd.grad(first.square().sum(), vectors)
    assert bool(torch.isfinite(first).all() and torch.isfinite(second).all())
    assert float(second[:2].abs().max()) == 0.0


def test_smooth_at_the_poles() -> None:
    """First and second derivatives of what does not depend on the gauge are those of finite differences."""
    vectors = directions(3)
    generator = torch.Generator().manual_seed(5)
    along = torch.randn(vectors.shape, generator=generator, dtype=torch.float64) / 10
    weights = torch.randn(len(vectors), 18, generator=generator, dtype=torch.float64)

    def function(v: Tensor) -> Tensor:
        return (invariant(v) * weights).sum(1)

    leaf = vectors.clone().requires_grad_()
    (first,) = torch.autograd.grad(function(leaf).sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad((first * along).sum(), leaf)
    step = 1e-3
    near, far = (function(vectors + k * along) - function(vectors - k * along) for k in (step, 2 * step))
    torch.testing.assert_close((first * along).sum(1).detach(), (8 * near - far) / (12 * step), atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(
        (second * along).sum(1), second_differences(function, vectors, along), atol=1e-7, rtol=1e-6
    )


def test_gradients_of_the_matrices() -> None:
    vectors = directions(2)
    keep = [k for k in range(len(vectors)) if abs(float(vectors[k, 1])) > 1e-3]  # away from the border of the formulas

    def blocks(v: Tensor) -> Tensor:
        return torch.cat([block.flatten(1) for block in edge_frames(v, 2).blocks], 1)

    few = vectors[keep].requires_grad_()
    assert torch.autograd.gradcheck(blocks, (few,))
    assert torch.autograd.gradgradcheck(blocks, (few[:3].detach().requires_grad_(),))
    q = quaternions()[38:46].requires_grad_()
    assert torch.autograd.gradcheck(lambda q: wigner_blocks(q, 3)[3], (q,))


def test_equals_wigner_D() -> None:
    q = quaternions()
    rotation = quaternion_to_matrix(q)
    found = wigner_blocks(3 * q, 10)
    for l, block in enumerate(found):
        torch.testing.assert_close(block, wigner_D(l, rotation), atol=1e-12, rtol=0)
    for mmax in (0, 1, 4, 20):
        for l, block in enumerate(wigner_blocks(q, 10, mmax)):
            reach = min(l, mmax)
            torch.testing.assert_close(block, found[l][:, l - reach : l + reach + 1], atol=1e-14, rtol=0)


def test_orthogonality() -> None:
    for l, block in enumerate(wigner_blocks(quaternions(), 10)):
        unit = torch.eye(2 * l + 1, dtype=torch.float64).expand_as(block)
        torch.testing.assert_close(block @ block.mT, unit, atol=1e-13, rtol=0)


def test_homomorphism() -> None:
    p, q = quaternions(3)[:30], quaternions(4)[:30]
    w, v, s, u = p[:, :1], p[:, 1:], q[:, :1], q[:, 1:]
    product = torch.cat([w * s - (v * u).sum(1, keepdim=True), w * u + s * v + torch.linalg.cross(v, u)], 1)
    for both, a, b in zip(*(wigner_blocks(x, 7) for x in (product, p, q)), strict=True):
        torch.testing.assert_close(both, a @ b, atol=1e-13, rtol=0)


def test_single_precision() -> None:
    """The bound grows with the degree: a rounded angle is multiplied by the order."""
    q = quaternions()
    exact, found = wigner_blocks(q, 10), wigner_blocks(q.float(), 10)
    for l in range(11):
        assert float((found[l].double() - exact[l]).abs().max()) < 3e-7 * (l + 1)
        assert float((found[l].double() - exact[l]).abs().max()) < 5e-6


def test_harmonics_have_order_zero() -> None:
    vectors = directions()
    rotated = rotate_to_pole(spherical_harmonics(8, vectors).unsqueeze(-1), edge_frames(vectors, 8)).squeeze(-1)
    expected = torch.zeros(81, dtype=torch.float64)
    for l in range(9):
        expected[l * l + l] = math.sqrt(2 * l + 1)
    assert float((rotated - expected).abs().max()) < 2e-14 * 9


def test_rotations_are_inverse() -> None:
    vectors = directions()
    frames = edge_frames(vectors, 5)
    x = torch.randn(len(vectors), 7, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = x.transpose(1, 2)  # not contiguous; of a lower degree than the frames
    y = rotate_to_pole(x, frames)
    torch.testing.assert_close(rotate_from_pole(y, frames), x, atol=1e-13, rtol=0)
    part = edge_frames(vectors, 5, 1)
    kept = [l * l + l + m for l in range(4) for m in range(-min(l, 1), min(l, 1) + 1)]
    torch.testing.assert_close(rotate_to_pole(x, part), y[:, kept], atol=1e-14, rtol=0)
    z = torch.randn(y[:, kept].shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    adjoint = float((rotate_to_pole(x, part) * z).sum() - (x * rotate_from_pole(z, part)).sum())
    assert abs(adjoint) < 1e-12


def test_any_number_of_edges_and_dtype() -> None:
    for dtype in (torch.float32, torch.float64):
        for count in (0, 1):
            frames = edge_frames(torch.ones(count, 3, dtype=dtype), 3, 2)
            assert [tuple(b.shape) for b in frames.blocks] == [(count, 2 * min(l, 2) + 1, 2 * l + 1) for l in range(4)]
            out = rotate_to_pole(torch.ones(count, 16, 2, dtype=dtype), frames)
            assert out.shape == (count, 14, 2)
            assert out.dtype == dtype
            assert rotate_from_pole(out, frames).shape == (count, 16, 2)


def test_coupling_at_the_pole() -> None:
    """Between harmonics of an edge at the pole and couplings of its other orders there is nothing."""
    from equitools.groups import clebsch_gordan

    for l1, degree, l3 in ((2, 1, 2), (2, 2, 2), (3, 2, 2), (1, 4, 4), (0, 2, 2), (4, 3, 4)):
        diagonal, cross = (table[degree - abs(l1 - l3)] for table in so2_tables.polar_coupling(l1, l3))
        middle = clebsch_gordan(l1, degree, l3)[:, degree, :] * math.sqrt((2 * degree + 1) * (2 * l3 + 1))
        expected = torch.zeros_like(middle)
        for m in range(-min(l1, l3), min(l1, l3) + 1):
            expected[l1 + m, l3 + m] = diagonal[abs(m)]
            if m:
                expected[l1 + m, l3 - m] = math.copysign(1, m) * cross[abs(m)]
        torch.testing.assert_close(middle, expected, atol=1e-14, rtol=0)


def test_as_many_weights_as_paths() -> None:
    """Of each pair of degrees the numbers of all paths, order by order, are a square matrix of full rank."""
    for l1 in range(7):
        for l3 in range(7):
            diagonal, cross = so2_tables.polar_coupling(l1, l3)
            square = np.concatenate([diagonal, cross[:, 1:]], 1)
            assert square.shape == (2 * min(l1, l3) + 1,) * 2
            assert np.linalg.matrix_rank(square) == len(square)
            assert float(np.abs(cross[:, 0]).max()) == 0.0


def components(channels: tuple[int, ...], mmax: int, edges: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(6)
    return [
        torch.randn(edges, 2 * min(l, mmax) + 1, c, generator=generator, dtype=torch.float64)
        for l, c in enumerate(channels)
    ]


def test_inverse_of_by_order() -> None:
    channels = (3, 1, 4, 2)
    for mmax in range(4):
        blocks = components(channels, mmax)
        orders = by_order(blocks, range(4), mmax)
        assert [tuple(order.shape) for order in orders] == [
            (3, 1 + (m > 0), sum(channels[m:])) for m in range(mmax + 1)
        ]
        for block, again in zip(blocks, by_degree(orders, range(4), channels), strict=True):
            torch.testing.assert_close(again, block, atol=0, rtol=0)
    torch.testing.assert_close(
        by_order(components(channels, 3), range(4), 1)[1][:, 1, :1], components(channels, 3)[1][:, 0]
    )


def test_commutes_with_turns() -> None:
    channels, angle = (3, 1, 4, 2), 0.7
    orders = by_order(components(channels, 3), range(4), 3)
    generator = torch.Generator().manual_seed(7)
    real, imaginary = (
        [torch.randn(o.shape[2], 5, generator=generator, dtype=torch.float64) for o in orders] for _ in range(2)
    )

    def turned(parts: list[Tensor]) -> list[Tensor]:
        out = [parts[0]]
        for m, part in enumerate(parts[1:], 1):
            turn = torch.tensor(
                [[math.cos(m * angle), -math.sin(m * angle)], [math.sin(m * angle), math.cos(m * angle)]],
                dtype=torch.float64,
            )
            out.append(torch.einsum("ij,ejk->eik", turn, part))
        return out

    for second in (None, imaginary):
        for a, b in zip(
            so2_linear(turned(orders), real, second), turned(so2_linear(orders, real, second)), strict=True
        ):
            torch.testing.assert_close(a, b, atol=1e-13, rtol=0)
    # (x₊ + i x₋)(W_r + i W_i)
    out = so2_linear(orders, real, imaginary)[2]
    number = torch.complex(orders[2][:, 0], orders[2][:, 1]) @ torch.complex(real[2], imaginary[2])
    torch.testing.assert_close(out, torch.stack([number.real, number.imag], 1), atol=1e-13, rtol=0)


def test_compiles_to_one_graph() -> None:
    vectors = directions().requires_grad_()

    def function(v: Tensor) -> Tensor:
        frames = edge_frames(v, 3)
        return rotate_from_pole(rotate_to_pole(torch.ones(len(v), 16, 1, dtype=v.dtype), frames).square(), frames)

    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)(vectors)
    torch.testing.assert_close(compiled, function(vectors), atol=1e-14, rtol=0)
    ours, theirs = (torch.autograd.grad(out.sum(), vectors)[0] for out in (function(vectors), compiled))
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_bad_input() -> None:
    vectors = torch.randn(4, 3)
    with pytest.raises(ShapeError, match=r"\[..., 3\]"):
        edge_quaternion(torch.randn(4, 2))
    with pytest.raises(ShapeError, match="float16"):
        edge_frames(vectors.half(), 2)
    with pytest.raises(ShapeError, match=r"\[E, 3\]"):
        edge_frames(vectors.view(2, 2, 3), 2)
    with pytest.raises(ShapeError, match=r"\[E, 4\]"):
        wigner_blocks(torch.randn(2, 2, 4), 2)
    with pytest.raises(ShapeError, match="given 33"):
        wigner_blocks(torch.randn(2, 4), 33)
    with pytest.raises(ShapeError, match="mmax"):
        wigner_blocks(torch.randn(2, 4), 3, -1)
    frames = edge_frames(vectors, 2)
    for wrong in (torch.randn(4, 16, 2), torch.randn(3, 9, 2), torch.randn(4, 8, 2), torch.randn(4, 9)):
        with pytest.raises(ShapeError, match="frames of 4 edges"):
            rotate_to_pole(wrong, frames)
    with pytest.raises(ShapeError, match="convert one"):
        rotate_to_pole(torch.randn(4, 9, 2).double(), frames)
    with pytest.raises(ShapeError, match="degrees up to 2, the features up to 3"):
        degrees_from_pole([torch.randn(4, 2 * l + 1, 2) for l in range(4)], frames)
    orders = by_order(components((2, 2), 1), range(2), 1)
    with pytest.raises(ShapeError, match="2 orders"):
        so2_linear(orders, [torch.randn(4, 3).double()])
    with pytest.raises(ShapeError, match="order 1"):
        so2_linear(orders, [torch.randn(4, 3).double(), torch.randn(3, 3).double()])

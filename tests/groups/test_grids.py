"""Groups that move signals, images and volumes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups import SE, SO, Affine, DiagonalScaling, GLPlus, O, ProductGroup, Scaling
from equitools.groups.grids import grid_points


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(0), dtype=torch.float64)


def turn(angle: float) -> Tensor:
    return SO(2).exp(torch.tensor([angle], dtype=torch.float64))


def test_pixel_centres() -> None:
    points = grid_points((2, 4))
    assert points.shape == (2, 4, 2)
    assert points[0, :, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert points[:, 0, 1].tolist() == [-0.25, 0.25]  # square pixels: the shorter side ends earlier
    assert grid_points((3, 4, 5))[0, 0, -1].tolist() == pytest.approx([1 - 1 / 5, -0.6, -0.4])


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_quarter_turns_are_exact(size: int, quarters: int) -> None:
    x = images(2, 3, size, size)
    moved = SO(2).act_on_grid(turn(quarters * math.pi / 2), x)
    # x to the right and y downwards: positive angles turn to the eye clockwise
    torch.testing.assert_close(moved, torch.rot90(x, -quarters, (-2, -1)), atol=1e-12, rtol=0)


def test_reflections_and_shifts_are_exact() -> None:
    x = images(2, 1, 6, 6)
    mirror = torch.diag(torch.tensor([-1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(O(2).act_on_grid(mirror, x), x.flip(-1), atol=1e-13, rtol=0)
    group = SE(2)
    right = group.element(torch.eye(2, dtype=torch.float64), torch.tensor([2 / 6, 0.0], dtype=torch.float64))
    wanted = torch.nn.functional.pad(x, (1, 0))[..., :-1]
    torch.testing.assert_close(group.act_on_grid(right, x), wanted, atol=1e-13, rtol=0)


@pytest.mark.parametrize("spatial", [(7,), (8, 8), (6, 9), (5, 6, 7)], ids=str)
def test_grid_samples_the_function(spatial: tuple[int, ...]) -> None:
    n = len(spatial)
    group = Affine(GLPlus(n))
    slope = torch.randn(n, generator=generator(1), dtype=torch.float64)

    def f(points: Tensor) -> Tensor:  # linear, so that interpolation is exact
        return 0.3 + points @ slope

    points = grid_points(spatial)
    image = f(points).expand(3, 1, *spatial)
    g = group.element(
        0.4 * GLPlus(n).exp(0.2 * torch.randn(3, n * n, generator=generator(2), dtype=torch.float64)).inverse(),
        0.1 * torch.randn(3, n, generator=generator(3), dtype=torch.float64),
    )
    g = group.inverse(g)  # it enlarges: what is seen comes from the inside of the image
    g = group.element(g[:, :n, :n], 0.1 * g[:, :n, n])
    moved = group.act_on_grid(g, image)
    wanted = torch.stack([group.act_on_function(one, f)(points.reshape(-1, n)).reshape(spatial) for one in g])
    inside = group.act(group.inverse(g), points.reshape(1, -1, n)).abs()
    edge = torch.tensor(spatial[::-1], dtype=torch.float64) / max(spatial) - 1 / max(spatial)
    seen = (inside <= edge).all(-1).reshape(3, *spatial)
    assert seen.double().mean() > 0.8
    torch.testing.assert_close(moved[:, 0][seen], wanted[seen], atol=1e-12, rtol=0)


def test_moving_twice_is_moving_once() -> None:
    axis = grid_points((48, 48))
    x = torch.exp(-12 * (axis - 0.1).square().sum(-1)).expand(1, 1, 48, 48)
    group = GLPlus(2)
    g, h = group.sample((2,), generator(4), spread=0.1)
    both = group.act_on_grid(g @ h, x)
    assert float((group.act_on_grid(g, group.act_on_grid(h, x)) - both).abs().max()) < 0.02
    assert float((x - both).abs().max()) > 0.2  # it did move


def test_one_element_for_all_or_one_for_each() -> None:
    x, g = images(3, 2, 5, 5), SO(2).sample((3,), generator(5))
    each = SO(2).act_on_grid(g, x)
    torch.testing.assert_close(each[1], SO(2).act_on_grid(g[1], x)[1])
    assert SO(2).act_on_grid(g.float(), x.float()).dtype == torch.float32
    assert SO(2).act_on_grid(g[:0], x[:0]).shape == (0, 2, 5, 5)
    assert SO(2).act_on_grid(g[0], x[:0]).shape == (0, 2, 5, 5)
    turned = x.transpose(0, 3).contiguous().transpose(0, 3)
    torch.testing.assert_close(SO(2).act_on_grid(g, turned), each)


def test_modes_and_padding() -> None:
    x = images(1, 1, 6, 6)
    larger = Scaling(2).exp(torch.tensor([math.log(0.5)], dtype=torch.float64))
    zeros, border = (Scaling(2).act_on_grid(larger, x, padding=p) for p in ("zeros", "border"))
    assert not zeros[..., 0].any()
    torch.testing.assert_close(border[..., 0, 0], x[..., 0, 0])
    near = SO(2).act_on_grid(turn(0.3), x, mode="nearest", padding="border")
    assert set(near.flatten().tolist()) <= set(x.flatten().tolist())
    with pytest.raises(ConfigError, match="mode"):
        SO(2).act_on_grid(turn(0.1), x, mode="cubic")
    with pytest.raises(ConfigError, match="padding"):
        SO(2).act_on_grid(turn(0.1), x, padding="wrap")


def test_products_move_volumes() -> None:
    group = ProductGroup(SO(2), DiagonalScaling(1))
    x = images(1, 1, 4, 6, 6)
    g = group.join(turn(math.pi / 2), torch.eye(1, dtype=torch.float64))
    wanted = torch.rot90(x, -1, (-2, -1))
    torch.testing.assert_close(group.act_on_grid(g, x), wanted, atol=1e-12, rtol=0)


def test_derivatives_of_moved_images() -> None:
    x = images(1, 1, 4, 4).requires_grad_()
    v = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, x: SO(2).act_on_grid(SO(2).exp(v), x), (v, x))


def test_wrong_input() -> None:
    g = turn(0.1)
    for wrong in (torch.zeros(2, 5, 5), torch.zeros(1, 1, 5), torch.zeros(1, 1, 5, 5, 5), torch.zeros(1, 1, 0, 5)):
        with pytest.raises(ShapeError, match=r"images \[B, C, H, W\]"):
            SO(2).act_on_grid(g, wrong)
    with pytest.raises(ShapeError, match="one for each"):
        SO(2).act_on_grid(g.expand(3, 2, 2), torch.zeros(2, 1, 4, 4, dtype=torch.float64))
    with pytest.raises(ShapeError, match="not of 4"):
        SO(4).act_on_grid(torch.eye(4), torch.zeros(1, 1, 2, 2, 2, 2))
    with pytest.raises(ShapeError, match="no elements"):
        GLPlus(2).act_on_grid(torch.zeros(2, 2), torch.zeros(1, 1, 4, 4))

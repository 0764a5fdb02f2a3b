"""Exact turns of grids, beside the definition (g f)(x) = f(g⁻¹x) on coordinates."""

from __future__ import annotations

import pytest
import torch

from equitools.errors import ConfigError, ShapeError
from equitools.groups import FiniteGroup
from equitools.ops import grid_index, permute_pixels

CASES = [("p4m", (5, 5)), ("p4m", (4, 4)), ("Oh", (3, 3, 3)), ("O", (4, 4, 4)), ("C2(2)", (3, 6)), ("S_3", (2, 2, 2))]


def by_definition(g, image, centre):
    """Look the value at g⁻¹x up, pixel by pixel."""
    shape = torch.tensor(image.shape)
    middle = (shape - 1) / 2 if centre == "grid" else torch.zeros(len(shape))
    out = torch.empty_like(image)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in image.shape)):
        source = g.mT.float() @ (place - middle) + middle
        source = source.round().long() if centre == "grid" else source.round().long() % shape
        out[tuple(place.tolist())] = image[tuple(source.tolist())]
    return out


@pytest.mark.parametrize("centre", ["grid", "origin"])
@pytest.mark.parametrize(("name", "shape"), CASES)
def test_definition(name, shape, centre):
    group, image = FiniteGroup.named(name), torch.randn(shape)
    for g in group.matrices[:: max(1, group.order // 9)]:
        assert torch.equal(permute_pixels(g, image, centre), by_definition(g, image, centre))


@pytest.mark.parametrize("centre", ["grid", "origin"])
@pytest.mark.parametrize(("name", "shape"), CASES)
def test_homomorphism(name, shape, centre):
    group, images = FiniteGroup.named(name), torch.randn(2, *shape)
    for a, b in torch.randint(group.order, (12, 2)).tolist():
        twice = permute_pixels(group.matrices[a], permute_pixels(group.matrices[b], images, centre), centre)
        assert torch.equal(twice, permute_pixels(group.matrices[group.table[a, b]], images, centre))


@pytest.mark.parametrize("size", [4, 5])
def test_rot90(size):
    images = torch.randn(3, size, size)
    turn = FiniteGroup.named("p4").matrices[1]
    assert torch.equal(permute_pixels(turn, images), torch.rot90(images, 1, (-2, -1)))


@pytest.mark.parametrize("size", [4, 5])
def test_centres_differ_by_a_shift(size):
    image = torch.randn(size, size)
    for g in FiniteGroup.named("p4m").matrices:
        shift = [1 if row.sum() < 0 else 0 for row in g]
        assert torch.equal(permute_pixels(g, image, "origin"), permute_pixels(g, image).roll(shift, (0, 1)))
    even = torch.cos(2 * torch.pi * torch.arange(size) / size)  # about pixel 0, and not about the middle
    half_turn = FiniteGroup.named("p4").matrices[2]
    assert torch.allclose(permute_pixels(half_turn, even.outer(even), "origin"), even.outer(even), atol=1e-6)
    assert not torch.allclose(permute_pixels(half_turn, even.outer(even)), even.outer(even), atol=1e-2)


def test_index():
    group, image = FiniteGroup.named("p4m"), torch.randn(4, 4)
    index = grid_index(group.matrices, (4, 4), "origin")
    for g, row in zip(group.matrices, index, strict=True):
        assert torch.equal(image.flatten()[row], permute_pixels(g, image, "origin").flatten())


def test_derivatives_and_empty_batches():
    g = FiniteGroup.named("p4m").matrices[5]
    x = torch.randn(1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: permute_pixels(g, v, "origin").square(), x)
    assert permute_pixels(g, torch.zeros(0, 3, 3)).shape == (0, 3, 3)


def test_what_is_refused():
    turn = FiniteGroup.named("p4").matrices[1]
    with pytest.raises(ShapeError, match="different lengths"):
        permute_pixels(turn, torch.zeros(3, 4))
    with pytest.raises(ShapeError, match="interpolation"):
        permute_pixels(FiniteGroup.cyclic(3).matrices[1], torch.zeros(3, 3))
    with pytest.raises(ShapeError, match="signed permutation"):
        permute_pixels(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.zeros(3, 3))
    with pytest.raises(ShapeError, match="at least 2 axes"):
        permute_pixels(turn, torch.zeros(3))
    with pytest.raises(ConfigError, match="'grid' or 'origin'"):
        permute_pixels(turn, torch.zeros(3, 3), "corner")

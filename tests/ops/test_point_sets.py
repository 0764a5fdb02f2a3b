"""Neighbours, samples and interpolation against numpy, on clouds with ties, padding and few points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from equitools.errors import ShapeError, UnknownNameError
from equitools.ops import (
    ball_query,
    farthest_points,
    gather_points,
    interpolate_points,
    k_nearest,
    lexicographic_order,
    squared_distances,
)

DTYPE = torch.float64


def cloud(batch=3, count=17, d=3, seed=0, dtype=DTYPE):
    return torch.randn(batch, count, d, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def grid(d=2, side=4):
    """A cubic grid: nearly every distance is shared by several points."""
    axes = [torch.arange(side, dtype=DTYPE)] * d
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(1, -1, d)


def some_mask(batch=3, count=17, seed=1):
    mask = torch.rand(batch, count, generator=torch.Generator().manual_seed(seed)) < 0.6
    mask[:, 0] = True
    return mask


def sets(selection):
    """Sets of the chosen points, of each cloud and query."""
    return [
        [set(i[m].tolist()) for i, m in zip(rows, valid, strict=True)]
        for rows, valid in zip(selection.indices.flatten(1, -2), selection.mask.flatten(1, -2), strict=True)
    ]


def relabelled(indices, permutation):
    """Indices into x[:, permutation] as indices into x."""
    return permutation[indices]


@pytest.mark.parametrize("d", [1, 2, 3, 5, 64])
def test_squared_distances(d):
    a, b = cloud(d=d), cloud(count=9, d=d, seed=2)
    wanted = ((a.numpy()[:, :, None] - b.numpy()[:, None]) ** 2).sum(-1)
    np.testing.assert_allclose(squared_distances(a, b), wanted, atol=1e-12)
    assert (squared_distances(a, a) >= 0).all()


@pytest.mark.parametrize("d", [1, 2, 3, 6])
@pytest.mark.parametrize("masked", [False, True])
def test_nearest_are_brute_force(d, masked):
    x, y, mask = cloud(d=d), cloud(count=5, d=d, seed=3), some_mask() if masked else None
    found = k_nearest(y, x, 6, mask)
    assert found.indices.shape == found.mask.shape == (3, 5, 6)
    for b in range(3):
        allowed = np.arange(17) if mask is None else np.flatnonzero(mask[b])
        for q in range(5):
            order = np.linalg.norm(x[b, allowed] - y[b, q], axis=-1).argsort()
            assert found.indices[b, q][found.mask[b, q]].tolist() == allowed[order][:6].tolist()


@pytest.mark.parametrize("radius", [0.01, 0.9, 1.7, 100.0])
@pytest.mark.parametrize("masked", [False, True])
def test_ball_is_brute_force(radius, masked):
    x, mask = cloud(), some_mask() if masked else None
    found = ball_query(x, x, radius, 4, mask)
    for b in range(3):
        allowed = np.arange(17) if mask is None else np.flatnonzero(mask[b])
        for q in range(17):
            distance = np.linalg.norm(x[b, allowed] - x[b, q], axis=-1)
            order = distance.argsort()
            wanted = allowed[order][distance[order] <= radius][:4]
            assert found.indices[b, q][found.mask[b, q]].tolist() == wanted.tolist()


def test_the_border_of_a_ball_is_within():
    found = ball_query(torch.zeros(1, 1, 2, dtype=DTYPE), grid(), 1.0, 8)
    assert sets(found) == [[{0, 1, 4}]]


@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("masked", [False, True])
def test_farthest_is_greedy(d, masked):
    x, mask = cloud(d=d), some_mask() if masked else None
    found = farthest_points(x, 7, mask)
    for b in range(3):
        allowed = np.arange(17) if mask is None else np.flatnonzero(mask[b])
        points = x[b, allowed].numpy()
        chosen = [int(np.linalg.norm(points - points.mean(0), axis=-1).argmax())]
        while len(chosen) < min(7, len(allowed)):
            gap = np.linalg.norm(points[:, None] - points[None, chosen], axis=-1).min(1)
            chosen.append(int(gap.argmax()))
        assert found.indices[b][found.mask[b]].tolist() == allowed[chosen].tolist()


def test_a_small_cloud_is_taken_whole_and_once():
    x, mask = cloud(count=6), torch.zeros(3, 6, dtype=torch.bool)
    mask[0], mask[1, 2:4], mask[2, 5] = True, True, True
    x[0] = x[0, :1]  # six points in one place
    found = farthest_points(x, 6, mask)
    more = farthest_points(x, 9, mask)
    assert more.indices.tolist() == found.indices.tolist()
    assert found.mask.sum(1).tolist() == [6, 2, 1]
    assert [sorted(found.indices[b, found.mask[b]].tolist()) for b in range(3)] == [[0, 1, 2, 3, 4, 5], [2, 3], [5]]
    near = k_nearest(x, x, 6, mask)
    assert near.mask.sum(-1).tolist() == [[6] * 6, [2] * 6, [1] * 6]


@pytest.mark.parametrize("start", ["farthest", "random"])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15)
def test_order_does_not_matter_to_sampling(start, seed):
    x = grid()
    permutation = torch.randperm(16, generator=torch.Generator().manual_seed(seed))
    one, other = (
        farthest_points(points, 7, start=start, generator=torch.Generator().manual_seed(seed))
        for points in (x, x[:, permutation])
    )
    assert relabelled(other.indices, permutation).tolist() == one.indices.tolist()


@pytest.mark.parametrize(
    "choose", [lambda x: k_nearest(x, x, 4), lambda x: ball_query(x, x, 1.5, 4)], ids=["k_nearest", "ball_query"]
)
@pytest.mark.parametrize("d", [2, 3])
def test_order_does_not_matter_to_neighbours(choose, d):
    """On a grid the border of nearly every choice runs between equal distances."""
    x = grid(d)
    wanted = sets(choose(x))[0]
    for seed in range(5):
        permutation = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(seed))
        found = choose(x[:, permutation])
        got = sets(found._replace(indices=relabelled(found.indices, permutation)))[0]
        assert [got[int(i)] for i in permutation.argsort()] == wanted


@pytest.mark.parametrize("start", ["farthest", "random"])
def test_padding_is_nothing(start):
    mask = some_mask(1)
    x = cloud(1).masked_fill(~mask.unsqueeze(-1), torch.nan)
    real, where = x[mask].unsqueeze(0), mask[0].nonzero().flatten()

    def seeded():
        return torch.Generator().manual_seed(4)

    small = farthest_points(real, 5, start=start, generator=seeded())
    large = farthest_points(x, 5, mask, start=start, generator=seeded())
    assert where[small.indices].tolist() == large.indices.tolist()
    queries = cloud(1, 4, seed=5)
    for choose in (k_nearest, lambda q, p, k, m=None: ball_query(q, p, 1.2, k, m)):
        small, large = choose(queries, real, 5), choose(queries, x, 5, mask)
        assert small.mask.tolist() == large.mask.tolist()
        assert where[small.indices][small.mask].tolist() == large.indices[large.mask].tolist()
    values = cloud(1, d=2, seed=6).masked_fill(~mask.unsqueeze(-1), torch.nan)
    torch.testing.assert_close(
        interpolate_points(queries, x, values, mask), interpolate_points(queries, real, values[mask].unsqueeze(0))
    )


def test_a_random_start_is_drawn_from_real_points():
    mask = torch.tensor([[False, True, False, True, True]])
    generator = torch.Generator().manual_seed(0)
    x = cloud(1, 5)
    starts = [int(farthest_points(x, 1, mask, "random", generator).indices) for _ in range(60)]
    assert set(starts) == {1, 3, 4}


@pytest.mark.parametrize("k", [1, 3, 20])
def test_interpolation_is_brute_force(k):
    x, y, values = cloud(), cloud(count=5, seed=3), cloud(d=4, seed=4)
    got = interpolate_points(y, x, values, k=k)
    for b in range(3):
        for q in range(5):
            square = ((x[b] - y[b, q]).numpy() ** 2).sum(-1)
            near = square.argsort()[:k]
            wanted = (values[b, near].numpy() / square[near, None]).sum(0) / (1 / square[near]).sum()
            np.testing.assert_allclose(got[b, q], wanted, rtol=1e-10)


def test_constants_stay():
    x, y = cloud(), torch.cat([cloud(count=4, seed=3), cloud()[:, :2]], 1)  # two targets lie on sources
    torch.testing.assert_close(interpolate_points(y, x, torch.full((3, 17, 1), 2.5, dtype=DTYPE)), y[..., :1] * 0 + 2.5)
    values = cloud(d=4, seed=4)
    torch.testing.assert_close(interpolate_points(y, x, values)[:, 4:], values[:, :2], rtol=1e-8, atol=1e-8)


def test_interpolation_derivatives():
    y, x, values = (t.requires_grad_() for t in (cloud(2, 3), cloud(2, 5, seed=3), cloud(2, 5, 2, seed=4)))
    assert gradcheck(interpolate_points, (y, x, values))
    assert gradgradcheck(interpolate_points, (y, x, values))


def test_lexicographic_order():
    x = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [0.0, 1.0], [-1.0, 5.0]]])
    assert lexicographic_order(x).tolist() == [[3, 2, 1, 0]]
    assert lexicographic_order(x, torch.tensor([[True, True, True, False]])).tolist() == [[2, 1, 0, 3]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_empty_batch_and_no_points_and_strides(dtype):
    none, empty = torch.zeros(0, 5, 3, dtype=dtype), torch.zeros(2, 0, 3, dtype=dtype)
    assert farthest_points(none, 3).indices.shape == (0, 3)
    assert farthest_points(empty, 3).indices.shape == (2, 0)
    assert k_nearest(none, none, 2).indices.shape == (0, 5, 2)
    assert ball_query(empty, empty, 1.0, 2).indices.shape == (2, 0, 0)
    assert interpolate_points(none, none, none).shape == none.shape
    assert gather_points(none, torch.zeros(0, 4, 2, dtype=torch.int64)).shape == (0, 4, 2, 3)
    x = cloud(dtype=dtype)
    strided = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(k_nearest(strided, strided, 4).indices, k_nearest(x, x, 4).indices)
    assert torch.equal(farthest_points(strided, 4).indices, farthest_points(x, 4).indices)


def test_bad_input():
    x = cloud()
    with pytest.raises(ShapeError, match="must be floating"):
        farthest_points(x[0], 3)
    with pytest.raises(ShapeError, match="1 or more"):
        k_nearest(x, x, 0)
    with pytest.raises(ShapeError, match="radius"):
        ball_query(x, x, 0.0, 3)
    with pytest.raises(ShapeError, match="share"):
        k_nearest(x, x[..., :2], 3)
    with pytest.raises(ShapeError, match="mask"):
        k_nearest(x, x, 3, torch.ones(3, 17))
    with pytest.raises(ShapeError, match="a row for each source"):
        interpolate_points(x, x, x[:, :3])
    with pytest.raises(ShapeError, match="index"):
        gather_points(x, torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(UnknownNameError, match="'farthest'"):
        farthest_points(x, 3, start="farthst")

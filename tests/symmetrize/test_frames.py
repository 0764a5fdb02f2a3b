"""Frames of clouds: equivariant sets of elements, for every mode, group, dimension and degeneracy."""

from __future__ import annotations

import math

import pytest
import torch
from clouds import Plain

from equitools.errors import ConfigError, DegenerateFrameError, ShapeError, UnknownNameError
from equitools.groups import SO, E, parse_group
from equitools.symmetrize import FrameAverage, Frames, act, canonicalize, degeneracy, frames
from equitools.testing import degenerate_clouds

GROUPS = ["O(3)", "SO(3)", "E(3)", "SE(3)"]
EXACT = ["full", "canonical", "weighted"]
CLOUDS = degenerate_clouds()


def same_sets(first: Frames, second: Frames, tolerance: float = 1e-8) -> None:
    """Compare weighted sets of elements, whatever their order and padding."""
    least = 1e-12 if tolerance < 1e-4 else 1e-4  # a weight that is about to vanish may be zero in float32
    for a, wa, b, wb in zip(*first, *second, strict=True):
        a, wa, b, wb = a[wa > least], wa[wa > least], b[wb > least / 2], wb[wb > least / 2]
        near = (a[:, None] - b[None]).abs().amax((-1, -2)) < tolerance
        assert bool(near.any(1).all())
        assert bool(near.any(0)[wb > 2 * least].all())
        assert torch.allclose(near.to(wb) @ wb, near.to(wa) @ near.to(wa).T @ wa / near.sum(1), atol=10 * tolerance)


@pytest.mark.parametrize("mode", EXACT)
@pytest.mark.parametrize("group", [*GROUPS, "O(2)", "SE(2)", "SO(4)", "E(5)", "SO(1)", "O(1)", "E(1)"])
def test_equivariance(group, mode):
    group = parse_group(group)
    x = torch.randn(6, 9, group.n, dtype=torch.float64)
    moves = group.sample((6,))
    before, after = frames(x, group, None, mode), frames(act(moves, x, "points"), group, None, mode)
    same_sets(Frames(moves.unsqueeze(1) @ before.elements, before.weights), after)


@pytest.mark.parametrize("mode", ["full", "sample", "canonical", "weighted"])
@pytest.mark.parametrize("group", GROUPS)
def test_membership(group, mode):
    group = parse_group(group)
    for x in CLOUDS.values():
        found = frames(x[None], group, None, mode)
        assert bool(group.contains(found.elements, tolerance=1e-10).all())


@pytest.mark.parametrize("group", GROUPS)
def test_weights_add_up(group):
    x = torch.stack(list(CLOUDS.values()))
    for mode in ("full", "sample", "canonical", "weighted"):
        found = frames(x, group, None, mode)
        assert torch.allclose(found.weights.sum(1), torch.ones(len(x), dtype=torch.float64))
        assert bool((found.weights >= 0).all())


def test_numbers_of_frames():
    x = torch.randn(4, 7, 3)
    for group, count in (("O(3)", 8), ("SO(3)", 4), ("E(3)", 8), ("SE(3)", 4)):
        size = 4 if "E" in group else 3
        assert frames(x, group).elements.shape == (4, count, size, size)
        assert frames(x, group, mode="sample").elements.shape == (4, 1, size, size)
        assert frames(x, group, mode="sample", samples=3).weights.shape == (4, 3)
        assert frames(x, group, mode="canonical").elements.shape == (4, 1, size, size)
    y = torch.randn(2, 7, 2)
    assert frames(y, "O(2)").elements.shape == (2, 4, 2, 2)
    assert frames(y, "SE(2)").elements.shape == (2, 2, 3, 3)
    assert frames(torch.randn(2, 7, 4), "SO(4)").elements.shape == (2, 8, 4, 4)


def test_covariance_oracle():
    # numpy's eigenvectors, signs and determinants by hand
    import numpy as np

    x = torch.randn(1, 6, 3, dtype=torch.float64)
    centred = (x - x.mean(1, keepdim=True))[0].numpy()
    _, vectors = np.linalg.eigh(centred.T @ centred)
    wanted = [vectors * np.array([a, b, c]) for a in (1, -1) for b in (1, -1) for c in (1, -1)]
    wanted = [m for m in wanted if np.linalg.det(m) > 0]
    found = frames(x, "SE(3)")
    assert torch.allclose(found.elements[0, :, :3, 3], x.mean(1).expand(4, -1))
    for matrix in wanted:
        assert min(np.abs(matrix - other).max() for other in found.elements[0, :, :3, :3].numpy()) < 1e-12


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(("mode", "policy"), [(m, p) for m in EXACT for p in ("average", "weighted")])
def test_equivariance_of_degenerate_clouds(name, group, mode, policy):
    group = parse_group(group)
    x = CLOUDS[name].expand(3, -1, -1)
    moves = group.sample((3,))
    for rep, shape in (("scalar", (2,)), ("vector", (3,)), ("pseudovector", (3,)), ("tensor2", (3, 3))):
        net = Plain(8, math.prod(shape), shape=shape)
        wrapped = FrameAverage(net, group, outputs=rep, mode=mode, degenerate=policy)
        wanted = act(moves, wrapped(x), rep)
        assert torch.allclose(wrapped(act(moves, x, "points")), wanted, atol=1e-9), rep


def test_permutation_invariance():
    x = torch.stack(list(CLOUDS.values()))
    order = torch.randperm(8)
    for mode in EXACT:
        same_sets(frames(x[:5], "SO(3)", None, mode), frames(x[:5, order], "SO(3)", None, mode), 1e-6)


@pytest.mark.parametrize("mode", EXACT)
def test_mask_removes_points(mode):
    x = torch.randn(3, 9, 3, dtype=torch.float64)
    mask = torch.arange(9) < torch.tensor([[9], [5], [2]])
    whole = frames(torch.where(mask[..., None], x, torch.nan), "SE(3)", mask, mode, degree=1)
    for k, n in enumerate((9, 5, 2)):
        alone = frames(x[k : k + 1, :n], "SE(3)", None, mode, degree=1)
        same_sets(alone, Frames(whole.elements[k : k + 1], whole.weights[k : k + 1]))


@pytest.mark.parametrize("mode", ["full", "sample", "canonical", "weighted"])
def test_empty_batch(mode):
    for group in GROUPS:
        found = frames(torch.zeros(0, 5, 3), group, None, mode)
        assert found.elements.shape[0] == found.weights.shape[0] == 0
        assert found.elements.shape[1] == found.weights.shape[1] >= 1


def test_float32_and_half():
    x = torch.randn(5, 9, 3)
    for mode in EXACT:
        wide = frames(x.double(), "SO(3)", None, mode)
        narrow = frames(x, "SO(3)", None, mode)
        assert narrow.elements.dtype == torch.float32
        same_sets(wide, Frames(narrow.elements.double(), narrow.weights.double()), 1e-3)
        assert frames(x.bfloat16(), "SO(3)", None, mode).elements.dtype == torch.bfloat16


def test_sample_draws_from_the_frame():
    x = torch.randn(1, 6, 3, dtype=torch.float64).expand(4000, -1, -1)
    whole = frames(x[:1], "SO(3)").elements[0]
    drawn = frames(x, "SO(3)", mode="sample", generator=torch.Generator().manual_seed(1)).elements[:, 0]
    which = (drawn[:, None] - whole[None]).abs().amax((-1, -2)).argmin(1)
    counts = torch.bincount(which, minlength=4).double()
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 16.3  # χ², 3 degrees of freedom, p = 0.001
    again = frames(x, "SO(3)", mode="sample", generator=torch.Generator().manual_seed(1)).elements[:, 0]
    assert torch.equal(drawn, again)


def test_raise_names_the_clouds():
    x = torch.stack([CLOUDS["generic"], CLOUDS["cube"], CLOUDS["linear"]])
    for mode in ("full", "sample", "canonical"):
        with pytest.raises(DegenerateFrameError, match=r"\[1, 2\]"):
            frames(x, "SE(3)", None, mode, degenerate="raise")
    with pytest.raises(DegenerateFrameError, match="third moments"):
        canonicalize(torch.cat([CLOUDS["generic"], -CLOUDS["generic"]])[None], "SE(3)")
    assert frames(x[:1], "SE(3)", degenerate="raise").elements.shape[1] == 4


def test_canonical_pose_is_unique():
    x = torch.randn(5, 9, 3, dtype=torch.float64)
    for group in (SO(3), E(3)):
        moves = group.sample((5,))
        pose = canonicalize(x, group)
        moved = canonicalize(act(moves, x, "points"), group)
        assert torch.allclose(moved, moves @ pose, atol=1e-9)


def test_gradients_are_finite():
    for name, x in CLOUDS.items():
        for mode in EXACT:
            y = x[None].clone().requires_grad_()
            net = FrameAverage(Plain(8, 1), "SE(3)", mode=mode)
            (gradient,) = torch.autograd.grad(net(y).sum(), y, create_graph=True)
            assert bool(gradient.isfinite().all()), (name, mode)
            if name not in {"one point", "origin"}:
                (second,) = torch.autograd.grad(gradient.square().sum(), y)
                assert bool(second.isfinite().all()), (name, mode)


@pytest.mark.parametrize("mode", EXACT)
def test_gradgradcheck(mode):
    x = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    net = FrameAverage(Plain(5, 1), "SE(3)", mode=mode)
    assert torch.autograd.gradcheck(net, (x,))
    assert torch.autograd.gradgradcheck(net, (x,))


def test_degeneracy_tells():
    x = torch.stack([CLOUDS[name] for name in ("generic", "planar", "linear", "cube", "one point")])
    found = degeneracy(x)
    assert found.rank.tolist() == [3, 2, 1, 3, 0]
    assert found.repeated.any(1).tolist() == [False, False, True, True, True]
    assert found.repeated[3].tolist() == [True, True]


def test_bad_input():
    x = torch.randn(2, 5, 3)
    with pytest.raises(UnknownNameError, match="Did you mean"):
        frames(x, "SO3")
    with pytest.raises(ShapeError, match=r"\[B, N, 2\]"):
        frames(x, "SO(2)")
    with pytest.raises(ShapeError, match="One cloud is"):
        frames(x[0], "SO(3)")
    with pytest.raises(ConfigError, match="full"):
        frames(x, "SO(3)", None, "ful")
    with pytest.raises(ConfigError, match="average"):
        frames(x, "SO(3)", degenerate="avrage")
    with pytest.raises(ConfigError, match="samples"):
        frames(x, "SO(3)", mode="sample", samples=0)
    with pytest.raises(ConfigError, match="sparsity"):
        frames(CLOUDS["cube"][None], "SO(3)", mode="weighted", sparsity=0.9)
    with pytest.raises(ConfigError, match="gaps"):
        frames(x, "SO(3)", mode="weighted", gaps=(0.3, 0.1))
    with pytest.raises(ShapeError, match=r"Wholly masked: cloud \[1\]"):
        frames(x, "SO(3)", torch.tensor([[True] * 5, [False] * 5]))
    with pytest.raises(ShapeError, match="mask"):
        frames(x, "SO(3)", torch.ones(2, 5))
    with pytest.raises(ShapeError, match="at least one point"):
        frames(torch.zeros(2, 0, 3), "SO(3)")
    x[1, 2, 0] = torch.nan
    for mode in ("full", "sample", "canonical", "weighted"):
        with pytest.raises(ShapeError, match=r"not finite.*\[1\]"):
            frames(x, "SE(3)", None, mode)

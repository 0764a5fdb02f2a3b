"""What a reviewer broke: ranges, offsets, scales that are learned, masks that a network cannot take, wrong kinds."""

from __future__ import annotations

import math

import pytest
import torch
from clouds import Plain
from torch import nn

from equitools.errors import ConfigError, ShapeError
from equitools.groups import SE, SO, O, parse_group
from equitools.symmetrize import (
    Canonicalize,
    FrameAverage,
    Frames,
    GroupAverage,
    act,
    fold,
    frames,
    gram_schmidt_frames,
    inverse,
    weighted_frames,
)
from equitools.testing import degenerate_clouds

MODES = ["full", "canonical", "weighted"]


def turned(x, group="SO(3)"):
    return act(parse_group(group).sample((len(x),), dtype=torch.float64).to(x.dtype), x, "points")


def cubic(x):
    """Permutation invariant, feels every axis and every sign."""
    return (x**3).sum(1) @ x.new_tensor([[1.0], [2.0], [-1.5]]) + (x[..., :1] * x[..., 1:2] ** 2).sum(1)


@pytest.mark.parametrize("scale", [1.0, 1.001, 2.0])
def test_derivative(scale):
    # at scale 1 a similarity looks like a rotation, and its inverse is not the transpose's derivative
    g = SO(3).sample((2,))
    wanted = -(torch.linalg.inv(scale * g) @ g @ torch.linalg.inv(scale * g))
    s = torch.tensor(scale, dtype=torch.float64)
    assert torch.allclose(torch.func.jacfwd(lambda s: inverse(s * g))(s), wanted)
    h = (scale * g).requires_grad_()
    assert torch.autograd.gradcheck(inverse, (h,))
    assert torch.autograd.gradgradcheck(inverse, (h,))


def test_learned_scale_has_the_right_gradient_at_one():
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    log = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def similarity(x, mask=None):
        return log.exp() * torch.eye(3, dtype=x.dtype).expand(len(x), 3, 3)

    net = Canonicalize(cubic, similarity)
    (slope,) = torch.autograd.grad(net(x).sum(), log)
    assert torch.allclose(slope, -3 * net(x).sum())  # a cubic of x / s


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("dtype", "size"),
    [(torch.float32, s) for s in (1e-30, 1e-20, 1e13, 1e18)] + [(torch.float64, s) for s in (1e-160, 1e150, 1e160)],
)
@pytest.mark.parametrize("group", ["SO(3)", "E(3)", "O(2)"])
def test_sizes_far_from_one(dtype, size, mode, group):
    d = parse_group(group).n
    x = torch.randn(20, 6, d, dtype=torch.float64)
    y = turned(x, f"SO({d})")
    a, b = (frames((v * size).to(dtype), group, None, mode) for v in (x, y))
    x, y = (v - v.mean(1, keepdim=True) for v in (x, y)) if "E" in group else (x, y)
    assert torch.allclose(averaged(x, a), averaged(y, b), atol=5e-3 if dtype == torch.float32 else 1e-8)


def averaged(x, found):
    d = x.shape[-1]
    poses = torch.einsum("bni,bfij->bfnj", x, found.elements[..., :d, :d].double())
    return (found.weights[..., None].double() * cubic_of(poses)).sum(1)


def cubic_of(x):
    weights = torch.tensor([1.0, 2.0, -1.5], dtype=x.dtype)[: x.shape[-1]]
    return (x**3).sum(-2) @ weights[:, None] + (x[..., :1] * x[..., 1:2] ** 2).sum(-2)


@pytest.mark.parametrize("policy", ["average", "weighted"])
@pytest.mark.parametrize("offset", [0.0, 5.0, 30.0, 100.0])
def test_symmetric_clouds_far_from_the_origin_in_float32(policy, offset):
    methane = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64) * 0.63
    x = (turned(methane.expand(30, -1, -1)) + offset * torch.tensor([1.0, -0.5, 0.3])).float()
    values = FrameAverage(lambda y: (y**3).sum(1) @ y.new_tensor([[1.0], [2.0], [0.5]]), "SE(3)", degenerate=policy)(x)
    assert float(values.max() - values.min()) < 1e-3 * (1 + offset / 10)


def test_padding_is_nothing_to_networks_without_a_mask():
    x = torch.randn(3, 6, 3, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([[6], [4], [5]])
    net = FrameAverage(lambda y: y.abs().sum((1, 2)), "SE(3)")
    first = net(x.masked_fill(~mask[..., None], 0.0), mask=mask)
    moved = act(SE(3).sample((3,)), x, "points")
    assert torch.allclose(net(moved.masked_fill(~mask[..., None], torch.nan), mask=mask), first)


def test_masks_reach_networks_with_keywords():
    seen = []

    class Net(nn.Module):
        def forward(self, x, **kwargs):
            seen.append(kwargs["mask"])
            return x.sum((1, 2))

    FrameAverage(Net(), "SO(3)")(torch.randn(2, 4, 3), mask=torch.ones(2, 4, dtype=torch.bool))
    assert seen[0].shape == (8, 4)


def test_wrong_kinds_are_errors():
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    g = SO(3).sample((2,))
    with pytest.raises(ShapeError, match="int64"):
        act(g, torch.ones(2, 3, dtype=torch.int64), "vector")
    with pytest.raises(ShapeError, match="length 3"):
        FrameAverage(lambda x: x.new_ones(len(x), 4), "SE(3)", outputs="vector")(x)
    with pytest.raises(ShapeError, match="length 2"):
        FrameAverage(lambda x, v: x.sum((1, 2)), "SE(2)", inputs=["points", "vector"])(x[..., :2], x)
    for group in ("SO(4)", "SO+(1,3)", "O(2)"):
        with pytest.raises(ConfigError, match="Irreps"):
            FrameAverage(nn.Identity(), group, "vector", outputs="1x1o")
    with pytest.raises(ConfigError, match="renumbered"):
        FrameAverage(nn.Identity(), "SO(3)", inputs=["points", "nodes"])
    with pytest.raises(ConfigError, match="renumbers"):
        GroupAverage(nn.Identity(), "S_4")
    with pytest.raises(ShapeError, match="not finite"):
        GroupAverage(nn.Identity(), "T", outputs="points")(x.masked_fill(torch.eye(5, 3).bool(), torch.nan))
    with pytest.raises(ShapeError, match="mask"):
        GroupAverage(nn.Identity(), "T", outputs="points")(x, mask=torch.ones(2, 5))
    with pytest.raises(ShapeError, match="floating"):
        GroupAverage(nn.Identity(), "T", outputs="points")(torch.ones(2, 5, 3, dtype=torch.int64))
    with pytest.raises(ShapeError, match="weights"):
        Canonicalize(nn.Identity(), lambda x, mask=None: Frames(SO(3).sample((2, 3)), torch.ones(2, 2)))(x)
    with pytest.raises(ShapeError, match="frames of 3"):
        Canonicalize(nn.Identity(), lambda x, mask=None: (SO(3).sample((3, 1)), torch.ones(3, 1)))(x)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"samples": 0}, "samples"),
        ({"gaps": (3, 1)}, "gaps"),
        ({"sparsity": 2}, "sparsity"),
        ({"threshold": -1.0}, "threshold"),
        ({"threshold": math.nan}, "threshold"),
    ],
)
def test_options_are_checked_when_the_module_is_built(options, word):
    with pytest.raises(ConfigError, match=word):
        FrameAverage(nn.Identity(), "SO(3)", **options)


def test_modes_that_a_group_does_not_have():
    with pytest.raises(ConfigError, match="weighted"):
        FrameAverage(nn.Identity(), "O(1,3)", "vector", mode="weighted")
    with pytest.raises(ConfigError, match="weighted"):
        FrameAverage(nn.Identity(), "S_n", "edges", mode="weighted")
    for degree in (-1, 2.5):
        with pytest.raises(ConfigError, match="degree"):
            frames(torch.randn(1, 4, 3), "SO(3)", degree=degree)


def test_functions_of_clouds_check_them():
    for function in (weighted_frames, gram_schmidt_frames):
        with pytest.raises(ShapeError, match="Clouds"):
            function(torch.ones(2, 4, 3, dtype=torch.int64))
    with pytest.raises(ShapeError, match="not finite"):
        weighted_frames(torch.full((1, 4, 3), torch.nan))


def test_too_many_frames_are_refused():
    sphere = torch.nn.functional.normalize(torch.randn(1, 200, 3, dtype=torch.float64), dim=-1)
    sphere = torch.cat([sphere, -sphere], 1) @ torch.diag(torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64))
    with pytest.raises(ConfigError, match="max_frames=100"):
        frames(sphere, "SO(3)", None, "weighted", gaps=None, max_frames=100)


@pytest.mark.parametrize("rep", ["1x5o", "1x6e"])
def test_jacobians_of_high_degrees_at_lines_and_points(rep):
    clouds = degenerate_clouds()
    out = Plain(8, 2 * int(rep[2]) + 1)
    net = FrameAverage(out, "SO(3)", outputs=rep)
    for kind in ("linear", "origin"):
        x = clouds[kind][None]
        g = O(3).sample((1,))
        g = g * torch.linalg.det(g)[:, None, None]
        first = torch.autograd.functional.jacobian(lambda y: net(y)[0], x)[:, 0]
        second = torch.autograd.functional.jacobian(lambda y: net(y)[0], x @ g.mT)[:, 0]
        wanted = act(g, torch.einsum("anj,ij->nia", first, g[0])[None], rep)[0]
        assert torch.allclose(second.permute(1, 2, 0), wanted, atol=1e-9), kind


def test_spread_has_a_gradient_where_there_is_one_frame():
    x = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    spread = FrameAverage(Plain(5, 1), "SO(3)", mode="canonical").spread(x)
    (gradient,) = torch.autograd.grad(spread.sum(), x)
    assert bool(gradient.isfinite().all())


def test_generator_of_samples():
    x = torch.randn(3, 5, 3, dtype=torch.float64)
    first, second = (
        FrameAverage(Plain(5, 1), "SO(3)", mode="sample", generator=torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert torch.equal(first(x), second(x))
    assert not torch.equal(FrameAverage(Plain(5, 1), "SO(3)", mode="sample")(x), second(x))


def test_planar_clouds_in_four_dimensions_are_continuous():
    x = torch.randn(1, 7, 4, dtype=torch.float64) * torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    net = FrameAverage(Plain(7, 1, d=4), "SO(4)", mode="weighted")
    near = net(x + 1e-9 * torch.randn(10, 7, 4, dtype=torch.float64))
    assert float((near - net(x)).detach().abs().max()) < 1e-6


def test_autocast_does_not_round_frames():
    x = torch.randn(3, 6, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = frames(x, "SE(3)")
        pose = fold(x, found.elements, "points", rigid=True)
    plain = frames(x, "SE(3)")
    assert torch.allclose(found.elements, plain.elements, atol=1e-6)
    assert torch.allclose(pose, fold(x, plain.elements, "points"), atol=1e-5)


class RingNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(36 + 6, 16, dtype=torch.float64)
        self.out = nn.Linear(16, 7, dtype=torch.float64)

    def forward(self, adjacency, features=None):
        extra = adjacency.new_zeros(len(adjacency), 6) if features is None else features.flatten(1)
        values = self.out(torch.tanh(self.mix(torch.cat([adjacency.flatten(1), extra], 1))))
        return values[:, 0], values[:, 1:]


def test_canonical_numberings_see_node_features():
    ring = torch.diag(torch.ones(5, dtype=torch.float64), 1)
    ring[0, 5] = 1
    ring = (ring + ring.mT)[None]
    features = torch.rand(1, 6, 1, dtype=torch.float64)
    p = torch.eye(6, dtype=torch.float64)[torch.randperm(6)][None]
    net = FrameAverage(
        RingNet(), "S_n", inputs=["edges", "nodes"], outputs=("scalar", "nodes"), mode="canonical", source=0
    )
    scalar, nodes = net(ring, features)
    moved, moved_nodes = net(act(p, ring, "edges"), act(p, features, "nodes"))
    assert torch.allclose(moved, scalar)
    assert torch.allclose(moved_nodes, act(p, nodes, "nodes"))
    # without features the automorphisms of the ring are averaged over where an output belongs to nodes
    bare = FrameAverage(RingNet(), "S_n", inputs="edges", outputs=("scalar", "nodes"), mode="canonical")
    assert torch.allclose(bare(act(p, ring, "edges"))[1], act(p, bare(ring)[1], "nodes"))

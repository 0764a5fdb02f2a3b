"""Any network, made equivariant."""

from __future__ import annotations

import pytest
import torch
from clouds import Plain
from torch import nn

from equitools.errors import ConfigError, ShapeError, UnknownNameError
from equitools.groups import parse_group
from equitools.symmetrize import Canonicalize, FrameAverage, StochasticFrameAverage, act, canonicalize, frames
from equitools.testing import degenerate_clouds

GROUPS = ["O(3)", "SO(3)", "E(3)", "SE(3)"]


def pose_of(group):
    return lambda x, mask=None: canonicalize(x, group, mask)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(
    ("rep", "shape"),
    [
        ("scalar", (2,)),
        ("vector", (2, 3)),
        ("points", (6, 3)),
        ("tensor2", (3, 3)),
        ("1x0e+1x1o+1x2e", (9,)),
        ("1x1e", (3,)),
    ],
)
@pytest.mark.parametrize("kind", ["full", "canonical", "weighted", "Canonicalize"])
def test_equivariance(kind, rep, shape, group):
    net = Plain(6, torch.Size(shape).numel(), shape=shape)
    if kind == "Canonicalize":
        wrapped = Canonicalize(net, pose_of(group), outputs=rep)
    else:
        wrapped = FrameAverage(net, group, outputs=rep, mode=kind)
    x, moves = torch.randn(4, 6, 3, dtype=torch.float64), parse_group(group).sample((4,))
    out = wrapped(x)
    assert torch.allclose(wrapped(act(moves, x, "points")), act(moves, out, rep), atol=1e-9)
    assert float((net(x) - net(act(moves, x, "points"))).detach().abs().max()) > 1e-2  # the bare network is not


def test_projection():
    # already invariant: distances; already equivariant: a weighted sum of the points
    x = torch.randn(3, 6, 3, dtype=torch.float64)
    invariant = lambda x: torch.cdist(x, x).sum((1, 2)).unsqueeze(1)  # noqa: E731
    equivariant = lambda x: (torch.cdist(x, x).sum(2, keepdim=True) * (x - x.mean(1, keepdim=True))).sum(1)  # noqa: E731
    for mode in ("full", "sample", "canonical", "weighted"):
        assert torch.allclose(FrameAverage(invariant, "E(3)", mode=mode)(x), invariant(x))
        assert torch.allclose(FrameAverage(equivariant, "E(3)", outputs="vector", mode=mode)(x), equivariant(x))


@pytest.mark.parametrize("mode", ["full", "canonical", "weighted"])
def test_conservative(mode):
    clouds = degenerate_clouds()
    wrapped = FrameAverage(Plain(8, 1), "SE(3)", mode=mode)
    for name in ("generic", "planar", *(["cube", "symmetric top"] if mode == "weighted" else [])):
        x = clouds[name][None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(wrapped(x).sum(), x)
        way = torch.randn_like(x)
        step = 1e-5
        with torch.no_grad():
            slope = (wrapped(x + step * way) - wrapped(x - step * way)).sum() / (2 * step)
        assert abs(float((gradient * way).sum() - slope)) < 1e-6 * max(1.0, abs(float(slope)))


def test_detached_frames_are_not_conservative():
    x = torch.randn(1, 8, 3, dtype=torch.float64, requires_grad=True)
    whole, cut = (FrameAverage(Plain(8, 1), "SO(3)", detach=flag) for flag in (False, True))
    assert torch.equal(whole(x), cut(x))
    first, second = (torch.autograd.grad(net(x).sum(), x)[0] for net in (whole, cut))
    assert float((first - second).abs().max()) > 1e-3


class Several(nn.Module):
    """Positions, velocities, charges and a shared table in; a dictionary out."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(7, 7, dtype=torch.float64)

    def forward(self, x, v, q, table, mask=None):
        assert table.shape == (3,)
        assert x.shape[0] == v.shape[0] == q.shape[0]
        features = torch.tanh(self.mix(torch.cat([x, v, q], -1)))
        if mask is not None:
            assert mask.shape == x.shape[:2]
            features = features * mask.unsqueeze(-1)
        return {"energy": features.sum((1, 2)), "moved": features[..., :3], "push": features[..., 3:6], "unused": x}


def test_several_inputs_and_outputs():
    net = FrameAverage(
        Several(),
        "SE(3)",
        inputs=["points", "vector", "scalar", "shared"],
        outputs={"energy": "scalar", "moved": "points", "push": "vector"},
    )
    x, v = torch.randn(2, 3, 5, 3, dtype=torch.float64)
    q, table = torch.randn(3, 5, 1, dtype=torch.float64), torch.zeros(3)
    mask = torch.tensor([[True] * 5, [True] * 4 + [False], [True] * 5])
    g = parse_group("SE(3)").sample((3,))
    out = net(x, v, q, table, mask=mask)
    moved = net(act(g, x, "points"), act(g, v, "vector"), q, table, mask=mask)
    assert set(out) == {"energy", "moved", "push"}
    assert torch.allclose(moved["energy"], out["energy"])
    assert torch.allclose(moved["moved"], act(g, out["moved"], "points"))
    assert torch.allclose(moved["push"], act(g, out["push"], "vector"))


def test_source_chooses_the_cloud():
    x, v = torch.randn(2, 2, 5, 3, dtype=torch.float64)
    net = lambda x, v: (x[..., 0].sum(1), v)  # noqa: E731
    first = FrameAverage(net, "SO(3)", inputs=("vector", "vector"), outputs=("scalar", "vector"), mode="canonical")
    second = FrameAverage(
        net, "SO(3)", inputs=("vector", "vector"), outputs=("scalar", "vector"), mode="canonical", source=1
    )
    assert not torch.allclose(first(x, v)[0], second(x, v)[0])
    assert torch.allclose(first(x, v)[1], v)
    with pytest.raises(ConfigError, match="source"):
        FrameAverage(net, "SO(3)", inputs=("vector", "vector"), source=2)


def test_unbiased():
    x = torch.randn(1, 6, 3, dtype=torch.float64)
    net = StochasticFrameAverage(Plain(6, 1), "SE(3)", samples=4)
    exact = net.eval()(x)
    torch.manual_seed(3)
    draws = net.train()(x.expand(2000, -1, -1))
    error = draws.std() / len(draws) ** 0.5
    assert float((draws.mean() - exact).detach().abs()) < 4 * float(error.detach())
    assert float(draws.detach().std()) > 1e-3


def test_deterministic_in_evaluation():
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    net = StochasticFrameAverage(Plain(6, 1), "SE(3)", eval_mode="weighted").eval()
    assert torch.equal(net(x), net(x))
    net.train()
    assert not torch.equal(net(x), net(x))
    published = StochasticFrameAverage(Plain(6, 1), "SE(3)", eval_mode="sample").eval()
    assert not torch.equal(published(x), published(x))


def test_spread():
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    net = Plain(6, 1)
    found = frames(x, "SE(3)")
    each = torch.stack([net((x - g[:, None, :3, 3]) @ g[:, :3, :3]) for g in found.elements.unbind(1)])
    assert torch.allclose(FrameAverage(net, "SE(3)").spread(x), each.std(0, unbiased=False))
    invariant = lambda x: torch.cdist(x, x).sum((1, 2))  # noqa: E731
    assert float(FrameAverage(invariant, "SE(3)").spread(x).max()) < 1e-6


def test_frames_without_weight_cost_nothing():
    seen = []

    def net(x):
        seen.append(len(x))
        return x.sum((1, 2))

    clouds = degenerate_clouds()
    x = torch.stack([clouds["generic"], clouds["cube"]])
    FrameAverage(net, "SO(3)")(x)
    used = frames(x, "SO(3)").weights > 0
    assert seen == [int(used.sum())]
    assert seen[0] < used.numel()


def test_batch_entries_do_not_see_each_other():
    clouds = degenerate_clouds()
    x = torch.stack([clouds["generic"], clouds["cube"], clouds["linear"]])
    for mode in ("full", "canonical", "weighted"):
        net = FrameAverage(Plain(8, 3), "SE(3)", outputs="vector", mode=mode)
        assert torch.allclose(net(x), torch.cat([net(x[k : k + 1]) for k in range(3)]), atol=1e-12)


def test_parameters_and_state():
    net = FrameAverage(Plain(6, 1), "SE(3)")
    assert set(net.state_dict()) == {"net.first", "net.second"}
    assert "SE(3)" in repr(net)
    before = dict(net.__dict__)
    net(torch.randn(2, 6, 3, dtype=torch.float64))
    assert net.__dict__ == before  # no state is kept


def test_empty_batch():
    net = FrameAverage(Plain(6, 3), "SE(3)", outputs="vector")
    assert net(torch.zeros(0, 6, 3, dtype=torch.float64)).shape == (0, 3)


def test_canonicalizer_may_return_frames_or_similarities():
    x = torch.randn(3, 6, 3, dtype=torch.float64)
    several = Canonicalize(Plain(6, 1), lambda x, mask=None: frames(x, "SE(3)", mask))
    assert torch.allclose(several(x), FrameAverage(Plain(6, 1), "SE(3)")(x))

    def similarity(x, mask=None):
        g = canonicalize(x, "SE(3)", mask)
        size = (x - x.mean(1, keepdim=True)).square().sum((1, 2)).sqrt()
        linear = torch.cat([g[:, :3, :3] * size[:, None, None], g[:, :3, 3:]], -1)
        return torch.cat([linear, g[:, 3:]], 1)

    net = Canonicalize(Plain(6, 1), similarity)
    assert torch.allclose(net(x), net(2.5 * x + 1.0), atol=1e-9)


def test_bad_input():
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    with pytest.raises(UnknownNameError, match="not known"):
        FrameAverage(nn.Identity(), "SU(2)")
    with pytest.raises(ConfigError, match="mode"):
        FrameAverage(nn.Identity(), "SO(3)", mode="all")
    with pytest.raises(ConfigError, match="degenerate"):
        FrameAverage(nn.Identity(), "SO(3)", degenerate="ignore")
    with pytest.raises(ConfigError, match="representation"):
        FrameAverage(nn.Identity(), "SO(3)", outputs="energy")
    with pytest.raises(ConfigError, match="shared"):
        FrameAverage(nn.Identity(), "SO(3)", outputs="shared")
    with pytest.raises(ShapeError, match="1 inputs, given 2"):
        FrameAverage(nn.Identity(), "SO(3)")(x, x)
    with pytest.raises(ShapeError, match="returned a tuple"):
        FrameAverage(lambda x: (x, x), "SO(3)")(x)
    with pytest.raises(ShapeError, match="2 outputs"):
        FrameAverage(lambda x: x, "SO(3)", outputs=("points", "scalar"))(x)
    with pytest.raises(ShapeError, match="energy"):
        FrameAverage(lambda x: {"e": x}, "SO(3)", outputs={"energy": "scalar"})(x)
    with pytest.raises(ShapeError, match="first axis must be"):
        FrameAverage(lambda x: x.sum(), "SO(3)")(x)
    with pytest.raises(ConfigError, match="canonicalizer"):
        Canonicalize(nn.Identity(), "PCA")
    with pytest.raises(ShapeError, match="canonicalizer must return"):
        Canonicalize(nn.Identity(), lambda x, mask=None: x[:, 0])(x)

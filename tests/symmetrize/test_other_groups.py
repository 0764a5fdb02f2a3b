"""The same wrappers for Lorentz groups and for S_n."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from equitools.errors import ConfigError, DegenerateFrameError, ShapeError
from equitools.groups import parse_group
from equitools.symmetrize import FrameAverage, act, frames


class OfGraph(nn.Module):
    """A network on the flattened adjacency and node features, without symmetry; per node and for the graph."""

    def __init__(self, n=5, channels=2):
        super().__init__()
        self.first = nn.Linear(n * n + n * channels, 16, dtype=torch.float64)
        self.second = nn.Linear(16, n + 1, dtype=torch.float64)

    def forward(self, adjacency, features, mask=None):
        if mask is not None:
            assert not bool((mask[:, 1:] & ~mask[:, :-1]).any())  # masked nodes come last
            features = features * mask.unsqueeze(-1)
            adjacency = adjacency * (mask.unsqueeze(-1) & mask.unsqueeze(-2))
        both = torch.cat([adjacency.flatten(1), features.flatten(1)], 1)
        out = self.second(torch.tanh(self.first(both)))
        return out[:, 0], out[:, 1:]


def graphs():
    path = torch.diag(torch.ones(4), 1)
    ring = path.clone()
    ring[0, 4] = 1
    star = torch.zeros(5, 5)
    star[0, 1:] = 1
    weighted = torch.triu(torch.rand(5, 5), 1)
    stacked = torch.stack([path, ring, star, weighted]).double()
    return stacked + stacked.mT


@pytest.mark.parametrize("mode", ["full", "sample", "canonical"])
def test_permutations(mode):
    a, f = graphs(), torch.rand(4, 5, 2, dtype=torch.float64)
    net = FrameAverage(OfGraph(), "S_n", inputs=("edges", "nodes"), outputs=("scalar", "nodes"), mode=mode)
    p = torch.eye(5, dtype=torch.float64)[torch.stack([torch.randperm(5) for _ in range(4)])]
    scalar, nodes = net(a, f)
    moved_scalar, moved_nodes = net(act(p, a, "edges"), act(p, f, "nodes"))
    rows = slice(None) if mode == "full" else slice(3, 4)  # one numbering is exact where there is but one
    assert torch.allclose(moved_scalar[rows], scalar[rows])
    assert torch.allclose(moved_nodes[rows], act(p, nodes, "nodes")[rows])


def test_masked_graphs():
    a, f = graphs(), torch.rand(4, 5, 2, dtype=torch.float64)
    mask = torch.tensor([[True, False, True, True, True], [True] * 5, [True] * 4 + [False], [True] * 5])
    net = FrameAverage(OfGraph(), "S_n", inputs=("edges", "nodes"), outputs=("scalar", "nodes"))
    p = torch.eye(5, dtype=torch.float64)[torch.stack([torch.randperm(5) for _ in range(4)])]
    moved = net(act(p, a, "edges"), act(p, f, "nodes"), mask=act(p, mask, "nodes"))
    assert torch.allclose(moved[0], net(a, f, mask=mask)[0])


def test_permutations_raise():
    with pytest.raises(DegenerateFrameError, match=r"automorphisms"):
        frames(graphs(), "S_n", degenerate="raise")
    assert frames(graphs()[3:], "S_n", degenerate="raise").elements.shape == (1, 1, 5, 5)
    with pytest.raises(ConfigError, match="continuous"):
        frames(graphs(), "S_n", mode="weighted")
    with pytest.raises(ConfigError, match="edges"):
        FrameAverage(OfGraph(), "S_n")


@pytest.mark.parametrize("mode", ["full", "canonical"])
@pytest.mark.parametrize("group", ["O(1,3)", "SO+(1,3)"])
def test_lorentz(group, mode):
    group = parse_group(group)
    first, second = torch.randn(20, 16, dtype=torch.float64), torch.randn(16, 4, dtype=torch.float64)
    net = FrameAverage(
        lambda p: torch.tanh(0.1 * p.flatten(1) @ first) @ second, group, "vector", outputs="vector", mode=mode
    )
    p = torch.randn(3, 5, 4, dtype=torch.float64)
    g = group.sample((3,))
    if mode == "full" or group == parse_group("SO+(1,3)"):
        assert torch.allclose(net(act(g, p, "vector")), act(g, net(p), "vector"), atol=1e-8)
    with pytest.raises(ShapeError, match="4"):
        frames(p[..., :3], group)

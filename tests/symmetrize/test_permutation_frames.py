"""Frames of S_n on graphs: they move with the nodes, separate graphs, and say when they are too many."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from equitools.errors import ConfigError, GraphError, ShapeError
from equitools.symmetrize import Canonicalize, frames
from equitools.symmetrize.node_search import refine_classes, smallest_numberings
from equitools.symmetrize.permutation_actions import act_on_edges, act_on_nodes
from equitools.symmetrize.permutation_frames import permutation_frames
from equitools.symmetrize.permutation_order import dense_rank, laplacian_shares, ordered_classes
from equitools.testing import point_report


def graph(size: int, edges: list[tuple[int, int]]) -> Tensor:
    adjacency = torch.zeros(1, size, size, dtype=torch.float64)
    for i, j in edges:
        adjacency[0, i, j] = adjacency[0, j, i] = 1.0
    return adjacency


def cycle(*sizes: int) -> Tensor:
    edges, start = [], 0
    for size in sizes:
        edges += [(start + k, start + (k + 1) % size) for k in range(size)]
        start += size
    return graph(start, edges)


def complete(size: int) -> Tensor:
    return graph(size, list(itertools.combinations(range(size), 2)))


def star(size: int) -> Tensor:
    return graph(size, [(0, k) for k in range(1, size)])


def weighted(size: int, seed: int = 0) -> Tensor:
    values = torch.randn(1, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values + values.transpose(1, 2)


def permutation(size: int, seed: int = 0) -> Tensor:
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    return torch.eye(size, dtype=torch.float64)[order][None]


PRISM = graph(6, [(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5), (0, 3), (1, 4), (2, 5)])
UTILITY = graph(6, [(i, j) for i in range(3) for j in range(3, 6)])  # K_{3,3}: as regular as the prism
DISCONNECTED = graph(6, [(0, 1), (1, 2), (3, 4)])
GRAPHS = {
    "generic": weighted(6),
    "path": graph(5, [(0, 1), (1, 2), (2, 3), (3, 4)]),
    "cycle": cycle(6),
    "two triangles": cycle(3, 3),
    "complete": complete(5),
    "star": star(6),
    "empty": torch.zeros(1, 5, 5, dtype=torch.float64),
    "disconnected": DISCONNECTED,
    "single node": torch.zeros(1, 1, 1, dtype=torch.float64),
    "prism": PRISM,
    "utility": UTILITY,
    "loops": graph(4, [(0, 1), (1, 2), (2, 3), (3, 0)]) + torch.diag(torch.tensor([1.0, 0, 0, 0]).double()),
}
AUTOMORPHISMS = {
    "generic": 1, "path": 2, "cycle": 12, "two triangles": 72, "complete": 120, "star": 120, "empty": 120,
    "disconnected": 4, "single node": 1, "prism": 12, "utility": 72, "loops": 2,
}  # fmt: skip


def as_set(frame, left: Tensor | None = None) -> dict[tuple[int, ...], float]:
    """Elements with positive weight, as numberings, and their weights."""
    found: dict[tuple[int, ...], float] = Counter()
    for element, weight in zip(frame.elements[0], frame.weights[0], strict=True):
        moved = element if left is None else left[0] @ element
        if weight > 0:
            found[tuple(moved.argmax(0).tolist())] += round(float(weight), 12)
    return found


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("name", GRAPHS)
def test_frames_move_with_nodes(name, refine):
    """Property: the frame of the renumbered graph is the renumbered frame."""
    adjacency = GRAPHS[name]
    first = permutation_frames(adjacency, refine=refine)
    assert torch.allclose(first.weights.sum(1), torch.ones(1).double())
    for seed in range(4):
        h = permutation(adjacency.shape[1], seed)
        second = permutation_frames(act_on_edges(h, adjacency), refine=refine)
        assert as_set(second) == as_set(first, h)


@pytest.mark.parametrize("name", GRAPHS)
def test_one_for_each_automorphism(name):
    """Property: with refine, as many elements as automorphisms, and all give the same matrix."""
    adjacency = GRAPHS[name]
    size = adjacency.shape[1]
    assert AUTOMORPHISMS[name] == sum(
        torch.equal(adjacency[0][order][:, order], adjacency[0])
        for order in map(list, itertools.permutations(range(size)))
    )
    frame = permutation_frames(adjacency, refine=True)
    assert frame.elements.shape[1] == AUTOMORPHISMS[name]
    seen = act_on_edges(frame.elements[0].transpose(1, 2), adjacency.expand(AUTOMORPHISMS[name], -1, -1))
    assert float((seen - seen[:1]).abs().max()) <= 1e-12
    assert permutation_frames(adjacency).elements.shape[1] >= AUTOMORPHISMS[name]
    one = permutation_frames(adjacency, mode="canonical", refine=True)
    assert torch.equal(act_on_edges(one.elements[:, 0].transpose(1, 2), adjacency), seen[:1])


def network(size: int, out: int = 3, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(size * size, 16), nn.Tanh(), nn.Linear(16, out)).double()


def average(net: nn.Module, adjacency: Tensor, **options) -> Tensor:
    elements, weights = permutation_frames(adjacency, **options)
    batch, count, size = elements.shape[:3]
    seen = act_on_edges(
        elements.transpose(2, 3).flatten(0, 1), adjacency[:, None].expand(-1, count, -1, -1).flatten(0, 1)
    )
    return (net(seen.reshape(-1, size * size)).reshape(batch, count, -1) * weights[..., None]).sum(1)


@pytest.mark.parametrize("options", [{}, {"refine": True}, {"refine": True, "mode": "canonical"}])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_network_on_the_adjacency_becomes_invariant(name, options):
    adjacency = GRAPHS[name]
    net = network(adjacency.shape[1])
    wanted = average(net, adjacency, **options)
    for seed in range(4):
        moved = act_on_edges(permutation(adjacency.shape[1], seed), adjacency)
        assert float((average(net, moved, **options) - wanted).detach().abs().max()) <= 1e-12


def test_the_canonical_order_alone_is_exact_where_tied_nodes_can_be_exchanged():
    """…and is not where they cannot: the hexagon's nodes all tie."""
    errors = {}
    for name in ("generic", "star", "complete", "cycle"):
        net, adjacency = network(GRAPHS[name].shape[1]), GRAPHS[name]
        wanted = average(net, adjacency, mode="canonical")
        moved = [act_on_edges(permutation(adjacency.shape[1], seed), adjacency) for seed in range(4)]
        errors[name] = max(float((average(net, m, mode="canonical") - wanted).detach().abs().max()) for m in moved)
    assert errors.pop("cycle") > 1e-3
    assert max(errors.values()) <= 1e-12


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("name", ["generic", "path", "star", "cycle", "disconnected"])
def test_outputs_of_nodes_move_with_them(name, refine):
    adjacency = GRAPHS[name]
    size = adjacency.shape[1]
    net = network(size, size * 2)

    def per_node(a: Tensor) -> Tensor:
        elements, weights = permutation_frames(a, refine=refine)
        count = elements.shape[1]
        seen = act_on_edges(elements[0].transpose(1, 2), a.expand(count, -1, -1))
        out = act_on_nodes(elements[0], net(seen.flatten(1)).reshape(count, size, 2))
        return (out * weights[0, :, None, None]).sum(0, keepdim=True)

    wanted = per_node(adjacency)
    for seed in range(4):
        h = permutation(size, seed)
        got = per_node(act_on_edges(h, adjacency))
        assert float((got - act_on_nodes(h, wanted)).detach().abs().max()) <= 1e-12


@pytest.mark.parametrize(
    ("one", "other"), [(cycle(6), cycle(3, 3)), (PRISM, UTILITY), (cycle(7), cycle(3, 4)), (cycle(8), cycle(4, 4))]
)
def test_separates_what_colour_refinement_cannot(one, other):
    """1-WL gives all nodes of both graphs one colour; frames tell the graphs apart."""
    zeros = np.zeros(one.shape[1], dtype=np.int64)
    for adjacency in (one, other):
        assert refine_classes(zeros, adjacency[0].numpy().astype(np.int64)).max() == 0
    net = network(one.shape[1])
    first, second = (average(net, adjacency, refine=True) for adjacency in (one, other))
    assert float((first - second).detach().abs().max()) > 1e-4


def all_graphs(size: int) -> Tensor:
    """One adjacency of every graph with this many nodes."""
    pairs = list(itertools.combinations(range(size), 2))
    number = {pair: k for k, pair in enumerate(pairs)}
    moves = np.array(
        [
            [number[tuple(sorted((order[i], order[j])))] for i, j in pairs]
            for order in itertools.permutations(range(size))
        ]
    )
    seen = np.zeros(2 ** len(pairs), dtype=bool)
    found = []
    for code in range(2 ** len(pairs)):
        if seen[code]:
            continue
        bits = (code >> np.arange(len(pairs))) & 1
        seen[(bits[None] << moves).sum(1)] = True
        found.append(graph(size, [pair for pair, bit in zip(pairs, bits, strict=True) if bit]))
    return torch.cat(found)


@pytest.mark.parametrize(("size", "count"), [(2, 2), (3, 4), (4, 11), (5, 34), (6, 156)])
@pytest.mark.parametrize("refine", [False, True])
def test_separates_all_small_graphs(size, count, refine):
    """The frame average of one random network differs on every pair of the graphs with up to six nodes."""
    graphs = all_graphs(size)
    assert len(graphs) == count
    with torch.no_grad():
        outputs = average(network(size, 8), graphs, refine=refine)
    distance = torch.cdist(outputs, outputs, compute_mode="donot_use_mm_for_euclid_dist")
    distance.fill_diagonal_(math.inf)
    assert float(distance.min()) > 1e-4, float(distance.min())


def test_samples_are_uniform():
    """Property: every element of the frame is drawn equally often (chi squared, 1e-4 level)."""
    for refine, count in ((False, 24), (True, 8)):
        generator = torch.Generator().manual_seed(3)
        frame = permutation_frames(cycle(4), mode="sample", samples=4800, generator=generator, refine=refine)
        assert frame.elements.shape == (1, 4800, 4, 4)
        drawn = Counter(tuple(element.argmax(0).tolist()) for element in frame.elements[0])
        assert set(drawn) == set(as_set(permutation_frames(cycle(4), refine=refine)))
        assert len(drawn) == count
        expected = 4800 / count
        statistic = sum((number - expected) ** 2 / expected for number in drawn.values())
        assert statistic < {24: 60.0, 8: 33.0}[count]
        assert torch.allclose(frame.weights.sum(1), torch.ones(1).double())


def test_same_seed_same_samples():
    draws = [
        permutation_frames(cycle(4, 4), mode="sample", samples=3, generator=torch.Generator().manual_seed(1)).elements
        for _ in range(2)
    ]
    assert torch.equal(*draws)


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("name", GRAPHS)
def test_masked_nodes_come_last_and_change_nothing(name, refine):
    adjacency = GRAPHS[name]
    size = adjacency.shape[1]
    generator = torch.Generator().manual_seed(0)
    padded = torch.randn(1, size + 2, size + 2, generator=generator, dtype=torch.float64)  # rubbish where masked
    there = torch.tensor([False] + [True] * size + [False])
    padded[0, 1:-1, 1:-1] = adjacency[0]
    plain = permutation_frames(adjacency, refine=refine)
    frame = permutation_frames(padded, there[None], refine=refine)
    count = frame.elements.shape[1]
    assert count == plain.elements.shape[1]
    order = frame.elements[0].transpose(1, 2)
    mask = act_on_nodes(order, there[None].expand(count, -1))
    assert bool(mask[:, :size].all())
    assert not bool(mask[:, size:].any())
    seen = act_on_edges(order, padded.expand(count, -1, -1))[:, :size, :size]
    wanted = act_on_edges(plain.elements[0].transpose(1, 2), adjacency.expand(count, -1, -1))
    assert sorted(map(str, seen.tolist())) == sorted(map(str, wanted.tolist()))


def test_a_batch_is_its_graphs():
    """Graphs with fewer elements are filled up with weight zero; order and weights are those of each alone."""
    batch = torch.cat([GRAPHS["cycle"], GRAPHS["generic"], GRAPHS["star"]])
    for refine in (False, True):
        frame = permutation_frames(batch, refine=refine)
        for index in range(3):
            own = permutation_frames(batch[index : index + 1], refine=refine)
            row = type(frame)(frame.elements[index : index + 1], frame.weights[index : index + 1])
            assert as_set(row) == as_set(own)


def test_the_unit_of_the_weights_does_not_matter():
    for name in ("generic", "cycle", "disconnected", "loops"):
        frame = permutation_frames(GRAPHS[name])
        for unit in (1e-12, 1e9):
            assert as_set(permutation_frames(unit * GRAPHS[name])) == as_set(frame)


def test_features_break_ties():
    features = torch.tensor([[0.0, 0, 0, 5, 0, 0]]).double()[..., None]
    assert permutation_frames(cycle(6), features=features, refine=True).elements.shape[1] == 2
    frame = permutation_frames(cycle(6), features=features)
    assert frame.elements.shape[1] == math.factorial(5)
    assert bool((act_on_nodes(frame.elements[0].transpose(1, 2), features.expand(120, -1, -1))[:, -1] == 5).all())
    every = torch.arange(6.0).reshape(1, 6, 1)
    assert permutation_frames(cycle(6), features=every).elements.shape[1] == 1
    h = permutation(6, 5)
    moved = permutation_frames(act_on_edges(h, cycle(6)), features=act_on_nodes(h, features), refine=True)
    assert as_set(moved) == as_set(permutation_frames(cycle(6), features=features, refine=True), h)


def test_borders_do_not_split():
    """Property: values next to a rounding border share a cluster, where plain rounding would separate them."""
    values = torch.tensor([0.125 - 1e-16, 0.125 + 1e-16, 0.5, 0.1249, 0.3]).double()
    assert dense_rank(values, 1e-3).tolist() == [0, 0, 2, 0, 1]
    edge = 0.125 + torch.tensor([-1e-12, 1e-12]).double()
    assert (edge * 100).round().tolist() == [12.0, 13.0]
    assert dense_rank(edge, 1e-4).tolist() == [0, 0]
    infinite = torch.tensor([torch.inf, 1.0, torch.inf, 0.0])
    assert dense_rank(infinite).tolist() == [2, 1, 2, 0]


def test_shares_move_with_nodes():
    """Property: renumbering permutes the rows; repeated eigenvalues (the cycle has pairs) are handled as a space."""
    for name in ("generic", "cycle", "star"):
        adjacency = GRAPHS[name]
        mask = torch.ones(adjacency.shape[:2], dtype=torch.bool)
        h = permutation(adjacency.shape[1], 2)
        wanted = act_on_nodes(h, laplacian_shares(adjacency, mask))
        got = laplacian_shares(act_on_edges(h, adjacency), mask)
        assert float((got - wanted).abs().max()) <= 1e-7
        assert torch.allclose(got.square().sum(-1), torch.ones(adjacency.shape[:2]).double())
    # eigenvalues 0, 1, 1, 3, 3, 4 of the hexagon: four spaces, in each of which all nodes have the same share
    shares = laplacian_shares(cycle(6), torch.ones(1, 6, dtype=torch.bool))[0, 0]
    assert torch.allclose(shares.square(), torch.tensor([1, 2, 2, 1, 0, 0]).double() / 6)


def test_classes_move_with_nodes():
    """Property: renumbering the nodes permutes the classes."""
    for adjacency in GRAPHS.values():
        h = permutation(adjacency.shape[1], 1)
        got = ordered_classes(act_on_edges(h, adjacency))
        assert torch.equal(got, act_on_nodes(h, ordered_classes(adjacency)))


def test_refinement_moves_with_nodes():
    """Property: 1-WL classes are permuted by a renumbering, and no finer than the orbits."""
    weights = graph(6, [(0, 1), (1, 2), (2, 3), (3, 4), (2, 5)])[0].numpy().astype(np.int64)
    order = np.array([3, 0, 5, 1, 4, 2])
    zeros = np.zeros(6, dtype=np.int64)
    classes = refine_classes(zeros, weights)
    assert np.array_equal(refine_classes(zeros, weights[np.ix_(order, order)]), classes[order])
    assert classes[0] == classes[4]
    assert len(set(classes)) == 4


def test_large_symmetric_graphs_need_no_search_of_all():
    """One canonical numbering of graphs whose nodes can be exchanged: twins are not tried in turn."""
    for adjacency in (complete(20), star(20), torch.zeros(1, 20, 20).double()):
        frame = permutation_frames(adjacency, mode="canonical", refine=True)
        assert frame.elements.shape == (1, 1, 20, 20)
        with pytest.raises(ConfigError, match="more than max_frames=500"):
            permutation_frames(adjacency, refine=True, max_frames=500)
    assert len(smallest_numberings(np.zeros(3, dtype=np.int64), np.zeros((3, 3), dtype=np.int64), 99, every=True)) == 6


def test_too_many_frames_are_refused_with_their_number():
    with pytest.raises(ConfigError, match=str(math.factorial(8))):
        permutation_frames(cycle(8))
    assert permutation_frames(cycle(8), refine=True).elements.shape[1] == 16
    assert permutation_frames(cycle(8), mode="sample", samples=5).elements.shape[1] == 5
    assert permutation_frames(cycle(5), max_frames=120).elements.shape[1] == 120
    with pytest.raises(ConfigError, match="120"):
        permutation_frames(cycle(5), max_frames=119)


@pytest.mark.parametrize("mode", ["full", "sample", "canonical"])
@pytest.mark.parametrize("refine", [False, True])
def test_no_graphs_no_nodes_any_dtype(mode, refine):
    empty = permutation_frames(torch.zeros(0, 4, 4), mode=mode, refine=refine)
    assert empty.elements.shape[0] == 0
    assert empty.elements.shape[2:] == (4, 4)
    nothing = permutation_frames(torch.zeros(2, 0, 0), mode=mode, refine=refine)
    assert nothing.elements.shape == (2, 1, 0, 0)
    for dtype, wanted in ((torch.float32, torch.float32), (torch.int64, torch.float64), (torch.bool, torch.float64)):
        frame = permutation_frames(GRAPHS["path"].to(dtype), mode=mode, refine=refine)
        assert frame.elements.dtype == frame.weights.dtype == wanted
    strided = GRAPHS["generic"].transpose(1, 2)
    assert torch.equal(
        permutation_frames(strided, mode=mode, refine=refine).elements,
        permutation_frames(strided.contiguous(), mode=mode, refine=refine).elements,
    )


def test_gradients_reach_the_weights_of_edges():
    net = network(4)

    def of_symmetric_part(a: Tensor) -> Tensor:
        return average(net, (a + a.transpose(1, 2)) / 2)

    assert torch.autograd.gradcheck(of_symmetric_part, weighted(4).requires_grad_())
    assert torch.autograd.gradgradcheck(of_symmetric_part, weighted(4).requires_grad_())


class OnMaskedGraphs(nn.Module):
    """Any network of an adjacency, node features and a mask; outputs for the graph and for each node."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.net = network(size, 1 + size, 4)

    def forward(self, edges: Tensor, nodes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        there = mask.to(edges)
        seen = edges * there[:, :, None] * there[:, None, :] + torch.diag_embed(nodes[..., 0] * there)
        out = self.net(seen.flatten(1))
        return out[:, 0], out[:, 1:] * there


@pytest.mark.parametrize("refine", [False, True])
def test_wrappers_take_frames_of_graphs(refine):
    """`Canonicalize` with these frames: nodes, edges and the mask are renumbered, node outputs numbered back."""
    edges = torch.cat([GRAPHS["generic"], GRAPHS["two triangles"], GRAPHS["disconnected"]])
    mask = torch.tensor([[True] * 6, [True] * 6, [True] * 5 + [False]])
    nodes = torch.randn(3, 6, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    nodes[1] = 0.0

    def frame(a: Tensor, mask: Tensor | None = None):
        return permutation_frames(a, mask, refine=refine)

    net = Canonicalize(OnMaskedGraphs(6), frame, ("edges", "nodes"), ("scalar", "nodes"))
    report = point_report(net, (edges, nodes), "S_n", mask=mask, skip=("gradient",))  # ties make the derivative jump
    assert report.passed, str(report)
    assert {"permutation", "padding", "batch"} <= {row.transformation for row in report.rows}
    generic = point_report(net, (edges[:1], nodes[:1]), "S_n", mask=mask[:1])
    assert "gradient" in {row.transformation for row in generic.rows}
    assert generic.passed, str(generic)


def test_frames_dispatches():
    assert as_set(frames(GRAPHS["path"], "S_n")) == as_set(permutation_frames(GRAPHS["path"], refine=True))
    drawn = frames(cycle(8), "S_n", mode="sample", samples=4, generator=torch.Generator().manual_seed(0))
    assert drawn.elements.shape == (1, 4, 8, 8)
    with pytest.raises(ConfigError, match="weighted"):
        frames(GRAPHS["path"], "S_n", mode="weighted")


def test_action():
    """Property: act(g h, x) = act(g, act(h, x)), on nodes and on edges, with further axes and a mask."""
    g, h = permutation(5, 1), permutation(5, 2)
    nodes, edges = torch.randn(1, 5, 3, dtype=torch.float64), torch.randn(1, 5, 5, 2, 2, dtype=torch.float64)
    assert torch.equal(act_on_nodes(g @ h, nodes), act_on_nodes(g, act_on_nodes(h, nodes)))
    assert torch.equal(act_on_edges(g @ h, edges), act_on_edges(g, act_on_edges(h, edges)))
    assert torch.equal(act_on_nodes(g, nodes), g @ nodes)
    assert torch.equal(act_on_edges(g, edges[..., 0, 0]), g @ edges[..., 0, 0] @ g.transpose(1, 2))
    assert act_on_nodes(g, nodes[..., 0] > 0).dtype == torch.bool
    assert torch.autograd.gradcheck(lambda x: act_on_edges(g, x), edges.requires_grad_())


def test_mistakes_are_named():
    good = weighted(4)
    with pytest.raises(ConfigError, match="canonical"):
        permutation_frames(good, mode="canon")
    with pytest.raises(ConfigError, match="at least 1"):
        permutation_frames(good, mode="sample", samples=0)
    with pytest.raises(ShapeError, match=r"\[B, n, n\]"):
        permutation_frames(good[0])
    with pytest.raises(ShapeError, match="mask"):
        permutation_frames(good, torch.ones(1, 3, dtype=torch.bool))
    with pytest.raises(ShapeError, match="features"):
        permutation_frames(good, features=torch.ones(1, 3, 1))
    with pytest.raises(GraphError, match="not symmetric"):
        permutation_frames(torch.triu(good))
    with pytest.raises(GraphError, match="NaN"):
        permutation_frames(good * torch.nan)
    with pytest.raises(ShapeError, match="'nodes'"):
        act_on_nodes(permutation(4), torch.zeros(1, 5, 2))
    with pytest.raises(ShapeError, match="'edges'"):
        act_on_edges(permutation(4), torch.zeros(1, 4, 5))

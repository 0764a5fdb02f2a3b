"""The report on point clouds passes what is right, names what is not, and leaves everything as it was."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import Tensor, nn

from equitools.errors import ConfigError, ShapeError, UnknownNameError
from equitools.symmetrize import (
    Canonicalize,
    FrameAverage,
    GroupAverage,
    StochasticFrameAverage,
    canonicalize,
    permutation_frames,
)
from equitools.symmetrize.permutation_actions import act_on_edges, act_on_nodes
from equitools.testing import PointReport, point_report
from equitools.testing.point_report import POINT_CHECKS


def clouds(batch: int = 4, size: int = 6, d: int = 3) -> Tensor:
    return torch.randn(batch, size, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def padding(batch: int = 4, size: int = 6) -> Tensor:
    mask = torch.ones(batch, size, dtype=torch.bool)
    mask[1, 4:] = False
    return mask


class Net(nn.Module):
    """A network on clouds with a mask that nothing but the order of the points leaves as it is."""

    def __init__(self, out: int = 2, d: int = 3, per_point: bool = False) -> None:
        super().__init__()
        self.per_point = per_point
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.first = nn.Sequential(nn.Linear(d, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh())
            self.last = nn.Sequential(nn.Linear(24, 12), nn.Tanh(), nn.Linear(12, out))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        each = self.first(x)
        there = torch.ones_like(each[..., :1]) if mask is None else mask[..., None].to(each)
        total = ((each * there).sum(1, keepdim=True) / there.sum(1, keepdim=True)).expand_as(each)
        out = self.last(torch.cat([each, total], -1))
        return out if self.per_point else (out * there).sum(1)


def wrappers() -> dict[str, tuple[nn.Module, str]]:
    return {
        "full": (FrameAverage(Net(), "E(3)"), "E(3)"),
        "weighted": (FrameAverage(Net(), "SE(3)", mode="weighted"), "SE(3)"),
        "canonical": (FrameAverage(Net(), "SO(3)", mode="canonical"), "SO(3)"),
        "vectors": (FrameAverage(Net(3), "O(3)", outputs="vector"), "O(3)"),
        "points": (FrameAverage(Net(3, per_point=True), "E(3)", outputs="points"), "E(3)"),
        "irreps": (FrameAverage(Net(9), "E(3)", outputs="1x0e+1x1o+1x2e"), "E(3)"),
        "pseudoscalars": (FrameAverage(Net(), "E(3)", outputs="pseudoscalar"), "E(3)"),
        "plane": (FrameAverage(Net(d=2), "E(2)"), "E(2)"),
        "stochastic in evaluation": (StochasticFrameAverage(Net(), "E(3)"), "E(3)"),
        "canonicalizer": (Canonicalize(Net(), lambda x, mask=None: canonicalize(x, "SE(3)", mask)), "SE(3)"),
    }


@pytest.mark.parametrize("name", wrappers())
@pytest.mark.parametrize("masked", [False, True])
def test_correct_wrappers_pass(name, masked):
    net, group = wrappers()[name]
    x = clouds(d=2 if name == "plane" else 3)
    report = point_report(net, x, group, mask=padding() if masked else None, any_size=masked)
    assert report.passed, str(report)
    assert report.worst <= 1e-7
    deterministic = [row for row in report.rows if row.transformation != "gradient"]
    assert max(row.relative for row in deterministic) <= 1e-9
    wanted = {"same call twice", "input unchanged", "after another call", "rotation", "permutation", "batch"}
    assert wanted <= {row.transformation for row in report.rows}
    assert ("padding" in {row.transformation for row in report.rows}) == masked
    assert ("translation" in {row.transformation for row in report.rows}) == ("E" in group)


def test_a_network_without_symmetry_fails_what_it_lacks():
    report = point_report(Net(), clouds(), "E(3)")
    assert set(report.broken) == {"rotation", "reflection", "translation"}
    assert "BROKEN" in str(report)
    assert report.verdict.startswith("BROKEN: output under ")


def test_groups_ask_for_what_they_hold():
    frames = FrameAverage(Net(), "SE(3)")
    assert point_report(frames, clouds(), "SE(3)", chiral=True).passed
    assert set(point_report(frames, clouds(), "E(3)").broken) == {"reflection"}
    centred = FrameAverage(Net(), "SO(3)")
    assert set(point_report(centred, clouds(), "SE(3)").broken) == {"translation"}
    mirrored = point_report(FrameAverage(Net(), "E(3)"), clouds(), "SE(3)", chiral=True)
    assert set(mirrored.broken) == {"mirror image"}
    assert "the same" in str(mirrored)


class NoPermutation(Net):
    def forward(self, x, mask=None):
        return super().forward(x, mask) * x[:, :1].square().sum((1, 2)).tanh()[:, None]


class IgnoresMask(Net):
    def forward(self, x, mask=None):
        return super().forward(x)


class Random(Net):
    def forward(self, x, mask=None):
        return nn.functional.dropout(super().forward(x, mask), 0.5, training=True)


class CountsCalls(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x, mask=None):
        self.calls += 1
        return super().forward(x, mask)


@pytest.mark.parametrize(
    ("net", "rows"),
    [
        (NoPermutation, {"permutation"}),
        (IgnoresMask, {"padding"}),
        (CountsCalls, {"after another call"}),
    ],
)
def test_names_what_broke(net, rows):
    report = point_report(net(), clouds(), "S_n", mask=padding(), any_size=True)
    assert set(report.broken) == rows, str(report)


def test_randomness_in_evaluation_is_flagged():
    assert "same call twice" in point_report(Random(), clouds(), "S_n").broken
    state = torch.get_rng_state()
    point_report(Random(), clouds(), "S_n")
    assert torch.equal(torch.get_rng_state(), state)


def test_leaves_net_alone():
    """Property: the module, the inputs and the state of torch's random numbers are not changed."""
    net, x, mask = FrameAverage(CountsCalls(), "E(3)").train().float(), clouds(), padding()
    state, points, there, random = copy.deepcopy(net.state_dict()), x.clone(), mask.clone(), torch.get_rng_state()
    first = point_report(net, x, "E(3)", mask=mask)
    assert net.training
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(value.dtype == torch.float32 for value in net.parameters())
    assert torch.equal(x, points)
    assert torch.equal(mask, there)
    assert torch.equal(torch.get_rng_state(), random)
    assert first == point_report(net, x, "E(3)", mask=mask)


def test_single_precision():
    report = point_report(FrameAverage(Net(), "E(3)"), clouds(), "E(3)", dtype=torch.float32)
    assert report.passed, str(report)
    assert report.worst > 1e-9
    assert "float32" in str(report)


def test_a_network_that_raises_has_failed():
    class OnlyBatches(Net):
        def forward(self, x, mask=None):
            if len(x) == 1:
                raise ValueError("one cloud is not enough")
            return super().forward(x, mask)

    report = point_report(FrameAverage(OnlyBatches(), "E(3)"), clouds(), "E(3)")
    assert report.passed  # the frames of one cloud are several clouds
    report = point_report(OnlyBatches(), clouds(), "S_n")
    assert report.broken == ("batch",)
    assert "raised ValueError" in str(report)
    assert json.dumps(report.to_dict(), allow_nan=False)


def test_not_a_number_is_broken():
    report = point_report(lambda x: x.sum((1, 2)) * torch.nan, clouds(), "S_n")
    assert not report.passed


def test_zero_shows_nothing():
    report = point_report(lambda x: 0.0 * x.sum((1, 2)), clouds(), "E(3)")
    assert "nothing was shown" in str(report)


def test_several_inputs_and_outputs():
    class Many(nn.Module):
        def forward(self, x, v, charge, table):
            centred = x - x.mean(1, keepdim=True)
            weight = (charge[..., None] * table[0]).tanh()
            return {
                "energy": (centred.square().sum(-1) * charge).sum(1) + (v * centred).sum((1, 2)),
                "moved": x + weight * v,
                "spin": torch.linalg.cross(centred, v),
                "spread": torch.einsum("bni,bnj->bij", centred, centred),
                "not declared": x,
            }

    generator = torch.Generator().manual_seed(3)
    v = torch.randn(4, 6, 3, generator=generator, dtype=torch.float64)
    charge = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    outputs = {"energy": "scalar", "moved": "points", "spin": "pseudovector", "spread": "tensor2"}
    values, inputs = (clouds(), v, charge, torch.ones(3).double()), ("points", "vector", "scalar", "shared")
    report = point_report(Many(), values, "E(3)", inputs, outputs)
    assert report.passed, str(report)
    assert {row.output for row in report.rows} >= set(outputs)
    wrong = point_report(Many(), values, "E(3)", inputs, {**outputs, "spin": "vector"})
    assert [(row.transformation, row.output) for row in wrong.failures] == [("reflection", "spin")]
    wrong = point_report(Many(), values, "E(3)", inputs, {**outputs, "moved": "vector"})
    assert {(row.transformation, row.output) for row in wrong.failures} == {("translation", "moved")}


class OnGraphs(nn.Module):
    """An MLP on the adjacency, averaged over the frames of S_n: invariants, and one output for each node."""

    def __init__(self, size: int = 5, mode: str = "full", refine: bool = True) -> None:
        super().__init__()
        self.options = {"mode": mode, "refine": refine}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            self.net = nn.Sequential(nn.Linear(size * size + size, 16), nn.Tanh(), nn.Linear(16, size + 1))

    def forward(self, edges: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
        elements, weights = permutation_frames(edges, features=nodes, **self.options)
        batch, count = weights.shape
        back = elements.transpose(2, 3).flatten(0, 1)
        seen = [
            act(back, value[:, None].expand(-1, count, *[-1] * (value.ndim - 1)).flatten(0, 1))
            for act, value in ((act_on_edges, edges), (act_on_nodes, nodes))
        ]
        found = self.net(torch.cat([value.flatten(1) for value in seen], 1))
        each = act_on_nodes(elements.flatten(0, 1), found[:, 1:]).unflatten(0, (batch, count))
        return (
            (found[:, 0].unflatten(0, (batch, count)) * weights).sum(1),
            (each * weights[..., None]).sum(1),
        )


def graphs() -> tuple[Tensor, Tensor]:
    ring = torch.zeros(5, 5).double()
    for k in range(5):
        ring[k, (k + 1) % 5] = ring[(k + 1) % 5, k] = 1.0
    weights = torch.randn(5, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    edges = torch.stack([ring, weights + weights.T, torch.ones(5, 5).double() - torch.eye(5)])
    return edges, torch.tensor([[0.0, 0, 0, 0, 0], [1, 2, 3, 4, 5], [0, 0, 1, 1, 1]]).double()[..., None]


def test_frames_of_graphs_pass():
    options = {"inputs": ("edges", "nodes"), "outputs": ("scalar", "scalar")}
    for refine in (False, True):
        report = point_report(OnGraphs(refine=refine), graphs(), "S_n", skip=("gradient",), **options)
        assert report.passed, str(report)
    report = point_report(OnGraphs(mode="canonical"), graphs(), "S_n", skip=("gradient",), **options)
    # one numbering is enough for what belongs to the graph, not for what belongs to tied nodes
    assert {(row.transformation, row.output) for row in report.failures} == {("permutation", "output 1")}
    generic = [value[1:2] for value in graphs()]
    assert point_report(OnGraphs(mode="canonical"), generic, "S_n", **options).passed


def test_group_averages_pass():
    finite = GroupAverage(Net(), "Oh")
    assert set(point_report(finite, clouds(), "O(3)").broken) == {"rotation", "reflection"}
    every = GroupAverage(lambda x: (x[:, 0] ** 3).sum(-1) + x[:, :, 0].square().sum(-1), "E(3)", degree=3)
    report = point_report(every, clouds(), "E(3)", skip=("permutation",))
    assert report.passed, str(report)
    sampled = GroupAverage(Net(), "SO(3)", samples=5)
    assert {"same call twice", "rotation"} <= set(point_report(sampled, clouds(), "SO(3)").broken)


def test_an_axis_of_the_same_length_is_declared():
    net = FrameAverage(Net(6), "E(3)")  # as many channels as points
    assert "permutation" in point_report(net, clouds(), "E(3)").broken
    assert point_report(net, clouds(), "E(3)", per_point={"output": False}).passed


def test_continuity():
    line = torch.zeros(4, 6, 3).double()
    line[:, :, 0] = clouds()[:, :, 0]
    weighted = FrameAverage(Net(), "E(3)", mode="weighted")
    flat = torch.cat([clouds()[..., :2], 0 * clouds()[..., :1]], -1)
    report = point_report(weighted, clouds(), "E(3)", degenerate=[line, flat, 0 * line + 1.0])
    assert report.passed, str(report)

    def jumps(x: Tensor) -> Tensor:
        return (x[:, :, 1].abs().sum(1) > 1e-12).to(x)

    assert point_report(jumps, clouds(), "S_n", degenerate=[line]).broken == ("continuity",)


def test_rows_can_be_left_out():
    report = point_report(Net(), clouds(), "E(3)", skip=("rotation", "reflection", "translation"))
    assert report.passed
    assert isinstance(report, PointReport)
    assert {row.transformation for row in report.rows} <= set(POINT_CHECKS)


def test_mistakes_are_named():
    net, x = Net(), clouds()
    with pytest.raises(UnknownNameError, match="SO"):
        point_report(net, x, "SO3")
    with pytest.raises(UnknownNameError, match="rotation"):
        point_report(net, x, skip=("rotations",))
    with pytest.raises(ConfigError, match="points"):
        point_report(net, x, inputs="point")
    with pytest.raises(ShapeError, match="1 inputs are declared and 2"):
        point_report(net, (x, x), inputs="points")
    with pytest.raises(ShapeError, match="at least one trial"):
        point_report(net, x, trials=0)
    with pytest.raises(ShapeError, match=r"moves points \[\.\.\., 2\]"):
        point_report(net, x, "E(2)")
    with pytest.raises(ShapeError, match="mask must be bool"):
        point_report(net, x, mask=torch.ones(4, 5, dtype=torch.bool))
    with pytest.raises(ShapeError, match="declared, the network returned"):
        point_report(net, x, outputs={"energy": "scalar"})
    with pytest.raises(ShapeError, match="4 clouds"):
        point_report(net, (x, x[:2]), inputs=("points", "vector"))
    with pytest.raises(ConfigError, match="conservative"):
        point_report(net, x, conservative=("energy", "forces"))
    with pytest.raises(ConfigError, match="chiral"):
        point_report(net, x, "E(3)", chiral=True)

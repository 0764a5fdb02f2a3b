"""Averages over groups: exact for finite groups and bounded degree, with honest error bars when sampled."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from equitools.errors import ConfigError, ShapeError, UnknownNameError
from equitools.groups import Irreps, finite_group, irreps_matrix, random_orthogonal, random_rotation
from equitools.groups.lie import SO, O
from equitools.symmetrize.group_average import GroupAverage, symmetric_group
from equitools.symmetrize.permutation_actions import act_on_edges, act_on_nodes
from equitools.symmetrize.quadrature import rotation_quadrature
from equitools.symmetrize.representations import act


def cloud(batch: int = 2, size: int = 4, d: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(batch, size, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Net(nn.Module):
    """Nothing about it is symmetric."""

    def __init__(self, size: int, out: tuple[int, ...] = (2,), seed: int = 0) -> None:
        super().__init__()
        self.out = out
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Linear(size, 16), nn.Tanh(), nn.Linear(16, math.prod(out))).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1)).unflatten(1, self.out)


class Polynomial(nn.Module):
    """A polynomial of degree 3 of the coordinates."""

    def __init__(self, size: int, out: int = 2, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("a", torch.randn(4, size, 8, generator=generator, dtype=torch.float64))
        self.register_buffer("b", torch.randn(8, out, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        one, two, three, four = (x.flatten(1) @ a for a in self.a)
        return (one * two * three + two * four + one + 1.0) @ self.b


def moved(elements: Tensor, x: Tensor) -> Tensor:
    return act(elements, x, "points")


def gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())


@pytest.mark.parametrize(
    ("name", "d", "order"),
    [("C4", 3, 4), ("D4", 3, 8), ("C6(2)", 2, 6), ("D3(2)", 2, 6), ("T", 3, 12), ("O", 3, 24), ("I", 3, 60),
     ("Th", 3, 24), ("Oh", 3, 48), ("Ih", 3, 120)],
)  # fmt: skip
def test_equivariance(name, d, order):
    """Property: f(g x) = g f(x) for every element of a finite group, scalars and vectors; not for others."""
    x, elements = cloud(d=d), finite_group(name)
    assert len(elements) == order
    scalar = GroupAverage(Net(4 * d), name)
    vector = GroupAverage(Net(4 * d, (3, d)), elements, outputs="vector")
    for g in elements[:: max(1, order // 8)]:
        g = g.expand(2, d, d)
        assert gap(scalar(moved(g, x)), scalar(x)) <= 1e-12
        assert gap(vector(moved(g, x)), act(g, vector(x), "vector")) <= 1e-12
    other = random_rotation((2,), torch.Generator().manual_seed(0))[:, :d, :d]
    if d == 3:
        assert gap(scalar(moved(other, x)), scalar(x)) > 1e-6


@pytest.mark.parametrize("group", ["Oh", "O", torch.eye(3)[None]])
def test_finite_averages_agree_with_a_loop(group):
    x = cloud()
    elements = group.double() if isinstance(group, Tensor) else finite_group(group)
    net = Net(12, (3,))
    looped = torch.stack([net(x @ g) @ g.T for g in elements]).mean(0)
    assert gap(GroupAverage(net, group, outputs="vector")(x), looped) <= 1e-13


def test_centred_averages_ignore_translations():
    x, mask = cloud(3, 5), torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4])

    class Masked(Net):
        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            return super().forward(torch.where(mask[..., None], x, 0.0))

    average = GroupAverage(Masked(15, (3,)), "O", outputs="points", centred=True)
    shift = torch.tensor([1.0, -2.0, 3.0]).double()
    assert gap(average(x + shift, mask=mask), average(x, mask=mask) + shift) <= 1e-12
    g = finite_group("O")[7].expand(3, 3, 3)
    assert gap(average(moved(g, x), mask=mask), moved(g, average(x, mask=mask)[:, None])[:, 0]) <= 1e-12
    rubbish = torch.where(mask[..., None], x, torch.full_like(x, 1e3))
    assert gap(average(rubbish, mask=mask), average(x, mask=mask)) <= 1e-12


def test_projection():
    """Property: a network that is equivariant already is not changed."""
    x = cloud()

    def equivariant(points: Tensor) -> Tensor:
        return points * points.square().sum((1, 2), keepdim=True)

    for average in (
        GroupAverage(equivariant, "Ih", outputs="vector"),
        GroupAverage(equivariant, "SO(3)", outputs="vector", degree=3),
        GroupAverage(equivariant, "O(3)", outputs="vector", samples=3),
    ):
        assert gap(average(x), equivariant(x)) <= 1e-12


@pytest.mark.parametrize("name", ["SO(2)", "O(2)", "SO(3)", "O(3)", "SE(3)", "E(2)"])
def test_equivariance_by_quadrature(name):
    """Property: exact for a polynomial network, for all elements; and not if the degree is given too small."""
    d = int(name[-2])
    x, generator = cloud(d=d), torch.Generator().manual_seed(1)
    elements = (O(d) if name[0] in "OE" else SO(d)).sample((2,), generator)
    shift = torch.randn(2, 1, d, dtype=torch.float64, generator=generator) * ("E" in name)
    scalar = GroupAverage(Polynomial(4 * d), name, degree=3)
    vector = GroupAverage(Polynomial(4 * d, d), name, outputs="vector", degree=3)
    y = moved(elements, x) + shift
    size = float(scalar(x).abs().max())
    assert gap(scalar(y), scalar(x)) <= 1e-12 * max(1.0, size)
    assert gap(vector(y), act(elements, vector(x), "vector")) <= 1e-12 * max(1.0, float(vector(x).abs().max()))
    low = GroupAverage(Polynomial(4 * d), name, degree=1)
    assert gap(low(y), low(x)) > 1e-6


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("reflections", [False, True])
@pytest.mark.parametrize("degree", [0, 1, 2, 3, 6])
def test_exactness(d, reflections, degree):
    """Property: the mean of irreps up to the degree is their Haar mean, and no longer one beyond it (SO)."""
    elements, weights = rotation_quadrature(d, degree, reflections)
    assert float(weights.min()) > 0
    assert abs(float(weights.sum()) - 1) <= 1e-14
    eye = torch.eye(d).double()
    assert gap(elements @ elements.transpose(1, 2), eye.expand_as(elements)) <= 1e-14
    assert bool((torch.linalg.det(elements) > 0).all()) is not reflections
    if d == 3:
        for l in range(degree + 2):
            matrices = irreps_matrix(Irreps(f"1x{l}{'eo'[l % 2]}"), elements)
            mean = torch.einsum("q,qij->ij", weights, matrices)
            if l <= degree:
                assert gap(mean, torch.ones_like(mean) * (l == 0)) <= 1e-13
            elif l % 2 == 0 or not reflections:  # odd ones vanish with the inversion in any case
                assert float(mean.abs().max()) > 1e-3
    else:
        angle = torch.atan2(elements[:, 1, 0], elements[:, 0, 0])
        for l in range(1, degree + 1):
            assert abs(float((weights * torch.cos(l * angle)).sum())) <= 1e-14
            assert abs(float((weights * torch.sin(l * angle)).sum())) <= 1e-14


def test_honest_errors():
    """Property: Monte-Carlo means deviate from the exact average by about their standard error."""
    x = cloud(1)
    exact = GroupAverage(Polynomial(12, 8), "O(3)", degree=3)(x)
    sampled = GroupAverage(Polynomial(12, 8), "O(3)", samples=200, generator=torch.Generator().manual_seed(0))
    scores = []
    for _ in range(40):
        mean, error = sampled.estimate(x)
        scores.append((mean - exact) / error)
    scores = torch.stack(scores)
    assert float(scores.abs().max()) < 5.0
    assert 0.8 < float(scores.square().mean().sqrt()) < 1.2  # a chi of 320 numbers that are not quite independent
    assert float(scores.mean().abs()) < 0.3


def test_errors_fall_like_the_square_root_of_the_samples():
    x = cloud(1)
    average = GroupAverage(Net(12, (4, 3)), "SO(3)", outputs="vector", samples=100,
                           generator=torch.Generator().manual_seed(0))  # fmt: skip
    _, few = average.estimate(x)
    _, many = average.estimate(x, samples=10000)
    ratio = few / many
    assert few.shape == (1, 4, 3)
    assert bool(((ratio > 7) & (ratio < 14)).all()), ratio


@pytest.mark.parametrize("name", ["SO(3)", "E(3)", "O(4)"])
def test_unbiased(name):
    """Property: rotated inputs have the same mean within five standard errors; without averaging they do not."""
    d = int(name[-2])
    x, generator = cloud(3, d=d), torch.Generator().manual_seed(2)
    g = (SO(d) if name == "SO(3)" else O(d)).sample((3,), generator)
    net = Net(4 * d, (d,))
    average = GroupAverage(net, name, outputs="vector", samples=2000, generator=generator)
    mean, error = average.estimate(x)
    turned, turned_error = average.estimate(moved(g, x))
    back = act(g.transpose(1, 2), turned, "vector")
    # the components of an error bar are not those of a vector: bound the rotated one by its length
    bound = 5 * (error + turned_error.square().sum(-1, keepdim=True).sqrt())
    assert bool(((back - mean).abs() < bound).all())
    assert not bool(((act(g.transpose(1, 2), net(moved(g, x)), "vector") - net(x)).abs() < bound).all())


def test_a_fixed_generator_repeats_itself():
    x = cloud()
    first, second = (
        GroupAverage(Net(12), "SO(3)", samples=5, generator=torch.Generator().manual_seed(4)) for _ in range(2)
    )
    assert torch.equal(first(x), second(x))
    assert not torch.equal(first(x), first(x))


def test_estimates_of_several_outputs():
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.sum((1, 2)), x[:, 0]

    class Named(Two):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return dict(zip(("energy", "dipole"), super().forward(x), strict=True))

    x = cloud()
    means, errors = GroupAverage(Two(), "SO(3)", outputs=("scalar", "vector"), samples=9).estimate(x)
    assert [m.shape for m in means] == [e.shape for e in errors] == [(2,), (2, 3)]
    assert gap(means[1], x[:, 0]) <= 1e-12
    assert float(errors[1].max()) <= 1e-12
    mean, error = GroupAverage(Named(), "T", outputs={"energy": "scalar", "dipole": "vector"}).estimate(x)
    assert set(mean) == set(error) == {"energy", "dipole"}
    assert float(error["energy"].abs().max()) == 0.0


def test_permutations_of_few_nodes():
    """S_n acts on node features and on adjacency matrices."""
    nodes, edges = cloud(2, 4, 2), cloud(2, 4, 4, seed=1)

    class OnBoth(Net):
        def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
            return super().forward(torch.cat([nodes.flatten(1), edges.flatten(1)], 1))

    invariant = GroupAverage(OnBoth(24), "S_4", inputs=("nodes", "edges"))
    equivariant = GroupAverage(OnBoth(24, (4, 3)), "S_4", inputs=("nodes", "edges"), outputs="nodes")
    for h in symmetric_group(4)[[5, 11, 23]]:
        h = h.expand(2, 4, 4)
        turned = act_on_nodes(h, nodes), act_on_edges(h, edges)
        assert gap(invariant(*turned), invariant(nodes, edges)) <= 1e-12
        assert gap(equivariant(*turned), act_on_nodes(h, equivariant(nodes, edges))) <= 1e-12
    assert len(symmetric_group(5)) == 120


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes_empty_batches_and_strides(dtype):
    x = cloud().to(dtype)
    for average in (
        GroupAverage(Net(12), "Th"),
        GroupAverage(Net(12), "E(3)", degree=2),
        GroupAverage(Net(12), "SO(3)", samples=4),
    ):
        average = average.to(dtype)
        assert average(x).dtype == dtype
        assert average(x[:0]).shape == (0, 2)
        assert not average.state_dict().keys() - {f"net.{name}" for name in average.net.state_dict()}
    strided = cloud(2, 3, 4).transpose(1, 2).to(dtype)
    average = GroupAverage(Net(12), "Th").to(dtype)
    assert gap(average(strided), average(strided.contiguous())) <= 1e-6
    assert GroupAverage(Net(3), "Th").to(dtype)(x[:, :1]).shape == (2, 2)


def test_tables_stay_exact_through_single_precision():
    x = cloud()
    for average in (GroupAverage(Polynomial(12), "SO(3)", degree=3), GroupAverage(Net(12), "I")):
        wanted, g = average(x), finite_group("I")[17].expand(2, 3, 3)
        average = average.float().double()
        assert gap(average(moved(g, x)), average(x)) <= 1e-12 * max(1.0, float(wanted.detach().abs().max()))


def test_derivatives():
    x = cloud(1, 3).requires_grad_()
    for average in (GroupAverage(Net(9), "T"), GroupAverage(Net(9, (3,)), "E(3)", degree=1, outputs="points")):
        assert torch.autograd.gradcheck(average, x)
        assert torch.autograd.gradgradcheck(average, x)


def test_mistakes_are_named():
    net = Net(12)
    with pytest.raises(ConfigError, match="samples="):
        GroupAverage(net, "SO(3)")
    with pytest.raises(ConfigError, match="not both"):
        GroupAverage(net, "SO(3)", samples=3, degree=2)
    with pytest.raises(ConfigError, match="finite"):
        GroupAverage(net, "Oh", samples=3)
    with pytest.raises(ConfigError, match="at least 1"):
        GroupAverage(net, "SO(3)", samples=0)
    with pytest.raises(ConfigError, match="d = 2 and 3"):
        GroupAverage(net, "SO(4)", degree=2)
    with pytest.raises(UnknownNameError):
        GroupAverage(net, "octahedral")
    with pytest.raises(ShapeError, match=r"\[G, d, d\]"):
        GroupAverage(net, torch.eye(3))
    with pytest.raises(ShapeError, match="not closed"):
        GroupAverage(net, random_orthogonal((4,)))
    with pytest.raises(ConfigError, match="1 to 7"):
        GroupAverage(net, "S_20")
    with pytest.raises(ConfigError, match="at least 2 samples"):
        GroupAverage(net, "SO(3)", samples=1).estimate(cloud())
    with pytest.raises(ShapeError, match="at least one point"):
        GroupAverage(net, "E(3)", samples=1)(cloud(), mask=torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(ShapeError, match="1 inputs"):
        GroupAverage(net, "T").estimate(cloud(), cloud())

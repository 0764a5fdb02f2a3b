"""Convolutions over ℝⁿ⋊H: exact equivariance for elements of the grid, Monte-Carlo, masks, samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, UnknownNameError
from equitools.nn import (
    GroupSamples,
    PolarChart,
    PolarSampler,
    closed_samples,
    group_pool,
)
from equitools.nn.lie_conv import LieFibreConv, LieGroupConv, LieLiftingConv, support_mask
from equitools.nn.lie_samples import check_samples

GROUPS = ["SO(2)", "SIM(2)", "SL(2)", "GL+(2)", "SO(3)", "SIM(3)", "SL(3)", "GL+(3)"]
DIMS = {"SO(2)": 1, "SIM(2)": 2, "SL(2)": 3, "GL+(2)": 4, "SO(3)": 3, "SIM(3)": 4, "SL(3)": 8, "GL+(3)": 9}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def turned(x: Tensor, quarters: int) -> Tensor:
    """Return (L_h x)(t) = x(h⁻¹ t) for the turn h by quarters from x (to the right) towards y (downwards)."""
    return torch.rot90(x, -quarters, (-2, -1))


# ---- chart and samples ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GROUPS)
def test_chart_round_trip(name: str) -> None:
    chart = PolarChart(name)
    assert chart.dim == DIMS[name]
    x = 0.7 * torch.randn(20, chart.dim, generator=generator(0), dtype=torch.float64)
    g = chart.inverse(x)
    torch.testing.assert_close(chart.coordinates(g), x, atol=1e-10, rtol=0)
    if chart.volume_preserving:
        torch.testing.assert_close(torch.linalg.det(g), torch.ones(20, dtype=torch.float64))
    torch.testing.assert_close(chart.coordinates(torch.eye(chart.n).expand(2, -1, -1)), torch.zeros(2, chart.dim))


def test_coordinates_are_those_of_the_definition() -> None:
    from scipy.linalg import logm, polar

    chart = PolarChart("GL+(2)")
    g = torch.tensor([[1.3, -0.4], [0.7, 0.9]], dtype=torch.float64)
    k, p = polar(g.numpy(), side="left")
    log_p, log_k = torch.from_numpy(logm(p)), torch.from_numpy(logm(k))
    expected = [log_p[0, 1], (log_p[0, 0] - log_p[1, 1]) / 2, (log_p[0, 0] + log_p[1, 1]) / 2, log_k[1, 0]]
    torch.testing.assert_close(chart.coordinates(g), torch.stack(expected))


def test_angles_are_wrapped() -> None:
    chart = PolarChart("SO(2)")
    for angle in (-3.1, -1e-6, 0.0, 1e-6, 3.1):
        g = chart.inverse(torch.tensor([angle + 2 * math.pi], dtype=torch.float64))
        assert float(chart.coordinates(g)) == pytest.approx(angle, abs=1e-12)
    half = PolarSampler("GL+(2)", 0.5).draw(50, generator(0), torch.float64).elements
    half = torch.linalg.inv(half) @ -half  # −1, up to rounding
    angle = PolarChart("GL+(2)").coordinates(half)[:, -1]
    torch.testing.assert_close(angle, torch.full((50,), math.pi, dtype=torch.float64))


@pytest.mark.parametrize("estimator", ["log_normal", "weighted"])
@pytest.mark.parametrize("name", GROUPS)
def test_samples_are_elements(name: str, estimator: str) -> None:
    sampler = PolarSampler(name, 0.5, estimator=estimator)
    for samples in (sampler.draw(12, generator(1), torch.float64), sampler.quadrature(12, torch.float64)):
        check_samples(samples, sampler.chart)
        assert float(samples.weights.mean()) == pytest.approx(1)
        back = sampler.chart.inverse(sampler.chart.coordinates(samples.elements))
        torch.testing.assert_close(back, samples.elements, atol=1e-9, rtol=0)
    assert sampler.draw(3, generator(1)).elements.dtype == torch.float32
    torch.testing.assert_close(sampler.quadrature(5).elements, sampler.quadrature(5).elements, atol=0, rtol=0)
    first, second = (sampler.draw(5, generator(7)).elements for _ in range(2))
    torch.testing.assert_close(first, second, atol=0, rtol=0)


def test_log_normal_has_the_stated_spread() -> None:
    sampler = PolarSampler("GL+(2)", 0.4, angle=1.0)
    x = sampler.chart.coordinates(sampler.draw(20_000, generator(2), torch.float64).elements)
    torch.testing.assert_close(x[:, :3].std(0), torch.full((3,), 0.4, dtype=torch.float64), atol=0.01, rtol=0)
    torch.testing.assert_close(x[:, :3].mean(0), torch.zeros(3, dtype=torch.float64), atol=0.01, rtol=0)
    assert float(x[:, 3].abs().max()) <= 1.0
    assert float(x[:, 3].std()) == pytest.approx(1 / math.sqrt(3), abs=1e-3)
    weighted = PolarSampler("GL+(2)", 0.4, estimator="weighted")
    ball = weighted.chart.coordinates(weighted.draw(20_000, generator(3), torch.float64).elements)[:, :3]
    assert float(ball.norm(dim=1).max()) <= 0.4 * math.sqrt(5)
    torch.testing.assert_close(ball.std(0), torch.full((3,), 0.4, dtype=torch.float64), atol=0.01, rtol=0)


@pytest.mark.parametrize("draw", [PolarSampler.draw, PolarSampler.quadrature])
def test_weights_are_of_the_invariant_measure(draw: Callable[..., GroupSamples]) -> None:
    # ∫ f(h g) dg = ∫ f(g) dg: f is inside of the ball for every h that is tried, and h is near 1
    sampler = PolarSampler("SL(2)", 1.0, estimator="weighted")
    torch.manual_seed(0)
    samples = draw(sampler, 100_000, dtype=torch.float64)
    centre = torch.tensor([0.6, -0.2, 0.3], dtype=torch.float64)

    def mean(h: Tensor, weights: Tensor) -> float:
        x = sampler.chart.coordinates(h @ samples.elements)
        return float((weights * (-4 * (x - centre).square().sum(-1)).exp()).mean())

    h = sampler.chart.inverse(torch.tensor([0.5, 0.1, 0.2], dtype=torch.float64))
    one = torch.eye(2, dtype=torch.float64)
    assert mean(h, samples.weights) == pytest.approx(mean(one, samples.weights), rel=0.06)
    flat = torch.ones_like(samples.weights)
    assert abs(mean(h, flat) / mean(one, flat) - 1) > 0.1  # without the weights it is another integral


def test_stratified_angles_are_equispaced() -> None:
    sampler = PolarSampler("SO(2)")
    angle = sampler.chart.coordinates(sampler.draw(6, generator(4), torch.float64).elements)[:, 0].sort().values
    torch.testing.assert_close(angle.diff(), torch.full((5,), math.pi / 3, dtype=torch.float64))
    free = PolarSampler("SO(2)", stratified=False)
    gaps = free.chart.coordinates(free.draw(6, generator(4), torch.float64).elements)[:, 0].sort().values.diff()
    assert float(gaps.std()) > 0.1


def test_closed() -> None:
    elements = closed_samples(6, torch.float64).elements
    products = (elements[:, None] @ elements[None]).flatten(0, 1)
    assert float((products[:, None] - elements).abs().amax((-1, -2)).amin(1).max()) < 1e-12


def test_wrong_samples() -> None:
    chart = PolarChart("SL(2)")
    eye = torch.eye(2).expand(3, 2, 2)
    for elements, weights in [
        (eye[:0], torch.ones(0)), (eye, torch.ones(2)), (torch.eye(3)[None], torch.ones(1)), (2 * eye, torch.ones(3)),
        (0 * eye, torch.ones(3)), (eye * torch.tensor([1.0, -1.0]), torch.ones(3)), (eye / 0, torch.ones(3)),
    ]:  # fmt: skip
        with pytest.raises(ShapeError):
            check_samples(GroupSamples(elements, weights), chart)
    with pytest.raises(UnknownNameError, match="Did you mean"):
        PolarChart("GL(2)")
    with pytest.raises(UnknownNameError, match="weighted"):
        PolarSampler("SO(2)", estimator="weigted")
    for wrong in ({"spread": -1.0}, {"angle": 4.0}, {"spread": math.nan}):
        with pytest.raises(ConfigError):
            PolarSampler("GL+(2)", **wrong)
    with pytest.raises(ConfigError, match="three dimensions"):
        PolarSampler("GL+(3)", angle=1.0)
    for count in (0, 2.0, True):
        with pytest.raises(ConfigError):
            PolarSampler("SO(2)").draw(count)  # type: ignore[arg-type]


# ---- layers ---------------------------------------------------------------------------------------------------------


def permutation(samples: GroupSamples, quarters: int) -> Tensor:
    """Return the index q with h⁻¹ g_i = g_q[i]: where the moved feature at g_i comes from."""
    h = closed_samples(4, torch.float64).elements[quarters]
    distance = ((h.T @ samples.elements)[:, None] - samples.elements).abs().amax((-1, -2))
    assert float(distance.amin(1).max()) < 1e-12
    return distance.argmin(1)


@pytest.mark.parametrize("kernel", ["siren", "spline"])
@pytest.mark.parametrize("group", ["SO(2)", "SIM(2)", "SL(2)", "GL+(2)"])
def test_lifting_equivariance(group: str, kernel: str) -> None:
    torch.manual_seed(0)
    layer = LieLiftingConv(group, 2, 3, 5, padding=1, hidden=8, kernel=kernel).double()
    samples = closed_samples(4, torch.float64)
    x = torch.randn(2, 2, 9, 9, dtype=torch.float64)
    out = layer(x, samples)
    assert out.shape == (2, 3, 4, 7, 7)
    for quarters in (1, 2, 3):
        moved = turned(out[:, :, permutation(samples, quarters)], quarters)
        torch.testing.assert_close(layer(turned(x, quarters), samples), moved, atol=1e-12, rtol=0)
    assert float((layer(turned(x, 1), samples) - out).detach().abs().max()) > 1e-2  # a wrong permutation would be seen


@pytest.mark.parametrize("group", ["SO(2)", "SIM(2)", "SL(2)", "GL+(2)"])
@pytest.mark.parametrize("kernel_size", [1, 4])
def test_group_equivariance(group: str, kernel_size: int) -> None:
    torch.manual_seed(1)
    # stretches times the four turns, closed from the left: h⁻¹ (k p) = (h⁻¹ k) p
    count = 1 if group == "SO(2)" else 2
    stretch = PolarSampler(group, 0.3).draw(count, generator(0), torch.float64).elements
    stretch = stretch @ torch.linalg.inv(PolarChart("SO(2)").rotations.project(stretch))
    elements = (closed_samples(4, torch.float64).elements[:, None] @ stretch).flatten(0, 1)
    samples = GroupSamples(elements, 0.5 + torch.rand(count, generator=generator(2), dtype=torch.float64).repeat(4))
    layer = LieGroupConv(group, 2, 3, kernel_size, hidden=8, group_omega=2.0).double()
    x = torch.randn(2, 2, 4 * count, 8, 8, dtype=torch.float64)
    out = layer(x, samples)
    for quarters in (1, 2, 3):
        q = permutation(samples, quarters)
        torch.testing.assert_close(
            layer(turned(x[:, :, q], quarters), samples), turned(out[:, :, q], quarters), atol=1e-12, rtol=0
        )


@pytest.mark.parametrize("kernel", ["siren", "spline"])
def test_fibre_equivariance(kernel: str) -> None:
    torch.manual_seed(1)
    stretch = PolarSampler("GL+(2)", 0.3).draw(2, generator(0), torch.float64).elements
    elements = (closed_samples(4, torch.float64).elements[:, None] @ stretch).flatten(0, 1)
    samples = GroupSamples(elements, torch.ones(8, dtype=torch.float64))
    layer = LieFibreConv("GL+(2)", 2, 3, 5, padding=2, hidden=6, kernel=kernel, padding_mode="replicate").double()
    x = torch.randn(2, 2, 8, 7, 7, dtype=torch.float64)
    out = layer(x, samples)
    for quarters in (1, 2, 3):
        q = permutation(samples, quarters)
        torch.testing.assert_close(
            layer(turned(x[:, :, q], quarters), samples), turned(out[:, :, q], quarters), atol=1e-12, rtol=0
        )
    # each element on its own is a lifting convolution of as many channels
    lift = LieLiftingConv("GL+(2)", 2, 3, 5, padding=2, hidden=6, kernel=kernel, padding_mode="replicate").double()
    lift.load_state_dict(layer.state_dict())
    for s in range(8):
        one = GroupSamples(elements[s : s + 1], samples.weights[:1])
        torch.testing.assert_close(out[:, :, s], lift(x[:, :, s], one)[:, :, 0])
    with pytest.raises(ShapeError, match="at 8 samples, not 1"):
        layer(x, one)
    with pytest.raises(UnknownNameError, match="spline"):
        LieFibreConv("SO(2)", 1, 1, kernel="splime")


def test_group_convolution_is_its_sum() -> None:
    torch.manual_seed(2)
    layer = LieGroupConv("GL+(2)", 1, 1, 3, radius=2.0, hidden=4, mask="soft", slope=3.0).double()
    sampler = PolarSampler("GL+(2)", 0.3, estimator="weighted")
    inputs, outputs = sampler.draw(3, generator(3), torch.float64), sampler.draw(2, generator(4), torch.float64)
    x = torch.randn(1, 1, 3, 5, 5, dtype=torch.float64)
    out = layer(x, inputs, outputs)
    g = outputs.elements[1]
    total = torch.zeros(1, dtype=torch.float64)
    for s in range(3):
        xi = layer.chart.coordinates(torch.linalg.inv(g) @ inputs.elements[s])
        for i in range(3):
            for j in range(3):
                y = torch.linalg.inv(g) @ torch.tensor([j - 1.0, i - 1.0], dtype=torch.float64) / 2
                point = torch.cat([y, xi])
                kernel = layer.kernel(point) * torch.sigmoid(3 * (1 - point.norm()))
                total += (
                    kernel * inputs.weights[s] / 3 / torch.linalg.det(inputs.elements[s]) * x[0, 0, s, 1 + i, 2 + j]
                )
    assert float(out[0, 0, 1, 1, 2].detach()) == pytest.approx(float(total.detach()), abs=1e-12)


def test_mean_over_samples() -> None:
    torch.manual_seed(3)
    layer = LieGroupConv("SL(2)", 2, 2, 3, hidden=4).double()
    samples = PolarSampler("SL(2)", 0.4).draw(3, generator(5), torch.float64)
    twice = GroupSamples(*(part.repeat(2, *[1] * (part.ndim - 1)) for part in samples))
    x = torch.randn(1, 2, 3, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x.repeat(1, 1, 2, 1, 1), twice, samples), layer(x, samples))


def test_determinants_keep_smooth_features_as_large() -> None:
    # A constant image has the same lifted features at all scales as long as the window holds the kernel.
    torch.manual_seed(4)
    layer = LieLiftingConv("SIM(2)", 1, 4, 41, radius=8.0, mask="hard", hidden=8, omega=3.0, bias=False).double()
    elements = torch.stack([s * torch.eye(2, dtype=torch.float64) for s in (0.9, 1.0, 1.7, 2.2)])
    out = layer(torch.ones(1, 1, 41, 41, dtype=torch.float64), GroupSamples(elements, torch.ones(4).double()))
    out = out[0, :, :, 0, 0].detach()
    assert float(((out - out[:, 1:2]).abs() / out.abs().amax()).max()) < 0.03


def test_monte_carlo_error_falls_with_the_number_of_samples() -> None:
    torch.manual_seed(5)
    lift = LieLiftingConv("SO(2)", 1, 3, 5, hidden=8, omega=5.0).double()
    conv = LieGroupConv("SO(2)", 3, 4, 3, hidden=8, omega=5.0, group_omega=0.5).double()
    sampler = PolarSampler("SO(2)", stratified=False)
    image = torch.randn(1, 1, 9, 9, dtype=torch.float64)

    def invariant(count: int, seed: int) -> Tensor:
        samples = sampler.draw(count, generator(seed), torch.float64)
        return group_pool(torch.tanh(conv(lift(image, samples), samples)), "mean")

    spread = [
        float(torch.cat([invariant(count, seed) for seed in range(30)]).detach().std(0).mean()) for count in (4, 16, 64)
    ]
    slopes = [math.log(a / b) / math.log(4) for a, b in itertools.pairwise(spread)]
    assert all(0.3 < slope < 0.8 for slope in slopes)  # like 1/√S


def test_three_dimensions() -> None:
    torch.manual_seed(6)
    samples = PolarSampler("GL+(3)", 0.2).draw(3, generator(6), torch.float64)
    lift, conv = (
        LieLiftingConv("GL+(3)", 1, 2, 3, hidden=4).double(),
        LieGroupConv("GL+(3)", 2, 2, 3, hidden=4).double(),
    )
    x = torch.randn(1, 1, 7, 7, 7, dtype=torch.float64)
    assert conv(lift(x, samples), samples).shape == (1, 2, 3, 3, 3, 3)
    quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    orbit = torch.stack([torch.linalg.matrix_power(quarter[0], k) for k in range(4)])
    turns = GroupSamples(orbit, torch.ones(4, dtype=torch.float64))
    out = conv(lift(x, turns), turns)
    q = torch.cdist((quarter[0].T @ orbit).flatten(1), orbit.flatten(1)).argmin(1)
    torch.testing.assert_close(conv(lift(turned(x, 1), turns), turns), turned(out[:, :, q], 1), atol=1e-12, rtol=0)


def test_gradients() -> None:
    torch.manual_seed(7)
    samples = PolarSampler("GL+(2)", 0.3).draw(2, generator(7), torch.float64)
    lift, conv = (
        LieLiftingConv("GL+(2)", 1, 1, 3, hidden=3).double(),
        LieGroupConv("GL+(2)", 1, 1, 2, hidden=3).double(),
    )
    x = torch.randn(1, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: conv(lift(x, samples), samples), (x,))
    assert torch.autograd.gradgradcheck(lambda x: conv(lift(x, samples), samples).sin(), (x,))
    conv(lift(x, samples), samples).square().sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for m in (lift, conv) for p in m.parameters())


def test_empty_batch_strides_and_dtypes() -> None:
    samples = closed_samples(3)
    lift, conv = LieLiftingConv("SO(2)", 1, 2, 3, hidden=4), LieGroupConv("SO(2)", 2, 2, 3, hidden=4)
    assert conv(lift(torch.zeros(0, 1, 8, 8), samples), samples).shape == (0, 2, 3, 4, 4)
    x = torch.randn(8, 8, 1, 2).permute(3, 2, 0, 1)
    torch.testing.assert_close(lift(x, samples), lift(x.contiguous(), samples))
    lift64 = LieLiftingConv("SO(2)", 1, 2, 3, hidden=4).double()
    lift64.load_state_dict(lift.state_dict())
    torch.testing.assert_close(lift64(x.double(), closed_samples(3, torch.float64)).float(), lift(x, samples))


def test_strides_leave_every_second_position() -> None:
    torch.manual_seed(8)
    samples = closed_samples(4, torch.float64)
    for kind, shape in ((LieLiftingConv, (1, 2, 9, 9)), (LieGroupConv, (1, 2, 4, 9, 9))):
        full = kind("SL(2)", 2, 3, 3, padding=1, hidden=4).double()
        half = kind("SL(2)", 2, 3, 3, padding=1, hidden=4, stride=2).double()
        half.load_state_dict(full.state_dict())
        x = torch.randn(shape, dtype=torch.float64)
        torch.testing.assert_close(half(x, samples), full(x, samples)[..., ::2, ::2])


def test_replicated_borders_are_those_of_a_larger_image() -> None:
    torch.manual_seed(9)
    samples = closed_samples(3, torch.float64)
    layer = LieGroupConv("SO(2)", 2, 2, 5, padding=2, hidden=4, padding_mode="replicate").double()
    inner = LieGroupConv("SO(2)", 2, 2, 5, hidden=4).double()
    inner.load_state_dict(layer.state_dict())
    x = torch.full((1, 2, 3, 12, 12), 0.7, dtype=torch.float64)
    x[..., 4:8, 4:8] = torch.rand(1, 2, 3, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(layer(x[..., 2:-2, 2:-2], samples), inner(x, samples))
    assert layer(x[:0], samples).shape == (0, 2, 3, 12, 12)
    with pytest.raises(UnknownNameError, match="replicate"):
        LieGroupConv("SO(2)", 1, 1, padding_mode="mirror")


# ---- masks and pooling ----------------------------------------------------------------------------------------------


def test_mask_is_radial() -> None:
    angle = torch.linspace(0, 6, 7, dtype=torch.float64)
    for kind in ("hard", "soft", "none"):
        for radius in (0.2, 0.99, 1.01, 2.0):
            values = support_mask(radius * torch.stack([angle.cos(), angle.sin()], -1), kind)
            torch.testing.assert_close(values, values[:1].expand(7))
            expected = {"hard": float(radius <= 1), "soft": 1 / (1 + math.exp(-2 * (1 - radius))), "none": 1.0}[kind]
            assert float(values[0]) == pytest.approx(expected)
    with pytest.raises(UnknownNameError, match="hard"):
        support_mask(torch.zeros(1, 2), "hrad")


def test_automatic_masks() -> None:
    kinds = {name: LieLiftingConv(name, 1, 1).mask for name in ("SO(2)", "SL(2)", "SIM(2)", "GL+(2)")}
    assert kinds == {"SO(2)": "hard", "SL(2)": "hard", "SIM(2)": "soft", "GL+(2)": "soft"}


def test_pool_invariance() -> None:
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    weights = torch.rand(4, dtype=torch.float64)
    order = torch.tensor([2, 0, 3, 1])
    for kind, of_samples in (("max", None), ("mean", None), ("mean", weights)):
        out = group_pool(x, kind, of_samples)
        assert out.shape == (2, 3)
        torch.testing.assert_close(out, group_pool(x.roll((1, 2), (3, 4)), kind, of_samples))
        permuted = None if of_samples is None else of_samples[order]
        torch.testing.assert_close(out, group_pool(x[:, :, order], kind, permuted))
    torch.testing.assert_close(group_pool(x, "mean", torch.ones(4).double()), group_pool(x, "mean"))
    with pytest.raises(UnknownNameError):
        group_pool(x, "sum")
    with pytest.raises(ShapeError):
        group_pool(x[0, 0])
    with pytest.raises(ShapeError):
        group_pool(x, "mean", weights[:2])


def test_wrong_input() -> None:
    samples = closed_samples(4)
    lift, conv = LieLiftingConv("SO(2)", 1, 2, 3), LieGroupConv("SO(2)", 2, 2, 3)
    for x in (torch.zeros(1, 2, 8, 8), torch.zeros(1, 8, 8), torch.zeros(1, 1, 8, 8).double(), torch.zeros(1, 1, 2, 8)):
        with pytest.raises(ShapeError):
            lift(x, samples)
    for x in (torch.zeros(1, 2, 3, 8, 8), torch.zeros(1, 2, 8, 8), torch.zeros(1, 1, 4, 8, 8)):
        with pytest.raises(ShapeError):
            conv(x, samples)
    for wrong in ({"kernel_size": 0}, {"padding": -1}, {"radius": 0.0}, {"slope": math.inf}, {"in_channels": True}):
        with pytest.raises(ConfigError):
            LieLiftingConv(**({"group": "SO(2)", "in_channels": 1, "out_channels": 1} | wrong))  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError):
        LieGroupConv("SO(2)", 1, 1, mask="circle")

"""The classifier over ℝⁿ⋊H: exact and approximate invariance, samples, the plain network beside it."""

from __future__ import annotations

import math

import pytest
import torch

from equitools.errors import ConfigError, ShapeError, UnknownNameError
from equitools.models.images import ConvClassifier, LieClassifier, matched_cnn, num_parameters
from equitools.nn import closed_samples

SMALL = {
    "classes": 3, "width": 3, "stem_kernel": 3, "stem_radius": 1.5, "stem_stride": 1, "stem_padding": 0, "pools": 2,
    "kernel": 3, "radius": 1.5, "hidden": 6, "head": 8, "samples": 3, "along": "conv", "kernels": "siren",
}  # fmt: skip


def build(**changes: object) -> LieClassifier:
    torch.manual_seed(0)
    net = LieClassifier(**(SMALL | {"eval_samples": 4} | changes)).double()  # type: ignore[arg-type]
    for norm in (net.stem_norm, *net.norms):  # statistics of no data would hide what they do
        norm.running_mean.uniform_(-0.1, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    return net.eval()


@pytest.mark.parametrize(
    ("pool", "pooling", "along", "kernels"),
    [("max", "mean", "conv", "siren"), ("mean", "max", "none", "spline"), ("max", "mean", "none", "siren")],
)
@pytest.mark.parametrize("group", ["SO(2)", "SIM(2)", "SL(2)", "GL+(2)"])
def test_turns_of_the_grid_change_nothing(group: str, pool: str, pooling: str, along: str, kernels: str) -> None:
    net = build(group=group, pool=pool, pooling=pooling, along=along, kernels=kernels, eval_samples=5)
    images = torch.randn(2, 1, 18, 18, dtype=torch.float64)  # 16, 8 and 4 positions are left
    samples = closed_samples(4, torch.float64)
    out = net(images, samples)
    for quarters in (1, 2, 3):
        turned = torch.rot90(images, quarters, (2, 3))
        torch.testing.assert_close(net(turned, samples), out, atol=1e-11, rtol=0)
        assert float((net(turned, samples) - net(turned)).detach().abs().max()) > 1e-6


def test_monte_carlo_invariance_error_falls() -> None:
    net = build(group="SO(2)", pool="mean", group_omega=0.5, omega=4.0, conv_omega=4.0, pools=0, width=4)
    image = torch.randn(1, 1, 12, 12, dtype=torch.float64)
    turned = torch.rot90(image, 1, (2, 3))

    def error(count: int) -> float:
        net.sampler.stratified = False
        found = []
        for seed in range(12):
            first, second = (
                net.sampler.draw(count, torch.Generator().manual_seed(10 * seed + k), torch.float64) for k in (1, 2)
            )
            with torch.no_grad():
                found.append((net(image, first) - net(turned, second)).square().mean())
        return float(torch.stack(found).mean().sqrt())

    errors = [error(count) for count in (3, 12, 48)]
    assert errors[0] > 1.4 * errors[1] > 1.96 * errors[2]


def test_evaluation_is_deterministic() -> None:
    images = torch.randn(2, 1, 18, 18, dtype=torch.float64)
    net = build()
    assert torch.equal(net(images), net(images))
    again = build(evaluation="random")
    again.load_state_dict(net.state_dict())
    assert float((again(images) - again(images)).detach().abs().max()) > 1e-9
    net.train()
    assert len(net.draw().elements) == 3
    assert not torch.equal(net.draw().elements, net.draw().elements)
    first, second = (net.draw(torch.Generator().manual_seed(1)).elements for _ in range(2))
    assert torch.equal(first, second)
    assert len(net.eval().draw().elements) == 4


def test_training_reaches_all_parameters() -> None:
    net = build().train()
    net(torch.randn(4, 1, 18, 18, dtype=torch.float64)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


@pytest.mark.parametrize("kind", ["lie", "plain"])
def test_translations_of_what_has_an_empty_border_change_nothing(kind: str) -> None:
    sizes = {"stem_padding": 6, "stem_stride": 2, "pools": 1, "stem_kernel": 5, "kernel": 3}
    if kind == "lie":
        net: torch.nn.Module = build(group="GL+(2)", **sizes)
    else:
        torch.manual_seed(2)
        net = ConvClassifier(3, width=4, **sizes).double().eval()  # type: ignore[arg-type]
    images = torch.zeros(2, 1, 40, 40, dtype=torch.float64)
    images[..., 12:21, 14:22] = torch.rand(2, 1, 9, 8, dtype=torch.float64)
    for rows, columns in ((4, 0), (0, 4), (8, 8), (8, -4)):  # stride times pooling
        moved = images.roll((rows, columns), (2, 3))
        torch.testing.assert_close(net(moved), net(images), atol=1e-11, rtol=0)


@pytest.mark.parametrize("pool", ["max", "mean"])
@pytest.mark.parametrize("kind", ["lie", "plain"])
def test_shifts_change_nothing(kind: str, pool: str) -> None:
    """By any number of whole pixels, with all lattices; without, not by odd ones."""
    sizes = {"stem_padding": 6, "stem_stride": 1, "pools": 1, "stem_kernel": 5, "kernel": 3, "pool": pool}
    if kind == "lie":
        net: torch.nn.Module = build(group="GL+(2)", **sizes)
    else:
        torch.manual_seed(2)
        net = ConvClassifier(3, width=4, **sizes).double().eval()  # type: ignore[arg-type]
    images = torch.zeros(2, 1, 32, 32, dtype=torch.float64)
    images[..., 12:21, 14:22] = torch.rand(2, 1, 9, 8, dtype=torch.float64)
    for rows, columns in ((1, 0), (0, 3), (3, -5), (2, 2)):
        moved = images.roll((rows, columns), (2, 3))
        net.all_lattices = False
        same = float((net(moved) - net(images)).detach().abs().max()) < 1e-11
        assert same == (rows % 2 == columns % 2 == 0)
        net.all_lattices = True
        torch.testing.assert_close(net(moved), net(images), atol=1e-11, rtol=0)
    single = net.train()(images)  # in training there is one lattice
    assert single.shape == (2, 3)


@pytest.mark.parametrize("network", [LieClassifier, ConvClassifier])
def test_empty_pixels_in_evaluation(network: type[torch.nn.Module]) -> None:
    nets = []
    for eval_padding in (None, 10):
        torch.manual_seed(3)
        nets.append(network(width=3, stem_padding=6, eval_padding=eval_padding).double().eval())
    images = torch.rand(2, 1, 20, 20, dtype=torch.float64)
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    torch.testing.assert_close(nets[1](images), nets[0](padded))
    assert float((nets[1](images) - nets[0](images)).detach().abs().max()) > 1e-6  # the border is full here
    with pytest.raises(ConfigError, match="eval_padding"):
        network(stem_padding=6, eval_padding=5)


def test_three_dimensions() -> None:
    net = build(group="SO(3)", pools=1, blocks=1)
    assert net(torch.randn(2, 1, 10, 10, 10, dtype=torch.float64)).shape == (2, 3)


def test_empty_batch_and_single_precision() -> None:
    net = build().float()
    assert net(torch.zeros(0, 1, 18, 18)).shape == (0, 3)
    images = torch.randn(2, 18, 18, 1).permute(0, 3, 1, 2)
    torch.testing.assert_close(net(images), net(images.contiguous()))
    torch.testing.assert_close(net.double()(images.double()).float(), net.float()(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("group", ["SO(2)", "GL+(2)"])
def test_parameters_are_matched(group: str) -> None:
    wanted = num_parameters(LieClassifier(group=group))
    net = matched_cnn(wanted, kernel=5, head=32)
    assert abs(num_parameters(net) / wanted - 1) <= 0.02
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    with pytest.raises(ConfigError, match="within 2 %"):
        matched_cnn(20)


def test_plain_network_is_not_invariant() -> None:
    torch.manual_seed(1)
    net = ConvClassifier(3, width=4, stem_kernel=3, stem_stride=1, kernel=3).double().eval()
    images = torch.randn(2, 1, 18, 18, dtype=torch.float64)
    assert float((net(images) - net(torch.rot90(images, 1, (2, 3)))).detach().abs().max()) > 1e-3


def test_wrong_configurations() -> None:
    for wrong in ({"classes": 0}, {"blocks": -1}, {"samples": 0}, {"dropout": 1.0}, {"spread": math.inf}):
        with pytest.raises(ConfigError):
            LieClassifier(**wrong)  # type: ignore[arg-type]
    for wrong in (
        {"pool": "sum"},
        {"evaluation": "none"},
        {"group": "E(2)"},
        {"estimator": "haar"},
        {"mask": "x"},
        {"pooling": "sum"},
        {"along": "x"},
        {"kernels": "x"},
    ):
        with pytest.raises(UnknownNameError):
            LieClassifier(**wrong)  # type: ignore[arg-type]
    for wrong in ({"width": 0}, {"head": True}, {"dropout": -0.1}):
        with pytest.raises(ConfigError):
            ConvClassifier(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="zeros"):
        ConvClassifier(padding_mode="zero")
    with pytest.raises(ShapeError, match="nothing left"):
        build()(torch.zeros(1, 1, 5, 5, dtype=torch.float64))
    with pytest.raises(ShapeError, match="images"):
        build()(torch.zeros(1, 2, 18, 18, dtype=torch.float64))
    with pytest.raises(ShapeError, match="Images"):
        ConvClassifier()(torch.zeros(1, 2, 28, 28))

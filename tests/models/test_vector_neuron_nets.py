"""Vector-neuron networks on clouds: exact equivariance, permutations, masks, features, and what symmetry forbids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups import O, parse_group
from equitools.models import VNDeepSets, VNInvariantHead, VNPointNet

B, N = 3, 9
Net = VNDeepSets | VNPointNet
NETS: dict[str, Callable[..., Net]] = {
    "deep_sets": lambda group, **k: VNDeepSets(2, group, hidden=6, layers=2, **k),
    "deep_sets_max": lambda group, **k: VNDeepSets(2, group, hidden=6, layers=2, pool="max", norm=False, **k),
    "point_net": lambda group, **k: VNPointNet(2, group, hidden=6, neighbours=4, **k),
    "point_net_max": lambda group, **k: VNPointNet(2, group, hidden=6, neighbours=4, pool="max", dropout=0.3, **k),
    "deep_sets_moments": lambda group, **k: VNDeepSets(2, group, hidden=6, layers=2, moments=2, **k),
    "deep_sets_axes": lambda group, **k: VNDeepSets(2, group, hidden=6, layers=2, principal=True, **k),
}


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(name: str, group: str = "O(3)", training: bool = False, **options: Any) -> Net:
    torch.manual_seed(0)
    return NETS[name](group, **options).double().train(training)


def inputs(d: int) -> dict[str, Tensor]:
    return {"points": random(1, B, N, d), "features": random(2, B, N, 2), "vectors": random(3, B, N, 1, d)}


def seeded(net: torch.nn.Module, *args: Any, **kwargs: Any) -> Tensor:
    torch.manual_seed(7)
    return net(*args, **kwargs)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("group", ["O(2)", "O(3)", "SO(3)", "O(4)", "E(3)", "SE(3)"])
@pytest.mark.parametrize("name", NETS)
def test_equivariance(name: str, group: str, training: bool) -> None:
    parsed = parse_group(group)
    net, x = build(name, group, training, features=2, vectors=1), inputs(parsed.n)
    h = parsed.sample((B,), torch.Generator().manual_seed(4))[:, : parsed.n, : parsed.n]
    if parsed.reflections:
        h[0] = -torch.eye(parsed.n)  # the inversion: a pseudovector would not change its sign
    moved = {
        "points": x["points"] @ h.mT, "features": x["features"], "vectors": x["vectors"] @ h.mT.unsqueeze(1),
    }  # fmt: skip
    out = seeded(net, **x)
    assert out.shape == (B, 2, parsed.n)
    assert float(out.detach().norm(dim=-1).min()) > 1e-3
    torch.testing.assert_close(seeded(net, **moved), out @ h.mT, atol=1e-10, rtol=0)


def test_cross_products_are_for_rotations() -> None:
    for group, has in (("SO(3)", True), ("SE(3)", True), ("O(3)", False), ("SO(2)", False)):
        assert (VNPointNet(2, group).cross is not None) is has
    assert VNPointNet(2, "SO(3)", cross=False).cross is None
    for group in ("O(3)", "E(3)", "SO(4)"):
        with pytest.raises(ConfigError, match="pseudovectors"):
            VNPointNet(2, group, cross=True)


def test_with_cross_products_reflections_do_not_commute() -> None:
    """What the harness sees where a pseudovector is mixed with vectors."""
    net, x = build("point_net", "SO(3)"), random(1, B, N, 3)
    assert float((net(-x) + net(x)).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("name", NETS)
def test_permutation_invariance(name: str) -> None:
    net, x = build(name, features=2), inputs(3)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    out = net(x["points"], x["features"])
    torch.testing.assert_close(net(x["points"][:, order], x["features"][:, order]), out, atol=1e-12, rtol=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["deep_sets", "deep_sets_max", "point_net", "deep_sets_moments"])
def test_masked_points_do_not_count(name: str, training: bool) -> None:
    net, x = build(name, training=training, features=2, vectors=1), inputs(3)
    mask = torch.ones(B, N, dtype=torch.bool)
    mask[1, 6:] = mask[2, ::2] = False
    out = net(**x, mask=mask)
    for value in x.values():
        value[~mask] = torch.inf
    torch.testing.assert_close(net(**x, mask=mask), out, atol=1e-12, rtol=0)
    if not training:
        alone = net(*(value[1:2, :6] for value in x.values()))
        torch.testing.assert_close(out[1:2], alone, atol=1e-12, rtol=0)
        few = torch.zeros(B, N, dtype=torch.bool)
        few[:, 1] = True
        assert bool(net(**x, mask=few).isfinite().all())


@pytest.mark.parametrize("name", ["deep_sets", "point_net"])
def test_symmetric_clouds_have_no_vectors(name: str) -> None:
    """A cloud that is its own inverse has no polar vector; one with half turns about three axes has none at all."""
    half = random(1, 1, 4, 3)
    inverse = torch.cat([half, -half], 1)
    net = build(name)
    assert float(net(inverse).detach().abs().max()) < 1e-12
    turns = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    cloud = (half[:, :3, None] * turns).flatten(1, 2)
    assert float(build(name, "SO(3)")(cloud).detach().abs().max()) < 1e-12


@pytest.mark.parametrize("name", NETS)
def test_gradients(name: str) -> None:
    net = build(name).train(False)
    x = random(5, 2, 5, 3).requires_grad_()
    assert torch.autograd.gradcheck(net, (x,))
    for points in (torch.zeros(2, 5, 3).double(), random(0, 2, 1, 3)):
        points.requires_grad_()
        (gradient,) = torch.autograd.grad(net.train()(points).sum(), points)
        assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("name", NETS)
def test_shapes_and_dtypes(name: str) -> None:
    net = build(name).float()
    assert net(torch.randn(0, N, 3)).shape == (0, 2, 3)
    assert net(torch.randn(2, 1, 3)).dtype == torch.float32
    x = torch.randn(N, 2, 3).transpose(0, 1)
    torch.testing.assert_close(net(x), net(x.contiguous()))


def test_invariance() -> None:
    head = VNInvariantHead(build("point_net"), 3).double()
    x, h = random(1, B, N, 3), O(3).sample((B,), torch.Generator().manual_seed(0))
    out = head(x)
    assert out.shape == (B, 3)
    assert float(out.detach().std(0).min()) > 1e-7
    torch.testing.assert_close(head(x @ h.mT), out, atol=1e-12, rtol=0)


def test_bad_input() -> None:
    net = build("point_net")
    with pytest.raises(ShapeError, match=r"\[B, N, 3\]"):
        net(torch.zeros(2, 4, 2).double())
    with pytest.raises(ShapeError, match="needs features None"):
        net(random(0, B, N, 3), random(0, B, N, 2))
    with pytest.raises(ShapeError, match=r"needs vectors \[3, 9, 1, 3\], given None"):
        build("point_net", vectors=1)(random(0, B, N, 3))
    with pytest.raises(ShapeError, match="mask"):
        net(random(0, B, N, 3), mask=torch.ones(B, N))
    with pytest.raises(ConfigError, match="pooled by"):
        VNDeepSets(2, pool="sum")
    with pytest.raises(ConfigError, match="neighbour"):
        VNPointNet(2, neighbours=0)


@pytest.mark.parametrize("kind", ["deep_sets", "point_net"])
def test_values_that_are_not_finite_and_clouds_without_points_are_refused(kind: str) -> None:
    net, x = build(kind, features=1), random(0, B, N, 3)
    f, mask = random(1, B, N, 1), torch.ones(B, N, dtype=torch.bool)
    bad = x.clone()
    bad[1, 5, 2] = torch.nan
    with pytest.raises(ShapeError, match=r"not finite.*\[1\]"):
        net(bad, f)
    worse = f.clone()
    worse[2, 5] = torch.inf
    with pytest.raises(ShapeError, match=r"not finite.*\[2\]"):
        net(x, worse)
    mask[:, 5] = False
    assert bool(net(bad, worse, mask=mask).isfinite().all())
    mask[2] = False
    with pytest.raises(ShapeError, match=r"Wholly masked: cloud \[2\]"):
        net(x, f, mask=mask)
    with pytest.raises(ShapeError, match="at least one point"):
        net(x[:, :0], f[:, :0])

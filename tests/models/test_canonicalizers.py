"""Gram–Schmidt canonicalizers: equivariance of elements and of whole pipelines, sizes, masks, symmetric clouds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, DegenerateFrameError, ShapeError
from equitools.groups import parse_group
from equitools.models import GramSchmidtCanonicalizer, VNDeepSets, VNInvariantHead, VNPointNet
from equitools.symmetrize import Canonicalize

B, N = 4, 10
GROUPS = ["O(2)", "SO(2)", "E(2)", "O(3)", "SO(3)", "E(3)", "SE(3)", "SE(4)"]


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(group: str, **options: Any) -> GramSchmidtCanonicalizer:
    torch.manual_seed(0)
    parsed = parse_group(group)
    count = (parsed.n if parsed.reflections else parsed.n - 1) + (options.get("translation") == "learned")
    network = VNPointNet(count, group, hidden=8, neighbours=5, pool="mean")
    return GramSchmidtCanonicalizer(network, group, **options).double().eval()


@pytest.mark.parametrize("group", GROUPS)
def test_equivariance(group: str) -> None:
    parsed = parse_group(group)
    pose, x = build(group), random(1, B, N, parsed.n)
    h = parsed.sample((B,), torch.Generator().manual_seed(2))
    element = pose(x)
    assert bool(parsed.contains(element, 1e-10).all())
    torch.testing.assert_close(pose(parsed.act(h, x)), h @ element, atol=1e-9, rtol=0)
    torch.testing.assert_close(pose.train()(parsed.act(h, x)), h @ pose(x), atol=1e-9, rtol=0)


@pytest.mark.parametrize("scale", ["rms", "learned"])
@pytest.mark.parametrize("translation", ["centroid", "learned"])
def test_equivariance_of_similarities(translation: str, scale: str) -> None:
    torch.manual_seed(1)
    size = VNInvariantHead(VNDeepSets(3, "E(3)")) if scale == "learned" else scale
    pose, x = build("SE(3)", translation=translation, scale=size), random(1, B, N, 3)
    h = parse_group("SE(3)").sample((B,), torch.Generator().manual_seed(2))
    h[:, :3, :3] *= torch.tensor([0.1, 1.0, 2.0, 30.0], dtype=torch.float64).view(-1, 1, 1)
    element = pose(x)
    moved = x @ h[:, :3, :3].mT + h[:, None, :3, 3]
    torch.testing.assert_close(pose(moved), h @ element, atol=1e-8, rtol=1e-9)
    canonical = (x - element[:, None, :3, 3]) @ torch.linalg.inv(element[:, :3, :3]).mT
    if scale == "rms" and translation == "centroid":
        torch.testing.assert_close(canonical.square().sum(-1).mean(1), torch.ones(B).double())
    if translation == "learned":
        assert float(canonical.detach().mean(1).norm(dim=-1).min()) > 1e-3  # not the centroid
    assert bool((torch.linalg.det(element) > 0).all())


@pytest.mark.parametrize(
    ("group", "output"), [("SO(3)", "vector"), ("O(3)", "vector"), ("SE(3)", "points"), ("E(3)", "scalar")]
)
def test_pipelines_are_equivariant(group: str, output: str) -> None:
    parsed = parse_group(group)
    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)).double()
    model, x = Canonicalize(net, build(group), "points", output), random(1, B, N, 3)
    h = parsed.sample((B,), torch.Generator().manual_seed(2))
    out, wanted = model(x), model(parsed.act(h, x))
    if output == "vector":
        out = out @ h[:, :3, :3].mT
    elif output == "points":
        out = parsed.act(h, out)
    torch.testing.assert_close(wanted, out, atol=1e-9, rtol=0)
    mask = torch.ones(B, N, dtype=torch.bool)
    mask[1, 7:] = False
    torch.testing.assert_close(model(x, mask=mask)[1, :7], model(x[1:2, :7])[0], atol=1e-9, rtol=0)


@pytest.mark.parametrize("group", ["SO(2)", "O(2)", "SO(3)", "O(3)", "SE(4)"])
def test_the_first_vector_points_along_its_axis(group: str) -> None:
    parsed, d = parse_group(group), parse_group(group).n
    x = random(1, B, N, d)
    plain = build(group)(x)[:, :d, :d]
    for axis in range(d):
        element = build(group, first_axis=axis)(x)
        assert bool(parsed.contains(element, 1e-10).all())
        torch.testing.assert_close(element[:, :d, axis], plain[..., 0])
        torch.testing.assert_close(element[:, :d, (axis + 1) % d].abs(), plain[..., 1 % d].abs())
    with pytest.raises(ConfigError, match="first_axis"):
        build(group, first_axis=d)


def test_right_handed() -> None:
    for seed in range(5):
        assert bool((torch.linalg.det(build("SO(3)")(random(seed, B, N, 3))) > 0.999).all())


SYMMETRIC = {
    "one_point": torch.zeros(1, 1, 3),
    "same_points": torch.ones(1, 4, 3),
    "line": torch.arange(5.0).view(1, 5, 1) * torch.tensor([1.0, 2.0, 0.5]),
    "square": torch.tensor([[[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]]]),
    "inverse": torch.cat([torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))] * 2, 1)
    * torch.tensor([1.0] * 4 + [-1.0] * 4).view(1, 8, 1),
}


@pytest.mark.parametrize("group", ["SE(3)", "E(3)"])
@pytest.mark.parametrize("name", SYMMETRIC)
def test_gradients_are_finite(name: str, group: str) -> None:
    x = SYMMETRIC[name].double().requires_grad_()
    pose = build(group, scale="rms") if name == "square" else build(group)
    if (name, group) == ("inverse", "SE(3)"):  # no rotation leaves it in place: cross products give it a frame
        build(group, degenerate="raise")(x)
    else:
        with pytest.raises(DegenerateFrameError):
            build(group, degenerate="raise")(x)
    element = pose(x)
    (gradient,) = torch.autograd.grad((element * random(0, 1, 4, 4)).sum(), x)
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("group", ["SE(3)", "E(3)"])
@pytest.mark.parametrize("name", SYMMETRIC)
def test_invariants_of_symmetric_clouds_are_exact(name: str, group: str) -> None:
    """Whatever the completion chooses, the canonical pose is the same set of points up to a symmetry of the group."""
    x, parsed = SYMMETRIC[name].double(), parse_group(group)
    pose = build(group)
    h = parsed.sample((1,), torch.Generator().manual_seed(1))
    model = Canonicalize(lambda y: y.square().sum(1), pose, "points", "scalar")
    torch.testing.assert_close(model(parsed.act(h, x)), model(x), atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_principal_axes_of_symmetric_clouds_have_finite_gradients(name: str) -> None:
    torch.manual_seed(0)
    pose = GramSchmidtCanonicalizer(VNDeepSets(2, "SE(3)", moments=1, principal=True), "SE(3)").double().eval()
    x = SYMMETRIC[name].double().requires_grad_()
    element = pose(x)
    assert bool(element.isfinite().all())
    (gradient,) = torch.autograd.grad((element * random(0, 1, 4, 4)).sum(), x)
    assert bool(gradient.isfinite().all())


def test_gradcheck() -> None:
    pose = build("SE(3)", scale="rms")
    x = random(1, 2, 6, 3).requires_grad_()
    assert torch.autograd.gradcheck(pose, (x,))


def test_masks_features_and_vectors() -> None:
    torch.manual_seed(0)
    net = VNDeepSets(2, "SE(3)", features=1, vectors=1)
    pose = GramSchmidtCanonicalizer(net, "SE(3)").double().eval()
    x, f, v = random(1, B, N, 3), random(2, B, N, 1), random(3, B, N, 1, 3)
    h = parse_group("SE(3)").sample((B,), torch.Generator().manual_seed(2))
    mask = torch.ones(B, N, dtype=torch.bool)
    mask[2, 5:] = False
    element = pose(x, mask, f, v)
    moved = pose(parse_group("SE(3)").act(h, x), mask, f, v @ h[:, None, :3, :3].mT)
    torch.testing.assert_close(moved, h @ element, atol=1e-9, rtol=0)
    torch.testing.assert_close(pose(x[2:3, :5], None, f[2:3, :5], v[2:3, :5]), element[2:3], atol=1e-9, rtol=0)


def test_shapes_and_dtypes() -> None:
    pose = build("SE(3)").float()
    assert pose(torch.randn(3, N, 3)).dtype == torch.float32
    assert pose(torch.randn(0, N, 3)).shape == (0, 4, 4)


def test_bad_input() -> None:
    pose = build("SO(3)")
    with pytest.raises(ShapeError, match=r"\[B, N, 3\]"):
        pose(random(0, B, N, 2))
    with pytest.raises(ShapeError, match="no points"):
        pose(random(0, B, 0, 3))
    with pytest.raises(ShapeError, match="masked"):
        pose(random(0, B, N, 3), torch.zeros(B, N, dtype=torch.bool))
    with pytest.raises(ShapeError, match="must return 2 vectors"):
        GramSchmidtCanonicalizer(VNDeepSets(3), "SO(3)").double()(random(0, B, N, 3))
    with pytest.raises(ConfigError, match="no translations"):
        GramSchmidtCanonicalizer(VNDeepSets(2), "SO(3)", translation="centroid")
    with pytest.raises(ConfigError, match="Did you mean 'centroid'"):
        GramSchmidtCanonicalizer(VNDeepSets(2), "SE(3)", translation="centre")
    with pytest.raises(ConfigError, match="'raise', 'complete'"):
        GramSchmidtCanonicalizer(VNDeepSets(2), degenerate="average")
    with pytest.raises(ConfigError, match="'rms' or a module"):
        GramSchmidtCanonicalizer(VNDeepSets(2), scale="radius")

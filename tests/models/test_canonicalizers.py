"""Gram–Schmidt canonicalizers: equivariance of elements and of whole pipelines, sizes, masks, symmetric clouds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ase.build import molecule
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
    return GramSchmidtCanonicalizer(network, group, **{"degenerate": "raise", **options}).double().eval()


def odd_moments(y: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return numbers ``[B, 10]`` of poses that no order of the points changes, and any turn or change of sign does."""
    x, y, z = (y if mask is None else y * mask.unsqueeze(-1)).unbind(-1)
    odd = [x, y**3, z**5, x * y, y * z, x * y * z, x**2 * y, z**2 * x, x**3 * z, (x + 0.7 * y - 0.4 * z).tanh()]
    return torch.stack([value.sum(1) for value in odd], -1)


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
    options = {"scale": "rms"} if name == "square" else {}
    if (name, group) == ("inverse", "SE(3)"):  # no rotation leaves it in place: cross products give it a frame
        build(group, degenerate="raise")(x)
    else:
        with pytest.raises(DegenerateFrameError):
            build(group, degenerate="raise")(x)
    elements, weights = build(group, degenerate="weighted", **options)(x)
    for value in (build(group, degenerate="complete", **options)(x), (elements * weights[..., None, None]).sum(1)):
        (gradient,) = torch.autograd.grad((value * random(0, 1, 4, 4)).sum(), x)
        assert bool(gradient.isfinite().all())


def molecules() -> dict[str, Tensor]:
    names = ["trans-butane", "C2H4", "C2H6", "C6H6", "CO2", "CH4", "H2O", "N2"]
    return {name: torch.from_numpy(molecule(name).positions).unsqueeze(0) for name in names}


CLOUDS = {name: value.double() for name, value in SYMMETRIC.items()} | molecules()


@pytest.mark.parametrize("network", ["point_net", "deep_sets"])
@pytest.mark.parametrize("group", ["SO(3)", "O(3)", "SE(3)", "E(3)"])
@pytest.mark.parametrize("name", CLOUDS)
def test_symmetric_clouds_are_seen_alike_from_everywhere(name: str, group: str, network: str) -> None:
    """By a network that sees signs; for copies that are turned, moved and renumbered, in a batch with a padded one."""
    torch.manual_seed(0)
    parsed, x = parse_group(group), CLOUDS[name] - CLOUDS[name].mean(1, keepdim=True)
    count = 3 if parsed.reflections else 2
    net = VNPointNet(count, group, hidden=8) if network == "point_net" else VNDeepSets(count, group, moments=2)
    model = Canonicalize(odd_moments, GramSchmidtCanonicalizer(net, group).double().eval(), "points", "scalar")
    wanted, generator = model(x), torch.Generator().manual_seed(1)
    general = random(3, 1, x.shape[1] + 2, 3)
    batch, mask = torch.zeros(6, x.shape[1] + 2, 3).double(), torch.ones(6, x.shape[1] + 2, dtype=torch.bool)
    for row in range(5):
        turned = parsed.act(parsed.sample((1,), generator), x)
        batch[row, : x.shape[1]] = turned[0, torch.randperm(x.shape[1], generator=generator)]
        mask[row, x.shape[1] :] = False
    batch[5] = general
    found = Canonicalize(odd_moments, model.canonicalizer, "points", "scalar")(batch, mask=mask)
    torch.testing.assert_close(found, torch.cat([wanted] * 5 + [model(general)]), atol=1e-9, rtol=0)
    if name not in {"one_point", "same_points"}:
        assert float((odd_moments(batch[:1], mask[:1]) - odd_moments(batch[1:2], mask[1:2])).abs().max()) > 0.01


@pytest.mark.parametrize("name", ["trans-butane", "C2H4", "C2H6"])
def test_vectors_of_symmetric_clouds_turn_with_them(name: str) -> None:
    """One vector of each atom, and the similarity that a scale makes of the elements."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)).double()
    pose = GramSchmidtCanonicalizer(VNDeepSets(3, "SE(3)"), "SE(3)", scale="rms", translation="learned", first_axis=2)
    model, x = Canonicalize(net, pose.double().eval(), "points", "points"), CLOUDS[name]
    h = parse_group("SE(3)").sample((1,), torch.Generator().manual_seed(2))
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(3))
    moved = parse_group("SE(3)").act(h, x)[:, order]
    wanted = parse_group("SE(3)").act(h, model(x))[:, order]
    torch.testing.assert_close(model(moved), wanted, atol=1e-9, rtol=0)


def test_one_completed_element_is_not_enough_for_clouds_that_are_their_own_inverse() -> None:
    """What the documentation says of "complete": the order of the points changes what a network sees."""
    net = VNDeepSets(2, "SE(3)")
    pose = GramSchmidtCanonicalizer(net, "SE(3)", degenerate="complete").double().eval()
    model, generator = Canonicalize(odd_moments, pose, "points", "scalar"), torch.Generator().manual_seed(0)
    order = torch.stack([torch.randperm(6, generator=generator) for _ in range(12)])
    found = model(CLOUDS["C2H4"][0, order]).detach()
    assert float((found - found[:1]).abs().max()) > 0.1


def test_forces_on_a_symmetric_molecule_agree_with_finite_differences() -> None:
    torch.manual_seed(0)
    pose = GramSchmidtCanonicalizer(VNDeepSets(2, "SE(3)"), "SE(3)").double().eval()
    model = Canonicalize(lambda y: odd_moments(y)[:, 3:5].sum(-1), pose, "points", "scalar")
    # away from the symmetric geometry in a way that keeps it its own inverse: weighted frames everywhere
    x, step = CLOUDS["C2H4"].clone().requires_grad_(), random(5, 1, 6, 3)
    far = torch.cdist(x[0].detach(), -(x[0] - x[0].mean(0)).detach() + x[0].mean(0).detach()).argmin(1)
    step = (step - step[:, far]) / 2
    (gradient,) = torch.autograd.grad(model(x).sum(), x)
    with torch.no_grad():
        slope = (model(x + 1e-5 * step) - model(x - 1e-5 * step)) / 2e-5
    torch.testing.assert_close((gradient * step).sum().reshape(1), slope, atol=1e-6, rtol=1e-5)


def test_points_that_are_all_the_same_have_no_vectors_wherever_they_are() -> None:
    far = torch.full((1, 7, 3), 0.1, dtype=torch.float64) * torch.tensor([1.0, 3.0, -7.0])
    with pytest.raises(DegenerateFrameError):
        build("SE(3)")(far)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_principal_axes_of_symmetric_clouds_have_finite_gradients(name: str) -> None:
    torch.manual_seed(0)
    net = VNDeepSets(2, "SE(3)", moments=1, principal=True)
    pose = GramSchmidtCanonicalizer(net, "SE(3)", degenerate="complete").double().eval()
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
    pose = GramSchmidtCanonicalizer(net, "SE(3)", degenerate="raise").double().eval()
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
    several = build("SE(3)", degenerate="weighted").float()
    elements, weights = several(torch.randn(3, N, 3))
    assert (elements.shape, weights.shape) == ((3, 1, 4, 4), (3, 1))
    assert several(CLOUDS["C2H4"].float()).elements.dtype == torch.float32
    elements, weights = several(torch.randn(0, N, 3))
    assert (elements.shape, weights.shape) == ((0, 1, 4, 4), (0, 1))


def test_bad_input() -> None:
    pose = build("SO(3)")
    with pytest.raises(ShapeError, match=r"\[B, N, 3\]"):
        pose(random(0, B, N, 2))
    with pytest.raises(ShapeError, match="at least one point"):
        pose(random(0, B, 0, 3))
    with pytest.raises(ShapeError, match="masked"):
        pose(random(0, B, N, 3), torch.zeros(B, N, dtype=torch.bool))
    with pytest.raises(ShapeError, match="not finite"):
        pose(torch.full((B, N, 3), torch.nan).double())
    with pytest.raises(ConfigError, match="degree"):
        build("SO(3)", degree=-1)
    with pytest.raises(ShapeError, match="must return 2 vectors"):
        GramSchmidtCanonicalizer(VNDeepSets(3), "SO(3)").double()(random(0, B, N, 3))
    with pytest.raises(ConfigError, match="no translations"):
        GramSchmidtCanonicalizer(VNDeepSets(2), "SO(3)", translation="centroid")
    with pytest.raises(ConfigError, match="Did you mean 'centroid'"):
        GramSchmidtCanonicalizer(VNDeepSets(2), "SE(3)", translation="centre")
    with pytest.raises(ConfigError, match="complete, raise, weighted"):
        GramSchmidtCanonicalizer(VNDeepSets(2), degenerate="average")
    with pytest.raises(ConfigError, match="'rms' or a module"):
        GramSchmidtCanonicalizer(VNDeepSets(2), scale="radius")

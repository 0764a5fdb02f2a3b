"""Frames of sets of four-vectors: equivariance, membership, degenerate sets, derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, DegenerateFrameError, ShapeError
from equitools.groups import Lorentz, lorentz_metric
from equitools.symmetrize import FrameAverage, frames, lorentz_frames

FULL, PROPER = Lorentz(), Lorentz(proper=True)
GROUPS = [FULL, PROPER]
ETA = lorentz_metric()


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def momenta(batch: int = 6, n: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(batch, n, 4, generator=generator(seed), dtype=torch.float64)


def same_sets(first: Tensor, second: Tensor) -> float:
    """Largest distance from an element ``[B, F, 4, 4]`` to the nearest one of the other set."""
    distance = (first.unsqueeze(2) - second.unsqueeze(1)).abs().amax((-1, -2))
    return float(torch.maximum(distance.amin(2).max(), distance.amin(1).max()))


@pytest.mark.parametrize("group", GROUPS, ids=str)
@pytest.mark.parametrize("mode", ["full", "canonical"])
@pytest.mark.parametrize("n", [4, 5, 12])
def test_equivariance(group: Lorentz, mode: str, n: int) -> None:
    x, h = momenta(n=n), group.sample((6,), generator(1), rapidity=0.8)
    assert float(h.abs().max()) > 2  # the boosts are no small ones
    found, moved = lorentz_frames(x, group, mode=mode), lorentz_frames(group.act(h, x), group, mode=mode)
    assert same_sets(moved.elements, h.unsqueeze(1) @ found.elements) < 1e-9
    assert found.elements.shape[1] == {"full": 4 if group.proper else 16, "canonical": 1}[mode]
    torch.testing.assert_close(found.weights.sum(1), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("group", GROUPS, ids=str)
@pytest.mark.parametrize("mode", ["full", "canonical", "sample"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-3)])
def test_membership(group: Lorentz, mode: str, dtype: torch.dtype, tolerance: float) -> None:
    found = lorentz_frames(momenta().to(dtype), group, mode=mode, samples=3, generator=generator(2))
    assert found.elements.dtype == dtype
    assert group.contains(found.elements, tolerance).all()
    distinct = torch.linalg.det(found.elements).sign().unique()
    assert len(distinct) == 1 or not group.proper


def test_proper_elements_of_the_full_set_are_the_proper_set() -> None:
    x = momenta()
    full, proper = lorentz_frames(x, FULL), lorentz_frames(x, PROPER)
    for one, other in zip(full.elements, proper.elements, strict=True):
        kept = one[PROPER.contains(one)]
        assert len(kept) == 4
        assert same_sets(kept[None], other[None]) < 1e-12


@pytest.mark.parametrize("group", GROUPS, ids=str)
@pytest.mark.parametrize("mode", ["full", "canonical"])
def test_permutation_invariance(group: Lorentz, mode: str) -> None:
    x = momenta()
    order = torch.randperm(5, generator=generator(3))
    found, other = lorentz_frames(x, group, mode=mode), lorentz_frames(x[:, order], group, mode=mode)
    assert same_sets(found.elements, other.elements) < 1e-10


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_masked_vectors_do_not_count(group: Lorentz) -> None:
    x = momenta(n=7)
    mask = torch.ones(6, 7, dtype=torch.bool)
    mask[:, [2, 5]] = False
    x[~mask] = torch.nan
    found = lorentz_frames(x, group, mask)
    alone = lorentz_frames(x[mask].reshape(6, 5, 4), group)
    assert same_sets(found.elements, alone.elements) < 1e-10


def test_canonical_pose_has_positive_third_moments() -> None:
    x = momenta()
    pose = FULL.act(FULL.inverse(lorentz_frames(x, FULL, mode="canonical").elements[:, 0]), x)
    assert (pose.pow(3).sum(1) > 0).all()
    moments = pose.transpose(-1, -2) @ pose  # diagonal, space axes in falling order
    torch.testing.assert_close(moments, torch.diag_embed(moments.diagonal(dim1=-2, dim2=-1)), atol=1e-9, rtol=0)
    assert (moments.diagonal(dim1=-2, dim2=-1)[:, 1:].diff(dim=-1) < 0).all()


def test_samples_are_uniform() -> None:
    x = momenta(batch=1)
    full = lorentz_frames(x, PROPER).elements[0]
    drawn = lorentz_frames(x, PROPER, mode="sample", samples=4000, generator=generator(4)).elements[0]
    counts = (drawn.unsqueeze(1) - full).abs().amax((-1, -2)).argmin(1).bincount(minlength=4)
    assert ((counts / 4000 - 0.25).abs() < 0.03).all()


def test_derivatives_of_invariants() -> None:
    x = momenta(batch=2, n=4, seed=5).requires_grad_()
    weight = torch.randn(4, 4, generator=generator(6), dtype=torch.float64)

    def energy(x: Tensor) -> Tensor:
        found = lorentz_frames(x, PROPER, mode="canonical")
        return (PROPER.act(PROPER.inverse(found.elements[:, 0]), x) * weight).tanh().sum((-1, -2))

    assert torch.autograd.gradcheck(energy, x)
    assert torch.autograd.gradgradcheck(energy, x, atol=1e-4)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_averages_of_any_network_are_invariant(group: Lorentz) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4))
    x, h = momenta(), group.sample((6,), generator(7), rapidity=0.8)
    scalar = FrameAverage(net.double(), group.name, inputs="vector", outputs="scalar", degenerate="raise")
    torch.testing.assert_close(scalar(group.act(h, x)), scalar(x), atol=1e-9, rtol=0)
    vector = FrameAverage(net, group, inputs="vector", outputs="vector", mode="canonical")
    torch.testing.assert_close(vector(group.act(h, x)), torch.einsum("bij,bj->bi", h, vector(x)), atol=1e-9, rtol=0)
    assert float((net(group.act(h, x)) - net(x)).detach().abs().max()) > 0.1  # the network itself is not


def degenerate_sets() -> dict[str, Tensor]:
    light = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    sphere = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    x = momenta(1, 6, 8)[0]
    planar = x.clone()
    planar[:, 3] = 0.0
    return {
        "three vectors": x[:3],
        "one vector": x[:1],
        "planar motion": planar,
        "massless and collinear": torch.arange(1.0, 6.0).double().unsqueeze(1) * light,
        "spherical": torch.cat([torch.full((6, 1), 2.0).double(), sphere], 1),
        "all zero": torch.zeros(4, 4, dtype=torch.float64),
    }


@pytest.mark.parametrize("name", list(degenerate_sets()))
@pytest.mark.parametrize("degenerate", ["raise", "average", "weighted"])
@pytest.mark.parametrize("boosted", [False, True])
def test_degenerate_sets_are_refused(name: str, degenerate: str, boosted: bool) -> None:
    x = degenerate_sets()[name][None]
    if boosted:
        x = FULL.act(PROPER.sample((1,), generator(9), rapidity=1.0), x)
    with pytest.raises(DegenerateFrameError, match=r"rank below four|repeated eigenvalues"):
        lorentz_frames(x, FULL, degenerate=degenerate)


def test_open_signs() -> None:
    half = momenta(1, 5, 10)
    x = torch.cat([half, -half], 1)  # all third moments vanish
    with pytest.raises(DegenerateFrameError, match="third moments"):
        lorentz_frames(x, FULL, mode="canonical")
    found = lorentz_frames(x, FULL, mode="canonical", degenerate="average")
    assert found.weights.shape == (1, 16)
    assert len(lorentz_frames(x, PROPER, mode="canonical", degenerate="average").weights[0]) == 4


def test_frames_knows_the_groups_by_name() -> None:
    x = momenta()
    for name, group in (("O(1,3)", FULL), ("SO+(1,3)", PROPER)):
        torch.testing.assert_close(frames(x, name).elements, lorentz_frames(x, group).elements)


def test_empty_batch_and_other_layouts() -> None:
    assert lorentz_frames(torch.zeros(0, 5, 4), FULL).elements.shape == (0, 16, 4, 4)
    assert lorentz_frames(torch.zeros(0, 5, 4), PROPER, mode="canonical").elements.shape == (0, 1, 4, 4)
    x = momenta()
    turned = x.transpose(0, 2).contiguous().transpose(0, 2)
    assert not turned.is_contiguous()
    assert same_sets(lorentz_frames(turned, PROPER).elements, lorentz_frames(x, PROPER).elements) < 1e-12


def test_wrong_input() -> None:
    x = momenta()
    with pytest.raises(ShapeError, match="4"):
        lorentz_frames(x[..., :3], FULL)
    with pytest.raises(ShapeError, match="finite"):
        lorentz_frames(x * torch.nan, FULL)
    with pytest.raises(ShapeError, match="Wholly masked"):
        lorentz_frames(x, FULL, torch.zeros(6, 5, dtype=torch.bool))
    with pytest.raises(ConfigError, match="not compact"):
        lorentz_frames(x, FULL, mode="weighted")
    with pytest.raises(ConfigError, match="canonical"):
        lorentz_frames(x, FULL, mode="canonicol")
    with pytest.raises(ConfigError, match="average"):
        lorentz_frames(x, FULL, degenerate="averag")
    with pytest.raises(ConfigError, match="samples"):
        lorentz_frames(x, FULL, samples=0)
    with pytest.raises(ConfigError, match="Lorentz"):
        lorentz_frames(x, "O(3)")

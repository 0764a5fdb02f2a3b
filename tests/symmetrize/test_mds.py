"""Coordinates of distances, and networks that see nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from equitools.errors import ConfigError, DegenerateFrameError, ShapeError
from equitools.groups import E, O
from equitools.models.points import PointNet, PointNetSegmentation
from equitools.symmetrize import TinvNet, mds_coordinates


def cloud(batch=3, count=12, d=3, seed=0, dtype=torch.float64):
    """Clouds whose coordinates are skewed, so that third moments have a sign."""
    x = torch.randn(batch, count, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return ((0.6 * x).exp() * torch.arange(1, d + 1)).to(dtype)


def moved(x, seed=1):
    g = E(x.shape[-1]).sample((len(x),), torch.Generator().manual_seed(seed)).to(x.dtype)
    d = x.shape[-1]
    return x @ g[:, :d, :d].transpose(1, 2) + g[:, None, :d, d]


def near(a, b, tolerance=1e-9):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_equals_principal_components(d):
    x = cloud(d=d)
    found = mds_coordinates(x)
    for row in range(3):
        centred = (x[row] - x[row].mean(0)).numpy()
        u, s, _ = np.linalg.svd(centred, full_matrices=False)
        np.testing.assert_allclose(found.coordinates[row].abs(), np.abs(u * s), atol=1e-10)
        np.testing.assert_allclose(found.eigenvalues[row], s**2, rtol=1e-10)
    assert (found.coordinates.pow(3).sum(1) > 0).all()


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("scale", [False, True])
def test_both_ways_agree(dim, masked, scale):
    x = cloud()
    mask = torch.arange(12) < torch.tensor([[12], [7], [9]]) if masked else None
    one = mds_coordinates(x, dim=dim, mask=mask, scale=scale)
    other = mds_coordinates(distances=torch.cdist(x, x), dim=dim, mask=mask, scale=scale)
    assert one.coordinates.shape == (3, 12, dim)
    kept = min(dim, 12)
    near(one.coordinates[..., :kept], other.coordinates[..., :kept], 1e-9)
    near(one.scale, other.scale)
    near(one.eigenvalues[:, : min(dim, 3)], other.eigenvalues[:, : min(dim, 3)])


@pytest.mark.parametrize("d", [2, 3, 5])
def test_invariance(d):
    x = cloud(d=d)
    near(mds_coordinates(moved(x)).coordinates, mds_coordinates(x).coordinates)


def test_mirror_images_are_not_told_apart():
    x = cloud()
    mirror = x * torch.tensor([-1.0, 1.0, 1.0])
    near(mds_coordinates(mirror).coordinates, mds_coordinates(x).coordinates)


def test_scaling_invariance():
    x = cloud()
    found = mds_coordinates(x, scale=True)
    near(mds_coordinates(moved(4.0 * x), scale=True).coordinates, found.coordinates)
    near(found.coordinates.square().sum((1, 2)) / 12, torch.ones(3).double())
    near(mds_coordinates(4.0 * x, scale=True).scale, 4 * found.scale)
    assert (mds_coordinates(4.0 * x).coordinates - mds_coordinates(x).coordinates).abs().max() > 1.0


def test_distances_are_kept():
    x = cloud()
    found = mds_coordinates(x).coordinates
    near(torch.cdist(found, found), torch.cdist(x, x))
    found = mds_coordinates(x, scale=True)
    near(torch.cdist(found.coordinates, found.coordinates) * found.scale[:, None, None], torch.cdist(x, x))


def test_distances_that_are_not_euclidean():
    """Of hops on a graph: the eigenvalues are numpy's, and those that are negative give no coordinate."""
    hops = torch.tensor(
        [[0, 1, 2, 1, 3], [1, 0, 1, 2, 2], [2, 1, 0, 1, 1], [1, 2, 1, 0, 2], [3, 2, 1, 2, 0.0]]
    ).double()
    centring = np.eye(5) - 1 / 5
    values = np.linalg.eigvalsh(-centring @ hops.numpy() ** 2 @ centring / 2)[::-1]
    assert values[-1] < -1e-3
    found = mds_coordinates(distances=hops[None], dim=5, ambiguous="keep")
    np.testing.assert_allclose(found.eigenvalues[0], values, atol=1e-12)
    np.testing.assert_allclose(found.coordinates[0].square().sum(0), values.clip(min=0), atol=1e-10)


def test_padding_is_nothing():
    x, mask = cloud(), torch.arange(12) < 7
    broken = x.masked_fill(~mask[:, None], torch.nan)
    wanted = mds_coordinates(x[:, :7], scale=True).coordinates
    rows = mask.expand(3, -1)
    for found in (
        mds_coordinates(broken, mask=rows, scale=True),
        mds_coordinates(distances=torch.cdist(broken, broken), dim=3, mask=rows, scale=True),
    ):
        near(found.coordinates[:, :7], wanted)
        assert not found.coordinates[:, 7:].any()


@pytest.mark.parametrize("scale", [False, True])
def test_derivatives(scale):
    x = cloud(2, 5).requires_grad_()
    assert gradcheck(lambda v: mds_coordinates(v, scale=scale).coordinates, x)
    assert gradgradcheck(lambda v: mds_coordinates(v, scale=scale).coordinates, x)
    assert gradcheck(lambda v: mds_coordinates(v, dim=2, scale=scale).coordinates, x)


def test_derivatives_by_distances():
    """Any symmetric change, also one that makes the distances no longer Euclidean."""
    distances = torch.cdist(cloud(2, 5), cloud(2, 5))
    upper = torch.triu_indices(5, 5, 1)
    start = distances[:, *upper].requires_grad_()

    def coordinates(values):
        half = _fill(values, upper)
        return mds_coordinates(distances=half + half.transpose(1, 2), dim=3).coordinates

    assert gradcheck(coordinates, start)
    assert gradgradcheck(coordinates, start)


def _fill(values, upper):
    flat = values.new_zeros(len(values), 25)
    return flat.scatter(1, (upper[0] * 5 + upper[1]).expand(len(values), -1), values).unflatten(1, (5, 5))


def test_distances_with_the_rounding_of_cdist():
    """Of more than 25 points torch takes a product of matrices, after which a point has a distance from itself."""
    x = cloud()
    distances = torch.cdist(x, x) + 1e-8 * torch.eye(12)
    near(mds_coordinates(distances=distances, dim=3).coordinates, mds_coordinates(x).coordinates, 1e-6)
    x = cloud(count=60, dtype=torch.float32)
    near(mds_coordinates(distances=torch.cdist(x, x), dim=3).coordinates, mds_coordinates(x).coordinates, 1e-2)


def test_planar_linear_and_single_points():
    """Axes without extent are zero, have no sign to be open, and leave finite gradients."""
    planar = cloud(1, 8, 2) @ torch.randn(2, 3, dtype=torch.float64)
    linear = cloud(1, 8, 1) @ torch.randn(1, 3, dtype=torch.float64) + 4.0
    single = torch.ones(1, 8, 3, dtype=torch.float64)
    for x, rank in ((planar, 2), (linear, 1), (single, 0)):
        x.requires_grad_()
        for found in (mds_coordinates(x, scale=True), mds_coordinates(distances=distances_of(x), dim=3, scale=True)):
            near(found.coordinates.detach(), mds_coordinates(moved(x.detach()), scale=True).coordinates, 1e-7)
            assert not found.coordinates[..., rank:].any()
            assert rank == 0 or found.coordinates[..., :rank].any()
            (gradient,) = torch.autograd.grad(found.coordinates.pow(2).cos().sum(), x)
            assert gradient.isfinite().all()


def distances_of(x):
    """With a derivative where points coincide (with themselves, too)."""
    square = (x.unsqueeze(1) - x.unsqueeze(2)).square().sum(-1)
    apart = square > 0
    return torch.where(apart, torch.where(apart, square, 1.0).sqrt(), 0.0)


def test_ambiguous_clouds():
    corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double()
    even = torch.cat([cloud(1, 6), -cloud(1, 6)], 1)
    for x, why in ((corners[None], "eigenvalues that coincide"), (even, "third moments that vanish")):
        with pytest.raises(DegenerateFrameError, match=why):
            mds_coordinates(x)
        with pytest.raises(DegenerateFrameError, match=why):
            mds_coordinates(distances=torch.cdist(x, x), dim=2)
        kept = mds_coordinates(x, ambiguous="keep").coordinates
        near(torch.cdist(kept, kept), torch.cdist(x, x))


def test_dtypes_strides_and_empty_batches():
    x = cloud(dtype=torch.float32)
    found = mds_coordinates(x, scale=True)
    assert {t.dtype for t in found} == {torch.float32}
    near(found.coordinates.double(), mds_coordinates(x.double(), scale=True).coordinates, 1e-4)
    strided = cloud().transpose(1, 2).contiguous().transpose(1, 2)
    near(mds_coordinates(strided).coordinates, mds_coordinates(cloud()).coordinates)
    assert mds_coordinates(x[:0], scale=True).coordinates.shape == (0, 12, 3)
    assert mds_coordinates(distances=torch.zeros(0, 4, 4), dim=2).coordinates.shape == (0, 4, 2)


def test_bad_input():
    x = cloud()
    near_zero = torch.cdist(x, x)
    for wrong, error, text in (
        (mds_coordinates, ConfigError, "one of them"),
        (lambda: mds_coordinates(x, distances=near_zero), ConfigError, "one of them"),
        (lambda: mds_coordinates(distances=near_zero), ConfigError, "how many coordinates"),
        (lambda: mds_coordinates(x, dim=0), ConfigError, "dim must be"),
        (lambda: mds_coordinates(x, ambiguous="kep"), ConfigError, "Did you mean 'keep'"),
        (lambda: mds_coordinates(x[0]), ShapeError, "One cloud"),
        (lambda: mds_coordinates(x.half()), ShapeError, "float32 or float64"),
        (lambda: mds_coordinates(x, mask=torch.zeros(3, 12, dtype=torch.bool)), ShapeError, "at least one point"),
        (lambda: mds_coordinates(x * torch.nan), ShapeError, "not finite"),
        (lambda: mds_coordinates(distances=x, dim=2), ShapeError, "must be \\[B, N, N\\]"),
        (lambda: mds_coordinates(distances=near_zero - 1, dim=2), ShapeError, "not negative"),
        (lambda: mds_coordinates(distances=near_zero + torch.eye(12), dim=2), ShapeError, "zero from a point to its"),
        (lambda: mds_coordinates(distances=near_zero.tril(), dim=2), ShapeError, "symmetric"),
        (lambda: TinvNet(torch.nn.Identity(), mode="ful"), ConfigError, "Did you mean 'full'"),
        (lambda: TinvNet(torch.nn.Identity(), degenerate="rais"), ConfigError, "Did you mean 'raise'"),
        (lambda: TinvNet(torch.nn.Identity(), outputs="1x1o", scale=True), ConfigError, "irreps"),
    ):
        with pytest.raises(error, match=text):
            wrong()


# ---- the network ----------------------------------------------------------------------------------------------------


def classifier(d=3):
    torch.manual_seed(0)
    return PointNet(4, d, local=(8,), widths=(16,), head=(8,), norm="none").double().eval()


def per_point(out, d=3):
    torch.manual_seed(0)
    return PointNetSegmentation(out, d, local=(8,), widths=(16,), head=(8,), norm="none").double().eval()


@pytest.mark.parametrize("scale", [False, True])
def test_coordinates_are_mds(scale):
    seen = []
    net = TinvNet(lambda x: seen.append(x) or x.sum((1, 2)), scale=scale)
    net(cloud())
    near(seen[0], mds_coordinates(cloud(), scale=scale).coordinates)


@pytest.mark.parametrize("mode", ["canonical", "full", "weighted"])
@pytest.mark.parametrize("d", [2, 3])
def test_invariance_of_the_network(mode, d):
    net, plain, x = TinvNet(classifier(d), mode=mode), classifier(d), cloud(d=d)
    near(net(moved(x)), net(x))
    assert (plain(moved(x)) - plain(x)).abs().max() > 1e-3
    assert (net(2 * x) - net(x)).abs().max() > 1e-3  # no similarity
    similar = TinvNet(classifier(d), mode=mode, scale=True)
    near(similar(2 * moved(x)), similar(x))
    assert (similar(x) - similar(x[:, :8].contiguous())).abs().max() > 1e-4
    mask = (torch.arange(12) < 8).expand(3, -1)
    near(similar(x, mask=mask), similar(x[:, :8]))


@pytest.mark.parametrize("mode", ["canonical", "full"])
@pytest.mark.parametrize("scale", [False, True])
def test_equivariance_of_the_network(mode, scale):
    size = 2.5 if scale else 1.0
    g = O(3).sample((3,), torch.Generator().manual_seed(4))
    x, shift = cloud(), torch.tensor([1.0, -2.0, 0.5]).double()
    other = size * x @ g.transpose(1, 2) + shift
    for kind in ("vector", "points"):
        net = TinvNet(per_point(3), outputs=kind, mode=mode, scale=scale)
        wanted = size * net(x) @ g.transpose(1, 2) + (shift if kind == "points" else 0)
        near(net(other), wanted)
    net = TinvNet(lambda p, v: torch.einsum("bni,bnj->bij", p * p, v), ("points", "vector"), "tensor2", scale=scale)
    v = cloud(seed=8)
    near(net(other, size * v @ g.transpose(1, 2)), size**2 * g @ net(x, v) @ g.transpose(1, 2), 1e-8)


def test_symmetric_clouds_are_averaged_or_refused():
    """A tetrahedron with one corner marked by a feature: no axes of its own, and still invariant."""
    corners = torch.tensor([[[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]]).double()
    mark = torch.tensor([[[1.0], [0], [0], [0]]]).double()
    torch.manual_seed(0)
    backbone = PointNet(4, 3, 1, local=(8,), widths=(16,), head=(8,), norm="none").double().eval()
    for degenerate in ("weighted", "average"):
        net = TinvNet(backbone, ("points", "scalar"), degenerate=degenerate)
        near(net(moved(corners), mark), net(corners, mark))
    with pytest.raises(DegenerateFrameError):
        TinvNet(backbone, ("points", "scalar"), degenerate="raise")(corners, mark)


def test_forces_are_the_derivative():
    net, x = TinvNet(classifier(), scale=True), cloud(1, 6).requires_grad_()
    assert gradcheck(net, x)


def test_empty_batch_and_single_points():
    net = TinvNet(classifier(), scale=True)
    assert net(cloud()[:0]).shape == (0, 4)
    assert net(torch.ones(2, 1, 3, dtype=torch.float64)).isfinite().all()
    assert "scale=True" in repr(net)

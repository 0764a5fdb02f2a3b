"""Every network on point clouds: permutations, padding, translations, derivatives, bad input, frame averages."""

from __future__ import annotations

import itertools

import pytest
import torch

from equitools.errors import ConfigError, ShapeError, UnknownNameError
from equitools.groups import SO, O
from equitools.models import points as nets
from equitools.models.points.common import PointMLP, pool
from equitools.ops import k_nearest
from equitools.symmetrize import FrameAverage

LEVELS = (nets.Grouping(12, (0.9, 1.5), (6, 9), ((8, 8), (8, 12))), nets.Grouping(5, (2.0,), (4,), ((12, 16),)))
DEEP = {"widths": (16, 16)}
POINT = {"local": (8, 8), "widths": (16, 24), "dropout": 0.0}
EDGE = {"k": 6, "blocks": ((8,), (12, 8)), "embedding": 16, "dropout": 0.0}
LEVEL = {"groupings": LEVELS, "overall": (16, 24), "dropout": 0.0}
HEAD = {"head": (16,)}
ALIGNED = {"input_transform": True, "feature_transform": True, "transform_widths": (8, 16), "transform_head": (16,)}

WHOLE = {
    "deep_sets": lambda **o: nets.DeepSets(5, **DEEP, **HEAD, dropout=0.0, **o),
    "deep_sets_sum": lambda **o: nets.DeepSets(5, **DEEP, **HEAD, dropout=0.0, kind="sum", activation="elu", **o),
    "deep_sets_plain": lambda **o: nets.DeepSets(
        5, **DEEP, **HEAD, dropout=0.0, kind="mean", equivariant=False, activation="silu", **o
    ),
    "pointnet": lambda **o: nets.PointNet(5, **POINT, **HEAD, **o),
    "pointnet_t": lambda **o: nets.PointNet(5, **POINT, **HEAD, **ALIGNED, **o),
    "dgcnn": lambda **o: nets.DGCNN(5, **EDGE, **HEAD, **o),
    "dgcnn_static": lambda **o: nets.DGCNN(5, **EDGE, **HEAD, dynamic=False, **o),
    "pointnet2": lambda **o: nets.PointNet2(5, **LEVEL, **HEAD, **o),
    "pointnet2_single": lambda **o: nets.PointNet2(5, **{**LEVEL, "groupings": LEVELS[1:]}, **HEAD, **o),
}
EACH = {
    "deep_sets_points": lambda **o: nets.DeepSetsSegmentation(5, **DEEP, **o),
    "pointnet_points": lambda **o: nets.PointNetSegmentation(5, **POINT, **HEAD, **o),
    "dgcnn_points": lambda **o: nets.DGCNNSegmentation(5, **EDGE, **HEAD, **o),
    "pointnet2_points": lambda **o: nets.PointNet2Segmentation(5, **LEVEL, down=((16,), (16, 8), (8,)), head=(8,), **o),
}
NETWORKS = {**WHOLE, **EACH}
every = pytest.mark.parametrize("name", NETWORKS)
whole = pytest.mark.parametrize("name", WHOLE)


def network(name, training=False, **options):
    """A small network in float64 whose norms have seen data, so that they do more than nothing."""
    torch.manual_seed(7)
    net = NETWORKS[name](**options).double()
    for parameter in net.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(torch.rand_like(parameter) - 0.5)
        else:
            torch.nn.init.kaiming_normal_(parameter)
    for buffer_name, buffer in net.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + ("var" in buffer_name))
    return net.train(training)


def cloud(batch=3, count=20, d=3, seed=0):
    return torch.randn(batch, count, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def near(a, b, tolerance=1e-12):
    assert a.shape == b.shape
    a, b = a.detach(), b.detach()
    assert (a - b).abs().max() <= tolerance * max(1.0, float(b.abs().max()))


@every
@pytest.mark.parametrize("d", [2, 3, 5])
def test_shapes_and_features(name, d):
    net, x, f = network(name, dim=d, features=2), cloud(d=d), cloud(d=2, seed=1)
    out = net(x, f)
    assert out.shape == ((3, 20, 5) if name in EACH else (3, 5))
    assert (net(x, f + 1) - out).abs().max() > 1e-4  # features are seen
    assert (net(x + cloud(d=d, seed=2), f) - out).abs().max() > 1e-4  # and points
    assert net(x[:0], f[:0]).shape == out[:0].shape


@whole
@pytest.mark.parametrize("training", [False, True])
def test_permutation_invariance(name, training):
    x, permutation = cloud(), torch.randperm(20)
    near(network(name, training)(x[:, permutation]), network(name, training)(x))


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("training", [False, True])
def test_permutation_equivariance(name, training):
    x, permutation = cloud(), torch.randperm(20)
    near(network(name, training)(x[:, permutation]), network(name, training)(x)[:, permutation])


@pytest.mark.parametrize("kind", ["sum", "mean", "max"])
def test_permutation_equivariance_of_the_set_layer(kind):
    layer, x, permutation = nets.SetLayer(3, 4, kind).double(), cloud(), torch.randperm(20)
    near(layer(x[:, permutation]), layer(x)[:, permutation])
    mask = torch.arange(20) < 11
    near(layer(x, mask.expand(3, -1))[:, mask], layer(x[:, mask]))
    if kind == "sum":  # σ(λ I x + γ 11ᵀ x) with matrices for λ and γ
        matrix = torch.einsum("nm,oc->nomc", torch.eye(20).double(), layer.own.weight)
        matrix = matrix + torch.einsum("nm,oc->nomc", torch.ones(20, 20).double(), layer.set.weight)
        near(layer(x), (torch.einsum("nomc,bmc->bno", matrix, x) + layer.own.bias).tanh())


@pytest.mark.parametrize("name", ["pointnet2", "pointnet2_single", "pointnet2_points"])
def test_translation_invariance(name):
    net, x = network(name), cloud()
    near(net(x + torch.tensor([3.0, -2.0, 5.0]).double()), net(x), 1e-10)


@pytest.mark.parametrize("name", ["deep_sets", "pointnet", "dgcnn"])
def test_others_see_translations(name):
    net, x = network(name), cloud()
    assert (net(x + 1) - net(x)).abs().max() > 1e-3


def padded(x, f, count, seed=3):
    """The same clouds at random places among padding that is not even finite."""
    generator = torch.Generator().manual_seed(seed)
    where = torch.stack([torch.randperm(count, generator=generator)[: x.shape[1]].sort().values for _ in x])
    mask = torch.zeros(len(x), count, dtype=torch.bool).scatter(1, where, True)
    full = [torch.full((len(t), count, t.shape[2]), torch.nan, dtype=t.dtype) for t in (x, f)]
    for target, source in zip(full, (x, f), strict=True):
        target[mask] = source.reshape(-1, source.shape[2])
    return *full, mask


@every
@pytest.mark.parametrize("training", [False, True])
def test_padding_is_nothing(name, training):
    x, f = cloud(), cloud(d=2, seed=1)
    more_x, more_f, mask = padded(x, f, 31)
    plain, masked = (network(name, training, features=2) for _ in range(2))
    out, wanted = masked(more_x, more_f, mask), plain(x, f)
    if name in EACH:
        assert out.isfinite().all()
        out = out[mask].reshape(wanted.shape)
    near(out, wanted)
    for key, value in plain.state_dict().items():  # batch statistics
        near(masked.state_dict()[key].double(), value.double())
    weight = torch.randn_like(wanted)
    (wanted * weight).sum().backward()
    (out * weight).sum().backward()
    for one, other in zip(masked.parameters(), plain.parameters(), strict=True):
        near(one.grad, other.grad, 1e-10)


@every
def test_clouds_of_different_sizes_do_not_see_each_other(name):
    net = network(name)
    x, sizes = cloud(4, 20), (20, 9, 3, 1)
    mask = torch.arange(20) < torch.tensor(sizes).unsqueeze(1)
    out = net(x, mask=mask)
    for row, size in enumerate(sizes):
        alone = net(x[row : row + 1, :size])
        near(out[row : row + 1, :size] if name in EACH else out[row : row + 1], alone)


@every
def test_gradients_are_finite_and_those_of_the_function(name):
    net, x = network(name), cloud(2, 10, seed=5)
    x.requires_grad_()
    out = net(x).square().sum()
    (gradient,) = torch.autograd.grad(out, x)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 1e-8
    direction, step = cloud(2, 10, seed=6), 1e-6
    with torch.no_grad():
        slope = (net(x + step * direction).square().sum() - net(x - step * direction).square().sum()) / (2 * step)
    assert abs(float(slope - (gradient * direction).sum())) <= 1e-5 * max(1.0, float(gradient.abs().max()))


@every
def test_forces_can_be_trained(name):
    """The derivative of a force, as a loss on forces takes it, against a difference quotient of forces."""
    net, start, direction = network(name), cloud(1, 10, seed=5), cloud(1, 10, seed=6)

    def force(x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(net(x).square().sum(), x, create_graph=True)[0], x

    along, x = force(start)
    (second,) = torch.autograd.grad((along * direction).sum(), x)
    step = 1e-6
    wanted = (force(start + step * direction)[0] - force(start - step * direction)[0]) / (2 * step)
    near(second, wanted, 1e-5)


@every
def test_all_parameters_learn(name):
    net = network(name, training=True)
    net(cloud()).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@every
def test_coinciding_points(name):
    """Six points in one place are six times the same thing, and nothing divides by their distance."""
    net, x = network(name), cloud(1, 1).expand(2, 6, 3).clone().requires_grad_()
    out = net(x)
    assert out.isfinite().all()
    assert torch.autograd.grad(out.sum(), x)[0].isfinite().all()


@every
def test_dtypes_and_strides(name):
    net, x = network(name), cloud()
    strided = x.transpose(1, 2).contiguous().transpose(1, 2)
    near(net(strided), net(x))
    assert net.float()(x.float()).dtype == torch.float32


@every
@pytest.mark.parametrize("group", [SO(3), O(3), "E(3)"])
def test_equivariance_within_a_frame_average(name, group):
    """Invariant logits; per-point outputs as five scalars."""
    net, x = network(name), cloud(2, 15)
    average = FrameAverage(net, group)
    wanted = average(x)
    rotation = SO(3).sample((2,), torch.Generator().manual_seed(9))
    near(average(x @ rotation.transpose(1, 2)), wanted, 1e-9)
    assert (net(x @ rotation.transpose(1, 2)) - net(x)).abs().max() > 1e-6  # the network by itself is not
    mask = torch.ones(2, 15, dtype=torch.bool)
    mask[1, 9:] = False
    out = average(x, mask=mask)
    near((out[1:, :9] if name in EACH else out[1:]), average(x[1:, :9]), 1e-9)


def test_vectors_out_of_a_segmentation_network():
    torch.manual_seed(0)
    net = nets.DGCNNSegmentation(3, k=5, blocks=((8,),), embedding=16, head=(8,), norm="layer").double().eval()
    average, x = FrameAverage(net, "SE(3)", outputs="vector"), cloud(2, 12)
    rotation = SO(3).sample((2,), torch.Generator().manual_seed(9)).transpose(1, 2)
    near(average(x @ rotation + 2.0), average(x) @ rotation, 1e-9)


@pytest.mark.parametrize("d", [2, 4])
def test_other_dimensions_within_a_frame_average(d):
    average = FrameAverage(network("pointnet2", dim=d), f"SE({d})")
    x, rotation = cloud(2, 15, d), SO(d).sample((2,), torch.Generator().manual_seed(9)).transpose(1, 2)
    near(average(x @ rotation + 1.0), average(x), 1e-9)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_norms(norm):
    net = network("pointnet", norm=norm, training=True)
    assert net(cloud()).isfinite().all()
    if norm != "batch":
        near(net(cloud()[:1]), net(cloud())[:1])  # a cloud does not see the batch


def test_edge_convolution_is_the_formula():
    layer = nets.EdgeConv(3, (8, 4), norm="none").double()
    x = cloud()
    edges = k_nearest(x, x, 6)
    got = layer(x, edges)
    for b in range(3):
        for i in range(20):
            rows = []
            for j in edges.indices[b, i]:
                hidden = layer.own(x[b, i]) + layer.difference(x[b, j] - x[b, i])
                hidden = torch.nn.functional.leaky_relu(hidden, 0.2)
                rows.append(torch.nn.functional.leaky_relu(layer.rest.linears[0](hidden), 0.2))
            near(got[b, i], torch.stack(rows).amax(0))


def test_starts_as_identity():
    matrix = nets.TNet(3, 3)(torch.randn(2, 9, 3))
    assert torch.equal(matrix, torch.eye(3).expand(2, 3, 3))


def test_orthogonality_penalty():
    rotations = SO(4).sample((3,))
    assert nets.orthogonality_penalty(rotations) < 1e-20
    assert nets.orthogonality_penalty(2 * rotations[:1]) == pytest.approx(0.5 * 9 * 4)
    state = network("pointnet_t").encoder(cloud())
    assert [tuple(t.shape) for t in state.transforms] == [(3, 3, 3), (3, 8, 8)]


@pytest.mark.parametrize("kind", ["sum", "mean", "max"])
def test_pool_is_of_the_real_rows(kind):
    values, mask = -1 - cloud().abs(), torch.rand(3, 20) < 0.5
    mask[2] = False
    got = pool(values, mask, kind)
    for row in range(2):
        near(got[row], pool(values[row][mask[row]], None, kind))
    assert not got[2].any()


def test_sizes_of_the_published_networks():
    """Counted from the papers' widths: linear layers without bias before a norm, two numbers a channel in it."""

    def count(net):
        return sum(p.numel() for p in net.parameters())

    def layers(*widths):
        return sum(a * b + 2 * b for a, b in itertools.pairwise(widths))

    assert count(nets.DeepSets(40)) == (3 + 3 + 1) * 256 + 2 * (512 + 1) * 256 + 257 * 256 + 257 * 40
    assert count(nets.PointNet(40)) == layers(3, 64, 64, 64, 128, 1024, 512, 256) + 257 * 40
    edge = layers(6, 64) + layers(128, 64) + layers(128, 128) + layers(256, 256)
    assert count(nets.DGCNN(40)) == edge + layers(512, 1024) + layers(2048, 512, 256) + 257 * 40
    up = layers(3, 64, 64, 128) + layers(131, 128, 128, 256) + layers(259, 256, 512, 1024)
    assert count(nets.PointNet2(40)) == up + layers(1024, 512, 256) + 257 * 40
    down = layers(1024 + 256, 256, 256) + layers(256 + 128, 256, 128) + layers(128 + 3, 128, 128, 128)
    assert count(nets.PointNet2Segmentation(50)) == up + down + layers(128, 128) + 129 * 50
    first = layers(3, 32, 32, 64) + layers(3, 64, 64, 128) + layers(3, 64, 96, 128)
    second = layers(323, 64, 64, 128) + layers(323, 128, 128, 256) + layers(323, 128, 128, 256)
    assert (
        count(nets.PointNet2(40, groupings=nets.MULTI_SCALE))
        == first + second + layers(643, 256, 512, 1024) + layers(1024, 512, 256) + 257 * 40
    )


@every
def test_bad_input(name):
    net, x = network(name), cloud()
    with pytest.raises(ShapeError, match=r"\[B, N, 3\]"):
        net(x[..., :2])
    with pytest.raises(ShapeError, match="Convert"):
        net(x.float())
    with pytest.raises(ShapeError, match="built for 0 features"):
        net(x, x)
    with pytest.raises(ShapeError, match="mask must be bool"):
        net(x, mask=torch.ones(3, 20))
    mask = torch.ones(3, 20, dtype=torch.bool)
    mask[1] = False
    with pytest.raises(ShapeError, match=r"\[1\] have no real point"):
        net(x, mask=mask)
    with pytest.raises(ShapeError, match="no points"):
        net(x[:, :0])
    x[2, 3, 1] = torch.nan
    with pytest.raises(ShapeError, match=r"points of the clouds \[2\] are not all finite"):
        net(x)


def test_bad_configurations():
    for wrong in (
        lambda: nets.PointNet(0),
        lambda: nets.DeepSets(3, widths=(8, 0)),
        lambda: nets.DGCNN(3, k=0),
        lambda: nets.DGCNN(3, blocks=()),
        lambda: nets.PointNet2(3, groupings=[nets.Grouping(4, (0.1, 0.2), (3,), ((8,),))]),
        lambda: nets.PointNet2(3, groupings=[nets.Grouping(4, (-0.1,), (3,), ((8,),))]),
        lambda: nets.PointNet2Segmentation(3, down=((8,),)),
    ):
        with pytest.raises(ConfigError):
            wrong()
    for wrong in (
        lambda: nets.PointNet(3, norm="bach"),
        lambda: nets.DeepSets(3, kind="mox"),
        lambda: nets.SetLayer(3, 3, activation="rellu"),
        lambda: PointMLP((3, 3), activation="rellu"),
        lambda: pool(cloud(), None, "mox"),
    ):
        with pytest.raises(UnknownNameError, match="Did you mean"):
            wrong()

"""Group convolutions: exact equivariance, independent oracles, and kernels turned to the wrong side."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from equitools.errors import ConfigError, ShapeError
from equitools.groups import FiniteGroup
from equitools.nn import FiniteGroupLinear, GroupConv, GroupPool, LiftingConv
from equitools.ops import group_kernel, lifting_kernel, permute_pixels

EXACT = {"atol": 1e-12, "rtol": 0.0}
GRIDS = [("p4", 6), ("p4", 5), ("p4m", 6), ("p4m", 5), ("D2(2)", 4), ("O", 4), ("Oh", 3), ("S_3", 3)]


def on_grid(group, a, images):
    return permute_pixels(group.matrices[a], images)


def moved(group, a, features):
    """(a·x)(h, p) = x(a⁻¹h, a⁻¹p)."""
    return on_grid(group, a, features[:, :, group.product(group.inverse[a], torch.arange(group.order))])


def some(group):
    return range(0, group.order, max(1, group.order // 8))


@torch.no_grad()
def deviation(group, layer, x, y):
    return max(float((layer(moved(group, a, x)) - moved(group, a, y)).abs().max()) for a in some(group))


@pytest.mark.parametrize("padding", ["circular", "zeros", "valid"])
@pytest.mark.parametrize(("name", "size"), GRIDS)
def test_equivariance(name, size, padding):
    group = FiniteGroup.named(name)
    d = group.matrices.shape[-1]
    lift = LiftingConv(2, 2, 3, group, padding=padding).double()
    x = torch.randn(1, 2, *[size] * d, dtype=torch.float64)
    y = lift(x)
    for a in some(group):
        torch.testing.assert_close(lift(on_grid(group, a, x)), moved(group, a, y), **EXACT)
    conv = GroupConv(2, 1, 3, group, padding=padding).double()
    features = torch.randn(1, 2, group.order, *[size] * d, dtype=torch.float64)
    assert deviation(group, conv, features, conv(features)) < 1e-12


@pytest.mark.parametrize(("name", "size"), [("p4m", 6), ("Oh", 4)])
def test_shift_equivariance(name, size):
    group = FiniteGroup.named(name)
    d = group.matrices.shape[-1]
    conv = GroupConv(1, 2, 3, group).double()
    x = torch.randn(1, 1, group.order, *[size] * d, dtype=torch.float64)
    shift = lambda f: f.roll(tuple(range(1, d + 1)), tuple(range(-d, 0)))  # noqa: E731
    torch.testing.assert_close(conv(shift(x)), shift(conv(x)), **EXACT)


@pytest.mark.parametrize("kernel_size", [2, 4])
def test_even_kernels_without_padding(kernel_size):
    group = FiniteGroup.named("p4m")
    lift = LiftingConv(1, 2, kernel_size, group, padding="valid").double()
    x = torch.randn(1, 1, 6, 6, dtype=torch.float64)
    for a in range(8):
        torch.testing.assert_close(lift(on_grid(group, a, x)), moved(group, a, lift(x)), **EXACT)


@pytest.mark.parametrize(("padding", "size"), [("circular", 7), ("zeros", 5), ("valid", 7)])
def test_strides_where_they_are_exact(padding, size):
    group = FiniteGroup.named("p4m")
    conv = GroupConv(1, 2, 3, group, padding=padding, stride=2).double()
    x = torch.randn(1, 1, 8, size, size, dtype=torch.float64)
    y = conv(x)
    assert y.shape[-1] == (size - (3 if padding == "valid" else 1)) // 2 + 1
    assert deviation(group, conv, x, y) < 1e-12


@pytest.mark.parametrize(("padding", "size"), [("circular", 6), ("zeros", 8), ("valid", 6)])
def test_strides_are_refused_where_they_are_not(padding, size):
    conv = GroupConv(1, 1, 3, "p4", padding=padding, stride=2).double()
    x = torch.randn(1, 1, 4, size, size, dtype=torch.float64)
    with pytest.raises(ShapeError, match="not symmetric"):
        conv(x)
    # rightly so: without the check the answer is not turned
    conv._check_grid = lambda shape: None
    assert deviation(conv.group, conv, x, conv(x)) > 1e-2


def test_oracle():
    """Lifting: turn the image back, convolve with the kernel as it is, turn the answer."""
    group = FiniteGroup.named("p4m")
    lift = LiftingConv(2, 3, 3, group, padding="zeros", bias=False).double()
    x, kernel = torch.randn(1, 2, 5, 5, dtype=torch.float64), lift.weight.unflatten(-1, (3, 3))
    for g in range(8):
        back = on_grid(group, int(group.inverse[g]), x)
        wanted = on_grid(group, g, functional.conv2d(back, kernel, padding=1))
        torch.testing.assert_close(lift(x)[:, :, g], wanted, **EXACT)


def test_sum_by_hand():
    """Group convolution as its docstring has it, term by term."""
    group = FiniteGroup.named("p4m")
    conv = GroupConv(2, 2, 3, group).double()
    x = torch.randn(1, 2, 8, 4, 4, dtype=torch.float64)
    kernel = conv.weight.detach().unflatten(-1, (3, 3))
    wanted = conv.bias.detach()[None, :, None, None, None].expand(1, 2, 8, 4, 4).clone()
    for g in range(8):
        turned = on_grid(group, g, kernel)
        for h in range(8):
            part = turned[:, :, group.table[group.inverse[g], h]]
            for dx in (-1, 0, 1):
                for dy in (-1, 0, 1):
                    values = x[:, :, h].roll((-dx, -dy), (-2, -1))
                    wanted[:, :, g] += torch.einsum("oi,bixy->boxy", part[:, :, dx + 1, dy + 1], values)
    torch.testing.assert_close(conv(x), wanted, **EXACT)


@pytest.mark.parametrize("wrong", ["group on the right", "kernel not turned", "group not shifted"])
def test_wrong_kernels_are_flagged(wrong):
    """Copies made with the wrong side of the group, or with half of the action, are not equivariant."""
    group = FiniteGroup.named("p4m")
    conv = GroupConv(1, 1, 3, group).double()
    x = torch.randn(1, 1, 8, 5, 5, dtype=torch.float64)
    assert deviation(group, conv, x, conv(x)) < 1e-12
    everything = torch.arange(8)
    places, shift = conv.index % 9, group.product(group.inverse[:, None], everything)
    if wrong == "group on the right":
        shift = group.product(everything[:, None], group.inverse)
    elif wrong == "kernel not turned":
        places = torch.arange(9).expand_as(places)
    else:
        shift = everything.expand(8, -1)
    conv.index = shift[..., None] * 9 + places
    assert deviation(group, conv, x, conv(x)) > 1e-2


@pytest.mark.parametrize("name", ["C5", "p4m", "O", "A_4", "S_4"])
def test_equivariance_by_table_alone(name):
    known = FiniteGroup.named(name)
    group = FiniteGroup(known.table)  # abstract: numbers only
    layer = FiniteGroupLinear(2, 3, group).double()
    x = torch.randn(2, 2, group.order, dtype=torch.float64)
    for a in range(group.order):
        order = group.product(group.inverse[a], torch.arange(group.order))
        torch.testing.assert_close(layer(x[:, :, order]), layer(x)[:, :, order], **EXACT)


def test_all_equivariant_maps():
    """The maps that commute with the left regular representation have as many parameters as the group has elements."""
    group = FiniteGroup.named("S_3")
    left = group.regular_representation()
    eye = torch.eye(6, dtype=torch.float64)
    equations = torch.cat([torch.kron(a, eye) - torch.kron(eye, a.mT.contiguous()) for a in left])
    free = 36 - int(torch.linalg.matrix_rank(equations))
    layer = FiniteGroupLinear(1, 1, group, bias=False).double()
    assert layer.weight.numel() == free == 6
    maps = []
    for k in range(6):
        with torch.no_grad():
            layer.weight.copy_(torch.eye(6, dtype=torch.float64)[k])
        maps.append(layer(eye[:, None])[:, 0].mT.flatten())
    maps = torch.stack(maps).detach()
    assert torch.linalg.matrix_rank(maps) == 6
    assert float((equations @ maps.mT).abs().max()) == 0.0


def test_one_pixel_kernels_are_linear_layers():
    layer, conv = FiniteGroupLinear(2, 3, "p4m").double(), GroupConv(2, 3, 1, "p4m").double()
    conv.load_state_dict({"weight": layer.weight.unsqueeze(-1), "bias": layer.bias})
    x = torch.randn(2, 2, 8, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(layer(x), conv(x))


@pytest.mark.parametrize("mode", ["mean", "max"])
def test_invariance(mode):
    group, pool = FiniteGroup.named("p4m"), GroupPool("p4m", mode)
    x = torch.randn(2, 3, 8, 4, 4)
    for a in range(8):
        torch.testing.assert_close(pool(moved(group, a, x)), on_grid(group, a, pool(x)))


def test_cosets():
    group = FiniteGroup.named("p4m")
    pool = GroupPool(group, "mean", group.subgroup([2]))
    x = torch.randn(2, 3, 8, 4, 4, dtype=torch.float64)
    y = pool(x)
    assert y.shape == (2, 3, 4, 4, 4)
    coset_of = torch.empty(8, dtype=torch.long)
    coset_of[pool.rows] = torch.arange(4)[:, None].expand(4, 2)
    for a in range(8):
        order = coset_of[group.product(group.inverse[a], pool.rows[:, 0])]
        torch.testing.assert_close(pool(moved(group, a, x)), on_grid(group, a, y[:, :, order]), **EXACT)


def test_a_small_network_is_invariant():
    group = FiniteGroup.named("p4m")
    lift, conv = LiftingConv(1, 4, 3, group).double(), GroupConv(4, 4, 3, group).double()
    pool = GroupPool(group, "max")
    net = lambda x: pool(conv(functional.relu(lift(x))).amax((-2, -1)))  # noqa: E731
    x = torch.randn(2, 1, 6, 6, dtype=torch.float64)
    for a in range(8):
        torch.testing.assert_close(net(on_grid(group, a, x)), net(x), **EXACT)
    torch.testing.assert_close(net(x.roll((1, 2), (-2, -1))), net(x), **EXACT)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (LiftingConv(1, 1, 3), (1, 1, 3, 3)),
        (GroupConv(1, 1, 3, stride=2), (1, 1, 4, 3, 3)),
        (FiniteGroupLinear(1, 2, "S_3"), (1, 1, 6)),
        (GroupPool("p4"), (1, 2, 4)),
    ],
)
def test_derivatives_and_dtypes(layer, shape):
    assert layer(torch.zeros(0, *shape[1:])).shape[0] == 0
    assert layer(torch.randn(shape)).dtype == torch.float32
    layer = layer.double()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    names = dict(layer.named_parameters())

    def call(v, *p):
        return torch.func.functional_call(layer, dict(zip(names, p, strict=True)), v)

    assert torch.autograd.gradcheck(call, (x, *names.values()), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, (x, *names.values()), fast_mode=True)
    wide = torch.randn(*shape[:-1], 2 * shape[-1], dtype=torch.float64)[..., ::2]
    torch.testing.assert_close(layer(wide), layer(wide.contiguous()))


def test_what_is_refused():
    with pytest.raises(ConfigError, match="I has other elements"):
        LiftingConv(1, 1, 3, "I")
    with pytest.raises(ConfigError, match="signed permutation"):
        GroupConv(1, 1, 3, FiniteGroup.cyclic(6))
    with pytest.raises(ConfigError, match="odd side"):
        LiftingConv(1, 1, 4)
    with pytest.raises(ConfigError, match="'circular'"):
        LiftingConv(1, 1, 3, padding="reflect")
    with pytest.raises(ConfigError, match="stride"):
        LiftingConv(1, 1, 3, stride=0)
    with pytest.raises(ConfigError, match="Channels"):
        FiniteGroupLinear(0, 1, "p4")
    with pytest.raises(ConfigError, match="1 to 3 dimensions"):
        LiftingConv(1, 1, 1, "S_4")
    with pytest.raises(ConfigError, match="'mean' or 'max'"):
        GroupPool("p4", "sum")
    with pytest.raises(ShapeError, match="sides of one length"):
        LiftingConv(1, 1, 3)(torch.zeros(1, 1, 4, 6))
    assert LiftingConv(1, 1, 3, "D2(2)")(torch.zeros(1, 1, 4, 6)).shape == (1, 1, 4, 4, 6)  # exchanges no axes
    with pytest.raises(ShapeError, match="2 dimensions"):
        LiftingConv(1, 1, 3)(torch.zeros(1, 1, 4, 4, 4))
    with pytest.raises(ShapeError, match="wraps"):
        LiftingConv(1, 1, 9)(torch.zeros(1, 1, 3, 3))
    for layer, given in ((LiftingConv(2, 1), (1, 1, 3, 3)), (GroupConv(1, 1), (1, 1, 3, 3, 3)),
                         (FiniteGroupLinear(1, 1, "p4"), (1, 1, 5)), (GroupPool("p4"), (1, 1, 5))):  # fmt: skip
        with pytest.raises(ShapeError, match="needed"):
            layer(torch.zeros(given))
    with pytest.raises(ShapeError, match="kernel"):
        lifting_kernel(torch.zeros(1, 1, 4), torch.zeros(4, 9, dtype=torch.long))
    with pytest.raises(ShapeError, match="kernel"):
        group_kernel(torch.zeros(1, 1, 9), torch.zeros(4, 4, 9, dtype=torch.long))
    assert "group=p4" in repr(GroupConv(1, 1))
    assert "group=S_3" in repr(FiniteGroupLinear(1, 1, "S_3"))

"""Vector neurons: exact equivariance under rotations and reflections in several dimensions, masks, statistics."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups import SO, O
from equitools.nn import (
    VNBatchNorm,
    VNBlock,
    VNCrossProduct,
    VNDropout,
    VNInvariants,
    VNLeakyReLU,
    VNLinear,
    VNMaxPool,
    VNMeanPool,
)

C = 5
LAYERS: dict[str, Callable[[], torch.nn.Module]] = {
    "linear": lambda: VNLinear(C, 4),
    "relu": lambda: VNLeakyReLU(C),
    "relu_shared": lambda: VNLeakyReLU(C, 0.0, shared_direction=True),
    "norm": lambda: VNBatchNorm(C),
    "norm_rms": lambda: VNBatchNorm(C, centre=False),
    "dropout": lambda: VNDropout(0.4),
    "mean": VNMeanPool,
    "max": lambda: VNMaxPool(C),
    "block": lambda: VNBlock(C, 7),
}


def features(d: int, seed: int = 0, shape: tuple[int, ...] = (3, 6, C)) -> Tensor:
    return torch.randn(*shape, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer(name: str, training: bool) -> torch.nn.Module:
    torch.manual_seed(3)
    made = LAYERS[name]().double().train(training)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def called(module: torch.nn.Module, x: Tensor) -> Tensor:
    torch.manual_seed(11)  # dropout drops the same
    return module(x)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("name", LAYERS)
def test_equivariance(name: str, d: int, training: bool) -> None:
    """Each cloud of the batch has a rotation or reflection of its own."""
    x = features(d)
    module = layer(name, training)
    turn = O(d).sample((3,), torch.Generator().manual_seed(5))
    turn[0] = -torch.eye(d, dtype=torch.float64)
    moved = torch.einsum("bij,bncj->bnci", turn, x)
    out = called(module, x)
    wanted = torch.einsum("bij,b...cj->b...ci", turn, out)
    assert float(out.detach().abs().max()) > 0.1
    torch.testing.assert_close(called(module, moved), wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("d", [2, 3, 4])
def test_invariance(d: int) -> None:
    torch.manual_seed(0)
    module = VNInvariants(C, d).double()
    x, turn = features(d), O(d).sample((3, 1), torch.Generator().manual_seed(5))
    out = module(x)
    assert out.shape == (3, 6, module.num_invariants)
    torch.testing.assert_close(module(x @ turn.mT), out, atol=1e-12, rtol=0)
    # and they separate: with d directions the Gram matrix of all channels can be had from the numbers
    p = out.unflatten(-1, (C, d))
    core = module.direction.weight @ p  # (U X)(U X)ᵀ
    torch.testing.assert_close(p @ torch.linalg.solve(core, p.mT), x @ x.mT, atol=1e-8, rtol=1e-8)


def test_pseudovectors() -> None:
    torch.manual_seed(0)
    module = VNCrossProduct(C, 4).double()
    x = features(3)
    for turn in (*SO(3).sample((2,), torch.Generator().manual_seed(0)), -torch.eye(3, dtype=torch.float64)):
        wanted = torch.linalg.det(turn) * module(x) @ turn.T
        torch.testing.assert_close(module(x @ turn.T), wanted, atol=1e-12, rtol=0)
    assert module.representation == "pseudovector"
    with pytest.raises(ShapeError, match="three coordinates"):
        module(features(2))


def test_no_layer_has_a_constant_vector() -> None:
    """What a bias would break first: of zero vectors everything is zero."""
    for name in LAYERS:
        assert float(layer(name, False)(torch.zeros(2, 4, C, 3, dtype=torch.float64)).abs().max()) == 0


def test_half_space() -> None:
    torch.manual_seed(0)
    module = VNLeakyReLU(C, 0.0).double()
    x = features(3)
    k = module.direction(x)
    before, after = (x * k).sum(-1), (module(x) * k).sum(-1)
    assert float(before.min()) < -0.1
    assert float(after.min()) > -1e-9
    torch.testing.assert_close(after, before.clamp(min=0), atol=1e-9, rtol=0)
    same = VNLeakyReLU(C, 1.0).double()
    torch.testing.assert_close(same(x), x)


def test_norm_is_that_of_torch() -> None:
    """The lengths of the outputs are torch's batch norm of the lengths; the running statistics lead to the same."""
    module, oracle = VNBatchNorm(C).double(), torch.nn.BatchNorm1d(C, momentum=0.1).double()
    with torch.no_grad():
        module.weight.uniform_(0.5, 2)
        module.bias.uniform_(2, 3)  # type: ignore[union-attr]
    oracle.load_state_dict({"weight": module.weight, "bias": module.bias}, strict=False)
    x = features(3)
    out, lengths = module(x), oracle(x.norm(dim=-1).reshape(-1, C)).reshape(3, 6, C)
    torch.testing.assert_close(torch.einsum("bnci,bnci->bnc", out, x / x.norm(dim=-1, keepdim=True)), lengths)
    torch.testing.assert_close(module.running_mean, oracle.running_mean)
    plain = VNBatchNorm(C, centre=False).double()
    torch.testing.assert_close(plain(x).square().sum(-1).mean((0, 1)), torch.ones(C).double(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("centre", [True, False])
def test_running_statistics(centre: bool) -> None:
    module = VNBatchNorm(C, centre, momentum=1.0).double()
    x = features(3)
    torch.testing.assert_close(module(x), module.eval()(x))
    before = module.running_square.clone()
    module.train()(x[:0])
    module(x, torch.zeros(3, 6, dtype=torch.bool))
    torch.testing.assert_close(module.running_square, before, atol=0, rtol=0)


@pytest.mark.parametrize("name", ["norm", "norm_rms", "block"])
def test_masked_points_do_not_count(name: str) -> None:
    x, mask = features(3), torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])
    spoilt = torch.where(mask[..., None, None], x, 1e6 * torch.ones_like(x))
    one, other = layer(name, True), layer(name, True)
    torch.testing.assert_close(one(x, mask), other(spoilt, mask), atol=1e-12, rtol=0)
    assert float(one(spoilt, mask)[~mask].abs().max()) == 0
    alone = layer(name, True)
    torch.testing.assert_close(alone(x[mask].unsqueeze(0))[0], layer(name, True)(x, mask)[mask], atol=1e-12, rtol=0)


def test_whole_vectors() -> None:
    module = VNDropout(0.5)
    x = torch.ones(4, 50, 6, 3)
    out = module(x)
    assert set(out.unique().tolist()) == {0.0, 2.0}
    assert bool((out == out[..., :1]).all())
    assert 0.4 < float((out == 0).double().mean()) < 0.6
    assert module.eval()(x) is x


@pytest.mark.parametrize("name", ["mean", "max"])
def test_permutation_invariance(name: str) -> None:
    module, x = layer(name, False), features(3)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(module(x[:, order]), module(x), atol=1e-14, rtol=0)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [False] * 6])
    pooled = module(torch.where(mask[..., None, None], x, torch.full_like(x, float("inf"))), mask)
    torch.testing.assert_close(pooled[1], module(x[1:2, :4])[0])
    assert float(pooled[2].abs().max()) == 0
    assert module(x[:, :0]).shape == (3, C, 3)
    assert float(module(x[:, :0]).abs().max()) == 0


def test_max_pool_chooses_the_longest_along_its_direction() -> None:
    module, x = layer("max", False), features(3)
    score = (x * module.direction(x)).sum(-1)  # type: ignore[operator]
    best = score.argmax(1)
    for b in range(3):
        for c in range(C):
            torch.testing.assert_close(module(x)[b, c], x[b, best[b, c], c], atol=0, rtol=0)


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "dropout"])
def test_gradients(name: str) -> None:
    x = features(3, shape=(2, 3, C)).requires_grad_()
    module = layer(name, False)
    assert torch.autograd.gradcheck(module, (x,))
    assert torch.autograd.gradgradcheck(module, (x,))


@pytest.mark.parametrize("name", LAYERS)
def test_zero_vectors_have_finite_gradients(name: str) -> None:
    x = torch.zeros(2, 3, C, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(name, True)(x).sum(), x)
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_shapes_and_dtypes(name: str, dtype: torch.dtype) -> None:
    module = layer(name, False).to(dtype)
    x = features(3).to(dtype)
    strided = x.transpose(0, 1).contiguous().transpose(0, 1)
    assert module(x).dtype == dtype
    torch.testing.assert_close(called(module, strided), called(module, x))
    assert module.train()(x[:0]).shape == module(x)[:0].shape


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match=r"\[..., 5, d\].*given \[3, 6, 4, 3\]"):
        VNLinear(C, 4)(features(3)[..., :4, :].float())
    with pytest.raises(ShapeError, match="bool"):
        VNBatchNorm(C)(features(3).float(), torch.ones(3, 6))
    with pytest.raises(ShapeError, match=r"\[..., N, C, d\]"):
        VNMeanPool()(torch.zeros(3, 3))
    with pytest.raises(ConfigError, match="less than 1"):
        VNDropout(1.0)
    with pytest.raises(ConfigError, match="at least one channel"):
        VNLinear(0, 4)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        VNLeakyReLU(C, 2.0)
    with pytest.raises(TypeError):
        VNLinear(C, 4, bias=True)  # type: ignore[call-arg]

"""Networks of particles: the plain one, the frame-averaged one and the canonicalized one."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, DegenerateFrameError, ShapeError
from equitools.groups import random_orthogonal
from equitools.models import CNGNN, FAGNN, DeepSetsCanonicalizer, ParticleGNN
from equitools.models.cn_gnn import VectorDeepSetsLayer
from equitools.models.gnn import ParticleGNNLayer, others, pair_attributes
from equitools.symmetrize import Canonicalize, FrameAverage, Frames

EQUIVARIANT = {
    "fa": lambda: FAGNN(4, 3),
    "fa_paper": FAGNN,
    "fa_detached": lambda: FAGNN(4, 3, detach=True),
    "fa_canonical": lambda: FAGNN(2, 2, frame_options={"mode": "canonical"}),
    "cn_paper": CNGNN,
    "cn_small": lambda: CNGNN(8, 2, DeepSetsCanonicalizer(4, 2, features="pv")),
    "cn_charges": lambda: CNGNN(8, 2, DeepSetsCanonicalizer(features="pvc")),
}
ALL = {**EQUIVARIANT, "plain": lambda: ParticleGNN(8, 2)}
Systems = tuple[Tensor, Tensor, Tensor]


def systems(size: int = 6, number: int = 5, dtype: torch.dtype = torch.float64) -> Systems:
    loc, vel = torch.randn(2, size, number, 3, dtype=dtype)
    return loc, vel, torch.randn(size, number, 1, dtype=dtype).sign()


def moved(given: Systems) -> tuple[Systems, Tensor, Tensor]:
    """Each system turned or reflected and moved in its own way; at least one is reflected and one is not."""
    loc, vel, charges = given
    turn = random_orthogonal((len(loc),), dtype=loc.dtype)
    turn[0], turn[1] = turn[0] * torch.linalg.det(turn[0]), -turn[1] * torch.linalg.det(turn[1])
    move = 3 * torch.randn(len(loc), 1, 3, dtype=loc.dtype)
    return (loc @ turn.mT + move, vel @ turn.mT, charges), turn, move


def make(name: str) -> torch.nn.Module:
    torch.manual_seed(3)
    return ALL[name]().double().eval()


@pytest.mark.parametrize("number", [3, 5, 8])
@pytest.mark.parametrize("name", EQUIVARIANT)
def test_equivariance(name: str, number: int) -> None:
    network, given = make(name), systems(number=number)
    turned, turn, move = moved(given)
    before, after = network(*given), network(*turned)
    torch.testing.assert_close(after, before @ turn.mT + move, atol=1e-9, rtol=0)
    assert (before - given[0].mean(1, keepdim=True)).abs().amax((1, 2)).min() > 1e-3, "it answers next to nothing"


def test_the_plain_network_is_not_equivariant() -> None:
    network, given = make("plain"), systems()
    turned, turn, move = moved(given)
    assert (network(*turned) - network(*given) @ turn.mT - move).abs().amax((1, 2)).min() > 1e-2


@pytest.mark.parametrize("name", ALL)
def test_permutation(name: str) -> None:
    network, given = make(name), systems()
    order = torch.randperm(5)
    torch.testing.assert_close(network(*(part[:, order] for part in given)), network(*given)[:, order])


@pytest.mark.parametrize("name", ALL)
def test_padding(name: str) -> None:
    network, given = make(name), systems(4, 7)
    count = torch.tensor([7, 5, 3, 4])
    mask = torch.arange(7) < count[:, None]
    mask[3] = mask[3].flip(0)  # real particles need not come first
    answer = network(*given, mask)
    assert torch.equal(answer[~mask], torch.zeros_like(answer[~mask]))
    for k in range(4):
        alone = network(*(part[k : k + 1, mask[k]] for part in given))
        torch.testing.assert_close(answer[k, mask[k]], alone[0])
    other = [torch.where(mask[..., None], part, 1e3 * torch.rand_like(part)) for part in given]
    torch.testing.assert_close(network(*other, mask), answer)


@pytest.mark.parametrize("number", [1, 2, 3, 6])
@pytest.mark.parametrize("name", ALL)
def test_any_number(name: str, number: int) -> None:
    given = systems(2, number)
    answer = make(name)(*given)
    assert answer.shape == given[0].shape
    assert answer.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_empty_batch_single_precision_and_strides(name: str) -> None:
    network, given = make(name), systems()
    assert network(*(part[:0] for part in given)).shape == (0, 5, 3)
    strided = [torch.stack([part, part], -1)[..., 1] for part in given]
    assert not strided[0].is_contiguous()
    answer = network(*given)
    torch.testing.assert_close(network(*strided), answer)
    single = network.float()(*(part.float() for part in given))
    assert single.dtype == torch.float32
    told = torch.ones(6, dtype=torch.bool)
    if isinstance(network, CNGNN):  # systems whose side float32 cannot tell have weighted frames
        loc, vel, charges = (part.float() for part in given)
        told = network.canonicalizer(loc - loc.mean(1, keepdim=True), vel, charges).weights[:, 0] == 1
        assert told.sum() >= 4
    torch.testing.assert_close(single.double()[told], answer[told], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["fa", "cn_small", "plain"])
def test_gradients(name: str) -> None:
    network, (loc, vel, charges) = make(name), systems(1, 4)
    loc, vel = loc.requires_grad_(), vel.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, v: network(x, v, charges), (loc, vel))


def test_detached_frames_change_gradients_but_not_values() -> None:
    network, (loc, vel, charges) = make("fa"), systems()
    gradients = []
    for network.detach in (False, True):
        x = loc.clone().requires_grad_()
        answer = network(x, vel, charges)
        gradients.append((answer, *torch.autograd.grad(answer.square().sum(), x)))
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    assert (gradients[0][1] - gradients[1][1]).abs().max() > 1e-3


def test_layer_is_the_published_one() -> None:
    """A loop over pairs with the concatenated input says the same as the split map."""
    layer = ParticleGNNLayer(6, 2).double()
    h, (loc, _, charges) = torch.randn(2, 4, 6, dtype=torch.float64), systems(2, 4)
    found = layer(h, pair_attributes(loc, charges))
    silu = torch.nn.functional.silu
    for b in range(2):
        for i in range(4):
            total = torch.zeros(6, dtype=torch.float64)
            for j in range(4):
                if j != i:
                    pair = torch.cat([charges[b, i] * charges[b, j], (loc[b, i] - loc[b, j]).square().sum()[None]])
                    total += silu(layer.second(silu(layer.first(torch.cat([h[b, i], h[b, j], pair])))))
            torch.testing.assert_close(found[b, i], h[b, i] + layer.node(torch.cat([h[b, i], total])))


def by_hand(network: FAGNN, loc: Tensor, vel: Tensor, charges: Tensor) -> Tensor:
    """The paper's construction for one system, ``[N, 3]`` each: a loop over the eight frames of each layer."""

    def frames_of(cloud: Tensor) -> list[Tensor]:
        _, axes = torch.linalg.eigh(cloud.T @ cloud)
        return [axes * torch.tensor(signs, dtype=cloud.dtype) for signs in itertools.product((1, -1), repeat=3)]

    attributes = pair_attributes(loc, charges)
    centre, vectors = loc.mean(0), network.vectors
    x = loc - centre
    found = frames_of(x)
    features = [network.embedding(torch.cat([x @ g, vel @ g], -1)) for g in found]
    for layer in network.layers:
        features = [layer(h, attributes) for h in features]
        if layer is not network.layers[-1]:
            turned = [h.reshape(-1, 3) @ g.T for h, g in zip(features, found, strict=True)]
            latent = torch.stack(turned).mean(0)
            latent = latent - latent.mean(0)
            found = frames_of(latent)
            features = [(latent @ g).reshape(-1, 3 * vectors) for g in found]
    return torch.stack([network.decoder(h) @ g.T for h, g in zip(features, found, strict=True)]).mean(0) + centre


def test_frame_averaging_is_the_published_one() -> None:
    network, given = make("fa_paper"), systems(3)
    wanted = torch.stack([by_hand(network, *one) for one in zip(*given, strict=True)])
    torch.testing.assert_close(network(*given), wanted, atol=1e-11, rtol=0)


def test_others() -> None:
    assert others(3).tolist() == [[1, 2], [0, 2], [0, 1]]
    assert others(1).shape == (1, 0)


@pytest.mark.parametrize("features", ["pv", "pvc"])
def test_canonicalizer_equivariance(features: str) -> None:
    canonicalizer, given = DeepSetsCanonicalizer(features=features).double().eval(), systems()
    centred = (given[0] - given[0].mean(1, keepdim=True), *given[1:])
    turned, turn, move = moved(centred)
    elements, weights = canonicalizer(*centred)
    after = canonicalizer(turned[0] - move, *turned[1:]).elements
    torch.testing.assert_close(after[:, 0], turn @ elements[:, 0], atol=1e-9, rtol=0)
    torch.testing.assert_close(elements @ elements.mT, torch.eye(3).double().expand_as(elements))
    assert torch.equal(weights, torch.ones(6, 1, dtype=torch.float64))


def test_third_vector_next_to_the_plane_of_the_others() -> None:
    """Gram–Schmidt loses the digits of a third vector that is nearly dependent; its side is all that is needed."""
    canonicalizer, (loc, vel, charges) = DeepSetsCanonicalizer(features="pv").eval(), systems(50)
    loc[..., 2], vel[..., 2] = 1e-2 * loc[..., 2], 1e-2 * vel[..., 2]
    loc = loc - loc.mean(1, keepdim=True)
    single, weights = canonicalizer(loc.float(), vel.float(), charges.float())
    told = weights[:, 0] == 1
    assert told.sum() >= 45
    double = canonicalizer.double()(loc, vel, charges).elements
    torch.testing.assert_close(single[told, 0].double(), double[told, 0], atol=1e-3, rtol=0)


def test_element_is_that_of_gram_and_schmidt() -> None:
    canonicalizer, (loc, vel, charges) = DeepSetsCanonicalizer().double().eval(), systems()
    loc = loc - loc.mean(1, keepdim=True)
    vectors: list[Tensor] = []
    canonicalizer.output.register_forward_hook(lambda module, given, out: vectors.append(out))
    found = canonicalizer(loc, vel, charges).elements[:, 0]
    q, r = torch.linalg.qr(vectors[0])
    torch.testing.assert_close(found, q * r.diagonal(dim1=1, dim2=2).sign().unsqueeze(1))


def test_positions_alone_say_nothing() -> None:
    """Why positions alone are no choice of features: without biases the mean of all vectors is zero."""
    x = torch.randn(3, 5, 3, 1, dtype=torch.float64)
    x = x - x.mean(1, keepdim=True)
    weight = torch.ones(3, 5, 1, 1, dtype=torch.float64)
    for inputs, outputs in ((1, 8), (8, 8), (8, 8)):
        x = VectorDeepSetsLayer(inputs, outputs).double()(x, weight)
    assert x.abs().max() > 0.05
    torch.testing.assert_close(x.mean(1), torch.zeros_like(x.mean(1)))


def test_systems_in_a_plane() -> None:
    """The vectors of a system that moves in a plane do not span space."""
    network, (loc, vel, charges) = make("cn_small"), systems()
    loc[2, :, 2], vel[2, :, 2] = 0.5, 0.0
    given = (loc, vel, charges)
    turned, turn, move = moved(given)
    torch.testing.assert_close(network(*turned), network(*given) @ turn.mT + move, atol=1e-9, rtol=0)
    torch.testing.assert_close(network(*given)[2, :, 2], torch.full((5,), 0.5, dtype=torch.float64))
    loc.requires_grad_()
    (gradient,) = torch.autograd.grad(network(*given).square().sum(), loc)
    assert gradient.isfinite().all()
    strict = DeepSetsCanonicalizer(degenerate="raise").double().eval()
    with pytest.raises(DegenerateFrameError, match=r"System \[2\] of 6"):
        strict(loc - loc.mean(1, keepdim=True), vel, charges)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("features", ["pv", "pvc"])
def test_rounding_does_not_choose_a_side_of_planar_systems(dtype: torch.dtype, features: str) -> None:
    """In tilted planes heights are not exactly zero, and their signs are those of rounding."""
    for seed in range(5):
        torch.manual_seed(seed)
        canonicalizer = DeepSetsCanonicalizer(features=features).to(dtype).eval()
        loc, vel, charges = systems(320)
        generic = canonicalizer((loc - loc.mean(1, keepdim=True)).to(dtype), vel.to(dtype), charges.to(dtype))
        assert (generic.weights[:, 0] == 1).sum() >= (320 if dtype == torch.float64 else 316)
        loc[..., 2], vel[..., 2] = 0, 0
        turn = random_orthogonal((320,), dtype=torch.float64)
        loc, vel = (loc - loc.mean(1, keepdim=True)) @ turn.mT, vel @ turn.mT
        weights = canonicalizer(loc.to(dtype), vel.to(dtype), charges.to(dtype)).weights
        assert (weights[:, 0] < 1).all()


def test_dropout_leaves_out_whole_vectors() -> None:
    layer = VectorDeepSetsLayer(2, 64, dropout=0.5).double()
    given, weight = torch.randn(3, 5, 3, 2, dtype=torch.float64), torch.ones(3, 5, 1, 1, dtype=torch.float64)
    out = layer(given, weight)
    zero = out == 0
    assert torch.equal(zero.all(dim=2), zero.any(dim=2))
    assert 0.3 < zero.float().mean() < 0.7
    assert not (layer.eval()(given, weight) == 0).any()


def test_equivariance_of_training() -> None:
    """With the same vectors left out, a step of training sees turned systems as it does the others."""
    network, given = CNGNN().double().train(), systems()
    turned, turn, move = moved(given)
    torch.manual_seed(1)
    before, plain = network(*given), network.eval()(*given)
    torch.manual_seed(1)
    torch.testing.assert_close(network.train()(*turned), before @ turn.mT + move, atol=1e-9, rtol=0)
    assert (before - plain).abs().max() > 1e-3


def test_wrappers_make_the_plain_network_equivariant() -> None:
    net, given = make("plain"), systems()
    mask = torch.ones(6, 5, dtype=torch.bool)
    mask[1, 4] = False
    inner = DeepSetsCanonicalizer(features="pv").double().eval()

    def canonicalizer(x: Tensor, mask: Tensor | None = None) -> Frames:
        centre = (x * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None]
        elements, weights = inner(x - centre, (x - centre) ** 3, given[2], mask)
        affine = torch.zeros(6, 1, 4, 4, dtype=x.dtype)
        affine[..., :3, :3], affine[..., :3, 3], affine[..., 3, 3] = elements, centre, 1
        return Frames(affine, weights)

    declared = {"inputs": ("points", "vector", "scalar"), "outputs": "points"}
    averaged = FrameAverage(net, "E(3)", **declared)
    turned, turn, move = moved(given)
    wanted = (averaged(*given, mask=mask) @ turn.mT + move) * mask[..., None]
    torch.testing.assert_close(averaged(*turned, mask=mask) * mask[..., None], wanted, atol=1e-9, rtol=0)
    canonical = Canonicalize(net, canonicalizer, **declared)
    assert canonical(*given, mask=mask).isfinite().all()


def test_errors() -> None:
    loc, vel, charges = systems()
    for network in (ParticleGNN(4, 1), FAGNN(1, 1), CNGNN(4, 1)):
        with pytest.raises(ShapeError, match="Positions"):
            network(loc[0], vel[0], charges[0])
        with pytest.raises(ShapeError, match="Velocities"):
            network(loc, vel[:, :4], charges)
        with pytest.raises(ShapeError, match="Charges"):
            network(loc, vel, charges[..., 0])
        with pytest.raises(ShapeError, match="mask"):
            network(loc, vel, charges, torch.ones(6, 5))
    with pytest.raises(ShapeError, match="not finite"):
        FAGNN(1, 1)(loc.float() * torch.nan, vel.float(), charges.float())
    for wrong in (
        lambda: ParticleGNN(0),
        lambda: FAGNN(layers=0),
        lambda: DeepSetsCanonicalizer(dropout=1.0),
        lambda: DeepSetsCanonicalizer(features="p"),
        lambda: DeepSetsCanonicalizer(degenerate="ignore"),
    ):
        with pytest.raises(ConfigError):
            wrong()

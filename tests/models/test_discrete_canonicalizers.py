"""Discrete canonicalizers: exact equivariance to the table, the gradients of both estimators, ties."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups import SO, finite_group
from equitools.models import DiscreteCanonicalizer, distinct_vectors_loss
from equitools.symmetrize import Canonicalize, identity_prior

B, N = 5, 7


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Net(torch.nn.Module):
    """No symmetry but that of permutations."""

    def __init__(self, d: int, size: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.point = torch.nn.Sequential(torch.nn.Linear(d, 16), torch.nn.Tanh(), torch.nn.Linear(16, size))

    def forward(self, points: Tensor, mask: Tensor | None = None) -> Tensor:
        found = self.point(points)
        return found.sum(1) if mask is None else (found * mask.unsqueeze(-1)).sum(1)


def build(name: str, size: int = 4, training: bool = False, **options: Any) -> DiscreteCanonicalizer:
    net = Net(finite_group(name).shape[1], size)
    return DiscreteCanonicalizer(name, net, vector_size=size, **options).double().train(training)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("name", ["C4", "D6(2)", "O", "Ih", "C1"])
def test_equivariance(name: str, size: int) -> None:
    pose, table = build(name, size), finite_group(name)
    x = random(1, B, N, table.shape[1])
    element = pose(x)
    assert len({tuple(g.flatten().tolist()) for g in element}) > (name != "C1")
    for h in table[:: max(1, len(table) // 6)]:
        torch.testing.assert_close(pose(x @ h.T), h @ element, atol=1e-12, rtol=0)
    scores = pose.activations(x).scores
    assert scores.shape == (B, len(table))
    seen = [pose.activations(x @ g).scores[:, 0] for g in table]  # the identity's score of g⁻¹x is the score of g
    torch.testing.assert_close(torch.stack(seen, 1), scores, atol=1e-12, rtol=0)


def test_pipelines_are_equivariant() -> None:
    model = Canonicalize(Net(3, 3), build("O", translation=True), "points", "vector").double()
    x = random(1, B, N, 3)
    h = finite_group("O")[torch.tensor([1, 5, 9, 13, 23])]
    moved = x @ h.mT + random(2, B, 1, 3)
    torch.testing.assert_close(model(moved), (h @ model(x).unsqueeze(-1)).squeeze(-1), atol=1e-11, rtol=0)
    mask = torch.ones(B, N, dtype=torch.bool)
    mask[2, 4:] = False
    torch.testing.assert_close(model(x, mask=mask)[2], model(x[2:3, :4])[0], atol=1e-11, rtol=0)


def test_a_group_that_it_is_part_of_is_another_matter() -> None:
    pose, x, h = build("O"), random(1, B, N, 3), SO(3).sample((), torch.Generator().manual_seed(0))
    assert float((pose(x @ h.T) - h @ pose(x)).abs().max()) > 0.1


def test_straight_through() -> None:
    """The value is one element; the gradient by the scores is that of the softmax's average."""
    pose = build("O", training=True, temperature=0.7)
    scores, weight = random(2, B, 24).requires_grad_(), random(3, B, 3, 3)
    element = pose.choose(scores)
    torch.testing.assert_close(element, finite_group("O")[scores.argmax(-1)], atol=0, rtol=0)
    (found,) = torch.autograd.grad((element * weight).sum(), scores)
    mean = torch.einsum("bg,gij->bij", (scores / 0.7).softmax(-1), finite_group("O"))
    (wanted,) = torch.autograd.grad((mean * weight).sum(), scores)
    torch.testing.assert_close(found, wanted)
    assert float(found.abs().max()) > 1e-3


@pytest.mark.parametrize("estimator", ["straight-through", "gumbel"])
def test_gradients_reach_the_network(estimator: str) -> None:
    pose = build("O", training=True, estimator=estimator)
    pose(random(1, B, N, 3))[:, 0, 1].sum().backward()
    for parameter in pose.parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.isfinite().all())
        assert float(parameter.grad.abs().sum()) > 0


def test_gumbel_draws_with_the_probabilities_of_the_softmax() -> None:
    pose = build("C4", training=True, estimator="gumbel", temperature=0.5)
    scores = torch.tensor([0.0, 0.3, -0.4, 0.1]).double()
    torch.manual_seed(0)
    drawn = pose.choose(scores.expand(20_000, 4))
    table = finite_group("C4")
    share = torch.stack([((drawn - g).abs().amax((1, 2)) == 0).double().mean() for g in table])
    assert float(share.sum()) == pytest.approx(1)
    torch.testing.assert_close(share, (scores / 0.5).softmax(0), atol=0.015, rtol=0)


@pytest.mark.parametrize("estimator", ["straight-through", "gumbel"])
def test_evaluation_is_deterministic(estimator: str) -> None:
    pose, x = build("O", estimator=estimator), random(1, B, N, 3).requires_grad_()
    element = pose(x)
    assert torch.equal(element, pose(x))
    assert not element.requires_grad  # the choice is piecewise constant
    assert element.dtype == torch.float64
    assert build("O").float()(x.detach().float()).dtype == torch.float32


def test_of_equal_scores_the_first_is_chosen() -> None:
    scores = torch.tensor([[0.0, 1.0, 1.0, 0.5], [2.0, 2.0, 2.0, 2.0]]).double()
    torch.testing.assert_close(build("C4").choose(scores), finite_group("C4")[torch.tensor([1, 0])])


def test_prior_teaches_the_identity() -> None:
    pose, x = build("C4", training=True), random(1, B, N, 3)
    optimizer = torch.optim.Adam(pose.parameters(), 0.03)
    for _ in range(150):
        scores, vectors = pose.activations(x)
        loss = identity_prior(scores, "discrete") + 0.1 * distinct_vectors_loss(vectors)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(pose.eval()(x), torch.eye(3).double().expand(B, 3, 3))
    h = finite_group("C4")[3]
    torch.testing.assert_close(pose(x @ h.T), h.expand(B, 3, 3))


def test_zero_of_orthogonal_vectors() -> None:
    assert float(distinct_vectors_loss(3 * torch.eye(4).expand(2, 4, 4))) == 0
    assert float(distinct_vectors_loss(torch.ones(2, 4, 3))) == pytest.approx(1)
    assert float(distinct_vectors_loss(torch.zeros(0, 4, 3))) == 0
    assert float(distinct_vectors_loss(torch.ones(2, 1, 3))) == 0
    half = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]])
    assert float(distinct_vectors_loss(half)) == pytest.approx(0.5)


def test_empty_batches() -> None:
    assert build("O")(torch.zeros(0, N, 3).double()).shape == (0, 3, 3)


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match="orthogonal"):
        DiscreteCanonicalizer(2 * torch.eye(3)[None], Net(3, 1))
    with pytest.raises(ShapeError, match=r"\[G, d, d\]"):
        DiscreteCanonicalizer(torch.eye(3), Net(3, 1))
    with pytest.raises(ConfigError, match="Did you mean 'gumbel'"):
        build("O", estimator="gumble")
    with pytest.raises(ConfigError, match="positive"):
        build("O", temperature=0.0)
    with pytest.raises(ConfigError, match="vector_size"):
        DiscreteCanonicalizer("O", Net(3, 1), vector_size=0)
    with pytest.raises(ShapeError, match=r"must return \[120, 2\]"):
        DiscreteCanonicalizer("O", Net(3, 3), vector_size=2).double()(random(0, B, N, 3))
    with pytest.raises(ShapeError, match=r"\[B, G, V\]"):
        distinct_vectors_loss(torch.zeros(2, 3))


def test_masks_are_not_dropped() -> None:
    x, mask = random(1, B, N, 3), torch.ones(B, N, dtype=torch.bool)
    blind = DiscreteCanonicalizer("O", lambda y: (y[..., 0] ** 3).sum(1))
    torch.testing.assert_close(blind.eval()(x, mask), blind(x))  # nothing is left out
    mask[2, 4:] = False
    with pytest.raises(ConfigError, match="no parameter 'mask'"):
        blind(x, mask)

    def seeing(y: Tensor, **options: Tensor) -> Tensor:
        return (y[..., 0] ** 3 * options["mask"]).sum(1)

    element = DiscreteCanonicalizer("O", seeing).eval()(x, mask)
    torch.testing.assert_close(element[2:3], blind(x[2:3, :4]))


def test_coordinates_have_to_be_finite() -> None:
    pose, x = build("O"), random(1, B, N, 3)
    x[3, 6, 1] = torch.nan
    with pytest.raises(ShapeError, match=r"not finite.*\[3\]"):
        pose(x)
    mask = torch.ones(B, N, dtype=torch.bool)
    mask[3, 6] = False
    assert bool(pose(torch.where(mask.unsqueeze(-1), x, 0.0), mask).isfinite().all())


def test_a_table_has_to_be_closed() -> None:
    with pytest.raises(ShapeError, match="not closed"):
        DiscreteCanonicalizer(finite_group("O")[:5], Net(3, 1))


def test_the_table_is_saved_with_the_module_and_keeps_its_digits(tmp_path: Path) -> None:
    h = SO(3).sample((), torch.Generator().manual_seed(0)).double()
    table = h @ finite_group("D3") @ h.T
    pose, x = DiscreteCanonicalizer(table, Net(3, 1)).eval(), random(1, B, N, 3)
    assert torch.equal(pose.float().double().elements, table)
    torch.save(pose.state_dict(), tmp_path / "pose.pt")
    other = DiscreteCanonicalizer("D3", Net(3, 1)).double().eval()
    other.load_state_dict(torch.load(tmp_path / "pose.pt", weights_only=True))
    assert torch.equal(other.elements, table)
    torch.testing.assert_close(other(x), pose(x), atol=0, rtol=0)
    with pytest.raises(RuntimeError, match="size mismatch"):
        DiscreteCanonicalizer("O", Net(3, 1)).load_state_dict(pose.state_dict())

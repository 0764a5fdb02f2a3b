"""Searches for symmetries: the generator, the game, and small data sets whose symmetry is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equitools.errors import ConfigError, ShapeError
from equitools.groups import algebra_cosine
from equitools.training import (
    DivergenceError,
    LieGAN,
    LieGenerator,
    PairDiscriminator,
    find_symmetry,
    judge_symmetry,
)
from equitools.training.lie_gan import mean_cosine
from equitools.training.lie_generator import act_on_vectors

TURN = torch.tensor([[0.0, -1.0], [1.0, 0.0]])


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_elements_are_exponentials() -> None:
    generator = LieGenerator(6, 2, blocks=2, generator=random(0)).double()
    z = torch.randn(5, 2, generator=random(1), dtype=torch.float64)
    wanted = torch.stack([torch.matrix_exp((a[:, None, None] * generator.algebra).sum(0)) for a in z])
    torch.testing.assert_close(generator.elements(z), wanted)
    assert torch.autograd.gradcheck(generator.elements, (z.requires_grad_(),))
    assert generator.elements(z[:0]).shape == (0, 6, 6)


@pytest.mark.parametrize("blocks", [2, [(0, 4), (2, 1), (3, 5)], [(0, 1, 2), (3,), (4, 5)], None])
def test_blocks_are_kept(blocks: Any) -> None:
    generator = LieGenerator(6, blocks=blocks, generator=random(2))
    apart = torch.ones(6, 6)
    for block in generator.blocks:
        for i in block:
            apart[i, block] = 0.0
    g = generator.elements(torch.ones(1, 1))[0].detach()
    assert float((apart * generator.algebra[0].detach()).abs().sum()) == 0
    assert float((apart * g).abs().sum()) == 0
    torch.testing.assert_close(g, torch.matrix_exp(generator.algebra[0]))
    generator.elements(torch.ones(1, 1)).sum().backward()
    assert float((apart * generator.weight.grad[0]).abs().sum()) == 0


def test_one_element_moves_both() -> None:
    generator = LieGenerator(2, generator=random(3))
    x = torch.randn(7, 2, generator=random(4))
    moved, also = generator(x, torch.stack([x, -x], 1))
    torch.testing.assert_close(also, torch.stack([moved, -moved], 1))
    label = torch.arange(7)
    assert torch.equal(LieGenerator(2, y="scalar")(x, label)[1], label)
    custom = LieGenerator(2, generator=random(3), y=lambda g, y: y * torch.linalg.det(g))
    z = torch.randn(7, 1, generator=random(5))
    torch.testing.assert_close(custom(x, torch.ones(7), z)[1], torch.linalg.det(custom.elements(z)))


def test_identity_at_zero() -> None:
    x = torch.randn(4, 3, 6, generator=random(6))
    for blocks in (3, None):
        found, _ = LieGenerator(6, 2, blocks=blocks)(x, x, torch.zeros(4, 2))
        assert torch.equal(found, x)


def test_distributions() -> None:
    for distribution, scale, low, high, spread in (
        ("normal", 2.0, -20, 20, 2.0), ("uniform", 3.0, -3, 3, math.sqrt(3)), ("integers", 4, -4, 3, math.sqrt(5.25)),
    ):  # fmt: skip
        z = LieGenerator(2, 2, distribution=distribution, scale=scale).coefficients(20_000, random(7))
        assert z.shape == (20_000, 2)
        assert low <= float(z.min()) <= float(z.max()) <= high
        assert abs(float(z.std()) - spread) < 0.05
        assert bool((z == z.round()).all()) == (distribution == "integers")
    assert set(z.unique().tolist()) == set(range(-4, 4))


def test_overlap() -> None:
    generator = LieGenerator(2, 3)
    with torch.no_grad():
        generator.weight.copy_(torch.stack([TURN, 5 * TURN, torch.eye(2)]))
    assert float(generator.overlap().detach()) == pytest.approx(2, rel=1e-5)  # one parallel pair, times d
    assert float(LieGenerator(2, 1).overlap().detach()) == 0


def test_one_player_a_step() -> None:
    game = LieGAN(LieGenerator(2, y="scalar"), PairDiscriminator(3, 8))
    seen: list[tuple[str, list[Tensor]]] = []

    class Watched(torch.optim.SGD):
        def __init__(self, name: str, module: nn.Module) -> None:
            super().__init__(module.parameters(), lr=0.1)
            self.name = name

        def step(self, *_: Any, **__: Any) -> None:
            before = [p.detach().clone() for p in game.parameters()]
            super().step()
            seen.append((self.name, [a != b for a, b in zip(before, game.parameters(), strict=True)]))

    players = [Watched("generator", game.generator), Watched("discriminator", game.discriminator)]
    game.optimizers = lambda: players  # type: ignore[method-assign,assignment,return-value]
    game.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign,assignment]
    x = torch.randn(16, 2, generator=random(8))
    game.training_step((x, x.norm(dim=1)), 0)
    assert [name for name, _ in seen] == ["generator", "discriminator"]
    names = [name for name, _ in game.named_parameters()]
    for player, changed in seen:
        for name, different in zip(names, changed, strict=True):
            assert bool(different.any()) == name.startswith(player), (player, name)
    assert all(parameter.requires_grad for parameter in game.parameters())


def test_mean_cosine() -> None:
    x = torch.randn(50, 1, 4, generator=random(9))
    assert float(mean_cosine(x, x)) == pytest.approx(1)
    assert float(mean_cosine(torch.cat([x, -x]), torch.cat([x, x]))) < 1e-6


def rotation_task(number: int, stretch: float = 1.0) -> tuple[Tensor, Tensor]:
    """Vectors and a vector that turns with them, unless one axis counts more."""
    x = torch.randn(number, 2, generator=random(10))
    weight = torch.tensor([1.0, stretch])
    return x * weight.reciprocal(), (x * weight).norm(dim=1, keepdim=True) * x


def quick(**options: Any) -> Any:
    x, y = rotation_task(1500)
    return find_symmetry(
        x, y, LieGenerator(2, generator=random(11)), PairDiscriminator(4, 64), epochs=12, generator_rate=1e-2,
        discriminator_rate=1e-3, **options,
    )  # fmt: skip


def test_rotations_are_found() -> None:
    found = quick()
    assert float(algebra_cosine(found.algebra[0], TURN)) > 0.98
    assert len(found.history) == 12
    assert found.discriminator_loss > 0.6
    assert found.displacement > 0.5
    assert found.history[-1]["algebra"] is found.algebra


def test_the_seed_is_all() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    x, y = rotation_task(100)

    def search(seed: int) -> Tensor:
        generator = LieGenerator(2, generator=random(0))
        return find_symmetry(x, y, generator, epochs=2, seed=seed).algebra

    first, second, other = search(1), search(1), search(2)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.rand(3), wanted)  # torch's own stream is where it was


def test_any_network_discriminates() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 4), nn.Bilinear(4, 1, 1)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.b(torch.tanh(self.a(x)), y)

    x = torch.randn(40, 2, generator=random(12))
    calls: list[dict[str, Any]] = []
    found = find_symmetry(
        x, x.norm(dim=1, keepdim=True), LieGenerator(2, 2, y="scalar"), Odd(), epochs=2, progress=calls.append,
        norm_weight=0.1, norm=1.0,
    )  # fmt: skip
    assert found.algebra.shape == (2, 2, 2)
    assert calls == found.history
    assert set(calls[0]) == {"generator_loss", "penalty", "overlap", "discriminator_loss", "displacement", "algebra"}


def test_guesses_at_symmetric_data() -> None:
    def verdict(algebra: Tensor, stretch: float) -> tuple[float, float, float]:
        generator = LieGenerator(2)
        with torch.no_grad():
            generator.weight.copy_(algebra)
        return judge_symmetry(*rotation_task(2000, stretch), generator, PairDiscriminator(4, 64), epochs=15, rate=3e-3)

    accuracy, error, way = verdict(TURN, 1.0)
    assert abs(accuracy - 0.5) < 4 * error
    assert 0.01 < error < 0.03
    assert way > 0.5
    for wrong in (verdict(TURN, 3.0), verdict(torch.eye(2), 1.0)):
        assert wrong[0] > 0.5 + 8 * wrong[1]
    accuracy, error, way = verdict(torch.zeros(2, 2), 3.0)
    assert abs(accuracy - 0.5) < 4 * error
    assert way == 0
    with pytest.raises(ShapeError, match="four pairs"):
        judge_symmetry(torch.zeros(3, 2), torch.zeros(3, 2), LieGenerator(2))


def test_divergence_is_said() -> None:
    x = torch.randn(30, 2, generator=random(13))
    with pytest.raises(DivergenceError, match="diverged in epoch 1"):
        find_symmetry(x, x, LieGenerator(2, scale=1e6), epochs=1)


def test_wrong_input() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'uniform'"):
        LieGenerator(2, distribution="unifrm")
    with pytest.raises(ConfigError, match="whole"):
        LieGenerator(2, distribution="integers", scale=1.5)
    with pytest.raises(ConfigError, match="action"):
        LieGenerator(2, x="vectr")
    with pytest.raises(ConfigError, match="blocks of 3"):
        LieGenerator(8, blocks=3)
    with pytest.raises(ConfigError, match="once"):
        LieGenerator(3, blocks=[(0, 1), (1, 2)])
    with pytest.raises(ConfigError, match="at least 1"):
        LieGenerator(0)
    with pytest.raises(ShapeError, match="Coefficients"):
        LieGenerator(2).elements(torch.zeros(3, 2))
    with pytest.raises(ShapeError, match="'scalar'"):
        act_on_vectors(torch.zeros(3, 2, 2), torch.zeros(3))
    with pytest.raises(ConfigError, match="negative"):
        LieGAN(LieGenerator(2), PairDiscriminator(4), overlap_weight=-1.0)
    x = torch.randn(10, 2)
    with pytest.raises(ShapeError, match="pairs"):
        find_symmetry(x, x[:5], LieGenerator(2))
    with pytest.raises(ConfigError, match="epochs"):
        find_symmetry(x, x, LieGenerator(2), epochs=0)
    with pytest.raises(ShapeError, match="one logit"):
        find_symmetry(x, x, LieGenerator(2), lambda_network(), epochs=1)


def lambda_network() -> nn.Module:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.layer(x + y)

    return Two()

"""Weighted samples of groups that are not compact, against integrals that are known and against invariance."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups import (
    SL,
    SO,
    Affine,
    DiagonalScaling,
    GLPlus,
    ProductGroup,
    ScaledRotations,
    Scaling,
    haar_from_lebesgue,
    invariance_estimate,
    log_normal_spd,
    sample_polar,
    weighted_mean,
)
from equitools.groups.decompositions import polar_log_density

SAMPLES = 40_000


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bump(g: Tensor, seed: int = 0) -> Tensor:
    """A function of bounded support, with no symmetry."""
    n = g.shape[-1]
    reach = g.square().sum((-1, -2)) + torch.linalg.inv(g).square().sum((-1, -2)) - 2 * n
    direction = torch.randn(n, n, generator=random(seed), dtype=g.dtype)
    return torch.relu(1 - reach / 3) ** 2 * (1 + 0.5 * torch.tanh((direction * g).sum((-1, -2))))


def some_element(n: int, special: bool) -> Tensor:
    h = torch.matrix_exp(0.3 * torch.randn(n, n, generator=random(1), dtype=torch.float64))
    return h / torch.linalg.det(h) ** (1 / n) if special else h


def test_log_is_normal() -> None:
    for traceless in (False, True):
        p = log_normal_spd(3, (SAMPLES,), 0.4, traceless, random(2))
        assert float((p - p.mT).abs().max()) < 1e-12
        values, vectors = torch.linalg.eigh(p)
        x = vectors @ torch.diag_embed(values.log()) @ vectors.mT
        assert_close_mean = lambda values, wanted: (  # noqa: E731
            (values.mean() - wanted).abs() <= 5 * values.std() / math.sqrt(len(values)) + 1e-12
        )
        assert assert_close_mean(x[:, 0, 1] ** 2 * 2, 0.16)  # (E01 + E10)/√2 has norm 1
        assert assert_close_mean(x[:, 0, 0] ** 2, 0.16 * (1 - traceless / 3))
        assert assert_close_mean(x[:, 0, 2] ** 4 * 4, 3 * 0.16**2)
        if traceless:
            assert float((torch.linalg.det(p) - 1).abs().max()) < 1e-12
    assert log_normal_spd(2, (0,), dtype=torch.float32).dtype == torch.float32
    torch.testing.assert_close(log_normal_spd(3, spread=0.0), torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("proposal", ["normal", "ball"])
@pytest.mark.parametrize("group", [GLPlus(2), SL(2), SL(3)], ids=str)
def test_left_and_right_invariance(group: GLPlus, proposal: str) -> None:
    spread = {"normal": 1.0, "ball": 2.0}[proposal]  # the ball holds the supports of all three functions
    g, log_weight = sample_polar(group, (SAMPLES,), spread, proposal, generator=random(3))
    assert group.contains(g, 1e-8).all()
    h = some_element(group.n, isinstance(group, SL))
    values = torch.stack([bump(g), bump(h @ g), bump(g @ h)], -1)
    found = weighted_mean(values, log_weight, normalise=False)
    for k in (1, 2):
        assert abs(float(found.mean[k] - found.mean[0])) < 5 * float(torch.hypot(found.error[k], found.error[0]))
    assert float(found.error.max() / found.mean.min()) < (0.08 if group.n == 2 else 0.15)


def test_without_weights_it_is_not_invariant() -> None:
    """The same test sees that log-normal samples are not Haar."""
    g, _ = sample_polar("SL(2)", (SAMPLES,), 0.5, generator=random(3))
    h = torch.linalg.matrix_power(some_element(2, True), 2)
    difference = bump(h @ g) - bump(g)
    assert abs(float(difference.mean())) > 5 * float(difference.std()) / math.sqrt(SAMPLES)


@pytest.mark.parametrize("n", [1, 2])
def test_lebesgue(n: int) -> None:
    """∫ det(g)ⁿ exp(−|g|²/2) dμ = c (2π)^{n²/2} / 2: half of all matrices have a positive determinant."""
    g, log_weight = sample_polar(GLPlus(n), (SAMPLES,), 0.9, generator=random(4))
    found = weighted_mean(
        torch.linalg.det(g) ** n * torch.exp(-g.square().sum((-1, -2)) / 2), log_weight, normalise=False
    )
    wanted = haar_from_lebesgue(n) * (2 * math.pi) ** (n * n / 2) / 2
    assert abs(float(found.mean) - wanted) < 5 * float(found.error)
    assert float(found.error) < 0.05 * wanted


def test_the_measure_of_a_ball() -> None:
    """For SL(2), X has the eigenvalues ±r/√2 at radius r: ∫ sinh(√2 r)/(√2 r) 2π r dr = π (cosh(√2 R) − 1)."""
    radius = 1.7
    _, log_weight = sample_polar("SL(2)", (SAMPLES,), radius, "ball", generator=random(5))
    found = weighted_mean(torch.ones(SAMPLES, dtype=torch.float64), log_weight, normalise=False)
    assert abs(float(found.mean) - math.pi * (math.cosh(math.sqrt(2) * radius) - 1)) < 5 * float(found.error)
    assert float(found.error) < 0.01 * float(found.mean)
    longest = math.sqrt(2) * radius  # weights are bounded
    assert float(log_weight.exp().max()) <= math.pi * radius**2 * math.sinh(longest) / longest + 1e-9


def test_weights_hold_the_published_density() -> None:
    for group in (GLPlus(3), SL(3)):
        g, log_weight = sample_polar(group, (20,), 0.5, "ball", generator=random(6))
        values, vectors = torch.linalg.eigh(g @ g.mT)
        p = vectors @ torch.diag_embed(values.sqrt()) @ vectors.mT
        difference = log_weight - polar_log_density(p)
        torch.testing.assert_close(difference, difference[:1].expand(20), atol=1e-8, rtol=0)


def test_affine_groups_have_a_left_measure() -> None:
    group = Affine(GLPlus(1))
    g, log_weight = sample_polar(group, (SAMPLES,), 0.8, translation=2.0, generator=random(7))
    assert group.contains(g).all()
    h = torch.tensor([[1.6, 0.5], [0.0, 1.0]], dtype=torch.float64)

    def f(g: Tensor) -> Tensor:
        return torch.relu(1 - g[:, 0, 0].log() ** 2) * torch.exp(-(g[:, 0, 1] ** 2))

    found = weighted_mean(torch.stack([f(g), f(h @ g), f(g @ h)], -1), log_weight, normalise=False)
    left, right = (abs(float(found.mean[k] - found.mean[0])) for k in (1, 2))
    assert left < 5 * float(torch.hypot(found.error[1], found.error[0]))
    assert right > 5 * float(torch.hypot(found.error[2], found.error[0]))  # the group is not unimodular
    # ∫ relu(1 − s²) e^{−t²} e^{−s} ds dt, s the logarithm of the scale
    assert abs(float(found.mean[0]) - 4 / math.e * math.sqrt(math.pi)) < 5 * float(found.error[0])


def test_products_and_scalings() -> None:
    """∫ relu(1 − |log s|) is 1 for each logarithm of a factor, as long as the ball holds the support."""
    for proposal, spread in (("normal", 0.8), ("ball", 1.5)):
        for group, wanted in (
            (Scaling(3), 1.0),
            (DiagonalScaling(2), 1.0),
            (ScaledRotations(2), 1.0),
            (ProductGroup(SO(3), Scaling(2)), 1.0),
            (ProductGroup(Scaling(1), "Scaling(2)"), 1.0),
        ):
            g, log_weight = sample_polar(group, (SAMPLES,), spread, proposal, generator=random(15))
            assert group.contains(g).all()
            factors = g if not isinstance(group, ProductGroup) else group.split(g)[-1]
            logs = torch.linalg.det(factors).abs().log().unsqueeze(-1) / factors.shape[-1]
            if isinstance(group, DiagonalScaling):
                logs = factors.diagonal(dim1=-2, dim2=-1).log()
            if group.name.startswith("Scaling(1)x"):
                logs = torch.cat([logs, group.split(g)[0][:, 0].log()], -1)
            found = weighted_mean(torch.relu(1 - logs.abs()).prod(-1), log_weight, normalise=False)
            assert abs(float(found.mean) - wanted) < 5 * float(found.error), (group, proposal)
    g, log_weight = sample_polar("SE(3)", (5,), translation=2.0, generator=random(16))
    torch.testing.assert_close(
        log_weight, g[:, :3, 3].square().sum(-1) / 8 + 3 * math.log(2 * math.sqrt(2 * math.pi))
    )  # fmt: skip


def test_rotations_have_weight_one() -> None:
    g, log_weight = sample_polar("SO(3)", (4,))
    assert SO(3).contains(g).all()
    assert not log_weight.any()
    assert sample_polar("SL(2)", (0,), proposal="ball")[1].shape == (0,)
    assert sample_polar("GL+(2)", (), dtype=torch.float32)[0].dtype == torch.float32


def test_error_bars_are_honest() -> None:
    """Of 200 estimates about a third is off by more than one standard error, and about 5 % by more than two."""
    generator = random(8)
    off = {True: [], False: []}  # type: ignore[var-annotated]
    for _ in range(200):
        x = torch.randn(400, generator=generator, dtype=torch.float64)
        log_weight = -0.5 * ((x - 0.7) ** 2 - x**2)  # from N(0, 1) to N(0.7, 1)
        for normalise in (True, False):
            found = weighted_mean(x**2, log_weight, normalise)
            off[normalise].append(float((found.mean - 1.49).abs() / found.error))
    for ratios in off.values():
        values = torch.tensor(ratios)
        assert 0.2 < float((values > 1).double().mean()) < 0.45
        assert float((values > 2).double().mean()) < 0.12
    assert 200 < found.effective < 300  # 400 e^{−0.49} = 245


def test_of_a_constant() -> None:
    found = weighted_mean(torch.full((5, 2), 3.0), torch.linspace(-700, 700, 5))
    torch.testing.assert_close(found.mean, torch.full((2,), 3.0))
    assert float(found.error.max()) < 1e-6
    assert found.effective == pytest.approx(1)


def test_zero_for_invariants() -> None:
    x = torch.randn(6, 5, 3, generator=random(9), dtype=torch.float64)
    good = invariance_estimate(lambda x: torch.cdist(x, x), "E(3)", x, 20, generator=random(10))
    assert good.error < 1e-7
    assert good.samples == 20
    assert not good.exceeds(1e-6)
    mean = invariance_estimate(lambda x: x.mean(1), "O(3)", x, 10, act_out=lambda g, y: y @ g.mT, generator=random(14))
    assert mean.error < 1e-14


def test_error_bars_of_invariance() -> None:
    x = torch.randn(6, 5, 3, generator=random(9), dtype=torch.float64)
    bad = invariance_estimate(lambda x: x.abs().sum((1, 2)), "SO(3)", x, 200, generator=random(11))
    assert bad.exceeds(0.01)
    assert bad.worst > bad.error > 0.01
    again = invariance_estimate(lambda x: x.abs().sum((1, 2)), "SO(3)", x, 200, generator=random(12))
    assert abs(bad.error - again.error) < 4 * math.hypot(bad.standard_error, again.standard_error)
    many = invariance_estimate(lambda x: x.abs().sum((1, 2)), "SO(3)", x, 3200, generator=random(13))
    assert many.standard_error == pytest.approx(bad.standard_error / 4, rel=0.2)
    turned = invariance_estimate(
        lambda x: x.mean(1), "O(3)", x, 2, sampler=lambda shape, _: -torch.eye(3).expand(*shape, 3, 3)
    )  # fmt: skip
    assert turned.error == pytest.approx(2)
    assert turned.standard_error == 0


def test_wrong_input() -> None:
    with pytest.raises(ConfigError, match="proposal"):
        sample_polar("SL(2)", proposal="uniform")
    with pytest.raises(ConfigError, match="positive spread"):
        sample_polar("SL(2)", spread=0.0)
    with pytest.raises(ConfigError, match="not O"):
        sample_polar("O(1,3)")
    with pytest.raises(ConfigError, match="spread"):
        log_normal_spd(2, spread=-1.0)
    with pytest.raises(ShapeError, match="logarithms"):
        weighted_mean(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ConfigError, match="largest logarithm"):
        weighted_mean(torch.zeros(3), torch.full((3,), -math.inf))
    with pytest.raises(ConfigError, match="2 samples"):
        invariance_estimate(lambda x: x, "O(3)", torch.zeros(1, 2, 3), 1)
    with pytest.raises(ShapeError, match="one shape"):
        invariance_estimate(lambda x: x[: 1 + int(x[0, 0, 0] == 0)], "SE(3)", torch.zeros(2, 2, 3), 2)

"""Random and regular rotations: moments, characters, weights; every statistical bound is five standard errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.groups import (
    SO,
    O,
    log_uniform_rotations,
    rotation_volume,
    sample_haar,
    spaced_rotations,
    weighted_mean,
    wigner_D,
)

SAMPLES = 20_000


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_mean(values: Tensor, wanted: Tensor | float) -> None:
    """Compare a sample mean with the truth, by its own error bar."""
    error = values.std(0) / math.sqrt(len(values))
    off = (values.mean(0) - wanted).abs()
    assert bool((off <= 5 * error + 1e-12).all()), (values.mean(0), wanted, error)


@pytest.mark.parametrize("group", [O(1), O(2), SO(2), O(3), SO(3), SO(4), O(5), SO(6)], ids=str)
def test_moments(group: O | SO) -> None:
    n = group.n
    g = sample_haar(group, (SAMPLES,), random(n))
    assert group.contains(g, 1e-10).all()
    second = torch.einsum("sij,skl->sijkl", g, g).flatten(1)
    eye = torch.eye(n, dtype=torch.float64)
    wanted = torch.einsum("ik,jl->ijkl", eye, eye) / n
    if group.name == "SO(2)":  # there the entries themselves are dependent: g22 = g11, g21 = −g12
        turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
        wanted = wanted + torch.einsum("ij,kl->ikjl", turn, turn) / 2
        wanted = torch.einsum("sij,skl->ijkl", *[torch.stack([eye, turn])] * 2) / 2
    assert_mean(second, wanted.flatten())
    if n > 2:
        assert_mean(g[:, 0, 0] ** 4, 3 / (n * (n + 2)))
        assert_mean(g[:, 0, 0] ** 2 * g[:, 1, 1] ** 2, (n + 1) / (n * (n - 1) * (n + 2)))
    if group.reflections:
        assert_mean(torch.linalg.det(g), 0.0)


def test_character_orthogonality() -> None:
    g = sample_haar("SO(3)", (SAMPLES,), random(1))
    characters = torch.stack([wigner_D(l, g).diagonal(dim1=-2, dim2=-1).sum(-1) for l in range(4)], -1)
    products = torch.einsum("si,sj->sij", characters, characters).flatten(1)
    assert_mean(products, torch.eye(4, dtype=torch.float64).flatten())


def test_haar_invariance() -> None:
    """By the moments of traces of powers, which the distribution of h g would change if it were another one."""
    for group in (SO(3), O(4)):
        g = sample_haar(group, (SAMPLES,), random(2))
        h = group.sample((), random(3))
        for moved in (g, h @ g, g @ h):
            # the trace of a Haar matrix has the variance 1, that of its square the mean 1 (SO(3): 1, O(4): 1)
            trace = moved.diagonal(dim1=-2, dim2=-1).sum(-1)
            square = (moved @ moved).diagonal(dim1=-2, dim2=-1).sum(-1)
            assert_mean(torch.stack([trace, trace**2, square], -1), torch.tensor([0.0, 1.0, 1.0]))


def test_a_naive_sampler_is_told_apart() -> None:
    """QR without the signs is no Haar measure: the test above would see it."""
    gaussian = torch.randn(SAMPLES, 4, 4, generator=random(4), dtype=torch.float64)
    q = torch.linalg.qr(gaussian).Q
    with pytest.raises(AssertionError):
        assert_mean(q.diagonal(dim1=-2, dim2=-1).sum(-1), 0.0)


def test_shapes_and_dtypes() -> None:
    assert sample_haar("SO(3)", dtype=torch.float32).dtype == torch.float32
    assert sample_haar("O(3)", (2, 0)).shape == (2, 0, 3, 3)
    with pytest.raises(ConfigError, match=r"GL\+\(2\) is not compact"):
        sample_haar("GL+(2)")
    with pytest.raises(ConfigError, match="not compact"):
        sample_haar("SE(3)")


@pytest.mark.parametrize("n", [2, 3])
def test_all_different(n: int) -> None:
    for number in (1, 2, 7, 40):
        for generator in (None, random(5)):
            g = spaced_rotations(n, number, generator)
            assert g.shape == (number, n, n)
            assert SO(n).contains(g, 1e-12).all()
            distance = (g[:, None] - g).flatten(2).norm(dim=-1) + 9 * torch.eye(number)
            assert float(distance.min()) > 0.1
    assert not torch.equal(spaced_rotations(n, 3, random(6)), spaced_rotations(n, 3, random(7)))


def test_equal_turns_are_a_group() -> None:
    g = spaced_rotations(2, 5)
    torch.testing.assert_close(g[1] @ g[3], g[4])
    torch.testing.assert_close(g[2] @ g[3], torch.eye(2, dtype=torch.float64))


def test_more_even_than_random() -> None:
    g, drawn = spaced_rotations(3, 500), sample_haar("SO(3)", (500,), random(8))
    for l in range(1, 5):
        even, uneven = (float(wigner_D(l, e).mean(0).norm()) for e in (g, drawn))
        assert even < 0.1 * uneven


@pytest.mark.parametrize("n", [2, 3, 4])
def test_weights_are_a_density(n: int) -> None:
    g, log_weight = log_uniform_rotations(n, (SAMPLES,), random(9))
    assert SO(n).contains(g, 1e-10).all()
    assert_mean(log_weight.exp(), 1.0)
    x = SO(n).log(g)
    omega = torch.einsum("sk,kij->sij", x, SO(n).algebra_basis)
    largest = torch.linalg.matrix_norm(omega, 2)
    assert float(largest.max()) <= math.pi + 1e-3  # the logarithm loses digits near π
    # uniform in a ball of dimension d: the d-th power of the radius is uniform
    dim = n * (n - 1) // 2
    assert_mean((largest / math.pi) ** dim, 0.5)
    assert_mean((largest / math.pi) ** (2 * dim), 1 / 3)
    assert_mean(omega[:, 0, 1], 0.0)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_weighted_moments(n: int) -> None:
    g, log_weight = log_uniform_rotations(n, (SAMPLES,), random(10))
    trace = g.diagonal(dim1=-2, dim2=-1).sum(-1)
    values = torch.stack([trace, trace**2, trace**4], -1)
    found = weighted_mean(values, log_weight)
    wanted = torch.tensor({2: [0.0, 2.0, 6.0], 3: [0.0, 1.0, 3.0], 4: [0.0, 1.0, 4.0]}[n])
    assert bool(((found.mean - wanted).abs() < 5 * found.error).all())
    if n > 2:  # without weights they are not
        assert abs(float(values[:, 0].mean())) > 0.1


def test_the_density_is_the_jacobian_of_exp() -> None:
    for n in (3, 4):
        g, log_weight = log_uniform_rotations(n, (5,), random(11))
        group = SO(n)
        for element, weight in zip(g, log_weight, strict=True):
            x = group.log(element)

            def moved(y: Tensor, element: Tensor = element, group: SO = group) -> Tensor:
                a = element.mT @ group.exp(y)
                return torch.einsum("ij,kij->k", a - a.mT, group.algebra_basis) / 4

            jacobian = torch.linalg.slogdet(torch.autograd.functional.jacobian(moved, x)).logabsdet
            volume = 4 * math.pi**4 / 3 if n == 3 else 128 * math.pi**8 / 180
            assert float(weight) == pytest.approx(float(jacobian) + math.log(volume / rotation_volume(n)), abs=1e-8)


def test_volumes() -> None:
    assert rotation_volume(1) == pytest.approx(1)
    assert rotation_volume(2) == pytest.approx(2 * math.pi)
    assert rotation_volume(3) == pytest.approx(8 * math.pi**2)
    assert rotation_volume(4) == pytest.approx(16 * math.pi**4)


def test_wrong_input() -> None:
    with pytest.raises(ConfigError, match="n = 2 and 3"):
        spaced_rotations(4, 3)
    with pytest.raises(ConfigError, match="number"):
        spaced_rotations(2, 0)
    with pytest.raises(ConfigError, match="n = 2, 3 and 4"):
        log_uniform_rotations(5)
    with pytest.raises(ConfigError, match="n ≥ 1"):
        rotation_volume(0)

"""Parts of Lorentz transformations, and of rotations by the rotations of one axis."""

from __future__ import annotations

import pytest
import torch
from decomposition_cases import generator, orthogonality, relative_error, rotations
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups import SO, Lorentz, O
from equitools.groups.decompositions import lorentz_iwasawa, lorentz_kak, lorentz_polar, orthogonal_kak

GROUP = Lorentz()
FUNCTIONS = [lorentz_polar, lorentz_kak, lorentz_iwasawa]


def lorentz(batch: int, rapidity: float, seed: int, reflections: bool = True) -> Tensor:
    direction = torch.randn(batch, 3, generator=generator(seed), dtype=torch.float64)
    direction = direction / direction.norm(dim=-1, keepdim=True)
    turn = torch.nn.functional.pad(rotations(batch, 3, seed), (1, 0, 1, 0))
    turn[:, 0, 0] = 1.0
    g = GROUP.boost(rapidity * direction) @ turn
    if reflections:
        g[::2, 0] *= -1
        g[::3, 1:] *= -1
    return g


def product(parts: tuple[Tensor, ...]) -> Tensor:
    g = parts[0]
    for part in parts[1:]:
        g = g @ part
    return g


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("rapidity", [0.0, 1e-9, 0.5, 4.6])  # the condition is exp(2 · rapidity)
def test_lorentz_round_trips(function, rapidity: float) -> None:
    g = lorentz(30, rapidity, 1)
    assert relative_error(product(function(g)), g) < 1e-12


@pytest.mark.parametrize("rapidity", [0.0, 1e-9, 0.5, 4.6])
def test_lorentz_parts_stay_in_the_group(rapidity: float) -> None:
    g = lorentz(30, rapidity, 2)
    for function in FUNCTIONS:
        parts = function(g)
        assert all(bool(GROUP.contains(part, 1e-12).all()) for part in parts)
        turns = {lorentz_polar: [1], lorentz_kak: [0, 2], lorentz_iwasawa: [0]}[function]
        assert max(orthogonality(parts[k]) for k in turns) < 1e-12
    p = lorentz_polar(g)[0]
    assert torch.equal(p, p.mT)
    assert (torch.linalg.eigvalsh(p) > 0).all()
    a = lorentz_kak(g)[1]
    assert (a[:, 3, 0] >= 0).all()
    assert torch.equal(a[:, 1:3, 1:3], torch.eye(2, dtype=a.dtype).expand(30, 2, 2))
    n = lorentz_iwasawa(g)[2] - torch.eye(4)
    assert float((n @ n @ n).abs().max()) < 1e-10 * float(n.abs().max()) ** 3 + 1e-12
    ray = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    assert float((n @ ray).abs().max()) < 1e-12 * max(1.0, float(n.abs().max()))


def test_boost_of_the_polar_parts() -> None:
    rapidity = torch.tensor([[0.3, -0.2, 0.9]], dtype=torch.float64)
    torch.testing.assert_close(lorentz_polar(GROUP.boost(rapidity))[0], GROUP.boost(rapidity))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("reflections", [False, True])
def test_lorentz_derivatives(function, reflections: bool) -> None:
    g = lorentz(1, 0.7, 5, reflections)[0]
    x = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: function(g @ GROUP.exp(y)), x)
    assert torch.autograd.gradgradcheck(lambda y: function(g @ GROUP.exp(y)), x)


def test_derivatives_without_a_boost() -> None:
    g = lorentz(1, 0.0, 5, False)[0]
    x = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    for function in (lorentz_polar, lorentz_iwasawa):
        assert torch.autograd.gradcheck(lambda y, f=function: f(g @ GROUP.exp(y)), x)
    (gradient,) = torch.autograd.grad(sum(part.sum() for part in lorentz_kak(g @ GROUP.exp(x))), x)
    assert gradient.isfinite().all()


def test_boosts_in_all_directions() -> None:
    z = torch.linspace(-1, 1, 41, dtype=torch.float64)
    s = (1 - z.square()).clamp(min=0).sqrt()
    direction = torch.stack([s, torch.zeros_like(s), z], -1)
    g = GROUP.boost(0.8 * direction)
    assert relative_error(product(lorentz_kak(g)), g) < 1e-13


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_orthogonal_round_trip(n: int) -> None:
    for group in (SO(n), O(n)):
        g = group.sample((30,), generator(n))
        g[0] = torch.eye(n)
        g[1] = torch.diag(torch.tensor([1.0] * (n - 2) + [-1.0, -1.0]))
        assert relative_error(product(orthogonal_kak(g)), g) < 1e-13


@pytest.mark.parametrize("n", [3, 4, 6])
def test_orthogonal_parts_stay_in_their_sets(n: int) -> None:
    g = O(n).sample((30,), generator(n))
    k1, a, k2 = orthogonal_kak(g)
    eye = torch.eye(n, dtype=g.dtype)
    for part in (k1, a, k2):
        assert orthogonality(part) < 1e-12
    assert torch.equal(k1[:, n - 1], eye[n - 1].expand(30, n))
    assert torch.equal(k2[:, n - 1], eye[n - 1].expand(30, n))
    assert torch.equal(a[:, : n - 2], eye[: n - 2].expand(30, n - 2, n))
    assert (torch.linalg.det(k1) > 0).all()
    assert (a[:, n - 2, n - 1] >= 0).all()
    assert torch.equal(torch.linalg.det(k2) > 0, torch.linalg.det(g) > 0)


@pytest.mark.parametrize("n", [3, 4])
def test_orthogonal_derivatives(n: int) -> None:
    group = SO(n)
    g = group.sample((), generator(1))
    x = torch.zeros(group.dim, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: orthogonal_kak(g @ group.exp(y)), x)
    locked = torch.eye(n, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(sum(part.sum() for part in orthogonal_kak(locked @ group.exp(x))), x)
    assert gradient.isfinite().all()


def test_bad_matrices_and_empty_batches() -> None:
    for function in FUNCTIONS:
        with pytest.raises(ShapeError, match="1 of 1 matrices are no Lorentz"):
            function(2 * torch.eye(4).unsqueeze(0))
        with pytest.raises(ShapeError, match=r"\[..., 4, 4\]"):
            function(torch.eye(3))
        assert function(torch.zeros(0, 4, 4))[0].shape == (0, 4, 4)
        g = lorentz(4, 0.5, 1).float()
        assert all(part.dtype == torch.float32 for part in function(g))
    with pytest.raises(ShapeError, match="not orthogonal"):
        orthogonal_kak(2 * torch.eye(3))
    with pytest.raises(ShapeError, match="three rows"):
        orthogonal_kak(torch.eye(2))
    assert orthogonal_kak(torch.zeros(0, 3, 3))[0].shape == (0, 3, 3)
    assert orthogonal_kak(torch.eye(3))[1].dtype == torch.float32

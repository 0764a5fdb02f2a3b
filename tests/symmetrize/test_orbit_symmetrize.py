"""Networks symmetrised with random matrices, and the generators of these."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equitools.errors import ConfigError, ShapeError, UnknownNameError
from equitools.groups import Lorentz, parse_group
from equitools.models.orbit_generators import InvariantCombination, SetCombination
from equitools.symmetrize import OrbitSymmetrize, orbit_distance

GROUPS = ["O(2)", "O(3)", "SO(3)", "O(1,3)", "SO+(1,3)"]
N = 5


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def elements(name: str, count: int, seed: int) -> Tensor:
    group = parse_group(name)
    if isinstance(group, Lorentz):
        return group.sample((count,), generator(seed), rapidity=0.5)
    return group.sample((count,), generator(seed))


def cloud(name: str, batch: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(batch, N, parse_group(name).n, generator=generator(seed), dtype=torch.float64)


class Net(nn.Module):
    """Something that is not equivariant at all: a scalar and a vector."""

    def __init__(self, d: int, mask: bool = False) -> None:
        super().__init__()
        self.d = d
        self.scalar = nn.Sequential(nn.Linear(N * d, 16), nn.Tanh(), nn.Linear(16, 2))
        self.vector = nn.Sequential(nn.Linear(N * d, 16), nn.Tanh(), nn.Linear(16, d))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.scalar(x.flatten(1)), self.vector(x.flatten(1))


def symmetrised(name: str, **options) -> OrbitSymmetrize:
    torch.manual_seed(1)
    d = parse_group(name).n
    made = InvariantCombination(N, name, hidden=16, noise_dim=3)
    return OrbitSymmetrize(Net(d), made, name, "vector", ("scalar", "vector"), **options).double()


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("options", [{"project": True}, {"project": False}, {"project": False, "inverse": "exact"}])
def test_equivariance(name: str, options: dict) -> None:
    model, x, h = symmetrised(name, **options), cloud(name), elements(name, 3, 2)
    noise = model.noise(x, random=generator(3))
    moved = x @ h.transpose(-1, -2)
    scalar, vector = model(x, noise=noise)
    scalar_moved, vector_moved = model(moved, noise=noise)
    torch.testing.assert_close(scalar_moved, scalar, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(vector_moved, torch.einsum("bij,bj->bi", h, vector), atol=1e-9, rtol=1e-9)
    assert float((model.net(moved)[0] - model.net(x)[0]).detach().abs().min()) > 1e-4  # the network is not invariant


@pytest.mark.parametrize("name", GROUPS)
def test_projected_matrices_are_elements(name: str) -> None:
    model, x = symmetrised(name, project=True), cloud(name)
    g, distance = model.elements(x, model.noise(x, random=generator(4)))
    assert g.shape == (3, 5, model.group.n, model.group.n)
    assert model.group.contains(g).all()
    assert (distance > 1e-6).all()  # of what the generator returned, before the projection
    raw, same = symmetrised(name).elements(x, model.noise(x, random=generator(4)))
    assert not model.group.contains(raw).any()
    torch.testing.assert_close(same, distance)
    torch.testing.assert_close(orbit_distance(raw, name), distance)


def test_unbiased() -> None:
    model, x = symmetrised("O(3)", project=True), cloud("O(3)", 1)
    many = model.noise(x, 200, generator(5))
    mean = model(x, noise=many)[0]
    parts = torch.stack([model(x, noise=part)[0] for part in many.split(5, 1)])  # five samples at a time
    torch.testing.assert_close(parts.mean(0), mean, atol=1e-12, rtol=0)


def test_estimate() -> None:
    model, x = symmetrised("O(1,3)", project=True), cloud("O(1,3)")
    noise = model.noise(x, 400, generator(6))
    with torch.no_grad():
        (mean, _), (error, vector_error) = model.estimate(x, noise=noise)
        each = torch.stack([model(x, noise=noise[:, k : k + 1])[0] for k in range(400)], 1)
        wanted = model(x, noise=noise)[0]
    torch.testing.assert_close(mean, wanted)
    torch.testing.assert_close(error, each.std(1) / 20)
    assert vector_error.shape == (3, 4)
    fewer = model.estimate(x, samples=100, random=generator(7)).error[0]
    ratio = float((fewer / error).detach().mean())
    assert 1.4 < ratio < 2.8  # the error falls with the root of the number
    with pytest.raises(ConfigError, match="two samples"):
        model.estimate(x, samples=1)


def test_the_distance_is_a_regulariser_that_works() -> None:
    model, x = symmetrised("O(1,3)"), cloud("O(1,3)", 16)
    optimizer = torch.optim.Adam(model.generator.parameters(), lr=1e-2)
    distances = []
    for _ in range(150):
        _, distance = model(x, return_distance=True, random=generator(8))
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
        distances.append(float(distance.detach()))
    assert distances[-1] < 0.05 * distances[0]


class SometimesSingular(nn.Module):
    """A generator whose matrices are singular for some of the noise, or for all of it."""

    noise_dim = 1

    def __init__(self, always: bool = False) -> None:
        super().__init__()
        self.always = always

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        g = x[:, None, :3].expand(-1, noise.shape[1], -1, -1).transpose(-1, -2)
        bad = (noise > 0.5) | self.always
        return torch.where(bad.unsqueeze(-1), torch.zeros_like(g), g)


@pytest.mark.parametrize("name", ["O(3)", "SO(3)"])
def test_singular_matrices_are_drawn_anew(name: str) -> None:
    x = cloud(name, 4)
    model = OrbitSymmetrize(Net(3), SometimesSingular(), name, "vector", ("scalar", "vector"), 9, project=True).double()
    noise = model.noise(x, random=generator(1))
    assert (noise > 0.5).any()
    with pytest.raises(ShapeError, match="singular"):  # what is handed in is not touched
        model(x, noise=noise)
    scalar, _ = model(x, random=generator(1))
    usable = model.projectable_noise(x, noise, random=generator(2))
    assert (usable <= 0.5).all()
    assert torch.equal(usable[noise <= 0.5], noise[noise <= 0.5])
    assert scalar.isfinite().all()
    model.generator.always = True
    with pytest.raises(ShapeError, match="20 times in a row"):
        model(x)


def test_no_hidden_state() -> None:
    model, x = symmetrised("O(3)", samples=2, eval_samples=7), cloud("O(3)")
    assert model.noise(x).shape[1] == 2
    assert model.eval().noise(x).shape[1] == 7
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = model(x, random=generator(9))
    model(cloud("O(3)", 2, 10), return_distance=True)
    second = model(x, random=generator(9))
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert {type(value) for value in vars(model).values()}.isdisjoint({Tensor})


def test_derivatives() -> None:
    for name, project in (("O(1,3)", True), ("SO(3)", True), ("O(1,3)", False)):
        model, x = symmetrised(name, project=project, samples=2), cloud(name, 2).requires_grad_()
        noise = model.noise(x, random=generator(11))
        assert torch.autograd.gradcheck(lambda x, m=model, n=noise: m(x, noise=n), x, atol=1e-4)


def test_irreps_outputs() -> None:
    made = InvariantCombination(N, "O(3)", hidden=8)
    with pytest.raises(ConfigError, match="project=True"):
        OrbitSymmetrize(nn.Identity(), made, "O(3)", "vector", "1x2e")
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * N, 5))
    model = OrbitSymmetrize(net, made, "O(3)", "vector", "1x2e", project=True).double()
    x, h = cloud("O(3)"), elements("O(3)", 3, 12)
    noise = model.noise(x, random=generator(13))
    from equitools.groups import irreps_matrix

    turned = torch.einsum("bij,bj->bi", irreps_matrix("1x2e", h), model(x, noise=noise))
    torch.testing.assert_close(model(x @ h.transpose(-1, -2), noise=noise), turned, atol=1e-9, rtol=0)


class Masked(nn.Module):
    """A generator and a network that sum over real points, and say what mask they were given."""

    noise_dim = 2

    def forward(self, x: Tensor, noise: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        real = x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0)
        if noise is None:
            return real.sum((1, 2))
        moments = (real.transpose(-1, -2) @ real).unsqueeze(1)  # not equivariant: this test is about masks
        return moments + noise.mean(-1)[..., None, None]


def test_masks() -> None:
    model = OrbitSymmetrize(Masked(), Masked(), "O(3)", "points", "scalar", samples=4, project=True)
    x = cloud("O(3)")
    mask = torch.ones(3, N, dtype=torch.bool)
    mask[1, 2:] = mask[2, 4:] = False
    noise = model.noise(x, random=generator(14))
    other = x.clone()
    other[~mask] = 9.0
    torch.testing.assert_close(model(other, mask=mask, noise=noise), model(x, mask=mask, noise=noise))
    assert not torch.allclose(model(other, noise=noise), model(x, noise=noise))


def test_more_inputs_and_named_outputs() -> None:
    class Two(nn.Module):
        def forward(self, a: Tensor, v: Tensor, table: Tensor) -> dict[str, Tensor]:
            return {"energy": a.sum((1, 2)) * table.sum(), "push": v}

    made = InvariantCombination(N, "SO(3)", hidden=8)
    model = OrbitSymmetrize(
        Two(), made, "SO(3)", ("points", "vector", "shared"), {"energy": "scalar", "push": "vector"}, project=True
    ).double()
    x, v = cloud("SO(3)"), cloud("SO(3)", 3, 15)
    found = model(x, v, torch.ones(7))
    torch.testing.assert_close(found["push"], v)  # there and back
    assert found["energy"].shape == (3,)


@pytest.mark.parametrize("name", GROUPS)
def test_generator_equivariance(name: str) -> None:
    made = InvariantCombination(N, name, hidden=16).double()
    x, h = cloud(name), elements(name, 3, 16)
    noise = torch.randn(3, 4, made.noise_dim, generator=generator(17), dtype=torch.float64)
    torch.testing.assert_close(made(x @ h.transpose(-1, -2), noise), h.unsqueeze(1) @ made(x, noise), atol=1e-9, rtol=0)
    assert float((made(x, noise)[:, 0] - made(x, noise)[:, 1]).detach().abs().max()) > 1e-3  # noise matters


def test_random_vectors_turn_along() -> None:
    made = InvariantCombination(1, "O(3)", hidden=16, noise_dim=2, noise_vectors=3).double()
    assert made.noise_dim == 11
    x = torch.randn(3, 1, 3, generator=generator(18), dtype=torch.float64)
    noise = torch.randn(3, 4, 11, generator=generator(19), dtype=torch.float64)
    h = elements("O(3)", 3, 20)
    turned = noise.clone()
    turned[..., :9] = (noise[..., :9].reshape(3, 12, 3) @ h.transpose(-1, -2)).reshape(3, 4, 9)
    torch.testing.assert_close(made(x @ h.transpose(-1, -2), turned), h.unsqueeze(1) @ made(x, noise))
    assert (torch.linalg.det(made(x, noise)).detach().abs() > 1e-8).all()


@pytest.mark.parametrize("name", GROUPS)
def test_sets(name: str) -> None:
    torch.manual_seed(2)
    made = SetCombination(name, hidden=16, noise_dim=3).double()
    x, h = cloud(name), elements(name, 3, 21)
    noise = torch.randn(3, 4, 3, generator=generator(22), dtype=torch.float64)
    found = made(x, noise)
    torch.testing.assert_close(made(x @ h.transpose(-1, -2), noise), h.unsqueeze(1) @ found, atol=1e-9, rtol=0)
    torch.testing.assert_close(made(x[:, torch.randperm(N, generator=generator(23))], noise), found)
    padded = torch.cat([x, torch.full_like(x[:, :2], torch.nan)], 1)
    mask = torch.arange(N + 2).expand(3, -1) < N
    torch.testing.assert_close(made(padded, noise, mask), found)
    assert (torch.linalg.det(found).detach().abs() > 1e-12).all()
    assert float((found[:, 0] - found[:, 1]).detach().abs().max()) > 1e-4


def test_a_masked_set_in_the_wrapper() -> None:
    torch.manual_seed(3)
    model = OrbitSymmetrize(Masked(), SetCombination("SO(3)"), "SO(3)", "points", "scalar", project=True).double()
    x, h = cloud("SO(3)"), elements("SO(3)", 3, 24)
    mask = torch.ones(3, N, dtype=torch.bool)
    mask[1, 4:] = False
    noise = model.noise(x, random=generator(25))
    torch.testing.assert_close(model(x @ h.transpose(-1, -2), mask=mask, noise=noise), model(x, mask=mask, noise=noise))


def test_empty_batches_and_dtypes() -> None:
    for name in ("O(3)", "O(1,3)"):
        model = symmetrised(name, project=True)
        scalar, vector = model(cloud(name)[:0])
        assert (scalar.shape, vector.shape) == ((0, 2), (0, model.group.n))
        assert model.float()(cloud(name).float())[0].dtype == torch.float32


def test_wrong_input() -> None:
    made = InvariantCombination(N, "O(3)", hidden=8)
    net = nn.Flatten()
    with pytest.raises(ConfigError, match=r"O\(3\)"):
        OrbitSymmetrize(net, made, "E(3)")
    with pytest.raises(UnknownNameError):
        OrbitSymmetrize(net, made, "O(three)")
    with pytest.raises(ConfigError, match="samples"):
        OrbitSymmetrize(net, made, "O(3)", samples=0)
    with pytest.raises(ConfigError, match="adjoint"):
        OrbitSymmetrize(net, made, "O(3)", inverse="transposed")
    model = OrbitSymmetrize(net, lambda x, noise: torch.zeros(2, 3), "O(3)")
    with pytest.raises(ConfigError, match="noise_dim"):
        model(torch.zeros(2, N, 3))
    with pytest.raises(ShapeError, match="must return matrices"):
        model(torch.zeros(2, N, 3), noise=torch.zeros(2, 1, 1))
    with pytest.raises(ShapeError, match="Noise"):
        model(torch.zeros(2, N, 3), noise=torch.zeros(3, 1, 1))
    with pytest.raises(ShapeError, match="inputs"):
        model()
    with pytest.raises(ShapeError, match="takes x"):
        made(torch.zeros(2, N + 1, 3), torch.zeros(2, 1, 8))
    for options, words in (
        ({"group": "E(3)"}, "translations"),
        ({"group": "O(3)", "vectors": 2}, "singular"),
        ({"group": "O(1,3)", "noise_vectors": 1}, "boosts"),
        ({"group": "O(3)", "hidden": 0}, "at least 1"),
        ({"group": "O(3)", "noise_dim": 0}, "noise"),
    ):
        with pytest.raises(ConfigError, match=words):
            InvariantCombination(**{"vectors": N, **options})
    with pytest.raises(ConfigError, match="translations"):
        SetCombination("SE(3)")
    with pytest.raises(ConfigError, match="at least 1"):
        SetCombination("SO(3)", hidden=0)
    with pytest.raises(ShapeError, match="takes x"):
        SetCombination("SO(3)")(torch.zeros(2, N, 2), torch.zeros(2, 1, 8))

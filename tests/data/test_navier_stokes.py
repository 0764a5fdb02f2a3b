"""The flow solver beside analytic solutions and its symmetries; the data beside their description."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from equitools.data import (
    gaussian_random_field,
    solve_navier_stokes,
    symmetric_forcing,
    symmetric_navier_stokes,
    velocity,
)
from equitools.data import navier_stokes as module
from equitools.errors import ConfigError, DataError, ShapeError
from equitools.groups import FiniteGroup
from equitools.ops import permute_pixels


def some_flow(size=18, number=2):
    return gaussian_random_field(number, size, generator=torch.Generator().manual_seed(3))


def waves(size, a, b):
    """sin(2π a x) sin(2π b y): an eigenfunction of the Laplacian, with no advection of its own."""
    x = 2 * math.pi * torch.arange(size, dtype=torch.float64) / size
    return torch.outer((a * x).sin(), (b * x).sin())


@pytest.mark.parametrize(("a", "b"), [(1, 1), (2, 2), (1, 3)])
def test_taylor_green(a, b):
    start, viscosity = waves(16, a, b), 1e-2
    rate = 4 * math.pi**2 * (a**2 + b**2) * viscosity
    flow = solve_navier_stokes(start[None], [0.1, 0.5], viscosity=viscosity, step=1e-3)
    for frame, t in enumerate((0.1, 0.5)):
        wanted = math.exp(-rate * t) * start
        error = float((flow[0, frame] - wanted).norm() / wanted.norm())
        assert error < rate**3 * 1e-6 * t  # Crank–Nicolson: (rate · step)² / 12 in each unit of rate · t


def test_a_moving_exact_solution():
    """A steady eigenfunction on a uniform wind would move; here forcing balances viscosity, and it must stay."""
    start, viscosity = waves(16, 2, 1), 1e-2
    push = 4 * math.pi**2 * 5 * viscosity * start
    flow = solve_navier_stokes(start, [1.0], push, viscosity=viscosity, step=1e-2)
    torch.testing.assert_close(flow[0], start, atol=1e-12, rtol=0)


@pytest.mark.parametrize("size", [18, 15])
def test_equivariance(size):
    start, forcing = some_flow(size), some_flow(size, 1)[0]
    end = solve_navier_stokes(start, [0.3], forcing, step=0.05)
    for g in FiniteGroup.named("p4m").matrices:
        sign = torch.linalg.det(g).round()  # vorticity is a pseudoscalar
        turned, push, wanted = (sign * permute_pixels(g, f, "origin") for f in (start, forcing, end))
        torch.testing.assert_close(solve_navier_stokes(turned, [0.3], push, step=0.05), wanted, atol=1e-14, rtol=0)
    shift = lambda f: f.roll((2, 5), (-2, -1))  # noqa: E731
    got = solve_navier_stokes(shift(start), [0.3], shift(forcing), step=0.05)
    torch.testing.assert_close(got, shift(end), atol=1e-14, rtol=0)


def test_reflections_need_their_sign():
    start = some_flow()
    end = solve_navier_stokes(start, [2.0], step=0.05)
    reflect = lambda f: permute_pixels(FiniteGroup.named("p4m").matrices[4], f, "origin")  # noqa: E731
    assert not torch.allclose(solve_navier_stokes(reflect(start), [2.0], step=0.05), reflect(end), atol=1e-4)
    torch.testing.assert_close(solve_navier_stokes(-reflect(start), [2.0], step=0.05), -reflect(end))


def test_glide():
    size = 20
    start, forcing = some_flow(size), symmetric_forcing(size)
    end = solve_navier_stokes(start, [2.0], forcing, step=0.05)
    turn, mirror = (FiniteGroup.named("p4m").matrices[k] for k in (1, 4))
    quarter = lambda f: permute_pixels(turn, f, "origin")  # noqa: E731
    torch.testing.assert_close(solve_navier_stokes(quarter(start), [2.0], forcing, step=0.05), quarter(end))
    reflect = lambda f: -permute_pixels(mirror, f, "origin")  # noqa: E731
    glide = lambda f: reflect(f).roll((size // 4, size // 4), (-2, -1))  # noqa: E731
    shift = lambda f: f.roll((size // 4, size // 4), (-2, -1))  # noqa: E731
    torch.testing.assert_close(solve_navier_stokes(glide(start), [2.0], forcing, step=0.05), glide(end))
    for part in (reflect, shift):
        assert not torch.allclose(solve_navier_stokes(part(start), [2.0], forcing, step=0.05), part(end), atol=1e-2)


@pytest.mark.parametrize(("scheme", "order"), [("heun", 2), ("euler", 1)])
def test_second_order(scheme, order):
    start, forcing = 20 * some_flow(), symmetric_forcing(18)
    exact = solve_navier_stokes(start, [0.4], forcing, step=0.4 / 640, viscosity=1e-2)
    errors = [
        float((solve_navier_stokes(start, [0.4], forcing, step=0.4 / n, viscosity=1e-2, scheme=scheme) - exact).norm())
        for n in (20, 40, 80)
    ]
    for coarse, fine in itertools.pairwise(errors):
        assert 0.85 * 2**order < coarse / fine < 1.25 * 2**order


def test_conservation():
    start = some_flow() + 0.7
    drifts = []
    for step in (0.1, 0.05):
        end = solve_navier_stokes(start, [2.0], viscosity=0.0, step=step)[:, 0]
        begin = solve_navier_stokes(start, [0.0], viscosity=0.0, step=step)[:, 0]  # its resolved waves
        torch.testing.assert_close(end.mean((-2, -1)), start.mean((-2, -1)), atol=1e-14, rtol=0)
        enstrophy, energy = (float(f(end).square().mean() / f(begin).square().mean()) for f in (lambda w: w, velocity))
        drifts.append(max(abs(enstrophy - 1), abs(energy - 1)))
    assert drifts[0] < 1e-4
    assert drifts[1] < drifts[0] / 3


def slope(field, axis):
    """∂/∂x or ∂/∂y by a transform along one axis."""
    size = field.shape[-1]
    k = 2j * math.pi * torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)
    k = k[:, None] if axis == 0 else k
    return torch.fft.ifft(k * torch.fft.fft(field, dim=axis - 2), dim=axis - 2).real


def test_curl():
    smooth = solve_navier_stokes(some_flow(16) + 0.3, [0.0], step=1.0)[:, 0]  # its resolved waves
    u, v = velocity(smooth).unbind(-3)
    mean = smooth.mean((-2, -1), keepdim=True)
    torch.testing.assert_close(slope(v, 0) - slope(u, 1), smooth - mean, atol=1e-13, rtol=0)
    torch.testing.assert_close(slope(u, 0) + slope(v, 1), torch.zeros_like(u), atol=1e-13, rtol=0)
    assert velocity(smooth[:0]).shape == (0, 2, 16, 16)


def test_rate_of_change():
    """∂ω/∂t is −u·∇ω + ν Δω + f, with derivatives and velocities that are worked out apart."""
    # few waves on many pixels: products stay within the resolved ones
    spectrum = torch.zeros(24, 13, dtype=torch.complex128)
    spectrum[[0, 1, 2, 3, -3, -2, -1], :4] = torch.randn(7, 4, dtype=torch.complex128)
    vorticity = torch.fft.irfft2(spectrum, s=(24, 24), norm="forward")
    forcing, viscosity, step = symmetric_forcing(24), 1e-2, 1e-6
    u, v = velocity(vorticity).unbind(-3)
    bent = slope(slope(vorticity, 0), 0) + slope(slope(vorticity, 1), 1)
    wanted = -u * slope(vorticity, 0) - v * slope(vorticity, 1) + viscosity * bent + forcing
    after = solve_navier_stokes(vorticity, [step], forcing, viscosity=viscosity, step=step)[0]
    torch.testing.assert_close((after - vorticity) / step, wanted, atol=1e-3 * float(wanted.abs().max()), rtol=0)


def test_no_aliasing():
    """The advection of resolved waves is that of a grid twice as fine, where nothing can alias."""
    coarse = solve_navier_stokes(some_flow(12), [0.0], step=1.0)[:, 0]
    spectrum = torch.fft.rfft2(coarse)
    fine_waves = torch.zeros(2, 24, 13, dtype=torch.complex128)
    rows = torch.tensor([0, 1, 2, 3, -3, -2, -1])
    fine_waves[:, rows, :4] = 4 * spectrum[:, rows, :4]
    fine = torch.fft.irfft2(fine_waves, s=(24, 24))
    torch.testing.assert_close(fine[..., ::2, ::2], coarse, atol=1e-13, rtol=0)
    step = 1e-3
    after = torch.fft.rfft2(solve_navier_stokes(coarse, [step], step=step, viscosity=0.0, scheme="euler")[:, 0])
    wanted = torch.fft.rfft2(solve_navier_stokes(fine, [step], step=step, viscosity=0.0, scheme="euler")[:, 0])
    torch.testing.assert_close(4 * after[:, rows, :4], wanted[:, rows, :4], atol=1e-12, rtol=0)


def test_covariance():
    fields = gaussian_random_field(400, 16, generator=torch.Generator().manual_seed(0))
    k = np.fft.fftfreq(16, 1 / 16)
    eigenvalues = 7.0**3 * (4 * np.pi**2 * (k[:, None] ** 2 + k**2) + 49) ** -2.5
    eigenvalues[0, 0] = 0
    assert float(fields.square().mean()) == pytest.approx(eigenvalues.sum(), rel=0.05)
    power = torch.fft.fft2(fields, norm="forward").abs().square().mean(0)
    assert float(power[1, 0] / power[3, 0]) == pytest.approx(eigenvalues[1, 0] / eigenvalues[3, 0], rel=0.25)
    assert float(fields.mean((-2, -1)).abs().max()) < 1e-15


def test_first_fields():
    many, few = (gaussian_random_field(n, 8, generator=torch.Generator().manual_seed(1)) for n in (5, 2))
    assert torch.equal(many[:2], few)
    assert gaussian_random_field(0, 8).shape == (0, 8, 8)


def test_forcing():
    forcing = symmetric_forcing(16)
    for g in FiniteGroup.named("p4m").matrices:
        torch.testing.assert_close(permute_pixels(g, forcing, "origin"), forcing, atol=1e-15, rtol=0)
    torch.testing.assert_close(forcing.roll((4, 4), (0, 1)), -forcing, atol=1e-15, rtol=0)
    assert float(forcing[0, 0]) == pytest.approx(0.2)
    assert float(forcing[2, 0]) == pytest.approx(0.1)  # cos(4π/8) = 0
    with pytest.raises(ConfigError, match="even"):
        symmetric_forcing(16, period=3)


SMALL = {"resolution": 8, "solver_resolution": 16, "frames": 3, "every": 0.5, "step": 0.05}


def test_deterministic():
    first = symmetric_navier_stokes({"train": 3, "test": 2}, **SMALL)
    torch.randn(7)
    again = symmetric_navier_stokes({"train": 3, "test": 2}, **SMALL)
    assert first["train"].shape == (3, 3, 8, 8)
    assert first["train"].dtype == torch.float32
    for name in first:
        assert torch.equal(first[name], again[name])
    assert not torch.equal(first["train"][:2], first["test"])
    other = symmetric_navier_stokes({"train": 3, "test": 2}, seed=1, **SMALL)
    assert not torch.allclose(other["train"], first["train"])


def test_first_trajectories(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 2)
    seen = []
    many = symmetric_navier_stokes({"train": 5}, progress=lambda *given: seen.append(given), **SMALL)["train"]
    few = symmetric_navier_stokes({"train": 2}, **SMALL)["train"]
    torch.testing.assert_close(many[:2], few)
    assert seen == [("train", 2, 5), ("train", 4, 5), ("train", 5, 5)]


def test_frames_are_those_of_the_solver():
    made = symmetric_navier_stokes({"a": 2}, dtype=torch.float64, **SMALL)["a"]
    start = gaussian_random_field(2, 16, generator=torch.Generator().manual_seed(0))
    flow = solve_navier_stokes(start, [0.25, 0.75, 1.25], symmetric_forcing(16), step=0.05)
    torch.testing.assert_close(made, flow[..., ::2, ::2])


def test_cache(tmp_path):
    path = tmp_path / "flows.npz"
    first = symmetric_navier_stokes({"train": 1}, cache=path, **SMALL)
    before = path.stat().st_mtime_ns
    assert torch.equal(symmetric_navier_stokes({"train": 1}, cache=path, **SMALL)["train"], first["train"])
    assert path.stat().st_mtime_ns == before
    symmetric_navier_stokes({"train": 1}, seed=2, cache=path, **SMALL)
    assert path.stat().st_mtime_ns > before
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match="made again"):
        symmetric_navier_stokes({"train": 1}, seed=2, cache=path, **SMALL)


def test_shapes_and_dtypes():
    start = some_flow(12)
    assert solve_navier_stokes(start[:0], [0.1], step=0.1).shape == (0, 1, 12, 12)
    assert solve_navier_stokes(start, [], step=0.1).shape == (2, 0, 12, 12)
    assert solve_navier_stokes(start[0], [0.0, 0.1], step=0.1).shape == (2, 12, 12)
    single = solve_navier_stokes(start.float(), [0.1], symmetric_forcing(12), step=0.1)
    assert single.dtype == torch.float32
    double = solve_navier_stokes(start, [0.1], symmetric_forcing(12), step=0.1)
    torch.testing.assert_close(single.double(), double, atol=1e-5, rtol=1e-4)
    wide = torch.randn(2, 12, 24, dtype=torch.float64)[..., ::2]
    packed = wide.contiguous()
    torch.testing.assert_close(*(solve_navier_stokes(given, [0.1], step=0.1) for given in (wide, packed)))
    batched = solve_navier_stokes(start[None, :, None], [0.1], step=0.1)
    torch.testing.assert_close(batched[0, :, 0], solve_navier_stokes(start, [0.1], step=0.1))
    reached = []
    solve_navier_stokes(start, [2.0], step=0.01, progress=reached.append)
    assert reached == pytest.approx([1.0, 2.0])


def test_derivatives():
    start = some_flow(6, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: solve_navier_stokes(w, [0.2], step=0.1), start, fast_mode=True)


def test_what_is_refused():
    start = some_flow(8)
    with pytest.raises(ShapeError, match="square"):
        solve_navier_stokes(torch.zeros(4, 5), [1.0])
    with pytest.raises(ShapeError, match="float32 or float64"):
        velocity(torch.zeros(4, 4, dtype=torch.int64))
    with pytest.raises(ShapeError, match="forcing"):
        solve_navier_stokes(start, [1.0], torch.zeros(7, 7))
    with pytest.raises(ConfigError, match="multiples"):
        solve_navier_stokes(start, [0.015])
    with pytest.raises(ConfigError, match="ascend"):
        solve_navier_stokes(start, [0.2, 0.1])
    with pytest.raises(ConfigError, match="positive"):
        solve_navier_stokes(start, [0.2], step=0.0)
    with pytest.raises(ConfigError, match="negative"):
        solve_navier_stokes(start, [0.2], viscosity=-1.0)
    with pytest.raises(ConfigError, match="'heun' and 'euler'"):
        solve_navier_stokes(start, [0.2], scheme="rk4")
    with pytest.raises(DataError, match="blew up"):
        solve_navier_stokes(1e6 * start, [50.0], step=0.5)
    with pytest.raises(ConfigError, match="multiple of the resolution"):
        symmetric_navier_stokes({"a": 1}, resolution=8, solver_resolution=12)
    with pytest.raises(ConfigError, match="negative"):
        symmetric_navier_stokes({"a": -1})
    with pytest.raises(ConfigError, match="≥ 0"):
        gaussian_random_field(-1, 8)

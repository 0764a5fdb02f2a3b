"""Orbits of two bodies: conserved quantities, symmetry, Kepler's ellipses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from equitools.data.two_body import _advance, two_body_invariants, two_body_orbits
from equitools.errors import DataError, ShapeError


def test_conserved() -> None:
    for anisotropy in (1.0, 2.0):
        states = two_body_orbits(20, anisotropy=anisotropy).states
        energy, turning = two_body_invariants(states, anisotropy)
        assert float((energy - energy[:, :1]).abs().max()) < 1e-9
        drift = float((turning - turning[:, :1]).abs().max())
        assert drift < 1e-10 if anisotropy == 1 else drift > 0.1
        assert float((states[..., :4] + states[..., 4:]).abs().max()) < 1e-12  # the centre of mass stays


def test_rotation_symmetry() -> None:
    states = two_body_orbits(5, frames=10).states
    angle = 0.7
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    def follow(start: np.ndarray, anisotropy: float) -> np.ndarray:
        parts = start.reshape(5, 2, 2, 2)
        q, p = parts[:, :, 0].copy(), parts[:, :, 1].copy()
        for _ in range(200):
            _advance(q, p, 0.02, anisotropy)
        return np.stack([q, p], 2)

    start = states[:, 0].numpy()
    turned = (start.reshape(5, 4, 2) @ turn.T).reshape(5, 8)
    assert abs(follow(turned, 1.0) - follow(start, 1.0) @ turn.T).max() < 1e-11
    assert abs(follow(turned, 2.0) - follow(start, 2.0) @ turn.T).max() > 0.1


def test_circles() -> None:
    """Without noise, a circle of radius r is run through with angular velocity 1 / (2 r^{3/2})."""
    orbits = two_body_orbits(4, noise=0.0)
    q = orbits.states[..., :2].numpy()
    radius = np.linalg.norm(q[:, 0], axis=1)
    phase = np.arctan2(q[:, 0, 1], q[:, 0, 0])[:, None] + orbits.times.numpy() / (2 * radius[:, None] ** 1.5)
    wanted = radius[:, None, None] * np.stack([np.cos(phase), np.sin(phase)], -1)
    assert abs(q - wanted).max() < 1e-9


def test_ellipses_by_keplers_equation() -> None:
    orbits = two_body_orbits(6, noise=0.2, seed=3)
    state = orbits.states.numpy()
    relative, velocity = 2 * state[..., :2], 2 * state[..., 2:4]  # of the reduced problem, with μ = 2
    for k in range(6):
        r0, v0 = relative[k, 0], velocity[k, 0]
        momentum = r0[0] * v0[1] - r0[1] * v0[0]
        towards = np.array([v0[1], -v0[0]]) * momentum / 2 - r0 / np.linalg.norm(r0)  # eccentricity vector
        e = np.linalg.norm(towards)
        a = 1 / (2 / np.linalg.norm(r0) - v0 @ v0 / 2)
        x = towards / e
        frame = np.stack([x, [-x[1], x[0]]], 1)
        start = frame.T @ r0
        anomaly = np.arctan2(start[1] / (a * math.sqrt(1 - e * e)), start[0] / a + e)
        mean = anomaly - e * math.sin(anomaly) + math.sqrt(2 / a**3) * orbits.times.numpy()
        found = mean.copy()
        for _ in range(60):  # Newton, from a start that converges for every eccentricity this small
            found -= (found - e * np.sin(found) - mean) / (1 - e * np.cos(found))
        wanted = np.stack([a * (np.cos(found) - e), a * math.sqrt(1 - e * e) * np.sin(found)], -1) @ frame.T
        assert abs(relative[k] - wanted).max() < 1e-8


def test_starts() -> None:
    states = two_body_orbits(50, frames=2).states[:, 0]
    assert 0.5 <= float(states[:, :2].min()) <= float(states[:, :2].max()) <= 1.5
    assert float((states[:, :2] * states[:, 2:4]).sum(1).abs().max()) < 1e-15  # perpendicular


def test_first_trajectories() -> None:
    assert torch.equal(two_body_orbits(8, frames=3).states, two_body_orbits(20, frames=3).states[:8])
    assert not torch.equal(two_body_orbits(8, frames=3, seed=1).states, two_body_orbits(8, frames=3).states)


def test_pairs() -> None:
    orbits = two_body_orbits(3, frames=6)
    x, y = orbits.pairs()
    assert x.shape == y.shape == (15, 1, 8)
    assert torch.equal(x[1:5], y[:4])
    x, y = orbits.pairs(2, 3)
    assert (x.shape, y.shape) == ((6, 2, 8), (6, 3, 8))
    assert torch.equal(x[3], orbits.states[1, 1:3])
    assert torch.equal(y[3], orbits.states[1, 3:6])
    assert x.is_contiguous()


def test_wrong_input() -> None:
    for wrong in ({"number": 0}, {"frames": 1}, {"duration": 0.0}, {"radius": (1.0, 0.5)}, {"anisotropy": 0.0}):
        with pytest.raises(DataError, match="Orbits"):
            two_body_orbits(**{"number": 1, **wrong})
    with pytest.raises(DataError, match="do not fit"):
        two_body_orbits(1, frames=3).pairs(2, 2)
    with pytest.raises(ShapeError, match="8 entries"):
        two_body_invariants(torch.zeros(3, 4))

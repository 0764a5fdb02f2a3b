"""The generator of charged systems beside the published steps, written down for one system at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from equitools.data import NBodyData, charged_nbody, charged_trajectories, draw_charged_particles
from equitools.data import nbody as module
from equitools.errors import DataError

#: Of the first particle of the first system.
FIRST_CHARGES = [-1.0, 1.0, -1.0, -1.0, -1.0]
FIRST_LOC = [0.406094210414111, 1.4914010444010783, -0.5188505063060542]

Start = tuple[np.ndarray, np.ndarray, np.ndarray]


def one_start(random: np.random.RandomState, n: int, saved: int) -> Start:
    """What the published code draws for a system: charges, positions and velocities with coordinates as rows."""
    charges = random.choice(np.array([-1.0, 0.0, 1.0]), size=(n, 1), p=[1.0 / 2, 0, 1.0 / 2])
    loc = random.randn(3, n) * (1.0 * (float(n) / 5.0) ** (1 / 3))
    vel = random.randn(3, n)
    vel = vel * 0.5 / np.sqrt((vel**2).sum(axis=0)).reshape(1, -1)
    for c in range(3):
        for i in range(n):
            if loc[c, i] > 5:
                loc[c, i], vel[c, i] = 10 - loc[c, i], -abs(vel[c, i])
            elif loc[c, i] < -5:
                loc[c, i], vel[c, i] = -10 - loc[c, i], abs(vel[c, i])
    for _ in range(2):
        random.randn(saved, 3, n)
    return charges, loc, vel


def one_trajectory(start: Start, steps: int, every: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The published integration of one system: a full kick, then drift, save, kick."""
    charges, loc, vel = start
    n = len(charges)
    product = charges @ charges.T

    def force(loc: np.ndarray) -> np.ndarray:
        points = loc.T
        norm = (points**2).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            size = product / np.power(norm.reshape(n, 1) + norm.reshape(1, n) - 2 * points.dot(points.T), 3.0 / 2.0)
        np.fill_diagonal(size, 0)
        total = (size[None] * np.stack([np.subtract.outer(row, row) for row in loc])).sum(axis=-1)
        return np.minimum(np.maximum(total, -100.0), 100.0)

    frames = []
    vel = vel + 0.001 * force(loc)
    for step in range(1, steps):
        loc = loc + 0.001 * vel
        if step % every == 0:
            frames.append((loc.copy(), vel.copy()))
        vel = vel + 0.001 * force(loc)
    return frames


@pytest.mark.parametrize("particles", [5, 3])
def test_published_stream(particles: int) -> None:
    reference = np.random.RandomState(43)
    starts = [one_start(reference, particles, 49) for _ in range(20)]
    random = np.random.RandomState(43)
    charges, loc, vel = draw_charged_particles(random, 20, particles)
    for k, (q, x, v) in enumerate(starts):
        np.testing.assert_array_equal(charges[k], q[:, 0])
        np.testing.assert_array_equal(loc[k], x.T)
        np.testing.assert_array_equal(vel[k], v.T)
    assert random.rand() == reference.rand()  # and the stream goes on from the same place


def test_first_numbers_of_the_published_seed() -> None:
    """Against literal digits: numpy's legacy stream is frozen."""
    charges, loc, vel = draw_charged_particles(np.random.RandomState(43), 1)
    assert charges[0].tolist() == FIRST_CHARGES
    np.testing.assert_allclose(loc[0, 0], FIRST_LOC, rtol=1e-15)
    np.testing.assert_allclose(np.linalg.norm(vel, axis=-1), 0.5, rtol=1e-15)


def test_same_arithmetic() -> None:
    """Bit for bit: the products of coordinates come from the same routine, and all sums have the same order."""
    random = np.random.RandomState(7)
    starts = [one_start(random, 5, 49) for _ in range(6)]
    charges, loc, vel = draw_charged_particles(np.random.RandomState(7), 6)
    x, v = charged_trajectories(charges, loc, vel, (0, 2, 9), every=20)
    for k, start in enumerate(starts):
        frames = one_trajectory(start, 220, 20)
        for column, frame in enumerate((0, 2, 9)):
            np.testing.assert_array_equal(x[k, column], frames[frame][0].T)
            np.testing.assert_array_equal(v[k, column], frames[frame][1].T)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    start = draw_charged_particles(np.random.RandomState(1), 5)
    whole = charged_trajectories(*start, (0, 1), every=10)
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(module, "CHUNK", 2)
    parts = charged_trajectories(*start, (0, 1), every=10, progress=lambda done, number: seen.append((done, number)))
    np.testing.assert_array_equal(whole, parts)
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_forces_are_cut_off_and_the_box_only_bounds_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    close = np.array([[[0.0, 0, 0], [1e-3, 0, 0]]])
    rest = np.zeros((1, 2, 3))
    x, v = charged_trajectories(np.ones((1, 2)), close, rest, (0,), every=1)
    np.testing.assert_array_equal(v[0, 0], [[-0.1, 0, 0], [0.1, 0, 0]])  # 1e-3 · 100, not 1e-3 · 1e6
    np.testing.assert_allclose(x[0, 0], [[-1e-4, 0, 0], [1.1e-3, 0, 0]], rtol=1e-12)
    monkeypatch.setattr(module, "BOX", 0.5)
    _, loc, vel = draw_charged_particles(np.random.RandomState(0), 50)
    monkeypatch.setattr(module, "BOX", 1e9)
    _, free, free_vel = draw_charged_particles(np.random.RandomState(0), 50)
    inside = np.abs(free) <= 0.5
    np.testing.assert_array_equal(loc[inside], free[inside])
    np.testing.assert_array_equal(loc[free > 0.5], 1.0 - free[free > 0.5])
    np.testing.assert_array_equal(loc[free < -0.5], -1.0 - free[free < -0.5])
    np.testing.assert_array_equal(vel[free > 0.5], -np.abs(free_vel[free > 0.5]))
    np.testing.assert_array_equal(vel[free < -0.5], np.abs(free_vel[free < -0.5]))


SMALL = {"drawn": {"train": 4, "valid": 2, "test": 2}, "length": 60, "every": 10, "frames": (1, 3)}


def test_first_simulations() -> None:
    all_of_them = charged_nbody({"train": 4, "valid": 2, "test": 2}, **SMALL)
    fewer = charged_nbody({"train": 1, "test": 2}, **SMALL)
    assert list(fewer) == ["train", "test"]
    for few, many in zip(fewer["train"], all_of_them["train"], strict=True):
        torch.testing.assert_close(few, many[:1], rtol=0, atol=0)
    for few, many in zip(fewer["test"], all_of_them["test"], strict=True):
        torch.testing.assert_close(few, many, rtol=0, atol=0)
    assert not torch.equal(all_of_them["valid"].loc, all_of_them["test"].loc)


def test_parts_are_those_of_the_trajectories() -> None:
    random = np.random.RandomState(43)
    trajectories = [one_trajectory(start := one_start(random, 5, 5), 60, 10) for _ in range(4)]
    del start
    data = charged_nbody({"train": 4}, dtype=torch.float64, **SMALL)["train"]
    assert isinstance(data, NBodyData)
    for k, frames in enumerate(trajectories):
        np.testing.assert_array_equal(data.loc[k].numpy(), frames[1][0].T)
        np.testing.assert_array_equal(data.vel[k].numpy(), frames[1][1].T)
        np.testing.assert_array_equal(data.target[k].numpy(), frames[3][0].T)
    assert data.charges.shape == (4, 5, 1)
    assert charged_nbody({"valid": 0}, **SMALL)["valid"].loc.shape == (0, 5, 3)


def test_cache_is_read_where_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder" / "data.npz"
    reported: list[tuple[str, int, int]] = []
    made = charged_nbody(cache=path, progress=lambda *what: reported.append(what), **SMALL)
    assert reported == [("train", 4, 4), ("valid", 2, 2), ("test", 2, 2)]
    assert [p.name for p in path.parent.iterdir()] == ["data.npz"]
    monkeypatch.setattr(module, "charged_trajectories", lambda *_: pytest.fail("it was made again"))
    again = charged_nbody(cache=path, **SMALL)
    for part, known in made.items():
        for a, b in zip(known, again[part], strict=True):
            assert torch.equal(a, b)
    monkeypatch.undo()
    other = charged_nbody(cache=path, seed=1, **SMALL)
    assert not torch.equal(other["train"].loc, made["train"].loc)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="Remove it"):
        charged_nbody(cache=path, **SMALL)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sizes": {"training": 1}}, "no part 'training'"),
        ({"sizes": {"train": 5}}, "5 simulations"),
        ({"sizes": {"train": -1}}, "-1 simulations"),
        ({"particles": 1}, "at least 2"),
        ({"frames": (3, 1)}, "frames must be"),
        ({"frames": (1, 5)}, "from 0 to 4"),
        ({"every": 7}, "multiple"),
        ({"every": 0}, "multiple"),
    ],
)
def test_errors(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        charged_nbody(**{**SMALL, **arguments})

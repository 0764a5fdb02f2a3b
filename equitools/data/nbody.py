"""Charged particles in a vacuum: the simulated data on which equivariant networks learn to predict motion.

The generator repeats the published one step by step: the same random numbers in the same order, and the same
arithmetic. It is vectorised over the simulations. All quantities are dimensionless.

Sources: Kipf et al., *Neural relational inference for interacting systems*, ICML 2018 (the simulator); Satorras,
Hoogeboom and Welling, ICML 2021, arXiv:2102.09844 (three dimensions and the task).
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from equitools._atomic import atomic_path
from equitools.errors import DataError

__all__ = ["NBODY_DRAWN", "NBodyData", "charged_nbody", "charged_trajectories", "draw_charged_particles"]

#: How many simulations of each part the published set has, in the order in which they are drawn from one seed.
NBODY_DRAWN = {"train": 10_000, "valid": 2_000, "test": 2_000}

BOX = 5.0
SPEED = 0.5
STEP = 1e-3
MAX_FORCE = 100.0
#: Simulations that are integrated together: their arrays stay in the cache.
CHUNK = 512


class NBodyData(NamedTuple):
    """Systems of charged particles at one time, and where the particles are later. Everything is dimensionless.

    Attributes:
        loc: Positions ``[S, N, 3]``.
        vel: Velocities ``[S, N, 3]``: those that lead to ``loc``.
        charges: −1 or 1, ``[S, N, 1]``.
        target: Positions at the later time ``[S, N, 3]``.
    """

    loc: torch.Tensor
    vel: torch.Tensor
    charges: torch.Tensor
    target: torch.Tensor


def charged_nbody(
    sizes: Mapping[str, int] | None = None,
    *,
    seed: int = 43,
    drawn: Mapping[str, int] | None = None,
    particles: int = 5,
    frames: tuple[int, int] = (30, 40),
    length: int = 5000,
    every: int = 100,
    dtype: torch.dtype = torch.float32,
    cache: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, NBodyData]:
    """Make the parts of the charged N-body task.

    The parts are drawn one after the other from one stream of random numbers. Of each part the first ``sizes``
    simulations are integrated; the others only take their random numbers, so that the parts that follow do not depend
    on how many are used. The defaults are the published small set with its first 3 000 training simulations.

    Args:
        sizes: How many simulations of each part are wanted. ``None``: 3000, 2000 and 2000.
        seed: Of numpy's ``RandomState``.
        drawn: How many simulations each part has, in the order of drawing. ``None``: `NBODY_DRAWN`.
        particles: Of each system.
        frames: The saved frame that is given and the one that is asked for; frame k is at step ``every·(k + 1)``.
        length: Steps of a published trajectory: their number says how many random numbers a simulation takes, and
            how many frames there are.
        every: Steps between saved frames.
        dtype: Of the tensors. The simulation itself is in double precision.
        cache: An npz file that is read where it holds the same data, and written otherwise. ``None``: no file.
        progress: Called with the name of the part, the simulations done and their number.

    Returns:
        The parts by name.

    Raises:
        DataError: Sizes, frames or numbers of particles that cannot be; or a cache file that is broken.

    Properties:
        published_stream: charges, positions and velocities at the start are those of the published code, bit for bit.
        same_arithmetic: trajectories are those of the published steps on the same machine; on another one, the last
            bit of a power or of a matrix product may differ, and close encounters amplify it.
        first_simulations: fewer simulations are the first of more.
    """
    drawn = dict(NBODY_DRAWN if drawn is None else drawn)
    wanted = {name: min(number, 3000) for name, number in drawn.items()} if sizes is None else dict(sizes)
    _check(wanted, drawn, particles, frames, length, every)
    made_by = repr((sorted(wanted.items()), list(drawn.items()), seed, particles, tuple(frames), length, every))
    if cache is not None and (known := _read(Path(cache), made_by, wanted)) is not None:
        return {name: _tensors(arrays, dtype) for name, arrays in known.items()}
    random = np.random.RandomState(seed)
    made: dict[str, dict[str, np.ndarray]] = {}
    for name, number in drawn.items():
        used = wanted.get(name, 0)
        start = draw_charged_particles(random, number, particles, saved=length // every - 1)
        if name not in wanted:
            continue
        report = None if progress is None else _reporter(progress, name)
        charges, loc, vel = (array[:used] for array in start)
        loc, vel = charged_trajectories(charges, loc, vel, frames, every, report)
        made[name] = {"loc": loc[:, 0], "vel": vel[:, 0], "charges": charges[..., None], "target": loc[:, 1]}
    if cache is not None:
        _write(Path(cache), made_by, made)
    return {name: _tensors(arrays, dtype) for name, arrays in made.items()}


def draw_charged_particles(
    random: np.random.RandomState, number: int, particles: int = 5, saved: int = 49
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the starts of simulations, each in the order of the published code.

    Args:
        random: The stream; it is left where the published code leaves it.
        number: Of simulations.
        particles: Of each.
        saved: Frames of a published trajectory. For each of them noise is drawn that is then multiplied by zero.

    Returns:
        Charges ``[S, N]``, positions ``[S, N, 3]`` and velocities ``[S, N, 3]``. Particles that start outside the box
        [−5, 5]³ are reflected into it; afterwards the published code knows no walls.
    """
    charges = np.empty((number, particles))
    loc, vel = np.empty((number, 3, particles)), np.empty((number, 3, particles))
    for k in range(number):
        charges[k] = random.choice([-1.0, 0.0, 1.0], size=(particles, 1), p=[0.5, 0, 0.5])[:, 0]
        loc[k] = random.randn(3, particles)
        vel[k] = random.randn(3, particles)
        random.randn(2 * saved * 3 * particles)
    loc *= (particles / 5.0) ** (1 / 3)
    vel = vel * SPEED / np.sqrt((vel**2).sum(axis=1, keepdims=True))
    above, below = loc > BOX, loc < -BOX
    loc[above] = 2 * BOX - loc[above]
    vel[above] = -np.abs(vel[above])
    loc[below] = -2 * BOX - loc[below]
    vel[below] = np.abs(vel[below])
    return charges, loc.transpose(0, 2, 1), vel.transpose(0, 2, 1)


def charged_trajectories(
    charges: np.ndarray,
    loc: np.ndarray,
    vel: np.ndarray,
    frames: tuple[int, ...],
    every: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Integrate the motion of charged particles with the symplectic Euler steps of the published code.

    The first kick is a full one (the published comment calls it half of a leapfrog), and a saved velocity is the one
    that has just moved the particles. Components of forces are cut off at ±100, which is not equivariant: at close
    encounters the data themselves have a small noise.

    Args:
        charges: ``[S, N]``.
        loc: Positions at the start ``[S, N, 3]``.
        vel: Velocities at the start ``[S, N, 3]``.
        frames: Which frames are returned; frame k is at step ``every·(k + 1)``.
        every: Steps between frames.
        progress: Called with the simulations done and their number.

    Returns:
        Positions and velocities ``[S, len(frames), N, 3]``.
    """
    number, particles = charges.shape
    kept = np.empty((2, number, len(frames), particles, 3))
    for begin in range(0, number, CHUNK):
        part = slice(begin, min(begin + CHUNK, number))
        kept[:, part] = _chunk(charges[part], loc[part], vel[part], frames, every)
        if progress is not None:
            progress(part.stop, number)
    return kept[0], kept[1]


def _chunk(charges: np.ndarray, loc: np.ndarray, vel: np.ndarray, frames: tuple[int, ...], every: int) -> np.ndarray:
    """Integrate some simulations; components come first and simulations last, so that rows of memory are long."""
    number, particles = charges.shape
    steps = {every * (k + 1): [i for i, other in enumerate(frames) if other == k] for k in frames}
    last, kept = max(steps), np.empty((2, number, len(frames), particles, 3))
    products = np.ascontiguousarray((charges[:, :, None] * charges[:, None, :]).transpose(1, 2, 0))
    x, v = (np.ascontiguousarray(array.transpose(2, 1, 0)) for array in (loc, vel))
    diagonal = np.arange(particles)
    for step in range(1, last + 1):
        v += STEP * _force(x, products, diagonal)
        x += STEP * v
        for frame in steps.get(step, ()):
            kept[0, :, frame], kept[1, :, frame] = x.transpose(2, 1, 0), v.transpose(2, 1, 0)
    return kept


def _force(x: np.ndarray, products: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """Return forces ``[3, N, S]`` at positions ``[3, N, S]``, with products of charges ``[N, N, S]``."""
    rows = np.ascontiguousarray(x.transpose(2, 0, 1))
    # The same library call as the published `A.dot(A.T)`: its sums of three terms may be fused, ours would not be.
    dot = np.matmul(rows.transpose(0, 2, 1), rows).transpose(1, 2, 0)
    norm = (x**2).sum(axis=0)
    square = norm[:, None] + norm[None, :] - 2 * dot
    square[diagonal, diagonal] = 1.0  # no force of a particle on itself, and no division by zero
    size = products / np.power(square, 3.0 / 2.0)
    size[diagonal, diagonal] = 0.0
    force = np.zeros_like(x)
    for j in diagonal:  # one after the other, as numpy adds up a short row
        force += size[:, j] * (x - x[:, j : j + 1])
    return np.clip(force, -MAX_FORCE, MAX_FORCE, out=force)


def _reporter(progress: Callable[[str, int, int], None], name: str) -> Callable[[int, int], None]:
    return lambda done, number: progress(name, done, number)


def _check(
    wanted: dict[str, int], drawn: dict[str, int], particles: int, frames: tuple[int, int], length: int, every: int
) -> None:
    for name, number in wanted.items():
        if name not in drawn:
            raise DataError(f"There is no part {name!r}. Known: {', '.join(drawn)}.")
        if not 0 <= number <= drawn[name]:
            raise DataError(f"{number} simulations of the part {name!r} were asked for; {drawn[name]} are drawn.")
    if particles < 2:
        raise DataError(f"A system needs at least 2 particles, not {particles}.")
    if every < 1 or length % every:
        raise DataError(f"The length {length} must be a multiple of the steps between frames, {every}.")
    saved = length // every - 1
    if len(frames) != 2 or not 0 <= frames[0] < frames[1] < saved:
        raise DataError(
            f"frames must be two numbers, the first smaller than the second, from 0 to {saved - 1} (a trajectory of "
            f"{length} steps has {saved} frames), not {tuple(frames)}."
        )


def _tensors(arrays: dict[str, np.ndarray], dtype: torch.dtype) -> NBodyData:
    return NBodyData(**{name: torch.from_numpy(np.ascontiguousarray(a)).to(dtype) for name, a in arrays.items()})


def _write(path: Path, made_by: str, made: dict[str, dict[str, np.ndarray]]) -> None:
    flat: dict[str, Any] = {f"{part}.{name}": array for part, arrays in made.items() for name, array in arrays.items()}
    with atomic_path(path.with_suffix(".npz")) as temporary:
        np.savez(temporary, made_by=np.array(made_by), **flat)


def _read(path: Path, made_by: str, wanted: dict[str, int]) -> dict[str, dict[str, np.ndarray]] | None:
    """Read a file of data; None where there is none, or where it was made with other arguments."""
    path = path.with_suffix(".npz")
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "made_by" not in archive.files or str(archive["made_by"]) != made_by:
                return None
            return {part: {name: archive[f"{part}.{name}"] for name in NBodyData._fields} for part in wanted}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read: {error}. Remove it, and it is made again.") from error

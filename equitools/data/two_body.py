"""Two bodies that orbit each other in the plane: trajectories whose symmetry is known, to look for it.

Unit masses and G = 1; all quantities are dimensionless. The starts are those of the two-body task of Hamiltonian neural
networks (S. Greydanus, M. Dzamba, J. Yosinski, NeurIPS 2019, arXiv 1906.01563): the first body lies in the square
[½, 3/2]², the second one opposite, with the speeds of a circular orbit times 1 + 0.05 ε, ε normal. Other than there, an
integrator of order six with fixed steps follows them, which keeps energy and angular momentum to about 1e-10.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from equitools.errors import DataError, ShapeError

__all__ = ["TwoBodyOrbits", "two_body_invariants", "two_body_orbits"]

#: Of the symmetric composition of order six, solution A of H. Yoshida, Phys. Lett. A 150 (1990) 262.
_OUTER = (0.784513610477560, 0.235573213359357, -1.17767998417887)
STAGES = np.array([*_OUTER, 1 - 2 * sum(_OUTER), *_OUTER[::-1]])


class TwoBodyOrbits(NamedTuple):
    """Trajectories.

    Attributes:
        states: ``[S, T, 8]`` float64: position and momentum of the first body, then those of the second, each (x, y).
        times: ``[T]``.
    """

    states: Tensor
    times: Tensor

    def pairs(self, inputs: int = 1, outputs: int = 1) -> tuple[Tensor, Tensor]:
        """Return what a network that predicts motion is trained on: windows, and what follows each of them.

        Args:
            inputs: Frames in a window.
            outputs: Frames that follow.

        Returns:
            ``[S·(T − inputs − outputs + 1), inputs, 8]`` and ``[…, outputs, 8]``.

        Raises:
            DataError: A trajectory is shorter than that.
        """
        length = inputs + outputs
        if min(inputs, outputs) < 1 or length > self.states.shape[1]:
            raise DataError(
                f"{inputs} input and {outputs} output frames do not fit into a trajectory of {self.states.shape[1]}."
            )
        windows = self.states.unfold(1, length, 1).flatten(0, 1).transpose(-1, -2)
        return windows[:, :inputs].contiguous(), windows[:, inputs:].contiguous()


def two_body_orbits(
    number: int = 1000,
    *,
    frames: int = 50,
    duration: float = 20.0,
    noise: float = 0.05,
    radius: tuple[float, float] = (0.5, 1.5),
    anisotropy: float = 1.0,
    substeps: int = 20,
    seed: int = 0,
) -> TwoBodyOrbits:
    """Draw starts and follow them. The defaults are the published task.

    Args:
        number: Of trajectories.
        frames: Of each, at equal times from 0 to ``duration``.
        duration: Of each; a circular orbit of the first body with radius r takes 4π r^{3/2}.
        noise: By which the speed deviates from that of a circular orbit, relative.
        radius: Interval from which both coordinates of the first body are drawn.
        anisotropy: κ of the potential −1/√(Δx² + κ² Δy²). Other than 1 it has no symmetry of rotation: a control.
        substeps: Steps of the integrator between frames.
        seed: Of numpy's legacy generator; for each trajectory it draws two coordinates and ε, in this order.

    Returns:
        `TwoBodyOrbits`.

    Raises:
        DataError: Numbers that make no trajectory.

    Properties:
        conserved: energy is constant to 1e-9, and for ``anisotropy=1`` so is the angular momentum.
        rotation_symmetry: of turned starts, the trajectories are turned (for ``anisotropy=1``).
        first_trajectories: fewer trajectories are the first of more.

    Example:
        >>> two_body_orbits(3).states.shape
        torch.Size([3, 50, 8])
    """
    if min(number, frames - 1, substeps) < 1 or not duration > 0 or not anisotropy > 0 or not 0 < radius[0] < radius[1]:
        raise DataError(
            "Orbits need number ≥ 1, frames ≥ 2, substeps ≥ 1, a positive duration and anisotropy and "
            f"0 < radius[0] < radius[1]; given {number}, {frames}, {substeps}, {duration}, {anisotropy}, {radius}."
        )
    random = np.random.RandomState(seed)
    place, factor = np.empty((number, 2)), np.empty(number)
    for k in range(number):
        place[k] = random.uniform(*radius, size=2)
        factor[k] = 1 + noise * random.randn()
    speed = factor / (2 * np.linalg.norm(place, axis=1) ** 1.5)
    momentum = np.stack([-place[:, 1], place[:, 0]], 1) * speed[:, None]
    q, p = np.stack([place, -place], 1), np.stack([momentum, -momentum], 1)
    times = np.linspace(0.0, duration, frames)
    step = (times[1] - times[0]) / substeps
    saved = [(q.copy(), p.copy())]
    for _ in range(frames - 1):
        for _ in range(substeps):
            _advance(q, p, step, anisotropy)
        saved.append((q.copy(), p.copy()))
    states = np.stack([np.concatenate([q, p], -1).reshape(number, 8) for q, p in saved], 1)
    return TwoBodyOrbits(torch.from_numpy(states), torch.from_numpy(times))


def two_body_invariants(states: Tensor, anisotropy: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return energy and angular momentum.

    Args:
        states: ``[..., 8]`` in the order of `TwoBodyOrbits`.
        anisotropy: Of the potential.

    Returns:
        Two tensors ``[...]``.

    Raises:
        ShapeError: The last axis has not 8 entries.
    """
    if states.shape[-1:] != (8,):
        raise ShapeError(f"States of two bodies have 8 entries [..., 8], given {list(states.shape)}.")
    q1, p1, q2, p2 = states.unflatten(-1, (4, 2)).unbind(-2)
    distance = ((q1 - q2).square() * states.new_tensor([1.0, anisotropy**2])).sum(-1).sqrt()
    energy = (p1.square().sum(-1) + p2.square().sum(-1)) / 2 - 1 / distance
    turning = (q1[..., 0] * p1[..., 1] - q1[..., 1] * p1[..., 0]) + (q2[..., 0] * p2[..., 1] - q2[..., 1] * p2[..., 0])
    return energy, turning


def _advance(q: np.ndarray, p: np.ndarray, step: float, anisotropy: float) -> None:
    """Move all systems by one step, in place: seven leapfrogs, of which neighbouring drifts are joined."""
    stretch = np.array([1.0, anisotropy**2])
    drifts = np.concatenate([STAGES[:1], STAGES[:-1] + STAGES[1:]]) * (step / 2)
    for drift, kick in zip(drifts, STAGES * step, strict=True):
        q += drift * p
        difference = q[:, 0] - q[:, 1]
        stretched = difference * stretch
        pull = (kick / (difference * stretched).sum(1) ** 1.5)[:, None] * stretched
        p[:, 0] -= pull
        p[:, 1] += pull
    q += drifts[0] * p

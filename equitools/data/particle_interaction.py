"""A synthetic regression task that is invariant to Lorentz transformations: an electron–muon matrix element.

Four four-vectors with normal components, and a polynomial of their scalar products that has the form of the
lowest-order amplitude of electron–muon scattering. It is the task `ParticleInteraction` of the equivariant MLP
(M. Finzi, M. Welling, A. G. Wilson, A Practical Method for Constructing Equivariant Multilayer Perceptrons for
Arbitrary Matrix Groups, ICML 2021), with the sizes and the seed of T. D. Nguyen et al. (arXiv 2311.07143). Into which
parts the events are split there is not known to us; here it is by their order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups import lorentz_metric

__all__ = ["InteractionPart", "ParticleInteraction", "matrix_element", "particle_interaction"]


class InteractionPart(NamedTuple):
    """Events and their targets.

    Attributes:
        momenta: Scaled four-vectors p₁ … p₄, ``[N, 4, 4]`` float64.
        target: Standardised matrix element ``[N]``.
    """

    momenta: Tensor
    target: Tensor


class ParticleInteraction(NamedTuple):
    """The task: three parts, and what they were scaled with.

    Attributes:
        train: For training.
        valid: For validation.
        test: For testing.
        scale: By which each of the four momenta was divided ``[4]``; the same for all components keeps the symmetry.
        mean: Mean of the matrix elements of the training part.
        std: Their standard deviation.
    """

    train: InteractionPart
    valid: InteractionPart
    test: InteractionPart
    scale: Tensor
    mean: float
    std: float


def matrix_element(momenta: Tensor) -> Tensor:
    """Return 4 Σ_{μν} L_e^{μν} L_μ,μν of four momenta.

    L_e = p₁ ⊗ p₃ − (p₁·p₃ − p₁·p₁) η and L_μ = ηp₂ ⊗ ηp₄ − (p₂·p₄ − p₂·p₂) η, with v·w = vᵀ η w.

    Args:
        momenta: ``[..., 4, 4]``: p₁, p₂, p₃ and p₄, each (E, p_x, p_y, p_z).

    Returns:
        ``[...]``.

    Raises:
        ShapeError: The last two axes are not 4 × 4.

    Properties:
        lorentz_invariance: of g p₁, …, g p₄ it is the same, for every g of O(1,3).
    """
    if momenta.shape[-2:] != (4, 4):
        raise ShapeError(f"Four momenta [..., 4, 4] are needed, given {list(momenta.shape)}.")
    eta = lorentz_metric(momenta.dtype, momenta.device)
    p1, p2, p3, p4 = momenta.unbind(-2)

    def tensor(first: Tensor, second: Tensor, trace: Tensor) -> Tensor:
        return first.unsqueeze(-1) * second.unsqueeze(-2) - trace[..., None, None] * eta

    def dot(v: Tensor, w: Tensor) -> Tensor:
        return ((v @ eta) * w).sum(-1)

    electron = tensor(p1, p3, dot(p1, p3) - dot(p1, p1))
    muon = tensor(p2 @ eta, p4 @ eta, dot(p2, p4) - dot(p2, p2))
    return 4 * (electron * muon).sum((-1, -2))


def particle_interaction(
    train: int = 10_000, valid: int = 1_000, test: int = 5_000, seed: int = 2021
) -> ParticleInteraction:
    """Draw the task.

    The components are normal with standard deviation 1/4. Each momentum is divided by the root of the mean of its
    abs(p_k² η_kk); the target by its standard deviation, after its mean was subtracted; all of them of the training
    part.

    Args:
        train: Events for training.
        valid: Events for validation.
        test: Events for testing.
        seed: Of numpy's legacy generator, from which all events are drawn at once, in this order.

    Returns:
        `ParticleInteraction`.

    Raises:
        ConfigError: A part would be empty, or one event is left for scaling.

    Example:
        >>> particle_interaction(100, 10, 10).train.momenta.shape
        torch.Size([100, 4, 4])
    """
    if min(train - 1, valid, test) < 1:
        raise ConfigError(f"Every part needs events, the one for training two: not {train}, {valid} and {test}.")
    total = train + valid + test
    drawn = np.random.RandomState(seed).randn(total, 4, 4) / 4
    momenta = torch.from_numpy(drawn)
    target = matrix_element(momenta)
    scale = momenta[:train].square().mean((0, 2)).sqrt()
    mean, std = float(target[:train].mean()), float(target[:train].std())
    sizes = [train, valid, test]
    events = (momenta / scale[:, None]).split(sizes)
    first, second, third = map(InteractionPart, events, ((target - mean) / std).split(sizes))
    return ParticleInteraction(first, second, third, scale, mean, std)

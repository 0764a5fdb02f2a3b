"""The identity prior: how to keep a pretrained network's poses when it gets a canonicalizer.

A network that was trained on upright data works where its input is upright. A canonicalizer in front of it may choose
any pose, as long as it chooses the same one for all rotated copies; the prior tells it to leave the training data,
which are upright, as they are.

Source:
    A. K. Mondal et al., Equivariant Adaptation of Large Pretrained Models, NeurIPS 2023, arXiv:2310.01647.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, nearest

__all__ = ["PRIORS", "identity_metric", "identity_prior"]

#: The kinds of `identity_prior`.
PRIORS = ("continuous", "discrete")


def identity_prior(elements: Tensor, kind: str = "continuous", identity: int = 0) -> Tensor:
    """Return the loss that pulls a canonicalizer towards the identity on the data at hand.

    Args:
        elements: Continuous: elements ``[B, d, d]``. Of homogeneous matrices of Euclidean groups give the linear part
            ``[:, :d, :d]``, since where a cloud is located says nothing about its pose. Discrete: scores ``[B, G]`` of
            the elements of a group.
        kind: ``"continuous"``: the mean square of the entries of g − 1. ``"discrete"``: the cross entropy of the scores
            with the index of the identity.
        identity: Which element is the identity (discrete).

    Returns:
        A scalar, differentiable; of an empty batch 0.

    Raises:
        ShapeError: The shape does not fit the kind.
        ConfigError: The kind is not known, or there is no element of that index.

    Properties:
        zero_at_the_identity: the continuous loss is 0 if and only if all elements are the identity.
    """
    if kind not in PRIORS:
        raise ConfigError(f"kind={kind!r} is not known. {nearest(str(kind), PRIORS)}")
    if kind == "continuous":
        _check(elements)
        eye = torch.eye(elements.shape[-1], dtype=elements.dtype, device=elements.device)
        return (elements - eye).square().sum() / max(1, elements.numel())
    if elements.ndim != 2 or not elements.is_floating_point():
        raise ShapeError(f"The discrete prior needs scores [B, G], given {list(elements.shape)} {elements.dtype}.")
    if not 0 <= identity < elements.shape[1]:
        raise ConfigError(f"There is no element {identity} among {elements.shape[1]}.")
    return -torch.log_softmax(elements, -1)[:, identity].sum() / max(1, len(elements))


def identity_metric(elements: Tensor, tolerance: float = 1e-3) -> Tensor:
    """Return which share of the elements is the identity.

    Args:
        elements: ``[B, d, d]``.
        tolerance: Largest Frobenius norm of g − 1 that counts; for a rotation of the plane, or about an axis, by θ it
            is √8 sin(θ/2), so that 0.1 is about 4°.

    Returns:
        A scalar between 0 and 1, without gradient; of an empty batch not a number.

    Raises:
        ShapeError: The shape is wrong.

    Properties:
        one_at_the_identity: of identities it is 1.
    """
    _check(elements)
    eye = torch.eye(elements.shape[-1], dtype=elements.dtype, device=elements.device)
    distance = torch.linalg.matrix_norm(elements.detach() - eye)
    return (distance <= tolerance).to(elements.dtype).mean()


def _check(elements: Tensor) -> None:
    if elements.ndim != 3 or elements.shape[1] != elements.shape[2] or not elements.is_floating_point():
        raise ShapeError(f"Elements [B, d, d] are needed, given {list(elements.shape)} {elements.dtype}.")

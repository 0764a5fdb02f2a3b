"""Canonicalizers that choose among finitely many elements: by a score of the cloud as seen from each of them.

Any network can give the scores. Turned by an element h of the group, a cloud has the same scores for other elements:
those of h times the former ones. So the choice is equivariant by construction, and exactly to the finite group; to a
group that it is a part of, it is not.

Source:
    S.-O. Kaba et al., ICML 2023, arXiv:2211.06489 (optimisation canonicalizers); A. K. Mondal et al., NeurIPS 2023,
    arXiv:2310.01647 (a reference vector, and the loss that keeps the vectors apart).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError, nearest
from equitools.groups import finite_group, homogeneous_matrices, multiplication_table
from equitools.models.canonicalizers import centroid
from equitools.models.cloud_input import check_clouds, mask_arguments, takes_mask
from equitools.ops.precision import full_precision

__all__ = ["ESTIMATORS", "Activations", "DiscreteCanonicalizer", "distinct_vectors_loss"]

#: How a gradient gets through the choice.
ESTIMATORS = ("straight-through", "gumbel")


class Activations(NamedTuple):
    """What a network says of a cloud as seen from each element.

    Attributes:
        scores: ``[B, G]``; the largest is chosen.
        vectors: ``[B, G, V]``, the network's outputs.
    """

    scores: Tensor
    vectors: Tensor


class DiscreteCanonicalizer(torch.nn.Module):
    """The element of a finite group from which a cloud looks best.

    The network is given ``g⁻¹ x`` for all elements g. Its output of size 1 is the score; a longer one is multiplied
    with a learned reference vector. In training the element has the gradient of a softmax of the scores ("straight
    through"), with ``"gumbel"`` after Gumbel noise was added, so that elements are drawn with the softmax's
    probabilities. The value is one element in any case. In evaluation nothing is random, and there is no gradient: the
    choice is piecewise constant. Of equal scores the first in the table is chosen: where a cloud has equal ones, its
    symmetry is not resolved, and the choice is equivariant only up to it.

    Args:
        elements: Orthogonal matrices ``[G, d, d]`` that form a group, or the name of one for
            `equitools.groups.finite_group`. The identity need not come first, but `equitools.symmetrize.identity_prior`
            takes it to. They are part of the module's state: a state that is loaded brings its own table.
        network: Maps clouds ``[M, N, d]`` to ``[M, V]``; given ``mask=[M, N]`` if its forward has such a parameter or
            takes any keyword. Without one it is refused clouds with padding.
        vector_size: V.
        estimator: ``"straight-through"`` or ``"gumbel"``.
        temperature: Scores are divided by it before the softmax.
        translation: Remove the centroid first, and return homogeneous matrices.

    Properties:
        equivariance: forward(h x) = h forward(x) for every element h of the table.
        straight_through: in training the gradient is that of the softmax's average of the elements.

    Example:
        >>> from equitools.models.points import PointNet
        >>> pose = DiscreteCanonicalizer("O", PointNet(8, widths=(16, 32), head=(16,)), vector_size=8)
        >>> pose(torch.randn(5, 32, 3)).shape
        torch.Size([5, 3, 3])
    """

    def __init__(
        self,
        elements: Tensor | str,
        network: torch.nn.Module | Callable[..., Tensor],
        *,
        vector_size: int = 1,
        estimator: str = "straight-through",
        temperature: float = 1.0,
        translation: bool = False,
    ) -> None:
        super().__init__()
        table = finite_group(elements) if isinstance(elements, str) else elements.detach().double()
        if table.ndim != 3 or table.shape[1] != table.shape[2] or len(table) == 0:
            raise ShapeError(f"A table of elements [G, d, d] is needed, given {list(table.shape)}.")
        eye = torch.eye(table.shape[1], dtype=table.dtype, device=table.device)
        if float((table.mT @ table - eye).abs().max()) > 1e-6:
            raise ShapeError("The elements of a discrete canonicalizer are orthogonal matrices; these are not.")
        multiplication_table(table)  # raises unless it is closed: to anything else nothing is equivariant
        if estimator not in ESTIMATORS:
            raise ConfigError(f"estimator={estimator!r} is not known. {nearest(str(estimator), ESTIMATORS)}")
        if not temperature > 0:
            raise ConfigError(f"The temperature is positive, not {temperature!r}.")
        if isinstance(vector_size, bool) or not isinstance(vector_size, int) or vector_size < 1:
            raise ConfigError(f"vector_size is an integer of at least 1, not {vector_size!r}.")
        # The bits of the float64 table: moved and saved with the module, and not rounded by a change of its dtype.
        self.register_buffer("element_bits", table.contiguous().clone().view(torch.int64))
        self.network, self.vector_size = network, vector_size
        self.estimator, self.temperature, self.translation = estimator, temperature, translation
        self.reference = torch.nn.Parameter(torch.randn(vector_size)) if vector_size > 1 else None
        self.passes_mask = takes_mask(network)

    element_bits: Tensor

    @property
    def elements(self) -> Tensor:
        """The table, ``[G, d, d]`` float64; it is part of the module's state."""
        return self.element_bits.view(torch.float64)

    def extra_repr(self) -> str:
        """Return the number of elements and the estimator."""
        return f"{len(self.elements)} elements, estimator={self.estimator!r}, temperature={self.temperature}"

    @full_precision
    def activations(self, x: Tensor, mask: Tensor | None = None) -> Activations:
        """Return what the network says of each cloud as seen from each element.

        Args:
            x: Clouds ``[B, N, d]``.
            mask: Real points ``[B, N]``.

        Raises:
            ShapeError: A shape is wrong, coordinates are not finite, or the network returns no ``[M, vector_size]``.
            ConfigError: The mask leaves points out, and the network has no parameter for it.
        """
        d, count = self.elements.shape[1], len(self.elements)
        check_clouds(x, d, mask)
        if self.translation:
            x = x - centroid(x, mask).unsqueeze(1)
        seen = (x.unsqueeze(1) @ self.elements.to(x)).flatten(0, 1)  # rows times g: g⁻¹ = gᵀ of each point
        wide = None if mask is None else mask.repeat_interleave(count, 0)
        found = self.network(seen, **mask_arguments(wide, self.passes_mask, "the network of this canonicalizer"))
        if self.vector_size == 1 and found.shape == (len(seen),):
            found = found.unsqueeze(-1)
        if found.shape != (len(seen), self.vector_size):
            raise ShapeError(
                f"The network of this canonicalizer must return [{len(seen)}, {self.vector_size}], it returned "
                f"{list(found.shape)}."
            )
        vectors = found.view(len(x), count, self.vector_size)
        scores = vectors.squeeze(-1) if self.reference is None else vectors @ self.reference.to(vectors)
        return Activations(scores, vectors)

    def choose(self, scores: Tensor) -> Tensor:
        """Return the elements ``[B, d, d]`` that scores ``[B, G]`` stand for."""
        table = self.elements.to(scores)
        if not self.training:
            return table[scores.argmax(-1)]
        logits = scores / self.temperature
        if self.estimator == "gumbel":
            uniform = torch.rand_like(logits).clamp(min=torch.finfo(logits.dtype).tiny)
            logits = logits - (-uniform.log()).clamp(min=torch.finfo(logits.dtype).tiny).log()
        soft = logits.softmax(-1)
        hard = table[logits.argmax(-1)]
        # the difference is zero to the last bit and has the gradient of the softmax
        return hard + torch.einsum("bg,gij->bij", soft - soft.detach(), table)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return an element for each cloud.

        Args:
            x: Clouds ``[B, N, d]``.
            mask: Real points ``[B, N]``.

        Returns:
            ``[B, d, d]``; with ``translation`` ``[B, d+1, d+1]``.

        Raises:
            ShapeError: As of `activations`.
        """
        element = self.choose(self.activations(x, mask).scores)
        return homogeneous_matrices(element, centroid(x, mask)) if self.translation else element


def distinct_vectors_loss(vectors: Tensor) -> Tensor:
    """Return the mean squared cosine between the vectors of different elements.

    It keeps a network from saying the same of all of them, in which case the choice would mean nothing.

    Args:
        vectors: ``[B, G, V]``, as of `Activations`.

    Returns:
        A scalar between 0 and 1; of one element, or an empty batch, 0.

    Raises:
        ShapeError: The shape is wrong.

    Properties:
        zero_of_orthogonal_vectors: and 1 if all are parallel.
    """
    if vectors.ndim != 3 or not vectors.is_floating_point():
        raise ShapeError(f"Vectors [B, G, V] are needed, given {list(vectors.shape)} {vectors.dtype}.")
    batch, count, _ = vectors.shape
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    square = (unit @ unit.mT).square()
    off = square.sum() - square.diagonal(dim1=1, dim2=2).sum()
    return off / max(1, batch * count * (count - 1))

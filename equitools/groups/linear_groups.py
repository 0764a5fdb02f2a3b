"""The general and the special linear group: all linear maps that keep orientation, and those that keep volume."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.matrix_functions import matrix_exp
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.orthogonal import SO, antisymmetric_basis
from equitools.groups.orthogonal_factor import orthogonal_factor
from equitools.groups.precision import full_precision

__all__ = ["SL", "GLPlus", "symmetric_basis"]


def symmetric_basis(n: int) -> Tensor:
    """Return a basis of the symmetric n × n matrices ``[n(n+1)/2, n, n]`` float64, orthonormal under ½ tr XᵀY.

    First E_ij + E_ji, then diagonal ones without trace, and the multiple of the identity last.
    """
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    basis = torch.zeros(len(pairs) + n, n, n, dtype=torch.float64)
    for k, (i, j) in enumerate(pairs):
        basis[k, i, j] = basis[k, j, i] = 1.0
    for k in range(n - 1):
        diagonal = torch.zeros(n, dtype=torch.float64)
        diagonal[: k + 1], diagonal[k + 1] = 1.0, -(k + 1.0)
        basis[len(pairs) + k] = torch.diag(diagonal * (2 / ((k + 1) * (k + 2))) ** 0.5)
    basis[-1] = torch.eye(n, dtype=torch.float64) * (2 / n) ** 0.5
    return basis


class GLPlus(MatrixGroup):
    """GL⁺(n), all n × n matrices with positive determinant; ⟨X, Y⟩ = ½ tr XᵀY.

    The first n(n−1)/2 coordinates are rotations, with the basis of SO(n), the others symmetric matrices, of which the
    last is the logarithm of the scale, times √(n/2).

    The exponential does not reach every element (not diag(−1, −2), for example): `decompose` with "polar" is the chart
    that does.
    """

    letter = "GL+"
    log_tolerance: float | None = None

    @property
    def dim(self) -> int:
        """Dimension of the group as a manifold."""
        return self.n * self.n

    @property
    def algebra_basis(self) -> Tensor:
        """Basis of the Lie algebra ``[n², n, n]`` float64: antisymmetric, then symmetric, the identity last."""
        return torch.cat([antisymmetric_basis(self.n), symmetric_basis(self.n)])

    def sample(
        self,
        shape: tuple[int, ...] = (),
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        spread: float = 0.3,
    ) -> Tensor:
        """Draw elements ``[*shape, n, n]``: p k with k from the Haar measure of SO(n) and log p normal.

        The group is not compact, so it has no Haar probability: this is a distribution of its elements, not *the* one.

        Args:
            shape: Of the batch.
            generator: Source of randomness; the elements are made on its device.
            dtype: Of the elements.
            spread: Standard deviation of each coordinate of log p in `algebra_basis`, which is orthonormal under
                ½ tr XᵀY: √2 times that in the basis of `sample_polar`.

        Returns:
            ``[*shape, n, n]``.

        Properties:
            samples_are_elements: contains(sample) is true.
        """
        device = None if generator is None else generator.device
        turn = SO(self.n).sample(shape, generator, dtype)
        rotations = self.n * (self.n - 1) // 2
        basis = self.algebra_basis[rotations:].to(turn)
        x = spread * torch.randn(*shape, len(basis), generator=generator, dtype=dtype, device=device)
        return matrix_exp(torch.einsum("...k,kij->...ij", x, basis)) @ turn

    def contains(self, g: Tensor, tolerance: float | None = None) -> Tensor:
        """Return which matrices are elements: finite, not singular, and with positive determinant.

        Args:
            g: ``[..., n, n]``.
            tolerance: The smallest singular value, relative to the largest, up to which a matrix is singular; by
                default that of rounding.

        Returns:
            ``[...]`` bool; false where something is not finite.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        finite = g.isfinite().all(-1).all(-1)
        clean = torch.where(finite[..., None, None], g, torch.zeros_like(g))
        values = torch.linalg.svdvals(clean)
        least = self.n * torch.finfo(g.dtype).eps if tolerance is None else tolerance
        return finite & (values[..., -1] > least * values[..., 0]) & (torch.linalg.slogdet(clean)[0] > 0)

    @full_precision
    def inverse(self, g: Tensor) -> Tensor:
        """Return the inverses of elements ``[..., n, n]``.

        Raises:
            ShapeError: The shape is wrong, or a matrix is no element.
        """
        self.require(g, self.log_tolerance)
        return torch.linalg.inv(g)

    def project(self, a: Tensor) -> Tensor:
        """Return elements near invertible matrices ``[..., n, n]``.

        The group is open, so that there is no nearest element: a matrix with positive determinant is one, and of the
        others the axis of the smallest singular value is reversed.

        Raises:
            ShapeError: The shape is wrong, or a matrix is singular or not finite.

        Properties:
            projection: an element is projected onto itself.
        """
        self._check(a)
        flipped = _negative(self, a)
        if not bool(flipped.any()):
            return a.clone()
        # a = U S Vᵀ, D reverses the last axis: U S D Vᵀ = a (U Vᵀ)ᵀ (U D Vᵀ), and both factors have derivatives
        reversed_axis = a @ orthogonal_factor(a).transpose(-1, -2) @ orthogonal_factor(a, proper=True)
        return torch.where(flipped[..., None, None], reversed_axis, a)


class SL(GLPlus):
    """SL(n), all n × n matrices with determinant 1; ⟨X, Y⟩ = ½ tr XᵀY.

    The coordinates are those of GL⁺(n) without the last, the scale: rotations, then symmetric matrices without trace.

    The exponential does not reach every element (not diag(−2, −½), for example): `decompose` with "polar" is the chart
    that does.
    """

    letter = "SL"
    log_tolerance = MatrixGroup.log_tolerance

    @property
    def dim(self) -> int:
        """Dimension of the group as a manifold."""
        return self.n * self.n - 1

    @property
    def algebra_basis(self) -> Tensor:
        """Basis of the Lie algebra ``[n² − 1, n, n]`` float64: antisymmetric, then symmetric matrices without trace."""
        return super().algebra_basis[:-1]

    def contains(self, g: Tensor, tolerance: float | None = None) -> Tensor:
        """Return which matrices are elements.

        Args:
            g: ``[..., n, n]``.
            tolerance: Largest deviation of the determinant from 1, beyond the rounding of the product of the lengths of
                the columns; by default 1e-6 in float64 and 1e-4 in smaller dtypes.

        Returns:
            ``[...]`` bool; false where something is not finite.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        determinant = torch.linalg.det(g)
        return (determinant > 0) & self._small((determinant - 1).abs(), g.norm(dim=-2).prod(-1), g, tolerance)

    def project(self, a: Tensor) -> Tensor:
        """Return elements near invertible matrices ``[..., n, n]``: those of `GLPlus`, scaled to determinant 1.

        For matrices of positive determinant it goes along with multiplication from either side: project(h a) = h
        project(a).

        Raises:
            ShapeError: The shape is wrong, or a matrix is singular or not finite.

        Properties:
            projection: an element is projected onto itself.
        """
        positive = super().project(a)
        return positive * torch.exp(-torch.linalg.slogdet(positive)[1] / self.n)[..., None, None]


def _negative(group: MatrixGroup, a: Tensor) -> Tensor:
    """Which matrices have a negative determinant; an error where one is singular."""
    found = a.detach()
    if not bool(found.isfinite().all()):
        raise ShapeError(f"A matrix to be projected onto {group.name} is not finite.")
    values = torch.linalg.svdvals(found)
    if bool((values[..., -1] <= group.n * torch.finfo(a.dtype).eps * values[..., 0]).any()):
        raise ShapeError(f"A singular matrix has no projection onto {group.name}.")
    return torch.linalg.slogdet(found)[0] < 0

"""Scalings: of all of space by one factor, or of each axis by its own."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.matrix_group import MatrixGroup

__all__ = ["DiagonalScaling", "Scaling"]


class _Diagonal(MatrixGroup):
    """Diagonal matrices of positive numbers, as many different ones as there are coordinates."""

    def inner_product(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return ⟨X, Y⟩ ``[...]`` of matrices ``[..., n, n]``: the sum of their products on the diagonal."""
        return (torch.diagonal(X, dim1=-2, dim2=-1) * torch.diagonal(Y, dim1=-2, dim2=-1)).sum(-1)

    def _factors(self, a: Tensor) -> Tensor:
        """The factors ``[..., dim]`` of a diagonal matrix."""
        return torch.diagonal(a, dim1=-2, dim2=-1)

    def _element(self, factors: Tensor) -> Tensor:
        return torch.diag_embed(factors.expand(*factors.shape[:-1], self.n))

    def exp(self, x: Tensor) -> Tensor:
        """Map logarithms of the factors ``[..., dim]`` to elements ``[..., n, n]``.

        Raises:
            ShapeError: The last axis has not `dim` entries.
        """
        self.hat(x[:0] if x.ndim > 1 else x)  # refuses a wrong shape
        return self._element(torch.exp(x))

    def log(self, g: Tensor) -> Tensor:
        """Map elements ``[..., n, n]`` to the logarithms of their factors ``[..., dim]``; defined everywhere.

        Raises:
            ShapeError: The shape is wrong, a factor is not positive, or a matrix is far (1e-3) from all elements.
        """
        self.require(g, self.log_tolerance)
        return torch.log(self._factors(g))

    def sample(
        self,
        shape: tuple[int, ...] = (),
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        spread: float = 0.3,
    ) -> Tensor:
        """Draw elements ``[*shape, n, n]``, the logarithms of the factors normal.

        Args:
            shape: Of the batch.
            generator: Source of randomness; the elements are made on its device.
            dtype: Of the elements.
            spread: Standard deviation of each logarithm.

        Returns:
            ``[*shape, n, n]``.
        """
        device = None if generator is None else generator.device
        return self.exp(spread * torch.randn(*shape, self.dim, generator=generator, dtype=dtype, device=device))

    def contains(self, g: Tensor, tolerance: float | None = None) -> Tensor:
        """Return which matrices are elements.

        Args:
            g: ``[..., n, n]``.
            tolerance: Largest deviation of an entry from that of the element with the same factors, relative to the
                largest entry; by default 1e-6 in float64 and 1e-4 in smaller dtypes.

        Returns:
            ``[...]`` bool; false where something is not finite.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        factors = self._factors(g)
        error = (g - self._element(factors)).abs().amax((-1, -2))
        size = g.abs().amax((-1, -2))
        return g.isfinite().all(-1).all(-1) & (factors > 0).all(-1) & (error <= self._tolerance(g, tolerance) * size)

    def project(self, a: Tensor) -> Tensor:
        """Return the nearest elements (Frobenius norm) to matrices ``[..., n, n]``.

        Raises:
            ShapeError: The shape is wrong, or a factor would not be positive: no element is nearest then.

        Properties:
            projection: an element is projected onto itself.
        """
        self._check(a)
        factors = self._factors(a)
        if not bool((factors > 0).all()):
            raise ShapeError(f"A matrix has no projection onto {self.name}: a factor would not be positive.")
        return self._element(factors)


class Scaling(_Diagonal):
    """The multiples s·1 of the identity of ℝⁿ, s > 0; ⟨X, Y⟩ = tr X tr Y / n².

    The coordinate is log s.
    """

    letter = "Scaling"

    @property
    def dim(self) -> int:
        """Dimension of the group as a manifold: 1."""
        return 1

    @property
    def algebra_basis(self) -> Tensor:
        """Basis of the Lie algebra ``[1, n, n]`` float64: the identity."""
        return torch.eye(self.n, dtype=torch.float64).unsqueeze(0)

    def inner_product(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return ⟨X, Y⟩ ``[...]`` of matrices ``[..., n, n]``: tr X tr Y / n²."""
        return self._factors(X).squeeze(-1) * self._factors(Y).squeeze(-1)

    def _factors(self, a: Tensor) -> Tensor:
        return torch.diagonal(a, dim1=-2, dim2=-1).mean(-1, keepdim=True)


class DiagonalScaling(_Diagonal):
    """The diagonal matrices of positive numbers; ⟨X, Y⟩ = Σᵢ Xᵢᵢ Yᵢᵢ.

    The coordinates are the logarithms of the diagonal.
    """

    letter = "DiagonalScaling"

    @property
    def dim(self) -> int:
        """Dimension of the group as a manifold."""
        return self.n

    @property
    def algebra_basis(self) -> Tensor:
        """Basis of the Lie algebra ``[n, n, n]`` float64: one entry on the diagonal each."""
        return torch.diag_embed(torch.eye(self.n, dtype=torch.float64))

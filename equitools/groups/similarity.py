"""Similarities: rotations with a scale, without and with translations."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.affine import Affine
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.orthogonal import SO, antisymmetric_basis

__all__ = ["SIM", "ScaledRotations"]


class ScaledRotations(MatrixGroup):
    """CSO(n), the matrices s R with a rotation R of ℝⁿ and a scale s > 0.

    ⟨X, Y⟩ = ½ tr of the antisymmetric parts' XᵀY plus tr X tr Y / n²: the coordinates are those of the rotation, and
    log s last.
    """

    letter = "CSO"

    @property
    def dim(self) -> int:
        """Dimension of the group as a manifold."""
        return self.n * (self.n - 1) // 2 + 1

    @property
    def algebra_basis(self) -> Tensor:
        """Basis of the Lie algebra ``[dim, n, n]`` float64: rotations as of SO(n), then the identity."""
        return torch.cat([antisymmetric_basis(self.n), torch.eye(self.n, dtype=torch.float64).unsqueeze(0)])

    def inner_product(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return ⟨X, Y⟩ ``[...]`` of matrices ``[..., n, n]``."""
        a, b = (Z - Z.transpose(-1, -2) for Z in (X, Y))
        traces = [torch.diagonal(Z, dim1=-2, dim2=-1).mean(-1) for Z in (X, Y)]
        return (a * b).sum((-1, -2)) / 8 + traces[0] * traces[1]

    def parts(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scales ``[...]`` and the rotations ``[..., n, n]`` of elements.

        Raises:
            ShapeError: The shape is wrong, or a determinant is not positive.
        """
        self._check(g)
        sign, logarithm = torch.linalg.slogdet(g)
        if not bool((sign > 0).all()):
            raise ShapeError(f"An element of {self.name} has a positive determinant; given is one that has not.")
        scale = torch.exp(logarithm / self.n)
        return scale, g / scale[..., None, None]

    def exp(self, x: Tensor) -> Tensor:
        """Map coordinates ``[..., dim]`` in `algebra_basis` to elements ``[..., n, n]``.

        Raises:
            ShapeError: The last axis has not `dim` entries.
        """
        if x.ndim < 1 or x.shape[-1] != self.dim:
            raise ShapeError(f"{self.name} has {self.dim} coordinates, the tensor given is {list(x.shape)}.")
        return torch.exp(x[..., -1:]).unsqueeze(-1) * SO(self.n).exp(x[..., :-1])

    def log(self, g: Tensor) -> Tensor:
        """Map elements to coordinates ``[..., dim]``, the inverse of `exp`; the branch is that of SO(n).

        Raises:
            ShapeError: The shape is wrong, a determinant is not positive, or (n ≥ 4) an angle is π.

        Properties:
            log_inverts_exp: log(exp(x)) = x for rotation angles below π.
        """
        scale, turn = self.parts(g)
        return torch.cat([SO(self.n).log(turn), torch.log(scale).unsqueeze(-1)], -1)

    def sample(
        self,
        shape: tuple[int, ...] = (),
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        spread: float = 0.3,
    ) -> Tensor:
        """Draw elements ``[*shape, n, n]``: a rotation of the Haar measure, the logarithm of the scale normal.

        Args:
            shape: Of the batch.
            generator: Source of randomness; the elements are made on its device.
            dtype: Of the elements.
            spread: Standard deviation of the logarithm of the scale.

        Returns:
            ``[*shape, n, n]``.
        """
        turn = SO(self.n).sample(shape, generator, dtype)
        scale = torch.exp(spread * torch.randn(*shape, 1, 1, generator=generator, dtype=dtype, device=turn.device))
        return scale * turn

    def contains(self, g: Tensor, tolerance: float | None = None) -> Tensor:
        """Return which matrices are elements.

        Args:
            g: ``[..., n, n]``.
            tolerance: Largest deviation of an entry of gᵀg / s² from the identity; by default 1e-6 in float64 and 1e-4
                in smaller dtypes.

        Returns:
            ``[...]`` bool; false where something is not finite.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        sign, logarithm = torch.linalg.slogdet(g)
        turn = g * torch.exp(-logarithm / self.n)[..., None, None]
        return (sign > 0) & SO(self.n).contains(turn, tolerance)

    def project(self, a: Tensor) -> Tensor:
        """Return the nearest elements (Frobenius norm) to matrices ``[..., n, n]``.

        Raises:
            ShapeError: The shape is wrong, or the scale would not be positive: no element is nearest then.

        Properties:
            projection: an element is projected onto itself.
        """
        self._check(a)
        turn = SO(self.n).project(a)
        scale = (turn * a).sum((-1, -2)) / self.n
        if not bool((scale > torch.finfo(a.dtype).eps * a.abs().amax((-1, -2))).all()):
            raise ShapeError(f"A matrix has no projection onto {self.name}: the scale would not be positive.")
        return scale[..., None, None] * turn


class SIM(Affine):
    """Rotations, translations and scalings of ℝⁿ: x → s R x + t, as homogeneous matrices of size n + 1.

    The coordinates are those of the rotation, the logarithm of the scale, then those of the translation. With
    reflections it would be ``Affine`` of a group that has them.
    """

    letter = "SIM"

    def __init__(self, n: int = 3) -> None:
        MatrixGroup.__init__(self, n)  # refuses a wrong n by this group's letter
        super().__init__(ScaledRotations(n))
        self.name = f"SIM({n})"

"""Tori: independent rotations of several planes."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.orthogonal import SO, plane_angle

__all__ = ["Torus"]


class Torus(MatrixGroup):
    """Rotations of k planes, each by its own angle: block-diagonal matrices of size 2k; ⟨X, Y⟩ = ½ tr XᵀY.

    The coordinates are the angles. The group is compact and commutative.

    Args:
        k: Number of planes.
    """

    letter = "Torus"
    compact = True

    def __init__(self, k: int = 1) -> None:
        super().__init__(k)
        self.planes = k
        self.n = self.size = 2 * k

    @property
    def dim(self) -> int:
        """Dimension of the group as a manifold: the number of planes."""
        return self.planes

    @property
    def algebra_basis(self) -> Tensor:
        """Basis of the Lie algebra ``[k, 2k, 2k]`` float64: the rotation of each plane."""
        basis = torch.zeros(self.planes, self.size, self.size, dtype=torch.float64)
        for k in range(self.planes):
            basis[k, 2 * k + 1, 2 * k], basis[k, 2 * k, 2 * k + 1] = 1.0, -1.0
        return basis

    def _planes_of(self, g: Tensor) -> Tensor:
        """The blocks ``[..., k, 2, 2]`` on the diagonal."""
        at = 2 * torch.arange(self.planes, device=g.device)
        rows = (at[:, None] + torch.arange(2, device=g.device))[:, :, None]
        return g[..., rows, rows.transpose(-1, -2)]

    def _from_planes(self, blocks: Tensor) -> Tensor:
        g = blocks.new_zeros(*blocks.shape[:-3], self.size, self.size)
        for k in range(self.planes):
            g[..., 2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = blocks[..., k, :, :]
        return g

    def exp(self, x: Tensor) -> Tensor:
        """Map angles ``[..., k]`` to elements ``[..., 2k, 2k]``.

        Raises:
            ShapeError: The last axis has not k entries.
        """
        self.hat(x[:0] if x.ndim > 1 else x)  # refuses a wrong shape
        cosine, sine = torch.cos(x), torch.sin(x)
        return self._from_planes(torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2))

    def log(self, g: Tensor) -> Tensor:
        """Map elements ``[..., 2k, 2k]`` to angles ``[..., k]`` in (−π, π]; defined everywhere.

        Raises:
            ShapeError: The shape is wrong, or a matrix is far (1e-3) from all elements.
        """
        self.require(g, self.log_tolerance)
        return plane_angle(self._planes_of(g))

    def inverse(self, g: Tensor) -> Tensor:
        """Return the inverses gᵀ of elements: exact for elements, wrong for other matrices.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        return g.transpose(-1, -2)

    def sample(
        self, shape: tuple[int, ...] = (), generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """Draw elements ``[*shape, 2k, 2k]`` from the Haar measure: independent uniform angles.

        Args:
            shape: Of the batch.
            generator: Source of randomness; the elements are made on its device.
            dtype: Of the elements.

        Returns:
            ``[*shape, 2k, 2k]``.
        """
        device = None if generator is None else generator.device
        turns = torch.rand(*shape, self.planes, generator=generator, dtype=dtype, device=device)
        return self.exp(2 * torch.pi * turns)

    def contains(self, g: Tensor, tolerance: float | None = None) -> Tensor:
        """Return which matrices are elements.

        Args:
            g: ``[..., 2k, 2k]``.
            tolerance: Largest deviation of an entry of a block's gᵀg from the identity, and of an entry outside the
                blocks from 0; by default 1e-6 in float64 and 1e-4 in smaller dtypes.

        Returns:
            ``[...]`` bool; false where something is not finite.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        blocks = self._planes_of(g)
        outside = (g - self._from_planes(blocks)).abs().amax((-1, -2))
        return SO(2).contains(blocks, tolerance).all(-1) & (outside <= self._tolerance(g, tolerance))

    def project(self, a: Tensor) -> Tensor:
        """Return the nearest elements (Frobenius norm) to matrices ``[..., 2k, 2k]``.

        Raises:
            ShapeError: The shape is wrong.

        Properties:
            projection: an element is projected onto itself.
        """
        self._check(a)
        return self._from_planes(SO(2).project(self._planes_of(a)))

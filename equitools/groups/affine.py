"""Affine groups: the translations of ℝⁿ together with a group H of linear maps, as homogeneous matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups.matrix_functions import matrix_exp
from equitools.groups.matrix_group import MatrixGroup

__all__ = ["Affine", "homogeneous_matrices"]


def homogeneous_matrices(linear: Tensor, translation: Tensor) -> Tensor:
    """Return [[A, t], [0, 1]] ``[..., n+1, n+1]`` of A ``[..., n, n]`` and t ``[..., n]``."""
    n = linear.shape[-1]
    batch = torch.broadcast_shapes(linear.shape[:-2], translation.shape[:-1])
    upper = torch.cat([linear.expand(*batch, n, n), translation.expand(*batch, n).unsqueeze(-1)], -1)
    last = torch.zeros_like(upper[..., :1, :])
    last[..., -1] = 1.0
    return torch.cat([upper, last], -2)


class Affine(MatrixGroup):
    """ℝⁿ ⋊ H: x → A x + t with A in a group H, as homogeneous matrices [[A, t], [0, 1]] of size n + 1.

    Coordinates are those of H, then those of the translation; the inner product is that of H plus u · v, so that
    translations along the axes have norm 1.

    Args:
        linear: H, a group of n × n matrices, or its name.

    Attributes:
        linear: H.

    Example:
        >>> Affine(SO(2)).name
        'R^2:SO(2)'
    """

    def __init__(self, linear: MatrixGroup | str) -> None:
        if isinstance(linear, str):
            from equitools.groups.names import parse_group

            linear = parse_group(linear)
        if not isinstance(linear, MatrixGroup) or linear.size != linear.n:
            raise ConfigError(f"An affine group needs a group of linear maps, a MatrixGroup of n × n, not {linear!r}.")
        self.linear = linear
        super().__init__(linear.n)
        several = "x" in linear.name or ":" in linear.name
        self.name = f"R^{self.n}:({linear.name})" if several else f"R^{self.n}:{linear.name}"
        self.size = self.n + 1
        self.reflections = linear.reflections
        self.connected = linear.connected

    @property
    def dim(self) -> int:
        """Dimension of the group as a manifold."""
        return self.linear.dim + self.n

    @property
    def algebra_basis(self) -> Tensor:
        """Basis of the Lie algebra ``[dim, n+1, n+1]`` float64: that of H, then the translations along the axes."""
        inner, n = self.linear.algebra_basis, self.n
        basis = inner.new_zeros(len(inner) + n, n + 1, n + 1)
        basis[: len(inner), :n, :n] = inner
        basis[len(inner) + torch.arange(n), torch.arange(n), n] = 1.0
        return basis

    def inner_product(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return ⟨X, Y⟩ ``[...]`` of matrices ``[..., n+1, n+1]``: that of H, plus that of the translations."""
        n = self.n
        linear = self.linear.inner_product(X[..., :n, :n], Y[..., :n, :n])
        return linear + (X[..., :n, n] * Y[..., :n, n]).sum(-1)

    def element(self, linear: Tensor, translation: Tensor) -> Tensor:
        """Return the elements ``[..., n+1, n+1]`` of A ``[..., n, n]`` and t ``[..., n]``.

        Raises:
            ShapeError: A shape is wrong.
        """
        if linear.shape[-2:] != (self.n, self.n) or translation.shape[-1:] != (self.n,):
            raise ShapeError(
                f"{self.name} is made of [..., {self.n}, {self.n}] and [..., {self.n}], given {list(linear.shape)} "
                f"and {list(translation.shape)}."
            )
        return homogeneous_matrices(linear, translation)

    def log(self, g: Tensor) -> Tensor:
        """Map elements to coordinates ``[..., dim]``, the inverse of `exp`.

        The branch is that of H: there is a logarithm where the linear part has one in H.

        Args:
            g: Elements ``[..., n+1, n+1]``.

        Returns:
            ``[..., dim]`` in the dtype of ``g``.

        Raises:
            ShapeError: The shape or the last row is wrong, or the linear part has no logarithm in H.

        Properties:
            log_inverts_exp: log(exp(x)) = x for angles below π.
        """
        self._check(g)
        n = self.n
        last = g.detach()[..., n, :] - torch.eye(n + 1, dtype=g.dtype, device=g.device)[n]
        if not bool((last.abs() <= 1e-3).all()):
            raise ShapeError(f"The last row of an element of {self.name} is (0, …, 0, 1); given is one that is not.")
        turn = self.linear.log(g[..., :n, :n])
        # exp([[Ω, u], [0, 0]]) translates by V u, V = ∫₀¹ exp(sΩ) ds, which is the corner of exp([[Ω, 1], [0, 0]]).
        block = torch.zeros((*g.shape[:-2], 2 * n, 2 * n), dtype=g.dtype, device=g.device)
        block[..., :n, :n] = self.linear.hat(turn)
        block[..., :n, n:] = torch.eye(n, dtype=g.dtype, device=g.device)
        corner = matrix_exp(block)[..., :n, n:]
        return torch.cat([turn, torch.linalg.solve(corner, g[..., :n, n:]).squeeze(-1)], -1)

    def inverse(self, g: Tensor) -> Tensor:
        """Return the inverses of elements ``[..., n+1, n+1]``.

        Raises:
            ShapeError: The shape is wrong, or a matrix is singular.
        """
        self._check(g)
        linear = self.linear.inverse(g[..., : self.n, : self.n])
        return homogeneous_matrices(linear, -(linear @ g[..., : self.n, self.n :]).squeeze(-1))

    def sample(
        self, shape: tuple[int, ...] = (), generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """Draw elements ``[*shape, n+1, n+1]``: the linear part as H does, translations from the normal distribution.

        Args:
            shape: Of the batch.
            generator: Source of randomness; the elements are made on its device.
            dtype: Of the elements.

        Returns:
            ``[*shape, n+1, n+1]``.
        """
        linear = self.linear.sample(shape, generator, dtype)
        return homogeneous_matrices(
            linear, torch.randn(*shape, self.n, generator=generator, dtype=dtype, device=linear.device)
        )

    def contains(self, g: Tensor, tolerance: float | None = None) -> Tensor:
        """Return which matrices are elements.

        Args:
            g: ``[..., n+1, n+1]``.
            tolerance: As of H; also how far the last row may be from (0, …, 0, 1).

        Returns:
            ``[...]`` bool; false where something is not finite.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        last = torch.zeros(self.size, dtype=g.dtype, device=g.device)
        last[-1] = 1.0
        good = (g[..., self.n, :] - last).abs().amax(-1) <= self._tolerance(g, tolerance)
        good &= g.isfinite().all(-1).all(-1)
        return good & self.linear.contains(g[..., : self.n, : self.n], tolerance)

    def project(self, a: Tensor) -> Tensor:
        """Return elements near matrices ``[..., n+1, n+1]``: the linear part as H does, the translation as it is.

        Raises:
            ShapeError: The shape is wrong, or H has no projection.

        Properties:
            projection: an element is projected onto itself.
        """
        self._check(a)
        return homogeneous_matrices(self.linear.project(a[..., : self.n, : self.n]), a[..., : self.n, self.n])

    def _move(self, g: Tensor, points: Tensor) -> Tensor:
        moved = points @ g[..., : self.n, : self.n].transpose(-1, -2)
        return moved + g[..., None, : self.n, self.n]

"""The symplectic group: the linear maps of phase space (q, p) that keep q · p' − p · q'."""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups.linear_groups import symmetric_basis
from equitools.groups.matrix_functions import matrix_exp
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.orthogonal import antisymmetric_basis
from equitools.groups.polar_factor import form_polar_factor

__all__ = ["Sp", "symplectic_form"]


def symplectic_form(n: int, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> Tensor:
    """Return J = [[0, 1], [−1, 0]] ``[n, n]`` with blocks of n/2."""
    eye = torch.eye(n // 2, dtype=dtype, device=device)
    zero = torch.zeros_like(eye)
    return torch.cat([torch.cat([zero, eye], -1), torch.cat([-eye, zero], -1)])


class Sp(MatrixGroup):
    """Sp(n), n even: the n × n matrices with gᵀ J g = J, J = [[0, 1], [−1, 0]]; ⟨X, Y⟩ = ½ tr XᵀY.

    (Others write Sp(n, ℝ) or Sp(n/2) for the same group.) Its algebra: [[A, B], [C, −Aᵀ]] with B and C symmetric. The
    first (n/2)² coordinates are the antisymmetric ones among them, the algebra of the maximal compact subgroup
    U(n/2) = O(n) ∩ Sp(n), the others are symmetric. Sp(2) is SL(2), with the same basis up to order.

    The exponential does not reach every element: `decompose` with "polar" is the chart that does.

    Properties:
        keeps_the_form: xᵀ J y is the same before and after.
    """

    letter = "Sp"

    def __init__(self, n: int = 2) -> None:
        super().__init__(n)
        if n % 2:
            raise ConfigError(f"Sp(n) is a group of n × n matrices with n even, not {n}: positions and momenta.")

    @property
    def dim(self) -> int:
        """Dimension of the group as a manifold."""
        return self.n * (self.n + 1) // 2

    @property
    def algebra_basis(self) -> Tensor:
        """Basis of the Lie algebra ``[n(n+1)/2, n, n]`` float64: antisymmetric matrices, then symmetric ones."""
        turns, symmetric = antisymmetric_basis(self.n // 2), symmetric_basis(self.n // 2)
        rows = [
            _blocks(turns, torch.zeros_like(turns), torch.zeros_like(turns), turns),
            _blocks(torch.zeros_like(symmetric), -symmetric, symmetric, torch.zeros_like(symmetric)),
            _blocks(symmetric, torch.zeros_like(symmetric), torch.zeros_like(symmetric), -symmetric),
            _blocks(torch.zeros_like(symmetric), symmetric, symmetric, torch.zeros_like(symmetric)),
        ]
        return torch.cat(rows) / 2**0.5

    def form(self, like: Tensor) -> Tensor:
        """Return J ``[n, n]`` in the dtype and on the device of a tensor."""
        return symplectic_form(self.n, like.dtype, like.device)

    def inverse(self, g: Tensor) -> Tensor:
        """Return the inverses J⁻¹ gᵀ J of elements ``[..., n, n]``: exact for elements, wrong for other matrices.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        J = self.form(g)
        return J.T @ g.transpose(-1, -2) @ J

    def sample(
        self,
        shape: tuple[int, ...] = (),
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        spread: float = 0.3,
    ) -> Tensor:
        """Draw elements ``[*shape, n, n]``: p k with k from the Haar measure of U(n/2) and log p normal.

        The group is not compact, so it has no Haar probability: this is a distribution of its elements, not *the* one.

        Args:
            shape: Of the batch.
            generator: Source of randomness; the elements are made on its device.
            dtype: Of the elements.
            spread: Standard deviation of each coordinate of log p.

        Returns:
            ``[*shape, n, n]``.

        Properties:
            samples_are_elements: contains(sample) is true.
        """
        device = None if generator is None else generator.device
        m = self.n // 2
        parts = torch.randn(2, *shape, m, m, generator=generator, dtype=dtype, device=device)
        q, r = torch.linalg.qr(torch.complex(parts[0], parts[1]))
        diagonal = torch.diagonal(r, dim1=-2, dim2=-1)
        q = q * (diagonal / diagonal.abs()).unsqueeze(-2)  # makes the factorisation unique: Haar
        turn = _blocks(q.real, -q.imag, q.imag, q.real)
        basis = self.algebra_basis[m * m :].to(turn)
        x = spread * torch.randn(*shape, len(basis), generator=generator, dtype=dtype, device=device)
        return matrix_exp(torch.einsum("...k,kij->...ij", x, basis)) @ turn

    def contains(self, g: Tensor, tolerance: float | None = None) -> Tensor:
        """Return which matrices are elements.

        Args:
            g: ``[..., n, n]``.
            tolerance: Largest deviation of an entry of gᵀ J g from J, beyond the rounding of the square of the largest
                entry of g; by default 1e-6 in float64 and 1e-4 in smaller dtypes.

        Returns:
            ``[...]`` bool; false where something is not finite.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        J = self.form(g)
        error = (g.transpose(-1, -2) @ J @ g - J).abs().amax((-1, -2))
        return (torch.linalg.det(g) > 0) & self._small(error, g.abs().amax((-1, -2)).square(), g, tolerance)

    def project(self, a: Tensor) -> Tensor:
        """Return the symplectic polar factor of matrices ``[..., n, n]``: a = g s with g an element and J s = sᵀ J.

        It exists where J⁻¹ aᵀ J a has no eigenvalue that is real and not positive: near the group always. It is smooth,
        leaves elements alone, and goes along with multiplication from either side: project(h a) = h project(a).

        Raises:
            ShapeError: The shape is wrong, or there is no such factor.

        Properties:
            projection: an element is projected onto itself.
            left_equivariance: project(h a) = h project(a) for every element h.
        """
        self._check(a)
        try:
            return form_polar_factor(a, self.form(a))
        except ShapeError as error:
            raise ShapeError(f"A matrix has no projection onto {self.name}. {error}") from error


def _blocks(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """[[a, b], [c, d]]."""
    return torch.cat([torch.cat([a, b], -1), torch.cat([c, d], -1)], -2)

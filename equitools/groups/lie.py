"""The orthogonal and Euclidean groups in any dimension, as objects with one interface.

The full toolbox (decompositions, other matrix groups) has its room beside this file; what is here is what the networks
and the tests need: sampling, membership, projection, the algebra, exp and log, and the action on points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups.rotations import matrix_to_quaternion

__all__ = ["SE", "SO", "E", "MatrixGroup", "O", "matrix_logarithm"]


class MatrixGroup:
    """A group of real matrices.

    Attributes:
        n: Dimension of the space that it acts on.
        name: For example ``"SO(3)"``.
        size: Number of rows of its matrices (n, or n + 1 for Euclidean groups).
    """

    letter = ""
    euclidean = False
    reflections = True

    def __init__(self, n: int = 3) -> None:
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ConfigError(f"{self.letter}(n) needs an integer n ≥ 1, not {n!r}.")
        self.n = n
        self.name = f"{self.letter}({n})"
        self.size = n + 1 if self.euclidean else n

    def __repr__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MatrixGroup) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def dim(self) -> int:
        """Dimension of the group as a manifold."""
        return self.n * (self.n - 1) // 2 + (self.n if self.euclidean else 0)

    @property
    def algebra_basis(self) -> Tensor:
        """Basis of the Lie algebra ``[dim, size, size]`` float64.

        Rotations come first, ordered so that for n = 3 they are about x, y and z; each has Frobenius norm √2, which
        makes the coordinates of a rotation its angle times its axis. Translations have norm 1.
        """
        pairs = [(j, i) for i in range(self.n) for j in range(i + 1, self.n)]
        signs = [1.0] * len(pairs)
        if self.n == 3:
            pairs, signs = [(2, 1), (2, 0), (1, 0)], [1.0, -1.0, 1.0]
        basis = torch.zeros(self.dim, self.size, self.size, dtype=torch.float64)
        for k, ((row, column), sign) in enumerate(zip(pairs, signs, strict=True)):
            basis[k, row, column], basis[k, column, row] = sign, -sign
        if self.euclidean:
            for axis in range(self.n):
                basis[len(pairs) + axis, axis, self.n] = 1.0
        return basis

    def exp(self, x: Tensor) -> Tensor:
        """Map coordinates ``[..., dim]`` in `algebra_basis` to elements ``[..., size, size]``.

        Raises:
            ShapeError: The last axis has not `dim` entries.
        """
        if x.shape[-1] != self.dim:
            raise ShapeError(f"{self.name} has {self.dim} coordinates, the tensor given is {list(x.shape)}.")
        return torch.matrix_exp(torch.einsum("...k,kij->...ij", x, self.algebra_basis.to(x)))

    def log(self, g: Tensor) -> Tensor:
        """Map elements of the identity's component to coordinates ``[..., dim]``, the inverse of `exp`.

        The branch is the principal one: rotation angles lie in [0, π]. For n = 2 and 3 that includes π, where the axis
        has two signs and one is returned; for n ≥ 4 an eigenvalue −1 has no principal logarithm and the result is not
        meaningful there.

        Args:
            g: Elements ``[..., size, size]``.

        Returns:
            ``[..., dim]`` in the dtype of ``g``.

        Raises:
            ShapeError: A determinant is negative (no logarithm), or the shape is wrong.

        Properties:
            log_inverts_exp: log(exp(x)) = x for rotation angles below π.
        """
        self._check(g)
        if bool((torch.linalg.det(g) < 0).any()):
            raise ShapeError(f"An element of {self.name} with determinant −1 is not the exponential of anything real.")
        turn = self._log_rotation(g[..., : self.n, : self.n])
        if not self.euclidean:
            return turn
        # exp([[Ω, u], [0, 0]]) translates by V u, V = ∫₀¹ exp(sΩ) ds, which is the corner of exp([[Ω, 1], [0, 0]]).
        n, rotations = self.n, self.algebra_basis.to(g)[: turn.shape[-1], : self.n, : self.n]
        block = torch.zeros((*g.shape[:-2], 2 * n, 2 * n), dtype=g.dtype, device=g.device)
        block[..., :n, :n] = torch.einsum("...k,kij->...ij", turn, rotations)
        block[..., :n, n:] = torch.eye(n, dtype=g.dtype, device=g.device)
        corner = torch.matrix_exp(block)[..., :n, n:]
        return torch.cat([turn, torch.linalg.solve(corner, g[..., :n, n:]).squeeze(-1)], -1)

    def _log_rotation(self, turn: Tensor) -> Tensor:
        """Coordinates ``[..., n(n−1)/2]`` of rotations ``[..., n, n]``."""
        if self.n == 1:
            return turn.new_zeros((*turn.shape[:-2], 0))
        if self.n == 2:
            return torch.atan2(turn[..., 1, 0] - turn[..., 0, 1], turn[..., 0, 0] + turn[..., 1, 1]).unsqueeze(-1)
        if self.n == 3:
            return _rotation_vector(turn)
        count = self.n * (self.n - 1) // 2
        basis = self.algebra_basis.to(turn)[:count, : self.n, : self.n]
        return torch.einsum("...ij,kij->...k", matrix_logarithm(turn), basis) / 2

    def sample(
        self, shape: tuple[int, ...] = (), generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """Draw elements ``[*shape, size, size]``: the orthogonal part from the Haar measure, translations normal (Å).

        Args:
            shape: Of the batch.
            generator: Source of randomness; the elements are made on its device.
            dtype: Of the elements.

        Returns:
            ``[*shape, size, size]``.

        Properties:
            haar_invariance: the orthogonal part times any fixed element has the same distribution.
        """
        device = None if generator is None else generator.device
        gaussian = torch.randn(*shape, self.n, self.n, generator=generator, dtype=dtype, device=device)
        q, r = torch.linalg.qr(gaussian)
        q = q * torch.sign(torch.diagonal(r, dim1=-2, dim2=-1)).unsqueeze(-2)  # makes the factorisation unique: Haar
        if not self.reflections:
            flip = torch.ones(*shape, self.n, dtype=dtype, device=device)
            flip[..., 0] = torch.sign(torch.linalg.det(q))
            q = q * flip.unsqueeze(-2)
        if not self.euclidean:
            return q
        g = torch.zeros(*shape, self.size, self.size, dtype=dtype, device=device)
        g[..., : self.n, : self.n] = q
        g[..., : self.n, self.n] = torch.randn(*shape, self.n, generator=generator, dtype=dtype, device=device)
        g[..., self.n, self.n] = 1.0
        return g

    def contains(self, g: Tensor, tolerance: float | None = None) -> Tensor:
        """Return which matrices are elements.

        Args:
            g: ``[..., size, size]``.
            tolerance: Largest deviation of an entry of gᵀg from the identity; by default 1e-6 in float64 and 1e-4 in
                smaller dtypes.

        Returns:
            ``[...]`` bool; false where something is not finite.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        if tolerance is None:
            tolerance = 1e-6 if g.dtype == torch.float64 else 1e-4
        q = g[..., : self.n, : self.n]
        eye = torch.eye(self.n, dtype=g.dtype, device=g.device)
        good = (q.transpose(-1, -2) @ q - eye).abs().amax((-1, -2)) <= tolerance
        if not self.reflections:
            good &= torch.linalg.det(q) > 0
        if self.euclidean:
            last = torch.zeros(self.size, dtype=g.dtype, device=g.device)
            last[-1] = 1.0
            good &= (g[..., self.n, :] - last).abs().amax(-1) <= tolerance
        return good

    def project(self, a: Tensor) -> Tensor:
        """Return the nearest element (Frobenius norm, by the polar decomposition) to matrices ``[..., size, size]``.

        Raises:
            ShapeError: The shape is wrong.

        Properties:
            projection: an element is projected onto itself.
        """
        self._check(a)
        u, _, vh = torch.linalg.svd(a[..., : self.n, : self.n])
        if not self.reflections:
            flip = torch.ones(*a.shape[:-2], self.n, dtype=a.dtype, device=a.device)
            flip[..., -1] = torch.sign(torch.linalg.det(u @ vh))
            u = u * flip.unsqueeze(-2)
        if not self.euclidean:
            return u @ vh
        g = a.clone()
        g[..., : self.n, : self.n] = u @ vh
        g[..., self.n, :] = 0.0
        g[..., self.n, self.n] = 1.0
        return g

    def act(self, g: Tensor, points: Tensor) -> Tensor:
        """Move points ``[..., N, n]`` by elements ``[..., size, size]``.

        Raises:
            ShapeError: A shape is wrong.

        Properties:
            action: act(g h, x) = act(g, act(h, x)).
        """
        self._check(g)
        if points.ndim < 2 or points.shape[-1] != self.n:
            raise ShapeError(f"{self.name} acts on points [..., N, {self.n}], given {list(points.shape)}.")
        moved = points @ g[..., : self.n, : self.n].transpose(-1, -2)
        return moved + g[..., None, : self.n, self.n] if self.euclidean else moved

    def _check(self, g: Tensor) -> None:
        if g.shape[-2:] != (self.size, self.size) or not g.is_floating_point():
            raise ShapeError(
                f"{self.name} needs floating-point matrices [..., {self.size}, {self.size}], given {list(g.shape)} "
                f"{g.dtype}."
            )


def _rotation_vector(turn: Tensor) -> Tensor:
    """Angle times axis of rotations in three dimensions, by the quaternion: stable at 0 and at π."""
    quaternion = matrix_to_quaternion(turn)
    cosine, vector = quaternion[..., :1], quaternion[..., 1:]
    square = vector.square().sum(-1, keepdim=True)
    small = square < 1e-8  # there the series is exact to the last digit, and has a gradient at the identity
    sine = torch.where(small, torch.ones_like(square), square).sqrt()
    factor = torch.where(small, 2 + square / 3, 2 * torch.atan2(sine, cosine) / sine)
    return vector * factor


def matrix_logarithm(matrix: Tensor) -> Tensor:
    """Logarithm of matrices ``[..., n, n]`` by inverse scaling and squaring with Denman–Beavers square roots.

    N. J. Higham, Functions of Matrices (SIAM, 2008), sections 6.3 and 11.5; all matrices are halved equally often.
    """
    a, eye = matrix, torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    tolerance = 8 * torch.finfo(matrix.dtype).eps * matrix.shape[-1]
    halvings = 0
    while halvings < 40 and bool(((a - eye).abs().amax((-1, -2)) > 0.05).any()):
        y, z = a, eye.expand_as(a)
        for _ in range(30):
            y, z = (y + torch.linalg.inv(z)) / 2, (z + torch.linalg.inv(y)) / 2
            if not bool(((y @ y - a).abs().amax((-1, -2)) > tolerance).any()):
                break
        a, halvings = y, halvings + 1
    x = a - eye
    total, power = torch.zeros_like(x), eye
    for k in range(1, 16):
        power = power @ x
        total = total + (-1) ** (k + 1) / k * power
    return total * 2.0**halvings


class O(MatrixGroup):
    """All rotations and reflections of ℝⁿ."""

    letter = "O"


class SO(MatrixGroup):
    """The rotations of ℝⁿ."""

    letter = "SO"
    reflections = False


class E(MatrixGroup):
    """Rotations, reflections and translations of ℝⁿ, as homogeneous matrices of size n + 1."""

    letter = "E"
    euclidean = True


class SE(MatrixGroup):
    """Rotations and translations of ℝⁿ, as homogeneous matrices of size n + 1."""

    letter = "SE"
    euclidean = True
    reflections = False

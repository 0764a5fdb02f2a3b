"""The orthogonal groups O(n) and SO(n) and the Euclidean groups E(n) and SE(n)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.affine import Affine
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.orthogonal_factor import orthogonal_factor
from equitools.groups.rotations import matrix_to_quaternion

__all__ = ["SE", "SO", "E", "O", "antisymmetric_basis", "plane_angle"]


def antisymmetric_basis(n: int) -> Tensor:
    """Return the basis of so(n) ``[n(n−1)/2, n, n]`` float64 that all groups with rotations share.

    It is ordered so that for n = 3 the rotations are about x, y and z. Each has Frobenius norm √2, which makes the
    coordinates of a rotation its angle times its axis.
    """
    pairs = [(j, i) for i in range(n) for j in range(i + 1, n)]
    signs = [1.0] * len(pairs)
    if n == 3:
        pairs, signs = [(2, 1), (2, 0), (1, 0)], [1.0, -1.0, 1.0]
    basis = torch.zeros(len(pairs), n, n, dtype=torch.float64)
    for k, ((row, column), sign) in enumerate(zip(pairs, signs, strict=True)):
        basis[k, row, column], basis[k, column, row] = sign, -sign
    return basis


def plane_angle(g: Tensor) -> Tensor:
    """Return the angles ``[...]`` in (−π, π] of rotations of the plane ``[..., 2, 2]``, or of multiples of them."""
    angle = torch.atan2(g[..., 1, 0] - g[..., 0, 1], g[..., 0, 0] + g[..., 1, 1])
    return torch.where(angle <= -math.pi, angle + 2 * math.pi, angle)  # −π comes of a sine of −0, or rounded to it


class _Orthogonal(MatrixGroup):
    """What O and SO have in common."""

    compact = True

    @property
    def dim(self) -> int:
        """Dimension of the group as a manifold."""
        return self.n * (self.n - 1) // 2

    @property
    def algebra_basis(self) -> Tensor:
        """Basis of the Lie algebra ``[dim, n, n]`` float64.

        It is ordered so that for n = 3 the rotations are about x, y and z; each has Frobenius norm √2, which makes the
        coordinates of a rotation its angle times its axis.
        """
        return antisymmetric_basis(self.n)

    def inverse(self, g: Tensor) -> Tensor:
        """Return the inverses gᵀ of elements ``[..., n, n]``: exact for elements, wrong for other matrices.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        return g.transpose(-1, -2)

    def log(self, g: Tensor) -> Tensor:
        """Map elements of the identity's component to coordinates ``[..., dim]``, the inverse of `exp`.

        The branch is the principal one: for n = 2 the angle lies in (−π, π], for n = 3 in [0, π] with either sign of
        the axis at π; for n ≥ 4 a rotation by π in some plane is on the cut, and an error.

        Args:
            g: Elements ``[..., n, n]``.

        Returns:
            ``[..., dim]`` in the dtype of ``g``.

        Raises:
            ShapeError: A determinant is negative (no logarithm), an angle is π (n ≥ 4), a matrix is far (1e-3) from all
                elements, or the shape is wrong.

        Properties:
            log_inverts_exp: log(exp(x)) = x for rotation angles below π.
        """
        self._check(g)
        if bool((torch.linalg.det(g) < 0).any()):
            raise ShapeError(f"An element of {self.name} with determinant −1 is not the exponential of anything real.")
        self.require(g, self.log_tolerance)
        if self.n == 1:
            return g.new_zeros((*g.shape[:-2], 0))
        if self.n == 2:
            return plane_angle(g).unsqueeze(-1)
        if self.n == 3:
            return _rotation_vector(g)
        return self._principal_log(g)

    def sample(
        self, shape: tuple[int, ...] = (), generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """Draw elements ``[*shape, n, n]`` from the Haar measure.

        Args:
            shape: Of the batch.
            generator: Source of randomness; the elements are made on its device.
            dtype: Of the elements.

        Returns:
            ``[*shape, n, n]``.

        Properties:
            haar_invariance: times any fixed element it has the same distribution.
        """
        device = None if generator is None else generator.device
        gaussian = torch.randn(*shape, self.n, self.n, generator=generator, dtype=dtype, device=device)
        q, r = torch.linalg.qr(gaussian)
        q = q * torch.sign(torch.diagonal(r, dim1=-2, dim2=-1)).unsqueeze(-2)  # makes the factorisation unique: Haar
        if not self.reflections:
            flip = torch.ones(*shape, self.n, dtype=dtype, device=device)
            flip[..., 0] = torch.sign(torch.linalg.det(q))
            q = q * flip.unsqueeze(-2)
        return q

    def contains(self, g: Tensor, tolerance: float | None = None) -> Tensor:
        """Return which matrices are elements.

        Args:
            g: ``[..., n, n]``.
            tolerance: Largest deviation of an entry of gᵀg from the identity; by default 1e-6 in float64 and 1e-4 in
                smaller dtypes.

        Returns:
            ``[...]`` bool; false where something is not finite.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        eye = torch.eye(self.n, dtype=g.dtype, device=g.device)
        good = (g.transpose(-1, -2) @ g - eye).abs().amax((-1, -2)) <= self._tolerance(g, tolerance)
        return good if self.reflections else good & (torch.linalg.det(g) > 0)

    def project(self, a: Tensor) -> Tensor:
        """Return the nearest element (Frobenius norm, by the polar decomposition) to matrices ``[..., n, n]``.

        It is differentiable any number of times where the nearest element is unique.

        Raises:
            ShapeError: The shape is wrong, or a matrix is not finite or zero: all elements are as near.

        Properties:
            projection: an element is projected onto itself.
        """
        self._check(a)
        size = a.detach().abs().amax((-1, -2))
        if not bool((size.isfinite() & (size > 0)).all()):
            raise ShapeError(f"A matrix that is zero or not finite has no nearest element of {self.name}.")
        return orthogonal_factor(a, proper=not self.reflections)


class O(_Orthogonal):
    """All rotations and reflections of ℝⁿ; ⟨X, Y⟩ = ½ tr XᵀY."""

    letter = "O"
    reflections = True
    connected = False


class SO(_Orthogonal):
    """The rotations of ℝⁿ; ⟨X, Y⟩ = ½ tr XᵀY."""

    letter = "SO"


class _Euclidean(Affine):
    """An affine group of an orthogonal one, by the name that it has."""

    euclidean = True
    _inner: type[_Orthogonal]

    def __init__(self, n: int = 3) -> None:
        MatrixGroup.__init__(self, n)  # refuses a wrong n by this group's letter
        super().__init__(self._inner(n))
        self.name = f"{self.letter}({n})"


class E(_Euclidean):
    """Rotations, reflections and translations of ℝⁿ, as homogeneous matrices of size n + 1.

    ⟨X, Y⟩ = ½ tr XᵀY of the rotations plus u · v of the translations.
    """

    letter = "E"
    _inner = O


class SE(_Euclidean):
    """Rotations and translations of ℝⁿ, as homogeneous matrices of size n + 1.

    ⟨X, Y⟩ = ½ tr XᵀY of the rotations plus u · v of the translations.
    """

    letter = "SE"
    _inner = SO


def _rotation_vector(turn: Tensor) -> Tensor:
    """Angle times axis of rotations in three dimensions, by the quaternion: stable at 0 and at π."""
    quaternion = matrix_to_quaternion(turn)
    cosine, vector = quaternion[..., :1], quaternion[..., 1:]
    square = vector.square().sum(-1, keepdim=True)
    small = square < 1e-8  # there the series is exact to the last digit, and has a gradient at the identity
    sine = torch.where(small, torch.ones_like(square), square).sqrt()
    factor = torch.where(small, 2 + square / 3, 2 * torch.atan2(sine, cosine) / sine)
    return vector * factor

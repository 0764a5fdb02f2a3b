"""The orthogonal and Euclidean groups in any dimension, as objects with one interface.

The full toolbox (decompositions, other matrix groups) has its room beside this file; what is here is what the networks
and the tests need: sampling, membership, projection, the algebra, exp and log, and the action on points.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError

__all__ = ["SE", "SO", "E", "MatrixGroup", "O"]


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
        if n < 1:
            raise ConfigError(f"{self.letter}(n) needs n ≥ 1, not {n}.")
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
        """Map coordinates ``[..., dim]`` in `algebra_basis` to elements ``[..., size, size]``."""
        if x.shape[-1] != self.dim:
            raise ShapeError(f"{self.name} has {self.dim} coordinates, the tensor given is {list(x.shape)}.")
        return torch.matrix_exp(torch.einsum("...k,kij->...ij", x, self.algebra_basis.to(x)))

    def log(self, g: Tensor) -> Tensor:
        """Map elements of the identity's component to coordinates ``[..., dim]``, the inverse of `exp`.

        The branch is the principal one: rotation angles lie in [0, π]. In SO(3) that includes π, where the axis has two
        signs and one is returned; elsewhere an eigenvalue −1 has no principal logarithm and the result is not finite.

        Raises:
            ShapeError: A determinant is negative (no logarithm), or the shape is wrong.
        """
        self._check(g)
        if bool((torch.linalg.det(g) < 0).any()):
            raise ShapeError(f"An element of {self.name} with determinant −1 is not the exponential of anything real.")
        if not self.euclidean and self.n == 3:
            return _rotation_vector(g)
        flat = g.reshape(-1, self.size, self.size)
        logs = torch.stack([_logm(element) for element in flat]) if len(flat) else flat.clone()
        return self._coordinates(logs.reshape(g.shape).to(g))

    def _coordinates(self, algebra: Tensor) -> Tensor:
        basis = self.algebra_basis.to(algebra)
        return torch.einsum("...ij,kij->...k", algebra, basis) / basis.square().sum((-1, -2))

    def sample(
        self, shape: tuple[int, ...] = (), generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """Draw elements ``[*shape, size, size]``: the orthogonal part from the Haar measure, translations normal (Å).

        Properties:
            haar_invariance: the orthogonal part times any fixed element has the same distribution.
        """
        gaussian = torch.randn(*shape, self.n, self.n, generator=generator, dtype=dtype)
        q, r = torch.linalg.qr(gaussian)
        q = q * torch.sign(torch.diagonal(r, dim1=-2, dim2=-1)).unsqueeze(-2)  # makes the factorisation unique: Haar
        if not self.reflections:
            flip = torch.ones(*shape, self.n, dtype=dtype)
            flip[..., 0] = torch.sign(torch.linalg.det(q))
            q = q * flip.unsqueeze(-2)
        if not self.euclidean:
            return q
        g = torch.zeros(*shape, self.size, self.size, dtype=dtype)
        g[..., : self.n, : self.n] = q
        g[..., : self.n, self.n] = torch.randn(*shape, self.n, generator=generator, dtype=dtype)
        g[..., self.n, self.n] = 1.0
        return g

    def contains(self, g: Tensor, tolerance: float = 1e-6) -> Tensor:
        """Return which matrices ``[..., size, size]`` are elements, as ``[...]`` bool."""
        self._check(g)
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
        """Return the nearest element (Frobenius norm, by the polar decomposition) to matrices ``[..., size, size]``."""
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

        Properties:
            action: act(g h, x) = act(g, act(h, x)).
        """
        self._check(g)
        moved = points @ g[..., : self.n, : self.n].transpose(-1, -2)
        return moved + g[..., None, : self.n, self.n] if self.euclidean else moved

    def _check(self, g: Tensor) -> None:
        if g.shape[-2:] != (self.size, self.size):
            raise ShapeError(f"{self.name} needs matrices [..., {self.size}, {self.size}], given {list(g.shape)}.")


def _rotation_vector(g: Tensor) -> Tensor:
    """Angle times axis of rotations in three dimensions, stable at 0 and at π."""
    skew = torch.stack([g[..., 2, 1] - g[..., 1, 2], g[..., 0, 2] - g[..., 2, 0], g[..., 1, 0] - g[..., 0, 1]], -1) / 2
    sine = skew.norm(dim=-1)
    cosine = (torch.diagonal(g, dim1=-2, dim2=-1).sum(-1) - 1) / 2
    angle = torch.atan2(sine, cosine)
    small = sine < 1e-6
    factor = torch.where(small, torch.ones_like(sine), angle / torch.where(small, torch.ones_like(sine), sine))
    near_pi = small & (cosine < 0)
    if not bool(near_pi.any()):
        return skew * factor.unsqueeze(-1)
    # At π the skew part vanishes, but (R + 1) / 2 = a aᵀ still tells the axis up to its sign.
    outer = (g + torch.eye(3, dtype=g.dtype, device=g.device)) / 2
    best = torch.diagonal(outer, dim1=-2, dim2=-1).argmax(-1)
    axis = torch.gather(outer, -1, best[..., None, None].expand(*best.shape, 3, 1)).squeeze(-1)
    axis = axis / axis.norm(dim=-1, keepdim=True).clamp(min=1e-30)
    return torch.where(near_pi.unsqueeze(-1), axis * angle.unsqueeze(-1), skew * factor.unsqueeze(-1))


def _logm(matrix: Tensor) -> Tensor:
    """Logarithm of one matrix by inverse scaling and squaring with Denman–Beavers square roots."""
    a = matrix.to(torch.float64)
    eye = torch.eye(len(a), dtype=a.dtype)
    halvings = 0
    while float((a - eye).norm()) > 0.05 and halvings < 40:
        y, z = a, eye
        for _ in range(50):
            y, z = (y + torch.linalg.inv(z)) / 2, (z + torch.linalg.inv(y)) / 2
            if float((y @ y - a).norm()) < 1e-15 * max(1.0, float(a.norm())):
                break
        a, halvings = y, halvings + 1
    x = a - eye
    total, power = torch.zeros_like(x), eye
    for k in range(1, 16):
        power = power @ x
        total = total + (-1) ** (k + 1) / k * power
    return total * math.pow(2.0, halvings)


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

"""Products of groups: direct ones, block by block, and semidirect ones with a vector space."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups.matrix_functions import matrix_exp
from equitools.groups.matrix_group import MatrixGroup

__all__ = ["ProductGroup", "SemidirectProduct"]


class ProductGroup(MatrixGroup):
    """G × H × …: one element of each, as block-diagonal matrices.

    It acts on ℝⁿ, n the sum of the factors' n: each moves its own part of the coordinates. The inner product is the sum
    of those of the factors, the coordinates are theirs, one after the other.

    Args:
        groups: The factors, objects or names, at least one.

    Attributes:
        factors: The groups.

    Example:
        >>> ProductGroup("SO(2)", "Scaling(3)").dim
        2
    """

    def __init__(self, *groups: MatrixGroup | str) -> None:
        from equitools.groups.names import parse_group

        self.factors = tuple(parse_group(group) for group in groups)
        if not self.factors:
            raise ConfigError("A product of groups needs at least one factor.")
        super().__init__(sum(group.n for group in self.factors))
        self.name = "x".join(
            f"({group.name})" if isinstance(group, ProductGroup) else group.name for group in self.factors
        )
        self.size = sum(group.size for group in self.factors)
        self.reflections = any(group.reflections for group in self.factors)
        self.compact = all(group.compact for group in self.factors)
        self.connected = all(group.connected for group in self.factors)

    @property
    def dim(self) -> int:
        """Dimension of the group as a manifold."""
        return sum(group.dim for group in self.factors)

    @property
    def algebra_basis(self) -> Tensor:
        """Basis of the Lie algebra ``[dim, size, size]`` float64: those of the factors in their blocks."""
        basis = torch.zeros(self.dim, self.size, self.size, dtype=torch.float64)
        first = start = 0
        for group in self.factors:
            basis[first : first + group.dim, start : start + group.size, start : start + group.size] = (
                group.algebra_basis
            )
            first, start = first + group.dim, start + group.size
        return basis

    def split(self, g: Tensor) -> list[Tensor]:
        """Return the blocks ``[..., size_i, size_i]`` of matrices ``[..., size, size]``, one for each factor.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        blocks, start = [], 0
        for group in self.factors:
            blocks.append(g[..., start : start + group.size, start : start + group.size])
            start += group.size
        return blocks

    def join(self, *blocks: Tensor) -> Tensor:
        """Return the matrices ``[..., size, size]`` of elements of the factors, the inverse of `split`.

        Raises:
            ShapeError: There are not as many as factors, or a shape is wrong.
        """
        if len(blocks) != len(self.factors) or any(
            block.shape[-2:] != (group.size, group.size) for block, group in zip(blocks, self.factors, strict=False)
        ):
            raise ShapeError(
                f"{self.name} is made of matrices of the sizes {[group.size for group in self.factors]}, given "
                f"{[list(block.shape) for block in blocks]}."
            )
        batch = torch.broadcast_shapes(*(block.shape[:-2] for block in blocks))
        g = blocks[0].new_zeros(*batch, self.size, self.size)
        start = 0
        for block in blocks:
            end = start + block.shape[-1]
            g[..., start:end, start:end] = block
            start = end
        return g

    def inner_product(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return ⟨X, Y⟩ ``[...]`` of matrices ``[..., size, size]``: the sum over the factors' blocks."""
        pairs = zip(self.factors, self.split(X), self.split(Y), strict=True)
        return torch.stack(torch.broadcast_tensors(*(group.inner_product(x, y) for group, x, y in pairs))).sum(0)

    def exp(self, x: Tensor) -> Tensor:
        """Map coordinates ``[..., dim]`` to elements ``[..., size, size]``, factor by factor.

        Raises:
            ShapeError: The last axis has not `dim` entries.
        """
        if x.ndim < 1 or x.shape[-1] != self.dim:
            raise ShapeError(f"{self.name} has {self.dim} coordinates, the tensor given is {list(x.shape)}.")
        parts = x.split([group.dim for group in self.factors], -1)
        return self.join(*(group.exp(part) for group, part in zip(self.factors, parts, strict=True)))

    def log(self, g: Tensor) -> Tensor:
        """Map elements to coordinates ``[..., dim]``, the inverse of `exp`; the branches are those of the factors.

        Raises:
            ShapeError: The shape is wrong, something is outside the blocks, or a factor has no logarithm.
        """
        blocks = self.split(g)
        if not bool(((g - self.join(*blocks)).detach().abs() <= 1e-3).all()):
            raise ShapeError(f"An element of {self.name} is zero outside its blocks; given is one that is not.")
        return torch.cat([group.log(block) for group, block in zip(self.factors, blocks, strict=True)], -1)

    def inverse(self, g: Tensor) -> Tensor:
        """Return the inverses of elements, factor by factor.

        Raises:
            ShapeError: The shape is wrong, or a matrix is singular.
        """
        return self.join(*(group.inverse(block) for group, block in zip(self.factors, self.split(g), strict=True)))

    def sample(
        self, shape: tuple[int, ...] = (), generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """Draw elements ``[*shape, size, size]``: one of each factor, independently.

        Args:
            shape: Of the batch.
            generator: Source of randomness; the elements are made on its device.
            dtype: Of the elements.

        Returns:
            ``[*shape, size, size]``.
        """
        return self.join(*(group.sample(shape, generator, dtype) for group in self.factors))

    def contains(self, g: Tensor, tolerance: float | None = None) -> Tensor:
        """Return which matrices are elements.

        Args:
            g: ``[..., size, size]``.
            tolerance: As of the factors; also how far an entry outside the blocks may be from 0.

        Returns:
            ``[...]`` bool; false where something is not finite.

        Raises:
            ShapeError: The shape is wrong.
        """
        blocks = self.split(g)
        good = (g - self.join(*blocks)).abs().amax((-1, -2)) <= self._tolerance(g, tolerance)
        for group, block in zip(self.factors, blocks, strict=True):
            good = good & group.contains(block, tolerance)
        return good

    def project(self, a: Tensor) -> Tensor:
        """Return elements near matrices ``[..., size, size]``: each block as its factor does.

        Raises:
            ShapeError: The shape is wrong, or a factor has no projection.

        Properties:
            projection: an element is projected onto itself.
        """
        return self.join(*(group.project(block) for group, block in zip(self.factors, self.split(a), strict=True)))

    def _move(self, g: Tensor, points: Tensor) -> Tensor:
        parts = points.split([group.n for group in self.factors], -1)
        moved = [group.act(*pair) for group, *pair in zip(self.factors, self.split(g), parts, strict=True)]
        return torch.cat(moved, -1)


class SemidirectProduct(MatrixGroup):
    """V ⋊ H for any linear representation ρ of H on V = ℝⁿ: (v, h)(v', h') = (v + ρ(h) v', h h').

    Elements are the block-diagonal matrices of [[ρ(h), v], [0, 1]] and h, of size n + 1 + H's. They move points of V:
    x → ρ(h) x + v. `Affine` is the case ρ(h) = h, in smaller matrices.

    The coordinates are those of H, then v; the inner product is that of H plus u · v.

    Args:
        group: H, or its name.
        representation: Takes ``[..., s, s]`` to ``[..., n, n]``, differentiable, a homomorphism on H.
        n: The dimension of V.
        name: What it is called; two are equal where their names are.

    Attributes:
        linear: H.

    Raises:
        ConfigError: The representation has another shape, or is no homomorphism on random elements.

    Example:
        >>> twist = lambda h: torch.einsum("...ij,...kl->...ikjl", h, h).flatten(-4, -3).flatten(-2)
        >>> SemidirectProduct("SL(2)", twist, 4, "R^2⊗R^2:SL(2)").size
        7
    """

    def __init__(self, group: MatrixGroup | str, representation: Callable[[Tensor], Tensor], n: int, name: str) -> None:
        from equitools.groups.names import parse_group

        super().__init__(n)
        self.linear = parse_group(group)
        self.representation = representation
        self.name = name
        self.size = n + 1 + self.linear.size
        self.connected = self.linear.connected
        self.reflections = self.linear.reflections
        g, h = self.linear.sample((2,), torch.Generator().manual_seed(0))
        images = [representation(x) for x in (g, h, g @ h)]
        if any(image.shape != (n, n) for image in images):
            raise ConfigError(f"The representation of {name} must be {n} × {n}, it is {list(images[0].shape)}.")
        if not torch.allclose(images[0] @ images[1], images[2], atol=1e-8, rtol=1e-8):
            raise ConfigError(f"The representation of {name} is no homomorphism: ρ(g h) differs from ρ(g) ρ(h).")
        slope = torch.autograd.functional.jacobian(representation, self.linear.identity())
        #: The derivative of the representation at the identity, of each basis element of H's algebra.
        self.derivative = torch.einsum("abij,kij->kab", slope, self.linear.algebra_basis)

    @property
    def dim(self) -> int:
        """Dimension of the group as a manifold."""
        return self.linear.dim + self.n

    @property
    def algebra_basis(self) -> Tensor:
        """Basis of the Lie algebra ``[dim, size, size]`` float64: that of H, then the translations along the axes."""
        n, inner = self.n, self.linear.algebra_basis
        basis = inner.new_zeros(self.dim, self.size, self.size)
        basis[: len(inner), :n, :n], basis[: len(inner), n + 1 :, n + 1 :] = self.derivative, inner
        basis[len(inner) + torch.arange(n), torch.arange(n), n] = 1.0
        return basis

    def inner_product(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return ⟨X, Y⟩ ``[...]`` of matrices ``[..., size, size]``: that of H, plus that of the translations."""
        n = self.n
        linear = self.linear.inner_product(X[..., n + 1 :, n + 1 :], Y[..., n + 1 :, n + 1 :])
        return linear + (X[..., :n, n] * Y[..., :n, n]).sum(-1)

    def element(self, h: Tensor, translation: Tensor) -> Tensor:
        """Return the elements ``[..., size, size]`` of h ``[..., s, s]`` and v ``[..., n]``.

        Raises:
            ShapeError: A shape is wrong.
        """
        s, n = self.linear.size, self.n
        if h.shape[-2:] != (s, s) or translation.shape[-1:] != (n,):
            raise ShapeError(
                f"{self.name} is made of [..., {s}, {s}] and [..., {n}], given {list(h.shape)} and "
                f"{list(translation.shape)}."
            )
        batch = torch.broadcast_shapes(h.shape[:-2], translation.shape[:-1])
        g = h.new_zeros(*batch, self.size, self.size)
        g[..., :n, :n], g[..., :n, n] = self.representation(h), translation
        g[..., n, n] = 1.0
        g[..., n + 1 :, n + 1 :] = h
        return g

    def log(self, g: Tensor) -> Tensor:
        """Map elements to coordinates ``[..., dim]``, the inverse of `exp`; the branch is that of H.

        Raises:
            ShapeError: The shape is wrong, a matrix is no element, or the part in H has no logarithm.
        """
        self._check(g)
        n = self.n
        turn = self.linear.log(g[..., n + 1 :, n + 1 :])
        error = (g - self.element(g[..., n + 1 :, n + 1 :], g[..., :n, n])).detach().abs().amax((-1, -2))
        if not bool((error <= 1e-3 * g.detach().abs().amax((-1, -2)).clamp(min=1.0)).all()):
            raise ShapeError(f"A matrix is no element of {self.name}: its blocks contradict each other.")
        # as for affine groups, with the derivative of the representation
        block = torch.zeros((*g.shape[:-2], 2 * n, 2 * n), dtype=g.dtype, device=g.device)
        block[..., :n, :n] = torch.einsum("...k,kab->...ab", turn, self.derivative.to(g))
        block[..., :n, n:] = torch.eye(n, dtype=g.dtype, device=g.device)
        corner = matrix_exp(block)[..., :n, n:]
        return torch.cat([turn, torch.linalg.solve(corner, g[..., :n, n : n + 1]).squeeze(-1)], -1)

    def sample(
        self, shape: tuple[int, ...] = (), generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """Draw elements ``[*shape, size, size]``: h as H does, v from the normal distribution.

        Args:
            shape: Of the batch.
            generator: Source of randomness; the elements are made on its device.
            dtype: Of the elements.

        Returns:
            ``[*shape, size, size]``.
        """
        h = self.linear.sample(shape, generator, dtype)
        return self.element(h, torch.randn(*shape, self.n, generator=generator, dtype=dtype, device=h.device))

    def contains(self, g: Tensor, tolerance: float | None = None) -> Tensor:
        """Return which matrices are elements.

        Args:
            g: ``[..., size, size]``.
            tolerance: As of H; also how far an entry may be from what h and v say, relative to the largest entry.

        Returns:
            ``[...]`` bool; false where something is not finite.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        n = self.n
        h = g[..., n + 1 :, n + 1 :]
        error = (g - self.element(h, g[..., :n, n])).abs().amax((-1, -2))
        scale = g.abs().amax((-1, -2)).clamp(min=1.0)
        return self.linear.contains(h, tolerance) & (error <= self._tolerance(g, tolerance) * scale)

    def project(self, a: Tensor) -> Tensor:
        """Return elements near matrices ``[..., size, size]``: h as H does, v as it is.

        Raises:
            ShapeError: The shape is wrong, or H has no projection.

        Properties:
            projection: an element is projected onto itself.
        """
        self._check(a)
        n = self.n
        return self.element(self.linear.project(a[..., n + 1 :, n + 1 :]), a[..., :n, n])

    def _move(self, g: Tensor, points: Tensor) -> Tensor:
        moved = points @ g[..., : self.n, : self.n].transpose(-1, -2)
        return moved + g[..., None, : self.n, self.n]

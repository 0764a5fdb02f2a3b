"""What every group of real matrices has: an algebra with a basis, exp and log, adjoint, membership, actions.

A group fills in what is its own (basis, membership, projection, samples); the rest follows from its matrices.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from equitools.errors import ConfigError, ShapeError
from equitools.groups.grids import act_on_grid
from equitools.groups.matrix_functions import matrix_exp, matrix_log
from equitools.groups.precision import full_precision

__all__ = ["MatrixGroup"]


#: What runs in full precision in every group, under autocast, too.
_GUARDED = frozenset(
    {
        "act",
        "act_on_grid",
        "adjoint",
        "boost",
        "bracket",
        "coadjoint",
        "compose",
        "contains",
        "decompose",
        "element",
        "exp",
        "hat",
        "inner_product",
        "inverse",
        "join",
        "log",
        "modular",
        "parts",
        "project",
        "require",
        "split",
        "vee",
    }
)


def _sampling(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Switch autocast off while elements are drawn: the arguments need not tell the device."""

    @functools.wraps(function)
    def wrapper(
        self: MatrixGroup,
        shape: tuple[int, ...] = (),
        generator: torch.Generator | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        device = torch.get_default_device() if generator is None else generator.device
        with torch.autocast(device.type, enabled=False):
            return function(self, shape, generator, *args, **kwargs)

    return wrapper


class MatrixGroup:
    """A group of real matrices.

    Elements are ``[..., size, size]``, elements of its Lie algebra too; coordinates ``[..., dim]`` are those in
    `algebra_basis`, which is orthonormal under `inner_product`: ½ tr XᵀY where a group says nothing else, so that the
    coordinates of a rotation are its angle times its axis, in every group that has rotations.

    Attributes:
        n: Dimension of the space that it acts on.
        name: For example ``"SO(3)"``; `parse_group` understands it.
        size: Number of rows of its matrices (n, or n + 1 where there are translations).
        euclidean: Whether it is E(n) or SE(n).
        reflections: Whether some determinants are negative.
        compact: Whether it is bounded and closed: then `sample` draws from the Haar measure.
        connected: Whether every element can be reached from the identity.

    Properties:
        basis_is_orthonormal: ⟨E_i, E_j⟩ = δ_ij.
        exp_of_commuting_elements: exp(x + y) = exp(x) exp(y) where [x, y] = 0.
        membership_of_exponentials: exp(x) is an element.
    """

    letter = ""
    euclidean = False
    reflections = False
    compact = False
    connected = True
    #: Logarithms are taken of what is an element up to this: rounding, or the step of a numeric derivative.
    log_tolerance: float | None = 1e-3

    def __init_subclass__(cls, **options: Any) -> None:
        """Guard what a group does with matrices against autocast: rounded to bfloat16 they are no elements."""
        super().__init_subclass__(**options)
        for name in _GUARDED & set(vars(cls)):
            setattr(cls, name, full_precision(vars(cls)[name]))
        if "sample" in vars(cls):
            setattr(cls, "sample", _sampling(vars(cls)["sample"]))  # noqa: B010 - mypy: a method is no attribute

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

    # --- the algebra -------------------------------------------------------------------------------------------------

    @property
    def algebra_basis(self) -> Tensor:
        """Basis of the Lie algebra ``[dim, size, size]`` float64, orthonormal under `inner_product`."""
        raise NotImplementedError

    @property
    def dim(self) -> int:
        """Dimension of the group as a manifold."""
        return len(self.algebra_basis)

    @full_precision
    def inner_product(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return ⟨X, Y⟩ ``[...]`` of matrices ``[..., size, size]``; here ½ tr XᵀY."""
        return (X * Y).sum((-1, -2)) / 2

    @full_precision
    def hat(self, x: Tensor) -> Tensor:
        """Return the matrices ``[..., size, size]`` of coordinates ``[..., dim]``.

        Raises:
            ShapeError: The last axis has not `dim` entries.
        """
        if x.ndim < 1 or x.shape[-1] != self.dim or not x.is_floating_point():
            raise ShapeError(
                f"{self.name} has {self.dim} coordinates, floating-point [..., {self.dim}]; given {list(x.shape)} "
                f"{x.dtype}."
            )
        return torch.einsum("...k,kij->...ij", x, self.algebra_basis.to(x))

    @full_precision
    def vee(self, X: Tensor) -> Tensor:
        """Return the coordinates ``[..., dim]`` of matrices ``[..., size, size]``, the inverse of `hat`.

        Of a matrix outside the algebra they are those of its orthogonal projection onto it.

        Raises:
            ShapeError: The shape is wrong.

        Properties:
            vee_inverts_hat: vee(hat(x)) = x.
        """
        self._check(X)
        return self.inner_product(X.unsqueeze(-3), self.algebra_basis.to(X))

    @full_precision
    def bracket(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the coordinates ``[..., dim]`` of [x, y] = xy − yx of coordinates ``[..., dim]``.

        Raises:
            ShapeError: The last axes have not `dim` entries.

        Properties:
            bracket_stays_in_the_algebra: hat([x, y]) = hat(x) hat(y) − hat(y) hat(x), and the Jacobi identity.
        """
        X, Y = self.hat(x), self.hat(y)
        return self.vee(X @ Y - Y @ X)

    @full_precision
    def exp(self, x: Tensor) -> Tensor:
        """Map coordinates ``[..., dim]`` in `algebra_basis` to elements ``[..., size, size]``.

        Raises:
            ShapeError: The last axis has not `dim` entries.
        """
        return matrix_exp(self.hat(x))

    @full_precision
    def log(self, g: Tensor) -> Tensor:
        """Map elements ``[..., size, size]`` to coordinates ``[..., dim]``, the inverse of `exp`.

        The branch is the principal one: angles, the imaginary parts of the eigenvalues, in (−π, π); it is continuous at
        the identity and everywhere where it is defined. On the cut, where an eigenvalue is real and negative, this is
        an error; a group that has an angle for such elements says so.

        Raises:
            ShapeError: The shape is wrong, a matrix is far (1e-3) from all elements, or an element has no principal
                logarithm.

        Properties:
            log_inverts_exp: log(exp(x)) = x for angles below π.
        """
        self.require(g, self.log_tolerance)
        return self._principal_log(g)

    @full_precision
    def require(self, g: Tensor, tolerance: float | None = None) -> None:
        """Raise a `ShapeError` that says how many, if matrices ``[..., size, size]`` are not all elements.

        Args:
            g: ``[..., size, size]``.
            tolerance: As of `contains`.

        Raises:
            ShapeError: One is no element, or the shape is wrong.
        """
        good = self.contains(g.detach(), tolerance)
        if not bool(good.all()):
            raise ShapeError(
                f"{int((~good).sum())} of {good.numel()} matrices are no elements of {self.name}. `contains` says "
                "which, `project` returns elements near them."
            )

    def _principal_log(self, g: Tensor) -> Tensor:
        """The coordinates of the principal logarithm, or an error that names the group and what to do."""
        try:
            return self.vee(matrix_log(g))
        except ShapeError as error:
            raise ShapeError(f"No logarithm in {self.name}: {error}{self._advice()}") from error

    def _advice(self) -> str:
        """What to do about an element without logarithm."""
        if self.compact:
            return " An angle is π there, and the logarithm has no sign."
        return f" Not every element of {self.name} has one; decompose(g, 'polar') is a chart of them all."

    # --- the group ---------------------------------------------------------------------------------------------------

    def identity(
        self,
        shape: tuple[int, ...] = (),
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Return identities ``[*shape, size, size]``."""
        return torch.eye(self.size, dtype=dtype, device=device).repeat(*shape, 1, 1)

    @full_precision
    def inverse(self, g: Tensor) -> Tensor:
        """Return the inverses of elements ``[..., size, size]``.

        Raises:
            ShapeError: The shape is wrong, or a matrix is singular.

        Properties:
            inverse: g g⁻¹ = 1.
        """
        self._check(g)
        inverse, info = torch.linalg.inv_ex(g)
        if bool((info != 0).any()):
            raise ShapeError(f"A matrix is singular, and so no element of {self.name}.")
        return inverse

    @full_precision
    def adjoint(self, g: Tensor) -> Tensor:
        """Return the matrices ``[..., dim, dim]`` of Ad(g) in coordinates: hat(Ad(g) x) = g hat(x) g⁻¹.

        Raises:
            ShapeError: The shape is wrong, or a matrix is no element (by more than 1e-3).

        Properties:
            adjoint_is_a_homomorphism: Ad(g h) = Ad(g) Ad(h).
            adjoint_of_exponentials: Ad(exp x) = exp(ad x), where ad x y = [x, y].
        """
        self.require(g, self.log_tolerance)
        inverse = self.inverse(g)
        turned = g.unsqueeze(-3) @ self.algebra_basis.to(g) @ inverse.unsqueeze(-3)
        return self.vee(turned).transpose(-1, -2)

    @full_precision
    def coadjoint(self, g: Tensor) -> Tensor:
        """Return the matrices ``[..., dim, dim]`` of Ad*(g) = Ad(g⁻¹)ᵀ, which acts on momenta.

        Raises:
            ShapeError: The shape is wrong, or a matrix is no element (by more than 1e-3).

        Properties:
            coadjoint_keeps_the_pairing: (Ad*(g) p) · (Ad(g) x) = p · x.
        """
        return self.adjoint(self.inverse(g)).transpose(-1, -2)

    @full_precision
    def modular(self, g: Tensor) -> Tensor:
        """Return abs(det Ad(g)) ``[...]``, the modular function: 1 where left and right Haar measure are the same.

        For a left-invariant measure μ it is the factor of multiplication from the right: μ(A) = modular(g) μ(A g).
        Some call its inverse the modular function.

        Raises:
            ShapeError: The shape is wrong, or a matrix is no element (by more than 1e-3).

        Properties:
            modular_is_a_homomorphism: of g h it is the product.
            modular_compares_haar_measures: the Jacobian of x → log(g exp(x) g⁻¹) at 0.
        """
        return torch.linalg.det(self.adjoint(g)).abs()

    def contains(self, g: Tensor, tolerance: float | None = None) -> Tensor:
        """Return which matrices are elements.

        Args:
            g: ``[..., size, size]``.
            tolerance: How far the group's equations may be from true.

        Returns:
            ``[...]`` bool; false where something is not finite.

        Raises:
            ShapeError: The shape is wrong.
        """
        raise NotImplementedError

    def project(self, a: Tensor) -> Tensor:
        """Return elements near matrices ``[..., size, size]``.

        Raises:
            ShapeError: The shape is wrong, or there is no projection.

        Properties:
            projection: an element is projected onto itself.
        """
        raise NotImplementedError

    def sample(
        self, shape: tuple[int, ...] = (), generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64
    ) -> Tensor:
        """Draw elements ``[*shape, size, size]``.

        Args:
            shape: Of the batch.
            generator: Source of randomness; the elements are made on its device.
            dtype: Of the elements.

        Returns:
            ``[*shape, size, size]``.

        Properties:
            samples_are_elements: contains(sample) is true.
        """
        raise NotImplementedError

    # --- actions -----------------------------------------------------------------------------------------------------

    @full_precision
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
        return self._move(g, points)

    def _move(self, g: Tensor, points: Tensor) -> Tensor:
        return points @ g.transpose(-1, -2)

    def act_on_function(self, g: Tensor, f: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        """Return the function x → f(g⁻¹ x).

        Args:
            g: Elements ``[..., size, size]``.
            f: Takes points ``[..., N, n]``.

        Returns:
            A function of points ``[..., N, n]``.

        Raises:
            ShapeError: The shape of ``g`` is wrong, or a matrix is no element (by more than 1e-3).

        Properties:
            action_on_functions: acting with g h is acting with h, and then with g.
        """
        self.require(g, self.log_tolerance)
        inverse = self.inverse(g)
        return lambda points: f(self.act(inverse, points))

    @full_precision
    def act_on_grid(self, g: Tensor, images: Tensor, mode: str = "bilinear", padding: str = "zeros") -> Tensor:
        """Return images of x → f(g⁻¹ x), interpolated.

        The origin is the middle of the image, pixels are square, and the longest side reaches from −1 to 1 (edge to
        edge). The first coordinate runs along the last axis (columns, to the right), the second along the one before
        (rows, downwards), the third, in volumes, along the one before that.

        Args:
            g: Elements ``[size, size]`` for all images, or ``[B, size, size]``.
            images: ``[B, C, *spatial]`` with n spatial axes, n = 1, 2 or 3.
            mode: ``"bilinear"`` (linear in every axis) or ``"nearest"``.
            padding: What is outside: ``"zeros"``, ``"border"`` or ``"reflection"``.

        Returns:
            ``[B, C, *spatial]``, differentiable in both.

        Raises:
            ShapeError: A shape is wrong, or a matrix is no element (by more than 1e-3).
            ConfigError: The mode or the padding is not known.

        Properties:
            quarter_turns_are_exact: a rotation by 90° moves the pixels of a square image.
            grid_samples_the_function: where f is linear, the image of the moved f is the moved image.
        """
        self.require(g, self.log_tolerance)
        inverse = self.inverse(g)
        return act_on_grid(lambda points: self.act(inverse, points), images, self.n, g.shape, mode, padding)

    # --- decompositions ----------------------------------------------------------------------------------------------

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the decompositions of this group."""
        from equitools.groups import decompositions

        return tuple(decompositions.kinds(self))

    @full_precision
    def decompose(self, g: Tensor, kind: str) -> tuple[Tensor, ...]:
        """Return the factors of elements, all as matrices ``[..., size, size]``.

        Args:
            g: Elements ``[..., size, size]``.
            kind: One of `kinds`: ``"polar"`` → (p, k) with p symmetric positive definite and k orthogonal, ``"kak"`` →
                (k1, a, k2) with a diagonal and positive, ``"iwasawa"`` → (k, a, n) with n unit upper triangular, and
                others.

        Returns:
            The factors, whose product is g.

        Raises:
            ShapeError: A matrix is no element.
            UnknownNameError: The group has no such decomposition.

        Properties:
            decompositions_compose: compose(decompose(g, kind), kind) = g.
        """
        from equitools.groups import decompositions

        self._check(g)
        return tuple(decompositions.decompose(self, g, kind))

    @full_precision
    def compose(self, parts: tuple[Tensor, ...], kind: str) -> Tensor:
        """Return the elements ``[..., size, size]`` of factors, the inverse of `decompose`.

        Raises:
            ShapeError: The parts do not fit.
            UnknownNameError: The group has no such decomposition.
        """
        from equitools.groups import decompositions

        return decompositions.compose(self, parts, kind)

    # --- for subclasses ----------------------------------------------------------------------------------------------

    def _check(self, g: Tensor) -> None:
        if g.ndim < 2 or g.shape[-2:] != (self.size, self.size) or not g.is_floating_point():
            raise ShapeError(
                f"{self.name} needs floating-point matrices [..., {self.size}, {self.size}], given {list(g.shape)} "
                f"{g.dtype}."
            )

    @staticmethod
    def _tolerance(g: Tensor, tolerance: float | None) -> float:
        if tolerance is not None:
            return tolerance
        return 1e-6 if g.dtype == torch.float64 else 1e-4

    def _small(self, error: Tensor, scale: Tensor, g: Tensor, tolerance: float | None) -> Tensor:
        """Whether errors ``[...]`` are below the tolerance, or below the rounding of numbers of the size ``scale``."""
        rounding = 100 * self.size * torch.finfo(g.dtype).eps * scale
        return g.isfinite().all(-1).all(-1) & (error <= self._tolerance(g, tolerance) + rounding)

"""The Lorentz group: the linear maps of space-time that keep t² − x² − y² − z².

A four-vector is (t, x, y, z) and the metric is η = diag(1, −1, −1, −1); g is an element where gᵀ η g = η.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equitools.errors import ShapeError
from equitools.groups.matrix_group import MatrixGroup
from equitools.groups.orthogonal import SO
from equitools.groups.polar_factor import polar_factor

__all__ = ["Lorentz", "lorentz_metric", "polar_factor"]

SIGNATURE = (1.0, -1.0, -1.0, -1.0)


def lorentz_metric(dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> Tensor:
    """Return η = diag(1, −1, −1, −1) ``[4, 4]``."""
    return torch.diag(torch.tensor(SIGNATURE, dtype=dtype, device=device))


class Lorentz(MatrixGroup):
    """The Lorentz group O(1,3), or its part that is connected with the identity, SO⁺(1,3).

    Args:
        proper: Only proper orthochronous elements, SO⁺(1,3): no reflection of time or of space.

    Attributes:
        name: ``"O(1,3)"`` or ``"SO+(1,3)"``.
        signature: The diagonal of the metric η.

    Properties:
        action: act(g h, x) = act(g, act(h, x)).
        dot_products: x · y = xᵀ η y is the same before and after.
    """

    letter = "O"
    signature = SIGNATURE

    def __init__(self, proper: bool = False) -> None:
        super().__init__(4)
        self.proper = bool(proper)
        self.reflections = not self.proper
        self.connected = self.proper
        self.name = "SO+(1,3)" if self.proper else "O(1,3)"

    @property
    def dim(self) -> int:
        """Dimension of the group as a manifold."""
        return 6

    @property
    def algebra_basis(self) -> Tensor:
        """Basis of the Lie algebra ``[6, 4, 4]`` float64: rotations about x, y and z, then boosts along x, y and z.

        The coordinates of a rotation are its angle times its axis, those of a boost its rapidity times its direction.
        """
        basis = torch.zeros(6, 4, 4, dtype=torch.float64)
        basis[:3, 1:, 1:] = SO(3).algebra_basis
        for axis in range(3):
            basis[3 + axis, 0, 1 + axis] = basis[3 + axis, 1 + axis, 0] = 1.0
        return basis

    def metric(self, like: Tensor) -> Tensor:
        """Return η ``[4, 4]`` in the dtype and on the device of a tensor."""
        return lorentz_metric(like.dtype, like.device)

    def inverse(self, g: Tensor) -> Tensor:
        """Return the inverses η gᵀ η of elements ``[..., 4, 4]``: exact for elements, wrong for other matrices.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        eta = self.metric(g)
        return eta @ g.transpose(-1, -2) @ eta

    def log(self, g: Tensor) -> Tensor:
        """Map elements of the identity's component to coordinates ``[..., 6]``, the inverse of `exp`.

        The branch is the principal one, which exists where −1 is no eigenvalue: angles of rotation are below π. Nearer
        to π than 1e-6 the result loses its digits.

        Raises:
            ShapeError: An element reverses time or space (no logarithm), a matrix is far (1e-3) from all elements, or
                the shape is wrong.

        Properties:
            log_inverts_exp: log(exp(x)) = x for rotation angles below π.
        """
        self._check(g)
        if bool((g[..., 0, 0] <= 0).any()) or bool((torch.linalg.det(g) <= 0).any()):
            raise ShapeError("An element that reverses time or space is not the exponential of anything real.")
        self.require(g, self.log_tolerance)
        return self._principal_log(g)

    def sample(
        self,
        shape: tuple[int, ...] = (),
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        rapidity: float = 0.3,
    ) -> Tensor:
        """Draw elements ``[*shape, 4, 4]``: a rotation of the Haar measure times a boost times, in O(1,3), reflections.

        The group is not compact, so it has no Haar probability: this is a distribution of its elements, not *the* one,
        and it is not invariant under multiplication with a boost.

        Args:
            shape: Of the batch.
            generator: Source of randomness; the elements are made on its device.
            dtype: Of the elements.
            rapidity: Standard deviation of each of the three components of the boost's rapidity. Entries of elements
                grow like its exponential.

        Returns:
            ``[*shape, 4, 4]``.

        Properties:
            samples_are_elements: gᵀ η g = η.
        """
        device = None if generator is None else generator.device
        turn = torch.zeros(*shape, 4, 4, dtype=dtype, device=device)
        turn[..., 0, 0] = 1.0
        turn[..., 1:, 1:] = SO(3).sample(shape, generator, dtype)
        g = turn @ self.boost(rapidity * torch.randn(*shape, 3, generator=generator, dtype=dtype, device=device))
        if self.proper:
            return g
        signs = 1.0 - 2.0 * torch.randint(2, (*shape, 2), generator=generator, device=device).to(dtype)
        flip = torch.cat([signs[..., :1], signs[..., 1:].expand(*shape, 3)], -1)  # time, and all of space
        return g * flip.unsqueeze(-2)

    def boost(self, rapidity: Tensor) -> Tensor:
        """Return the boosts ``[..., 4, 4]`` of rapidities ``[..., 3]``: exp of the last three coordinates.

        Raises:
            ShapeError: The last axis has not three entries.

        Properties:
            boosts_are_exponentials: boost(v) = exp((0, v)).
        """
        if rapidity.shape[-1] != 3:
            raise ShapeError(f"A boost needs a rapidity [..., 3], given {list(rapidity.shape)}.")
        return self.exp(torch.cat([torch.zeros_like(rapidity), rapidity], -1))

    def contains(self, g: Tensor, tolerance: float | None = None) -> Tensor:
        """Return which matrices are elements.

        Args:
            g: ``[..., 4, 4]``.
            tolerance: Largest deviation of an entry of gᵀ η g from η, beyond the rounding of the square of the largest
                entry of g; by default 1e-6 in float64 and 1e-4 in smaller dtypes.

        Returns:
            ``[...]`` bool; false where something is not finite.

        Raises:
            ShapeError: The shape is wrong.
        """
        self._check(g)
        eta = self.metric(g)
        error = (g.transpose(-1, -2) @ eta @ g - eta).abs().amax((-1, -2))
        good = (torch.linalg.det(g) != 0) & self._small(error, g.abs().amax((-1, -2)).square(), g, tolerance)
        if self.proper:
            good &= (g[..., 0, 0] > 0) & (torch.linalg.det(g) > 0)
        return good

    def project(self, a: Tensor) -> Tensor:
        """Return the generalised polar factor of matrices ``[..., 4, 4]``: a = g s with g an element and η s symmetric.

        It exists where η aᵀ η a has no eigenvalue that is real and not positive: near the group always, for a random
        matrix often not. `equitools.symmetrize.orbit_project` has another projection, which almost always exists. In an
        indefinite metric "nearest" has no meaning; the polar factor is the projection that is smooth, that leaves
        elements alone and that goes along with multiplication from either side: project(h a) = h project(a).

        Raises:
            ShapeError: The shape is wrong, or there is no such factor (for SO⁺(1,3): none that is proper).

        Properties:
            projection: an element is projected onto itself.
            left_equivariance: project(h a) = h project(a) for every element h.

        Source:
            N. J. Higham, J-orthogonal matrices: properties and generation, SIAM Review 45 (2003).
        """
        self._check(a)
        factor = polar_factor(a, self.signature)
        if self.proper and not bool(self.contains(factor).all()):
            raise ShapeError("The polar factor of a matrix reverses time or space: it is not in SO+(1,3).")
        return factor

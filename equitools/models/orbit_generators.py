"""Networks that turn sets of vectors and noise into matrices, equivariantly: generators for `OrbitSymmetrize`."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from equitools.errors import ConfigError, ShapeError
from equitools.groups import Lorentz, MatrixGroup, parse_rigid_group

__all__ = ["InvariantCombination", "SetCombination"]


class InvariantCombination(nn.Module):
    """Matrices whose columns are combinations of the input's vectors, with coefficients made of invariants and noise.

    g = Σ_i x_i φ_i(x · x, ε): a perceptron turns all scalar products of the vectors, in the group's metric, and noise
    that does not transform into one coefficient for each vector and column. For the same noise it is equivariant
    exactly. Where there are fewer vectors than dimensions their combinations are singular; then ``noise_vectors`` adds
    random vectors, which makes it equivariant in distribution. Lorentz groups have no such vectors: no probability
    distribution but that of the zero vector is invariant to boosts.

    The vectors have an order (that of particles of an event), there is no mask.

    Args:
        vectors: How many vectors the input has.
        group: O(d), SO(d), O(1,3) or SO+(1,3); SO(d) has the same generator as O(d) (no triple products).
        hidden: Width of the perceptron.
        layers: Its hidden layers.
        noise_dim: Numbers of invariant noise.
        noise_vectors: Random vectors beside the input's.

    Attributes:
        noise_dim: All numbers of noise that one matrix needs.

    Raises:
        ConfigError: Sizes below 1, too few vectors, translations, or random vectors for a Lorentz group.

    Properties:
        equivariance: generator(h x, ε) = h generator(x, ε), the vectors in ε turned along.

    Example:
        >>> InvariantCombination(4, "O(1,3)")(torch.randn(2, 4, 4), torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 4, 4])
    """

    def __init__(
        self,
        vectors: int,
        group: str | MatrixGroup,
        hidden: int = 64,
        layers: int = 2,
        noise_dim: int = 8,
        noise_vectors: int = 0,
    ) -> None:
        super().__init__()
        self.group = parse_rigid_group(group, "Generators of scalar products", lorentz=True)
        self.vectors, self.scalars, self.random = vectors, noise_dim, noise_vectors
        d = self.group.n
        if self.group.euclidean:
            plain = self.group.name.replace("E", "O")
            raise ConfigError(f"{self.group} has translations. Subtract the centroid and use {plain}.")
        if min(vectors, hidden, layers) < 1 or min(noise_dim, noise_vectors) < 0 or noise_dim + noise_vectors < 1:
            raise ConfigError("A generator needs vectors, hidden and layers of at least 1, and some noise.")
        if isinstance(self.group, Lorentz) and noise_vectors:
            raise ConfigError("No distribution of vectors is invariant to boosts: noise_vectors must be 0.")
        if vectors + noise_vectors < d:
            raise ConfigError(
                f"{vectors} + {noise_vectors} vectors span no {d} dimensions: every matrix would be singular. "
                f"{'Lorentz groups need four vectors.' if isinstance(self.group, Lorentz) else 'Raise noise_vectors.'}"
            )
        self.noise_dim = noise_dim + noise_vectors * d
        count = vectors + noise_vectors
        widths = [count * (count + 1) // 2 + noise_dim, *[hidden] * layers]
        stages: list[nn.Module] = []
        for a, b in pairwise(widths):
            stages += [nn.Linear(a, b), nn.SiLU()]
        last = nn.Linear(widths[-1], count * d)
        with torch.no_grad():  # begins near the matrix of the first d vectors, which is invertible
            last.bias.copy_(torch.eye(count, d).flatten())
        self.perceptron = nn.Sequential(*stages, last)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return matrices.

        Args:
            x: ``[B, N, d]``.
            noise: ``[B, S, noise_dim]``: first the vectors' components, then the scalars.

        Returns:
            ``[B, S, d, d]``.

        Raises:
            ShapeError: A shape is wrong.
        """
        d = self.group.n
        if x.ndim != 3 or x.shape[1:] != (self.vectors, d) or noise.shape[-1] != self.noise_dim or noise.ndim != 3:
            raise ShapeError(
                f"The generator takes x [B, {self.vectors}, {d}] and noise [B, S, {self.noise_dim}], given "
                f"{list(x.shape)} and {list(noise.shape)}."
            )
        samples = noise.shape[1]
        vectors = x.unsqueeze(1)
        if self.random:
            extra = noise[..., : self.random * d].unflatten(-1, (self.random, d))
            vectors = torch.cat([vectors.expand(-1, samples, -1, -1), extra], 2)
        dual = vectors @ self.group.metric(x) if isinstance(self.group, Lorentz) else vectors
        gram = dual @ vectors.transpose(-1, -2)
        row, column = torch.triu_indices(gram.shape[-1], gram.shape[-1], device=x.device)
        products = torch.asinh(gram[..., row, column]).expand(-1, samples, -1)
        coefficients = self.perceptron(torch.cat([products, noise[..., self.random * d :]], -1))
        return vectors.transpose(-1, -2) @ coefficients.unflatten(-1, (-1, d))


class SetCombination(nn.Module):
    """The same for sets of any number of vectors in any order, with a mask.

    First each vector's products with itself and with the mean make coefficients of a few mean vectors v_c; then its
    products with these, their means over the set, and the noise make the coefficients φ of the columns,
    g = mean_i x_i φ_i. Symmetric sets make singular matrices: vectors that a symmetry exchanges have the same
    coefficients.

    Args:
        group: O(d), SO(d), O(1,3) or SO+(1,3).
        hidden: Width of both perceptrons.
        channels: How many mean vectors v_c.
        noise_dim: Numbers of invariant noise.

    Raises:
        ConfigError: Sizes below 1, or translations.

    Properties:
        equivariance: generator(h x, ε) = h generator(x, ε).
        permutation_invariance: the order of the vectors does not matter, and masked ones do not count.

    Example:
        >>> SetCombination("SO(3)")(torch.randn(2, 7, 3), torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 3, 3])
    """

    def __init__(self, group: str | MatrixGroup, hidden: int = 64, channels: int = 8, noise_dim: int = 8) -> None:
        super().__init__()
        self.group = parse_rigid_group(group, "Generators of scalar products", lorentz=True)
        if self.group.euclidean:
            plain = self.group.name.replace("E", "O")
            raise ConfigError(f"{self.group} has translations. Subtract the centroid and use {plain}.")
        if min(hidden, channels, noise_dim) < 1:
            raise ConfigError("A generator needs hidden, channels and noise_dim of at least 1.")
        self.noise_dim = noise_dim
        self.first = nn.Sequential(nn.Linear(3, hidden), nn.SiLU(), nn.Linear(hidden, channels))
        self.local = nn.Linear(channels + 1, hidden)
        self.shared = nn.Linear(channels + 1 + channels + noise_dim, hidden)
        self.last = nn.Sequential(nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, self.group.n))

    def forward(self, x: Tensor, noise: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return matrices.

        Args:
            x: ``[B, N, d]``.
            noise: ``[B, S, noise_dim]``.
            mask: Real vectors ``[B, N]``.

        Returns:
            ``[B, S, d, d]``.

        Raises:
            ShapeError: A shape is wrong.
        """
        d = self.group.n
        if x.ndim != 3 or x.shape[-1] != d or noise.ndim != 3 or noise.shape[-1] != self.noise_dim:
            raise ShapeError(
                f"The generator takes x [B, N, {d}] and noise [B, S, {self.noise_dim}], given {list(x.shape)} and "
                f"{list(noise.shape)}."
            )
        share = torch.ones_like(x[..., :1]) if mask is None else mask.unsqueeze(-1).to(x.dtype)
        x = x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0)
        share = share / share.sum(1, keepdim=True).clamp(min=1.0)
        dual = x @ self.group.metric(x) if isinstance(self.group, Lorentz) else x
        mean = (share * x).sum(1, keepdim=True)
        own = (dual * x).sum(-1, keepdim=True)
        with_mean = dual @ mean.transpose(-1, -2)
        of_mean = (share * with_mean).sum(1, keepdim=True).expand_as(own)
        coefficients = self.first(torch.asinh(torch.cat([own, with_mean, of_mean], -1)))
        vectors = (share * x).transpose(-1, -2) @ coefficients  # [B, d, C]
        features = torch.asinh(torch.cat([own, dual @ vectors], -1))
        squares = ((share * dual).transpose(-1, -2) @ coefficients * vectors).sum(1)
        context = torch.cat([(share * features).sum(1), torch.asinh(squares)], -1)
        shared = self.shared(torch.cat([context.unsqueeze(1).expand(-1, noise.shape[1], -1), noise], -1))
        weights = self.last(self.local(features).unsqueeze(1) + shared.unsqueeze(2))  # [B, S, N, d]
        return (share * x).transpose(-1, -2).unsqueeze(1) @ weights

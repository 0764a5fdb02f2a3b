"""Networks that turn sets of vectors and noise into matrices, equivariantly: generators for `OrbitSymmetrize`."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from equitools.errors import ConfigError, ShapeError
from equitools.groups import Lorentz, MatrixGroup, parse_group

__all__ = ["InvariantCombination"]


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
        self.group = parse_group(group)
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

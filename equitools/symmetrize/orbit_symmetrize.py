"""Any network, symmetrised with random matrices of a generator that the orbit distance pushes onto the group."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from equitools.errors import ConfigError, ShapeError, nearest
from equitools.groups import SL, SO, Lorentz, MatrixGroup, O, parse_group
from equitools.symmetrize.orbit import orbit_distance, orbit_project, orbit_projectable
from equitools.symmetrize.representations import Representation, act, inverse, unfold
from equitools.symmetrize.symmetrized import Inputs, Outputs, Symmetrized

__all__ = ["Estimate", "OrbitSymmetrize"]

_INVERSES = ("adjoint", "exact")
_REDRAWS = 20  # singular matrices are a set of measure zero; a generator that returns nothing else ends here


class Estimate(NamedTuple):
    """A prediction that is a mean over random elements, and how well it is known.

    Attributes:
        mean: The structure of the output.
        error: Standard error of each of its entries: the standard deviation over the samples divided by the root of
            their number.
    """

    mean: Any
    error: Any


class OrbitSymmetrize(Symmetrized):
    """φ(x) = mean over noise ε of ρ₂(g) f(ρ₁(g)⁻¹ x), g = generator(x, ε).

    The generator returns any matrices, as long as it is equivariant: generator(h x, ε) = h generator(x, ε), for each ε
    or in distribution. The orbit distance, added to the loss, pushes them onto the group; ``project=True`` puts them
    there exactly. For representations that extend to all matrices (everything but irreps) φ is equivariant in both
    cases: h cancels, whether or not g is an element. What membership buys is that f sees x moved, and not distorted.

    Args:
        net: Any network, see `Symmetrized`.
        generator: ``generator(x, noise)`` with x ``[B, N, d]`` and noise ``[B, S, k]`` returns ``[B, S, d, d]``. It
            has an attribute ``noise_dim`` (k), and is given ``mask`` if its ``forward`` has a parameter of that name.
            See `equitools.models.orbit_generators`.
        group: O(d), SO(d), SL(d), O(1,3) or SO+(1,3), by name or object.
        inputs: Representation of the input, or of each.
        outputs: Representation of the output, or of each.
        samples: Elements for each cloud in training.
        eval_samples: The same in evaluation; as many as in training if not given.
        project: Project the generator's matrices onto the group, see `equitools.symmetrize.orbit_project`.
        inverse: ``"adjoint"``: gᵀ, or ηgᵀη for Lorentz groups (as published: right for elements, and harmless for
            matrices that are nearly singular); ``"exact"``: g⁻¹, which SL(d) has in either case.
        source: Which input the generator sees.

    Raises:
        ConfigError: Translations (E, SE) or another group, which has no orbit invariants of this kind; a number of
            samples below 1; a representation is not known; irreps without ``project=True``, or under SL(d).
        UnknownNameError: An unknown group.

    Properties:
        equivariance: φ(h x) = h φ(x) for the same noise, if the generator is equivariant for the same noise.
        unbiased: the mean over calls does not depend on the number of samples.

    Source:
        T. D. Nguyen et al., Learning Symmetrization for Equivariance with Orbit Distance Minimization, arXiv
        2311.07143; J. Kim et al., Learning Probabilistic Symmetrization for Architecture Agnostic Equivariance,
        NeurIPS 2023, for generators that stay in the group.
    """

    def __init__(
        self,
        net: nn.Module | Callable[..., Any],
        generator: nn.Module | Callable[..., Tensor],
        group: str | MatrixGroup,
        inputs: Inputs = "vector",
        outputs: Outputs = "scalar",
        samples: int = 5,
        eval_samples: int | None = None,
        *,
        project: bool = False,
        inverse: str = "adjoint",
        source: int | None = None,
    ) -> None:
        super().__init__(net, inputs, outputs, source)
        self.group = parse_group(group)
        if self.group.euclidean:
            plain = self.group.name.replace("E", "O")
            raise ConfigError(f"{self.group} has translations. Subtract the centroid and use {plain}.")
        if not isinstance(self.group, (O, SO, SL, Lorentz)):
            raise ConfigError(f"Orbits are told apart for O(d), SO(d), SL(d) and Lorentz groups, not for {self.group}.")
        if inverse not in _INVERSES:
            raise ConfigError(f"inverse={inverse!r} is not known. {nearest(str(inverse), _INVERSES)}")
        irreps = any(rep.kind == "irreps" for rep in [*self.inputs, *_leaves(self.outputs)])
        if irreps and isinstance(self.group, SL):
            raise ConfigError(f"Irreps are representations of O(3): they mean nothing under {self.group}.")
        if not project and irreps:
            raise ConfigError("Irreps are turned by elements of the group only, not by any matrix: set project=True.")
        self.samples = _count(samples)
        self.eval_samples = self.samples if eval_samples is None else _count(eval_samples)
        self.project = project
        self.inverse = inverse
        self.generator = generator
        called = generator.forward if isinstance(generator, nn.Module) else generator
        self.generator_takes_mask = "mask" in inspect.signature(called).parameters

    def extra_repr(self) -> str:
        """Return the group and the numbers of samples, for ``repr``."""
        return f"{self.group}, samples={self.samples}, eval_samples={self.eval_samples}, project={self.project}"

    def noise(self, x: Tensor, samples: int | None = None, random: torch.Generator | None = None) -> Tensor:
        """Draw the generator's noise for clouds.

        Args:
            x: Clouds ``[B, N, d]``.
            samples: How many for each; by default what is set for training or evaluation.
            random: Source of randomness.

        Returns:
            ``[B, samples, noise_dim]``, standard normal.
        """
        count = (self.samples if self.training else self.eval_samples) if samples is None else _count(samples)
        size = getattr(self.generator, "noise_dim", None)
        if not isinstance(size, int):
            raise ConfigError("The generator has no attribute noise_dim: set it, or hand the noise in.")
        return torch.randn(x.shape[0], count, size, dtype=x.dtype, device=x.device, generator=random)

    def projectable_noise(
        self, x: Tensor, noise: Tensor, mask: Tensor | None = None, random: torch.Generator | None = None
    ) -> Tensor:
        """Return noise for which the generator's matrices can be projected: where they are singular it is drawn anew.

        A generator that is trained may hit upon a matrix that is singular to rounding. Whether it does depends on
        invariants of the cloud and of the noise only, so that what is drawn in its place leaves the symmetry alone.

        Args:
            x: Clouds ``[B, N, d]``.
            noise: ``[B, S, k]``.
            mask: Real points ``[B, N]``.
            random: Source of randomness.

        Returns:
            ``[B, S, k]``.

        Raises:
            ShapeError: Matrices stay singular after 20 draws.
        """
        for _ in range(_REDRAWS):
            with torch.no_grad():
                good = orbit_projectable(self._generated(x, noise, mask), self.group)
            if bool(good.all()):
                return noise
            noise = torch.where(good.unsqueeze(-1), noise, self.noise(x, noise.shape[1], random))
        raise ShapeError(
            f"The generator returned matrices that are singular {_REDRAWS} times in a row for {int((~good).sum())} of "
            f"{good.numel()} draws: none of {self.group} is near them. Use project=False with the orbit distance."
        )

    def elements(self, x: Tensor, noise: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the matrices that are used, and the orbit distance of those that the generator returned.

        Args:
            x: Clouds ``[B, N, d]``.
            noise: ``[B, S, k]``.
            mask: Real points ``[B, N]``.

        Returns:
            Matrices ``[B, S, d, d]``, projected if that is set, and distances ``[B, S]``, before any projection.

        Raises:
            ShapeError: The generator returned another shape, or singular matrices that were to be projected.
        """
        g = self._generated(x, noise, mask)
        distance = orbit_distance(g, self.group)
        return (orbit_project(g, self.group) if self.project else g), distance

    def _generated(self, x: Tensor, noise: Tensor, mask: Tensor | None) -> Tensor:
        g = self.generator(x, noise, mask=mask) if self.generator_takes_mask else self.generator(x, noise)
        wanted = (x.shape[0], noise.shape[1], self.group.n, self.group.n)
        if not isinstance(g, Tensor) or g.shape != wanted:
            given = list(g.shape) if isinstance(g, Tensor) else type(g).__name__
            raise ShapeError(f"The generator must return matrices {list(wanted)}, it returned {given}.")
        return g

    def forward(
        self,
        *inputs: Any,
        mask: Tensor | None = None,
        noise: Tensor | None = None,
        random: torch.Generator | None = None,
        return_distance: bool = False,
    ) -> Any:
        """Return the mean over random elements.

        Args:
            inputs: As declared, batched along their first axis.
            mask: Real points ``[B, N]`` of the input that the generator sees.
            noise: ``[B, S, k]``; the same noise gives the same elements. Drawn if not given, and where matrices are to
                be projected and are singular, drawn again (`projectable_noise`).
            random: Source of randomness of noise that is drawn.
            return_distance: Return the mean orbit distance (a scalar), too: the regulariser.

        Returns:
            What the network returns, for each cloud; with ``return_distance`` a pair of that and the distance.

        Raises:
            ShapeError: The number or a shape of the inputs, or of what a network returns, is wrong.
        """
        drawn, distance = self._each_sample(inputs, mask, noise, None, random)
        mean = _map(lambda value: value.mean(1), drawn)
        return (mean, distance.mean()) if return_distance else mean

    def estimate(
        self,
        *inputs: Any,
        samples: int = 100,
        mask: Tensor | None = None,
        noise: Tensor | None = None,
        random: torch.Generator | None = None,
    ) -> Estimate:
        """Return the mean over random elements with its standard error.

        Args:
            inputs: As for `forward`.
            samples: Elements for each cloud, at least two; ignored where noise is given.
            mask: As for `forward`.
            noise: As for `forward`.
            random: As for `forward`.

        Returns:
            `Estimate`.

        Raises:
            ConfigError: Fewer than two samples have no spread.
        """
        if (samples if noise is None else noise.shape[1]) < 2:
            raise ConfigError("A standard error needs at least two samples.")
        drawn, _ = self._each_sample(inputs, mask, noise, samples, random)
        return Estimate(
            _map(lambda value: value.mean(1), drawn), _map(lambda value: value.std(1) / value.shape[1] ** 0.5, drawn)
        )

    def _each_sample(
        self,
        inputs: Sequence[Any],
        mask: Tensor | None,
        noise: Tensor | None,
        samples: int | None,
        random: torch.Generator | None,
    ) -> tuple[Any, Tensor]:
        if len(inputs) != len(self.inputs):
            raise ShapeError(f"{type(self).__name__} was declared with {len(self.inputs)} inputs, given {len(inputs)}.")
        x = inputs[self.source]
        given, noise = noise is not None, self.noise(x, samples, random) if noise is None else noise
        if noise.ndim != 3 or noise.shape[0] != x.shape[0]:
            raise ShapeError(f"Noise [{x.shape[0]}, samples, k] is needed, given {list(noise.shape)}.")
        try:
            g, distance = self.elements(x, noise, mask)
        except ShapeError:
            if given or not self.project:
                raise
            g, distance = self.elements(x, self.projectable_noise(x, noise, mask, random), mask)
        count = g.shape[1]
        back, flat = self._inverse(g).flatten(0, 1), g.flatten(0, 1)
        folded = [
            value if rep.kind == "shared" else act(back, value.repeat_interleave(count, 0), rep)
            for value, rep in zip(inputs, self.inputs, strict=True)
        ]
        result = self._send(folded, None if mask is None else mask.repeat_interleave(count, 0))
        one = flat.new_ones(len(flat), 1)

        def turned(value: Tensor, rep: Representation) -> Tensor:
            return unfold(value, flat.unsqueeze(1), one, rep).unflatten(0, (len(x), count))

        return self._each(result, turned), distance

    def _inverse(self, g: Tensor) -> Tensor:
        if self.inverse == "exact" or isinstance(self.group, SL):  # whose elements say nothing of their transposes
            return inverse(g)
        return self.group.inverse(g) if isinstance(self.group, Lorentz) else g.transpose(-1, -2)


def _count(samples: int) -> int:
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ConfigError(f"The number of samples must be an integer of at least 1, not {samples!r}.")
    return samples


def _leaves(outputs: Any) -> list[Representation]:
    if isinstance(outputs, Representation):
        return [outputs]
    return list(outputs.values() if isinstance(outputs, Mapping) else outputs)


def _map(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {name: function(item) for name, item in value.items()}
    return tuple(function(item) for item in value)

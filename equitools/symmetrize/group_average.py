"""Averages over a whole group: exact for finite groups and for functions of bounded degree, Monte-Carlo otherwise."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from equitools.errors import ConfigError, ShapeError
from equitools.groups import (
    SO,
    FiniteGroup,
    MatrixGroup,
    O,
    finite_group,
    homogeneous_matrices,
    multiplication_table,
    parse_group,
)
from equitools.symmetrize.degenerate import check_finite
from equitools.symmetrize.frame_set import Frames, check_cloud
from equitools.symmetrize.orbit_symmetrize import Estimate
from equitools.symmetrize.quadrature import rotation_quadrature
from equitools.symmetrize.symmetrized import Inputs, Outputs, Symmetrized

__all__ = ["GroupAverage", "symmetric_group"]

_LARGEST_CHECKED = 256  # elements of a table of the caller's whose products are all looked up
_LARGEST_SYMMETRIC = 7


def symmetric_group(n: int) -> Tensor:
    """Return all permutation matrices of n nodes ``[n!, n, n]``, float64, the identity first.

    Raises:
        ConfigError: n is no integer from 1 to 7.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= _LARGEST_SYMMETRIC:
        raise ConfigError(
            f"All permutations are listed for 1 to {_LARGEST_SYMMETRIC} nodes, not for {n!r}. For larger graphs take "
            "permutation_frames."
        )
    eye = torch.eye(n, dtype=torch.float64)
    return torch.stack([eye[list(order)] for order in itertools.permutations(range(n))])


class GroupAverage(Symmetrized):
    """Any network, averaged over a group: ``∫ g f(g⁻¹ x) dg``.

    Three ways: a finite group is summed over, exactly. A continuous one is sampled (``samples``), which is right in
    distribution: every call draws anew, and `estimate` says how far the mean may be off. Or it is integrated by a
    quadrature (``degree``), exactly for networks that are polynomials of at most that degree in the coordinates.

    Args:
        net: Any network, see `Symmetrized`.
        group: A finite group by name (``"C4"``, ``"D4"`` about z, ``"C4(2)"`` in the plane, ``"T"``, ``"O"``, ``"I"``,
            ``"Th"``, ``"Oh"``, ``"Ih"``, or ``"S_4"`` for the permutations of 4 nodes), a `FiniteGroup`, the
            table of one ``[G, d, d]``, or ``"O(d)"``, ``"SO(d)"``, ``"E(d)"``, ``"SE(d)"`` or a group object.
        inputs: Representation of the input, or of each.
        outputs: Representation of the output, or of each.
        samples: Continuous groups: how many elements are drawn from the Haar measure for each cloud.
        degree: Continuous groups of d = 2 or 3, in place of ``samples``: the degree of the network in the coordinates.
            That of the outputs is added.
        centred: Turn about the centroid of the (real) points instead of the origin. E(d) and SE(d) have no finite
            Haar measure; they always are centred, which leaves the average over O(d) or SO(d).
        generator: Source of randomness of ``samples``; it advances with every call. ``None``: torch's own.
        source: Which input the centroid is that of.

    Raises:
        ConfigError: A continuous group without ``samples`` or ``degree`` or with both, or a finite one with either.
        UnknownNameError: The group is not known.
        ShapeError: A table is not square or not closed (looked up to 256 elements; larger ones are trusted).

    Properties:
        equivariance: f(g x) = g f(x) for the elements of a finite group, and for all of a continuous one with
            ``degree`` if the network is a polynomial of that degree.
        projection: a network that is equivariant already is not changed.
        unbiased: the mean over the samples has the group average as its expectation.
        honest_errors: it deviates from that by about the standard error that `estimate` returns.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(15, 1))
        >>> GroupAverage(net, "Oh")(torch.randn(2, 5, 3)).shape
        torch.Size([2, 1])
    """

    def __init__(
        self,
        net: nn.Module | Callable[..., Any],
        group: str | MatrixGroup | FiniteGroup | Tensor,
        inputs: Inputs = "points",
        outputs: Outputs = "scalar",
        *,
        samples: int | None = None,
        degree: int | None = None,
        centred: bool = False,
        generator: torch.Generator | None = None,
        source: int | None = None,
    ) -> None:
        super().__init__(net, inputs, outputs, source)
        self.samples, self.generator = samples, generator
        self.name, table, haar = _parse(group)
        self.centred = centred or haar.euclidean
        if isinstance(group, str) and group.startswith("S_"):
            if self.inputs[self.source].kind not in {"nodes", "edges"}:
                raise ConfigError(
                    f"{group} renumbers nodes: declare inputs as 'nodes' and 'edges', not as coordinates."
                )
        else:
            self.declare(haar)
            self.rigid = table is None or _orthogonal(table)
        weights = None
        if table is not None:
            if samples is not None or degree is not None:
                raise ConfigError(f"{self.name} is finite and summed over exactly: give neither samples nor degree.")
            weights = torch.full((len(table),), 1 / len(table), dtype=torch.float64)
        else:
            _check_continuous(self.name, samples, degree)
            if degree is not None:
                table, weights = rotation_quadrature(haar.n, degree + self.degree, haar.reflections)
        self.linear = O(haar.n) if haar.reflections else SO(haar.n)
        # no buffers: constants are no part of the state, and stay in float64 when the network's dtype changes
        self.table, self.table_weights = table, weights

    def extra_repr(self) -> str:
        """Return the group and how it is averaged over, for ``repr``."""
        size = "" if self.table is None else f", {len(self.table)} elements"
        return self.name + (f", samples={self.samples}" if self.samples is not None else size)

    def frames_of(self, x: Tensor, mask: Tensor | None) -> Frames:
        """Return the elements that clouds are averaged over: a table, or fresh samples for each cloud."""
        return self._elements(x, mask, self.samples)

    def estimate(self, *inputs: Any, mask: Tensor | None = None, samples: int | None = None) -> Estimate:
        """Return the average together with its error bar.

        Args:
            inputs: As for `forward`.
            mask: As for `forward`.
            samples: Number of samples of this call; ``None``: the module's.

        Returns:
            `Estimate`: the mean and its standard error, each with the structure of the output. The error is the
            samples' standard deviation (of values turned back into the frame of the input) over the square root of
            their number, and 0 where the average is exact.

        Raises:
            ConfigError: Fewer than two samples have no standard deviation.
        """
        drawn = self.samples if samples is None else samples
        if self.table is None and (drawn is None or drawn < 2):
            raise ConfigError(f"A standard error needs at least 2 samples, not {drawn}.")
        if len(inputs) != len(self.inputs):
            raise ShapeError(f"{type(self).__name__} was declared with {len(self.inputs)} inputs, given {len(inputs)}.")
        elements, weights = self._elements(inputs[self.source], mask, drawn)
        batch, count = weights.shape
        # each element becomes a cloud of its own, so that its value comes back by itself
        single = Frames(elements.flatten(0, 1).unsqueeze(1), torch.ones_like(weights).reshape(-1, 1))
        spread = [
            value if rep.kind == "shared" else value.repeat_interleave(count, 0)
            for value, rep in zip(inputs, self.inputs, strict=True)
        ]
        values = self.through(single, spread, None if mask is None else mask.repeat_interleave(count, 0))

        def summary(value: Tensor) -> tuple[Tensor, Tensor]:
            value = value.unflatten(0, (batch, count))
            mean = (value * weights.to(value.dtype).reshape(batch, count, *[1] * (value.ndim - 2))).sum(1)
            if self.table is not None:
                return mean, torch.zeros_like(mean)
            return mean, value.std(1) / math.sqrt(count)

        if isinstance(values, Tensor):
            return Estimate(*summary(values))
        if isinstance(values, dict):
            pairs = {name: summary(value) for name, value in values.items()}
            return Estimate({k: pair[0] for k, pair in pairs.items()}, {k: pair[1] for k, pair in pairs.items()})
        listed = [summary(value) for value in values]
        return Estimate(tuple(pair[0] for pair in listed), tuple(pair[1] for pair in listed))

    def _elements(self, x: Tensor, mask: Tensor | None, samples: int | None) -> Frames:
        if self.inputs[self.source].kind == "points":
            check_cloud(x, mask, self.dim)
            check_finite(x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0))
        elif not x.is_floating_point() and self.dim is not None:
            raise ShapeError(f"Floating-point input is needed, given {x.dtype}.")
        if self.table is not None and self.table_weights is not None:
            elements = self.table.to(x).expand(len(x), *self.table.shape)
            weights = self.table_weights.to(x).expand(len(x), -1)
        else:
            count = samples or 1
            elements = self.linear.sample((len(x), count), self.generator).to(x)
            weights = x.new_full((len(x), count), 1 / count)
        return Frames(_about_centroid(elements, x, mask) if self.centred else elements, weights)


def _orthogonal(table: Tensor) -> bool:
    eye = torch.eye(table.shape[-1], dtype=table.dtype)
    return bool(((table @ table.mT - eye).abs() < 1e-12).all())


def _about_centroid(elements: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
    """Homogeneous matrices ``[B, F, d+1, d+1]`` that take a pose about the origin to the input about its centroid."""
    if x.ndim != 3 or x.shape[-1] != elements.shape[-1]:
        raise ShapeError(f"Centred averages need points [B, N, {elements.shape[-1]}], given {list(x.shape)}.")
    there = torch.ones_like(x[..., :1]) if mask is None else mask.unsqueeze(-1).to(x)
    if bool((there.sum(1) == 0).any()):
        raise ShapeError("A cloud needs at least one point to have a centroid. Take empty clouds out of the batch.")
    centre = torch.where(there > 0, x, 0.0).sum(1) / there.sum(1)
    return homogeneous_matrices(elements, centre[:, None])


def _parse(group: str | MatrixGroup | FiniteGroup | Tensor) -> tuple[str, Tensor | None, MatrixGroup]:
    """Return a name, the table of a finite group, and the continuous group (O(d) around a finite one)."""
    if isinstance(group, Tensor):
        if group.ndim != 3 or group.shape[0] == 0 or group.shape[1] != group.shape[2]:
            raise ShapeError(f"A table of group elements [G, d, d] is needed, given {list(group.shape)}.")
        table = group.detach().double()
        if len(table) <= _LARGEST_CHECKED:
            multiplication_table(table)
        return f"a group of {len(table)} elements", table, O(table.shape[-1])
    if isinstance(group, FiniteGroup):
        return group.name, group.matrices, O(group.matrices.shape[-1])
    if isinstance(group, str):
        nodes = re.fullmatch(r"S_(\d+)", group)
        if nodes or re.fullmatch(r"[CD]\d+(\(\d\))?|[IOT]h?", group):
            table = symmetric_group(int(nodes[1])) if nodes else finite_group(group)
            return group, table, O(table.shape[-1])
    found = parse_group(group)
    if not re.fullmatch(r"S?[OE]\(\d+\)", found.name):
        raise ConfigError(f"{found.name} has no finite Haar measure; averages exist for O, SO, E and SE.")
    return found.name, None, found


def _check_continuous(name: str, samples: int | None, degree: int | None) -> None:
    if (samples is None) == (degree is None):
        raise ConfigError(
            f"{name} has infinitely many elements: give samples= (Monte-Carlo) or degree= (a quadrature, exact for "
            "networks that are polynomials of that degree)" + ("." if samples is None else ", not both.")
        )
    if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int) or samples < 1):
        raise ConfigError(f"samples must be an integer of at least 1, not {samples!r}.")

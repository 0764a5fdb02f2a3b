"""Nonlinearities that commute with rotations: gates, and activations of norms; and the plain perceptron of scalars."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from equitools.errors import ConfigError, IrrepsError, ShapeError
from equitools.groups import Irreps
from equitools.groups.admissible import check_admissible
from equitools.groups.representations import Rep
from equitools.nn.layout import check_features
from equitools.ops.activation import scaled_silu
from equitools.ops.precision import full_precision

__all__ = ["MLP", "Gate", "NormActivation", "PointwiseActivation", "second_moment"]

Activation = Callable[[Tensor], Tensor]


@functools.lru_cache(maxsize=32)
def second_moment(activation: Activation) -> float:
    """Return √⟨f(z)²⟩ for a standard normal z (Gauss–Hermite quadrature), by which activations are normalised."""
    nodes = torch.linspace(-12, 12, 48001, dtype=torch.float64)
    density = torch.exp(-nodes.square() / 2) / math.sqrt(2 * math.pi)
    return float(torch.sqrt(torch.trapezoid(activation(nodes).square() * density, nodes)))


def _scaled(activation: Activation, scale: float, x: Tensor) -> Tensor:
    """Return activation(x) · scale, in one pass where that is compiled."""
    return scaled_silu(x, scale) if activation is torch.nn.functional.silu else activation(x) * scale


class MLP(torch.nn.Module):
    """A perceptron of invariants without biases, its activations normalised to unit second moment.

    Without biases and with an activation that vanishes at 0, an input of 0 gives 0: a radial network that is fed an
    enveloped basis vanishes smoothly at the cutoff.

    Args:
        dims: Widths, from the input to the output.
        activation: Applied between the layers, not after the last.
    """

    def __init__(self, dims: Sequence[int], activation: Activation = torch.nn.functional.silu) -> None:
        super().__init__()
        self.dims = tuple(dims)
        self.activation = activation
        self.scale = 1 / second_moment(activation)
        self.weights = torch.nn.ParameterList(
            [torch.nn.Parameter(torch.randn(i, o)) for i, o in zip(self.dims[:-1], self.dims[1:], strict=True)]
        )

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., dims[0]]`` to ``[..., dims[-1]]``."""
        return self.hidden(x) @ self.last_weight()

    @full_precision
    def hidden(self, x: Tensor) -> Tensor:
        """Map ``[..., dims[0]]`` to what enters the last layer, ``[..., dims[-2]]``."""
        for weight in list(self.weights)[:-1]:
            x = _scaled(self.activation, self.scale, x @ (weight / math.sqrt(weight.shape[0])))
        return x

    def last_weight(self) -> Tensor:
        """Return the matrix of the last layer as it is used, ``[dims[-2], dims[-1]]``: forward is hidden @ this."""
        weight = self.weights[len(self.weights) - 1]
        return weight / math.sqrt(weight.shape[0])


class Gate(torch.nn.Module):
    """Scalars through an activation; every other irrep multiplied by the sigmoid of a scalar of its own.

    Args:
        irreps_scalars: Channels of degree 0 that are activated: ``0e`` with any activation, ``0o``, whose sign an
            inversion changes, with an odd one such as tanh only (else they are gated).
        irreps_gated: Irreps that are gated, ``mul_ir``.
        activation: For the scalars.

    Attributes:
        irreps_in: scalars + one ``0e`` for each gated channel + gated.
        irreps_out: scalars + gated.

    Properties:
        equivariance: forward(D_in x) = D_out forward(x).
    """

    def __init__(
        self,
        irreps_scalars: Irreps | str,
        irreps_gated: Irreps | str,
        activation: Activation = torch.nn.functional.silu,
    ) -> None:
        super().__init__()
        self.irreps_scalars, self.irreps_gated = Irreps(irreps_scalars), Irreps(irreps_gated)
        try:
            check_admissible(self.irreps_scalars, activation)
        except ConfigError as error:
            raise IrrepsError(
                f"The scalars of a gate must be 0e, or 0o with an odd activation; '{self.irreps_scalars}' given: gate "
                "the others."
            ) from error
        if any(ir.l > 0 for _, ir in self.irreps_scalars):  # a linear activation would be admissible, and no gate
            raise IrrepsError(
                f"The scalars of a gate must be 0e or 0o, '{self.irreps_scalars}' given; gate the others."
            )
        self.irreps_gates = Irreps([(self.irreps_gated.num_irreps, (0, 1))])
        self.irreps_in = self.irreps_scalars + self.irreps_gates + self.irreps_gated
        self.irreps_out = self.irreps_scalars + self.irreps_gated
        self.activation = activation
        self.scale = 1 / second_moment(activation)
        self.gate_scale = 1 / second_moment(torch.sigmoid)

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., irreps_in.dim]`` to ``[..., irreps_out.dim]``."""
        check_features("x", x, self.irreps_in)
        scalars, gates, gated = x.split([self.irreps_scalars.dim, self.irreps_gates.dim, self.irreps_gated.dim], -1)
        parts = [_scaled(self.activation, self.scale, scalars)]
        gates = torch.sigmoid(gates) * self.gate_scale
        start = 0
        for (mul, ir), piece in zip(self.irreps_gated, self.irreps_gated.slices(), strict=True):
            block = gated[..., piece].unflatten(-1, (mul, ir.dim))
            parts.append((block * gates[..., start : start + mul].unsqueeze(-1)).flatten(-2))
            start += mul
        return torch.cat(parts, -1)


class PointwiseActivation(torch.nn.Module):
    """An activation of each coordinate, where the representation admits it.

    Args:
        rep: How the features transform: a `groups.Rep`, or irreps of O(3).
        activation: Any function of tensors that acts on each entry alone.

    Attributes:
        rep: The representation.
        kind: What `groups.classify_activation` says of the activation, or ``"generic"`` where anything is admitted.

    Raises:
        ConfigError: The activation does not commute with the representation; the message says what to use instead.

    Properties:
        equivariance: forward(ρ(g) x) = ρ(g) forward(x).
    """

    def __init__(self, rep: Rep | Irreps | str, activation: Activation = torch.nn.functional.silu) -> None:
        super().__init__()
        self.rep = rep if isinstance(rep, Rep) else Rep.from_irreps(rep)
        self.kind = check_admissible(self.rep, activation)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., rep.dim]`` to the same shape.

        Raises:
            ShapeError: The last axis is another.
        """
        if x.shape[-1:] != (self.rep.dim,):
            raise ShapeError(f"x must be [..., {self.rep.dim}] for {self.rep.name}, given {list(x.shape)}.")
        return self.activation(x)


class NormActivation(torch.nn.Module):
    """Multiply each channel by a function of its own norm: x ↦ x · f(√(x·x + ε²)).

    ε makes it smooth at 0, where a bare norm has no derivative.

    Args:
        irreps: Irreps of input and output, ``mul_ir``.
        activation: f; a scale between 0 and 1 such as the sigmoid.
        bias: Whether a learned offset for each channel is added to the norm.
        eps: ε.

    Properties:
        equivariance: forward(D x) = D forward(x).
    """

    def __init__(
        self, irreps: Irreps | str, activation: Activation = torch.sigmoid, bias: bool = True, eps: float = 1e-4
    ) -> None:
        super().__init__()
        self.irreps = Irreps(irreps)
        self.activation, self.eps = activation, eps
        self.bias = torch.nn.Parameter(torch.zeros(self.irreps.num_irreps)) if bias else None

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., irreps.dim]`` to the same shape."""
        check_features("x", x, self.irreps)
        parts, start = [], 0
        for (mul, ir), piece in zip(self.irreps, self.irreps.slices(), strict=True):
            block = x[..., piece].unflatten(-1, (mul, ir.dim))
            norm = (block.square().sum(-1) + self.eps**2).sqrt()
            if self.bias is not None:
                norm = norm + self.bias[start : start + mul]
            parts.append((block * self.activation(norm).unsqueeze(-1)).flatten(-2))
            start += mul
        return torch.cat(parts, -1) if parts else x

"""Tables in the place of radial networks, with the error that they make.

The weights of an edge are functions W(r) of its length, hundreds to thousands of them, but a network with K hidden
channels before its last layer has only K that are independent. A singular value decomposition of samples finds them:
W(r) = s(r) U with at most K columns s. The functions s are stored as quintic polynomials between equally spaced nodes,
twice continuously differentiable, exact in value, slope and curvature at the nodes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.models.many_body_mp import ManyBodyMP
from equitools.nn import MLP
from equitools.ops.radial import bessel_basis_reference

__all__ = ["RadialTables", "tabulate"]

_SAMPLES = 1200  # lengths at which the independent functions are found; a few to each wave of the basis
_INTERVALS = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
_DENSE = 8  # points in each interval at which the error is taken


@dataclass(frozen=True)
class RadialTables:
    """The table of one layer.

    Attributes:
        table: float64 [intervals, 6, functions], as the compiled operation reads it: value at the left node, difference
            to the right one, slopes and curvatures left and right in units of an interval.
        weight: float64 [functions, weights]: the edge's weights are functions of the length times this.
        intervals: Number of intervals from 0 to the cutoff.
        functions: R.
        error: Bound of the largest error of a weight, relative to the largest weight.
        slope_error: The same of the derivatives by the length, relative to the largest derivative.

    Errors are evaluated in float64 at the nodes and at seven points between any two. From such a point to the next an
    error grows by no more than the distance times its largest slope. So both bounds add what it can grow in half a
    step: that of the weights by the bound of the slopes, that of the slopes by the largest sampled error of curvatures.
    """

    table: Tensor
    weight: Tensor
    intervals: int
    functions: int
    error: float
    slope_error: float


def _hidden(net: ManyBodyMP, layer: int, r: Tensor, order: int) -> list[Tensor]:
    """Return the hidden layer of a radial network at lengths [n] and its first derivatives: each [n, K], float64."""
    radial: MLP = net.interactions[layer].radial  # type: ignore[assignment]
    with torch.inference_mode(False), torch.enable_grad():
        leaf = r.detach().clone().requires_grad_()
        # In plain torch, because derivatives of high order are taken.
        x = bessel_basis_reference(leaf, net.basis.num, net.basis.cutoff, net.envelope.p, net.config.cutoff**0.5)
        for weight in list(radial.weights)[:-1]:
            x = torch.nn.functional.silu(x @ (weight / math.sqrt(weight.shape[0]))) * radial.scale
        values = [x]
        # Forward mode by the gradient of a gradient: Jacobian times vector.
        for _ in range(order):
            seed = torch.zeros_like(values[-1], requires_grad=True)
            (pulled,) = torch.autograd.grad(values[-1], leaf, seed, create_graph=True)
            (pushed,) = torch.autograd.grad(pulled.sum(), seed, create_graph=True)
            values.append(pushed)
    return [v.detach() for v in values]


def _quintic(nodes: list[Tensor], spacing: float) -> Tensor:
    """Return [intervals, 6, functions] from values, slopes and curvatures at the nodes."""
    value, slope, curvature = nodes[0], nodes[1] * spacing, nodes[2] * spacing**2
    columns = (value[:-1], value[1:] - value[:-1], slope[:-1], slope[1:], curvature[:-1], curvature[1:])
    return torch.stack(columns, 1)


def _evaluate(table: Tensor, place: Tensor, spacing: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the table's functions at ``place`` (in intervals), their slopes and their curvatures: [n, functions]."""
    index = place.long().clamp(0, len(table) - 1)
    s = place - index
    powers = torch.stack([s**k for k in range(6)], 1)
    # rows: 1, left to right, slopes left and right, curvatures left and right, as polynomials in s
    shapes = torch.tensor(
        [
            [1, 0, 0, 0, 0, 0],
            [0, 0, 0, 10, -15, 6],
            [0, 1, 0, -6, 8, -3],
            [0, 0, 0, -4, 7, -3],
            [0, 0, 0.5, -1.5, 1.5, -0.5],
            [0, 0, 0, 0.5, -1, 0.5],
        ],
        dtype=torch.float64,
    )
    rows = table.index_select(0, index)
    results = []
    for order in range(3):
        results.append(torch.einsum("nj,njk->nk", powers @ shapes.T, rows) / spacing**order)
        factors = torch.arange(6, dtype=torch.float64)
        shapes = torch.cat([(shapes * factors)[:, 1:], torch.zeros(6, 1, dtype=torch.float64)], 1)
    return results[0], results[1], results[2]


def tabulate(net: ManyBodyMP, layer: int, tolerance: float) -> RadialTables:
    """Make the table of one layer's radial network.

    Args:
        net: The network.
        layer: Which of its layers.
        tolerance: Largest error of the weights, and of their derivatives, relative to the largest.

    Raises:
        ConfigError: No table of reasonable size reaches the tolerance.
    """
    if not tolerance > 0:
        raise ConfigError(f"The tolerance of the radial tables must be positive, it is {tolerance}.")
    net = copy.deepcopy(net).double().requires_grad_(False)
    cutoff = net.config.cutoff
    last = net.interactions[layer].radial.last_weight()  # type: ignore[union-attr, operator]
    basis, triangle = torch.linalg.qr(last.T)  # last = triangleᵀ basisᵀ, basis with orthonormal columns
    lengths = cutoff * (0.5 - 0.5 * torch.cos(torch.linspace(0, torch.pi, _SAMPLES, dtype=torch.float64)))
    values, slopes = _hidden(net, layer, lengths, 1)
    stacked = torch.cat([values, slopes * cutoff / 10]) @ triangle.T
    _, singular, directions = torch.linalg.svd(stacked, full_matrices=False)
    # Only directions below rounding are dropped: what is cut off errs alike for all edges and adds up in forces.
    functions = max(1, int((singular > singular[0] * 1e-13).sum()))
    chosen = directions[:functions].T
    weight = chosen.T @ basis.T
    best = None
    for intervals in _INTERVALS:
        spacing = cutoff / intervals
        found = _hidden(net, layer, torch.linspace(0, cutoff, intervals + 1, dtype=torch.float64), 2)
        table = _quintic([f @ triangle.T @ chosen for f in found], spacing)

        def exactly(r: Tensor) -> list[Tensor]:
            return [h @ last for h in _hidden(net, layer, r, 2)]

        errors = _errors(table, weight, exactly, spacing)
        best = RadialTables(table, weight, intervals, functions, *errors)
        if max(errors) <= tolerance:
            return best
    assert best is not None  # noqa: S101 - the loop has run
    raise ConfigError(
        f"No table of up to {best.intervals} intervals and {best.functions} functions represents the radial network of "
        f"layer {layer} to {tolerance:g}; the last one had errors of {best.error:.1e} (weights) and "
        f"{best.slope_error:.1e} (their derivatives). Ask for a larger tolerance, or for radial='exact'."
    )


def _errors(
    table: Tensor, weight: Tensor, exactly: Callable[[Tensor], list[Tensor]], spacing: float
) -> tuple[float, float]:
    """Return bounds of the relative errors of all weights and of their derivatives, for every length."""
    largest, wrong = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    places = torch.linspace(0, len(table), len(table) * _DENSE + 1, dtype=torch.float64)
    for piece in places.split(512):  # all at once would take hundreds of megabytes
        found = zip(_evaluate(table, piece, spacing), exactly(piece * spacing), strict=True)
        for order, (made, exact) in enumerate(found):
            largest[order] = torch.maximum(largest[order], exact.abs().max())
            wrong[order] = torch.maximum(wrong[order], (made @ weight - exact).abs().max())
    half = 0.5 * spacing / _DENSE
    tiny = torch.finfo(torch.float64).tiny
    # |e(r)| <= |e(nearest)| + half max |e'|, and the same once more for e'; the error of the curvature is sampled.
    slope = wrong[1] + half * wrong[2]
    value = wrong[0] + half * slope
    return float(value / largest[0].clamp(min=tiny)), float(slope / largest[1].clamp(min=tiny))

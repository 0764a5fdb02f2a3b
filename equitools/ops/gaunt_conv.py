"""The Gaunt product of features with a function that is symmetric about the direction of an edge.

Such a function, ``Σ_l w_l Y_l(r̂)``, is a function of the angle to the edge only. In the frame of the edge it has order
0 only, and multiplies each order of the features by itself: what is left of a product on the sphere is one on a
meridian.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from equitools.errors import ShapeError, UnknownNameError, nearest
from equitools.ops import backend
from equitools.ops.constants import constants
from equitools.ops.gaunt import gaunt_tensor_product
from equitools.ops.precision import full_precision
from equitools.ops.so2 import EdgeFrames, degrees_from_pole, degrees_to_pole, edge_frames
from equitools.ops.sphere_functions import MAX_GAUNT_DEGREE, lmax_of
from equitools.ops.spherical_harmonics import ZERO_LENGTH, spherical_harmonics

__all__ = ["GAUNT_CONVOLUTION_METHODS", "gaunt_convolution", "gaunt_convolution_method"]

#: The ways of computing the product with a function of an edge.
GAUNT_CONVOLUTION_METHODS = ("auto", "pole", "grid")


@full_precision
def gaunt_convolution(
    x: Tensor,
    vectors: Tensor,
    weight: Tensor,
    lmax_out: int | None = None,
    *,
    curl: bool = False,
    method: str = "auto",
    frames: EdgeFrames | None = None,
) -> Tensor:
    """Multiply functions on the sphere with ``Σ_l w_l Y_l(r̂)``, the filter of an edge.

    The same numbers as ``gaunt_tensor_product(x, f)`` with ``f_lm = w_l Y_lm(r̂)``, orthonormal harmonics.

    Args:
        x: ``[E, (L1+1)², C]`` coefficients, float32 or float64.
        vectors: ``[E, 3]``, of any length. One shorter than 1e-12 has no direction: its filter has degree 0 only.
        weight: ``[E, Lf+1, C]``, a number for each degree of the filter; where there is one edge or one channel it
            holds for all.
        lmax_out: Highest degree that is wanted; ``None``: L1.
        curl: ``True``: ``r̂·(∇A × ∇F)`` in place of ``A F``.
        method: ``"pole"``: rotate the edge to the polar axis, multiply each order with a small matrix (a weight for all
            channels) or on Gauss–Legendre rings (weights of each channel), rotate back. ``"grid"``: the product of two
            functions on the whole sphere. ``"auto"``: what `gaunt_convolution_method` says.
        frames: ``edge_frames(vectors, lmax)`` with all orders, lmax at least L1 and lmax_out, where they are at hand.
            Without them ``"pole"`` makes its own.

    Returns:
        ``[E, (lmax_out+1)², C]``.

    Raises:
        ShapeError: The tensors do not fit together, or are in half precision.
        UnknownNameError: There is no such method.

    Properties:
        equals_gaunt_product: the same as `gaunt_tensor_product` with the filter's coefficients, up to rounding.
        equivariance: rotating features and vectors rotates the product; an inversion makes the curl change its sign
            more.
        smooth_everywhere: first and second derivatives by the vectors are finite, at the poles, too, and zero where a
            vector has no direction.

    Source: Luo, Chen and Krishnapriyan, ICLR 2024 (arXiv 2401.10216), section 3.3; for the frame Passaro and Zitnick,
        ICML 2023 (arXiv 2302.03655).
    """
    lmax1 = _check_form(x)
    lmax3 = lmax1 if lmax_out is None else int(lmax_out)
    _check(x, vectors, weight, lmax1, lmax3)
    if method not in GAUNT_CONVOLUTION_METHODS:
        raise UnknownNameError(
            f"There is no method {method!r} of the Gaunt convolution. {nearest(method, GAUNT_CONVOLUTION_METHODS)}"
        )
    lmax2 = weight.shape[1] - 1
    if method == "auto":
        method = gaunt_convolution_method(x)
    if method == "grid":
        degree = torch.arange(lmax2 + 1, device=x.device).repeat_interleave(
            torch.arange(1, 2 * lmax2 + 2, 2, device=x.device), output_size=(lmax2 + 1) ** 2
        )
        harmonics = spherical_harmonics(lmax2, vectors, normalization="integral")
        return gaunt_tensor_product(x, harmonics.unsqueeze(-1) * weight[:, degree], lmax3, curl=curl)
    if frames is None:
        frames = edge_frames(vectors, max(lmax1, lmax3))
    if frames.mmax < min(lmax1, lmax3):
        raise ShapeError(
            f"A Gaunt convolution needs frames with all orders, here up to {min(lmax1, lmax3)}; those given end at "
            f"{frames.mmax}."
        )
    if len(frames.blocks) <= max(lmax1, lmax3):
        raise ShapeError(
            f"A Gaunt convolution needs frames of the degrees of features and product, here up to "
            f"{max(lmax1, lmax3)}; those given end at {len(frames.blocks) - 1}."
        )
    # Without a direction only degree 0 of the filter is left, which is the same in every frame.
    known = vectors.detach().abs().amax(-1) >= ZERO_LENGTH
    weight = torch.cat([weight[:, :1].expand(len(x), -1, -1), weight[:, 1:] * known[:, None, None]], 1)
    multiply = _by_matrices if weight.shape[2] == 1 else _on_rings
    given = _Components(degrees_to_pole(x, frames))
    found = multiply(given, weight, (lmax1, lmax2, lmax3), curl)
    zero = torch.zeros_like(given.rows[0][0])
    degrees = []
    for l in range(lmax3 + 1):
        reach = min(l, frames.mmax)
        rows = [found[m][l - abs(m)] if m in found else zero for m in range(-reach, reach + 1)]
        degrees.append(torch.stack(rows, 1))
    return degrees_from_pole(degrees, frames)


def gaunt_convolution_method(x: Tensor) -> str:
    """Return the method that ``"auto"`` takes for a tensor.

    The compiled grid product reads and writes the features once; the rotations are small products of matrices that
    read and write them several times, in torch's own kernels. So the grid is taken where it is compiled
    (benchmarks/gaunt_crossover.py measures both); where it is not, the frame of the edge, which needs O(L³) operations
    where the grid's products of matrices need O(L⁴).
    """
    return "grid" if backend.active_backend(x) != "reference" else "pole"


def _check_form(x: Tensor) -> int:
    """Return L of ``[E, (L+1)², C]``."""
    if x.ndim != 3:
        raise ShapeError(
            f"x must hold the coefficients of all degrees up to one, [E, (L+1)², C], the tensor given is "
            f"{list(x.shape)}."
        )
    return lmax_of("x", x)


def _check(x: Tensor, vectors: Tensor, weight: Tensor, lmax1: int, lmax3: int) -> None:
    edges, channels = x.shape[0], x.shape[2]
    if vectors.shape != (edges, 3):
        raise ShapeError(f"vectors must be [{edges}, 3] as x has {edges} rows; they are {list(vectors.shape)}.")
    if weight.ndim != 3 or weight.shape[0] not in (1, edges) or weight.shape[2] not in (1, channels):
        raise ShapeError(
            f"weight must be [{edges} or 1, degrees of the filter, {channels} or 1]; it is {list(weight.shape)}."
        )
    for lmax in (lmax1, weight.shape[1] - 1, lmax3):
        if not 0 <= lmax <= MAX_GAUNT_DEGREE:
            raise ShapeError(f"The Gaunt product has degrees 0 to {MAX_GAUNT_DEGREE}, {lmax} was asked for.")
    for name, tensor in (("x", x), ("vectors", vectors), ("weight", weight)):
        if tensor.dtype not in (torch.float32, torch.float64) or tensor.dtype != x.dtype or tensor.device != x.device:
            raise ShapeError(
                "x, vectors and weight must all be float32 or all float64, on one device; x is "
                f"{x.dtype} on {x.device}, {name} is {tensor.dtype} on {tensor.device}."
            )


class _Components:
    """The components of rotated features, one tensor ``[E, C]`` each."""

    def __init__(self, degrees: Sequence[Tensor]) -> None:
        # Taken apart and put together in one step each: the derivative of a slice would be as large as the whole.
        self.rows = [degree.unbind(1) for degree in degrees]

    def of_order(self, m: int) -> list[Tensor]:
        """Return the components m of the degrees l ≥ abs(m)."""
        return [row[len(row) // 2 + m] for row in self.rows[abs(m) :]]


#: Components of the product, by order and by degree from abs(m) on.
_Found = dict[int, tuple[Tensor, ...]]


def _by_matrices(given: _Components, weight: Tensor, degrees: tuple[int, int, int], curl: bool) -> _Found:
    """Multiply with a filter that is one for all channels: for each edge and order one matrix of degrees."""
    lmax1, _, lmax3 = degrees
    orders = min(lmax1, lmax3)
    (table,) = constants("so2_tables", "zonal_matrices", (*degrees, curl), weight.dtype, weight.device)
    sizes = [(lmax3 + 1 - m) * (lmax1 + 1 - m) for m in range(orders + 1)]
    found: _Found = {}
    for m, flat in enumerate((weight.squeeze(2) @ table).split(sizes, 1)):
        matrix = flat.unflatten(1, (lmax3 + 1 - m, lmax1 + 1 - m))
        if m == 0:
            if not curl:  # the curl of what does not depend on the azimuth is zero
                found[0] = torch.bmm(matrix, torch.stack(given.of_order(0), 1)).unbind(1)
            continue
        # Both signs side by side: twice the channels, one product.
        parts = [part for pair in zip(given.of_order(m), given.of_order(-m), strict=True) for part in pair]
        out = torch.bmm(matrix, torch.stack(parts, 1).unflatten(1, (-1, 2)).flatten(2))
        plus, minus = out.unflatten(2, (2, -1)).unbind(2)
        found[m], found[-m] = ((-minus).unbind(1), plus.unbind(1)) if curl else (plus.unbind(1), minus.unbind(1))
    return found


def _on_rings(given: _Components, weight: Tensor, degrees: tuple[int, int, int], curl: bool) -> _Found:
    """Multiply with filters of the channels' own: values on rings of constant angle to the edge, order by order."""
    lmax1, _, lmax3 = degrees
    tables = constants("so2_tables", "rings", (*degrees, curl), weight.dtype, weight.device)
    values = torch.tensordot(tables[0], weight, ([1], [1])).unsqueeze(1)  # [T, 1, E, C]
    found: _Found = {}
    for m in range(1 if curl else 0, min(lmax1, lmax3) + 1):
        synthesis, analysis = tables[2 * m + 1], tables[2 * m + 2]
        signs = (m, -m) if m else (0,)
        # Degrees first: one product of matrices for all edges and channels.
        parts = [part for degree in zip(*(given.of_order(s) for s in signs), strict=True) for part in degree]
        slab = torch.stack(parts).unflatten(0, (-1, len(signs)))  # [degrees, signs, E, C]
        out = torch.tensordot(analysis, torch.tensordot(synthesis, slab, 1) * values, 1).unbind(1)
        if m == 0:
            found[0] = out[0].unbind(0)
        else:
            found[m], found[-m] = (
                ((-out[1]).unbind(0), out[0].unbind(0)) if curl else (out[0].unbind(0), out[1].unbind(0))
            )
    return found

"""The Gaunt tensor product as a layer, with the half that plain Gaunt products do not have."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equitools.errors import IrrepsError, UnknownNameError, nearest
from equitools.groups import Irreps, parse_irreps
from equitools.nn.layout import blocks_of, check_features, check_layout, to_ir_mul, to_mul_ir
from equitools.ops import backend, sphere_tables
from equitools.ops.constants import numbers
from equitools.ops.gaunt import (
    GAUNT_METHODS,
    MAX_GAUNT_DEGREE,
    WEIGHTED_METHODS,
    gaunt_method,
    gaunt_paths,
    gaunt_tensor_product,
)
from equitools.ops.precision import full_precision

__all__ = ["GauntTensorProduct"]


class GauntTensorProduct(torch.nn.Module):
    """Multiply two features channel by channel as functions on the sphere.

    Irreps of parity (−1)^l are coefficients of a function, the others those of a pseudo-function, which changes its
    sign under inversion. Two functions, or two pseudo-functions, give a function; one of each gives a pseudo-function:
    that is the Gaunt product, whose degrees have an even sum. With ``odd="curl"`` the product ``r̂·(∇A × ∇B)`` is
    added, whose degrees have an odd sum and whose parity is the other one.

    Args:
        irreps_in1: Irreps of one multiplicity C, each at most once.
        irreps_in2: The same, of multiplicity C or 1.
        irreps_out: Irreps of multiplicity C; ``None``: all that can come out, of degrees up to the inputs' largest.
        method: As of `gaunt_tensor_product`.
        odd: ``"none"``: plain Gaunt; ``"curl"``: with the odd half.
        layout: Order of the columns, ``"mul_ir"`` or ``"ir_mul"``.
        path_weights: ``False``: a weight for each degree of both inputs and of the output, as published, with every
            method. ``True``: a free one for each path instead, which only the methods ``"dense"`` and ``"sparse"``
            have. With ``odd="curl"`` that is the channelwise Clebsch–Gordan product with all its paths.

    Attributes:
        weight1: ``[irreps of irreps_in1, C]``, a number for each degree and channel, initially 1.
        weight2: The same of irreps_in2.
        weight_out: The same of irreps_out. The weight of a path is the product of its three; it has none of its own.
        path_weight: ``[paths, C]``, initially 1; ``None``, as the other three are, where the others are not.
        paths: The paths as positions ``(in irreps_in1, in irreps_in2, in irreps_out)``, in the order of their weights.

    Raises:
        IrrepsError: The irreps have several multiplicities, or one of irreps_out cannot be reached.
        UnknownNameError: There is no such method or odd half, or the method has no weights of paths.

    Properties:
        methods_agree: one state_dict gives the same with every method.
        path_weights_are_clebsch_gordan: with them, the layer is e3nn's ``uuu`` product with the same paths.
        equivariance: forward(D x, D y) = D forward(x, y), inversions included.
        unit_variance: independent inputs of unit variance give outputs of unit variance, with the initial weights.

    Source: Luo, Chen and Krishnapriyan, ICLR 2024 (arXiv 2401.10216); for the odd half the surface-curl pairing of
        Bochkarev, Lysogorskiy and Drautz (arXiv 2605.15073).
    """

    def __init__(
        self,
        irreps_in1: Irreps | str,
        irreps_in2: Irreps | str,
        irreps_out: Irreps | str | None = None,
        method: str = "auto",
        odd: str = "none",
        layout: str = "mul_ir",
        path_weights: bool = False,
    ) -> None:
        super().__init__()
        if method not in GAUNT_METHODS:
            raise UnknownNameError(
                f"There is no method {method!r} of the Gaunt product. {nearest(method, GAUNT_METHODS)}"
            )
        if odd not in ("none", "curl"):
            raise UnknownNameError(f"odd must be 'none' or 'curl', not {odd!r}.")
        if odd == "curl" and method == "fourier":
            raise UnknownNameError("The Fourier method has no odd half: take method='grid', 'sparse' or 'dense'.")
        if path_weights and method not in ("auto", *WEIGHTED_METHODS):
            raise UnknownNameError(
                f"The method {method!r} has no weights of paths: it computes all paths at once. Those that have are "
                "method='sparse' and method='dense' (or 'auto')."
            )
        self.method, self.odd, self.layout = method, odd, check_layout(layout)
        self.irreps_in1, self.irreps_in2 = parse_irreps(irreps_in1), parse_irreps(irreps_in2)
        self.channels = common_multiplicity("irreps_in1", self.irreps_in1)
        second = common_multiplicity("irreps_in2", self.irreps_in2)
        if second not in (self.channels, 1):
            raise IrrepsError(
                f"irreps_in2 must have the multiplicity of irreps_in1, {self.channels}, or 1; it has {second}. Mix the "
                "channels with a Linear first."
            )
        reached = _reached(self.irreps_in1, self.irreps_in2, odd == "curl")
        if irreps_out is None:
            highest = max(ir.l for irreps in (self.irreps_in1, self.irreps_in2) for _, ir in irreps)
            found = sorted((l, -kind) for l, kind in reached if l <= highest)
            irreps_out = "+".join(f"{self.channels}x{l}{parity_of(l, -kind)}" for l, kind in found)
        self.irreps_out = parse_irreps(irreps_out)
        if common_multiplicity("irreps_out", self.irreps_out) != self.channels:
            raise IrrepsError(f"irreps_out must have the multiplicity {self.channels}, it is '{self.irreps_out}'.")
        for _, ir in self.irreps_out:
            if (ir.l, kind_of(ir)) not in reached:
                other = (
                    ""
                    if odd == "curl" or (ir.l, kind_of(ir)) not in _reached(self.irreps_in1, self.irreps_in2, True)
                    else " The odd half reaches it: odd='curl'."
                )
                raise IrrepsError(
                    f"Gaunt products of '{self.irreps_in1}' and '{self.irreps_in2}' do not reach {ir}.{other}"
                )
        self._functions = [Functions(irreps) for irreps in (self.irreps_in1, self.irreps_in2, self.irreps_out)]
        self._blocks = [blocks_of(irreps) for irreps in (self.irreps_in1, self.irreps_in2, self.irreps_out)]
        self.weight1: Tensor | None
        self.weight2: Tensor | None
        self.weight_out: Tensor | None
        self.path_weight: Tensor | None
        sizes = {
            "weight1": (len(self.irreps_in1), self.channels),
            "weight2": (len(self.irreps_in2), second),
            "weight_out": (len(self.irreps_out), self.channels),
        }
        for name, size in sizes.items():
            self.register_parameter(name, None if path_weights else torch.nn.Parameter(torch.ones(size)))
        #: Kind of both inputs, whether the curl, and the degrees, of each product that is made.
        self._products = self._find_products()
        self.paths: list[tuple[int, int, int]] = []
        rows = self._number_paths()
        ones = torch.nn.Parameter(torch.ones(len(self.paths), self.channels)) if path_weights else None
        self.register_parameter("path_weight", ones)
        for k, places in enumerate(rows if path_weights else []):
            self.register_buffer(f"_rows{k}", torch.tensor(places, dtype=torch.int64), persistent=False)
        self.scale = tuple(self._scales())

    def _find_products(self) -> list[tuple[int, int, bool, tuple[int, int, int]]]:
        first, second, out = (functions.highest for functions in self._functions)
        return [
            (a, b, curl, (first[a], second[b], out[-a * b if curl else a * b]))
            for a in first
            for b in second
            for curl in ((False, True) if self.odd == "curl" else (False,))
            if (-a * b if curl else a * b) in out
        ]

    def _number_paths(self) -> list[list[int]]:
        """Find the paths; return, for each product, which weight each of its paths takes.

        A product has paths of degrees that the irreps do not have. Nothing comes of them, and they take any weight.
        """
        places = [{block: k for k, block in enumerate(functions.blocks)} for functions in self._functions]
        rows: list[list[int]] = []
        for a, b, curl, degrees in self._products:
            rows.append([])
            for l1, l2, l3 in gaunt_paths(*degrees, curl):
                keys = ((l1, a), (l2, b), (l3, -a * b if curl else a * b))
                there = all(key in known for key, known in zip(keys, places, strict=True))
                rows[-1].append(len(self.paths) if there else 0)
                if there:
                    i, j, k = (known[key] for key, known in zip(keys, places, strict=True))
                    self.paths.append((i, j, k))
        return rows

    def _scales(self) -> list[float]:
        """Return, for each irrep of the output, what gives it unit variance."""
        scales = []
        for _, out in self.irreps_out:
            variance = 0.0
            for _, a in self.irreps_in1:
                for _, b in self.irreps_in2:
                    curl = kind_of(a) * kind_of(b) != kind_of(out)
                    if (a.l + b.l + out.l) % 2 == int(curl) and (not curl or self.odd == "curl"):
                        variance += sphere_tables.reduced(a.l, b.l, out.l) ** 2 / (2 * out.l + 1)
            scales.append(1 / math.sqrt(variance))
        return scales

    @full_precision
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Multiply.

        Args:
            x: ``[..., irreps_in1.dim]``.
            y: ``[..., irreps_in2.dim]``.

        Returns:
            ``[..., irreps_out.dim]``.

        Raises:
            ShapeError: A shape, dtype or device does not fit.
        """
        like = self.weight1 if self.path_weight is None else self.path_weight
        check_features("x", x, self.irreps_in1, like, self._blocks[0])
        check_features("y", y, self.irreps_in2, like, self._blocks[1])
        if self.layout == "mul_ir":
            x, y = to_ir_mul(x, self._blocks[0]), to_ir_mul(y, self._blocks[1])
        first = self._functions[0].coefficients(x, self.weight1)
        second = self._functions[1].coefficients(y, self.weight2)
        products: dict[int, Tensor] = {}
        for number, (a, b, curl, degrees) in enumerate(self._products):
            weight = None
            if self.path_weight is not None:
                weight = self.path_weight.index_select(0, getattr(self, f"_rows{number}"))
            term = gaunt_tensor_product(
                first[a], second[b], degrees[2], curl=curl, method=self.method, path_weight=weight
            )
            kind = -a * b if curl else a * b
            products[kind] = products[kind] + term if kind in products else term
        scale = numbers(self.scale, x).unsqueeze(-1)
        out = self._functions[2].columns(products, scale if self.weight_out is None else self.weight_out * scale)
        return out if self.layout == "ir_mul" else to_mul_ir(out, self._blocks[2])

    def methods(self, rows: int = 1000, device: torch.device | str = "cpu") -> tuple[str, ...]:
        """Return the methods that ``forward`` takes for so many rows, one for each product that it makes.

        Args:
            rows: Number of rows.
            device: Of the features.
        """
        if self.method != "auto":
            return (self.method,) * len(self._products)
        if self.path_weight is not None:
            return ("sparse",) * len(self._products)
        found = [gaunt_method(*degrees, self.channels, rows, device, curl) for _, _, curl, degrees in self._products]
        compiled = backend.compiled_on(device)
        return tuple("grid" if method == "sparse" and not compiled else method for method in found)

    def extra_repr(self) -> str:
        """Return what the module's line in a printed model says."""
        taken = "/".join(dict.fromkeys(self.methods()))
        method = f"auto ({taken} for 1000 rows on cpu)" if self.method == "auto" else self.method
        weights = "" if self.path_weight is None else f", {len(self.paths)} path weights"
        return f"'{self.irreps_in1}' ⊗ '{self.irreps_in2}' → '{self.irreps_out}', {method}, odd={self.odd}{weights}"


class Functions:
    """Irreps as coefficients of a function (kind 1) and a pseudo-function (kind −1)."""

    def __init__(self, irreps: Irreps) -> None:
        self.blocks = [(int(ir.l), kind_of(ir)) for _, ir in irreps]
        self.channels = int(irreps[0].mul)
        #: Highest degree of each kind that is there.
        self.highest = {kind: max(l for l, k in self.blocks if k == kind) for kind in {k for _, k in self.blocks}}

    def coefficients(self, x: Tensor, weight: Tensor | None) -> dict[int, Tensor]:
        """Return ``[..., (L+1)², C]`` of each kind; degrees that are not there are zero."""
        parts = x.split([(2 * l + 1) * self.channels for l, _ in self.blocks], -1)
        found = {}
        for kind, lmax in self.highest.items():
            rows = []
            for degree in range(lmax + 1):
                if (degree, kind) in self.blocks:
                    k = self.blocks.index((degree, kind))
                    part = parts[k].unflatten(-1, (2 * degree + 1, self.channels))
                    rows.append(part if weight is None else part * weight[k])
                else:
                    rows.append(x.new_zeros(*x.shape[:-1], 2 * degree + 1, self.channels))
            found[kind] = torch.cat(rows, -2)
        return found

    def columns(self, coefficients: dict[int, Tensor], weight: Tensor) -> Tensor:
        """Return the columns of the irreps."""
        return torch.cat(
            [
                (coefficients[kind][..., l * l : (l + 1) ** 2, :] * weight[k]).flatten(-2)
                for k, (l, kind) in enumerate(self.blocks)
            ],
            -1,
        )


def kind_of(ir: object) -> int:
    """Return 1 for an irrep that belongs to a function (parity (−1)^l), −1 for one of a pseudo-function."""
    return int(ir.p) * (-1) ** int(ir.l)  # type: ignore[attr-defined]


def parity_of(l: int, kind: int) -> str:
    """Return the parity of degree l of a function (kind 1) or a pseudo-function (−1), ``"e"`` or ``"o"``."""
    return "e" if kind * (-1) ** l > 0 else "o"


def common_multiplicity(name: str, irreps: Irreps) -> int:
    """Return the multiplicity that all irreps have."""
    found = {int(mul) for mul, _ in irreps}
    kinds = [(int(ir.l), int(ir.p)) for _, ir in irreps]
    if len(found) != 1 or 0 in found or len(set(kinds)) < len(kinds):
        raise IrrepsError(
            f"{name} of a Gaunt product must have one multiplicity for all irreps, each irrep once, such as "
            f"'8x0e + 8x1o + 8x2e'; it is '{irreps}'."
        )
    if max(l for l, _ in kinds) > MAX_GAUNT_DEGREE:
        raise IrrepsError(f"Gaunt products have degrees up to {MAX_GAUNT_DEGREE}; {name} is '{irreps}'.")
    return found.pop()


def _reached(first: Irreps, second: Irreps, curl: bool) -> set[tuple[int, int]]:
    """Return degree and kind of all that a product reaches."""
    found = set()
    for _, a in first:
        for _, b in second:
            for l in range(abs(a.l - b.l), min(a.l + b.l, MAX_GAUNT_DEGREE) + 1):
                kind = kind_of(a) * kind_of(b)
                if (a.l + b.l + l) % 2 == 0:
                    found.add((l, kind))
                elif curl:
                    found.add((l, -kind))
    return found

"""The inputs of every problem, from a seed, with numpy alone: each worker makes the same numbers by itself.

Arrays are float32 numbers (float64 where a problem asks for it later, by widening), node features in e3nn's order of
columns ("mul_ir"); each side converts them to its own layout before the clock starts.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

Array = np.ndarray
Irreps = list[tuple[int, int, int]]  # (multiplicity, degree, parity)


def mul_ir_to_ir_mul(array: Array, irreps: Irreps) -> Array:
    """Reorder the columns of ``[rows, Σ mul (2l+1)]`` block by block, channels innermost."""
    return _reorder(array, irreps, channels_first=True)


def ir_mul_to_mul_ir(array: Array, irreps: Irreps) -> Array:
    """Undo `mul_ir_to_ir_mul`."""
    return _reorder(array, irreps, channels_first=False)


def _reorder(array: Array, irreps: Irreps, channels_first: bool) -> Array:
    blocks, start = [], 0
    for mul, degree, _ in irreps:
        dim = 2 * degree + 1
        shape = (len(array), mul, dim) if channels_first else (len(array), dim, mul)
        blocks.append(array[:, start : start + mul * dim].reshape(shape).swapaxes(1, 2).reshape(len(array), -1))
        start += mul * dim
    return np.ascontiguousarray(np.concatenate(blocks, 1))


def parse(irreps: str) -> Irreps:
    """Read ``"128x0e+128x1o"``."""
    found = []
    for part in irreps.replace(" ", "").split("+"):
        mul, _, name = part.rpartition("x")
        found.append((int(mul or 1), int(name[:-1]), 1 if name[-1] == "e" else -1))
    return found


def dimension(irreps: str) -> int:
    """Return Σ mul (2l+1)."""
    return sum(mul * (2 * degree + 1) for mul, degree, _ in parse(irreps))


def _normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape, dtype=np.float32)


def graph(rng: np.random.Generator, nodes: int, edges: int) -> Array:
    """Return ``[2, edges]`` random senders and receivers, sorted by receiver."""
    receivers = np.sort(rng.integers(0, nodes, edges))
    return np.stack([rng.integers(0, nodes, edges), receivers]).astype(np.int64)


def convolution(case: dict[str, Any], rng: np.random.Generator) -> dict[str, Array]:
    """Node features, edge attributes, weights (or radial features and their last layer), edges, a cotangent."""
    nodes, edges = case["nodes"], case["edges"]
    arrays = {
        "edge_index": graph(rng, nodes, edges),
        "x": _normal(rng, nodes, dimension(case["irreps_in"])),
        "edge_attr": _normal(rng, edges, dimension(case["irreps_edge"])),
        "cotangent": _normal(rng, nodes, dimension(case["irreps_mid"])),
    }
    if case["kind"] == "radial":
        hidden = case["hidden"]
        arrays["hidden"] = _normal(rng, edges, hidden)
        arrays["weight"] = _normal(rng, hidden, case["weight_numel"]) / np.float32(hidden**0.5)
    else:
        arrays["weight"] = _normal(rng, edges, case["weight_numel"])
    return arrays


def harmonics(case: dict[str, Any], rng: np.random.Generator) -> dict[str, Array]:
    """Vectors of lengths around 2, and a cotangent."""
    vectors = _normal(rng, case["vectors"], 3)
    vectors *= rng.uniform(0.8, 4.0, (len(vectors), 1)).astype(np.float32) / np.linalg.norm(vectors, axis=1)[:, None]
    return {"vectors": vectors, "cotangent": _normal(rng, case["vectors"], (case["lmax"] + 1) ** 2)}


def contraction(case: dict[str, Any], rng: np.random.Generator) -> dict[str, Array]:
    """Features ``[nodes, channels, components]``, species, a cotangent; the weights travel in a file."""
    nodes, channels = case["nodes"], case["channels"]
    components = dimension(case["irreps_in"])
    return {
        "x": _normal(rng, nodes, channels, components),
        "species": rng.integers(0, case["species"], nodes).astype(np.int64),
        "cotangent": _normal(rng, nodes, channels * dimension(case["irreps_out"])),
    }


def gaunt(case: dict[str, Any], rng: np.random.Generator) -> dict[str, Array]:
    """Two features with all degrees, and a cotangent."""
    columns = dimension(case["irreps"])
    return {name: _normal(rng, case["rows"], columns) for name in ("x", "y", "cotangent")}


MAKERS = {"conv": convolution, "radial": convolution, "sh": harmonics, "contraction": contraction, "gaunt": gaunt}


def make(case: dict[str, Any]) -> dict[str, Array]:
    """Make the inputs of a case; a case with ``"file"`` has (further) arrays there."""
    arrays = MAKERS[case["kind"]](case, np.random.default_rng(case["seed"])) if case["kind"] in MAKERS else {}
    if case.get("file"):
        with np.load(case["file"]) as stored:
            arrays.update({name: stored[name] for name in stored.files})
    return arrays


def checksum(arrays: dict[str, Array]) -> int:
    """Return a number that differs where two sides do not have the same inputs."""
    value = 0
    for name in sorted(arrays):
        value = zlib.crc32(np.ascontiguousarray(arrays[name]).view(np.uint8).reshape(-1), value)
    return value

"""Operations and bytes of the channelwise convolution: what a perfect kernel does, by the formulas of its design.

For paths (l1, l2, l3) of C channels, with N13 pairs (m1, m3) that some m2 couples, S3 = Σ (2l3 + 1), d1 and d2 the
components of features and edge attributes, nnz the coupling coefficients that are not zero and B the bytes of a number,
an edge costs at least

    forward:  (2 N13 + S3) C + 2 nnz operations,  B (P C + d1 C + d2) bytes
    backward: (6 N13 + 3 S3) C operations,        B (2 P C + 2 d1 C + 2 d2) bytes

where features are gathered and sums are kept on chip. A gathered feature counts for every edge, although some are still
in a cache. What all arrays take, each once, is the footprint: where half of the last-level cache holds it, the cache's
bandwidth is the limit and not the memory's.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from benchmarks.side_by_side.problems import parse
from equitools.groups import clebsch_gordan
from equitools.ops.plan import TensorProductPlan


def plan_of(case: dict[str, Any]) -> TensorProductPlan:
    """Return the plan of a convolution."""
    return TensorProductPlan(case["irreps_in"], case["irreps_edge"], case["irreps_out"])


def complete(case: dict[str, Any]) -> dict[str, Any]:
    """Return a convolution's case with what follows from its irreps."""
    plan = plan_of(case)
    return {
        **case,
        "irreps_mid": str(plan.irreps_out),
        "weight_numel": plan.weight_numel,
        "paths": len(plan.paths),
        "path_order": list(plan.order),
    }


def couplings(case: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the coupling tensors ``coupling_l1_l2_l3`` of all degrees that the irreps of a convolution can meet."""
    firsts, seconds, thirds = (
        sorted({degree for _, degree, _ in parse(case[name])}) for name in ("irreps_in", "irreps_edge", "irreps_out")
    )
    return {
        f"coupling_{l1}_{l2}_{l3}": clebsch_gordan(l1, l2, l3).numpy() * (2 * l3 + 1) ** 0.5
        for l1, l2, l3 in itertools.product(firsts, seconds, thirds)
        if abs(l1 - l2) <= l3 <= l1 + l2
    }


def floor_counts(case: dict[str, Any], size: int = 4) -> dict[str, dict[str, float]]:
    """Return operations and bytes of forward and backward, for all edges."""
    plan = plan_of(case)
    channels = plan.irreps_in[0].mul
    pairs = coefficients = rows = 0
    for index, path in enumerate(plan.paths):
        nonzero = plan.coupling(index).abs() > 1e-12
        pairs += int(nonzero.any(1).sum())
        coefficients += int(nonzero.sum())
        rows += path.irrep.dim
    d1 = sum(ir.dim for _, ir in plan.irreps_in)
    weights = len(plan.paths) * channels
    operations, streamed = 0, weights
    if case["kind"] == "radial":  # the weights are made on chip: one more matrix product, and its two in the backward
        operations, streamed = 2 * case["hidden"] * weights, case["hidden"]
    moved = streamed + d1 * channels + plan.irreps_edge.dim
    edges = case["edges"]
    forward = {
        "flop": edges * ((2 * pairs + rows) * channels + 2 * coefficients + operations),
        "bytes": edges * size * moved,
        "footprint": size * (edges * (streamed + plan.irreps_edge.dim) + case["nodes"] * (rows + d1) * channels),
    }
    backward = {
        # with a radial layer the weights are made once more
        "flop": edges * ((6 * pairs + 3 * rows) * channels + 3 * operations),
        "bytes": edges * size * 2 * moved,
        "footprint": size
        * (2 * edges * (streamed + plan.irreps_edge.dim) + case["nodes"] * (rows + 2 * d1) * channels),
    }
    return {"forward": forward, "backward": backward}


def harmonics_counts(case: dict[str, Any], size: int = 4) -> dict[str, dict[str, float]]:
    """Return the bytes of values, and of values with a vector–Jacobian product; the few operations are not counted."""
    values = (case["lmax"] + 1) ** 2
    moved = {"forward": 3 + values, "forward_backward": 9 + 2 * values}
    whole = {task: float(case["vectors"] * size * numbers) for task, numbers in moved.items()}
    return {task: {"flop": 0.0, "bytes": count, "footprint": count} for task, count in whole.items()}


def against_roofline(counts: dict[str, float], milliseconds: float, machine: dict[str, float]) -> dict[str, Any]:
    """Return rates, which limit binds, which fraction of it is reached, and whether that can be.

    Args:
        counts: ``flop``, ``bytes`` and, where it is known, ``footprint``.
        milliseconds: Time that it took.
        machine: What `machine.limits` measured with the same number of threads.
    """
    seconds = milliseconds / 1e3
    cached = counts.get("footprint", float("inf")) < 0.5e6 * machine.get("cache_mb", 0.0)
    by_work = counts["flop"] / machine["gflops"] / 1e9
    by_bytes = counts["bytes"] / (machine["cached_gbs"] if cached else machine["gbs"]) / 1e9
    fraction = max(by_work, by_bytes) / seconds
    return {
        "gflops": counts["flop"] / seconds / 1e9,
        "gbs": counts["bytes"] / seconds / 1e9,
        "binding": "operations" if by_work > by_bytes else "cache" if cached else "memory",
        "fraction": fraction,
        # nothing reaches more than all of a limit: then other work disturbed its measurement
        "credible": fraction <= 1.0,
    }

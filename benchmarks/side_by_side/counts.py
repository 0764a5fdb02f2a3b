"""Operations and bytes of the channelwise convolution: what a perfect kernel does, by the formulas of its design.

For paths (l1, l2, l3) of C channels, with N13 pairs (m1, m3) that some m2 couples, S3 = Σ (2l3 + 1), d1 and d2 the
components of features and edge attributes, nnz the coupling coefficients that are not zero and B the bytes of a number,
an edge costs at least

    forward:  (2 N13 + S3) C + 2 nnz operations,  B (P C + d1 C + d2) bytes
    backward: (6 N13 + 3 S3) C operations,        B (2 P C + 2 d1 C + 2 d2) bytes

where features are gathered and sums are kept on chip.
"""

from __future__ import annotations

from typing import Any

from equitools.ops.plan import TensorProductPlan


def plan_of(case: dict[str, Any]) -> TensorProductPlan:
    """Return the plan of a convolution."""
    return TensorProductPlan(case["irreps_in"], case["irreps_edge"], case["irreps_out"])


def complete(case: dict[str, Any]) -> dict[str, Any]:
    """Return a convolution's case with what follows from its irreps."""
    plan = plan_of(case)
    return {**case, "irreps_mid": str(plan.irreps_out), "weight_numel": plan.weight_numel, "paths": len(plan.paths)}


def floor_counts(case: dict[str, Any], size: int = 4) -> dict[str, dict[str, float]]:
    """Return operations and bytes of forward and backward, for all edges."""
    plan = plan_of(case)
    channels = plan.irreps_in[0].mul
    pairs = coefficients = rows = 0
    for index, path in enumerate(plan.paths):
        tensor = plan.coupling(index)
        pairs += int((tensor.abs() > 1e-12).any(1).sum())
        coefficients += int((tensor.abs() > 1e-12).sum())
        rows += path.irrep.dim
    d1 = sum(ir.dim for _, ir in plan.irreps_in)
    d2, weights = plan.irreps_edge.dim, len(plan.paths) * channels
    edges = case["edges"]
    forward = {
        "flop": edges * ((2 * pairs + rows) * channels + 2 * coefficients),
        "bytes": edges * size * (weights + d1 * channels + d2),
    }
    backward = {
        "flop": edges * (6 * pairs + 3 * rows) * channels,
        "bytes": edges * size * 2 * (weights + d1 * channels + d2),
    }
    both = {key: forward[key] + backward[key] for key in forward}
    return {"forward": forward, "backward": backward, "forward_backward": both}


def against_roofline(counts: dict[str, float], milliseconds: float, machine: dict[str, float]) -> dict[str, Any]:
    """Return rates, which limit binds, and which fraction of it is reached.

    Args:
        counts: ``flop`` and ``bytes``.
        milliseconds: Time that it took.
        machine: ``gflops`` and ``gbs`` that were measured with the same number of threads.
    """
    seconds = milliseconds / 1e3
    by_work, by_bytes = counts["flop"] / machine["gflops"] / 1e9, counts["bytes"] / machine["gbs"] / 1e9
    return {
        "gflops": counts["flop"] / seconds / 1e9,
        "gbs": counts["bytes"] / seconds / 1e9,
        "binding": "operations" if by_work > by_bytes else "memory",
        "fraction": max(by_work, by_bytes) / seconds,
    }

"""The fastest methods of Gaunt products, which benchmarks/gaunt_crossover.py measured and wrote here.

A letter for each degree 0, 1, 2, …, of both factors and of the product: d(ense), s(parse), f(ourier), g(rid); forward
and backward together, float32. Measured on AMD EPYC, 2026-11-21.
"""

from __future__ import annotations

from typing import Any

__all__ = ["MEASURED"]

MEASURED: dict[str, dict[str, Any]] = {
    "cpu": {
        "channels": (1, 8, 32, 128),
        "rows": (1, 32, 1000, 10000),
        "plain": (
            ("dgggggggggg", "dgggggggggg", "dgggggggggg", "dssgggggggg"),
            ("dgggggggggg", "dgggggggggg", "dgggggggggg", "dgsssgggggg"),
            ("dgggggggggg", "dgggggggggg", "dgsgggggggg", "dsssgsggggg"),
            ("dgggggggggg", "dgggggggggg", "dssssgggggg", "ssssssggggg"),
        ),
        "curl": (
            ("ddddggggggg", "dgggggggggg", "dsggsgggggg", "dsssssssggg"),
            ("dgggggggggg", "dgggggggggg", "dssssssssgg", "dsssssssggg"),
            ("dgggggggggg", "dgggsgggggg", "dssssssssgg", "dssssssssgg"),
            ("dgggggggggg", "dsssggggggg", "dssssssssgg", "dssssssssgg"),
        ),
    },
}

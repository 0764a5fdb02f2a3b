"""Which way of multiplying functions on the sphere is the fastest: looked up in what was measured.

The measured tables are `equitools.ops.gaunt_measured`, which benchmarks/gaunt_crossover.py writes.
"""

from __future__ import annotations

from equitools.ops.gaunt_measured import MEASURED

__all__ = ["fastest"]

_NAMES = {"d": "dense", "s": "sparse", "f": "fourier", "g": "grid"}


def _nearest(value: int, known: tuple[int, ...]) -> int:
    """Return the place of the nearest of ascending numbers, by ratio."""
    place = 0
    while place + 1 < len(known) and value * value > known[place] * known[place + 1]:
        place += 1
    return place


def fastest(degree: float, channels: int, rows: int, device: str, curl: bool) -> str:
    """Return the method that was the fastest in the nearest case.

    Args:
        degree: Of both factors and the product; the mean where they differ.
        channels: Number of channels.
        rows: Number of rows.
        device: Type of device; where nothing was measured on it, what was on the CPU.
        curl: Whether of the curl product.

    Properties:
        follows_the_table: each measured case gives its own entry, others that of the nearest by ratio.
    """
    table = MEASURED.get(device, MEASURED["cpu"])
    letters = table["curl" if curl else "plain"]
    line = letters[_nearest(channels, table["channels"])][_nearest(rows, table["rows"])]
    return _NAMES[line[min(int(degree + 0.5), len(line) - 1)]]

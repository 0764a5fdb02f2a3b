"""The adapted classifier as Markdown: every number is from the result file."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.products.origin import origin
from benchmarks.side_by_side.report import number

__all__ = ["page"]

WHAT = {
    "original": "the classifier, trained on upright clouds",
    "augmentation": "trained from the beginning on clouds turned at random, as many epochs as the others have in all",
    "frames": "the original, averaged over its principal frames",
    "frames, tuned": "trained further on random principal frames, then averaged over all",
    "confidence": "the original in that pose of principal axes that it is most sure of; nothing is trained",
    "vectors": "learned vectors and Gram–Schmidt, identity prior; the classifier frozen",
    "vectors, tuned": "the same, the classifier trained with it",
    "poses": "a learned choice among the poses of principal axes, by the identity prior; the classifier frozen",
    "poses, tuned": "the same, the classifier trained further behind it",
}


def _spread(values: list[float]) -> str:
    middle = f"{statistics.fmean(values):.1f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.1f} – {max(values):.1f})"


def page(table: dict[str, Any] | None) -> str:
    """Return the table of ways to adapt, with the picture.

    Args:
        table: The result file, or None.
    """
    if table is None or not table["result"]["rows"]:
        return "There are no results of this version yet: `benchmarks/adaptation.py` measures and writes them.\n"
    result = table["result"]
    protocol, rows = result["protocol"], result["rows"]
    lines = ["| | upright, % | turned, % | left as they are, % | CPU seconds | |", "|---|---|---|---|---|---|"]
    for way, what in WHAT.items():
        of_way = [row for row in rows if row["way"] == way]
        if not of_way:
            continue
        shares = [row["identity"] for row in of_way if "identity" in row]
        lines.append(
            f"| {way} | {_spread([row['upright'] for row in of_way])} | {_spread([row['turned'] for row in of_way])} "
            f"| {_spread(shares) if shares else '–'} "
            f"| {number(statistics.fmean(row['cpu_seconds'] for row in of_way))} | {what} |"
        )
    seeds = len({row["seed"] for row in rows})
    return "\n\n".join([
        "\n".join(lines),
        f"{protocol['train']:,} clouds for training and {protocol['test']:,} for testing, {protocol['points']} points "
        f"each with a noise of {protocol['noise']} of the radius, {len(protocol['classes'])} kinds of solids; "
        f"{protocol['pretrain']} epochs of first training and {protocol['adapt']} of adaptation (a choice among poses "
        f"is learned in {protocol['choose']} before). {'One seed' if seeds == 1 else f'{seeds} seeds: mean (range)'}. "
        "*Left as they are*: upright test clouds that the canonicalizer turns by less than 20°. Time is that of a "
        "training, on one thread of a machine that did other work, too.",
        "![The solids, and the accuracy of each way](images/adaptation.png)",
        origin(table),
    ]) + "\n"  # fmt: skip

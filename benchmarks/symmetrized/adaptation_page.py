"""The adapted classifier as Markdown: every number is from the result files."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

from benchmarks.products.origin import origin
from benchmarks.side_by_side.report import number

__all__ = ["choice", "page"]

WHAT = {
    "original": "the classifier, trained on upright clouds",
    "augmentation": "trained from the beginning on clouds turned at random, as many epochs as the last row in all",
    "frames": "the original, averaged over its principal frames; nothing is trained",
    "adapted": "learned vectors and Gram–Schmidt in front, trained together with the classifier, identity prior",
}
#: By how much turned clouds may be told worse than upright ones.
TARGET = 2.0


def _spread(values: list[float]) -> str:
    middle = f"{statistics.fmean(values):.1f}"
    return middle if len(values) == 1 else f"{middle} ± {statistics.stdev(values):.1f}"


def page(table: dict[str, Any] | None) -> str:
    """Return the table of ways to become independent of rotations, with the picture.

    Args:
        table: The result file, or None.
    """
    if table is None or not table["result"]["rows"]:
        return "There are no results of this version yet: `benchmarks/adaptation.py` measures and writes them.\n"
    result = table["result"]
    protocol, rows = result["protocol"], result["rows"]
    of_way: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        of_way[row["way"]].append(row)
    before = {row["seed"]: row["upright"] for row in of_way["original"]}
    lost = {way: [before[r["seed"]] - r["turned"] for r in part if r["seed"] in before] for way, part in of_way.items()}
    lines = [
        "| | upright, % | turned, % | original upright − turned | CPU seconds | |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {way} | {_spread([row['upright'] for row in of_way[way]])} "
        f"| {_spread([row['turned'] for row in of_way[way]])} | {_spread(lost[way])} "
        f"| {number(statistics.fmean(row['cpu_seconds'] for row in of_way[way]))} | {what} |"
        for way, what in WHAT.items()
        if of_way[way]
    ]
    seeds = sorted({row["seed"] for row in rows})
    parts = [
        "\n".join(lines),
        f"{protocol['train']:,} clouds for training and {protocol['held']:,} for testing, {protocol['points']} points "
        f"each with a noise of {protocol['noise']} of the radius, {len(protocol['classes'])} kinds of solids "
        f"({', '.join(name.replace('_', ' ') for name in protocol['classes'])}); {protocol['pretrain']} epochs of "
        f"first training and {protocol['adapt']} of adaptation. Seeds {', '.join(map(str, seeds))}, which nothing was "
        "chosen by: mean ± standard deviation. Time is that of a training, on one thread of a machine that did other "
        "work, too.",
    ]
    if of_way["adapted"]:
        parts.append(_reached(of_way["adapted"], lost["adapted"]))
    parts += ["![The solids, and the accuracy of each way](images/adaptation.png)", origin(table)]
    return "\n\n".join(parts) + "\n"


def _reached(adapted: list[dict[str, Any]], lost: list[float]) -> str:
    """Both readings of "as good on turned clouds as on upright ones", and what the canonicalizer leaves alone."""
    own = [row["upright"] - row["turned"] for row in adapted]
    worst = max(lost, default=0.0)
    return (
        f"Turned clouds should be told within {TARGET:g} points of upright ones. That can be read in two ways. Against "
        f"the adapted classifier's own upright accuracy the difference is {_spread(own)} points "
        f"({_within(max(map(abs, own)))}), as it must be of an invariant one. Against that of the original, which is "
        f"harder, it is {_spread(lost)} points, {worst:.1f} in the worst seed ({_within(worst)}). Of upright test "
        f"clouds the canonicalizer turns {_spread([row['identity'] for row in adapted])} % by less than 20° (the "
        f"identity metric), and the axis of {_spread([row['axis'] for row in adapted])} %. Both classifiers learn "
        "together here, and so the classifier comes to know other poses: the prior is a pull, not a rule. Bodies of "
        "revolution cannot be left as they are, since nothing fixes their angle about the axis."
    )


def _within(points: float) -> str:
    return f"within {TARGET:g}" if points <= TARGET else f"not within {TARGET:g}"


def choice(table: dict[str, Any] | None) -> str:
    """Return on what grounds the number of epochs was chosen.

    Args:
        table: The result file, or None.
    """
    if table is None:
        return "There are no results of this version yet: `benchmarks/adaptation.py --choose` writes them.\n"
    result = table["result"]
    lines = ["| epochs of adaptation | upright, % | turned, % |", "|---|---|---|"]
    lines += [f"| {row['epochs']} | {row['upright']:.1f} | {row['turned']:.1f} |" for row in result["rows"]]
    said = (
        f"{result['protocol']['held']:,} validation clouds of seed {result['seed']}, which the table above does not "
        "contain; 0 epochs is the original."
    )
    return "\n\n".join(["\n".join(lines), said, origin(table)]) + "\n"

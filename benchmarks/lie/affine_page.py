"""The classifiers of digits under affine maps as Markdown: every number is from the result files."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

from benchmarks.products.origin import origin
from benchmarks.side_by_side.report import number

__all__ = ["choice", "page"]

NAMES = {
    "cnn": "usual CNN, dense layer at the end",
    "mean": "usual CNN, mean over positions at the end",
    "zeros": "plain convolutions, zeros around features",
    "plain": "plain convolutions, borders repeated",
    "augmented": "plain, zeros around, trained under affNIST's ranges",
    "gl": "over ℝ²⋊GL⁺(2)",
    "sl": "over ℝ²⋊SL(2)",
    "sim": "over ℝ²⋊SIM(2)",
    "so": "over ℝ²⋊SO(2)",
}
COLUMNS = ("upright", "affine", "affine_border", "wide", "wide_border")
#: By how many points a network over a group should be better under affNIST's ranges.
TARGET = 10.0


def _spread(values: list[float]) -> str:
    if not values:
        return "–"
    middle = f"{statistics.fmean(values):.1f}"
    return middle if len(values) == 1 else f"{middle} ± {statistics.stdev(values):.1f}"


def _by_network(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["network"]].append(row)
    return found


def page(table: dict[str, Any] | None) -> str:
    """Return the table of networks, the picture and what is published elsewhere.

    Args:
        table: The result file, or None.
    """
    if table is None or not table["result"]["rows"]:
        return "There are no results of this version yet: `benchmarks/affine_digits.py` measures and writes them.\n"
    result = table["result"]
    protocol, networks = result["protocol"], _by_network(result["rows"])
    lines = [
        "| network | parameters | upright, % | affNIST's ranges, % | with a wider border, % | wide ranges, % "
        "| with a wider border, % | CPU seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {networks[key][0]['parameters']:,} | "
        + " | ".join(_spread([row[column] for row in networks[key] if column in row]) for column in COLUMNS)
        + f" | {number(statistics.fmean(row['cpu_seconds'] for row in networks[key]))} |"
        for key, name in NAMES.items()
        if key in networks
    ]
    affine, wide = result["ranges"]["affine"], result["ranges"]["wide"]
    seeds = sorted({row["seed"] for row in result["rows"]})
    parts = [
        "\n".join(lines),
        f"{result['train']:,} upright digits for training, {protocol['test']} for testing, each of these transformed "
        f"{protocol['copies']} times; digits of {protocol['digit']} pixels in pictures of {protocol['size']}, without "
        "augmentation but where it says so. "
        f"{protocol['epochs']} epochs in batches of {protocol['batch']} for every network; in "
        f"evaluation {protocol['eval_samples']} elements of H; seeds "
        f"{', '.join(map(str, seeds))}{': mean ± standard deviation' * (len(seeds) > 1)}. affNIST's ranges "
        f"(as recalled) are {_ranges(affine)}; the wide ones are {_ranges(wide)}. Moved digits may touch the border, "
        f"where no training digit was; with a wider border, {protocol['border']} more empty pixels were put around "
        "the pictures in testing. Time is that of a training on one thread of a machine that did other work, too.",
        *_reached(networks),
        "![Digits, accuracy by strength, invariance error by the number of samples](images/affine_digits.png)",
        "Published for the real homNIST, with MNIST's 60,000 digits and larger networks (the table of Neural "
        "Isometries, arXiv 2405.19296), in %: "
        + "; ".join(f"{name} {value}" for name, value in result["published"].items())
        + ". Those numbers are of another set and are not to be compared with these.",
        origin(table),
    ]
    return "\n\n".join(parts) + "\n"


def _ranges(ranges: dict[str, Any]) -> str:
    low, high = ranges["scale"]
    return (
        f"rotations by ±{ranges['rotation']:g}°, shears by ±{ranges['shear']:g}, scalings of {low:g} to {high:g} along "
        "each axis" + (" and all translations that keep the digit inside" if ranges["translation"] else "")
    )


def _reached(networks: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return by how many points each network over GL⁺(2) or SL(2) is better than each plain one, seed by seed."""
    groups = [key for key in ("gl", "sl") if key in networks]
    others = [key for key in ("cnn", "mean", "zeros", "plain") if key in networks]
    if not groups or not others:
        return []
    kinds = [(key, column) for column in ("affine", "affine_border") for key in groups]
    titles = [NAMES[key] + ", with a wider border" * (column != "affine") for key, column in kinds]
    lines = ["| points more than | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    for other in others:
        cells = []
        for key, column in kinds:
            before = {row["seed"]: row[column] for row in networks[other] if column in row}
            gain = [row[column] - before[row["seed"]] for row in networks[key] if row["seed"] in before]
            cells.append(_spread(gain) + " ✓" * (bool(gain) and statistics.fmean(gain) >= TARGET))
        lines.append(f"| {NAMES[other]} | " + " | ".join(cells) + " |")
    said = f"Gains under affNIST's ranges; the aim was {TARGET:g} points over a CNN of equal parameters (✓)."
    best = [row["affine"] for row in networks.get("augmented", [])]
    if best:
        said += (
            f" A plain network that was trained under these maps has {_spread(best)} %: about so much can be reached "
            "with these digits and parameters."
        )
    return [said, "\n".join(lines)]


def choice(table: dict[str, Any] | None) -> str:
    """Return on what grounds the learning rates were chosen.

    Args:
        table: The result file, or None.
    """
    if table is None:
        return "There are no results of this version yet: `benchmarks/affine_digits.py --choose` writes them.\n"
    result = table["result"]
    protocol = result["protocol"]
    lines = [
        "| network | learning rate | epochs | upright, % | affNIST's ranges, % | wide, % |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {NAMES[row['network']]} | {row['rate']:g} | {row['epochs']} | "
        + " | ".join(f"{row[key]:.1f}" for key in ("upright", "affine", "wide"))
        + " |"
        for row in result["rows"]
    ]
    words = {
        "cnn": "the usual CNN",
        "mean": "that with a mean",
        "plain": "the plain ones",
        "groups": "those over groups",
    }
    rates = ", ".join(f"{rate:g} for {words[key]}" for key, rate in protocol["rates"].items())
    said = (
        f"{protocol['valid']} digits of the training set, which these trainings left out; one seed. Rates of the "
        f"table: {rates}; {protocol['epochs']} epochs."
    )
    return "\n\n".join(["\n".join(lines), said, origin(table)]) + "\n"

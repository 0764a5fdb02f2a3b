"""Layers by diagrams: table, curves, and pictures of diagrams. Every number is from `diagrams.json`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from benchmarks._results import load
from benchmarks.products.origin import origin
from equitools.groups.diagrams import Diagram

Table = dict[str, Any]
NOTHING = "There are no results of this version yet: `python benchmarks/diagrams.py` measures and writes them.\n"
NAMES = {"S": "S_n", "A": "A_n", "O": "O(n)", "SO": "SO(n)", "Sp": "Sp(n)"}
#: Order of the additions in the contraction by the worst single diagram, for k = l = 3.
THEORY = {"S": "3 (k)", "O": "2 (k − 1)", "SO": "2 (k − 1)", "Sp": "2 (k − 1)"}


def figures(table: Table | None) -> str:
    """Return times beside those of the whole matrix."""
    if table is None:
        return NOTHING
    protocol = table["result"]["protocol"]
    lines = [
        "| group | diagrams | numbers | threads | by factors | whole matrix | ratio | by factors, forward and backward "
        "| whole matrix | ratio | error |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table["result"]["rows"]:
        times, training = row["times"], row["training"]
        lines.append(
            f"| {row['group']}({row['n']}) | {row['diagrams']} | {row['dtype']} | {row['threads']} "
            f"| {times['factored']['least_ms']:.2f} ms | {times['dense']['least_ms']:.1f} ms | {row['ratio']:.0f}× "
            f"| {training['factored']['least_ms']:.2f} ms | {training['dense']['least_ms']:.0f} ms "
            f"| {row['training_ratio']:.0f}× | {row['error']:.0e} |"
        )
    words = (
        f"n = {protocol['figure']}, {protocol['axes']} axes to {protocol['axes']}, {protocol['channels']} → "
        f"{protocol['channels']} channels, a batch of {protocol['batch']}. The whole matrix is assembled beforehand; "
        "*by factors* starts from the weights, and from tensors in the usual order of memory. *Forward and backward* "
        "has the gradients of the input and of the weights, or of the whole matrix. Of each the fastest run counts. "
        "*Error*: the largest difference of the two, relative to the largest number. The load of the machine when it "
        f"began was {protocol['load_at_start']:.1f}."
    )
    return "\n\n".join([words, "\n".join(lines), origin(table, 2)]) + "\n"


def exponents(table: Table | None) -> str:
    """Return the exponents in n."""
    if table is None:
        return NOTHING
    single = {row["group"]: row for row in table["result"]["single"]}
    lines = [
        "| group | contraction by the worst diagram: theory | counted | whole layer: theory | counted | time "
        "| whole matrix: theory | time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for group, found in table["result"]["exponents"].items():
        dense = f"{found['time_dense']:.2f}" if "time_dense" in found else "–"
        axes = table["result"]["protocol"]["axes"]
        lines.append(
            f"| {NAMES[group]} | {THEORY[group]} | {single[group]['exponent']:.2f} | {axes} "
            f"| {found['operations']:.2f} | {found['time']:.2f} | {2 * axes} | {dense} |"
        )
    shown = next(iter(table["result"]["exponents"].values()))
    longest = shown.get("lengths_dense", ["–"])[-1]
    words = (
        f"Exponents of n between n = {shown['lengths'][0]} and {shown['lengths'][-1]} (of the whole matrix: from the "
        f"shortest to {longest}, where it is not too large), by least squares of the logarithms."
    )
    return "\n\n".join([words, "\n".join(lines), origin(table)]) + "\n"


def draw(folder: Path) -> None:
    """Draw the curves and the pictures of diagrams into a folder."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    table = load("diagrams")
    if table is not None:
        figure, axis = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
        for group, color in zip(("O", "S", "Sp"), ("tab:blue", "tab:orange", "tab:green"), strict=True):
            rows = [row for row in table["result"]["curves"] if row["group"] == group]
            lengths = [row["n"] for row in rows]
            times = [row["times"]["factored"]["least_ms"] for row in rows]
            axis.loglog(lengths, times, "o-", color=color, label=f"${NAMES[group]}$, by factors")
            axis.loglog(lengths, [times[-1] * (n / lengths[-1]) ** 3 for n in lengths], ":", color=color, linewidth=0.9)
            if group == "O":
                whole = [row for row in rows if "dense" in row["times"]]
                dense = [row["times"]["dense"]["least_ms"] for row in whole]
                axis.loglog([row["n"] for row in whole], dense, "ks-", label="whole matrix")
                to = [row["n"] for row in rows]
                axis.loglog(
                    to, [dense[-1] * (n / whole[-1]["n"]) ** 6 for n in to], "k:", linewidth=0.9, label="$n^6$, $n^3$"
                )
        axis.set_xticks(lengths, list(map(str, lengths)))
        axis.minorticks_off()
        axis.set_xlabel("n")
        axis.set_ylabel("milliseconds, one thread, float32")
        axis.legend(frameon=False)
        figure.savefig(folder / "diagrams.png", dpi=150)
        plt.close(figure)
    pictures(folder / "diagram_pictures.png")


def pictures(path: Path) -> None:
    """Draw one diagram of each kind, and how one is taken apart."""
    from matplotlib import pyplot as plt

    shown = [
        ("partition diagram ($S_n$)", Diagram(4, 4, ((0, 1, 4), (2, 6, 7), (3,), (5,)))),
        ("Brauer diagram ($O(n)$, $Sp(n)$)", Diagram(4, 4, ((0, 5), (1, 3), (2, 4), (6, 7)))),
        ("(l+k)\\n diagram ($SO(3)$)", Diagram(4, 5, ((0, 4), (1,), (2, 3), (5,), (6,), (7, 8)), (1, 3, 4))),
        ("jellyfish ($A_4$)", Diagram(3, 4, ((0, 3), (1,), (2, 4, 5), (6,)), (0, 1, 2, 3))),
    ]
    figure, axes = plt.subplots(1, 4, figsize=(12, 2.6), layout="constrained")
    for axis, (title, diagram) in zip(axes, shown, strict=True):
        picture(axis, diagram)
        axis.set_title(title, fontsize=10)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def picture(axis: Any, diagram: Diagram) -> None:
    """Draw a diagram: the output's axes above, the input's below, blocks as lines, the head as a ring."""
    width = max(diagram.top, diagram.bottom) - 1
    places = {}
    for p in range(diagram.top + diagram.bottom):
        top = p < diagram.top
        count = diagram.top if top else diagram.bottom
        places[p] = ((p if top else p - diagram.top) + (width - count + 1) / 2, 2.0 if top else 0.0)
    middle = (width + 1.2, 1.0)
    for number, block in enumerate(diagram.blocks):
        color = f"C{number % 10}"
        for a, b in itertools.pairwise(block):
            _line(axis, places[a], places[b], color)
        if number in diagram.head:
            p = min(block, key=lambda q: abs(places[q][0] - middle[0]))
            bend = (places[p][0] + 0.5 * (middle[0] - places[p][0]), 0.75 * places[p][1] + 0.25 * middle[1])
            axis.plot([places[p][0], bend[0], middle[0]], [places[p][1], bend[1], middle[1]], "0.5", linewidth=1)
    if diagram.legs:
        axis.plot(*middle, "o", markersize=18, markerfacecolor="white", markeredgecolor="0.3", zorder=3)
        axis.text(*middle, "ε", ha="center", va="center", zorder=4)
    for x, y in places.values():
        axis.plot(x, y, "ko", markersize=5, zorder=5)
    axis.set_xlim(-0.6, width + (1.8 if diagram.legs else 0.6))
    axis.set_ylim(-0.5, 2.5)
    axis.axis("off")


def _line(axis: Any, a: tuple[float, float], b: tuple[float, float], color: str) -> None:
    """Draw a line between two points, bent into the middle where they are in one row."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    lift = 0.75 if a[1] == b[1] else 0.9
    inner = [(x, y + lift * (1 if y == 0 else -1)) for x, y in (a, b)]
    curve = Curve([a, *inner, b], [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
    axis.add_patch(PathPatch(curve, fill=False, edgecolor=color, linewidth=1.8))

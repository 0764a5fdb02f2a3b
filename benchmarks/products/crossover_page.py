"""What ``method="auto"`` takes, errors of float32, and the ways of a convolution, as Markdown.

Every number is from `gaunt_crossover.json`.
"""

from __future__ import annotations

from typing import Any

from benchmarks.products.origin import origin
from benchmarks.side_by_side.report import number

Table = dict[str, Any]
METHODS = ("dense", "sparse", "fourier", "grid")
NOTHING = "There are no results of this version yet: `python benchmarks/gaunt_crossover.py` measures and writes them.\n"


def auto(table: Table | None) -> str:
    """Return the fastest methods, forward and backward together, by degree, channels and rows."""
    if table is None:
        return NOTHING
    cells = table["result"]["cells"]
    rows, channels, degrees = (sorted({cell[key] for cell in cells}) for key in ("rows", "channels", "lmax"))
    parts = []
    for curl, words in ((False, "The product"), (True, "The curl")):
        taken = {(c["lmax"], c["channels"], c["rows"]): c["taken"] for c in cells if c["curl"] is curl}
        lines = [
            f"| channels | rows | {' | '.join(f'L = {degree}' for degree in degrees)} |",
            f"|---|---|{'---|' * len(degrees)}",
        ]
        lines += [
            f"| {c} | {r:,} | {' | '.join(taken.get((degree, c, r), '–') for degree in degrees)} |"
            for c in channels
            for r in rows
        ]
        parts.append(f"{words}:\n\n" + "\n".join(lines))
    return "\n\n".join([*parts, origin(table)]) + "\n"


def errors(table: Table | None) -> str:
    """Return the largest errors in float32 beside the largest number, by degree."""
    if table is None:
        return NOTHING
    lines = [
        f"| L | {' | '.join(METHODS)} | {' | '.join(f'{m}, curl' for m in METHODS if m != 'fourier')} |",
        f"|---|{'---|' * (2 * len(METHODS) - 1)}",
    ]
    known = {(row["lmax"], row["curl"]): row["error"] for row in table["result"]["float32"]}
    for lmax in sorted({degree for degree, _ in known}):
        cells = []
        for curl in (False, True):
            found = known.get((lmax, curl), {})
            wanted = [m for m in METHODS if not (curl and m == "fourier")]
            cells += [f"{found[m]:.1e}" if m in found else "–" for m in wanted]
        lines.append(f"| {lmax} | {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\n{origin(table)}\n"


def pole(table: Table | None) -> str:
    """Return the times of the Gaunt convolution in the frame of the edge and on the grid."""
    cells = (table or {}).get("result", {}).get("pole")
    if table is None or not cells:
        return NOTHING
    lines = [
        "| L | edges | a weight for | frame, ms | grid, ms | ratio | with backward: frame, ms | grid, ms | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    ratios: dict[str, list[float]] = {"forward": [], "forward_backward": []}
    for cell in cells:
        parts = []
        for task, found in ratios.items():
            if "note" in cell:
                parts += [cell["note"], "–", "–"]
                continue
            frame, grid = (cell[f"{task}_ms"][method] for method in ("pole", "grid"))
            found.append(frame / grid)
            parts += [number(frame), number(grid), number(frame / grid)]
        lines.append(f"| {cell['lmax']} | {cell['edges']:,} | {cell['weights']} | {' | '.join(parts)} |")
    said = [
        f"{words} the grid is the faster in {sum(ratio > 1 for ratio in found)} of {len(found)} cases"
        for words, found in zip(("Forward", "forward and backward"), ratios.values(), strict=True)
    ]
    head = (
        f"{cells[0]['channels']} channels, float32, the filter of the same degree; the frames are given, and the grid "
        "makes its harmonics. Gradients are those of the features and the weights. A ratio is the frame's time to the "
        "grid's: above 1 the grid is the faster."
    )
    return "\n\n".join([head, "\n".join(lines), f"{'; '.join(said)}.", origin(table)]) + "\n"

"""What ``method="auto"`` takes, and the errors of float32, as Markdown: every number is from `gaunt_crossover.json`."""

from __future__ import annotations

from typing import Any

Table = dict[str, Any]
METHODS = ("dense", "sparse", "fourier", "grid")
NOTHING = "There are no results of this version yet: `python benchmarks/gaunt_crossover.py` measures and writes them.\n"


def _where(table: Table) -> str:
    versions = table["versions"]
    return (
        f"*{table['processor']}, {table['threads']} thread{'s' * (table['threads'] > 1)}, torch {versions['torch']}, "
        f"equitools {versions['equitools']}, {table['date']}; `{table['command']}`*"
    )


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
    return "\n\n".join([*parts, _where(table)]) + "\n"


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
    return "\n".join(lines) + f"\n\n{_where(table)}\n"

"""Frames beside torch.linalg.eigh as Markdown: every number is from `frames.json`."""

from __future__ import annotations

from typing import Any

from benchmarks.products.origin import origin
from benchmarks.side_by_side.report import number

__all__ = ["frames"]

NOTHING = "There are no results of this version yet: `python benchmarks/frames.py` measures and writes them.\n"


def frames(table: dict[str, Any] | None) -> str:
    """Return the table of times.

    Args:
        table: The result file, or None where there is none.
    """
    if table is None:
        return NOTHING
    result = table["result"]
    threads = sorted({row["threads"] for row in result["rows"]})
    head = [f"{count} thread{'s' * (count > 1)}" for count in threads]
    lines = [f"| | | {' | '.join(head)} |", f"|---|---|{'---|' * len(threads)}"]
    for group, mode, task in dict.fromkeys((r["group"], r["mode"], r["task"]) for r in result["rows"]):
        name = f'{group}, "{mode}"' if group else mode
        found = {r["threads"]: r for r in result["rows"] if (r["group"], r["mode"], r["task"]) == (group, mode, task)}
        cells = [
            f"{number(found[t]['ms'])} ms, {number(found[t]['peer_ms'])} ms: {number(found[t]['ratio'])}×"
            for t in threads
        ]
        lines.append(f"| {name} | {task} | {' | '.join(cells)} |")
    lines += [
        "",
        f"{result['clouds']:,} clouds of {result['points']} points, {result['dtype']}: `frames`, the same elements by "
        "`torch.linalg.eigh` (which does not look for degenerate clouds), and the ratio of the two; medians of calls "
        f"in turns. In double precision the two differ by {result['difference_float64']:.0e}.",
        "",
        origin(table),
    ]
    return "\n".join(lines) + "\n"

"""Functions of small matrices beside torch's own as Markdown: every number is from `matrix_functions.json`."""

from __future__ import annotations

from typing import Any

from benchmarks.products.origin import origin
from benchmarks.side_by_side.report import number

__all__ = ["matrix_functions"]

NOTHING = (
    "There are no results of this version yet: `python benchmarks/matrix_functions.py` measures and writes them.\n"
)


def matrix_functions(table: dict[str, Any] | None) -> str:
    """Return the table of times and errors.

    Args:
        table: The result file, or None where there is none.
    """
    if table is None:
        return NOTHING
    result = table["result"]
    tasks = list(dict.fromkeys(row["task"] for row in result["rows"]))
    lines = [f"| | n | dtype | threads | {' | '.join(tasks)} | error |", f"|---|---|---|---|{'---|' * len(tasks)}---|"]
    keys = ("function", "n", "dtype", "threads")
    for key in dict.fromkeys(tuple(row[k] for k in keys) for row in result["rows"]):
        found = {row["task"]: row for row in result["rows"] if tuple(row[k] for k in keys) == key}
        cells = [
            f"{number(found[t]['ms'])} ms, {number(found[t]['peer_ms'])} ms: {number(found[t]['ratio'])}×"
            for t in tasks
        ]
        first = found[tasks[0]]
        name = f"{first['function']}, {first['peer']}"
        errors = f"{first['error']:.1e}, {first['peer_error']:.1e}"
        lines.append(f"| {name} | {' | '.join(str(k) for k in key[1:])} | {' | '.join(cells)} | {errors} |")
    lines += [
        "",
        f"{result['count']:,} matrices: ours, the peer, and the ratio of the two; medians of calls in turns. The "
        "matrices are exponentials of such with normal entries of standard deviation 1/2, those of the exponential "
        "these themselves. Errors are medians, relative, against float64.",
        "",
        origin(table),
    ]
    return "\n".join(lines) + "\n"

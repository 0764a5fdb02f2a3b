"""The task of flows with symmetric forcing as Markdown: every number is from the result file."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.products.origin import origin
from benchmarks.side_by_side.report import number

__all__ = ["page"]

NAMES = {"fno": "FNO", "gfno_p4": "G-FNO, p4"}


def _percent(values: list[float]) -> str:
    mean = number(100 * statistics.mean(values))
    return f"{mean} ± {number(100 * statistics.stdev(values), 2)}" if len(values) > 1 else mean


def _sizes(protocol: dict[str, Any]) -> str:
    flows = protocol["flows"]
    return f"{flows['train']:,} / {flows['valid']} / {flows['test']}"


def _grid(protocol: dict[str, Any]) -> str:
    return f"{protocol['grid']}² ({protocol['solver_grid']}²)"


def _widths(protocol: dict[str, Any]) -> str:
    return ", ".join(str(protocol["width"][name]) for name in NAMES)


def page(table: dict[str, Any] | None) -> str:
    """Return the table of both networks, what is reduced, and what others report.

    Args:
        table: The result file, or None.
    """
    if table is None or not table["result"]["trainings"]:
        return "There are no results of this version yet: `python benchmarks/gfno.py` measures and writes them.\n"
    result = table["result"]
    lines = [
        "| network | seeds | parameters | rolled-out error, % | turned test flows, % | largest difference | "
        "CPU minutes each |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, words in NAMES.items():
        rows = [row for row in result["trainings"] if row["network"] == name]
        if not rows:
            continue
        upright = [row["test_error"] for row in rows]
        turned = [statistics.mean(row["turned_errors"]) for row in rows]
        lines.append(
            f"| {words} | {len(rows)} | {rows[0]['parameters']:,} | {_percent(upright)} | {_percent(turned)} "
            f"| {result['summary']['means'][name]['turned_difference']:.1e} "
            f"| {number(statistics.mean(row['cpu_minutes'] for row in rows), 2)} |"
        )
    parts = ["\n".join(lines)]
    if "reduction" in result["summary"]:
        away = max(row["equivariance_error"] for row in result["trainings"] if row["network"] == "gfno_p4")
        gain, apart = (number(100 * result["summary"][key], 2) for key in ("reduction", "parameter_difference"))
        parts.append(
            f"The error of the equivariant network is {gain} % below that of the other, with numbers of parameters "
            f"that differ by {apart} %. *Largest difference* is that of the mean error on flows turned by a quarter, a "
            "half or three quarters from the one on flows as they are (not in percent), in single precision; in double "
            "precision, the trained network's answers to turned frames are "
            f"turned answers to {away:.0e} of their largest number."
        )
    ours = result["protocol"]
    theirs, others = ours["published"], result["references"]
    parts += [
        "![A flow, its predictions, and errors by step](images/gfno.png)",
        "The flow shown is the test flow of which FNO's last frame has the median error. Bands are the range of the "
        "seeds.",
        "What is reduced against the published task:",
        "| | here | published |\n|---|---|---|\n"
        f"| flows for training / validation / test | {_sizes(ours)} | {_sizes(theirs)} |\n"
        f"| grid (solved on) | {_grid(ours)} | {_grid(theirs)} |\n"
        f"| modes | {ours['modes']} | {theirs['modes']} |\n"
        f"| channels of FNO, G-FNO | {_widths(ours)} | {_widths(theirs)} |\n"
        f"| epochs | {ours['epochs']} | {theirs['epochs']} |",
        "What the paper reports on the whole task, in percent:",
        "| network | error | how it is known |\n|---|---|---|\n"
        + "\n".join(f"| {name} | {row['percent']:.2f} | {row['known']} |" for name, row in others.items()),
        origin(table, threads=1),
    ]
    return "\n\n".join(parts) + "\n"

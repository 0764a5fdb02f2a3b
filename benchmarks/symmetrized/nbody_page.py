"""The charged N-body task as Markdown: every number is from the result file."""

from __future__ import annotations

from typing import Any

from benchmarks.products.origin import origin
from benchmarks.side_by_side.report import number

__all__ = ["page"]

NAMES = {"fa_gnn": "FA-GNN", "cn_gnn": "CN-GNN", "egnn": "EGNN", "gnn": "GNN (not equivariant)"}


def _state(row: dict[str, Any]) -> str:
    """Say how far a training came."""
    minutes = f"{number(row['cpu_minutes'])} minutes of processor time"
    name = NAMES[row["network"]]
    if not row["ended"]:
        late = row["best_epoch"] > 0.9 * row["epochs"]
        falling = ", while the validation error was still falling" if late else ""
        return f"- {name}: stopped after {minutes}, {row['epochs']:,} of {row['epochs_asked']:,} epochs{falling}."
    early = row["epochs"] < row["epochs_asked"]
    why = f" (no better for {row['patience']:,} epochs)" if early else ""
    return f"- {name}: the whole protocol{why}, {minutes}."


def page(table: dict[str, Any] | None) -> str:
    """Return the table of networks beside what others reached.

    Args:
        table: The result file, or None.
    """
    if table is None or not table["result"]["trainings"]:
        return "There are no results of this version yet: `benchmarks/nbody.py` measures and writes them.\n"
    result = table["result"]
    lines = [
        "| network | parameters | epochs | best epoch | validation MSE | test MSE | equivariance error |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {NAMES[row['network']]} | {row['parameters']:,} | {row['epochs']:,} of {row['epochs_asked']:,} "
        f"| {row['best_epoch']:,} | {number(row['valid_mse'])} | {number(row['test_mse'])} "
        f"| {row['equivariance_error']:.1e} |"
        for row in result["trainings"]
    ]
    others = ["| network | test MSE | how it is known |", "|---|---|---|"]
    others += [f"| {name} | {row['mse']} | {row['known']} |" for name, row in result["references"].items()]
    threads = max(row["threads"] for row in result["trainings"])
    return "\n\n".join([
        "\n".join(lines),
        "\n".join(_state(row) for row in result["trainings"]),
        "What others report on the same task; those that are recalled have not been checked against the papers:",
        "\n".join(others),
        "![Validation error of the N-body networks](images/nbody.png)",
        "One seed each. The equivariance error is the largest deviation of an answer of the trained network, in double "
        "precision, when systems are turned, reflected and moved.",
        origin(table, threads),
    ]) + "\n"  # fmt: skip

"""Tables for people, facts for machines."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.table import Table

from equitools._version import __version__
from equitools.training.metrics import Metrics, Row

__all__ = ["error_table", "machine", "versions"]


def error_table(sets: Mapping[str, Metrics], title: str = "") -> Table:
    """Return a rich table of errors: units in the header, the label's own spread beside them.

    Args:
        sets: Name of a set -> metrics; a lone set may have an empty name.
        title: Above the table.
    """
    rows = [(name, row) for name, metrics in sets.items() for row in metrics.rows()]
    classes = [item for item in rows if item[1].accuracy is not None]
    caption = "std and mean |x| are the label's own; of energies: beyond the reference energies"
    table = Table(
        title=title or None, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
        caption=caption if len(classes) < len(rows) else None, caption_justify="left",
    )  # fmt: skip
    named = any(sets)
    if named:
        table.add_column("set")
    table.add_column("quantity", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    if len(classes) < len(rows):
        for header in ("MAE", "RMSE", "std", "mean |x|"):
            table.add_column(header, justify="right", no_wrap=True)
    if classes:
        for header in ("right / %", "commonest class / %", "cross entropy / nat"):
            table.add_column(header, justify="right")
    table.add_column("n", justify="right")
    last = None
    for name, row in rows:
        cells = [name if name != last else ""] if named else []
        cells += [row.name.replace("_", " "), row.unit]
        if len(classes) < len(rows):
            cells += [_number(value) for value in (row.mae, row.rmse, row.spread, row.magnitude)]
        if classes:
            cells += [_percent(row.accuracy), _percent(row.majority), _number(row.cross_entropy)]
        table.add_row(*cells, str(row.count))
        last = name
    return table


def _number(value: float | None) -> str:
    return "—" if value is None else (f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.4g}")


def _percent(value: float | None) -> str:
    return "—" if value is None else f"{100 * value:.1f}"


def forces_share(row: Row) -> float | None:
    """Return the MAE as a share of the label's mean absolute value."""
    return row.mae / row.magnitude if row.mae is not None and row.magnitude else None


def versions() -> dict[str, str]:
    """Return the versions of what the numbers depend on."""
    found = {"equitools": __version__, "python": platform.python_version(), "torch": torch.__version__}
    for name in ("e3nn", "lightning", "numpy", "ase", "vesin"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return on what the numbers were computed: processor, cores, threads, system."""
    facts: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
    }
    if torch.device(device).type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(torch.device(device))
    return facts


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if sys.platform == "linux" and info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

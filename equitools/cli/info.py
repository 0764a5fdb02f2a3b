"""``equitools info``: versions, backends and, where one is off, why and what to do."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from equitools._version import __version__
from equitools.errors import BackendError
from equitools.ops import backend

__all__ = ["collect", "info"]

#: Distributions whose versions matter in a bug report, and whether equitools needs them.
PACKAGES = {
    "torch": "needed", "e3nn": "needed", "numpy": "needed", "ase": "needed", "vesin": "needed", "safetensors": "needed",
    "pydantic": "needed", "lightning": "train", "matplotlib": "train", "tensorboard": "train", "tblite": "demo",
    "torch-scatter": "scatter", "torch-sim-atomistic": "torchsim", "mace-torch": "optional",
}  # fmt: skip


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _requested() -> str:
    """Return the backend that is asked for; where that cannot be had, say so, since this command is to explain it."""
    try:
        return backend.requested_backend()
    except BackendError as error:
        return f"not usable: {error}"


def collect() -> dict[str, Any]:
    """Gather what ``equitools info`` prints.

    Returns:
        A dictionary for JSON: ``equitools``, ``python``, ``platform``, ``packages`` (version or null), ``backends``
        (list of name, active, reason, hint), ``requested`` (the backend that is asked for), ``threads``,
        ``cpu_capability`` (of the kernels) and ``devices``.
    """
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {
        "equitools": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "backends": [
            {"name": s.name, "active": s.active, "reason": s.reason, "hint": s.hint} for s in backend.status()
        ],
        "requested": _requested(),
        "threads": torch.get_num_threads(),
        "cpu_capability": {"kernels": backend.cpu_capability(), "torch": torch.backends.cpu.get_cpu_capability()},
        "devices": devices,
    }


def _print(facts: dict[str, Any], console: Console) -> None:
    console.print(
        f"[bold]equitools {facts['equitools']}[/bold] · Python {facts['python']} · {facts['platform']}", highlight=False
    )
    capability = facts["cpu_capability"]
    console.print(
        f"{facts['threads']} threads · kernels use {capability['kernels']} (torch {capability['torch']}) · devices: "
        f"{', '.join(facts['devices'])} · backend asked for: {escape(facts['requested'])}",
        highlight=False,
    )
    backends = Table(title="Backends", title_justify="left")
    for column in ("backend", "active", "why", "what to do"):
        backends.add_column(column, overflow="fold")
    for entry in facts["backends"]:
        active = "[green]yes[/green]" if entry["active"] else "[yellow]no[/yellow]"
        backends.add_row(entry["name"], active, escape(entry["reason"]), escape(entry["hint"]))
    console.print(backends)
    packages = Table(title="Packages", title_justify="left")
    for column in ("package", "version", "for"):
        packages.add_column(column)
    for name, version in facts["packages"].items():
        packages.add_row(name, version or "[dim]not installed[/dim]", PACKAGES[name])
    console.print(packages)


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON, for a bug report.")] = False,
) -> None:
    """Show versions, active backends and, where one is off, why and what to do."""
    facts = collect()
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    _print(facts, Console())

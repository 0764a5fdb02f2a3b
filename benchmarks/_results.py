"""Where results lie, and what each of them says about the machine that made it."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

from equitools._atomic import write_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
IMAGES = ROOT / "docs" / "images"
PACKAGES = ("equitools", "torch", "e3nn", "numpy", "ase", "vesin", "lightning", "tblite")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def command(script: str) -> str:
    """Return the command that runs now, as anybody could give it: of an absolute path only the last part.

    Args:
        script: The file's name in `benchmarks`.
    """
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return " ".join([f"python benchmarks/{script}", *map(shlex.quote, words)])


def context() -> dict[str, Any]:
    """Machine, versions, threads and date."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": versions,
    }


def save(name: str, command: str, result: dict[str, Any], path: Path | None = None) -> Path:
    """Write `results/NAME.json` (or another file) whole, with the context beside the result."""
    path = path or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"name": name, "command": command, **context(), "result": result}, indent=2) + "\n")
    return path


def load(name: str) -> dict[str, Any] | None:
    """Read `results/NAME.json`, or None where that table has not been run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

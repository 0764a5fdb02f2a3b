"""The demo's error table and its one-page report."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from rich.table import Table

from equitools._atomic import write_text

__all__ = ["error_table", "label_errors", "write_report"]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { border-bottom: 1px solid #ccc; padding: .25em .9em; text-align: right; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1.5em 0; } figure img { max-width: 100%; }
pre { background: #f5f5f5; padding: .8em; overflow-x: auto; font-size: 12px; }
.met { color: #17692a; } .missed { color: #a11; font-weight: bold; }
"""


def label_errors(frames: Sequence[Atoms], results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Compare predictions with labels.

    Args:
        frames: Structures of one composition, with energy and forces attached.
        results: What the calculator's ``evaluate_many`` gave for them.

    Returns:
        For ``energy`` (meV a molecule) and ``forces`` (meV/Å, per component): ``mae``, ``rmse``, ``spread`` (the
        label's standard deviation about its mean: the RMSE of the best constant) and ``mean_absolute`` (of the
        label about its mean for energy, about zero for forces).
    """
    table = {}
    for name in ("energy", "forces"):
        label = np.stack([np.asarray(atoms.calc.results[name]) for atoms in frames]) * 1000
        predicted = np.stack([np.asarray(result[name]) for result in results]) * 1000
        error = predicted - label
        about = label - label.mean() if name == "energy" else label
        table[name] = {
            "mae": float(np.abs(error).mean()),
            "rmse": float(np.sqrt(np.square(error).mean())),
            "spread": float(np.sqrt(np.square(about).mean())),
            "mean_absolute": float(np.abs(about).mean()),
        }
    return table


UNITS = {"energy": "meV", "forces": "meV/Å"}
HEADER = ("test set", "unit", "MAE", "RMSE", "spread of the label", "mean |label|", "MAE / mean |label|")


def _rows(errors: Mapping[str, Mapping[str, float]]) -> list[tuple[str, ...]]:
    return [
        (
            "energy (molecule)" if name == "energy" else "forces (component)",
            UNITS[name],
            *(f"{row[key]:.2f}" for key in ("mae", "rmse", "spread", "mean_absolute")),
            f"{100 * row['mae'] / row['mean_absolute']:.2f} %",
        )
        for name, row in errors.items()
    ]


def error_table(errors: Mapping[str, Mapping[str, float]], count: int) -> Table:
    """Return the errors as a table for the terminal."""
    table = Table(title=f"Errors on {count} held-out frames (energy: about its mean)")
    for position, name in enumerate(HEADER):
        table.add_column(name, justify="left" if position < 2 else "right")
    for row in _rows(errors):
        table.add_row(*row)
    return table


def write_report(
    path: Path, result: Mapping[str, Any], equivariance: str, pictures: Sequence[tuple[Path, str]]
) -> None:
    """Write the one-page report: a single HTML file with the pictures inside.

    Args:
        path: Where to.
        result: What the demo also writes as ``result.json``.
        equivariance: The report's text.
        pictures: PNG files with their captions, in order; missing ones are left out.
    """
    figures = "".join(_figure(picture, caption) for picture, caption in pictures if picture.exists())
    targets = "".join(_target(item) for item in result["targets"])
    dynamics, sampling, training = result["dynamics"], result["sampling"], result["training"]
    bonds = ", ".join(dynamics["changed_bonds"]) or "unchanged"
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result["seconds"].items())
    body = f"""
<h1>equitools demo: ethanol</h1>
<p>{html.escape(sampling["label"])} labels from one Langevin trajectory at {sampling["temperature"]:g} K:
{sampling["train"]} frames to train and validate on, then a gap of {sampling["gap"] * sampling["timestep"] / 1000:g} ps,
then {sampling["test"]} frames that the training never saw. Network: {html.escape(training["model"])},
{training["parameters"]} parameters, {html.escape(training["dtype"])}. Time: {html.escape(times)}.</p>
<table><tr><th>target</th><th>reached</th><th>asked</th><th></th></tr>{targets}</table>
<h2>Errors on the held-out frames</h2>
{_table(HEADER, _rows(result["errors"]))}
<p>A constant would score the spread of the label as its RMSE.</p>
{figures}
<h2>Dynamics</h2>
{
        _table(
            ("NVE with the trained potential", ""),
            [
                ("length", f"{dynamics['simulated_ps']:.2f} ps, timestep {dynamics['timestep']:g} fs"),
                ("temperature", f"{dynamics['temperature_mean_K']:.0f} ± {dynamics['temperature_std_K']:.0f} K"),
                ("energy drift", f"{dynamics['energy_drift_meV_per_atom_per_ps']:+.4f} meV/atom/ps"),
                ("largest deviation", f"{dynamics['energy_max_deviation_meV_per_atom']:.4f} meV/atom"),
                ("bonds", bonds),
            ],
        )
    }
<h2>Equivariance of the trained network</h2>
<pre>{html.escape(equivariance)}</pre>
<p>Seed {result["seed"]}. The same figures are in <code>result.json</code>.</p>
"""
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>equitools demo</title>'
        f"<style>{STYLE}</style></head><body>{body}</body></html>\n"
    )
    write_text(path, page)


def _target(item: Mapping[str, Any]) -> str:
    verdict = "met" if item["met"] else "missed"
    asked = f"&lt; {item['below']:g} {html.escape(item['unit'])}"
    cells = f"<td>{html.escape(item['what'])}</td><td>{item['value']:.3f}</td><td>{asked}</td>"
    return f'<tr>{cells}<td class="{verdict}">{verdict}</td></tr>'


def _figure(picture: Path, caption: str) -> str:
    data = base64.b64encode(picture.read_bytes()).decode("ascii")
    alt = html.escape(caption)
    return f'<figure><img alt="{alt}" src="data:image/png;base64,{data}"><figcaption>{alt}</figcaption></figure>'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in header)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"

"""Figures of training, evaluation and dynamics as PNG; matplotlib is imported when one is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from equitools._atomic import atomic_path
from equitools.errors import MissingDependencyError

__all__ = ["energy_conservation_plot", "learning_curve", "parity_plot"]

_AXES = {
    "energy": ("energy", "eV"),
    "forces": ("force component", "eV/Å"),
    "stress": ("stress component", "eV/Å³"),
    "dipole": ("dipole component", "e·Å"),
}
_BLUE, _ORANGE, _GREY = "#2b6cb0", "#dd6b20", "#4a5568"


def _figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    """Make a figure that no global state of pyplot knows, so that a library call leaves nothing behind."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("Plots need matplotlib: pip install 'equitools[train]'.") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.5)
    return figure, axes


def _save(figure: Any, path: str | Path) -> Path:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)
    return Path(path)


def parity_plot(path: str | Path, pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str = "") -> Path:
    """Draw predictions against labels, one panel a quantity, with MAE and RMSE written in.

    Args:
        path: Of the PNG.
        pairs: Name -> (labels, predictions), each flat, in eV, eV/Å, eV/Å³, ...; see `Metrics.pairs`. Energies are
            shown relative to the labels' mean.
        title: Above the figure.

    Returns:
        The path.
    """
    figure, axes = _figure(4.2 * max(1, len(pairs)), 4.2, columns=max(1, len(pairs)))
    for axis, (name, (label, output)) in zip(axes.flat, pairs.items(), strict=False):
        text, unit = _AXES.get(name, (name, ""))
        error = np.asarray(output) - np.asarray(label)
        offset = float(np.mean(label)) if name == "energy" and len(label) else 0.0
        x, y = np.asarray(label) - offset, np.asarray(output) - offset
        axis.scatter(x, y, s=5, alpha=0.35, color=_BLUE, linewidths=0, rasterized=True)
        if len(x):
            low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
            pad = 0.04 * (high - low or 1.0)
            axis.plot([low - pad, high + pad], [low - pad, high + pad], color=_GREY, linewidth=0.8)
            axis.set_xlim(low - pad, high + pad)
            axis.set_ylim(low - pad, high + pad)
            factor, small = (1e3, f"m{unit}") if unit.startswith("eV") else (1.0, unit)
            mae, rmse = factor * np.abs(error).mean(), factor * math.sqrt(float(np.square(error).mean()))
            axis.text(
                0.04, 0.96, f"MAE {mae:.3g} {small}\nRMSE {rmse:.3g} {small}\nn = {len(x)}",
                transform=axis.transAxes, va="top", fontsize=9,
            )  # fmt: skip
        relative = " − mean" if offset else ""
        shown = f" / {unit}" if unit else ""
        axis.set_xlabel(f"label: {text}{relative}{shown}")
        axis.set_ylabel(f"model: {text}{relative}{shown}")
        axis.set_aspect("equal")
    if title:
        figure.suptitle(title, fontsize=11)
    return _save(figure, path)


def learning_curve(path: str | Path, history: Sequence[Mapping[str, float]], title: str = "") -> Path:
    """Draw the loss and the validation errors over the epochs.

    Args:
        path: Of the PNG.
        history: Rows as in ``metrics.csv``.
        title: Above the figure.

    Returns:
        The path.
    """
    columns = list(dict.fromkeys(key for row in history for key in row))
    errors = [key for key in columns if key.startswith("valid_") and key.endswith(("_rmse", "_accuracy"))]
    errors = [key for key in errors if "per_atom" not in key]
    figure, axes = _figure(4.6 * (1 + len(errors)), 3.6, columns=1 + len(errors))

    def draw(axis: Any, key: str, label: str, color: str) -> None:
        points = [(row["epoch"], row[key]) for row in history if row.get(key) is not None]
        if points:
            x, y = zip(*points, strict=True)
            axis.plot(x, y, label=label, color=color, linewidth=1.2, marker="." if len(points) < 30 else "")
            if min(y) > 0 and "accuracy" not in key:
                axis.set_yscale("log")
        axis.set_xlabel("epoch")

    first = axes.flat[0]
    draw(first, "train_loss", "training loss", _GREY)
    draw(first, "valid_score", "validation score", _BLUE)
    first.set_ylabel("loss")
    first.legend(frameon=False, fontsize=9)
    units = {"energy": "meV", "forces": "meV/Å", "stress": "meV/Å³", "dipole": "e·Å"}
    for axis, key in zip(axes.flat[1:], errors, strict=True):
        draw(axis, key, key, _ORANGE)
        name, _, kind = key.removeprefix("valid_").rpartition("_")
        unit = f" / {units[name]}" if name in units else ""
        axis.set_ylabel(f"validation {name} {kind.upper() if kind == 'rmse' else kind}{unit}")
        best = [row["epoch"] for row in history if row.get("best")]
        if best:
            axis.axvline(best[-1], color=_GREY, linewidth=0.8, linestyle=":")
    if title:
        figure.suptitle(title, fontsize=11)
    return _save(figure, path)


def energy_conservation_plot(
    path: str | Path,
    time_ps: Sequence[float] | np.ndarray,
    potential: Sequence[float] | np.ndarray,
    kinetic: Sequence[float] | np.ndarray,
    num_atoms: int,
    temperature: Sequence[float] | np.ndarray | None = None,
    title: str = "",
) -> Path:
    """Draw how well a run at constant energy keeps its energy.

    Above: potential, kinetic and total energy per atom, each relative to its start. Below: the total alone with the
    straight line whose slope is the drift. Where temperatures are given, a third panel.

    Args:
        path: Of the PNG.
        time_ps: ``[T]`` ps.
        potential: ``[T]`` eV.
        kinetic: ``[T]`` eV.
        num_atoms: Atoms, to divide by.
        temperature: ``[T]`` K.
        title: Above the figure.

    Returns:
        The path.
    """
    time = np.asarray(time_ps, dtype=float)
    factor = 1e3 / max(1, num_atoms)
    parts = {name: factor * np.asarray(value, dtype=float) for name, value in
             (("potential", potential), ("kinetic", kinetic))}  # fmt: skip
    total = parts["potential"] + parts["kinetic"]
    rows = 2 if temperature is None else 3
    figure, axes = _figure(6.4, 2.4 * rows, rows=rows)
    first, second = axes.flat[:2]
    for (name, value), color in zip(parts.items(), (_BLUE, _ORANGE), strict=True):
        first.plot(time, value - value[:1], label=name, color=color, linewidth=0.9)
    first.plot(time, total - total[:1], label="total", color="black", linewidth=1.3)
    first.set_ylabel("energy − start\nmeV/atom")
    first.legend(frameon=False, fontsize=9, ncols=3)
    second.plot(time, total - total[:1], color="black", linewidth=0.9)
    if len(time) > 1 and time[-1] > time[0]:
        slope, intercept = np.polyfit(time, total - total[0], 1)
        second.plot(time, slope * time + intercept, color=_ORANGE, linewidth=1.2, linestyle="--")
        second.set_title(f"drift {slope:+.3g} meV/atom/ps", fontsize=10)
    second.set_ylabel("total − start\nmeV/atom")
    if temperature is not None:
        axes.flat[2].plot(time, np.asarray(temperature, dtype=float), color=_GREY, linewidth=0.9)
        axes.flat[2].set_ylabel("temperature\nK")
    axes.flat[-1].set_xlabel("time / ps")
    if title:
        figure.suptitle(title, fontsize=11)
    return _save(figure, path)

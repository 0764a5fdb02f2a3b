"""The table and the figure of the particle-interaction task; every number is from the result file."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.products.origin import origin
from benchmarks.side_by_side.report import number

__all__ = ["NAMES", "lorentz", "plot"]

NAMES = {
    "mlp": "perceptron",
    "mlp_aug": "perceptron, augmented",
    "scalar_mlp": "perceptron of scalar products",
    "canonical": "canonical frame",
    "frame_average": "frame average",
    "orbit": "orbit distance",
    "lps": "projected generator",
}
NOTHING = "There are no results of this version yet: `python benchmarks/lorentz.py` measures and writes them.\n"


def tests(row: str, run: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """Return the tests of a training: one, or one for each number of samples."""
    found = run["test"]
    if "plain" in found:
        return [(NAMES[row], found)]
    return [(f"{NAMES[row]}, {k} sample{'s' * (k != '1')}", found[k]) for k in found if k.isdigit()]


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return number(values[0])
    return f"{number(statistics.mean(values))} ± {number(statistics.stdev(values))}"


def lorentz(table: dict[str, Any] | None) -> str:
    """Return the table of test errors.

    Args:
        table: The result file, or None where there is none.
    """
    if table is None:
        return NOTHING
    lines = [
        "| network | seeds | epochs | test MSE | of transformed events | largest change | CPU minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, runs in table["result"]["rows"].items():
        minutes = number(statistics.mean(run["cpu_seconds"] for run in runs) / 60)
        epochs = ", ".join(sorted({str(run["curve"][-1][0]) for run in runs}))
        for k, (name, _) in enumerate(tests(row, runs[0])):
            found = [tests(row, run)[k][1] for run in runs]
            plain, moved = (_spread([test[key] for test in found]) for key in ("plain", "transformed"))
            change = max(test["invariance_error"] for test in found)
            lines.append(
                f"| {name} | {len(runs)} | {epochs} | {plain} | {moved} | {change:.1e} | {minutes if k == 0 else ''} |"
            )
    distances = [run["test"]["orbit_distance"] for run in table["result"]["rows"].get("orbit", ())]
    ours = table["result"]["protocol"]
    notes = [
        f"Ours, other than in the paper: boosts of a normal rapidity of {ours['rapidity']:g}, a weight of "
        f"{ours['orbit_weight']:g} of the orbit distance, the generator, and a validation every "
        f"{ours['validate_every']} epochs that picks the weights which are tested. The perceptron of scalar products "
        "has those as its inputs, the others have the 16 components."
    ]
    if distances:
        notes.append(
            "Orbit distance of the matrices of the row that is trained with it: median "
            f"{_spread([d['median'] for d in distances])}, mean {_spread([d['mean'] for d in distances])}; of the zero "
            "matrix it is 0.25. So they are not in the group, and the predictions are invariant all the same."
        )
    return "\n\n".join(["\n".join(lines), *notes, origin(table, threads=1)]) + "\n"


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw test errors with and without transformation, one point a training.

    Args:
        result: ``result`` of the file.
        path: Of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.6))
    names: list[str] = []
    for row, runs in result["rows"].items():
        for k, (name, _) in enumerate(tests(row, runs[0])):
            for run in runs:
                found = tests(row, run)[k][1]
                label = {"label": "_" if names or run is not runs[0] else "as they are"}
                axes.plot(found["plain"], len(names), "o", color="#2b6cb0", ms=6, **label)
                label = {"label": "_" if names or run is not runs[0] else "transformed"}
                axes.plot(found["transformed"], len(names), "x", color="#dd6b20", ms=7, **label)
            names.append(name)
    axes.set(xscale="log", xlabel="test MSE (standardised target)", yticks=range(len(names)), yticklabels=names)
    axes.invert_yaxis()
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)

"""The table and the figure of the broken-inertia task; every number is from the result file."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.products.origin import origin
from benchmarks.side_by_side.report import number

__all__ = ["NAMES", "per_inertia", "plot"]

NAMES = {
    "mlp": "perceptron",
    "emlp": "equivariant to O(3)",
    "free": "O(3) at first, then free",
    "fixed": "pulled, weights not tuned",
    "per": "pulled, weights tuned",
    "oracle": "equivariant to the true group",
}
NOTHING = "There are no results of this version yet: `python benchmarks/per_inertia.py` measures and writes them.\n"


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return number(values[0])
    return f"{number(statistics.mean(values))} ± {number(statistics.stdev(values), 2)}"


def per_inertia(table: dict[str, Any] | None) -> str:
    """Return the tables of test errors and of symmetry levels.

    Args:
        table: The result file, or None where there is none.
    """
    if table is None:
        return NOTHING
    result = table["result"]
    groups = result["groups"]
    lines = [
        "| network | parameters | test MSE | weight decay | CPU seconds | "
        + " | ".join(f"breaks {g}" for g in groups)
        + " |",
        "|" + "---|" * (5 + len(groups)),
    ]
    for row, found in result["rows"].items():
        runs = found["runs"]
        broken = " | ".join(number(statistics.mean(run["broken"][g] for run in runs), 2) for g in groups)
        lines.append(
            f"| {NAMES[row]} | {runs[0]['parameters']:,} | {_spread([run['test'] for run in runs])} "
            f"| {found['decay']:g} | {number(statistics.mean(run['cpu_seconds'] for run in runs))} | {broken} |"
        )
    truth = " | ".join(number(result["truth"][g], 2) for g in groups)
    lines.append(f"| *the target itself* | | | | | {truth} |")
    parts = [
        "\n".join(lines),
        "No function that is equivariant to O(3) can have a test MSE below "
        f"{_spread(result['floor'])}: the mean of the target over all rotations and reflections has that.",
    ]
    if "per" in result["rows"]:
        runs = result["rows"]["per"]["runs"]
        levels = ["| seed | " + " | ".join(groups) + " | in the right order |", "|" + "---|" * (2 + len(groups))]
        for run, right in zip(runs, result["right_order"], strict=True):
            weights = " | ".join(number(w, 2) for w in run["levels"][-1][2])
            levels.append(f"| {run['seed']} | {weights} | {'yes' if right else 'no'} |")
        parts.append("Weights of the groups after tuning (all were "
                     f"{number(result['protocol']['group_weight'])} before):")  # fmt: skip
        parts.append("\n".join(levels))
    return "\n\n".join([*parts, origin(table, threads=1)]) + "\n"


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw R and λ of the groups over the epochs of one training, and the test errors of all.

    Args:
        result: ``result`` of the file.
        path: Of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11.5, 3.4), width_ratios=(1, 1, 1), layout="constrained")
    colours = ["#718096", "#2b6cb0", "#dd6b20", "#38a169"]
    for run in result["rows"]["per"]["runs"] if "per" in result["rows"] else []:
        epochs = [level[0] for level in run["levels"]]
        for k, name in enumerate(result["groups"]):
            first = run is result["rows"]["per"]["runs"][0]
            style = {"color": colours[k], "lw": 1.4 if first else 0.7, "alpha": 1.0 if first else 0.5}
            label = {"label": name if first else "_"}
            axes[0].plot(epochs, [level[1][k] for level in run["levels"]], **style, **label)
            axes[1].plot(epochs, [level[2][k] for level in run["levels"]], **style, **label)
    axes[0].set(xlabel="epoch", yscale="log", title="distance from the group, $R_G$")
    axes[1].set(xlabel="epoch", yscale="log", title="weight of the group, $\\lambda_G$")
    axes[1].legend(frameon=False, fontsize=8)
    names = list(result["rows"])
    for k, row in enumerate(names):
        values = [run["test"] for run in result["rows"][row]["runs"]]
        colour = "#2b6cb0" if row == "per" else "#a0aec0"
        axes[2].barh(k, statistics.mean(values), color=colour, height=0.62)
        axes[2].plot(values, [k] * len(values), "o", color="#1a202c", ms=3)
    axes[2].set(yticks=range(len(names)), title="test MSE", xlim=(0, None))
    axes[2].axvline(statistics.mean(result["floor"]), color="#dd6b20", lw=1, ls="--", label="least for O(3)")
    axes[2].legend(frameon=False, fontsize=8)
    axes[2].set_yticklabels([NAMES[row] for row in names], fontsize=8)
    axes[2].invert_yaxis()
    for ax in axes:
        ax.title.set_fontsize(10)
        ax.grid(alpha=0.25, linewidth=0.5)
        ax.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)

"""The table and the figure of LieGAN on the two-body task; every number is from the result file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.products.origin import origin
from benchmarks.side_by_side.report import number

__all__ = ["NAMES", "lie_gan", "plot"]

NAMES = {"two_body": "two bodies", "anisotropic": "control: no symmetry"}
NOTHING = "There are no results of this version yet: `python benchmarks/lie_gan.py` measures and writes them.\n"


def lie_gan(table: dict[str, Any] | None) -> str:
    """Return the table of searches.

    Args:
        table: The result file, or None where there is none.
    """
    if table is None:
        return NOTHING
    lines = [
        "| data | seed | abs. cosine with the rotation | discriminator's loss | displacement | CPU seconds |",
        "|---|---|---|---|---|---|",
    ]
    result = table["result"]
    for task, runs in result["tasks"].items():
        for run in runs:
            last = run["curve"][-1]
            lines.append(
                f"| {NAMES[task]} | {run['seed']} | {last['cosine']:.4f} | {last['discriminator_loss']:.3f} "
                f"| {last['displacement']:.3f} | {number(run['cpu_seconds'])} |"
            )
    ours = result["protocol"]
    note = (
        f"{ours['trajectories']} trajectories, {ours['epochs']} epochs (published: {result['published']['epochs']}). "
        "A discriminator that guesses has the loss ln 2 ≈ 0.693; a displacement of 0 is the identity. The potential of "
        f"the control is −1/√(Δx² + κ² Δy²) with κ = {ours['anisotropy']:g}."
    )
    return "\n\n".join(["\n".join(lines), note, origin(table, threads=1)]) + "\n"


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw the learned matrices beside the truth, and the cosine by epoch.

    Args:
        result: ``result`` of the file.
        path: Of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    import numpy as np
    from matplotlib import pyplot as plt

    truth = np.array(result["truth"])
    shown = [("truth", truth)]
    for task, runs in result["tasks"].items():
        for run in runs if task == "two_body" else runs[:1]:
            found = np.array(run["algebra"])
            sign = 1.0 if (found * truth).sum() >= 0 else -1.0
            shown.append((f"{NAMES[task]}, seed {run['seed']}", sign * found))
    figure = plt.figure(figsize=(2.1 * len(shown), 5.2))
    grid = figure.add_gridspec(2, len(shown), height_ratios=[1, 1.25])
    for k, (name, matrix) in enumerate(shown):
        axes = figure.add_subplot(grid[0, k])
        axes.imshow(matrix / abs(matrix).max(), cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set_title(name.replace(", ", "\n").replace(": ", ":\n"), fontsize=9)
        axes.set(xticks=[], yticks=[])
    axes = figure.add_subplot(grid[1, :])
    for (task, runs), color in zip(result["tasks"].items(), ("#2b6cb0", "#dd6b20"), strict=False):
        for k, run in enumerate(runs):
            curve = [entry["cosine"] for entry in run["curve"]]
            axes.plot(range(1, len(curve) + 1), curve, color=color, label=NAMES[task] if k == 0 else "_", lw=1.4)
    axes.axhline(0.99, color="#718096", lw=0.8, ls="--")
    axes.set(xlabel="epoch", ylabel="|cosine| with the rotation", ylim=(0, 1.02))
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)

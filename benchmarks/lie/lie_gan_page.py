"""The table and the figure of LieGAN on the two-body task; every number is from the result file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.products.origin import origin
from benchmarks.side_by_side.report import number

__all__ = ["NAMES", "lie_gan", "plot"]

NAMES = {"two_body": "two bodies", "anisotropic": "control: no symmetry", "wide": "two bodies, 4 × 4 blocks"}
NOTHING = "There are no results of this version yet: `python benchmarks/lie_gan.py` measures and writes them.\n"


def lie_gan(table: dict[str, Any] | None) -> str:
    """Return the table of searches.

    Args:
        table: The result file, or None where there is none.
    """
    if table is None:
        return NOTHING
    lines = [
        "| data | matrix | abs. cosine with the rotation | on the span of the data | displacement "
        "| discriminator's loss | told apart | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    result = table["result"]
    for task, found in result["tasks"].items():
        for run in found["runs"]:
            last, verdict = run["curve"][-1], run["verdict"]
            lines.append(
                f"| {NAMES[task]} | found, seed {run['seed']} | {last['cosine']:.4f} "
                f"| {run['cosine_on_span']:.4f} | {verdict['displacement']:.2f} "
                f"| {last['discriminator_loss']:.3f} | {_share(verdict)} | {number(run['cpu_seconds'])} |"
            )
        verdict = found["rotation"]
        lines.append(
            f"| {NAMES[task]} | the rotation itself | 1 | 1 | {verdict['displacement']:.2f} | | {_share(verdict)} | |"
        )
    ours = result["protocol"]
    note = (
        f"{ours['trajectories']} trajectories, {ours['epochs']} epochs, {ours['wide_epochs']} with 4 × 4 blocks "
        f"(published: {result['published']['epochs']}). With the centre of mass at rest the states span half of the "
        "space, and what a matrix does to the other half is seen by nothing. "
        "The displacement is the mean of abs(g x − x) / abs(x): near 0 the identity was found. A discriminator that "
        "guesses has the loss ln 2 ≈ 0.693. *Told apart* is the share of right answers of a fresh network that was "
        "trained to tell moved pairs from real ones on half of the trajectories, on the others. The potential of "
        f"the control is −1/√(Δx² + κ² Δy²) with κ = {ours['anisotropy']:g}."
    )
    return "\n\n".join(["\n".join(lines), note, origin(table, threads=1)]) + "\n"


def _share(verdict: dict[str, float]) -> str:
    return f"{100 * verdict['accuracy']:.1f} ± {100 * verdict['standard_error']:.1f} %"


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
    for task, measured in result["tasks"].items():
        for run in measured["runs"] if task == "two_body" else measured["runs"][:1]:
            found = np.array(run["algebra"])
            sign = 1.0 if (found * truth).sum() >= 0 else -1.0
            shown.append((f"{NAMES[task]}, seed {run['seed']}", sign * found))
    figure = plt.figure(figsize=(2.1 * len(shown), 5.2))
    grid = figure.add_gridspec(2, len(shown), height_ratios=[1, 1.25])
    for k, (name, matrix) in enumerate(shown):
        axes = figure.add_subplot(grid[0, k])
        axes.imshow(matrix, cmap="RdBu_r", vmin=-1.5, vmax=1.5)  # one scale: what has died out looks so
        axes.set_title(name.replace(", ", "\n").replace(": ", ":\n"), fontsize=9)
        axes.set(xticks=[], yticks=[])
    axes = figure.add_subplot(grid[1, :])
    for (task, measured), color in zip(result["tasks"].items(), ("#2b6cb0", "#dd6b20", "#2f855a"), strict=True):
        for k, run in enumerate(measured["runs"]):
            curve = [entry["cosine_on_span" if task == "wide" else "cosine"] for entry in run["curve"]]
            name = NAMES[task] + (" (on the span of the data)" if task == "wide" else "")
            axes.plot(range(1, len(curve) + 1), curve, color=color, label=name if k == 0 else "_", lw=1.4)
    axes.axhline(0.99, color="#718096", lw=0.8, ls="--")
    axes.set(xlabel="epoch", ylabel="|cosine| with the rotation", ylim=(0, 1.02))
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)

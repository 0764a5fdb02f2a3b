"""The figure and the sentences on averages over groups; every number is from the result file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.products.origin import origin

__all__ = ["NAMES", "haar", "plot"]

NAMES = {
    "haar": "Haar samples",
    "log_uniform": "uniform logarithm, weighted",
    "spaced": "spaced",
    "quadrature": "quadrature",
}
NOTHING = "There are no results of this version yet: `python benchmarks/haar.py` measures and writes them.\n"


def haar(table: dict[str, Any] | None) -> str:
    """Return what the figure shows, in words and with its largest and smallest numbers.

    Args:
        table: The result file, or None where there is none.
    """
    if table is None:
        return NOTHING
    result = table["result"]
    lines = ["| rotations | elements | relative error of the mean |", "|---|---|---|"]
    for way, rows in result["rotations"].items():
        lines.append(f"| {NAMES[way]} | {rows[-1]['elements']} | {rows[-1]['error']:.1e} |")
    moved = result["moved"]
    last = {name: moved[name][-1] for name in ("log_normal", "weighted")}
    share = {name: f"{row['ratio']:.3f} ± {row['error']:.3f}" for name, row in last.items()}
    text = (
        f"Left: the error of the mean of exp(tr A g) over SO(3), {result['repeats']} random translates. Right: the "
        f"mean of a bump moved by diag(eˢ, e⁻ˢ), relative to rest, over {moved['samples']:,} samples of SL(2); at "
        f"s = {last['weighted']['s']:g} it is {share['log_normal']} for log-normal samples as they are, and "
        f"{share['weighted']} with weights: invariant."
    )
    return "\n\n".join([text, "\n".join(lines), origin(table, threads=1)]) + "\n"


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw both panels.

    Args:
        result: ``result`` of the file.
        path: Of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
    colors = {"haar": "#718096", "log_uniform": "#dd6b20", "spaced": "#2b6cb0", "quadrature": "#2f855a"}
    for way, rows in result["rotations"].items():
        errors = [max(row["error"], 1e-16) for row in rows]
        left.plot([row["elements"] for row in rows], errors, "o-", ms=3, lw=1.2, color=colors[way], label=NAMES[way])
    left.set(xscale="log", yscale="log", xlabel="rotations", ylabel="relative error of the mean")
    for name, label, color in (("log_normal", "log-normal", "#dd6b20"), ("weighted", "weighted", "#2b6cb0")):
        rows = result["moved"][name]
        s = [row["s"] for row in rows]
        right.errorbar(s, [row["ratio"] for row in rows], [row["error"] for row in rows], color=color, label=label)
    right.axhline(1.0, color="#718096", lw=0.8, ls="--")
    right.set(xlabel="s", ylabel="integral of the moved function")
    for axes in (left, right):
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)

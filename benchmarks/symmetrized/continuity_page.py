"""Jumps and equivariance of symmetrised networks as Markdown and as a picture: every number is from the result file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.products.origin import origin

Table = dict[str, Any]
NOTHING = "There are no results of this version yet: `python benchmarks/continuity.py` measures and writes them.\n"


def _power(value: float) -> str:
    return "∞" if value == float("inf") else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e+")


def jumps(table: Table | None) -> str:
    """Return the table of jumps of the value, with those of the gradient in brackets."""
    if table is None:
        return NOTHING
    result = table["result"]
    methods = result["methods"]
    kinds = list(next(iter(methods.values()))["jumps"])
    lines = [f"| | {' | '.join(kinds)} | on the way off |", f"|---|{'---|' * (len(kinds) + 1)}"]
    for name, method in methods.items():
        cells = [f"{_power(cell['value'])} ({_power(cell['gradient'])})" for cell in method["jumps"].values()]
        lines.append(f"| {name} | {' | '.join(cells)} | {_power(max(method['across'].values()))} |")
    lines += [
        "",
        f"Largest difference of the value (of the gradient) among {result['tries']} neighbours of a cloud of "
        f"{result['points']} points, each {_power(result['step'])} away from it. Last column: the largest step of the "
        f"value, over all clouds, on straight ways that lead off them to a distance of {_power(result['far'])} in 60 "
        "geometric steps; "
        "about the slope times a tenth of that distance for a smooth function.",
        "",
        origin(table),
    ]
    return "\n".join(lines) + "\n"


def vectors(table: Table | None) -> str:
    """Return the table of jumps of a vector output of weighted frames."""
    if table is None:
        return NOTHING
    rows = table["result"]["vectors"]
    kept, rest = ([_power(row[part]) if row[part] else "0" for row in rows.values()] for part in ("kept", "rest"))
    lines = [
        f"| | {' | '.join(rows)} |",
        f"|---|{'---|' * len(rows)}",
        f"| along directions that the cloud's rotations keep | {' | '.join(kept)} |",
        f"| the rest | {' | '.join(rest)} |",
        "",
        f"Largest difference of a vector between the cloud and {table['result']['tries']} neighbours "
        f"{_power(table['result']['far'])} away from it.",
    ]
    return "\n".join(lines) + "\n"


def counts(table: Table | None) -> str:
    """Return the table of how many weighted frames there are."""
    if table is None:
        return NOTHING
    lines = ["| clouds | blended, mean | at most | Gram–Schmidt alone, mean | at most |", "|---|---|---|---|---|"]
    for name, row in table["result"]["counts"].items():
        cells = [f"{row[f'{key} mean']:.0f} | {row[f'{key} most']}" for key in ("blended", "alone")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return (
        "\n".join([*lines, "", "Passes through the network for one cloud under SE(3); twice as many under E(3)."])
        + "\n"
    )


def equivariance(table: Table | None) -> str:
    """Return the table of equivariance errors."""
    if table is None:
        return NOTHING
    rows = table["result"]["equivariance"]
    lines = ["| wrapper | generic clouds | degenerate clouds |", "|---|---|---|"]
    for mode, errors in rows.items():
        name = "`Canonicalize` with `canonicalize`" if mode == "Canonicalize" else f'`FrameAverage`, mode "{mode}"'
        degenerate = _power(errors["degenerate"]) if "degenerate" in errors else "refused"
        lines.append(f"| {name} | {_power(errors['generic'])} | {degenerate} |")
    return "\n".join([*lines, "", origin(table)]) + "\n"


def picture(table: Table | None, path: Path) -> None:
    """Draw the walk through a spherical top."""
    if table is None:
        return
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    shown = {
        "eigensolver, one pose (control)": ("eigensolver, one pose", "0.75", 1.2),
        "eigensolver, all signs (control)": ("eigensolver, all signs", "tab:orange", 1.2),
        "weighted": ("weighted frames", "tab:blue", 2.2),
    }
    figure, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for name, (label, color, width) in shown.items():
        values = np.array(table["result"]["methods"][name]["walk"])
        t = np.linspace(-1, 1, len(values))
        large = np.abs(np.diff(values)) > 0.1 * (values.max() - values.min())
        broken = np.insert(values, np.flatnonzero(large) + 1, np.nan)  # a jump is a gap, not a steep line
        axis.plot(np.insert(t, np.flatnonzero(large) + 1, np.nan), broken, label=label, color=color, linewidth=width)
    axis.axvline(0, color="0.4", linewidth=0.8, linestyle=":")
    axis.set_xlabel("strain of the cloud (a spherical top at 0)")
    axis.set_ylabel("output of the network")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, metadata={"Software": None})
    plt.close(figure)

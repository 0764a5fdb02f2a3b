"""Pictures of the comparisons, drawn from the result files into `docs/generated`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks._results import ROOT
from benchmarks.side_by_side.driver import OURS
from benchmarks.side_by_side.targets import median, rows_of

FOLDER = ROOT / "docs" / "generated"
Result = dict[str, Any]
COLOURS = {
    OURS: "#1b1b1b", "e3nn": "#4477aa", "e3nn compiled": "#66ccee", "cuequivariance": "#228833",
    "sphericart": "#ccbb44", "mace-torch": "#ee6677", "openequivariance": "#aa3377", "equitools unfused": "#999999",
}  # fmt: skip
_RATIOS = (
    ("conv_128_l2", "convolution\n128×(0,1,2) ⊗ 0..3"),
    ("conv_64_l2", "convolution\n64×(0,1,2) ⊗ 0..2"),
    ("radial_128_l2", "with radial layer\n128×(0,1,2) ⊗ 0..3"),
    ("sh_l3", "harmonics\nl ≤ 3"),
    ("sh_l6", "harmonics\nl ≤ 6"),
    ("contraction_l0", "contraction\nto 0e"),
    ("contraction_l01", "contraction\nto 0e+1o"),
)
_TASKS = (("forward", "forward"), ("forward_backward", "forward + backward"), ("double_backward", "double backward"))


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False)


def save_figure(figure: Any, name: str) -> None:
    from matplotlib import pyplot as plt

    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / name, dpi=130)
    plt.close(figure)


def _ratios(kernels: Result) -> bool:
    known = [(name, title) for name, title in _RATIOS if rows_of(kernels, name, threads=1)]
    if not known:
        return False
    figure, axes = new_figure(9, 7, 3, 1)
    labelled: set[str] = set()
    for axis, (task, title) in zip(axes[:, 0], _TASKS, strict=True):
        ticks = []
        position = 0.0
        for name, words in known:
            sides = {
                s: f
                for row in rows_of(kernels, name, task=task, threads=1)
                for s, f in row["sides"].items()
                if "ratio" in f
            }
            start = position
            for side, figures in sides.items():
                label = None if side in labelled else side
                labelled.add(side)
                axis.bar(position, figures["ratio"], 0.9, color=COLOURS.get(side, "#bbbbbb"), label=label)
                axis.annotate(
                    f"{figures['ratio']:.3g}", (position, figures["ratio"]), ha="center", va="bottom", fontsize=7
                )
                position += 1
            if sides:
                ticks.append(((start + position - 1) / 2, words))
            position += 0.8
        axis.set_yscale("log")
        axis.set_ylim(bottom=0.5)
        axis.axhline(1, color=COLOURS[OURS], linewidth=1)
        axis.set_xticks([place for place, _ in ticks], [words for _, words in ticks], fontsize=7)
        axis.set_ylabel("peer's time / ours")
        axis.set_title(title, loc="left", fontsize=9)
    figure.legend(loc="outside upper center", ncols=6, frameon=False)
    save_figure(figure, "bench_ratios.png")
    return True


def _rooflines(kernels: Result) -> bool:
    rows = [
        (
            f"{row.get('label', name.replace('_', ' '))}, {row['task'].replace('_', ' + ')}, nt{row['threads']}",
            row["roofline"],
        )
        for name in ("roofline",)
        for row in rows_of(kernels, name)
        if row.get("roofline", {}).get("credible")
    ]
    if not rows:
        return False
    figure, axes = new_figure(8, 0.9 + 0.26 * len(rows))
    axis = axes[0, 0]
    for place, (_, limit) in enumerate(rows):
        colour = {"memory": "#4477aa", "cache": "#66ccee"}.get(limit["binding"], "#ee6677")
        axis.barh(place, 100 * limit["fraction"], 0.7, color=colour)
        axis.annotate(f" {100 * limit['fraction']:.0f}", (100 * limit["fraction"], place), va="center", fontsize=7)
    axis.set_yticks(range(len(rows)), [label for label, _ in rows], fontsize=7)
    axis.invert_yaxis()
    axis.axvline(50, color=COLOURS[OURS], linewidth=1, linestyle="--")
    axis.set_xlabel("% of the limit that binds: memory (blue), cache (cyan), multiply-adds (red)")
    save_figure(figure, "bench_roofline.png")
    return True


def _scaling(kernels: Result) -> bool:
    panels: tuple[tuple[str, str, Callable[[dict[str, Any]], float]], ...] = (
        ("scaling_edges", "edges", lambda case: case["edges"]),
        ("scaling_channels", "channels", lambda case: int(case["irreps_in"].split("x", maxsplit=1)[0])),
        ("scaling_degree", "largest l", lambda case: int(case["irreps_in"].rsplit("x", 1)[1][:-1])),
    )
    if not any(rows_of(kernels, name) for name, _, _ in panels):
        return False
    figure, axes = new_figure(10, 3.6, 1, 3)
    labelled: set[str] = set()
    for axis, (name, label, value) in zip(axes[0], panels, strict=True):
        for task, style in (("forward", "-"), ("forward_backward", "--")):
            curves: dict[str, list[tuple[float, float]]] = {}
            for row in rows_of(kernels, name, task=task):
                for side in row["sides"]:
                    if (time := median(row, side)) is not None:
                        curves.setdefault(side, []).append((value(row["case"]), 1e3 * time / row["case"]["edges"]))
            for side, points in curves.items():
                text = f"{side}, {task.replace('_', ' + ')}"
                axis.plot(
                    *zip(*points, strict=True), style, marker="o", markersize=3, color=COLOURS.get(side, "#bbbbbb"),
                    label=None if text in labelled else text,
                )  # fmt: skip
                labelled.add(text)
        axis.set_yscale("log")
        if name != "scaling_degree":
            axis.set_xscale("log", base=10 if name == "scaling_edges" else 2)
        else:
            axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_xlabel(label)
    axes[0, 0].set_ylabel("µs an edge, one thread")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    save_figure(figure, "bench_scaling.png")
    return True


def _models(model: Result) -> bool:
    wanted = (
        ("water_fp32", "energy_forces", "water fp32\nautograd"),
        ("water_fp32", "inference", "water fp32\ninference"),
        ("water_fp32", "inference_tabulated", "water fp32\ntabulated"),
        ("water_fp64", "energy_forces", "water fp64\nautograd"),
        ("water_fp64", "inference", "water fp64\ninference"),
        ("ethanol_fp32", "energy_forces", "ethanol fp32\nautograd"),
        ("ethanol_fp32", "inference", "ethanol fp32\ninference"),
        ("calculator", "calculator_step", "calculator\nstep"),
        ("training", "training_step", "training\nstep"),
    )
    known = [(row, words) for name, task, words in wanted for row in rows_of(model, name, task=task, threads=1)]
    known = [(row, words) for row, words in known if median(row, OURS) is not None]
    if not known:
        return False
    figure, axes = new_figure(9, 3.4)
    axis = axes[0, 0]
    labelled: set[str] = set()
    for place, (row, _) in enumerate(known):
        for shift, side in ((-0.2, OURS), (0.2, "mace-torch")):
            if (time := median(row, side)) is not None:
                axis.bar(place + shift, time, 0.36, color=COLOURS[side], label=None if side in labelled else side)
                labelled.add(side)
                ratio = row["sides"][side].get("ratio")
                axis.annotate(
                    f"{ratio:.3g}×" if ratio else "", (place + shift, time), ha="center", va="bottom", fontsize=7
                )
    axis.set_yscale("log")
    axis.set_ylabel("ms, one thread")
    axis.set_xticks(range(len(known)), [words for _, words in known], fontsize=7)
    axis.legend(frameon=False)
    save_figure(figure, "bench_models.png")
    return True


def draw(kernels: Result | None, model: Result | None) -> dict[str, str]:
    """Draw what the results allow.

    Args:
        kernels: ``result`` of `kernels.json`.
        model: ``result`` of `model_step.json`.

    Returns:
        File names and captions of the pictures that were drawn.
    """
    drawn = {}
    if kernels is not None:
        for function, name, caption in (
            (_ratios, "bench_ratios.png", "How many times as long the peers take, one thread, medians."),
            (_rooflines, "bench_roofline.png", "How much of the machine's measured limit is reached."),
            (_scaling, "bench_scaling.png", "Time of an edge over the number of edges, of channels, and over l."),
        ):
            if function(kernels):
                drawn[name] = caption
    if model is not None and _models(model):
        drawn["bench_models.png"] = "Networks beside mace-torch's; the number is how many times as long it takes."
    return drawn


def draw_time_to_accuracy(table: Result, path: Path | None = None) -> str:
    """Draw the validation error against wall time; return the file's name."""
    figure, axes = new_figure(9, 3.4, 1, 2)
    for axis, quantity, label in zip(
        axes[0], ("energy_rmse_meV", "forces_rmse_meV_A"), ("energy RMSE, meV", "force RMSE, meV/Å"), strict=True
    ):
        for side, run in table["sides"].items():
            points = [(p["minutes"], p[quantity]) for p in run.get("history", []) if p.get(quantity) is not None]
            if points:
                axis.plot(*zip(*points, strict=True), color=COLOURS.get(side, "#bbbbbb"), label=side)
        axis.set_xlabel("wall time, minutes")
        axis.set_ylabel(label)
        axis.set_yscale("log")
    axes[0, 0].legend(frameon=False)
    name = "bench_time_to_accuracy.png"
    save_figure(figure, name if path is None else str(path))
    return name

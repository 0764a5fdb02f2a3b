"""FAENet's dynamics as Markdown: every number is from the result file."""

from __future__ import annotations

from typing import Any

from benchmarks.products.origin import origin
from benchmarks.side_by_side.report import number

__all__ = ["TITLES", "faenet_acac", "faenet_frames"]

#: What each run is called.
TITLES = {
    "gradient": "gradient of the energy, weighted frames",
    "direct": "direct forces, random frames (as published)",
    "direct_full": "direct forces, average over all frames",
}
NOTHING = "There are no results of this version yet: `python benchmarks/faenet_acac.py` measures and writes them.\n"


def _row(name: str, run: dict[str, Any], trained: dict[str, Any], symmetry: dict[str, float]) -> str:
    summary = run["summary"]
    broken = summary["broken_at_ps"]
    fate = f"broken after {number(broken)} ps" if broken is not None else "intact"
    if summary["stopped"]:
        fate += f", stopped at {number(summary['simulated_ps'])} ps"
    # the errors of the second network were measured with the frames that it was trained with
    errors = trained["test"]
    shown = f"{number(errors['forces']['rmse'])} | {number(errors['energy_per_atom']['rmse'])}"
    return (
        f"| {TITLES[name]} | {shown if name != 'direct_full' else '– | –'} | {symmetry['forces_meV_per_A']:.1e} "
        f"| {number(summary['drift_until_broken'])} | {number(summary['energy_max_deviation_meV_per_atom'])} "
        f"| {number(summary['temperature_last_ps_K'])} | {fate} |"
    )


def faenet_acac(table: dict[str, Any] | None) -> str:
    """Return the table of the runs."""
    if table is None:
        return NOTHING
    result = table["result"]
    lines = [
        "| forces and frames | test RMSE, forces (meV/Å) | energy (meV/atom) | forces after a rotation (meV/Å) "
        "| drift of the total energy (meV/atom/ps) | largest deviation (meV/atom) | last ps (K) | molecule |",
        "|---|---|---|---|---|---|---|---|",
    ]
    network = {name: "gradient" if name == "gradient" else "direct" for name in TITLES}
    for name in TITLES:
        if name in result["dynamics"]:
            trained = result["trained"][network[name]]
            lines.append(_row(name, result["dynamics"][name], trained, result["symmetry"][name]))
    trainings = "; ".join(
        f"`{name}` {number(row['minutes'])} minutes, {row['epochs']} epochs, {row['parameters']:,} parameters"
        for name, row in result["trained"].items()
    )
    first = result["dynamics"]["gradient"]["summary"]
    length = first["steps"] * first["timestep"] / 1000
    lines += [
        "",
        f"Acetylacetone, {result['trained']['gradient']['structures']['train']} structures for training; one training "
        f"each, on one thread of a machine with other work ({trainings}). {number(length)} ps "
        f"of constant-energy dynamics from {number(first['temperature'])} K with {number(first['timestep'])} fs steps, "
        "all from one and the same start. The drift is the slope of a straight line through the total energy, up to "
        "where the molecule breaks, if it does; the third column says how much forces change when the molecule is "
        "turned (root mean square).",
        "",
        origin(table),
        "",
    ]
    return "\n".join(lines)


def faenet_frames(table: dict[str, Any] | None) -> str:
    """Return the table of the numbers of frames."""
    if table is None:
        return "There are no results of this version yet: `python benchmarks/faenet_frames.py` writes them.\n"
    result = table["result"]
    kinds = list(next(iter(result["frames"].values())))
    lines = [f"| structure | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    lines += [
        f"| {name} | {' | '.join(str(counts[kind]) for kind in kinds)} |" for name, counts in result["frames"].items()
    ]
    lines += [
        "",
        f"Frames of E(3) with a cutoff of {number(result['cutoff_A'])} Å; displaced: each atom at random, "
        f"{number(result['displacement_A'])} Å along each axis. Counted by `{table['command']}`.",
        "",
    ]
    return "\n".join(lines)

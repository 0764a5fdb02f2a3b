"""Many-body products and networks with Gaunt products as Markdown: every number is from a result file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.products.origin import origin
from benchmarks.side_by_side.report import number, target_rows
from benchmarks.side_by_side.targets import Target

Table = dict[str, Any]
TASKS = {"forward": "forward", "forward_backward": "forward + backward", "double_backward": "double backward"}
OURS, OTHER = "Gaunt powers", "symmetric contraction"
#: What the test structures of each folder are.
NOTES = {
    "3bpa": (
        "The test structures of 3bpa are a random fifth of `train_300K`, held out of training and validation, and not "
        "the published test sets: its errors cannot be compared with published ones."
    ),
    "acac": "Those of acac are the separate file `test_MD_300K`.",
}
NOTHING = "There are no results of this version yet: `python benchmarks/{}.py` measures and writes them.\n"


def _ratio(result: Table | None, power: int, lmax: int, task: str) -> float | None:
    for row in (result or {}).get("rows", ()):
        if (row["power"], row["lmax"]) == (power, lmax):
            found: float | None = row.get("ratio", {}).get(task)
            return found
    return None


def targets(result: Table | None) -> Iterator[Target]:
    """Return what was asked for, beside what was measured.

    Args:
        result: ``result`` of `many_body.json`.
    """
    for task, words in TASKS.items():
        if task != "double_backward":
            yield Target("powers, ν = 4, L = 4", OTHER, words, 3, False, "×", _ratio(result, 4, 4, task))


def many_body(table: Table | None) -> str:
    """Return the table of powers beside symmetric contractions."""
    if table is None:
        return NOTHING.format("many_body")
    result = table["result"]
    lines = [
        "| ν | L | weights of a contraction | of the powers | contraction, ms | powers, ms | ratio "
        "| with backward | double backward | couplings made in |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        ours, other = row["sides"][OURS], row["sides"].get(OTHER)
        time = number(other["forward"]["median"]) if other else row["missing"]
        ratios = [f"{number(row['ratio'][task])} ×" if "ratio" in row else "–" for task in TASKS]
        lines.append(
            f"| {row['power']} | {row['lmax']} | {other['weights'] if other else '–'} | {ours['weights']} "
            f"| {time} | {number(ours['forward']['median'])} "
            f"| {' | '.join(ratios)} | {number(other['build_s']) + ' s' if other else '–'} |"
        )
    said = []
    for power in sorted({row["power"] for row in result["rows"]}):
        for task, words in TASKS.items():
            known = {r["lmax"]: r["ratio"][task] for r in result["rows"] if r["power"] == power and "ratio" in r}
            ahead = [lmax for lmax, ratio in known.items() if ratio > 1]
            if known:
                where = ", ".join(f"L = {lmax}" for lmax in ahead) or "no L"
                tried = f"{min(known)} … {max(known)}" if len(known) > 1 else f"{min(known)}"
                said.append(f"- ν = {power}, {words}: the powers are ahead at {where} (of L = {tried}).")
    head = (
        f"{result['nodes']} nodes, {result['channels']} channels, {result['species']} species, float32; both from all "
        f"degrees up to L to the degrees up to {result['lmax_out']}. A ratio above 1: the powers are faster."
    )
    return "\n\n".join([
        "![Times of many-body products](images/many_body.png)", target_rows(list(targets(result))), head,
        "\n".join(lines), "\n".join(said), origin(table, result["threads"]),
    ]) + "\n"  # fmt: skip


def trainings(table: Table | None) -> str:
    """Return networks of either product, trained on the same data."""
    if table is None or "trainings" not in table["result"]:
        return NOTHING.format("gaunt_training")
    result = table["result"]
    steps = {(row["data"], row["network"]): row for row in result.get("steps", ())}
    lines = [
        "| data | network | parameters | epochs | forces RMSE, meV/Å | energy RMSE, meV | step, ms | more memory, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["trainings"]:
        step = steps.get((row["data"], row["network"]))
        memory = number(step["peak_mb"]) if step and step["peak_mb"] is not None else "–"
        lines.append(
            f"| {row['data']} | {row['network']} | {row['parameters']:,} | {row['epochs']} "
            f"| {number(row['test']['forces']['rmse'])} | {number(row['test']['energy']['rmse'])} "
            f"| {number(step['step_ms']['median']) if step else '–'} | {memory} |"
        )
    counts = "; ".join(
        f"{name}: {row['structures']['train']} structures for training, {row['structures']['valid']} for validation, "
        f"{row['structures']['test']} for testing"
        for name in dict.fromkeys(r["data"] for r in result["trainings"])
        for row in [next(r for r in result["trainings"] if r["data"] == name)]
    )
    noted = " ".join(NOTES[name] for name in dict.fromkeys(r["data"] for r in result["trainings"]) if name in NOTES)
    many = next(iter(steps.values()))["structures"] if steps else "ten"
    head = (
        f"`many_body_mp` with {result['channels']} channels, {result['batch']} structures a batch, one seed, one "
        f"thread. {counts}. Steps of {many} structures: energy, forces and the gradient of a loss of both, in turns; "
        "memory is what a few steps, after a first one, add to the largest resident size."
    )
    doubt = f"{noted} Each network was trained with one seed: small differences between networks may be those of seeds."
    picture = "![Errors and step times](images/gaunt_training.png)"
    return "\n\n".join([picture, head, "\n".join(lines), doubt, origin(table, 1)]) + "\n"

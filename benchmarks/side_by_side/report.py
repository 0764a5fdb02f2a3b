"""The page of the measured comparisons, as Markdown: every number is from a result file."""

from __future__ import annotations

from typing import Any

from benchmarks.side_by_side import figures
from benchmarks.side_by_side.driver import OURS
from benchmarks.side_by_side.targets import Target, gpu_targets, median, targets

Table = dict[str, Any]
TITLES = {
    "conv_128_l2": "Convolution 128×(0e+1o+2e) ⊗ 0..3",
    "conv_64_l2": "Convolution 64×(0e+1o+2e) ⊗ 0..2",
    "radial_128_l2": "The first, with the radial network's last layer",
    "radial_64_l2": "The second, with the radial network's last layer",
    "roofline": "How much of the machine's limits the convolutions reach, with freed memory kept",
    "threads": "All threads and one, in turns",
    "sh_l3": "Spherical harmonics, l ≤ 3",
    "sh_l6": "Spherical harmonics, l ≤ 6",
    "contraction_l0": "Symmetric contraction to 0e",
    "contraction_l01": "Symmetric contraction to 0e+1o",
    "gaunt_l4": "Gaunt product, l ≤ 4, 128 channels, 1 000 rows",
    "gaunt_l8": "Gaunt product, l ≤ 8, 128 channels, 1 000 rows",
    "conv_gpu": "Convolution on a GPU, 160 000 edges",
    "water_fp32": "Energy and forces of 192 atoms of water, float32",
    "water_fp64": "Energy and forces of 192 atoms of water, float64",
    "ethanol_fp32": "Energy and forces of one ethanol molecule, float32",
    "calculator": "A step of the ASE calculator, water",
    "training": "A training step, ten acetylacetones",
    "water_gpu": "Energy and forces on a GPU, 5 184 atoms",
    "scaling_edges": "Scaling over edges",
    "scaling_channels": "Scaling over channels",
    "scaling_degree": "Scaling over l",
}
TASKS = {
    "forward": "forward", "forward_backward": "forward + backward",
    "forward_backward_x": "forward + backward (x alone)",
    "backward": "backward", "double_backward": "double backward",
    "double_backward_both": "double backward of edges and weights", "energy_forces": "by autograd",
    "inference": "inference, exact radials", "inference_tabulated": "inference, tabulated radials",
    "calculator_step": "step", "training_step": "step",
}  # fmt: skip


def number(value: float, digits: int = 3) -> str:
    """Return a figure with so many digits, without an exponent where it can be read without one."""
    text = f"{value:.{digits}g}"
    return f"{value:,.0f}" if "e+" in text else text


def target_rows(wanted: list[Target]) -> str:
    lines = ["| problem | beside | quantity | target | measured | |", "|---|---|---|---|---|---|"]
    for target in wanted:
        sign = "≤" if target.largest else "≥"
        measured = "not measured" if target.measured is None else f"{number(target.measured)}{target.unit}"
        mark = {True: "reached", False: f"{_shortfall(target)}", None: ""}[target.reached]
        lines.append(
            f"| {target.problem} | {target.peer} | {target.quantity} | {sign} {number(target.wanted)}{target.unit} "
            f"| {measured} | {mark} |"
        )
    return "\n".join(lines)


def _shortfall(target: Target) -> str:
    measured = target.measured or 0.0
    factor = measured / target.wanted if target.largest else target.wanted / (measured or 1e-30)
    return f"**short by {number(factor)}×**"


def _problem(name: str, record: dict[str, Any]) -> str:
    rows = [row for row in record["rows"] if "sides" in row]
    sides = [OURS, *sorted({side for row in rows for side in row["sides"]} - {OURS})]
    lines = [
        f"| task | threads | {' | '.join(sides)} | error | limit |",
        f"|---|---|{'---|' * len(sides)}---|---|",
    ]
    notes: dict[str, str] = {}
    for row in rows:
        cells = []
        for side in sides:
            figures_ = row["sides"].get(side)
            time = median(row, side)
            if figures_ and "note" in figures_:
                notes.setdefault(f"{side}: {figures_['note']}", "")
            if time is None:
                cells.append("–")
                continue
            ratio = f" ({number(figures_['ratio'])}×)" if figures_ and "ratio" in figures_ else ""
            cells.append(f"{number(time)}{ratio}")
        error = row["sides"].get(OURS, {}).get("error")
        limit = row.get("roofline")
        label = f"{row['label']}, " if "label" in row else ""
        lines.append(
            f"| {label}{TASKS.get(row['task'], row['task'])} | {row['threads']} | {' | '.join(cells)} "
            f"| {'–' if error is None else f'{error:.1e}'} | {_limit(limit)} |"
        )  # fmt: skip
    parts = [f"### {TITLES.get(name, name)}", "\n".join(lines)]
    if notes:
        parts.append("\n".join(f"- {note}" for note in notes))
    clock = ", by processor time" if any(row["clock"] == "cpu" for row in rows) else ""
    parts.append(f"*{record['date']}, commit {record['commit']}{clock}*")
    return "\n\n".join(parts)


def _limit(limit: dict[str, Any] | None) -> str:
    if limit is None:
        return "–"
    if not limit["credible"]:
        return f"limit of the {limit['binding']} measured too low"
    rates = f"{number(limit['gbs'])} GB/s"
    if limit["gflops"] > 0:
        rates += f", {number(limit['gflops'])} GFLOP/s"
    return f"{number(100 * limit['fraction'], 2)} % ({limit['binding']}; {rates})"


def _memory(tables: list[Table]) -> str:
    """By how much each process grows; and how large one is that does nothing else."""
    lines = ["| problem | task | equitools, MB | peers, MB |", "|---|---|---|---|"]
    for table in tables:
        for name, record in table["result"]["problems"].items():
            for row in record["rows"]:
                whole = "memory" in row
                if not whole and ("sides" not in row or row["threads"] != 1 or name.startswith("scaling")):
                    continue
                found = {
                    side: figures_.get("peak_mb" if whole else "extra_mb")
                    for side, figures_ in (row["memory"] if whole else row["sides"]).items()
                }
                texts = {side: ("" if whole else "+ ") + number(mb) for side, mb in found.items() if mb is not None}
                if OURS in texts:
                    peers = ", ".join(f"{side} {text}" for side, text in texts.items() if side != OURS)
                    problem = f"whole process, water, {row['dtype']}" if whole else TITLES.get(name, name)
                    lines.append(f"| {problem} | {TASKS.get(row['task'], row['task'])} | {texts[OURS]} | {peers} |")
    return "\n".join(lines)


def _machine(table: Table) -> str:
    lines = [
        "| threads | multiply-adds fp32 / fp64 | GEMM fp32 / fp64 | read | copy | triad |",
        "|---|---|---|---|---|---|",
    ]
    for threads, found in table["result"]["machine"].items():
        fma = (
            f"{number(found['fma_gflops'])} / {number(found['fma64_gflops'])} GFLOP/s" if "fma_gflops" in found else "–"
        )
        lines.append(
            f"| {threads} | {fma} | {number(found['gemm_gflops'])} / {number(found['gemm64_gflops'])} GFLOP/s "
            + "".join(f"| {number(found[f'{name}_gbs'])} GB/s " for name in ("read", "copy", "triad"))
            + "|"
        )
    return "\n".join(lines)


def _where(table: Table) -> str:
    versions = {name: version for side in table["result"]["versions"].values() for name, version in side.items()}
    versions |= {f"e3nn ({side})": v["e3nn"] for side, v in table["result"]["versions"].items() if "e3nn" in v}
    versions.pop("e3nn", None)
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    partial = "" if table["result"]["complete"] else " (not all problems have been run)"
    return f"*{table['processor']}; {listed}; {table['date']}; `{table['command']}`{partial}*"


def _imports(table: Table) -> str:
    rows = table["result"]["problems"].get("imports", {}).get("rows", [])
    lines = ["| import | seconds beyond torch's |", "|---|---|"]
    lines += [f"| `{row['statement']}` | {number(row['seconds'], 2)} |" for row in rows]
    return "### Import time\n\n" + "\n".join(lines) if rows else ""


def page(kernels: Table | None, model: Table | None, gpu: tuple[Table | None, Table | None] = (None, None)) -> str:
    """Return the page; pictures are drawn beside it.

    Args:
        kernels: Content of `kernels.json`.
        model: Content of `model_step.json`.
        gpu: Contents of the same files of a run on a GPU.
    """
    tables = [table for table in (kernels, model) if table is not None]
    if not tables:
        return "There are no results of this version yet: `make bench-kernels` measures and writes them.\n"
    results = [table["result"] if table else None for table in (kernels, model, *gpu)]
    parts = ["## Targets", target_rows(targets(results[0], results[1]))]
    if any(gpu):
        parts += ["On one H200:", target_rows(gpu_targets(results[2], results[3]))]
    parts += ["## The machine", _machine(tables[0]), *(_where(table) for table in tables)]
    pictures = figures.draw(results[0], results[1])
    parts += [f"![{caption}](generated/{name})\n\n*{caption}*" for name, caption in pictures.items()]
    for heading, table in (
        ("Operations", kernels),
        ("Networks", model),
        ("On a GPU: operations", gpu[0]),
        ("On a GPU: networks", gpu[1]),
    ):
        if table is None:
            continue
        parts.append(f"## {heading}")
        parts += [
            _problem(name, record)
            for name, record in table["result"]["problems"].items()
            if any("sides" in row for row in record["rows"])
        ]
        parts.append(_imports(table))
    parts += ["## Memory", _memory(tables)]
    return "\n\n".join(part for part in parts if part) + "\n"


def time_to_accuracy(table: Table | None) -> str:
    """Return the section on validation error against wall time; empty where it was not run."""
    if table is None:
        return ""
    name = figures.draw_time_to_accuracy(table["result"])
    lines = ["| side | parameters | minutes | energy RMSE, meV | force RMSE, meV/Å |", "|---|---|---|---|---|"]
    for side, run in table["result"]["sides"].items():
        if "test" not in run:
            lines.append(f"| {side} | – | – | {run.get('note', 'not finished')} | – |")
            continue
        lines.append(
            f"| {side} | {run['parameters']:,} | {number(run['minutes'])} | {number(run['test']['energy_rmse_meV'])} "
            f"| {number(run['test']['forces_rmse_meV_A'])} |"
        )
    return "\n".join([
        "\n## Time to accuracy\n",
        f"{table['result']['data']}; the table is of the 300 K test set.\n",
        *lines,
        f"\n![Validation error against wall time](generated/{name})\n",
        f"*{table['processor']}; {table['date']}; `{table['command']}`*\n",
    ])  # fmt: skip

"""Turn `benchmarks/results/*.json` into the tables of the README and the docs.

    python benchmarks/render.py          # rewrite them
    python benchmarks/render.py --check  # exit 1 if the README is not what the results say

No number is written by hand: what stands between the markers comes from the files.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import ROOT, load
from benchmarks.lie import affine_page, decompositions_page, gfno_page, haar_page, lie_gan_page, per_page
from benchmarks.products import crossover_page, diagrams_page, many_body_page, matrix_functions_page
from benchmarks.products import page as products
from benchmarks.side_by_side import report
from benchmarks.symmetrized import (
    adaptation_page,
    continuity_page,
    faenet_page,
    frames_page,
    lorentz_page,
    nbody_page,
)
from equitools._atomic import write_text

README = ROOT / "README.md"
PAGE = ROOT / "docs" / "generated" / "results.md"
COMPARISONS = ROOT / "docs" / "generated" / "benchmarks.md"
#: Parts of pages, by the name of the file in `docs/generated`.
PARTS = {
    "gaunt": (products.gaunt, "gaunt"),
    "gaunt_reach": (products.reach, "gaunt"),
    "gaunt_vectors": (products.vectors, "gaunt"),
    "tetris": (products.tetris, "tetris"),
    "gaunt_auto": (crossover_page.auto, "gaunt_crossover"),
    "gaunt_errors": (crossover_page.errors, "gaunt_crossover"),
    "gaunt_pole": (crossover_page.pole, "gaunt_crossover"),
    "many_body": (many_body_page.many_body, "many_body"),
    "diagrams": (diagrams_page.figures, "diagrams"),
    "diagram_exponents": (diagrams_page.exponents, "diagrams"),
    "lorentz": (lorentz_page.lorentz, "lorentz"),
    "per_inertia": (per_page.per_inertia, "per_inertia"),
    "gaunt_training": (many_body_page.trainings, "gaunt_training"),
    "frames": (frames_page.frames, "frames"),
    "matrix_functions": (matrix_functions_page.matrix_functions, "matrix_functions"),
    "continuity": (continuity_page.jumps, "continuity"),
    "continuity_counts": (continuity_page.counts, "continuity"),
    "continuity_vectors": (continuity_page.vectors, "continuity"),
    "frames_equivariance": (continuity_page.equivariance, "continuity"),
    "nbody": (nbody_page.page, "nbody"),
    "gfno": (gfno_page.page, "gfno"),
    "faenet_acac": (faenet_page.faenet_acac, "faenet_acac"),
    "faenet_frames": (faenet_page.faenet_frames, "faenet_frames"),
    "affine_digits": (affine_page.page, "affine_digits"),
    "affine_digits_choice": (affine_page.choice, "affine_digits_choice"),
    "adaptation": (adaptation_page.page, "adaptation"),
    "adaptation_choice": (adaptation_page.choice, "adaptation_choice"),
    "haar": (haar_page.haar, "haar"),
    "lie_gan": (lie_gan_page.lie_gan, "lie_gan"),
    "decompositions": (decompositions_page.page, "decompositions"),
    "decompositions_limits": (decompositions_page.limits, "decompositions"),
    "decompositions_jordan": (decompositions_page.jordan, "decompositions"),
}


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}g}"


def _where(table: dict[str, Any]) -> str:
    versions = table["versions"]
    return (
        f"{table['processor']}, {table['threads']} thread{'s' * (table['threads'] > 1)}, torch {versions['torch']}, "
        f"equitools {versions['equitools']}, {table['date']}; `{table['command']}`"
    )


def _errors(test: dict[str, Any]) -> str:
    rows = ["| quantity | unit | MAE | RMSE | label's own spread |", "|---|---|---|---|---|"]
    rows += [
        f"| {name.replace('_', ' ')} | {row['unit']} | {_number(row['mae'])} | {_number(row['rmse'])} "
        f"| {_number(row['spread'])} |"
        for name, row in test.items()
        if isinstance(row, dict) and "mae" in row
    ]
    return "\n".join(rows)


def _acac(table: dict[str, Any]) -> str:
    result = table["result"]
    nve = result["nve"]
    intact = "intact" if nve["molecule_intact"] else "broken"
    changes = f" (bonds: {'; '.join(nve['changed_bonds'])})" if nve["changed_bonds"] else ""
    return "\n\n".join([
        f"**Acetylacetone** (500 DFT configurations at 300 K: {result['structures']['train']} for training, "
        f"{result['structures']['valid']} for validation; tested on {result['structures']['test']} others). "
        f"`many_body_mp`, {result['parameters']:,} parameters, {_number(result['training_minutes'])} minutes of "
        "training.",
        _errors(result["test"]),
        f"NVE from 300 K with 0.5 fs steps for {_number(nve['simulated_ps'])} ps: energy drift "
        f"{_number(nve['energy_drift_meV_per_atom_per_ps'])} meV/atom/ps, largest deviation "
        f"{_number(nve['energy_max_deviation_meV_per_atom'])} meV/atom, molecule {intact}{changes}.",
        f"*{_where(table)}*",
    ])  # fmt: skip


def _copper(table: dict[str, Any]) -> str:
    result, cell = table["result"], table["result"]["relaxation"]
    return "\n\n".join([
        "**Copper** (EMT's energies, forces and stresses of strained and rattled cells; "
        f"{result['structures']['train']} for training, {result['structures']['test']} for testing), "
        f"{_number(result['training_minutes'])} minutes of "
        "training.",
        _errors(result["test"]),
        f"A distorted cell relaxes to a = {cell['lattice_constant_model_A']:.4f} Å; with EMT itself to "
        f"{cell['lattice_constant_emt_A']:.4f} Å ({cell['difference_percent']:+.3f} %).",
        f"*{_where(table)}*",
    ])  # fmt: skip


def _demo(table: dict[str, Any]) -> str:
    result = table["result"]
    forces, energy, dynamics = result["errors"]["forces"], result["errors"]["energy"], result["dynamics"]
    share = 100 * forces["mae"] / forces["mean_absolute"]
    return "\n\n".join([
        f"The demo took {_number(result['wall_minutes'], 2)} minutes on {table['threads']} cores. Its network has a "
        f"force MAE of {_number(share, 2)} % of the mean absolute force on held-out frames, an energy MAE of "
        f"{_number(energy['mae'])} meV per molecule, and an NVE drift of "
        f"{_number(dynamics['energy_drift_meV_per_atom_per_ps'])} meV/atom/ps at 300 K.",
        f"*{_where(table)}*",
    ])  # fmt: skip


RENDERERS = {"demo": _demo, "acac": _acac, "copper": _copper}


def _between(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{content}\n{end}{tail}"


def main() -> int:
    """Render, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    tables = {name: render(table) for name, render in RENDERERS.items() if (table := load(name)) is not None}
    readme = README.read_text(encoding="utf-8")
    measured = "\n\n".join(tables[name] for name in ("acac", "copper") if name in tables)
    wanted = _between(_between(readme, "demo", tables.get("demo", "")), "results", measured)
    if check:
        if wanted != readme:
            print("README.md is not what benchmarks/results say: run `python benchmarks/render.py`.")
            return 1
        return 0
    pictures = {
        "acac": ["acac_parity.png", "acac_learning_curve.png", "acac_energy.png"],
        "copper": ["copper_parity.png"],
        "demo": ["demo_parity.png", "demo_learning_curve.png", "demo_energy.png"],
    }
    sections = []
    for name, text in tables.items():
        images = "\n\n".join(f"![{image}](images/{image})" for image in pictures[name])
        sections.append(f"## {name}\n\n{text}\n\n{images}")
    write_text(PAGE, "\n\n".join(sections) + "\n")
    write_text(
        COMPARISONS,
        report.page(load("kernels"), load("model_step"), (load("kernels_cuda"), load("model_step_cuda")))
        + report.time_to_accuracy(load("time_to_accuracy")),
    )
    for name, (render, source) in PARTS.items():
        write_text(COMPARISONS.parent / f"{name}.md", render(load(source)))
    continuity_page.picture(load("continuity"), COMPARISONS.parent / "continuity.png")
    if wanted != readme:
        write_text(README, wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())

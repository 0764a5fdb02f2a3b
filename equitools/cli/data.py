"""``equitools data``: look at a data set, and split it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from equitools.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from equitools.data import Structure

__all__ = ["app", "info", "split"]

app = typer.Typer(
    name="data",
    help="Look at a data set ([bold]info[/bold]) and divide it ([bold]split[/bold]).",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Labels = Annotated[
    list[str] | None,
    typer.Option("--label", "-l", help="Where a label is, as NAME=KEY; for example energy=REF_energy, or "
                 "stress=virial:REF_virial. May be repeated."),
]  # fmt: skip


@app.command(name="info")
def info(
    files: Annotated[list[Path], typer.Argument(help="Extended XYZ, ASE database or trajectory, rMD17 .npz, ...")],
    label: Labels = None,
    cutoff: Annotated[float, typer.Option(help="Å, for the number of neighbours.")] = 5.0,
) -> None:
    """Print what a data set holds: labels with units and spread, elements, sizes, periodicity, neighbours."""
    from rich.console import Console

    from equitools import data

    structures = data.read(list(files), _labels(label))
    console = Console()
    console.print(data.census(structures))
    console.print(_facts(structures, cutoff))


@app.command(name="split")
def split(
    files: Annotated[list[Path], typer.Argument(help="The files, in the order in which training will read them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The split file (JSON) to write.")],
    train: Annotated[str, typer.Option(help="Fraction (0.8) or count (800).")] = "0.8",
    valid: Annotated[str, typer.Option(help="Fraction or count.")] = "0.1",
    test: Annotated[str, typer.Option(help="Fraction or count.")] = "0.1",
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
) -> None:
    """Draw disjoint training, validation and test sets and write their indices to a file."""
    from rich.console import Console

    from equitools import data

    parts = {name: _part(name, text) for name, text in (("train", train), ("valid", valid), ("test", test))}
    structures = data.read(list(files))
    drawn = data.split(len(structures), parts, seed)
    details = {"seed": seed, "parts": parts, "files": [file.name for file in files]}
    data.write_split(output, drawn, structures, details)
    sizes = ", ".join(f"{name} {len(indices)}" for name, indices in drawn.items())
    Console().print(f"{len(structures)} structures → {sizes}; written to {output}", highlight=False)


def _labels(pairs: list[str] | None) -> dict[str, str]:
    found = {}
    for pair in pairs or []:
        name, equals, key = pair.partition("=")
        if not (name and equals and key):
            raise ConfigError(f"--label takes NAME=KEY, for example energy=REF_energy, but was given {pair!r}.")
        found[name] = key
    return found


def _part(name: str, text: str) -> int | float:
    """A number with a decimal point is a fraction, one without is a count."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ConfigError(
            f"--{name} takes a fraction such as 0.8 or a count such as 800, but was given {text!r}."
        ) from None


def _facts(structures: Sequence[Structure], cutoff: float) -> Table:
    from collections import Counter

    from ase.data import chemical_symbols
    from rich.table import Table

    from equitools import data

    numbers = data.statistics(structures, cutoff)
    sizes = sorted(len(structure) for structure in structures)
    formulas = Counter(structure.formula for structure in structures)
    axes = Counter("".join("T" if flag else "F" for flag in structure.pbc) for structure in structures)
    table = Table(show_header=False, title="Structures")
    table.add_row("structures", str(numbers.num_structures))
    table.add_row("atoms (min, mean, max)", f"{sizes[0]}, {numbers.num_atoms_mean:.1f}, {sizes[-1]}")
    table.add_row("elements", ", ".join(chemical_symbols[z] for z in numbers.species))
    shown = ", ".join(f"{formula} ({count})" for formula, count in formulas.most_common(5))
    table.add_row("formulas", shown + (f", and {len(formulas) - 5} more" if len(formulas) > 5 else ""))
    table.add_row("periodic axes", ", ".join(f"{flags} ({count})" for flags, count in axes.most_common()))
    table.add_row(f"neighbours within {cutoff:g} Å (mean)", f"{numbers.avg_num_neighbors or 0.0:.2f}")
    if numbers.energy_per_atom_std is not None:
        table.add_row(
            "energy spread after fitted reference energies", f"{1e3 * numbers.energy_per_atom_std:.3g} meV/atom"
        )
    if numbers.forces_rms is not None:
        table.add_row("forces, RMS", f"{numbers.forces_rms:.4g} eV/Å")
    table.add_row("fingerprint", data.fingerprint(structures)[:23] + "…")
    return table

"""``equitools relax``: relaxation of a structure, and of its cell, with a trained potential."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from equitools._atomic import write_text
from equitools.cli.structures import make_calculator, read_structure

if TYPE_CHECKING:
    from equitools.integrations.relaxation import RelaxResult

__all__ = ["relax"]


def relax(
    model: Annotated[Path, typer.Argument(help="Trained potential (.safetensors).")],
    structure: Annotated[Path, typer.Argument(help="Structure, in any file that ASE reads.")],
    fmax: Annotated[float, typer.Option(help="Largest force that is left, eV/Å.")] = 0.01,
    cell: Annotated[bool, typer.Option("--cell/--no-cell", help="Relax the cell, too.")] = False,
    optimizer: Annotated[str, typer.Option(help="bfgs, lbfgs, fire or bfgs-line.")] = "bfgs",
    steps: Annotated[int, typer.Option(help="At most so many.")] = 500,
    pressure: Annotated[float, typer.Option(help="External pressure in GPa, with --cell.")] = 0.0,
    output: Annotated[Path, typer.Option("--output", "-o", help="Relaxed structure.")] = Path("relaxed.extxyz"),
    index: Annotated[int, typer.Option(help="Which structure of the file; -1 is the last.")] = -1,
    device: Annotated[str, typer.Option(help="Such as cpu or cuda.")] = "cpu",
    dtype: Annotated[str | None, typer.Option(help="float32 or float64; otherwise the model's own.")] = None,
    radial: Annotated[str, typer.Option(help="exact, or tabulated: faster, with a small error.")] = "exact",
) -> None:
    """Relax a structure, and with --cell its cell; writes it with energy and forces, and its figures as .json beside.

    Exit code 1 says that the largest force is still above --fmax after --steps.
    """
    from equitools.integrations import relaxation

    console = Console()
    atoms = read_structure(structure, index)
    calculator = make_calculator(model, device, dtype, radial)
    columns = (TextColumn("relaxing"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[live]}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("relax", total=steps, live="")

        def on_step(step: int, energy: float, force: float) -> None:
            bar.update(task, completed=step, live=f"E {energy:.4f} eV  fmax {force:.4f} eV/Å")

        result = relaxation.relax(atoms, calculator, fmax, cell, optimizer, steps, pressure, output, on_step)
        bar.update(task, total=max(result.steps, 1), completed=max(result.steps, 1))
    write_text(output.with_suffix(".json"), json.dumps(result.summary(), indent=1) + "\n")
    console.print(_table(result))
    console.print(f"The structure is in {output}", highlight=False)
    if not result.converged:
        Console(stderr=True).print(
            f"[bold red]Not converged:[/bold red] after {result.steps} steps the largest force is above {fmax} eV/Å. "
            "Give more --steps, or try --optimizer fire.",
            highlight=False,
        )
        raise typer.Exit(1)


def _table(result: RelaxResult) -> Table:
    state = "converged" if result.converged else "not converged"
    table = Table("", "before", "after", title=f"Relaxation, {state} in {result.steps} steps")
    table.add_row("energy (eV)", *(f"{value:.5f}" for value in result.energy))
    table.add_row("largest force (eV/Å)", *(f"{value:.5f}" for value in result.largest_force))
    if result.pressure is not None and result.volume is not None:
        table.add_row("pressure (GPa)", *(f"{value:.4f}" for value in result.pressure))
        table.add_row("volume (Å³)", *(f"{value:.3f}" for value in result.volume))
        a, b, c, alpha, beta, gamma = result.atoms.cell.cellpar()
        table.add_row("cell (Å, °)", "", f"{a:.4f} {b:.4f} {c:.4f}  {alpha:.2f} {beta:.2f} {gamma:.2f}")
    return table

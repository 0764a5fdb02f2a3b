"""``equitools md``: molecular dynamics with a trained potential."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from equitools._atomic import write_text
from equitools.cli.structures import make_calculator, read_structure
from equitools.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from equitools.integrations.dynamics import DynamicsResult, DynamicsSettings

__all__ = ["dynamics_progress", "dynamics_table", "md", "save_energy_plot"]


def md(
    model: Annotated[Path, typer.Argument(help="Trained potential (.safetensors).")],
    structure: Annotated[Path, typer.Argument(help="Start structure, in any file that ASE reads.")],
    ensemble: Annotated[
        str, typer.Option(help="nve (velocity Verlet), nvt (Langevin) or npt (isotropic Martyna-Tobias-Klein).")
    ] = "nve",
    temperature: Annotated[float, typer.Option(help="K; of the thermostat and of the first velocities.")] = 300.0,
    timestep: Annotated[float, typer.Option(help="fs.")] = 0.5,
    steps: Annotated[int | None, typer.Option(help="Number of steps; or give --time.")] = None,
    time: Annotated[float | None, typer.Option(help="Length of the run in ps; or give --steps.")] = None,
    equilibrate: Annotated[float, typer.Option(help="ps of Langevin dynamics before the recorded run.")] = 0.0,
    friction: Annotated[float, typer.Option(help="Of the Langevin thermostat, 1/ps.")] = 10.0,
    pressure: Annotated[float, typer.Option(help="GPa, for npt.")] = 0.0,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("md"),
    interval: Annotated[int, typer.Option(help="Steps between two records.")] = 10,
    seed: Annotated[int, typer.Option(help="Of velocities and thermostat.")] = 0,
    keep_velocities: Annotated[bool, typer.Option("--keep-velocities", help="Start with those in the file.")] = False,
    index: Annotated[int, typer.Option(help="Which structure of the file; -1 is the last.")] = -1,
    device: Annotated[str, typer.Option(help="Such as cpu or cuda.")] = "cpu",
    dtype: Annotated[str | None, typer.Option(help="float32 or float64; otherwise the model's own.")] = None,
    radial: Annotated[str, typer.Option(help="exact, or tabulated: faster, with a small error.")] = "exact",
) -> None:
    """Run molecular dynamics and report how well the energy is conserved.

    Leaves in the output folder: trajectory.extxyz, thermo.csv, md.json and energy_conservation.png.
    """
    from equitools.integrations.dynamics import DynamicsSettings, run_dynamics

    console = Console()
    settings = DynamicsSettings(
        ensemble=ensemble,
        temperature=temperature,
        timestep=timestep,
        steps=_steps(steps, time, timestep),
        interval=interval,
        seed=seed,
        friction=friction,
        pressure=pressure,
        equilibration=round(equilibrate * 1000 / timestep) if timestep > 0 else 0,
        keep_velocities=keep_velocities,
    )
    atoms = read_structure(structure, index)
    calculator = make_calculator(model, device, dtype, radial)
    with dynamics_progress(settings, console) as on_record:
        result = run_dynamics(atoms, calculator, settings, output, on_record)
    write_text(output / "md.json", json.dumps(result.summary(), indent=1) + "\n")
    console.print(dynamics_table(result))
    save_energy_plot(result, output / "energy_conservation.png", console)
    console.print(f"Results are in {output}/", highlight=False)
    if result.stopped is not None:
        Console(stderr=True).print(f"[bold red]The run was {result.stopped}[/bold red]", highlight=False)
        raise typer.Exit(1)


def _steps(steps: int | None, time: float | None, timestep: float) -> int:
    if steps is not None and time is not None:
        raise ConfigError(f"Give either --steps or --time, not both ({steps} steps and {time} ps were given).")
    if time is not None and timestep > 0:
        if not time > 0:
            raise ConfigError(f"--time must be a positive number of ps, but {time} was given.")
        return max(1, round(time * 1000 / timestep))
    return 2000 if steps is None else steps


@contextmanager
def dynamics_progress(
    settings: DynamicsSettings, console: Console, label: str = "dynamics"
) -> Iterator[Callable[[int, dict[str, float], float], None]]:
    """Show a progress bar with temperature and drift while the block runs; yields the callback for `run_dynamics`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[live]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(label, total=settings.steps + settings.equilibration, live="")

        def on_record(step: int, row: dict[str, float], drift: float) -> None:
            live = f"T {row['temperature_K']:5.0f} K"
            if settings.ensemble == "nve" and step >= 0:
                live += f"  drift {drift:+8.3f} meV/atom/ps"
            name = f"{label} (equilibrating)" if step < 0 else label
            bar.update(task, completed=step + settings.equilibration, description=name, live=live)

        yield on_record


def dynamics_table(result: DynamicsResult) -> Table:
    """Return the figures of a run as a table for the terminal."""
    settings = result.settings
    temperature = result.table["temperature_K"]
    table = Table(title=f"{settings.ensemble.upper()} dynamics, {len(result.atoms)} atoms", show_header=False)
    rows: list[tuple[str, Any]] = [
        ("length", f"{result.steps_done * settings.timestep / 1000:.3f} ps ({result.steps_done} steps)"),
        ("time a step", f"{1000 * result.seconds / max(1, result.steps_done + settings.equilibration):.2f} ms"),
        ("temperature", f"{temperature.mean():.1f} ± {temperature.std():.1f} K"),
    ]
    if settings.ensemble == "nve":
        rows += [
            ("energy drift", f"{result.drift:+.4f} meV/atom/ps"),
            ("largest deviation", f"{result.max_deviation:.4f} meV/atom"),
        ]
    if settings.ensemble == "npt":
        volume = result.table["volume_A3"]
        rows.append(("volume", f"{volume.mean():.2f} ± {volume.std():.2f} Å³"))
    if result.intact is not None:
        rows.append(("molecule", "intact" if result.intact else "broken"))
        rows.append(("bonds", "; ".join(result.changed_bonds[:5]) or "unchanged"))
    for name, value in rows:
        table.add_row(name, str(value))
    return table


def save_energy_plot(result: DynamicsResult, path: Path, console: Console) -> bool:
    """Draw energies and temperature against time; says so and returns False where matplotlib is not installed."""
    from equitools.training.plots import energy_conservation_plot

    settings, table = result.settings, result.table
    title = f"{settings.ensemble.upper()}, {len(result.atoms)} atoms, timestep {settings.timestep:g} fs"
    try:
        energy_conservation_plot(
            path,
            table["time_fs"] / 1000,
            table["potential_eV"],
            table["kinetic_eV"],
            len(result.atoms),
            table["temperature_K"],
            title,
        )
    except MissingDependencyError as error:
        console.print(f"No plot: {error}", highlight=False, markup=False)
        return False
    return True

"""``equitools check``: does a trained model transform as it claims, and are its forces the gradient of its energy?"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer
from rich.console import Console

from equitools.errors import ConfigError

if TYPE_CHECKING:
    from equitools.graph import Graph
    from equitools.testing import Report
    from equitools.testing.differences import Difference

__all__ = ["CheckResult", "check", "run_checks"]


@dataclass(frozen=True)
class CheckResult:
    """What was found for one structure.

    Attributes:
        structure: Its name: where it comes from.
        reports: Equivariance in float64 and, if it is another, in the model's own dtype.
        differences: Forces (and stress, where periodic) against finite differences; empty where there is no energy.
    """

    structure: str
    reports: tuple[Report, ...]
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        """Whether everything is within its tolerance."""
        return all(report.passed for report in self.reports) and all(each.passed for each in self.differences)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        found = [{**asdict(each), "passed": each.passed} for each in self.differences]
        return {
            "structure": self.structure,
            "passed": self.passed,
            "equivariance": [report.to_dict() for report in self.reports],
            "finite_differences": [{k: _plain(v) for k, v in each.items()} for each in found],
        }


def _plain(value: Any) -> Any:
    finite = not isinstance(value, float) or abs(value) < float("inf")  # NaN and infinity are not JSON
    return value if finite else str(value)


def check(
    model: Annotated[Path, typer.Argument(help="Model file (.safetensors).")],
    data: Annotated[
        Path | None, typer.Argument(help="Structures, in any file that ASE reads; otherwise random molecules are made.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="E(3), SE(3), O(3), SO(3), T(3) or S_n; otherwise what the model claims.")
    ] = None,
    structures: Annotated[int, typer.Option(help="How many structures to check, spread over the file.", min=1)] = 3,
    trials: Annotated[int, typer.Option(help="Random transformations of each kind.", min=1)] = 3,
    seed: Annotated[int, typer.Option(help="Of the transformations and the random molecules.")] = 0,
    device: Annotated[str, typer.Option(help="Such as cpu or cuda.")] = "cpu",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print the table of every structure.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON and nothing else.")] = False,
) -> None:
    """Check a trained model: equivariance in float64 and in its own precision, and forces against finite differences.

    Structures are moved, rotated, mirrored and relabelled, their neighbour lists built again, and outputs compared with
    what they should become. Exit code 0: passed; 1: something is broken; 2: the input is at fault.
    """
    from equitools.models import load

    network = load(model, device=device)
    claimed = group or str(getattr(network, "symmetry", "E(3)"))
    chosen = _structures(network, data, structures, seed)
    results = [run_checks(network, graph, name, claimed, trials, seed) for name, graph in chosen]
    passed = all(result.passed for result in results)
    if as_json:
        found = {"model": str(model), "group": claimed, "passed": passed, "structures": [r.to_dict() for r in results]}
        typer.echo(json.dumps(found, indent=1, allow_nan=False))
    else:
        _show(results, verbose)
    if not passed:
        raise typer.Exit(1)


def run_checks(
    model: torch.nn.Module, graph: Graph, name: str, group: str = "E(3)", trials: int = 3, seed: int = 0
) -> CheckResult:
    """Check a model on one structure.

    Args:
        model: A loaded model.
        graph: The structure.
        name: What to call it.
        group: What the model should be equivariant under.
        trials: Random transformations of each kind.
        seed: Of these.

    Returns:
        Reports in float64 (where the device has it) and in the model's dtype, and finite differences if there are
        an energy and forces.
    """
    from equitools.testing import equivariance_report
    from equitools.testing.differences import compare_forces, compare_stress
    from equitools.testing.equivariance import model_dtype
    from equitools.testing.structures import structures_of

    double = graph.device.type != "mps"
    dtypes = dict.fromkeys([torch.float64, model_dtype(model)] if double else [model_dtype(model)])
    reports = tuple(equivariance_report(model, graph, group, trials=trials, dtype=dtype, seed=seed) for dtype in dtypes)
    outputs = {row.output for row in reports[0].rows}
    differences: list[Difference] = []
    if double and {"energy", "forces"} <= outputs:
        structure = structures_of(graph)[0]
        on_cpu = model if graph.device.type == "cpu" else _on_cpu(model)
        differences.append(compare_forces(on_cpu, structure, seed=seed))
        if "stress" in outputs:
            differences.append(compare_stress(on_cpu, structure))
    return CheckResult(name, reports, tuple(differences))


def _on_cpu(model: torch.nn.Module) -> torch.nn.Module:
    import copy

    return copy.deepcopy(model).cpu()


def _structures(model: torch.nn.Module, data: Path | None, count: int, seed: int) -> list[tuple[str, Graph]]:
    from equitools.testing.equivariance import model_cutoff, model_dtype

    cutoff, dtype = model_cutoff(model), model_dtype(model)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    wide = torch.float64 if device.type != "mps" else dtype
    if data is None:
        return _random_structures(model, cutoff, wide, device, count, seed)
    from equitools.data.read import read

    found = read(data)
    if not found:
        raise ConfigError(f"There is no structure in {data}; give a file with at least one.")
    picked = sorted({round(k * (len(found) - 1) / max(count - 1, 1)) for k in range(min(count, len(found)))})
    chosen = []
    for place in picked:
        extras = tuple(found[place].extras)
        graph = found[place].to_graph(cutoff, wide, labels=(), extras=extras).to(device=device)
        chosen.append((f"{data}, structure {place}", graph))
    return chosen


def _random_structures(
    model: torch.nn.Module, cutoff: float, dtype: torch.dtype, device: torch.device, count: int, seed: int
) -> list[tuple[str, Graph]]:
    from equitools.testing import build_graph, random_molecule

    species = tuple(getattr(model, "species", ()))
    if not species:
        raise ConfigError(
            "The model does not say which elements it knows, so no random molecules can be made. Give a data file: "
            "equitools check MODEL DATA."
        )
    sizes = [9, 6, 12, 4, 16]
    chosen = []
    for k in range(count):
        size = max(sizes[k % len(sizes)], min(len(species), 16))
        molecule = random_molecule(species, size, seed + k)
        chosen.append((f"random molecule of {size} atoms", build_graph([molecule], cutoff, dtype, device)))
    return chosen


def _show(results: list[CheckResult], verbose: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    worst = [max((r.reports[k] for r in results), key=_badness) for k in range(len(results[0].reports))]
    if not verbose:
        for report in worst:
            console.print(str(report), markup=False)
            console.print()
    for result in results:
        console.print(f"[bold]{_escape(result.structure)}[/bold]")
        for report in result.reports:
            name = str(report.dtype).removeprefix("torch.")
            console.print(f"  {_mark(report.passed)} {name}: {_escape(report.verdict)}")
            if verbose:
                console.print(f"\n{report}\n", markup=False)
        for each in result.differences:
            console.print(f"  {_mark(each.passed)} {_escape(str(each))}")
    broken = sum(not result.passed for result in results)
    total = f"{len(results)} structure{'s' if len(results) != 1 else ''}"
    if broken:
        console.print(f"\n[bold red]BROKEN[/bold red] on {broken} of {total}")
    else:
        console.print(f"\n[bold green]passed[/bold green] on {total}")


def _badness(report: Report) -> float:
    return report.worst_row.ratio


def _mark(passed: bool) -> str:
    return "[green]✓[/green]" if passed else "[red]✗[/red]"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)

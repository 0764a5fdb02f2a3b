"""``equitools eval``: the errors of a trained model on labelled structures."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["eval"]


def eval(  # noqa: A001 - the command is called eval
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model's .safetensors file.")],
    data: Annotated[list[Path], typer.Argument(metavar="DATA...", help="Files with labelled structures.")],
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels", metavar="NAME=KEY", help="Key of a label in the file, for example energy=REF_energy; repeat."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Structures computed at once.")] = 32,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write a parity plot (PNG).")] = None,
    output: Annotated[Path | None, typer.Option("--output", help="Write the errors as JSON.")] = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", help="Write the predictions as extended XYZ.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = "cpu",
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="float32 or float64; the file's own if left out.")
    ] = None,
) -> None:
    """Print the error table of MODEL on DATA: MAE and RMSE with units, beside the labels' own spread.

    Compared is what the model gives and all structures have a label for.
    """
    import torch
    from rich.console import Console

    from equitools import models
    from equitools.data import read
    from equitools.errors import ConfigError
    from equitools.training.metrics import evaluate, labelled_outputs
    from equitools.training.plots import parity_plot
    from equitools.training.predictions import write_predictions
    from equitools.training.prepare import DTYPES, file_facts, graphs_of
    from equitools.training.report import error_table, machine, versions

    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"--dtype must be float32 or float64, but was given {dtype!r}.")
    network = models.load(model, device=device, dtype=None if dtype is None else DTYPES[dtype])
    keys = {name: name for name in getattr(network, "outputs", {})}
    keys.update(_label_keys(labels or []))
    structures = read([str(path) for path in data], labels=keys or None)
    precision: torch.dtype = next(iter(network.parameters())).dtype
    graphs = graphs_of(structures, network.cutoff, precision)
    names = labelled_outputs(network, graphs)
    absent = [name for name in _label_keys(labels or []) if name not in names]
    if absent:
        raise ConfigError(
            f"--labels names {absent[0]!r}, but the model gives no such output or not all structures have the label. "
            f"Compared can be: {', '.join(names)}."
        )
    start = time.perf_counter()
    metrics = evaluate(network, graphs, batch_size, names, keep=True)
    seconds = time.perf_counter() - start
    console = Console()
    title = f"{model.name} on {data[0].name if len(data) == 1 else f'{len(data)} files'}"
    console.print(error_table({"": metrics}, title))
    if plot is not None:
        console.print(f"Parity plot: {parity_plot(plot, metrics.pairs(), model.name)}", highlight=False)
    if predictions is not None:
        console.print(f"Predictions: {write_predictions(predictions, structures, metrics)}", highlight=False)
    if output is not None:
        from equitools._atomic import write_text

        facts = {
            "model": file_facts([str(model)]),
            "files": file_facts([str(path) for path in data]),
            "structures": len(structures),
            "errors": metrics.to_dict(),
            "seconds": seconds,
            "dtype": str(precision).removeprefix("torch."),
            "versions": versions(),
            "machine": machine(device),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        write_text(output, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        console.print(f"Errors as JSON: {output}", highlight=False)


def _label_keys(items: list[str]) -> dict[str, str]:
    """Turn ``["energy=REF_energy"]`` into a mapping."""
    from equitools.errors import ConfigError

    keys = {}
    for item in items:
        name, equals, key = item.partition("=")
        if not equals or not name or not key:
            raise ConfigError(f"--labels takes NAME=KEY, such as energy=REF_energy, but was given {item!r}.")
        keys[name] = key
    return keys

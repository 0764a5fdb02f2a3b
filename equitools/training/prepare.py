"""From a configuration to graphs: read, census, split, neighbour lists once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console

from equitools import data
from equitools.errors import ConfigError, DataError
from equitools.graph import Graph
from equitools.training.config import SetConfig, TrainConfig

if TYPE_CHECKING:
    from equitools.data import Structure

__all__ = ["DTYPES", "Sets", "file_facts", "graphs_of", "prepare_sets", "write_split"]

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass
class Sets:
    """The graphs of a run, with their neighbour lists.

    Attributes:
        train: Training set.
        valid: Validation set, by which the best weights are chosen.
        test: Test set, or empty.
        split: ``train``, ``valid``, ``test`` -> numbers of the training files' structures.
        fingerprint: Of the training files' structures, by which a resumed run knows its data again.
        files: Facts about the files that were read (see `file_facts`).
        structures: The training files' structures.
    """

    train: Sequence[Graph]
    valid: Sequence[Graph]
    test: Sequence[Graph] = ()
    split: dict[str, list[int]] = field(default_factory=dict)
    fingerprint: str = ""
    files: list[dict[str, Any]] = field(default_factory=list)
    structures: Sequence[Structure] = ()


def file_facts(paths: Sequence[str]) -> list[dict[str, Any]]:
    """Return name, size and SHA-256 of files, so that a result says which data it is of without naming a folder."""
    facts = []
    for name in paths:
        path = Path(name)
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            facts.append({"name": path.name, "bytes": path.stat().st_size, "sha256": digest})
    return facts


def prepare_sets(config: TrainConfig, console: Console, known: Mapping[str, list[int]] | None = None) -> Sets:
    """Read the files, print the label census, split, and make the graphs.

    Args:
        config: The run.
        console: Where the census goes.
        known: A split that is to be used again (of a resumed run).

    Raises:
        DataError: A file is missing or empty, the split does not fit, or units look wrong.
        LabelError: A weighted label is absent (how often is said).
    """
    names = list(config.weights())
    structures = _read(config.data.train, config)
    console.print(data.census(structures))
    stamp = data.fingerprint(structures)
    parts = _known(known, len(structures)) if known else _split(structures, config)
    chosen = {name: [structures[index] for index in indices] for name, indices in parts.items()}
    for name, part in (("valid", config.data.valid), ("test", config.data.test)):
        if part is not None and part.path is not None:
            chosen[name] = _read(part.path, config)
    for items in chosen.values():
        data.require(items, names, allow_suspicious=config.data.allow_suspicious)
    cutoff, dtype = _cutoff(config), DTYPES[config.dtype]
    everything = graphs_of([structure for items in chosen.values() for structure in items], cutoff, dtype)
    graphs, start = {}, 0
    for name, items in chosen.items():
        graphs[name] = everything[start : start + len(items)]
        start += len(items)
    paths = [*config.data.train, *_paths(config.data.valid), *_paths(config.data.test)]
    return Sets(graphs["train"], graphs["valid"], graphs.get("test", []), parts, stamp, file_facts(paths), structures)


def write_split(path: Path, sets: Sets, seed: int) -> None:
    """Write how the training files were divided, for sets that came from files."""
    if sets.structures:
        arrays = {name: np.array(indices, dtype=np.int64) for name, indices in sets.split.items()}
        data.write_split(path, arrays, sets.structures, {"seed": seed})


def _paths(part: SetConfig | None) -> list[str]:
    return [] if part is None or part.path is None else part.path


def _read(paths: Sequence[str], config: TrainConfig) -> list[Structure]:
    labels = dict(config.data.labels)
    for name in config.weights():
        labels.setdefault(name, name)
    return list(data.read(list(paths), labels=labels))


def _cutoff(config: TrainConfig) -> float:
    cutoff = config.model.get("cutoff")
    if not isinstance(cutoff, int | float) or isinstance(cutoff, bool) or not 0 < cutoff < float("inf"):
        raise ConfigError(f"model.cutoff must be a positive number in Å, but was given {cutoff!r}.")
    return float(cutoff)


def graphs_of(structures: Sequence[Structure], cutoff: float, dtype: torch.dtype) -> list[Graph]:
    """Make the graphs of structures, with the labels and extra inputs that all of them have.

    Args:
        structures: From `equitools.data.read`; at least one.
        cutoff: Å.
        dtype: Of the geometry; energy labels stay float64.
    """
    extras = sorted(set.intersection(*(set(structure.extras) for structure in structures)))
    dataset = data.Dataset(structures, cutoff, dtype, extras=extras)
    return [dataset[index] for index in range(len(dataset))]


def _split(structures: Sequence[Structure], config: TrainConfig) -> dict[str, list[int]]:
    """Draw the sets from the training files' structures, or read them from ``data.split``."""
    if config.data.split is not None:
        return _read_split(config, structures)
    total = len(structures)
    sizes = {}
    for name, part in (("test", config.data.test), ("valid", config.data.valid)):
        if part is not None and part.path is None:
            sizes[name] = part.count if part.count is not None else max(1, round((part.fraction or 0.0) * total))
    rest = total - sum(sizes.values())
    sizes["train"] = rest if config.data.train_size is None else config.data.train_size
    if sum(sizes.values()) > total or sizes["train"] < 1:
        wanted = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise DataError(f"The training files hold {total} structures, too few for the wanted sets ({wanted}).")
    drawn = data.split(total, sizes, seed=config.seed)
    return {name: [int(index) for index in drawn[name]] for name in sizes}


def _known(parts: Mapping[str, list[int]], total: int) -> dict[str, list[int]]:
    largest = max((index for indices in parts.values() for index in indices), default=-1)
    if largest >= total:
        raise DataError(
            f"The run that is to be resumed used structure {largest}, but the training files hold {total} now."
        )
    return {name: list(indices) for name, indices in parts.items()}


def _read_split(config: TrainConfig, structures: Sequence[Structure]) -> dict[str, list[int]]:
    stored = data.read_split(Path(str(config.data.split)), structures)
    parts = {}
    for name, part in (("train", None), ("valid", config.data.valid), ("test", config.data.test)):
        if part is not None and part.path is not None:
            continue
        if name in stored:
            parts[name] = [int(index) for index in stored[name]]
        elif name != "test":
            raise DataError(f"The split file {config.data.split!r} has no set {name!r}; it has {', '.join(stored)}.")
    return parts

"""From a configuration to graphs: read, census, split, neighbour lists once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from equitools import data
from equitools.errors import ConfigError, DataError
from equitools.graph import Graph
from equitools.training.config import SetConfig, TrainConfig

if TYPE_CHECKING:
    from equitools.data import Structure

__all__ = ["DTYPES", "Sets", "file_facts", "prepare_sets"]

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass
class Sets:
    """The graphs of a run, with their neighbour lists.

    Attributes:
        train: Training set.
        valid: Validation set, by which the best weights are chosen.
        test: Test set, or empty.
        split: ``train``, ``valid``, ``test`` -> numbers of the training files' structures.
        files: Facts about the files that were read (see `file_facts`).
    """

    train: Sequence[Graph]
    valid: Sequence[Graph]
    test: Sequence[Graph] = ()
    split: dict[str, list[int]] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)


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
        DataError: A file is missing or empty, or the split does not fit.
        LabelError: A weighted label is absent (how often is said).
    """
    names = list(config.weights())
    structures = _read(config.data.train, config)
    console.print(data.census(structures))
    parts = dict(known) if known else _split(len(structures), config)
    chosen = {name: [structures[index] for index in indices] for name, indices in parts.items()}
    for name, part in (("valid", config.data.valid), ("test", config.data.test)):
        if part is not None and part.path is not None:
            chosen[name] = _read(part.path, config)
    for name, items in chosen.items():
        if not items and name != "test":
            raise DataError(f"The {name} set is empty. It is described by data.{name} and data.train_size.")
        if items:
            data.require(items, names)
    graphs = {name: _graphs(items, config) for name, items in chosen.items()}
    paths = [*config.data.train, *_paths(config.data.valid), *_paths(config.data.test)]
    return Sets(graphs["train"], graphs["valid"], graphs.get("test", []), parts, file_facts(paths))


def _paths(part: SetConfig | None) -> list[str]:
    return [] if part is None or part.path is None else part.path


def _read(paths: Sequence[str], config: TrainConfig) -> list[Structure]:
    return list(data.read(list(paths), labels=config.data.labels or None))


def _graphs(structures: Sequence[Structure], config: TrainConfig) -> list[Graph]:
    cutoff = config.model.get("cutoff")
    if not isinstance(cutoff, int | float) or isinstance(cutoff, bool) or cutoff <= 0:
        raise ConfigError(f"model.cutoff must be a positive number in Å, but was given {cutoff!r}.")
    dataset = data.Dataset(structures, float(cutoff), DTYPES[config.dtype])
    return [dataset[index] for index in range(len(dataset))]


def _split(total: int, config: TrainConfig) -> dict[str, list[int]]:
    """Draw the sets from the training files' structures, or read them from ``data.split``."""
    if config.data.split is not None:
        return _read_split(config, total)
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
    return {name: sorted(int(index) for index in drawn[name]) for name in sizes}


def _read_split(config: TrainConfig, total: int) -> dict[str, list[int]]:
    stored = data.read_split(Path(str(config.data.split)))
    parts = {}
    for name, part in (("train", None), ("valid", config.data.valid), ("test", config.data.test)):
        if part is not None and part.path is not None:
            continue
        if name in stored:
            parts[name] = [int(index) for index in stored[name]]
        elif name != "test":
            raise DataError(f"The split file {config.data.split!r} has no set {name!r}; it has {', '.join(stored)}.")
    largest = max((index for indices in parts.values() for index in indices), default=-1)
    if largest >= total:
        raise DataError(
            f"The split file {config.data.split!r} names structure {largest}, but the training files hold {total}."
        )
    return parts

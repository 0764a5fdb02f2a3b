"""Errors of a model on labelled graphs: exact over the whole set, with the label's own spread beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from equitools.errors import LabelError
from equitools.graph import batch as collate
from equitools.models import HeadModel, Potential
from equitools.training.losses import class_indices, matching, target_of

if TYPE_CHECKING:
    from equitools.graph import Graph

__all__ = ["Metrics", "Row", "evaluate", "labelled_outputs"]

#: Quantity -> (unit of the reported numbers, factor from the library's unit).
_UNITS = {
    "energy": ("meV", 1e3),
    "energy_per_atom": ("meV/atom", 1e3),
    "forces": ("meV/Å", 1e3),
    "stress": ("meV/Å³", 1e3),
    "dipole": ("e·Å", 1.0),
}


@dataclass(frozen=True)
class Row:
    """One line of an error table.

    Attributes:
        name: Quantity: ``energy``, ``energy_per_atom``, ``forces``, ``stress``, or a head's output.
        unit: Of the numbers in this row.
        mae: Mean absolute error of all components.
        rmse: Root mean square error of all components.
        spread: The label's standard deviation (of energies: after the model's reference energies are taken off).
        magnitude: The label's mean absolute value (None for energies, whose zero is a convention).
        count: Structures.
        accuracy: Share of right classes (classification only, where mae and rmse are None).
        cross_entropy: In nats (classification only).
        majority: Share of the most frequent class (classification only).
    """

    name: str
    unit: str
    mae: float | None
    rmse: float | None
    spread: float | None
    magnitude: float | None
    count: int
    accuracy: float | None = None
    cross_entropy: float | None = None
    majority: float | None = None


class _Sums:
    """Sums of errors, and the moments of the labels in a form that merges without loss of digits."""

    def __init__(self) -> None:
        self.count, self.absolute, self.square = 0, 0.0, 0.0
        self.mean, self.moment, self.magnitude = 0.0, 0.0, 0.0

    def add(self, error: Tensor, label: Tensor) -> None:
        if not error.numel():
            return
        error, label = error.detach().double().reshape(-1), label.detach().double().reshape(-1)
        mean = label.mean()
        parts = torch.stack(
            [error.abs().sum(), error.square().sum(), mean, (label - mean).square().sum(), label.abs().sum()]
        )
        self.merge([float(error.numel()), *parts.tolist()])

    def merge(self, values: Sequence[float]) -> None:
        """Chan's formula for the mean and the second moment of two samples together."""
        count, absolute, square, mean, moment, magnitude = values
        if not count:
            return
        total, gap = self.count + count, mean - self.mean
        self.moment += moment + gap * gap * self.count * count / total
        self.mean += gap * count / total
        self.count = int(total)
        self.absolute, self.square, self.magnitude = (
            self.absolute + absolute,
            self.square + square,
            self.magnitude + magnitude,
        )

    def values(self) -> list[float]:
        return [float(self.count), self.absolute, self.square, self.mean, self.moment, self.magnitude]


class Metrics:
    """Accumulates the errors of a model over batches.

    Args:
        names: Labels to compare: of a potential ``energy``, ``forces``, ``stress``; of a head its output.
        classes: Name of a class label -> number of classes.
        keep: Keep labels and predictions, for a parity plot (`pairs`).

    Properties:
        exact_over_batches: the result does not depend on how the set was cut into batches, nor on the number of
            processes (to rounding).
    """

    def __init__(self, names: Sequence[str], classes: Mapping[str, int] | None = None, keep: bool = False) -> None:
        self.names, self.classes, self.keep = list(names), dict(classes or {}), keep
        self.structures = 0
        regressions = [name for name in self.names if name not in self.classes]
        self._sums: dict[str, _Sums] = {}
        for name in regressions:
            self._sums[name] = _Sums()
            if name == "energy":
                self._sums["energy_per_atom"] = _Sums()
        # right answers, cross entropy, answers; then how often each class occurs
        self._counts = {name: np.zeros(3 + number) for name, number in self.classes.items()}
        self._pairs: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in self.names}

    def update(self, outputs: Mapping[str, Tensor], graph: Graph) -> None:
        """Take in one batch."""
        self.structures += graph.num_graphs
        for name in self.names:
            label, output = target_of(graph, name), outputs[name].detach()
            if name in self.classes:
                self._classify(name, output, label)
                continue
            label = matching(label.to(output.dtype), output, name)
            error = output - label
            if name == "energy" and "interaction_energy" in outputs:
                # the spread that counts is that beyond the energies of isolated atoms
                offset = output - outputs["interaction_energy"].detach()
                atoms = graph.num_nodes_per_graph.clamp(min=1)
                self._sums["energy"].add(error, label - offset)
                self._sums["energy_per_atom"].add(error / atoms, (label - offset) / atoms)
            else:
                self._sums[name].add(error, label)
            if self.keep:
                self._pairs[name].append((label.cpu(), output.cpu()))

    def _classify(self, name: str, output: Tensor, label: Tensor) -> None:
        number = self.classes[name]
        indices = class_indices(label, number, name)
        entropy = functional.cross_entropy(output.double(), indices, reduction="sum")
        right = (output.argmax(dim=-1) == indices).sum()
        self._counts[name] += np.array(
            [float(right), float(entropy), len(indices), *torch.bincount(indices, minlength=number).tolist()]
        )
        if self.keep:
            self._pairs[name].append((indices.cpu(), output.argmax(dim=-1).cpu()))

    def reduce(self) -> None:
        """Join the sums of all processes of a distributed run; all of them must call this."""
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
            return
        gathered: list[Any] = [None] * distributed.get_world_size()
        state = {
            "structures": self.structures,
            "sums": {name: sums.values() for name, sums in self._sums.items()},
            "counts": {name: counts.tolist() for name, counts in self._counts.items()},
        }
        distributed.all_gather_object(gathered, state)
        self.structures = sum(item["structures"] for item in gathered)
        for name in self._sums:
            self._sums[name] = _Sums()
            for item in gathered:
                self._sums[name].merge(item["sums"][name])
        for name in self._counts:
            self._counts[name] = np.sum([item["counts"][name] for item in gathered], axis=0)

    def mean_square(self, name: str) -> float:
        """Return the mean square error in the library's units (of ``energy``: per molecule)."""
        sums = self._sums[name]
        return sums.square / max(1, sums.count)

    def score(self, weights: Mapping[str, float], kind: str = "mse") -> float:
        """Return the weighted error that "best" goes by: lower is better.

        Args:
            weights: Label -> weight, as in the loss.
            kind: ``mae`` adds mean absolute errors, anything else mean squares; classes add their cross entropy.
        """
        total = 0.0
        for name, weight in weights.items():
            if name in self.classes:
                counts = self._counts[name]
                total += weight * counts[1] / max(1.0, counts[2])
                continue
            sums = self._sums["energy_per_atom" if name == "energy" else name]
            total += weight * (sums.absolute if kind == "mae" else sums.square) / max(1, sums.count)
        return float(total)

    def rows(self) -> list[Row]:
        """Return the table."""
        table = []
        for name, sums in self._sums.items():
            unit, factor = _UNITS.get(name, ("", 1.0))
            n = max(1, sums.count)
            table.append(
                Row(
                    name=name,
                    unit=unit,
                    mae=factor * sums.absolute / n,
                    rmse=factor * math.sqrt(sums.square / n),
                    spread=factor * math.sqrt(max(0.0, sums.moment) / n),
                    magnitude=None if name.startswith("energy") else factor * sums.magnitude / n,
                    count=self.structures,
                )
            )
        for name, counts in self._counts.items():
            n = max(1.0, counts[2])
            share = float(counts[3:].max() / n)
            table.append(
                Row(
                    name, "", None, None, None, None, self.structures,
                    accuracy=float(counts[0] / n), cross_entropy=float(counts[1] / n), majority=share,
                )
            )  # fmt: skip
        return table

    def row(self, name: str) -> Row:
        """Return one row.

        Raises:
            LabelError: That quantity was not compared.
        """
        for row in self.rows():
            if row.name == name:
                return row
        raise LabelError(f"{name!r} was not compared; there are {', '.join(row.name for row in self.rows())}.")

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the table as plain values: quantity -> fields of `Row` that are not None."""
        return {
            row.name: {key: value for key, value in asdict(row).items() if value is not None and key != "name"}
            for row in self.rows()
        }

    def pairs(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return labels and predictions by name, flattened, where ``keep`` was set."""
        return {
            name: (
                torch.cat([label.reshape(-1) for label, _ in parts]).double().numpy(),
                torch.cat([output.reshape(-1) for _, output in parts]).double().numpy(),
            )
            for name, parts in self._pairs.items()
            if parts
        }


def labelled_outputs(model: torch.nn.Module, graphs: Iterable[Graph]) -> list[str]:
    """Return the outputs of a model that every graph has a label for.

    Raises:
        LabelError: There is none.
    """
    outputs = ["energy", "forces", "stress"] if isinstance(model, Potential) else list(getattr(model, "outputs", {}))
    present = [set(graph.labels) for graph in graphs]
    common = set.intersection(*present) if present else set()
    names = [name for name in outputs if name in common]
    if not names:
        raise LabelError(
            f"The model gives {', '.join(outputs) or 'no outputs'}, but the labels that all structures have are: "
            f"{', '.join(sorted(common)) or 'none'}. Say under which keys the file keeps them, such as "
            f"--labels {outputs[0] if outputs else 'energy'}=KEY."
        )
    return names


def class_numbers(model: torch.nn.Module) -> dict[str, int]:
    """Return the number of classes of each output that is a classification."""
    if not isinstance(model, HeadModel) or model.head.kind != "class":
        return {}
    return {name: shape[-1] for name, (_, shape, _) in model.outputs.items()}


def predict(model: torch.nn.Module, graph: Graph, names: Sequence[str]) -> dict[str, Tensor]:
    """Return what a model gives for the named labels, without a graph of derivatives."""
    with torch.no_grad():
        if isinstance(model, Potential):
            return model(graph, forces="forces" in names, stress="stress" in names)
        return model(graph)


def evaluate(
    model: torch.nn.Module,
    graphs: Iterable[Graph],
    batch_size: int = 32,
    names: Sequence[str] | None = None,
    keep: bool = False,
) -> Metrics:
    """Compare a model with labels.

    Args:
        model: A `Potential` or `HeadModel`; its mode is restored.
        graphs: Labelled graphs, such as an `equitools.data.Dataset`; made with at least the model's cutoff.
        batch_size: Structures computed at once.
        names: Labels to compare; None: all that the model gives and all graphs have.
        keep: See `Metrics`.

    Returns:
        The metrics; ``.rows()`` is the table.

    Raises:
        LabelError: A label is absent.
    """
    graphs = [graphs[index] for index in range(len(graphs))] if isinstance(graphs, Sequence) else list(graphs)
    names = labelled_outputs(model, graphs) if names is None else list(names)
    parameter = next(iter(model.parameters()))
    metrics = Metrics(names, class_numbers(model), keep)
    training = model.training
    model.eval()
    try:
        for start in range(0, len(graphs), batch_size):
            part = collate(graphs[start : start + batch_size]).to(parameter.device, parameter.dtype)
            metrics.update(predict(model, part, names), part)
    finally:
        model.train(training)
    return metrics

"""What training minimises: weighted errors of a potential's outputs, or of a head's.

Energies are compared per atom, so that large and small molecules weigh the same, and the difference is taken in the
energies' own float64: total energies of -9000 eV leave no meV digits in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from equitools.errors import ConfigError, LabelError, ShapeError, nearest

if TYPE_CHECKING:
    from equitools.graph import Graph

__all__ = ["KINDS", "HeadLoss", "PotentialLoss", "pointwise", "require_labels", "target_of"]

KINDS = ("mse", "mae", "huber")


def pointwise(error: Tensor, kind: str = "mse", delta: float = 0.01) -> Tensor:
    """Return the mean of a penalty of each component of an error.

    Args:
        error: Any shape.
        kind: ``mse``: e²; ``mae``: abs(e); ``huber``: e²/2 up to ``delta``, and δ·(abs(e) − δ/2) beyond.
        delta: Where huber turns linear, in the unit of the error.

    Returns:
        A scalar; 0 for an error without components.

    Raises:
        ConfigError: Another kind.

    Properties:
        huber_is_continuous: value and slope of ``huber`` are continuous at ``delta``.
    """
    if error.numel() == 0:
        return error.sum()
    if kind == "mse":
        return error.square().mean()
    if kind == "mae":
        return error.abs().mean()
    if kind == "huber":
        return functional.huber_loss(error, torch.zeros_like(error), delta=delta)
    raise ConfigError(f"There is no loss {kind!r}. {nearest(kind, KINDS)}")


def target_of(graph: Graph, name: str) -> Tensor:
    """Return a label of a graph.

    Raises:
        LabelError: The graph does not have it; what it has is named.
    """
    label = graph.labels.get(name)
    if label is None:
        has = ", ".join(sorted(graph.labels)) or "none"
        raise LabelError(
            f"The label {name!r} has a weight in the loss, but a structure has no such label (it has: {has}). "
            f"Say under which key the file keeps it, data.labels={{{name}: KEY}}, or set its weight to 0."
        )
    return label


def require_labels(graphs: list[Graph], names: list[str], what: str) -> None:
    """Check before training that each graph has each label and that it is finite.

    Args:
        graphs: The data set.
        names: Labels with a weight.
        what: Name of the data set, for the message.

    Raises:
        LabelError: Absent somewhere (how often is said), or NaN or infinite.
    """
    for name in names:
        absent = [index for index, graph in enumerate(graphs) if name not in graph.labels]
        if absent:
            has = sorted(set().union(*(graph.labels for graph in graphs)))
            raise LabelError(
                f"The label {name!r} has a weight in the loss, but {len(absent)} of the {len(graphs)} structures of "
                f"the {what} set lack it (the first is number {absent[0]}); labels that occur: "
                f"{', '.join(has) or 'none'}. Say under which key the file keeps it, data.labels={{{name}: KEY}}, "
                "or set its weight to 0."
            )
        bad = [i for i, graph in enumerate(graphs) if not bool(torch.isfinite(graph.labels[name]).all())]
        if bad:
            raise LabelError(
                f"The label {name!r} is NaN or infinite in {len(bad)} of the {len(graphs)} structures of the {what} "
                f"set (the first is number {bad[0]}). Remove these structures or mend their labels."
            )


class PotentialLoss:
    """Weighted loss of energy, forces and stress.

    ``w_E <p((E − E*)/N)> + w_F <p(F − F*)> + w_S <p(σ − σ*)>``: means over structures and components of the penalty p
    (see `pointwise`); E/N in eV, F in eV/Å, σ in eV/Å³.

    Args:
        weights: ``energy``, ``forces``, ``stress`` -> weight; absent and 0 mean that the term is not computed.
        kind: See `pointwise`.
        delta: See `pointwise`.
        consistency: Weight of p(F − (−∂E/∂r)) for a potential with direct forces.

    Properties:
        gradient_matches_finite_differences: the gradient of the joint loss with respect to the parameters (a second
            derivative of the energy) agrees with finite differences in float64.
    """

    def __init__(
        self, weights: Mapping[str, float], kind: str = "mse", delta: float = 0.01, consistency: float = 0.0
    ) -> None:
        known = ("energy", "forces", "stress")
        for name in weights:
            if name not in known:
                raise ConfigError(f"A potential has no loss term {name!r}. {nearest(name, known)}")
        if kind not in KINDS:
            raise ConfigError(f"There is no loss {kind!r}. {nearest(kind, KINDS)}")
        self.weights = {name: float(weights[name]) for name in known if weights.get(name)}
        self.kind, self.delta, self.consistency = kind, delta, float(consistency)

    @property
    def names(self) -> list[str]:
        """The labels that are needed."""
        return list(self.weights)

    def outputs(self, model: torch.nn.Module, graph: Graph) -> dict[str, Tensor]:
        """Call the potential for what this loss needs, and nothing else."""
        more = {"gradient": True} if self.consistency else {}
        return model(graph, forces="forces" in self.weights, stress="stress" in self.weights, **more)

    def __call__(self, outputs: Mapping[str, Tensor], graph: Graph) -> dict[str, Tensor]:
        """Return the terms, not weighted, and their weighted sum as ``loss``; all scalars.

        Raises:
            LabelError: A weighted label is absent.
        """
        terms: dict[str, Tensor] = {}
        dtype = graph.positions.dtype
        if "energy" in self.weights:
            atoms = graph.num_nodes_per_graph.clamp(min=1)
            error = (outputs["energy"] - target_of(graph, "energy")) / atoms
            terms["energy"] = pointwise(error.to(dtype), self.kind, self.delta)
        for name in ("forces", "stress"):
            if name in self.weights:
                terms[name] = pointwise(outputs[name] - target_of(graph, name).to(dtype), self.kind, self.delta)
        total = sum(self.weights[name] * term for name, term in terms.items())
        if self.consistency:
            apart = outputs["forces"] - outputs["energy_gradient_forces"]
            terms["consistency"] = pointwise(apart, self.kind, self.delta)
            total = total + self.consistency * terms["consistency"]
        terms["loss"] = total  # type: ignore[assignment]
        return terms


class HeadLoss:
    """Loss of the one output of a head.

    Args:
        name: The output, which is the label's name, too.
        classes: Number of classes; None for a regression.
        weight: Factor.
        kind: See `pointwise`; a classification uses the cross entropy.
        delta: See `pointwise`.
        spread: A regression's error is divided by it (the label's standard deviation); 1 for none.
    """

    def __init__(
        self,
        name: str,
        classes: int | None = None,
        weight: float = 1.0,
        kind: str = "mse",
        delta: float = 0.01,
        spread: float = 1.0,
    ) -> None:
        if kind not in KINDS:
            raise ConfigError(f"There is no loss {kind!r}. {nearest(kind, KINDS)}")
        self.name, self.classes, self.weight = name, classes, weight
        self.kind, self.delta, self.spread = kind, delta, spread

    @property
    def names(self) -> list[str]:
        """The labels that are needed."""
        return [self.name]

    def outputs(self, model: torch.nn.Module, graph: Graph) -> dict[str, Tensor]:
        """Call the model."""
        return model(graph)

    def __call__(self, outputs: Mapping[str, Tensor], graph: Graph) -> dict[str, Tensor]:
        """Return the term under the head's name, and weighted as ``loss``.

        Raises:
            LabelError: The label is absent, or a class is out of range.
            ShapeError: Label and output do not have the same number of components.
        """
        output, label = outputs[self.name], target_of(graph, self.name)
        if self.classes is not None:
            term = functional.cross_entropy(output, class_indices(label, self.classes, self.name))
        else:
            term = pointwise((output - matching(label, output, self.name)) / self.spread, self.kind, self.delta)
        return {self.name: term, "loss": self.weight * term}


def class_indices(label: Tensor, classes: int, name: str) -> Tensor:
    """Return a class label as ``[n]`` int64.

    Raises:
        LabelError: A class that is no whole number from 0 to ``classes − 1``.
    """
    indices = label.reshape(-1)
    whole = indices.long()
    if bool((whole != indices).any()) or bool(((whole < 0) | (whole >= classes)).any()):
        raise LabelError(
            f"The label {name!r} must be a class from 0 to {classes - 1}, but holds values from {label.min().item()} "
            f"to {label.max().item()}. Set head.num_classes, or number the classes from 0."
        )
    return whole


def matching(label: Tensor, output: Tensor, name: str) -> Tensor:
    """Return the label in the dtype and shape of the output (a lone component may lack its axis).

    Raises:
        ShapeError: Not the same number of components.
    """
    if label.numel() != output.numel() or label.shape[:1] != output.shape[:1]:
        raise ShapeError(
            f"The label {name!r} has shape {list(label.shape)}, but the head gives {list(output.shape)}. "
            "Choose the head (head.kind, head.num) that fits the label."
        )
    return label.reshape(output.shape).to(output.dtype)

"""From a configuration and graphs to a model: species, reference energies, scale, what the loss needs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from equitools import data, models
from equitools.errors import ConfigError, LabelError, UnknownSpeciesError
from equitools.graph import Graph
from equitools.models import HeadModel, Potential
from equitools.models.elements import SYMBOLS
from equitools.training.config import PotentialConfig, TrainConfig
from equitools.training.losses import HeadLoss, PotentialLoss, target_of
from equitools.training.metrics import class_numbers
from equitools.training.prepare import DTYPES

__all__ = ["ScaleWarning", "build_model", "check_same_run", "make_loss"]

#: What the reference energies leave, in eV per atom, is suspicious beyond this mean and this standard deviation.
_LARGEST_MEAN, _LARGEST_SPREAD = 15.0, 2.0


class ScaleWarning(UserWarning):
    """The energies do not look like energies in eV relative to the reference energies."""


def build_model(config: TrainConfig, graphs: Sequence[Graph], others: Sequence[Graph] = ()) -> Potential | HeadModel:
    """Build the model with fresh weights drawn from ``config.seed``, in ``config.dtype``.

    ``species`` are those of all sets, where the configuration does not give them; ``avg_num_neighbors`` is the
    training set's, for models that have such a field.

    Args:
        config: The run.
        graphs: The training set.
        others: Validation and test set, whose elements must be known, too.

    Raises:
        ConfigError: The model's or the head's configuration is wrong.
        UnknownSpeciesError: An element occurs in validation or test set, but not in training.
    """
    species = _species(graphs)
    unseen = sorted(set(_species(others)) - set(species))
    values = dict(config.model)
    name = values.pop("name")
    if unseen and "species" not in values:
        raise UnknownSpeciesError(
            f"The validation or test set holds {', '.join(SYMBOLS[z - 1] for z in unseen)}, which the training set "
            f"({', '.join(SYMBOLS[z - 1] for z in species)}) does not. A model cannot predict an element it has never "
            "seen: leave these structures out, or add some to the training set."
        )
    cls = models.get(name)
    values.setdefault("species", species)
    if "avg_num_neighbors" in cls.config_class.model_fields:
        neighbours = _neighbours(graphs)
        values.setdefault("avg_num_neighbors", max(1.0, round(neighbours, 4)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        backbone = models.build(name, **values)
        model: Potential | HeadModel = (
            _potential(backbone, config.potential or PotentialConfig(), graphs)
            if config.head is None
            else _with_head(backbone, config, graphs)
        )
    return model.to(DTYPES[config.dtype])


def make_loss(config: TrainConfig, model: Potential | HeadModel, graphs: Sequence[Graph]) -> PotentialLoss | HeadLoss:
    """Make the loss that fits the model.

    Args:
        config: The run.
        model: The model.
        graphs: The training set, whose labels' spread standardises a head's loss.
    """
    loss = config.loss
    if isinstance(model, Potential):
        return PotentialLoss(config.weights(), loss.kind, loss.huber_delta, loss.consistency)
    name = str(config.head["name"]) if config.head else model.head.config.name
    classes = class_numbers(model).get(name)
    spread = 1.0
    if classes is None and loss.standardise:
        spread = _moments(graphs, name, centred=model.head.kind == "scalar")[1]
    return HeadLoss(name, classes, loss.target, loss.kind, loss.huber_delta, spread)


def _species(graphs: Sequence[Graph]) -> tuple[int, ...]:
    return tuple(sorted({int(z) for graph in graphs for z in graph.atomic_numbers.unique()}))


def _neighbours(graphs: Sequence[Graph]) -> float:
    return sum(graph.num_edges for graph in graphs) / max(1, sum(graph.num_nodes for graph in graphs))


def _moments(graphs: Sequence[Graph], name: str, centred: bool) -> tuple[float, float]:
    values = torch.cat([target_of(graph, name).double().reshape(-1) for graph in graphs])
    mean = float(values.mean()) if centred else 0.0
    spread = float((values - mean).square().mean().sqrt())
    return mean, spread if math.isfinite(spread) and spread > 0 else 1.0


def _with_head(backbone: models.Backbone, config: TrainConfig, graphs: Sequence[Graph]) -> HeadModel:
    """Add the head; its scale and shift are the label's, where the configuration does not give them."""
    values = dict(config.head or {})
    kind, name = str(values["kind"]), str(values["name"])
    fields = models.HEADS[kind].config_class.model_fields if kind in models.HEADS else {}
    if config.loss.standardise and "scale" in fields:
        if not all(name in graph.labels for graph in graphs):
            raise LabelError(f"The head is named {name!r}, but not all training structures have a label of that name.")
        mean, spread = _moments(graphs, name, centred="shift" in fields)
        values.setdefault("scale", spread)
        if "shift" in fields:
            values.setdefault("shift", mean)
    return HeadModel(backbone, models.head_from_spec(values))


def _potential(backbone: models.Backbone, config: PotentialConfig, graphs: Sequence[Graph]) -> Potential:
    references = _references(config.reference_energies, backbone.species, graphs)
    mean = _mean_rest(references, graphs)
    scale = _forces_rms(graphs) if config.scale == "forces_rms" else config.scale
    shift = mean if config.shift == "mean" else config.shift
    kind = models.DirectPotential if config.direct_forces else Potential
    return kind(backbone, references, float(scale), float(shift), config.zbl, config.hidden)


def _forces_rms(graphs: Sequence[Graph]) -> float:
    labelled = [graph.labels["forces"] for graph in graphs if "forces" in graph.labels]
    total = sum(float(forces.double().square().sum()) for forces in labelled)
    count = sum(forces.numel() for forces in labelled)
    rms = math.sqrt(total / count) if count else 1.0
    return rms if rms > 1e-6 else 1.0


def _references(choice: Any, species: Sequence[int], graphs: Sequence[Graph]) -> Mapping[Any, float] | None:
    if choice == "none":
        return None
    labelled = [graph for graph in graphs if "energy" in graph.labels]
    if isinstance(choice, str) and not labelled:
        return None
    table = data.reference_energies(choice, labelled or graphs)
    # an element that the user named beyond the training set's: nothing is known of its energy
    return {**dict.fromkeys(species, 0.0), **table} if isinstance(choice, str) else table


def _mean_rest(references: Mapping[Any, float] | None, graphs: Sequence[Graph]) -> float:
    """Return the mean of what the reference energies leave, in eV per atom.

    Warns where it or its spread are beyond what chemical bonds explain: a wrong unit, or tables of another method.
    """
    labelled = [graph for graph in graphs if "energy" in graph.labels]
    if not labelled:
        return 0.0
    table = models.ReferenceEnergies(_species(labelled), references)
    rest = [
        float(graph.labels["energy"].double().sum() - table(graph.atomic_numbers).double().sum()) / graph.num_nodes
        for graph in labelled
        if graph.num_nodes
    ]
    mean = math.fsum(rest) / max(1, len(rest))
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in rest) / max(1, len(rest)))
    if spread > _LARGEST_SPREAD or (references is not None and abs(mean) > _LARGEST_MEAN):
        warnings.warn(
            f"After the reference energies are taken off, the training energies are {mean:.3g} ± {spread:.3g} eV per "
            "atom, which is more than chemical bonds explain. Are energies in eV, and are the reference energies of "
            "the same method?",
            ScaleWarning,
            stacklevel=2,
        )
    return mean


def check_same_run(stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse to resume a run whose model, data or arithmetic differ from those of the configuration.

    Raises:
        ConfigError: The first difference is named.
    """
    for key, value in given.items():
        if stored.get(key) != value:
            before, now = (text if len(str(text)) < 200 else "other" for text in (stored.get(key), value))
            raise ConfigError(
                f"The run cannot be resumed: {key} was {before}, but is now {now}. Only trainer, "
                "early_stop, output and loggers may change; start anew in another output folder instead."
            )

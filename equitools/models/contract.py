"""What every network of the zoo promises: a configuration, irreps of its features, and one call.

A *backbone* is a network ``backbone(graph) -> {"node_features": [N, irreps_out.dim], ...}``. It says nothing about
energies or charges: `equitools.models.Potential` and `equitools.models.HeadModel` make those out of the features of
any backbone. To add a network, write a pydantic configuration and a class::

    class MyConfig(ModelConfig):
        channels: int = 32

    @register("my_network")
    class MyNetwork(Backbone):
        config_class = MyConfig

        def __init__(self, config: MyConfig) -> None:
            super().__init__(config)
            self.irreps_out = Irreps(f"{config.channels}x0e")
            ...

        def forward(self, graph: Graph) -> dict[str, torch.Tensor]:
            edges = graph.edge_vectors()  # the only source of geometry
            ...
            return {"node_features": features}

The promises, which `equitools.testing.ModelAcceptance` checks:

* geometry is read from ``graph.edge_vectors()`` alone (differentiable in positions and cell), so that translations,
  periodic images and strain are right without further work;
* ``node_features`` is ``[N, irreps_out.dim]`` in e3nn's ``mul_ir`` order, in the dtype and on the device of the
  parameters, and transforms by ``irreps_out`` under the group named by ``symmetry``;
* relabelling the atoms permutes the rows; graphs of one batch do not see each other; no edges is a valid input;
* the features are smooth as an atom crosses the cutoff;
* everything is twice differentiable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pydantic
import torch

from equitools.errors import ConfigError, EquitoolsError, GraphError, ShapeError, nearest
from equitools.groups import Irreps
from equitools.models.elements import atomic_number
from equitools.ops.tracing import tracing

if TYPE_CHECKING:
    from equitools.graph import Graph

__all__ = ["Backbone", "ModelConfig", "check_input", "check_node_features", "float_dtype", "like", "parse_config"]


class ModelConfig(pydantic.BaseModel):
    """Base of the configuration of every backbone: immutable, and closed to unknown keys.

    Attributes:
        cutoff: Radius of the neighbourhood in Å; larger than 0.
        species: Atomic numbers that the model knows, kept sorted and without repetition. Chemical symbols are
            understood, too.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True)

    cutoff: float = pydantic.Field(gt=0, allow_inf_nan=False)
    species: tuple[int, ...] = pydantic.Field(min_length=1)

    @pydantic.field_validator("species", mode="before")
    @classmethod
    def _sorted_species(cls, value: Any) -> Any:
        if isinstance(value, str | bytes | Mapping):
            raise ValueError("species must be a list of atomic numbers or symbols, such as [1, 6, 8]")
        try:
            return tuple(sorted({atomic_number(item) for item in value}))
        except (ConfigError, TypeError) as error:
            raise ValueError(str(error)) from error


ConfigT = TypeVar("ConfigT", bound=pydantic.BaseModel)
ModuleT = TypeVar("ModuleT", bound=torch.nn.Module)


def parse_config(config_class: type[ConfigT], values: Mapping[str, Any], what: str) -> ConfigT:
    """Make a configuration from plain values, with errors that a user can read.

    Args:
        config_class: The pydantic class.
        values: Field names and values.
        what: What is configured, for the message; for example ``"model 'egnn'"``.

    Returns:
        The configuration.

    Raises:
        ConfigError: An unknown key (the nearest known one is named), a missing key or a wrong value.
    """
    try:
        return config_class.model_validate(dict(values))
    except pydantic.ValidationError as error:
        raise ConfigError(f"{what}: {_explain(error, config_class)}") from error


def _explain(error: pydantic.ValidationError, config_class: type[pydantic.BaseModel]) -> str:
    parts = []
    for item in error.errors(include_url=False, include_context=False):
        key = ".".join(str(part) for part in item["loc"]) or "the configuration"
        if item["type"] == "extra_forbidden":
            parts.append(f"unknown key {key!r}. {nearest(key, config_class.model_fields)}")
        elif item["type"] == "missing":
            parts.append(f"the key {key!r} is missing; it must be given.")
        else:
            parts.append(f"{key} = {item['input']!r}: {item['msg']}.")
    return " ".join(parts)


class Backbone(torch.nn.Module):
    """Base class of all networks that turn a graph into equivariant node features.

    Attributes:
        name: The name under which the class is registered (set by `equitools.models.register`).
        config_class: The configuration that the constructor takes.
        symmetry: The group under which the features are equivariant, as `equitools.testing` spells it.
        config: The configuration of this instance.
        irreps_out: Irreps of ``node_features``; the constructor of a subclass sets it.

    Properties:
        equivariance: ``node_features`` of a moved graph are the moved ``node_features``.
    """

    name: ClassVar[str] = ""
    config_class: ClassVar[type[ModelConfig]] = ModelConfig
    symmetry: ClassVar[str] = "E(3)"

    irreps_out: Irreps

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if not isinstance(config, self.config_class):
            raise ConfigError(
                f"{type(self).__name__} takes a {self.config_class.__name__}, but was given {type(config).__name__}. "
                f"Use {self.config_class.__name__}(cutoff=..., species=...), or equitools.models.build(name, ...)."
            )
        self.config = config
        self.training_summary: dict[str, Any] = {}

    @property
    def cutoff(self) -> float:
        """Radius of the neighbourhood in Å."""
        return self.config.cutoff

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers that the network knows, ascending."""
        return self.config.species

    def forward(self, graph: Graph) -> dict[str, torch.Tensor]:
        """Compute the node features.

        Args:
            graph: A graph (or batch) whose neighbour list was made with `cutoff`.

        Returns:
            At least ``node_features`` of shape ``[N, irreps_out.dim]`` (``mul_ir``, the dtype of the parameters).
        """
        raise EquitoolsError(f"{type(self).__name__} is a Backbone without a forward(graph); write one.")

    def spec(self) -> dict[str, Any]:
        """Return a JSON-able description from which `equitools.models.from_spec` builds an equal network."""
        if not vars(type(self)).get("name"):  # an inherited name belongs to the parent class
            raise ConfigError(
                f"{type(self).__name__} has no registered name, so a file could not say how to build it. "
                'Decorate the class with @equitools.models.register("name").'
            )
        return {"kind": "backbone", "backbone": {"name": self.name, "config": self.config.model_dump(mode="json")}}


def like(module: ModuleT, reference: torch.nn.Module) -> ModuleT:
    """Move a new module to the dtype and device of another one's parameters."""
    parameter = next((p for p in reference.parameters() if p.is_floating_point()), None)
    return module if parameter is None else module.to(dtype=parameter.dtype, device=parameter.device)


def float_dtype(module: torch.nn.Module) -> torch.dtype:
    """Return the dtype of the first floating-point parameter or buffer (float32 where there is none)."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return tensor.dtype
    return torch.float32


def check_input(module: torch.nn.Module, graph: Graph, cutoff: float) -> None:
    """Raise where a graph does not suit a model: neighbours missing, or another dtype or device.

    Args:
        module: Whose parameters say dtype and device.
        graph: The input.
        cutoff: The model's, in Å. A list with a longer one is fine.

    Raises:
        GraphError: The neighbour list was made with a shorter cutoff than the model's.
        ShapeError: Both dtypes (or devices) are named, and how to convert.
    """
    if graph.cutoff < cutoff * (1 - 1e-9):
        raise GraphError(
            f"the model looks at neighbours up to {cutoff:g} Å, but the graph's neighbour list ends at "
            f"{graph.cutoff:g} Å, so neighbours would be missing. Build the graph with cutoff=model.cutoff."
        )
    reference = next((p for p in module.parameters() if p.is_floating_point()), None)
    if reference is None:
        return
    positions = graph.positions
    if positions.dtype != reference.dtype:
        name = str(reference.dtype).removeprefix("torch.")
        raise ShapeError(
            f"the model computes in {reference.dtype}, but the graph's positions are {positions.dtype}. "
            f"Convert one of them: graph.to(dtype=torch.{name}), or model.to(graph.positions.dtype)."
        )
    if positions.device != reference.device:
        raise ShapeError(
            f"the model is on {reference.device}, but the graph is on {positions.device}. "
            f"Move one of them: graph.to(device={str(reference.device)!r})."
        )


def check_node_features(backbone: Backbone, graph: Graph, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return ``outputs["node_features"]`` after checking that a backbone keeps its word about it.

    Raises:
        ShapeError: The key is absent, or the tensor does not have the shape ``[N, irreps_out.dim]``.
    """
    features = outputs.get("node_features")
    if features is not None and tracing():
        return features  # torch.compile cannot follow Irreps, and whoever compiles a network has run it before
    expected = (graph.num_nodes, backbone.irreps_out.dim)
    if features is None or tuple(features.shape) != expected:
        given = f"keys {sorted(outputs)}" if features is None else f"shape {tuple(features.shape)}"
        raise ShapeError(
            f"{type(backbone).__name__} must return 'node_features' of shape [N, irreps_out.dim] = {list(expected)} "
            f"for irreps_out = {backbone.irreps_out}, but gave {given}."
        )
    return features

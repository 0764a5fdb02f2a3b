"""Targets that are not a potential energy: molecular scalars, dipoles, vectors of atoms, classes.

A head is made without knowing the backbone; `HeadModel` joins the two. Each head declares its outputs as
``{name: (level, shape, irreps)}`` with level ``"graph"`` or ``"node"``, the shape of one item and the irreps by which
its last dimension transforms (``None`` for numbers, logits and other invariants).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pydantic
import torch

from equitools.errors import ConfigError, GraphError, UnknownNameError, nearest
from equitools.groups import Irreps
from equitools.models.contract import Backbone, check_input, check_node_features, like, parse_config
from equitools.models.readout import ScalarReadout, VectorReadout, accumulation_dtype, count
from equitools.models.reference_energies import ReferenceEnergies
from equitools.nn import PolynomialEnvelope
from equitools.ops import segment_mean, segment_sum
from equitools.ops.precision import full_precision

if TYPE_CHECKING:
    from equitools.graph import Graph

__all__ = [
    "HEADS",
    "ClassHead",
    "DipoleHead",
    "Head",
    "HeadConfig",
    "HeadModel",
    "NodeVectorHead",
    "Output",
    "ScalarHead",
    "head_from_spec",
]

Output = tuple[str, tuple[int, ...], Irreps | None]


class HeadConfig(pydantic.BaseModel):
    """What all heads are configured by.

    Attributes:
        name: Key of the output, and of the label that it is trained on.
        hidden: Width of the readout's perceptron.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True)

    name: str = pydantic.Field(min_length=1)
    hidden: int = pydantic.Field(default=32, ge=1)


class ScalarConfig(HeadConfig):
    """Configuration of `ScalarHead`."""

    num: int = pydantic.Field(default=1, ge=1)
    pool: Literal["sum", "mean"] = "sum"
    scale: float = pydantic.Field(default=1.0, allow_inf_nan=False)
    shift: float = pydantic.Field(default=0.0, allow_inf_nan=False)


class DipoleConfig(HeadConfig):
    """Configuration of `DipoleHead`."""

    name: str = "dipole"


class NodeVectorConfig(HeadConfig):
    """Configuration of `NodeVectorHead`."""

    scale: float = pydantic.Field(default=1.0, allow_inf_nan=False)


class ClassConfig(HeadConfig):
    """Configuration of `ClassHead`."""

    num_classes: int = pydantic.Field(ge=2)
    level: Literal["graph", "node"] = "graph"


class Head(torch.nn.Module):
    """Base class of heads.

    Attributes:
        kind: The name of the kind of head in configurations and files.
        config: The configuration.
    """

    kind: ClassVar[str] = ""
    config_class: ClassVar[type[HeadConfig]] = HeadConfig

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = parse_config(self.config_class, config, f"head {self.kind!r}")

    @property
    def outputs(self) -> dict[str, Output]:
        """``{name: (level, shape of one item, irreps or None)}``."""
        raise ConfigError(f"{type(self).__name__} does not declare its outputs.")

    def bind(self, irreps_in: Irreps, cutoff: float) -> None:
        """Make the parameters; `HeadModel` calls this once.

        Args:
            irreps_in: Of the node features.
            cutoff: The backbone's, in Å, for heads that look at neighbours.

        Raises:
            IrrepsError: The features lack what the head reads.
        """
        raise ConfigError(f"{type(self).__name__} has no bind(irreps_in, cutoff).")

    def forward(self, features: torch.Tensor, graph: Graph) -> dict[str, torch.Tensor]:
        """Map node features ``[N, irreps_in.dim]`` to the declared outputs."""
        raise ConfigError(f"{type(self).__name__} has no forward(features, graph).")

    def spec(self) -> dict[str, Any]:
        """Return a JSON-able description for `head_from_spec`."""
        return {"kind": self.kind, **self.config.model_dump(mode="json")}


class ScalarHead(Head):
    """Invariant numbers of a molecule, ``shift + scale · pool_i readout(features_i)``.

    Args:
        name: Key of the output.
        num: How many numbers; with 1 the output is ``[B]``, else ``[B, num]``.
        pool: ``"sum"`` for quantities that grow with the molecule, ``"mean"`` for those that do not.
        scale: Multiplies the pooled readout; the target's unit.
        shift: Added once a molecule.
        hidden: Width of the perceptron.

    Properties:
        invariance: the output does not change under E(3) and relabelling.
    """

    kind = "scalar"
    config_class = ScalarConfig
    config: ScalarConfig

    def __init__(
        self, name: str, num: int = 1, pool: str = "sum", scale: float = 1.0, shift: float = 0.0, hidden: int = 32
    ) -> None:
        super().__init__(name=name, num=num, pool=pool, scale=scale, shift=shift, hidden=hidden)

    @property
    def outputs(self) -> dict[str, Output]:
        """One invariant, or ``num`` of them, for each graph."""
        num = self.config.num
        return {self.config.name: ("graph", (), None) if num == 1 else ("graph", (num,), Irreps(f"{num}x0e"))}

    def bind(self, irreps_in: Irreps, cutoff: float) -> None:
        """Make the readout."""
        self.readout = ScalarReadout(irreps_in, self.config.hidden, self.config.num)

    def forward(self, features: torch.Tensor, graph: Graph) -> dict[str, torch.Tensor]:
        """Pool in float64 (where the device has it), so that a large shift costs no digits."""
        values = self.readout(features).to(accumulation_dtype(features.device))
        pool = segment_sum if self.config.pool == "sum" else segment_mean
        result = self.config.scale * pool(values, graph.batch, graph.num_graphs) + self.config.shift
        return {self.config.name: result.squeeze(-1) if self.config.num == 1 else result}


class DipoleHead(Head):
    """Dipole moment ``Σ_i q_i (r_i − r̄) + μ_i`` in e·Å, from charges and vectors of the atoms.

    The N atoms of a graph share its total charge Q, ``extras["total_charge"]`` (0 where it is absent), evenly; then
    charge flows between neighbours: ``q_i = Q / N + Σ_j f(d_ij) (χ_i − χ_j)`` with a scalar χ read from the features
    and the smooth envelope f of the cutoff. So charge is conserved without a correction over the whole graph, which
    would let distant molecules feel each other. r̄ is the mean position; it matters for ions alone, whose dipole
    depends on the origin. Atomic dipoles μ_i are there if the backbone has ``1o`` features.

    Args:
        name: Key of the output.
        hidden: Width of the perceptrons.

    Properties:
        equivariance: the dipole rotates and reflects as a polar vector and ignores translations.
        separation: dipoles and charges of neutral molecules far apart do not depend on each other.
        charge_conservation: the charges of each graph add up to its total charge.
    """

    kind = "dipole"
    config_class = DipoleConfig

    def __init__(self, name: str = "dipole", hidden: int = 32) -> None:
        super().__init__(name=name, hidden=hidden)

    @property
    def outputs(self) -> dict[str, Output]:
        """The dipole of each graph, and ``charges`` of the atoms in e."""
        return {self.config.name: ("graph", (3,), Irreps("1x1o")), "charges": ("node", (), None)}

    def bind(self, irreps_in: Irreps, cutoff: float) -> None:
        """Make the readouts of χ and, if there are vectors, of atomic dipoles."""
        self.charges = ScalarReadout(irreps_in, self.config.hidden)
        self.envelope = PolynomialEnvelope(cutoff)
        has_vectors = count(Irreps(irreps_in), 1, -1) > 0
        self.vectors = VectorReadout(irreps_in, self.config.hidden) if has_vectors else None

    def forward(self, features: torch.Tensor, graph: Graph) -> dict[str, torch.Tensor]:
        """Compute charges and dipole; raises `GraphError` for periodic graphs, whose dipole is not defined."""
        if bool(graph.pbc.any()):
            raise GraphError(
                "the dipole of a periodic system depends on the choice of the cell, so DipoleHead takes molecules "
                "only; set pbc to False if these are molecules in a box."
            )
        potential = self.charges(features).squeeze(-1)
        sender, receiver = graph.edge_index[0], graph.edge_index[1]
        weight = self.envelope(torch.linalg.vector_norm(graph.edge_vectors(), dim=-1))
        charges = segment_sum(weight * (potential[receiver] - potential[sender]), receiver, graph.num_nodes)
        total = graph.extras.get("total_charge")
        wanted = charges.new_zeros(graph.num_graphs) if total is None else total.to(charges.dtype).reshape(-1)
        atoms = torch.bincount(graph.batch, minlength=graph.num_graphs).clamp(min=1)
        charges = charges + (wanted / atoms)[graph.batch]
        centre = segment_mean(graph.positions, graph.batch, graph.num_graphs)
        terms = charges.unsqueeze(-1) * (graph.positions - centre[graph.batch])
        if self.vectors is not None:
            terms = terms + self.vectors(features)
        return {self.config.name: segment_sum(terms, graph.batch, graph.num_graphs), "charges": charges}


class NodeVectorHead(Head):
    """A polar vector of each atom, for example a displacement or a non-conservative force.

    Args:
        name: Key of the output, ``[N, 3]``.
        scale: Multiplies the readout; the target's unit.
        hidden: Width of the perceptron.

    Properties:
        equivariance: the vectors rotate and reflect, and ignore translations.
    """

    kind = "node_vector"
    config_class = NodeVectorConfig
    config: NodeVectorConfig

    def __init__(self, name: str, scale: float = 1.0, hidden: int = 32) -> None:
        super().__init__(name=name, scale=scale, hidden=hidden)

    @property
    def outputs(self) -> dict[str, Output]:
        """One polar vector for each atom."""
        return {self.config.name: ("node", (3,), Irreps("1x1o"))}

    def bind(self, irreps_in: Irreps, cutoff: float) -> None:
        """Make the readout."""
        self.vectors = VectorReadout(irreps_in, self.config.hidden)

    def forward(self, features: torch.Tensor, graph: Graph) -> dict[str, torch.Tensor]:
        """Read the vectors out."""
        return {self.config.name: self.config.scale * self.vectors(features)}


class ClassHead(Head):
    """Logits of classes, for each graph (mean over its atoms) or each atom.

    Args:
        name: Key of the output; the label is an integer class.
        num_classes: How many classes, at least 2.
        level: ``"graph"`` for ``[B, num_classes]``, ``"node"`` for ``[N, num_classes]``.
        hidden: Width of the perceptron.

    Properties:
        invariance: the logits do not change under E(3).
    """

    kind = "class"
    config_class = ClassConfig
    config: ClassConfig

    def __init__(self, name: str, num_classes: int, level: str = "graph", hidden: int = 32) -> None:
        super().__init__(name=name, num_classes=num_classes, level=level, hidden=hidden)

    @property
    def outputs(self) -> dict[str, Output]:
        """The logits."""
        return {self.config.name: (self.config.level, (self.config.num_classes,), None)}

    def bind(self, irreps_in: Irreps, cutoff: float) -> None:
        """Make the readout."""
        self.readout = ScalarReadout(irreps_in, self.config.hidden, self.config.num_classes)

    def forward(self, features: torch.Tensor, graph: Graph) -> dict[str, torch.Tensor]:
        """Compute the logits."""
        logits = self.readout(features)
        if self.config.level == "graph":
            logits = segment_mean(logits, graph.batch, graph.num_graphs)
        return {self.config.name: logits}


HEADS: dict[str, type[Head]] = {cls.kind: cls for cls in (ScalarHead, DipoleHead, NodeVectorHead, ClassHead)}


def head_from_spec(spec: Mapping[str, Any]) -> Head:
    """Make a head from plain values such as ``{"kind": "scalar", "name": "gap"}``.

    Raises:
        UnknownNameError: There is no such kind of head.
        ConfigError: A key is unknown (the nearest is named), missing or wrong.
    """
    values = dict(spec)
    kind = str(values.pop("kind", ""))
    if kind not in HEADS:
        raise UnknownNameError(f"there is no head of kind {kind!r}. {nearest(kind, HEADS)}")
    cls = HEADS[kind]
    return cls(**parse_config(cls.config_class, values, f"head {kind!r}").model_dump())


class HeadModel(torch.nn.Module):
    """A backbone with a head: ``model(graph)`` gives what the head declares.

    Args:
        backbone: The network.
        head: A head that belongs to no other model yet.

    Attributes:
        outputs: ``{name: (level, shape, irreps or None)}``, the head's.

    Raises:
        IrrepsError: The backbone's features lack what the head reads.
    """

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        if not isinstance(backbone, Backbone) or not isinstance(head, Head):
            raise ConfigError(
                f"HeadModel takes a Backbone and a Head, not {type(backbone).__name__} and {type(head).__name__}."
            )
        if any(True for _ in head.parameters()):
            raise ConfigError(f"this {type(head).__name__} already belongs to a model; make a new one for each model.")
        head.bind(backbone.irreps_out, backbone.cutoff)
        self.backbone = backbone
        self.head = like(head, backbone)
        self.species_check = ReferenceEnergies(backbone.species)
        self.training_summary: dict[str, Any] = {}

    @property
    def outputs(self) -> dict[str, Output]:
        """What ``forward`` returns: ``{name: (level, shape of one item, irreps or None)}``."""
        return self.head.outputs

    @property
    def cutoff(self) -> float:
        """Radius of the neighbourhood in Å."""
        return self.backbone.cutoff

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers that the model knows, ascending."""
        return self.backbone.species

    @property
    def symmetry(self) -> str:
        """The group under which the outputs are equivariant."""
        return self.backbone.symmetry

    @property
    def config(self) -> dict[str, Any]:
        """The same as `spec`."""
        return self.spec()

    def spec(self) -> dict[str, Any]:
        """Return a JSON-able description from which `equitools.models.from_spec` builds an equal model."""
        return {**self.backbone.spec(), "kind": "head", "head": self.head.spec()}

    @full_precision
    def forward(self, graph: Graph) -> dict[str, torch.Tensor]:
        """Compute the head's outputs.

        Raises:
            ShapeError: The graph has another dtype or device than the parameters.
            UnknownSpeciesError: An element that the model does not know.
        """
        check_input(self, graph, self.cutoff)
        self.species_check(graph.atomic_numbers)
        features = check_node_features(self.backbone, graph, self.backbone(graph))
        return self.head(features, graph)

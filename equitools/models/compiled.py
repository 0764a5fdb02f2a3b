"""A trained many-body potential as one operation without autograd: for molecular dynamics.

`compile_potential` folds the weights of a `Potential` with a `ManyBodyMP` backbone into the form in which one compiled
operation computes energies and the gradient by the edge vectors. The radial networks are either run as they are, or
replaced by tables: an edge's weights are functions of its length alone, few of them are independent, and these are
stored as quintic polynomials between nodes.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from equitools.errors import ConfigError
from equitools.models.contract import check_input
from equitools.models.many_body_mp import ManyBodyMP
from equitools.models.potential import Potential
from equitools.models.radial_tables import RadialTables, tabulate
from equitools.models.readout import accumulation_dtype
from equitools.nn.tensor_product import SymmetricContraction, TensorProductConv
from equitools.ops import backend, segment_sum
from equitools.ops.conv_tables import ConvTables, conv_tables
from equitools.ops.irreps_linear import IrrepsLinearPlan
from equitools.ops.precision import full_precision
from equitools.ops.radial import MAX_EXPONENT, MAX_FUNCTIONS
from equitools.ops.tensor_product_conv import MAX_COMPILED_DEGREE

if TYPE_CHECKING:
    from equitools.graph import Graph
    from equitools.nn import InteractionBlock, Linear, ProductBlock

__all__ = ["CompiledPotential", "compile_potential", "obstacle"]

#: The weights that radial networks give are kept for the backward up to this size; beyond it they are made twice.
_MOST_BYTES = 256 * 2**20
#: Hidden layers of a radial network that the operation takes (csrc/core/radial_network_plan.h).
_MOST_HIDDEN = 16


@dataclass(frozen=True)
class _Program:
    """The arguments of the operation that do not change from call to call."""

    tensors: list[Tensor]
    numbers: list[int]
    cutoff: float
    scale: float
    room: int  # of an edge: its weights in all layers, each path filled up to 16 channels; with tables nothing


def obstacle(potential: torch.nn.Module) -> str:
    """Return why a module cannot be compiled; empty if it can.

    Args:
        potential: Any module.
    """
    if type(potential) is not Potential:
        return f"it is a {type(potential).__name__}, not a Potential"
    net = potential.backbone
    if type(net) is not ManyBodyMP:
        return f"its backbone is {type(net).__name__}; only ManyBodyMP has a compiled form"
    if "gaunt" in (net.config.product, net.config.convolution):
        return "it has Gaunt products; the compiled form has Clebsch–Gordan ones"
    if max(net.config.l_max, net.config.hidden_lmax) > MAX_COMPILED_DEGREE:
        return f"the kernels take degrees up to {MAX_COMPILED_DEGREE}"
    if net.basis.frequencies is not None:
        return "the frequencies of its radial basis are learned"
    if net.config.num_radial > MAX_FUNCTIONS or net.config.envelope_p > MAX_EXPONENT:
        return f"the kernels take {MAX_FUNCTIONS} radial functions and envelopes of exponent {MAX_EXPONENT} at most"
    if len(net.config.radial_hidden) > _MOST_HIDDEN:
        return f"the kernels take radial networks of up to {_MOST_HIDDEN} hidden layers"
    foreign = _foreign_module(potential)
    if foreign:
        return foreign
    weight = net.embedding
    if any(
        p.is_floating_point() and (p.dtype, p.device) != (weight.dtype, weight.device) for p in potential.parameters()
    ):
        return "its parameters have different dtypes or devices"
    if weight.device.type != "cpu":
        return f"its parameters are on {weight.device.type}"
    if weight.dtype not in (torch.float32, torch.float64):
        return f"the kernels take float32 and float64, not {weight.dtype}"
    if not backend.extension_loaded():
        return "the compiled kernels are not built here"
    if backend.requested_backend() == "reference":
        return "the reference backend was asked for"
    return ""


def _foreign_module(potential: torch.nn.Module) -> str:
    """Say which module does something that the compiled form would leave out: hooks, parametrisations, replacements."""
    plain = {"torch.nn.modules.linear", "torch.nn.modules.activation", "torch.nn.modules.container"}
    for name, module in potential.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            return f"its module {name or 'itself'!r} has forward hooks"
        origin = type(module).__module__
        if origin not in plain and not origin.startswith("equitools."):
            return f"its module {name!r} is a {type(module).__name__} of {origin}"
    return ""


def compile_potential(
    potential: Potential, radial: Literal["exact", "tabulated"] = "exact", tolerance: float = 3e-6
) -> CompiledPotential:
    """Turn a trained potential into one operation that needs no autograd.

    Args:
        potential: Its backbone must be a `ManyBodyMP`. Later changes of its weights do not reach the result.
        radial: ``"exact"``: the radial networks are run; the results are those of the potential up to rounding.
            ``"tabulated"``: the weights of an edge are read from tables of functions of its length instead, about as
            fast whatever the width of the networks.
        tolerance: Of tables: largest error of an edge's weights and of their derivatives by the distance, relative to
            their largest values.

    Returns:
        A `CompiledPotential`.

    Raises:
        ConfigError: The potential has no compiled form (the reason is named), or no table reaches the tolerance.
    """
    if radial not in ("exact", "tabulated"):
        raise ConfigError(f"radial must be 'exact' or 'tabulated', not {radial!r}.")
    reason = obstacle(potential)
    if reason:
        raise ConfigError(f"This potential has no compiled form: {reason}. Use the potential itself.")
    return CompiledPotential(potential, radial, tolerance)


class CompiledPotential:
    """Energies, forces, stress and virial of a many-body potential by one compiled operation.

    Made by `compile_potential`. Nothing is recorded for autograd: outputs have no graph. Several threads may call the
    same object.

    Attributes:
        cutoff: In Å.
        species: Atomic numbers that it knows.
        dtype: Of weights and results, that of the potential.
        tables: What stands for the radial networks of each layer, with their errors; empty for ``"exact"``.

    Properties:
        equals_potential: the outputs of the potential up to rounding (``"exact"``), or up to the error that `tables`
            report.
        conservative: forces are minus the gradient of the energy, also of a tabulated one.
    """

    def __init__(self, potential: Potential, radial: str = "exact", tolerance: float = 3e-6) -> None:
        # A copy: what the caller does to the potential later (other weights, another dtype) does not reach this.
        potential = copy.deepcopy(potential).eval().requires_grad_(False)
        net = potential.backbone
        assert isinstance(net, ManyBodyMP)  # noqa: S101 - compile_potential has checked it
        self.cutoff, self.species = potential.cutoff, potential.species
        self.symmetry = potential.symmetry
        self.radial = radial
        self.dtype: torch.dtype = net.embedding.dtype
        self.potential = potential
        self.reference, self.zbl = potential.reference, potential.zbl
        self.scale, self.shift = potential.scale, potential.shift
        self.tables: list[RadialTables] = []
        with torch.no_grad():
            if radial == "tabulated":
                self.tables = [tabulate(net, layer, tolerance) for layer in range(net.config.num_layers)]
            self._program = _program(potential, self.tables)
        self._rooms: list[Tensor] = []

    def __getstate__(self) -> dict[str, Any]:
        """Leave the workspace out of copies and pickles."""
        return self.__dict__ | {"_rooms": []}

    def parameters(self) -> Any:
        """Return the parameters of the potential, as of a module."""
        return self.potential.parameters()

    @full_precision
    def __call__(
        self, graph: Graph, forces: bool = True, stress: bool | None = None, virial: bool | None = None
    ) -> dict[str, Tensor]:
        """Compute what `Potential.forward` computes, under the same names and in the same units.

        Args:
            graph: A graph or batch in `dtype`.
            forces: Whether to compute forces.
            stress: As of `Potential.forward`.
            virial: As of `Potential.forward`.

        Raises:
            ShapeError: The graph has another dtype or device.
            UnknownSpeciesError: An element that the potential does not know.
            GraphError: The stress was asked for and no graph has a volume, or the neighbour list ends before `cutoff`.
        """
        check_input(self.potential, graph, self.cutoff)
        if stress is None:
            stress = forces and graph.num_graphs > 0 and bool(graph.pbc.all())
        wanted = bool(forces or stress or virial)
        net = self.potential.backbone
        with torch.no_grad():
            volume = _volumes(graph) if stress else None
            baseline = self.reference(graph.atomic_numbers)  # first, because it names unknown elements
            species = net.index(graph.atomic_numbers)  # type: ignore[operator]
            vectors = graph.edge_vectors()
            p = self._program
            room = self._workspace(len(vectors) if wanted else 0)
            atomic, gradient = torch.ops.equitools.many_body_energy(
                vectors,
                graph.edge_index,
                species,
                p.tensors,
                p.numbers,
                p.cutoff,
                p.scale,
                wanted,
                room,
            )
            self._rooms[:] = [room] if len(room) else []
            atomic, gradient = self.scale * atomic, self.scale * gradient
        if self.zbl is not None:
            pair, slope = _pair_gradient(self.zbl, vectors, graph, wanted)
            atomic = atomic + pair
            gradient = gradient + slope if wanted else gradient
        with torch.no_grad():
            interaction = atomic.to(accumulation_dtype(graph.device)) + self.shift
            total = segment_sum(interaction, graph.batch, graph.num_graphs)
            outputs = {
                "energy": total + segment_sum(baseline, graph.batch, graph.num_graphs),
                "node_energy": interaction + baseline,
                "interaction_energy": total.to(graph.positions.dtype),
            }
            if wanted:
                outputs |= _derivatives(graph, vectors, gradient, forces, volume, bool(virial))
        return outputs

    def _workspace(self, edges: int) -> Tensor:
        """Return room for the weights of all edges, kept from call to call; empty where that would be too much.

        It is taken away here and put back after the call, so that no two threads write to the same.
        """
        needed = edges * self._program.room
        try:
            room = self._rooms.pop()
        except IndexError:  # asking before would leave another thread time to take it
            room = torch.empty(0, dtype=self.dtype)
        if len(room) < needed:
            del room  # the old one goes first
            fits = needed * self.dtype.itemsize <= _MOST_BYTES
            room = torch.empty(needed + needed // 8 if fits else 0, dtype=self.dtype)
        return room


def _volumes(graph: Graph) -> Tensor:
    from equitools.models.potential import _volumes as volumes

    return volumes(graph)


def _pair_gradient(zbl: torch.nn.Module, vectors: Tensor, graph: Graph, wanted: bool) -> tuple[Tensor, Tensor]:
    """Return the energies of a pair potential and the gradient of their sum by the edge vectors, by autograd."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = vectors.clone().requires_grad_(wanted)
        # indices made in inference mode cannot be saved for the backward; copies made here can
        numbers, index = (t.clone() if t.is_inference() else t for t in (graph.atomic_numbers, graph.edge_index))
        energy = zbl(leaf, numbers, index)
        slope = torch.autograd.grad(energy.sum(), leaf)[0] if wanted and energy.requires_grad else vectors
        if wanted and not energy.requires_grad:
            slope = torch.zeros_like(vectors)
    return energy.detach(), slope


def _derivatives(
    graph: Graph, vectors: Tensor, gradient: Tensor, forces: bool, volume: Tensor | None, virial: bool
) -> dict[str, Tensor]:
    """Turn the gradient by the edge vectors (sender minus receiver) into forces, stress and virial."""
    outputs = {}
    sender, receiver = graph.edge_index
    nodes = len(graph.positions)
    if forces:
        pulled = segment_sum(gradient, receiver, nodes)
        outputs["forces"] = pulled - segment_sum(gradient, sender, nodes)
    if volume is not None or virial:
        outer = gradient.unsqueeze(-1) * vectors.unsqueeze(-2)
        by_node = segment_sum(outer.flatten(1), receiver, nodes)
        strain = segment_sum(by_node, graph.batch, graph.num_graphs).unflatten(-1, (3, 3))
        strain = 0.5 * (strain + strain.mT)
        if volume is not None:
            inverse = torch.where(volume > 0, 1.0 / volume.clamp(min=torch.finfo(volume.dtype).tiny), 0.0)
            outputs["stress"] = strain * inverse.reshape(-1, 1, 1)
        if virial:
            outputs["virial"] = -strain
    return outputs


def _program(potential: Potential, tables: list[RadialTables]) -> _Program:
    net = potential.backbone
    assert isinstance(net, ManyBodyMP)  # noqa: S101
    config = net.config
    tensors: list[Tensor] = [net.embedding]
    numbers = [
        config.num_layers,
        config.l_max,
        config.num_radial,
        config.envelope_p,
        int(bool(tables)),
        config.channels,
    ]
    for number, (interaction, product) in enumerate(zip(net.interactions, net.products, strict=True)):
        table = tables[number] if tables else None
        _add_layer(tensors, numbers, net.embedding.dtype, interaction, product, table)  # type: ignore[arg-type]
    _add_readout(tensors, potential)
    tensors = [t.detach().contiguous().clone() for t in tensors]
    channels = -(-config.channels // 16) * 16
    paths = sum(len(block.conv.plan.paths) for block in net.interactions)  # type: ignore[union-attr, arg-type, misc]
    # A network's weights are dear: they are kept. Those of tables are read again in less time than it takes to write
    # them down with their slopes and to fetch them: they go through memory, the tables stay in the cache.
    room = 0 if tables else paths * channels
    return _Program(tensors, numbers, float(config.cutoff), math.sqrt(config.cutoff), room)


def _add_layer(
    tensors: list[Tensor],
    numbers: list[int],
    dtype: torch.dtype,
    interaction: InteractionBlock,
    product: ProductBlock,
    table: RadialTables | None,
) -> None:
    conv, contraction = interaction.conv, product.contraction
    assert isinstance(conv, TensorProductConv)  # noqa: S101 - obstacle() has checked it
    assert isinstance(contraction, SymmetricContraction)  # noqa: S101
    plan = contraction.plan
    residual = product.residual
    numbers += [
        int(residual is not None),
        conv.irreps_out.dim,
        sum(ir.dim for _, ir in plan.irreps_out),
        conv.weight_numel,
    ]
    _add_linear(tensors, numbers, interaction.linear_up)
    tables = conv_tables(conv.plan, merged=True)
    weights = list(interaction.radial.weights)
    if table is None:
        widths = [w.shape[0] for w in weights]
        numbers += [len(widths), *widths]
        tensors += [_packed_network(weights, interaction.radial.scale, dtype)]
        # the activations of the operation are not normalised; their factor goes with the matrix that follows
        last = interaction.radial.last_weight()
        tensors.append(tables.reorder(last * interaction.radial.scale if len(weights) > 1 else last))
    else:
        numbers += [0]
        tensors += [_packed_table(table, tables, dtype), torch.empty(0, dtype=dtype)]
    tensors += list(tables.tensors(dtype))
    mix = interaction.linear
    _add_linear(tensors, numbers, mix, 1 / math.sqrt(interaction.avg_num_neighbors))
    flat = list(contraction.weights)
    tensors.append(torch.cat(flat, 1))
    tensors += list(plan.program(torch.device("cpu"), dtype))
    _add_linear(tensors, numbers, product.linear)
    if residual is not None:
        _add_linear(tensors, numbers, residual)


def _packed_network(weights: list[Tensor], scale: float, dtype: torch.dtype) -> Tensor:
    """Return the hidden layers' matrices one after the other, rows filled up to whole vectors of 64 bytes."""
    lanes = 64 // torch.finfo(dtype).bits * 8
    parts = []
    for k, weight in enumerate(weights[:-1]):
        matrix = weight / math.sqrt(weight.shape[0]) * (scale if k else 1.0)
        parts.append(torch.nn.functional.pad(matrix, (0, -matrix.shape[1] % lanes)).flatten())
    return torch.cat(parts) if parts else weights[0].new_zeros(0)


def _packed_table(table: RadialTables, tables: ConvTables, dtype: torch.dtype) -> Tensor:
    """Return the weights' table [intervals, 6, row], each path's part filled up to whole vectors of 64 bytes."""
    rows = (table.table @ tables.reorder(table.weight)).to(dtype)
    lanes = 64 // torch.finfo(dtype).bits * 8
    parts = []
    for channels, start in tables.paths[:, [3, 8]].tolist():
        parts.append(torch.nn.functional.pad(rows[..., start : start + channels], (0, -channels % lanes)))
    return torch.cat(parts, -1)


def _add_linear(tensors: list[Tensor], numbers: list[int], linear: Linear, factor: float = 1.0) -> None:
    plan: IrrepsLinearPlan = linear.plan
    tensors.append(linear._weight() * factor)
    numbers += [len(plan.table), *plan.table]


def _add_readout(tensors: list[Tensor], potential: Potential) -> None:
    state = dict(potential.readout.named_parameters())
    tensors += [
        state["linear.weight"].flatten(),
        state["mlp.0.weight"].T,
        state["mlp.0.bias"],
        state["mlp.2.weight"].flatten(),
        state["mlp.2.bias"],
    ]

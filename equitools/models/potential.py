"""Energy, forces, stress and virial out of the node features of any backbone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from equitools.errors import ConfigError, GraphError
from equitools.models.contract import Backbone, check_input, check_node_features, like
from equitools.models.readout import ScalarReadout, accumulation_dtype, as_plain
from equitools.models.reference_energies import ReferenceEnergies
from equitools.models.zbl import ZBLRepulsion
from equitools.ops import segment_sum
from equitools.ops.precision import full_precision
from equitools.ops.tracing import tracing

if TYPE_CHECKING:
    from equitools.graph import Graph

__all__ = ["Potential"]


class Potential(torch.nn.Module):
    """A conservative interatomic potential on top of any backbone.

    The energy of atom i is ``E0(z_i) + shift + scale · readout(features_i)``, plus the ZBL repulsion if asked for;
    the readout is a linear map plus a small perceptron of the invariant (``0e``) features. Reference energies, shift
    and the sums over atoms are kept in float64 (float32 on devices without it), so that a total energy of thousands
    of eV keeps its meV.

    Args:
        backbone: The network.
        reference_energies: Energies of the isolated atoms in eV by atomic number or symbol; ``None`` for zeros.
        scale: Unit of the readout in eV, for example the root mean square of the training forces (eV/Å).
        shift: Energy in eV added for each atom.
        zbl: Whether to add `ZBLRepulsion`.
        hidden: Width of the readout's perceptron.

    Raises:
        ConfigError: A reference energy is missing or a number is not finite.
        IrrepsError: The backbone has no invariant features.

    Properties:
        conservative: forces are minus the gradient of the energy, ``forces = −∂E/∂r``.
        stress: ``stress = +1/V ∂E/∂ε`` for the symmetric strain ε of positions and cell; ``virial = −V · stress``.
        invariance: the energy does not change under rotation, reflection, translation and relabelling.
        batch_equals_single: a graph has the same outputs alone and in a batch.
    """

    def __init__(
        self,
        backbone: Backbone,
        reference_energies: Mapping[Any, float] | None = None,
        scale: float = 1.0,
        shift: float = 0.0,
        zbl: bool = False,
        hidden: int = 16,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, Backbone):
            raise ConfigError(
                f"Potential takes an equitools.models.Backbone, not {type(backbone).__name__}. "
                "Build one with equitools.models.build(name, cutoff=..., species=...)."
            )
        try:
            self.scale, self.shift = as_plain(scale), as_plain(shift)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"scale and shift must be finite numbers: {error}") from error
        self.hidden = int(hidden)
        self.backbone = backbone
        self.reference = ReferenceEnergies(backbone.species, reference_energies)
        self.readout = like(ScalarReadout(backbone.irreps_out, self.hidden), backbone)
        self.zbl = ZBLRepulsion(backbone.cutoff) if zbl else None
        self.training_summary: dict[str, Any] = {}

    @property
    def cutoff(self) -> float:
        """Radius of the neighbourhood in Å."""
        return self.backbone.cutoff

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers that the potential knows, ascending."""
        return self.backbone.species

    @property
    def symmetry(self) -> str:
        """The group under which energies are invariant and forces equivariant."""
        return self.backbone.symmetry

    @property
    def reference_energies(self) -> dict[int, float]:
        """Energies of the isolated atoms in eV."""
        return dict(self.reference.energies)

    @property
    def config(self) -> dict[str, Any]:
        """The same as `spec`."""
        return self.spec()

    def spec(self) -> dict[str, Any]:
        """Return a JSON-able description from which `equitools.models.from_spec` builds an equal potential."""
        return {
            **self.backbone.spec(),
            "kind": "potential",
            "reference_energies": {str(z): value for z, value in self.reference.energies.items()},
            "scale": self.scale,
            "shift": self.shift,
            "zbl": self.zbl is not None,
            "hidden": self.hidden,
        }

    @full_precision
    def forward(
        self, graph: Graph, forces: bool = True, stress: bool | None = None, virial: bool | None = None
    ) -> dict[str, torch.Tensor]:
        """Compute energies and their derivatives.

        In training mode, and whenever the caller's positions or cell require gradients, forces and stress can be
        differentiated again; else all derivatives come without a graph. Works under ``torch.no_grad()`` and
        ``torch.inference_mode()``, too.

        Args:
            graph: A graph or batch in the dtype and on the device of the parameters.
            forces: Whether to compute forces.
            stress: Whether to compute the stress. ``None``: if forces are asked for and all graphs are periodic along
                three axes. In a batch, graphs without a volume get zeros.
            virial: Whether to compute the virial, which molecules have, too. ``None``: no.

        Returns:
            ``energy`` [B] eV and ``node_energy`` [N] eV (with reference energies; float64 where the device has it),
            ``interaction_energy`` [B] eV (without reference energies), and as asked ``forces`` [N, 3] eV/Å,
            ``stress`` [B, 3, 3] eV/Å³, ``virial`` [B, 3, 3] eV in the dtype of the parameters.

        Raises:
            ShapeError: The graph has another dtype or device than the parameters.
            UnknownSpeciesError: An element that the potential does not know.
            GraphError: The stress was asked for and no graph has a volume, or the neighbour list ends before `cutoff`.
        """
        check_input(self, graph, self.cutoff)
        if stress is None:
            stress = forces and graph.num_graphs > 0 and bool(graph.pbc.all())
        volume = _volumes(graph) if stress else None
        strained = bool(stress or virial)
        if not (forces or strained):
            return self._energies(graph)
        differentiable = torch.is_grad_enabled() and (
            self.training or graph.positions.requires_grad or graph.cell.requires_grad
        )
        with _gradients_on():
            graph = _tracked(graph)
            wanted = [graph.positions] if forces else []
            if strained:
                strain = graph.cell.new_zeros((graph.num_graphs, 3, 3), requires_grad=True)
                wanted.append(strain)
                outputs = self._energies(_strained(graph, strain))
            else:
                outputs = self._energies(graph)
            gradients = _gradients(outputs["interaction_energy"].sum(), wanted, differentiable)
            if forces:
                outputs["forces"] = -gradients[0]
            if volume is not None:
                inverse = torch.where(volume > 0, 1.0 / volume.clamp(min=torch.finfo(volume.dtype).tiny), 0.0)
                outputs["stress"] = gradients[-1] * inverse.reshape(-1, 1, 1)
            if virial:
                outputs["virial"] = -gradients[-1]
        return outputs if differentiable else {name: value.detach() for name, value in outputs.items()}

    def _energies(self, graph: Graph) -> dict[str, torch.Tensor]:
        return self.energies_and_features(graph)[0]

    def energies_and_features(self, graph: Graph) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Return ``energy``, ``node_energy`` and ``interaction_energy``, and the node features that they come from."""
        baseline = self.reference(graph.atomic_numbers)
        features = check_node_features(self.backbone, graph, self.backbone(graph))
        atomic = self.scale * self.readout(features).squeeze(-1)
        if self.zbl is not None:
            atomic = atomic + self.zbl(graph.edge_vectors(), graph.atomic_numbers, graph.edge_index)
        interaction = atomic.to(accumulation_dtype(graph.device)) + self.shift
        total = segment_sum(interaction, graph.batch, graph.num_graphs)
        energies = {
            "energy": total + segment_sum(baseline, graph.batch, graph.num_graphs),
            "node_energy": interaction + baseline,
            "interaction_energy": total.to(graph.positions.dtype),
        }
        return energies, features


def _volumes(graph: Graph) -> torch.Tensor:
    """Return [B] volumes in Å³, 0 where a graph is not periodic or its cell is flat."""
    volume = torch.linalg.det(graph.cell).abs() * graph.pbc.any(dim=1)
    if graph.num_graphs and not bool((volume > 0).any()):
        raise GraphError(
            "the stress was asked for, but no graph of this batch is periodic with a cell of three independent "
            "vectors, so none has a volume. Leave out stress=True, or ask for virial=True, which molecules have, too."
        )
    return volume


@contextlib.contextmanager
def _gradients_on() -> Iterator[None]:
    """Record gradients, whatever mode the caller is in; a compiler that traces the call is never in inference mode."""
    outside = contextlib.nullcontext() if tracing() else torch.inference_mode(False)
    with outside, torch.enable_grad():
        yield


def _tracked(graph: Graph) -> Graph:
    """Return the graph with positions that require gradients, and without tensors born in inference mode."""
    changes, extras = {}, graph.extras
    if not tracing():
        names = ("positions", "atomic_numbers", "cell", "pbc", "batch", "edge_index", "edge_shift")
        changes = {name: getattr(graph, name).clone() for name in names if getattr(graph, name).is_inference()}
        extras = {name: value.clone() if value.is_inference() else value for name, value in graph.extras.items()}
    positions = changes.get("positions", graph.positions)
    if not positions.requires_grad:
        changes["positions"] = positions.detach().requires_grad_(True)
    return graph.replace(**changes, extras=extras)


def _strained(graph: Graph, strain: torch.Tensor) -> Graph:
    """Deform positions and cells by symmetric strains [B, 3, 3]; row vectors go from r to r(1 + ε)."""
    symmetric = 0.5 * (strain + strain.transpose(-1, -2))
    positions = graph.positions + torch.einsum("ni,nij->nj", graph.positions, symmetric[graph.batch])
    return graph.replace(positions=positions, cell=graph.cell + graph.cell @ symmetric)


def _gradients(total: torch.Tensor, wanted: list[torch.Tensor], create_graph: bool) -> list[torch.Tensor]:
    """Differentiate a total energy; what it does not depend on (isolated atoms) has the gradient zero."""
    if not total.requires_grad:
        return [torch.zeros_like(tensor) for tensor in wanted]
    gradients = torch.autograd.grad(total, wanted, create_graph=create_graph, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(wanted, gradients, strict=True)]

"""Forces that are an output of the network instead of a derivative, as some published networks have them.

They are cheaper, and they conserve no energy: use them to compare, or where no dynamics is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from equitools.errors import GraphError
from equitools.models.contract import Backbone, check_input, like
from equitools.models.potential import Potential
from equitools.models.readout import VectorReadout
from equitools.ops.precision import full_precision

if TYPE_CHECKING:
    from equitools.graph import Graph

__all__ = ["DirectPotential"]


class DirectPotential(Potential):
    """Energies as those of `Potential`, and forces read from the vectors among the features.

    Args:
        backbone: A network with ``1o`` features.
        reference_energies: See `Potential`.
        scale: Unit of the energy's readout in eV and of the forces' in eV/Å.
        shift: See `Potential`.
        zbl: See `Potential`; the forces know nothing of it.
        hidden: Width of the readouts' perceptrons.

    Raises:
        IrrepsError: The backbone has no vectors.

    Properties:
        equivariance: the forces transform as vectors where the backbone's features do as they say.
    """

    has_stress = False

    def __init__(
        self,
        backbone: Backbone,
        reference_energies: Mapping[Any, float] | None = None,
        scale: float = 1.0,
        shift: float = 0.0,
        zbl: bool = False,
        hidden: int = 16,
    ) -> None:
        super().__init__(backbone, reference_energies, scale, shift, zbl, hidden)
        self.vectors = like(VectorReadout(backbone.irreps_out, self.hidden), backbone)

    def spec(self) -> dict[str, Any]:
        """Return a JSON-able description from which `equitools.models.from_spec` builds an equal potential."""
        return {**super().spec(), "direct_forces": True}

    @full_precision
    def forward(
        self,
        graph: Graph,
        forces: bool = True,
        stress: bool | None = None,
        virial: bool | None = None,
        gradient: bool = False,
    ) -> dict[str, torch.Tensor]:
        """Compute energies and forces.

        Args:
            graph: A graph or batch.
            forces: Whether to return forces.
            stress: Must not be asked for.
            virial: Must not be asked for.
            gradient: Whether to return ``energy_gradient_forces``, too: minus the gradient of the energy, which the
                published training option "direct with gradient target" compares the forces with.

        Returns:
            ``energy``, ``node_energy``, ``interaction_energy`` as those of `Potential`, ``forces`` ``[N, 3]`` eV/Å.

        Raises:
            GraphError: Stress or virial were asked for: forces that are no derivative have none.
        """
        if stress or virial:
            raise GraphError(
                "forces that are an output of the network have no stress and no virial. Leave them out, or train a "
                "Potential, whose forces are the gradient of the energy."
            )
        check_input(self, graph, self.cutoff)
        positions = graph.positions
        if gradient and not positions.requires_grad:
            graph = graph.replace(positions=positions.detach().requires_grad_(True))
        with torch.set_grad_enabled(gradient or torch.is_grad_enabled()):
            outputs, features = self.energies_and_features(graph)
            if forces:
                outputs["forces"] = self.scale * self.vectors(features)
        if gradient and outputs["interaction_energy"].requires_grad:
            total = outputs["interaction_energy"].sum()
            slope = torch.autograd.grad(total, graph.positions, create_graph=self.training, allow_unused=True)[0]
            outputs["energy_gradient_forces"] = torch.zeros_like(positions) if slope is None else -slope
        return outputs if self.training else {name: value.detach() for name, value in outputs.items()}

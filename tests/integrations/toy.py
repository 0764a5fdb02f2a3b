"""A smooth pair potential that obeys the contract of a potential, so that the calculator's tests need no network."""

from __future__ import annotations

import torch

from equitools.errors import UnknownSpeciesError


class MorsePotential(torch.nn.Module):
    """D · (e^{-2a(r-r0)} - 2 e^{-a(r-r0)}) · envelope(r / cutoff), half to each atom of a pair."""

    def __init__(self, species=(1, 6, 8, 29), cutoff=4.0, depth=0.4, width=1.4, length=2.5, inputs=()):
        super().__init__()
        self.species, self.cutoff, self.inputs = tuple(species), cutoff, tuple(inputs)
        self.parameters_ = torch.nn.Parameter(torch.tensor([depth, width, length]))
        self.calls = 0

    def forward(self, graph, forces=True, stress=None, virial=None):
        self.calls += 1
        if not set(graph.atomic_numbers.tolist()) <= set(self.species):
            raise UnknownSpeciesError("an unknown element")
        if stress is None:
            stress = bool(graph.pbc.all())
        positions = graph.positions.detach().requires_grad_(True)
        strain = torch.zeros_like(graph.cell).requires_grad_(True)
        symmetric = 0.5 * (strain + strain.mT)
        moved = positions + torch.einsum("ni,nij->nj", positions, symmetric[graph.batch])
        strained = graph.replace(positions=moved, cell=graph.cell + graph.cell @ symmetric)
        distance = strained.edge_vectors().norm(dim=1)
        depth, width, length = self.parameters_
        decay = torch.exp(-width * (distance - length))
        x = distance / self.cutoff
        envelope = torch.where(x < 1, (1 - x.square()).clamp(min=0) ** 3, 0)
        pair = 0.5 * depth * (decay.square() - 2 * decay) * envelope
        node = torch.zeros_like(positions[:, 0]).index_add(0, graph.edge_index[1], pair)
        if "total_charge" in graph.extras:
            node = node + 0.1 * graph.extras["total_charge"].to(node.dtype)[graph.batch] * node
        energy = torch.zeros(graph.num_graphs, dtype=node.dtype).index_add(0, graph.batch, node)
        out = {"energy": energy.double(), "node_energy": node}
        if forces or stress:
            gradients = torch.autograd.grad(energy.sum(), [positions, strain])
            out["forces"] = -gradients[0]
            if stress:
                out["stress"] = gradients[1] / torch.linalg.det(graph.cell).abs()[:, None, None]
        return out

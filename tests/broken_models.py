"""A small correct potential, and copies of it with one deliberate error each.

The errors are real ones: each was made in a published code or is easily made. `tests/testing` asserts that the harness
flags each under the right heading, and that it passes the correct one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equitools.graph import Graph
from equitools.groups import Irreps


class PairPotential(nn.Module):
    """Correct: per-atom energies of vector and scalar moments of the neighbourhood; conservative forces and stress."""

    width = 6

    def __init__(self, cutoff: float = 4.0, seed: int = 0) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.species = (1, 6, 8)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(10, self.width)
            self.radial = nn.Sequential(nn.Linear(4 + 2 * self.width, 16), nn.SiLU(), nn.Linear(16, 2 * self.width))
            self.mix = nn.Linear(self.width, 4, bias=False)
            self.readout = nn.Sequential(nn.Linear(2 * self.width + 4, 16), nn.SiLU(), nn.Linear(16, 1))

    # the hooks that the broken ones override

    def vectors(self, graph: Graph) -> Tensor:
        return graph.edge_vectors()

    def envelope(self, length: Tensor) -> Tensor:
        x = (length / self.cutoff).clamp(max=1.0)
        return (1 - x) ** 3 * (1 + 3 * x + 6 * x**2)

    def edge_factor(self, graph: Graph) -> Tensor | float:
        return 1.0

    def node_vectors(self, vectors: Tensor, graph: Graph) -> Tensor:
        return vectors

    def invariants(self, vectors: Tensor) -> Tensor:
        return self.mix((vectors * vectors).sum(1))

    def hidden(self, features: Tensor, graph: Graph) -> Tensor:
        return features

    def finish_forces(self, forces: Tensor, graph: Graph, vectors: Tensor) -> Tensor:
        return forces

    stress_sign = 1.0
    keeps_graph_in_training = True

    def describe(self, graph: Graph) -> tuple[Tensor, Tensor]:
        sender, receiver = graph.edge_index
        edges = self.vectors(graph)
        length = edges.norm(dim=1, keepdim=True)
        basis = torch.cat([torch.sin((k + 1) * torch.pi * length / self.cutoff) / length for k in range(4)], 1)
        kinds = self.embedding(graph.atomic_numbers)
        weights = self.radial(torch.cat([basis, kinds[sender], kinds[receiver]], 1))
        weights = weights * self.envelope(length) * self.edge_factor(graph)
        scalar, radial = weights.split(self.width, dim=1)
        node_scalars = kinds.new_zeros(graph.num_nodes, self.width).index_add(0, receiver, scalar)
        outer = (edges / length)[:, :, None] * radial[:, None, :]
        node_vectors = outer.new_zeros(graph.num_nodes, 3, self.width).index_add(0, receiver, outer)
        return torch.cat([node_scalars, kinds], 1), self.node_vectors(node_vectors, graph)

    def node_energies(self, graph: Graph) -> tuple[Tensor, Tensor]:
        scalars, vectors = self.describe(graph)
        features = self.hidden(torch.cat([scalars, self.invariants(vectors)], 1), graph)
        return self.readout(features)[:, 0], vectors

    def forward(self, graph: Graph, forces: bool = True, stress: bool | None = None) -> dict[str, Tensor]:
        wants_stress = bool(graph.pbc.all()) if stress is None else stress
        keep = (self.training and self.keeps_graph_in_training) or graph.positions.requires_grad
        strain = torch.zeros_like(graph.cell, requires_grad=True)
        symmetric = (strain + strain.mT) / 2
        positions = graph.positions if graph.positions.requires_grad else graph.positions.clone().requires_grad_()
        moved = positions + torch.einsum("ni,nij->nj", positions, symmetric[graph.batch])
        strained = graph.replace(positions=moved, cell=graph.cell + graph.cell @ symmetric)
        energies, vectors = self.node_energies(strained)
        total = torch.zeros(graph.num_graphs, dtype=energies.dtype).index_add(0, graph.batch, energies)
        outputs = {"energy": total.double(), "node_energy": energies.double()}
        if forces or wants_stress:
            first, second = torch.autograd.grad(
                total.sum(), [positions, strain], create_graph=keep, retain_graph=True, allow_unused=True
            )
            first = torch.zeros_like(positions) if first is None else first
            second = torch.zeros_like(strain) if second is None else second
            outputs["forces"] = self.finish_forces(-first, graph, vectors)
            if wants_stress:
                volume = torch.linalg.det(graph.cell).abs()[:, None, None]
                outputs["stress"] = self.stress_sign * (second + second.mT) / 2 / volume
        return outputs


class AbsoluteCoordinates(PairPotential):
    """Each atom's energy feels where it is in space."""

    def node_energies(self, graph: Graph) -> tuple[Tensor, Tensor]:
        energies, vectors = super().node_energies(graph)
        return energies + torch.tanh(0.3 * graph.positions[:, 0]), vectors


class PerAxisReLU(PairPotential):
    """A nonlinearity on each Cartesian component of a vector."""

    def node_vectors(self, vectors: Tensor, graph: Graph) -> Tensor:
        return torch.relu(vectors)


class BiasedVectors(PairPotential):
    """A bias added to vectors (the first versions of vector neurons)."""

    def node_vectors(self, vectors: Tensor, graph: Graph) -> Tensor:
        return vectors + torch.tensor([0.3, -0.2, 0.1], dtype=vectors.dtype)[None, :, None]


class MeanOverWrongAxis(PairPotential):
    """SEGNN's N-body input: the mean over x, y, z of each particle instead of over the particles."""

    def node_energies(self, graph: Graph) -> tuple[Tensor, Tensor]:
        energies, vectors = super().node_energies(graph)
        centred = graph.positions - graph.positions.mean(1, keepdim=True)
        return energies + 0.1 * torch.tanh(centred.square().sum(1)), vectors


class SummedComponents(PairPotential):
    """ponita-torch's 2-D invariant: the sum of the components of a vector in place of a projection."""

    def invariants(self, vectors: Tensor) -> Tensor:
        return self.mix(vectors.sum(1))


class HardCutoff(PairPotential):
    """Edges end at the cutoff without an envelope."""

    def envelope(self, length: Tensor) -> Tensor:
        return torch.ones_like(length)


class ConstantHardCutoff(PairPotential):
    """Counts neighbours: the energy itself jumps at the cutoff."""

    def envelope(self, length: Tensor) -> Tensor:
        return 1 + 0 * length

    def hidden(self, features: Tensor, graph: Graph) -> Tensor:
        ones = torch.ones(graph.num_edges, 1, dtype=features.dtype)
        return features + 0.1 * features.new_zeros(graph.num_nodes, 1).index_add(0, graph.edge_index[1], ones)


class DirectForces(PairPotential):
    """A force head of its own on top of the gradient: equivariant, but no gradient of any energy."""

    def finish_forces(self, forces: Tensor, graph: Graph, vectors: Tensor) -> Tensor:
        return forces + 0.1 * vectors.mean(2)


class WrongStressSign(PairPotential):
    """The stress of the opposite sign convention."""

    stress_sign = -1.0


class OrderMatters(PairPotential):
    """The weight of an edge depends on which atom has the larger index."""

    def edge_factor(self, graph: Graph) -> Tensor:
        sender, receiver = graph.edge_index
        return torch.where(sender > receiver, 1.2, 0.8)[:, None].to(graph.positions.dtype)


class BatchLeak(PairPotential):
    """Batch normalisation with the statistics of whatever lies in the batch."""

    def hidden(self, features: Tensor, graph: Graph) -> Tensor:
        return (features - features.mean(0)) / (features.std(0, unbiased=False) + 1.0)


class GlobalMean(PairPotential):
    """The mean of all atoms of a graph enters each atom: right in a batch, wrong for two molecules in one graph."""

    def hidden(self, features: Tensor, graph: Graph) -> Tensor:
        count = torch.bincount(graph.batch, minlength=graph.num_graphs).to(features.dtype)[:, None]
        mean = features.new_zeros(graph.num_graphs, features.shape[1]).index_add(0, graph.batch, features) / count
        return features + mean[graph.batch]


class PseudoScalar(PairPotential):
    """A triple product taken as a scalar: fine under rotation, wrong in a mirror."""

    def invariants(self, vectors: Tensor) -> Tensor:
        a, b, c, *_ = vectors.unbind(2)
        triple = (torch.linalg.cross(a, b) * c).sum(1, keepdim=True)
        return super().invariants(vectors) + 10.0 * triple


class AlwaysDropout(PairPotential):
    """Dropout that forgets about evaluation mode."""

    def hidden(self, features: Tensor, graph: Graph) -> Tensor:
        return nn.functional.dropout(features, 0.3, training=True)


class MovesItsInput(PairPotential):
    """Centres the positions of the caller's graph in place."""

    def forward(self, graph: Graph, forces: bool = True, stress: bool | None = None) -> dict[str, Tensor]:
        with torch.no_grad():
            graph.positions -= graph.positions.mean(0, keepdim=True)
        return super().forward(graph, forces, stress)


class HiddenSinglePrecision(PairPotential):
    """Part of the network casts to float32, so that float64 is float64 in name only."""

    def hidden(self, features: Tensor, graph: Graph) -> Tensor:
        return features.float().to(features.dtype)


class ForgetsCellShifts(PairPotential):
    """Takes edge vectors from positions alone, without the cell shift."""

    def vectors(self, graph: Graph) -> Tensor:
        sender, receiver = graph.edge_index
        return graph.positions[sender] - graph.positions[receiver] + 1e-3


class DetachedForces(PairPotential):
    """Forces without a graph in training: a force loss then trains nothing."""

    keeps_graph_in_training = False


class NotANumberAlone(PairPotential):
    """Divides by the number of neighbours: an isolated atom gives NaN."""

    def hidden(self, features: Tensor, graph: Graph) -> Tensor:
        count = torch.bincount(graph.edge_index[1], minlength=graph.num_nodes).to(features.dtype)[:, None]
        return features * (count / count)


class SinglePrecisionSum(PairPotential):
    """Adds the reference energy in single precision: meV are lost at -9000 eV."""

    offset = -9000.0

    def forward(self, graph: Graph, forces: bool = True, stress: bool | None = None) -> dict[str, Tensor]:
        outputs = super().forward(graph, forces, stress)
        return {**outputs, "energy": (outputs["energy"].float() + self.offset).double()}


class WrongParityFeatures(nn.Module):
    """A backbone that declares a cross product of vectors as a polar vector."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = PairPotential()
        self.cutoff = self.inner.cutoff
        self.irreps_out = Irreps("12x0e+1x1o")

    def forward(self, graph: Graph) -> dict[str, Tensor]:
        scalars, vectors = self.inner.describe(graph)
        return {"node_features": torch.cat([scalars, torch.linalg.cross(vectors[..., 0], vectors[..., 1])], 1)}

"""The library without the command line: a network, its forces, its symmetry, a layer of its own, a file, dynamics.

python examples/library.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from ase import units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet

import equitools as et
from equitools.groups import Irreps


def main() -> None:
    """Run through the floors from the bottom to the top."""
    torch.manual_seed(0)
    rotation = et.groups.SO(3).sample()
    print("D of l = 2 is orthogonal:", torch.allclose(d := et.groups.wigner_D(2, rotation), torch.linalg.inv(d).T))

    graph = et.graph.Graph.from_ase(molecule("CH3CH2OH"), cutoff=4.0)
    harmonics = et.ops.spherical_harmonics(2, graph.edge_vectors())
    layer = et.nn.TensorProductConv("4x0e + 4x1o", "0e + 1o + 2e", "0e + 1o")
    features = torch.randn(graph.num_nodes, Irreps("4x0e + 4x1o").dim)
    weights = torch.randn(graph.num_edges, layer.weight_numel)
    print("messages:", list(layer(features, harmonics, weights, graph.edge_index, graph.num_nodes).shape))

    network = et.models.build("many_body_mp", cutoff=4.0, species=("H", "C", "O"), channels=8, l_max=2)
    potential = et.models.Potential(network)
    print("forces:", list(potential(graph)["forces"].shape), "eV/Å")
    print(et.testing.equivariance_report(potential, graph, group="E(3)"))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        et.save(potential, path)
        atoms = molecule("CH3CH2OH")
        atoms.calc = et.integrations.ase.EquitoolsCalculator(path)
        VelocityVerlet(atoms, 0.5 * units.fs).run(5)
        print("an untrained network's energy after five steps:", round(atoms.get_total_energy(), 4), "eV")


if __name__ == "__main__":
    main()

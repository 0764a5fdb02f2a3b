"""A network without any symmetry, made equivariant: what frames do, and what they do at a symmetric molecule.

    python examples/symmetrize.py

A perceptron on flattened coordinates is symmetrised in four ways. Each way is judged by `point_report`, which rotates,
translates and reflects the input in float64; then methane, whose principal axes are not unique, is moved by 1e-8 Å.
"""

from __future__ import annotations

import torch
from ase.build import molecule
from torch import Tensor, nn

import equitools as et
from equitools.symmetrize import FrameAverage, StochasticFrameAverage, degeneracy


class Perceptron(nn.Module):
    """An energy of five atoms by a network that knows no symmetry."""

    def __init__(self, atoms: int = 5) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3 * atoms, 64), nn.Tanh(), nn.Linear(64, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, 1]``."""
        return self.layers(x.flatten(1))


def one_eigensolver_call(net: nn.Module) -> nn.Module:
    """The tempting way: principal axes as the solver returns them. Wrong, as the report says."""

    class Pose(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x - x.mean(1, keepdim=True)
            return net(x @ torch.linalg.eigh(x.mT @ x)[1])

    return Pose()


def main() -> None:
    """Compare."""
    torch.manual_seed(0)
    net = Perceptron().double()
    ways = {
        "the bare network": net,
        "one eigensolver call": one_eigensolver_call(net),
        "full": FrameAverage(net, "E(3)"),
        "weighted": FrameAverage(net, "E(3)", mode="weighted"),
        "stochastic, evaluated": StochasticFrameAverage(net, "E(3)").eval(),
    }
    clouds = torch.randn(4, 5, 3, dtype=torch.float64)
    methane = torch.from_numpy(molecule("CH4").get_positions())[None]
    found = degeneracy(methane)
    print(f"methane: rank {int(found.rank)}, repeated second moments: {found.repeated[0].tolist()}\n")
    shaken = methane + 1e-8 * torch.randn(50, 5, 3, dtype=torch.float64)
    print(f"{'way':24s}{'E(3)':10s}{'change of methane moved by 1e-8 Å':>36s}")
    for name, way in ways.items():
        report = et.testing.point_report(way, clouds, "E(3)", outputs="scalar", skip=["permutation"])
        with torch.no_grad():
            values = way(shaken)
        print(f"{name:24s}{'passed' if report.passed else 'BROKEN':10s}{float(values.max() - values.min()):36.1e}")


if __name__ == "__main__":
    main()

"""Layers of diagrams: count the triangles of a graph with S_n, and find the cross product with SO(3).

    python examples/diagram_layers.py               # about half a minute
    python examples/diagram_layers.py --steps 2     # does it run?

A graph of n nodes is an n × n matrix, and the number of its triangles does not depend on the order of the nodes. The
linear maps between such matrices that do not depend on it either are sums of fifteen diagrams; ReLU acts on each entry,
which is allowed because permutations only move entries. The second part is linear: from a ⊗ b to a × b there is exactly
one SO(3)-equivariant map, and no O(3)-equivariant one.
"""

from __future__ import annotations

import argparse

import torch

from equitools.nn import DiagramLinear

NODES = 7


def graphs(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw random graphs as matrices ``[count, 1, n, n]``, and count their triangles."""
    density = 0.2 + 0.6 * torch.rand(count, 1, 1, generator=generator)
    upper = (torch.rand(count, NODES, NODES, generator=generator) < density).float().triu(1)
    adjacency = upper + upper.transpose(1, 2)
    triangles = torch.linalg.matrix_power(adjacency, 3).diagonal(dim1=1, dim2=2).sum(-1) / 6
    return adjacency.unsqueeze(1), triangles


def network() -> torch.nn.Module:
    """Return a network from matrices of nodes to one number, which does not depend on the nodes' order."""
    return torch.nn.Sequential(
        DiagramLinear("S_n", NODES, 2, 2, 1, 24),
        torch.nn.ReLU(),
        DiagramLinear("S_n", NODES, 2, 2, 24, 24),
        torch.nn.ReLU(),
        DiagramLinear("S_n", NODES, 2, 0, 24, 24),
        torch.nn.ReLU(),
        torch.nn.Linear(24, 1),
    )


def count_triangles(steps: int) -> None:
    """Train and test."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=max(steps, 2))
    for _ in range(steps):
        x, wanted = graphs(128, generator)
        loss = (net(x).squeeze(-1) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    x, wanted = graphs(1000, generator)
    order = torch.randperm(NODES, generator=generator)
    with torch.no_grad():
        found, other = (net(y).squeeze(-1) for y in (x, x[:, :, order][:, :, :, order]))
    print(f"triangles: mean error {float((found - wanted).abs().mean()):.2f}, "
          f"of the mean {float((wanted - wanted.mean()).abs().mean()):.2f}; "
          f"in another order of the nodes it differs by {float((found - other).abs().max()):.1e}")  # fmt: skip


def find_the_cross_product() -> None:
    """Fit the weights of the map from a ⊗ b to a × b."""
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 50, 3, generator=generator)
    x, wanted = (a[:, :, None] * b[:, None]).unsqueeze(1), torch.linalg.cross(a, b)
    for group in ("SO(3)", "O(3)"):
        layer = DiagramLinear(group, 3, 2, 1, 1, 1, bias=False)
        for parameter in layer.parameters():
            if parameter.numel():  # one number: the best is a ratio
                parameter.data.fill_(1.0)
                made = layer(x).detach().squeeze(1)
                parameter.data *= (made * wanted).sum() / made.square().sum()
        error = (layer(x).detach().squeeze(1) - wanted).abs().max()
        names = ", ".join(map(str, layer.diagrams)) or "no diagram"
        print(f"cross product with {group}: {names}; largest error {float(error):.1e}")


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    count_triangles(parser.parse_args().steps)
    find_the_cross_product()


if __name__ == "__main__":
    main()

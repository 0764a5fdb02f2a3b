"""Learn the next frame of a flow with an equivariant Fourier network, and test it on turned flows.

    python examples/gfno.py                                # a few minutes
    python examples/gfno.py --flows 4 --epochs 1           # seconds, and no good

Ten frames of vorticity are given, the eleventh is asked for. The flows are solved here. Turned test flows are as well
predicted as the ones that have not been turned, to the last digits; a plain Fourier network (--network fno) has to be
lucky.
"""

from __future__ import annotations

import argparse

import torch

from equitools.data import symmetric_navier_stokes
from equitools.groups import FiniteGroup
from equitools.models.images import FNO, GFNO
from equitools.ops import permute_pixels

NETWORKS = {
    "gfno": lambda: GFNO(10, 1, width=4, modes=6, layers=3, group="p4"),
    "fno": lambda: FNO(10, 1, width=7, modes=6, layers=3),
}


def error(network: torch.nn.Module, frames: torch.Tensor) -> torch.Tensor:
    """Return the relative error of the eleventh frame of each flow."""
    wanted = frames[:, 10]
    return (network(frames[:, :10])[:, 0] - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)


def main() -> None:
    """Solve, train, test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=list(NETWORKS), default="gfno")
    parser.add_argument("--flows", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    parts = symmetric_navier_stokes({"train": arguments.flows, "test": 8}, resolution=24, frames=14, step=0.025)
    windows = torch.cat([parts["train"][:, k : k + 11] for k in range(4)])
    network = NETWORKS[arguments.network]()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for epoch in range(arguments.epochs):
        losses = []
        for rows in torch.randperm(len(windows)).split(8):
            loss = error(network, windows[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1}: {100 * sum(losses) / len(losses):.1f} %")
    test = parts["test"][:, :11]
    with torch.no_grad():
        upright = float(error(network, test).mean())
        turned = [
            float(error(network, permute_pixels(g, test, "origin")).mean())
            for g in FiniteGroup.named("p4").matrices[1:]
        ]
    print(f"upright: {100 * upright:.4f} %")
    print("turned: " + ", ".join(f"{100 * value:.4f} %" for value in turned))


if __name__ == "__main__":
    main()

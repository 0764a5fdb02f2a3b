"""A symmetry that holds only in part: let a network find out which of four groups its data keep.

    python examples/soft_symmetry.py
    python examples/soft_symmetry.py --epochs 600

Five masses and their tensor of inertia, the z column of which is 30 % too large: rotations about z and reflections
leave that alone, other rotations do not. A network that is free, but pulled towards four groups at once, is trained; a
quarter of the way through, each pull is weakened by as much as the data resist it.
"""

from __future__ import annotations

import argparse

import torch

import equitools as et
from equitools.data import broken_inertia
from equitools.groups import generators_of, scalar, vector
from equitools.nn import EMLP, uniform_rep
from equitools.training import ProjectionRegulariser, ProjectionTuning


def main() -> None:
    """Train, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--channels", type=int, default=64)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    v = vector("O(3)")
    rep_in, rep_out = 5 * scalar("O(3)") + 5 * v, v**2
    net = EMLP(rep_in, rep_out, uniform_rep(v, arguments.channels, max_rank=2), layers=2, channels=4, soft=True)

    plane = generators_of("O(2)")
    groups = {
        "O(3)": "O(3)",
        "O(2) in xy": plane.embedded(3, [0, 1]),
        "O(2) in yz": plane.embedded(3, [1, 2]),
        "O(2) in xz": plane.embedded(3, [0, 2]),
    }
    pull = ProjectionRegulariser(net, groups, weight=1.0)
    tuning = ProjectionTuning(pull, at=max(2, arguments.epochs // 4), window=10, warm_up=5)

    task = broken_inertia(1000, 500, 500)
    x, y = task.train.inputs.float(), task.train.target.float()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for epoch in range(1, arguments.epochs + 1):
        for index in torch.randperm(len(x)).split(250):
            loss = (net(x[index]) - y[index]).square().mean()
            optimizer.zero_grad()
            (loss + pull()).backward()
            optimizer.step()
        if tuning.after_epoch(epoch):
            print(f"epoch {epoch}: the pulls are tuned")
    with torch.no_grad():
        error = (net(task.test.inputs.float()) - task.test.target.float()).square().mean()
        spread = task.test.target.var()
        residuals = pull.residuals()
    print(f"test error {float(error):.3g}, variance of the target {float(spread):.3g} (equitools {et.__version__})\n")
    print(f"{'group':12s}{'distance R':>14s}{'weight':>10s}")
    for name, distance, weight in zip(pull.names, residuals.tolist(), pull.weights.tolist(), strict=True):
        print(f"{name:12s}{distance:14.2e}{weight:10.3f}")


if __name__ == "__main__":
    main()

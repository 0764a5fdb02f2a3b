"""Looking for a symmetry in data: a rotation that two orbiting bodies have, and an invariant metric from it.

    python examples/find_symmetry.py                # about two minutes
    python examples/find_symmetry.py --epochs 1 --trajectories 20

Pairs of a state of two bodies and of the state after it are moved by exp(z L) with a learned matrix L, so that a second
network cannot tell them from the real ones. L should come out as the rotation of all positions and momenta.
"""

from __future__ import annotations

import argparse

import torch

from equitools.data import two_body_orbits
from equitools.groups import SO, algebra_cosine, invariant_forms
from equitools.training import LieGenerator, find_symmetry, judge_symmetry


def main() -> None:
    """Search, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--trajectories", type=int, default=800)
    arguments = parser.parse_args()
    x, y = two_body_orbits(arguments.trajectories).pairs()
    truth = torch.block_diag(*[SO(2).algebra_basis[0]] * 4)

    # four copies of the plane: position and momentum of each body; how the coordinates are paired is all that is given
    generator = LieGenerator(8, blocks=2, generator=torch.Generator().manual_seed(0))
    found = find_symmetry(
        x.float(), y.float(), generator, epochs=arguments.epochs, identity_weight=1.0,
        progress=lambda entry: print(
            f"cosine with the rotation {float(algebra_cosine(entry['algebra'][0], truth)):.4f}, "
            f"discriminator {entry['discriminator_loss']:.3f}, displacement {entry['displacement']:.2f}", flush=True,
        ),
    )  # fmt: skip
    print(f"\nThe block of the first position:\n{found.algebra[0, :2, :2].numpy().round(3)}")
    verdict = judge_symmetry(x.float(), y.float(), generator, epochs=min(5, arguments.epochs))
    print(f"A fresh network tells moved pairs from real ones with accuracy {verdict.accuracy:.3f} (guessing: 0.5)")
    forms = invariant_forms(found.algebra[:, :2, :2], threshold=0.1)
    if len(forms.forms):
        print(f"Invariant metric of positions (residual {float(forms.residuals[0]):.1e}):\n{forms.forms[0].numpy()}")


if __name__ == "__main__":
    main()

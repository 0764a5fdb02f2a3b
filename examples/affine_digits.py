"""A classifier over ℝ²⋊GL⁺(2), trained on upright digits and asked about sheared, turned and stretched ones.

    python examples/affine_digits.py              # about a minute; needs scikit-learn for its digits
    python examples/affine_digits.py --group "SL(2)" --epochs 30

Beside it stands the same network with ordinary convolutions and as many parameters. No transformed digit is trained on.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from equitools.data import AFFNIST_RANGES, affine_images, stratified_split, upright_digits
from equitools.models.images import LieClassifier, matched_cnn, num_parameters


def train(net: torch.nn.Module, images: Tensor, labels: Tensor, epochs: int, rate: float) -> None:
    """Train with AdamW and one cycle of the learning rate."""
    steps = -(-len(labels) // 32)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, epochs * steps, pct_start=0.2)
    net.train()
    for _ in range(epochs):
        for index in torch.randperm(len(labels)).split(32):
            loss = torch.nn.functional.cross_entropy(net(images[index]), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    net.eval()


@torch.no_grad()
def accuracy(net: torch.nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the accuracy in %."""
    guesses = torch.cat([net(part).argmax(1) for part in images.split(96)])
    return 100 * float((guesses == labels).double().mean())


def main() -> None:
    """Train both networks and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", default="GL+(2)", help='"SO(2)", "SIM(2)", "SL(2)" or "GL+(2)"')
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--train", type=int, default=1437, help="how many digits to train on")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    digits = upright_digits(28, 14)
    rest, held = stratified_split(digits.labels, 360)
    few, test = digits.part(rest[: arguments.train]), digits.part(held)
    moved = affine_images(test, AFFNIST_RANGES, seed=1)
    net = LieClassifier(group=arguments.group, angle=0.5, spread=0.15)
    plain = matched_cnn(num_parameters(net))
    for name, model, rate in ((arguments.group, net, 0.01), ("plain", plain, 0.005)):
        train(model, few.images, few.labels, arguments.epochs, rate)
        upright, affine = (accuracy(model, part.images, part.labels) for part in (test, moved))
        print(f"{name}: {num_parameters(model)} parameters, upright {upright:.1f} %, affine {affine:.1f} %")


if __name__ == "__main__":
    main()

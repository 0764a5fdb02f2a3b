"""A classifier that has only seen upright solids learns to do without that: a canonicalizer in front of it.

    python examples/adapt_point_cloud.py            # or --canonicalizer poses; a few minutes

A small PointNet is trained on upright clouds of thirteen kinds of solids. Turned, it knows few of them. Then it is
adapted (A. K. Mondal et al., NeurIPS 2023, arXiv 2310.01647): a canonicalizer moves each cloud to a pose of its own
choice before the classifier sees it, an *identity prior* asks it to leave the upright training clouds as they are, and
both learn a little longer, still on upright clouds only. The whole is exactly invariant to rotations, because the
canonicalizer is exactly equivariant: what it gets right of upright clouds it gets right of turned ones.

There are three sets, of different seeds: what is trained is trained on the first, what is chosen (how many epochs, by
`benchmarks/adaptation.py --choose`) is chosen on the second, and the third is looked at once, at the end.

``vectors``: a vector-neuron network, Gram–Schmidt. ``poses``: a small network that is not equivariant chooses among the
24 poses in which the cloud's principal axes are the coordinate axes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from equitools.data.solids import SOLIDS, Solids, rotated, solids
from equitools.groups import finite_group
from equitools.models import EnergyCanonicalizer, GramSchmidtCanonicalizer, VNDeepSets
from equitools.models.points import PointNet
from equitools.symmetrize import Canonicalize, identity_metric, identity_prior

POINTS, NOISE, BATCH, RATE = 128, 0.01, 32, 3e-3
TRAIN, HELD, PRETRAIN, ADAPT, CHOOSE = 2600, 1300, 10, 25, 5
CLASSES = tuple(SOLIDS)
CANONICALIZERS = ("vectors", "poses")
Loss = Callable[[Tensor, Tensor], Tensor]


class Held(NamedTuple):
    """Clouds that nothing is trained on: upright, and turned at random."""

    upright: Tensor
    turned: Tensor
    labels: Tensor


class Sets(NamedTuple):
    """Upright clouds for training, others for choosing, and others for the last word."""

    train: Solids
    valid: Held
    test: Held


def make_sets(train: int = TRAIN, held: int = HELD, seed: int = 0) -> Sets:
    """Make the data: every set, and the rotations of every set, have a seed of their own."""

    def part(k: int) -> Held:
        made = solids(held, POINTS, 10 * seed + k, NOISE, CLASSES)
        turned = rotated(made.points, torch.Generator().manual_seed(10 * seed + k + 5))
        return Held(made.points, turned, made.labels)

    return Sets(solids(train, POINTS, 10 * seed + 1, NOISE, CLASSES), part(2), part(3))


def classifier(classes: int) -> PointNet:
    """Return a small PointNet."""
    return PointNet(classes, local=(32, 32), widths=(32, 64, 256), head=(128, 64))


def fit(parameters: Iterable[Tensor], loss: Loss, data: Solids, epochs: int, seed: int) -> None:
    """Minimise a loss of clouds and labels with Adam and one cycle of the learning rate."""
    chosen = [p for p in parameters if p.requires_grad]
    generator = torch.Generator().manual_seed(seed)
    batches = -(-len(data.labels) // BATCH)
    optimizer = torch.optim.Adam(chosen, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=max(2, epochs * batches))
    for _ in range(epochs):
        for batch in torch.randperm(len(data.labels), generator=generator).split(BATCH):
            value = loss(data.points[batch], data.labels[batch])
            optimizer.zero_grad()
            value.backward()
            # the frame of a cloud that is nearly symmetric has a large derivative
            torch.nn.utils.clip_grad_norm_(chosen, 1.0)
            optimizer.step()
            schedule.step()


def pretrain(data: Solids, epochs: int = PRETRAIN, seed: int = 0, turn: bool = False) -> PointNet:
    """Train a classifier on upright clouds; with ``turn``, on clouds that are turned at random in each step instead."""
    torch.manual_seed(seed)
    net = classifier(len(data.names))
    generator = torch.Generator().manual_seed(seed)

    def loss(x: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(net(rotated(x, generator) if turn else x), labels)

    fit(net.train().parameters(), loss, data, epochs, seed)
    return net.eval()


def by_vectors() -> GramSchmidtCanonicalizer:
    """Return a canonicalizer that learns two vectors of a cloud: the first is to point up."""
    network = VNDeepSets(2, "SO(3)", hidden=32, layers=2, pool="max", principal=True)
    return GramSchmidtCanonicalizer(network, "SO(3)", first_axis=2)


def by_poses() -> EnergyCanonicalizer:
    """Return a canonicalizer that learns to choose among the poses that principal axes allow."""
    energy = PointNet(1, local=(16,), widths=(32, 64), head=(32,), dropout=0.0, norm="none")
    # Principal axes have four right-handed signs; with the rotations of a cube, up to these signs, any order.
    cube = finite_group("O")
    orders = torch.stack([next(g for g in cube if torch.equal(g.abs(), p)) for p in cube.abs().unique(dim=0)])
    return EnergyCanonicalizer(energy, "SO(3)", starts=orders, steps=0)


def adapt(
    net: PointNet,
    data: Solids,
    kind: str = "vectors",
    epochs: int = ADAPT,
    weight: float = 1.0,
    seed: int = 0,
    frozen: bool = False,
) -> Canonicalize:
    """Put a canonicalizer in front of a trained classifier and train it, and (unless frozen) the classifier with it.

    Args:
        net: The trained classifier; it is changed, unless frozen.
        data: Upright clouds.
        kind: One of `CANONICALIZERS`. The choice among poses is learned first, by the prior alone, in `CHOOSE` epochs.
        epochs: Of the training of both.
        weight: Of the identity prior.
        seed: Of the canonicalizer and the order of the clouds.
        frozen: Leave the classifier as it is.
    """
    torch.manual_seed(seed)
    pose: GramSchmidtCanonicalizer | EnergyCanonicalizer = by_vectors() if kind == "vectors" else by_poses()
    model = Canonicalize(net, pose, "points", "scalar").train()
    if frozen:
        net.requires_grad_(False).eval()

    def prior_of_choice(x: Tensor, _: Tensor) -> Tensor:
        elements, energies = pose.candidates(x)  # type: ignore[operator]
        nearest = elements.diagonal(dim1=-2, dim2=-1).sum(-1).argmax(1)  # to the identity
        return cross_entropy(-energies, nearest)

    def both(x: Tensor, labels: Tensor) -> Tensor:
        found = model.frames_of(x, None)
        logits = model.through(found, (x,))
        # noisy clouds have one element each
        prior = identity_prior(found.elements[:, 0]) if kind == "vectors" else 0.0
        return cross_entropy(logits, labels) + weight * prior

    if kind == "poses":
        fit(pose.parameters(), prior_of_choice, data, min(epochs, CHOOSE), seed)
        pose.requires_grad_(False)
    if kind == "vectors" or not frozen:
        fit(model.parameters(), both, data, epochs, seed)
    return model.eval()


@torch.no_grad()
def accuracy(model: torch.nn.Module, held: Held) -> dict[str, float]:
    """Return the percentage of upright and of turned clouds that are told."""
    found = {}
    for name, points in (("upright", held.upright), ("turned", held.turned)):
        told = torch.cat([model(part).argmax(-1) for part in points.split(BATCH)])
        found[name] = 100 * float((told == held.labels).double().mean())
    return found


@torch.no_grad()
def left_alone(model: Canonicalize, held: Held, degrees: float = 20.0) -> dict[str, float]:
    """Return the percentages of upright clouds that are turned by less than an angle: at all, and away from upright.

    A body of revolution cannot be left as it is: nothing fixes its angle about its axis. It can be left upright.
    """
    elements = torch.cat([model.frames_of(part, None).elements[:, 0] for part in held.upright.split(BATCH)])
    angle = torch.deg2rad(torch.tensor(degrees))
    upright = elements[:, 2, 2] >= float(angle.cos())
    return {
        "identity": 100 * float(identity_metric(elements, 8**0.5 * float((angle / 2).sin()))),
        "axis": 100 * float(upright.double().mean()),
    }


def main() -> None:
    """Train, adapt and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--canonicalizer", choices=CANONICALIZERS, default="vectors")
    parser.add_argument("--frozen", action="store_true", help="leave the classifier as it is")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, default=TRAIN)
    parser.add_argument("--test", type=int, default=HELD)
    parser.add_argument("--epochs", type=int, help="of both trainings, for a short look")
    arguments = parser.parse_args()
    sets = make_sets(arguments.train, arguments.test, arguments.seed)
    net = pretrain(sets.train, arguments.epochs or PRETRAIN, arguments.seed)
    rows = {"original": accuracy(net, sets.test)}
    model = adapt(
        net,
        sets.train,
        arguments.canonicalizer,
        arguments.epochs or ADAPT,
        seed=arguments.seed,
        frozen=arguments.frozen,
    )
    rows["adapted"] = accuracy(model, sets.test)
    for name, row in rows.items():
        print(f"{name}: upright {row['upright']:.1f} %, turned {row['turned']:.1f} %")
    left = left_alone(model, sets.test)
    print(f"turned by less than 20°: {left['identity']:.1f} % of the upright clouds; their axis: {left['axis']:.1f} %")


if __name__ == "__main__":
    main()

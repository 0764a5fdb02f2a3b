"""A classifier that has only seen upright solids learns to do without that: a canonicalizer in front of it.

    python examples/adapt_point_cloud.py            # or --canonicalizer poses; a few minutes

A small PointNet is trained on upright clouds of nine kinds of solids. Turned, it knows few of them. Then it is
adapted (A. K. Mondal et al., NeurIPS 2023, arXiv 2310.01647): a canonicalizer moves each cloud to a pose of its own
choice before the classifier sees it, an *identity prior* asks it to leave the upright training clouds as they are, and
both learn a little longer, still on upright clouds only. The whole is exactly invariant to rotations, because the
canonicalizer is exactly equivariant: what it gets right of upright clouds it gets right of turned ones.

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

from equitools.data.solids import Solids, rotated, solids
from equitools.groups import finite_group
from equitools.models import EnergyCanonicalizer, GramSchmidtCanonicalizer, VNDeepSets
from equitools.models.points import PointNet
from equitools.symmetrize import Canonicalize, Frames, identity_metric, identity_prior

POINTS, NOISE, BATCH, RATE = 128, 0.01, 32, 3e-3
TRAIN, TEST, PRETRAIN, ADAPT, CHOOSE = 1152, 576, 20, 30, 10
#: No near twins: a cup is a mug without its handle, and a cylinder from some sides a prism.
CLASSES = ("ellipsoid", "box", "cone", "torus", "capsule", "tetrahedron", "spring", "l_shape", "mug")
CANONICALIZERS = ("vectors", "poses")
Loss = Callable[[Tensor, Tensor], Tensor]


class Sets(NamedTuple):
    """Upright clouds for training, others for testing, and those turned at random."""

    train: Solids
    upright: Tensor
    turned: Tensor
    labels: Tensor


def make_sets(train: int = TRAIN, test: int = TEST, seed: int = 0) -> Sets:
    """Make the data: two seeds for training and test, a third for the rotations."""
    first, second = (solids(n, POINTS, 10 * seed + k, NOISE, CLASSES) for k, n in ((1, train), (2, test)))
    turned = rotated(second.points, torch.Generator().manual_seed(10 * seed + 3))
    return Sets(first, second.points, turned, second.labels)


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
        element = pose(x)
        logits = model.through(Frames(element.unsqueeze(1), torch.ones_like(element[:, :1, 0])), (x,))
        prior = identity_prior(element) if kind == "vectors" else 0.0
        return cross_entropy(logits, labels) + weight * prior

    if kind == "poses":
        fit(pose.parameters(), prior_of_choice, data, min(epochs, CHOOSE), seed)
        pose.requires_grad_(False)
    if kind == "vectors" or not frozen:
        fit(model.parameters(), both, data, epochs, seed)
    return model.eval()


@torch.no_grad()
def accuracy(model: torch.nn.Module, sets: Sets) -> dict[str, float]:
    """Return the percentage of upright and of turned test clouds that are told."""
    logits = {
        name: torch.cat([model(part) for part in points.split(BATCH)])
        for name, points in (("upright", sets.upright), ("turned", sets.turned))
    }
    found = {name: 100 * float((value.argmax(-1) == sets.labels).double().mean()) for name, value in logits.items()}
    return found


@torch.no_grad()
def identity_share(model: Canonicalize, sets: Sets, degrees: float = 20.0) -> float:
    """Return the percentage of upright test clouds that the canonicalizer leaves within an angle of where they are."""
    elements = torch.cat([model.canonicalizer(part) for part in sets.upright.split(BATCH)])
    bound = 8**0.5 * float(torch.sin(torch.deg2rad(torch.tensor(degrees / 2))))
    return 100 * float(identity_metric(elements, bound))


def main() -> None:
    """Train, adapt and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--canonicalizer", choices=CANONICALIZERS, default="vectors")
    parser.add_argument("--frozen", action="store_true", help="leave the classifier as it is")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, default=TRAIN)
    parser.add_argument("--test", type=int, default=TEST)
    parser.add_argument("--epochs", type=int, help="of both trainings, for a short look")
    arguments = parser.parse_args()
    sets = make_sets(arguments.train, arguments.test, arguments.seed)
    net = pretrain(sets.train, arguments.epochs or PRETRAIN, arguments.seed)
    rows = {"original": accuracy(net, sets)}
    model = adapt(
        net,
        sets.train,
        arguments.canonicalizer,
        arguments.epochs or ADAPT,
        seed=arguments.seed,
        frozen=arguments.frozen,
    )
    rows["adapted"] = accuracy(model, sets)
    for name, row in rows.items():
        print(f"{name}: upright {row['upright']:.1f} %, turned {row['turned']:.1f} %")
    print(f"left within 20° of where they are: {identity_share(model, sets):.1f} % of the upright clouds")


if __name__ == "__main__":
    main()

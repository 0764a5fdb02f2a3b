"""Eight Tetris shapes, two of them mirror images: what a network can tell depends on how it multiplies.

    python examples/tetris.py --product gaunt+curl       # or cg, gaunt; half a minute

One small network, three products. ``cg`` has every Clebsch–Gordan path with a weight of its own, ``gaunt`` the Gaunt
product alone, ``gaunt+curl`` with its odd half. The Gaunt product couples degrees of an even sum only, so whatever a
network makes with it of true vectors is a function on the sphere: 0e, 1o, 2e. None of these is a pseudoscalar, and a
mirror image has the same scalars. So ``gaunt`` gives both shapes of the chiral pair the same answer, with any weights
and any training.

Protocol: Xie et al., ICML 2025 (arXiv 2506.13523): edges within 1.1, l ≤ 2, three layers, multiplicity 8, Adam with
1e-3, 1000 steps, a new random rotation of each shape in each step.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import torch
from e3nn import o3
from torch import Tensor

import equitools as et
from equitools.groups import Irreps, random_rotation
from equitools.nn import Gate, GauntTensorProduct, Linear

PRODUCTS = ("cg", "gaunt", "gaunt+curl")
SHAPES = {
    "chiral": [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 1, 0]],
    "its mirror image": [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, -1, 0]],
    "square": [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]],
    "line": [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3]],
    "corner": [[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]],
    "L": [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0]],
    "T": [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 1]],
    "zigzag": [[0, 0, 0], [1, 0, 0], [1, 1, 0], [2, 1, 0]],
}
CUTOFF, LMAX, LAYERS, CHANNELS, RATE, STEPS = 1.1, 2, 3, 8, 1e-3, 1000
#: A class is told where its logit is larger than all others by this: a tie tells nothing, whatever argmax makes of it.
MARGIN = 1e-3


class ClebschGordan(torch.nn.Module):
    """All paths that Clebsch–Gordan has, channel by channel, each with a weight of its own for each channel."""

    def __init__(self, irreps_in1: Irreps, irreps_in2: Irreps) -> None:
        super().__init__()
        mul = irreps_in1[0].mul
        found = sorted({ir for _, a in irreps_in1 for _, b in irreps_in2 for ir in a * b if ir.l <= LMAX})
        self.irreps_out = Irreps([(mul, ir) for ir in found])
        mode = "uuu" if irreps_in2[0].mul == mul else "uvu"
        paths = [
            (i, j, k, mode, True)
            for i, (_, a) in enumerate(irreps_in1)
            for j, (_, b) in enumerate(irreps_in2)
            for k, (_, c) in enumerate(self.irreps_out)
            if c in a * b
        ]
        self.product = o3.TensorProduct(str(irreps_in1), str(irreps_in2), str(self.irreps_out), paths)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Multiply."""
        return self.product(x, y)


def make_product(name: str, irreps_in1: Irreps, irreps_in2: Irreps) -> torch.nn.Module:
    """Return a product of l ≤ 2 by its name; ``irreps_out`` is all that it reaches."""
    if name == "cg":
        return ClebschGordan(irreps_in1, irreps_in2)
    return GauntTensorProduct(irreps_in1, irreps_in2, odd={"gaunt": "none", "gaunt+curl": "curl"}[name])


def _channels(irreps: Irreps) -> Irreps:
    """Return each irrep once, with all channels."""
    return Irreps([(CHANNELS, ir) for ir in sorted({ir for _, ir in irreps})])


class Layer(torch.nn.Module):
    """Features times the harmonics of the edges, summed over neighbours; these times themselves; a gate."""

    def __init__(self, name: str, irreps_in: Irreps, harmonics: Irreps) -> None:
        super().__init__()
        self.convolution = make_product(name, irreps_in, harmonics)
        middle = _channels(self.convolution.irreps_out)
        self.message = Linear(self.convolution.irreps_out, middle)
        # Two maps: the curl of a feature with itself is zero.
        self.left, self.right = Linear(middle, middle), Linear(middle, middle)
        self.product = make_product(name, middle, middle)
        self.irreps_out = _channels(middle + self.product.irreps_out)
        scalars = Irreps([(mul, ir) for mul, ir in self.irreps_out if str(ir) == "0e"])
        self.gate = Gate(scalars, Irreps([(mul, ir) for mul, ir in self.irreps_out if str(ir) != "0e"]))
        self.mix = Linear(middle + self.product.irreps_out, self.gate.irreps_in, bias=True)
        self.order = self._order()

    def _order(self) -> list[slice]:
        """Return where the gate's output has the irreps of ``irreps_out``."""
        where = dict(zip((ir for _, ir in self.gate.irreps_out), self.gate.irreps_out.slices(), strict=True))
        return [where[ir] for _, ir in self.irreps_out]

    def forward(self, x: Tensor, harmonics: Tensor, edges: Tensor) -> Tensor:
        """Map ``[N, irreps_in.dim]`` to ``[N, irreps_out.dim]``."""
        messages = self.convolution(x[edges[0]], harmonics)
        degree = edges.shape[1] / len(x)
        gathered = et.ops.segment_sum(messages, edges[1], len(x)) / math.sqrt(degree)
        middle = self.message(gathered)
        product = self.product(self.left(middle), self.right(middle))
        out = self.gate(self.mix(torch.cat([middle, product], -1)))
        return torch.cat([out[:, piece] for piece in self.order], -1)


class Network(torch.nn.Module):
    """Logits of the eight shapes from points.

    The readout has seven scalars and a pseudoscalar p: the first scalar s says how much of a chiral shape it is, and
    p·s and −p·s are the logits of the two.
    """

    def __init__(self, product: str) -> None:
        super().__init__()
        harmonics = Irreps.spherical_harmonics(LMAX)
        irreps = Irreps(f"{CHANNELS}x0e")
        layers = []
        for _ in range(LAYERS):
            layers.append(Layer(product, irreps, harmonics))
            irreps = layers[-1].irreps_out
        self.layers = torch.nn.ModuleList(layers)
        # Without pseudoscalars in the features, the last of these is zero.
        self.readout = Linear(irreps, "7x0e + 1x0o", bias=True)

    def forward(self, points: Tensor) -> Tensor:
        """Map ``[B, n, 3]`` to ``[B, 8]``."""
        shapes, count, _ = points.shape
        vectors = points.unsqueeze(1) - points.unsqueeze(2)  # [B, receiver, sender, 3]
        near = (vectors.norm(dim=-1) < CUTOFF) & ~torch.eye(count, dtype=torch.bool)
        batch, receiver, sender = near.nonzero().T
        edges = torch.stack([batch * count + sender, batch * count + receiver])
        harmonics = et.ops.spherical_harmonics(LMAX, vectors[near])
        x = points.new_ones(shapes * count, CHANNELS)
        for layer in self.layers:
            x = layer(x, harmonics, edges)
        out = self.readout(x).view(shapes, count, -1).mean(1)
        chiral = out[:, :1] * out[:, 7:]
        return torch.cat([chiral, -chiral, out[:, 1:7]], -1)


def shapes(generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return all shapes, each with a random rotation, ``[8, 4, 3]``."""
    points = torch.tensor(list(SHAPES.values()), dtype=dtype)
    turns = torch.stack([random_rotation(generator=generator, dtype=dtype) for _ in points])
    return torch.einsum("sij,spj->spi", turns, points)


def told(logits: Tensor) -> Tensor:
    """Return, for each shape, whether its own logit is the largest by a margin."""
    own = logits.diagonal()
    others = logits.masked_fill(torch.eye(len(logits), dtype=torch.bool), -math.inf)
    return own > others.max(-1).values + MARGIN


def train(product: str, seed: int, steps: int = STEPS) -> Network:
    """Train a network."""
    torch.manual_seed(seed)
    network = Network(product)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    labels = torch.arange(len(SHAPES))
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(network(shapes(generator)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


@torch.no_grad()
def accuracy(network: Network, rotations: int = 100, seed: int = 12345) -> dict[str, Any]:
    """Return what the network tells in fresh random rotations, and how far its answers to the chiral pair differ.

    Returns:
        ``by_shape``: the share of the rotations in which each shape is told; ``shapes_told``: how many are in all;
        ``chiral_difference``: between the logits of the two chiral shapes, relative to the largest logit.
    """
    generator = torch.Generator().manual_seed(seed)
    logits = torch.stack([network(shapes(generator)) for _ in range(rotations)])
    found = torch.stack([told(each) for each in logits]).double().mean(0)
    return {
        "by_shape": dict(zip(SHAPES, found.tolist(), strict=True)),
        "shapes_told": int((found == 1).sum()),
        "chiral_difference": float((logits[:, 0] - logits[:, 1]).abs().max() / logits.abs().max()),
    }


def main() -> None:
    """Train and test one network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--product", choices=PRODUCTS, default="gaunt+curl")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    result = accuracy(train(arguments.product, arguments.seed, arguments.steps))
    for shape, share in result["by_shape"].items():
        print(f"{shape:17} {100 * share:5.1f} %")
    print(f"told in every rotation: {result['shapes_told']} of {len(SHAPES)} shapes")
    print(f"the answers to the chiral pair differ by {result['chiral_difference']:.1e} of the largest")


if __name__ == "__main__":
    main()

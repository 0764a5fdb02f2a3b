"""How far symmetrised networks jump where a cloud is degenerate, and how equivariant they are.

    python benchmarks/continuity.py            # half a minute
    python benchmarks/continuity.py --quick    # does it run? Writes .bench/continuity.json

One random network without any symmetry is symmetrised in several ways. Of each: the largest change of its value and
of its gradient when a cloud of eight points moves by 1e-8 in 40 random directions, at generic, planar, linear and
symmetric clouds; the largest step of the value on ways that leave such a cloud; the largest equivariance error over
all groups, outputs and clouds; and the value along a path on which a cloud passes a spherical top. Controls are
principal axes as an eigensolver returns them. Everything in float64.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import ROOT, command, save
from equitools.groups import parse_group
from equitools.symmetrize import Canonicalize, FrameAverage, act, canonicalize, frames
from equitools.symmetrize.weighted_frames import GAPS
from equitools.testing import degenerate_clouds

STEP, FAR = 1e-8, 1e-5
GROUPS = ("O(3)", "SO(3)", "E(3)", "SE(3)")
OUTPUTS = {"scalar": (2,), "vector": (3,), "tensor2": (3, 3), "1x0e+1x1o+1x2e": (9,)}
AT = ("generic", "planar", "linear", "two points", "symmetric top", "spherical top", "cube", "polygon")


class Network(nn.Module):
    """Two layers on the flattened cloud."""

    def __init__(self, shape: tuple[int, ...], points: int = 8, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        draw = torch.randn(points * 3, 32, generator=generator, dtype=torch.float64)
        self.first = 0.3 * draw
        self.second = torch.randn(32, *shape, generator=generator, dtype=torch.float64) / 4

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, *shape]``."""
        return torch.tensordot(torch.tanh(x.flatten(1) @ self.first + 0.1), self.second, 1)


def one_eigensolver_call(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """Principal axes as they come, one pose."""

    def call(x: Tensor) -> Tensor:
        x = x - x.mean(1, keepdim=True)
        return net(x @ torch.linalg.eigh(x.mT @ x)[1])

    return call


def plain_frames(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """Principal axes as they come, averaged over the signs of SE(3)."""

    def call(x: Tensor) -> Tensor:
        x = x - x.mean(1, keepdim=True)
        vectors = torch.linalg.eigh(x.mT @ x)[1]
        signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=x.dtype)] * 3)
        signs = signs[(signs.prod(1) * torch.linalg.det(vectors)[0].sign()) > 0]
        return torch.stack([net(x @ (vectors * sign)) for sign in signs]).mean(0)

    return call


METHODS: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "eigensolver, one pose (control)": one_eigensolver_call,
    "eigensolver, all signs (control)": plain_frames,
    "canonical": lambda net: FrameAverage(net, "SE(3)", mode="canonical"),
    "full": lambda net: FrameAverage(net, "SE(3)"),
    "weighted": lambda net: FrameAverage(net, "SE(3)", mode="weighted"),
    "weighted, Gram–Schmidt only": lambda net: FrameAverage(net, "SE(3)", mode="weighted", gaps=None),
}


def jumps(call: Callable[[Tensor], Tensor], cloud: Tensor, tries: int) -> tuple[float, float]:
    """The largest change of value and gradient between neighbours of a cloud, each `STEP` away from it."""
    generator = torch.Generator().manual_seed(1)
    ways = torch.randn(tries, *cloud.shape, generator=generator, dtype=torch.float64)
    path = cloud + STEP * ways / ways.flatten(1).norm(dim=1)[:, None, None]
    path = path.requires_grad_()
    value = call(path)
    (gradient,) = torch.autograd.grad(value.sum(), path)
    value = value.detach().flatten()
    spread = gradient.amax(0) - gradient.amin(0)
    return float(value.max() - value.min()), float(spread.nan_to_num(torch.inf).max())


def across(call: Callable[[Tensor], Tensor], cloud: Tensor, tries: int) -> float:
    """The largest step of the value on straight ways off a cloud, from 1e-9 to `FAR`, in 60 geometric steps.

    A method that treats a degenerate cloud apart has a border around it; this walk crosses it. A smooth function
    changes by about its slope times a tenth of `FAR` at most.
    """
    generator = torch.Generator().manual_seed(3)
    ways = torch.randn(tries, 1, *cloud.shape, generator=generator, dtype=torch.float64)
    ways = ways / ways.flatten(1).norm(dim=1)[:, None, None, None]
    lengths = torch.logspace(-9, math.log10(FAR), 60, dtype=torch.float64)[:, None, None]
    values = call((cloud + lengths * ways).flatten(0, 1)).detach().reshape(tries, len(lengths))
    return float(values.diff(dim=1).abs().max())


def vector_jumps(tries: int) -> dict[str, dict[str, float]]:
    """By how much a vector of weighted frames differs between a cloud and neighbours `FAR` away from it.

    Returns the difference along the directions that every rotation which leaves the cloud as it is keeps, and the rest:
    the rest is what cannot be continuous where there are such rotations.
    """
    call = FrameAverage(Network((3,)), "SE(3)", outputs="vector", mode="weighted")
    generator = torch.Generator().manual_seed(4)
    found = {}
    for kind in (*AT, "one point"):
        cloud = degenerate_clouds()[kind]
        ways = torch.randn(tries, *cloud.shape, generator=generator, dtype=torch.float64)
        ways = ways / ways.flatten(1).norm(dim=1)[:, None, None]
        difference = call(cloud + FAR * ways) - call(cloud[None])
        centred = cloud - cloud.mean(0)
        # a line keeps its own direction, a point none, everything else here all of them
        rank = int(torch.linalg.matrix_rank(centred, rtol=1e-6)) if float(centred.abs().max()) > 1e-9 else 0
        kept = torch.eye(3, dtype=torch.float64) if rank > 1 else torch.linalg.svd(centred).Vh[:rank]
        along = difference @ kept.mT @ kept if rank else torch.zeros_like(difference)
        rest = difference - along
        found[kind] = {"kept": float(along.norm(dim=1).max()), "rest": float(rest.norm(dim=1).max())}
    return found


def equivariance(seed: int = 2) -> dict[str, Any]:
    """The worst error of each deterministic wrapper, over groups, outputs and clouds, relative to the output's RMS."""
    torch.manual_seed(seed)
    found: dict[str, Any] = {}
    clouds = degenerate_clouds()
    for mode in ("full", "canonical", "weighted", "Canonicalize"):
        worst = {"generic": 0.0, "degenerate": 0.0}
        for name in GROUPS:
            group = parse_group(name)
            for rep, shape in OUTPUTS.items():
                net = Network(shape)
                call: nn.Module = (
                    Canonicalize(net, lambda x, mask=None, g=name: canonicalize(x, g, mask), outputs=rep)
                    if mode == "Canonicalize"
                    else FrameAverage(net, name, outputs=rep, mode=mode)
                )
                for kind, cloud in clouds.items():
                    if mode == "Canonicalize" and kind != "generic":
                        continue  # it refuses degenerate clouds
                    x = torch.randn(20, 8, 3, dtype=torch.float64) if kind == "generic" else cloud.expand(20, -1, -1)
                    moves = group.sample((len(x),))
                    wanted = act(moves, call(x), rep)
                    size = float(net(x).square().mean().sqrt())
                    error = float((call(act(moves, x, "points")) - wanted).abs().max()) / size
                    where = "generic" if kind == "generic" else "degenerate"
                    worst[where] = max(worst[where], error)
        found[mode] = {k: v for k, v in worst.items() if mode != "Canonicalize" or k == "generic"}
    return found


def counts(clouds: int) -> dict[str, dict[str, float]]:
    """How many passes weighted frames of SE(3) take: the mean, and the most, over random clouds of each kind."""
    generator = torch.Generator().manual_seed(6)
    found = {}
    for name, points in (("normal", 5), ("normal", 15), ("normal", 60), ("in a cube", 60), ("on a sphere", 60)):
        x = torch.randn(clouds, points, 3, generator=generator, dtype=torch.float64)
        if name == "on a sphere":
            x = nn.functional.normalize(x, dim=-1)
        if name == "in a cube":
            x = torch.rand(clouds, points, 3, generator=generator, dtype=torch.float64)
        row = {}
        for key, gaps in (("blended", GAPS), ("alone", None)):
            used = (frames(x, "SE(3)", None, "weighted", gaps=gaps).weights > 0).sum(1).double()
            row.update({f"{key} mean": float(used.mean()), f"{key} most": int(used.max())})
        found[f"{points} points, {name}"] = row
    return found


def walk(call: Callable[[Tensor], Tensor], points: int) -> list[float]:
    """Values along a straight path through a spherical top: on both sides its second moments have other axes."""
    top = degenerate_clouds()["spherical top"]
    top = top - top.mean(0)
    strain = torch.tensor([[0.5, 0.4, -0.2], [0.4, -0.3, 0.5], [-0.2, 0.5, -0.2]], dtype=torch.float64)
    t = torch.linspace(-1, 1, points, dtype=torch.float64)
    path = top @ (torch.eye(3, dtype=torch.float64) + 0.4 * t[:, None, None] * strain)
    return call(path).detach().flatten().tolist()


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, help="the result file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = arguments.output or (ROOT / ".bench" / "continuity.json" if arguments.quick else None)
    tries, points = (4, 41) if arguments.quick else (40, 801)
    net, clouds = Network((1,)), degenerate_clouds()
    result: dict[str, Any] = {"step": STEP, "far": FAR, "tries": tries, "points": 8, "methods": {}}
    for name, method in METHODS.items():
        call = method(net)
        row = {kind: dict(zip(("value", "gradient"), jumps(call, clouds[kind], tries), strict=True)) for kind in AT}
        border = {kind: across(call, clouds[kind], tries) for kind in AT}
        result["methods"][name] = {"jumps": row, "across": border, "walk": walk(call, points)}
        worst = max(value["value"] for value in row.values())
        print(f"{name}: largest jump of the value {worst:.1e}, across {max(border.values()):.1e}", flush=True)
    result["counts"] = counts(4 if arguments.quick else 200)
    result["vectors"] = vector_jumps(tries)
    result["equivariance"] = equivariance()
    for mode, errors in result["equivariance"].items():
        print(f"{mode}: equivariance {', '.join(f'{k} {v:.1e}' for k, v in errors.items())}", flush=True)
    print(f"wrote {save('continuity', command('continuity.py'), result, path)}")


if __name__ == "__main__":
    main()

"""The particle-interaction task: ways to make a perceptron Lorentz-invariant, side by side.

    python benchmarks/lorentz.py            # about two hours on one thread; can be interrupted and taken up again
    python benchmarks/lorentz.py --quick    # does it run? Writes .bench/lorentz.json

Writes `benchmarks/results/lorentz.json` and `docs/images/lorentz.png`. The protocol is that of T. D. Nguyen et al.
(arXiv 2311.07143): 10 000 events for training, 1 000 for validation, 5 000 for testing, 1000 epochs of batches of 1000,
Adam 3e-3, gradients clipped at 1, four hidden layers of 128 SiLU, seeds 42, 123 and 321. Other than there, the numbers
of evaluation samples are fixed beforehand (1, 10, 100) and not picked by the test error. Ours are the rapidity of the
boosts (0.3), the weight of the orbit distance (1), the generator, and the validation every 20 epochs that picks the
weights which are tested. Finished trainings lie in `.bench/lorentz` and are taken from there.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import IMAGES, ROOT, command, save
from benchmarks.symmetrized.lorentz_page import plot
from equitools._atomic import write_text
from equitools.data.particle_interaction import ParticleInteraction, particle_interaction
from equitools.groups import Lorentz
from equitools.models.orbit_generators import InvariantCombination
from equitools.symmetrize import FrameAverage, OrbitSymmetrize, lorentz_frames

GROUP = Lorentz()
SEEDS = (42, 123, 321)
ROWS = ("mlp", "mlp_aug", "scalar_mlp", "canonical", "frame_average", "orbit", "lps")


@dataclass(frozen=True)
class Protocol:
    """What all rows share."""

    train: int = 10_000
    valid: int = 1_000
    test: int = 5_000
    data_seed: int = 2021
    epochs: int = 1000
    batch: int = 1000
    rate: float = 3e-3
    clip: float = 1.0
    width: int = 128
    hidden_layers: int = 4
    rapidity: float = 0.3
    test_factors: int = 4
    frames_in_training: int = 4
    samples: int = 5
    eval_samples: tuple[int, ...] = (1, 10, 100)
    orbit_weight: float = 1.0
    generator_width: int = 64
    validate_every: int = 20


QUICK = Protocol(train=200, valid=50, test=40, epochs=2, batch=100, eval_samples=(1, 3), validate_every=1)


def perceptron(inputs: int, protocol: Protocol) -> nn.Sequential:
    """Return the backbone of all rows: any leading axes, ``[..., inputs] -> [...]``."""
    widths = [inputs] + [protocol.width] * protocol.hidden_layers
    stages: list[nn.Module] = []
    for a, b in pairwise(widths):
        stages += [nn.Linear(a, b), nn.SiLU()]
    return nn.Sequential(*stages, nn.Linear(widths[-1], 1), nn.Flatten(-2))


class OnMomenta(nn.Module):
    """The perceptron on the 16 components ``[B, 4, 4]``."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B]``."""
        return self.net(x.flatten(-2))


class OnProducts(OnMomenta):
    """The perceptron on the ten scalar products."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B]``."""
        return self.net(scalar_products(x))


def scalar_products(x: Tensor) -> Tensor:
    """Return the scalar products ``[..., 10]`` of four momenta ``[..., 4, 4]``."""
    gram = x @ GROUP.metric(x) @ x.transpose(-1, -2)
    row, column = torch.triu_indices(4, 4)
    return gram[..., row, column]


def build(row: str, protocol: Protocol) -> nn.Module:
    """Return a row's network: four momenta ``[B, 4, 4]`` to ``[B]``, as it is evaluated."""
    net = OnMomenta(perceptron(16, protocol))
    if row in {"mlp", "mlp_aug"}:
        return net
    if row == "scalar_mlp":
        return OnProducts(perceptron(10, protocol))
    if row in {"canonical", "frame_average"}:
        mode = "canonical" if row == "canonical" else "full"
        return FrameAverage(net, GROUP, "vector", "scalar", mode, degenerate="average")
    generator = InvariantCombination(4, GROUP, hidden=protocol.generator_width)
    return OrbitSymmetrize(net, generator, GROUP, samples=protocol.samples, project=row == "lps")


def what_is_trained_on(row: str, x: Tensor) -> Tensor:
    """Return what of the training events does not depend on the network, made once: ``[N, F, ...]``.

    For frames it is the events as seen from each of them, for the scalar perceptron the products, else the events.
    """
    if row == "scalar_mlp":
        return scalar_products(x).unsqueeze(1)
    if row in {"canonical", "frame_average"}:
        mode = "canonical" if row == "canonical" else "full"
        elements = lorentz_frames(x, GROUP, mode=mode, degenerate="average").elements
        count = 1 if row == "canonical" else elements.shape[1]
        poses = [GROUP.act(GROUP.inverse(elements[:, k]), x).flatten(-2) for k in range(count)]
        return torch.stack(poses, 1)
    return x.unsqueeze(1)


def loss_of(row: str, model: Any, part: Tensor, target: Tensor, protocol: Protocol, random: torch.Generator) -> Tensor:
    """Return the loss of a batch of what `what_is_trained_on` returned."""
    if row in {"orbit", "lps"}:
        found, distance = model(part[:, 0], random=random, return_distance=True)
        weight = protocol.orbit_weight if row == "orbit" else 0.0  # what is projected needs no push
        return (found - target).square().mean() + weight * distance
    if row in {"mlp", "mlp_aug"}:
        x = part[:, 0]
        if row == "mlp_aug":
            x = GROUP.act(GROUP.sample((len(x),), random, x.dtype, protocol.rapidity), x)
        return (model(x) - target).square().mean()
    net = model.net if row == "scalar_mlp" else model.net.net
    if part.shape[1] > protocol.frames_in_training:
        picked = torch.rand(part.shape[:2], generator=random).argsort(1)[:, : protocol.frames_in_training]
        part = part[torch.arange(len(part))[:, None], picked]
    return (net(part).mean(1) - target).square().mean()


def transformations(count: int, factors: int, seed: int, protocol: Protocol) -> Tensor:
    """Return products of random elements ``[count, 4, 4]``."""
    random = torch.Generator().manual_seed(seed)
    g = torch.eye(4, dtype=torch.float64).expand(count, 4, 4)
    for _ in range(factors):
        g = g @ GROUP.sample((count,), random, rapidity=protocol.rapidity)
    return g


def validation_error(row: str, model: Any, part: Tensor, target: Tensor, noise: Tensor | None) -> float:
    """Return the mean squared error on what `what_is_trained_on` returned, all frames of it."""
    with torch.no_grad():
        if noise is not None:
            if model.project:
                noise = model.projectable_noise(part[:, 0], noise, random=torch.Generator().manual_seed(5))
            found = model(part[:, 0], noise=noise)
        elif row in {"canonical", "frame_average", "scalar_mlp"}:
            found = (model.net if row == "scalar_mlp" else model.net.net)(part).mean(1)
        else:
            found = model(part[:, 0])
    return float((found - target).square().mean())


def error(model: nn.Module, x: Tensor, target: Tensor, noise: Tensor | None = None) -> tuple[float, Tensor]:
    """Return the mean squared error, and the predictions, in pieces that stay small."""
    found = []
    with torch.no_grad():
        for k in range(0, len(x), 500):
            given = {} if noise is None else {"noise": noise[k : k + 500]}
            found.append(model(x[k : k + 500], **given))
    prediction = torch.cat(found)
    return float((prediction - target).square().mean()), prediction


def train(row: str, seed: int, task: ParticleInteraction, protocol: Protocol) -> tuple[nn.Module, dict[str, Any]]:
    """Train a row with a seed; return the network of the best validation error, and what there is to say of it."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed + 1)
    model = build(row, protocol)
    parts = what_is_trained_on(row, task.train.momenta).float()
    target = task.train.target.float()
    moved = GROUP.act(transformations(protocol.valid, 1, 1, protocol), task.valid.momenta)
    seen, wanted = what_is_trained_on(row, moved).float(), task.valid.target.float()
    drawn = torch.randn(protocol.valid, protocol.samples, getattr(getattr(model, "generator", None), "noise_dim", 1),
                        generator=torch.Generator().manual_seed(2))  # fmt: skip
    noise = drawn if row in {"orbit", "lps"} else None
    optimizer = torch.optim.Adam(model.parameters(), lr=protocol.rate)
    best, state, curve, start = math.inf, copy.deepcopy(model.state_dict()), [], time.process_time()
    for epoch in range(1, protocol.epochs + 1):
        model.train()
        for index in torch.randperm(len(target), generator=random).split(protocol.batch):
            loss = loss_of(row, model, parts[index], target[index], protocol, random)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), protocol.clip)
            optimizer.step()
        if epoch % protocol.validate_every == 0 or epoch == protocol.epochs:
            value = validation_error(row, model.eval(), seen, wanted, noise)
            curve.append((epoch, float(loss.detach()), value))
            if value < best:
                best, state = value, copy.deepcopy(model.state_dict())
    model.load_state_dict(state)
    cost = {"cpu_seconds": round(time.process_time() - start, 1), "validation": best, "curve": curve}
    return model.double().eval(), cost


def test(model: nn.Module, task: ParticleInteraction, protocol: Protocol) -> dict[str, Any]:
    """Return test errors on events as they are and transformed, and the largest difference that makes."""
    x, target = task.test
    moved = GROUP.act(transformations(protocol.test, protocol.test_factors, 3, protocol), x)

    def both(noise: Tensor | None) -> dict[str, float]:
        plain, first = error(model, x, target, noise)
        turned, second = error(model, moved, target, noise)
        return {"plain": plain, "transformed": turned, "invariance_error": float((first - second).abs().max())}

    if not isinstance(model, OrbitSymmetrize):
        return both(None)
    result: dict[str, Any] = {}
    random = torch.Generator().manual_seed(4)
    for count in protocol.eval_samples:
        noise = model.noise(x, count, random)
        if model.project:
            noise = model.projectable_noise(x, noise, random=random)
        result[str(count)] = both(noise)
        if count > 1:
            with torch.no_grad():
                pieces = [model.estimate(x[k : k + 500], noise=noise[k : k + 500]).error for k in range(0, len(x), 500)]
            result[str(count)]["standard_error"] = float(torch.cat(pieces).mean())
    with torch.no_grad():
        _, distance = model.elements(x, model.noise(x, 1, random))
    result["orbit_distance"] = {"median": float(distance.median()), "mean": float(distance.mean())}
    return result


def measure(row: str, seed: int, task: ParticleInteraction, protocol: Protocol, folder: Path) -> dict[str, Any]:
    """Train and test, or take what is there."""
    path = folder / f"{row}_{seed}.json"
    wanted = json.loads(json.dumps(asdict(protocol)))
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["protocol"] == wanted:
            return found["run"]
    model, cost = train(row, seed, task, protocol)
    parameters = sum(p.numel() for p in model.parameters())
    run = {"seed": seed, "parameters": parameters, **cost, "test": test(model, task, protocol)}
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"protocol": wanted, "run": run}))
    print(f"{row}, seed {seed}: {cost['cpu_seconds']} s, {cost['validation']:.3g}, {run['test']}", flush=True)
    return run


def collect(folder: Path, protocol: Protocol) -> dict[str, Any]:
    """Return the result file's content: all trainings that are finished."""
    wanted = json.loads(json.dumps(asdict(protocol)))
    ever = {"epochs": protocol.epochs}
    rows: dict[str, list[dict[str, Any]]] = {row: [] for row in ROWS}
    for row in ROWS:
        for seed in SEEDS:
            path = folder / f"{row}_{seed}.json"
            found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
            if found is not None and {**found["protocol"], **ever} == wanted:  # a shorter training says so itself
                rows[row].append(found["run"])
    return {
        "protocol": wanted,
        "complete": all(
            [run["curve"][-1][0] for run in runs] == [protocol.epochs] * len(SEEDS) for runs in rows.values()
        ),
        "rows": {row: runs for row, runs in rows.items() if runs},
    }


def main(measured: Callable[..., dict[str, Any]] = measure) -> None:
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--epochs", type=int, help="another number of epochs than 1000; the table says so")
    parser.add_argument("--collect", action="store_true", help="train nothing, write the table of what is finished")
    parser.add_argument("--runs", type=Path, help="where finished trainings lie")
    parser.add_argument("--output", type=Path, help="the result file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    protocol = QUICK if arguments.quick else Protocol()
    folder = arguments.runs or ROOT / ".bench" / ("lorentz_quick" if arguments.quick else "lorentz")
    path = arguments.output or (ROOT / ".bench" / "lorentz.json" if arguments.quick else None)
    given = protocol if arguments.epochs is None else replace(protocol, epochs=arguments.epochs)
    if not arguments.collect:
        task = particle_interaction(protocol.train, protocol.valid, protocol.test, protocol.data_seed)
        for seed in arguments.seeds:
            for row in arguments.rows:
                measured(row, seed, task, given, folder)
    result = collect(folder, protocol)
    ran = "python benchmarks/lorentz.py" if arguments.collect else command("lorentz.py")
    print(f"wrote {save('lorentz', ran, result, path)}")
    plot(result, IMAGES / "lorentz.png" if path is None else path.with_suffix(".png"))


if __name__ == "__main__":
    main()

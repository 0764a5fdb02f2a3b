"""LieGAN on the two-body task: is the rotation found, and is it not found where there is none?

    python benchmarks/lie_gan.py            # about ten minutes on one thread; can be taken up again
    python benchmarks/lie_gan.py --quick    # does it run? Writes .bench/lie_gan.json

Writes `benchmarks/results/lie_gan.json` and `docs/images/lie_gan.png`. The protocol is the published one (J. Yang et
al., arXiv 2302.00236): the orbits of Hamiltonian neural networks, one frame to one frame, 2 × 2 blocks, one channel,
z normal with standard deviation 1, λ = 1, Adam with 1e-3 (betas 0.5 and 0.999) and 2e-4, batches of 64. Other than
there: 20 epochs instead of 100; the orbits are drawn anew and integrated with a fixed step; all 49 pairs of a
trajectory are used instead of 48. The control is the same task with a potential that has no symmetry of rotation. The
wide search has 4 × 4 blocks, standard deviation 3 and λ = 10, as published, and 5 epochs; where the data do not reach,
it is arbitrary, so that the cosine on the span of the data counts.
A fresh network then judges what was found, and the rotation itself. Finished trainings lie in `.bench/lie_gan` and are
taken from there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._results import IMAGES, ROOT, command, save
from benchmarks.lie.lie_gan_page import plot
from equitools._atomic import write_text
from equitools.data import two_body_orbits
from equitools.groups import SO, algebra_cosine
from equitools.training import LieGenerator, find_symmetry, judge_symmetry

SEEDS = (42, 43, 44)
#: How many of the seeds each task has; the wide one only shows what a larger space does.
TASKS = {"two_body": 3, "anisotropic": 3, "wide": 1}
#: Positions mix with positions, and momenta with momenta.
WIDE = ((0, 1, 4, 5), (2, 3, 6, 7))


@dataclass(frozen=True)
class Protocol:
    """What a training depends on."""

    trajectories: int = 800
    data_seed: int = 0
    epochs: int = 20
    batch: int = 64
    block: int = 2
    scale: float = 1.0
    identity_weight: float = 1.0
    generator_rate: float = 1e-3
    discriminator_rate: float = 2e-4
    anisotropy: float = 3.0
    judge_epochs: int = 5
    wide_epochs: int = 5
    wide_scale: float = 3.0
    wide_identity_weight: float = 10.0
    wide_initial_scale: float = 0.01


QUICK = Protocol(trajectories=8, epochs=2, judge_epochs=1, wide_epochs=1)


def truth() -> Tensor:
    """Return the rotation of the plane on both positions and both momenta, ``[8, 8]``."""
    return torch.block_diag(*[SO(2).algebra_basis[0]] * 4)


def pairs(task: str, protocol: Protocol) -> tuple[Tensor, Tensor]:
    """Return states and the states after them."""
    anisotropy = protocol.anisotropy if task == "anisotropic" else 1.0
    x, y = two_body_orbits(protocol.trajectories, anisotropy=anisotropy, seed=protocol.data_seed).pairs()
    return x.float(), y.float()


def kept(path: Path, protocol: Protocol, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what is in a file if it is of this protocol, else make and write it."""
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["protocol"] == asdict(protocol):
            return found["run"]
    run = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"protocol": asdict(protocol), "run": run}))
    return run


def span_of(x: Tensor) -> Tensor:
    """Return an orthonormal basis ``[8, k]`` of the span of states; with the centre of mass at rest, k is 4."""
    _, values, vectors = torch.linalg.svd(x.flatten(0, -2).double(), full_matrices=False)
    return vectors[values > 1e-4 * values[0]].mT


def search(task: str, seed: int, protocol: Protocol) -> dict[str, Any]:
    """Look for a symmetry."""
    x, y = pairs(task, protocol)
    span, wide = span_of(x), task == "wide"
    start, curve = time.process_time(), []
    random = torch.Generator().manual_seed(seed)
    generator = LieGenerator(
        8, blocks=WIDE if wide else protocol.block, scale=protocol.wide_scale if wide else protocol.scale,
        initial_scale=protocol.wide_initial_scale if wide else 1.0, generator=random,
    )  # fmt: skip

    def follow(entry: dict[str, Any]) -> None:
        cosine = float(algebra_cosine(entry["algebra"][0], truth()))
        curve.append({name: entry[name] for name in ("discriminator_loss", "displacement", "penalty")})
        curve[-1]["cosine"] = cosine
        curve[-1]["cosine_on_span"] = float(algebra_cosine(entry["algebra"][0] @ span, truth() @ span))
        print(f"{task}, seed {seed}, epoch {len(curve)}: cosine {cosine:.4f}, {curve[-1]}", flush=True)

    found = find_symmetry(
        x, y, generator, epochs=protocol.wide_epochs if wide else protocol.epochs, batch=protocol.batch, seed=seed,
        progress=follow, generator_rate=protocol.generator_rate, discriminator_rate=protocol.discriminator_rate,
        identity_weight=protocol.wide_identity_weight if wide else protocol.identity_weight,
    )  # fmt: skip
    return {
        "seed": seed, "pairs": len(x), "cpu_seconds": round(time.process_time() - start, 1), "curve": curve,
        "algebra": found.algebra[0].tolist(),
    }  # fmt: skip


def judge(task: str, algebra: Tensor, protocol: Protocol) -> dict[str, Any]:
    """Let a fresh network judge a matrix."""
    generator = LieGenerator(8, scale=protocol.wide_scale if task == "wide" else protocol.scale)
    with torch.no_grad():
        generator.weight.copy_(algebra)
    verdict = judge_symmetry(*pairs(task, protocol), generator, epochs=protocol.judge_epochs)
    print(f"{task}: {verdict}", flush=True)
    return verdict._asdict()


def measure(task: str, protocol: Protocol, folder: Path) -> dict[str, Any]:
    """Search with each seed and judge, or take what is there."""
    runs = [
        kept(folder / f"{task}_{seed}.json", protocol, lambda s=seed: search(task, s, protocol))
        for seed in SEEDS[: TASKS[task]]
    ]
    span = span_of(pairs(task, protocol)[0])
    for run in runs:
        algebra = torch.tensor(run["algebra"], dtype=torch.float64)
        run["cosine_on_span"] = float(algebra_cosine(algebra @ span, truth() @ span))
        path = folder / f"{task}_{run['seed']}_verdict.json"
        run["verdict"] = kept(path, protocol, lambda r=run: judge(task, torch.tensor(r["algebra"]), protocol))
    path = folder / f"{task}_truth_verdict.json"
    return {"runs": runs, "rotation": kept(path, protocol, lambda: judge(task, truth(), protocol))}


def main() -> None:
    """Run what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=Path, help="where finished trainings lie")
    parser.add_argument("--output", type=Path, help="the result file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    protocol = QUICK if arguments.quick else Protocol()
    folder = arguments.runs or ROOT / ".bench" / ("lie_gan_quick" if arguments.quick else "lie_gan")
    path = arguments.output or (ROOT / ".bench" / "lie_gan.json" if arguments.quick else None)
    result = {
        "protocol": asdict(protocol),
        "published": {"epochs": 100},
        "truth": truth().tolist(),
        "tasks": {task: measure(task, protocol, folder) for task in TASKS},
    }
    print(f"wrote {save('lie_gan', command('lie_gan.py'), result, path)}")
    plot(result, IMAGES / "lie_gan.png" if path is None else path.with_suffix(".png"))


if __name__ == "__main__":
    main()

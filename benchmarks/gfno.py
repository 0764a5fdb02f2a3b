"""Flows with symmetric forcing: a Fourier neural operator beside an equivariant one of as many parameters.

    python benchmarks/gfno.py                              # all trainings; go on with the same command
    python benchmarks/gfno.py --network gfno_p4 --seed 1   # one of them
    python benchmarks/gfno.py --collect                    # what is there so far, and the figure

The protocol of G-FNO's NS-Sym, reduced: vorticity of forced flows at viscosity 1e-4, ten frames in, the next one out
(teacher forcing), Adam at 1e-3 with weight decay 1e-4 and a cosine schedule, batches of 20; judged by rolling out ten
frames. Reduced are the number of flows, the grid, modes and channels, and the epochs; the result file says to what. A
training goes on where it was left, in `.bench/gfno`; the results go to `benchmarks/results/gfno.json` and
`docs/images/gfno.png`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor

from benchmarks._results import IMAGES, ROOT, command, save
from equitools._atomic import atomic_path, write_text
from equitools.data import symmetric_navier_stokes
from equitools.groups import FiniteGroup
from equitools.models.images import FNO, GFNO
from equitools.ops import permute_pixels

BATCH, RATE, DECAY, EPOCHS = 20, 1e-3, 1e-4, 50
#: Frames that a network sees, and frames that it then rolls out.
SEEN, ASKED = 10, 10
SIZES = {"train": 128, "valid": 16, "test": 48}
GRID, SOLVER, MODES = 32, 64, 8
#: Channels: 15 = 8 (2m − 1)/m, so that the spectral layers of both have equally many parameters.
WIDTHS = {"fno": 15, "gfno_p4": 8}
SEEDS = (0, 1, 2)
#: The longest time in seconds of processor time between two writings of the state.
SAVE_EVERY = 30.0


class Network(NamedTuple):
    """How a network is made, and what it is."""

    make: Callable[[], torch.nn.Module]
    words: str


NETWORKS = {
    "fno": Network(lambda: FNO(SEEN, 1, WIDTHS["fno"], MODES), "FNO"),
    "gfno_p4": Network(lambda: GFNO(SEEN, 1, WIDTHS["gfno_p4"], MODES, group="p4"), "G-FNO, p4"),
}
#: Relative errors in % on the whole task, and how they are known.
REFERENCES = {
    "FNO": (4.21, "published, Helwig et al., ICML 2023"),
    "FNO, p4 augmentation": (4.80, "published, Helwig et al., ICML 2023"),
    "G-FNO, p4": (2.24, "published, Helwig et al., ICML 2023"),
    "G-FNO, p4m": (2.37, "published, Helwig et al., ICML 2023"),
}


def flows(cache: Path | None = ROOT / ".bench" / "gfno" / "data.npz") -> dict[str, Tensor]:
    """Return the trajectories ``[N, 20, 32, 32]`` of each part."""
    return symmetric_navier_stokes(
        SIZES, resolution=GRID, solver_resolution=SOLVER, frames=SEEN + ASKED, cache=cache,
        progress=lambda part, done, number: print(f"flows, {part}: {done} of {number}", flush=True),
    )  # fmt: skip


def relative(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the relative error of each sample in the Euclidean norm of all its numbers."""
    return (found - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)


@torch.no_grad()
def roll_out(network: torch.nn.Module, start: Tensor, steps: int) -> Tensor:
    """Let a network go on from ``[N, SEEN, S, S]``; return ``[N, steps, S, S]``."""
    network.eval()
    answers = []
    for part in start.split(BATCH):
        frames = part
        for _ in range(steps):
            frames = torch.cat([frames, network(frames[:, -SEEN:])], 1)
        answers.append(frames[:, part.shape[1] :])
    return torch.cat(answers)


def judge(network: torch.nn.Module, data: Tensor) -> Tensor:
    """Return the relative error of each rolled out flow."""
    return relative(roll_out(network, data[:, :SEEN], data.shape[1] - SEEN), data[:, SEEN:])


def turned(data: Tensor, quarters: int) -> Tensor:
    """Turn flows about pixel (0, 0), which takes solutions to solutions."""
    return permute_pixels(FiniteGroup.named("p4").matrices[quarters % 4], data, "origin")


class Training:
    """A training that can be left and taken up.

    Args:
        name: Of `NETWORKS`.
        folder: Where its state is.
        seed: Of the weights and of the order of the samples.
    """

    def __init__(self, name: str, folder: Path, seed: int = 0) -> None:
        self.name, self.seed = name, seed
        place = folder / f"{name}_{seed}"
        self.state, self.report = place / "training.pt", place / "result.json"
        torch.manual_seed(seed)
        self.network = NETWORKS[name].make()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=RATE, weight_decay=DECAY)
        self.epoch, self.seconds = 0, 0.0
        self.curve: list[list[float]] = []  # epochs, minutes, training error of one step, validation error of all
        self.best: dict[str, Any] = {"epoch": 0, "valid": float("inf"), "weights": self._weights()}
        if self.state.exists():
            known = torch.load(self.state, weights_only=True)
            self.network.load_state_dict(known["network"])
            self.optimizer.load_state_dict(known["optimizer"])
            for field in ("epoch", "seconds", "curve", "best"):
                setattr(self, field, known[field])

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def save(self) -> None:
        """Write the state whole."""
        fields = {field: getattr(self, field) for field in ("epoch", "seconds", "curve", "best")}
        fields |= {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        with atomic_path(self.state) as path:
            torch.save(fields, path)

    def one_epoch(self, data: Tensor) -> float:
        """Train with every window once, in an order that only the seed and the epoch decide; return the loss."""
        self.network.train()
        windows = data.shape[1] - SEEN
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        batches = torch.randperm(len(data) * windows, generator=generator).split(BATCH)
        steps, total = EPOCHS * len(batches), 0.0
        for k, rows in enumerate(batches):
            done = (self.epoch * len(batches) + k) / steps
            for group in self.optimizer.param_groups:
                group["lr"] = 0.5 * RATE * float(1 + torch.cos(torch.tensor(torch.pi * done)))
            flow, first = rows // windows, rows % windows
            frames = data[flow[:, None], first[:, None] + torch.arange(SEEN + 1)]
            loss = relative(self.network(frames[:, :SEEN]), frames[:, SEEN:])
            self.optimizer.zero_grad()
            loss.sum().backward()  # the published loss is the sum over the batch
            self.optimizer.step()
            total += float(loss.detach().sum())
        return total / (len(data) * windows)

    def run(self, data: dict[str, Tensor]) -> None:
        """Train to the end of the protocol, then test."""
        before, saved = time.process_time() - self.seconds, self.seconds
        while self.epoch < EPOCHS:
            loss = self.one_epoch(data["train"])
            self.epoch += 1
            valid = float(judge(self.network, data["valid"]).mean())
            self.seconds = time.process_time() - before
            self.curve.append([self.epoch, self.seconds / 60, loss, valid])
            if valid < self.best["valid"]:
                self.best = {"epoch": self.epoch, "valid": valid, "weights": self._weights()}
            print(
                f"{self.name} seed {self.seed}, epoch {self.epoch} of {EPOCHS}: one step {100 * loss:.2f} %, "
                f"rolled out {100 * valid:.2f} %, {self.seconds / 60:.1f} CPU minutes", flush=True,
            )  # fmt: skip
            if self.seconds - saved > SAVE_EVERY:
                self.save()
                saved = self.seconds
        self.save()
        self.finish(data["test"])

    def best_network(self) -> torch.nn.Module:
        """Return the network with the weights of the lowest validation error."""
        network = NETWORKS[self.name].make()
        network.load_state_dict(self.best["weights"])
        return network.eval()

    def finish(self, test: Tensor) -> None:
        """Test the best weights and write what was reached."""
        network = self.best_network()
        found = roll_out(network, test[:, :SEEN], ASKED)
        wanted = test[:, SEEN:]
        errors = [float(judge(network, turned(test, quarters)).mean()) for quarters in (1, 2, 3)]
        double = network.double()
        frames = test[:4, :SEEN].double()
        with torch.no_grad():
            away = (double(turned(frames, 1)) - turned(double(frames), 1)).abs().max() / double(frames).abs().max()
        network.float()
        result = {
            "network": self.name,
            "seed": self.seed,
            "parameters": sum(p.numel() for p in network.parameters()),
            "epochs": self.epoch,
            "best_epoch": self.best["epoch"],
            "cpu_minutes": round(self.seconds / 60, 2),
            "valid_error": self.best["valid"],
            "test_error": float(relative(found, wanted).mean()),
            "turned_errors": errors,
            "errors_by_step": [float(relative(found[:, k], wanted[:, k]).mean()) for k in range(ASKED)],
            "equivariance_error": float(away),
            "curve": [[row[0], *(float(f"{v:.5g}") for v in row[1:])] for row in self.curve],
        }
        write_text(self.report, json.dumps(result, indent=1) + "\n")
        print(f"{self.name} seed {self.seed}: test {100 * result['test_error']:.2f} %", flush=True)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means over seeds of each network and what the equivariant one gains."""
    means = {}
    for name in NETWORKS:
        mine = [row for row in rows if row["network"] == name]
        found = torch.tensor([row["test_error"] for row in mine], dtype=torch.float64)
        if len(found):
            spread = float(found.std()) if len(found) > 1 else None
            worst = max(abs(error - row["test_error"]) for row in mine for error in row["turned_errors"])
            means[name] = {"mean": float(found.mean()), "std": spread, "seeds": len(found), "turned_difference": worst}
    gain = {}
    if len(means) == len(NETWORKS):
        counts = {row["network"]: row["parameters"] for row in rows}
        gain = {
            "reduction": 1 - means["gfno_p4"]["mean"] / means["fno"]["mean"],
            "parameter_difference": abs(counts["gfno_p4"] / counts["fno"] - 1),
        }
    return {"means": means, **gain}


def collect(folder: Path, data: dict[str, Tensor], output: Path | None = None, picture: Path | None = None) -> Path:
    """Gather the results of the trainings of a folder into one file, and draw them.

    Args:
        folder: With a folder for each training.
        data: The flows.
        output: The result file; ``None``: the one of the repository.
        picture: The figure; ``None``: none.

    Returns:
        The result file.
    """
    reports = {(n, s): folder / f"{n}_{s}" / "result.json" for n in NETWORKS for s in SEEDS}
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in reports.values() if path.exists()]
    result = {
        "complete": len(rows) == len(reports),
        "protocol": {
            "flows": {name: len(part) for name, part in data.items()}, "grid": GRID, "solver_grid": SOLVER,
            "modes": MODES, "width": WIDTHS, "frames_seen": SEEN, "frames_asked": ASKED, "epochs": EPOCHS,
            "batch": BATCH, "rate": RATE,
            "published": {
                "flows": {"train": 1000, "valid": 100, "test": 100}, "grid": 64, "solver_grid": 256, "modes": 12,
                "epochs": 100, "width": {"fno": 20, "gfno_p4": 10},
            },
        },
        "summary": summary(rows),
        "trainings": rows,
        "references": {name: {"percent": value, "known": known} for name, (value, known) in REFERENCES.items()},
    }  # fmt: skip
    written = save("gfno", command("gfno.py"), result, output)
    if picture is not None and result["complete"]:
        networks = {name: Training(name, folder, SEEDS[0]).best_network() for name in NETWORKS}
        draw(result, networks, data["test"], picture)
    return written


def draw(result: dict[str, Any], networks: dict[str, torch.nn.Module], test: Tensor, picture: Path) -> None:
    """Draw one flow with its predictions, and errors by the step of the rollout.

    The flow is the one on which the first network has its median error in the last frame.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    first = next(iter(networks.values()))
    last = relative(roll_out(first, test[:, :SEEN], ASKED)[:, -1], test[:, -1])
    sample = test[last.argsort()[len(last) // 2]][None]
    truth = sample[0, -1]
    found = {name: roll_out(network, sample[:, :SEEN], ASKED)[0, -1] for name, network in networks.items()}
    figure, axes = pyplot.subplots(2, 4, figsize=(13, 5.6), width_ratios=[1, 1, 1, 1.6])
    limit = float(truth.abs().max())
    worst = max(float((field - truth).abs().max()) for field in found.values())
    axes[0, 0].imshow(truth.numpy(), cmap="RdBu", vmin=-limit, vmax=limit)
    axes[0, 0].set_title(f"vorticity after {ASKED} steps")
    axes[1, 0].imshow(sample[0, SEEN - 1].numpy(), cmap="RdBu", vmin=-limit, vmax=limit)
    axes[1, 0].set_title("last frame seen")
    for column, (name, field) in enumerate(found.items(), 1):
        axes[0, column].imshow(field.numpy(), cmap="RdBu", vmin=-limit, vmax=limit)
        axes[0, column].set_title(NETWORKS[name].words)
        axes[1, column].imshow((field - truth).numpy(), cmap="PuOr", vmin=-worst, vmax=worst)
        axes[1, column].set_title(f"its error, {100 * float(relative(field[None], truth[None])):.1f} %")
    for axis in axes[:, :3].flat:
        axis.set(xticks=[], yticks=[])
    for name, style in zip(NETWORKS, ("o-", "s-"), strict=True):
        rows = [row for row in result["trainings"] if row["network"] == name]
        steps = 100 * torch.tensor([row["errors_by_step"] for row in rows]).numpy()
        label, x = NETWORKS[name].words, range(1, steps.shape[1] + 1)
        axes[0, 3].plot(x, steps.mean(0), style, markersize=3, label=label)
        axes[0, 3].fill_between(x, steps.min(0), steps.max(0), alpha=0.25)
        for row in rows:
            curve = torch.tensor(row["curve"]).numpy()
            axes[1, 3].plot(
                curve[:, 0], 100 * curve[:, 3], color=f"C{list(NETWORKS).index(name)}", linewidth=0.8,
                label=label if row is rows[0] else None,
            )  # fmt: skip
    axes[0, 3].set(xlabel="step of the rollout", ylabel="relative error, %")
    axes[1, 3].set(xlabel="epoch", ylabel="validation, rolled out, %", ylim=(0, None))
    for axis in axes[:, 3]:
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.tight_layout()
    with atomic_path(picture) as path:
        figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Train what is missing, or gather what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=list(NETWORKS), help="only this one")
    parser.add_argument("--seed", type=int, choices=SEEDS, help="only this one")
    parser.add_argument("--runs", type=Path, default=ROOT / ".bench" / "gfno")
    parser.add_argument("--collect", action="store_true", help="train nothing, write what there is")
    parser.add_argument("--output", type=Path, help="the result file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = flows()
    if not arguments.collect:
        for seed in SEEDS if arguments.seed is None else (arguments.seed,):
            for name in NETWORKS if arguments.network is None else (arguments.network,):
                Training(name, arguments.runs, seed).run(data)
    picture = IMAGES / "gfno.png" if arguments.output is None else arguments.output.with_suffix(".png")
    print(f"wrote {collect(arguments.runs, data, arguments.output, picture)}")


if __name__ == "__main__":
    main()
